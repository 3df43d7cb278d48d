//! Decides which image references of a page are candidates; what `extract` and `ingest` of archives have in common.
//!
//! A reference is the `src` of an `img` element, as the crawl's own WAT files list them for MMC4; what scripts load
//! later (`srcset`, lazy attributes) is not among them. A candidate is a reference that MMC4's URL rule admits (paper,
//! section 3). Every other is rejected for the first of these reasons: no URL, not http(s), named before on the page,
//! extension, keyword.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;
use weft_core::context::Accounts;
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::StageError;
use weft_core::tables::CandidatesRow;

use crate::formats::page::{ImageReference, PageImages, Source};

/// Characters of a reference that are shown as evidence.
const EVIDENCE_CHARS: usize = 200;
/// Bytes that are looked at where nothing says what a page is (WHATWG MIME Sniffing, section 5.2).
const SNIFFED_BYTES: usize = 1_445;

/// Which references are candidates.
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

/// A page and what its candidates take from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    pub(crate) document_id: &'a str,
    /// 14 digits.
    pub(crate) timestamp: &'a str,
    /// See [`wishes`].
    pub(crate) wishes: Option<&'a str>,
}

/// The rule on URLs, its words in lower case.
#[derive(Debug)]
pub(crate) struct UrlRule {
    endings: Vec<String>,
    extension: Extension,
    keywords: Vec<String>,
}

impl UrlRule {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            endings: config.extensions.iter().map(|word| format!(".{}", word.to_ascii_lowercase())).collect(),
            extension: config.extension_rule,
            keywords: config.keywords.iter().map(|word| word.to_ascii_lowercase()).collect(),
        }
    }

    /// Counts every reference of `page` and hands those that are candidates to `push`; gives their number.
    ///
    /// `positions` is parallel to the page's references: the last sentence before each.
    pub(crate) fn candidates(
        &self,
        page: &PageImages,
        positions: &[Option<u32>],
        referrer: Referrer<'_>,
        accounts: &mut Accounts<'_>,
        mut push: impl FnMut(&CandidatesRow<'_>) -> Result<(), StageError>,
    ) -> Result<u32, StageError> {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut kept = 0;
        for (reference, follows_sentence) in page.references.iter().zip(positions) {
            if reference.source != Source::Src {
                continue;
            }
            accounts.read(Unit::References)?;
            let url = match self.judge(reference, &mut seen) {
                Ok(url) => url,
                Err((reason, evidence)) => {
                    let image_url = reference.url.as_ref().map(Url::as_str);
                    let (unit, document_id) = (Unit::References, referrer.document_id);
                    accounts.reject(&Reject { unit, document_id, image_url, reason, evidence })?;
                    continue;
                }
            };
            accounts.kept(Unit::References);
            push(&CandidatesRow {
                document_id: referrer.document_id,
                image_index: kept,
                image_url: url,
                page_timestamp: referrer.timestamp,
                alt: reference.alt.as_deref(),
                width_hint_px: reference.width.as_deref().and_then(pixels),
                height_hint_px: reference.height.as_deref().and_then(pixels),
                follows_sentence: *follows_sentence,
                page_wishes: referrer.wishes,
            })?;
            kept += 1;
        }
        Ok(kept)
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

/// Why a page that has no candidate has none, with its evidence.
pub(crate) fn no_candidate(page: &PageImages) -> (Reason, String) {
    let elements = page.references.iter().filter(|reference| reference.source == Source::Src).count();
    let reason = if elements == 0 { Reason::NoImage } else { Reason::NoCandidate };
    (reason, format!("{elements} references"))
}

/// Whether a page is HTML: by the crawler's look at it, else by its header, else by a look of ours.
pub(crate) fn check_html(
    mime_detected: Option<&str>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<(), (Reason, String)> {
    for stated in [mime_detected, content_type].into_iter().flatten() {
        let media_type = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "text/html" | "application/xhtml+xml" => return Ok(()),
            // These say nothing.
            "" | "-" | "unk" | "application/octet-stream" | "application/xml" | "text/xml" => {}
            other if other.contains('/') => return Err((Reason::NotHtml, other.to_owned())),
            _ => {}
        }
    }
    let beginning = body.get(..SNIFFED_BYTES).unwrap_or(body).to_ascii_lowercase();
    let tags: [&[u8]; 6] = [b"<!doctype html", b"<html", b"<head", b"<body", b"<title", b"<meta"];
    if tags.iter().any(|tag| beginning.windows(tag.len()).any(|window| window == *tag)) {
        return Ok(());
    }
    Err((Reason::NotHtml, "it does not begin as HTML does".to_owned()))
}

/// The page's wishes about machines, one a line as `name: content`; none where it has none.
pub(crate) fn wishes(page: &PageImages, robots_tag: Option<&str>) -> Option<String> {
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
