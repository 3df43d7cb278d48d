use std::io::Write;
use std::path::Path;

use weft_core::stage::{Crawl, OutsideFile};
use weft_core::tables::{CapturesRow, Rejects};
use weft_core::testing;

use super::page::sha1_of;
use super::*;
use crate::formats::outside::server::{Fault, Server};

const TIME: &str = "20190418125754";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A stored record: its block is `http`, its head has `fields` besides the usual ones.
fn record(url: &str, fields: &str, http: &[u8]) -> Vec<u8> {
    let length = http.len();
    let head = format!(
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2019-04-18T12:57:54Z\r\n{fields}\
         Content-Type: application/http; msgtype=response\r\nContent-Length: {length}\r\n\r\n"
    );
    gzip(&[head.as_bytes(), http, b"\r\n\r\n"].concat())
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{body}").into_bytes()
}

/// A crawl of one archive, `w.gz`, and the captures to fetch from it.
struct Archive {
    bytes: Vec<u8>,
    captures: Vec<Capture>,
}

impl Archive {
    fn new() -> Self {
        Self { bytes: Vec::new(), captures: Vec::new() }
    }

    /// Appends stored bytes and a capture of them.
    fn add(&mut self, url: &str, digest: Option<String>, stored: &[u8]) -> &mut Capture {
        self.captures.push(Capture {
            filename: "w.gz".to_owned(),
            offset: u64::try_from(self.bytes.len()).unwrap(),
            document_id: format!("{:032}", self.captures.len()),
            length: u64::try_from(stored.len()).unwrap(),
            digest,
            mime_detected: Some("text/html".to_owned()),
            url: url.to_owned(),
            timestamp: TIME.to_owned(),
            source_timestamp: String::new(),
            sentences: vec!["A sentence.".to_owned()],
        });
        self.bytes.extend_from_slice(stored);
        self.captures.last_mut().unwrap()
    }

    fn fetch(&self, config: Config, limits: Limits) -> (Context, Result<Tally, StageError>) {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::options().write(true).create_new(true).open(folder.path().join("w.gz"));
        file.unwrap().write_all(&self.bytes).unwrap();
        let mut context = testing::context();
        context.limits = limits;
        testing::give::<Captures>(&mut context, self.captures.iter().map(row));
        let tally = Fetch::open(config, &resources(folder.path())).unwrap().run(ShardId(0), &context);
        (context, tally)
    }
}

fn row(capture: &Capture) -> CapturesRow<'_> {
    CapturesRow {
        filename: &capture.filename,
        offset: capture.offset,
        document_id: &capture.document_id,
        length: capture.length,
        digest: capture.digest.as_deref(),
        mime_detected: capture.mime_detected.as_deref(),
        url: &capture.url,
        timestamp: &capture.timestamp,
        source_timestamp: &capture.source_timestamp,
        sentences: capture.sentences.iter().map(String::as_str).collect(),
    }
}

fn resources(folder: &Path) -> Resources {
    let cluster = OutsideFile { name: String::new(), location: folder.to_owned(), digest: String::new(), bytes: 0 };
    let crawl =
        Crawl { name: "TEST-2019-18".to_owned(), root: folder.display().to_string(), index: String::new(), cluster };
    Resources { crawl: Some(crawl), ..Resources::default() }
}

fn rejects(context: &Context) -> Vec<(String, String)> {
    testing::written::<Rejects, _>(context, |row| (row.reason.to_owned(), row.evidence.to_owned()))
}

/// The one reject of a capture of this record.
fn refused(url: &str, digest: Option<String>, stored: &[u8], limits: Limits) -> (String, String) {
    let mut archive = Archive::new();
    archive.add(url, digest, stored);
    let (context, tally) = archive.fetch(Config::default(), limits);
    assert_eq!(tally.unwrap().counts[&Unit::Captures].kept, 0);
    rejects(&context).remove(0)
}

