//! What a stage is: six members, described before it is run.
//!
//! A stage's [`Spec`] says which tables it reads and writes and in which unit it counts, without touching data, so
//! that a plan can be checked and printed. [`Stage::run`] does one shard. A registry holds an [`Entry`] per stage.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::front::{FrontBudget, Unavailable};
use crate::id::{ShardId, Space};
use crate::reject::Unit;
use crate::rows::ReadError;
use crate::store::StoreError;
use crate::table::TableDef;
use crate::tally::{Tally, TallyError};
use crate::write::WriteError;

/// A step of the pipeline.
pub trait Stage: Send + Sync + Sized + 'static {
    /// The stage's name, as recipes and paths show it.
    const NAME: &'static str;
    /// Raised whenever the same input gives other output bytes.
    const VERSION: u32;
    /// The stage's section of a recipe.
    type Config: Serialize + DeserializeOwned + Send + Sync;

    /// What it reads, writes and counts under `config`; no data is touched.
    fn spec(config: &Self::Config) -> Spec;
    /// Loads what it keeps warm from task to task.
    ///
    /// # Errors
    /// [`StageError`] when an outside resource cannot be loaded.
    fn open(config: Self::Config, resources: &Resources) -> Result<Self, StageError>;
    /// Does one shard of the phase that `context` names.
    ///
    /// # Errors
    /// [`StageError`] when the task, not a row, is at fault.
    fn run(&self, shard: ShardId, context: &Context) -> Result<Tally, StageError>;
}

/// A stage described.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The outside things that its output depends on.
    pub uses: Vec<Use>,
    /// Its phases in order; most stages have one.
    pub phases: Vec<Phase>,
}

/// One pass of a stage over a shard space. A table that is written in another space than the phase's own goes
/// through an exchange; nothing else has to be said about it.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Told apart by this name within the stage; empty for a stage of one phase.
    pub name: &'static str,
    /// The space that its tasks count.
    pub space: Space,
    /// Tables read.
    pub reads: Vec<TableDef>,
    /// Tables written, `rejects` apart.
    pub writes: Vec<TableDef>,
    /// What is counted.
    pub flows: Vec<Flow>,
}

/// A unit that a phase counts, tied to tables so that the runner can check it:
/// the tally's `read` is the number of rows of `reads`, its `kept` that of `keeps`.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The unit.
    pub unit: Unit,
    /// The table whose rows are the unit's input; `None` where the input is no table.
    pub reads: Option<TableDef>,
    /// The table that gets one row per unit kept; `None` where there is none.
    pub keeps: Option<TableDef>,
}

/// An outside thing that a stage's output depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// The source files.
    Documents,
    /// The crawl: index and archives.
    Crawl,
    /// The graphs and the engine that runs them.
    Graphs,
    /// The recipe's name: for a stage whose output is found by it.
    Name,
}

/// One outside file: where it is, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideFile {
    /// Its name, in messages and fingerprints.
    pub name: String,
    /// Where it is: a path, or the text of a URL, which ends in the name. Not part of any fingerprint.
    pub location: PathBuf,
    /// `sha256:…` or `blake3:…` of its bytes; of a source file at an address, whose bytes nobody has read whole yet,
    /// [`OutsideFile::identity_at`].
    pub digest: String,
    /// Its size.
    pub bytes: u64,
}

impl OutsideFile {
    /// Its address, where it lies at one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.location.to_str().filter(|text| text.contains("://"))
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.location.display().to_string()
    }

    /// What stands for the digest of a file at an address: the address, the size, and the server's entity tag, which
    /// changes with the bytes (RFC 9110, section 8.8.3). A server without tags leaves address and size.
    #[must_use]
    pub fn identity_at(address: &str, bytes: u64, etag: Option<&str>) -> String {
        format!("etag:{} of {bytes} bytes at {address}", etag.unwrap_or("none"))
    }
}

/// A crawl laid out as Common Crawl lays out its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crawl {
    /// The crawl's name, `CC-MAIN-2019-18`.
    pub name: String,
    /// The root that `filename`s of the index are below: a folder or an http(s) URL.
    pub root: String,
    /// Folder of the ZipNum index below the root; empty for a columnar index, whose summary holds its paths.
    pub index: String,
    /// The index's summary: `cluster.idx`, or the text that stands for a columnar index. It tells its own form.
    pub cluster: OutsideFile,
}

