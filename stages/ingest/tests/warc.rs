//! Tests of archives of one's own.

use weft_core::reject::Reason;

use super::*;
use crate::ingest::warc::Damage;

/// A stored record: one gzip member.
fn record(fields: &str, block: &[u8]) -> Vec<u8> {
    let head = format!("WARC/1.0\r\n{fields}Content-Length: {}\r\n\r\n", block.len());
    gzip(&[head.as_bytes(), block, b"\r\n\r\n"].concat())
}

fn response(url: &str, http: &str) -> Vec<u8> {
    let fields = format!(
        "WARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2019-04-18T12:57:54Z\r\n\
         Content-Type: application/http; msgtype=response\r\n"
    );
    record(&fields, http.as_bytes())
}

fn ok(html: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{html}")
}

fn page() -> String {
    let long = "The weaver threw the shuttle across the loom again and again, until the cloth was as long as the hall.";
    format!(
        "<html><head><meta name=robots content=noai></head><body><nav><a href=/>Home</a> <img src=/m.png></nav>\
         <article><h1>Of looms</h1><p>{long} Then she rested.</p><img src=/a.jpg alt='A loom'>\
         <p>{long}</p><img src='b.png'></article><footer>All rights reserved by the weaver of this page.</footer>"
    )
}

fn warc(config: WarcConfig, bytes: &[u8]) -> (Context, Result<Tally, StageError>) {
    ingest_as(Config::Warc(config), "w.warc.gz", bytes, Limits::default())
}

#[test]
fn a_page_becomes_a_document_with_its_images_in_their_places() {
    let bytes = response("http://a.example/x/", &ok(&page()));
    let (context, tally) = warc(WarcConfig::default(), &bytes);
    let tally = tally.unwrap();
    assert_eq!(
        (tally.counts[&Unit::Documents].kept, tally.counts[&Unit::References].kept),
        (1, 3),
        "{:?}",
        rejects(&context)
    );
    let length = u64::try_from(bytes.len()).unwrap();
    testing::written::<Outlines, _>(&context, |row| {
        assert_eq!(row.document_id, document_id("http://a.example/x/", "w.warc:1"));
        assert_eq!((row.url, row.timestamp, row.filename), ("http://a.example/x/", "20190418125754", "w.warc.gz"));
        assert_eq!((row.source_timestamp, row.offset, row.length), ("2019-04-18T12:57:54Z", 0, length));
        let words: Vec<&str> = row.sentences.iter().map(|text| text.split(' ').next().unwrap()).collect();
        assert_eq!(words, ["Of", "The", "Then", "The"]);
    });
    let candidates = testing::written::<Candidates, _>(&context, |row| {
        assert_eq!((row.page_timestamp, row.page_wishes), ("20190418125754", Some("robots: noai")));
        (row.image_url.to_owned(), row.alt.map(str::to_owned), row.follows_sentence)
    });
    let expected = [
        ("http://a.example/m.png", None, None),
        ("http://a.example/a.jpg", Some("A loom"), Some(2)),
        ("http://a.example/x/b.png", None, Some(3)),
    ];
    let expected = expected.map(|(url, alt, follows)| (url.to_owned(), alt.map(str::to_owned), follows));
    assert_eq!(candidates, expected);
}

#[test]
fn a_repeated_page_stays_two_documents_and_c4s_lines_are_a_choice() {
    let bytes = [response("http://a.example/", &ok(&page())), response("http://a.example/", &ok(&page()))].concat();
    let lines: WarcConfig = serde_json::from_str(r#"{"lines": "c4"}"#).unwrap();
    let (context, tally) = warc(lines, &bytes);
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 2);
    let rows = interleaved::outlines(&context);
    assert_ne!(rows[0].0, rows[1].0);
    // The heading is no line of C4: it lacks an end mark.
    let words: Vec<&str> = rows[0].2.iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["The", "Then", "The"]);
}

