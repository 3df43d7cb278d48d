//! Luma and chroma to RGB (ITU-T H.273), halves of chroma interpolated between their four neighbours.

use re_rav1d::dav1d::pixel::YUVRange;
use re_rav1d::{Picture, PixelLayout, PlanarImageComponent, Plane};

use super::boxes::Color;
use super::{DecodeError, FORMAT, RgbImage, finish, index};

pub(super) fn to_rgb(picture: &Picture, color: Option<Color>) -> Result<RgbImage, DecodeError> {
    let (width, height) = (index(picture.width()), index(picture.height()));
    let color = color.unwrap_or_else(|| Color {
        matrix: u16::try_from(picture.matrix_coefficients() as u32).unwrap_or(UNSPECIFIED),
        is_full_range: picture.color_range() == YUVRange::Full,
    });
    let convert = Conversion::new(color.matrix)?;
    let scale = Scale::new(picture.bit_depth(), color.is_full_range, matches!(convert, Conversion::Identity));
    let luma = Samples::of(picture, PlanarImageComponent::Y, width);
    let chroma = match picture.pixel_layout() {
        PixelLayout::I400 => None,
        layout => {
            let (halve_x, halve_y) = (layout != PixelLayout::I444, layout == PixelLayout::I420);
            let chroma_width = if halve_x { width.div_ceil(2) } else { width };
            let plane = |component| Chroma {
                samples: Samples::of(picture, component, chroma_width),
                halve_x,
                halve_y,
                height: if halve_y { height.div_ceil(2) } else { height },
            };
            Some((plane(PlanarImageComponent::U), plane(PlanarImageComponent::V)))
        }
    };
    let mut pixels = Vec::with_capacity(width * height * 3);
    let (mut blues, mut reds) = (Vec::new(), Vec::new());
    for y in 0..height {
        if let Some((blue, red)) = &chroma {
            blue.row(y, width, &mut blues);
            red.row(y, width, &mut reds);
        }
        for x in 0..width {
            let luma = (luma.at(x, y) - scale.luma_zero) / scale.luma_range;
            let rgb = if chroma.is_some() {
                let of = |sample: f32| (sample - scale.chroma_zero) / scale.chroma_range;
                convert.rgb(luma, of(blues[x]), of(reds[x]))
            } else {
                [luma; 3]
            };
            pixels.extend(rgb.map(byte));
        }
    }
    finish(FORMAT, picture.width(), picture.height(), pixels)
}

const UNSPECIFIED: u16 = 2;

/// How luma and chroma make a colour.
#[derive(Clone, Copy, Debug)]
enum Conversion {
    /// The planes are green, blue and red.
    Identity,
    /// Green and orange differences.
    YCgCo,
    /// The weights of red and blue in luma.
    Weights { red: f32, blue: f32 },
}

impl Conversion {
    /// By `MatrixCoefficients` of ITU-T H.273, table 4.
    fn new(matrix: u16) -> Result<Self, DecodeError> {
        let weights = |red, blue| Ok(Self::Weights { red, blue });
        match matrix {
            0 => Ok(Self::Identity),
            1 => weights(0.2126, 0.0722),
            4 => weights(0.30, 0.11),
            // The picture that says nothing is taken for BT.601, as libavif does.
            UNSPECIFIED | 5 | 6 => weights(0.299, 0.114),
            7 => weights(0.212, 0.087),
            8 => Ok(Self::YCgCo),
            9 => weights(0.2627, 0.0593),
            _ => Err(DecodeError::unsupported(FORMAT, format_args!("colour matrix {matrix}"))),
        }
    }

    /// Luma in [0, 1], chroma in [-0.5, 0.5].
    fn rgb(self, luma: f32, first: f32, second: f32) -> [f32; 3] {
        match self {
            Self::Identity => [second, luma, first],
            Self::YCgCo => [luma - first + second, luma + first, luma - first - second],
            Self::Weights { red, blue } => {
                let r = luma + 2.0 * (1.0 - red) * second;
                let b = luma + 2.0 * (1.0 - blue) * first;
                [r, (luma - red * r - blue * b) / (1.0 - red - blue), b]
            }
        }
    }
}

/// Which stored numbers stand for black, white and no colour.
#[derive(Clone, Copy, Debug)]
struct Scale {
    luma_zero: f32,
    luma_range: f32,
    chroma_zero: f32,
    chroma_range: f32,
}

impl Scale {
    fn new(bit_depth: usize, is_full_range: bool, is_identity: bool) -> Self {
        let unit = if bit_depth > 8 { f32::from(1_u16 << (bit_depth - 8)) } else { 1.0 };
        let top = 256.0 * unit - 1.0;
        let (luma_zero, luma_range) = if is_full_range { (0.0, top) } else { (16.0 * unit, 219.0 * unit) };
        let (chroma_zero, chroma_range) = match (is_identity, is_full_range) {
            (true, _) => (luma_zero, luma_range),
            (false, true) => (128.0 * unit, top),
            (false, false) => (128.0 * unit, 224.0 * unit),
        };
        Self { luma_zero, luma_range, chroma_zero, chroma_range }
    }
}

/// One plane of 8-bit samples, or of wider ones in two bytes each.
#[derive(Debug)]
struct Samples {
    values: Vec<u16>,
    width: usize,
}

impl Samples {
    fn of(picture: &Picture, component: PlanarImageComponent, width: usize) -> Self {
        let plane: Plane = picture.plane(component);
        let (stride, _) = picture.plane_data_geometry(component);
        let rows = plane.chunks_exact(index(stride));
        let values = if picture.bit_depth() > 8 {
            let wide = |row: &[u8]| {
                row.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).take(width).collect::<Vec<_>>()
            };
            rows.flat_map(wide).collect()
        } else {
            rows.flat_map(|row| row.iter().take(width).map(|value| u16::from(*value))).collect()
        };
        Self { values, width }
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        f32::from(self.values[y * self.width + x])
    }
}

/// A plane that may have half the width, or half of both sides.
#[derive(Debug)]
struct Chroma {
    samples: Samples,
    height: usize,
    halve_x: bool,
    halve_y: bool,
}

impl Chroma {
    /// Row `y` at full width: three parts of the sample that covers a pixel, one of the next nearest, per axis.
    fn row(&self, y: usize, width: usize, out: &mut Vec<f32>) {
        let (near_y, far_y) = neighbours(y, self.halve_y, self.height);
        out.clear();
        out.extend((0..width).map(|x| {
            let (near_x, far_x) = neighbours(x, self.halve_x, self.samples.width);
            let near = 0.75 * self.samples.at(near_x, near_y) + 0.25 * self.samples.at(far_x, near_y);
            let far = 0.75 * self.samples.at(near_x, far_y) + 0.25 * self.samples.at(far_x, far_y);
            0.75 * near + 0.25 * far
        }));
    }
}

/// The sample that covers a pixel, and the one on the pixel's other side.
fn neighbours(position: usize, is_halved: bool, length: usize) -> (usize, usize) {
    if !is_halved {
        return (position, position);
    }
    let near = position / 2;
    let far = if position.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(length - 1) };
    (near, far)
}

fn byte(value: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a byte")]
    let byte = (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    byte
}