#[test]
fn a_page_is_decoded_and_its_headers_are_noted() {
    let http = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=x\r\nX-Robots-Tag: noai\r\nx-robots-tag: noimageai\r\n\
          Content-Encoding: gzip\r\n\r\n",
        &gzip(b"<p>page</p>")[..],
    ]
    .concat();
    let mut archive = Archive::new();
    let digest = sha1_of(&gzip(b"<p>page</p>"));
    archive.add("http://a.example/", Some(digest.clone()), &record("http://a.example/", "", &http));
    // The digest may be that of the decoded body, and the target may stand in angle brackets.
    archive.add("http://b.example/", Some(sha1_of(b"<p>page</p>")), &record("<http://b.example/>", "", &http));
    let fields = format!("WARC-Truncated: length\r\nWARC-Payload-Digest: sha1:{digest}\r\n");
    archive.add("http://c.example/", None, &record("http://c.example/", &fields, &http));
    archive.add("http://d.example/", None, &record("http://d.example/", "", &http));
    let (context, tally) = archive.fetch(Config::default(), Limits::default());
    let tally = tally.unwrap();
    assert_eq!(tally.counts[&Unit::Captures].kept, 4, "{:?}", rejects(&context));
    assert_eq!((tally.facts["truncated_by_crawler"], tally.facts["digests_unchecked"]), (1, 1));
    let pages = testing::written::<Pages, _>(&context, |row| {
        assert_eq!(row.body, b"<p>page</p>");
        assert_eq!((row.content_type, row.robots_tag), (Some("text/html; charset=x"), Some("noai, noimageai")));
        assert_eq!((row.mime_detected, &row.sentences[..]), (Some("text/html"), &["A sentence."][..]));
        (row.url.to_owned(), row.truncated)
    });
    let expected = [("a", false), ("b", false), ("c", true), ("d", false)];
    assert_eq!(pages, expected.map(|(host, truncated)| (format!("http://{host}.example/"), truncated)));
}

#[test]
fn a_record_that_is_not_the_captures_is_refused_with_what_was_found() {
    let url = "http://a.example/";
    let whole = record(url, "", &ok("page"));
    let limits = Limits::default;

    let (reason, evidence) = refused("http://b.example/", None, &whole, limits());
    assert_eq!(reason, "record_of_other_url");
    assert_eq!(evidence, "w.gz at 0: it is of `http://a.example/`, not of `http://b.example/`");

    let (reason, evidence) = refused(url, Some(sha1_of(b"other")), &whole, limits());
    assert_eq!(reason, "digest_mismatch");
    assert!(evidence.contains(&sha1_of(b"page")) && evidence.contains(&sha1_of(b"other")), "{evidence}");

    let fields = format!("WARC-Payload-Digest: sha1:{}\r\n", sha1_of(b"other"));
    let (reason, evidence) = refused(url, None, &record(url, &fields, &ok("page")), limits());
    assert_eq!((reason.as_str(), evidence.contains("payload digest")), ("digest_mismatch", true));

    let moved = record(url, "", b"HTTP/1.1 302 Found\r\n\r\n");
    assert_eq!(
        refused(url, None, &moved, limits()),
        ("status_302".to_owned(), "w.gz at 0: HTTP/1.1 302 Found".to_owned())
    );

    let resource =
        "WARC/1.0\r\nWARC-Type: resource\r\nWARC-Target-URI: http://a.example/\r\nContent-Length: 1\r\n\r\nx\r\n\r\n";
    assert_eq!(refused(url, None, &gzip(resource.as_bytes()), limits()).0, "not_a_response");
}

