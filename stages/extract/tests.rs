use std::collections::BTreeMap;

use weft_core::tables::Rejects;
use weft_core::testing::{context, give, written};

use super::*;

fn page(url: &'static str, content_type: Option<&'static str>, body: &'static str) -> PagesRow<'static> {
    PagesRow {
        document_id: url,
        url,
        timestamp: "20190418120000",
        source_timestamp: "2019-04-18T12:00:00Z",
        filename: "a.warc.gz",
        offset: 0,
        length: 1,
        content_type,
        mime_detected: None,
        robots_tag: None,
        truncated: false,
        body: body.as_bytes(),
        sentences: vec!["One thing.", "Another thing."],
    }
}

struct Extracted {
    tally: Tally,
    /// Document, index, URL.
    candidates: Vec<(String, u32, String)>,
    /// Unit, URL, reason, evidence.
    rejects: Vec<(String, String, String, String)>,
    context: Context,
}

fn extract<'a>(config: Config, pages: impl IntoIterator<Item = PagesRow<'a>>) -> Extracted {
    let mut context = context();
    give::<Pages>(&mut context, pages);
    let stage = Extract::open(config, &Resources::default()).unwrap();
    let tally = stage.run(ShardId(0), &context).unwrap();
    let candidates = written::<Candidates, _>(&context, |row| {
        (row.document_id.to_owned(), row.image_index, row.image_url.to_owned())
    });
    let rejects = written::<Rejects, _>(&context, |row| {
        let url = row.image_url.unwrap_or_default().to_owned();
        (row.unit.to_owned(), url, row.reason.to_owned(), row.evidence.to_owned())
    });
    Extracted { tally, candidates, rejects, context }
}

fn urls(extracted: &Extracted) -> Vec<&str> {
    extracted.candidates.iter().map(|(_, _, url)| url.as_str()).collect()
}

fn reasons(extracted: &Extracted) -> Vec<(&str, &str)> {
    extracted.rejects.iter().map(|(unit, _, reason, _)| (unit.as_str(), reason.as_str())).collect()
}

#[test]
fn references_are_listed_in_dom_order_with_what_stands_around_them() {
    let html = "<title>x</title><img src=a.JPG alt='A bee' width=300 height='40%'><p>One thing.</p>\
                <img src=/b.png height='20px'><p>Another thing.</p><img src='http://c.example/c.jpeg'>";
    let mut row = page("http://a.example/x/", Some("text/html"), html);
    row.robots_tag = Some("noimageindex");
    let extracted = extract(Config::default(), [row]);
    assert_eq!(urls(&extracted), ["http://a.example/x/a.JPG", "http://a.example/b.png", "http://c.example/c.jpeg"]);
    let around = written::<Candidates, _>(&extracted.context, |row| {
        let alt = row.alt.map(str::to_owned);
        (row.image_index, alt, row.width_hint_px, row.height_hint_px, row.follows_sentence)
    });
    assert_eq!(
        around,
        [
            (0, Some("A bee".to_owned()), Some(300), None, None),
            (1, None, None, Some(20), Some(0)),
            (2, None, None, None, Some(1)),
        ]
    );
    let wishes = written::<Candidates, _>(&extracted.context, |row| row.page_wishes.map(str::to_owned));
    assert_eq!(wishes[0].as_deref(), Some("x-robots-tag: noimageindex"));
    let outlines =
        written::<Outlines, _>(&extracted.context, |row| (row.candidates, row.sentences.len(), row.url.to_owned()));
    assert_eq!(outlines, [(3, 2, "http://a.example/x/".to_owned())]);
}

#[test]
fn every_reference_is_kept_or_rejected_with_its_first_reason() {
    let html = "<img src=a.png><img src=a.png><img src=a.gif><img src=Logo.png><img src=logo.gif>\
                <img src='data:image/png;base64,AA'><img src='ftp://a.example/a.png'><img src='http://:80/a.png'>\
                <img srcset='later.png 2x'><img src='b.png?w=1'>";
    let extracted = extract(Config::default(), [page("http://a.example/", Some("text/html"), html)]);
    assert_eq!(urls(&extracted), ["http://a.example/a.png"]);
    assert_eq!(
        reasons(&extracted),
        [
            ("references", "repeated_url"),
            ("references", "extension"),
            ("references", "keyword"),
            ("references", "extension"),
            ("references", "scheme"),
            ("references", "scheme"),
            ("references", "not_a_url"),
            ("references", "extension"),
        ]
    );
    let references = &extracted.tally.counts[&Unit::References];
    assert_eq!((references.read, references.kept), (9, 1));
    let (_, url, _, evidence) = &extracted.rejects[2];
    assert_eq!((url.as_str(), evidence.as_str()), ("http://a.example/Logo.png", "logo"));
}

#[test]
fn the_rule_is_the_recipes() {
    let html = "<img src='a.webp?w=1'><img src=a.png><img src='/icon/b.webp'>";
    let config = Config { extensions: vec!["WEBP".to_owned()], extension_rule: Extension::Path, keywords: Vec::new() };
    let extracted = extract(config, [page("http://a.example/", Some("text/html"), html)]);
    assert_eq!(urls(&extracted), ["http://a.example/a.webp?w=1", "http://a.example/icon/b.webp"]);
}

