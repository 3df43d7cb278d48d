//! JSON lines whose keys have names of their own, gzip or plain, told by the file's first bytes.
//!
//! A line is an object with the three keys that the source manifest names; other keys are not looked at. Text and url
//! are strings. The timestamp is a string (an RFC 3339 time, or 14 digits of UTC) or a whole number (seconds since
//! 1970). A line that is no such object, or has a null there, is rejected with the file's name and its number. Memory is
//! one line ([`Limits::line_bytes`]).

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::Columns;
use super::documents::{Document, PageSink, Refusal, refuse};
use super::files::{each_line, json_words, text_of};
use super::timestamp::{digits_of_text, digits_of_unix};
use crate::formats::lines::Line;

pub(super) fn read(
    bytes: impl Read,
    source: &OutsideFile,
    columns: &Columns,
    limits: &Limits,
    sink: &mut PageSink<'_>,
) -> Result<(), StageError> {
    each_line(bytes, source, "", limits, |number, line| {
        sink.read(line.bytes())?;
        sink.take(document_of(line, columns, limits), format_args!("{} line {number}", source.name))
    })
}

fn document_of<'a>(line: &Line<'a>, columns: &Columns, limits: &Limits) -> Result<Document<'a>, Refusal> {
    let mut json = serde_json::Deserializer::from_str(text_of(line, limits)?);
    let entry = EntrySeed(columns).deserialize(&mut json).and_then(|entry| json.end().map(|()| entry));
    let entry = match entry {
        Ok(entry) => entry,
        Err(cause) => return refuse(Reason::BadLine, json_words(&cause)),
    };
    let (stated, digits) = match entry.timestamp {
        Stated::Text(text) => {
            let digits = digits_of_text(&text);
            (text, digits)
        }
        Stated::Seconds(seconds) => (Cow::Owned(seconds.to_string()), digits_of_unix(seconds)),
    };
    Document::new(entry.url, stated, digits, entry.text)
}

/// A line's three values.
struct Entry<'a> {
    text: Cow<'a, str>,
    url: Cow<'a, str>,
    timestamp: Stated<'a>,
}

/// A string, borrowed from the line where it holds no escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A time as the source states it.
enum Stated<'a> {
    Text(Cow<'a, str>),
    Seconds(i64),
}

impl<'de> Deserialize<'de> for Stated<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatedVisitor;

        impl<'de> Visitor<'de> for StatedVisitor {
            type Value = Stated<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time as a string, or whole seconds since 1970")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Stated<'de>, E> {
                Ok(Stated::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stated<'de>, E> {
                Ok(Stated::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Stated<'de>, E> {
                Ok(Stated::Seconds(seconds))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Stated<'de>, E> {
                // Beyond any year of four digits either way.
                Ok(Stated::Seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
            }
        }

        deserializer.deserialize_any(StatedVisitor)
    }
}

/// Reads an object by the names of its columns.
struct EntrySeed<'c>(&'c Columns);

impl<'de> DeserializeSeed<'de> for EntrySeed<'_> {
    type Value = Entry<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed<'_> {
    type Value = Entry<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
        let Columns { text: text_name, url: url_name, timestamp: timestamp_name } = self.0;
        let (mut text, mut url, mut timestamp) = (None, None, None);
        while let Some(Text(key)) = map.next_key()? {
            let is_repeated = if key == text_name.as_str() {
                text.replace(map.next_value::<Text<'de>>()?.0).is_some()
            } else if key == url_name.as_str() {
                url.replace(map.next_value::<Text<'de>>()?.0).is_some()
            } else if key == timestamp_name.as_str() {
                timestamp.replace(map.next_value()?).is_some()
            } else {
                map.next_value::<IgnoredAny>()?;
                false
            };
            if is_repeated {
                return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
            }
        }
        let missing = |name: &str| de::Error::custom(format_args!("missing field `{name}`"));
        Ok(Entry {
            text: text.ok_or_else(|| missing(text_name))?,
            url: url.ok_or_else(|| missing(url_name))?,
            timestamp: timestamp.ok_or_else(|| missing(timestamp_name))?,
        })
    }
}
