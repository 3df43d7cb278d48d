//! Chooses the documents and says what should become of each.
//!
//! Document `k` of `d` is about one line of the `k`th of `d` equal parts of the index, drawn by the seed. Most
//! documents are that line's capture; the others miss on purpose. What becomes of a document follows from its key's
//! captures by the rule that `locate` documents, worked out here anew ([`outcome_of`]).

use anyhow::ensure;
use weft_core::id::document_id;
use weft_stages::formats::surt::urlkey;

use crate::captures::{Capture, Second};
use crate::sites::{Host, Page, drawn};
use crate::truth::{Fate, Outcome, REPEATED};

/// A document without its text.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) url: String,
    pub(crate) at: Second,
    pub(crate) fate: Fate,
}

/// Draws documents as the index is written.
#[derive(Debug)]
pub(crate) struct Planter {
    seed: u64,
    lines: u64,
    documents: u64,
    /// Documents drawn so far.
    drawn: u64,
    /// The line that the next one is about.
    next_line: u64,
    last: Option<Document>,
}

impl Planter {
    /// For `documents` documents over an index of `lines` lines.
    pub(crate) fn new(seed: u64, lines: u64, documents: u64) -> Self {
        let mut planter = Self { seed, lines, documents, drawn: 0, next_line: 0, last: None };
        planter.next_line = planter.line_of(0);
        planter
    }

    /// The documents about the captures of one page, whose first line is the `first_line`th. `spans` says that the
    /// lines lie in more than one block.
    pub(crate) fn documents(
        &mut self,
        host: &Host,
        page: &Page,
        captures: &[(Capture, Vec<u8>)],
        first_line: u64,
        spans: bool,
    ) -> anyhow::Result<Vec<Document>> {
        let mut documents: Vec<Document> = Vec::new();
        for ((capture, _), line) in captures.iter().zip(first_line..) {
            if self.drawn == self.documents || line != self.next_line {
                continue;
            }
            let number = self.drawn;
            let document = self.document(number, host, page, captures, capture, &documents, spans)?;
            self.last = Some(document.clone());
            documents.push(document);
            self.drawn += 1;
            self.next_line = self.line_of(self.drawn);
        }
        Ok(documents)
    }

