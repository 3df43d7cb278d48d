//! The bytes of an archive as a row of members: of a gzip file its members, of a plain file the one that it is.

use std::io::{self, Read};
use std::ops::Range;

use weft_core::limits::Limits;

use crate::formats::inflate::{InflateError, MemberReader};

/// Bytes asked of a plain source at once.
const PLAIN_BYTES: usize = 64 << 10;

/// A source whose first bytes were read to see what it is, and are read again.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Reads members; bytes can be put back, so that a look ahead costs nothing but their copy.
#[derive(Debug)]
pub(super) struct Source<R> {
    framing: Framing<R>,
    put_back: Vec<u8>,
    put_back_at: usize,
}

#[derive(Debug)]
enum Framing<R> {
    Gzip(Box<MemberReader<Whole<R>>>),
    Plain(PlainReader<Whole<R>>),
}

impl<R: Read> Source<R> {
    pub(super) fn open(mut source: R, limits: &Limits) -> Result<Self, InflateError> {
        let mut beginning = Vec::new();
        (&mut source).take(2).read_to_end(&mut beginning).map_err(|source| InflateError::Read { offset: 0, source })?;
        let is_gzip = beginning == [0x1f, 0x8b];
        let whole = io::Cursor::new(beginning).chain(source);
        let framing = if is_gzip {
            Framing::Gzip(Box::new(MemberReader::new(whole, limits)))
        } else {
            Framing::Plain(PlainReader::new(whole))
        };
        Ok(Self { framing, put_back: Vec::new(), put_back_at: 0 })
    }

    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.framing, Framing::Gzip(_))
    }

    /// Offset in the source as stored. In a plain source that of the next byte; in a gzip one it is only exact
    /// at a member's beginning and end.
    pub(super) fn offset(&self) -> u64 {
        match &self.framing {
            Framing::Gzip(reader) => reader.offset(),
            Framing::Plain(reader) => reader.offset - length_u64(self.put_back.len() - self.put_back_at),
        }
    }

    /// Skips what is left of this member and goes to the next one: its offset, or none at the end.
    pub(super) fn next_member(&mut self) -> Result<Option<u64>, InflateError> {
        self.put_back.clear();
        self.put_back_at = 0;
        match &mut self.framing {
            Framing::Gzip(reader) => reader.next_member(),
            Framing::Plain(reader) => reader.next_member(),
        }
    }

    /// Bytes of this member not yet consumed, at least one but for its end.
    pub(super) fn fill(&mut self) -> Result<&[u8], InflateError> {
        if self.put_back_at < self.put_back.len() {
            return Ok(self.put_back.get(self.put_back_at..).expect("checked above"));
        }
        match &mut self.framing {
            Framing::Gzip(reader) => reader.fill(),
            Framing::Plain(reader) => reader.fill(),
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        if self.put_back_at < self.put_back.len() {
            self.put_back_at = (self.put_back_at + count).min(self.put_back.len());
            return;
        }
        match &mut self.framing {
            Framing::Gzip(reader) => reader.consume(count),
            Framing::Plain(reader) => reader.consume(count),
        }
    }

    /// Makes `bytes`, which were read last, the next ones again.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        let rest = self.put_back.get(self.put_back_at..).unwrap_or_default();
        self.put_back = [bytes, rest].concat();
        self.put_back_at = 0;
    }

    /// Appends to `line` up to the next line feed, it included, and no more than `limit_bytes`: less only at
    /// the member's end.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>, limit_bytes: usize) -> Result<(), InflateError> {
        let mut left = limit_bytes;
        while left > 0 {
            let ready = self.fill()?;
            let within = ready.get(..left.min(ready.len())).expect("no more than there is");
            if within.is_empty() {
                return Ok(());
            }
            let feed = memchr::memchr(b'\n', within);
            let count = feed.map_or(within.len(), |at| at + 1);
            line.extend_from_slice(within.get(..count).expect("the feed lies within"));
            self.consume(count);
            if feed.is_some() {
                return Ok(());
            }
            left -= count;
        }
        Ok(())
    }

    /// Appends to `bytes` the next `count`: less only at the member's end. Memory grows with what is there,
    /// not with what is asked.
    pub(super) fn read_bytes(&mut self, bytes: &mut Vec<u8>, count: usize) -> Result<(), InflateError> {
        let mut left = count;
        while left > 0 {
            let ready = self.fill()?;
            let within = ready.get(..left.min(ready.len())).expect("no more than there is");
            if within.is_empty() {
                return Ok(());
            }
            bytes.extend_from_slice(within);
            let count = within.len();
            self.consume(count);
            left -= count;
        }
        Ok(())
    }

    /// Reads over the next `count` bytes: how many there were.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64, InflateError> {
        let mut left = count;
        while left > 0 {
            let ready = self.fill()?.len();
            if ready == 0 {
                break;
            }
            let within = usize::try_from(left).unwrap_or(usize::MAX).min(ready);
            self.consume(within);
            left -= length_u64(within);
        }
        Ok(count - left)
    }
}

/// A plain file: one member, from its first byte to its last.
#[derive(Debug)]
struct PlainReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The part of `buffer` that is read and not yet consumed.
    unused: Range<usize>,
    /// Offset of the next byte.
    offset: u64,
    begun: bool,
}

impl<R: Read> PlainReader<R> {
    fn new(source: R) -> Self {
        Self { source, buffer: vec![0; PLAIN_BYTES], unused: 0..0, offset: 0, begun: false }
    }

    fn next_member(&mut self) -> Result<Option<u64>, InflateError> {
        if self.begun {
            while !self.fill()?.is_empty() {
                self.consume(self.unused.len());
            }
            return Ok(None);
        }
        self.begun = true;
        Ok(if self.fill()?.is_empty() { None } else { Some(0) })
    }

    fn fill(&mut self) -> Result<&[u8], InflateError> {
        while self.unused.is_empty() {
            match self.source.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => self.unused = 0..read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(InflateError::Read { offset: self.offset, source }),
            }
        }
        Ok(self.buffer.get(self.unused.clone()).expect("the unused part lies in the buffer"))
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.unused.len());
        self.unused.start += count;
        self.offset += length_u64(count);
    }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}
