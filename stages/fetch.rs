//! Reads each capture's record from the crawl's archives and takes the page out of it.
//!
//! Reads `captures` of one crawl shard, merged in key order (WARC file, offset); writes `pages` in the same order.
//! Neighbours in one file are read as one range where the gap between them is small; a range holds at most
//! [`RANGE_BYTES`], or one record. Each record is parsed from its own slice and must be a response with status 200,
//! of the capture's url, with the payload that the index's digest names; its body is de-chunked and decompressed.
//!
//! A file that is not there and a record that cannot be read are rejects, and the shard goes on. When they are more
//! than `max_failed_share` of a shard of at least [`JUDGED_CAPTURES`] captures, the task fails instead: index and
//! archives do not belong together. A server that fails or forbids fails the task too.
//!
//! Memory is one range, one record ([`Limits::record_bytes`]) and one page ([`Limits::page_bytes`]). O(bytes read).
//!
//! Thin: whole-file streaming of dense files, segments, and one request budget per front are still to come.

mod page;
mod range;

use serde::{Deserialize, Serialize};
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space};
use weft_core::limits::Limits;
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Captures, Pages, PagesRow};
use weft_core::tally::Tally;
use weft_core::write::TableWriter;

use self::page::page_of;
use self::range::{Capture, Range};
use crate::crawl;
use crate::evidence::clipped;
use crate::formats::outside::{OutsideError, OutsideRoot};
use crate::response::Refusal;

/// Bytes of one range, unless a single record is larger.
pub const RANGE_BYTES: u64 = 16 << 20;
/// Captures of one range: they are held with their sentences until the range is read.
pub const RANGE_CAPTURES: u64 = 4_096;
/// A smaller shard is not judged by its share of failures.
pub const JUDGED_CAPTURES: u64 = 20;

weft_core::table! {
    /// What counting the captures of a shard needs of `captures`.
    pub struct CaptureKeys, CaptureKeysRow = "captures" v2 in Crawl by ["filename", "offset", "document_id"] {
        /// The WARC file.
        filename: Text,
        /// The record's first byte.
        offset: U64,
        /// 32 hex digits.
        document_id: Text,
    }
}

/// How records are read, and when too many of them cannot be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Two records of one file are read as one range when at most this many bytes lie between them.
    pub coalesce_gap_bytes: u64,
    /// Share of a shard's captures, in [0, 1], that may fail for a missing file, an unreadable record or a record of
    /// another url before the task fails.
    pub max_failed_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        // A gap of 1 MB costs less than a request of its own (Common Crawl counts requests, not bytes).
        Self { coalesce_gap_bytes: 1 << 20, max_failed_share: 0.5 }
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
        if !(0.0..=1.0).contains(&config.max_failed_share) {
            return Err(StageError::Outside {
                what: "section",
                place: Self::NAME.to_owned(),
                cause: format!("max_failed_share is {}", config.max_failed_share),
                way_out: "give it a share from 0 to 1",
                retry: false,
            });
        }
        let crawl = crawl::crawl(resources)?;
        Ok(Self { config, root: crawl::root(crawl, resources)?, crawl: crawl.name.clone() })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let failures = Failures { allowed: self.allowed_failures(context)?, count: 0, first: None };
        let mut captures = context.rows::<Captures>()?;
        let mut task = Task {
            stage: self,
            limits: &context.limits,
            accounts: context.accounts(Self::NAME)?,
            pages: context.writer()?,
            failures,
            missing_file: None,
        };
        let mut range: Option<Range> = None;
        while let Some(row) = captures.next()? {
            task.accounts.read(Unit::Captures)?;
            let capture = Capture::of(&row);
            // The index comes from outside: its lengths are not to be trusted with memory.
            if capture.length > context.limits.record_bytes {
                let evidence = format!("{} bytes; record_bytes is {}", capture.length, context.limits.record_bytes);
                task.reject(&capture, Refusal { reason: Reason::PageTooLarge, evidence })?;
                continue;
            }
            match &mut range {
                Some(range) if range.takes(&capture, self.config.coalesce_gap_bytes) => range.push(capture),
                _ => {
                    if let Some(range) = range.replace(Range::new(capture)) {
                        task.fetch(range)?;
                    }
                }
            }
        }
        if let Some(range) = range {
            task.fetch(range)?;
        }
        context.commit(task.pages.finish())?;
        task.accounts.finish()
    }
}

