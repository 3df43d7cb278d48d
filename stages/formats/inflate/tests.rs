use std::io::Write;

use super::*;
use crate::formats::inflate::members::WHOLE_INPUT_BYTES;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A reader that gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}

fn member(reader: &mut MemberReader<impl Read>) -> Result<Vec<u8>, InflateError> {
    let mut bytes = Vec::new();
    loop {
        let ready = reader.fill()?;
        if ready.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(ready);
        let count = ready.len();
        reader.consume(count);
    }
}

#[test]
fn members_are_located_even_when_bytes_drip_in() {
    let (one, two) = (gzip(b"one"), gzip(&[b'x'; 300_000]));
    let file = [&one[..], &two[..]].concat();
    let mut reader = MemberReader::new(Drip(&file), &Limits::default());
    assert_eq!(reader.next_member().unwrap(), Some(0));
    assert_eq!(member(&mut reader).unwrap(), b"one");
    assert_eq!(reader.next_member().unwrap(), Some(one.len() as u64));
    assert_eq!(member(&mut reader).unwrap().len(), 300_000);
    assert_eq!(reader.offset(), file.len() as u64);
    assert_eq!(reader.next_member().unwrap(), None);
}

#[test]
fn damage_gives_what_was_inflated_before_it() {
    let mut file = gzip(b"a line of text");
    *file.last_mut().unwrap() ^= 1;
    let mut reader = MemberReader::new(&file[..], &Limits::default());
    reader.next_member().unwrap();
    assert_eq!(reader.fill().unwrap(), b"a line of text");
    reader.consume(14);
    assert!(matches!(reader.fill(), Err(InflateError::Damaged { offset: 0, .. })));
    let inflated = inflate_member(&file, "record_bytes", 100, &Limits::default());
    assert_eq!(inflated.bytes, b"a line of text");
    assert!(matches!(inflated.end, Err(InflateError::Damaged { .. })));
}

#[test]
fn bytes_after_the_last_member_are_an_error() {
    let file = [&gzip(b"one")[..], b"junk"].concat();
    let mut reader = MemberReader::new(&file[..], &Limits::default());
    reader.next_member().unwrap();
    let at = file.len() as u64 - 4;
    assert!(matches!(reader.next_member(), Err(InflateError::NotGzip { offset }) if offset == at));
}

#[test]
fn a_member_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let file = gzip(&[7; 5_000]);
    let exact = inflate_member(&file, "page_bytes", 5_000, &Limits::default());
    assert!(exact.end.is_ok());
    assert_eq!((exact.bytes.len(), exact.compressed_bytes), (5_000, file.len()));
    let over = inflate_member(&file, "page_bytes", 4_999, &Limits::default());
    assert_eq!(over.end.unwrap_err().to_string(), "page_bytes exceeds the limit of 4999");
    assert_eq!(over.bytes.len(), 4_999);
}

#[test]
fn a_bomb_ends_at_the_ratio_in_every_coding() {
    let limits = Limits { inflate_ratio: 20, ..Limits::default() };
    let zeros = vec![0; 8 << 20];
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    deflate.write_all(&zeros).unwrap();
    let bombs = [
        (Coding::Gzip, gzip(&zeros)),
        (Coding::Deflate, deflate.finish().unwrap()),
        (Coding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap()),
    ];
    for (coding, bomb) in bombs {
        let inflated = decode(coding, &bomb, "page_bytes", u64::MAX, &limits);
        let cause = inflated.end.unwrap_err();
        assert_eq!(cause.to_string(), "inflate_ratio exceeds the limit of 20", "{coding:?}");
        assert!(inflated.bytes.len() < 2 << 20);
    }
    let bomb = gzip(&zeros);
    let mut reader = MemberReader::new(&bomb[..], &limits);
    reader.next_member().unwrap();
    assert!(matches!(reader.next_member(), Err(InflateError::Limit(_))));
}

#[test]
fn deflate_is_read_with_and_without_its_zlib_wrapping() {
    let text = b"text that is long enough to have a shape of its own".repeat(4);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&text).unwrap();
    let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    bare.write_all(&text).unwrap();
    for body in [zlib.finish().unwrap(), bare.finish().unwrap(), gzip(&text)] {
        let inflated = decode(Coding::Deflate, &body, "page_bytes", 1 << 20, &Limits::default());
        assert!(inflated.end.is_ok());
        assert_eq!(inflated.bytes, text);
    }
}

#[test]
fn a_body_of_two_members_decodes_to_both_and_junk_after_them_ends_it() {
    let body = [&gzip(b"one ")[..], &gzip(b"two")[..], b"junk"].concat();
    let inflated = decode(Coding::Gzip, &body, "page_bytes", 7, &Limits::default());
    assert!(inflated.end.is_ok());
    assert_eq!((&inflated.bytes[..], inflated.compressed_bytes), (&b"one two"[..], body.len() - 4));
    let over = decode(Coding::Gzip, &body, "page_bytes", 6, &Limits::default());
    assert_eq!(over.end.unwrap_err().to_string(), "page_bytes exceeds the limit of 6");
}

