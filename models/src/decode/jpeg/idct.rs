//! The inverse cosine transform of a block: libjpeg's accurate integer method, as its vector code computes it.
//!
//! Sums and products of sixteen bits wrap where those instructions wrap, and saturate where they saturate: it
//! matters for the coefficients of damaged files alone. Ours are 32 bits wide.

use super::frame::Block;

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

/// Eight rows of eight values.
type Square = [[i32; 8]; 8];

/// Transforms the columns. `SHIFT` bits are rounded away, and the rest saturates to sixteen bits.
#[expect(clippy::needless_range_loop, reason = "a column lies across eight rows")]
#[inline(always)]
fn pass<const SHIFT: u32>(x: &mut Square) {
    // One loop without branches and calls: the compiler makes it one of all columns at once.
    for column in 0..8 {
        let [x0, x1, x2, x3] = [x[0][column], x[1][column], x[2][column], x[3][column]];
        let [x4, x5, x6, x7] = [x[4][column], x[5][column], x[6][column], x[7][column]];

        let even_2 = rotate((x2, F_0_541), (x6, F_0_541 - F_1_847));
        let even_3 = rotate((x2, F_0_541 + F_0_765), (x6, F_0_541));
        let even_0 = wrap16(x0.wrapping_add(x4)) << POINT;
        let even_1 = wrap16(x0.wrapping_sub(x4)) << POINT;
        let (sum_0, sum_3) = (even_0.wrapping_add(even_3), even_0.wrapping_sub(even_3));
        let (sum_1, sum_2) = (even_1.wrapping_add(even_2), even_1.wrapping_sub(even_2));

        let (z3, z4) = (wrap16(x7.wrapping_add(x3)), wrap16(x5.wrapping_add(x1)));
        let turned_3 = rotate((z3, F_1_175 - F_1_961), (z4, F_1_175));
        let turned_4 = rotate((z3, F_1_175), (z4, F_1_175 - F_0_390));
        let odd_0 = rotate((x7, F_0_298 - F_0_899), (x1, -F_0_899)).wrapping_add(turned_3);
        let odd_1 = rotate((x5, F_2_053 - F_2_562), (x3, -F_2_562)).wrapping_add(turned_4);
        let odd_2 = rotate((x5, -F_2_562), (x3, F_3_072 - F_2_562)).wrapping_add(turned_3);
        let odd_3 = rotate((x7, -F_0_899), (x1, F_1_501 - F_0_899)).wrapping_add(turned_4);

        x[0][column] = rounded::<SHIFT>(sum_0.wrapping_add(odd_3));
        x[1][column] = rounded::<SHIFT>(sum_1.wrapping_add(odd_2));
        x[2][column] = rounded::<SHIFT>(sum_2.wrapping_add(odd_1));
        x[3][column] = rounded::<SHIFT>(sum_3.wrapping_add(odd_0));
        x[4][column] = rounded::<SHIFT>(sum_3.wrapping_sub(odd_0));
        x[5][column] = rounded::<SHIFT>(sum_2.wrapping_sub(odd_1));
        x[6][column] = rounded::<SHIFT>(sum_1.wrapping_sub(odd_2));
        x[7][column] = rounded::<SHIFT>(sum_0.wrapping_sub(odd_3));
    }
}

/// `a * by_a + b * by_b`
#[inline(always)]
fn rotate((a, by_a): (i32, i32), (b, by_b): (i32, i32)) -> i32 {
    a.wrapping_mul(by_a).wrapping_add(b.wrapping_mul(by_b))
}

/// The value that the low sixteen bits hold.
#[inline(always)]
fn wrap16(value: i32) -> i32 {
    (value << 16) >> 16
}

#[inline(always)]
fn rounded<const SHIFT: u32>(value: i32) -> i32 {
    (value.wrapping_add(1 << (SHIFT - 1)) >> SHIFT).clamp(i16::MIN.into(), i16::MAX.into())
}

#[inline(always)]
fn transpose(x: &mut Square) {
    let straight = *x;
    for (row, values) in straight.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            x[column][row] = *value;
        }
    }
}

/// The sample that a value of the last pass stands for.
#[inline(always)]
fn sample(value: i32) -> u8 {
    let [low, ..] = (value.clamp(-128, 127) + 128).to_le_bytes();
    low
}

/// Transforms a block into eight rows of samples, `stride` apart.
#[inline(always)]
pub(super) fn transform(block: &Block, multipliers: &Block, samples: &mut [u8], stride: usize) {
    let mut square = [[0; 8]; 8];
    let mut any_below = 0;
    let sources = block.as_chunks::<8>().0.iter().zip(multipliers.as_chunks::<8>().0);
    for (row, (values, (coefficients, multipliers))) in square.iter_mut().zip(sources).enumerate() {
        for (value, (coefficient, multiplier)) in values.iter_mut().zip(coefficients.iter().zip(multipliers)) {
            *value = i32::from(coefficient.wrapping_mul(*multiplier));
            any_below |= if row == 0 { 0 } else { *coefficient };
        }
    }
    if any_below == 0 {
        // Without the others, the first row needs no transform; what it keeps for the second pass wraps.
        let mut first = square[0];
        for value in &mut first {
            *value = wrap16(*value << KEPT);
        }
        if block[1..8] == [0; 7] {
            let flat = sample((first[0] + 16) >> 5);
            for line in samples.chunks_mut(stride).take(8) {
                line[..8].fill(flat);
            }
            return;
        }
        square = [first; 8];
    } else {
        pass::<{ POINT - KEPT }>(&mut square);
    }
    transpose(&mut square);
    pass::<{ POINT + KEPT + 3 }>(&mut square);
    let mut columns = [[0; 8]; 8];
    for (bytes, values) in columns.iter_mut().zip(&square) {
        for (byte, value) in bytes.iter_mut().zip(values) {
            *byte = sample(*value);
        }
    }
    for (line, row) in samples.chunks_mut(stride).zip(rows(columns)) {
        line[..8].copy_from_slice(&row);
    }
}

/// Rows from columns of bytes. Within words of eight bytes, squares of one, two and four bytes a side change places
/// with those across the diagonal.
#[inline(always)]
fn rows(columns: [[u8; 8]; 8]) -> [[u8; 8]; 8] {
    let mut words = columns.map(u64::from_le_bytes);
    for (side, mask) in [(1, 0x00ff_00ff_00ff_00ff), (2, 0x0000_ffff_0000_ffff), (4, 0x0000_0000_ffff_ffff_u64)] {
        for upper in 0..8 {
            if upper & side == 0 {
                let lower = upper + side;
                let differing = (words[upper] >> (8 * side) ^ words[lower]) & mask;
                words[lower] ^= differing;
                words[upper] ^= differing << (8 * side);
            }
        }
    }
    words.map(u64::to_le_bytes)
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
    fn columns_of_bytes_become_rows() {
        let number = |row: usize, column: usize| u8::try_from(8 * row + column).unwrap();
        let columns = std::array::from_fn(|column| std::array::from_fn(|row| number(row, column)));
        let expected: [[u8; 8]; 8] = std::array::from_fn(|row| std::array::from_fn(|column| number(row, column)));
        assert_eq!(rows(columns), expected);
    }

    #[test]
    fn the_short_cuts_equal_the_whole_transform() {
        let transform = |mut x: Square| {
            pass::<{ POINT - KEPT }>(&mut x);
            transpose(&mut x);
            pass::<{ POINT + KEPT + 3 }>(&mut x);
            transpose(&mut x);
            x.map(|row| row.map(sample))
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
