//! From the samples of the components to pixels: libjpeg's upsampling and colour conversion, bit by bit.

use pulp::{Simd, WithSimd};

use super::Halt;
use super::frame::{Component, Frame};

/// The samples of one component, blocks whole.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) stride: usize,
    pub(super) samples: Vec<u8>,
}

impl Plane {
    /// Mid-grey, as blocks without data are.
    pub(super) fn of(component: &Component) -> Self {
        let stride = 8 * component.all_columns;
        Self { stride, samples: vec![128; stride * 8 * component.all_rows] }
    }

    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..][..self.stride]
    }
}

/// What the components stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colors {
    Grey,
    Rgb,
    /// Luma and two chromas.
    Ycc,
    Cmyk,
    /// Luma and chromas of the inverted first three inks, and the fourth.
    Ycck,
}

impl Colors {
    /// By the segments of JFIF and Adobe, else by the names of the components.
    pub(super) fn of(frame: &Frame, is_jfif: bool, adobe_transform: Option<u8>) -> Result<Self, Halt> {
        Ok(match (frame.components.as_slice(), adobe_transform) {
            ([_], _) => Self::Grey,
            ([_, _, _], _) if is_jfif => Self::Ycc,
            ([_, _, _], Some(0)) => Self::Rgb,
            ([_, _, _], Some(_)) => Self::Ycc,
            ([a, b, c], None) if [a.id, b.id, c.id] == *b"RGB" => Self::Rgb,
            ([_, _, _], None) => Self::Ycc,
            ([_, _, _, _], None | Some(0)) => Self::Cmyk,
            ([_, _, _, _], Some(_)) => Self::Ycck,
            _ => return Err(Halt::Unsupported("neither one, three nor four components")),
        })
    }

    /// Whether a pixel has four values, and more of them make it darker.
    pub(super) fn are_inks(self) -> bool {
        matches!(self, Self::Cmyk | Self::Ycck)
    }
}

/// How the samples of a component become one for each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upsampling {
    None,
    /// Twice as many in a row, three parts of the nearer and one of the farther.
    Across,
    /// Twice as many in a column.
    Down,
    /// Both.
    Both,
    /// Each repeated so often in a row and in a column.
    Repeat {
        across: usize,
        down: usize,
    },
}

impl Upsampling {
    fn of(component: &Component, frame: &Frame) -> Result<Self, Halt> {
        let (across, down) = (frame.across, frame.down);
        let is_wide = component.width > 2;
        if across % component.across != 0 || down % component.down != 0 {
            return Err(Halt::Unsupported("sampling factors that are no multiples"));
        }
        Ok(match (across / component.across, down / component.down) {
            (1, 1) => Self::None,
            (2, 1) if is_wide => Self::Across,
            (1, 2) => Self::Down,
            (2, 2) if is_wide => Self::Both,
            (across, down) => Self::Repeat { across, down },
        })
    }

    /// The samples of pixel row `y`.
    #[inline(always)]
    fn row<'a>(self, plane: &'a Plane, component: &Component, y: usize, scratch: &'a mut Scratch) -> &'a [u8] {
        let (width, last) = (component.width, component.height - 1);
        let out = scratch.samples.as_mut_slice();
        // The nearest row of samples, and the next nearest: above for even rows, below for odd ones.
        let near = y / 2;
        let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(last) };
        match self {
            Self::None => return plane.row(y),
            Self::Across => {
                let row = &plane.row(y)[..width];
                out[0] = row[0];
                out[2 * width - 1] = row[width - 1];
                for (pair, out) in row.windows(2).zip(out[1..2 * width - 1].chunks_exact_mut(2)) {
                    let [left, right] = [pair[0], pair[1]].map(u16::from);
                    out[0] = low8((3 * left + right + 2) >> 2);
                    out[1] = low8((3 * right + left + 1) >> 2);
                }
            }
            Self::Down => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                let rows = plane.row(near)[..width].iter().zip(&plane.row(far)[..width]);
                for (out, (near, far)) in out.iter_mut().zip(rows) {
                    *out = low8((3 * u16::from(*near) + u16::from(*far) + bias) >> 2);
                }
            }
            Self::Both => {
                let sums = &mut scratch.sums[..width];
                let rows = plane.row(near)[..width].iter().zip(&plane.row(far)[..width]);
                for (sum, (near, far)) in sums.iter_mut().zip(rows) {
                    *sum = 3 * u16::from(*near) + u16::from(*far);
                }
                out[0] = low8((4 * sums[0] + 8) >> 4);
                out[2 * width - 1] = low8((4 * sums[width - 1] + 7) >> 4);
                for (pair, out) in sums.windows(2).zip(out[1..2 * width - 1].chunks_exact_mut(2)) {
                    let (left, right) = (pair[0], pair[1]);
                    out[0] = low8((3 * left + right + 7) >> 4);
                    out[1] = low8((3 * right + left + 8) >> 4);
                }
            }
            Self::Repeat { across, down } => {
                for (out, sample) in out.chunks_mut(across).zip(plane.row(y / down)) {
                    out.fill(*sample);
                }
            }
        }
        &scratch.samples
    }
}

