//! Web archives of one's own: each page is a document, its text the page's main content.
//!
//! A document is a response record with status 200 that is HTML, by its Content-Type or a look at its beginning. Its
//! url is the record's target, its time WARC-Date, its text the main content of the page ([`content`]), in the page's
//! order. Candidates are chosen as `extract` does ([`references`]); each has its place among the sentences, exactly:
//! both are counted in characters of the page. The page's wishes come along as there.
//!
//! Every record is counted. One that is no page of this kind is rejected with the file's name, its number from 1 and its
//! offset: requests, revisits and the like as `not_a_response`, other statuses by name, pictures as `not_html`. Digests
//! that the record states are checked.
//!
//! A file that is cut off or damaged fails the task, naming the byte, or with `damage = "reject"` ends there: what was
//! read before is kept, and the damage stands among the rejects once. Memory is one record
//! ([`Limits::record_bytes`]) and its page. ARC files are read as well.
//!
//! Thin: a revisit is not resolved to the record that it stands for, and a page that was captured several times stays
//! several documents. The archive itself is no place that `download` gets images from, since it has no index; images
//! come from the web, or from a crawl that the recipe names besides.

use serde::{Deserialize, Serialize};
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::documents::{Refusal, refuse};
use super::files::{open, plain_name, unreadable};
use super::interleaved::{InterleavedSink, Origin, Place, web_url};
use super::timestamp::digits_of_text;
use crate::evidence::clipped;
use crate::formats::content::{self, LineRule, MainText};
use crate::formats::encoding;
use crate::formats::inflate::InflateError;
use crate::formats::outside::with_causes;
use crate::formats::page::{self, ExtensionRule, PageImages};
use crate::formats::warc::{Problem, Record, RecordKind, WarcError, WarcReader};
use crate::references::{self, Referrer, UrlRule, check_html, no_candidate, wishes};
use crate::response;

/// How archives are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which lines of the main content are text.
    pub lines: LineRule,
    /// What becomes of a file that cannot be read to its end.
    pub damage: Damage,
    /// Which image references are candidates.
    pub references: references::Config,
}

/// What becomes of a file that cannot be read to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Damage {
    /// The task fails.
    #[default]
    Fail,
    /// What was read before is kept; the damage is one reject.
    Reject,
}

/// How the records of an archive become documents.
#[derive(Debug)]
pub(super) struct Archive {
    lines: LineRule,
    damage: Damage,
    rule: UrlRule,
}

/// A page with its text.
struct Page {
    url: String,
    timestamp: String,
    images: PageImages,
    text: MainText,
    robots_tag: Option<String>,
    /// Whether the crawler cut the payload short.
    truncated: bool,
    digest_was_checked: bool,
}

impl Archive {
    pub(super) fn new(config: Config) -> Self {
        Self { lines: config.lines, damage: config.damage, rule: UrlRule::new(&config.references) }
    }

    pub(super) fn read(
        &self,
        source: &OutsideFile,
        limits: &Limits,
        sink: &mut InterleavedSink<'_>,
    ) -> Result<(), StageError> {
        let records = WarcReader::open(open(source)?, limits.clone()).map_err(|cause| failed(source, &cause))?;
        for (number, record) in (1..).zip(records) {
            let place = |offset| Place { file: plain_name(source), unit: "record", number, byte: Some(offset) };
            match record {
                Ok(record) => {
                    sink.read(u64::try_from(record.block.len()).expect("usize fits u64"))?;
                    self.take(&record, source, place(record.offset), limits, sink)?;
                }
                Err(WarcError::TooLarge { offset, source: exceeded }) => {
                    sink.read(0)?;
                    let evidence = exceeded.to_string();
                    let document_id = String::new();
                    sink.reject(&Refusal { reason: Reason::PageTooLarge, evidence, document_id }, place(offset))?;
                }
                Err(cause) => {
                    let is_io = matches!(cause, WarcError::Inflate { source: InflateError::Read { .. }, .. });
                    if self.damage == Damage::Fail || is_io {
                        return Err(failed(source, &cause));
                    }
                    sink.read(0)?;
                    let evidence = clipped(&with_causes(&cause));
                    let document_id = String::new();
                    let refusal = Refusal { reason: Reason::RecordDamaged, evidence, document_id };
                    sink.reject(&refusal, place(offset_of(&cause)))?;
                }
            }
        }
        Ok(())
    }

