//! For tests: a context in memory in one line, tables from rows, rows from tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::context::Context;
use crate::id::{Fingerprint, ShardCounts, ShardId};
use crate::limits::Limits;
use crate::rows::{Part, Rows};
use crate::store::Store;
use crate::table::Table;
use crate::write::TableWriter;

/// A context over an empty store in memory: shard 0 of one.
#[must_use]
pub fn context() -> Context {
    Context {
        store: Store::memory(),
        limits: Limits::default(),
        shards: ShardCounts { source: 1, corpus: 1, crawl: 1, key: 1 },
        seed: 1,
        recipe: "test".to_owned(),
        phase: String::new(),
        fingerprint: Fingerprint::of([("test", &b""[..])]),
        folder: "test".to_owned(),
        shard: ShardId(0),
        attempt: 1,
        segment: 0,
        inputs: BTreeMap::new(),
        scratch: scratch(),
        sort_bytes: 1 << 20,
        cancelled: Arc::default(),
        progress: Arc::default(),
        tripwire: None,
        outputs: Arc::default(),
        digests: Arc::default(),
    }
}

fn scratch() -> PathBuf {
    std::env::temp_dir()
}

/// Gives `context` an input table.
///
/// # Panics
/// When the table cannot be written.
pub fn give<'a, T: Table>(context: &mut Context, rows: impl IntoIterator<Item = T::Row<'a>>) {
    let path = format!("given/{}-{}.parquet", T::NAME, context.inputs.len());
    let mut writer = TableWriter::<T>::create(&context.store, &path).expect("memory takes a table");
    for row in rows {
        writer.push(&row).expect("memory takes a row");
    }
    writer.finish().expect("memory takes a table");
    context.inputs.entry(T::NAME.to_owned()).or_default().push(vec![Part { path, row_groups: None }]);
}

/// The rows that a stage has written to table `T`, each as `of` makes it.
///
/// # Panics
/// When the table was not written or is damaged.
pub fn written<T: Table, V>(context: &Context, mut of: impl FnMut(T::Row<'_>) -> V) -> Vec<V> {
    let outputs = context.outputs.lock().expect("no test panics while it holds this");
    let files = outputs.iter().filter(|output| output.table == T::NAME);
    let parts: Vec<Part> = files.map(|output| Part { path: output.path.clone(), row_groups: None }).collect();
    assert!(!parts.is_empty(), "the table was written");
    let mut rows = Rows::<T>::open_writers(&context.store, &[parts]).expect("a table just written");
    let mut values = Vec::new();
    while let Some(row) = rows.next().expect("a table just written") {
        values.push(of(row));
    }
    values
}
