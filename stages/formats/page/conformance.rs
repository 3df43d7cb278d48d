//! Compares the lists with what html5lib and a WHATWG URL parser make of saved pages; needs the conformance data.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::formats::encoding;
use crate::formats::inflate::inflate_member;

#[expect(clippy::disallowed_methods, reason = "a test reads its data from where they lie")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|string| string.as_str().unwrap()).collect()
}

fn distinct<'a>(references: impl Iterator<Item = &'a ImageReference>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    references.filter_map(|found| found.url.as_ref()).map(Url::as_str).filter(|url| seen.insert(*url)).collect()
}

/// What a page's references are expected to hold beside each `src`, as (source, URL).
fn beside(expected: &Value) -> Vec<(Source, &str)> {
    let mut urls = Vec::new();
    for img in expected["imgs"].as_array().unwrap() {
        for candidate in img["srcset"].as_array().into_iter().flatten() {
            urls.push((Source::Srcset, candidate["url"].as_str().unwrap()));
        }
    }
    for source in expected["picture_sources"].as_array().unwrap() {
        for candidate in source["srcset"].as_array().into_iter().flatten() {
            urls.push((Source::Picture, candidate["url"].as_str().unwrap()));
        }
    }
    for meta in expected["meta_images"].as_array().unwrap() {
        urls.push((Source::Meta, meta["url"].as_str().unwrap()));
    }
    // A data: URL is in `raw` alone.
    urls.retain(|(_, url)| !url.starts_with("data:"));
    urls
}

/// Each saved page's file name and text; none where the data is not at hand.
pub(super) fn saved_pages() -> Option<Vec<(String, String)>> {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return None;
    };
    let topic = Path::new(&root).join("html");
    let limits = Limits::default();
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let pages = expected["pages"].as_array().unwrap().iter().map(|page| {
        let file = page["file"].as_str().unwrap();
        let inflated = inflate_member(&read(&topic.join(file)), "page_bytes", limits.page_bytes, &limits);
        (file.to_owned(), encoding::decode(&inflated.bytes, None).text)
    });
    Some(pages.collect())
}

#[test]
fn saved_pages_refer_to_what_the_reference_parsers_say() {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return;
    };
    let topic = Path::new(&root).join("html");
    let limits = Limits::default();
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let pages = expected["pages"].as_array().unwrap();
    assert!(!pages.is_empty());
    for expected in pages {
        let file = expected["file"].as_str().unwrap();
        let inflated = inflate_member(&read(&topic.join(file)), "page_bytes", limits.page_bytes, &limits);
        inflated.end.unwrap();
        let decoded = encoding::decode(&inflated.bytes, None);
        assert_eq!(decoded.encoding, expected["encoding"], "{file}");

        let url = Url::parse(expected["url"].as_str().unwrap()).unwrap();
        let page = images(&decoded.text, &url, &limits, ExtensionRule::Path).unwrap();
        assert_eq!(page.base_url.as_str(), expected["base_url"], "{file}");
        let of_src = page.references.iter().filter(|reference| reference.source == Source::Src);
        assert_eq!(distinct(of_src), strings(&expected["img_src_urls"]), "{file}");
        let candidates: Vec<&str> = page.candidates().into_iter().map(Url::as_str).collect();
        assert_eq!(candidates, strings(&expected["mmc4_style"]), "{file}");
        for (source, wanted) in beside(expected) {
            let of_source = page.references.iter().filter(|reference| reference.source == source);
            assert!(distinct(of_source).contains(&wanted), "{file}: {source:?} {wanted}");
        }
    }
}
