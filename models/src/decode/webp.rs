//! WebP, by the `image-webp` crate.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::{DecodeError, Format, Inspected, RgbImage, finish, metadata};

const FORMAT: Format = Format::Webp;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let mut decoder = open(bytes)?;
    let (width_px, height_px) = decoder.dimensions();
    let mut inspected = Inspected::new(FORMAT, width_px, height_px);
    inspected.had_alpha = decoder.has_alpha();
    inspected.animated = decoder.is_animated() && decoder.num_frames() > 1;
    // Metadata that cannot be read says nothing; the pixels decide whether the file is good.
    let exif = decoder.exif_metadata().unwrap_or(None);
    let xmp = decoder.xmp_metadata().unwrap_or(None);
    inspected.exif_orientation = metadata::orientation(exif.as_deref(), xmp.as_deref());
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut decoder = open(bytes)?;
    let (width_px, height_px) = decoder.dimensions();
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    if decoder.is_animated() {
        // The animation starts on transparent black, whatever background the file names.
        decoder.set_background_color([0; 4]).map_err(|cause| refuse(&cause))?;
    }
    let mut pixels = super::buffer(width_px, height_px, channels)?;
    decoder.read_image(&mut pixels).map_err(|cause| refuse(&cause))?;
    let rgb = if channels == 4 { super::drop_fourth(&pixels) } else { pixels };
    finish(FORMAT, width_px, height_px, rgb)
}

fn open(bytes: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, DecodeError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|cause| refuse(&cause))?;
    // Bounds the metadata; it cannot be longer than the file.
    decoder.set_memory_limit(bytes.len());
    Ok(decoder)
}

fn refuse(cause: &DecodingError) -> DecodeError {
    match cause {
        DecodingError::IoError(cause) => DecodeError::io(FORMAT, cause),
        DecodingError::UnsupportedFeature(_) => DecodeError::unsupported(FORMAT, cause),
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}
