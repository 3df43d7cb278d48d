//! Gets images from the crawl itself: looks their captures up in its index and reads their records by range.
//!
//! Of the captures of a URL those with status 200 come first, then redirects, then the rest; among equals the one
//! nearest in time to the page's capture, the earlier one at a tie. Redirects are followed as the archive holds them:
//! to a target that it holds, too. A capture counts for a URL where its own URL is the same, be it in another
//! spelling of the same (WHATWG) URL; with `same_urlkey` also one that only shares the urlkey (`http` for `https`,
//! `www.` and the like) counts, where there is none of the URL itself.
//!
//! Index blocks are kept inflated, up to [`INDEX_CACHE_BYTES`], the last used ones: the images of a page, and of a
//! site, mostly lie in few blocks. A look-up is O(log blocks) and the lines of the blocks that may hold the key. Of a columnar
//! index nothing is kept, and a look-up reads the keys of a row group up to the one asked: right for small tables; for
//! images out of a whole crawl name its ZipNum index.
//!
//! Thin: a capture that is only a revisit is not resolved to the record that it stands for, and payload digests are
//! not compared; a damaged gzip member fails by its checksum.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{Resources, StageError};
use weft_core::tally::fact;

use super::robots;
use super::{Config, Fetched, INDEX_CACHE_BYTES, Refusal, clock, is_redirect};
use crate::crawl;
use crate::formats::cdx::{BlockLines, BlockRef, CaptureLine, ClusterIndex, block_lines};
use crate::formats::columnar::{TableError, TableSummary};
use crate::formats::http::HttpMessage;
use crate::formats::index::{self, CrawlIndex};
use crate::formats::outside::{OutsideError, OutsideRoot, with_causes};
use crate::formats::surt;
use crate::formats::warc::{Problem, Record, WarcError, WarcReader};

/// Bytes of one request to a columnar index.
const REQUEST_BYTES: u64 = 1 << 20;

/// A crawl that images are looked up in.
#[derive(Debug)]
pub(super) struct Archive {
    root: Arc<OutsideRoot>,
    index: CrawlIndex,
    /// Whether a capture counts that shares no more than the urlkey.
    same_urlkey: bool,
    /// How wishes name us.
    token: String,
    /// Words of an X-Robots-Tag that keep an image out.
    opt_out: Vec<String>,
    cache: Mutex<Cache>,
    traffic: Traffic,
}

/// What was asked of the crawl since it was last taken. Tasks share it, so that only sums over tasks mean anything.
#[derive(Debug, Default)]
struct Traffic {
    index_requests: AtomicU64,
    index_bytes: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// The blocks used last, latest at the end.
#[derive(Debug, Default)]
struct Cache {
    blocks: VecDeque<Cached>,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    shard: Arc<str>,
    offset: u64,
    lines: Arc<BlockLines>,
    bytes: usize,
}

impl Archive {
    /// Opens the crawl and reads its index's summary.
    ///
    /// # Errors
    /// [`StageError::Outside`] where there is none, or it is damaged.
    pub(super) fn open(config: &Config, resources: &Resources) -> Result<Self, StageError> {
        let Some(crawl) = &resources.crawl else {
            let way_out = "name a crawl in the recipe, or download from the web alone";
            return Err(super::unusable("crawl", "", "the recipe names none", way_out));
        };
        let root = OutsideRoot::open_within(&crawl.root, &resources.user_agent, &resources.front)
            .map_err(|cause| cause.into_stage_error("crawl", crawl.name.clone()))?;
        let index = crawl::index(crawl)?;
        let token = robots::product_token(&resources.user_agent).to_owned();
        let (same_urlkey, opt_out) = (config.same_urlkey, config.opt_out.clone());
        Ok(Self {
            root: Arc::new(root),
            index,
            same_urlkey,
            token,
            opt_out,
            cache: Mutex::default(),
            traffic: Traffic::default(),
        })
    }

