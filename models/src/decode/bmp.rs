//! Windows bitmaps, by the `image` crate.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::{DynamicImage, ImageDecoder, ImageError};
use weft_core::limits::Limits;

use super::{DecodeError, Format, Inspected, RgbImage, finish, le16, le32};

const FORMAT: Format = Format::Bmp;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let truncated = DecodeError::Truncated { format: FORMAT };
    let Some(header_bytes) = le32(bytes, 14) else { return Err(truncated) };
    let (width, height) = if header_bytes == 12 {
        // OS/2's first header has sides of sixteen bits.
        (le16(bytes, 18).map(u32::from), le16(bytes, 20).map(u32::from))
    } else {
        // Signed numbers: a negative height stores the rows from the top.
        let side = |at| le32(bytes, at).map(|side| side.cast_signed().unsigned_abs());
        (le32(bytes, 18), side(22))
    };
    let (Some(width_px), Some(height_px)) = (width, height) else { return Err(truncated) };
    Ok(Inspected::new(FORMAT, width_px, height_px))
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, DecodeError> {
    let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(|cause| refuse(&cause))?;
    let mut bounds = image::Limits::default();
    bounds.max_image_width = Some(limits.image_side_px);
    bounds.max_image_height = Some(limits.image_side_px);
    decoder.set_limits(bounds).map_err(|cause| refuse(&cause))?;
    let rgb = DynamicImage::from_decoder(decoder).map_err(|cause| refuse(&cause))?.into_rgb8();
    finish(FORMAT, rgb.width(), rgb.height(), rgb.into_raw())
}

fn refuse(cause: &ImageError) -> DecodeError {
    match cause {
        ImageError::IoError(cause) => DecodeError::io(FORMAT, cause),
        ImageError::Unsupported(_) => DecodeError::unsupported(FORMAT, cause),
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}
