//! OBELICS as it was published: Parquet with one row per document, texts and images in two parallel lists.
//!
//! Of a row, `texts` gives the sentences: each text is cut at blank lines, which part paragraphs, and those by
//! [`sentences`]. `images` gives the candidates, in order; each follows the last sentence of the texts before it.
//! `metadata` (JSON, a list parallel to the others) gives an image's `alt_text` where it can be read, and
//! `general_metadata` (JSON) the url and, where it says so, the page's WARC record and time.
//!
//! A row whose lists differ in length or hold a text and an image at one position, or which has a null for a list, is
//! rejected with the file's name and its number from 1.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, ListArray, StringArray};
use serde::Deserialize;
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::documents::{Refusal, refuse};
use super::files::{json_words, plain_name};
use super::interleaved::{Draft, DraftImage, InterleavedSink, Origin, Place};
use super::rows::{Batch, Table, text_at};
use super::timestamp::digits_of_text;
use crate::formats::sentences;

const COLUMNS: [&str; 4] = ["images", "texts", "metadata", "general_metadata"];

/// What `general_metadata` says of the document; our own shards add the time.
#[derive(Deserialize)]
struct General<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow, default)]
    warc_filename: Option<Cow<'a, str>>,
    #[serde(default)]
    warc_record_offset: Option<u64>,
    #[serde(default)]
    warc_record_length: Option<u64>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
}

/// What `metadata` says of an image.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    alt_text: Option<Cow<'a, str>>,
}

pub(super) fn read(source: &OutsideFile, limits: &Limits, sink: &mut InterleavedSink<'_>) -> Result<(), StageError> {
    let mut table = Table::open(source, &COLUMNS, limits)?;
    while let Some(batch) = table.next()? {
        let rows = Rows {
            images: lists(&table, &batch, 0)?,
            texts: lists(&table, &batch, 1)?,
            metadata: table.texts(&batch, 2, COLUMNS[2])?,
            general_metadata: table.texts(&batch, 3, COLUMNS[3])?,
            limits,
        };
        for (index, number) in batch.rows.clone().enumerate() {
            let place = Place { file: plain_name(source), unit: "row", number, byte: None };
            rows.take(index, place, sink)?;
        }
    }
    Ok(())
}

/// The column of lists of texts at `position`.
fn lists<'b>(table: &Table<'_>, batch: &'b Batch, position: usize) -> Result<&'b ListArray, StageError> {
    let column = &batch.columns[position];
    let lists = column.as_list_opt::<i32>().filter(|lists| lists.values().as_string_opt::<i32>().is_some());
    lists.ok_or_else(|| table.of_other_type(COLUMNS[position], column.data_type(), "a list of texts"))
}

/// The columns of a batch.
struct Rows<'b> {
    images: &'b ListArray,
    texts: &'b ListArray,
    metadata: &'b StringArray,
    general_metadata: &'b StringArray,
    limits: &'b Limits,
}

impl Rows<'_> {
    fn take(&self, index: usize, place: Place<'_>, sink: &mut InterleavedSink<'_>) -> Result<(), StageError> {
        let texts = list_at(self.texts, index);
        let text_bytes: usize =
            texts.iter().flat_map(|texts| texts.as_string::<i32>().iter().flatten()).map(str::len).sum();
        let bytes = u64::try_from(text_bytes).expect("usize fits u64");
        sink.read(bytes)?;
        if bytes > self.limits.line_bytes {
            let evidence = format!("{bytes} bytes of text; line_bytes is {}", self.limits.line_bytes);
            return sink.take(refuse(Reason::LineTooLong, evidence), place);
        }
        let general = match self.general(index) {
            Ok(general) => general,
            Err(refusal) => return sink.take(Err(refusal), place),
        };
        let alts = self.alts(index);
        if alts.is_none() {
            sink.fact("metadata_unread", 1);
        }
        let (Some(texts), Some(images)) = (texts, list_at(self.images, index)) else {
            return sink.take(refuse(Reason::NullField, "`texts` or `images` is null".to_owned()), place);
        };
        let draft = draft(&general, texts.as_string(), images.as_string(), alts.as_deref().unwrap_or_default());
        sink.take(draft, place)
    }

    fn general(&self, index: usize) -> Result<General<'_>, Refusal> {
        let Some(json) = text_at(self.general_metadata, index) else {
            return refuse(Reason::NullField, "`general_metadata` is null".to_owned());
        };
        match serde_json::from_str(json) {
            Ok(general) => Ok(general),
            Err(cause) => refuse(Reason::BadRow, format!("`general_metadata`: {}", json_words(&cause))),
        }
    }

    /// What is known of each position; none where `metadata` is not the list that it should be.
    fn alts(&self, index: usize) -> Option<Vec<Option<Item<'_>>>> {
        let json = text_at(self.metadata, index)?;
        let items: Vec<Option<Item<'_>>> = serde_json::from_str(json).ok()?;
        let expected = list_at(self.images, index).map_or(0, |images| images.len());
        (items.len() == expected).then_some(items)
    }
}

fn list_at(lists: &ListArray, index: usize) -> Option<arrow::array::ArrayRef> {
    lists.is_valid(index).then(|| lists.value(index))
}

fn draft<'a>(
    general: &'a General<'_>,
    texts: &'a StringArray,
    images: &'a StringArray,
    items: &'a [Option<Item<'_>>],
) -> Result<Draft<'a>, Refusal> {
    if texts.len() != images.len() {
        return refuse(Reason::BadRow, format!("{} texts beside {} images", texts.len(), images.len()));
    }
    let mut draft = Draft { url: &general.url, origin: origin(general), sentences: Vec::new(), images: Vec::new() };
    for index in 0..texts.len() {
        match (text_at(texts, index), text_at(images, index)) {
            (Some(_), Some(_)) => {
                return refuse(Reason::BadRow, format!("a text and an image both stand at position {index}"));
            }
            (Some(text), None) => {
                let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
                draft.sentences.extend(paragraphs.flat_map(sentences::split));
            }
            (None, Some(url)) => {
                let before = u32::try_from(draft.sentences.len()).unwrap_or(u32::MAX);
                let alt = items.get(index).and_then(Option::as_ref).and_then(|item| item.alt_text.as_deref());
                draft.images.push(DraftImage { url, alt, follows_sentence: before.checked_sub(1) });
            }
            (None, None) => {}
        }
    }
    Ok(draft)
}

fn origin<'a>(general: &'a General<'_>) -> Origin<'a> {
    let stated = general.timestamp.as_deref().unwrap_or_default();
    // Digits alone are passed on; no other form of a time is known to be in use here.
    let is_digits = digits_of_text(stated).is_some_and(|digits| digits == stated);
    let timestamp = if is_digits { stated } else { "" };
    let filename = general.warc_filename.as_deref().unwrap_or_default();
    let (offset, length) = match filename {
        "" => (0, 0),
        _ => (general.warc_record_offset.unwrap_or_default(), general.warc_record_length.unwrap_or_default()),
    };
    Origin { timestamp, source_timestamp: stated, filename, offset, length }
}
