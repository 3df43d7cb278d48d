//! Reads each capture's record from the crawl's archives and takes the page out of it.
//!
//! Reads `captures` of one crawl shard, merged in key order (WARC file, offset); writes `pages` in the same order.
//! `fetch/plan.rs` says which captures of a file are read at once: neighbours where the gap between them is small,
//! and all of them where they lie densely. `fetch/reads.rs` does the reads ahead, and `fetch/records.rs` cuts each
//! record out of the stream. A record must be a response with status 200, of the capture's url, with the payload that
//! the index's digest names; its body is de-chunked and decompressed.
//!
//! A file that is not there, a range that a server does not send and a record that cannot be read are rejects, and the
//! shard goes on. When they are more than `max_failed_share` of a shard of at least [`JUDGED_CAPTURES`] captures, the
//! task fails instead: index and archives do not belong together. A server that fails or forbids fails the task too.
//!
//! Every `segment_captures` captures a segment is closed; an attempt goes on behind those of the attempts before it,
//! and plans its reads from there on: what a closed segment holds is not asked for again.
//!
//! Memory is one record ([`Limits::record_bytes`]), one page ([`Limits::page_bytes`]), the buffers of the reads, and
//! the plan of a few files. O(bytes read).

pub mod plan;

mod page;
mod reads;
mod records;

use serde::{Deserialize, Serialize};
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space};
use weft_core::limits::Limits;
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::rows::{ReadError, Rows};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Captures, CapturesRow, Pages, PagesRow};
use weft_core::tally::{Tally, fact};
use weft_core::write::TableWriter;

use self::page::page_of;
use self::plan::{Read, Settings, Span, plan};
use self::reads::Board;
use self::records::{Records, Stored};
use crate::crawl;
use crate::evidence::clipped;
use crate::formats::outside::OutsideRoot;
use crate::response::Refusal;

/// A smaller shard is not judged by its share of failures.
pub const JUDGED_CAPTURES: u64 = 20;
/// No file reaches beyond this byte: positions in files are signed.
const FARTHEST_BYTE: u64 = i64::MAX.unsigned_abs();
/// What an index of another crawl would explain.
const FAILURES: [Reason; 4] =
    [Reason::WarcMissing, Reason::RangeRefused, Reason::RecordDamaged, Reason::RecordOfOtherUrl];

weft_core::table! {
    /// What planning the reads of a shard needs of `captures`.
    pub struct CaptureSpans, CaptureSpansRow = "captures" v2 in Crawl by ["filename", "offset", "document_id"] {
        /// The WARC file.
        filename: Text,
        /// The record's first byte.
        offset: U64,
        /// 32 hex digits.
        document_id: Text,
        /// The record's stored bytes.
        length: U64,
    }
}

/// How records are read, and when too many of them cannot be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Two records of one file are read as one range when at most this many bytes lie between them.
    pub coalesce_gap_bytes: u64,
    /// When the ranges of a file hold at least this share, in [0, 1], of the bytes from its first capture to the end
    /// of its last, they are read as one: the file is streamed whole.
    pub whole_file_density: f64,
    /// Captures after which a segment is closed, at least 1: what a killed task reads again at most.
    pub segment_captures: u64,
    /// Share of a shard's captures, in [0, 1], that may fail for a missing file, a refused range, an unreadable record
    /// or a record of another url before the task fails.
    pub max_failed_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // At C4's density fourteen ranges a file instead of 6,500, which become one (simulated:
            // benches/results/2026-11-25/coalescing.md). Where captures are rarer, a budget of ten requests a second
            // over a fast line is worth a wider gap: fewer requests, more bytes. What a request costs was not measured.
            coalesce_gap_bytes: 1 << 20,
            // At most a ninth more bytes, for one request instead of a few dozen.
            whole_file_density: 0.9,
            // About a minute: at C4's density three quarters of a WARC file, else as many requests.
            segment_captures: 5_000,
            max_failed_share: 0.5,
        }
    }
}

/// The stage, opened.
#[derive(Debug)]
pub struct Fetch {
    config: Config,
    root: OutsideRoot,
    crawl: String,
}

