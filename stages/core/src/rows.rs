//! Rows of a table as a task reads them: batch by batch, never a shard at once.
//!
//! The files of one writer follow each other, as it wrote them; those of several writers are merged in key order.

use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{Row, RowConverter, SortField};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::store::{Store, StoreError};
use crate::table::{Batch, SchemaError, Table};

/// A table that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error("failed to open table `{table}`")]
    Store {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The file is damaged.
    #[error("failed to read table `{table}` from `{path}`")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file holds another table.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Rows are left that belong to no document of the table walked beside.
    #[error("table `{table}` has rows of document {document_id} out of order")]
    OutOfOrder {
        /// The table.
        table: &'static str,
        /// The first row's document.
        document_id: String,
    },
}

/// Part of a file: all of it, or the row groups of one target shard.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// The file in the store.
    pub path: String,
    /// First row group and number of row groups; `None` for the whole file.
    pub row_groups: Option<(usize, usize)>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ReadError>> + Send>;

/// One stream of batches: what one writer wrote.
pub(crate) struct Source<T: Table> {
    batches: Batches,
    current: Option<(Batch<T>, arrow::row::Rows)>,
    index: usize,
}

impl<T: Table> Source<T> {
    pub(crate) fn new(batches: Batches) -> Self {
        Self { batches, current: None, index: 0 }
    }

    /// Moves to the next row; `false` at the end.
    fn advance(&mut self, keys: Option<&RowConverter>) -> Result<bool, ReadError> {
        self.index += 1;
        loop {
            if let Some((batch, _)) = &self.current
                && self.index < batch.len()
            {
                return Ok(true);
            }
            let Some(next) = self.batches.next() else {
                self.current = None;
                return Ok(false);
            };
            let record_batch = next?;
            let rows = match keys {
                Some(keys) => key_rows::<T>(keys, &record_batch)?,
                None => RowConverter::new(vec![]).expect("no columns").empty_rows(0, 0),
            };
            self.current = Some((Batch::new(&record_batch)?, rows));
            self.index = 0;
        }
    }

    fn key(&self) -> Row<'_> {
        self.current.as_ref().expect("advanced to a row").1.row(self.index)
    }

    fn row(&self) -> T::Row<'_> {
        self.current.as_ref().expect("advanced to a row").0.row(self.index)
    }
}

/// The key columns of a batch as comparable rows.
pub(crate) fn key_rows<T: Table>(keys: &RowConverter, batch: &RecordBatch) -> Result<arrow::row::Rows, ReadError> {
    let columns = key_columns::<T>(batch)?;
    keys.convert_columns(&columns).map_err(|cause| ReadError::Damaged {
        table: T::NAME,
        path: String::new(),
        source: cause.into(),
    })
}

fn key_columns<T: Table>(batch: &RecordBatch) -> Result<Vec<ArrayRef>, SchemaError> {
    T::key_columns()
        .into_iter()
        .map(|column| {
            batch.column_by_name(column).cloned().ok_or_else(|| SchemaError {
                table: T::NAME,
                column,
                expected: "its key".to_owned(),
            })
        })
        .collect()
}

/// A converter for the key columns of a table.
pub(crate) fn key_converter<T: Table>() -> RowConverter {
    let schema = T::schema();
    let fields = T::key_columns()
        .into_iter()
        .map(|column| SortField::new(schema.field_with_name(column).expect("a key column").data_type().clone()))
        .collect();
    RowConverter::new(fields).expect("key columns are of sortable types")
}

/// The rows of a table in order; a lending cursor.
///
/// One writer's rows come as they stand; those of several are merged by key. `while let Some(row) = rows.next()? { … }`.
pub struct Rows<T: Table> {
    sources: Vec<Source<T>>,
    keys: Option<RowConverter>,
    /// Where several sources are merged: those that have a row, as a binary heap. At its top is the source of the
    /// current row; of equal keys, the one of the earlier part.
    heap: Vec<usize>,
    /// The source whose row is current.
    current: Option<usize>,
    started: bool,
    /// The row after [`next_document`](Self::next_document) is already current.
    peeked: bool,
}

impl<T: Table> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("table", &T::NAME).field("sources", &self.sources.len()).finish()
    }
}

impl<T: Table> Rows<T> {
    /// Merges the parts; each must be sorted by the table's key.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of another table.
    pub fn open(store: &Store, parts: &[Part]) -> Result<Self, ReadError> {
        let writers: Vec<Vec<Part>> = parts.iter().map(|part| vec![part.clone()]).collect();
        Self::open_writers(store, &writers)
    }

