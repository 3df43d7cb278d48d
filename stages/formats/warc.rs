//! Reads WARC and ARC archives record by record, from any source of bytes, in bounded memory.
//!
//! The `warc` crate is not the reader: it tells no offsets, reads a header line without end into memory, stops
//! in silence where a file is cut off, and fails on files that other tools read without a word. So members are
//! framed, bounded and located here; then a record's head goes through the crate's parser, from a bounded
//! slice, and what that refuses through a lenient parser that reports the trouble (`head.rs`).
//!
//! gzip and plain files are told apart by their first bytes. Of a gzip file each record should be one member;
//! several records in one member, and one record over several, are read too and reported. Lengths that lie,
//! bytes between records, wrong digests are [`Problem`]s of their record. Damage (a file that ends too early, a
//! member that does not inflate) gives what could be read, then a [`WarcError`], then the end.
//!
//! Memory is one record ([`Limits::record_bytes`]) and two fixed buffers. O(n) in the bytes inflated.

mod digest;
mod head;
mod record;
mod source;

use std::io::Read;

use weft_core::limits::{LimitExceeded, Limits};

use self::head::Head;
pub use self::record::{DigestCheck, Record, RecordKind};
use self::source::Source;
use super::http::{HttpProblem, lookup};
use super::inflate::InflateError;

/// Bytes of a line that are looked at where a record may begin; ARC lines hold a URL.
const PEEK_BYTES: usize = 16 << 10;

/// Something wrong with one record that was read over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is in the older ARC format; noted at its first record.
    #[error("an arc file, read with the field names of warc")]
    ArcFile,
    /// The head breaks the format in a way that the lenient parser reads over.
    #[error("the head breaks the format")]
    OddHead,
    /// Lines of the head end in a line feed alone.
    #[error("lines of the head end in a bare line feed")]
    BareLineFeeds,
    /// A version that no standard has.
    #[error("unknown version `{version}`")]
    UnknownVersion {
        /// As written after `WARC/`.
        version: String,
    },
    /// No WARC-Type.
    #[error("the head states no type")]
    NoType,
    /// No Content-Length: the block goes to the member's end, or in a plain file is empty.
    #[error("the head states no length")]
    NoLength,
    /// A Content-Length that is no number: the block is empty.
    #[error("bad length `{stated}`")]
    BadLength {
        /// As written.
        stated: String,
    },
    /// A target that is no URI: it holds spaces or angle brackets.
    #[error("bad target uri `{stated}`")]
    BadUri {
        /// As written.
        stated: String,
    },
    /// The block has fewer bytes than its head states.
    #[error("the block is cut off: {present} bytes of {stated}")]
    BlockCutOff {
        /// Content-Length.
        stated: u64,
        /// Bytes there are.
        present: u64,
    },
    /// Bytes between the block and the next record that are no line ends.
    #[error("{bytes} stray bytes follow the block")]
    StrayBytes {
        /// How many.
        bytes: u64,
    },
    /// The gzip member holds other records too.
    #[error("the gzip member holds several records")]
    SharedMember,
    /// The record goes on in the next gzip member.
    #[error("the record spans {members} gzip members")]
    SeveralMembers {
        /// How many.
        members: u64,
    },
    /// The member is damaged, be it after the block.
    #[error("damaged: {cause}")]
    Damaged {
        /// What broke.
        cause: String,
    },
    /// The crawler cut the payload off.
    #[error("the payload is truncated for reason `{reason}`")]
    Truncated {
        /// WARC-Truncated, as written.
        reason: String,
    },
    /// A digest that is not that of the bytes.
    #[error("wrong {of} digest `{stated}`")]
    WrongDigest {
        /// `block` or `payload`.
        of: &'static str,
        /// As written.
        stated: String,
    },
    /// A digest by no known algorithm.
    #[error("unknown algorithm of the {of} digest `{stated}`")]
    UnknownDigest {
        /// `block` or `payload`.
        of: &'static str,
        /// As written.
        stated: String,
    },
    /// What is wrong with the HTTP message in the block.
    #[error(transparent)]
    Http(#[from] HttpProblem),
}