#[test]
fn records_of_one_gzip_member_stay_documents_of_their_own() {
    let fields = "WARC-Type: response\r\nWARC-Target-URI: http://a.example/\r\nWARC-Date: 2019-04-18T12:57:54Z\r\n\
                  Content-Type: application/http\r\n";
    let block = ok(&page());
    let one = format!("WARC/1.0\r\n{fields}Content-Length: {}\r\n\r\n{block}\r\n\r\n", block.len());
    let (context, tally) = warc(WarcConfig::default(), &gzip(one.repeat(3).as_bytes()));
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 3, "{:?}", rejects(&context));
    let ids: std::collections::BTreeSet<String> =
        interleaved::outlines(&context).into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn every_other_record_is_counted_under_its_reason_with_file_and_byte() {
    let url = "http://a.example/";
    let dated = "WARC-Date: 2019-04-18T12:57:54Z\r\nContent-Type: application/http\r\n";
    let digest = "sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let of_digest =
        format!("WARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Payload-Digest: {digest}\r\n{dated}");
    let undated = format!("WARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http\r\n");
    let many = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{}", "<div>".repeat(5_000));
    let records = [
        (record(&format!("WARC-Type: warcinfo\r\n{dated}"), b"a: b\r\n"), "not_a_response"),
        (
            record(&format!("WARC-Type: request\r\nWARC-Target-URI: {url}\r\n{dated}"), b"GET / HTTP/1.1\r\n\r\n"),
            "not_a_response",
        ),
        (response(url, "HTTP/1.1 404 Not Found\r\n\r\n<html>"), "status_404"),
        (response(url, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n<html>"), "not_html"),
        (response("dns:a.example", &ok(&page())), "bad_url"),
        (response("http://", &ok(&page())), "bad_url"),
        (record(&undated, ok(&page()).as_bytes()), "bad_timestamp"),
        (record(&of_digest, ok(&page()).as_bytes()), "digest_mismatch"),
        (response(url, &ok("<p><a href=x>Only a link.</a>")), "no_text"),
        (response(url, &ok(&page().replace("<img", "<x"))), "no_image"),
        (
            response(
                url,
                &ok(&page().replace("<img src=/m.png>", "").replace(".jpg", ".gif").replace("b.png", "icon.png")),
            ),
            "no_candidate",
        ),
        (response(url, &many), "page_too_large"),
    ];
    let bytes = records.iter().map(|(bytes, _)| bytes.as_slice()).collect::<Vec<_>>().concat();
    let (context, tally) = warc(WarcConfig::default(), &bytes);
    let tally = tally.unwrap();
    assert_eq!(tally.counts[&Unit::Documents].read, 12);
    assert_eq!(tally.counts[&Unit::Documents].kept, 0);
    let of_documents: Vec<(String, String)> = testing::written::<Rejects, _>(&context, |row| {
        (row.unit == "documents").then(|| (row.reason.to_owned(), row.evidence.to_owned()))
    })
    .into_iter()
    .flatten()
    .collect();
    let mut offset = 0;
    for (number, ((bytes, expected), (reason, evidence))) in (1..).zip(records.iter().zip(&of_documents)) {
        assert_eq!(reason, expected, "{evidence}");
        assert!(evidence.starts_with(&format!("w.warc record {number} at byte {offset}: ")), "{evidence}");
        offset += bytes.len();
    }
    assert_eq!(of_documents.len(), records.len());
}

#[test]
fn a_file_that_is_cut_off_fails_the_task_or_is_one_reject_by_choice() {
    let one = response("http://a.example/", &ok(&page()));
    let bytes = [&one[..], &one[..one.len() - 30]].concat();
    let (_, result) = warc(WarcConfig::default(), &bytes);
    let message = result.unwrap_err().to_string();
    assert!(message.contains(&format!("w.warc.gz at byte {}", one.len())), "{message}");
    assert!(message.contains("stages.ingest.damage"), "{message}");
    let (context, tally) = warc(WarcConfig { damage: Damage::Reject, ..WarcConfig::default() }, &bytes);
    let tally = tally.unwrap();
    assert_eq!(tally.counts[&Unit::Documents].kept, 1);
    let damaged = Reason::RecordDamaged.name().into_owned();
    assert!(tally.counts[&Unit::Documents].rejected[&damaged] >= 1);
    let place = format!(" at byte {}: ", one.len());
    assert!(rejects(&context).iter().all(|(_, evidence)| evidence.contains(&place)), "{:?}", rejects(&context));
}

/// Every archive of real data, clean or odd, is read to its end or to a named damage.
#[test]
fn real_archives_are_read_or_refused_with_a_place() {
    let Some(folder) = std::env::var_os("WEFT_CONFORMANCE") else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set; no real archive was ingested");
        return;
    };
    let topic = Path::new(&folder).join("warc");
    let expected: serde_json::Value =
        serde_json::from_reader(std::fs::File::open(topic.join("expected.json")).unwrap()).unwrap();
    let files = expected.as_object().unwrap();
    assert!(!files.is_empty());
    let (mut clean, mut kept) = (0, 0);
    for (name, of_file) in files {
        let location = topic.join(name);
        let resources = Resources {
            documents: vec![OutsideFile { name: name.clone(), location, digest: String::new(), bytes: 0 }],
            ..Resources::default()
        };
        let stage = Ingest::open(Config::Warc(WarcConfig::default()), &resources).unwrap();
        let context = testing::context();
        match stage.run(ShardId(0), &context) {
            Ok(tally) => {
                clean += 1;
                kept += tally.counts.get(&Unit::Documents).map_or(0, |count| count.kept);
            }
            Err(cause) => {
                let message = cause.to_string();
                assert!(message.contains(" at byte "), "{name}: {message}");
                assert_ne!(of_file["verdict"], "clean", "{name}: {message}");
            }
        }
    }
    println!("{} archives, {clean} read to their end, {kept} documents with a candidate", files.len());
}