    /// Merges what several writers wrote. The parts of one writer are read one after the other, in the order given;
    /// where there are several writers, that must be the order of the table's key.
    ///
    /// # Errors
    /// When a writer's first file is missing, damaged, or of another table; [`next`](Self::next) tells of the others.
    pub fn open_writers(store: &Store, writers: &[Vec<Part>]) -> Result<Self, ReadError> {
        let holds_bytes = T::schema().fields().iter().any(|field| *field.data_type() == DataType::Binary);
        let batch_rows = match writers.len() {
            // Pages and pictures run to megabytes each.
            _ if holds_bytes => 16,
            // Many sources are open at once in an exchange: keep each one's batch small.
            17.. => 64,
            _ => 1024,
        };
        let sources = writers
            .iter()
            .filter(|parts| !parts.is_empty())
            .map(|parts| Ok(Source::new(open_parts::<T>(store, parts, batch_rows)?)))
            .collect::<Result<Vec<_>, ReadError>>()?;
        Ok(Self::merge(sources))
    }

    pub(crate) fn merge(sources: Vec<Source<T>>) -> Self {
        let keys = (sources.len() > 1).then(key_converter::<T>);
        Self { sources, keys, heap: Vec::new(), current: None, started: false, peeked: false }
    }

    /// Moves to the next row and lends it.
    ///
    /// # Errors
    /// When a file is damaged.
    #[expect(clippy::should_implement_trait, reason = "a lending cursor cannot be an Iterator")]
    pub fn next(&mut self) -> Result<Option<T::Row<'_>>, ReadError> {
        if !std::mem::take(&mut self.peeked) {
            self.step()?;
        }
        Ok(self.current.map(|source| self.sources[source].row()))
    }

    /// Passes over the next `rows` rows, or over all where there are fewer.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn skip(&mut self, rows: u64) -> Result<(), ReadError> {
        for _ in 0..rows {
            if self.next()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The next row, which stays the next.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn peek(&mut self) -> Result<Option<T::Row<'_>>, ReadError> {
        if !self.peeked {
            self.step()?;
            self.peeked = true;
        }
        Ok(self.current.map(|source| self.sources[source].row()))
    }

    fn step(&mut self) -> Result<(), ReadError> {
        let Some(keys) = &self.keys else {
            let more = match self.sources.first_mut() {
                Some(source) if !self.started || self.current.is_some() => source.advance(None)?,
                _ => false,
            };
            self.started = true;
            self.current = more.then_some(0);
            return Ok(());
        };
        if self.started {
            if let Some(&source) = self.heap.first() {
                if !self.sources[source].advance(Some(keys))? {
                    self.heap.swap_remove(0);
                }
                sift_down(&self.sources, &mut self.heap, 0);
            }
        } else {
            for (position, source) in self.sources.iter_mut().enumerate() {
                if source.advance(Some(keys))? {
                    self.heap.push(position);
                }
            }
            for position in (0..self.heap.len() / 2).rev() {
                sift_down(&self.sources, &mut self.heap, position);
            }
            self.started = true;
        }
        self.current = self.heap.first().copied();
        Ok(())
    }

    /// Collects the next rows while `same` says that a row belongs with the first one's group.
    fn group(&mut self, mut same: impl FnMut(&T::Row<'_>) -> bool) -> Result<Batch<T>, ReadError> {
        let mut builder = T::Builder::default();
        loop {
            match self.peek()? {
                Some(row) if same(&row) => T::append(&mut builder, &row),
                _ => break,
            };
            self.peeked = false;
        }
        Ok(Batch::new(&T::finish(&mut builder))?)
    }
}

/// Lets the source at `position` of the heap sink below those that come before it. Keys are compared where they lie:
/// a merge moves no key and allocates nothing.
fn sift_down<T: Table>(sources: &[Source<T>], heap: &mut [usize], mut position: usize) {
    let place = |source: usize| (sources[source].key(), source);
    loop {
        let (left, right) = (2 * position + 1, 2 * position + 2);
        if left >= heap.len() {
            return;
        }
        let child = if right < heap.len() && place(heap[right]) < place(heap[left]) { right } else { left };
        if place(heap[position]) < place(heap[child]) {
            return;
        }
        heap.swap(position, child);
        position = child;
    }
}

/// A row that belongs to a document.
pub trait DocumentRow {
    /// The document's id.
    fn document_id(&self) -> &str;
}