    fn line_of(&self, number: u64) -> u64 {
        let border = |number: u64| u128::from(number) * u128::from(self.lines) / u128::from(self.documents.max(1));
        let (low, high) = (border(number), border(number + 1));
        let within = u128::from(drawn(self.seed, 4, number).bits()) % (high - low).max(1);
        u64::try_from(low + within).unwrap_or(u64::MAX)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a document is about")]
    fn document(
        &self,
        number: u64,
        host: &Host,
        page: &Page,
        captures: &[(Capture, Vec<u8>)],
        capture: &Capture,
        planted: &[Document],
        spans: bool,
    ) -> anyhow::Result<Document> {
        let mut rng = drawn(self.seed, 5, number);
        let faithful = if spans {
            "spanning"
        } else if captures.len() > 1 {
            "several"
        } else {
            "single"
        };
        let (case, url, at) = match rng.below(1_000) {
            _ if self.documents >= 8 && number < 2 => ("before_first", before_first(number), capture.at),
            _ if self.documents >= 8 && number + 2 >= self.documents => ("after_last", after_last(number), capture.at),
            0..120 => ("absent", absent(host, page, capture), capture.at),
            120..170 => ("other_time", capture.url.clone(), other_time(captures, capture, rng.below(6))),
            170..210 => match other_url(host, page, captures) {
                Some(url) => ("other_url", url, capture.at),
                None => (faithful, capture.url.clone(), capture.at),
            },
            210..215 => match &self.last {
                Some(last) => ("repeated", last.url.clone(), last.at),
                None => (faithful, capture.url.clone(), capture.at),
            },
            _ => (faithful, capture.url.clone(), capture.at),
        };
        let repeats = |document: &Document| document.url == url && document.at == at;
        let outcome = if planted.iter().any(repeats) || self.last.as_ref().is_some_and(repeats) {
            Outcome::Missed(REPEATED.to_owned())
        } else if ["absent", "before_first", "after_last"].contains(&case) {
            Outcome::Missed("url_not_in_index".to_owned())
        } else {
            outcome_of(&url, at, captures)
        };
        let expected = match case {
            "other_time" => Some("timestamp_not_in_index"),
            "other_url" => Some("same_urlkey_other_url"),
            "repeated" => Some(REPEATED),
            _ => None,
        };
        ensure!(
            expected.is_none_or(|expected| [expected, REPEATED].contains(&outcome.name())),
            "document {number} is planted as {case}, but {outcome:?}"
        );
        let key = urlkey(&url);
        let is_of_page = key.as_deref() == Some(&*page.urlkey);
        let leaves_page = ["absent", "before_first", "after_last", "repeated"].contains(&case);
        ensure!(is_of_page != leaves_page || case == "repeated", "the key of {url} is {key:?}, not {}", page.urlkey);
        let fate = Fate { document_id: document_id(&url, &at.digits()), case: case.to_owned(), outcome };
        Ok(Document { url, at, fate })
    }
}

/// The rule: same url and second; of those the one with status 200, if its payload is one only.
fn outcome_of(url: &str, at: Second, captures: &[(Capture, Vec<u8>)]) -> Outcome {
    let missed = |reason: &str| Outcome::Missed(reason.to_owned());
    let captures = || captures.iter().map(|(capture, _)| capture);
    if captures().all(|capture| capture.url != url) {
        return missed("same_urlkey_other_url");
    }
    let at_time: Vec<&Capture> = captures().filter(|capture| capture.url == url && capture.at == at).collect();
    let Some(first) = at_time.first() else { return missed("timestamp_not_in_index") };
    let answers = || at_time.iter().filter(|capture| capture.status == 200);
    let Some(capture) = answers().min_by_key(|capture| (capture.filename(), capture.offset)) else {
        return Outcome::Missed(format!("status_{}", first.status));
    };
    if answers().any(|other| other.digest != capture.digest) {
        return missed("ambiguous_capture");
    }
    Outcome::Located { filename: capture.filename(), offset: capture.offset, length: capture.length }
}

/// A page that no crawl saw, right behind `page` in the order of keys.
fn absent(host: &Host, page: &Page, capture: &Capture) -> String {
    let path = page.path.split('?').next().unwrap_or_default().trim_end_matches('/');
    host.url(&format!("{path}/absent-{}", capture.at.digits()), host.is_https, host.is_www)
}

/// A second at which the capture's url was not captured: near it, or not.
fn other_time(captures: &[(Capture, Vec<u8>)], capture: &Capture, choice: u32) -> Second {
    const DAYS: u32 = 12 * 86_400;
    let step = match choice {
        0 => 1,
        1 => DAYS - 1,
        2 => 86_400,
        3 => DAYS - 86_400,
        _ => 12_345,
    };
    let mut at = capture.at.later(step);
    while captures.iter().any(|(other, _)| other.url == capture.url && other.at == at) {
        at = at.later(step);
    }
    at
}

/// Another URL of the same key that was not captured.
fn other_url(host: &Host, page: &Page, captures: &[(Capture, Vec<u8>)]) -> Option<String> {
    let choices = [(!host.is_https, host.is_www), (host.is_https, !host.is_www), (!host.is_https, !host.is_www)];
    let mut urls = choices.into_iter().map(|(is_https, is_www)| host.url(&page.path, is_https, is_www));
    urls.find(|url| captures.iter().all(|(capture, _)| capture.url != *url))
}

fn before_first(number: u64) -> String {
    format!("http://aa{number}.aa.example/before")
}

fn after_last(number: u64) -> String {
    format!("http://zz{number}.zz.test/behind")
}
