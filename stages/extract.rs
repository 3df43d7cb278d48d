//! Lists the image references of each page and keeps those that MMC4's URL rule admits (paper, section 3).
//!
//! Reads `pages`; writes `candidates`, one row per distinct URL in DOM order, and `outlines`, one row per page that
//! has one. A reference is the `src` of an `img` element, as the crawl's own WAT files list them for MMC4; what
//! scripts load later (`srcset`, lazy attributes) is not among them. A page without HTML, without a reference or
//! without a candidate is rejected; so is every reference that is no candidate, for the first of these reasons: no
//! URL, not http(s), named before on the page, extension, keyword.
//!
//! The page's wishes about machines (robots `meta` elements, X-Robots-Tag) come along unjudged, one a line as
//! `name: content`; `download` heeds them. Linear in the page; one page is held at a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space};
use weft_core::limits::{LimitExceeded, Limits};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError};
use weft_core::table::def;
use weft_core::tables::{Candidates, CandidatesRow, Outlines, OutlinesRow, Pages, PagesRow};
use weft_core::tally::Tally;
use weft_core::write::TableWriter;

use crate::formats::encoding;
use crate::formats::page::{self, ExtensionRule, ImageReference, PageImages, Source};

/// Characters of a reference that are shown as evidence.
const EVIDENCE_CHARS: usize = 200;
/// Bytes that are looked at where nothing says what a page is (WHATWG MIME Sniffing, section 5.2).
const SNIFFED_BYTES: usize = 1_445;

/// The section `extract` of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File name extensions that are admitted, without the dot, in any case.
    pub extensions: Vec<String>,
    /// Where the extension is looked for.
    pub extension_rule: Extension,
    /// Words that exclude a URL wherever they stand in it, in any case.
    pub keywords: Vec<String>,
}

/// Where the extension is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// At the end of the whole URL, which mostly means that it has no query: MMC4's rule.
    WholeUrl,
    /// At the end of the path; a query may follow.
    Path,
}

