use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use weft_core::id::document_id;
use weft_core::stage::{Crawl, OutsideFile};
use weft_core::tables::Rejects;
use weft_core::testing;

use super::*;
use crate::formats::cdx::CaptureLine;
use crate::formats::columnar::testing::{Shape, summary_of, table_file};
use crate::formats::outside::server::{Fault, Server};

const TIME: &str = "20190418125754";

/// An index line; the rest of its fields do not matter to a location.
fn line(urlkey: &str, timestamp: &str, url: &str, status: &str, digest: &str, filename: &str, offset: u64) -> String {
    let status = if status.is_empty() { String::new() } else { format!(r#""status": "{status}", "#) };
    format!(
        r#"{urlkey} {timestamp} {{"url": "{url}", {status}"digest": "{digest}", "length": "100", "offset": "{offset}", "filename": "{filename}"}}"#
    )
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let mut file = std::fs::File::options().write(true).create_new(true).open(folder.join(name)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A crawl's index, a block each of these lists of lines.
fn index(blocks: &[&[String]]) -> (tempfile::TempDir, Resources) {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut summary) = (Vec::new(), String::new());
    for block in blocks {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(block.join("\n").as_bytes()).unwrap();
        let member = encoder.finish().unwrap();
        let key: Vec<&str> = block[0].splitn(3, ' ').take(2).collect();
        summary += &format!("{}\tcdx-00000.gz\t{}\t{}\n", key.join(" "), shard.len(), member.len());
        shard.extend(member);
    }
    put(folder.path(), "cdx-00000.gz", &shard);
    put(folder.path(), "cluster.idx", summary.as_bytes());
    let cluster = OutsideFile {
        name: "cluster.idx".to_owned(),
        location: folder.path().join("cluster.idx"),
        digest: String::new(),
        bytes: 0,
    };
    let root = folder.path().display().to_string();
    let crawl = Crawl { name: "test".to_owned(), root, index: String::new(), cluster };
    let resources = Resources { crawl: Some(crawl), ..Resources::default() };
    (folder, resources)
}

fn locate(resources: &Resources, documents: &[(&str, &str, &str)]) -> (Context, Result<Tally, StageError>) {
    locate_with(Config::default(), resources, documents)
}

fn locate_with(
    config: Config,
    resources: &Resources,
    documents: &[(&str, &str, &str)],
) -> (Context, Result<Tally, StageError>) {
    let mut context = testing::context();
    let ids: Vec<String> = documents.iter().map(|(_, timestamp, url)| document_id(url, timestamp)).collect();
    let rows = documents.iter().zip(&ids).map(|((urlkey, timestamp, url), document_id)| DocumentsRow {
        urlkey,
        timestamp,
        url,
        document_id,
        source_timestamp: "",
        sentences: vec!["A sentence."],
    });
    testing::give::<Documents>(&mut context, rows);
    let tally = Locate::open(config, resources).unwrap().run(ShardId(0), &context);
    (context, tally)
}

fn reasons(context: &Context) -> Vec<String> {
    testing::written::<Rejects, _>(context, |row| row.reason.to_owned())
}

#[test]
fn each_miss_has_the_reason_that_comes_furthest() {
    let ok = |key: &str, time: &str, url: &str, offset| line(key, time, url, "200", "D", "w.gz", offset);
    let (_folder, resources) = index(&[&[
        ok("example,b)/", TIME, "http://b.example/", 1),
        ok("example,c)/", TIME, "http://www.c.example/", 2),
        ok("example,d)/", "20190418125755", "http://d.example/", 3),
        line("example,e)/", TIME, "http://e.example/", "404", "D", "w.gz", 4),
        line("example,f)/", TIME, "http://f.example/", "", "D", "w.gz", 5),
        line("example,g)/", TIME, "http://g.example/", "301", "D", "w.gz", 6),
        ok("example,g)/", TIME, "http://g.example/", 7),
    ]]);
    let (context, tally) = locate(
        &resources,
        &[
            ("example,a)/", TIME, "http://a.example/"),
            ("example,b)/", TIME, "http://b.example/"),
            ("example,b)/", TIME, "http://b.example/"),
            ("example,c)/", TIME, "http://c.example/"),
            ("example,d)/", TIME, "http://d.example/"),
            ("example,e)/", TIME, "http://e.example/"),
            ("example,f)/", TIME, "http://f.example/"),
            ("example,g)/", TIME, "http://g.example/"),
            ("example,h)/", TIME, "http://h.example/"),
        ],
    );
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 2);
    assert_eq!(
        reasons(&context),
        [
            "url_not_in_index",
            "duplicate_document",
            "same_urlkey_other_url",
            "timestamp_not_in_index",
            "status_404",
            "not_a_response",
            "url_not_in_index"
        ]
    );
    let evidence = testing::written::<Rejects, _>(&context, |row| row.evidence.to_owned());
    assert_eq!(evidence[3], "not at 20190418125754, but 20190418125755 200 http://d.example/ (w.gz at 3)");
    let located = testing::written::<Captures, _>(&context, |row| (row.url.to_owned(), row.offset));
    assert_eq!(located, [("http://b.example/".to_owned(), 1), ("http://g.example/".to_owned(), 7)]);
}

#[test]
fn several_fitting_lines_are_one_capture_only_if_their_payloads_are_one() {
    let at = |url: &str, digest: &str, filename: &str, offset| {
        line(&format!("example,{url})/"), TIME, &format!("http://{url}.example/"), "200", digest, filename, offset)
    };
    let (_folder, resources) = index(&[&[
        at("a", "D", "w2.gz", 1),
        at("a", "D", "w1.gz", 9),
        at("b", "D", "w1.gz", 1),
        at("b", "E", "w1.gz", 2),
        at("c", "-", "w1.gz", 3),
        at("c", "-", "w1.gz", 4),
        at("d", "-", "w1.gz", 5),
        at("d", "-", "w1.gz", 5),
    ]]);
    let documents = ["a", "b", "c", "d"].map(|url| (format!("example,{url})/"), format!("http://{url}.example/")));
    let documents: Vec<_> = documents.iter().map(|(key, url)| (key.as_str(), TIME, url.as_str())).collect();
    let (context, tally) = locate(&resources, &documents);
    assert_eq!(tally.unwrap().facts["identical_captures"], 1);
    assert_eq!(reasons(&context), ["ambiguous_capture", "ambiguous_capture"]);
    let located = testing::written::<Captures, _>(&context, |row| (row.filename.to_owned(), row.offset));
    assert_eq!(located, [("w1.gz".to_owned(), 5), ("w1.gz".to_owned(), 9)]);
}

#[test]
fn blocks_without_a_document_are_not_read_and_no_block_is_read_twice() {
    let block = |key: &str| vec![line(key, TIME, "http://x.example/", "200", "D", "w.gz", 1)];
    let blocks = ["a", "c", "e", "g"].map(block);
    let (_folder, resources) = index(&[&blocks[0], &blocks[1], &blocks[2], &blocks[3]]);
    let (_, tally) = locate(
        &resources,
        &[("e", TIME, "http://x.example/"), ("e", TIME, "http://y.example/"), ("f", TIME, "http://z.example/")],
    );
    let tally = tally.unwrap();
    // The key `e` may begin at the end of the block before its own.
    assert_eq!(tally.facts["index_blocks_read"], 2);
    assert_eq!(tally.facts["index_bytes"], tally.facts["bytes"]);
}

#[test]
fn documents_in_a_block_that_cannot_be_read_are_rejected_with_its_place() {
    let lines = [line("a", TIME, "http://x.example/", "200", "D", "w.gz", 1)];
    let documents = [("a", TIME, "http://x.example/")];
    let rejected = |resources: &Resources| {
        let (context, tally) = locate(resources, &documents);
        let tally = tally.unwrap();
        assert_eq!(tally.facts["index_blocks_damaged"], 1);
        assert_eq!(reasons(&context), ["index_block_damaged"]);
        testing::written::<Rejects, _>(&context, |row| row.evidence.to_owned()).remove(0)
    };

    let (folder, resources) = index(&[&lines]);
    let shard = folder.path().join("cdx-00000.gz");
    std::fs::File::options().write(true).open(&shard).unwrap().set_len(20).unwrap();
    let evidence = rejected(&resources);
    assert!(evidence.contains("cdx-00000.gz at byte 0") && evidence.contains("ends after 20"), "{evidence}");

    let (folder, resources) = index(&[&lines]);
    let mut shard = std::fs::File::options().write(true).open(folder.path().join("cdx-00000.gz")).unwrap();
    shard.write_all(&[0; 20]).unwrap();
    let evidence = rejected(&resources);
    assert!(evidence.contains("damaged after 0 lines"), "{evidence}");

    for (summary, cause) in [
        (format!("a {TIME}\t../cdx-00000.gz\t0\t50\n"), "`../cdx-00000.gz` is no path below the root"),
        (format!("a {TIME}\tcdx-00001.gz\t0\t50\n"), "is not there"),
        (format!("a {TIME}\tcdx-00000.gz\t9999\t50\n"), "ends after 0 of the 50 bytes from 9999 on"),
        (format!("a {TIME}\tcdx-00000.gz\t0\t999999999999\n"), "record_bytes exceeds the limit"),
    ] {
        let (folder, mut resources) = index(&[&lines]);
        put(folder.path(), "odd.idx", summary.as_bytes());
        resources.crawl.as_mut().unwrap().cluster.location = folder.path().join("odd.idx");
        let evidence = rejected(&resources);
        assert!(evidence.contains(cause), "{evidence}");
    }
}

/// Seven blocks of one line each, a document for each, and the first `bad` blocks damaged.
fn locate_with_damage(bad: usize, config: Config) -> (Context, Result<Tally, StageError>) {
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    let url = |key: &str| format!("http://{key}.example/");
    let blocks: Vec<[String; 1]> = keys.iter().map(|key| [line(key, TIME, &url(key), "200", "D", "w.gz", 1)]).collect();
    let blocks: Vec<&[String]> = blocks.iter().map(|block| &block[..]).collect();
    let (folder, resources) = index(&blocks);
    let CrawlIndex::ZipNum { cluster, .. } = crawl::index(resources.crawl.as_ref().unwrap()).unwrap() else {
        panic!("a ZipNum index")
    };
    let offsets: Vec<u64> = cluster.blocks().iter().map(|block| block.offset).collect();
    let mut shard = std::fs::File::options().write(true).open(folder.path().join("cdx-00000.gz")).unwrap();
    for offset in offsets.iter().take(bad) {
        shard.seek(SeekFrom::Start(*offset)).unwrap();
        shard.write_all(&[0; 4]).unwrap();
    }
    let urls: Vec<String> = keys.iter().map(|key| url(key)).collect();
    let documents: Vec<(&str, &str, &str)> =
        keys.iter().zip(&urls).map(|(key, url)| (*key, TIME, url.as_str())).collect();
    locate_with(config, &resources, &documents)
}

#[test]
fn the_task_fails_by_its_first_cause_when_too_many_blocks_are_at_fault() {
    let of = |max_failed_share| Config { max_failed_share, ..Config::default() };
    let (context, tally) = locate_with_damage(2, of(0.3));
    let tally = tally.unwrap();
    assert_eq!((tally.facts["index_blocks_damaged"], tally.counts[&Unit::Documents].kept), (2, 4));
    // The third document's key may be at the end of the second block.
    assert_eq!(reasons(&context), ["index_block_damaged"; 3]);

    let message = locate_with_damage(3, of(0.3)).1.unwrap_err().to_string();
    for part in ["cdx-00000.gz at byte 0", "3 of the 7 blocks", "max_failed_share is 0.3", "get the index"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(locate_with_damage(7, of(1.0)).1.is_ok());
    let (_folder, resources) = index(&[&[line("a", TIME, "http://x.example/", "200", "D", "w.gz", 1)]]);
    let message = Locate::open(of(1.5), &resources).unwrap_err().to_string();
    assert!(message.contains("give it a share from 0 to 1"), "{message}");
}

#[test]
fn a_server_that_fails_fails_the_task_and_rejects_nobody() {
    let (folder, mut resources) = index(&[&[line("a", TIME, "http://x.example/", "200", "D", "w.gz", 1)]]);
    let server = Server::start(folder.path());
    resources.crawl.as_mut().unwrap().root = server.root();
    server.fail_next(1, Fault::Status(403));
    let failure = locate(&resources, &[("a", TIME, "http://x.example/")]).1.unwrap_err();
    assert!(matches!(failure, StageError::Unavailable(_)) && !failure.is_retryable(), "{failure}");
    assert!(failure.to_string().contains("left alone for hours"), "{failure}");
}

#[test]
fn a_line_that_is_bad_costs_its_own_document_only() {
    let mut lines =
        ["a", "b", "c"].map(|key| line(key, TIME, &format!("http://{key}.example/"), "200", "D", "w.gz", 1));
    lines[1] = format!("b {TIME} {{nonsense");
    let (_folder, resources) = index(&[&lines]);
    let documents =
        [("a", TIME, "http://a.example/"), ("b", TIME, "http://b.example/"), ("c", TIME, "http://c.example/")];
    let (context, tally) = locate(&resources, &documents);
    let tally = tally.unwrap();
    assert_eq!(tally.counts[&Unit::Documents].kept, 2);
    assert_eq!(reasons(&context), ["index_block_damaged"]);
    assert_eq!(tally.facts["index_requests"], 1);
}

#[test]
fn a_fallback_is_counted_and_recorded_under_its_name() {
    let (_folder, resources) = index(&[&[
        line("example,a)/", "20190418125755", "http://a.example/", "200", "D", "w.gz", 1),
        line("example,b)/", TIME, "https://www.b.example/", "200", "D", "w.gz", 2),
        line("example,c)/", TIME, "http://c.example/", "200", "D", "w.gz", 3),
    ]]);
    let documents = [
        ("example,a)/", TIME, "http://a.example/"),
        ("example,b)/", TIME, "http://b.example/"),
        ("example,c)/", TIME, "http://c.example/"),
    ];
    let config = Config { fallbacks: vec![Fallback::WithinASecond, Fallback::SameUrlkey], ..Config::default() };
    let (context, tally) = locate_with(config, &resources, &documents);
    let tally = tally.unwrap();
    assert_eq!((tally.facts["within_a_second"], tally.facts["same_urlkey"]), (1, 1));
    let located = testing::written::<Captures, _>(&context, |row| {
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        (row.matched_by.to_owned(), text(row.capture_url), text(row.capture_timestamp), row.url.to_owned())
    });
    let expected = [
        ("within_a_second", "-", "20190418125755", "http://a.example/"),
        ("same_urlkey", "https://www.b.example/", "-", "http://b.example/"),
        ("exact", "-", "-", "http://c.example/"),
    ]
    .map(|(matched_by, url, timestamp, of)| {
        (matched_by.to_owned(), url.to_owned(), timestamp.to_owned(), of.to_owned())
    });
    assert_eq!(located, expected);

    let twice = Config { fallbacks: vec![Fallback::Revisit, Fallback::Revisit], ..Config::default() };
    let message = Locate::open(twice, &resources).unwrap_err().to_string();
    assert!(message.contains("fallbacks names revisit twice"), "{message}");
}

#[test]
fn both_forms_of_an_index_locate_the_same() {
    let mut state = 3_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..25 {
        let (mut captures, mut documents) = (Vec::new(), Vec::new());
        for key in 0..12 {
            let urlkey = format!("example,x)/{key:02}");
            for _ in 0..below(4) {
                let url = format!("http{}://x.example/{key}", if below(3) > 0 { "" } else { "s" });
                let timestamp = format!("201904181257{:02}", 50 + below(4));
                let status = ["200", "200", "301", ""][usize::try_from(below(4)).unwrap()];
                let digest = format!("D{}", below(2));
                captures.push(line(&urlkey, &timestamp, &url, status, &digest, "w.gz", below(5)));
            }
            for _ in 0..below(3) {
                documents.push((
                    urlkey.clone(),
                    format!("201904181257{:02}", 50 + below(4)),
                    format!("http://x.example/{key}"),
                ));
            }
        }
        captures.sort();
        captures.dedup();
        documents.sort();
        if captures.is_empty() {
            continue;
        }
        let blocks: Vec<&[String]> = captures.chunks(3).collect();
        let (folder, zipnum) = index(&blocks);
        let lines: Vec<_> = captures.iter().map(|line| CaptureLine::parse(line.as_bytes()).unwrap()).collect();
        put(folder.path(), "t.parquet", &table_file(&lines, &Shape { rows_per_group: 4, ..Shape::default() }));
        put(folder.path(), "table-summary.jsonl", summary_of(folder.path(), &["t.parquet"]).0.as_bytes());
        let mut table = zipnum.clone();
        table.crawl.as_mut().unwrap().cluster.location = folder.path().join("table-summary.jsonl");

        let config = Config {
            fallbacks: vec![Fallback::WithinASecond, Fallback::SameUrlkey, Fallback::Revisit, Fallback::SameDigest],
            ..Config::default()
        };
        let documents: Vec<(&str, &str, &str)> =
            documents.iter().map(|(key, time, url)| (key.as_str(), time.as_str(), url.as_str())).collect();
        let outcome = |resources: &Resources| {
            let (context, tally) = locate_with(config.clone(), resources, &documents);
            let located = testing::written::<Captures, _>(&context, |row| format!("{row:?}"));
            let rejects = testing::written::<Rejects, _>(&context, |row| format!("{row:?}"));
            (located, rejects, tally.unwrap().counts)
        };
        let of_zipnum = outcome(&zipnum);
        assert_eq!(of_zipnum, outcome(&table));
        for text in of_zipnum.0.iter().chain(&of_zipnum.1) {
            for name in
                ["exact", "within_a_second", "same_urlkey", "same_digest", "url_not_in_index", "ambiguous_capture"]
            {
                if text.contains(&format!("\"{name}\"")) {
                    seen.insert(name);
                }
            }
        }
    }
    // The generator reaches what it is meant to reach.
    assert_eq!(seen.len(), 6, "{seen:?}");
}
