//! Tests of sources that name their images: MMC4 and OBELICS.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, ListBuilder, StringArray, StringBuilder};
use weft_core::id::hash_shard;
use zip::write::SimpleFileOptions;

use super::pages::parquet_of;
use super::*;

/// A line as MMC4 was published; the values are made.
const MMC4: &str = r#"{"url": "http://a.example/", "text_list": ["One \u00e9.", "Two.\nThree."], "image_info": [{"image_name": "b.jpg", "raw_url": "http://i.example/b c.jpg?x=1", "matched_text_index": 7, "matched_sim": 0.3, "face_detections": null}, {"image_name": "d.png", "raw_url": "https://i.example/d.png", "matched_text_index": 1, "matched_sim": 0.3, "face_detections": null}], "similarity_matrix": [[0.1, 0.2], [0.3, 0.4]], "could_have_url_duplicate": 0}"#;

#[derive(Debug, PartialEq, Eq)]
struct Outline {
    document_id: String,
    url: String,
    sentences: Vec<String>,
    candidates: u32,
    filename: String,
    timestamp: String,
}

pub(super) fn outlines(context: &Context) -> Vec<(String, String, Vec<String>)> {
    testing::written::<Outlines, _>(context, |row| {
        let sentences = row.sentences.iter().map(|text| (*text).to_owned()).collect();
        (row.document_id.to_owned(), row.url.to_owned(), sentences)
    })
}

fn mmc4(name: &str, bytes: &[u8], limits: Limits) -> (Context, Result<Tally, StageError>) {
    ingest_as(Config::Mmc4(NoChoice {}), name, bytes, limits)
}

