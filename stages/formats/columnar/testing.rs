//! Makes columnar tables for tests: any shape that Common Crawl's had, and some that it had not.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, GzipLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, Int96};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use weft_core::limits::Limits;

use super::{TableSummary, summarise};
use crate::formats::cdx::CaptureLine;
use crate::formats::outside::OutsideRoot;
use crate::formats::time::seconds_of;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Millis,
    Micros,
    Nanos,
    Int96,
}

/// How a table is written.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) is_nested: bool,
    pub(crate) time: Time,
    pub(crate) has_wide_offsets: bool,
    pub(crate) rows_per_group: usize,
    pub(crate) rows_per_page: usize,
    pub(crate) has_statistics: bool,
    pub(crate) compression: Compression,
    pub(crate) has_v2_pages: bool,
    pub(crate) has_dictionaries: bool,
}

impl Default for Shape {
    /// As Common Crawl's, but small.
    fn default() -> Self {
        Self {
            is_nested: false,
            time: Time::Int96,
            has_wide_offsets: false,
            rows_per_group: 8,
            rows_per_page: 3,
            has_statistics: true,
            compression: Compression::GZIP(GzipLevel::default()),
            has_v2_pages: false,
            has_dictionaries: true,
        }
    }
}

fn schema(shape: &Shape) -> String {
    let time = match shape.time {
        Time::Millis => "required int64 fetch_time (TIMESTAMP(MILLIS,true));",
        Time::Micros => "required int64 fetch_time (TIMESTAMP(MICROS,true));",
        Time::Nanos => "required int64 fetch_time (TIMESTAMP(NANOS,true));",
        Time::Int96 => "required int96 fetch_time;",
    };
    let number = if shape.has_wide_offsets { "int64" } else { "int32" };
    let flat = format!(
        "required binary url_surtkey (UTF8); required binary url (UTF8); required binary url_host_name (UTF8);
         {time} required int32 fetch_status (INTEGER(16,true)); optional binary fetch_redirect (UTF8);
         optional binary content_digest (UTF8); optional binary content_mime_type (UTF8);
         optional binary content_mime_detected (UTF8); required binary warc_filename (UTF8);
         required {number} warc_record_offset; required {number} warc_record_length;"
    );
    if !shape.is_nested {
        return format!("message schema {{ {flat} }}");
    }
    let mut groups = String::new();
    for group in ["url", "fetch", "content", "warc"] {
        let columns = flat.split(';').filter_map(|column| {
            let (head, tail) = column.split_once(&format!(" {group}_"))?;
            Some(format!("{head} {tail};"))
        });
        let columns: String = columns.collect();
        let own = if group == "url" { "required binary url (UTF8);" } else { "" };
        // Optional groups are what Spark makes of a struct, whatever its fields say.
        groups += &format!("optional group {group} {{ {columns} {own} }}\n");
    }
    format!("message schema {{ {groups} }}")
}

