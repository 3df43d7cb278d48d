//! `weft probe warc`: the records of archives.

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};
use weft_core::limits::Limits;
use weft_stages::formats::outside::with_causes;
use weft_stages::formats::warc::{Record, WarcReader};

use super::findings::{Finding, Findings, or_dash};
use super::input::each_file;

/// One record.
#[derive(Serialize)]
struct RecordFinding<'a> {
    file: &'a str,
    /// Position in the file, from 0.
    index: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    /// Where it begins as stored: its gzip member's offset, or its own.
    offset: u64,
    /// Its bytes as stored; none where it cannot be cut out of the file.
    length: Option<u64>,
    uri: Option<String>,
    date: Option<&'a str>,
    status: Option<u16>,
    content_type: Option<String>,
    /// None where a limit forbids to decode it.
    payload_bytes: Option<usize>,
    payload_sha256: Option<String>,
    /// None where the record states no digest that can be judged.
    digest_ok: Option<bool>,
    problems: Vec<String>,
}

pub(super) fn probe(files: &[PathBuf], limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    each_file(files, findings, |name, file, findings| {
        let reader = match WarcReader::open(file, limits.clone()) {
            Ok(reader) => reader,
            Err(cause) => return findings.trouble(name, None, &with_causes(&cause)),
        };
        let mut index = 0;
        for record in reader {
            match record {
                Ok(record) => {
                    findings.give(&describe(name, index, &record, limits))?;
                    index += 1;
                }
                Err(cause) => findings.trouble(name, None, &with_causes(&cause))?,
            }
        }
        Ok(())
    })
}

fn describe<'a>(file: &'a str, index: u64, record: &'a Record, limits: &Limits) -> RecordFinding<'a> {
    let digests = record.check_digests();
    let mut finding = RecordFinding {
        file,
        index,
        kind: record.kind.as_str(),
        offset: record.offset,
        length: record.length,
        uri: record.uri(),
        date: record.date(),
        status: None,
        content_type: None,
        payload_bytes: None,
        payload_sha256: None,
        digest_ok: digests.ok,
        problems: record.problems.iter().chain(&digests.problems).map(ToString::to_string).collect(),
    };
    match record.http(limits) {
        Ok(Some(message)) => {
            finding.status = message.status;
            finding.content_type = message.header("content-type").map(str::to_owned);
            finding.problems.extend(message.problems.iter().map(ToString::to_string));
        }
        Ok(None) => finding.content_type = record.field("Content-Type").map(str::to_owned),
        // The payload below fails for the same reason, and tells it.
        Err(_) => {}
    }
    match record.payload(limits) {
        Ok(payload) => {
            finding.payload_bytes = Some(payload.bytes.len());
            finding.payload_sha256 = Some(format!("{:x}", Sha256::digest(&payload.bytes)));
            finding.problems.extend(payload.problems.iter().map(ToString::to_string));
        }
        Err(exceeded) => finding.problems.push(exceeded.to_string()),
    }
    finding
}

impl Finding for RecordFinding<'_> {
    fn lines(&self) -> Vec<String> {
        let mut line = format!(
            "{} {} {} at {} + {}: {} {} {}, {} bytes",
            self.file,
            self.index,
            self.kind,
            self.offset,
            or_dash(self.length.as_ref()),
            or_dash(self.uri.as_ref()),
            or_dash(self.status.as_ref()),
            or_dash(self.content_type.as_ref()),
            or_dash(self.payload_bytes.as_ref()),
        );
        for problem in &self.problems {
            line.push_str("; ");
            line.push_str(problem);
        }
        vec![line]
    }
}
