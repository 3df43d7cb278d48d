//! Resizes one 8-bit channel exactly as Pillow does.
//!
//! Pillow resizes in two passes of 22-bit fixed-point weights with an 8-bit image between them, so both the
//! rounding of the weights and the order of the passes show in the result. Everything here works on a
//! [`Plane`]: the channels of a picture are resized one by one, and come out in CLIP's channel order.
//! O(width x height) for downscaling, whatever the target.

use pulp::{Arch, Simd, WithSimd};

use crate::decode::RgbImage;

/// One 8-bit channel, row by row without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    width_px: usize,
    height_px: usize,
    values: Vec<u8>,
}

/// The kernels that the pipeline needs, named as Pillow names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Cubic convolution with a = -0.5; reaches 2 source pixels.
    Bicubic,
    /// Windowed sinc of three lobes; reaches 3 source pixels.
    Lanczos,
}

/// Which axis is resized first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOrder {
    /// Rows first, always: Pillow up to 12, and with it all published CLIP results.
    HorizontalFirst,
    /// Columns first where the height shrinks by more than twice what the width shrinks: Pillow 13.
    Pillow13,
}

/// The part of a resized picture that is wanted, in its own pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left_px: usize,
    /// First row.
    pub top_px: usize,
    /// Columns.
    pub width_px: usize,
    /// Rows.
    pub height_px: usize,
}

impl Plane {
    /// Wraps `values`, row by row.
    ///
    /// # Panics
    /// If there are not `width_px` times `height_px` values, or if a side is zero.
    pub fn new(width_px: usize, height_px: usize, values: Vec<u8>) -> Self {
        assert!(width_px > 0 && height_px > 0, "a plane has at least one pixel");
        assert_eq!(Some(values.len()), width_px.checked_mul(height_px), "one value a pixel");
        Self { width_px, height_px, values }
    }

    /// Splits a picture into red, green and blue.
    pub fn of_rgb(image: &RgbImage) -> [Self; 3] {
        [0, 1, 2].map(|channel| {
            let values = image.pixels().chunks_exact(3).map(|pixel| pixel[channel]).collect();
            Self::new(image.width_index(), image.height_index(), values)
        })
    }

    /// Columns.
    pub fn width_px(&self) -> usize {
        self.width_px
    }

    /// Rows.
    pub fn height_px(&self) -> usize {
        self.height_px
    }

    /// The values, row by row.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// Resizes to `width_px` x `height_px`.
    pub fn resize(&self, width_px: usize, height_px: usize, filter: Filter, order: PassOrder) -> Self {
        self.resize_on(Arch::new(), width_px, height_px, filter, order)
    }

    /// The same with the vector registers of `arch`.
    pub(crate) fn resize_on(
        &self,
        arch: Arch,
        width_px: usize,
        height_px: usize,
        filter: Filter,
        order: PassOrder,
    ) -> Self {
        let window = Window { left_px: 0, top_px: 0, width_px, height_px };
        arch.dispatch(self.passes(width_px, height_px, window, filter, order))
    }

    /// Resizes to `width_px` x `height_px` and returns the pixels of `window` alone, at their cost alone.
    ///
    /// # Panics
    /// If the window does not lie inside the target.
    pub fn resize_window(
        &self,
        width_px: usize,
        height_px: usize,
        window: Window,
        filter: Filter,
        order: PassOrder,
    ) -> Self {
        // The same code is compiled for each width of vector registers, and chosen at run time.
        Arch::new().dispatch(self.passes(width_px, height_px, window, filter, order))
    }