/// A Parquet file of these captures, in their order.
pub(crate) fn table_file(captures: &[CaptureLine], shape: &Shape) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&schema(shape)).unwrap());
    let statistics = if shape.has_statistics { EnabledStatistics::Page } else { EnabledStatistics::None };
    let version = if shape.has_v2_pages { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
    let properties = WriterProperties::builder()
        .set_compression(shape.compression)
        .set_statistics_enabled(statistics)
        .set_writer_version(version)
        .set_dictionary_enabled(shape.has_dictionaries)
        .set_data_page_row_count_limit(shape.rows_per_page)
        .set_write_batch_size(1)
        .build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    let levels_of_group = i16::from(shape.is_nested);
    for rows in captures.chunks(shape.rows_per_group) {
        let mut group = writer.next_row_group().unwrap();
        for column in leaves(shape) {
            let mut open = group.next_column().unwrap().unwrap();
            write(open.untyped(), column, rows, shape.time, levels_of_group);
            open.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

/// The flat names of the columns, in the order of the schema.
fn leaves(shape: &Shape) -> Vec<&'static str> {
    let flat = [
        "url_surtkey",
        "url",
        "url_host_name",
        "fetch_time",
        "fetch_status",
        "fetch_redirect",
        "content_digest",
        "content_mime_type",
        "content_mime_detected",
        "warc_filename",
        "warc_record_offset",
        "warc_record_length",
    ];
    let mut leaves = flat.to_vec();
    if shape.is_nested {
        // There the url stands at the end of its struct.
        leaves.swap(1, 2);
    }
    leaves
}

fn write(writer: &mut ColumnWriter<'_>, column: &str, rows: &[CaptureLine], time: Time, group: i16) {
    let text = |value: Option<&str>| value.map(|value| ByteArray::from(value));
    let of_text = |row: &CaptureLine| match column {
        "url_surtkey" => text(Some(&row.urlkey)),
        "url" => text(Some(&row.url)),
        "url_host_name" => text(Some("host.example")),
        "fetch_redirect" => text(row.redirect.as_deref()),
        "content_digest" => text(row.digest.as_deref()),
        "content_mime_type" => text(row.mime.as_deref()),
        "content_mime_detected" => text(row.mime_detected.as_deref()),
        "warc_filename" => text(Some(&row.filename)),
        other => panic!("{other} is no text"),
    };
    let of_number = |row: &CaptureLine| match column {
        "fetch_status" => row.status.map_or(-1, i64::from),
        "warc_record_offset" => i64::try_from(row.offset).unwrap(),
        "warc_record_length" => i64::try_from(row.length).unwrap(),
        "fetch_time" => {
            let seconds = seconds_of(&row.timestamp).unwrap();
            match time {
                Time::Millis => seconds * 1_000 + 999,
                Time::Micros => seconds * 1_000_000,
                Time::Nanos | Time::Int96 => seconds * 1_000_000_000 + 1,
            }
        }
        other => panic!("{other} is no number"),
    };
    let levels = |is_optional: bool, is_there: &[bool]| -> Option<Vec<i16>> {
        let most = group + i16::from(is_optional);
        (most > 0).then(|| is_there.iter().map(|there| if *there { most } else { most - 1 }).collect())
    };
    match writer {
        ColumnWriter::ByteArrayColumnWriter(typed) => {
            let is_optional = column.starts_with("content_") || column == "fetch_redirect";
            let values: Vec<Option<ByteArray>> = rows.iter().map(of_text).collect();
            let is_there: Vec<bool> = values.iter().map(Option::is_some).collect();
            let values: Vec<ByteArray> = values.into_iter().flatten().collect();
            typed.write_batch(&values, levels(is_optional, &is_there).as_deref(), None).unwrap();
        }
        ColumnWriter::Int32ColumnWriter(typed) => {
            let values: Vec<i32> = rows.iter().map(|row| i32::try_from(of_number(row)).unwrap()).collect();
            typed.write_batch(&values, levels(false, &vec![true; rows.len()]).as_deref(), None).unwrap();
        }
        ColumnWriter::Int64ColumnWriter(typed) => {
            let values: Vec<i64> = rows.iter().map(of_number).collect();
            typed.write_batch(&values, levels(false, &vec![true; rows.len()]).as_deref(), None).unwrap();
        }
        ColumnWriter::Int96ColumnWriter(typed) => {
            let of = |row: &CaptureLine| {
                let nanoseconds = of_number(row);
                let day = 86_400 * 1_000_000_000;
                let of_day = u64::try_from(nanoseconds.rem_euclid(day)).unwrap();
                let mut value = Int96::new();
                let (low, high) = (of_day & 0xffff_ffff, of_day >> 32);
                let julian_day = nanoseconds.div_euclid(day) + 2_440_588;
                value.set_data(
                    u32::try_from(low).unwrap(),
                    u32::try_from(high).unwrap(),
                    u32::try_from(julian_day).unwrap(),
                );
                value
            };
            let values: Vec<Int96> = rows.iter().map(of).collect();
            typed.write_batch(&values, levels(false, &vec![true; rows.len()]).as_deref(), None).unwrap();
        }
        _ => panic!("{column} is of no type of the table"),
    }
}

/// Saves a file below `folder`.
pub(crate) fn save(folder: &Path, path: &str, bytes: &[u8]) {
    let place = folder.join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::File::options().write(true).create(true).truncate(true).open(place).unwrap().write_all(bytes).unwrap();
}

/// The summary of these parts below `folder`.
pub(crate) fn summary_of(folder: &Path, parts: &[&str]) -> (String, TableSummary) {
    let root = OutsideRoot::open(folder.to_str().unwrap(), "").unwrap();
    let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    let text = summarise(&root, &parts, &Limits::default()).unwrap();
    let summary = TableSummary::parse(text.as_bytes(), &Limits::default()).unwrap();
    (text, summary)
}
