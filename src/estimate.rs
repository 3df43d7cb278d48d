//! What a run would cost: requests, bytes, hours and storage of every stage, before anything is asked of anybody.
//!
//! Volumes go down the pipeline: documents of the sources, times the share that each stage keeps. A share, and the
//! seconds and bytes that a row costs, come from an earlier run's reports (of this recipe, or of a sample of the same
//! sources), else from published figures, else from assumptions; every number carries the worst of what it was made
//! of ([`value::Basis`]), and what nobody knows stays unknown. Sizes of sources come from manifests and their lock
//! files. Nothing is asked of the network.
//!
//! Time is that of the slowest of three: work (seconds a row, over the workers), requests (over the budget of the
//! server; of many sites, those to the slowest one over its ceiling), and bytes (over the line). Stages overlap in a run, so their hours are not to be added.

mod access;
mod hosts;
mod measured;
mod model;
mod published;
pub(crate) mod text;
pub(crate) mod value;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use self::measured::Measured;
pub(crate) use self::model::estimate;
use self::value::{Input, Value};

/// What the machine and its manners are.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Tasks at a time.
    pub(crate) workers: u32,
    /// Requests a second to the crawl's server, for the whole run.
    pub(crate) front_rate: f64,
    /// Bytes a second over the line.
    pub(crate) line_bytes_per_second: f64,
    /// Requests a second to one registered domain.
    pub(crate) ceiling: f64,
    /// The same for domains with a ceiling of their own.
    pub(crate) ceilings: BTreeMap<String, f64>,
}

/// What one phase would cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StageEstimate {
    pub(crate) stage: String,
    /// Whether the recipe gets so far.
    pub(crate) is_planned: bool,
    pub(crate) unit: &'static str,
    pub(crate) units: Option<Value>,
    /// Whether it asks a server: a crawl, a source, or the web.
    pub(crate) is_remote: bool,
    /// None where it asks nobody, or where nobody knows.
    pub(crate) requests: Option<Value>,
    pub(crate) bytes: Option<Value>,
    /// Summed over tasks.
    pub(crate) task_seconds: Option<Value>,
    /// On the clock.
    pub(crate) seconds: Option<Value>,
    /// What bounds them: `work`, `requests`, `bytes` or `a site`.
    pub(crate) bound: Option<&'static str>,
    pub(crate) storage_bytes: Option<Value>,
}

/// One way to get the records.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) requests: Option<Value>,
    pub(crate) bytes: Option<Value>,
    /// Of the network alone.
    pub(crate) seconds: Option<Value>,
    pub(crate) is_chosen: bool,
}

/// The site that would take longest, were every image got from the web.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SlowestHost {
    /// Where a run has seen one.
    pub(crate) domain: Option<String>,
    pub(crate) share: Value,
    pub(crate) requests: Value,
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) from: String,
    /// Whether the recipe's download asks the web at all.
    pub(crate) is_asked: bool,
}

impl SlowestHost {
    fn time(&self) -> Value {
        Value::new(self.seconds, self.requests.basis)
    }
}

/// The whole estimate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Estimate {
    pub(crate) recipe: String,
    pub(crate) until: Option<String>,
    pub(crate) source: String,
    pub(crate) crawl: String,
    pub(crate) measured_by: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) inputs: Vec<Input>,
    pub(crate) stages: Vec<StageEstimate>,
    pub(crate) fetch: Vec<Way>,
    pub(crate) slowest_host: Option<SlowestHost>,
    pub(crate) totals: Totals,
}

/// Sums over the planned stages; unknown where one of them is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Totals {
    pub(crate) requests: Option<Value>,
    pub(crate) bytes: Option<Value>,
    pub(crate) task_seconds: Option<Value>,
    pub(crate) storage_bytes: Option<Value>,
}
