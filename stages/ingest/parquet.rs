//! Parquet files whose columns have names of their own.
//!
//! A row has three values in the columns that the source manifest names; other columns are not read. Text and url are
//! texts. The timestamp is a text (an RFC 3339 time, or 14 digits of UTC), a whole number of 64 bits (seconds since
//! 1970), or a timestamp of Parquet, taken as UTC. A row with a null there, or whose values make no document, is
//! rejected with the file's name and its number from 1; a column of another type fails the task. A document's
//! `source_timestamp` is the text, or the whole number as stored.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::Columns;
use super::documents::{Document, PageSink, Refusal, refuse};
use super::rows::{Table, text_at, time_at};
use super::timestamp::{digits_of_text, digits_of_unix};

pub(super) fn read(
    source: &OutsideFile,
    columns: &Columns,
    limits: &Limits,
    sink: &mut PageSink<'_>,
) -> Result<(), StageError> {
    let mut table = Table::open(source, &[&columns.text, &columns.url, &columns.timestamp], limits)?;
    while let Some(batch) = table.next()? {
        let times = match batch.columns[2].data_type() {
            DataType::Utf8 => Times::Texts(table.texts(&batch, 2, &columns.timestamp)?),
            DataType::Int64 | DataType::Timestamp(..) => Times::Numbers(&batch.columns[2]),
            other => return Err(table.of_other_type(&columns.timestamp, other, "a text, int64 or timestamp")),
        };
        let rows = Rows {
            columns,
            limits,
            texts: table.texts(&batch, 0, &columns.text)?,
            urls: table.texts(&batch, 1, &columns.url)?,
            times,
        };
        for (index, number) in batch.rows.clone().enumerate() {
            let text_bytes = text_at(rows.texts, index).map_or(0, str::len);
            sink.read(u64::try_from(text_bytes).expect("usize fits u64"))?;
            sink.take(rows.document(index), format_args!("{} row {number}", source.name))?;
        }
    }
    Ok(())
}

/// The columns of a batch.
struct Rows<'b> {
    columns: &'b Columns,
    limits: &'b Limits,
    texts: &'b StringArray,
    urls: &'b StringArray,
    times: Times<'b>,
}

enum Times<'b> {
    Texts(&'b StringArray),
    Numbers(&'b ArrayRef),
}

impl<'b> Rows<'b> {
    fn document(&self, index: usize) -> Result<Document<'b>, Refusal> {
        let null = |name: &str| Refusal {
            reason: Reason::NullField,
            evidence: format!("`{name}` is null"),
            document_id: String::new(),
        };
        let text = text_at(self.texts, index).ok_or_else(|| null(&self.columns.text))?;
        let url = text_at(self.urls, index).ok_or_else(|| null(&self.columns.url))?;
        if u64::try_from(text.len()).expect("usize fits u64") > self.limits.line_bytes {
            let evidence = format!("{} bytes; line_bytes is {}", text.len(), self.limits.line_bytes);
            return refuse(Reason::LineTooLong, evidence);
        }
        let null_time = || null(&self.columns.timestamp);
        let (stated, digits) = match self.times {
            Times::Texts(times) => {
                let time = text_at(times, index).ok_or_else(null_time)?;
                (Cow::Borrowed(time), digits_of_text(time))
            }
            Times::Numbers(times) => {
                let time = times.is_valid(index).then(|| time_at(times, index)).flatten();
                let (number, seconds) = time.ok_or_else(null_time)?;
                (Cow::Owned(number.to_string()), digits_of_unix(seconds))
            }
        };
        Document::new(Cow::Borrowed(url), stated, digits, Cow::Borrowed(text))
    }
}
