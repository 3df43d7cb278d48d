//! Decodes an image of the web to 8-bit RGB as Pillow's `convert("RGB")` gives it.
//!
//! The first frame; alpha dropped, not blended; palettes looked up; 16-bit colour cut to its high byte, 16-bit
//! grey clipped at 255; the EXIF orientation reported, not applied; no colour management. JPEG, PNG, GIF, WebP,
//! BMP, TIFF, AVIF and JPEG 2000, all by decoders in Rust. The size is read from the header and compared with
//! the [`Limits`] before a decoder sees the file. Truncated files are refused, never filled up.

mod avif;
mod bmp;
#[cfg(test)]
mod conformance;
mod gif;
mod jp2;
mod jpeg;
mod metadata;
mod png;
mod tiff;
mod webp;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use weft_core::limits::Limits;

/// Reads format and size from the header of `bytes`; nothing is decoded.
///
/// # Errors
/// An unknown format, or a header that is cut or senseless. The limits do not apply here.
pub fn probe(bytes: &[u8]) -> Result<Header, DecodeError> {
    let format = Format::of(bytes).ok_or(DecodeError::UnknownFormat)?;
    guarded(format, || inspect(format, bytes)).map(|inspected| inspected.header)
}

/// Decodes the first frame of `bytes`.
///
/// # Errors
/// One [`DecodeError`] a cause. A panic inside a decoder becomes [`DecodeError::Panicked`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    if u64::try_from(bytes.len()).expect("a length fits u64") > limits.image_bytes {
        return Err(DecodeError::TooManyBytes { limit: limits.image_bytes });
    }
    let format = Format::of(bytes).ok_or(DecodeError::UnknownFormat)?;
    guarded(format, || {
        let inspected = inspect(format, bytes)?;
        let Header { width_px, height_px, .. } = inspected.header;
        check_size(format, width_px, height_px, limits)?;
        let rgb = match format {
            Format::Jpeg => jpeg::decode(bytes, limits),
            Format::Png => png::decode(bytes),
            Format::Gif => gif::decode(bytes),
            Format::Webp => webp::decode(bytes),
            Format::Bmp => bmp::decode(bytes, limits),
            Format::Tiff => tiff::decode(bytes, limits),
            Format::Avif => avif::decode(bytes, limits),
            Format::Jpeg2000 => jp2::decode(bytes),
        }?;
        if (rgb.width_px, rgb.height_px) != (width_px, height_px) {
            return Err(DecodeError::corrupt(format, "the header names another size than the frame"));
        }
        Ok(Decoded {
            format,
            rgb,
            had_alpha: inspected.had_alpha,
            animated: inspected.animated,
            exif_orientation: inspected.exif_orientation,
        })
    })
}

/// The formats that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG and APNG.
    Png,
    /// GIF 87a and 89a.
    Gif,
    /// WebP, lossy, lossless and animated.
    Webp,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// AV1 still pictures and sequences.
    Avif,
    /// JPEG 2000, boxed or bare.
    Jpeg2000,
}

impl Format {
    /// Recognises a format by its first bytes; what the server says does not count.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let starts = |signature: &[u8]| bytes.starts_with(signature);
        if starts(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if starts(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if starts(b"GIF87a") || starts(b"GIF89a") {
            Some(Self::Gif)
        } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::Webp)
        } else if starts(b"BM") {
            Some(Self::Bmp)
        } else if starts(b"II*\0") || starts(b"MM\0*") {
            Some(Self::Tiff)
        } else if avif::is_avif(bytes) {
            Some(Self::Avif)
        } else if starts(b"\0\0\0\x0cjP  \r\n\x87\n") || starts(b"\xff\x4f\xff\x51") {
            Some(Self::Jpeg2000)
        } else {
            None
        }
    }

    /// The stable name, as tables hold it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Avif => "avif",
            Self::Jpeg2000 => "jpeg2000",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// By the first bytes.
    pub format: Format,
    /// Width as stored, before any EXIF turn.
    pub width_px: u32,
    /// Height as stored, before any EXIF turn.
    pub height_px: u32,
}

