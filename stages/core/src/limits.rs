//! Bounds on bytes that come from outside: length, pixels, depth, ratio, redirects.
//!
//! Every reader of outside bytes takes a [`Limits`]; at a bound it errors with [`LimitExceeded`] and never
//! truncates in silence. A *limit* is about safety and belongs to the machine; a *threshold* is about quality
//! and belongs to the recipe.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// The bounds in force; every field is inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// One line of a source file (a C4 document is at most 1.9e5 characters; `c4_utils.py`).
    pub line_bytes: u64,
    /// The head of a WARC record, and each HTTP head, with all header lines.
    pub header_bytes: u64,
    /// One WARC record, inflated.
    pub record_bytes: u64,
    /// One page after transfer and content decoding.
    pub page_bytes: u64,
    /// One image as transferred.
    pub image_bytes: u64,
    /// One image decoded: width times height, all of one frame.
    pub image_pixels: u64,
    /// One side of an image, in pixels.
    pub image_side_px: u32,
    /// Inflated bytes per compressed byte; deflate itself ends at 1,032.
    pub inflate_ratio: u64,
    /// Nesting of HTML elements that is followed.
    pub html_depth: u32,
    /// Image references listed of one page.
    pub page_images: u32,
    /// Redirects followed for one image.
    pub redirects: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 16 << 20,
            header_bytes: 256 << 10,
            record_bytes: 64 << 20,
            page_bytes: 32 << 20,
            image_bytes: 32 << 20,
            image_pixels: 100_000_000,
            image_side_px: 32_768,
            inflate_ratio: 1_100,
            html_depth: 4_096,
            page_images: 10_000,
            redirects: 5,
        }
    }
}

/// A bound that outside bytes ran into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} exceeds the limit of {limit}")]
pub struct LimitExceeded {
    /// Which bound, as its field is named in [`Limits`].
    pub what: &'static str,
    /// The bound.
    pub limit: u64,
}

impl From<LimitExceeded> for io::Error {
    fn from(cause: LimitExceeded) -> Self {
        Self::new(io::ErrorKind::InvalidData, cause)
    }
}

/// A reader that fails with [`LimitExceeded`] once more than `limit` bytes come out of it.
#[derive(Debug)]
pub struct CappedReader<R> {
    inner: R,
    left: u64,
    exceeded: LimitExceeded,
}

impl<R: Read> CappedReader<R> {
    /// Lets `limit` bytes through; `what` is the [`Limits`] field that it stands for.
    pub fn new(inner: R, what: &'static str, limit: u64) -> Self {
        Self { inner, left: limit, exceeded: LimitExceeded { what, limit } }
    }
}

impl<R: Read> Read for CappedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let read_bytes = u64::try_from(read).expect("usize fits u64");
        if read_bytes > self.left {
            return Err(self.exceeded.clone().into());
        }
        self.left -= read_bytes;
        Ok(read)
    }
}

/// Reads all of `inner`, at most `limit` bytes.
///
/// # Errors
/// The reader's own, or [`LimitExceeded`] inside an [`io::Error`].
pub fn read_capped(inner: impl Read, what: &'static str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    CappedReader::new(inner, what, limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capped_reader_errors_at_the_bound_and_never_truncates() {
        assert_eq!(read_capped(&b"four"[..], "page_bytes", 4).unwrap(), b"four");
        let error = read_capped(&b"fives"[..], "page_bytes", 4).unwrap_err();
        assert_eq!(error.to_string(), "page_bytes exceeds the limit of 4");
    }
}
