//! Reads a gzip file member by member, from any source of bytes.

use std::io::{self, Read};
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};
use memchr::memmem;
use weft_core::limits::Limits;

use super::whole::{Inflater, MEMBER_LEAST_BYTES};
use super::{Caps, INPUT_BYTES, InflateError, OUTPUT_BYTES, WINDOW_BITS, begins_gzip, damaged, length_u64};

/// Compressed bytes of a member that is inflated as a whole: a crawler cuts payloads off at a megabyte.
pub(super) const WHOLE_INPUT_BYTES: usize = 2 << 20;
/// Inflated bytes of such a member.
const WHOLE_OUTPUT_BYTES: u64 = 8 << 20;
/// What a member begins with: magic number and the one method (RFC 1952, section 2.3.1).
const MEMBER_BEGINNING: [u8; 3] = [0x1f, 0x8b, 8];
/// Flags that no member has.
const RESERVED_FLAGS: u8 = 0xe0;

/// Reads a gzip file member by member.
///
/// [`MemberReader::next_member`] goes to the next member, [`MemberReader::fill`] and
/// [`MemberReader::consume`] read its inflated bytes; `fill` is empty at the member's end.
///
/// It looks ahead for where the next member seems to begin, at most 2 MiB. What lies before that is one member,
/// mostly, and is inflated as a whole, into at most 8 MiB; any other member is streamed, in two small buffers.
pub struct MemberReader<R> {
    source: R,
    /// The source gave its last byte.
    source_ended: bool,
    /// The source's error met while looking ahead: raised once all before it is used.
    source_failed: Option<io::Error>,
    input: Vec<u8>,
    /// The part of `input` that is read and not yet used.
    unused: Range<usize>,
    /// Offset in the source of the first unused byte.
    offset: u64,
    output: Vec<u8>,
    /// The part of `output` that is inflated and not yet consumed.
    ready: Range<usize>,
    whole: Inflater,
    /// The decoder of a member that is streamed, until its end.
    stream: Option<Decompress>,
    member_offset: u64,
    /// Raised once the bytes inflated before it are consumed.
    failed: Option<InflateError>,
    ratio: u64,
    /// How far to look ahead for a member's end.
    ahead_bytes: usize,
}

impl<R> std::fmt::Debug for MemberReader<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { offset, member_offset, stream, ratio, .. } = self;
        formatter
            .debug_struct("MemberReader")
            .field("offset", offset)
            .field("member_offset", member_offset)
            .field("is_streaming", &stream.is_some())
            .field("ratio", ratio)
            .finish_non_exhaustive()
    }
}

impl<R: Read> MemberReader<R> {
    /// A reader that stands before the first member.
    pub fn new(source: R, limits: &Limits) -> Self {
        Self {
            source,
            source_ended: false,
            source_failed: None,
            input: vec![0; INPUT_BYTES],
            unused: 0..0,
            offset: 0,
            output: Vec::new(),
            ready: 0..0,
            whole: Inflater::default(),
            stream: None,
            member_offset: 0,
            failed: None,
            ratio: limits.inflate_ratio,
            ahead_bytes: WHOLE_INPUT_BYTES,
        }
    }

    /// The same, and every member is streamed.
    #[cfg(test)]
    pub(super) fn streaming(source: R, limits: &Limits) -> Self {
        Self { ahead_bytes: 0, ..Self::new(source, limits) }
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
        let unused = self.unused();
        if unused.is_empty() {
            return Ok(None);
        }
        if !begins_gzip(unused) {
            return Err(InflateError::NotGzip { offset: self.offset });
        }
        self.member_offset = self.offset;
        if !self.inflate_whole() {
            if self.output.len() < OUTPUT_BYTES {
                self.output.resize(OUTPUT_BYTES, 0);
            }
            self.stream = Some(Decompress::new_gzip(WINDOW_BITS));
        }
        Ok(Some(self.member_offset))
    }

