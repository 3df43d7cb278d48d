//! Lists the image references of each page and keeps those that MMC4's URL rule admits (paper, section 3).
//!
//! Reads `pages`; writes `candidates`, one row per distinct URL in DOM order, and `outlines`, one row per page that
//! has one. Which reference is a candidate is decided in [`references`](crate::references). A page without HTML,
//! without a reference or without a candidate is rejected; so is every reference that is no candidate.
//!
//! The page's wishes about machines (robots `meta` elements, X-Robots-Tag) come along unjudged, one a line as
//! `name: content`; `download` heeds them. Linear in the page; one page is held at a time.

use url::Url;
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space};
use weft_core::limits::{LimitExceeded, Limits};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError};
use weft_core::table::def;
use weft_core::tables::{Candidates, Outlines, OutlinesRow, Pages, PagesRow};
use weft_core::tally::Tally;

use crate::formats::encoding;
use crate::formats::page::{self, ExtensionRule, PageImages};
pub use crate::references::{Config, Extension};
use crate::references::{Referrer, UrlRule, check_html, no_candidate, wishes};

/// The stage.
#[derive(Debug)]
pub struct Extract {
    rule: UrlRule,
}

impl Stage for Extract {
    const NAME: &'static str = "extract";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let pages = Flow { unit: Unit::Pages, reads: Some(def::<Pages>()), keeps: Some(def::<Outlines>()) };
        let references = Flow { unit: Unit::References, reads: None, keeps: Some(def::<Candidates>()) };
        let phase = Phase {
            name: "",
            space: Space::Crawl,
            reads: vec![def::<Pages>()],
            writes: vec![def::<Candidates>(), def::<Outlines>()],
            flows: vec![pages, references],
        };
        Spec { uses: Vec::new(), phases: vec![phase] }
    }

    fn open(config: Config, _resources: &Resources) -> Result<Self, StageError> {
        Ok(Self { rule: UrlRule::new(&config) })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let mut pages = context.rows::<Pages>()?;
        let mut candidates = context.writer::<Candidates>()?;
        let mut outlines = context.writer::<Outlines>()?;
        let mut accounts = context.accounts(Self::NAME)?;
        while let Some(row) = pages.next()? {
            accounts.read(Unit::Pages)?;
            accounts.bytes(u64::try_from(row.body.len()).expect("usize fits u64"));
            let page = match read_page(&row, &context.limits) {
                Ok(page) => page,
                Err((reason, evidence)) => {
                    reject_page(&mut accounts, &row, reason, evidence)?;
                    continue;
                }
            };
            let wishes = wishes(&page, row.robots_tag);
            let referrer =
                Referrer { document_id: row.document_id, timestamp: row.timestamp, wishes: wishes.as_deref() };
            let positions = page.positions(&row.sentences);
            let kept = self
                .rule
                .candidates(&page, &positions, referrer, &mut accounts, |candidate| Ok(candidates.push(candidate)?))?;
            if kept == 0 {
                let (reason, evidence) = no_candidate(&page);
                reject_page(&mut accounts, &row, reason, evidence)?;
                continue;
            }
            accounts.kept(Unit::Pages);
            outlines.push(&OutlinesRow {
                document_id: row.document_id,
                url: row.url,
                timestamp: row.timestamp,
                source_timestamp: row.source_timestamp,
                filename: row.filename,
                offset: row.offset,
                length: row.length,
                candidates: kept,
                sentences: row.sentences,
            })?;
        }
        context.commit(candidates.finish())?;
        context.commit(outlines.finish())?;
        accounts.finish()
    }
}

fn reject_page(
    accounts: &mut Accounts<'_>,
    row: &PagesRow<'_>,
    reason: Reason,
    evidence: String,
) -> Result<(), StageError> {
    let (unit, document_id) = (Unit::Pages, row.document_id);
    accounts.reject(&Reject { unit, document_id, image_url: None, reason, evidence })
}

/// The page's references, or why there are none to be had.
fn read_page(row: &PagesRow<'_>, limits: &Limits) -> Result<PageImages, (Reason, String)> {
    check_html(row.mime_detected, row.content_type, row.body)?;
    let url = Url::parse(row.url).map_err(|cause| (Reason::BadUrl, cause.to_string()))?;
    let html = encoding::decode(row.body, row.content_type);
    // The verdict on each URL is this stage's own, by its config.
    page::images(&html.text, &url, limits, ExtensionRule::WholeUrl)
        .map_err(|exceeded: LimitExceeded| (Reason::PageTooLarge, exceeded.to_string()))
}

#[cfg(test)]
mod tests;
