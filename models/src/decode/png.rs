//! PNG: our own walk over the chunks, then the `png` crate.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodingError, Transformations};

use super::{DecodeError, Format, Inspected, RgbImage, be32, finish, grey_to_rgb, index, metadata};

const FORMAT: Format = Format::Png;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let truncated = || DecodeError::Truncated { format: FORMAT };
    let mut chunks = chunks(bytes);
    let first = chunks.next().ok_or_else(truncated)?;
    let header = first.body.ok_or_else(truncated)?;
    let (Some(width_px), Some(height_px), Some(color)) = (be32(header, 0), be32(header, 4), header.get(9)) else {
        return Err(DecodeError::corrupt(FORMAT, "a short header"));
    };
    if first.kind != *b"IHDR" {
        return Err(DecodeError::corrupt(FORMAT, "the first chunk is not the header"));
    }
    let mut inspected = Inspected::new(FORMAT, width_px, height_px);
    // Bit 2 of the colour type: an alpha channel.
    inspected.had_alpha = color & 4 != 0;
    let (mut exif, mut xmp) = (None, None);
    for chunk in chunks {
        match (&chunk.kind, chunk.body) {
            (b"tRNS", _) => inspected.had_alpha = true,
            (b"acTL", Some(body)) => inspected.animated = be32(body, 0).is_some_and(|frames| frames > 1),
            (b"eXIf", Some(body)) => exif = Some(body),
            // Compressed packets are not looked into: a flag byte after the keyword says so.
            (b"iTXt", Some(body)) if body.starts_with(b"XML:com.adobe.xmp\0\0") => xmp = Some(body),
            (b"IEND", _) => break,
            _ => {}
        }
    }
    inspected.exif_orientation = metadata::orientation(exif, xmp);
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    // The decoder stops reading behind the last row; a file cut after that is truncated all the same.
    if chunks(bytes).take_while(|chunk| chunk.kind != *b"IEND").any(|chunk| chunk.body.is_none()) {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let info = decoder.read_header_info().map_err(|cause| refuse(&cause))?;
    // Pillow keeps 16 bits of grey, and clips when it converts them; all other depths it cuts or scales to 8.
    let is_deep_grey = (info.color_type, info.bit_depth) == (ColorType::Grayscale, BitDepth::Sixteen);
    decoder.set_transformations(if is_deep_grey {
        Transformations::IDENTITY
    } else {
        Transformations::EXPAND | Transformations::STRIP_16
    });
    let mut reader = decoder.read_info().map_err(|cause| refuse(&cause))?;
    let (width_px, height_px) = reader.info().size();
    let size = reader.output_buffer_size().ok_or_else(|| DecodeError::corrupt(FORMAT, "no size"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(|cause| refuse(&cause))?;
    pixels.truncate(frame.buffer_size());
    let rgb = match frame.color_type {
        ColorType::Rgb => pixels,
        ColorType::Rgba => super::drop_fourth(&pixels),
        ColorType::GrayscaleAlpha => grey_to_rgb(pixels.chunks_exact(2).map(|pixel| pixel[0])),
        ColorType::Grayscale if is_deep_grey => {
            grey_to_rgb(pixels.chunks_exact(2).map(|pixel| if pixel[0] == 0 { pixel[1] } else { 255 }))
        }
        ColorType::Grayscale => grey_to_rgb(pixels.into_iter()),
        ColorType::Indexed => return Err(DecodeError::corrupt(FORMAT, "a palette was not expanded")),
    };
    finish(FORMAT, width_px, height_px, rgb)
}

fn refuse(cause: &DecodingError) -> DecodeError {
    match cause {
        DecodingError::IoError(cause) => DecodeError::io(FORMAT, cause),
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}

#[derive(Debug)]
struct Chunk<'a> {
    kind: [u8; 4],
    /// `None` where the file ends inside.
    body: Option<&'a [u8]>,
}

fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = index(be32(rest, 0)?);
        let kind = *rest.get(4..)?.first_chunk()?;
        let body = rest.get(8..)?.get(..length);
        // The body is followed by four bytes of checksum.
        rest = rest.get(8..)?.get(length.saturating_add(4)..).unwrap_or_default();
        Some(Chunk { kind, body })
    })
}