/// Why reading an archive ended, or left one record out.
#[derive(Debug, thiserror::Error)]
pub enum WarcError {
    /// The source, or its compression, failed.
    #[error("failed to read the record at offset {offset}")]
    Inflate {
        /// Where the record begins as stored.
        offset: u64,
        /// What broke.
        #[source]
        source: InflateError,
    },
    /// The file ends inside a record.
    #[error("the record at offset {offset} is cut off by the end of the file")]
    CutOff {
        /// Where the record begins as stored.
        offset: u64,
    },
    /// Neither a WARC nor an ARC record begins where one should.
    #[error("no record begins at offset {offset}")]
    NotARecord {
        /// Where it should begin as stored.
        offset: u64,
    },
    /// The record is larger than a limit allows.
    #[error("the record at offset {offset} is too large")]
    TooLarge {
        /// Where the record begins as stored.
        offset: u64,
        /// The limit.
        #[source]
        source: LimitExceeded,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Warc,
    Arc { columns: usize },
}

/// An iterator over the records of an archive.
///
/// After [`WarcError::TooLarge`] it goes on with the next record where that can be found; any other error is
/// the last thing it gives.
#[derive(Debug)]
pub struct WarcReader<R> {
    source: Source<R>,
    limits: Limits,
    /// Known from the first record on.
    format: Option<Format>,
    /// Where the member begins that the reader is inside of.
    member: Option<u64>,
    /// Whether a record of this member was given already.
    member_is_shared: bool,
    /// An error met after a record, which is given first.
    pending: Option<WarcError>,
    ended: bool,
}

impl<R: Read> WarcReader<R> {
    /// Reads the first two bytes, which tell gzip from plain.
    ///
    /// # Errors
    /// The source's own.
    pub fn open(source: R, limits: Limits) -> Result<Self, WarcError> {
        let source = Source::open(source, &limits).map_err(|source| WarcError::Inflate { offset: 0, source })?;
        Ok(Self { source, limits, format: None, member: None, member_is_shared: false, pending: None, ended: false })
    }

    fn next_record(&mut self) -> Result<Option<Record>, WarcError> {
        loop {
            if self.member.is_none() {
                let offset = self.source.offset();
                self.member = self.source.next_member().map_err(|source| WarcError::Inflate { offset, source })?;
                self.member_is_shared = false;
            }
            let Some(member_offset) = self.member else { return Ok(None) };
            let first = self.read_first_line();
            match first.map_err(|source| WarcError::Inflate { offset: member_offset, source })? {
                Some((line, line_offset)) => {
                    let offset = if self.source.is_gzip() { member_offset } else { line_offset };
                    return self.read_record(&line, offset).map(Some);
                }
                // The member is empty, or holds line ends alone.
                None => self.member = None,
            }
        }
    }