    fn passes(
        &self,
        width_px: usize,
        height_px: usize,
        window: Window,
        filter: Filter,
        order: PassOrder,
    ) -> TwoPasses<'_> {
        assert!(window.left_px + window.width_px <= width_px, "the window lies inside the target");
        assert!(window.top_px + window.height_px <= height_px, "the window lies inside the target");
        let columns = Taps::new(self.width_px, width_px, window.left_px, window.width_px, filter);
        let rows = Taps::new(self.height_px, height_px, window.top_px, window.height_px, filter);
        let vertical_first = match order {
            PassOrder::HorizontalFirst => false,
            PassOrder::Pillow13 => is_vertical_first((self.width_px, self.height_px), (width_px, height_px)),
        };
        TwoPasses { source: self, columns, rows, vertical_first }
    }

    /// Filters rows `first..end` along the width.
    #[inline(always)]
    fn horizontal(&self, taps: &Taps, first: usize, end: usize) -> Self {
        let mut values = Vec::with_capacity(taps.windows.len() * (end - first));
        // Widened once: each value goes into several sums.
        let mut wide = vec![0_i16; self.width_px];
        for row in self.values.chunks_exact(self.width_px).take(end).skip(first) {
            for (wide, value) in wide.iter_mut().zip(row) {
                *wide = i16::from(*value);
            }
            for window in &taps.windows {
                let weights = window.weights.clone();
                let source = &wide[window.first..window.first + weights.len()];
                values.push(round_weighted(dot(source, &taps.high[weights.clone()], &taps.low[weights])));
            }
        }
        Self::new(taps.windows.len(), end - first, values)
    }

    /// Filters columns `first..end` along the height.
    #[inline(always)]
    fn vertical(&self, taps: &Taps, first: usize, end: usize) -> Self {
        let mut values = Vec::with_capacity(taps.windows.len() * (end - first));
        let mut sums = vec![0_i32; end - first];
        for window in &taps.windows {
            sums.fill(0);
            let rows = self.values.chunks_exact(self.width_px).skip(window.first);
            for (row, weight) in rows.zip(window.weights.clone().map(|index| taps.weight(index))) {
                for (sum, value) in sums.iter_mut().zip(&row[first..end]) {
                    *sum = sum.wrapping_add(i32::from(*value).wrapping_mul(weight));
                }
            }
            values.extend(sums.iter().map(|sum| round_weighted(*sum)));
        }
        Self::new(end - first, taps.windows.len(), values)
    }
}

/// Both passes over one plane, as a value that can be dispatched.
#[derive(Debug)]
struct TwoPasses<'a> {
    source: &'a Plane,
    columns: Taps,
    rows: Taps,
    vertical_first: bool,
}

impl WithSimd for TwoPasses<'_> {
    type Output = Plane;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Plane {
        let Self { source, columns, rows, vertical_first } = self;
        // What the second pass does not read, the first one does not compute.
        if vertical_first {
            let (first, end) = columns.span();
            let narrow = source.vertical(&rows, first, end);
            narrow.horizontal(&columns.shifted(first), 0, narrow.height_px)
        } else {
            let (first, end) = rows.span();
            let flat = source.horizontal(&columns, first, end);
            flat.vertical(&rows.shifted(first), 0, flat.width_px)
        }
    }
}

/// Pillow 13's rule: columns first where the height shrinks, and by more than twice what the width does.
fn is_vertical_first(from_px: (usize, usize), to_px: (usize, usize)) -> bool {
    // `from.1 - to.1 > 2 * (from.0 - to.0)` without negative numbers.
    from_px.1 > to_px.1 && from_px.1 + 2 * to_px.0 > to_px.1 + 2 * from_px.0
}

/// Fractional bits of a weight.
const WEIGHT_BITS: u32 = 22;

/// A weight is `high << LOW_BITS` plus `low`: two 16-bit halves, because processors multiply sixteen bits and
/// add neighbours in one instruction, and 32 bits only slowly.
const LOW_BITS: u32 = 12;

/// The weights of one axis.
#[derive(Debug)]
struct Taps {
    windows: Vec<TapWindow>,
    high: Vec<i16>,
    low: Vec<i16>,
}

/// Which source pixels make one target pixel.
#[derive(Debug)]
struct TapWindow {
    first: usize,
    /// Into [`Taps::high`] and [`Taps::low`].
    weights: std::ops::Range<usize>,
}

