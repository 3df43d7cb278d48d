use std::io::Write;
use std::path::Path;

use weft_core::stage::{Crawl, OutsideFile};
use weft_core::tables::{CapturesRow, Rejects};
use weft_core::testing;

use super::*;
use crate::formats::outside::server::{Fault, Server};
use crate::response::sha1_of;

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

/// A row of `captures` that owns what it holds.
struct Capture {
    filename: String,
    offset: u64,
    document_id: String,
    length: u64,
    digest: Option<String>,
    mime_detected: Option<String>,
    capture_url: Option<String>,
    url: String,
    timestamp: String,
    source_timestamp: String,
    sentences: Vec<String>,
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
            capture_url: None,
            url: url.to_owned(),
            timestamp: TIME.to_owned(),
            source_timestamp: String::new(),
            sentences: vec!["A sentence.".to_owned()],
        });
        self.bytes.extend_from_slice(stored);
        self.captures.last_mut().unwrap()
    }

    /// A folder that holds the archive.
    fn folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::options().write(true).create_new(true).open(folder.path().join("w.gz"));
        file.unwrap().write_all(&self.bytes).unwrap();
        folder
    }

    /// A context of the captures.
    fn context(&self) -> Context {
        let mut context = testing::context();
        testing::give::<Captures>(&mut context, self.captures.iter().map(row));
        context
    }

    fn fetch(&self, config: Config, limits: Limits) -> (Context, Result<Tally, StageError>) {
        let folder = self.folder();
        let mut context = self.context();
        context.limits = limits;
        let tally = Fetch::open(config, &resources(folder.path())).unwrap().run(ShardId(0), &context);
        (context, tally)
    }
}

/// The stage over a crawl that `server` serves.
fn served(config: Config, server: &Server) -> Fetch {
    let mut resources = resources(Path::new(""));
    resources.crawl.as_mut().unwrap().root = server.root();
    Fetch::open(config, &resources).unwrap()
}

/// The ranges asked of a server so far, as `first-last`.
fn asked(server: &Server) -> Vec<String> {
    let ranges = server.seen().into_iter().filter_map(|head| {
        let (_, range) = head.split_once("range: bytes=")?;
        range.lines().next().map(str::to_owned)
    });
    ranges.collect()
}