    /// Reads over line ends: the line after them and its offset in a plain file, or none at the member's end.
    fn read_first_line(&mut self) -> Result<Option<(Vec<u8>, u64)>, InflateError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let offset = self.source.offset();
            self.source.read_line(&mut line, PEEK_BYTES)?;
            if line.is_empty() {
                return Ok(None);
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((line, offset)));
            }
        }
    }

    /// Reads the record whose first line is `line`.
    fn read_record(&mut self, line: &[u8], offset: u64) -> Result<Record, WarcError> {
        let format = self.format_of(line).ok_or(WarcError::NotARecord { offset })?;
        let is_first = self.format.replace(format).is_none();
        let (head, kind, stated) = match format {
            Format::Warc => self.read_warc_head(line, offset)?,
            Format::Arc { columns } => self.read_arc_head(line, columns, offset)?,
        };
        let is_arc = format != Format::Warc;
        let Head { fields, problems } = head;
        let mut record = Record { kind, offset, length: None, fields, block: Vec::new(), problems, is_arc };
        if is_first && is_arc {
            record.problems.push(Problem::ArcFile);
        }
        note_odd_fields(&mut record);

        let limit = self.limits.record_bytes;
        let too_large = WarcError::TooLarge { offset, source: LimitExceeded { what: "record_bytes", limit } };
        if let Some(stated) = stated.filter(|&stated| stated > limit) {
            self.skip_block(stated, offset);
            return Err(too_large);
        }
        if let Err(cause) = self.read_block(&mut record, stated) {
            record.length = None;
            let present = length_u64(record.block.len());
            if let Some(stated) = stated.filter(|&stated| stated > present) {
                record.problems.push(Problem::BlockCutOff { stated, present });
            }
            record.problems.push(Problem::Damaged { cause: cause.to_string() });
            self.pending = Some(WarcError::Inflate { offset, source: cause });
        }
        if length_u64(record.block.len()) > limit {
            self.member = None;
            return Err(too_large);
        }
        Ok(record)
    }

    fn format_of(&self, line: &[u8]) -> Option<Format> {
        match self.format {
            Some(format) => begins_record(line, format).then_some(format),
            None if line.starts_with(b"WARC/") => Some(Format::Warc),
            None => [head::ARC_V1_FIELDS, head::ARC_V2_FIELDS]
                .into_iter()
                .find(|&columns| head::parse_arc(line, columns).is_some())
                .map(|columns| Format::Arc { columns }),
        }
    }

    /// Reads up to the head's empty line: head, kind and the block's length, where there is one.
    fn read_warc_head(&mut self, line: &[u8], offset: u64) -> Result<(Head, RecordKind, Option<u64>), WarcError> {
        let mut bytes = line.to_vec();
        let mut line_begin = 0;
        loop {
            // A long line comes in several pieces: only one with its line end is judged.
            if bytes.ends_with(b"\n") {
                let last = bytes.get(line_begin..).unwrap_or_default();
                if last.trim_ascii().is_empty() {
                    break;
                }
                line_begin = bytes.len();
            }
            let before = bytes.len();
            self.source.read_line(&mut bytes, PEEK_BYTES).map_err(|source| WarcError::Inflate { offset, source })?;
            if bytes.len() == before {
                return Err(WarcError::CutOff { offset });
            }
            let limit = self.limits.header_bytes;
            if length_u64(bytes.len()) > limit {
                // In a gzip file the next member is the next record; in a plain one it cannot be found.
                self.ended = !self.source.is_gzip();
                self.member = None;
                return Err(WarcError::TooLarge { offset, source: LimitExceeded { what: "header_bytes", limit } });
            }
        }
        let mut head = head::parse_warc(&bytes);
        let kind = match lookup(&head.fields, "WARC-Type") {
            Some(name) => RecordKind::parse(name),
            None => {
                head.problems.push(Problem::NoType);
                RecordKind::Other(String::new())
            }
        };
        let stated = match lookup(&head.fields, "Content-Length").map(|stated| (stated, stated.trim().parse())) {
            Some((_, Ok(stated))) => Some(stated),
            Some((stated, Err(_))) => {
                let stated = stated.to_owned();
                head.problems.push(Problem::BadLength { stated });
                Some(0)
            }
            None => {
                head.problems.push(Problem::NoLength);
                if self.source.is_gzip() { None } else { Some(0) }
            }
        };
        Ok((head, kind, stated))
    }

    fn read_arc_head(
        &mut self,
        line: &[u8],
        columns: usize,
        offset: u64,
    ) -> Result<(Head, RecordKind, Option<u64>), WarcError> {
        let head = head::parse_arc(line, columns).ok_or(WarcError::NotARecord { offset })?;
        let stated = lookup(&head.fields, "Content-Length").and_then(|stated| stated.parse().ok());
        let stated: u64 = stated.ok_or(WarcError::NotARecord { offset })?;
        if !line.starts_with(b"filedesc:") {
            return Ok((head, RecordKind::Response, Some(stated)));
        }
        // The version and the names of the columns. The length counts them; the block, as in warcio, does not
        // hold them.
        let mut declaration = Vec::new();
        let mut left = stated;
        for _ in 0..2 {
            declaration.clear();
            self.source
                .read_line(&mut declaration, PEEK_BYTES)
                .map_err(|source| WarcError::Inflate { offset, source })?;
            left = left.saturating_sub(length_u64(declaration.len()));
        }
        self.format = Some(Format::Arc { columns: head::arc_columns(&declaration) });
        Ok((head, RecordKind::ArcHeader, Some(left)))
    }

    /// Reads over a block that is not to be held.
    fn skip_block(&mut self, stated: u64, offset: u64) {
        if self.source.is_gzip() {
            self.member = None;
        } else if let Err(source) = self.source.skip(stated) {
            self.pending = Some(WarcError::Inflate { offset, source });
        }
    }

    /// Reads the block, `stated` bytes or to the member's end, and on to where the next record begins.
    fn read_block(&mut self, record: &mut Record, stated: Option<u64>) -> Result<(), InflateError> {
        // One byte more than the limit is enough to see that it is exceeded.
        let wanted = stated.unwrap_or(self.limits.record_bytes.saturating_add(1));
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        self.source.read_bytes(&mut record.block, wanted)?;
        if stated.is_none() {
            let closed = record.block.strip_suffix(b"\r\n\r\n").map_or(record.block.len(), <[u8]>::len);
            record.block.truncate(closed);
            return self.read_to_next(record);
        }
        let mut members = 1;
        while record.block.len() < wanted {
            if !self.enter_continuation(record, wanted)? {
                return Ok(());
            }
            members += 1;
            let left = wanted - record.block.len();
            self.source.read_bytes(&mut record.block, left)?;
        }
        if members > 1 {
            record.problems.push(Problem::SeveralMembers { members });
        }
        self.read_to_next(record)
    }

    /// The member ended inside the block: goes to the next one, and tells whether the block goes on there.
    ///
    /// Where a record begins there, or nothing does, this one is cut off.
    fn enter_continuation(&mut self, record: &mut Record, wanted: usize) -> Result<bool, InflateError> {
        let end = self.source.offset();
        self.member = self.source.next_member()?;
        let mut line = Vec::new();
        if self.member.is_some() {
            self.source.read_line(&mut line, PEEK_BYTES)?;
            self.source.put_back(&line);
        }
        let format = self.format.unwrap_or(Format::Warc);
        if self.member.is_some() && !begins_record(&line, format) {
            return Ok(true);
        }
        let present = length_u64(record.block.len());
        record.problems.push(Problem::BlockCutOff { stated: length_u64(wanted), present });
        if self.member_is_shared {
            record.problems.push(Problem::SharedMember);
        } else {
            record.length = Some(end - record.offset);
        }
        self.member_is_shared = false;
        if !self.source.is_gzip() {
            self.pending = Some(WarcError::CutOff { offset: record.offset });
        }
        Ok(false)
    }

    /// Reads on from the block's end to the next record or the member's end, which gives the record's length.
    fn read_to_next(&mut self, record: &mut Record) -> Result<(), InflateError> {
        let format = self.format.unwrap_or(Format::Warc);
        // A WARC record is closed by two line ends (ISO 28500, section 4), an ARC record by one.
        let mut closing = if format == Format::Warc { 2 } else { 1 };
        let mut plain_end = self.source.offset();
        let mut stray_bytes = 0;
        let mut at_line_begin = true;
        let mut line = Vec::new();
        loop {
            line.clear();
            self.source.read_line(&mut line, PEEK_BYTES)?;
            if line.is_empty() {
                self.member = None;
                break;
            }
            if at_line_begin && begins_record(&line, format) {
                self.source.put_back(&line);
                break;
            }
            if at_line_begin && line.trim_ascii().is_empty() {
                if closing > 0 && stray_bytes == 0 {
                    closing -= 1;
                    plain_end = self.source.offset();
                }
            } else {
                stray_bytes += length_u64(line.len());
            }
            at_line_begin = line.ends_with(b"\n");
        }
        if stray_bytes > 0 {
            record.problems.push(Problem::StrayBytes { bytes: stray_bytes });
        }
        if !self.source.is_gzip() {
            record.length = Some(plain_end - record.offset);
        } else if self.member.is_some() || self.member_is_shared {
            record.problems.push(Problem::SharedMember);
            self.member_is_shared = true;
        } else {
            record.length = Some(self.source.offset() - record.offset);
        }
        Ok(())
    }
}

