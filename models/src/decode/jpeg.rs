//! JPEG: baseline and progressive, Huffman and arithmetic coding, eight bits; as libjpeg-turbo under Pillow decodes it.
//!
//! The pixels are those of libjpeg-turbo bit by bit, of sound files and of damaged ones. That is why the decoder is
//! our own: what to make of a code that stands for nothing, of a restart marker that is not there, of coefficients
//! beyond any sample, each decoder decides for itself, and a hash of the picture tells. A file is refused where
//! libjpeg gives up, where Pillow refuses to begin, and where it ends before its last row is known.
//!
//! A file goes through `marker` (segments), `scan` (its loop over the blocks, with `bits` and `huffman` or
//! `arithmetic`), `idct` (with `smooth` before it where a progressive file is not finished) and `output` (upsampling
//! and colours).

mod arithmetic;
mod bits;
mod frame;
mod huffman;
mod idct;
mod marker;
mod open;
mod output;
mod scan;
mod smooth;
mod source;
mod standard;

use pulp::Arch;
use weft_core::limits::Limits;

use self::marker::Reader;
use self::open::Opened;
use self::output::{Colors, Pixels};
use super::{DecodeError, Format, Inspected, RgbImage, check_size, cmyk_to_rgb, finish, metadata};

const FORMAT: Format = Format::Jpeg;

/// Why decoding stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// The file ends.
    End,
    /// It breaks a rule that libjpeg insists on.
    Corrupt(&'static str),
    /// It is of a kind that is not decoded.
    Unsupported(&'static str),
}

impl Halt {
    const LENGTH: Self = Self::Corrupt("a marker segment of senseless length");
    const NO_FRAME: Self = Self::Corrupt("no frame header");
    const NO_TABLE: Self = Self::Corrupt("a scan without its tables");
}

impl From<Halt> for DecodeError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::End => Self::Truncated { format: FORMAT },
            Halt::Corrupt(cause) => Self::corrupt(FORMAT, cause),
            Halt::Unsupported(cause) => Self::unsupported(FORMAT, cause),
        }
    }
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let opened = Opened::read(bytes)?;
    let Some((width_px, height_px)) = opened.size_px else {
        return Err(if opened.is_whole {
            DecodeError::corrupt(FORMAT, "no frame header")
        } else {
            DecodeError::Truncated { format: FORMAT }
        });
    };
    let mut inspected = Inspected::new(FORMAT, width_px.into(), height_px.into());
    inspected.exif_orientation = metadata::orientation(opened.exif, opened.xmp);
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, DecodeError> {
    let mut reader = Reader::new(bytes);
    let scan = reader.read_to_first_scan()?;
    let frame = reader.frame_mut()?;
    frame.lay_out()?;
    let [width_px, height_px] =
        [frame.width, frame.height].map(|side| u32::try_from(side).expect("a side has sixteen bits in the file"));
    check_size(FORMAT, width_px, height_px, limits)?;
    output::check(frame)?;
    if !frame.is_progressive && !frame.is_arithmetic {
        reader.add_standard_tables();
    }
    // By what stands before the first scan, as the frame header is.
    let (is_jfif, adobe_transform) = (reader.is_jfif, reader.adobe_transform);
    let colors = Colors::of(reader.frame_mut()?, is_jfif, adobe_transform)?;
    let planes = scan::planes(&mut reader, &scan)?;
    let frame = reader.frame_mut()?;
    let mut pixels = Arch::new().dispatch(Pixels::new(frame, &planes, colors)?);
    if colors.are_inks() {
        pixels = cmyk_to_rgb(&pixels);
    }
    finish(FORMAT, width_px, height_px, pixels)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A small file, and what Pillow 13.0.0 (libjpeg-turbo 3.2) makes of it; `benches/pillow/jpeg_fixtures.py` wrote both.
    struct Fixture {
        name: String,
        bytes: Vec<u8>,
        /// Width, height and BLAKE3 of the pixels; `None` where it is refused.
        expected: Option<(u32, u32, String)>,
    }

    fn fixtures() -> Vec<Fixture> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/jpeg");
        let read = |name: &str| {
            #[expect(clippy::disallowed_methods, reason = "a fixture, not outside bytes")]
            let bytes = std::fs::read(folder.join(name));
            bytes.unwrap()
        };
        let listing = String::from_utf8(read("expected.txt")).unwrap();
        listing
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let expected = match fields[1..] {
                    [width, height, digest] => {
                        Some((width.parse().unwrap(), height.parse().unwrap(), digest.to_owned()))
                    }
                    ref refused => {
                        assert_eq!(refused, ["refused"]);
                        None
                    }
                };
                Fixture { name: fields[0].to_owned(), bytes: read(&format!("{}.jpg", fields[0])), expected }
            })
            .collect()
    }

    fn decoded(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
        inspect(bytes)?;
        decode(bytes, &Limits::default())
    }

    #[test]
    fn pixels_and_refusals_are_those_of_pillow_bit_by_bit() {
        let fixtures = fixtures();
        assert!(fixtures.len() > 50);
        for Fixture { name, bytes, expected } in fixtures {
            let found = decoded(&bytes)
                .map(|image| (image.width_px(), image.height_px(), blake3::hash(image.pixels()).to_hex().to_string()));
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{name}: {:?}", found.as_ref().err());
        }
    }

    #[test]
    fn no_damage_makes_the_decoder_panic() {
        // What it decodes to is compared elsewhere; here overflow checks are on, and a panic ends the test.
        let limits = Limits { image_pixels: 1 << 16, ..Limits::default() };
        let (mut decoded, mut refused) = (0, 0);
        for Fixture { bytes, .. } in fixtures() {
            for at in (0..bytes.len()).step_by(3) {
                let mut damaged = bytes.clone();
                damaged[at] ^= [0x01, 0x10, 0x80, 0xff][at / 3 % 4];
                match inspect(&damaged).and_then(|_| decode(&damaged, &limits)) {
                    Ok(_) => decoded += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(decoded > 1_000 && refused > 1_000, "{decoded} decoded, {refused} refused");
    }

    #[test]
    fn a_file_that_scans_its_image_without_end_is_refused() {
        // One block, one table with one code for "no difference", and scans of nothing.
        let mut bytes = b"\xff\xd8\xff\xc2\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0\xff\xdb\0\x43\0".to_vec();
        bytes.extend([1; 64]);
        bytes.extend(b"\xff\xc4\0\x14\0\x01");
        bytes.extend([0; 16]);
        let scan = b"\xff\xda\0\x08\x01\x01\0\0\0\0\0\0";
        let file = |scans: usize| [bytes.clone(), scan.repeat(scans), b"\xff\xd9".to_vec()].concat();
        assert!(decoded(&file(2_688)).is_ok());
        assert_eq!(decoded(&file(2_689)).unwrap_err().name(), "unsupported");
    }

    #[test]
    fn limits_hold_before_memory_is_taken() {
        let mut bytes = fixtures().into_iter().find(|fixture| fixture.name == "sound-progressive").unwrap().bytes;
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc2]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x7f, 0xff, 0x7f, 0xff]);
        assert_eq!(decode(&bytes, &Limits::default()).unwrap_err().name(), "too_many_pixels");
    }
}