#[test]
fn a_page_without_candidates_says_why() {
    let rows = [
        page("http://a.example/1", Some("text/plain; charset=utf-8"), "<html><img src=a.png>"),
        page("http://a.example/2", Some("text/html"), "<p>No picture.</p>"),
        page("http://a.example/3", Some("text/html"), "<img src=a.gif>"),
        page("http://a.example/4", None, "<html><img src=a.png>"),
        page("http://a.example/5", Some("application/octet-stream"), "\u{1}\u{2}"),
        PagesRow { mime_detected: Some("application/pdf"), ..page("http://a.example/6", Some("text/html"), "%PDF") },
        PagesRow {
            mime_detected: Some("text/html"),
            ..page("http://a.example/7", Some("text/plain"), "<img src=a.png>")
        },
        page("no url", Some("text/html"), "<img src=http://a.example/a.png>"),
    ];
    let extracted = extract(Config::default(), rows);
    assert_eq!(
        reasons(&extracted),
        [
            ("pages", "not_html"),
            ("pages", "no_image"),
            ("references", "extension"),
            ("pages", "no_candidate"),
            ("pages", "not_html"),
            ("pages", "not_html"),
            ("pages", "bad_url"),
        ]
    );
    assert_eq!(urls(&extracted), ["http://a.example/a.png", "http://a.example/a.png"]);
    assert_eq!(extracted.tally.counts[&Unit::Pages].kept, 2);
}

#[test]
fn a_page_past_a_limit_is_rejected_with_the_limit() {
    let mut context = context();
    context.limits.page_images = 2;
    give::<Pages>(
        &mut context,
        [page("http://a.example/", Some("text/html"), "<img src=a.png><img src=b.png><img src=c.png>")],
    );
    Extract::open(Config::default(), &Resources::default()).unwrap().run(ShardId(0), &context).unwrap();
    let rejects = written::<Rejects, _>(&context, |row| (row.reason.to_owned(), row.evidence.to_owned()));
    assert_eq!(rejects, [("page_too_large".to_owned(), "page_images exceeds the limit of 2".to_owned())]);
}

#[test]
fn wishes_stand_one_a_line() {
    let html = "<meta name=robots content='noai,\n noimageai'><meta name=googlebot content=noindex><img src=a.png>";
    let mut row = page("http://a.example/", Some("text/html"), html);
    row.robots_tag = Some("otherbot: noindex");
    let extracted = extract(Config::default(), [row]);
    let wishes = written::<Candidates, _>(&extracted.context, |row| row.page_wishes.map(str::to_owned));
    let expected = "robots: noai, noimageai\ngooglebot: noindex\nx-robots-tag: otherbot: noindex";
    assert_eq!(wishes, [Some(expected.to_owned())]);
}

#[test]
fn the_default_rule_is_mmc4s() {
    let config = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(
        config,
        serde_json::json!({
            "extensions": ["jpg", "jpeg", "png"],
            "extension_rule": "whole-url",
            "keywords": ["logo", "button", "icon", "plugin", "widget"],
        })
    );
    assert!(serde_json::from_str::<Config>("{\"extension\": []}").is_err(), "an unknown key is an error");
}

#[test]
fn candidates_of_archive_org_are_those_of_the_reference() {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set");
        return;
    };
    let root = std::path::Path::new(&root).join("archive-org");
    let expected: serde_json::Value =
        serde_json::from_reader(std::fs::File::open(root.join("expected.json")).unwrap()).unwrap();
    let limits = Limits::default();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();

    let mut pages = Vec::new();
    let mut wanted = BTreeMap::new();
    for document in expected["documents"].as_array().unwrap() {
        if !document["miss"].is_null() {
            continue;
        }
        let capture = &document["capture"];
        let file = std::fs::File::open(root.join(capture["filename"].as_str().unwrap())).unwrap();
        let mut file = std::io::BufReader::new(file);
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(capture["offset"].as_u64().unwrap())).unwrap();
        let mut records = crate::formats::warc::WarcReader::open(file, limits.clone()).unwrap();
        let record = records.next().unwrap().unwrap();
        let message = record.http(&limits).unwrap().unwrap();
        let body = record.payload(&limits).unwrap().bytes.into_owned();
        let content_type = message.header("content-type").map(str::to_owned);
        let of_list = |name: &str| -> Vec<String> {
            document[name].as_array().map(|list| list.iter().map(text).collect()).unwrap_or_default()
        };
        wanted.insert(text(&document["url"]), (of_list("mmc4_candidates"), document.clone()));
        pages.push((text(&document["url"]), text(&capture["timestamp"]), content_type, body, of_list("sentences")));
    }
    let rows = pages.iter().map(|(url, timestamp, content_type, body, sentences)| PagesRow {
        document_id: url,
        url,
        timestamp,
        content_type: content_type.as_deref(),
        body,
        sentences: sentences.iter().map(String::as_str).collect(),
        ..page("", None, "")
    });
    let extracted = extract(Config::default(), rows);

    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (document, _, url) in &extracted.candidates {
        found.entry(document).or_default().push(url);
    }
    for (url, (candidates, document)) in &wanted {
        let found = found.get(url.as_str()).cloned().unwrap_or_default();
        assert_eq!(found, candidates.iter().map(String::as_str).collect::<Vec<_>>(), "{url}: {document}");
    }
    let summary = &expected["summary"];
    let (pages, references) = (&extracted.tally.counts[&Unit::Pages], &extracted.tally.counts[&Unit::References]);
    let rules = &summary["url_rule_and_candidates"];
    assert_eq!(pages.read, summary["docs"]["located"].as_u64().unwrap());
    assert_eq!(pages.kept, summary["docs"]["with_candidates"].as_u64().unwrap());
    assert_eq!(pages.read - pages.rejected["not_html"], summary["docs"]["located_html"].as_u64().unwrap());
    assert_eq!(references.kept, rules["mmc4_candidates"].as_u64().unwrap());
    assert_eq!(references.rejected["extension"], rules["extension"].as_u64().unwrap());
    assert_eq!(references.rejected["keyword"], rules["keyword"].as_u64().unwrap());
    assert_eq!(references.read, rules["img_elements"].as_u64().unwrap());
}
