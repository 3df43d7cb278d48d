//! Walks one row group by ascending keys.

use std::cmp::Ordering;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type, Int96, Int96Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::TableError;
use super::footer::leaf;
use super::pages::{Chunk, Pages, PartFile};
use crate::formats::cdx::CaptureLine;
use crate::formats::time;

/// Keys decoded at a time.
const BATCH_ROWS: usize = 1024;
/// Days from the first Julian day to 1970-01-01, as INT96 counts them.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// A column's name in the flat schema, its path in the nested one, and the types that it may have.
struct Spec {
    names: [&'static str; 2],
    types: &'static [Type],
    is_required: bool,
}

const TEXT: &[Type] = &[Type::BYTE_ARRAY];
const NUMBER: &[Type] = &[Type::INT32, Type::INT64];

const fn required(flat: &'static str, nested: &'static str, types: &'static [Type]) -> Spec {
    Spec { names: [flat, nested], types, is_required: true }
}

/// A column that older tables lack.
const fn optional(flat: &'static str, nested: &'static str) -> Spec {
    Spec { names: [flat, nested], types: TEXT, is_required: false }
}

const URLKEY: Spec = required("url_surtkey", "url.surtkey", TEXT);
const URL: Spec = required("url", "url.url", TEXT);
const TIME: Spec = required("fetch_time", "fetch.time", &[Type::INT64, Type::INT96]);
const STATUS: Spec = required("fetch_status", "fetch.status", NUMBER);
const FILENAME: Spec = required("warc_filename", "warc.filename", TEXT);
const OFFSET: Spec = required("warc_record_offset", "warc.record_offset", NUMBER);
const LENGTH: Spec = required("warc_record_length", "warc.record_length", NUMBER);
const DIGEST: Spec = required("content_digest", "content.digest", TEXT);
const MIME: Spec = optional("content_mime_type", "content.mime_type");
const MIME_DETECTED: Spec = optional("content_mime_detected", "content.mime_detected");
const REDIRECT: Spec = optional("fetch_redirect", "fetch.redirect");

/// Columns that are read, for dividing memory among them.
pub(super) const COLUMNS: u64 = 11;

/// The position of the key column.
pub(super) fn key_column(schema: &SchemaDescriptor) -> Result<usize, TableError> {
    leaf(schema, URLKEY.names, URLKEY.types)
}

/// Whether the schema has all that a capture needs.
pub(super) fn check_schema(schema: &SchemaDescriptor) -> Result<(), TableError> {
    for spec in [URLKEY, URL, TIME, STATUS, FILENAME, OFFSET, LENGTH, DIGEST] {
        leaf(schema, spec.names, spec.types)?;
    }
    let time = leaf(schema, TIME.names, TIME.types)?;
    TimeUnitOf::of(&schema.column(time)).map(drop)
}

/// What one second is in an INT64 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeUnitOf {
    /// So many make a second.
    Ticks(i64),
    /// Nanoseconds of a Julian day.
    Int96,
}

impl TimeUnitOf {
    fn of(column: &ColumnDescriptor) -> Result<Self, TableError> {
        if column.physical_type() == Type::INT96 {
            return Ok(Self::Int96);
        }
        let logical = match column.logical_type_ref() {
            Some(LogicalType::Timestamp(timestamp)) => Some(match timestamp.unit {
                TimeUnit::MILLIS => 1_000,
                TimeUnit::MICROS => 1_000_000,
                TimeUnit::NANOS => 1_000_000_000,
            }),
            _ => None,
        };
        let converted = match column.converted_type() {
            ConvertedType::TIMESTAMP_MILLIS => Some(1_000),
            ConvertedType::TIMESTAMP_MICROS => Some(1_000_000),
            _ => None,
        };
        logical.or(converted).map(Self::Ticks).ok_or_else(|| TableError::Damaged {
            place: "footer".to_owned(),
            cause: format!("its column `{}` is a number and no time", column.path().string()),
        })
    }
}

/// Seconds since 1970 of an INT96: nanoseconds of the day, then the Julian day.
fn int96_seconds(value: &Int96) -> i64 {
    let &[low, high, julian_day] = value.data() else { unreachable!("an INT96 is three words") };
    let nanoseconds = (u64::from(high) << 32) | u64::from(low);
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).expect("a 64-bit count of nanoseconds");
    (i64::from(julian_day) - JULIAN_DAY_OF_1970) * 86_400 + seconds
}

