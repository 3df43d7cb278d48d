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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resample::tests::picture;

    #[test]
    fn the_square_holds_the_pixels_that_pillow_makes() {
        // Made with Pillow: 30 x 17 to 10 x 6, rows first, then the six columns from the second on.
        let [red, green, blue] = square(&picture(30, 17), 6);
        #[rustfmt::skip]
        assert_eq!(red.values(), [
            105, 127, 126, 130, 125, 132, 108, 103, 112, 149, 127, 120, 126, 143, 137, 117, 125, 98,
            116, 129, 146, 136, 129, 104, 119, 118, 143, 135, 124, 170, 134, 124, 134, 137, 138, 136,
        ]);
        #[rustfmt::skip]
        assert_eq!(green.values(), [
            130, 112, 148, 111, 138, 120, 127, 110, 126, 106, 115, 116, 138, 122, 151, 88, 119, 141,
            109, 136, 103, 124, 122, 120, 134, 147, 126, 129, 114, 153, 111, 129, 120, 122, 107, 118,
        ]);
        #[rustfmt::skip]
        assert_eq!(blue.values(), [
            111, 127, 107, 115, 120, 150, 121, 135, 138, 137, 137, 126, 102, 113, 157, 126, 120, 131,
            119, 128, 151, 113, 129, 134, 115, 136, 137, 148, 137, 115, 111, 126, 130, 120, 127, 122,
        ]);
    }

    #[test]
    fn pixels_come_channel_by_channel_and_normalised() {
        let mut out = Vec::new();
        clip_pixels(&picture(30, 17), 6, CLIP_MEAN, CLIP_STD, &mut out);
        assert_eq!(out.len(), 3 * 6 * 6);
        assert!((out[0] - (105.0 / 255.0 - 0.481_454_66) / 0.268_629_54).abs() < 1e-6);
        assert!((out[36] - (130.0 / 255.0 - 0.457_827_5) / 0.261_302_58).abs() < 1e-6);
    }

    #[test]
    fn half_a_pixel_of_margin_goes_to_the_even_side() {
        assert_eq!([7, 8, 9, 11, 13].map(|length| margin(length, 6)), [0, 1, 2, 2, 4]);
    }

    #[test]
    fn the_long_side_is_cut_down() {
        assert_eq!(resized(30, 17, 6), (10, 6));
        assert_eq!(resized(17, 30, 6), (6, 10));
        assert_eq!(resized(1, 32_768, 224), (224, 7_340_032));
    }
}
