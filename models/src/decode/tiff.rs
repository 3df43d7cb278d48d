//! TIFF: the first page, by the `tiff` crate.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};
use weft_core::limits::Limits;

use super::{DecodeError, Format, Inspected, RgbImage, finish, grey_to_rgb, index, metadata};

const FORMAT: Format = Format::Tiff;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let indices = indices_as_grey(bytes);
    let mut decoder = open(indices.as_deref().unwrap_or(bytes))?;
    let (width_px, height_px) = decoder.dimensions().map_err(|cause| refuse(&cause))?;
    let color = decoder.colortype().map_err(|cause| refuse(&cause))?;
    let mut inspected = Inspected::new(FORMAT, width_px, height_px);
    inspected.had_alpha = matches!(color, ColorType::GrayA(_) | ColorType::RGBA(_) | ColorType::CMYKA(_));
    inspected.animated = decoder.more_images();
    // A TIFF file is an EXIF block.
    inspected.exif_orientation = metadata::orientation(Some(bytes), None);
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, DecodeError> {
    let mut bounds = tiff::decoder::Limits::default();
    // Four channels of sixteen bits.
    bounds.decoding_buffer_size = index(limits.image_pixels.saturating_mul(8));
    let indices = indices_as_grey(bytes);
    let mut decoder = open(indices.as_deref().unwrap_or(bytes))?.with_limits(bounds);
    let (width_px, height_px) = decoder.dimensions().map_err(|cause| refuse(&cause))?;
    let color = decoder.colortype().map_err(|cause| refuse(&cause))?;
    let samples = decoder.read_image().map_err(|cause| refuse(&cause))?;
    let width = index(width_px);
    let rgb = match (color, samples) {
        (ColorType::Gray(bits @ (1 | 2 | 4 | 8)), DecodingResult::U8(rows)) if indices.is_some() => {
            let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(|cause| refuse(&cause))?;
            // All reds, then all greens, then all blues.
            let colors = map.len() / 3;
            let color = |channel: usize, value: u8| {
                map.get(channel * colors + usize::from(value)).map_or(0, |sample| high_byte(*sample))
            };
            unpack(&rows, width, bits).flat_map(|value| [color(0, value), color(1, value), color(2, value)]).collect()
        }
        (ColorType::Gray(8), DecodingResult::U8(values)) => grey_to_rgb(values.into_iter()),
        (ColorType::Gray(16), DecodingResult::U16(values)) => {
            grey_to_rgb(values.into_iter().map(|value| u8::try_from(value).unwrap_or(255)))
        }
        (ColorType::Gray(bits @ (1 | 2 | 4)), DecodingResult::U8(rows)) => {
            let scale = 255 / ((1 << bits) - 1);
            grey_to_rgb(unpack(&rows, width, bits).map(|value| value * scale))
        }
        (ColorType::GrayA(8), DecodingResult::U8(values)) => grey_to_rgb(values.chunks_exact(2).map(|pixel| pixel[0])),
        (ColorType::RGB(8), DecodingResult::U8(values)) => values,
        (ColorType::RGB(16), DecodingResult::U16(values)) => values.into_iter().map(high_byte).collect(),
        (ColorType::RGBA(8), DecodingResult::U8(values)) => super::drop_fourth(&values),
        (ColorType::RGBA(16), DecodingResult::U16(values)) => {
            super::drop_fourth(&values.into_iter().map(high_byte).collect::<Vec<_>>())
        }
        (ColorType::CMYK(8), DecodingResult::U8(values)) => super::cmyk_to_rgb(&values),
        (color, _) => return Err(DecodeError::unsupported(FORMAT, format_args!("{color:?}"))),
    };
    finish(FORMAT, width_px, height_px, rgb)
}

fn open(bytes: &[u8]) -> Result<Decoder<Cursor<&[u8]>>, DecodeError> {
    Decoder::new(Cursor::new(bytes)).map_err(|cause| refuse(&cause))
}

/// A file whose samples are indices of a colour map, changed to one whose samples are greys; `None` for all others.
/// The decoder reads greys alone.
fn indices_as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    // The photometric interpretation, a number of two bytes: 3 for a colour map, 1 for grey from black.
    let at = metadata::entry(bytes, 0x0106)?;
    let is_little = bytes.starts_with(b"II");
    let value: [u8; 2] = *bytes.get(at..)?.first_chunk()?;
    let (map, grey) = if is_little { ([3, 0], [1, 0]) } else { ([0, 3], [0, 1]) };
    (value == map).then(|| {
        let mut changed = bytes.to_vec();
        changed[at..at + 2].copy_from_slice(&grey);
        changed
    })
}

/// Values of `bits` bits, high ones first; each row begins a byte.
fn unpack(rows: &[u8], width: usize, bits: u8) -> impl Iterator<Item = u8> {
    let bits = usize::from(bits);
    let row_bytes = (width * bits).div_ceil(8).max(1);
    rows.chunks_exact(row_bytes).flat_map(move |row| {
        (0..width).map(move |column| {
            let bit = column * bits;
            let mask = u8::try_from((1_u16 << bits) - 1).expect("at most eight bits");
            (row[bit / 8] >> (8 - bits - bit % 8)) & mask
        })
    })
}

fn high_byte(sample: u16) -> u8 {
    sample.to_be_bytes()[0]
}

fn refuse(cause: &TiffError) -> DecodeError {
    match cause {
        TiffError::IoError(cause) => DecodeError::io(FORMAT, cause),
        TiffError::UnsupportedError(_) => DecodeError::unsupported(FORMAT, cause),
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels of eight bits, the indices 1 and 0, and a map whose first colours are (1, 2, 3) and (4, 5, 6).
    fn palette_file() -> Vec<u8> {
        let entries: [(u16, u16, u32, u32); 10] = [
            (256, 3, 1, 2),
            (257, 3, 1, 1),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 3),
            (273, 4, 1, 134),
            (277, 3, 1, 1),
            (278, 3, 1, 1),
            (279, 4, 1, 2),
            (320, 3, 768, 136),
        ];
        let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
        for (tag, kind, count, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        assert_eq!(bytes.len(), 134);
        bytes.extend([1, 0]);
        for channel in 0..3 {
            let mut values = [0_u16; 256];
            (values[0], values[1]) = ((1 + channel) << 8, (4 + channel) << 8);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn indices_are_looked_up_in_their_map() {
        let bytes = palette_file();
        assert_eq!(inspect(&bytes).unwrap().header.width_px, 2);
        assert_eq!(decode(&bytes, &Limits::default()).unwrap().pixels(), [4, 5, 6, 1, 2, 3]);
        let mut grey = bytes;
        grey[8 + 2 + 4 * 12 + 8] = 1;
        assert_eq!(decode(&grey, &Limits::default()).unwrap().pixels(), [1, 1, 1, 0, 0, 0]);
    }
}
