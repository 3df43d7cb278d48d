//! Writing tables: in order, or sorted by target shard on the way (an exchange).

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::RowConverter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::id::ShardId;
use crate::rows::{ReadError, Rows, batch_source, key_converter, memory_source};
use crate::store::{Store, StoreError, StoreWriter, is_no_space};
use crate::table::Table;

/// Rows collected before they are handed to Parquet.
const BATCH_ROWS: usize = 1024;
/// Bytes collected before they are handed to Parquet.
const BATCH_BYTES: usize = 4 << 20;
/// A row group ends when this many bytes of it are encoded (architecture: at most 64 MB).
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Footer key under which an exchange keeps its directory.
const DIRECTORY_KEY: &str = "weft.exchange";

/// A table that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store failed.
    #[error("failed to write table `{table}`")]
    Store {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Parquet failed.
    #[error("failed to encode table `{table}`")]
    Encode {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The scratch folder failed.
    #[error("failed to sort table `{table}` in the scratch folder")]
    Scratch {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl WriteError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        is_no_space(self) || matches!(self, Self::Store { source: StoreError::NoSpace { .. }, .. })
    }
}

/// Where the rows of one target shard lie in an exchange file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The target shard.
    pub shard: ShardId,
    /// Its first row group.
    pub first_row_group: usize,
    /// How many row groups it has.
    pub row_groups: usize,
    /// How many rows they hold.
    pub rows: u64,
}

/// A finished table file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The table.
    pub table: String,
    /// The table's version.
    pub version: u32,
    /// The file in the store.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Blake3 of its bytes, 64 hex digits.
    pub blake3: String,
    /// For an exchange: where each target shard's rows lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Vec<Directory>>,
}

/// Writes rows in the order they come.
pub struct TableWriter<T: Table> {
    parquet: ArrowWriter<StoreWriter>,
    path: String,
    builder: T::Builder,
    pending_rows: usize,
    pending_bytes: usize,
    rows: u64,
}

impl<T: Table> fmt::Debug for TableWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableWriter").field("table", &T::NAME).field("rows", &self.rows).finish()
    }
}

impl<T: Table> TableWriter<T> {
    /// Begins the file.
    ///
    /// # Errors
    /// When the schema cannot be written.
    pub fn create(store: &Store, path: &str) -> Result<Self, WriteError> {
        let parquet = ArrowWriter::try_new(store.create(path), T::schema(), Some(properties::<T>()))
            .map_err(encode_error::<T>)?;
        Ok(Self {
            parquet,
            path: path.to_owned(),
            builder: T::Builder::default(),
            pending_rows: 0,
            pending_bytes: 0,
            rows: 0,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn push(&mut self, row: &T::Row<'_>) -> Result<(), WriteError> {
        self.pending_bytes += T::append(&mut self.builder, row);
        self.pending_rows += 1;
        self.rows += 1;
        if self.pending_rows >= BATCH_ROWS || self.pending_bytes >= BATCH_BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Rows added so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn hand_over(&mut self) -> Result<(), WriteError> {
        if self.pending_rows > 0 {
            let batch = T::finish(&mut self.builder);
            self.parquet.write(&batch).map_err(encode_error::<T>)?;
            (self.pending_rows, self.pending_bytes) = (0, 0);
        }
        if self.parquet.in_progress_size() >= ROW_GROUP_BYTES {
            self.parquet.flush().map_err(encode_error::<T>)?;
        }
        Ok(())
    }

    /// Ends the row group; returns how many there are now.
    fn cut(&mut self) -> Result<usize, WriteError> {
        self.hand_over()?;
        self.parquet.flush().map_err(encode_error::<T>)?;
        Ok(self.parquet.flushed_row_groups().len())
    }

    /// Makes the file visible.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn finish(self) -> Result<Output, WriteError> {
        self.finish_with(None)
    }

    fn finish_with(mut self, directory: Option<Vec<Directory>>) -> Result<Output, WriteError> {
        self.hand_over()?;
        if let Some(directory) = &directory {
            let json = serde_json::to_string(directory).expect("a directory is plain JSON");
            self.parquet.append_key_value_metadata(KeyValue::new(DIRECTORY_KEY.to_owned(), json));
        }
        let writer = self.parquet.into_inner().map_err(encode_error::<T>)?;
        let written = writer.finish().map_err(|source| WriteError::Store { table: T::NAME, source })?;
        Ok(Output {
            table: T::NAME.to_owned(),
            version: T::VERSION,
            path: self.path,
            rows: self.rows,
            bytes: written.bytes,
            blake3: written.blake3,
            directory,
        })
    }
}

fn encode_error<T: Table>(cause: parquet::errors::ParquetError) -> WriteError {
    WriteError::Encode { table: T::NAME, source: cause.into() }
}

fn properties<T: Table>() -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).expect("level 1 exists"));
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("weft {}", env!("CARGO_PKG_VERSION")))
        .set_compression(zstd)
        .set_data_page_size_limit(256 << 10)
        .set_max_row_group_row_count(Some(1 << 20));
    for field in T::schema().fields() {
        if *field.data_type() == DataType::Binary {
            // Pictures are compressed already, and large values only fill dictionaries and statistics.
            let column = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column.clone(), parquet::file::properties::EnabledStatistics::None);
            if T::NAME == "pixels" {
                properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
            }
        }
    }
    let version = KeyValue::new("weft.table".to_owned(), format!("{} v{}", T::NAME, T::VERSION));
    properties.set_key_value_metadata(Some(vec![version])).build()
}

