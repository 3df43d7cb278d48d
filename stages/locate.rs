//! Finds the capture of each document by walking documents and the crawl's index side by side.
//!
//! Reads `documents` of one SURT range, merged in key order, twice: their keys alone to see which blocks of the index
//! are needed, then whole. Writes `captures` to the crawl shard of the WARC file (the hash of its name). The index is
//! in either of Common Crawl's forms (`formats/index.rs`): of a ZipNum index neighbouring blocks are read as one
//! range, ahead of the walk; of a columnar one, row groups in windows. A block is read at most once, and not at all
//! where no document can be in it.
//!
//! C4's `(url, timestamp)` names one capture (`c4_utils.py`); what fits, which fall-backs there are, and what a miss
//! is called stands in `choice.rs`. A fall-back is off unless the recipe names it; each is counted under its name, and
//! `captures` says of each row what it was `matched_by`.
//!
//! A document whose key may lie in a block that is damaged or not there is rejected as `index_block_damaged`, and the
//! shard goes on. When more than `max_failed_share` of the blocks that a task needs (of at least [`JUDGED_BLOCKS`]) are
//! at fault, the task fails and names the first: index and summary do not belong together. A server that fails or
//! forbids fails the task, too.
//!
//! O(documents + lines of the blocks read); memory is three ranges and one block, or the windows of the row groups
//! that the walk stands in, one urlkey's captures, and a byte a block of the index.

mod choice;
mod faulty;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space, hash_shard};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Captures, CapturesRow, Documents, DocumentsRow};
use weft_core::tally::{Tally, fact};
use weft_core::write::ExchangeWriter;

pub use self::choice::Fallback;
use self::choice::{Fitting, Miss, Wanted, choose, digest_of};
use self::faulty::Faulty;
pub use self::faulty::JUDGED_BLOCKS;
use crate::crawl;
use crate::formats::index::{Cost, CrawlIndex, Fault, Needed, Reading, Walk};
use crate::formats::outside::{OutsideRoot, with_causes};

weft_core::table! {
    /// What finding the needed blocks of the index takes of `documents`.
    pub struct DocumentKeys, DocumentKeysRow = "documents" v1 in Corpus by ["urlkey"] {
        /// Common Crawl's SURT key of the url.
        urlkey: Text,
    }
}

/// What may stand in for an exact capture, and how the index is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Fall-backs in the order of their trial; none by default. From the surest to the boldest: `within_a_second`,
    /// `same_urlkey`, `revisit`, `same_digest`.
    pub fallbacks: Vec<Fallback>,
    /// Share of the blocks that a task needs, in [0, 1], that may be damaged or not there before the task fails.
    pub max_failed_share: f64,
    /// Two needed blocks are read as one range when at most this many bytes lie between them.
    pub coalesce_gap_bytes: u64,
    /// Bytes of one request to the index, unless one block is larger.
    pub request_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        // A block of Common Crawl's has about 0.25 MB: a gap of a few costs less than a request of its own.
        Self { fallbacks: Vec::new(), max_failed_share: 0.1, coalesce_gap_bytes: 1 << 20, request_bytes: 4 << 20 }
    }
}

/// The stage, opened.
#[derive(Debug)]
pub struct Locate {
    config: Config,
    root: Arc<OutsideRoot>,
    index: CrawlIndex,
}

impl Stage for Locate {
    const NAME: &'static str = "locate";
    const VERSION: u32 = 2;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let (documents, captures) = (def::<Documents>(), def::<Captures>());
        Spec {
            uses: vec![Use::Crawl],
            phases: vec![Phase {
                name: "",
                space: Space::Corpus,
                reads: vec![documents],
                writes: vec![captures],
                flows: vec![Flow { unit: Unit::Documents, reads: Some(documents), keeps: Some(captures) }],
            }],
        }
    }

    fn open(config: Config, resources: &Resources) -> Result<Self, StageError> {
        check(&config)?;
        let crawl = crawl::crawl(resources)?;
        let root = Arc::new(crawl::root(crawl, resources)?);
        Ok(Self { config, root, index: crawl::index(crawl)? })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let needed = self.needed_blocks(context)?;
        let mut task = Task {
            captures: context.exchange::<Captures>()?,
            accounts: context.accounts(Self::NAME)?,
            faulty: Faulty::new(needed.len(), self.config.max_failed_share),
            crawl_shards: context.shards.crawl,
            cost: Cost::default(),
        };
        let reading =
            Reading { gap_bytes: self.config.coalesce_gap_bytes, request_bytes: self.config.request_bytes.max(1) };
        std::thread::scope(|scope| {
            let mut walk = Walk::start(scope, &self.index, &needed, &self.root, reading, &context.limits);
            self.walk_documents(context, &mut walk, &mut task)
        })?;
        task.finish(context)
    }
}