/// Room for one row of one component.
#[derive(Debug)]
struct Scratch {
    samples: Vec<u8>,
    sums: Vec<u16>,
}

#[inline(always)]
fn low8(value: u16) -> u8 {
    let [low, _] = value.to_le_bytes();
    low
}

/// Checks that the components can be brought to one size.
pub(super) fn check(frame: &Frame) -> Result<(), Halt> {
    frame.components.iter().try_for_each(|component| Upsampling::of(component, frame).map(drop))
}

/// The components of a frame, to be made pixels.
#[derive(Debug)]
pub(super) struct Pixels<'a> {
    frame: &'a Frame,
    planes: &'a [Plane],
    colors: Colors,
    methods: Vec<Upsampling>,
}

impl<'a> Pixels<'a> {
    pub(super) fn new(frame: &'a Frame, planes: &'a [Plane], colors: Colors) -> Result<Self, Halt> {
        let methods = frame.components.iter().map(|component| Upsampling::of(component, frame));
        Ok(Self { frame, planes, colors, methods: methods.collect::<Result<_, _>>()? })
    }

    /// Pixel row `y` of a component.
    #[inline(always)]
    fn row<'b>(&'b self, component: usize, y: usize, scratch: &'b mut Scratch) -> &'b [u8] {
        let (plane, method) = (&self.planes[component], self.methods[component]);
        &method.row(plane, &self.frame.components[component], y, scratch)[..self.frame.width]
    }
}

impl WithSimd for Pixels<'_> {
    /// Three bytes a pixel, or four where the components are inks.
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        let Frame { width, height, .. } = *self.frame;
        let channels = if self.colors.are_inks() { 4 } else { 3 };
        let mut pixels = vec![0; width * height * channels];
        // A row may be longer than the image is wide, by less than a sample of the coarsest component.
        let room = || Scratch { samples: vec![0; width + 8], sums: vec![0; width] };
        let [mut a, mut b, mut c, mut d] = [room(), room(), room(), room()];
        for (y, out) in pixels.chunks_exact_mut(width * channels).enumerate() {
            let first = self.row(0, y, &mut a);
            if self.colors == Colors::Grey {
                for (out, value) in out.chunks_exact_mut(3).zip(first) {
                    out.fill(*value);
                }
                continue;
            }
            let (second, third) = (self.row(1, y, &mut b), self.row(2, y, &mut c));
            match self.colors {
                Colors::Grey | Colors::Rgb => interleave([first, second, third], out),
                Colors::Ycc => convert([first, second, third], out),
                // By Adobe's convention, which Pillow takes all files to follow, inks are stored inverted.
                Colors::Cmyk => {
                    let inks = [first, second, third, self.row(3, y, &mut d)];
                    for (x, out) in out.chunks_exact_mut(4).enumerate() {
                        out.copy_from_slice(&inks.map(|ink| 255 - ink[x]));
                    }
                }
                Colors::Ycck => {
                    let black = self.row(3, y, &mut d);
                    for (x, out) in out.chunks_exact_mut(4).enumerate() {
                        let [cyan, magenta, yellow] = rgb([first[x], second[x], third[x]]);
                        out.copy_from_slice(&[cyan, magenta, yellow, 255 - black[x]]);
                    }
                }
            }
        }
        pixels
    }
}

/// Pixels that are converted at once.
const RUN: usize = 16;

#[inline(always)]
fn interleave([red, green, blue]: [&[u8]; 3], out: &mut [u8]) {
    for (out, ((red, green), blue)) in out.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue)) {
        (out[0], out[1], out[2]) = (*red, *green, *blue);
    }
}

