//! JPEG 2000, boxed or bare, by the `hayro-jpeg2000` crate.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

use super::{DecodeError, Format, Inspected, RgbImage, be32, finish, index};

const FORMAT: Format = Format::Jpeg2000;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let image = open(bytes, false)?;
    let mut inspected = Inspected::new(FORMAT, image.width(), image.height());
    inspected.had_alpha = image.has_alpha();
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    // Strictly, so that a truncated codestream is refused and not filled up; but strict reading takes colour with
    // an undeclared transparency for ink.
    let has_alpha = open(bytes, false)?.has_alpha();
    let image = open(bytes, true)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|cause| DecodeError::corrupt(FORMAT, cause))?;
    let channels = decoded.components().len();
    let colors = channels - usize::from(has_alpha);
    let values = decoded.data_u8();
    let pixels = values.chunks_exact(channels);
    let rgb = match colors {
        1 => super::grey_to_rgb(pixels.map(|pixel| pixel[0])),
        3 => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        4 if channels == 4 => super::cmyk_to_rgb(&values),
        _ => return Err(DecodeError::unsupported(FORMAT, format_args!("{channels} channels"))),
    };
    finish(FORMAT, image.width(), image.height(), rgb)
}

fn open(bytes: &[u8], strict: bool) -> Result<Image<'_>, DecodeError> {
    let settings = DecodeSettings { strict, ..DecodeSettings::default() };
    Image::new(up_to_codestream(bytes), &settings).map_err(|cause| DecodeError::corrupt(FORMAT, cause))
}

/// A boxed file without what stands behind its codestream: boxes that do not matter, or no boxes at all.
fn up_to_codestream(bytes: &[u8]) -> &[u8] {
    let mut at: usize = 0;
    // Shorter lengths say that the box goes on to the end of the file, or that eight more bytes have its length.
    while let Some(length) = be32(bytes, at).map(index).filter(|length| *length >= 8) {
        let is_codestream = bytes[at + 4..].starts_with(b"jp2c");
        at = at.saturating_add(length);
        if is_codestream {
            return bytes.get(..at).unwrap_or(bytes);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_codestream_does_not_count() {
        let signature = b"\0\0\0\x0cjP  \r\n\x87\n".as_slice();
        let stream = b"\0\0\0\x0bjp2cabc".as_slice();
        let file = [signature, stream].concat();
        assert_eq!(up_to_codestream(&file), file);
        assert_eq!(up_to_codestream(&[&file, b"garbage".as_slice()].concat()), file);
        // A codestream up to the end of the file, one longer than the file, and one without boxes.
        for other in [[signature, b"\0\0\0\0jp2cabc"].concat(), [signature, b"\0\0\0\xffjp2cabc"].concat()] {
            assert_eq!(up_to_codestream(&other), other);
        }
        assert_eq!(up_to_codestream(b"\xff\x4f\xff\x51\0\0"), b"\xff\x4f\xff\x51\0\0");
    }
}