/// One column of the group, read forwards.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The level of a value that is there.
    present: i16,
    /// The row that is read next.
    next_row: u64,
    values: Vec<T::T>,
    levels: Vec<i16>,
}

impl<T: DataType> Column<T> {
    /// Reads the next rows, at most `rows`; where all are there, they are `values`.
    fn read(&mut self, rows: usize) -> Result<usize, ParquetError> {
        self.values.clear();
        self.levels.clear();
        let levels = (self.present > 0).then_some(&mut self.levels);
        let (read, _, _) = self.reader.read_records(rows, levels, None, &mut self.values)?;
        self.next_row += u64::try_from(read).expect("usize fits u64");
        Ok(read)
    }

    /// The value of a row that was not passed yet; none where it is null.
    fn at(&mut self, row: u64) -> Result<Option<T::T>, ParquetError> {
        let ends = || ParquetError::EOF("the column ends before the row group".to_owned());
        let skip = row.checked_sub(self.next_row).and_then(|skip| usize::try_from(skip).ok()).ok_or_else(ends)?;
        if self.reader.skip_records(skip)? < skip {
            return Err(ends());
        }
        self.next_row = row;
        if self.read(1)? < 1 {
            return Err(ends());
        }
        Ok(self.values.pop())
    }
}

/// A column of whole numbers of either width.
enum Numbers {
    Narrow(Column<Int32Type>),
    Wide(Column<Int64Type>),
}

impl Numbers {
    fn at(&mut self, row: u64) -> Result<Option<i64>, ParquetError> {
        match self {
            Self::Narrow(column) => Ok(column.at(row)?.map(i64::from)),
            Self::Wide(column) => column.at(row),
        }
    }
}

enum Times {
    Ticks(Column<Int64Type>, i64),
    Int96(Column<Int96Type>),
}

impl Times {
    fn at(&mut self, row: u64) -> Result<Option<i64>, ParquetError> {
        Ok(match self {
            // Times before 1970 round down, too.
            Self::Ticks(column, a_second) => column.at(row)?.map(|ticks| ticks.div_euclid(*a_second)),
            Self::Int96(column) => column.at(row)?.as_ref().map(int96_seconds),
        })
    }
}

/// Stands in a row group; keys are asked in ascending order.
pub(super) struct GroupCursor {
    keys: Column<ByteArrayType>,
    /// The row of `keys.values[0]`.
    batch_row: u64,
    /// The first of `keys.values` that is not behind the walk.
    batch_at: usize,
    last_key: ByteArray,
    rows: u64,
    /// Bounds by the statistics.
    bounds: Option<(Box<str>, Box<str>)>,
    url: Column<ByteArrayType>,
    time: Times,
    status: Numbers,
    filename: Column<ByteArrayType>,
    offset: Numbers,
    length: Numbers,
    digest: Column<ByteArrayType>,
    mime: Option<Column<ByteArrayType>>,
    mime_detected: Option<Column<ByteArrayType>>,
    redirect: Option<Column<ByteArrayType>>,
    lines_read: u64,
}

impl GroupCursor {
    /// Opens a row group; nothing of it is read yet. `data_end` is where the file's footer begins.
    pub(super) fn open(
        file: &PartFile,
        metadata: &ParquetMetaData,
        row_group: usize,
        data_end: u64,
        window_bytes: u64,
        bounds: Option<(Box<str>, Box<str>)>,
    ) -> Result<Self, TableError> {
        let Some(group) = metadata.row_groups().get(row_group) else {
            return Err(damaged(format!("it has no row group {row_group}")));
        };
        let schema = metadata.file_metadata().schema_descr();
        let rows = u64::try_from(group.num_rows()).map_err(|_| damaged("its number of rows is below zero"))?;
        let opener = Opener { file, schema, group, rows, data_end, window_bytes };
        let time = opener.descriptor(&TIME)?;
        let time = match TimeUnitOf::of(schema.columns()[time].as_ref())? {
            TimeUnitOf::Ticks(a_second) => Times::Ticks(opener.open(time)?, a_second),
            TimeUnitOf::Int96 => Times::Int96(opener.open(time)?),
        };
        Ok(Self {
            keys: opener.text(&URLKEY)?,
            batch_row: 0,
            batch_at: 0,
            last_key: ByteArray::from(""),
            rows,
            bounds,
            url: opener.text(&URL)?,
            time,
            status: opener.numbers(&STATUS)?,
            filename: opener.text(&FILENAME)?,
            offset: opener.numbers(&OFFSET)?,
            length: opener.numbers(&LENGTH)?,
            digest: opener.text(&DIGEST)?,
            mime: opener.text_if_there(&MIME)?,
            mime_detected: opener.text_if_there(&MIME_DETECTED)?,
            redirect: opener.text_if_there(&REDIRECT)?,
            lines_read: 0,
        })
    }

