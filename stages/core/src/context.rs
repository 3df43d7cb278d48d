//! All that a running stage may touch: store, limits, cancellation, seed, progress. No environment, no globals,
//! no ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::{Fingerprint, ShardCounts, ShardId};
use crate::limits::Limits;
use crate::reject::{Reject, Unit};
use crate::rows::{Part, Rows};
use crate::segment::Segments;
use crate::stage::StageError;
use crate::store::{Layout, Store};
use crate::table::Table;
use crate::tables::{Rejects, RejectsRow};
use crate::tally::Tally;
use crate::write::{ExchangeWriter, Output, TableWriter, WriteError};

/// What a task has done so far, for progress bars; shared with the runner.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows read, in the stage's units.
    pub rows: AtomicU64,
    /// Bytes read from outside or moved.
    pub bytes: AtomicU64,
}

/// What happens as rows pass, for tests that kill a run at a chosen row.
pub type Tripwire = Arc<dyn Fn(u64) + Send + Sync>;

/// Everything about one task but its rows.
#[derive(Clone)]
pub struct Context {
    /// Where tables lie.
    pub store: Store,
    /// Bounds on outside bytes.
    pub limits: Limits,
    /// How many shards each space has.
    pub shards: ShardCounts,
    /// The recipe's seed.
    pub seed: u64,
    /// The recipe's name.
    pub recipe: String,
    /// The phase of the stage, empty where there is one only.
    pub phase: String,
    /// The task's fingerprint.
    pub fingerprint: Fingerprint,
    /// The folder of the task's phase in the store.
    pub folder: String,
    /// The task's shard.
    pub shard: ShardId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The segment that is being written; 0 for a task that has none.
    pub segment: u32,
    /// The parts of each input table, by table name: for each task that wrote it, its files in order.
    pub inputs: BTreeMap<String, Vec<Vec<Part>>>,
    /// A folder for files that nobody else sees.
    pub scratch: PathBuf,
    /// Memory that one sort may take.
    pub sort_bytes: usize,
    /// Set when the run is being stopped.
    pub cancelled: Arc<AtomicBool>,
    /// Rows and bytes so far.
    pub progress: Arc<Progress>,
    /// Called at every row read.
    pub tripwire: Option<Tripwire>,
    /// Files finished so far.
    pub outputs: Arc<Mutex<Vec<Output>>>,
    /// Sha256 (64 hex digits) of outside files that were read whole, by name.
    pub digests: Arc<Mutex<BTreeMap<String, String>>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("folder", &self.folder)
            .field("shard", &self.shard)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The shard's rows of table `T`, in key order.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another table.
    pub fn rows<T: Table>(&self) -> Result<Rows<T>, StageError> {
        let writers = self.inputs.get(T::NAME).map_or(&[][..], Vec::as_slice);
        Ok(Rows::open_writers(&self.store, writers)?)
    }

    /// The task's segments, behind those that earlier attempts closed.
    ///
    /// # Errors
    /// When the store fails, or a segment is not what its report says.
    pub fn segments(&self) -> Result<Segments<'_>, StageError> {
        Segments::adopt(self)
    }

    /// A writer of the shard's rows of table `T`, in key order.
    ///
    /// # Errors
    /// When the schema cannot be written.
    pub fn writer<T: Table>(&self) -> Result<TableWriter<T>, StageError> {
        Ok(TableWriter::create(&self.store, &self.table_path(T::NAME))?)
    }

    /// A writer of rows of table `T` for any shard of its space, in any order.
    ///
    /// # Errors
    /// When the scratch folder is not usable.
    pub fn exchange<T: Table>(&self) -> Result<ExchangeWriter<T>, StageError> {
        Ok(ExchangeWriter::create(&self.store, &self.table_path(T::NAME), &self.scratch, self.sort_bytes)?)
    }

    fn table_path(&self, table: &str) -> String {
        Layout::table(&self.folder, self.shard, table, self.segment, self.attempt)
    }

    /// Takes note of a finished file: it will stand in the task's report.
    ///
    /// # Errors
    /// That of the writer, passed through.
    pub fn commit(&self, output: Result<Output, WriteError>) -> Result<(), StageError> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner).push(output?);
        Ok(())
    }

    /// Takes note of the sha256 of an outside file that was read whole: it will stand in the task's report.
    pub fn learn(&self, name: &str, sha256: String) {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), sha256);
    }

    /// Fails when the run is being stopped.
    ///
    /// # Errors
    /// [`StageError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(StageError::Cancelled) } else { Ok(()) }
    }

    /// Opens the task's accounts.
    ///
    /// # Errors
    /// When the rejects table cannot be begun.
    pub fn accounts(&self, stage: &'static str) -> Result<Accounts<'_>, StageError> {
        Ok(Accounts { context: self, stage, tally: Tally::default(), rejects: self.writer()?, rows: 0 })
    }
}

/// A task's accounts: what it read, kept and rejected, and the rejects table, which therefore always agree.
#[derive(Debug)]
pub struct Accounts<'c> {
    context: &'c Context,
    stage: &'static str,
    tally: Tally,
    rejects: TableWriter<Rejects>,
    rows: u64,
}

impl Accounts<'_> {
    /// Counts a row read; also where a task notices that the run is being stopped.
    ///
    /// # Errors
    /// [`StageError::Cancelled`].
    pub fn read(&mut self, unit: Unit) -> Result<(), StageError> {
        self.context.check_cancelled()?;
        self.tally.read(unit, 1);
        self.rows += 1;
        self.context.progress.rows.fetch_add(1, Ordering::Relaxed);
        if let Some(tripwire) = &self.context.tripwire {
            tripwire(self.rows);
        }
        Ok(())
    }

    /// Counts a row kept.
    pub fn kept(&mut self, unit: Unit) {
        self.tally.kept(unit, 1);
    }

    /// Writes and counts a row rejected.
    ///
    /// # Errors
    /// When the rejects table cannot be written.
    pub fn reject(&mut self, reject: &Reject<'_>) -> Result<(), StageError> {
        self.tally.reject(reject.unit, reject.reason);
        self.rejects.push(&RejectsRow {
            stage: self.stage,
            unit: reject.unit.as_str(),
            document_id: reject.document_id,
            image_url: reject.image_url,
            reason: &reject.reason.name(),
            evidence: &reject.evidence,
        })?;
        Ok(())
    }

    /// Adds to a fact's total.
    pub fn fact(&mut self, name: &str, value: u64) {
        self.tally.fact(name, value);
    }

    /// Counts bytes that passed, for throughput.
    pub fn bytes(&mut self, bytes: u64) {
        self.tally.fact("bytes", bytes);
        self.context.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Closes the accounts.
    ///
    /// # Errors
    /// When they do not balance, or the rejects table cannot be written.
    pub fn finish(self) -> Result<Tally, StageError> {
        self.tally.check()?;
        self.context.commit(self.rejects.finish())?;
        Ok(self.tally)
    }
}
