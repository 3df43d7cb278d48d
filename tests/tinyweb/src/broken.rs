//! Encodes pictures and pages, and makes the broken and hostile bodies.

use std::io::Write as _;

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compress, Compression, Crc, FlushCompress, GzBuilder};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _, RgbImage};

/// The level of every gzip member written here; with no time in the head, bytes depend on nothing else.
const LEVEL: u32 = 6;

pub(crate) fn jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(image, image.width(), image.height(), ExtendedColorType::Rgb8)
        .expect("an RGB picture of small sides is encodable, and memory takes it");
    bytes
}

pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(image, image.width(), image.height(), ExtendedColorType::Rgb8)
        .expect("an RGB picture of small sides is encodable, and memory takes it");
    bytes
}

/// One gzip member without name or time.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder: GzEncoder<Vec<u8>> = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(LEVEL));
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A gzip member that inflates to `start` and then `mebibytes` MiB of zeros: about a thousandth of that here.
///
/// A compressed MiB that refers to nothing before it is repeated, so that nothing large is ever compressed.
pub(crate) fn gzip_bomb(start: &[u8], mebibytes: u32) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut crc = Crc::new();
    crc.update(start);
    let mut crc_of_zeros = Crc::new();
    crc_of_zeros.update(&zeros);
    // Magic, deflate, no flags, no time, no extra flags, unknown system (RFC 1952, section 2.3).
    let mut bytes = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    bytes.extend(flushed(start));
    let block = flushed(&zeros);
    for _ in 0..mebibytes {
        bytes.extend(&block);
        crc.combine(&crc_of_zeros);
    }
    // A last block with nothing in it (RFC 1951, section 3.2.6).
    bytes.extend([0x03, 0x00]);
    bytes.extend(crc.sum().to_le_bytes());
    let length = u32::try_from(start.len()).expect("a page is short") + (mebibytes << 20);
    bytes.extend(length.to_le_bytes());
    bytes
}

/// `bytes` as deflate blocks that end on a byte and that nothing later refers to.
fn flushed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    deflate.compress_vec(bytes, &mut out, FlushCompress::Full).expect("the stream is fresh and the room suffices");
    out
}

/// `bytes` in Brotli's stored blocks (RFC 7932, section 9.2): valid, and as long as they were.
pub(crate) fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, chunk) in bytes.chunks(1 << 16).enumerate() {
        let length_less_one = u32::try_from(chunk.len() - 1).expect("at most 64 KiB");
        // From the lowest bit: not the last block, four nibbles of length, the length, stored.
        let head = (length_less_one << 3) | (1 << 19);
        // The stream's first bit, 0, says that the window is of 64 KiB.
        let head = if index == 0 { head << 1 } else { head };
        let [first, second, third, _] = head.to_le_bytes();
        out.extend([first, second, third]);
        out.extend(chunk);
    }
    // Last block, empty.
    out.push(if bytes.is_empty() { 0b110 } else { 0b11 });
    out
}

/// `bytes` in chunks (RFC 9112, section 7.1).
pub(crate) fn chunked(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(700) {
        out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

/// A PNG of a few bytes whose head claims 100,000 × 100,000 pixels.
pub(crate) fn huge_png() -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(100_000_u32.to_be_bytes());
    head.extend(100_000_u32.to_be_bytes());
    // Eight bits, RGB, deflate, the usual filters, not interlaced.
    head.extend([8, 2, 0, 0, 0]);
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::new(LEVEL));
    pixels.write_all(&[0; 4096]).expect("memory takes it");
    let pixels = pixels.finish().expect("memory takes it");
    let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
    for (name, content) in [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", Vec::new())] {
        bytes.extend(u32::try_from(content.len()).expect("a short chunk").to_be_bytes());
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(&content);
        bytes.extend(name);
        bytes.extend(content);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_types, reason = "our own bomb, read through a limit")]
    fn the_bomb_is_a_valid_member_a_thousand_times_its_size() {
        let bomb = gzip_bomb(b"<html>", 8);
        assert!(bomb.len() < 10_000, "{} bytes", bomb.len());
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&bomb[..]).take(9 << 20).read_to_end(&mut inflated).unwrap();
        assert_eq!(inflated.len(), 6 + (8 << 20));
        assert!(inflated.starts_with(b"<html>") && inflated[6..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn stored_brotli_decodes_to_what_went_in() {
        for length in [0, 1, 700, 65_536, 150_000] {
            let bytes: Vec<u8> = (0..length).map(|index: u32| index.to_le_bytes()[0]).collect();
            let mut decoded = Vec::new();
            brotli_decompressor::Decompressor::new(&brotli(&bytes)[..], 4096).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, bytes, "{length} bytes");
        }
    }

    #[test]
    fn the_huge_png_claims_ten_thousand_million_pixels_in_few_bytes() {
        let bytes = huge_png();
        assert!(bytes.len() < 200, "{} bytes", bytes.len());
        let size =
            image::ImageReader::with_format(std::io::Cursor::new(bytes), image::ImageFormat::Png).into_dimensions();
        assert_eq!(size.unwrap(), (100_000, 100_000));
    }
}
