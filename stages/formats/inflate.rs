//! Inflates bytes from outside under caps; the one folder that holds raw decompressors.
//!
//! Two caps hold for every decoder: an absolute one, in bytes, named by the caller after a field of
//! [`Limits`], and [`Limits::inflate_ratio`], in inflated bytes per compressed byte. What was inflated before
//! an error is always kept: damage gives what could be read, then its cause.
//!
//! Two decoders read gzip. `flate2`'s zlib-rs streams, and decides: all damage, all caps and all offsets are as it
//! finds them. libdeflate is two to three times as fast on a member that lies in memory whole; it is asked first
//! (`whole.rs`), and where it has no clean answer nothing has happened yet, and the stream begins. What comes out
//! is the same either way.
//!
//! [`MemberReader`] reads a gzip file member by member and knows at which offset each begins and ends, which
//! is what an index of a WARC file names. O(n) in the bytes read.

mod members;
mod whole;

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};
use weft_core::limits::{LimitExceeded, Limits};

pub use self::members::MemberReader;
use self::whole::Inflater;

/// Compressed bytes asked of a source at once.
const INPUT_BYTES: usize = 64 << 10;
/// Inflated bytes asked of a stream at once.
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
    inflate_whole(compressed, caps)
        .unwrap_or_else(|| inflate_stream(Decompress::new_gzip(WINDOW_BITS), compressed, caps))
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

/// Inflates a gzip member that ends where `compressed` does; none where that is not certain.
fn inflate_whole(compressed: &[u8], caps: Caps) -> Option<Inflated> {
    let mut bytes = Vec::new();
    let length = Inflater::default().inflate(compressed, &mut bytes, caps)?;
    bytes.truncate(length);
    Some(Inflated { bytes, compressed_bytes: compressed.len(), end: Ok(()) })
}

/// All members, one after the other (RFC 1952, section 2.2); bytes after the last one that are no member end it.
fn decode_gzip(compressed: &[u8], caps: Caps) -> Inflated {
    if let Some(inflated) = inflate_whole(compressed, caps) {
        return inflated;
    }
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

#[cfg(test)]
mod tests;