fn check(config: &Config) -> Result<(), StageError> {
    let unusable = |cause: String, way_out| StageError::Outside {
        what: "section",
        place: Locate::NAME.to_owned(),
        cause,
        way_out,
        retry: false,
    };
    if !(0.0..=1.0).contains(&config.max_failed_share) {
        let cause = format!("max_failed_share is {}", config.max_failed_share);
        return Err(unusable(cause, "give it a share from 0 to 1"));
    }
    for (position, fallback) in config.fallbacks.iter().enumerate() {
        if config.fallbacks.iter().take(position).any(|earlier| earlier == fallback) {
            return Err(unusable(format!("fallbacks names {} twice", fallback.name()), "name it once"));
        }
    }
    Ok(())
}

impl Locate {
    /// The blocks that some document of the shard may be in.
    fn needed_blocks(&self, context: &Context) -> Result<Vec<usize>, StageError> {
        let mut keys = context.rows::<DocumentKeys>()?;
        let mut needed = Needed::new(&self.index);
        while let Some(row) = keys.next()? {
            needed.mark(row.urlkey);
        }
        context.check_cancelled()?;
        Ok(needed.blocks())
    }

    fn walk_documents(&self, context: &Context, walk: &mut Walk<'_>, task: &mut Task<'_>) -> Result<(), StageError> {
        let mut documents = context.rows::<Documents>()?;
        let mut before = (String::new(), String::new());
        while let Some(document) = documents.next()? {
            task.accounts.read(Unit::Documents)?;
            let is_repeated = before.0 == document.url && before.1 == document.timestamp;
            if is_repeated {
                let evidence = "the entry before has this url and timestamp".to_owned();
                task.settle(&document, Err((Reason::DuplicateDocument, evidence)))?;
                continue;
            }
            match walk.captures_of(document.urlkey) {
                Ok(lines) => {
                    let wanted = Wanted { urlkey: document.urlkey, url: document.url, timestamp: document.timestamp };
                    task.settle(&document, choose(wanted, lines, &self.config.fallbacks))?;
                }
                Err(Fault::Block(fault)) => {
                    task.faulty.add(&fault)?;
                    let evidence = format!("{}: {}", fault.place, fault.cause);
                    task.settle(&document, Err((Reason::IndexBlockDamaged, evidence)))?;
                }
                Err(Fault::Outside { place, cause }) => {
                    if let Some(interruption) = cause.interruption() {
                        return Err(interruption);
                    }
                    return Err(StageError::Outside {
                        what: "index",
                        place,
                        cause: with_causes(&*cause),
                        way_out: cause.way_out(),
                        retry: cause.is_retryable(),
                    });
                }
            }
            task.spent(walk.cost());
            before = (document.url.to_owned(), document.timestamp.to_owned());
        }
        Ok(())
    }
}

/// One shard at work.
struct Task<'c> {
    captures: ExchangeWriter<Captures>,
    accounts: Accounts<'c>,
    faulty: Faulty,
    crawl_shards: u32,
    cost: Cost,
}

impl Task<'_> {
    /// Writes and counts what became of a document.
    fn settle(&mut self, document: &DocumentsRow<'_>, verdict: Result<Fitting<'_>, Miss>) -> Result<(), StageError> {
        match verdict {
            Ok(fitting) => {
                let shard = hash_shard(&fitting.capture.filename, self.crawl_shards);
                self.captures.push(shard, &row_of(document, &fitting))?;
                self.accounts.kept(Unit::Documents);
                if let Some(fallback) = fitting.fallback {
                    self.accounts.fact(fallback.name(), 1);
                }
                if fitting.lines > 1 {
                    self.accounts.fact("identical_captures", 1);
                }
                Ok(())
            }
            Err((reason, evidence)) => self.accounts.reject(&Reject {
                unit: Unit::Documents,
                document_id: document.document_id,
                image_url: None,
                reason,
                evidence,
            }),
        }
    }

    fn spent(&mut self, cost: Cost) {
        self.accounts.bytes(cost.bytes - self.cost.bytes);
        self.cost = cost;
    }

    fn finish(mut self, context: &Context) -> Result<Tally, StageError> {
        self.accounts.fact(fact::INDEX_REQUESTS, self.cost.requests);
        self.accounts.fact(fact::INDEX_BYTES, self.cost.bytes);
        self.accounts.fact(fact::INDEX_BLOCKS, self.cost.blocks);
        self.accounts.fact("index_lines", self.cost.lines);
        self.accounts.fact("index_blocks_damaged", self.faulty.count());
        context.commit(self.captures.finish())?;
        self.accounts.finish()
    }
}

fn row_of<'r>(document: &'r DocumentsRow<'_>, fitting: &Fitting<'r>) -> CapturesRow<'r> {
    let capture = fitting.capture;
    CapturesRow {
        filename: &capture.filename,
        offset: capture.offset,
        document_id: document.document_id,
        length: capture.length,
        digest: digest_of(capture),
        mime_detected: capture.mime_detected.as_deref(),
        matched_by: fitting.fallback.map_or("exact", Fallback::name),
        capture_url: Some(capture.url.as_str()).filter(|url| *url != document.url),
        capture_timestamp: Some(capture.timestamp.as_str()).filter(|timestamp| *timestamp != document.timestamp),
        url: document.url,
        timestamp: document.timestamp,
        source_timestamp: document.source_timestamp,
        sentences: document.sentences.clone(),
    }
}

#[cfg(test)]
mod tests;
