//! How much of what another extractor makes of real pages is found here: measures, and a floor under each.
//!
//! The documents of archive-org have texts by resiliparse: visible text, then lines by C4's rules with three words
//! instead of five. With all lines, our sentences should hold most of theirs; with C4's lines, theirs should hold most
//! of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use url::Url;
use weft_core::limits::Limits;

use super::*;
use crate::formats::encoding;
use crate::formats::lines::{Line, Lines};
use crate::formats::page::{ExtensionRule, images_and_blocks};
use crate::formats::warc::WarcReader;

fn topic(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("WEFT_CONFORMANCE") else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set; the content of real pages was not compared");
        return None;
    };
    Some(Path::new(&folder).join(name))
}

fn main_sentences(html: &[u8], content_type: Option<&str>, url: &str, lines: LineRule) -> Vec<String> {
    let html = encoding::decode(html, content_type);
    let url = Url::parse(url).unwrap();
    let (_, blocks) = images_and_blocks(&html.text, &url, &Limits::default(), ExtensionRule::WholeUrl).unwrap();
    main_text(&blocks, lines).sentences
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn most_sentences_that_resiliparse_and_c4s_lines_leave_are_content_here() {
    let Some(topic) = topic("archive-org") else { return };
    let documents = std::fs::File::open(topic.join("docs.json.gz")).unwrap();
    let mut lines = Lines::open(documents, &Limits::default()).unwrap();
    // Sentences by url and 14 digits.
    let mut told: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    while let Some(line) = lines.next_line().unwrap() {
        let Line::Whole(line) = line else { continue };
        let document: serde_json::Value = serde_json::from_slice(line).unwrap();
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        let digits = text("timestamp").chars().filter(char::is_ascii_digit).collect();
        let of_text = text("text");
        let of_text = sentences::split(&of_text).into_iter().map(squeezed).collect();
        told.insert((text("url"), digits), of_text);
    }
    let folder = topic.join("crawl-data/AO-MAIN-2008-18/segments/1209588505.0/warc");
    let warc = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let reader = WarcReader::open(std::fs::File::open(warc).unwrap(), Limits::default()).unwrap();
    let (mut pages, mut told_count, mut found, mut all_count) = (0, 0, 0, 0);
    let (mut of_c4_count, mut confirmed) = (0, 0);
    for record in reader {
        let record = record.unwrap();
        let digits: String = record.date().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        let Some(expected) = told.get(&(record.uri().unwrap_or_default(), digits)) else { continue };
        let limits = Limits::default();
        let Some(http) = record.http(&limits).unwrap().filter(|http| http.status == Some(200)) else { continue };
        let body = http.payload(&limits).unwrap().bytes;
        let sentences = |lines| {
            let url = record.uri().unwrap();
            let sentences = main_sentences(&body, http.header("Content-Type"), &url, lines);
            sentences.iter().map(|sentence| squeezed(sentence)).collect::<Vec<_>>()
        };
        // A line end may cut a sentence there and not here, or the reverse: what counts is whether the words are taken.
        let (all, of_c4) = (sentences(LineRule::All), sentences(LineRule::C4));
        let (ours, theirs) = (all.concat(), expected.concat());
        pages += 1;
        told_count += expected.len();
        found += expected.iter().filter(|sentence| ours.contains(*sentence)).count();
        all_count += all.len();
        of_c4_count += of_c4.len();
        confirmed += of_c4.iter().filter(|sentence| theirs.contains(*sentence)).count();
    }
    println!(
        "archive-org, {pages} pages: {found} of {told_count} reference sentences are among our {all_count}; with C4's \
         lines, {confirmed} of our {of_c4_count} are among the reference's"
    );
    assert!(pages > 40);
    assert!(found * 100 >= told_count * 90, "{found} of {told_count}");
    assert!(confirmed * 100 >= of_c4_count * 90, "{confirmed} of {of_c4_count}");
}

#[test]
fn nearly_all_saved_articles_have_content() {
    let Some(topic) = topic("html") else { return };
    let expected = BufReader::new(std::fs::File::open(topic.join("expected.json")).unwrap());
    let expected: serde_json::Value = serde_json::from_reader(expected).unwrap();
    let pages = expected["pages"].as_array().unwrap();
    let mut short = BTreeSet::new();
    for page in pages {
        let file = std::fs::File::open(topic.join(page["file"].as_str().unwrap())).unwrap();
        let mut member = crate::formats::inflate::MemberReader::new(file, &Limits::default());
        member.next_member().unwrap();
        let mut html = Vec::new();
        loop {
            let ready = member.fill().unwrap();
            if ready.is_empty() {
                break;
            }
            html.extend_from_slice(ready);
            let count = ready.len();
            member.consume(count);
        }
        let content_type = format!("text/html; charset={}", page["encoding"].as_str().unwrap());
        let sentences = main_sentences(&html, Some(&content_type), page["url"].as_str().unwrap(), LineRule::All);
        if sentences.len() < 5 {
            short.insert(page["url"].as_str().unwrap());
        }
    }
    println!("{} of {} saved articles have fewer than five sentences: {short:?}", short.len(), pages.len());
    assert!(short.len() * 10 <= pages.len(), "{short:?}");
}
