//! Puts neighbouring captures of one WARC file together into one range of bytes.

use weft_core::tables::CapturesRow;

use super::{RANGE_BYTES, RANGE_CAPTURES};

/// A row of `captures`, kept until its range is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    pub(super) filename: String,
    pub(super) offset: u64,
    pub(super) document_id: String,
    pub(super) length: u64,
    pub(super) digest: Option<String>,
    pub(super) mime_detected: Option<String>,
    /// Where the record is of another url than the document: a fall-back found it.
    pub(super) capture_url: Option<String>,
    pub(super) url: String,
    pub(super) timestamp: String,
    pub(super) source_timestamp: String,
    pub(super) sentences: Vec<String>,
}

impl Capture {
    pub(super) fn of(row: &CapturesRow<'_>) -> Self {
        Self {
            filename: row.filename.to_owned(),
            offset: row.offset,
            document_id: row.document_id.to_owned(),
            length: row.length,
            digest: row.digest.map(str::to_owned),
            mime_detected: row.mime_detected.map(str::to_owned),
            capture_url: row.capture_url.map(str::to_owned),
            url: row.url.to_owned(),
            timestamp: row.timestamp.to_owned(),
            source_timestamp: row.source_timestamp.to_owned(),
            sentences: row.sentences.iter().map(|sentence| (*sentence).to_owned()).collect(),
        }
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Bytes `start..end` of one file, and the captures in them, at least one.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    end: u64,
    pub(super) captures: Vec<Capture>,
}

impl Range {
    pub(super) fn new(capture: Capture) -> Self {
        Self { start: capture.offset, end: capture.end(), captures: vec![capture] }
    }

    pub(super) fn filename(&self) -> &str {
        self.captures.first().map(|capture| capture.filename.as_str()).expect("a range has a capture")
    }

    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Whether `next`, which comes next in key order, is near enough and the range has room.
    pub(super) fn takes(&self, next: &Capture, gap_bytes: u64) -> bool {
        next.filename == self.filename()
            && next.offset >= self.start
            && next.offset.saturating_sub(self.end) <= gap_bytes
            && next.end().max(self.end) - self.start <= RANGE_BYTES
            && self.captures.len() < usize::try_from(RANGE_CAPTURES).expect("a small number")
    }

    pub(super) fn push(&mut self, capture: Capture) {
        self.end = self.end.max(capture.end());
        self.captures.push(capture);
    }

    /// The stored bytes of a capture of this range; fewer than its length where the file has ended.
    pub(super) fn slice<'b>(&self, bytes: &'b [u8], capture: &Capture) -> &'b [u8] {
        let at = |position: u64| usize::try_from(position - self.start).unwrap_or(usize::MAX).min(bytes.len());
        bytes.get(at(capture.offset)..at(capture.end())).expect("both ends are within the bytes, in order")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(filename: &str, offset: u64, length: u64) -> Capture {
        Capture {
            filename: filename.to_owned(),
            offset,
            document_id: String::new(),
            length,
            digest: None,
            mime_detected: None,
            capture_url: None,
            url: String::new(),
            timestamp: String::new(),
            source_timestamp: String::new(),
            sentences: vec![],
        }
    }

    #[test]
    fn neighbours_join_up_to_the_gap_within_one_file_and_size() {
        let range = Range::new(capture("a", 100, 50));
        assert!(range.takes(&capture("a", 150, 1), 0));
        assert!(range.takes(&capture("a", 160, 1), 10));
        assert!(!range.takes(&capture("a", 161, 1), 10));
        assert!(!range.takes(&capture("b", 150, 1), 10));
        assert!(range.takes(&capture("a", 150, RANGE_BYTES - 50), 0));
        assert!(!range.takes(&capture("a", 150, RANGE_BYTES - 49), 0));
        assert!(!range.takes(&capture("a", 150, u64::MAX), 0));
    }

    #[test]
    fn overlapping_captures_get_their_own_slices_and_a_short_file_gives_what_it_has() {
        let mut range = Range::new(capture("a", 10, 5));
        range.push(capture("a", 12, 2));
        range.push(capture("a", 14, 4));
        assert_eq!(range.length(), 8);
        let bytes = b"abcdefgh";
        let slices = |bytes| range.captures.iter().map(|capture| range.slice(bytes, capture)).collect::<Vec<&[u8]>>();
        assert_eq!(slices(&bytes[..]), [&b"abcde"[..], b"cd", b"efgh"]);
        assert_eq!(slices(&bytes[..3]), [&b"abc"[..], b"c", b""]);
    }
}