    fn take(
        &self,
        record: &Record,
        source: &OutsideFile,
        place: Place<'_>,
        limits: &Limits,
        sink: &mut InterleavedSink<'_>,
    ) -> Result<(), StageError> {
        let page = match self.page_of(record, place, limits) {
            Ok(page) => page,
            Err(refusal) => return sink.reject(&refusal, place),
        };
        if page.truncated {
            sink.fact("truncated_by_crawler", 1);
        }
        if !page.digest_was_checked {
            sink.fact("digests_unchecked", 1);
        }
        let document_id = place.document_id(&page.url);
        let references = page.images.references.iter();
        let positions: Vec<Option<u32>> =
            references.map(|reference| page.text.last_before(reference.text_before_chars)).collect();
        let wishes = wishes(&page.images, page.robots_tag.as_deref());
        let referrer = Referrer { document_id: &document_id, timestamp: &page.timestamp, wishes: wishes.as_deref() };
        let kept = sink.page_images(&self.rule, &page.images, &positions, referrer)?;
        if kept == 0 {
            let (reason, evidence) = no_candidate(&page.images);
            return sink.reject(&Refusal { reason, evidence, document_id }, place);
        }
        let origin = Origin {
            timestamp: &page.timestamp,
            source_timestamp: record.date().unwrap_or_default(),
            filename: &source.name,
            offset: record.offset,
            length: record.length.unwrap_or_default(),
        };
        let sentences = page.text.sentences.iter().map(String::as_str).collect();
        sink.keep(&document_id, &page.url, origin, kept, sentences)
    }

    /// The page that the record holds; of several faults the first in the order record, url, time, page, text.
    fn page_of(&self, record: &Record, place: Place<'_>, limits: &Limits) -> Result<Page, Refusal> {
        let without_id = |refusal: response::Refusal| {
            let response::Refusal { reason, evidence } = refusal;
            Refusal { reason, evidence, document_id: String::new() }
        };
        if record.kind == RecordKind::Response
            && let Some(problem) = record.problems.iter().find(|problem| is_damage(problem))
        {
            return refuse(Reason::RecordDamaged, clipped(&problem.to_string()));
        }
        let response = response::page_of(record, None, limits).map_err(without_id)?;
        let content_type = response.content_type.as_deref();
        let of_record = |(reason, evidence)| Refusal { reason, evidence, document_id: String::new() };
        check_html(None, content_type, &response.body).map_err(of_record)?;
        let url = record.uri().unwrap_or_default();
        let Some(parsed) = web_url(&url) else { return refuse(Reason::BadUrl, format!("`{}`", clipped(&url))) };
        let date = record.date().unwrap_or_default();
        let Some(timestamp) = digits_of_text(date) else {
            return refuse(Reason::BadTimestamp, format!("`{}`", clipped(date)));
        };
        let html = encoding::decode(&response.body, content_type);
        // The verdict on each URL is this stage's own, by its config.
        let read = page::images_and_blocks(&html.text, &parsed, limits, ExtensionRule::WholeUrl);
        let (images, blocks) = read.map_err(|exceeded| of_record((Reason::PageTooLarge, exceeded.to_string())))?;
        let text = content::main_text(&blocks, self.lines);
        if text.sentences.is_empty() {
            let evidence = format!("`{}` has no main content in {} blocks", clipped(&url), blocks.len());
            return Err(Refusal { reason: Reason::NoText, evidence, document_id: place.document_id(&url) });
        }
        let response::Page { robots_tag, truncated, digest_was_checked, .. } = response;
        Ok(Page { url, timestamp, images, text, robots_tag, truncated, digest_was_checked })
    }
}

/// Whether part of the record is missing or wrong.
fn is_damage(problem: &Problem) -> bool {
    matches!(problem, Problem::Damaged { .. } | Problem::BlockCutOff { .. } | Problem::BadLength { .. })
}

fn offset_of(cause: &WarcError) -> u64 {
    match cause {
        WarcError::Inflate { offset, .. }
        | WarcError::CutOff { offset }
        | WarcError::NotARecord { offset }
        | WarcError::TooLarge { offset, .. } => *offset,
    }
}

fn failed(source: &OutsideFile, cause: &WarcError) -> StageError {
    if let WarcError::Inflate { source: InflateError::Read { source: io, .. }, .. } = cause {
        return unreadable(source, io);
    }
    StageError::Outside {
        what: "source file",
        place: format!("{} at byte {}", source.location.display(), offset_of(cause)),
        cause: with_causes(cause),
        way_out: "get the file again, or set stages.ingest.damage to `reject`, which keeps what was read before",
        retry: false,
    }
}
