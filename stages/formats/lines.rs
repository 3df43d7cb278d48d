//! Cuts a source file into lines, whether it is gzip or plain, in the memory of one line.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use weft_core::limits::Limits;

use super::inflate::{InflateError, MemberReader};

/// The two bytes that every gzip member begins with (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

enum Source<R> {
    Gzip(Box<MemberReader<Whole<R>>>),
    Plain { reader: BufReader<Whole<R>>, offset: u64 },
}

/// One line without its line end.
#[derive(Debug)]
pub enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Longer than the limit: read over, not held.
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

impl Line<'_> {
    /// Its length, without its line end.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Whole(bytes) => length_u64(bytes.len()),
            Self::TooLong { bytes } => *bytes,
        }
    }
}

/// A source file that cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("failed to read on at byte {offset}")]
pub struct LineError {
    /// Bytes of the file used before, as stored.
    pub offset: u64,
    source: InflateError,
}

/// Gives the lines of a file.
pub struct Lines<R> {
    source: Source<R>,
    line: Vec<u8>,
    limit_bytes: u64,
}

impl<R> std::fmt::Debug for Lines<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lines").field("limit_bytes", &self.limit_bytes).finish_non_exhaustive()
    }
}

impl<R: Read> Lines<R> {
    /// Reads the first two bytes, which tell gzip from plain.
    ///
    /// # Errors
    /// The file's own.
    pub fn open(mut file: R, limits: &Limits) -> io::Result<Self> {
        let mut first = Vec::new();
        (&mut file).take(length_u64(GZIP.len())).read_to_end(&mut first)?;
        let is_gzip = first == GZIP;
        let whole = Cursor::new(first).chain(file);
        let source = if is_gzip {
            Source::Gzip(Box::new(MemberReader::new(whole, limits)))
        } else {
            Source::Plain { reader: BufReader::with_capacity(128 << 10, whole), offset: 0 }
        };
        Ok(Self { source, line: Vec::new(), limit_bytes: limits.line_bytes })
    }

    /// The next line; the last one may lack its line end, and a line end at the file's end begins no line.
    ///
    /// # Errors
    /// Once the file fails, or its compression; nothing can be read after that.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, LineError> {
        self.line.clear();
        let mut bytes = 0;
        let mut begun = false;
        loop {
            let piece = match self.source.fill() {
                Ok(piece) => piece,
                Err(source) => return Err(LineError { offset: self.source.offset(), source }),
            };
            if piece.is_empty() {
                break;
            }
            begun = true;
            let end = memchr::memchr(b'\n', piece);
            let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            bytes += length_u64(part.len());
            if bytes <= self.limit_bytes {
                self.line.extend_from_slice(part);
            } else {
                self.line = Vec::new();
            }
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !begun {
            return Ok(None);
        }
        let is_whole = bytes <= self.limit_bytes;
        Ok(Some(if is_whole { Line::Whole(&self.line) } else { Line::TooLong { bytes } }))
    }
}

impl<R: Read> Source<R> {
    fn offset(&self) -> u64 {
        match self {
            Self::Gzip(reader) => reader.offset(),
            Self::Plain { offset, .. } => *offset,
        }
    }

    /// Bytes not yet consumed; empty at the file's end.
    fn fill(&mut self) -> Result<&[u8], InflateError> {
        match self {
            Self::Gzip(reader) => {
                while reader.fill()?.is_empty() {
                    if reader.next_member()?.is_none() {
                        break;
                    }
                }
                reader.fill()
            }
            Self::Plain { reader, offset } => {
                reader.fill_buf().map_err(|source| InflateError::Read { offset: *offset, source })
            }
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Gzip(reader) => reader.consume(count),
            Self::Plain { reader, offset } => {
                reader.consume(count);
                *offset += length_u64(count);
            }
        }
    }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], line_bytes: u64) -> Vec<String> {
        let mut lines = Lines::open(bytes, &Limits { line_bytes, ..Limits::default() }).unwrap();
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push(match line {
                Line::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Line::TooLong { bytes } => format!("{bytes} bytes"),
            });
        }
        seen
    }

    #[test]
    fn the_last_line_may_lack_its_end_and_a_blank_one_is_a_line() {
        assert_eq!(lines(b"one\n\nthree", 9), ["one", "", "three"]);
        assert_eq!(lines(b"one\n", 9), ["one"]);
        assert_eq!(lines(b"x", 9), ["x"]);
        assert!(lines(b"", 9).is_empty());
    }

    #[test]
    fn a_line_over_the_limit_is_measured_and_the_next_one_is_whole() {
        let source = [b"123456789\n".to_vec(), vec![b'x'; 300_000], b"\nend".to_vec()].concat();
        assert_eq!(lines(&source, 9), ["123456789", "300000 bytes", "end"]);
        assert_eq!(lines(&source, 8), ["9 bytes", "300000 bytes", "end"]);
    }
}
