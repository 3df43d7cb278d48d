//! Tables: what crosses from one stage to the next.
//!
//! A table is a type. It names its columns once, in the [`table!`](crate::table!) macro; from that come the Arrow
//! schema, the borrowed row that stages see, and the builder that collects rows into batches. Stages never touch a
//! column index. A reader asks a file for exactly the columns of the type it reads into, by name, so a second type
//! with the same `NAME` and fewer columns is a cheap view.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use crate::id::Space;

/// A table's identity, apart from its type: what plans and checks of edges need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDef {
    /// The table's name.
    pub name: &'static str,
    /// Raised when the meaning of a column changes.
    pub version: u32,
    /// The columns that its rows are sorted by and unique in.
    pub key: &'static [&'static str],
    /// The space that its shards count.
    pub space: Space,
}

/// A batch that is not of the expected table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table `{table}` has no column `{column}` of type {expected}")]
pub struct SchemaError {
    /// The table.
    pub table: &'static str,
    /// The column that is missing or of another type.
    pub column: &'static str,
    /// The declared type.
    pub expected: String,
}

/// A table: schema, rows, batches.
pub trait Table: 'static {
    /// The table's name, as paths and recipes show it.
    const NAME: &'static str;
    /// Raised when the meaning of a column changes.
    const VERSION: u32;
    /// The columns that its rows are sorted by and unique in.
    const KEY: &'static [&'static str];
    /// The space that its shards count.
    const SPACE: Space;
    /// One row, borrowed.
    type Row<'a>: Debug;
    /// The typed columns of one batch.
    type Columns: Debug + Send;
    /// Collects rows.
    type Builder: Default + Debug + Send;

    /// The Arrow schema.
    fn schema() -> SchemaRef;
    /// The typed columns of `batch`.
    ///
    /// # Errors
    /// [`SchemaError`] when a column is missing or of another type.
    fn columns(batch: &RecordBatch) -> Result<Self::Columns, SchemaError>;
    /// The row at `index`.
    fn row(columns: &Self::Columns, index: usize) -> Self::Row<'_>;
    /// Adds a row; returns roughly how many bytes it takes.
    fn append(builder: &mut Self::Builder, row: &Self::Row<'_>) -> usize;
    /// Takes the collected rows.
    fn finish(builder: &mut Self::Builder) -> RecordBatch;
    /// The columns that rows are compared by: [`KEY`](Self::KEY), but for rows on their way through an exchange.
    fn key_columns() -> Vec<&'static str> {
        Self::KEY.to_vec()
    }
}

/// The definition of table `T`.
#[must_use]
pub const fn def<T: Table>() -> TableDef {
    TableDef { name: T::NAME, version: T::VERSION, key: T::KEY, space: T::SPACE }
}

/// A record batch whose rows are those of table `T`.
pub struct Batch<T: Table> {
    columns: T::Columns,
    rows: usize,
}

impl<T: Table> Debug for Batch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("table", &T::NAME).field("rows", &self.rows).finish()
    }
}

impl<T: Table> Batch<T> {
    /// Checks `batch` against the table.
    ///
    /// # Errors
    /// [`SchemaError`] when a column is missing or of another type.
    pub fn new(batch: &RecordBatch) -> Result<Self, SchemaError> {
        Ok(Self { columns: T::columns(batch)?, rows: batch.num_rows() })
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The row at `index`, which must be below [`len`](Self::len).
    #[must_use]
    pub fn row(&self, index: usize) -> T::Row<'_> {
        T::row(&self.columns, index)
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = T::Row<'_>> {
        (0..self.rows).map(|index| self.row(index))
    }
}