    /// Inflated bytes of this member not yet consumed, at least one but for the member's end.
    ///
    /// # Errors
    /// Once what was inflated before the damage is consumed.
    pub fn fill(&mut self) -> Result<&[u8], InflateError> {
        while self.ready.is_empty() {
            if let Some(cause) = self.failed.take() {
                self.stream = None;
                return Err(cause);
            }
            if self.stream.is_none() {
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

    fn unused(&self) -> &[u8] {
        self.input.get(self.unused.clone()).expect("the unused part lies in the buffer")
    }

    /// Inflates the member at the start of the unused bytes as a whole, and uses it up; false, and nothing done,
    /// where it has to be streamed.
    fn inflate_whole(&mut self) -> bool {
        let Some(length) = self.find_end() else { return false };
        let begin = self.unused.start;
        let member = self.input.get(begin..begin + length).expect("the end was found in the buffer");
        let caps = Caps { what: "inflate_ratio", limit_bytes: WHOLE_OUTPUT_BYTES, ratio: self.ratio };
        let Some(inflated) = self.whole.inflate(member, &mut self.output, caps) else { return false };
        self.ready = 0..inflated;
        self.unused.start += length;
        self.offset += length_u64(length);
        true
    }

    /// Length up to where the next member seems to begin, or the source ends; none where that is too far.
    fn find_end(&mut self) -> Option<usize> {
        let mut searched = MEMBER_LEAST_BYTES;
        loop {
            let unused = self.unused();
            let ahead = unused.get(..self.ahead_bytes).unwrap_or(unused);
            if let Some(end) = find_beginning(ahead, searched) {
                return Some(end);
            }
            // The last bytes may be a part of it.
            searched = searched.max(ahead.len().saturating_sub(MEMBER_BEGINNING.len()));
            if ahead.len() == self.ahead_bytes || self.source_failed.is_some() {
                return None;
            }
            if self.source_ended {
                return Some(ahead.len());
            }
            if let Err(cause) = self.read_on() {
                self.source_failed = Some(cause);
                return None;
            }
        }
    }

    fn inflate_more(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let (in_before, out_before) = (stream.total_in(), stream.total_out());
        let unused = self.input.get(self.unused.clone()).expect("the unused part lies in the buffer");
        let output = self.output.get_mut(..OUTPUT_BYTES).expect("the output has this size before a stream begins");
        let status = stream.decompress(unused, output, FlushDecompress::None);
        let used = stream.total_in() - in_before;
        let inflated = stream.total_out() - out_before;
        self.unused.start += usize::try_from(used).expect("no more is used than was given");
        self.offset += used;
        self.ready = 0..usize::try_from(inflated).expect("no more is inflated than there is room for");
        let caps = Caps { what: "inflate_ratio", limit_bytes: u64::MAX, ratio: self.ratio };
        if let Err(exceeded) = caps.check(stream.total_in(), stream.total_out()) {
            self.failed = Some(InflateError::Limit(exceeded));
            return;
        }
        match status {
            Ok(Status::StreamEnd) => self.stream = None,
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
        let result = match self.source_failed.take() {
            Some(cause) => Err(cause),
            None => self.read_on(),
        };
        match result {
            Ok(()) => Ok(!self.source_ended),
            Err(source) => {
                self.stream = None;
                Err(InflateError::Read { offset: self.offset, source })
            }
        }
    }

    /// Appends what one read of the source gives to the unused bytes.
    fn read_on(&mut self) -> io::Result<()> {
        let lacks_room = self.input.len() - self.unused.end < INPUT_BYTES;
        // Where less is moved than was used since the last time, the buffer's beginning stays in the cache.
        let is_cheap = self.unused.start >= self.unused.len();
        if self.unused.start > 0 && (is_cheap || lacks_room) {
            self.input.copy_within(self.unused.clone(), 0);
            self.unused = 0..self.unused.len();
        }
        if self.input.len() - self.unused.end < INPUT_BYTES {
            self.input.resize(self.unused.end + INPUT_BYTES.max(self.unused.len()), 0);
        }
        let free = self.input.get_mut(self.unused.end..).expect("the unused part lies in the buffer");
        let free = free.get_mut(..INPUT_BYTES).expect("room was made");
        loop {
            match self.source.read(free) {
                Ok(read) => {
                    self.unused.end += read;
                    self.source_ended = read == 0;
                    return Ok(());
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
    }
}

/// Where, from `from` on, a member seems to begin.
fn find_beginning(bytes: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let at = from + memmem::find(bytes.get(from..)?, &MEMBER_BEGINNING)?;
        let flags = bytes.get(at + MEMBER_BEGINNING.len())?;
        if flags & RESERVED_FLAGS == 0 {
            return Some(at);
        }
        from = at + 1;
    }
}
