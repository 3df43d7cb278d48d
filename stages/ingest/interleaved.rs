//! Documents that name their images, on their way to a crawl shard.
//!
//! A document's id is made of its url and its place in the source, so that two entries of one page stay two documents:
//! these sources hold some pages several times, and a shard's tables are joined by the id. Its shard is a hash of the
//! id. A document without a sentence or without a usable image is rejected; so is an image that is no http(s) URL or
//! stands in its document before. No other rule on URLs is applied: who made such a source applied one.

use std::collections::BTreeSet;
use std::fmt;

use url::Url;
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, document_id, hash_shard};
use weft_core::limits::{LimitExceeded, Limits};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Stage, StageError};
use weft_core::tables::{Candidates, CandidatesRow, Outlines, OutlinesRow};
use weft_core::tally::Tally;
use weft_core::write::ExchangeWriter;

use super::Ingest;
use super::documents::{Refusal, is_blank, refuse};
use crate::evidence::clipped;
use crate::formats::page::PageImages;
use crate::references::{Referrer, UrlRule};

/// Where an entry stands in its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The file, without the endings that only say how it is packed.
    pub(super) file: &'a str,
    /// What is counted: `line`, `row`, `record`.
    pub(super) unit: &'static str,
    /// From 1.
    pub(super) number: u64,
    /// Where it begins in the file as stored, where that says more; several records of an archive may share one.
    pub(super) byte: Option<u64>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.file, self.unit, self.number)?;
        match self.byte {
            Some(byte) => write!(f, " at byte {byte}"),
            None => Ok(()),
        }
    }
}

impl Place<'_> {
    /// The id of the document of `url` that stands here.
    pub(super) fn document_id(&self, url: &str) -> String {
        document_id(url, &format!("{}:{}", self.file, self.number))
    }
}

/// An entry that may become a document.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) url: &'a str,
    pub(super) origin: Origin<'a>,
    pub(super) sentences: Vec<&'a str>,
    /// In the source's order.
    pub(super) images: Vec<DraftImage<'a>>,
}

/// Where and when the page was captured, as far as the source says so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin<'a> {
    /// 14 digits, or empty.
    pub(super) timestamp: &'a str,
    /// As stated, or empty.
    pub(super) source_timestamp: &'a str,
    /// The WARC file, or empty.
    pub(super) filename: &'a str,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// An image that a draft names.
#[derive(Clone, Copy, Debug)]
pub(super) struct DraftImage<'a> {
    pub(super) url: &'a str,
    pub(super) alt: Option<&'a str>,
    pub(super) follows_sentence: Option<u32>,
}

/// Where interleaved documents go.
#[derive(Debug)]
pub(super) struct InterleavedSink<'c> {
    context: &'c Context,
    accounts: Accounts<'c>,
    outlines: ExchangeWriter<Outlines>,
    candidates: ExchangeWriter<Candidates>,
}

impl<'c> InterleavedSink<'c> {
    pub(super) fn open(context: &'c Context) -> Result<Self, StageError> {
        Ok(Self {
            context,
            accounts: context.accounts(Ingest::NAME)?,
            outlines: context.exchange()?,
            candidates: context.exchange()?,
        })
    }

    /// Counts an entry and the bytes that it takes in the source.
    pub(super) fn read(&mut self, bytes: u64) -> Result<(), StageError> {
        self.accounts.read(Unit::Documents)?;
        self.accounts.bytes(bytes);
        Ok(())
    }

    pub(super) fn fact(&mut self, name: &str, value: u64) {
        self.accounts.fact(name, value);
    }

    /// Writes what the entry at `place` turned out to be.
    pub(super) fn take(&mut self, outcome: Result<Draft<'_>, Refusal>, place: Place<'_>) -> Result<(), StageError> {
        let checked = outcome.and_then(|draft| {
            check(&draft, &self.context.limits)?;
            Ok(draft)
        });
        let draft = match checked {
            Ok(draft) => draft,
            Err(refusal) => return self.reject(&refusal, place),
        };
        let document_id = place.document_id(draft.url);
        let kept = self.images(&draft, &document_id)?;
        if kept == 0 {
            let reason = if draft.images.is_empty() { Reason::NoImage } else { Reason::NoCandidate };
            let evidence = format!("{} references", draft.images.len());
            return self.reject(&Refusal { reason, evidence, document_id }, place);
        }
        self.keep(&document_id, draft.url, draft.origin, kept, draft.sentences)
    }

