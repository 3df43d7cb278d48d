//! The inverse cosine transform of a block: libjpeg's accurate integer method, as its vector code computes it.
//!
//! Sums and products of sixteen bits wrap where those instructions wrap, and saturate where they saturate: it
//! matters for the coefficients of damaged files alone. Ours are lanes of 32 bits, eight columns at a time, which
//! the compiler turns into vector code.

use super::frame::{Block, low16};

/// Bits behind the point of the constants, and bits that the first pass keeps for the second.
const POINT: u32 = 13;
const KEPT: u32 = 2;

/// Constants of the transform (Loeffler, Ligtenberg and Moschytz 1989), times 2^13.
const F_0_298: i32 = 2_446;
const F_0_390: i32 = 3_196;
const F_0_541: i32 = 4_433;
const F_0_765: i32 = 6_270;
const F_0_899: i32 = 7_373;
const F_1_175: i32 = 9_633;
const F_1_501: i32 = 12_299;
const F_1_847: i32 = 15_137;
const F_1_961: i32 = 16_069;
const F_2_053: i32 = 16_819;
const F_2_562: i32 = 20_995;
const F_3_072: i32 = 25_172;

type Lanes = [i32; 8];

#[inline(always)]
fn each(a: Lanes, b: Lanes, with: impl Fn(i32, i32) -> i32) -> Lanes {
    std::array::from_fn(|lane| with(a[lane], b[lane]))
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    each(a, b, i32::wrapping_add)
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    each(a, b, i32::wrapping_sub)
}

/// `a * by_a + b * by_b`
#[inline(always)]
fn rotate((a, by_a): (Lanes, i32), (b, by_b): (Lanes, i32)) -> Lanes {
    each(a, b, |a, b| a.wrapping_mul(by_a).wrapping_add(b.wrapping_mul(by_b)))
}

/// The value that the low sixteen bits hold.
#[inline(always)]
fn wrap16(a: Lanes) -> Lanes {
    a.map(|value| (value << 16) >> 16)
}

/// One pass over eight columns: `SHIFT` bits are rounded away, and the rest saturates to sixteen bits.
#[inline(always)]
fn pass<const SHIFT: u32>(x: [Lanes; 8]) -> [Lanes; 8] {
    let even_2 = rotate((x[2], F_0_541), (x[6], F_0_541 - F_1_847));
    let even_3 = rotate((x[2], F_0_541 + F_0_765), (x[6], F_0_541));
    let even_0 = wrap16(add(x[0], x[4])).map(|value| value << POINT);
    let even_1 = wrap16(sub(x[0], x[4])).map(|value| value << POINT);
    let (sum_0, sum_3) = (add(even_0, even_3), sub(even_0, even_3));
    let (sum_1, sum_2) = (add(even_1, even_2), sub(even_1, even_2));

    let (z3, z4) = (wrap16(add(x[7], x[3])), wrap16(add(x[5], x[1])));
    let turned_3 = rotate((z3, F_1_175 - F_1_961), (z4, F_1_175));
    let turned_4 = rotate((z3, F_1_175), (z4, F_1_175 - F_0_390));
    let odd_0 = add(rotate((x[7], F_0_298 - F_0_899), (x[1], -F_0_899)), turned_3);
    let odd_1 = add(rotate((x[5], F_2_053 - F_2_562), (x[3], -F_2_562)), turned_4);
    let odd_2 = add(rotate((x[5], -F_2_562), (x[3], F_3_072 - F_2_562)), turned_3);
    let odd_3 = add(rotate((x[7], -F_0_899), (x[1], F_1_501 - F_0_899)), turned_4);

    [
        add(sum_0, odd_3),
        add(sum_1, odd_2),
        add(sum_2, odd_1),
        add(sum_3, odd_0),
        sub(sum_3, odd_0),
        sub(sum_2, odd_1),
        sub(sum_1, odd_2),
        sub(sum_0, odd_3),
    ]
    .map(|lanes| {
        lanes.map(|value| {
            (value.wrapping_add(1 << (SHIFT - 1)) >> SHIFT).clamp(i32::from(i16::MIN), i32::from(i16::MAX))
        })
    })
}

#[inline(always)]
fn transposed(x: [Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| x[column][row]))
}

/// The sample that a value of the last pass stands for.
#[inline(always)]
fn sample(value: i32) -> u8 {
    let [low, ..] = (value.clamp(-128, 127) + 128).to_le_bytes();
    low
}

/// Transforms a block into eight rows of samples, `stride` apart.
#[inline(always)]
pub(super) fn transform(block: &Block, quantisation: &Block, samples: &mut [u8], stride: usize) {
    let (first_row, rest) = block.split_at(8);
    let values = |row: usize| -> Lanes {
        std::array::from_fn(|column| {
            i32::from(block[8 * row + column].wrapping_mul(quantisation[8 * row + column]))
        })
    };
    let columns = if rest.iter().fold(0, |any, value| any | value) == 0 {
        // Without the others, the first row needs no transform; what it keeps for the second pass wraps.
        let row = values(0).map(|value| i32::from(low16(value << KEPT)));
        if first_row[1..].iter().fold(0, |any, value| any | value) == 0 {
            let flat = sample((row[0] + 16) >> 5);
            for line in samples.chunks_mut(stride).take(8) {
                line[..8].fill(flat);
            }
            return;
        }
        [row; 8]
    } else {
        pass::<{ POINT - KEPT }>(std::array::from_fn(values))
    };
    let rows = transposed(pass::<{ POINT + KEPT + 3 }>(transposed(columns)));
    for (line, row) in samples.chunks_mut(stride).zip(rows) {
        for (out, value) in line[..8].iter_mut().zip(row) {
            *out = sample(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(block: &Block, step: i16) -> [u8; 64] {
        let mut samples = [0; 64];
        transform(block, &[step; 64], &mut samples, 8);
        samples
    }

    #[test]
    fn flat_blocks_are_an_eighth_of_their_coefficient_from_grey() {
        for (dc, sample) in [(0, 128), (8, 129), (-8, 127), (1016, 255), (2000, 255), (-1024, 0), (-3000, 0)] {
            let mut block = [0; 64];
            block[0] = dc;
            assert_eq!(samples(&block, 1), [sample; 64], "{dc}");
        }
    }

    #[test]
    fn the_short_cuts_equal_the_whole_transform() {
        let transform = |x: [Lanes; 8]| {
            transposed(pass::<{ POINT + KEPT + 3 }>(transposed(pass::<{ POINT - KEPT }>(x)))).map(|row| row.map(sample))
        };
        for seed in 0..200_i16 {
            let mut block = [0; 64];
            for (column, value) in block[..8].iter_mut().enumerate() {
                let column = i16::try_from(column).unwrap();
                *value = if seed % 3 == 0 && column > 0 { 0 } else { (seed * 37 + column * 101) % 400 - 200 };
            }
            let whole = transform(std::array::from_fn(|row| {
                std::array::from_fn(|column| i32::from(block[8 * row + column]) * 3)
            }));
            assert_eq!(samples(&block, 3), *whole.as_flattened());
        }
    }
}
