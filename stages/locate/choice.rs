//! Chooses the capture of a document among the index's lines of its urlkey.
//!
//! *Exact* is: the document's url byte for byte, its 14 digits, status 200. Where no line is that, the fall-backs that
//! the recipe names are tried in its order; each relaxes one condition and keeps the others:
//!
//! | name | what fits |
//! |---|---|
//! | `within_a_second` | the url, status 200, one second earlier or later |
//! | `same_urlkey` | another url of the urlkey (other scheme, `www.`, port or letter case), status 200, the same second |
//! | `revisit` | the exact line is a revisit record: the latest earlier line of the urlkey with status 200 and its digest |
//! | `same_digest` | the exact line has another status than 200: the url's line nearest in time with status 200 and its digest, the earlier one at a tie |
//!
//! Where several lines fit one condition, they are one capture if their payload digests are one: then the first by
//! file and offset is taken. With several digests, or none, the document is rejected as ambiguous, and no further
//! fall-back is tried. (`revisit` and `same_digest` ask for one digest, so that they are never ambiguous.) A document
//! that nothing fits has the strict reason: the one that comes furthest of no line of the urlkey, none of this url,
//! none at this time, a status that is not 200.

use serde::{Deserialize, Serialize};
use weft_core::reject::Reason;

use crate::evidence::clipped;
use crate::formats::cdx::CaptureLine;
use crate::formats::time::seconds_of;

/// Lines of the index that a reject quotes.
const QUOTED_CAPTURES: usize = 3;

/// What may stand in for an exact capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The same url one second off.
    WithinASecond,
    /// Another url of the urlkey in the same second.
    SameUrlkey,
    /// What a revisit record stands for.
    Revisit,
    /// The same payload at another time.
    SameDigest,
}

impl Fallback {
    /// As recipes, tables and tallies name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WithinASecond => "within_a_second",
            Self::SameUrlkey => "same_urlkey",
            Self::Revisit => "revisit",
            Self::SameDigest => "same_digest",
        }
    }
}

/// The capture to take.
#[derive(Debug)]
pub(super) struct Fitting<'l> {
    pub(super) capture: &'l CaptureLine,
    /// How many lines of the index fit.
    pub(super) lines: usize,
    /// None for an exact one.
    pub(super) fallback: Option<Fallback>,
}

/// Why there is none.
pub(super) type Miss = (Reason, String);

/// What a document asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'d> {
    pub(super) urlkey: &'d str,
    pub(super) url: &'d str,
    pub(super) timestamp: &'d str,
}

/// The capture among the lines of the urlkey that is the document's, or why there is none.
pub(super) fn choose<'l>(
    wanted: Wanted<'_>,
    lines: &'l [CaptureLine],
    fallbacks: &[Fallback],
) -> Result<Fitting<'l>, Miss> {
    let strict = match exact(wanted, lines) {
        Err(miss) if miss.0 != Reason::AmbiguousCapture => miss,
        decided => return decided,
    };
    for &fallback in fallbacks {
        let fitting = match fallback {
            Fallback::WithinASecond => one_of(within_a_second(wanted, lines), Some(fallback)),
            Fallback::SameUrlkey => one_of(same_urlkey(wanted, lines), Some(fallback)),
            Fallback::Revisit => Ok(revisit(wanted, lines).map(|capture| stand_in(capture, fallback))),
            Fallback::SameDigest => Ok(same_digest(wanted, lines).map(|capture| stand_in(capture, fallback))),
        };
        if let Some(fitting) = fitting? {
            return Ok(fitting);
        }
    }
    Err(strict)
}

fn stand_in(capture: &CaptureLine, fallback: Fallback) -> Fitting<'_> {
    Fitting { capture, lines: 1, fallback: Some(fallback) }
}

fn exact<'l>(wanted: Wanted<'_>, lines: &'l [CaptureLine]) -> Result<Fitting<'l>, Miss> {
    let Some(first) = lines.first() else {
        return Err((Reason::UrlNotInIndex, format!("no line of `{}`", clipped(wanted.urlkey))));
    };
    let of_url: Vec<&CaptureLine> = lines.iter().filter(|line| line.url == wanted.url).collect();
    if of_url.is_empty() {
        let evidence = format!("`{}` has {}", clipped(&first.urlkey), quoted(lines.iter().collect()));
        return Err((Reason::SameUrlkeyOtherUrl, evidence));
    }
    let at_time: Vec<&CaptureLine> = of_url.iter().copied().filter(|line| line.timestamp == wanted.timestamp).collect();
    // The reason of the first one, by file and offset: indexes list equal keys in no order of their own.
    let Some(first) = at_time.iter().min_by_key(|line| (&line.filename, line.offset)) else {
        let evidence = format!("not at {}, but {}", wanted.timestamp, quoted(of_url));
        return Err((Reason::TimestampNotInIndex, evidence));
    };
    let fitting = at_time.iter().copied().filter(|line| is_ok(line)).collect();
    // A line without a status is of a record that answers no request.
    let reason = first.status.map_or(Reason::NotAResponse, Reason::Status);
    one_of(fitting, None)?.ok_or_else(|| (reason, quoted(at_time)))
}

