//! Tasks, their reports, and the messages between a coordinator and a worker.
//!
//! The messages are plain JSON, so that the same worker runs in this process today and behind a pipe tomorrow.
//! A task carries its attempt number as a fence; data passes through the store only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::front::{FrontReport, Unavailable};
use crate::id::{Fingerprint, ShardCounts, ShardId, Space};
use crate::limits::Limits;
use crate::stage::Resources;
use crate::tally::Tally;
use crate::write::Output;

/// The protocol's version; a worker refuses another.
pub const PROTOCOL: u32 = 2;

/// What a worker must know once, before any task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The recipe's name.
    pub recipe: String,
    /// The recipe's seed.
    pub seed: u64,
    /// How many shards each space has.
    pub shards: ShardCounts,
    /// Bounds on outside bytes.
    pub limits: Limits,
    /// The outside world.
    pub resources: Resources,
    /// Memory that one sort may take.
    pub sort_bytes: usize,
}

/// Where a task finds one input table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The table.
    pub table: String,
    /// The folder of the phase that wrote it.
    pub folder: String,
    /// How many tasks that phase has.
    pub tasks: u32,
    /// Whether the shard's rows lie in every task's file (an exchange), or in the same shard's only.
    pub gathered: bool,
}

/// One task: one shard of one phase of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The coordinator's number for it.
    pub id: u64,
    /// The try, from 1; a late answer of an earlier one is ignored.
    pub attempt: u32,
    /// The stage.
    pub stage: String,
    /// The stage's version.
    pub version: u32,
    /// The phase, empty where there is one only.
    pub phase: String,
    /// The stage's section of the recipe, complete.
    pub config: serde_json::Value,
    /// Everything that determines the output.
    pub fingerprint: Fingerprint,
    /// The space of the shard.
    pub space: Space,
    /// The shard.
    pub shard: ShardId,
    /// The phase's folder in the store.
    pub folder: String,
    /// Input tables.
    pub inputs: Vec<Input>,
}

impl Task {
    /// `dedup.count` for a phase, `fetch` for a stage of one phase.
    #[must_use]
    pub fn name(&self) -> String {
        task_name(&self.stage, &self.phase)
    }
}

/// `stage.phase`, or `stage` for a stage of one phase.
#[must_use]
pub fn task_name(stage: &str, phase: &str) -> String {
    if phase.is_empty() { stage.to_owned() } else { format!("{stage}.{phase}") }
}

/// From the coordinator to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Order {
    /// First of all.
    Hello(Box<Hello>),
    /// Do this.
    Task(Box<Task>),
    /// Finish what runs and stop.
    Drain,
}

/// From a worker to the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// A task has begun.
    Started {
        /// The task.
        id: u64,
        /// The try.
        attempt: u32,
    },
    /// Where a task is.
    Progress {
        /// The task.
        id: u64,
        /// The try.
        attempt: u32,
        /// Rows so far.
        rows: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// The task's report stands in the store.
    Done {
        /// The task.
        id: u64,
        /// The try.
        attempt: u32,
        /// The report.
        report: Box<Report>,
    },
    /// The task failed.
    Failed {
        /// The task.
        id: u64,
        /// The try.
        attempt: u32,
        /// What kind of failure.
        fault: Fault,
        /// The cause, with its causes.
        message: String,
    },
    /// How the fronts stand that the worker asks; sent when that changes.
    Fronts {
        /// All of them.
        fronts: Vec<FrontReport>,
    },
}

/// What a failure asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The same task may succeed later.
    Retryable,
    /// A front does not serve: the task waits for it, and the try is not held against it.
    Unavailable(Unavailable),
    /// It will not succeed without somebody's help.
    Fatal,
    /// The run is being stopped.
    Cancelled,
    /// Ours: a panic.
    Bug,
}

impl Fault {
    /// As the ledger has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Unavailable(_) => "unavailable",
            Self::Fatal => "fatal",
            Self::Cancelled => "cancelled",
            Self::Bug => "bug",
        }
    }
}

/// A task's report: where it stands in the store, the task is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The stage.
    pub stage: String,
    /// The stage's version.
    pub version: u32,
    /// The phase, empty where there is one only.
    pub phase: String,
    /// Everything that determined the output.
    pub fingerprint: Fingerprint,
    /// The shard.
    pub shard: ShardId,
    /// The try that finished.
    pub attempt: u32,
    /// What it counted.
    pub tally: Tally,
    /// What it wrote.
    pub outputs: Vec<Output>,
    /// Sha256 of outside files that it read whole and that nobody had pinned, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
    /// How long it took.
    pub elapsed_ms: u64,
}

impl Report {
    /// The rows that the task wrote to `table`; for an exchange those of all targets.
    #[must_use]
    pub fn rows(&self, table: &str) -> u64 {
        self.outputs.iter().filter(|output| output.table == table).map(|output| output.rows).sum()
    }

    /// The rows that the task wrote to `table` for `target`.
    #[must_use]
    pub fn rows_for(&self, table: &str, target: ShardId) -> u64 {
        let outputs = self.outputs.iter().filter(|output| output.table == table);
        let directories = outputs.flat_map(|output| output.directory.iter().flatten());
        directories.filter(|entry| entry.shard == target).map(|entry| entry.rows).sum()
    }
}
