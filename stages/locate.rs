//! Finds the capture of each document by walking documents and the crawl's index side by side.
//!
//! Reads `documents` of one SURT range, merged in key order; writes `captures` to the crawl shard of the WARC file
//! (the hash of its name). Reads those blocks of the ZipNum index that may hold a document's urlkey, each at most
//! once. A capture fits when its url is the document's, byte for byte, its 14 digits are the document's, and its
//! status is 200 (C4's `(url, timestamp)` names one capture: `c4_utils.py`). There is no fall-back yet: a second's
//! difference or another scheme is a miss that names what was there.
//!
//! When several lines fit: with one payload digest they are one capture, and the first by (filename, offset) is
//! taken, counted as `identical_captures`; with several digests the document is rejected as ambiguous. A miss has
//! the reason that comes furthest: no line of the urlkey, none of this url, none at this time, a status that is not
//! 200. O(documents + lines of the blocks read); memory is one block and one urlkey's captures.
//!
//! Thin: over http each block is a request of its own.

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space, hash_shard};
use weft_core::limits::{LimitExceeded, Limits};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Captures, CapturesRow, Documents, DocumentsRow};
use weft_core::tally::Tally;

use crate::crawl;
use crate::evidence::clipped;
use crate::formats::cdx::{BlockRef, CaptureLine, CdxError, ClusterIndex, IndexWalk, ReadError};
use crate::formats::outside::{OutsideError, OutsideRoot, with_causes};

/// Lines of the index that a reject quotes.
const QUOTED_CAPTURES: usize = 3;

/// A capture is one by its url and time: nothing to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The stage, opened.
#[derive(Debug)]
pub struct Locate {
    root: OutsideRoot,
    /// Folder of the index below the root.
    index: String,
    cluster: ClusterIndex,
}

impl Stage for Locate {
    const NAME: &'static str = "locate";
    const VERSION: u32 = 1;
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

    fn open(_config: Config, resources: &Resources) -> Result<Self, StageError> {
        let crawl = crawl::crawl(resources)?;
        let index = crawl.index.trim_end_matches('/').to_owned();
        Ok(Self { root: crawl::root(crawl, resources)?, index, cluster: crawl::cluster(crawl)? })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let mut documents = context.rows::<Documents>()?;
        let mut captures = context.exchange::<Captures>()?;
        let mut accounts = context.accounts(Self::NAME)?;
        let limits = &context.limits;
        let mut walk = IndexWalk::new(&self.cluster, limits.clone(), |block| self.read_block(block, limits));
        let mut bytes_before = 0;
        let mut before = (String::new(), String::new());
        while let Some(document) = documents.next()? {
            accounts.read(Unit::Documents)?;
            let is_repeated = before.0 == document.url && before.1 == document.timestamp;
            let verdict = if is_repeated {
                Err((Reason::DuplicateDocument, "the entry before has this url and timestamp".to_owned()))
            } else {
                let lines = walk.captures_of(document.urlkey).map_err(|cause| self.failed(&cause))?;
                capture_of(&document, lines)
            };
            match verdict {
                Ok(fitting) => {
                    let shard = hash_shard(&fitting.capture.filename, context.shards.crawl);
                    captures.push(shard, &row_of(&document, fitting.capture))?;
                    accounts.kept(Unit::Documents);
                    if fitting.lines > 1 {
                        accounts.fact("identical_captures", 1);
                    }
                }
                Err((reason, evidence)) => accounts.reject(&Reject {
                    unit: Unit::Documents,
                    document_id: document.document_id,
                    image_url: None,
                    reason,
                    evidence,
                })?,
            }
            accounts.bytes(walk.bytes_read() - bytes_before);
            bytes_before = walk.bytes_read();
            before = (document.url.to_owned(), document.timestamp.to_owned());
        }
        accounts.fact("index_blocks_read", walk.blocks_read());
        accounts.fact("index_bytes", walk.bytes_read());
        context.commit(captures.finish())?;
        accounts.finish()
    }
}

impl Locate {
    fn path_of(&self, shard: &str) -> String {
        if self.index.is_empty() { shard.to_owned() } else { format!("{}/{shard}", self.index) }
    }

    fn read_block(&self, block: &BlockRef, limits: &Limits) -> Result<Vec<u8>, ReadError> {
        // The summary comes from outside too: its lengths are not to be trusted with memory.
        if block.length > limits.record_bytes {
            return Err(LimitExceeded { what: "record_bytes", limit: limits.record_bytes }.into());
        }
        Ok(self.root.read_range(&self.path_of(&block.shard), block.offset, block.length)?)
    }

