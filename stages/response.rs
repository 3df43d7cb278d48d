//! Takes the page out of a response record; what `fetch` and `ingest` of archives have in common.

use sha1::{Digest, Sha1};
use weft_core::limits::{LimitExceeded, Limits};
use weft_core::reject::Reason;

use crate::evidence::clipped;
use crate::formats::http::{HttpMessage, HttpProblem};
use crate::formats::warc::{Problem, Record, RecordKind};

/// Why a record gives no page.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) evidence: String,
}

/// What a record holds.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) content_type: Option<String>,
    pub(crate) robots_tag: Option<String>,
    /// Whether the crawler cut the payload short.
    pub(crate) truncated: bool,
    /// Whether a digest of the payload was known and of a known kind.
    pub(crate) digest_was_checked: bool,
    /// After transfer and content decoding.
    pub(crate) body: Vec<u8>,
}

/// The page that `record` holds: a response with status 200 whose payload has the digests that the record and, where
/// there is one, the index state.
pub(crate) fn page_of(record: &Record, index_digest: Option<&str>, limits: &Limits) -> Result<Page, Refusal> {
    let http = record.http(limits).map_err(|exceeded| too_large(&exceeded))?;
    let Some(http) = http.filter(|_| record.kind == RecordKind::Response) else {
        let evidence = format!("a {} record that is no http response", clipped(record.kind.as_str()));
        return refuse(Reason::NotAResponse, evidence);
    };
    if let Some(status) = http.status.filter(|&status| status != 200) {
        return refuse(Reason::Status(status), clipped(&http.start_line));
    }
    let payload = http.payload(limits).map_err(|exceeded| too_large(&exceeded))?;
    let digest_was_checked = check_digests(index_digest, record, http.body, &payload.bytes)?;
    let truncated = record.field("WARC-Truncated").is_some();
    // Where the crawler cut the payload, a coding without its end is no further damage.
    if let Some(problem) = payload.problems.iter().find(|problem| is_damage(problem) && !truncated) {
        return refuse(Reason::BodyDamaged, clipped(&problem.to_string()));
    }
    let body_bytes = u64::try_from(payload.bytes.len()).expect("usize fits u64");
    if body_bytes > limits.page_bytes {
        return Err(too_large(&LimitExceeded { what: "page_bytes", limit: limits.page_bytes }));
    }
    Ok(Page {
        content_type: http.header("Content-Type").map(str::to_owned),
        robots_tag: robots_tag_of(&http),
        truncated,
        digest_was_checked,
        body: payload.bytes.into_owned(),
    })
}

pub(crate) fn refuse<T>(reason: Reason, evidence: String) -> Result<T, Refusal> {
    Err(Refusal { reason, evidence })
}

pub(crate) fn too_large(exceeded: &LimitExceeded) -> Refusal {
    Refusal { reason: Reason::PageTooLarge, evidence: exceeded.to_string() }
}

/// Checks the payload against the record's digests and the index's; tells whether any could be checked.
///
/// Crawlers do not agree whether the payload is the body as transferred or as decoded: either will do.
fn check_digests(index_digest: Option<&str>, record: &Record, body: &[u8], decoded: &[u8]) -> Result<bool, Refusal> {
    let is_payload = |sha1: &str| sha1 == sha1_of(body) || sha1 == sha1_of(decoded);
    let check = record.check_digests();
    let mut was_checked = check.ok == Some(true);
    for problem in &check.problems {
        let Problem::WrongDigest { of, stated } = problem else { continue };
        if *of == "payload" && sha1_in(stated).is_some_and(is_payload) {
            was_checked = true;
            continue;
        }
        return refuse(Reason::DigestMismatch, format!("the record's {of} digest is {}", clipped(stated)));
    }
    let Some(index_digest) = index_digest.and_then(sha1_in) else {
        return Ok(was_checked);
    };
    // Where the record's own digest is the index's, and right, the payload is not hashed once more.
    let stated = record.field("WARC-Payload-Digest").and_then(sha1_in);
    let is_judged = was_checked && record.field("WARC-Segment-Number").is_none();
    if (is_judged && stated == Some(index_digest)) || is_payload(index_digest) {
        return Ok(true);
    }
    let evidence = format!("the index's digest is {index_digest}, the payload's {}", sha1_of(body));
    refuse(Reason::DigestMismatch, evidence)
}

/// The value of a sha1 digest in base 32, with or without the algorithm's name; none for any other.
fn sha1_in(digest: &str) -> Option<&str> {
    let value = match digest.split_once(':') {
        Some((algorithm, value)) if algorithm.eq_ignore_ascii_case("sha1") => value,
        Some(_) => return None,
        None => digest,
    };
    let is_base32 = value.len() == 32 && value.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    is_base32.then_some(value)
}

/// In base 32 (RFC 4648, section 6): 20 bytes are 32 digits, without padding.
pub(crate) fn sha1_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(32);
    for group in Sha1::digest(bytes).chunks(5) {
        let bits = group.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        for digit in (0..8).rev() {
            let value = usize::try_from(bits >> (5 * digit) & 31).expect("five bits fit usize");
            text.push(char::from(DIGITS[value]));
        }
    }
    text
}

/// Whether part of the body is missing or wrong; what is left as it was sent is not.
fn is_damage(problem: &HttpProblem) -> bool {
    matches!(problem, HttpProblem::BadChunk { .. } | HttpProblem::ChunksCutOff | HttpProblem::DamagedCoding { .. })
}

/// All X-Robots-Tag headers: a site may state several.
fn robots_tag_of(http: &HttpMessage<'_>) -> Option<String> {
    let tags: Vec<&str> = http
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("X-Robots-Tag"))
        .map(|(_, value)| value.as_str())
        .collect();
    (!tags.is_empty()).then(|| tags.join(", "))
}
