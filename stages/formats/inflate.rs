//! Inflates bytes from outside under caps; the one file that holds raw decompressors.
//!
//! Two caps hold for every decoder: an absolute one, in bytes, named by the caller after a field of
//! [`Limits`], and [`Limits::inflate_ratio`], in inflated bytes per compressed byte. What was inflated before
//! an error is always kept: damage gives what could be read, then its cause.
//!
//! [`MemberReader`] streams a gzip file member by member and knows at which offset each begins and ends, which
//! is what an index of a WARC file names. Its state is one input and one output buffer, whatever the file
//! holds. O(n) in the bytes read.
//!
//! The decoder of gzip is `flate2`'s zlib-rs. libdeflate is faster on members that fit into memory, but its
//! safe binding does not tell how many compressed bytes it used, so it can only serve a caller that knows the
//! member's length: [`inflate_member`] is the place for it.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};
use weft_core::limits::{LimitExceeded, Limits};

/// Compressed bytes asked of the source at once.
const INPUT_BYTES: usize = 64 << 10;
/// Inflated bytes held at once by a [`MemberReader`].
const OUTPUT_BYTES: usize = 128 << 10;
/// Output up to which the ratio is not judged: brotli and zstd state a run of zeros in a few bytes, and a
/// megabyte is no bomb.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Base-2 logarithm of deflate's window (RFC 1951, section 2).
const WINDOW_BITS: u8 = 15;

/// Why inflating ended early; offsets count compressed bytes from the start of the source.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// The source itself failed.
    #[error("failed to read compressed bytes at offset {offset}")]
    Read {
        /// Where the read began.
        offset: u64,
        /// The source's error.
        #[source]
        source: io::Error,
    },
    /// No gzip member begins where one should.
    #[error("no gzip member begins at offset {offset}")]
    NotGzip {
        /// Where it should begin.
        offset: u64,
    },
    /// The source ends inside a compressed stream.
    #[error("the compressed stream that begins at offset {offset} is cut off")]
    CutOff {
        /// Where the stream begins.
        offset: u64,
    },
    /// The stream breaks its format's rules, or its checksum does not hold.
    #[error("the compressed stream that begins at offset {offset} is damaged: {cause}")]
    Damaged {
        /// Where the stream begins.
        offset: u64,
        /// The decoder's words.
        cause: String,
    },
    /// A cap was reached.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
}

/// How a body was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 1950, or as many servers understand the name, bare RFC 1951.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// What came out of a decoder: everything inflated before `end`.
#[derive(Debug)]
pub struct Inflated {
    /// The inflated bytes, a prefix of them where `end` is an error.
    pub bytes: Vec<u8>,
    /// Compressed bytes used.
    pub compressed_bytes: usize,
    /// Whether the stream ended as its format says.
    pub end: Result<(), InflateError>,
}

/// The caps in force for one stream.
#[derive(Clone, Copy, Debug)]
struct Caps {
    what: &'static str,
    limit_bytes: u64,
    ratio: u64,
}

impl Caps {
    fn check(self, compressed_bytes: u64, inflated_bytes: u64) -> Result<(), LimitExceeded> {
        if inflated_bytes > self.limit_bytes {
            return Err(LimitExceeded { what: self.what, limit: self.limit_bytes });
        }
        let allowed = compressed_bytes.max(1).saturating_mul(self.ratio).max(RATIO_FREE_BYTES);
        if inflated_bytes > allowed {
            return Err(LimitExceeded { what: "inflate_ratio", limit: self.ratio });
        }
        Ok(())
    }
}

/// Inflates the gzip member at the start of `compressed`; what follows it is left alone.
///
/// `what` names the field of [`Limits`] that `limit_bytes` is.
#[must_use]
pub fn inflate_member(compressed: &[u8], what: &'static str, limit_bytes: u64, limits: &Limits) -> Inflated {
    let caps = Caps { what, limit_bytes, ratio: limits.inflate_ratio };
    if !begins_gzip(compressed) {
        return Inflated { bytes: Vec::new(), compressed_bytes: 0, end: Err(InflateError::NotGzip { offset: 0 }) };
    }
    inflate_stream(Decompress::new_gzip(WINDOW_BITS), compressed, caps)
}

/// Decodes a body of one content coding.
///
/// `what` names the field of [`Limits`] that `limit_bytes` is. A body of no bytes decodes to none.
#[must_use]
pub fn decode(coding: Coding, compressed: &[u8], what: &'static str, limit_bytes: u64, limits: &Limits) -> Inflated {
    if compressed.is_empty() {
        return Inflated { bytes: Vec::new(), compressed_bytes: 0, end: Ok(()) };
    }
    let caps = Caps { what, limit_bytes, ratio: limits.inflate_ratio };
    match coding {
        Coding::Gzip => decode_gzip(compressed, caps),
        // Some servers send gzip under the name deflate.
        Coding::Deflate if begins_gzip(compressed) => decode_gzip(compressed, caps),
        Coding::Deflate => decode_deflate(compressed, caps),
        Coding::Brotli => {
            drain(brotli_decompressor::Decompressor::new(compressed, INPUT_BYTES), compressed.len(), caps)
        }
        Coding::Zstd => match zstd::stream::read::Decoder::with_buffer(compressed) {
            Ok(decoder) => drain(decoder, compressed.len(), caps),
            Err(cause) => Inflated { bytes: Vec::new(), compressed_bytes: 0, end: Err(damaged(0, &cause)) },
        },
    }
}