/// A decoded image.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// By the first bytes.
    pub format: Format,
    /// The first frame.
    pub rgb: RgbImage,
    /// Whether the file stores transparency in any form, also an unused one.
    pub had_alpha: bool,
    /// Whether the file says that it has more than one frame.
    pub animated: bool,
    /// 1 to 8 by EXIF or XMP; 1, upright, where the file is silent.
    pub exif_orientation: u8,
}

/// 8-bit RGB pixels, row by row without padding; both sides at least 1.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    width_px: u32,
    height_px: u32,
    pixels: Vec<u8>,
}

impl RgbImage {
    /// Wraps `pixels`; `None` if a side is zero or there are not three bytes a pixel.
    pub fn new(width_px: u32, height_px: u32, pixels: Vec<u8>) -> Option<Self> {
        let bytes = u64::from(width_px).checked_mul(u64::from(height_px))?.checked_mul(3)?;
        (bytes > 0 && u64::try_from(pixels.len()) == Ok(bytes)).then_some(Self { width_px, height_px, pixels })
    }

    /// Columns.
    pub fn width_px(&self) -> u32 {
        self.width_px
    }

    /// Rows.
    pub fn height_px(&self) -> u32 {
        self.height_px
    }

    /// Red, green, blue of each pixel in turn.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Gives the pixels away.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    pub(crate) fn width_index(&self) -> usize {
        usize::try_from(self.width_px).expect("the pixels are in memory")
    }

    pub(crate) fn height_index(&self) -> usize {
        usize::try_from(self.height_px).expect("the pixels are in memory")
    }
}

impl fmt::Debug for RgbImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RgbImage({} x {})", self.width_px, self.height_px)
    }
}

/// Why an image was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No signature fits.
    #[error("no known image format")]
    UnknownFormat,
    /// More bytes than [`Limits::image_bytes`].
    #[error("the file is longer than {limit} bytes")]
    TooManyBytes {
        /// The bound.
        limit: u64,
    },
    /// A picture beyond [`Limits::image_pixels`] or [`Limits::image_side_px`]: a decompression bomb, perhaps.
    #[error("{width_px} x {height_px} px exceed the limits")]
    TooManyPixels {
        /// As the header says.
        width_px: u64,
        /// As the header says.
        height_px: u64,
    },
    /// The file ends too early.
    #[error("the {format} file is truncated")]
    Truncated {
        /// By the first bytes.
        format: Format,
    },
    /// The file breaks its format's rules.
    #[error("the {format} file is corrupt: {cause}")]
    Corrupt {
        /// By the first bytes.
        format: Format,
        /// In the decoder's words.
        cause: String,
    },
    /// A feature that is not decoded.
    #[error("the {format} file uses what is not supported: {cause}")]
    Unsupported {
        /// By the first bytes.
        format: Format,
        /// In the decoder's words.
        cause: String,
    },
    /// The decoder has a bug that this file hits.
    #[error("the {format} decoder panicked")]
    Panicked {
        /// By the first bytes.
        format: Format,
    },
}

impl DecodeError {
    /// The stable name, as tables hold it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::TooManyBytes { .. } => "too_many_bytes",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::Truncated { .. } => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::Unsupported { .. } => "unsupported",
            Self::Panicked { .. } => "panicked",
        }
    }

    fn corrupt(format: Format, cause: impl fmt::Display) -> Self {
        Self::Corrupt { format, cause: cause.to_string() }
    }

    fn unsupported(format: Format, cause: impl fmt::Display) -> Self {
        Self::Unsupported { format, cause: cause.to_string() }
    }

    /// Sorts an I/O error of a decoder that reads from memory: what else but the end can fail there?
    fn io(format: Format, cause: &std::io::Error) -> Self {
        if cause.kind() == std::io::ErrorKind::UnexpectedEof {
            Self::Truncated { format }
        } else {
            Self::corrupt(format, cause)
        }
    }
}

/// What can be told of a file without decoding it.
#[derive(Clone, Copy, Debug)]
struct Inspected {
    header: Header,
    had_alpha: bool,
    animated: bool,
    exif_orientation: u8,
}

impl Inspected {
    fn new(format: Format, width_px: u32, height_px: u32) -> Self {
        let header = Header { format, width_px, height_px };
        Self { header, had_alpha: false, animated: false, exif_orientation: 1 }
    }
}