/// Sorts rows by target shard and key within a memory bound, and writes ONE file whose row groups end at the
/// borders of target shards; the directory stands in the footer and in the task's report.
pub struct ExchangeWriter<T: Table> {
    store: Store,
    path: String,
    scratch: std::path::PathBuf,
    budget_bytes: usize,
    keys: RowConverter,
    builder: T::Builder,
    targets: Vec<u32>,
    pending_bytes: usize,
    runs: Vec<std::fs::File>,
}

impl<T: Table> fmt::Debug for ExchangeWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeWriter").field("table", &T::NAME).field("runs", &self.runs.len()).finish()
    }
}

/// The target shard, as the first key column of rows on their way.
const TARGET: &str = "weft_target_shard";

impl<T: Table> ExchangeWriter<T> {
    /// Begins collecting; runs of `budget_bytes` are sorted in `scratch`.
    ///
    /// # Errors
    /// Never today; a place for checks of the scratch folder.
    pub fn create(
        store: &Store,
        path: &str,
        scratch: &std::path::Path,
        budget_bytes: usize,
    ) -> Result<Self, WriteError> {
        Ok(Self {
            store: store.clone(),
            path: path.to_owned(),
            scratch: scratch.to_owned(),
            budget_bytes,
            keys: key_converter::<Targeted<T>>(),
            builder: T::Builder::default(),
            targets: Vec::new(),
            pending_bytes: 0,
            runs: Vec::new(),
        })
    }

    /// Adds a row for `target`.
    ///
    /// # Errors
    /// When the scratch folder fails or is full.
    pub fn push(&mut self, target: ShardId, row: &T::Row<'_>) -> Result<(), WriteError> {
        self.targets.push(target.0);
        self.pending_bytes += T::append(&mut self.builder, row) + 4;
        if self.pending_bytes >= self.budget_bytes {
            self.spill()?;
        }
        Ok(())
    }

