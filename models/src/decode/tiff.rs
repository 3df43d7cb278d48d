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
