//! Reads the footers of a table's parts, and makes the table's summary of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::basic::Type;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;
use sha2::{Digest, Sha256};
use weft_core::limits::{LimitExceeded, Limits};

use super::{Line, PartRef, TableError, VERSION};
use crate::formats::outside::OutsideRoot;

/// Bytes of a part's end that are read first; Common Crawl's footers mostly fit.
const TAIL_BYTES: u64 = 64 << 10;
/// The footer's length and the magic, behind the footer itself.
const END_BYTES: u64 = 8;

/// Makes the summary of a table whose parts have these paths below `root`: two or three requests a part.
///
/// The text depends on the parts alone: they are taken in the order of their paths.
///
/// # Errors
/// The first part that cannot be read, is no Parquet or lacks a column of the index, with its place.
pub fn summarise(root: &OutsideRoot, parts: &[String], limits: &Limits) -> Result<String, (String, TableError)> {
    let mut parts: Vec<&String> = parts.iter().collect();
    parts.sort();
    parts.dedup();
    let mut text = line_of(&Line::Columnar { version: VERSION });
    for path in parts {
        let described = describe(root, path, limits).map_err(|cause| (root.place(path), cause))?;
        described.iter().for_each(|line| text.push_str(&line_of(line)));
    }
    Ok(text)
}

fn line_of(line: &Line) -> String {
    let mut text = serde_json::to_string(line).expect("plain values become JSON");
    text.push('\n');
    text
}

fn describe(root: &OutsideRoot, path: &str, limits: &Limits) -> Result<Vec<Line>, TableError> {
    let bytes = root.len(path).map_err(|source| TableError::Outside { source: Arc::new(source) })?;
    let footer = read(root, path, bytes, limits)?;
    let footer_bytes = u64::try_from(footer.len()).expect("usize fits u64");
    let metadata = decode(&footer)?;
    let key = super::group::key_column(metadata.file_metadata().schema_descr())?;
    let mut lines = vec![Line::Part { path: path.to_owned(), bytes, footer_bytes, footer_sha256: sha256(&footer) }];
    super::group::check_schema(metadata.file_metadata().schema_descr())?;
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).map_err(|_| damaged("a row group has fewer rows than none"))?;
        lines.push(Line::Group { rows, keys: group.column(key).statistics().and_then(bounds) });
    }
    Ok(lines)
}

/// First and last key by the statistics, where they can be trusted: byte order, and text.
///
/// The deprecated fields compare bytes as signed (PARQUET-251), so they bound nothing here.
fn bounds(statistics: &Statistics) -> Option<(String, String)> {
    if statistics.is_min_max_deprecated() {
        return None;
    }
    let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok().map(str::to_owned));
    let (first, last) = (text(statistics.min_bytes_opt())?, text(statistics.max_bytes_opt())?);
    (first <= last).then_some((first, last))
}

/// The footer of a file of `bytes` bytes, its length and magic included.
fn read(root: &OutsideRoot, path: &str, bytes: u64, limits: &Limits) -> Result<Vec<u8>, TableError> {
    let outside = |source| TableError::Outside { source: Arc::new(source) };
    if bytes < END_BYTES {
        return Err(damaged("it is too short to be Parquet"));
    }
    let tail_bytes = bytes.min(TAIL_BYTES);
    let tail = root.read_range(path, bytes - tail_bytes, tail_bytes).map_err(outside)?;
    let end: [u8; 8] = match tail.last_chunk::<8>() {
        Some(end) => *end,
        None => return Err(damaged("it is too short to be Parquet")),
    };
    let [l0, l1, l2, l3, magic @ ..] = end;
    if &magic != b"PAR1" {
        return Err(damaged("it does not end as Parquet does"));
    }
    let footer_bytes = u64::from(u32::from_le_bytes([l0, l1, l2, l3])) + END_BYTES;
    if footer_bytes > bytes {
        return Err(damaged(&format!("its footer of {footer_bytes} bytes is longer than the file")));
    }
    if footer_bytes > limits.record_bytes {
        return Err(damaged(&LimitExceeded { what: "record_bytes", limit: limits.record_bytes }.to_string()));
    }
    match usize::try_from(tail_bytes.saturating_sub(footer_bytes)) {
        Ok(skip) if footer_bytes <= tail_bytes => Ok(tail.get(skip..).unwrap_or_default().to_vec()),
        _ => root.read_range(path, bytes - footer_bytes, footer_bytes).map_err(outside),
    }
}

/// Reads the footer again that a summary tells of.
pub(super) fn read_again(root: &OutsideRoot, part: &PartRef) -> Result<(Vec<u8>, ParquetMetaData), TableError> {
    let outside = |source| TableError::Outside { source: Arc::new(source) };
    let start = part.bytes.checked_sub(part.footer_bytes).ok_or_else(|| damaged("the summary is of another file"))?;
    let footer = root.read_range(&part.path, start, part.footer_bytes).map_err(outside)?;
    if sha256(&footer) != part.footer_sha256 {
        return Err(damaged("it is not the file that the table's summary was made of"));
    }
    let metadata = decode(&footer)?;
    Ok((footer, metadata))
}

fn decode(footer: &[u8]) -> Result<ParquetMetaData, TableError> {
    let end = footer.len().saturating_sub(8);
    let thrift = footer.get(..end).unwrap_or_default();
    // Outside bytes: should the package panic on some, they are damaged and nothing else is.
    let decoded = catch_unwind(AssertUnwindSafe(|| ParquetMetaDataReader::decode_metadata(thrift)));
    match decoded {
        Ok(Ok(metadata)) => Ok(metadata),
        Ok(Err(cause)) => Err(damaged(&cause.to_string())),
        Err(_) => Err(damaged("its decoder fails on it")),
    }
}

/// The leaf of these names, flat or nested, that is of one of these types and does not repeat.
pub(super) fn leaf(schema: &SchemaDescriptor, names: [&str; 2], types: &[Type]) -> Result<usize, TableError> {
    let found = schema.columns().iter().position(|column| names.contains(&column.path().string().as_str()));
    let Some(position) = found else {
        return Err(damaged(&format!("it has neither column `{}` nor `{}`", names[0], names[1])));
    };
    let column = schema.column(position);
    if column.max_rep_level() > 0 || !types.contains(&column.physical_type()) {
        return Err(damaged(&format!("its column `{}` is {}", column.path().string(), column.physical_type())));
    }
    Ok(position)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(cause: &str) -> TableError {
    TableError::Damaged { place: "footer".to_owned(), cause: cause.to_owned() }
}
