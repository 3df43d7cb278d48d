//! Computes the perceptual hash that MMC4 finds duplicates with: 64 bits, equal to Python's `imagehash.phash`.
//!
//! Grey, 32 x 32 by Lanczos (in Pillow 13's pass order), a two-dimensional DCT-II without normalisation, its low
//! 8 x 8 coefficients, one bit each: set where the coefficient is above the median of the 64. Flat and periodic
//! pictures have coefficients that differ from the median by rounding alone, so the transform performs the
//! operations of `SciPy` in the order of `SciPy`, and the hash is equal bit by bit there too.

use std::fmt;

use pulp::Arch;
use serde::{Deserialize, Serialize};

use crate::decode::RgbImage;
use crate::resample::{Filter, PassOrder, Plane};

/// A hash: row by row from the lowest frequency, the first bit the most significant; shown as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phash(pub u64);

impl Phash {
    /// Bits in which the two differ, 0 to 64.
    pub fn hamming(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

impl fmt::Display for Phash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Hashes a picture.
pub fn phash(image: &RgbImage) -> Phash {
    hash_on(Arch::new(), image)
}

/// Hashes a picture with the instructions that every processor of this kind has: the same hash, for measuring.
pub fn phash_portable(image: &RgbImage) -> Phash {
    hash_on(Arch::Scalar, image)
}

fn hash_on(arch: Arch, image: &RgbImage) -> Phash {
    let low = low_frequencies(arch, image);
    let median = median(&low);
    // The first coefficient becomes the highest bit.
    Phash(low.iter().fold(0, |bits, coefficient| bits << 1 | u64::from(*coefficient > median)))
}

/// Counts the bits that another decoder of the same file may flip.
///
/// These are the coefficients that lie within 0.2 % of the largest one but the mean (DC) from the median.
pub fn bits_near_median(image: &RgbImage) -> u32 {
    let low = low_frequencies(Arch::new(), image);
    let median = median(&low);
    let largest = low.iter().skip(1).fold(0.0_f64, |largest, coefficient| largest.max(coefficient.abs()));
    low.iter().map(|coefficient| u32::from((coefficient - median).abs() <= 0.002 * largest)).sum()
}

/// Side of the grey picture that is transformed.
const SIDE: usize = 32;
/// Side of the block of coefficients that is kept.
const KEPT: usize = 8;

/// The 8 x 8 lowest coefficients of the 32 x 32 grey picture, row by row.
fn low_frequencies(arch: Arch, image: &RgbImage) -> [f64; KEPT * KEPT] {
    let grey = luma(arch, image).resize_on(arch, SIDE, SIDE, Filter::Lanczos, PassOrder::Pillow13);
    // Columns first. Only the low rows of that are needed afterwards.
    let mut rows = [[0.0; SIDE]; KEPT];
    for column in 0..SIDE {
        let spectrum = dct32(std::array::from_fn(|row| f64::from(grey.values()[row * SIDE + column])));
        for (row, coefficient) in rows.iter_mut().zip(spectrum) {
            row[column] = coefficient;
        }
    }
    let mut low = [0.0; KEPT * KEPT];
    for (row, kept) in rows.into_iter().zip(low.chunks_exact_mut(KEPT)) {
        kept.copy_from_slice(&dct32(row)[..KEPT]);
    }
    low
}

/// Grey as Pillow computes it: ITU-R 601-2 in 16-bit fixed point.
fn luma(arch: Arch, image: &RgbImage) -> Plane {
    let mut values = vec![0; image.pixels().len() / 3];
    arch.dispatch(|| {
        let (pixels, _) = image.pixels().as_chunks::<3>();
        for (value, pixel) in values.iter_mut().zip(pixels) {
            let [red, green, blue] = pixel.map(u32::from);
            // The weights sum to 2^16: the third byte holds the grey, and the fourth nothing.
            let weighted =
                [(red, 19_595), (green, 38_470), (blue, 7_471)].map(|(part, weight)| part.wrapping_mul(weight));
            let sum = weighted.into_iter().fold(0x8000_u32, u32::wrapping_add);
            [_, _, *value, _] = sum.to_le_bytes();
        }
    });
    Plane::new(image.width_index(), image.height_index(), values)
}

/// The mean of the two middle values, as `NumPy` computes it.
fn median(values: &[f64; KEPT * KEPT]) -> f64 {
    let mut sorted = *values;
    sorted.sort_by(f64::total_cmp);
    (sorted[KEPT * KEPT / 2 - 1] + sorted[KEPT * KEPT / 2]) / 2.0
}

/// cos(pi k / 64) for k = 1 to 31, as `SciPy` computes them: the last digit differs from the nearest number in places.
const COSINES: [f64; 31] = [
    0.9987954562051724,
    0.9951847266721969,
    0.989176509964781,
    0.9807852804032304,
    0.970031253194544,
    0.9569403357322088,
    0.9415440651830208,
    0.9238795325112867,
    0.9039892931234433,
    0.881921264348355,
    0.8577286100002721,
    0.8314696123025452,
    0.8032075314806449,
    0.773010453362737,
    0.7409511253549591,
    0.7071067811865475,
    0.6715589548470183,
    0.6343932841636455,
    0.5956993044924332,
    0.5555702330196022,
    0.5141027441932217,
    0.47139673682599753,
    0.42755509343028203,
    0.38268343236508967,
    0.33688985339221994,
    0.2902846772544623,
    0.24298017990326393,
    0.19509032201612825,
    0.14673047445536164,
    0.09801714032956049,
    0.04906767432741799,
];

/// (cos, sin) of 2 pi k / 32 for k = 0 to 7, as `SciPy` computes them.
#[expect(clippy::approx_constant, reason = "the digits are those of the reference, wherever they come from")]
const TURNS: [(f64, f64); 8] = [
    (1.0, 0.0),
    (0.9807852804032304, 0.19509032201612825),
    (0.9238795325112867, 0.3826834323650898),
    (0.8314696123025452, 0.5555702330196022),
    (0.7071067811865475, 0.7071067811865476),
    (0.5555702330196022, 0.8314696123025452),
    (0.3826834323650898, 0.9238795325112867),
    (0.19509032201612825, 0.9807852804032304),
];

/// DCT-II of 32 values, unnormalised: `2 * sum(x[n] * cos(pi * k * (2n + 1) / 64))`.
///
/// By way of a real inverse Fourier transform of 32 values with the radices 2, 4, 4 (Makhoul 1980; Swarztrauber's
/// FFTPACK), which fixes the order of the floating-point operations.
fn dct32(mut x: [f64; SIDE]) -> [f64; SIDE] {
    x[0] *= 2.0;
    x[SIDE - 1] *= 2.0;
    for odd in (1..SIDE - 1).step_by(2) {
        (x[odd], x[odd + 1]) = (x[odd + 1] + x[odd], x[odd + 1] - x[odd]);
    }
    let mut x = radix4::<1, 8>(&radix4::<4, 2>(&radix2(&x)));
    for k in 1..SIDE / 2 {
        let mirror = SIDE - k;
        let sum = COSINES[k - 1] * x[mirror] + COSINES[mirror - 1] * x[k];
        let difference = COSINES[k - 1] * x[k] - COSINES[mirror - 1] * x[mirror];
        (x[k], x[mirror]) = (0.5 * (sum + difference), 0.5 * (sum - difference));
    }
    x[SIDE / 2] *= COSINES[SIDE / 2 - 1];
    x
}

/// One inverse step of radix 2 over the whole array.
fn radix2(x: &[f64; SIDE]) -> [f64; SIDE] {
    const HALF: usize = SIDE / 2;
    let mut out = [0.0; SIDE];
    out[0] = x[0] + x[SIDE - 1];
    out[HALF] = x[0] - x[SIDE - 1];
    out[HALF - 1] = 2.0 * x[HALF - 1];
    out[SIDE - 1] = -2.0 * x[HALF];
    for i in (2..HALF).step_by(2) {
        let mirror = SIDE - i;
        out[i - 1] = x[i - 1] + x[mirror - 1];
        out[i] = x[i] - x[mirror];
        let turned = turn(TURNS[i / 2], (x[i - 1] - x[mirror - 1], x[i] + x[mirror]));
        (out[HALF + i - 1], out[HALF + i]) = turned;
    }
    out
}

/// One inverse step of radix 4: `COUNT` groups of four runs of `RUN` values each.
fn radix4<const RUN: usize, const COUNT: usize>(x: &[f64; SIDE]) -> [f64; SIDE] {
    let mut out = [0.0; SIDE];
    for group in 0..COUNT {
        let read = |run: usize, i: usize| x[i + RUN * (run + 4 * group)];
        let place = |run: usize, i: usize| i + RUN * (group + COUNT * run);
        let (sum, difference) = (read(0, 0) + read(3, RUN - 1), read(0, 0) - read(3, RUN - 1));
        let (real, imaginary) = (2.0 * read(1, RUN - 1), 2.0 * read(2, 0));
        out[place(0, 0)] = sum + real;
        out[place(2, 0)] = sum - real;
        out[place(3, 0)] = difference + imaginary;
        out[place(1, 0)] = difference - imaginary;
        if RUN == 1 {
            continue;
        }
        let (upper, lower) = (read(3, 0) + read(1, 0), read(3, 0) - read(1, 0));
        let (sum, difference) = (read(0, RUN - 1) + read(2, RUN - 1), read(0, RUN - 1) - read(2, RUN - 1));
        out[place(0, RUN - 1)] = sum + sum;
        out[place(1, RUN - 1)] = std::f64::consts::SQRT_2 * (difference - upper);
        out[place(2, RUN - 1)] = lower + lower;
        out[place(3, RUN - 1)] = -std::f64::consts::SQRT_2 * (difference + upper);
        for i in (2..RUN).step_by(2) {
            let mirror = RUN - i;
            let (real_02, real_20) = (read(0, i - 1) + read(3, mirror - 1), read(0, i - 1) - read(3, mirror - 1));
            let (imaginary_20, imaginary_02) = (read(0, i) + read(3, mirror), read(0, i) - read(3, mirror));
            let (imaginary_31, imaginary_13) = (read(2, i) + read(1, mirror), read(2, i) - read(1, mirror));
            let (real_13, real_31) = (read(2, i - 1) + read(1, mirror - 1), read(2, i - 1) - read(1, mirror - 1));
            out[place(0, i - 1)] = real_02 + real_13;
            out[place(0, i)] = imaginary_02 + imaginary_13;
            let parts = [
                (real_20 - imaginary_31, imaginary_20 + real_31),
                (real_02 - real_13, imaginary_02 - imaginary_13),
                (real_20 + imaginary_31, imaginary_20 - real_31),
            ];
            for (run, part) in (1..4).zip(parts) {
                (out[place(run, i - 1)], out[place(run, i)]) = turn(TURNS[run * (SIDE / 4 / RUN) * (i / 2)], part);
            }
        }
    }
    out
}

/// Turns a (real, imaginary) pair by an angle.
fn turn((cosine, sine): (f64, f64), (real, imaginary): (f64, f64)) -> (f64, f64) {
    (cosine * real - sine * imaginary, cosine * imaginary + sine * real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resample::tests::picture;

    fn hash(image: &RgbImage) -> String {
        phash(image).to_string()
    }

    /// A grey picture of 32 x 32 pixels.
    fn grey(value: impl Fn(u8, u8) -> u8) -> RgbImage {
        let pixels = (0..32).flat_map(|y| (0..32).map(move |x| (x, y))).flat_map(|(x, y)| [value(x, y); 3]);
        RgbImage::new(32, 32, pixels.collect()).unwrap()
    }

    #[test]
    fn hashes_equal_those_of_imagehash() {
        // imagehash 4.3.2 on Pillow 13.0.0; the third is resized columns first.
        assert_eq!(hash(&picture(37, 23)), "920658aaaa57f793");
        assert_eq!(hash(&picture(100, 10)), "9ec69be32b431a46");
        assert_eq!(hash(&picture(10, 100)), "976f0067cc4c1ad7");
        assert_eq!(hash(&picture(32, 32)), "a69c5410109eff3f");
        assert_eq!(hash(&picture(64, 48)), "b0db2253169b92dd");
        assert_eq!(hash(&picture(1, 1)), "8000000000000000");
    }

    #[test]
    fn the_hash_does_not_depend_on_the_registers_found() {
        for (width_px, height_px) in [(37, 23), (300, 170), (90, 401)] {
            let picture = picture(width_px, height_px);
            assert_eq!(phash(&picture), phash_portable(&picture));
        }
    }

    #[test]
    fn flat_and_periodic_pictures_hash_as_rounding_has_it() {
        assert_eq!(hash(&grey(|_, _| 0)), "0000000000000000");
        assert_eq!(hash(&grey(|_, _| 9)), "8000000000000000");
        assert_eq!(hash(&grey(|x, _| x % 2 * 255)), "8000000000000000");
        assert_eq!(hash(&grey(|_, y| y * 8)), "8000000000000000");
    }

    #[test]
    fn all_bits_of_a_flat_picture_are_near_the_median_but_the_mean() {
        assert_eq!(bits_near_median(&grey(|_, _| 9)), 63);
        assert_eq!(bits_near_median(&grey(|_, _| 0)), 64);
    }

    #[test]
    fn distance_counts_bits() {
        assert_eq!(Phash(0b1011).hamming(Phash(0b0010)), 2);
    }
}