    /// Keys looked at so far.
    pub(super) fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// Adds the captures of `urlkey`, which is no smaller than any key asked before.
    pub(super) fn captures_of(&mut self, urlkey: &str, found: &mut Vec<CaptureLine>) -> Result<(), TableError> {
        loop {
            let ahead = self.keys.values.get(self.batch_at..).unwrap_or_default();
            let passed = ahead.partition_point(|key| key.data() < urlkey.as_bytes());
            self.batch_at += passed;
            let Some(key) = self.keys.values.get(self.batch_at) else {
                if !self.next_batch()? {
                    return Ok(());
                }
                continue;
            };
            if key.data().cmp(urlkey.as_bytes()) == Ordering::Greater {
                return Ok(());
            }
            let row = self.batch_row + u64::try_from(self.batch_at).expect("usize fits u64");
            let capture = self.capture(urlkey, row)?;
            found.push(capture);
            self.batch_at += 1;
        }
    }

    /// Decodes the next keys and checks their order; `false` at the end of the group.
    fn next_batch(&mut self) -> Result<bool, TableError> {
        if let Some(last) = self.keys.values.pop() {
            self.last_key = last;
        }
        self.batch_row = self.keys.next_row;
        self.batch_at = 0;
        let left = usize::try_from(self.rows.saturating_sub(self.batch_row)).unwrap_or(BATCH_ROWS).min(BATCH_ROWS);
        if left == 0 {
            self.keys.values.clear();
            return Ok(false);
        }
        let read = self.keys.read(left).map_err(classified)?;
        if read != left || self.keys.values.len() != read {
            return Err(damaged("its keys end before the row group, or are null"));
        }
        self.lines_read += u64::try_from(read).expect("usize fits u64");
        let mut last = self.last_key.data();
        for (key, row) in self.keys.values.iter().zip(self.batch_row..) {
            if key.data() < last {
                return Err(damaged(format!("row {row} is out of order")));
            }
            last = key.data();
        }
        if let Some((first, last)) = &self.bounds {
            let is_outside = |key: &ByteArray| key.data() < first.as_bytes() || key.data() > last.as_bytes();
            // Sorted: the ends tell for all.
            if self.keys.values.first().is_some_and(is_outside) || self.keys.values.last().is_some_and(is_outside) {
                let row = self.batch_row;
                return Err(damaged(format!("from row {row} on a key lies outside of the group's statistics")));
            }
        }
        Ok(true)
    }

    fn capture(&mut self, urlkey: &str, row: u64) -> Result<CaptureLine, TableError> {
        let missing = |what: &str| damaged(format!("row {row} has no usable {what}"));
        let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let seconds = self.time.at(row).map_err(classified)?;
        let status = self.status.at(row).map_err(classified)?;
        let offset = unsigned(self.offset.at(row).map_err(classified)?).ok_or_else(|| missing("offset"))?;
        let length = unsigned(self.length.at(row).map_err(classified)?).ok_or_else(|| missing("length"))?;
        Ok(CaptureLine {
            urlkey: urlkey.to_owned(),
            timestamp: seconds.and_then(time::digits_of).ok_or_else(|| missing("time"))?,
            url: text_at(&mut self.url, row)?.ok_or_else(|| missing("url"))?,
            mime: text_if_there(self.mime.as_mut(), row)?,
            mime_detected: text_if_there(self.mime_detected.as_mut(), row)?,
            // Records that answer no request have no status, or one that is none.
            status: status.and_then(|status| u16::try_from(status).ok()).filter(|status| *status > 0),
            digest: text_at(&mut self.digest, row)?,
            length,
            offset,
            filename: text_at(&mut self.filename, row)?.ok_or_else(|| missing("file name"))?,
            charset: None,
            languages: None,
            redirect: text_if_there(self.redirect.as_mut(), row)?,
            truncated: None,
        })
    }
}

