//! Finds one stored record, and takes the page out of it after checking that it is the capture's.

use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::tables::CapturesRow;

use crate::evidence::clipped;
use crate::formats::inflate::InflateError;
use crate::formats::outside::with_causes;
use crate::formats::warc::{Problem, Record, WarcError, WarcReader};
use crate::response::{self, Page, Refusal, refuse, too_large};

/// The page in `stored`, the bytes that the index names.
pub(super) fn page_of(capture: &CapturesRow<'_>, stored: &[u8], limits: &Limits) -> Result<Page, Refusal> {
    let record = record_of(stored, limits)?;
    check_target(capture, &record)?;
    response::page_of(&record, capture.digest, limits)
}

/// The record at the start of `stored`, whole.
fn record_of(stored: &[u8], limits: &Limits) -> Result<Record, Refusal> {
    let mut reader = WarcReader::open(stored, limits.clone()).map_err(|cause| unreadable(&cause))?;
    let record = match reader.next() {
        None => return refuse(Reason::RecordDamaged, "no record begins there".to_owned()),
        Some(Err(cause)) => return Err(unreadable(&cause)),
        Some(Ok(record)) => record,
    };
    let damage = record.problems.iter().find(|problem| {
        matches!(problem, Problem::Damaged { .. } | Problem::BlockCutOff { .. } | Problem::BadLength { .. })
    });
    match damage {
        None => Ok(record),
        // What broke the member comes after the record that it broke.
        Some(problem) => match reader.next() {
            Some(Err(cause)) => Err(unreadable(&cause)),
            _ => refuse(Reason::RecordDamaged, clipped(&problem.to_string())),
        },
    }
}

/// A reader's words without its offsets, which count from the slice's start.
fn unreadable(cause: &WarcError) -> Refusal {
    let words = match cause {
        WarcError::TooLarge { source, .. } | WarcError::Inflate { source: InflateError::Limit(source), .. } => {
            return too_large(source);
        }
        WarcError::NotARecord { .. } | WarcError::Inflate { source: InflateError::NotGzip { .. }, .. } => {
            "no record begins there".to_owned()
        }
        WarcError::CutOff { .. } | WarcError::Inflate { source: InflateError::CutOff { .. }, .. } => {
            "the record does not end within its bytes".to_owned()
        }
        WarcError::Inflate { source: InflateError::Damaged { cause, .. }, .. } => {
            format!("it does not inflate: {cause}")
        }
        WarcError::Inflate { source, .. } => with_causes(source),
    };
    Refusal { reason: Reason::RecordDamaged, evidence: clipped(&words) }
}

/// The record's target is the document's url; crawlers of old put it in angle brackets.
fn check_target(capture: &CapturesRow<'_>, record: &Record) -> Result<(), Refusal> {
    let stated = record.field("WARC-Target-URI").unwrap_or_default();
    let bare = stated.strip_prefix('<').and_then(|uri| uri.strip_suffix('>')).unwrap_or(stated);
    // The reader escapes spaces, as some indexes do.
    let wanted = capture.capture_url.unwrap_or(capture.url);
    if bare == wanted || record.uri().as_deref() == Some(wanted) {
        return Ok(());
    }
    refuse(Reason::RecordOfOtherUrl, format!("it is of `{}`, not of `{}`", clipped(stated), clipped(wanted)))
}
