//! Bounds an image and stores it as JPEG, the form in which pixels travel between the stages.

use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use crate::decode::RgbImage;
use crate::resample::{Filter, PassOrder, Plane};

/// Why an image could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// JPEG holds sides of sixteen bits.
    #[error("{width_px} x {height_px} px do not fit a jpeg file")]
    TooLarge {
        /// Columns.
        width_px: u32,
        /// Rows.
        height_px: u32,
    },
    /// The encoder's own.
    #[error("failed to encode a jpeg file")]
    Encoder {
        /// The encoder's words.
        #[source]
        source: EncodingError,
    },
}

/// Shrinks `image` so that its longest side is at most `max_side_px`, and never enlarges it (ImageMagick's
/// geometry `800x800>`, which MMC4 downloaded with). Lanczos.
pub fn bound(image: RgbImage, max_side_px: u32) -> RgbImage {
    let (width_px, height_px) = bounded(image.width_px(), image.height_px(), max_side_px);
    if (width_px, height_px) == (image.width_px(), image.height_px()) {
        return image;
    }
    let [width, height] =
        [width_px, height_px].map(|side| usize::try_from(side).expect("not longer than the source's side"));
    let [red, green, blue] =
        Plane::of_rgb(&image).map(|plane| plane.resize(width, height, Filter::Lanczos, PassOrder::HorizontalFirst));
    let channels = red.values().iter().zip(green.values()).zip(blue.values());
    let pixels = channels.flat_map(|((red, green), blue)| [*red, *green, *blue]).collect();
    RgbImage::new(width_px, height_px, pixels).expect("three channels of the target's size")
}

/// The size whose longest side is at most `max_side_px`; the other one is rounded, halves up, and is at least 1.
///
/// # Panics
/// If `max_side_px` is zero.
pub fn bounded(width_px: u32, height_px: u32, max_side_px: u32) -> (u32, u32) {
    assert!(max_side_px > 0, "an image has at least one pixel");
    let longest = width_px.max(height_px);
    if longest <= max_side_px {
        return (width_px, height_px);
    }
    let scaled = |side: u32| {
        let (side, bound, longest) = (u64::from(side), u64::from(max_side_px), u64::from(longest));
        u32::try_from((2 * side * bound + longest) / (2 * longest)).expect("not longer than the bound").max(1)
    };
    (scaled(width_px), scaled(height_px))
}

/// Stores `image` as a baseline JPEG file with chroma of half the size, `quality` 1 to 100.
///
/// # Errors
/// A side beyond 65,535 px.
pub fn encode_jpeg(image: &RgbImage, quality: u8) -> Result<Vec<u8>, EncodeError> {
    let too_large = || EncodeError::TooLarge { width_px: image.width_px(), height_px: image.height_px() };
    let width = u16::try_from(image.width_px()).map_err(|_| too_large())?;
    let height = u16::try_from(image.height_px()).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let stored = encoder.encode(image.pixels(), width, height, ColorType::Rgb);
    stored.map_err(|source| EncodeError::Encoder { source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use weft_core::limits::Limits;

    use super::*;
    use crate::decode::decode;
    use crate::resample::tests::picture;

    #[test]
    fn the_longest_side_is_bounded_and_the_other_rounded() {
        assert_eq!(bounded(800, 600, 800), (800, 600));
        assert_eq!(bounded(1_600, 1_001, 800), (800, 501));
        assert_eq!(bounded(1_000, 3_000, 800), (267, 800));
        assert_eq!(bounded(30_000, 1, 800), (800, 1));
    }

    #[test]
    fn a_small_image_is_left_alone() {
        assert_eq!(bound(picture(30, 20), 30), picture(30, 20));
        let smaller = bound(picture(30, 20), 15);
        assert_eq!((smaller.width_px(), smaller.height_px()), (15, 10));
    }

    #[test]
    fn a_stored_image_comes_back_nearly_the_same() {
        let flat = RgbImage::new(33, 17, [200, 100, 50].repeat(33 * 17)).unwrap();
        let bytes = encode_jpeg(&flat, 95).unwrap();
        let decoded = decode(&bytes, &Limits::default()).unwrap().rgb;
        assert_eq!((decoded.width_px(), decoded.height_px()), (33, 17));
        for (stored, original) in decoded.pixels().iter().zip(flat.pixels()) {
            assert!(stored.abs_diff(*original) <= 3);
        }
    }
}
