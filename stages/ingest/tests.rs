mod interleaved;
mod pages;
mod warc;

use std::io::Write;
use std::path::Path;

use weft_core::id::document_id;
use weft_core::limits::Limits;
use weft_core::stage::Crawl;
use weft_core::tables::Rejects;
use weft_core::testing;

use super::*;

const DOCUMENT: &str =
    r#"{"text": "One. Two is more.\nThree", "timestamp": "2019-04-18T12:57:54Z", "url": "http://www.b.example/x"}"#;

fn file(folder: &Path, name: &str, bytes: &[u8]) -> OutsideFile {
    let location = folder.join(name);
    let mut file = std::fs::File::options().write(true).create_new(true).open(&location).unwrap();
    file.write_all(bytes).unwrap();
    let bytes = u64::try_from(bytes.len()).unwrap();
    OutsideFile { name: name.to_owned(), location, digest: String::new(), bytes }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Ingests a file of these bytes as C4.
fn ingest(bytes: &[u8], limits: Limits) -> (Context, Result<Tally, StageError>) {
    ingest_as(Config::default(), "source", bytes, limits)
}

/// Ingests a file of this name and these bytes into two corpus shards, cut at `example,m)/`, or two crawl shards.
fn ingest_as(config: Config, name: &str, bytes: &[u8], limits: Limits) -> (Context, Result<Tally, StageError>) {
    let folder = tempfile::tempdir().unwrap();
    let summary =
        "example,a)/ 20190101000000\tcdx-00000.gz\t0\t9\t1\nexample,m)/ 20190101000000\tcdx-00000.gz\t9\t9\t2\n";
    let resources = Resources {
        documents: vec![file(folder.path(), name, bytes)],
        crawl: Some(Crawl {
            name: "test".to_owned(),
            root: String::new(),
            index: String::new(),
            cluster: file(folder.path(), "cluster.idx", summary.as_bytes()),
        }),
        ..Resources::default()
    };
    let mut context = testing::context();
    (context.shards.corpus, context.shards.crawl) = (2, 2);
    context.limits = limits;
    let stage = Ingest::open(config, &resources).unwrap();
    let tally = stage.run(ShardId(0), &context);
    (context, tally)
}

fn rejects(context: &Context) -> Vec<(String, String)> {
    testing::written::<Rejects, _>(context, |row| (row.reason.to_owned(), row.evidence.to_owned()))
}

#[test]
fn a_document_gets_key_time_id_and_sentences() {
    let (context, tally) = ingest(DOCUMENT.as_bytes(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 1);
    let rows = testing::written::<Documents, _>(&context, |row| {
        let names = [row.urlkey, row.timestamp, row.url, row.source_timestamp].map(str::to_owned);
        (names, row.document_id.to_owned(), row.sentences.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    });
    let url = "http://www.b.example/x";
    assert_eq!(rows[0].0, ["example,b)/x", "20190418125754", url, "2019-04-18T12:57:54Z"]);
    assert_eq!(rows[0].1, document_id(url, "20190418125754"));
    assert_eq!(rows[0].2, ["One.", "Two is more.", "Three"]);
}

#[test]
fn gzip_and_plain_files_give_the_same_table() {
    let source = [DOCUMENT, DOCUMENT, ""].join("\n");
    // Two members, the border inside a line.
    let (first, second) = source.as_bytes().split_at(40);
    let members = [gzip(first), gzip(second)].concat();
    let digests = [source.as_bytes(), &members].map(|bytes| {
        let (context, tally) = ingest(bytes, Limits::default());
        assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 2);
        let outputs = context.outputs.lock().unwrap();
        outputs.iter().map(|output| output.blake3.clone()).collect::<Vec<_>>()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn documents_go_to_the_shard_of_their_surt_range() {
    let other = DOCUMENT.replace("b.example", "n.example");
    let (context, _) = ingest([&other, DOCUMENT].join("\n").as_bytes(), Limits::default());
    let outputs = context.outputs.lock().unwrap();
    let output = outputs.iter().find(|output| output.table == "documents").unwrap();
    let shards: Vec<(u32, u64)> = output.directory.iter().flatten().map(|entry| (entry.shard.0, entry.rows)).collect();
    assert_eq!(shards, [(0, 1), (1, 1)]);
}

#[test]
fn each_bad_line_is_rejected_with_its_number_and_the_rest_is_kept() {
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(300));
    let lines: [&[u8]; 10] = [
        b"not json",
        br#"{"text": "t", "timestamp": "2019-04-18T12:57:54Z"}"#,
        br#"{"text": "t", "timestamp": "2019-04-18T12:57:54Z", "url": ""}"#,
        br#"{"text": "t", "timestamp": "yesterday", "url": "http://b.example/"}"#,
        br#"{"text": " \u001c", "timestamp": "2019-04-18T12:57:54Z", "url": "http://b.example/"}"#,
        b"{\"text\": \"\xff\"}",
        long.as_bytes(),
        b"",
        br#"{"text": null, "timestamp": "2019-04-18T12:57:54Z", "url": "http://b.example/"}"#,
        DOCUMENT.as_bytes(),
    ];
    let limits = Limits { line_bytes: 200, ..Limits::default() };
    let (context, tally) = ingest(&lines.join(&b'\n'), limits);
    let tally = tally.unwrap();
    assert_eq!((tally.counts[&Unit::Documents].read, tally.counts[&Unit::Documents].kept), (10, 1));
    let expected = [
        ("bad_line", "line 1: expected ident at column 2"),
        ("bad_line", "line 2: missing field `url` at column 50"),
        ("bad_url", "line 3: ``"),
        ("bad_timestamp", "line 4: `yesterday`"),
        ("no_text", "line 5: `http://b.example/` has a text of 2 bytes, all blank"),
        ("not_utf8", "line 6: invalid utf-8 sequence of 1 bytes from index 10"),
        ("line_too_long", "line 7: 312 bytes; line_bytes is 200"),
        ("bad_line", "line 8: EOF while parsing a value at column 0"),
        ("bad_line", "line 9: invalid type: null, expected a string at column 13"),
    ];
    let rejects = rejects(&context);
    for ((reason, evidence), expected) in rejects.iter().zip(expected) {
        assert_eq!((reason.as_str(), evidence.as_str()), expected);
    }
    assert_eq!(rejects.len(), expected.len());
}

#[test]
fn a_source_file_that_is_cut_off_fails_the_task_and_names_the_byte() {
    let whole = gzip(DOCUMENT.repeat(50).as_bytes());
    let cut = &whole[..whole.len() - 12];
    let (_, result) = ingest(cut, Limits::default());
    let message = result.unwrap_err().to_string();
    assert!(message.contains(&format!("source at byte {}", cut.len())), "{message}");
    assert!(message.contains("is cut off"), "{message}");
    let (_, result) = ingest(&[&whole[..], b"more"].concat(), Limits::default());
    let message = result.unwrap_err().to_string();
    assert!(message.contains(&format!("no gzip member begins at offset {}", whole.len())), "{message}");
}

#[test]
fn a_bomb_in_a_source_file_fails_the_task() {
    let bomb = gzip(&vec![b' '; 8 << 20]);
    let (_, result) = ingest(&bomb, Limits { inflate_ratio: 100, ..Limits::default() });
    assert!(result.unwrap_err().to_string().contains("inflate_ratio exceeds the limit of 100"));
}

#[test]
fn a_sections_unknown_keys_are_refused_in_every_kind() {
    for (section, is_usable) in [
        (serde_json::json!({"kind": "c4"}), true),
        (serde_json::json!({"kind": "c4", "columns": {}}), false),
        (serde_json::json!({"kind": "mmc4", "damage": "reject"}), false),
        (serde_json::json!({"kind": "warc", "damage": "reject", "references": {"keywords": []}}), true),
        (serde_json::json!({"kind": "warc", "lines": "c5"}), false),
        (serde_json::json!({"kind": "jsonl"}), false),
        (serde_json::json!({"kind": "jsonl", "columns": {"text": "t", "url": "u", "timestamp": "s"}}), true),
        (serde_json::json!({"kind": "tar"}), false),
        (serde_json::json!({}), false),
    ] {
        assert_eq!(serde_json::from_value::<Config>(section.clone()).is_ok(), is_usable, "{section}");
    }
}
