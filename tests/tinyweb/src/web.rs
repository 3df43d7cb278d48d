//! Makes the whole web: its sites, its pages, the archive of both, and the document files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::archive::{Archive, Capture, Second};
use crate::broken::{gzip, png};
use crate::page::{Page, Site, compose};
use crate::picture::draw_header;
use crate::rng::Rng;
use crate::truth::{BadLine, DocumentTruth, Kind, Locate, PageTruth, Trick, Truth};

/// The crawl's name, as it stands in the paths.
pub const CRAWL: &str = "WEFT-TINY-2019-18";

/// Pages after which the tricks begin again; what is not a trick is plain.
const ROUND: u32 = 64;
/// A line that is no document for each document file, and what is wrong with it.
const BAD_LINES: [(&str, &[u8]); 2] = [
    ("no JSON", b"{\"text\": \"This line was cut off in the mid"),
    (
        "invalid UTF-8",
        b"{\"text\":\"The middle of this line is \xFF\xFE no text.\",\
          \"timestamp\":\"2019-04-18T00:00:00Z\",\"url\":\"http://rivers.example/notes/bytes.html\"}",
    ),
];

/// The first sites; further ones are `http://site8.example` and so on.
///
/// A plain name, https, an IP address (of those kept for documentation, RFC 5737), a subdomain, a port.
const ROOTS: [&str; 8] = [
    "http://www.harbor-notes.example",
    "https://garden.example",
    "http://192.0.2.7",
    "https://www.paper-kites.example",
    "http://maps.old-town.example",
    "http://meadow.example:8080",
    "https://lantern.example",
    "http://rivers.example",
];

/// What to make. The default is the web that the embedded recipe reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub seed: u64,
    /// Articles; 37 of each 64 hold a trick each, in a fixed order, so that 37 or more have them all.
    pub pages: u32,
    /// Sites. The first two have two thirds of the pages, and a picture at the head of each.
    pub hosts: u32,
    /// WARC files.
    pub warcs: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { seed: 2019, pages: 64, hosts: 8, warcs: 3 }
    }
}

/// A made web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Contents by path below the output folder: `crawl/…`, `docs/…`, `truth.json`.
    pub files: BTreeMap<String, Vec<u8>>,
    pub truth: Truth,
    served: BTreeMap<String, Served>,
}

/// What a site answers to a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// As it goes over the wire: content and transfer codings applied.
    pub body: Vec<u8>,
}

impl Served {
    /// Adds a `Content-Length`, unless the body is chunked.
    pub(crate) fn new(status: u16, mut headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        if !headers.iter().any(|(name, _)| name == "Transfer-Encoding") {
            headers.push(("Content-Length".to_owned(), body.len().to_string()));
        }
        Self { status, headers, body }
    }

    /// The value of the header called exactly `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The head of an answer given at `at`.
pub(crate) fn headers(at: Second, content_type: &str) -> Vec<(String, String)> {
    vec![("Date".to_owned(), at.http()), ("Content-Type".to_owned(), content_type.to_owned())]
}

/// A 301 to `target`.
pub(crate) fn moved(at: Second, target: &str) -> Served {
    let mut headers = headers(at, "text/html");
    headers.push(("Location".to_owned(), target.to_owned()));
    Served::new(301, headers, b"<html><body>It has moved.</body></html>".to_vec())
}

/// A web could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write `{}`", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// One line of a document file, as C4 has them.
#[derive(Serialize)]
pub(crate) struct DocumentLine<'a> {
    pub(crate) text: &'a str,
    pub(crate) timestamp: &'a str,
    pub(crate) url: &'a str,
}

/// Makes the web of `shape`. Memory: each body twice, plain and archived.
#[must_use]
pub fn make(shape: &Shape) -> Web {
    let mut rng = Rng::new(shape.seed);
    let mut archive = Archive::new(shape.warcs, rng.fork());
    let mut served = BTreeMap::new();
    let mut answer = |capture: Capture| {
        archive.add(&capture);
        served.insert(capture.url, capture.served);
    };
    let sites: Vec<Site> =
        (0..shape.hosts.max(1)).map(|number| furnish(number, &mut rng.fork(), &mut answer)).collect();

    let mut lines = Vec::new();
    for index in 0..shape.pages {
        let round = usize::try_from(index % ROUND).expect("below 64");
        let trick = Trick::ALL.get(round).copied().unwrap_or(Trick::Plain);
        let page = compose(index, &sites[site_of(index, sites.len())], trick, rng.fork());
        let Page { url, at, sentences, text, images, captures } = page;
        captures.into_iter().for_each(&mut answer);
        let page = trick.page();
        let images = if page == Some(PageTruth::Read) { images } else { Vec::new() };
        let timestamp = at.iso();
        let line = serde_json::to_string(&DocumentLine { text: &text, timestamp: &timestamp, url: &url })
            .expect("three strings are always JSON");
        let locate = trick.locate();
        let document = DocumentTruth { file: 0, line: 0, url, timestamp, trick, locate, page, sentences, images };
        if trick == Trick::TwiceListed {
            lines.push((line.clone(), document.clone()));
        }
        lines.push((line, document));
    }
    rng.shuffle(&mut lines);

    let (documents, truth) = file_documents(lines, &mut rng);
    let mut files: BTreeMap<String, Vec<u8>> =
        archive.finish().into_iter().map(|(path, bytes)| (format!("crawl/{path}"), bytes)).collect();
    files.extend(documents);
    let mut json = serde_json::to_vec_pretty(&truth).expect("the truth has string keys only");
    json.push(b'\n');
    files.insert("truth.json".to_owned(), json);
    Web { files, truth, served }
}