    /// Requests and bytes since they were last taken, as facts of a tally.
    pub(super) fn take_traffic(&self) -> [(&'static str, u64); 4] {
        let Traffic { index_requests, index_bytes, requests, bytes } = &self.traffic;
        [
            (fact::INDEX_REQUESTS, index_requests),
            (fact::INDEX_BYTES, index_bytes),
            (fact::REQUESTS, requests),
            (fact::RANGE_BYTES, bytes),
        ]
        .map(|(name, count)| (name, count.swap(0, Ordering::Relaxed)))
    }

    /// Gets one image; `page_timestamp` has 14 digits.
    ///
    /// # Errors
    /// [`StageError`] where the crawl itself is unreadable; the image's own fault is a [`Refusal`].
    pub(super) fn fetch(
        &self,
        image_url: &str,
        page_timestamp: &str,
        limits: &Limits,
    ) -> Result<Result<Fetched, Refusal>, StageError> {
        let mut url = match Url::parse(image_url) {
            Ok(url) => url,
            Err(cause) => return Ok(Err(Refusal::new(Reason::NotAUrl, cause))),
        };
        let mut seen = BTreeSet::new();
        for step in 0..=limits.redirects {
            url.set_fragment(None);
            if !seen.insert(url.to_string()) {
                return Ok(Err(Refusal::new(Reason::TooManyRedirects, format_args!("back at {url}"))));
            }
            let Some(capture) = self.find(&url, page_timestamp, limits)? else {
                let reason = if step == 0 { Reason::NotInArchive } else { Reason::RedirectTargetNotInArchive };
                return Ok(Err(Refusal::new(reason, &url)));
            };
            let target = match capture.status {
                Some(200) => return self.read(capture, limits),
                Some(status) if is_redirect(status) => self.redirect_target(&url, &capture, limits)?,
                status => {
                    let place = format_args!("{url} at {}", capture.timestamp);
                    return Ok(Err(Refusal::new(Reason::Status(status.unwrap_or_default()), place)));
                }
            };
            url = match target {
                Ok(target) => target,
                Err(refusal) => return Ok(Err(refusal)),
            };
        }
        Ok(Err(Refusal::new(Reason::TooManyRedirects, format_args!("more than {}", limits.redirects))))
    }

    /// The capture to take for `url`.
    fn find(&self, url: &Url, page_timestamp: &str, limits: &Limits) -> Result<Option<CaptureLine>, StageError> {
        let Some(urlkey) = surt::urlkey(url.as_str()) else { return Ok(None) };
        let mut captures = self.captures_of(&urlkey, limits)?;
        captures.retain(|capture| capture.status.is_some() && capture.mime.as_deref() != Some("warc/revisit"));
        let is_same = |capture: &CaptureLine| is_same_url(&capture.url, url.as_str());
        if !self.same_urlkey || captures.iter().any(is_same) {
            captures.retain(is_same);
        }
        let wanted = clock::seconds_of(page_timestamp);
        let rank = |capture: &CaptureLine| {
            let kind = match capture.status {
                Some(200) => 0,
                Some(status) if is_redirect(status) => 1,
                _ => 2,
            };
            let away = wanted.zip(clock::seconds_of(&capture.timestamp)).map_or(u64::MAX, |(a, b)| a.abs_diff(b));
            (kind, away)
        };
        // The first of equals: the index lists captures by time.
        Ok(captures.into_iter().min_by_key(rank))
    }

    /// All captures of a key, in the order of the index.
    fn captures_of(&self, urlkey: &str, limits: &Limits) -> Result<Vec<CaptureLine>, StageError> {
        match &self.index {
            CrawlIndex::ZipNum { folder, cluster } => self.captures_of_zipnum(folder, cluster, urlkey, limits),
            CrawlIndex::Columnar(table) => self.captures_of_table(table, urlkey, limits),
        }
    }

    fn captures_of_table(
        &self,
        table: &TableSummary,
        urlkey: &str,
        limits: &Limits,
    ) -> Result<Vec<CaptureLine>, StageError> {
        index::look_up(table, &self.root, urlkey, limits, REQUEST_BYTES).map_err(|fault| {
            let (path, row_group) = table.place_of(fault.group);
            let place = format!("{path} row group {row_group}");
            match fault.cause {
                TableError::Outside { source } => StageError::Outside {
                    what: "index row group",
                    place,
                    cause: with_causes(&*source),
                    way_out: source.way_out(),
                    retry: source.is_retryable(),
                },
                cause => super::unusable("index row group", &place, with_causes(&cause), "fetch the index again"),
            }
        })
    }

    fn captures_of_zipnum(
        &self,
        folder: &str,
        cluster: &ClusterIndex,
        urlkey: &str,
        limits: &Limits,
    ) -> Result<Vec<CaptureLine>, StageError> {
        let mut captures = Vec::new();
        for block in cluster.blocks_for(urlkey, Bound::Included(urlkey)) {
            let path = CrawlIndex::shard_path(folder, &block.shard);
            let lines = self.block(&path, block, limits)?;
            for line in lines.iter() {
                let Some(after) = line.strip_prefix(urlkey.as_bytes()) else { continue };
                if after.first() != Some(&b' ') {
                    continue;
                }
                let capture = CaptureLine::parse(line).map_err(|cause| bad_block(&path, block, cause.to_string()))?;
                captures.push(capture);
            }
        }
        Ok(captures)
    }

    /// A block's lines, from memory where they are there.
    fn block(&self, path: &str, block: &BlockRef, limits: &Limits) -> Result<Arc<BlockLines>, StageError> {
        if let Some(lines) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(block) {
            return Ok(lines);
        }
        // Not under the lock: two that miss at once read twice, and nobody waits for a stranger's block.
        self.traffic.index_requests.fetch_add(1, Ordering::Relaxed);
        self.traffic.index_bytes.fetch_add(block.length, Ordering::Relaxed);
        let stored = self
            .root
            .read_range(path, block.offset, block.length)
            .map_err(|cause| cause.into_stage_error("index block", format!("{path} at {}", block.offset)))?;
        let lines = block_lines(&stored, limits);
        if let Some(damage) = &lines.damage {
            return Err(bad_block(path, block, damage.to_string()));
        }
        let lines = Arc::new(lines);
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(block, Arc::clone(&lines));
        Ok(lines)
    }

    /// Where a redirect leads: as the index says, else as its record does.
    fn redirect_target(
        &self,
        url: &Url,
        capture: &CaptureLine,
        limits: &Limits,
    ) -> Result<Result<Url, Refusal>, StageError> {
        if let Some(target) = capture.redirect.as_deref().filter(|target| !matches!(*target, "" | "-")) {
            return Ok(super::redirect_target(url, Some(target)));
        }
        let record = match self.record(capture, limits)? {
            Ok(record) => record,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(message_of(&record, limits).and_then(|message| super::redirect_target(url, message.header("location"))))
    }

    fn read(&self, capture: CaptureLine, limits: &Limits) -> Result<Result<Fetched, Refusal>, StageError> {
        let record = match self.record(&capture, limits)? {
            Ok(record) => record,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let body = message_of(&record, limits).and_then(|message| {
            self.check_wishes(&message)?;
            super::body_of(&message, limits)
        });
        let (final_url, fetched) = (capture.url, capture.timestamp);
        Ok(body.map(|bytes| Fetched { bytes, final_url, origin: "archive", fetched }))
    }

    /// What the server asked for when the crawl came holds as it does on the live web.
    fn check_wishes(&self, message: &HttpMessage<'_>) -> Result<(), Refusal> {
        for (name, value) in &message.headers {
            if name.eq_ignore_ascii_case("x-robots-tag")
                && let Some(word) = robots::wish(value, &self.token, &self.opt_out)
            {
                return Err(Refusal::new(Reason::OptedOut, format_args!("archived X-Robots-Tag: {word}")));
            }
        }
        Ok(())
    }

    /// The capture's record.
    fn record(&self, capture: &CaptureLine, limits: &Limits) -> Result<Result<Record, Refusal>, StageError> {
        let place = format!("{} at {}", capture.filename, capture.offset);
        let refused =
            |reason, cause: &dyn fmt::Display| Ok(Err(Refusal::new(reason, format_args!("{place}: {cause}"))));
        if capture.length > limits.record_bytes {
            return refused(Reason::ImageTooLarge, &format_args!("{} bytes", capture.length));
        }
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        self.traffic.bytes.fetch_add(capture.length, Ordering::Relaxed);
        let stored = match self.root.read_range(&capture.filename, capture.offset, capture.length) {
            Ok(stored) => stored,
            Err(cause @ (OutsideError::Missing { .. } | OutsideError::Escapes { .. })) => {
                return refused(Reason::WarcMissing, &cause);
            }
            Err(cause @ OutsideError::Short { .. }) => return refused(Reason::RecordDamaged, &cause),
            Err(cause) => return Err(cause.into_stage_error("record", place)),
        };
        let first = WarcReader::open(stored.as_slice(), limits.clone()).map(|mut records| records.next());
        let record = match first {
            Ok(Some(Ok(record))) => record,
            Ok(None) => return refused(Reason::RecordDamaged, &"no record"),
            Ok(Some(Err(cause @ WarcError::TooLarge { .. }))) => {
                return refused(Reason::ImageTooLarge, &with_causes(&cause));
            }
            Ok(Some(Err(cause))) | Err(cause) => return refused(Reason::RecordDamaged, &with_causes(&cause)),
        };
        if let Some(Problem::Damaged { cause }) = record.problems.iter().find(is_damage) {
            return refused(Reason::RecordDamaged, cause);
        }
        match record.uri() {
            Some(uri) if is_same_url(&uri, &capture.url) => Ok(Ok(record)),
            uri => refused(Reason::RecordOfOtherUrl, &uri.unwrap_or_default()),
        }
    }
}

fn bad_block(path: &str, block: &BlockRef, cause: String) -> StageError {
    let place = format!("{path} at {}", block.offset);
    super::unusable("index block", &place, cause, "fetch the index again")
}

fn is_damage(problem: &&Problem) -> bool {
    matches!(problem, Problem::Damaged { .. })
}

/// The same bytes, or two spellings of one URL (WHATWG URL).
fn is_same_url(left: &str, right: &str) -> bool {
    left == right || Url::parse(left).is_ok_and(|left| Url::parse(right).is_ok_and(|right| left == right))
}

fn message_of<'r>(record: &'r Record, limits: &Limits) -> Result<HttpMessage<'r>, Refusal> {
    match record.http(limits) {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Refusal::new(Reason::RecordDamaged, "the record holds no http answer")),
        Err(cause) => Err(Refusal::new(Reason::RecordDamaged, cause)),
    }
}

impl Cache {
    fn get(&mut self, block: &BlockRef) -> Option<Arc<BlockLines>> {
        let is_it = |cached: &Cached| cached.offset == block.offset && cached.shard == block.shard;
        let cached = self.blocks.remove(self.blocks.iter().position(is_it)?)?;
        let lines = Arc::clone(&cached.lines);
        self.blocks.push_back(cached);
        Some(lines)
    }

    fn put(&mut self, block: &BlockRef, lines: Arc<BlockLines>) {
        if self.get(block).is_some() {
            return;
        }
        let bytes = lines.iter().map(<[u8]>::len).sum();
        self.bytes += bytes;
        self.blocks.push_back(Cached { shard: Arc::clone(&block.shard), offset: block.offset, lines, bytes });
        while self.bytes > INDEX_CACHE_BYTES && self.blocks.len() > 1 {
            self.bytes -= self.blocks.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }
}
