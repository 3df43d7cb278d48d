//! Writes captures as Common Crawl's columnar index: its flat schema, a folder a subset, a part a shard.
//!
//! Parts are sorted by `url_surtkey`, compressed with gzip, and of several row groups; `crawl` and `subset` are in the
//! path alone. Times are milliseconds, as the archives of this project's tests have them, or the 96 bits that older
//! writers (and Common Crawl's) use.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use parquet::basic::{Compression, GzipLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type, Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::captures::{Capture, Subset};
use crate::make::CRAWL;
use crate::sites::{Host, Page};
use crate::zipnum::create;

/// The day 1970-01-01 as a Julian day number.
const JULIAN_1970: u32 = 2_440_588;

/// How `fetch_time` is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchTime {
    /// 64 bits, milliseconds since 1970.
    Millis,
    /// 96 bits: nanoseconds of the day, and the Julian day.
    Int96,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    MaybeText,
    Int,
    MaybeInt,
    Short,
    Time,
}

/// The flat schema of `cc-index-table` (`cc-index-schema-flat.json`), but for the two columns in the path.
const COLUMNS: [(&str, Kind); 30] = [
    ("url_surtkey", Kind::Text),
    ("url", Kind::Text),
    ("url_host_name", Kind::Text),
    ("url_host_tld", Kind::MaybeText),
    ("url_host_2nd_last_part", Kind::MaybeText),
    ("url_host_3rd_last_part", Kind::MaybeText),
    ("url_host_4th_last_part", Kind::MaybeText),
    ("url_host_5th_last_part", Kind::MaybeText),
    ("url_host_registry_suffix", Kind::MaybeText),
    ("url_host_registered_domain", Kind::MaybeText),
    ("url_host_private_suffix", Kind::MaybeText),
    ("url_host_private_domain", Kind::MaybeText),
    ("url_host_name_reversed", Kind::MaybeText),
    ("url_protocol", Kind::Text),
    ("url_port", Kind::MaybeInt),
    ("url_path", Kind::Text),
    ("url_query", Kind::MaybeText),
    ("fetch_time", Kind::Time),
    ("fetch_status", Kind::Short),
    ("fetch_redirect", Kind::MaybeText),
    ("content_digest", Kind::MaybeText),
    ("content_mime_type", Kind::MaybeText),
    ("content_mime_detected", Kind::MaybeText),
    ("content_charset", Kind::MaybeText),
    ("content_languages", Kind::MaybeText),
    ("content_truncated", Kind::MaybeText),
    ("warc_filename", Kind::Text),
    ("warc_record_offset", Kind::Int),
    ("warc_record_length", Kind::Int),
    ("warc_segment", Kind::Text),
];

/// Values of one column of a row group.
#[derive(Debug, Default)]
struct Column {
    text: Vec<u8>,
    ends: Vec<usize>,
    ints: Vec<i32>,
    longs: Vec<i64>,
    wides: Vec<Int96>,
    /// 1 where there is a value.
    levels: Vec<i16>,
}

impl Column {
    fn text(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.text.extend_from_slice(text.as_bytes());
            self.ends.push(self.text.len());
        }
        self.levels.push(i16::from(text.is_some()));
    }

    fn int(&mut self, int: Option<i32>) {
        self.ints.extend(int);
        self.levels.push(i16::from(int.is_some()));
    }
}

/// All parts of the table; one a subset is open.
pub(crate) struct Table {
    root: PathBuf,
    row_group_rows: usize,
    time: FetchTime,
    shard: u64,
    open: [Option<Part>; 3],
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Table {
    /// A table below the crawl's `root`, for shards of about `shard_lines` lines.
    #[expect(clippy::unnecessary_wraps, reason = "the face of the other writers")]
    pub(crate) fn create(root: &Path, shard_lines: u64, time: FetchTime) -> anyhow::Result<Self> {
        let row_group_rows = usize::try_from(shard_lines / 5).expect("u64 fits usize").clamp(1_000, 100_000);
        Ok(Self { root: root.to_owned(), row_group_rows, time, shard: 0, open: [None, None, None] })
    }

    /// Adds a capture's row to the part of its shard and subset.
    pub(crate) fn push(&mut self, shard: u64, host: &Host, page: &Page, capture: &Capture) -> anyhow::Result<()> {
        if shard != self.shard {
            self.end_parts()?;
            self.shard = shard;
        }
        let subset = Subset::ALL.iter().position(|subset| *subset == capture.subset).expect("one of all");
        let open = &mut self.open[subset];
        if open.is_none() {
            let path = format!(
                "cc-index/table/cc-main/warc/crawl={CRAWL}/subset={}/part-{shard:05}.gz.parquet",
                capture.subset.name()
            );
            *open = Some(Part::create(&self.root.join(path), self.time)?);
        }
        let part = open.as_mut().expect("opened just now");
        part.push(host, page, capture)?;
        if part.rows == self.row_group_rows {
            part.end_row_group()?;
        }
        Ok(())
    }

    fn end_parts(&mut self) -> anyhow::Result<()> {
        for part in &mut self.open {
            if let Some(part) = part.take() {
                part.finish()?;
            }
        }
        Ok(())
    }

    /// Ends the last parts.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.end_parts()
    }
}

struct Part {
    path: PathBuf,
    writer: SerializedFileWriter<BufWriter<File>>,
    time: FetchTime,
    columns: Vec<Column>,
    rows: usize,
}