impl Taps {
    /// Computes the weights for target pixels `start..start + count` of an axis that goes from `from_px` to
    /// `to_px` pixels.
    fn new(from_px: usize, to_px: usize, start: usize, count: usize, filter: Filter) -> Self {
        if from_px == to_px {
            return Self::identity(start, count);
        }
        let scale = float(from_px) / float(to_px);
        let stretch = scale.max(1.0);
        let reach = filter.reach() * stretch;
        let mut taps = Self { windows: Vec::with_capacity(count), high: Vec::new(), low: Vec::new() };
        let mut weights = Vec::new();
        for target in start..start + count {
            let center = (float(target) + 0.5) * scale;
            let first = floor_index(center - reach + 0.5);
            let end = floor_index(center + reach + 0.5).min(from_px);
            weights.clear();
            weights.extend((first..end).map(|source| filter.weight((float(source) - center + 0.5) * (1.0 / stretch))));
            let sum: f64 = weights.iter().sum();
            taps.push(first, weights.iter().map(|weight| fixed_point(if sum == 0.0 { *weight } else { weight / sum })));
        }
        taps
    }

    /// Copies each pixel: the pass that Pillow skips because the axis keeps its length.
    fn identity(start: usize, count: usize) -> Self {
        let mut taps = Self { windows: Vec::with_capacity(count), high: Vec::new(), low: Vec::new() };
        for target in start..start + count {
            taps.push(target, std::iter::once(1 << WEIGHT_BITS));
        }
        taps
    }

    fn push(&mut self, first: usize, weights: impl Iterator<Item = i32>) {
        let start = self.high.len();
        for weight in weights {
            let (high, low) = (weight >> LOW_BITS, weight & ((1 << LOW_BITS) - 1));
            self.high.push(i16::try_from(high).expect("no weight is beyond 2 in 22-bit fixed point"));
            self.low.push(i16::try_from(low).expect("twelve bits fit sixteen"));
        }
        self.windows.push(TapWindow { first, weights: start..self.high.len() });
    }

    fn weight(&self, index: usize) -> i32 {
        (i32::from(self.high[index]) << LOW_BITS) + i32::from(self.low[index])
    }

    /// First source pixel that is read, and the one behind the last.
    fn span(&self) -> (usize, usize) {
        let first = self.windows.iter().map(|window| window.first).min().unwrap_or(0);
        let end = self.windows.iter().map(|window| window.first + window.weights.len()).max().unwrap_or(0);
        (first, end)
    }

    /// The same for a source whose first `by` pixels were left away.
    fn shifted(mut self, by: usize) -> Self {
        for window in &mut self.windows {
            window.first -= by;
        }
        self
    }
}

impl Filter {
    /// Half the kernel's width, in source pixels.
    fn reach(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The kernel at `x`. The order of the operations is Pillow's: it decides the last bit.
    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// Sums `values` times weights, exactly modulo 2^32; the whole sum fits 32 bits, its parts need not.
#[inline(always)]
fn dot(values: &[i16], high: &[i16], low: &[i16]) -> i32 {
    // One loop for each half: of a loop with both sums the compiler makes slow multiplications of 32 bits.
    (dot_half(values, high) << LOW_BITS).wrapping_add(dot_half(values, low))
}

#[inline(always)]
fn dot_half(values: &[i16], weights: &[i16]) -> i32 {
    let mut sum = 0_i32;
    for (value, weight) in values.iter().zip(weights) {
        // Nothing here can overflow but the sum, which may: wrapping throughout lets builds with overflow checks
        // use vector registers too.
        sum = sum.wrapping_add(i32::from(*value).wrapping_mul(i32::from(*weight)));
    }
    sum
}

/// Rounds a weighted sum to a pixel; halves go up, and overshoot is clamped.
#[inline(always)]
fn round_weighted(sum: i32) -> u8 {
    let rounded = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    u8::try_from(rounded.clamp(0, 255)).expect("clamped to a byte")
}

/// A weight in 22-bit fixed point, halves away from zero.
fn fixed_point(weight: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "weights are sums to one, far inside 32 bits")]
    let fixed = (weight * f64::from(1_u32 << WEIGHT_BITS) + 0.5_f64.copysign(weight)) as i32;
    fixed
}

fn float(length_px: usize) -> f64 {
    f64::from(u32::try_from(length_px).expect("a side is bounded by the limits"))
}

