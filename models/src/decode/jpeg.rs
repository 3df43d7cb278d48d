//! JPEG: our own walk over the markers, then zune-jpeg.
//!
//! The decoder fills up what a truncated file lacks, so the walk decides: a file without an end-of-image marker
//! behind its last scan is truncated, as it is for libjpeg under Pillow.

use weft_core::limits::Limits;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::{DecodeError, Format, Inspected, RgbImage, be16, finish, metadata};

const FORMAT: Format = Format::Jpeg;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let walk = Walk::over(bytes)?;
    let Some((width_px, height_px)) = walk.size_px else {
        return Err(if walk.is_ended {
            DecodeError::corrupt(FORMAT, "no frame header")
        } else {
            DecodeError::Truncated { format: FORMAT }
        });
    };
    let mut inspected = Inspected::new(FORMAT, width_px.into(), height_px.into());
    inspected.exif_orientation = metadata::orientation(walk.exif, walk.xmp);
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, DecodeError> {
    let walk = Walk::over(bytes)?;
    if !walk.is_ended {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    if !walk.has_scan {
        return Err(DecodeError::corrupt(FORMAT, "no scan"));
    }
    let side = super::index(limits.image_side_px);
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|cause| refuse(&cause))?;
    let (width_px, height_px) = decoder.dimensions().ok_or_else(|| DecodeError::corrupt(FORMAT, "no size"))?;
    let [width_px, height_px] =
        [width_px, height_px].map(|side| u32::try_from(side).expect("a side has sixteen bits in the file"));
    finish(FORMAT, width_px, height_px, pixels)
}

fn refuse(cause: &DecodeErrors) -> DecodeError {
    match cause {
        DecodeErrors::Unsupported(_) => DecodeError::unsupported(FORMAT, cause),
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => DecodeError::Truncated { format: FORMAT },
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}

/// What the marker segments of a file say.
#[derive(Debug, Default)]
struct Walk<'a> {
    size_px: Option<(u16, u16)>,
    has_scan: bool,
    is_ended: bool,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    /// Goes from marker to marker up to the end of the image, or of the file.
    fn over(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut walk = Self::default();
        let mut at = 2;
        while let Some((marker, segment_at)) = next_marker(bytes, at) {
            at = segment_at;
            match marker {
                0xd9 => {
                    walk.is_ended = true;
                    break;
                }
                // Stand-alone markers; between segments they mean nothing.
                0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let Some(length) = be16(bytes, at).map(usize::from) else { break };
            if length < 2 {
                return Err(DecodeError::corrupt(FORMAT, "a marker segment shorter than its length field"));
            }
            let Some(segment) = bytes.get(at + 2..at + length) else { break };
            at += length;
            walk.read(marker, segment)?;
        }
        Ok(walk)
    }

    fn read(&mut self, marker: u8, segment: &'a [u8]) -> Result<(), DecodeError> {
        match marker {
            // All frame headers: C4, C8 and CC are something else.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let (Some(precision), Some(height_px), Some(width_px)) =
                    (segment.first(), be16(segment, 1), be16(segment, 3))
                else {
                    return Err(DecodeError::corrupt(FORMAT, "a short frame header"));
                };
                if *precision != 8 {
                    return Err(DecodeError::unsupported(FORMAT, format_args!("{precision} bits a sample")));
                }
                self.size_px.get_or_insert((width_px, height_px));
            }
            0xda => self.has_scan = true,
            0xe1 if segment.starts_with(b"Exif\0\0") => self.exif = self.exif.or(Some(segment)),
            0xe1 if segment.starts_with(b"http://ns.adobe.com/xap/1.0/\0") => self.xmp = self.xmp.or(Some(segment)),
            _ => {}
        }
        Ok(())
    }
}

/// The next marker from `at` on, and where its segment begins. Skips entropy-coded data, where a byte FF is
/// followed by 00, and restart markers are the walk's to ignore.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)? + 1;
        match *bytes.get(at)? {
            // A stuffed byte, or a fill byte.
            0x00 | 0xff => {}
            marker => return Some((marker, at + 1)),
        }
    }
}