fn begins_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

fn damaged(offset: u64, cause: &dyn std::error::Error) -> InflateError {
    InflateError::Damaged { offset, cause: cause.to_string() }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}

/// All members, one after the other (RFC 1952, section 2.2); bytes after the last one that are no member end it.
fn decode_gzip(compressed: &[u8], caps: Caps) -> Inflated {
    let mut all = Inflated { bytes: Vec::new(), compressed_bytes: 0, end: Ok(()) };
    let mut rest = compressed;
    loop {
        let left = Caps { limit_bytes: caps.limit_bytes - length_u64(all.bytes.len()), ..caps };
        let mut member = inflate_stream(Decompress::new_gzip(WINDOW_BITS), rest, left);
        if let Err(InflateError::Limit(exceeded)) = &mut member.end
            && exceeded.what == caps.what
        {
            exceeded.limit = caps.limit_bytes;
        }
        all.bytes.append(&mut member.bytes);
        all.compressed_bytes += member.compressed_bytes;
        all.end = member.end;
        rest = rest.get(member.compressed_bytes..).unwrap_or_default();
        if all.end.is_err() || !begins_gzip(rest) {
            return all;
        }
    }
}

/// The name stands for zlib, yet many servers send bare deflate: whichever of the two gets further.
fn decode_deflate(compressed: &[u8], caps: Caps) -> Inflated {
    let zlib = inflate_stream(Decompress::new(true), compressed, caps);
    if zlib.end.is_ok() || matches!(zlib.end, Err(InflateError::Limit(_))) {
        return zlib;
    }
    let bare = inflate_stream(Decompress::new(false), compressed, caps);
    if bare.end.is_ok() || bare.bytes.len() > zlib.bytes.len() { bare } else { zlib }
}

/// Inflates one stream that lies in memory.
fn inflate_stream(mut inflater: Decompress, compressed: &[u8], caps: Caps) -> Inflated {
    // One byte past the limit is room enough to see that the limit is exceeded.
    let ceiling = usize::try_from(caps.limit_bytes).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = Vec::with_capacity(compressed.len().saturating_mul(4).clamp(1 << 10, 4 << 20).min(ceiling));
    let mut used = 0;
    let end = loop {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(bytes.len().clamp(1 << 10, 4 << 20));
        }
        let (in_before, out_before) = (inflater.total_in(), inflater.total_out());
        let rest = compressed.get(used..).unwrap_or_default();
        let status = inflater.decompress_vec(rest, &mut bytes, FlushDecompress::None);
        used += usize::try_from(inflater.total_in() - in_before).expect("no more is used than was given");
        let stalled = inflater.total_in() == in_before && inflater.total_out() == out_before;
        if let Err(exceeded) = caps.check(inflater.total_in(), inflater.total_out()) {
            bytes.truncate(ceiling - 1);
            break Err(InflateError::Limit(exceeded));
        }
        match status {
            Ok(Status::StreamEnd) => break Ok(()),
            Ok(_) if stalled && used == compressed.len() => break Err(InflateError::CutOff { offset: 0 }),
            Ok(_) if stalled => {
                break Err(InflateError::Damaged { offset: 0, cause: "the decoder stands still".to_owned() });
            }
            Ok(_) => {}
            Err(cause) => break Err(damaged(0, &cause)),
        }
    };
    Inflated { bytes, compressed_bytes: used, end }
}

/// Reads a decoder of `compressed_length` bytes to its end.
fn drain(mut decoder: impl Read, compressed_length: usize, caps: Caps) -> Inflated {
    let mut bytes = Vec::new();
    let mut piece = vec![0; OUTPUT_BYTES];
    let end = loop {
        match decoder.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                let inflated = length_u64(bytes.len()) + length_u64(read);
                if let Err(exceeded) = caps.check(length_u64(compressed_length), inflated) {
                    break Err(InflateError::Limit(exceeded));
                }
                bytes.extend_from_slice(piece.get(..read).expect("a read fills no more than the buffer"));
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                break Err(InflateError::CutOff { offset: 0 });
            }
            Err(cause) => break Err(damaged(0, &cause)),
        }
    };
    Inflated { bytes, compressed_bytes: compressed_length, end }
}

/// Reads a gzip file member by member.
///
/// [`MemberReader::next_member`] goes to the next member, [`MemberReader::fill`] and
/// [`MemberReader::consume`] read its inflated bytes; `fill` is empty at the member's end.
pub struct MemberReader<R> {
    source: R,
    input: Vec<u8>,
    /// The part of `input` that is read and not yet used.
    unused: std::ops::Range<usize>,
    /// Offset in the source of the first unused byte.
    offset: u64,
    output: Vec<u8>,
    /// The part of `output` that is inflated and not yet consumed.
    ready: std::ops::Range<usize>,
    inflater: Decompress,
    inside: bool,
    member_offset: u64,
    /// Raised once the bytes inflated before it are consumed.
    failed: Option<InflateError>,
    ratio: u64,
}

