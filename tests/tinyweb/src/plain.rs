//! Makes a larger web without pictures: many pages, few of which are documents, as C4's are of its crawl.

use std::collections::BTreeMap;

use crate::archive::{Archive, Capture, Second};
use crate::broken::gzip;
use crate::prose::FILLERS;
use crate::rng::Rng;
use crate::web::{DocumentLine, Served, headers};

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainShape {
    pub seed: u64,
    /// Pages, each captured once, by sites in turn.
    pub pages: u32,
    /// Sites; every third has no document, as sites of another language have none.
    pub hosts: u32,
    /// WARC files.
    pub warcs: u32,
    /// Of the pages of the other sites, one in so many is a document.
    pub document_of_pages: u32,
    /// Files that the documents are dealt out to at random.
    pub document_files: u32,
}

/// The files of a plain web by path: `crawl/…`, `docs/plain.N.json.gz`.
#[must_use]
pub fn make_plain(shape: &PlainShape) -> BTreeMap<String, Vec<u8>> {
    let mut rng = Rng::new(shape.seed);
    let mut archive = Archive::new(shape.warcs, rng.fork());
    let files = usize::try_from(shape.document_files.max(1)).expect("u32 fits usize");
    let mut documents: Vec<Vec<u8>> = vec![Vec::new(); files];
    for number in 0..shape.pages {
        let host = number % shape.hosts.max(1);
        let url = format!("http://site{host}.example/{:08x}/page-{number}.html", rng.bits() >> 32);
        let at = Second::new(number);
        let count = rng.between(3, 60);
        let sentences: Vec<&str> = (0..count).map(|_| *rng.pick(&FILLERS)).collect();
        let paragraphs: String = sentences.iter().map(|sentence| format!("<p>{sentence}</p>\n")).collect();
        let title = format!("{:016x}", rng.bits());
        let body = format!("<html><head><title>{title}</title></head><body>\n{paragraphs}</body></html>\n");
        archive.add(&Capture::new(url.clone(), at, Served::new(200, headers(at, "text/html"), body.into_bytes())));
        if !host.is_multiple_of(3) && rng.below(shape.document_of_pages.max(1)) == 0 {
            let (text, timestamp) = (sentences.join("\n"), at.iso());
            let line = DocumentLine { text: &text, timestamp: &timestamp, url: &url };
            let mut line = serde_json::to_vec(&line).expect("three strings are always JSON");
            line.push(b'\n');
            let file = rng.below(shape.document_files.max(1));
            documents[usize::try_from(file).expect("u32 fits usize")].extend(line);
        }
    }
    let archived = archive.finish().into_iter().map(|(path, bytes)| (format!("crawl/{path}"), bytes));
    let documents = documents.iter().zip(0..);
    let documents = documents.map(|(lines, number)| (format!("docs/plain.{number}.json.gz"), gzip(lines)));
    archived.chain(documents).collect()
}
