//! What Pillow reads of a file before it hands it to libjpeg, and what it refuses to hand over.

use super::super::{DecodeError, be16, be32, index};
use super::FORMAT;

/// What the segments before the first scan say.
#[derive(Debug, Default)]
pub(super) struct Opened<'a> {
    /// Width and height.
    pub(super) size_px: Option<(u16, u16)>,
    pub(super) exif: Option<&'a [u8]>,
    pub(super) xmp: Option<&'a [u8]>,
    /// A scan begins, and does not lie behind the end of the file.
    pub(super) is_whole: bool,
    /// Parts of a colour profile.
    profile: Vec<&'a [u8]>,
}

impl<'a> Opened<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut opened = Self::default();
        // Behind the start of the image and a first byte of 255.
        let mut at = 3;
        while let Some(&code) = bytes.get(at) {
            at += 1;
            match code {
                // Another byte of 255 may stand before any marker.
                0xff => continue,
                0x01..=0xbf => return Err(DecodeError::corrupt(FORMAT, "an unknown marker")),
                // Entropy-coded data, and markers without a segment.
                0x00 | 0xc8 | 0xd0..=0xd9 | 0xf0..=0xfd => {}
                _ => {
                    let Some(length) = be16(bytes, at) else { return Ok(opened) };
                    // A length that does not even count itself is none.
                    let end = at + usize::from(length).max(2);
                    let Some(segment) = bytes.get(at + 2..end) else { return Ok(opened) };
                    at = end;
                    if code == 0xda {
                        opened.is_whole = true;
                        return Ok(opened);
                    }
                    opened.read_segment(code, segment)?;
                }
            }
            let Some(junk) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) else { break };
            at += junk + 1;
        }
        Ok(opened)
    }

    fn read_segment(&mut self, code: u8, segment: &'a [u8]) -> Result<(), DecodeError> {
        let corrupt = |cause: &str| Err(DecodeError::corrupt(FORMAT, cause));
        match code {
            // All frame headers, that of a hierarchy among them; C4 and CC are tables.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => return self.read_frame(segment),
            0xe0 if segment.starts_with(b"JFIF") && segment.len() < 7 => return corrupt("a short JFIF segment"),
            0xee if segment.starts_with(b"Adobe") && segment.len() < 7 => return corrupt("a short Adobe segment"),
            0xed if segment.starts_with(b"Photoshop 3.0\0") && !is_readable(segment) => {
                return corrupt("a cut Photoshop segment");
            }
            0xe1 if segment.starts_with(b"Exif\0\0") => self.exif = self.exif.or(Some(segment)),
            0xe1 if segment.starts_with(b"http://ns.adobe.com/xap/1.0/\0") => self.xmp = self.xmp.or(Some(segment)),
            0xe2 if segment.starts_with(b"ICC_PROFILE\0") => self.profile.push(segment),
            _ => {}
        }
        Ok(())
    }

    fn read_frame(&mut self, segment: &[u8]) -> Result<(), DecodeError> {
        let (Some(&precision), Some(height_px), Some(width_px), Some(components)) =
            (segment.first(), be16(segment, 1), be16(segment, 3), segment.get(5))
        else {
            return Err(DecodeError::corrupt(FORMAT, "a short frame header"));
        };
        if precision != 8 {
            return Err(DecodeError::unsupported(FORMAT, format_args!("{precision} bits a sample")));
        }
        if !matches!(components, 1 | 3 | 4) {
            return Err(DecodeError::unsupported(FORMAT, format_args!("{components} components")));
        }
        if !segment.len().is_multiple_of(3) {
            return Err(DecodeError::corrupt(FORMAT, "a frame header of senseless length"));
        }
        // The parts are put in order and counted by the fourteenth byte of the first.
        if self.profile.iter().min().is_some_and(|first| first.len() < 14) {
            return Err(DecodeError::corrupt(FORMAT, "a cut colour profile"));
        }
        self.profile.clear();
        self.size_px = Some((width_px, height_px));
        Ok(())
    }
}

/// Whether Pillow gets through the resources of a Photoshop segment. One that is cut within a number only ends them;
/// but where the length of a name is missing, that is an error.
fn is_readable(segment: &[u8]) -> bool {
    let mut at = b"Photoshop 3.0\0".len();
    while segment.get(at..).is_some_and(|rest| rest.starts_with(b"8BIM")) {
        let Some(kind) = be16(segment, at + 4) else { return true };
        let Some(name_bytes) = segment.get(at + 6) else { return false };
        // Names and resources are filled up to an even place.
        let size_at = (at + 7 + usize::from(*name_bytes)).next_multiple_of(2);
        let Some(size) = be32(segment, size_at).map(index) else { return true };
        let rest = segment.len() - size_at - 4;
        // The resolution is read at once, and ends the rest if it is cut.
        if kind == 0x03ed && size.min(rest) < 14 {
            return true;
        }
        at = size_at.saturating_add(4).saturating_add(size).saturating_add(1) & !1;
    }
    true
}
