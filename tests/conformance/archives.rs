//! Records of archives, clean and odd, as warcio and `FastWARC` read them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Agreement, Probed, differences, list, probe, text, topic};
use crate::support::read;

#[test]
fn archives_are_read_as_warcio_and_fastwarc_read_them() {
    let Some((folder, expected)) = topic("warc") else { return };
    let mut agreement = Agreement::new("warc");
    for (file, expected) in expected.as_object().unwrap() {
        let probed = probe(&folder, &["warc", file], "");
        if expected["verdict"] == "clean" {
            compare_clean(&mut agreement, &folder, file, expected, &probed);
        } else {
            compare_odd(&mut agreement, file, expected, &probed);
        }
    }
    agreement.finish();
}

fn compare_clean(agreement: &mut Agreement, folder: &Path, file: &str, expected: &Value, probed: &Probed) {
    let references = list(&expected["warcio"], "records");
    let mut file_differs = Vec::new();
    if probed.code != Some(0) || !probed.troubles.is_empty() {
        file_differs.push(format!("exit code {:?}, {:?}{}", probed.code, probed.troubles, probed.err));
    }
    if probed.found.len() != references.len() {
        file_differs.push(format!("{} records, not {}", probed.found.len(), references.len()));
    }
    if let Some(members) = expected["gzip_members"].as_array() {
        let of = |records: &[Value]| -> Vec<(Value, Value)> {
            records.iter().map(|record| (record["offset"].clone(), record["length"].clone())).collect()
        };
        if of(members) != of(&probed.found) {
            file_differs.push("other members".to_owned());
        }
    }
    agreement.count("clean files", file, &file_differs);

    let bytes = read(&folder.join(file));
    for (index, (record, reference)) in probed.found.iter().zip(references).enumerate() {
        let mut found = record_differences(record, reference);
        let length = length_as_stored(&bytes, reference, expected["gzip"] == true);
        found.extend(differences(
            record,
            &json!({"file": file, "index": index, "length": length}),
            &[("file", "file"), ("index", "index"), ("length", "length")],
        ));
        agreement.count("clean records", &format!("{file}, record {index}"), &found);
    }
}

/// Of a plain record up to the two line ends behind its block, which warcio does not count alike in all files.
fn length_as_stored(file: &[u8], reference: &Value, is_gzip: bool) -> u64 {
    let length = reference["length_in_file"].as_u64().unwrap();
    if is_gzip {
        return length;
    }
    let begin = usize::try_from(reference["offset"].as_u64().unwrap()).unwrap();
    let head = file[begin..].windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut end = begin + head + text(reference, "content_length").parse::<usize>().unwrap();
    for _ in 0..2 {
        let line_ends = [&b"\r\n"[..], b"\n"];
        end += line_ends.iter().find(|line_end| file[end..].starts_with(line_end)).map_or(0, |line_end| line_end.len());
    }
    let stored = u64::try_from(end - begin).unwrap();
    assert!((length..=length + 4).contains(&stored));
    stored
}

/// The fields of a record in which we differ from warcio.
pub(super) fn record_differences(record: &Value, reference: &Value) -> Vec<String> {
    let mut found = differences(
        record,
        reference,
        &[
            ("type", "type"),
            ("offset", "offset"),
            ("uri", "uri"),
            ("date", "date"),
            ("payload_bytes", "decoded_len"),
            ("payload_sha256", "decoded_sha256"),
            ("digest_ok", "digest_ok"),
        ],
    );
    let status = record["status"].as_u64().map_or(Value::Null, |status| status.to_string().into());
    if status != reference["http_status"] {
        found.push(format!("status: {status}, not {}", reference["http_status"]));
    }
    // Of records that are no HTTP, we give the record's own type, and the reference gives none.
    let is_http = !reference["http_status"].is_null() || !reference["http_content_type"].is_null();
    if is_http && record["content_type"] != reference["http_content_type"] {
        found.push(format!("content_type: {}, not {}", record["content_type"], reference["http_content_type"]));
    }
    found
}

/// No crash; the trouble is told; every record that both references give with one payload is given, in order.
fn compare_odd(agreement: &mut Agreement, file: &str, expected: &Value, probed: &Probed) {
    let mut found = Vec::new();
    if !matches!(probed.code, Some(0 | 1)) || (probed.code == Some(1)) == probed.troubles.is_empty() {
        found.push(format!("exit code {:?} with {} troubles: {}", probed.code, probed.troubles.len(), probed.err));
    }
    let has_problems = |record: &Value| record["digest_ok"] == false || !list(record, "problems").is_empty();
    if probed.troubles.is_empty() && !probed.found.iter().any(has_problems) {
        found.push("no word about the trouble".to_owned());
    }
    let warcio = list(&expected["warcio"], "records");
    let fastwarc = expected["fastwarc"]["records"].as_array();
    let same = |a: &Value, b: &Value, payload: &str| {
        let fields = [("type", "type"), ("uri", "uri"), ("payload_sha256", payload)];
        differences(a, b, &fields).is_empty()
    };
    let mut ours = probed.found.iter();
    for reference in warcio {
        // Where no list of FastWARC's is given, it is warcio's.
        let by_both =
            fastwarc.is_none_or(|records| records.iter().any(|record| same(record, reference, "decoded_sha256")));
        if by_both && !ours.any(|record| same(record, reference, "decoded_sha256")) {
            found.push(format!("the {} at {} is missing", reference["type"], reference["offset"]));
        }
    }
    agreement.count("odd files", file, &found);
}

#[test]
fn a_range_that_a_crawl_answered_holds_the_record_that_its_index_names() {
    let Some((folder, expected)) = topic("cdx") else { return };
    let mut agreement = Agreement::new("cdx (ranges)");
    for response in list(&expected, "range_responses") {
        // These names are relative to the folder above.
        let file = response["file"].as_str().unwrap().trim_start_matches("data/");
        let file = file.trim_start_matches("cdx/");
        let probed = probe(&folder, &["warc", file], "");
        assert_eq!((probed.code, probed.troubles.len()), (Some(0), 0), "{}", probed.err);
        let references = list(response, "expected_records");
        assert_eq!(probed.found.len(), references.len());
        for (record, reference) in probed.found.iter().zip(references) {
            let mut reference = reference.clone();
            reference["offset"] = 0.into();
            let mut found = record_differences(record, &reference);
            found.extend(differences(record, response, &[("length", "length")]));
            agreement.count("records", file, &found);
        }
    }
    agreement.finish();
}