/// Merges field metadata-free columns into a schema.
#[must_use]
pub fn schema_of(fields: Vec<arrow::datatypes::Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// Declares a table: a marker type, its row, and its [`Table`] implementation.
///
/// ```
/// weft_core::table! {
///     /// One row per greeting.
///     pub struct Greetings, GreetingsRow = "greetings" v1 in Crawl by ["document_id"] {
///         /// Who greets.
///         document_id: Text,
///         /// What is said; null when nothing is.
///         words: MaybeText,
///     }
/// }
/// let row = GreetingsRow { document_id: "d", words: None };
/// # let _ = row;
/// ```
#[macro_export]
macro_rules! table {
    (
        $(#[$doc:meta])*
        pub struct $table:ident, $row:ident = $name:literal $version:ident in $space:ident by [$($key:literal),*] {
            $($(#[$column_doc:meta])* $column:ident: $cell:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $table;

        #[doc = concat!("One row of table `", $name, "`.")]
        #[derive(Clone, Debug, PartialEq)]
        pub struct $row<'a> {
            $($(#[$column_doc])* pub $column: <$crate::cell::$cell as $crate::cell::Cell>::Value<'a>,)*
        }

        const _: () = {
            use $crate::cell::Cell;

            #[derive(Debug)]
            pub struct Columns { $($column: <$crate::cell::$cell as Cell>::Array,)* }

            #[derive(Debug, Default)]
            pub struct Builder { rows: usize, $($column: <$crate::cell::$cell as Cell>::Builder,)* }

            impl $crate::table::Table for $table {
                const NAME: &'static str = $name;
                const VERSION: u32 = $crate::table::version(stringify!($version));
                const KEY: &'static [&'static str] = &[$($key),*];
                const SPACE: $crate::id::Space = $crate::id::Space::$space;
                type Row<'a> = $row<'a>;
                type Columns = Columns;
                type Builder = Builder;

                fn schema() -> $crate::table::arrow::datatypes::SchemaRef {
                    $crate::table::schema_of(vec![$(
                        $crate::table::arrow::datatypes::Field::new(
                            stringify!($column),
                            <$crate::cell::$cell as Cell>::data_type(),
                            <$crate::cell::$cell as Cell>::NULLABLE,
                        ),
                    )*])
                }

                fn columns(
                    batch: &$crate::table::arrow::array::RecordBatch,
                ) -> Result<Columns, $crate::table::SchemaError> {
                    Ok(Columns { $(
                        $column: batch
                            .column_by_name(stringify!($column))
                            .and_then(|array| array.as_any().downcast_ref())
                            .cloned()
                            .ok_or_else(|| $crate::table::SchemaError {
                                table: $name,
                                column: stringify!($column),
                                expected: <$crate::cell::$cell as Cell>::data_type().to_string(),
                            })?,
                    )* })
                }

                fn row(columns: &Columns, index: usize) -> $row<'_> {
                    $row { $($column: <$crate::cell::$cell as Cell>::get(&columns.$column, index),)* }
                }

                fn append(builder: &mut Builder, row: &$row<'_>) -> usize {
                    builder.rows += 1;
                    0 $(+ <$crate::cell::$cell as Cell>::append(&mut builder.$column, &row.$column))*
                }

                fn finish(builder: &mut Builder) -> $crate::table::arrow::array::RecordBatch {
                    builder.rows = 0;
                    let columns = vec![$(<$crate::cell::$cell as Cell>::finish(&mut builder.$column),)*];
                    $crate::table::arrow::array::RecordBatch::try_new(Self::schema(), columns)
                        .expect("every column was appended to once a row")
                }
            }
        };
    };
}

pub use arrow;

/// Reads `v3` as 3; used by [`table!`](crate::table!).
#[must_use]
pub const fn version(name: &str) -> u32 {
    let digits = name.as_bytes();
    let mut value = 0;
    let mut position = 1;
    assert!(digits.len() > 1 && digits[0] == b'v', "a table's version is written v1, v2, ...");
    while position < digits.len() {
        value = value * 10 + (digits[position] - b'0') as u32;
        position += 1;
    }
    value
}