#[test]
fn a_damaged_record_is_refused() {
    let url = "http://a.example/";
    let whole = record(url, "", &ok(&"page ".repeat(100)));
    let limits = Limits::default;

    let (reason, evidence) = refused(url, None, &whole[..whole.len() - 20], limits());
    assert_eq!(
        (reason.as_str(), evidence.as_str()),
        ("record_damaged", "w.gz at 0: the record does not end within its bytes")
    );
    let (reason, evidence) = refused(url, None, &whole[1..], limits());
    assert_eq!((reason.as_str(), evidence.as_str()), ("record_damaged", "w.gz at 0: no record begins there"));
    let mut flipped = whole.clone();
    // In the checksum at the member's end.
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    let (reason, evidence) = refused(url, None, &flipped, limits());
    assert_eq!((reason.as_str(), evidence.contains("does not inflate")), ("record_damaged", true), "{evidence}");
    assert_eq!(refused(url, None, b"", limits()).0, "record_damaged");

    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\npage";
    assert_eq!(refused(url, None, &record(url, "", chunked), limits()).0, "body_damaged");
}

#[test]
fn what_the_crawler_cut_short_is_a_page_and_no_damage() {
    let url = "http://a.example/";
    let mut archive = Archive::new();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\npage";
    archive.add(url, None, &record(url, "WARC-Truncated: length\r\n", chunked));
    let (context, tally) = archive.fetch(Config::default(), Limits::default());
    assert_eq!(tally.unwrap().facts["truncated_by_crawler"], 1);
    let pages = testing::written::<Pages, _>(&context, |row| (row.body.to_vec(), row.truncated));
    assert_eq!(pages, [(b"page".to_vec(), true)]);
}