#[test]
fn a_line_of_mmc4_keeps_its_sentences_and_urls_as_they_are_and_nothing_else() {
    let (context, tally) = mmc4("docs_shard_7_v2.jsonl", MMC4.as_bytes(), Limits::default());
    let tally = tally.unwrap();
    assert_eq!((tally.counts[&Unit::Documents].kept, tally.counts[&Unit::References].kept), (1, 2));
    let rows = testing::written::<Outlines, _>(&context, |row| Outline {
        document_id: row.document_id.to_owned(),
        url: row.url.to_owned(),
        sentences: row.sentences.iter().map(|text| (*text).to_owned()).collect(),
        candidates: row.candidates,
        filename: row.filename.to_owned(),
        timestamp: row.timestamp.to_owned(),
    });
    let id = document_id("http://a.example/", "docs_shard_7_v2.jsonl:1");
    let expected = Outline {
        document_id: id.clone(),
        url: "http://a.example/".to_owned(),
        sentences: vec!["One é.".to_owned(), "Two.\nThree.".to_owned()],
        candidates: 2,
        filename: String::new(),
        timestamp: String::new(),
    };
    assert_eq!(rows, [expected]);
    let candidates = testing::written::<Candidates, _>(&context, |row| {
        assert_eq!((row.document_id, row.page_timestamp, row.follows_sentence), (id.as_str(), "", None));
        (row.image_index, row.image_url.to_owned())
    });
    let urls = ["http://i.example/b c.jpg?x=1", "https://i.example/d.png"];
    assert_eq!(candidates, [(0, urls[0].to_owned()), (1, urls[1].to_owned())]);
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn plain_gzip_and_zip_give_the_same_tables() {
    let lines = [MMC4, MMC4, ""].join("\n");
    let packed = [
        ("s_0_v2.jsonl", lines.as_bytes().to_vec()),
        ("s_0_v2.jsonl.gz", gzip(lines.as_bytes())),
        ("s_0_v2.jsonl.zip", zipped(&[("some/name.jsonl", lines.as_bytes())])),
    ];
    let digests = packed.map(|(name, bytes)| {
        let (context, tally) = mmc4(name, &bytes, Limits::default());
        assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 2);
        let outputs = context.outputs.lock().unwrap();
        outputs.iter().map(|output| output.blake3.clone()).collect::<Vec<_>>()
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn one_page_in_several_lines_and_members_stays_several_documents() {
    let lines = [MMC4, MMC4].join("\n");
    let bytes = zipped(&[("a.jsonl", lines.as_bytes()), ("b.jsonl", lines.as_bytes())]);
    let (context, tally) = mmc4("s.zip", &bytes, Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 4);
    let ids: BTreeSet<String> = outlines(&context).into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.contains(&document_id("http://a.example/", "s!b.jsonl:2")));
    // Both tables hold a shard's documents by id.
    let outputs = context.outputs.lock().unwrap();
    for output in outputs.iter().filter(|output| output.table != "rejects") {
        let shards: BTreeSet<u32> = output.directory.iter().flatten().map(|entry| entry.shard.0).collect();
        assert_eq!(shards, ids.iter().map(|id| hash_shard(id, 2).0).collect());
    }
}

#[test]
fn each_bad_line_and_image_of_mmc4_is_rejected_with_its_place() {
    let line = |texts: &str, images: &str| {
        format!(r#"{{"url": "http://a.example/", "text_list": {texts}, "image_info": {images}}}"#)
    };
    let image = |url: &str| format!(r#"{{"raw_url": "{url}"}}"#);
    let many = vec![image("http://i.example/a.jpg"); 4].join(",");
    let lines = [
        "{".to_owned(),
        r#"{"url": "http://a.example/", "text_list": ["t"]}"#.to_owned(),
        line("[]", "[]"),
        line(r#"[" ", ""]"#, &format!("[{}]", image("http://i.example/a.jpg"))),
        line(r#"["t"]"#, "[]"),
        line(r#"["t"]"#, &format!("[{}, {}]", image("ftp://i.example/a.jpg"), image("a.jpg"))),
        line(r#"["t"]"#, &format!("[{many}]")),
        line(r#"["t"]"#, &format!("[{}, {}]", image("http://i.example/a"), image("http://I.example/a"))),
        line(r#"["t"]"#, "[]").replace("http://a.example/", "about:blank"),
    ];
    let limits = Limits { page_images: 3, ..Limits::default() };
    let (context, tally) = mmc4("s.jsonl", lines.join("\n").as_bytes(), limits);
    let tally = tally.unwrap();
    assert_eq!((tally.counts[&Unit::Documents].read, tally.counts[&Unit::Documents].kept), (9, 1));
    assert_eq!((tally.counts[&Unit::References].read, tally.counts[&Unit::References].kept), (4, 1));
    let expected = [
        ("bad_line", "s.jsonl line 1: EOF while parsing an object at column 1"),
        ("bad_line", "s.jsonl line 2: missing field `image_info` at column 48"),
        ("no_text", "s.jsonl line 3: `http://a.example/` has 0 sentences, all blank"),
        ("no_text", "s.jsonl line 4: `http://a.example/` has 2 sentences, all blank"),
        ("no_image", "s.jsonl line 5: 0 references"),
        ("scheme", "ftp"),
        ("not_a_url", "relative URL without a base"),
        ("no_candidate", "s.jsonl line 6: 2 references"),
        ("page_too_large", "s.jsonl line 7: page_images exceeds the limit of 3"),
        ("repeated_url", "the document names it before"),
        ("bad_url", "s.jsonl line 9: `about:blank`"),
    ];
    assert_eq!(rejects(&context), expected.map(|(reason, evidence)| (reason.to_owned(), evidence.to_owned())));
}

#[test]
fn an_archive_that_is_damaged_fails_the_task_naming_member_and_byte() {
    let lines = vec![MMC4; 200].join("\n");
    let whole = zipped(&[("a.jsonl", lines.as_bytes())]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 0x55;
    let (_, result) = mmc4("s.zip", &flipped, Limits::default());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("s.zip at member `a.jsonl`, byte "), "{message}");
    let (_, result) = mmc4("s.zip", &whole[..whole.len() - 30], Limits::default());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("s.zip at its directory"), "{message}");
}

#[test]
fn mmc4s_own_printed_example_is_a_document() {
    let Some(folder) = std::env::var_os("WEFT_CONFORMANCE") else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set; MMC4's example was not read");
        return;
    };
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(Path::new(&folder).join("c4/mmc4_example.jsonl")).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    let (context, tally) = mmc4("mmc4_example.jsonl", &bytes, Limits::default());
    let tally = tally.unwrap();
    let lines = u64::try_from(bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count()).unwrap();
    assert_eq!(tally.counts[&Unit::Documents].kept, lines);
    let outlines = outlines(&context);
    let example = outlines.iter().find(|(_, url, _)| url == "http://www.hfitinfo.com/hofi-48.html").unwrap();
    assert_eq!(example.2.len(), 3);
    assert!(example.2[0].starts_with("When you lock the door using the lock tab on the driver’s door"));
    let urls = testing::written::<Candidates, _>(&context, |row| row.image_url.to_owned());
    assert!(urls.contains(&"http://www.hfitinfo.com/honda_fit_pics/3/2/index.90.jpg".to_owned()));
}

/// A list of texts and nulls, or none.
type Texts<'a> = Option<Vec<Option<&'a str>>>;

/// A column of lists of texts.
fn lists(rows: &[Texts<'_>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        if let Some(row) = row {
            row.iter().for_each(|text| builder.values().append_option(*text));
        }
        builder.append(row.is_some());
    }
    let lists: ListArray = builder.finish();
    Arc::new(lists)
}

fn texts(rows: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from_iter(rows.iter().copied()))
}

fn obelics(bytes: &[u8]) -> (Context, Result<Tally, StageError>) {
    ingest_as(Config::Obelics(NoChoice {}), "train-0.parquet", bytes, Limits::default())
}

#[test]
fn a_row_of_obelics_gives_sentences_images_in_their_places_and_the_pages_record() {
    let general = r#"{"url": "http://a.example/", "warc_filename": "c/w.warc.gz", "warc_record_offset": 17, "warc_record_length": 5}"#;
    let metadata = r#"[{"alt_text": "A bee", "src": "x"}, null, {"alt_text": null}, null]"#;
    let image = |name: &'static str| Some(name);
    let bytes = parquet_of(vec![
        ("images", lists(&[Some(vec![image("http://i.example/a.jpg"), None, image("http://i.example/b.jpg"), None])])),
        ("metadata", texts(&[Some(metadata)])),
        ("general_metadata", texts(&[Some(general)])),
        ("texts", lists(&[Some(vec![None, Some("One. Two\n\nA heading\n\nThree."), None, Some("Four.")])])),
    ]);
    let (context, tally) = obelics(&bytes);
    let tally = tally.unwrap();
    assert_eq!((tally.counts[&Unit::Documents].kept, tally.facts.get("metadata_unread")), (1, None));
    let rows = testing::written::<Outlines, _>(&context, |row| {
        assert_eq!(row.sentences, ["One.", "Two", "A heading", "Three.", "Four."]);
        assert_eq!(row.document_id, document_id("http://a.example/", "train-0.parquet:1"));
        (row.filename.to_owned(), row.offset, row.length, row.timestamp.to_owned())
    });
    assert_eq!(rows, [("c/w.warc.gz".to_owned(), 17, 5, String::new())]);
    let candidates = testing::written::<Candidates, _>(&context, |row| {
        (row.image_url.to_owned(), row.alt.map(str::to_owned), row.follows_sentence)
    });
    let expected = [
        ("http://i.example/a.jpg".to_owned(), Some("A bee".to_owned()), None),
        ("http://i.example/b.jpg".to_owned(), None, Some(3)),
    ];
    assert_eq!(candidates, expected);
}

#[test]
fn bad_rows_of_obelics_are_rejected_by_reason_with_their_number() {
    let general = Some(r#"{"url": "http://a.example/"}"#);
    let image = Some("http://i.example/a.jpg");
    let rows: [(Texts<'_>, Texts<'_>, Option<&str>); 6] = [
        (None, Some(vec![Some("t")]), general),
        (Some(vec![image]), Some(vec![None, Some("t")]), general),
        (Some(vec![image]), Some(vec![Some("t")]), general),
        (Some(vec![image, None]), Some(vec![None, Some("t")]), None),
        (Some(vec![image, None]), Some(vec![None, Some("t")]), Some("{}")),
        (Some(vec![image, None]), Some(vec![None, Some("t")]), general),
    ];
    let bytes = parquet_of(vec![
        ("images", lists(&rows.each_ref().map(|row| row.0.clone()))),
        ("metadata", texts(&[Some("no list"); 6])),
        ("general_metadata", texts(&rows.each_ref().map(|row| row.2))),
        ("texts", lists(&rows.each_ref().map(|row| row.1.clone()))),
    ]);
    let (context, tally) = obelics(&bytes);
    let tally = tally.unwrap();
    assert_eq!((tally.counts[&Unit::Documents].read, tally.counts[&Unit::Documents].kept), (6, 1));
    let expected = [
        ("null_field", "train-0.parquet row 1: `texts` or `images` is null"),
        ("bad_row", "train-0.parquet row 2: 2 texts beside 1 images"),
        ("bad_row", "train-0.parquet row 3: a text and an image both stand at position 0"),
        ("null_field", "train-0.parquet row 4: `general_metadata` is null"),
        ("bad_row", "train-0.parquet row 5: `general_metadata`: missing field `url` at column 2"),
    ];
    assert_eq!(rejects(&context), expected.map(|(reason, evidence)| (reason.to_owned(), evidence.to_owned())));
    assert_eq!(tally.facts["metadata_unread"], 4);
}