impl Stage for Fetch {
    const NAME: &'static str = "fetch";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let (captures, pages) = (def::<Captures>(), def::<Pages>());
        Spec {
            uses: vec![Use::Crawl],
            phases: vec![Phase {
                name: "",
                space: Space::Crawl,
                reads: vec![captures],
                writes: vec![pages],
                flows: vec![Flow { unit: Unit::Captures, reads: Some(captures), keeps: Some(pages) }],
            }],
        }
    }

    fn open(config: Config, resources: &Resources) -> Result<Self, StageError> {
        let unusable = |cause: String, way_out: &'static str| StageError::Outside {
            what: "section",
            place: Self::NAME.to_owned(),
            cause,
            way_out,
            retry: false,
        };
        for (name, share) in
            [("max_failed_share", config.max_failed_share), ("whole_file_density", config.whole_file_density)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(unusable(format!("{name} is {share}"), "give it a share from 0 to 1"));
            }
        }
        if config.segment_captures == 0 {
            return Err(unusable("segment_captures is 0".to_owned(), "give it at least 1"));
        }
        let crawl = crawl::crawl(resources)?;
        Ok(Self { config, root: crawl::root(crawl, resources)?, crawl: crawl.name.clone() })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let mut segments = context.segments()?;
        let failures =
            Failures { allowed: self.allowed_failures(context)?, count: failures_of(segments.tally()), first: None };
        let captures = segments.rows::<Captures>()?;
        let planner = Planner { stage: self, limits: &context.limits, captures: segments.rows()? };
        let board = Board::default();
        std::thread::scope(|scope| {
            let records = Records::start(scope, &board, &self.root, &context.cancelled);
            let mut task = Task { stage: self, captures, planner, records, failures };
            loop {
                let segment = segments.begin();
                let tally = match task.segment(&segment) {
                    Ok(tally) => tally,
                    Err(cause) => {
                        // A crawl that is mended is read from the beginning, rejects and all.
                        if task.failures.are_too_many() {
                            segments.discard()?;
                        }
                        return Err(cause);
                    }
                };
                if task.captures.peek()?.is_none() {
                    return segments.finish(segment, tally);
                }
                segments.close(segment, tally, self.config.segment_captures)?;
            }
        })
    }
}

impl Fetch {
    /// How many captures of the shard may fail; none is counted where there are too few to judge.
    fn allowed_failures(&self, context: &Context) -> Result<u64, StageError> {
        let mut spans = context.rows::<CaptureSpans>()?;
        let mut captures = 0_u64;
        while spans.next()?.is_some() {
            captures += 1;
        }
        if captures < JUDGED_CAPTURES {
            return Ok(captures);
        }
        let share = self.config.max_failed_share;
        // Counts of a shard are far below 2^32, where the product is exact enough to compare with a count.
        let captures = f64::from(u32::try_from(captures).unwrap_or(u32::MAX));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, 2^32], rounded down")]
        let allowed = (share * captures).floor() as u64;
        Ok(allowed)
    }
}

/// Captures that failed in a way that an index of another crawl would explain.
struct Failures {
    allowed: u64,
    count: u64,
    /// What was wrong with the first one of this attempt, and where.
    first: Option<String>,
}

impl Failures {
    fn are_too_many(&self) -> bool {
        self.count > self.allowed
    }
}

fn failures_of(tally: &Tally) -> u64 {
    let Some(count) = tally.counts.get(&Unit::Captures) else { return 0 };
    FAILURES.iter().filter_map(|reason| count.rejected.get(&*reason.name())).sum()
}

/// Why a capture is not worth a read: the index comes from outside, and its numbers are not to be trusted.
fn unreadable(offset: u64, length: u64, limits: &Limits) -> Option<Refusal> {
    if length > limits.record_bytes {
        let evidence = format!("{length} bytes; record_bytes is {}", limits.record_bytes);
        return Some(Refusal { reason: Reason::PageTooLarge, evidence });
    }
    if offset > FARTHEST_BYTE - limits.record_bytes.min(FARTHEST_BYTE) {
        return Some(Refusal { reason: Reason::RecordDamaged, evidence: "no file is so long".to_owned() });
    }
    None
}

/// Plans the reads of a shard, a file at a time and ahead of the captures.
struct Planner<'c> {
    stage: &'c Fetch,
    limits: &'c Limits,
    captures: Rows<CaptureSpans>,
}

impl Planner<'_> {
    /// The next file and its reads; none at the end.
    fn next_file(&mut self) -> Result<Option<(String, Vec<Read>)>, ReadError> {
        let Some(filename) = self.captures.peek()?.map(|row| row.filename.to_owned()) else { return Ok(None) };
        let mut spans = Vec::new();
        while let Some(row) = self.captures.peek()?.filter(|row| row.filename == filename) {
            if unreadable(row.offset, row.length, self.limits).is_none() {
                spans.push(Span { start: row.offset, length: row.length });
            }
            self.captures.skip(1)?;
        }
        let Config { coalesce_gap_bytes, whole_file_density, .. } = self.stage.config;
        let reads = plan(&spans, &Settings { gap_bytes: coalesce_gap_bytes, whole_file_density });
        Ok(Some((filename, reads)))
    }
}

/// One attempt at a shard.
struct Task<'c> {
    stage: &'c Fetch,
    captures: Rows<Captures>,
    planner: Planner<'c>,
    records: Records<'c>,
    failures: Failures,
}

