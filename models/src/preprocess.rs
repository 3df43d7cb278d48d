//! Turns a picture into CLIP's input as OpenAI's own preprocessing does.
//!
//! The short side becomes `size_px` by Pillow's antialiased bicubic, the middle square is cut out, values go to
//! [0, 1], then to zero mean and unit deviation per channel. Rows are resized before columns, always: that is
//! what Pillow did when CLIP and MMC4 were made.

use crate::decode::RgbImage;
use crate::resample::{Filter, PassOrder, Plane, Window};

/// Mean of CLIP's training pictures per channel (openai/CLIP, `clip.py`).
pub const CLIP_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of CLIP's training pictures per channel (openai/CLIP, `clip.py`).
#[expect(clippy::excessive_precision, reason = "the digits as openai/CLIP writes them")]
pub const CLIP_STD: [f32; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Appends one picture to `out`, channel by channel: 3 x `size_px` x `size_px` values.
///
/// # Panics
/// If `size_px` is zero.
pub fn clip_pixels(image: &RgbImage, size_px: u32, mean: [f32; 3], std: [f32; 3], out: &mut Vec<f32>) {
    for ((plane, mean), std) in square(image, size_px).iter().zip(mean).zip(std) {
        // 256 values are possible; the division is not repeated for each pixel.
        let normalised: [f32; 256] = std::array::from_fn(|value| {
            (f32::from(u8::try_from(value).expect("an index of 256 values fits a byte")) / 255.0 - mean) / std
        });
        out.extend(plane.values().iter().map(|value| normalised[usize::from(*value)]));
    }
}

/// Resizes the short side to `size_px` and cuts the middle square out, as 8-bit channels.
pub fn square(image: &RgbImage, size_px: u32) -> [Plane; 3] {
    let (width_px, height_px) = resized(image.width_px(), image.height_px(), size_px);
    let size = usize::try_from(size_px).expect("32 bits fit an index");
    let [width, height] = [width_px, height_px].map(|side| usize::try_from(side).expect("32 bits fit an index"));
    let window = Window { left_px: margin(width, size), top_px: margin(height, size), width_px: size, height_px: size };
    Plane::of_rgb(image)
        .map(|plane| plane.resize_window(width, height, window, Filter::Bicubic, PassOrder::HorizontalFirst))
}

/// The size whose short side is `size_px`; the long one is cut down to a whole pixel (torchvision's rule).
fn resized(width_px: u32, height_px: u32, size_px: u32) -> (u32, u32) {
    let (short, long) = (width_px.min(height_px), width_px.max(height_px));
    let long = u64::from(size_px) * u64::from(long) / u64::from(short);
    let long = u32::try_from(long).expect("the aspect ratio is bounded by the limit on a side");
    if width_px <= height_px { (size_px, long) } else { (long, size_px) }
}

/// Pixels left away before the square; halves go to the even number, as Python's `round` has it.
fn margin(length: usize, size: usize) -> usize {
    let twice = length - size;
    let half = twice / 2;
    if twice % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}