#[test]
fn a_record_or_page_over_a_limit_is_refused() {
    let url = "http://a.example/";
    let whole = record(url, "", &ok(&"x".repeat(10_000)));
    for (limits, what) in [
        (Limits { page_bytes: 9_999, ..Limits::default() }, "page_bytes exceeds the limit of 9999"),
        (Limits { record_bytes: 9_999, ..Limits::default() }, "record_bytes exceeds the limit of 9999"),
        (Limits { record_bytes: 100, ..Limits::default() }, "bytes; record_bytes is 100"),
    ] {
        let (reason, evidence) = refused(url, None, &whole, limits);
        assert_eq!((reason.as_str(), evidence.contains(what)), ("page_too_large", true), "{evidence}");
    }
    let bomb = [&b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"[..], &gzip(&vec![0; 40 << 20])].concat();
    assert_eq!(refused(url, None, &record(url, "", &bomb), Limits::default()).0, "page_too_large");
}

#[test]
fn neighbours_are_read_as_one_range_and_far_ones_are_not() {
    let mut archive = Archive::new();
    for host in ["a", "b", "c"] {
        let url = format!("http://{host}.example/");
        archive.add(&url, None, &record(&url, "", &ok(host)));
        archive.bytes.extend_from_slice(&[0; 1000]);
    }
    for (coalesce_gap_bytes, requests) in [(999, 3), (1000, 1)] {
        let config = Config { coalesce_gap_bytes, ..Config::default() };
        let (context, tally) = archive.fetch(config, Limits::default());
        let tally = tally.unwrap();
        assert_eq!((tally.facts["requests"], tally.counts[&Unit::Captures].kept), (requests, 3));
        assert_eq!(testing::written::<Pages, _>(&context, |row| row.body.to_vec()), [b"a", b"b", b"c"]);
    }
}

#[test]
fn a_missing_file_rejects_its_captures_after_one_request_and_the_shard_goes_on() {
    let mut archive = Archive::new();
    archive.add("http://a.example/", None, &record("http://a.example/", "", &ok("a")));
    for offset in [0, 10 << 20, 20 << 20] {
        let capture = archive.add("http://b.example/", None, b"");
        (capture.filename, capture.offset, capture.length) = ("missing.gz".to_owned(), offset, 10);
    }
    archive.add("http://c.example/", None, b"").filename = "../w.gz".to_owned();
    archive.captures.sort_by(|a, b| (&a.filename, a.offset).cmp(&(&b.filename, b.offset)));
    let (context, tally) = archive.fetch(Config::default(), Limits::default());
    let tally = tally.unwrap();
    assert_eq!((tally.facts["requests"], tally.counts[&Unit::Captures].kept), (3, 1));
    let rejects = rejects(&context);
    assert!(rejects.iter().all(|(reason, _)| reason == "warc_missing"));
    assert_eq!(
        rejects[0].1,
        "../w.gz at 0: `../w.gz` is no path below the root"
            .replace("at 0", &format!("at {}", archive.captures[0].offset))
    );
    assert_eq!(rejects[3].1, "missing.gz at 20971520: the file is not there");
}

#[test]
fn a_file_that_is_cut_off_loses_only_what_lies_behind_the_cut() {
    let mut archive = Archive::new();
    for host in ["a", "b", "c"] {
        let url = format!("http://{host}.example/");
        archive.add(&url, None, &record(&url, "", &ok(host)));
    }
    let cut = usize::try_from(archive.captures[1].offset).unwrap() + 30;
    archive.bytes.truncate(cut);
    let (context, tally) = archive.fetch(Config::default(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Captures].kept, 1);
    let rejects = rejects(&context);
    let [second, third] = [1, 2].map(|index| (archive.captures[index].offset, archive.captures[index].length));
    assert_eq!(
        rejects.iter().map(|(_, evidence)| evidence.as_str()).collect::<Vec<_>>(),
        [
            format!("w.gz at {}: the file ends at byte {cut}, inside its {} bytes", second.0, second.1),
            format!("w.gz at {}: the file ends before it", third.0),
        ]
    );
    assert!(rejects.iter().all(|(reason, _)| reason == "record_damaged"));
}

#[test]
fn the_index_of_another_crawl_fails_the_task_and_says_so() {
    let mut archive = Archive::new();
    for number in 0..20 {
        let url = format!("http://{number}.example/");
        archive.add(&url, None, &record(&url, "", &ok("page")));
    }
    for capture in archive.captures.iter_mut().take(10) {
        capture.offset += 1;
    }
    let (_, tally) = archive.fetch(Config::default(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Captures].kept, 10);
    archive.captures[10].offset += 1;
    let (_, tally) = archive.fetch(Config::default(), Limits::default());
    let error = tally.unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("crawl `TEST-2019-18` is not usable: 11 captures of this shard"), "{message}");
    assert!(
        message.contains("w.gz at 1: no record begins there") && message.contains("the index of another"),
        "{message}"
    );
    assert!(!error.is_retryable());
    // Too few captures to judge.
    archive.captures.truncate(19);
    let (_, tally) = archive.fetch(Config::default(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Captures].kept, 8);
}

#[test]
fn a_server_that_forbids_stops_the_task_and_rejects_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::options().write(true).create_new(true).open(folder.path().join("w.gz")).unwrap();
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::Status(403));
    let mut archive = Archive::new();
    archive.add("http://a.example/", None, b"record");
    let mut context = testing::context();
    testing::give::<Captures>(&mut context, archive.captures.iter().map(row));
    let mut resources = resources(folder.path());
    resources.crawl.as_mut().unwrap().root = server.root();
    let error = Fetch::open(Config::default(), &resources).unwrap().run(ShardId(0), &context).unwrap_err();
    assert!(!error.is_retryable());
    let message = error.to_string();
    assert!(
        message.contains(&format!("{}w.gz", server.root())) && message.contains("left alone for hours"),
        "{message}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_share_that_is_none_is_refused() {
    for max_failed_share in [-0.1, 1.1, f64::NAN] {
        let config = Config { max_failed_share, ..Config::default() };
        assert!(Fetch::open(config, &Resources::default()).is_err());
    }
    assert!(serde_json::from_str::<Config>(r#"{"gap": 1}"#).unwrap_err().to_string().contains("unknown field `gap`"));
}