    /// Counts the draft's images and writes those that are candidates; gives their number.
    fn images(&mut self, draft: &Draft<'_>, document_id: &str) -> Result<u32, StageError> {
        let shard = self.shard_of(document_id);
        let mut seen = BTreeSet::new();
        let mut kept = 0;
        for image in &draft.images {
            self.accounts.read(Unit::References)?;
            if let Err((reason, evidence)) = judge(image.url, &mut seen) {
                let (unit, image_url) = (Unit::References, Some(image.url));
                self.accounts.reject(&Reject { unit, document_id, image_url, reason, evidence })?;
                continue;
            }
            self.accounts.kept(Unit::References);
            self.candidates.push(
                shard,
                &CandidatesRow {
                    document_id,
                    image_index: kept,
                    image_url: image.url,
                    page_timestamp: draft.origin.timestamp,
                    alt: image.alt,
                    width_hint_px: None,
                    height_hint_px: None,
                    follows_sentence: image.follows_sentence,
                    page_wishes: None,
                },
            )?;
            kept += 1;
        }
        Ok(kept)
    }

    /// Counts the page's references and writes those that `rule` makes candidates; gives their number.
    pub(super) fn page_images(
        &mut self,
        rule: &UrlRule,
        page: &PageImages,
        positions: &[Option<u32>],
        referrer: Referrer<'_>,
    ) -> Result<u32, StageError> {
        let shard = self.shard_of(referrer.document_id);
        let candidates = &mut self.candidates;
        rule.candidates(page, positions, referrer, &mut self.accounts, |row| Ok(candidates.push(shard, row)?))
    }

    /// Writes a document of `kept` candidates.
    pub(super) fn keep(
        &mut self,
        document_id: &str,
        url: &str,
        origin: Origin<'_>,
        kept: u32,
        sentences: Vec<&str>,
    ) -> Result<(), StageError> {
        let shard = self.shard_of(document_id);
        let Origin { timestamp, source_timestamp, filename, offset, length } = origin;
        let row = OutlinesRow {
            document_id,
            url,
            timestamp,
            source_timestamp,
            filename,
            offset,
            length,
            candidates: kept,
            sentences,
        };
        self.outlines.push(shard, &row)?;
        self.accounts.kept(Unit::Documents);
        Ok(())
    }

    /// Writes that the entry at `place` is no document.
    pub(super) fn reject(&mut self, refusal: &Refusal, place: Place<'_>) -> Result<(), StageError> {
        self.accounts.reject(&Reject {
            unit: Unit::Documents,
            document_id: &refusal.document_id,
            image_url: None,
            reason: refusal.reason,
            evidence: format!("{place}: {}", refusal.evidence),
        })
    }

    fn shard_of(&self, document_id: &str) -> ShardId {
        hash_shard(document_id, self.context.shards.crawl)
    }

    pub(super) fn finish(self) -> Result<Tally, StageError> {
        self.context.commit(self.outlines.finish())?;
        self.context.commit(self.candidates.finish())?;
        self.accounts.finish()
    }
}

/// The url of a page of the web; none for any other.
pub(super) fn web_url(url: &str) -> Option<Url> {
    Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// What a document must have before its images are looked at.
fn check(draft: &Draft<'_>, limits: &Limits) -> Result<(), Refusal> {
    if web_url(draft.url).is_none() {
        return refuse(Reason::BadUrl, format!("`{}`", clipped(draft.url)));
    }
    if draft.sentences.iter().all(|sentence| is_blank(sentence)) {
        let evidence = format!("`{}` has {} sentences, all blank", clipped(draft.url), draft.sentences.len());
        return refuse(Reason::NoText, evidence);
    }
    let limit = u64::from(limits.page_images);
    if u64::try_from(draft.images.len()).expect("usize fits u64") > limit {
        return refuse(Reason::PageTooLarge, LimitExceeded { what: "page_images", limit }.to_string());
    }
    Ok(())
}

/// Whether an image can be asked for; `seen` holds the URLs of the document so far.
fn judge(raw: &str, seen: &mut BTreeSet<Url>) -> Result<(), (Reason, String)> {
    let url = Url::parse(raw).map_err(|cause| (Reason::NotAUrl, cause.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err((Reason::Scheme, url.scheme().to_owned()));
    }
    if seen.contains(&url) {
        return Err((Reason::RepeatedUrl, "the document names it before".to_owned()));
    }
    seen.insert(url);
    Ok(())
}