/// The one capture that all these lines are, none where there is no line.
fn one_of(mut fitting: Vec<&CaptureLine>, fallback: Option<Fallback>) -> Result<Option<Fitting<'_>>, Miss> {
    fitting.sort_by_key(|line| (&line.filename, line.offset));
    fitting.dedup_by_key(|line| (&line.filename, line.offset));
    let Some(&capture) = fitting.first() else { return Ok(None) };
    let digest = digest_of(capture);
    let is_one_payload = digest.is_some() && fitting.iter().all(|line| digest_of(line) == digest);
    if fitting.len() > 1 && !is_one_payload {
        let by = fallback.map(|fallback| format!("{}: ", fallback.name())).unwrap_or_default();
        return Err((Reason::AmbiguousCapture, format!("{by}{}", quoted(fitting))));
    }
    Ok(Some(Fitting { capture, lines: fitting.len(), fallback }))
}

fn within_a_second<'l>(wanted: Wanted<'_>, lines: &'l [CaptureLine]) -> Vec<&'l CaptureLine> {
    let Some(seconds) = seconds_of(wanted.timestamp) else { return Vec::new() };
    let is_near = |line: &CaptureLine| seconds_of(&line.timestamp).is_some_and(|at| at.abs_diff(seconds) == 1);
    lines.iter().filter(|line| line.url == wanted.url && is_ok(line) && is_near(line)).collect()
}

fn same_urlkey<'l>(wanted: Wanted<'_>, lines: &'l [CaptureLine]) -> Vec<&'l CaptureLine> {
    let is_it = |line: &&CaptureLine| line.url != wanted.url && line.timestamp == wanted.timestamp && is_ok(line);
    lines.iter().filter(is_it).collect()
}

fn revisit<'l>(wanted: Wanted<'_>, lines: &'l [CaptureLine]) -> Option<&'l CaptureLine> {
    let digest = lines.iter().filter(|line| is_exact(wanted, line) && is_revisit(line)).find_map(digest_of)?;
    let is_original =
        |line: &&CaptureLine| is_ok(line) && digest_of(line) == Some(digest) && *line.timestamp <= *wanted.timestamp;
    // The latest; in one second the first by file and offset.
    lines.iter().filter(is_original).min_by(|left, right| {
        let by_place = (&left.filename, left.offset).cmp(&(&right.filename, right.offset));
        right.timestamp.cmp(&left.timestamp).then(by_place)
    })
}

fn same_digest<'l>(wanted: Wanted<'_>, lines: &'l [CaptureLine]) -> Option<&'l CaptureLine> {
    let digest = lines.iter().filter(|line| is_exact(wanted, line)).find_map(digest_of)?;
    let seconds = seconds_of(wanted.timestamp)?;
    let fitting = lines.iter().filter(|line| line.url == wanted.url && is_ok(line) && digest_of(line) == Some(digest));
    fitting.min_by_key(|line| {
        let away = seconds_of(&line.timestamp).map_or(u64::MAX, |at| at.abs_diff(seconds));
        (away, &line.timestamp, &line.filename, line.offset)
    })
}

/// Whether the line is of the document's url and time, whatever its status.
fn is_exact(wanted: Wanted<'_>, line: &CaptureLine) -> bool {
    line.url == wanted.url && line.timestamp == wanted.timestamp
}

/// Whether the line is of a record with a page in it. Some tools give a revisit the status of what it stands for.
fn is_ok(line: &CaptureLine) -> bool {
    line.status == Some(200) && !is_revisit(line)
}

fn is_revisit(line: &CaptureLine) -> bool {
    line.mime.as_deref() == Some("warc/revisit")
}

/// The payload's digest; indexes write a dash where they have none.
pub(super) fn digest_of(line: &CaptureLine) -> Option<&str> {
    line.digest.as_deref().filter(|digest| !digest.is_empty() && *digest != "-")
}

/// The first few lines, by time, as a person would look them up, and how many there are.
fn quoted(mut lines: Vec<&CaptureLine>) -> String {
    lines.sort_by_key(|line| (&line.timestamp, &line.url, &line.filename, line.offset));
    let count = lines.len();
    let quoted = lines.into_iter().take(QUOTED_CAPTURES).map(|line| {
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

#[cfg(test)]
mod tests;
