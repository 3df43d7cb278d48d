//! Compares the reader with what warcio and `FastWARC` make of real archives; needs the conformance data.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::Sha256;
use sha2::digest::Digest;
use weft_core::limits::Limits;

use super::*;

fn topic(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return None;
    };
    Some(Path::new(&root).join(name))
}

#[expect(clippy::disallowed_methods, reason = "a test reads its data from where they lie")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the reader makes of a file: records, and the errors that ended or interrupted it.
fn read_all(bytes: &[u8]) -> (Vec<Record>, Vec<WarcError>) {
    let mut records = Vec::new();
    let mut errors = Vec::new();
    match WarcReader::open(bytes, Limits::default()) {
        Ok(reader) => {
            for record in reader {
                match record {
                    Ok(record) => records.push(record),
                    Err(error) => errors.push(error),
                }
            }
        }
        Err(error) => errors.push(error),
    }
    (records, errors)
}

/// The fields in which a record differs from what the references say of it.
fn differences(record: &Record, expected: &Value, is_gzip: bool) -> Vec<String> {
    let limits = Limits::default();
    let mut found = Vec::new();
    let mut check = |what: &str, ours: Value| {
        if ours != expected[what] {
            found.push(format!("{what}: {ours}, not {}", expected[what]));
        }
    };
    check("type", record.kind.as_str().into());
    check("offset", record.offset.into());
    check("date", record.date().map_or(Value::Null, Into::into));
    check("uri", record.uri().map_or(Value::Null, Into::into));
    let http = record.http(&limits).unwrap();
    let header = |name: &str| http.as_ref().and_then(|message| message.header(name));
    check(
        "http_status",
        http.as_ref().and_then(|message| message.status).map_or(Value::Null, |status| status.to_string().into()),
    );
    check("http_content_type", header("content-type").map_or(Value::Null, Into::into));
    let payload = record.payload(&limits).unwrap();
    check("decoded_len", payload.bytes.len().into());
    check("decoded_sha256", hex(&payload.bytes).into());
    check("digest_ok", record.check_digests().ok.map_or(Value::Null, Into::into));
    // warcio leaves the closing line ends of a plain record out.
    let length = record.length.map(|length| {
        let closing = if is_gzip { 0 } else { length - expected["length_in_file"].as_u64().unwrap_or(length) };
        assert!(closing <= 4);
        length - closing
    });
    check("length_in_file", length.map_or(Value::Null, Into::into));
    found
}

#[test]
fn clean_archives_are_read_exactly_and_odd_ones_up_to_where_the_references_part() {
    let Some(topic) = topic("warc") else { return };
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let mut wrong = Vec::new();
    let mut records_compared = 0;
    for (file, expected) in expected.as_object().unwrap() {
        let bytes = read(&topic.join(file));
        let (records, errors) = read_all(&bytes);
        let references = expected["warcio"]["records"].as_array().unwrap();
        let is_clean = expected["verdict"] == "clean";
        let is_gzip = expected["gzip"] == true;
        let agree = records
            .iter()
            .zip(references)
            .filter(|(record, reference)| {
                let found = differences(record, reference, is_gzip);
                if !found.is_empty() {
                    println!("{file} at {}: {found:?}", record.offset);
                }
                found.is_empty()
            })
            .count();
        records_compared += agree;
        println!("{file}: {agree} of {} records agree, {} read, errors {errors:?}", references.len(), records.len());
        if is_clean {
            if agree != references.len() || records.len() != references.len() || !errors.is_empty() {
                wrong.push(file.clone());
            }
            continue;
        }
        for record in &records {
            println!(
                "   {} at {}: {:?} {:?}",
                record.kind.as_str(),
                record.offset,
                record.problems,
                record.check_digests().problems
            );
        }
        let has_trouble = !errors.is_empty()
            || records.iter().any(|record| !record.problems.is_empty() || record.check_digests().ok == Some(false));
        if records.len() < references.len() || !has_trouble {
            wrong.push(file.clone());
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(records_compared > 0);
}

#[test]
fn each_record_that_an_index_names_is_parsed_from_its_range_alone() {
    let Some(topic) = topic("cdx") else { return };
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    for response in expected["range_responses"].as_array().unwrap() {
        let file = response["file"].as_str().unwrap().trim_start_matches("data/");
        let stored = read(&topic.join(file));
        let record = parse_record(&stored, &Limits::default()).unwrap();
        let reference = &response["expected_records"][0];
        let payload = record.payload(&Limits::default()).unwrap();
        assert_eq!(record.uri().unwrap(), reference["uri"].as_str().unwrap());
        assert_eq!(record.date().unwrap(), reference["date"].as_str().unwrap());
        assert_eq!(payload.bytes.len(), usize::try_from(reference["decoded_len"].as_u64().unwrap()).unwrap());
        assert_eq!(hex(&payload.bytes), reference["decoded_sha256"].as_str().unwrap());
        assert_eq!(record.check_digests().ok, reference["digest_ok"].as_bool());
        assert_eq!(record.problems, []);
    }
}

#[test]
fn the_payloads_of_a_whole_crawl_are_those_of_the_references() {
    let Some(topic) = topic("archive-org") else { return };
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let documents = expected["documents"].as_array().unwrap();
    let mut compared = 0;
    for document in documents.iter().filter(|document| document["miss"].is_null()) {
        let capture = &document["capture"];
        let file = read(&topic.join(capture["filename"].as_str().unwrap()));
        let begin = usize::try_from(capture["offset"].as_u64().unwrap()).unwrap();
        let length = usize::try_from(capture["length"].as_u64().unwrap()).unwrap();
        let record = parse_record(&file[begin..begin + length], &Limits::default()).unwrap();
        let payload = record.payload(&Limits::default()).unwrap();
        assert_eq!(hex(&payload.bytes), document["payload"]["decoded_sha256"].as_str().unwrap());
        assert_eq!(
            payload.bytes.len(),
            usize::try_from(document["payload"]["decoded_bytes"].as_u64().unwrap()).unwrap()
        );
        compared += 1;
    }
    println!("{compared} documents' payloads agree");
    assert_eq!(compared, 46);
    let file = documents.iter().find_map(|document| document["capture"]["filename"].as_str()).unwrap();
    let (records, errors) = read_all(&read(&topic.join(file)));
    assert!(errors.is_empty());
    let kinds = |kind: &str| records.iter().filter(|record| record.kind.as_str() == kind).count();
    println!("{} records, {} responses", records.len(), kinds("response"));
    let wrong: Vec<u64> =
        records.iter().filter(|record| record.check_digests().ok == Some(false)).map(|record| record.offset).collect();
    assert_eq!(wrong, Vec::<u64>::new());
}
