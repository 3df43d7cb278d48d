//! WebP, by the `image-webp` crate.

use std::borrow::Cow;
use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::{DecodeError, Format, Inspected, RgbImage, finish, index, le32, metadata};

const FORMAT: Format = Format::Webp;

/// In the extended header: there may be transparency.
const ALPHA_FLAG: u8 = 0x10;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let bytes = readable(bytes)?;
    let mut decoder = open(&bytes)?;
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
    let bytes = readable(bytes)?;
    let decoder = open(&bytes)?;
    if decoder.is_animated() { decode_first_frame(decoder.dimensions(), &bytes) } else { decode_still(decoder) }
}

/// The file as libwebp has it: nothing is missing that a length speaks of, and what stands behind the end is gone.
/// Where transparency is announced and none comes, it is announced no more: the decoder would wait for it.
fn readable(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let truncated = || DecodeError::Truncated { format: FORMAT };
    let end = index(le32(bytes, 4).ok_or_else(truncated)?).saturating_add(8);
    let bytes = bytes.get(..end).ok_or_else(truncated)?;
    let mut kinds = Vec::new();
    let mut at = 12;
    while let Some(length) = le32(bytes, at + 4).map(index) {
        kinds.push(&bytes[at..at + 4]);
        at = (at + 8).saturating_add(length);
        if at > end {
            return Err(truncated());
        }
        // Chunks are padded to an even length.
        at += length % 2;
    }
    let has = |kind: &[u8]| kinds.contains(&kind);
    if kinds.first() == Some(&&b"VP8X"[..]) && has(b"VP8 ") && !has(b"ALPH") && !has(b"ANMF") {
        let mut changed = bytes.to_vec();
        changed[20] &= !ALPHA_FLAG;
        return Ok(Cow::Owned(changed));
    }
    Ok(Cow::Borrowed(bytes))
}

fn decode_still(mut decoder: WebPDecoder<Cursor<&[u8]>>) -> Result<RgbImage, DecodeError> {
    let (width_px, height_px) = decoder.dimensions();
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut pixels = super::buffer(width_px, height_px, channels)?;
    decoder.read_image(&mut pixels).map_err(|cause| refuse(&cause))?;
    let rgb = if channels == 4 { super::drop_fourth(&pixels) } else { pixels };
    finish(FORMAT, width_px, height_px, rgb)
}

/// Places the first frame on a transparent black canvas, whatever background the file names.
///
/// The frame is read as a still of its own: composing it would lose the colour under transparent pixels.
fn decode_first_frame((width_px, height_px): (u32, u32), bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let truncated = || DecodeError::Truncated { format: FORMAT };
    let frame = first_frame(bytes).ok_or_else(truncated)?;
    // Left, top, width and height of three bytes each, the first two halved and the others less one.
    let field = |at: usize| frame.get(at..at + 3).map(|field| u32::from_le_bytes([field[0], field[1], field[2], 0]));
    let (Some(left), Some(top), Some(size), Some(chunks)) = (field(0), field(3), frame.get(6..12), frame.get(16..))
    else {
        return Err(truncated());
    };
    let mut still = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0".to_vec();
    // The flag says that there may be transparency: in its own chunk, or inside a lossless one.
    let has_alpha = chunks.starts_with(b"ALPH") || chunks.starts_with(b"VP8L");
    still.extend([if has_alpha { ALPHA_FLAG } else { 0 }, 0, 0, 0]);
    still.extend(size);
    still.extend(chunks);
    let length = u32::try_from(still.len() - 8).map_err(|_| truncated())?;
    still[4..8].copy_from_slice(&length.to_le_bytes());
    let frame = decode_still(open(&still)?)?;

    let (left, top) = (index(left) * 2, index(top) * 2);
    let (width, height) = (index(width_px), index(height_px));
    if left + frame.width_index() > width || top + frame.height_index() > height {
        return Err(DecodeError::corrupt(FORMAT, "a frame outside its canvas"));
    }
    let mut pixels = super::buffer(width_px, height_px, 3)?;
    let rows = pixels.chunks_exact_mut(width * 3).skip(top);
    for (row, source) in rows.zip(frame.pixels().chunks_exact(frame.width_index() * 3)) {
        row[left * 3..left * 3 + source.len()].copy_from_slice(source);
    }
    finish(FORMAT, width_px, height_px, pixels)
}

/// The payload of the first animation frame.
fn first_frame(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    loop {
        let length = index(le32(rest, 4)?);
        let body = rest.get(8..)?;
        if rest.starts_with(b"ANMF") {
            return body.get(..length);
        }
        // Chunks are padded to an even length.
        rest = body.get(length.checked_next_multiple_of(2)?..)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut body = b"WEBP".to_vec();
        for (kind, payload) in chunks {
            body.extend(*kind);
            body.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
            body.extend(*payload);
            body.resize(body.len().next_multiple_of(2), 0);
        }
        let length = u32::try_from(body.len()).unwrap();
        [b"RIFF".as_slice(), &length.to_le_bytes(), &body].concat()
    }

    #[test]
    fn a_file_is_as_long_as_its_lengths_say() {
        let mut whole = Vec::new();
        image_webp::WebPEncoder::new(&mut whole).encode(&[9; 12], 2, 2, image_webp::ColorType::Rgb8).unwrap();
        assert_eq!(decode(&whole).unwrap().pixels(), [9; 12]);
        let behind = [whole.as_slice(), b"what stands behind the end"].concat();
        assert_eq!(decode(&behind).unwrap().pixels(), [9; 12]);
        assert_eq!(decode(&whole[..whole.len() - 1]).unwrap_err().name(), "truncated");
        let mut chunk_too_long = whole.clone();
        chunk_too_long[16] += 2;
        assert_eq!(decode(&chunk_too_long).unwrap_err().name(), "truncated");
    }

    #[test]
    fn transparency_that_does_not_come_is_not_waited_for() {
        let header: &[u8] = &[ALPHA_FLAG | 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let flags = |chunks: &[(&[u8; 4], &[u8])]| readable(&riff(chunks)).unwrap()[20];
        assert_eq!(flags(&[(b"VP8X", header), (b"VP8 ", b"odd")]), 0x08);
        assert_eq!(flags(&[(b"VP8X", header), (b"ALPH", b"odd"), (b"VP8 ", b"")]), header[0]);
        assert_eq!(flags(&[(b"VP8X", header), (b"VP8L", b"")]), header[0]);
        assert_eq!(flags(&[(b"VP8X", header), (b"ANMF", b""), (b"VP8 ", b"")]), header[0]);
    }
}
