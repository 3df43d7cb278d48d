//! Finds the orientation in EXIF and XMP, the only metadata that is read.

use super::{be16, be32, index, le16, le32};

/// Orientation by an EXIF block that begins with its TIFF header: tag 0x0112 of the first directory.
pub(super) fn exif_orientation(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let at = entry(exif, 0x0112)?;
    let orientation = if exif.starts_with(b"II") { le16(exif, at) } else { be16(exif, at) }?;
    u8::try_from(orientation).ok().filter(|orientation| (1..=8).contains(orientation))
}

/// Where the value of a tag stands in the first directory of a TIFF file.
pub(super) fn entry(tiff: &[u8], tag: u16) -> Option<usize> {
    let little = match tiff.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let read16 = |at: usize| if little { le16(tiff, at) } else { be16(tiff, at) };
    let directory = index(if little { le32(tiff, 4) } else { be32(tiff, 4) }?);
    let entries = usize::from(read16(directory)?);
    for entry in 0..entries {
        let at = directory.checked_add(2 + 12 * entry)?;
        if read16(at)? == tag {
            return Some(at + 8);
        }
    }
    None
}

/// Orientation by an XMP packet: the attribute or the element `tiff:Orientation`.
pub(super) fn xmp_orientation(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut windows = xmp.windows(NAME.len() + 3);
    windows.find_map(|window| {
        let rest = window.strip_prefix(NAME)?;
        let digit = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?.first()?;
        (b'1'..=b'8').contains(digit).then(|| digit - b'0')
    })
}

/// EXIF speaks first, XMP where it is silent.
pub(super) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> u8 {
    exif.and_then(exif_orientation).or_else(|| xmp.and_then(xmp_orientation)).unwrap_or(1)
}