fn row(capture: &Capture) -> CapturesRow<'_> {
    CapturesRow {
        filename: &capture.filename,
        offset: capture.offset,
        document_id: &capture.document_id,
        length: capture.length,
        digest: capture.digest.as_deref(),
        mime_detected: capture.mime_detected.as_deref(),
        matched_by: "exact",
        capture_url: capture.capture_url.as_deref(),
        capture_timestamp: None,
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
    let escaping = archive.add("http://c.example/", None, b"");
    (escaping.filename, escaping.length) = ("../w.gz".to_owned(), 10);
    archive.captures.sort_by(|a, b| (&a.filename, a.offset).cmp(&(&b.filename, b.offset)));
    let (context, tally) = archive.fetch(Config::default(), Limits::default());
    let tally = tally.unwrap();
    // One for each file, and none for what is no path below the root.
    assert_eq!((tally.facts["requests"], tally.counts[&Unit::Captures].kept), (2, 1));
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
    let context = archive.context();
    let error = served(Config::default(), &server).run(ShardId(0), &context).unwrap_err();
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
    let refused = |config: Config, word: &str| {
        let message = Fetch::open(config, &Resources::default()).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    for share in [-0.1, 1.1, f64::NAN] {
        refused(Config { max_failed_share: share, ..Config::default() }, "max_failed_share is");
        refused(Config { whole_file_density: share, ..Config::default() }, "whole_file_density is");
    }
    refused(Config { segment_captures: 0, ..Config::default() }, "segment_captures is 0");
    assert!(serde_json::from_str::<Config>(r#"{"gap": 1}"#).unwrap_err().to_string().contains("unknown field `gap`"));
}

/// An archive of `count` records of 200 kB that do not compress.
fn large_records(count: u64) -> Archive {
    let mut archive = Archive::new();
    let mut state = 1_u64;
    for number in 0..count {
        let body: Vec<u8> = (0..200_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        let url = format!("http://{number}.example/");
        let http = [&b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"[..], &body].concat();
        archive.add(&url, Some(sha1_of(&body)), &record(&url, "", &http));
    }
    archive
}

#[test]
fn however_the_reads_are_planned_the_pages_are_the_same() {
    // 8 MB: larger than what a read buffers, and than several blocks.
    let mut archive = large_records(40);
    let mut number = 0;
    archive.captures.retain(|_| {
        number += 1;
        number % 3 != 0
    });
    // A record that two documents name.
    let twice = row(&archive.captures[4]);
    let mut captures: Vec<CapturesRow<'_>> = archive.captures.iter().map(row).collect();
    captures.insert(5, CapturesRow { document_id: "f", ..twice });
    let wanted: u64 = archive.captures.iter().map(|capture| capture.length).sum();
    let folder = archive.folder();
    let server = Server::start(folder.path());
    let mut outcomes = Vec::new();
    for (gap, density, requests) in [(0, 1.0, 14), (0, 0.5, 1), (1 << 20, 1.0, 1)] {
        let config = Config { coalesce_gap_bytes: gap, whole_file_density: density, ..Config::default() };
        for stage in [Fetch::open(config.clone(), &resources(folder.path())).unwrap(), served(config.clone(), &server)]
        {
            let mut context = testing::context();
            testing::give::<Captures>(&mut context, captures.iter().cloned());
            let tally = stage.run(ShardId(0), &context).unwrap();
            assert_eq!(tally.counts[&Unit::Captures].kept, 28, "{:?}", rejects(&context));
            assert_eq!((tally.facts["requests"], tally.facts["bytes_wanted"]), (requests, wanted));
            assert_eq!(tally.facts["bytes"], tally.facts["range_bytes"]);
            outcomes.push(context.outputs.lock().unwrap()[0].blake3.clone());
        }
    }
    outcomes.dedup();
    assert_eq!(outcomes.len(), 1);
}

#[test]
fn an_attempt_asks_for_nothing_that_a_closed_segment_holds() {
    let mut archive = Archive::new();
    for number in 0..10 {
        let url = format!("http://{number}.example/");
        archive.add(&url, None, &record(&url, "", &ok(&url)));
    }
    archive.captures[1].url = "http://other.example/".to_owned();
    let config = Config { segment_captures: 3, ..Config::default() };
    let folder = archive.folder();
    let server = Server::start(folder.path());
    let (first, last) = (&archive.captures[6], &archive.captures[9]);
    let from_the_seventh = format!("{}-{}", first.offset, last.offset + last.length - 1);

    let mut killed = archive.context();
    let cancelled = std::sync::Arc::clone(&killed.cancelled);
    // Stops inside the third segment.
    killed.tripwire = Some(std::sync::Arc::new(move |row| {
        cancelled.fetch_or(row == 8, std::sync::atomic::Ordering::Relaxed);
    }));
    let stopped = served(config.clone(), &server).run(ShardId(0), &killed).unwrap_err();
    assert!(matches!(stopped, StageError::Cancelled), "{stopped}");
    assert_eq!(asked(&server).len(), 1);

    let second = Context { attempt: 2, cancelled: Default::default(), tripwire: None, ..killed };
    let tally = served(config.clone(), &server).run(ShardId(0), &second).unwrap();
    assert_eq!(asked(&server)[1..], [from_the_seventh]);
    let count = &tally.counts[&Unit::Captures];
    assert_eq!((count.read, count.kept, count.rejected["record_of_other_url"]), (10, 9, 1));
    let undisturbed = archive.context();
    Fetch::open(config, &resources(folder.path())).unwrap().run(ShardId(0), &undisturbed).unwrap();
    let files = |context: &Context| {
        let outputs = context.outputs.lock().unwrap();
        outputs.iter().map(|output| (output.table.clone(), output.blake3.clone())).collect::<Vec<_>>()
    };
    assert_eq!(files(&undisturbed).len(), 8);
    assert_eq!(files(&second), files(&undisturbed));
    let urls = testing::written::<Pages, _>(&second, |row| row.url.to_owned());
    assert_eq!((urls.len(), urls[8].as_str()), (9, "http://9.example/"));
}

#[test]
fn a_crawl_that_is_given_up_and_then_mended_is_read_from_the_beginning() {
    let mut archive = Archive::new();
    for number in 0..20 {
        let url = format!("http://{number}.example/");
        archive.add(&url, None, &record(&url, "", &ok(&url)));
    }
    let folder = archive.folder();
    let file = folder.path().join("w.gz");
    std::fs::File::options().write(true).open(&file).unwrap().set_len(1_000).unwrap();
    let config = Config { segment_captures: 2, max_failed_share: 0.2, ..Config::default() };
    let stage = Fetch::open(config, &resources(folder.path())).unwrap();
    let context = archive.context();
    let message = stage.run(ShardId(0), &context).unwrap_err().to_string();
    assert!(message.contains("5 captures of this shard cannot be read"), "{message}");
    std::fs::File::options().write(true).open(&file).unwrap().write_all(&archive.bytes).unwrap();
    let mended = Context { attempt: 2, ..context };
    assert_eq!(stage.run(ShardId(0), &mended).unwrap().counts[&Unit::Captures].kept, 20);
}

#[test]
fn failures_of_closed_segments_count_towards_the_share() {
    let mut archive = Archive::new();
    for number in 0..20 {
        let url = format!("http://{number}.example/");
        archive.add(&url, None, &record(&url, "", &ok(&url)));
    }
    for number in [0, 1, 2, 17, 18, 19] {
        archive.captures[number].url = "http://other.example/".to_owned();
    }
    let config = Config { segment_captures: 5, max_failed_share: 0.25, ..Config::default() };
    let folder = archive.folder();
    let stage = Fetch::open(config, &resources(folder.path())).unwrap();
    let mut killed = archive.context();
    let cancelled = std::sync::Arc::clone(&killed.cancelled);
    killed.tripwire = Some(std::sync::Arc::new(move |row| {
        cancelled.fetch_or(row == 12, std::sync::atomic::Ordering::Relaxed);
    }));
    stage.run(ShardId(0), &killed).unwrap_err();
    let second = Context { attempt: 2, cancelled: Default::default(), tripwire: None, ..killed };
    let message = stage.run(ShardId(0), &second).unwrap_err().to_string();
    assert!(message.contains("6 captures of this shard cannot be read"), "{message}");
}

#[test]
fn a_capture_beyond_the_file_is_a_reject_and_the_shard_goes_on() {
    let mut archive = Archive::new();
    archive.add("http://a.example/", None, &record("http://a.example/", "", &ok("a")));
    for offset in [1 << 30, u64::MAX - 5, u64::MAX] {
        let capture = archive.add("http://b.example/", None, b"");
        (capture.offset, capture.length) = (offset, 10);
    }
    let (context, tally) = archive.fetch(Config::default(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Captures].kept, 1);
    let expected = [
        "w.gz at 1073741824: the file ends before it".to_owned(),
        format!("w.gz at {}: no file is so long", u64::MAX - 5),
        format!("w.gz at {}: no file is so long", u64::MAX),
    ];
    assert_eq!(rejects(&context), expected.map(|evidence| ("record_damaged".to_owned(), evidence)));
}

#[test]
fn a_range_that_the_server_does_not_send_is_a_reject_and_too_many_are_named() {
    let mut archive = Archive::new();
    for (number, offset) in [(0, 0), (1, 10 << 20)] {
        let url = format!("http://{number}.example/");
        archive.bytes.resize(offset, 0);
        archive.add(&url, None, &record(&url, "", &ok("page")));
    }
    // The first one is of another file, whose ranges the server never sends.
    archive.captures[0].filename = "a.gz".to_owned();
    let folder = archive.folder();
    let file = std::fs::File::options().write(true).create_new(true).open(folder.path().join("a.gz"));
    file.unwrap().write_all(&archive.bytes).unwrap();
    let server = Server::start(folder.path());
    server.fail_path("a.gz", Fault::OtherRange);
    let context = archive.context();
    let tally = served(Config::default(), &server).run(ShardId(0), &context).unwrap();
    assert_eq!(tally.counts[&Unit::Captures].kept, 1);
    let (reason, evidence) = rejects(&context).remove(0);
    assert_eq!(
        (reason.as_str(), evidence.contains("a.gz at 0: it sent bytes 1 to")),
        ("range_refused", true),
        "{evidence}"
    );

    // All captures are of one record: enough to be judged.
    let url = "http://0.example/";
    archive.captures.truncate(1);
    for _ in 0..20 {
        archive.add(url, None, b"").offset = 0;
    }
    server.fail_path("w.gz", Fault::OtherRange);
    let error = served(Config::default(), &server).run(ShardId(0), &archive.context()).unwrap_err();
    assert!(error.to_string().contains("it sent bytes 1 to"), "{error}");
}

#[test]
fn a_file_that_the_server_has_not_costs_one_request() {
    let mut archive = Archive::new();
    for offset in 0..6 {
        let capture = archive.add("http://b.example/", None, b"");
        (capture.filename, capture.offset, capture.length) = ("missing.gz".to_owned(), offset << 24, 10);
    }
    let folder = archive.folder();
    let server = Server::start(folder.path());
    let context = archive.context();
    let tally = served(Config::default(), &server).run(ShardId(0), &context).unwrap();
    assert_eq!((tally.facts["requests"], asked(&server).len()), (1, 1));
    assert!(rejects(&context).iter().all(|(reason, _)| reason == "warc_missing"));
}
