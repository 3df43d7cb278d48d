//! A whole small crawl: look-ups, pages, images and sentences, as an independent pipeline has them.

use std::path::Path;

use serde_json::{Value, json};
use weft_core::limits::Limits;
use weft_stages::formats::warc::{Record, parse_record};

use super::images::image_differences;
use super::pages::distinct;
use super::{Agreement, list, probe, text, topic};
use crate::support::{read, write};

const SUMMARY: &str = "cc-index/collections/AO-MAIN-2008-18/indexes/cluster.idx";

#[test]
fn a_real_crawl_gives_the_captures_candidates_hashes_and_sentences_of_the_reference() {
    let Some((folder, expected)) = topic("archive-org") else { return };
    let mut agreement = Agreement::new("archive-org");
    let documents = list(&expected, "documents");
    compare_captures(&mut agreement, &folder, documents);
    compare_records(&mut agreement, &folder, documents);

    let payloads = tempfile::tempdir().unwrap();
    for document in documents.iter().filter(|document| !document["encoding"].is_null()) {
        compare_page(&mut agreement, &folder, payloads.path(), document);
    }
    compare_images(&mut agreement, &folder, payloads.path(), &expected["images"]);

    let probed = probe(&folder, &["sentences", "docs.json.gz"], "");
    assert_eq!((probed.code, probed.found.len()), (Some(0), documents.len()), "{:?}", probed.troubles);
    for document in documents {
        let line = usize::try_from(document["i"].as_u64().unwrap()).unwrap();
        let (ours, theirs) = (&probed.found[line]["sentences"], &document["sentences"]);
        agreement.compare("documents' sentences", text(document, "url"), ours, theirs);
    }
    agreement.finish();
}

fn compare_captures(agreement: &mut Agreement, folder: &Path, documents: &[Value]) {
    let urls: Vec<&str> = documents.iter().map(|document| text(document, "url")).collect();
    let probed = probe(folder, &["urlkey"], &urls.join("\n"));
    assert_eq!((probed.code, probed.found.len()), (Some(0), documents.len()), "{:?}", probed.troubles);
    for (ours, document) in probed.found.iter().zip(documents) {
        agreement.compare("documents' keys", text(document, "url"), &ours["urlkey"], &document["urlkey"]);
    }
    let keys: Vec<&str> = documents.iter().map(|document| text(document, "urlkey")).collect();
    let probed = probe(folder, &["index", SUMMARY], &keys.join("\n"));
    assert_eq!((probed.code, probed.found.len()), (Some(0), documents.len()), "{:?}", probed.troubles);
    for (ours, document) in probed.found.iter().zip(documents) {
        let time: String = text(document, "timestamp").chars().filter(char::is_ascii_digit).collect();
        let is_it = |capture: &&Value| capture["url"] == document["url"] && capture["timestamp"] == time.as_str();
        let capture = list(ours, "captures").iter().find(is_it);
        let found = match (document["miss"].as_str(), capture) {
            (None, Some(capture)) => {
                let fields = ["urlkey", "timestamp", "url", "filename", "offset", "length", "status", "mime", "digest"];
                super::differences(capture, &document["capture"], &fields.map(|field| (field, field)))
            }
            (Some(miss), Some(capture)) if miss == format!("status_{}", capture["status"]) => vec![],
            (Some(miss), None) if !miss.starts_with("status_") => vec![],
            (miss, capture) => vec![format!("{capture:?}, expected miss {miss:?}")],
        };
        agreement.count("look-ups", text(document, "url"), &found);
    }
}

fn compare_records(agreement: &mut Agreement, folder: &Path, documents: &[Value]) {
    let located: Vec<&Value> = documents.iter().filter(|document| document["miss"].is_null()).collect();
    let file = text(&located[0]["capture"], "filename");
    let probed = probe(folder, &["warc", file], "");
    assert_eq!((probed.code, probed.troubles.len()), (Some(0), 0), "{}", probed.err);
    for document in located {
        let (capture, payload) = (&document["capture"], &document["payload"]);
        let record = probed.found.iter().find(|record| record["offset"] == capture["offset"]).unwrap();
        let theirs = json!({
            "uri": document["url"], "date": document["timestamp"], "length": capture["length"],
            "status": capture["status"], "payload_bytes": payload["decoded_bytes"],
            "payload_sha256": payload["decoded_sha256"], "digest_ok": true,
        });
        let fields: Vec<(&str, &str)> =
            theirs.as_object().unwrap().keys().map(|field| (field.as_str(), field.as_str())).collect();
        agreement.count("records", text(document, "url"), &super::differences(record, &theirs, &fields));
    }
}

/// The record that a capture names.
fn record_of(folder: &Path, capture: &Value) -> Record {
    let file = read(&folder.join(text(capture, "filename")));
    let begin = usize::try_from(capture["offset"].as_u64().unwrap()).unwrap();
    let length = usize::try_from(capture["length"].as_u64().unwrap()).unwrap();
    parse_record(&file[begin..begin + length], &Limits::default()).unwrap()
}

fn compare_page(agreement: &mut Agreement, folder: &Path, payloads: &Path, document: &Value) {
    let limits = Limits::default();
    let record = record_of(folder, &document["capture"]);
    write(&payloads.join("page.html"), &record.payload(&limits).unwrap().bytes);
    let message = record.http(&limits).unwrap().unwrap();
    let url = text(document, "url");
    let mut args = vec!["page", "page.html", "--url", url];
    if let Some(content_type) = message.header("content-type") {
        args.extend(["--content-type", content_type]);
    }
    let probed = probe(payloads, &args, "");
    assert_eq!((probed.code, probed.found.len()), (Some(0), 1), "{url}: {:?}{}", probed.troubles, probed.err);
    let ours = &probed.found[0];
    agreement.compare("encodings", url, &ours["encoding"], &document["encoding"]);
    agreement.compare("base URLs", url, &ours["base_url"], &document["base_url"]);
    agreement.compare("lists of distinct URLs", url, &distinct(ours, |_| true), &document["img_src_urls"]);
    let kept = distinct(ours, |image| image["rule"] == "kept");
    agreement.compare("lists of candidates", url, &kept, &document["mmc4_candidates"]);
    let elements = |list: &[Value], url: &str, width: &str, height: &str| -> Value {
        let of = |image: &Value| json!([image[url], image["alt"], image[width], image[height]]);
        list.iter().filter(|image| !image[url].is_null()).map(of).collect()
    };
    let of_src: Vec<Value> = list(ours, "images").iter().filter(|image| image["source"] == "src").cloned().collect();
    let theirs = elements(list(document, "img_elements"), "src_url", "attr_width", "attr_height");
    agreement.compare("lists of elements", url, &elements(&of_src, "url", "width", "height"), &theirs);
}

fn compare_images(agreement: &mut Agreement, folder: &Path, payloads: &Path, images: &Value) {
    let decoded: Vec<&Value> = images.as_object().unwrap().values().filter(|image| image["decoded"] == true).collect();
    let names: Vec<String> = (0..decoded.len()).map(|index| format!("image-{index}")).collect();
    for (image, name) in decoded.iter().zip(&names) {
        let record = record_of(folder, &image["capture"]);
        write(&payloads.join(name), &record.payload(&Limits::default()).unwrap().bytes);
    }
    let args: Vec<&str> = ["image"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let probed = probe(payloads, &args, "");
    assert_eq!((probed.code, probed.found.len()), (Some(0), names.len()), "{:?}", probed.troubles);
    for (ours, image) in probed.found.iter().zip(decoded) {
        agreement.count("images", text(image, "url"), &image_differences(ours, image));
    }
}
