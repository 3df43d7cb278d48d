//! Reads the named columns of a Parquet source file, a batch of rows at a time.
//!
//! Types are those of Parquet's own schema; what a writer noted about Arrow's is not looked at, so that a text is a
//! text whether it was large, a view or a dictionary to its writer. Columns that are not named are not read.
//!
//! Memory is a batch of [`BATCH_ROWS`] rows and a page of each column. A column chunk that states more inflated bytes
//! than [`Limits::inflate_ratio`] allows is not begun with; the length of one page is bounded by the format alone (2
//! GiB).

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{
    DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;
use weft_core::limits::{LimitExceeded, Limits};
use weft_core::stage::{OutsideFile, StageError};

use super::files::{damaged, of_other_form, open};
use crate::formats::outside::with_causes;

/// Rows held at once; a page's text may run to megabytes.
const BATCH_ROWS: usize = 64;
/// Inflated bytes up to which the ratio is not judged.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// A Parquet source file, standing before its next batch.
pub(super) struct Table<'a> {
    source: &'a OutsideFile,
    reader: ParquetRecordBatchReader,
    /// The named columns' positions in a batch, in the order of the names.
    positions: Vec<usize>,
    rows_read: u64,
}

/// Some rows of a file: their columns in the order of the names.
pub(super) struct Batch {
    pub(super) columns: Vec<ArrayRef>,
    /// Their numbers in the file, from 1.
    pub(super) rows: Range<u64>,
}

impl<'a> Table<'a> {
    /// Opens `source` and looks for the columns; they may be of any type.
    pub(super) fn open(source: &'a OutsideFile, names: &[&str], limits: &Limits) -> Result<Self, StageError> {
        let file = open(source)?;
        let by_parquet = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, by_parquet)
            .map_err(|cause| damaged(source, "its footer", with_causes(&cause)))?;
        let schema = builder.schema();
        let mut roots = Vec::new();
        for name in names {
            let Ok(root) = schema.index_of(name) else {
                let present: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let cause = format!("it has no column `{name}`; it has {}", present.join(", "));
                return Err(of_other_form(source, cause));
            };
            roots.push(root);
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        check_ratio(builder.metadata(), &mask, limits)
            .map_err(|exceeded| damaged(source, "its footer", exceeded.to_string()))?;
        // A batch has the columns in the file's order.
        let positions = roots.iter().map(|root| roots.iter().filter(|other| *other < root).count()).collect();
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
        let reader = reader.map_err(|cause| damaged(source, "its footer", with_causes(&cause)))?;
        Ok(Self { source, reader, positions, rows_read: 0 })
    }

    /// The next rows; none at the file's end.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, StageError> {
        let first = self.rows_read + 1;
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|cause| {
            damaged(self.source, format_args!("row {first} or the {BATCH_ROWS} after it"), with_causes(&cause))
        })?;
        self.rows_read += u64::try_from(batch.num_rows()).expect("usize fits u64");
        let columns = self.positions.iter().map(|position| batch.column(*position).clone()).collect();
        Ok(Some(Batch { columns, rows: first..self.rows_read + 1 }))
    }

    /// The column of texts at `position` of a batch, which is called `name`.
    pub(super) fn texts<'b>(
        &self,
        batch: &'b Batch,
        position: usize,
        name: &str,
    ) -> Result<&'b StringArray, StageError> {
        let column = &batch.columns[position];
        column.as_string_opt::<i32>().ok_or_else(|| self.of_other_type(name, column.data_type(), "a text"))
    }

    pub(super) fn of_other_type(&self, name: &str, found: &DataType, wanted: &str) -> StageError {
        of_other_form(self.source, format!("its column `{name}` is {wanted} nowhere: it is of type {found}"))
    }
}

/// The value at `index`; none where it is null.
pub(super) fn text_at(texts: &StringArray, index: usize) -> Option<&str> {
    texts.is_valid(index).then(|| texts.value(index))
}

/// The whole number at `index` of a column of times, and the seconds since 1970 that it means.
pub(super) fn time_at(column: &ArrayRef, index: usize) -> Option<(i64, i64)> {
    let (value, per_second) = match column.data_type() {
        DataType::Int64 => (column.as_primitive::<Int64Type>().value(index), 1),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => (column.as_primitive::<TimestampSecondType>().value(index), 1),
            TimeUnit::Millisecond => (column.as_primitive::<TimestampMillisecondType>().value(index), 1_000),
            TimeUnit::Microsecond => (column.as_primitive::<TimestampMicrosecondType>().value(index), 1_000_000),
            TimeUnit::Nanosecond => (column.as_primitive::<TimestampNanosecondType>().value(index), 1_000_000_000),
        },
        _ => return None,
    };
    Some((value, value.div_euclid(per_second)))
}

/// Refuses a file whose footer promises more than it can hold.
fn check_ratio(metadata: &ParquetMetaData, mask: &ProjectionMask, limits: &Limits) -> Result<(), LimitExceeded> {
    for row_group in metadata.row_groups() {
        for (leaf, column) in row_group.columns().iter().enumerate() {
            if !mask.leaf_included(leaf) {
                continue;
            }
            let stored = u64::try_from(column.compressed_size()).unwrap_or(0).max(1);
            let inflated = u64::try_from(column.uncompressed_size()).unwrap_or(0);
            if inflated > stored.saturating_mul(limits.inflate_ratio).max(RATIO_FREE_BYTES) {
                return Err(LimitExceeded { what: "inflate_ratio", limit: limits.inflate_ratio });
            }
        }
    }
    Ok(())
}