/// A role's graphs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graphs {
    /// The card that names them.
    pub card: OutsideFile,
    /// The graph files, digests as the card has them.
    pub files: Vec<OutsideFile>,
}

/// The engine that a run uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineUse {
    /// Kind, version and provider: part of every measurement's identity.
    pub identity: String,
    /// The ONNX Runtime library; none for the embedded engine. Not part of any fingerprint.
    pub library: Option<PathBuf>,
}

/// The outside world of one run, resolved: what the recipe's names stand for on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Source files, in the order of their shards.
    pub documents: Vec<OutsideFile>,
    /// Sha256 (64 hex digits) by name of source files whose identity is another, from a time when they were read
    /// whole: reading them again must give the same. Not part of any fingerprint.
    #[serde(default)]
    pub known_sha256: BTreeMap<String, String>,
    /// The crawl.
    pub crawl: Option<Crawl>,
    /// Graphs by role: `clip`, `nsfw`, `ad`, `face`.
    pub graphs: BTreeMap<String, Graphs>,
    /// The engine that computes the graphs; none where there is no graph.
    pub engine: Option<EngineUse>,
    /// How requests name us: product, version and contact.
    pub user_agent: String,
    /// What each front of the crawl is asked at most. Not part of any fingerprint.
    pub front: FrontBudget,
}

/// A failure of a task: not of a row, and not a bug.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A table could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A table could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rows were lost or invented.
    #[error("the task's accounts do not balance")]
    Accounts(#[from] TallyError),
    /// An outside resource is missing, damaged or not what it should be.
    #[error("{what} `{place}` is not usable: {cause}; {way_out}")]
    Outside {
        /// What kind of thing.
        what: &'static str,
        /// Which one, and where in it.
        place: String,
        /// What is wrong.
        cause: String,
        /// What to do.
        way_out: &'static str,
        /// Whether a later try can succeed.
        retry: bool,
    },
    /// A front does not serve now: the task waits, and nothing else is wrong with it.
    #[error("{0}")]
    Unavailable(Unavailable),
    /// The run is being stopped.
    #[error("cancelled")]
    Cancelled,
}

impl StageError {
    /// Whether the same task can succeed later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Outside { retry: true, .. })
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Store(StoreError::NoSpace { .. }) => true,
            Self::Write(cause) => cause.is_no_space(),
            other => crate::store::is_no_space(other),
        }
    }
}

/// A recipe's section that a stage does not understand.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A stage opened: ready to run shards.
pub trait Opened: Send + Sync {
    /// Does one shard; see [`Stage::run`].
    ///
    /// # Errors
    /// [`StageError`] when the task, not a row, is at fault.
    fn run(&self, shard: ShardId, context: &Context) -> Result<Tally, StageError>;
}

impl<S: Stage> Opened for S {
    fn run(&self, shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        Stage::run(self, shard, context)
    }
}

/// [`Stage::open`] without the stage's type.
pub type Open = fn(&serde_json::Value, &Resources) -> Result<Box<dyn Opened>, StageError>;

/// A stage in the registry: its members without its type. Made by [`entry`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// [`Stage::NAME`].
    pub name: &'static str,
    /// [`Stage::VERSION`].
    pub version: u32,
    /// Reads a section, fills in its defaults and writes it out again: what the fingerprint hashes.
    pub normalise: fn(&serde_json::Value) -> Result<serde_json::Value, ConfigError>,
    /// [`Stage::spec`].
    pub spec: fn(&serde_json::Value) -> Result<Spec, ConfigError>,
    /// [`Stage::open`].
    pub open: Open,
}

/// The registry entry of stage `S`.
#[must_use]
pub fn entry<S: Stage>() -> Entry {
    Entry {
        name: S::NAME,
        version: S::VERSION,
        normalise: |section| {
            let config = parse::<S>(section)?;
            serde_json::to_value(&config).map_err(|cause| ConfigError(cause.to_string()))
        },
        spec: |section| Ok(S::spec(&parse::<S>(section)?)),
        open: |section, resources| {
            let config = parse::<S>(section).map_err(|cause| StageError::Outside {
                what: "section",
                place: S::NAME.to_owned(),
                cause: cause.to_string(),
                way_out: "mend the recipe",
                retry: false,
            })?;
            Ok(Box::new(S::open(config, resources)?))
        },
    }
}

fn parse<S: Stage>(section: &serde_json::Value) -> Result<S::Config, ConfigError> {
    serde_json::from_value(section.clone()).map_err(|cause| ConfigError(cause.to_string()))
}
