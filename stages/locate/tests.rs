use std::io::Write;
use std::path::Path;

use weft_core::id::document_id;
use weft_core::stage::{Crawl, OutsideFile};
use weft_core::tables::Rejects;
use weft_core::testing;

use super::*;

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
    let tally = Locate::open(Config::default(), resources).unwrap().run(ShardId(0), &context);
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
fn an_index_that_is_cut_off_damaged_or_outside_the_root_fails_the_task() {
    let lines = [line("a", TIME, "http://x.example/", "200", "D", "w.gz", 1)];
    let documents = [("a", TIME, "http://x.example/")];

    let (folder, resources) = index(&[&lines]);
    let shard = folder.path().join("cdx-00000.gz");
    std::fs::File::options().write(true).open(&shard).unwrap().set_len(20).unwrap();
    let message = locate(&resources, &documents).1.unwrap_err().to_string();
    assert!(message.contains("cdx-00000.gz at byte 0") && message.contains("ends after 20"), "{message}");

    let (folder, resources) = index(&[&lines]);
    let mut shard = std::fs::File::options().write(true).open(folder.path().join("cdx-00000.gz")).unwrap();
    shard.write_all(&[0; 20]).unwrap();
    let message = locate(&resources, &documents).1.unwrap_err().to_string();
    assert!(message.contains("damaged after 0 lines"), "{message}");

    let (folder, mut resources) = index(&[&lines]);
    put(folder.path(), "odd.idx", format!("a {TIME}\t../cdx-00000.gz\t0\t50\n").as_bytes());
    resources.crawl.as_mut().unwrap().cluster.location = folder.path().join("odd.idx");
    let message = locate(&resources, &documents).1.unwrap_err().to_string();
    assert!(message.contains("`../cdx-00000.gz` is no path below the root"), "{message}");
}