/// Luma and chromas to red, green and blue.
#[inline(always)]
fn convert([luma, blue, red]: [&[u8]; 3], out: &mut [u8]) {
    let (runs, _) = out.as_chunks_mut::<{ 3 * RUN }>();
    let whole = runs.len() * RUN;
    let sources = luma.as_chunks::<RUN>().0.iter().zip(blue.as_chunks::<RUN>().0).zip(red.as_chunks::<RUN>().0);
    for (run, ((luma, blue), red)) in runs.iter_mut().zip(sources) {
        let [mut r, mut g, mut b] = [[0; RUN]; 3];
        let inputs = luma.iter().zip(blue).zip(red);
        let outputs = r.iter_mut().zip(&mut g).zip(&mut b);
        for (((r, g), b), ((luma, blue), red)) in outputs.zip(inputs) {
            [*r, *g, *b] = rgb([*luma, *blue, *red]);
        }
        interleave([&r, &g, &b], run);
    }
    for (x, out) in out.chunks_exact_mut(3).enumerate().skip(whole) {
        out.copy_from_slice(&rgb([luma[x], blue[x], red[x]]));
    }
}

const HALF: i32 = 1 << 15;

/// JFIF's transform in sixteen-bit fixed point.
#[inline(always)]
fn rgb([luma, blue, red]: [u8; 3]) -> [u8; 3] {
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    [
        clamped(luma + ((91_881 * red + HALF) >> 16)),
        clamped(luma + ((-22_554 * blue - 46_802 * red + HALF) >> 16)),
        clamped(luma + ((116_130 * blue + HALF) >> 16)),
    ]
}

#[inline(always)]
fn clamped(value: i32) -> u8 {
    let [low, ..] = value.clamp(0, 255).to_le_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(width: usize, height: usize) -> Component {
        Component {
            id: 1,
            across: 1,
            down: 1,
            quantisation_index: 0,
            dc_table: 0,
            ac_table: 0,
            quantisation: None,
            width,
            height,
            columns: 1,
            rows: 1,
            all_columns: 1,
            all_rows: 1,
        }
    }

    #[test]
    fn upsampling_takes_three_parts_of_the_nearer_and_one_of_the_farther() {
        let mut plane = Plane { stride: 8, samples: vec![0; 64] };
        plane.samples[..4].copy_from_slice(&[0, 100, 200, 99]);
        plane.samples[8..12].copy_from_slice(&[40, 60, 80, 99]);
        let mut scratch = Scratch { samples: vec![0; 16], sums: vec![0; 16] };
        let mut row = |method: Upsampling, y: usize, length: usize| {
            method.row(&plane, &component(3, 2), y, &mut scratch)[..length].to_vec()
        };
        // What fills up the block, 99, has no influence.
        assert_eq!(row(Upsampling::Across, 0, 6), [0, 25, 75, 125, 175, 200]);
        assert_eq!(row(Upsampling::Down, 0, 3), [0, 100, 200]);
        assert_eq!(row(Upsampling::Down, 1, 3), [10, 90, 170]);
        assert_eq!(row(Upsampling::Down, 2, 3), [30, 70, 110]);
        assert_eq!(row(Upsampling::Down, 3, 3), [40, 60, 80]);
        assert_eq!(row(Upsampling::Both, 0, 6), [0, 25, 75, 125, 175, 200]);
        assert_eq!(row(Upsampling::Repeat { across: 2, down: 2 }, 2, 6), [40, 40, 60, 60, 80, 80]);
    }

    #[test]
    fn colours_are_those_of_the_fixed_point_transform() {
        assert_eq!(rgb([128, 128, 128]), [128; 3]);
        assert_eq!(rgb([76, 85, 255]), [254, 0, 0]);
        assert_eq!(rgb([255, 0, 0]), [76, 255, 28]);
    }

    #[test]
    fn a_run_and_its_rest_are_converted_alike() {
        let planes: [Vec<u8>; 3] =
            [7, 11, 13].map(|step| (0..37_u8).map(|x| x.wrapping_mul(step).wrapping_add(step)).collect());
        let [luma, blue, red] = &planes;
        let mut out = [0; 3 * 37];
        convert([luma, blue, red], &mut out);
        for (x, pixel) in out.chunks_exact(3).enumerate() {
            assert_eq!(pixel, rgb([luma[x], blue[x], red[x]]));
        }
    }
}
