//! From the samples of the components to pixels: libjpeg's upsampling and colour conversion, bit by bit.

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
    Repeat { across: usize, down: usize },
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
        let far = if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(last) };
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
                let bias = if y % 2 == 0 { 1 } else { 2 };
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

/// The pixels: three bytes each, or four where the components are inks.
#[inline(always)]
pub(super) fn pixels(frame: &Frame, planes: &[Plane], colors: Colors) -> Result<Vec<u8>, Halt> {
    let channels = if colors.are_inks() { 4 } else { 3 };
    let mut pixels = vec![0; frame.width * frame.height * channels];
    // A row may be longer than the image is wide, by less than a sample of the coarsest component.
    let room = || Scratch { samples: vec![0; frame.width + 8], sums: vec![0; frame.width] };
    let mut scratch: Vec<Scratch> = planes.iter().map(|_| room()).collect();
    let methods: Vec<Upsampling> =
        frame.components.iter().map(|component| Upsampling::of(component, frame)).collect::<Result<_, _>>()?;
    for (y, out) in pixels.chunks_exact_mut(frame.width * channels).enumerate() {
        let mut scratch = scratch.iter_mut();
        let mut row = |index: usize| {
            let scratch = scratch.next().expect("one for each component");
            &methods[index].row(&planes[index], &frame.components[index], y, scratch)[..frame.width]
        };
        match colors {
            Colors::Grey => {
                for (out, value) in out.chunks_exact_mut(3).zip(row(0)) {
                    out.fill(*value);
                }
            }
            Colors::Rgb => {
                let (red, green, blue) = (row(0), row(1), row(2));
                for (out, ((red, green), blue)) in out.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue)) {
                    out.copy_from_slice(&[*red, *green, *blue]);
                }
            }
            Colors::Ycc => {
                let (luma, blue, red) = (row(0), row(1), row(2));
                for (out, ((luma, blue), red)) in out.chunks_exact_mut(3).zip(luma.iter().zip(blue).zip(red)) {
                    out.copy_from_slice(&rgb(*luma, *blue, *red));
                }
            }
            // By Adobe's convention, which Pillow takes all files to follow, inks are stored inverted.
            Colors::Cmyk => {
                let inks = [row(0), row(1), row(2), row(3)];
                for (x, out) in out.chunks_exact_mut(4).enumerate() {
                    out.copy_from_slice(&inks.map(|ink| 255 - ink[x]));
                }
            }
            Colors::Ycck => {
                let (luma, blue, red, black) = (row(0), row(1), row(2), row(3));
                for (x, out) in out.chunks_exact_mut(4).enumerate() {
                    let [cyan, magenta, yellow] = rgb(luma[x], blue[x], red[x]);
                    out.copy_from_slice(&[cyan, magenta, yellow, 255 - black[x]]);
                }
            }
        }
    }
    Ok(pixels)
}

/// JFIF's transform in sixteen-bit fixed point.
#[inline(always)]
fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let luma = i32::from(luma);
    let [blue, red] = [blue, red].map(|chroma| i32::from(chroma) - 128);
    const HALF: i32 = 1 << 15;
    [
        luma + ((91_881 * red + HALF) >> 16),
        luma + ((-22_554 * blue - 46_802 * red + HALF) >> 16),
        luma + ((116_130 * blue + HALF) >> 16),
    ]
    .map(|value| {
        let [low, ..] = value.clamp(0, 255).to_le_bytes();
        low
    })
}