fn inspect(format: Format, bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let inspected = match format {
        Format::Jpeg => jpeg::inspect(bytes),
        Format::Png => png::inspect(bytes),
        Format::Gif => gif::inspect(bytes),
        Format::Webp => webp::inspect(bytes),
        Format::Bmp => bmp::inspect(bytes),
        Format::Tiff => tiff::inspect(bytes),
        Format::Avif => avif::inspect(bytes),
        Format::Jpeg2000 => jp2::inspect(bytes),
    }?;
    if inspected.header.width_px == 0 || inspected.header.height_px == 0 {
        return Err(DecodeError::corrupt(format, "a side is zero"));
    }
    Ok(inspected)
}

fn check_size(format: Format, width_px: u32, height_px: u32, limits: &Limits) -> Result<(), DecodeError> {
    let pixels = u64::from(width_px) * u64::from(height_px);
    if pixels == 0 {
        return Err(DecodeError::corrupt(format, "a side is zero"));
    }
    if pixels > limits.image_pixels || width_px.max(height_px) > limits.image_side_px {
        return Err(DecodeError::TooManyPixels { width_px: width_px.into(), height_px: height_px.into() });
    }
    Ok(())
}

/// Turns a decoder's panic into an error. The decoders own all they touch, so nothing half-done is seen again.
fn guarded<T>(format: Format, work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(DecodeError::Panicked { format }))
}

/// Puts a finished buffer into an image, or says that the decoder delivered another number of pixels.
fn finish(format: Format, width_px: u32, height_px: u32, pixels: Vec<u8>) -> Result<RgbImage, DecodeError> {
    RgbImage::new(width_px, height_px, pixels)
        .ok_or_else(|| DecodeError::corrupt(format, "the frame has another number of pixels than its header says"))
}

/// Bytes of `count` channels a pixel, or the error that the size does not fit memory.
fn buffer(width_px: u32, height_px: u32, channels: u64) -> Result<Vec<u8>, DecodeError> {
    let bytes = u64::from(width_px) * u64::from(height_px) * channels;
    let too_many = || DecodeError::TooManyPixels { width_px: width_px.into(), height_px: height_px.into() };
    Ok(vec![0; usize::try_from(bytes).map_err(|_| too_many())?])
}