impl Task<'_> {
    /// Does the captures of one segment.
    fn segment(&mut self, context: &Context) -> Result<Tally, StageError> {
        let stage = self.stage;
        let Self { captures, planner, records, failures, .. } = self;
        let accounts = context.accounts(Fetch::NAME)?;
        let mut segment = Segment { stage, limits: &context.limits, accounts, pages: context.writer()?, failures };
        let mut left = stage.config.segment_captures;
        while left > 0
            && let Some(capture) = captures.next()?
        {
            left -= 1;
            segment.accounts.read(Unit::Captures)?;
            if let Some(refusal) = unreadable(capture.offset, capture.length, &context.limits) {
                segment.reject(&capture, refusal)?;
                continue;
            }
            while records.wants_more()
                && let Some((filename, reads)) = planner.next_file()?
            {
                records.plan(&filename, reads);
            }
            let stored = records.next(capture.offset, capture.length)?;
            segment.keep_or_reject(&capture, stored)?;
            segment.note(records);
        }
        context.commit(segment.pages.finish())?;
        segment.accounts.finish()
    }
}

/// What a segment writes and counts.
struct Segment<'c> {
    stage: &'c Fetch,
    limits: &'c Limits,
    accounts: Accounts<'c>,
    pages: TableWriter<Pages>,
    failures: &'c mut Failures,
}

impl Segment<'_> {
    /// Takes note of what reading has cost since the last time.
    fn note(&mut self, records: &mut Records<'_>) {
        let cost = records.take_cost();
        for (name, value) in [
            (fact::REQUESTS, cost.requests),
            ("ranges", cost.requests - cost.files_streamed_whole),
            ("files_streamed_whole", cost.files_streamed_whole),
            (fact::RANGE_BYTES, cost.bytes_requested),
            ("bytes_wanted", cost.bytes_wanted),
        ] {
            if value > 0 {
                self.accounts.fact(name, value);
            }
        }
        if cost.bytes > 0 {
            self.accounts.bytes(cost.bytes);
        }
    }

    fn keep_or_reject(&mut self, capture: &CapturesRow<'_>, stored: Stored<'_>) -> Result<(), StageError> {
        let refusal = |reason: Reason, evidence: String| Refusal { reason, evidence };
        let refusal = match stored {
            Stored::Bytes(stored) => return self.keep_or_reject_record(capture, stored),
            Stored::Missing => refusal(Reason::WarcMissing, "the file is not there".to_owned()),
            Stored::NoPath(cause) => refusal(Reason::WarcMissing, cause),
            Stored::Refused(cause) => refusal(Reason::RangeRefused, clipped(&cause)),
        };
        self.reject(capture, refusal)
    }

    fn keep_or_reject_record(&mut self, capture: &CapturesRow<'_>, stored: &[u8]) -> Result<(), StageError> {
        let stored_bytes = u64::try_from(stored.len()).expect("usize fits u64");
        if stored_bytes < capture.length {
            let end = capture.offset.saturating_add(stored_bytes);
            let evidence = if stored_bytes == 0 {
                "the file ends before it".to_owned()
            } else {
                format!("the file ends at byte {end}, inside its {} bytes", capture.length)
            };
            return self.reject(capture, Refusal { reason: Reason::RecordDamaged, evidence });
        }
        let page = match page_of(capture, stored, self.limits) {
            Ok(page) => page,
            Err(refusal) => return self.reject(capture, refusal),
        };
        if page.truncated {
            self.accounts.fact("truncated_by_crawler", 1);
        }
        if !page.digest_was_checked {
            self.accounts.fact("digests_unchecked", 1);
        }
        self.pages.push(&PagesRow {
            document_id: capture.document_id,
            url: capture.url,
            timestamp: capture.timestamp,
            source_timestamp: capture.source_timestamp,
            filename: capture.filename,
            offset: capture.offset,
            length: capture.length,
            content_type: page.content_type.as_deref(),
            mime_detected: capture.mime_detected,
            robots_tag: page.robots_tag.as_deref(),
            truncated: page.truncated,
            body: &page.body,
            sentences: capture.sentences.clone(),
        })?;
        self.accounts.kept(Unit::Captures);
        Ok(())
    }

    /// Rejects, and gives the shard up when too much of it fails.
    fn reject(&mut self, capture: &CapturesRow<'_>, refusal: Refusal) -> Result<(), StageError> {
        // The file's name below the root, not its place on this machine: rejects are the same everywhere.
        let place = format!("{} at {}", clipped(capture.filename), capture.offset);
        let evidence = format!("{place}: {}", refusal.evidence);
        self.accounts.reject(&Reject {
            unit: Unit::Captures,
            document_id: capture.document_id,
            image_url: None,
            reason: refusal.reason,
            evidence: evidence.clone(),
        })?;
        if !FAILURES.contains(&refusal.reason) {
            return Ok(());
        }
        let failures = &mut *self.failures;
        failures.count += 1;
        let first = failures.first.get_or_insert(evidence).clone();
        if !failures.are_too_many() {
            return Ok(());
        }
        Err(StageError::Outside {
            what: "crawl",
            place: self.stage.crawl.clone(),
            cause: format!(
                "{} captures of this shard cannot be read, more than max_failed_share allows; the first: {first}",
                failures.count
            ),
            way_out: "check that root and index are of one crawl (this looks like the index of another) and complete",
            retry: false,
        })
    }
}

#[cfg(test)]
mod tests;
