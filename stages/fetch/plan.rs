//! Plans the reads of one WARC file: which bytes are asked for at once, and for how many captures.
//!
//! Two captures are read together where the bytes between them cost less than a request of their own: with a request
//! worth `gap_bytes` that is the cheapest plan there is, gap by gap. Where such ranges hold nearly all of the file's
//! captures' span, few requests and few bytes are left to save, and the span becomes one read: the file is streamed
//! whole, as far as it is wanted. C4's captures lie so densely in a crawl that this is the usual case
//! (`examples/coalescing.rs`).
//!
//! A plan knows nothing of the file, not even its size. O(n) time; memory is the plan.

/// The stored bytes of one capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte in the file.
    pub start: u64,
    /// How many there are.
    pub length: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// What a plan goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Bytes between two captures that cost as much as a request.
    pub gap_bytes: u64,
    /// Share of the bytes from the first capture to the end of the last, in [0, 1], that ranges must hold for the
    /// whole to be one read: one divided by it bounds how much more is read.
    pub whole_file_density: f64,
}

/// One read: bytes that are asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// First byte in the file.
    pub start: u64,
    /// How many are asked for.
    pub length: u64,
    /// How many captures lie in it, one after the other in the order given.
    pub captures: usize,
    /// Bytes of those captures, each counted once.
    pub wanted_bytes: u64,
    /// Whether several ranges became one by their density.
    pub is_whole: bool,
}

impl Read {
    fn of(span: Span) -> Self {
        Self { start: span.start, length: span.length, captures: 1, wanted_bytes: span.length, is_whole: false }
    }

    fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether `next`, which begins no earlier than this read, is near enough to be part of it.
    fn takes(&self, next: Span, gap_bytes: u64) -> bool {
        next.start.saturating_sub(self.end()) <= gap_bytes
    }

    fn push(&mut self, next: Span) {
        self.captures += 1;
        // Nothing has to be read for a capture of no bytes.
        if next.length == 0 {
            return;
        }
        let (end, next_end) = (self.end(), next.end());
        // Captures may overlap, and one may be listed for two documents.
        self.wanted_bytes += next_end.saturating_sub(next.start.max(end));
        self.length = end.max(next_end) - self.start;
    }
}

/// The reads of one file, in its order, for captures sorted by their first byte.
#[must_use]
pub fn plan(spans: &[Span], settings: &Settings) -> Vec<Read> {
    let mut ranges: Vec<Read> = Vec::new();
    for &span in spans {
        match ranges.last_mut() {
            Some(range) if range.takes(span, settings.gap_bytes) => range.push(span),
            _ => ranges.push(Read::of(span)),
        }
    }
    let [first, .., last] = ranges.as_slice() else { return ranges };
    let (start, length) = (first.start, last.end() - first.start);
    let held_bytes: u64 = ranges.iter().map(|range| range.length).sum();
    if !is_share(held_bytes, length, settings.whole_file_density) {
        return ranges;
    }
    let captures = ranges.iter().map(|range| range.captures).sum();
    let wanted_bytes = ranges.iter().map(|range| range.wanted_bytes).sum();
    vec![Read { start, length, captures, wanted_bytes, is_whole: true }]
}

/// Whether `part` of `whole` is at least `share`.
fn is_share(part: u64, whole: u64, share: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "sizes of files are far below 2^53, where they are exact")]
    let (part, whole) = (part as f64, whole as f64);
    part >= share * whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARSE: Settings = Settings { gap_bytes: 10, whole_file_density: 1.0 };

    fn spans(spans: &[(u64, u64)]) -> Vec<Span> {
        spans.iter().map(|&(start, length)| Span { start, length }).collect()
    }

    /// Start, length and captures of each read.
    fn planned(captures: &[(u64, u64)], settings: Settings) -> Vec<(u64, u64, usize)> {
        let reads = plan(&spans(captures), &settings);
        reads.iter().map(|read| (read.start, read.length, read.captures)).collect()
    }

    #[test]
    fn neighbours_are_one_read_up_to_the_gap() {
        assert_eq!(planned(&[], SPARSE), []);
        assert_eq!(planned(&[(100, 50)], SPARSE), [(100, 50, 1)]);
        assert_eq!(planned(&[(100, 50), (150, 5), (165, 5)], SPARSE), [(100, 70, 3)]);
        assert_eq!(planned(&[(100, 50), (161, 5)], SPARSE), [(100, 50, 1), (161, 5, 1)]);
        let exact = Settings { gap_bytes: 0, ..SPARSE };
        assert_eq!(planned(&[(0, 5), (5, 5), (11, 5)], exact), [(0, 10, 2), (11, 5, 1)]);
    }

    #[test]
    fn overlapping_and_repeated_captures_are_read_once() {
        let reads = plan(&spans(&[(10, 50), (10, 50), (20, 5), (55, 15)]), &SPARSE);
        assert_eq!(reads, [Read { start: 10, length: 60, captures: 4, wanted_bytes: 60, is_whole: false }]);
    }

    #[test]
    fn a_capture_of_no_bytes_costs_none() {
        assert_eq!(planned(&[(0, 5), (9, 0)], SPARSE), [(0, 5, 2)]);
        assert_eq!(planned(&[(0, 0)], SPARSE), [(0, 0, 1)]);
    }

    #[test]
    fn ranges_that_hold_most_of_the_span_become_one_read() {
        // 90 of 101 bytes: two ranges of 50 and 40, a gap of 11.
        let captures = [(0, 20), (25, 25), (61, 40)];
        for (whole_file_density, reads) in [(0.90, 2), (0.89, 1), (0.0, 1)] {
            let settings = Settings { whole_file_density, ..SPARSE };
            assert_eq!(plan(&spans(&captures), &settings).len(), reads, "{whole_file_density}");
        }
        let whole = plan(&spans(&captures), &Settings { whole_file_density: 0.89, ..SPARSE });
        assert_eq!(whole, [Read { start: 0, length: 101, captures: 3, wanted_bytes: 85, is_whole: true }]);
    }

    #[test]
    fn two_dense_ends_of_a_file_are_not_read_with_the_desert_between_them() {
        let settings = Settings { gap_bytes: 10, whole_file_density: 0.9 };
        assert_eq!(planned(&[(0, 50), (1_000_000, 50)], settings).len(), 2);
    }

    #[test]
    fn an_index_that_lies_about_its_numbers_overflows_nothing() {
        let captures = [(0, u64::MAX), (5, 10), (u64::MAX, u64::MAX)];
        assert_eq!(planned(&captures, SPARSE), [(0, u64::MAX, 3)]);
        assert_eq!(planned(&[(1, 1), (u64::MAX - 1, 5)], SPARSE), [(1, 1, 1), (u64::MAX - 1, 5, 1)]);
    }
}