    /// An index that cannot be read is no document's fault.
    fn failed(&self, cause: &CdxError) -> StageError {
        let outside = match cause {
            CdxError::ReadBlock { source, .. } => source.downcast_ref::<OutsideError>(),
            _ => None,
        };
        if let Some(interruption) = outside.and_then(OutsideError::interruption) {
            return interruption;
        }
        let place = match cause {
            CdxError::ReadBlock { shard, offset, .. }
            | CdxError::DamagedBlock { shard, offset, .. }
            | CdxError::BadBlockLine { shard, offset, .. } => {
                format!("{} at byte {offset}", self.root.place(&self.path_of(shard)))
            }
            _ => self.root.place(&self.index),
        };
        StageError::Outside {
            what: "index",
            place,
            cause: with_causes(cause),
            way_out: outside
                .map_or("get the index and its cluster.idx again, both of one crawl", OutsideError::way_out),
            retry: outside.is_some_and(OutsideError::is_retryable),
        }
    }
}

/// The capture to take, and how many lines of the index fit.
#[derive(Debug)]
struct Fitting<'l> {
    capture: &'l CaptureLine,
    lines: usize,
}

/// The capture among the lines of the document's urlkey that is the document's, or why there is none.
fn capture_of<'l>(document: &DocumentsRow<'_>, lines: &'l [CaptureLine]) -> Result<Fitting<'l>, (Reason, String)> {
    let Some(first) = lines.first() else {
        return Err((Reason::UrlNotInIndex, format!("no line of `{}`", clipped(document.urlkey))));
    };
    let of_url: Vec<&CaptureLine> = lines.iter().filter(|line| line.url == document.url).collect();
    if of_url.is_empty() {
        let evidence = format!("`{}` has {}", clipped(&first.urlkey), quoted(lines.iter()));
        return Err((Reason::SameUrlkeyOtherUrl, evidence));
    }
    let at_time: Vec<&CaptureLine> =
        of_url.iter().copied().filter(|line| line.timestamp == document.timestamp).collect();
    let Some(first) = at_time.first() else {
        let evidence = format!("not at {}, but {}", document.timestamp, quoted(of_url.into_iter()));
        return Err((Reason::TimestampNotInIndex, evidence));
    };
    let mut fitting: Vec<&CaptureLine> = at_time.iter().copied().filter(|line| line.status == Some(200)).collect();
    fitting.sort_by_key(|line| (&line.filename, line.offset));
    fitting.dedup_by_key(|line| (&line.filename, line.offset));
    let Some(capture) = fitting.first() else {
        // A line without a status is of a record that answers no request.
        let reason = first.status.map_or(Reason::NotAResponse, Reason::Status);
        return Err((reason, quoted(at_time.into_iter())));
    };
    let digest = digest_of(capture);
    let is_one_payload = digest.is_some() && fitting.iter().all(|line| digest_of(line) == digest);
    if fitting.len() > 1 && !is_one_payload {
        return Err((Reason::AmbiguousCapture, quoted(fitting.into_iter())));
    }
    Ok(Fitting { capture, lines: fitting.len() })
}

/// The payload's digest; indexes write a dash where they have none.
fn digest_of(line: &CaptureLine) -> Option<&str> {
    line.digest.as_deref().filter(|digest| !digest.is_empty() && *digest != "-")
}

/// The first few lines as a person would look them up, and how many there are.
fn quoted<'l>(lines: impl ExactSizeIterator<Item = &'l CaptureLine>) -> String {
    let count = lines.len();
    let quoted = lines.take(QUOTED_CAPTURES).map(|line| {
        let status = line.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let CaptureLine { timestamp, url, filename, offset, .. } = line;
        format!("{timestamp} {status} {} ({} at {offset})", clipped(url), clipped(filename))
    });
    let mut text = quoted.collect::<Vec<_>>().join(", ");
    if count > QUOTED_CAPTURES {
        text = format!("{text} and {} more", count - QUOTED_CAPTURES);
    }
    text
}

fn row_of<'r>(document: &'r DocumentsRow<'_>, capture: &'r CaptureLine) -> CapturesRow<'r> {
    CapturesRow {
        filename: &capture.filename,
        offset: capture.offset,
        document_id: document.document_id,
        length: capture.length,
        digest: digest_of(capture),
        mime_detected: capture.mime_detected.as_deref(),
        url: document.url,
        timestamp: document.timestamp,
        source_timestamp: document.source_timestamp,
        sentences: document.sentences.clone(),
    }
}

#[cfg(test)]
mod tests;