impl<R: Read> Iterator for WarcReader<R> {
    type Item = Result<Record, WarcError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.pending.take() {
            self.ended = true;
            return Some(Err(error));
        }
        if self.ended {
            return None;
        }
        match self.next_record() {
            Ok(Some(record)) => Some(Ok(record)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended |= !matches!(error, WarcError::TooLarge { .. });
                Some(Err(error))
            }
        }
    }
}

/// Reads one record from its bytes as stored, such as the range that an index names.
///
/// # Errors
/// Bytes that hold no whole member or no whole plain record: a part of a record is not passed for one.
pub fn parse_record(stored: &[u8], limits: &Limits) -> Result<Record, WarcError> {
    let mut reader = WarcReader::open(stored, limits.clone())?;
    let mut record = reader.next().unwrap_or(Err(WarcError::CutOff { offset: 0 }))?;
    if let Some(error) = reader.pending {
        return Err(error);
    }
    let after = record.length.map_or(0, |length| length_u64(stored.len()).saturating_sub(length));
    if after > 0 {
        record.problems.push(Problem::StrayBytes { bytes: after });
    }
    Ok(record)
}

/// Whether a line, which is not empty, begins a record.
fn begins_record(line: &[u8], format: Format) -> bool {
    match format {
        // A beginning of it alone is a record that the file's end cuts off.
        Format::Warc => line.starts_with(b"WARC/") || b"WARC/".starts_with(line),
        Format::Arc { columns } => head::parse_arc(line, columns).is_some(),
    }
}

/// Notes what fields tell of the record's own odds.
fn note_odd_fields(record: &mut Record) {
    if let Some(stated) = record.field("WARC-Target-URI")
        && stated.contains(['<', '>', ' '])
    {
        let stated = stated.to_owned();
        record.problems.push(Problem::BadUri { stated });
    }
    if let Some(reason) = record.field("WARC-Truncated") {
        let reason = reason.to_owned();
        record.problems.push(Problem::Truncated { reason });
    }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