#[test]
fn a_cut_off_body_gives_its_beginning() {
    let text: Vec<u8> = (0..20_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    for (coding, whole) in [(Coding::Gzip, gzip(&text)), (Coding::Zstd, zstd::encode_all(&text[..], 1).unwrap())] {
        let inflated = decode(coding, &whole[..whole.len() * 3 / 4], "page_bytes", 1 << 20, &Limits::default());
        assert!(matches!(inflated.end, Err(InflateError::CutOff { .. })), "{coding:?}");
        assert!(!inflated.bytes.is_empty() || coding == Coding::Zstd);
        assert!(text.starts_with(&inflated.bytes));
    }
}

#[test]
fn brotli_is_decoded_and_its_damage_reported() {
    // Written by the `brotli` command at its default quality.
    let body = b"\x1b\x2b\x00\xf8\xc5\x6d\xec\x7b\x96\xfc\xee\x11\xaa\x19\x11\x81\xa5\x08\x53\x21\xc0\x6c\xdd\x52\x93\x74\xf5\x07\x01";
    let inflated = decode(Coding::Brotli, body, "page_bytes", 100, &Limits::default());
    assert!(inflated.end.is_ok());
    assert_eq!(inflated.bytes, b"warp and weft, warp and weft, warp and weft\n");
    assert!(decode(Coding::Brotli, b"no brotli at all", "page_bytes", 100, &Limits::default()).end.is_err());
}

/// Members of every sort, each with what it inflates to.
fn members() -> Vec<(Vec<u8>, Vec<u8>)> {
    let noise = |seed: u32, length: u32| -> Vec<u8> {
        (0..length)
            .map(|n| (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(n | 1).to_be_bytes()[1])
            .collect()
    };
    let stored = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut named =
        flate2::GzBuilder::new().filename("name").comment("comment").extra(&b"sl\x04\x00\x1f\x8b\x08\x00"[..]);
    named = named.mtime(0x0800_8b1f);
    let mut named = named.write(Vec::new(), flate2::Compression::fast());
    named.write_all(b"with every field").unwrap();
    let text = b"warp and weft, ".repeat(3_000);
    // Holds its own length, and what looks like a member's beginning.
    let own_length = [&b"before "[..], &20_u32.to_le_bytes(), b" after ok"].concat();
    let own_beginning = [&b"before \x1f\x8b\x08\x00"[..], &noise(1, 40)].concat();
    vec![
        (gzip(b""), Vec::new()),
        (gzip(b"one"), b"one".to_vec()),
        (gzip(b"one"), b"one".to_vec()),
        (gzip(&text), text.clone()),
        (stored(&own_length), own_length),
        (stored(&own_beginning), own_beginning),
        (named.finish().unwrap(), b"with every field".to_vec()),
        (gzip(&noise(2, 70_000)), noise(2, 70_000)),
        (gzip(&text[..10_001]), text[..10_001].to_vec()),
    ]
}

/// Where each member begins, and what it holds.
type Members = Vec<(u64, Vec<u8>)>;

/// Where each member begins, its bytes, and how the reading ended.
fn read_all(mut reader: MemberReader<impl Read>) -> (Members, Result<u64, String>) {
    let mut seen = Vec::new();
    loop {
        match reader.next_member() {
            Ok(None) => return (seen, Ok(reader.offset())),
            Ok(Some(offset)) => seen.push((offset, Vec::new())),
            Err(cause) => return (seen, Err(cause.to_string())),
        }
        let (_, bytes) = seen.last_mut().unwrap();
        loop {
            let ready = match reader.fill() {
                Ok(ready) => ready,
                Err(cause) => {
                    let cause = cause.to_string();
                    return (seen, Err(cause));
                }
            };
            if ready.is_empty() {
                break;
            }
            bytes.extend_from_slice(ready);
            let count = ready.len();
            reader.consume(count);
        }
    }
}

#[test]
fn every_member_is_read_as_it_was_written_and_found_where_it_lies() {
    let members = members();
    let file: Vec<u8> = members.iter().flat_map(|(member, _)| member.clone()).collect();
    let limits = Limits::default();
    let mut offset = 0;
    let mut expected = Vec::new();
    for (member, bytes) in &members {
        expected.push((offset, bytes.clone()));
        offset += member.len() as u64;
    }
    let expected = (expected, Ok(offset));
    assert_eq!(read_all(MemberReader::new(&file[..], &limits)), expected);
    assert_eq!(read_all(MemberReader::new(Drip(&file), &limits)), expected);
    assert_eq!(read_all(MemberReader::streaming(&file[..], &limits)), expected);
}

#[test]
fn a_damaged_file_reads_the_same_whether_members_are_streamed_or_not() {
    let limits = Limits { inflate_ratio: 40, ..Limits::default() };
    let members = members();
    // A linear congruential generator: the same damage on every run.
    let mut state = 1_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % bound as u64).unwrap()
    };
    let mut clean = 0;
    for case in 0..400 {
        let mut file: Vec<u8> = (0..4).flat_map(|_| members[below(members.len())].0.clone()).collect();
        match case % 5 {
            0 => file.truncate(below(file.len())),
            1 => {
                let at = below(file.len());
                file[at] ^= 1 << below(8);
            }
            2 => file.extend_from_within(file.len() - 8..),
            3 => {
                let at = below(file.len());
                file.splice(at..at, [0x1f, 0x8b, 8, 0]);
            }
            _ => {}
        }
        let whole = read_all(MemberReader::new(&file[..], &limits));
        clean += usize::from(whole.1.is_ok());
        assert_eq!(whole, read_all(MemberReader::streaming(&file[..], &limits)), "case {case}");
    }
    assert!((50..200).contains(&clean), "{clean} of 400 files are read without an error");
}