    fn sorted(&mut self) -> Result<RecordBatch, WriteError> {
        let batch = T::finish(&mut self.builder);
        let targets: ArrayRef = Arc::new(UInt32Array::from(std::mem::take(&mut self.targets)));
        self.pending_bytes = 0;
        let mut columns = vec![Arc::clone(&targets)];
        columns.extend(T::KEY.iter().map(|key| Arc::clone(batch.column_by_name(key).expect("a key column"))));
        let rows = self.keys.convert_columns(&columns).map_err(scratch_error::<T>)?;
        let mut order: Vec<u32> = (0..u32::try_from(batch.num_rows()).expect("a run has fewer rows")).collect();
        order.sort_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
        let order = UInt32Array::from(order);
        let mut sorted = vec![take(&targets, &order, None).map_err(scratch_error::<T>)?];
        for column in batch.columns() {
            sorted.push(take(column, &order, None).map_err(scratch_error::<T>)?);
        }
        RecordBatch::try_new(target_schema::<T>(), sorted).map_err(scratch_error::<T>)
    }

    fn spill(&mut self) -> Result<(), WriteError> {
        let sorted = self.sorted()?;
        let file = tempfile::tempfile_in(&self.scratch).map_err(scratch_error::<T>)?;
        let buffered = std::io::BufWriter::new(file);
        let mut writer = StreamWriter::try_new(buffered, &sorted.schema()).map_err(scratch_error::<T>)?;
        // Small batches: the merge holds one of each run.
        for start in (0..sorted.num_rows()).step_by(256) {
            let piece = sorted.slice(start, 256.min(sorted.num_rows() - start));
            writer.write(&piece).map_err(scratch_error::<T>)?;
        }
        let mut buffered = writer.into_inner().map_err(scratch_error::<T>)?;
        buffered.flush().map_err(scratch_error::<T>)?;
        let mut file = buffered.into_inner().map_err(|cause| scratch_error::<T>(cause.into_error()))?;
        std::io::Seek::rewind(&mut file).map_err(scratch_error::<T>)?;
        self.runs.push(file);
        Ok(())
    }

    /// Merges the runs and makes the file visible.
    ///
    /// # Errors
    /// When the store or the scratch folder fails or is full.
    pub fn finish(mut self) -> Result<Output, WriteError> {
        let last = self.sorted()?;
        let mut sources = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            let reader = StreamReader::try_new(std::io::BufReader::new(run), None).map_err(scratch_error::<T>)?;
            sources.push(batch_source::<Targeted<T>>("scratch", reader));
        }
        sources.push(memory_source::<Targeted<T>>(last));
        let mut rows = Rows::merge(sources);
        let mut writer = TableWriter::<T>::create(&self.store, &self.path)?;
        let mut directory: Vec<Directory> = Vec::new();
        while let Some((target, row)) = rows.next().map_err(|cause: ReadError| scratch_error::<T>(cause))? {
            if directory.last().is_none_or(|entry| entry.shard.0 != target) {
                let first_row_group = if directory.is_empty() { 0 } else { writer.cut()? };
                if let Some(previous) = directory.last_mut() {
                    previous.row_groups = first_row_group - previous.first_row_group;
                }
                directory.push(Directory { shard: ShardId(target), first_row_group, row_groups: 0, rows: 0 });
            }
            if let Some(entry) = directory.last_mut() {
                entry.rows += 1;
            }
            writer.push(&row)?;
        }
        let row_groups = writer.cut()?;
        if let Some(entry) = directory.last_mut() {
            entry.row_groups = row_groups - entry.first_row_group;
        }
        writer.finish_with(Some(directory))
    }
}

