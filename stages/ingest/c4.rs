//! C4's JSON lines `{text, timestamp, url}`, gzip or plain, told by the file's first bytes.
//!
//! Other fields are not looked at. The timestamp is an RFC 3339 time. A line that is no such document is rejected
//! with its number; of several causes, the first in the order line, url, timestamp, text. Memory is one line
//! ([`Limits::line_bytes`]).

use std::borrow::Cow;

use serde::Deserialize;
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::documents::{Document, PageSink, Refusal, refuse};
use super::files::{each_line, json_words, open, text_of};
use super::timestamp::digits_of;
use crate::formats::lines::Line;

/// A line as C4 writes it.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
}

pub(super) fn read(source: &OutsideFile, limits: &Limits, sink: &mut PageSink<'_>) -> Result<(), StageError> {
    each_line(open(source)?, source, "", limits, |number, line| {
        sink.read(line.bytes())?;
        sink.take(document_of(line, limits), format_args!("line {number}"))
    })
}

fn document_of<'a>(line: &Line<'a>, limits: &Limits) -> Result<Document<'a>, Refusal> {
    let entry: Entry<'a> = match serde_json::from_str(text_of(line, limits)?) {
        Ok(entry) => entry,
        Err(cause) => return refuse(Reason::BadLine, json_words(&cause)),
    };
    let digits = digits_of(&entry.timestamp);
    Document::new(entry.url, entry.timestamp, digits, entry.text)
}