impl Part {
    fn create(path: &Path, time: FetchTime) -> anyhow::Result<Self> {
        let schema = parse_message_type(&schema(time)).context("the table's schema")?;
        let gzip = GzipLevel::try_new(1).context("gzip has a level 1")?;
        let properties = WriterProperties::builder().set_compression(Compression::GZIP(gzip)).build();
        let writer = SerializedFileWriter::new(create(path)?, Arc::new(schema), Arc::new(properties))
            .with_context(|| format!("failed to write {}", path.display()))?;
        let columns = COLUMNS.iter().map(|_| Column::default()).collect();
        Ok(Self { path: path.to_owned(), writer, time, columns, rows: 0 })
    }

    fn push(&mut self, host: &Host, page: &Page, capture: &Capture) -> anyhow::Result<()> {
        let (protocol, rest) = capture.url.split_once("://").context("a url has a scheme")?;
        let name = rest.split(['/', ':']).next().unwrap_or_default();
        let labels: Vec<&str> = name.rsplit('.').collect();
        let label = |at: usize| labels.get(at).copied();
        let suffix = psl::suffix_str(name);
        let domain = psl::domain_str(name);
        let reversed = labels.join(".");
        let (path, query) = match page.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (page.path.as_str(), None),
        };
        let port = host.port.trim_start_matches(':').parse().ok();
        let is_page = capture.language.is_some();
        let offset = i32::try_from(capture.offset).context("a file of more than 2 GB")?;
        let length = i32::try_from(capture.length).context("a record of more than 2 GB")?;
        let (segment, filename) = (capture.segment(), capture.filename());
        let mut columns = self.columns.iter_mut();
        let mut next = || columns.next().expect("as many columns as values");
        for text in [Some(page.urlkey.as_str()), Some(&capture.url), Some(name)] {
            next().text(text);
        }
        for at in 0..5 {
            next().text(label(at));
        }
        for text in [suffix, domain, suffix, domain, Some(&reversed), Some(protocol)] {
            next().text(text);
        }
        next().int(port);
        next().text(Some(path));
        next().text(query);
        let (days, seconds) = capture.at.days_and_seconds();
        let time = next();
        match self.time {
            FetchTime::Millis => time.longs.push((i64::from(days) * 86_400 + i64::from(seconds)) * 1_000),
            FetchTime::Int96 => {
                let nanos = u64::from(seconds) * 1_000_000_000;
                let (low, high) = (nanos & u64::from(u32::MAX), nanos >> 32);
                let mut wide = Int96::new();
                wide.set_data(
                    u32::try_from(low).expect("32 bits"),
                    u32::try_from(high).expect("a day has 47 bits of nanoseconds"),
                    days + JULIAN_1970,
                );
                time.wides.push(wide);
            }
        }
        next().int(Some(i32::from(capture.status)));
        next().text(capture.redirect.as_deref());
        for text in [Some(capture.digest()), Some(capture.mime), Some(capture.mime)] {
            next().text(text);
        }
        for text in [is_page.then_some("UTF-8"), capture.language, None, Some(&filename)] {
            next().text(text);
        }
        next().int(Some(offset));
        next().int(Some(length));
        next().text(Some(&segment));
        self.rows += 1;
        Ok(())
    }

    fn end_row_group(&mut self) -> anyhow::Result<()> {
        let place = || format!("failed to write {}", self.path.display());
        let mut group = self.writer.next_row_group().with_context(place)?;
        for ((_, kind), column) in COLUMNS.iter().zip(&mut self.columns) {
            write_column(&mut group, *kind, self.time, std::mem::take(column)).with_context(place)?;
        }
        group.close().with_context(place)?;
        self.rows = 0;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.end_row_group()?;
        }
        let place = || format!("failed to write {}", self.path.display());
        let file = self.writer.into_inner().with_context(place)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(place)?;
        Ok(())
    }
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    kind: Kind,
    time: FetchTime,
    column: Column,
) -> parquet::errors::Result<()> {
    let mut writer = group.next_column()?.expect("the schema has a column for each");
    let levels = matches!(kind, Kind::MaybeText | Kind::MaybeInt).then_some(&column.levels[..]);
    match (kind, time) {
        (Kind::Text | Kind::MaybeText, _) => {
            let text = Bytes::from(column.text);
            let mut begin = 0;
            let values = column.ends.iter().map(|&end| {
                let value = ByteArray::from(text.slice(begin..end));
                begin = end;
                value
            });
            let values: Vec<ByteArray> = values.collect();
            writer.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
        }
        (Kind::Int | Kind::MaybeInt | Kind::Short, _) => {
            writer.typed::<Int32Type>().write_batch(&column.ints, levels, None)?;
        }
        (Kind::Time, FetchTime::Millis) => {
            writer.typed::<Int64Type>().write_batch(&column.longs, None, None)?;
        }
        (Kind::Time, FetchTime::Int96) => {
            writer.typed::<Int96Type>().write_batch(&column.wides, None, None)?;
        }
    }
    writer.close()
}

fn schema(time: FetchTime) -> String {
    let columns = COLUMNS.iter().map(|(name, kind)| match (kind, time) {
        (Kind::Text, _) => format!("required binary {name} (UTF8);"),
        (Kind::MaybeText, _) => format!("optional binary {name} (UTF8);"),
        (Kind::Int, _) => format!("required int32 {name};"),
        (Kind::MaybeInt, _) => format!("optional int32 {name};"),
        (Kind::Short, _) => format!("required int32 {name} (INTEGER(16,true));"),
        (Kind::Time, FetchTime::Millis) => format!("required int64 {name} (TIMESTAMP(MILLIS,true));"),
        (Kind::Time, FetchTime::Int96) => format!("required int96 {name};"),
    });
    format!("message cc_index {{ {} }}", columns.collect::<Vec<_>>().join(" "))
}