impl Default for Config {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            extensions: owned(&["jpg", "jpeg", "png"]),
            extension_rule: Extension::WholeUrl,
            keywords: owned(&["logo", "button", "icon", "plugin", "widget"]),
        }
    }
}

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
            let kept = self.write_candidates(&row, &page, &mut candidates, &mut accounts)?;
            if kept == 0 {
                let elements = page.references.iter().filter(|reference| reference.source == Source::Src).count();
                let reason = if elements == 0 { Reason::NoImage } else { Reason::NoCandidate };
                reject_page(&mut accounts, &row, reason, format!("{elements} references"))?;
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

impl Extract {
    /// Counts every reference of the page and writes those that are candidates; gives their number.
    fn write_candidates(
        &self,
        row: &PagesRow<'_>,
        page: &PageImages,
        candidates: &mut TableWriter<Candidates>,
        accounts: &mut Accounts<'_>,
    ) -> Result<u32, StageError> {
        let wishes = wishes(page, row.robots_tag);
        let positions = page.positions(&row.sentences);
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut kept = 0;
        for (reference, follows_sentence) in page.references.iter().zip(positions) {
            if reference.source != Source::Src {
                continue;
            }
            accounts.read(Unit::References)?;
            let url = match self.rule.judge(reference, &mut seen) {
                Ok(url) => url,
                Err((reason, evidence)) => {
                    let image_url = reference.url.as_ref().map(Url::as_str);
                    let (unit, document_id) = (Unit::References, row.document_id);
                    accounts.reject(&Reject { unit, document_id, image_url, reason, evidence })?;
                    continue;
                }
            };
            accounts.kept(Unit::References);
            candidates.push(&CandidatesRow {
                document_id: row.document_id,
                image_index: kept,
                image_url: url,
                page_timestamp: row.timestamp,
                alt: reference.alt.as_deref(),
                width_hint_px: reference.width.as_deref().and_then(pixels),
                height_hint_px: reference.height.as_deref().and_then(pixels),
                follows_sentence,
                page_wishes: wishes.as_deref(),
            })?;
            kept += 1;
        }
        Ok(kept)
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
    check_html(row)?;
    let url = Url::parse(row.url).map_err(|cause| (Reason::BadUrl, cause.to_string()))?;
    let html = encoding::decode(row.body, row.content_type);
    // The verdict on each URL is this stage's own, by its config.
    page::images(&html.text, &url, limits, ExtensionRule::WholeUrl)
        .map_err(|exceeded: LimitExceeded| (Reason::PageTooLarge, exceeded.to_string()))
}

/// Whether the page is HTML: by the crawler's look at it, else by its header, else by a look of ours.
fn check_html(row: &PagesRow<'_>) -> Result<(), (Reason, String)> {
    for stated in [row.mime_detected, row.content_type].into_iter().flatten() {
        let media_type = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "text/html" | "application/xhtml+xml" => return Ok(()),
            // These say nothing.
            "" | "-" | "unk" | "application/octet-stream" | "application/xml" | "text/xml" => {}
            other if other.contains('/') => return Err((Reason::NotHtml, other.to_owned())),
            _ => {}
        }
    }
    let beginning = row.body.get(..SNIFFED_BYTES).unwrap_or(row.body).to_ascii_lowercase();
    let tags: [&[u8]; 6] = [b"<!doctype html", b"<html", b"<head", b"<body", b"<title", b"<meta"];
    if tags.iter().any(|tag| beginning.windows(tag.len()).any(|window| window == *tag)) {
        return Ok(());
    }
    Err((Reason::NotHtml, "it does not begin as HTML does".to_owned()))
}

/// The page's wishes, one a line; none where it has none.
fn wishes(page: &PageImages, robots_tag: Option<&str>) -> Option<String> {
    let of_page = page.opt_outs.iter().map(|wish| (wish.name.as_str(), wish.content.as_str()));
    let lines: Vec<String> = of_page
        .chain(robots_tag.map(|value| ("x-robots-tag", value)))
        .map(|(name, content)| format!("{}: {}", one_line(name), one_line(content)))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A length in an attribute: the digits that it begins with (HTML, section 2.3.4.4); shares of something are none.
fn pixels(attribute: &str) -> Option<u32> {
    let attribute = attribute.trim_start().trim_start_matches('+');
    let end = attribute.find(|c: char| !c.is_ascii_digit()).unwrap_or(attribute.len());
    let (digits, after) = attribute.split_at(end);
    if after.starts_with('%') { None } else { digits.parse().ok() }
}

/// The rule on URLs, its words in lower case.
#[derive(Debug)]
struct UrlRule {
    endings: Vec<String>,
    extension: Extension,
    keywords: Vec<String>,
}

impl UrlRule {
    fn new(config: &Config) -> Self {
        Self {
            endings: config.extensions.iter().map(|word| format!(".{}", word.to_ascii_lowercase())).collect(),
            extension: config.extension_rule,
            keywords: config.keywords.iter().map(|word| word.to_ascii_lowercase()).collect(),
        }
    }

    /// The reference's URL, or why it is no candidate.
    fn judge<'r>(
        &self,
        reference: &'r ImageReference,
        seen: &mut BTreeSet<&'r str>,
    ) -> Result<&'r str, (Reason, String)> {
        let shown = || reference.raw.chars().take(EVIDENCE_CHARS).collect::<String>();
        let Some(url) = &reference.url else {
            let is_data = reference.raw.trim_start().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
            return Err((if is_data { Reason::Scheme } else { Reason::NotAUrl }, shown()));
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err((Reason::Scheme, shown()));
        }
        if !seen.insert(url.as_str()) {
            return Err((Reason::RepeatedUrl, format!("img element {}", reference.element_index)));
        }
        let whole = url.as_str().to_ascii_lowercase();
        let judged = match self.extension {
            Extension::WholeUrl => whole.clone(),
            Extension::Path => url.path().to_ascii_lowercase(),
        };
        if !self.endings.iter().any(|ending| judged.ends_with(ending)) {
            return Err((Reason::Extension, shown()));
        }
        if let Some(keyword) = self.keywords.iter().find(|keyword| whole.contains(keyword.as_str())) {
            return Err((Reason::Keyword, keyword.clone()));
        }
        Ok(url.as_str())
    }
}

#[cfg(test)]
mod tests;