/// Rounds down to an index; what lies before the first pixel becomes the first.
fn floor_index(position: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and sides are bounded")]
    let index = position as usize;
    index
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture of busy stripes; the goldens were made with Pillow 13.0.0 from the same formula.
    pub(crate) fn picture(width_px: u32, height_px: u32) -> RgbImage {
        let mut pixels = Vec::new();
        for y in 0..height_px {
            for x in 0..width_px {
                pixels.extend([0, 1, 2].map(|channel| value(x, y, channel)));
            }
        }
        RgbImage::new(width_px, height_px, pixels).unwrap()
    }

    fn value(x: u32, y: u32, channel: u32) -> u8 {
        (((x * x * 7 + y * 13 + x * y * 3 + channel * 89) * (channel + 3)) >> 1).to_le_bytes()[0]
    }

    fn plane(width_px: u32, height_px: u32) -> Plane {
        let [red, _, _] = Plane::of_rgb(&picture(width_px, height_px));
        red
    }

    #[test]
    fn lanczos_shrinks_as_pillow_does() {
        let small = plane(37, 23).resize(8, 5, Filter::Lanczos, PassOrder::Pillow13);
        #[rustfmt::skip]
        assert_eq!(small.values(), [
            94, 115, 116, 131, 130, 118, 124, 130, 137, 119, 128, 132, 111, 116, 133, 124, 140, 121, 136, 137,
            132, 130, 130, 126, 117, 131, 120, 133, 138, 130, 134, 143, 128, 132, 118, 117, 129, 139, 130, 118,
        ]);
    }

    #[test]
    fn bicubic_enlarges_as_pillow_does() {
        let large = plane(5, 4).resize(9, 7, Filter::Bicubic, PassOrder::Pillow13);
        #[rustfmt::skip]
        assert_eq!(large.values(), [
            0, 0, 6, 20, 40, 66, 99, 146, 171, 5, 7, 14, 29, 49, 76, 111, 158, 184, 17, 20, 29,
            45, 68, 97, 133, 182, 208, 27, 33, 43, 61, 85, 113, 154, 215, 248, 38, 45, 57, 76, 101, 133,
            171, 216, 240, 51, 58, 72, 92, 120, 165, 180, 119, 84, 58, 65, 80, 101, 129, 183, 184, 61, 0,
        ]);
    }

    #[test]
    fn the_order_of_the_passes_shows_in_a_tall_picture() {
        let tall = plane(10, 100);
        let old = tall.resize(8, 3, Filter::Bicubic, PassOrder::HorizontalFirst);
        let new = tall.resize(8, 3, Filter::Bicubic, PassOrder::Pillow13);
        #[rustfmt::skip]
        assert_eq!(old.values(), [
            125, 124, 126, 126, 129, 126, 130, 126, 129, 128, 127, 126, 121, 131, 138, 130, 120, 127, 128, 128,
            126, 126, 131, 122,
        ]);
        #[rustfmt::skip]
        assert_eq!(new.values(), [
            125, 124, 127, 126, 129, 126, 130, 126, 128, 128, 127, 126, 121, 131, 138, 129, 120, 128, 128, 127,
            126, 127, 131, 122,
        ]);
    }

    #[test]
    fn a_window_holds_the_pixels_of_the_whole() {
        for order in [PassOrder::HorizontalFirst, PassOrder::Pillow13] {
            for (width, height) in [(20, 90), (90, 20), (10, 100)] {
                let whole = plane(10, 100).resize(width, height, Filter::Bicubic, order);
                let window = Window { left_px: 3, top_px: 5, width_px: 6, height_px: 9 };
                let part = plane(10, 100).resize_window(width, height, window, Filter::Bicubic, order);
                let rows = whole.values().chunks(width).skip(5).take(9);
                assert_eq!(part.values(), rows.flat_map(|row| row[3..9].to_vec()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_flat_plane_stays_flat_however_long() {
        // 32,768 pixels to one: the sum of a half of the weights exceeds 32 bits on its way.
        let flat = Plane::new(32_768, 1, vec![255; 32_768]);
        assert_eq!(flat.resize(1, 1, Filter::Lanczos, PassOrder::Pillow13).values(), [255]);
    }
}