/// Keeps the first three of every four bytes.
fn drop_fourth(pixels: &[u8]) -> Vec<u8> {
    pixels.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// Repeats every byte three times.
fn grey_to_rgb(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

/// Ink to light, as Pillow does it without a profile: `(255 - k) - c * (255 - k) / 255`.
fn cmyk_to_rgb(pixels: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(pixels.len() / 4 * 3);
    for pixel in pixels.chunks_exact(4) {
        let light = 255 - u32::from(pixel[3]);
        for ink in &pixel[..3] {
            // Division by 255, rounded, without a division.
            let product = u32::from(*ink) * light + 128;
            let covered = ((product >> 8) + product) >> 8;
            rgb.push(u8::try_from(light.saturating_sub(covered)).expect("light is at most 255"));
        }
    }
    rgb
}

/// Reads a big-endian number of two bytes.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_be_bytes(*chunk))
}

/// Reads a big-endian number of four bytes.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

/// Reads a little-endian number of two bytes.
fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

/// Reads a little-endian number of four bytes.
fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// An index from a number that a file holds; too large a one lies behind the end of any slice.
fn index(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encode_jpeg;
    use crate::resample::tests::picture;

    fn png(width: u32, height: u32, color: ::png::ColorType, depth: ::png::BitDepth, values: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(values).unwrap();
        bytes
    }

    fn cause(bytes: &[u8]) -> &'static str {
        decode(bytes, &Limits::default()).unwrap_err().name()
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        // Ten thousand million pixels in 33 bytes: signature, header chunk, its checksum.
        let mut bytes = png(1, 1, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &[1, 2, 3]);
        bytes[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
        assert_eq!(cause(&bytes), "too_many_pixels");
        let header = probe(&bytes).unwrap();
        assert_eq!((header.width_px, header.height_px), (100_000, 100_000));
    }

    #[test]
    fn limits_are_inclusive() {
        let bytes = png(2, 1, ::png::ColorType::Grayscale, ::png::BitDepth::Eight, &[1, 2]);
        let exact = Limits { image_pixels: 2, image_side_px: 2, ..Limits::default() };
        assert!(decode(&bytes, &exact).is_ok());
        for tight in [Limits { image_pixels: 1, ..exact.clone() }, Limits { image_side_px: 1, ..exact }] {
            assert_eq!(decode(&bytes, &tight).unwrap_err().name(), "too_many_pixels");
        }
        let short = Limits { image_bytes: 20, ..Limits::default() };
        assert_eq!(decode(&bytes, &short).unwrap_err(), DecodeError::TooManyBytes { limit: 20 });
    }

    #[test]
    fn alpha_is_dropped_and_not_blended() {
        let bytes = png(1, 1, ::png::ColorType::Rgba, ::png::BitDepth::Eight, &[10, 20, 30, 0]);
        let decoded = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!(decoded.rgb.pixels(), [10, 20, 30]);
        assert!(decoded.had_alpha);
    }

    #[test]
    fn deep_grey_is_clipped_and_deep_colour_cut() {
        let grey = [0x12, 0xff, 0x00, 0x80, 0x00, 0xff];
        let bytes = png(3, 1, ::png::ColorType::Grayscale, ::png::BitDepth::Sixteen, &grey);
        let pixels = decode(&bytes, &Limits::default()).unwrap().rgb.into_pixels();
        assert_eq!(pixels, [255, 255, 255, 128, 128, 128, 255, 255, 255]);
        let color = [0x12, 0xff, 0x00, 0x80, 0xfe, 0xff];
        let bytes = png(1, 1, ::png::ColorType::Rgb, ::png::BitDepth::Sixteen, &color);
        assert_eq!(decode(&bytes, &Limits::default()).unwrap().rgb.pixels(), [0x12, 0x00, 0xfe]);
    }

    #[test]
    fn no_prefix_of_a_file_is_taken_for_the_file() {
        let jpeg = encode_jpeg(&picture(40, 30), 90).unwrap();
        for length in 0..jpeg.len() - 2 {
            assert!(decode(&jpeg[..length], &Limits::default()).is_err(), "{length} of {} bytes", jpeg.len());
        }
        let png = png(40, 30, ::png::ColorType::Rgb, ::png::BitDepth::Eight, picture(40, 30).pixels());
        // The last twelve bytes are the end chunk, which Pillow does not miss.
        for length in 0..png.len() - 12 {
            assert!(decode(&png[..length], &Limits::default()).is_err(), "{length} of {} bytes", png.len());
        }
    }

    #[test]
    fn a_gif_frame_lies_on_its_canvas() {
        let mut bytes = Vec::new();
        let mut encoder = ::gif::Encoder::new(&mut bytes, 3, 1, &[9, 9, 9, 1, 2, 3]).unwrap();
        let frame = ::gif::Frame { left: 1, width: 1, height: 1, buffer: vec![1].into(), ..Default::default() };
        encoder.write_frame(&frame).unwrap();
        drop(encoder);
        let decoded = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!(decoded.rgb.pixels(), [9, 9, 9, 1, 2, 3, 9, 9, 9]);
        assert!(!decoded.animated && !decoded.had_alpha);
    }

    #[test]
    fn what_is_no_image_is_unknown() {
        assert_eq!(cause(b""), "unknown_format");
        assert_eq!(cause(b"<html>not found</html>"), "unknown_format");
    }

    #[test]
    fn damaged_files_never_panic() {
        // Every byte of two small files is changed in turn; what comes out does not matter.
        let jpeg = encode_jpeg(&picture(17, 9), 80).unwrap();
        let png = png(17, 9, ::png::ColorType::Rgb, ::png::BitDepth::Eight, picture(17, 9).pixels());
        for file in [jpeg, png] {
            for at in 0..file.len() {
                let mut damaged = file.clone();
                damaged[at] ^= 0x55;
                let outcome = decode(&damaged, &Limits { image_pixels: 1_000_000, ..Limits::default() });
                assert_ne!(outcome.err().map(|cause| cause.name()), Some("panicked"), "byte {at}");
            }
        }
    }
}