impl<T: Table> Rows<T>
where
    for<'a> T::Row<'a>: DocumentRow,
{
    /// All rows of the next document; `None` at the end. A document's rows are held together.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn next_document(&mut self) -> Result<Option<(String, Batch<T>)>, ReadError> {
        let Some(document_id) = self.peek()?.map(|row| row.document_id().to_owned()) else { return Ok(None) };
        let batch = self.group(|row| row.document_id() == document_id)?;
        Ok(Some((document_id, batch)))
    }

    /// The rows of `document_id` if they come next, else none: joins a table whose documents are a subsequence of
    /// another's, both in the same order.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn document(&mut self, document_id: &str) -> Result<Batch<T>, ReadError> {
        self.group(|row| row.document_id() == document_id)
    }

    /// Checks that no row is left: each belonged to a document that was asked for.
    ///
    /// # Errors
    /// [`ReadError::OutOfOrder`] with the first row's document.
    pub fn expect_end(&mut self) -> Result<(), ReadError> {
        match self.peek()? {
            None => Ok(()),
            Some(row) => Err(ReadError::OutOfOrder { table: T::NAME, document_id: row.document_id().to_owned() }),
        }
    }
}

macro_rules! document_rows {
    ($($row:ident),*) => {$(
        impl DocumentRow for crate::tables::$row<'_> {
            fn document_id(&self) -> &str { self.document_id }
        }
    )*};
}

document_rows!(
    OutlinesRow,
    CandidatesRow,
    ImagesRow,
    ImageHashesRow,
    PixelsRow,
    DistancesRow,
    EmbeddingsRow,
    DetectionsRow,
    SimilaritiesRow,
    SelectionsRow,
    AssignmentsRow,
    DocumentSelectionsRow
);

/// The batches of parts that follow each other; no file but the first is opened before its turn.
fn open_parts<T: Table>(store: &Store, parts: &[Part], batch_rows: usize) -> Result<Batches, ReadError> {
    let Some((first, others)) = parts.split_first() else { return Ok(Box::new(std::iter::empty())) };
    let first = open_part::<T>(store, first, batch_rows)?;
    let (store, others) = (store.clone(), others.to_vec());
    let others = others.into_iter().flat_map(move |part| {
        let opened = open_part::<T>(&store, &part, batch_rows);
        opened.unwrap_or_else(|cause| Box::new(std::iter::once(Err(cause))))
    });
    Ok(Box::new(first.chain(others)))
}

fn open_part<T: Table>(store: &Store, part: &Part, batch_rows: usize) -> Result<Batches, ReadError> {
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| ReadError::Damaged {
        table: T::NAME,
        path: part.path.clone(),
        source,
    };
    let file = store.open(&part.path).map_err(|source| ReadError::Store { table: T::NAME, source })?;
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|cause| damaged(cause.into()))?;
    let schema = T::schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    builder = builder.with_projection(mask).with_batch_size(batch_rows);
    if let Some((first, count)) = part.row_groups {
        builder = builder.with_row_groups((first..first + count).collect());
    }
    let reader = builder.build().map_err(|cause| damaged(cause.into()))?;
    Ok(batches_of::<T>(part.path.clone(), reader))
}

/// Batches whose failures say which table and file they are of.
fn batches_of<T: Table>(
    path: String,
    batches: impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>> + Send + 'static,
) -> Batches {
    Box::new(batches.map(move |batch| {
        batch.map_err(|cause| ReadError::Damaged { table: T::NAME, path: path.clone(), source: cause.into() })
    }))
}

/// All batches of a table file with all its columns, whatever table it is.
///
/// # Errors
/// When the file is missing or damaged.
pub fn record_batches(
    store: &Store,
    path: &str,
) -> Result<impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>, ReadError> {
    let file = store.open(path).map_err(|source| ReadError::Store { table: "any", source })?;
    let damaged = |cause: parquet::errors::ParquetError| ReadError::Damaged {
        table: "any",
        path: path.to_owned(),
        source: cause.into(),
    };
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?.with_batch_size(16).build().map_err(damaged)
}

/// Sorted rows held in memory, as one source of a merge.
pub(crate) fn memory_source<T: Table>(batch: RecordBatch) -> Source<T> {
    Source::new(Box::new(std::iter::once(Ok(batch))))
}

/// Wraps a batch iterator as one source of a merge; `name` is told where it fails.
pub(crate) fn batch_source<T: Table>(
    name: &str,
    batches: impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>> + Send + 'static,
) -> Source<T> {
    Source::new(batches_of::<T>(name.to_owned(), batches))
}