impl<R> std::fmt::Debug for MemberReader<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { offset, member_offset, inside, ratio, .. } = self;
        formatter
            .debug_struct("MemberReader")
            .field("offset", offset)
            .field("member_offset", member_offset)
            .field("inside", inside)
            .field("ratio", ratio)
            .finish_non_exhaustive()
    }
}

impl<R: Read> MemberReader<R> {
    /// A reader that stands before the first member.
    pub fn new(source: R, limits: &Limits) -> Self {
        Self {
            source,
            input: vec![0; INPUT_BYTES],
            unused: 0..0,
            offset: 0,
            output: vec![0; OUTPUT_BYTES],
            ready: 0..0,
            inflater: Decompress::new_gzip(WINDOW_BITS),
            inside: false,
            member_offset: 0,
            failed: None,
            ratio: limits.inflate_ratio,
        }
    }

    /// Offset of the first compressed byte not yet used: at a member's end, where the next one begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Skips what is left of this member and goes to the next one: its offset, or none at the source's end.
    ///
    /// # Errors
    /// Those of the source, and of the bytes being no gzip member.
    pub fn next_member(&mut self) -> Result<Option<u64>, InflateError> {
        loop {
            let ready = self.fill()?.len();
            if ready == 0 {
                break;
            }
            self.consume(ready);
        }
        // The two bytes of the magic number may come in two reads.
        while self.unused.len() < 2 {
            if !self.read_more()? {
                break;
            }
        }
        let unused = self.input.get(self.unused.clone()).expect("the unused part lies in the buffer");
        if unused.is_empty() {
            return Ok(None);
        }
        if !begins_gzip(unused) {
            return Err(InflateError::NotGzip { offset: self.offset });
        }
        self.member_offset = self.offset;
        self.inflater = Decompress::new_gzip(WINDOW_BITS);
        self.inside = true;
        Ok(Some(self.member_offset))
    }

    /// Inflated bytes of this member not yet consumed, at least one but for the member's end.
    ///
    /// # Errors
    /// Once what was inflated before the damage is consumed.
    pub fn fill(&mut self) -> Result<&[u8], InflateError> {
        while self.ready.is_empty() {
            if let Some(cause) = self.failed.take() {
                self.inside = false;
                return Err(cause);
            }
            if !self.inside {
                return Ok(&[]);
            }
            if self.unused.is_empty() && !self.read_more()? {
                self.failed = Some(InflateError::CutOff { offset: self.member_offset });
                continue;
            }
            self.inflate_more();
        }
        Ok(self.output.get(self.ready.clone()).expect("the ready part lies in the buffer"))
    }

    /// Lets go of `count` bytes of those that [`MemberReader::fill`] gave.
    pub fn consume(&mut self, count: usize) {
        self.ready.start = (self.ready.start + count).min(self.ready.end);
    }

    fn inflate_more(&mut self) {
        let (in_before, out_before) = (self.inflater.total_in(), self.inflater.total_out());
        let unused = self.input.get(self.unused.clone()).expect("the unused part lies in the buffer");
        let status = self.inflater.decompress(unused, &mut self.output, FlushDecompress::None);
        let used = self.inflater.total_in() - in_before;
        let inflated = self.inflater.total_out() - out_before;
        self.unused.start += usize::try_from(used).expect("no more is used than was given");
        self.offset += used;
        self.ready = 0..usize::try_from(inflated).expect("no more is inflated than there is room for");
        let caps = Caps { what: "inflate_ratio", limit_bytes: u64::MAX, ratio: self.ratio };
        if let Err(exceeded) = caps.check(self.inflater.total_in(), self.inflater.total_out()) {
            self.failed = Some(InflateError::Limit(exceeded));
            return;
        }
        match status {
            Ok(Status::StreamEnd) => self.inside = false,
            Ok(_) if used == 0 && inflated == 0 => {
                let cause = "the decoder stands still".to_owned();
                self.failed = Some(InflateError::Damaged { offset: self.member_offset, cause });
            }
            Ok(_) => {}
            Err(cause) => self.failed = Some(damaged(self.member_offset, &cause)),
        }
    }

    /// Whether the source had more bytes.
    fn read_more(&mut self) -> Result<bool, InflateError> {
        self.input.copy_within(self.unused.clone(), 0);
        self.unused = 0..self.unused.len();
        let free = self.input.get_mut(self.unused.end..).expect("the unused part lies in the buffer");
        loop {
            match self.source.read(free) {
                Ok(read) => {
                    self.unused.end += read;
                    return Ok(read > 0);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    self.inside = false;
                    return Err(InflateError::Read { offset: self.offset, source });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

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
}