impl Fetch {
    /// How many captures of the shard may fail; none is counted where there are too few to judge.
    fn allowed_failures(&self, context: &Context) -> Result<u64, StageError> {
        let mut keys = context.rows::<CaptureKeys>()?;
        let mut captures = 0_u64;
        while keys.next()?.is_some() {
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
    /// What was wrong with the first one, and where.
    first: Option<String>,
}

struct Task<'c> {
    stage: &'c Fetch,
    limits: &'c Limits,
    accounts: Accounts<'c>,
    pages: TableWriter<Pages>,
    failures: Failures,
    /// The last file that was not there: its other captures need no request.
    missing_file: Option<String>,
}

impl Task<'_> {
    /// Reads a range and does its captures, in order.
    fn fetch(&mut self, range: Range) -> Result<(), StageError> {
        if self.missing_file.as_deref() == Some(range.filename()) {
            return self.reject_missing(&range);
        }
        let root = &self.stage.root;
        self.accounts.fact("requests", 1);
        // Fewer bytes where the file ends: the records that are whole are still read.
        let bytes = match root.read_up_to(range.filename(), range.start, range.length()) {
            Ok(bytes) => bytes,
            Err(OutsideError::Missing { .. }) => {
                self.missing_file = Some(range.filename().to_owned());
                return self.reject_missing(&range);
            }
            Err(cause @ OutsideError::Escapes { .. }) => {
                // One odd line of an index is the row's fault.
                return range.captures.iter().try_for_each(|capture| {
                    self.reject(capture, Refusal { reason: Reason::WarcMissing, evidence: cause.to_string() })
                });
            }
            Err(cause) => return Err(cause.into_stage_error("archive", root.place(range.filename()))),
        };
        let range_bytes = u64::try_from(bytes.len()).expect("usize fits u64");
        self.accounts.fact("range_bytes", range_bytes);
        self.accounts.bytes(range_bytes);
        for capture in &range.captures {
            self.keep_or_reject(capture, range.slice(&bytes, capture))?;
        }
        Ok(())
    }

    fn keep_or_reject(&mut self, capture: &Capture, stored: &[u8]) -> Result<(), StageError> {
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
            document_id: &capture.document_id,
            url: &capture.url,
            timestamp: &capture.timestamp,
            source_timestamp: &capture.source_timestamp,
            filename: &capture.filename,
            offset: capture.offset,
            length: capture.length,
            content_type: page.content_type.as_deref(),
            mime_detected: capture.mime_detected.as_deref(),
            robots_tag: page.robots_tag.as_deref(),
            truncated: page.truncated,
            body: &page.body,
            sentences: capture.sentences.iter().map(String::as_str).collect(),
        })?;
        self.accounts.kept(Unit::Captures);
        Ok(())
    }

    fn reject_missing(&mut self, range: &Range) -> Result<(), StageError> {
        range.captures.iter().try_for_each(|capture| {
            let evidence = "the file is not there".to_owned();
            self.reject(capture, Refusal { reason: Reason::WarcMissing, evidence })
        })
    }

    /// Rejects, and gives the shard up when too much of it fails.
    fn reject(&mut self, capture: &Capture, refusal: Refusal) -> Result<(), StageError> {
        // The file's name below the root, not its place on this machine: rejects are the same everywhere.
        let place = format!("{} at {}", clipped(&capture.filename), capture.offset);
        let evidence = format!("{place}: {}", refusal.evidence);
        self.accounts.reject(&Reject {
            unit: Unit::Captures,
            document_id: &capture.document_id,
            image_url: None,
            reason: refusal.reason,
            evidence: evidence.clone(),
        })?;
        if !matches!(refusal.reason, Reason::WarcMissing | Reason::RecordDamaged | Reason::RecordOfOtherUrl) {
            return Ok(());
        }
        let failures = &mut self.failures;
        failures.count += 1;
        let first = failures.first.get_or_insert(evidence);
        if failures.count <= failures.allowed {
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