fn scratch_error<T: Table>(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WriteError {
    WriteError::Scratch { table: T::NAME, source: cause.into() }
}

fn target_schema<T: Table>() -> Arc<Schema> {
    let mut fields = vec![Arc::new(Field::new(TARGET, DataType::UInt32, false))];
    fields.extend(T::schema().fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// Table `T` with the target shard in front: the form of rows on their way.
struct Targeted<T>(std::marker::PhantomData<T>);

impl<T: Table> Table for Targeted<T> {
    const NAME: &'static str = T::NAME;
    const VERSION: u32 = T::VERSION;
    const KEY: &'static [&'static str] = T::KEY;
    const SPACE: crate::id::Space = T::SPACE;
    type Row<'a> = (u32, T::Row<'a>);
    type Columns = (UInt32Array, T::Columns);
    type Builder = T::Builder;

    fn schema() -> Arc<Schema> {
        target_schema::<T>()
    }

    fn columns(batch: &RecordBatch) -> Result<Self::Columns, crate::table::SchemaError> {
        let targets = batch.column_by_name(TARGET).and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
        let targets = targets.ok_or_else(|| crate::table::SchemaError {
            table: T::NAME,
            column: TARGET,
            expected: DataType::UInt32.to_string(),
        })?;
        Ok((targets.clone(), T::columns(batch)?))
    }

    fn row(columns: &Self::Columns, index: usize) -> Self::Row<'_> {
        (columns.0.value(index), T::row(&columns.1, index))
    }

    fn append(builder: &mut T::Builder, row: &Self::Row<'_>) -> usize {
        T::append(builder, &row.1)
    }

    fn finish(builder: &mut T::Builder) -> RecordBatch {
        T::finish(builder)
    }

    fn key_columns() -> Vec<&'static str> {
        std::iter::once(TARGET).chain(T::KEY.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Part;
    use crate::tables::{HashCounts, HashCountsRow};

    /// Writes pseudo-random rows for five targets with the given memory budget; returns the file and the rows.
    fn exchange(store: &Store, path: &str, budget_bytes: usize) -> (Output, Vec<(u32, u64, u32)>) {
        let scratch = tempfile::tempdir().unwrap();
        let mut writer = ExchangeWriter::<HashCounts>::create(store, path, scratch.path(), budget_bytes).unwrap();
        let mut expected = Vec::new();
        let mut state = 7_u64;
        for position in 0..5_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (target, phash) = (u32::try_from(state >> 61).unwrap() % 5 * 2, state >> 50);
            writer
                .push(ShardId(target), &HashCountsRow { phash, crawl_shard: position, images: u64::from(position) })
                .unwrap();
            expected.push((target, phash, position));
        }
        expected.sort_unstable();
        (writer.finish().unwrap(), expected)
    }

    #[test]
    fn an_exchange_sorts_by_target_then_key_within_its_budget() {
        let store = Store::memory();
        let (output, expected) = exchange(&store, "x.parquet", 10_000);
        assert_eq!(output.rows, 5_000);
        let mut read = Vec::new();
        for entry in output.directory.as_ref().unwrap() {
            let part = Part { path: output.path.clone(), row_groups: Some((entry.first_row_group, entry.row_groups)) };
            let mut rows = Rows::<HashCounts>::open(&store, &[part]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                read.push((entry.shard.0, row.phash, row.crawl_shard));
            }
        }
        assert_eq!(read, expected);
    }

    #[test]
    fn an_exchange_gives_the_same_bytes_whatever_its_budget() {
        let store = Store::memory();
        let (small, _) = exchange(&store, "small.parquet", 10_000);
        let (large, _) = exchange(&store, "large.parquet", 10_000_000);
        assert_eq!(small.blake3, large.blake3);
    }

    #[test]
    fn gathered_parts_merge_in_key_order() {
        let store = Store::memory();
        let mut parts = Vec::new();
        for (path, hashes) in [("a", [1, 4, 9]), ("b", [2, 4, 5]), ("c", [0, 6, 7])] {
            let mut writer = TableWriter::<HashCounts>::create(&store, path).unwrap();
            for phash in hashes {
                writer.push(&HashCountsRow { phash, crawl_shard: 0, images: 1 }).unwrap();
            }
            writer.finish().unwrap();
            parts.push(Part { path: path.to_owned(), row_groups: None });
        }
        let mut rows = Rows::<HashCounts>::open(&store, &parts).unwrap();
        let mut merged = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            merged.push(row.phash);
        }
        assert_eq!(merged, [0, 1, 2, 4, 4, 5, 6, 7, 9]);
    }
}