fn text_at(column: &mut Column<ByteArrayType>, row: u64) -> Result<Option<String>, TableError> {
    let Some(value) = column.at(row).map_err(classified)? else { return Ok(None) };
    let text = std::str::from_utf8(value.data());
    text.map(|text| Some(text.to_owned())).map_err(|_| damaged(format!("row {row} holds text that is not utf-8")))
}

fn text_if_there(column: Option<&mut Column<ByteArrayType>>, row: u64) -> Result<Option<String>, TableError> {
    column.map_or(Ok(None), |column| text_at(column, row))
}

/// Opens the columns of one row group.
struct Opener<'o> {
    file: &'o PartFile,
    schema: &'o SchemaDescriptor,
    group: &'o RowGroupMetaData,
    rows: u64,
    data_end: u64,
    window_bytes: u64,
}

impl Opener<'_> {
    fn descriptor(&self, spec: &Spec) -> Result<usize, TableError> {
        leaf(self.schema, spec.names, spec.types)
    }

    fn text(&self, spec: &Spec) -> Result<Column<ByteArrayType>, TableError> {
        self.open(self.descriptor(spec)?)
    }

    fn text_if_there(&self, spec: &Spec) -> Result<Option<Column<ByteArrayType>>, TableError> {
        let is_there = self.schema.columns().iter().any(|column| spec.names.contains(&column.path().string().as_str()));
        if is_there || spec.is_required { self.text(spec).map(Some) } else { Ok(None) }
    }

    fn numbers(&self, spec: &Spec) -> Result<Numbers, TableError> {
        let position = self.descriptor(spec)?;
        if self.schema.column(position).physical_type() == Type::INT32 {
            Ok(Numbers::Narrow(self.open(position)?))
        } else {
            Ok(Numbers::Wide(self.open(position)?))
        }
    }

    fn open<T: DataType>(&self, position: usize) -> Result<Column<T>, TableError> {
        let descriptor = self.schema.column(position);
        let Some(metadata) = self.group.columns().get(position) else {
            return Err(damaged(format!("it has no column {position}")));
        };
        let chunk = self.chunk(metadata)?;
        let present = descriptor.max_def_level();
        let pages = Pages::new(self.file.clone(), chunk, self.window_bytes);
        Ok(Column {
            reader: ColumnReaderImpl::new(Arc::clone(&descriptor), Box::new(pages)),
            present,
            next_row: 0,
            values: Vec::new(),
            levels: Vec::new(),
        })
    }

    /// Where the chunk's pages lie: within the file's data, and with a value a row.
    fn chunk(&self, metadata: &ColumnChunkMetaData) -> Result<Chunk, TableError> {
        let name = metadata.column_path().string();
        let data = u64::try_from(metadata.data_page_offset()).ok();
        // Some writers write 0 where there is no dictionary.
        let dictionary = metadata.dictionary_page_offset().and_then(|offset| u64::try_from(offset).ok());
        let start = data.map(|data| dictionary.filter(|offset| (1..data).contains(offset)).unwrap_or(data));
        let length = u64::try_from(metadata.compressed_size()).ok();
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= self.data_end)) else {
            return Err(damaged(format!("column `{name}` does not lie within the file")));
        };
        let values = u64::try_from(metadata.num_values()).ok().filter(|values| *values == self.rows);
        let Some(values) = values else {
            return Err(damaged(format!(
                "column `{name}` has {} values for {} rows",
                metadata.num_values(),
                self.rows
            )));
        };
        Ok(Chunk { start, end, values, compression: metadata.compression() })
    }
}

fn damaged(cause: impl Into<String>) -> TableError {
    TableError::Damaged { place: "row group".to_owned(), cause: cause.into() }
}

/// Our own causes come back through the decoders as they went in.
fn classified(cause: ParquetError) -> TableError {
    match cause {
        ParquetError::External(inner) => match inner.downcast::<TableError>() {
            Ok(own) => *own,
            Err(other) => damaged(other.to_string()),
        },
        other => damaged(other.to_string()),
    }
}
