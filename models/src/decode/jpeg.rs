//! JPEG: our own walk over the markers, then zune-jpeg.
//!
//! The decoder fills up what a truncated file lacks and gives up over malformed application segments, so the walk
//! decides what is truncated, by libjpeg's rules under Pillow, and hands the decoder only what it needs: a
//! progressive file must reach its end-of-image marker, the single scan of a baseline file any marker.

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
    let bytes = walk.essence().ok_or_else(|| DecodeError::corrupt(FORMAT, "no scan"))?;
    decode_essence(&bytes, limits)
}

/// Strictly: damaged entropy-coded data is an error. Otherwise what follows the damage is left grey.
fn decode_essence(bytes: &[u8], limits: &Limits) -> Result<RgbImage, DecodeError> {
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
    components: u8,
    is_progressive: bool,
    is_jfif: bool,
    is_ended: bool,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    adobe: Option<&'a [u8]>,
    /// The segments before the first scan that the decoder needs, with their markers.
    tables: Vec<&'a [u8]>,
    /// From the first scan's marker to the end of the image.
    scans: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    /// Goes from marker to marker up to the end of the image, or of the file.
    fn over(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut walk = Self::default();
        let mut at = 2;
        let mut scans_at = None;
        let mut is_last_scan = false;
        while let Some((marker, segment_at)) = next_marker(bytes, at) {
            at = segment_at;
            // Stand-alone markers; between segments they mean nothing.
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue;
            }
            if marker == 0xd9 || is_last_scan {
                walk.is_ended = true;
                walk.scans = scans_at.and_then(|scans_at: usize| bytes.get(scans_at..segment_at - 2));
                break;
            }
            let Some(length) = be16(bytes, at).map(usize::from) else { break };
            if length < 2 {
                return Err(DecodeError::corrupt(FORMAT, "a marker segment shorter than its length field"));
            }
            let Some(segment) = bytes.get(at + 2..at + length) else { break };
            if marker == 0xda {
                scans_at.get_or_insert(at - 2);
                is_last_scan = walk.read_scan(segment)?;
            } else {
                walk.read(marker, segment)?;
                // Frame headers, Huffman and quantisation tables, restart intervals.
                if matches!(marker, 0xc0..=0xcf | 0xdb | 0xdd) && scans_at.is_none() {
                    walk.tables.push(&bytes[at - 2..at + length]);
                }
            }
            at += length;
        }
        Ok(walk)
    }

    fn read(&mut self, marker: u8, segment: &'a [u8]) -> Result<(), DecodeError> {
        match marker {
            // All frame headers: C4, C8 and CC are something else.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let (Some(precision), Some(height_px), Some(width_px), Some(components)) =
                    (segment.first(), be16(segment, 1), be16(segment, 3), segment.get(5))
                else {
                    return Err(DecodeError::corrupt(FORMAT, "a short frame header"));
                };
                if *precision != 8 {
                    return Err(DecodeError::unsupported(FORMAT, format_args!("{precision} bits a sample")));
                }
                if self.size_px.is_some() {
                    return Err(DecodeError::corrupt(FORMAT, "two frame headers"));
                }
                self.size_px = Some((width_px, height_px));
                self.components = *components;
                self.is_progressive = marker == 0xc2;
            }
            0xe0 if segment.starts_with(b"JFIF\0") => self.is_jfif = true,
            0xe1 if segment.starts_with(b"Exif\0\0") => self.exif = self.exif.or(Some(segment)),
            0xe1 if segment.starts_with(b"http://ns.adobe.com/xap/1.0/\0") => self.xmp = self.xmp.or(Some(segment)),
            0xee if segment.starts_with(b"Adobe") => self.adobe = segment.get(..12).or(self.adobe),
            _ => {}
        }
        Ok(())
    }

    /// Reads a scan header and says whether the data of this scan completes the image.
    fn read_scan(&self, segment: &[u8]) -> Result<bool, DecodeError> {
        let corrupt = || DecodeError::corrupt(FORMAT, "a senseless scan header");
        let components = *segment.first().ok_or_else(corrupt)?;
        if !self.is_progressive {
            return Ok(components == self.components);
        }
        let at = 1 + 2 * usize::from(components);
        let &[start, end, bits] = segment.get(at..at + 3).and_then(<[u8]>::first_chunk).ok_or_else(corrupt)?;
        let (high, low) = (bits >> 4, bits & 15);
        let is_band = if start == 0 { end == 0 } else { start <= end && end < 64 && components == 1 };
        // A refinement adds one bit; 13 is as far as libjpeg shifts.
        if !is_band || (high != 0 && low + 1 != high) || low > 13 {
            return Err(corrupt());
        }
        Ok(false)
    }

    /// The file without what has no influence on its pixels; `None` without a scan.
    fn essence(&self) -> Option<Vec<u8>> {
        let scans = self.scans?;
        let mut bytes = b"\xff\xd8".to_vec();
        // A JFIF file has luma and chroma, whatever Adobe's marker says; with four components only that counts.
        if let Some(adobe) = self.adobe
            && !(self.is_jfif && self.components == 3)
        {
            // The last byte names the transform: none, or to luma and chroma. Libjpeg takes any other for the latter.
            let (transform, fields) = adobe.split_last()?;
            let transform = match (transform, self.components) {
                (0, _) => 0,
                (_, 4) => 2,
                _ => 1,
            };
            bytes.extend(b"\xff\xee\x00\x0e");
            bytes.extend(fields);
            bytes.push(transform);
        }
        for table in &self.tables {
            bytes.extend(*table);
        }
        bytes.extend(scans);
        bytes.extend(b"\xff\xd9");
        Some(bytes)
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