#[test]
fn a_member_in_memory_reads_the_same_as_its_stream_however_it_is_damaged() {
    let limits = Limits { inflate_ratio: 40, ..Limits::default() };
    let caps = Caps { what: "record_bytes", limit_bytes: 60_000, ratio: limits.inflate_ratio };
    let same = |range: &[u8], about: &str| {
        let whole = inflate_member(range, caps.what, caps.limit_bytes, &limits);
        let stream = inflate_stream(Decompress::new_gzip(WINDOW_BITS), range, caps);
        assert_eq!(whole.bytes, stream.bytes, "{about}");
        assert_eq!(whole.compressed_bytes, stream.compressed_bytes, "{about}");
        assert_eq!(
            whole.end.map_err(|cause| cause.to_string()),
            stream.end.map_err(|cause| cause.to_string()),
            "{about}"
        );
    };
    for (number, (member, _)) in members().into_iter().enumerate() {
        same(&member, &format!("member {number}"));
        // Bytes behind it, among them its own trailer.
        let trailer = member[member.len() - 8..].to_vec();
        for behind in [&b"junk"[..], &trailer, &trailer[4..], &member] {
            same(&[&member, behind].concat(), &format!("member {number} and {} bytes", behind.len()));
        }
        for at in (2..member.len()).rev().step_by(1 + member.len() / 40) {
            same(&member[..at], &format!("member {number} cut at {at}"));
            let mut flipped = member.clone();
            flipped[at] ^= 1;
            same(&flipped, &format!("member {number} flipped at {at}"));
        }
    }
}

#[test]
fn bytes_behind_a_member_are_noticed_even_where_they_look_like_its_end() {
    let member = gzip(b"a line of text");
    let range = [&member[..], &member[member.len() - 8..]].concat();
    let inflated = inflate_member(&range, "record_bytes", 100, &Limits::default());
    assert!(inflated.end.is_ok());
    assert_eq!((&inflated.bytes[..], inflated.compressed_bytes), (&b"a line of text"[..], member.len()));
}

#[test]
fn members_too_large_to_be_held_are_streamed() {
    let text: Vec<u8> = (0..700_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let large = gzip(&text);
    assert!(large.len() > WHOLE_INPUT_BYTES);
    // Small as stored, large inflated.
    let zeros = vec![0; 20 << 20];
    let file = [gzip(b"one"), large.clone(), gzip(&zeros), gzip(b"four")].concat();
    let (seen, end) = read_all(MemberReader::new(&file[..], &Limits::default()));
    assert_eq!(end, Ok(file.len() as u64));
    assert_eq!(seen[2].0, (gzip(b"one").len() + large.len()) as u64);
    assert!(seen[1].1 == text && seen[2].1 == zeros);
    assert_eq!((&seen[0].1[..], &seen[3].1[..]), (&b"one"[..], &b"four"[..]));
}

/// A reader that fails at its end.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::Error::other("the disk is gone")) } else { self.0.read(buffer) }
    }
}

#[test]
fn a_source_that_fails_gives_all_that_came_before() {
    let file = [gzip(b"one"), gzip(b"two"), gzip(b"three")].concat();
    for length in [file.len(), file.len() - 1, file.len() - gzip(b"three").len(), 30] {
        let whole = read_all(MemberReader::new(Failing(&file[..length]), &Limits::default()));
        assert_eq!(whole, read_all(MemberReader::streaming(Failing(&file[..length]), &Limits::default())));
        assert_eq!(whole.1.unwrap_err(), format!("failed to read compressed bytes at offset {length}"));
    }
}