/// What the web's sites answer, by absolute URL; a loopback server can give these.
///
/// It holds what the crawl missed too. Where a URL was captured several times, its latest answer.
#[must_use]
pub fn pages_served(web: &Web) -> &BTreeMap<String, Served> {
    &web.served
}

/// Writes the files of `web` below `folder`; files of other names stay.
///
/// # Errors
/// Names the first path that cannot be written.
#[expect(clippy::disallowed_methods, reason = "a generator of fixtures; no stage and no store is involved")]
pub fn write(web: &Web, folder: &Path) -> Result<(), WriteError> {
    for (path, bytes) in &web.files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, bytes));
        if let Err(source) = written {
            return Err(WriteError { path, source });
        }
    }
    Ok(())
}

/// The site of a page: two thirds on the first two, the others in turn on the rest.
fn site_of(index: u32, sites: usize) -> usize {
    let index = usize::try_from(index).expect("u32 fits usize");
    match (index % 3, sites) {
        (_, 0..=2) => index % sites,
        (2, _) => 2 + index / 3 % (sites - 2),
        (site, _) => site,
    }
}

/// Makes the site's furniture and its robots.txt.
fn furnish(number: u32, rng: &mut Rng, answer: &mut impl FnMut(Capture)) -> Site {
    let index = usize::try_from(number).expect("u32 fits usize");
    let root = ROOTS.get(index).map_or_else(|| format!("http://site{number}.example"), |root| (*root).to_owned());
    let name =
        ["HARBOR", "GARDEN", "NET", "KITES", "MAPS", "MEADOW", "LANTERN", "RIVERS"].get(index).unwrap_or(&"SITE");
    // The first two sites have many pages: their pictures are frequent. The others' are named by a keyword.
    let (path, kind, size_px) = if number < 2 {
        ("/img/masthead.png", Kind::Furniture, (320, 200))
    } else {
        ("/img/logo.png", Kind::Logo, (200, 160))
    };
    let header = png(&draw_header(name, size_px.0, size_px.1, rng.bits()));
    let dot = png(&draw_header("", 32, 32, rng.bits()));
    let robots = b"User-agent: *\nDisallow: /round/\n".to_vec();
    // Midnight of the first day; the picture at the head once more a week later.
    let first = Second::new(number);
    for (path, at, body, mime) in [
        ("/robots.txt", first, robots, "text/plain"),
        (path, first.later(8), header.clone(), "image/png"),
        (path, first.later(7 * 86_400), header, "image/png"),
        (Site::DOT, first.later(16), dot, "image/png"),
    ] {
        answer(Capture::new(format!("{root}{path}"), at, Served::new(200, headers(at, mime), body)));
    }
    Site { root, header: (path.to_owned(), kind, size_px) }
}

/// Shares the lines out among the document files, each with one more line that is no document.
fn file_documents(lines: Vec<(String, DocumentTruth)>, rng: &mut Rng) -> (Vec<(String, Vec<u8>)>, Truth) {
    let share = lines.len().div_ceil(BAD_LINES.len());
    let mut truth = Truth { documents: Vec::new(), bad_lines: Vec::new() };
    let mut files = Vec::new();
    let mut lines = lines.into_iter();
    let mut seen = BTreeSet::new();
    for (file, (why, bad)) in (0..).zip(BAD_LINES) {
        let shared: Vec<(String, DocumentTruth)> = lines.by_ref().take(share).collect();
        let mut written: Vec<Vec<u8>> = Vec::new();
        // The bad line comes before this document, or last.
        let bad_line = rng.below(u32::try_from(shared.len()).expect("few documents") + 1);
        for (line, (text, mut document)) in (0..).zip(shared) {
            if !seen.insert((document.url.clone(), document.timestamp.clone())) {
                document.locate = Locate::Repeated;
            }
            document.file = file;
            document.line = if line < bad_line { line } else { line + 1 };
            truth.documents.push(document);
            written.push(text.into_bytes());
        }
        written.insert(usize::try_from(bad_line).expect("u32 fits usize"), bad.to_vec());
        truth.bad_lines.push(BadLine { file, line: bad_line, why: why.to_owned() });
        let mut bytes = written.join(&b'\n');
        bytes.push(b'\n');
        files.push((format!("docs/c4-tiny.{file:05}-of-{:05}.json.gz", BAD_LINES.len()), gzip(&bytes)));
    }
    (files, truth)
}
