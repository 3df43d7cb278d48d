//! Plans: a recipe and the registry become a checked DAG of phases, each with its fingerprint.
//!
//! A plan is made without touching data. Every table that a phase reads must be written by an earlier one; a table
//! written in another shard space than its writer's goes through an exchange, so its readers wait for all writers,
//! while others wait for the same shard only.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use weft_core::id::{Fingerprint, ShardCounts, ShardId, Space};
use weft_core::limits::Limits;
use weft_core::stage::{Entry, Flow, Phase, Resources, Use};
use weft_core::store::{Layout, Store};
use weft_core::task::{Hello, Input, PROTOCOL, Report, Task, task_name};

use crate::recipe::Recipe;

/// Memory that one sort may take; a machine's matter, since the bytes that come out do not depend on it.
const SORT_BYTES: usize = 64 << 20;

/// The stages between documents of pages and their outlines; where `ingest` writes those itself, they have no place.
const TO_OUTLINES: [&str; 3] = ["locate", "fetch", "extract"];

/// A recipe ready to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) recipe: String,
    pub(crate) phases: Vec<PlannedPhase>,
    pub(crate) hello: Hello,
}

/// One phase of one stage under one fingerprint.
#[derive(Debug)]
pub(crate) struct PlannedPhase {
    /// `stage` or `stage.phase`.
    pub(crate) name: String,
    pub(crate) stage: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) version: u32,
    pub(crate) config: Value,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) folder: String,
    pub(crate) space: Space,
    pub(crate) tasks: u32,
    pub(crate) inputs: Vec<PlannedInput>,
    pub(crate) writes: Vec<&'static str>,
    pub(crate) flows: Vec<Flow>,
}

/// One table that a phase reads.
#[derive(Debug)]
pub(crate) struct PlannedInput {
    pub(crate) table: &'static str,
    /// The writer's position in the plan.
    pub(crate) writer: usize,
    /// Whether it comes through an exchange.
    pub(crate) gathered: bool,
}

impl Plan {
    /// Checks `recipe` against the registry and computes every fingerprint.
    pub(crate) fn new(recipe: &Recipe, registry: &[Entry], resources: Resources) -> anyhow::Result<Self> {
        let names: Vec<&str> = registry.iter().map(|entry| entry.name).collect();
        for name in recipe.stages.keys().chain(recipe.until.as_ref()) {
            ensure!(names.contains(&name.as_str()), "there is no stage `{name}`; the stages are {}", names.join(", "));
        }
        let mut phases: Vec<PlannedPhase> = Vec::new();
        let mut configs: BTreeMap<&str, Value> = BTreeMap::new();
        for entry in registry {
            let is_done = phases.iter().any(|phase| phase.writes.contains(&"outlines"));
            if is_done && TO_OUTLINES.contains(&entry.name) {
                refuse_unplanned(recipe, entry.name)?;
                continue;
            }
            let section = recipe.stages.get(entry.name).cloned().unwrap_or_else(|| Value::Object(Default::default()));
            let config = (entry.normalise)(&section).with_context(|| format!("stages.{} is not usable", entry.name))?;
            let spec = (entry.spec)(&config).with_context(|| format!("stages.{} is not usable", entry.name))?;
            for phase in spec.phases {
                let planned = plan_phase(recipe, entry, &config, &spec.uses, phase, &phases, &resources)?;
                phases.push(planned);
            }
            configs.insert(entry.name, config);
            if recipe.until.as_deref() == Some(entry.name) {
                break;
            }
        }
        check_thresholds(&configs)?;
        let hello = Hello {
            protocol: PROTOCOL,
            recipe: recipe.name.clone(),
            seed: recipe.seed,
            shards: recipe.shards,
            limits: recipe.limits.clone(),
            resources,
            sort_bytes: SORT_BYTES,
        };
        Ok(Self { recipe: recipe.name.clone(), phases, hello })
    }

    /// The task of one shard of a phase.
    pub(crate) fn task(&self, phase: usize, shard: ShardId, id: u64, attempt: u32) -> Task {
        let planned = &self.phases[phase];
        let inputs = planned.inputs.iter().map(|input| {
            let writer = &self.phases[input.writer];
            Input {
                table: input.table.to_owned(),
                folder: writer.folder.clone(),
                tasks: writer.tasks,
                gathered: input.gathered,
            }
        });
        Task {
            id,
            attempt,
            stage: planned.stage.to_owned(),
            version: planned.version,
            phase: planned.phase.to_owned(),
            config: planned.config.clone(),
            fingerprint: planned.fingerprint.clone(),
            space: planned.space,
            shard,
            folder: planned.folder.clone(),
            inputs: inputs.collect(),
        }
    }

    /// The phase that writes `table`.
    pub(crate) fn writer(&self, table: &str) -> Option<&PlannedPhase> {
        self.phases.iter().find(|phase| phase.writes.contains(&table))
    }

    /// The folder and the manifest of the shards, when the plan reaches them.
    pub(crate) fn dataset(&self) -> Option<(String, String)> {
        let last = self.phases.iter().find(|phase| phase.stage == "interleave")?;
        Some((Layout::dataset(&self.recipe, &last.fingerprint), Layout::manifest(&self.recipe)))
    }
}

impl PlannedPhase {
    /// The reports that stand in the store, by shard.
    pub(crate) fn reports(&self, store: &Store) -> anyhow::Result<BTreeMap<ShardId, Report>> {
        let mut reports = BTreeMap::new();
        for path in store.list(&self.folder)? {
            if !path.ends_with("/report.json") {
                continue;
            }
            let bytes = store.get(&path)?;
            let report: Report = serde_json::from_slice(&bytes).with_context(|| {
                format!("report {path} in {} is damaged; remove it and run again", store.describe())
            })?;
            reports.insert(report.shard, report);
        }
        Ok(reports)
    }
}

fn plan_phase(
    recipe: &Recipe,
    entry: &Entry,
    config: &Value,
    uses: &[Use],
    phase: Phase,
    earlier: &[PlannedPhase],
    resources: &Resources,
) -> anyhow::Result<PlannedPhase> {
    let name = task_name(entry.name, phase.name);
    let mut inputs = Vec::new();
    for table in &phase.reads {
        let Some(writer) = earlier.iter().position(|phase| phase.writes.contains(&table.name)) else {
            bail!("{name} reads table `{}`, which no earlier stage writes", table.name);
        };
        if inputs.iter().any(|input: &PlannedInput| input.table == table.name) {
            continue;
        }
        let gathered = earlier[writer].space != table.space;
        ensure!(
            table.space == phase.space,
            "{name} runs over {:?} shards, but reads table `{}` of {:?} shards",
            phase.space,
            table.name,
            table.space
        );
        inputs.push(PlannedInput { table: table.name, writer, gathered });
    }
    for table in &phase.writes {
        ensure!(
            earlier.iter().all(|phase| !phase.writes.contains(&table.name)),
            "{name} writes table `{}`, which another stage writes already",
            table.name
        );
    }
    let parts = FingerprintParts {
        name: &name,
        version: entry.version,
        config,
        shards: &recipe.shards,
        seed: recipe.seed,
        limits: &recipe.limits,
        inputs: inputs.iter().map(|input| earlier[input.writer].fingerprint.as_str()).collect(),
    };
    let fingerprint = fingerprint(&parts, uses, recipe, resources);
    Ok(PlannedPhase {
        folder: Layout::phase(&name, entry.version, &fingerprint),
        name,
        stage: entry.name,
        phase: phase.name,
        version: entry.version,
        config: config.clone(),
        fingerprint,
        space: phase.space,
        tasks: recipe.shards.of(phase.space),
        inputs,
        writes: phase.writes.iter().map(|table| table.name).collect(),
        flows: phase.flows,
    })
}

/// Refuses a recipe that speaks of a stage that its source leaves no place for.
fn refuse_unplanned(recipe: &Recipe, stage: &str) -> anyhow::Result<()> {
    let named = match &recipe.until {
        Some(until) if until == stage => "until".to_owned(),
        _ if recipe.stages.contains_key(stage) => format!("stages.{stage}"),
        _ => return Ok(()),
    };
    bail!(
        "{named} speaks of stage `{stage}`, which has no part in this recipe: its source is interleaved already, so that \
         `ingest` writes outlines and candidates itself; leave it out"
    );
}

/// What always determines a phase's output.
#[derive(serde::Serialize)]
struct FingerprintParts<'a> {
    name: &'a str,
    version: u32,
    config: &'a Value,
    shards: &'a ShardCounts,
    seed: u64,
    limits: &'a Limits,
    inputs: Vec<&'a str>,
}

/// Hashes what determines the output: never where a file lies, always what it is.
fn fingerprint(parts: &FingerprintParts<'_>, uses: &[Use], recipe: &Recipe, resources: &Resources) -> Fingerprint {
    let mut outside: Vec<String> = Vec::new();
    for used in uses {
        match used {
            Use::Documents => {
                outside
                    .extend(resources.documents.iter().map(|file| format!("document {} {}", file.name, file.digest)));
            }
            Use::Crawl => {
                if let Some(crawl) = &resources.crawl {
                    outside.push(format!("crawl {} {}", crawl.name, crawl.cluster.digest));
                }
            }
            Use::Graphs => {
                for (role, graphs) in &resources.graphs {
                    outside.push(format!("card {role} {}", graphs.card.digest));
                    outside.extend(graphs.files.iter().map(|file| format!("graph {role} {}", file.digest)));
                }
                let engine = resources.engine.as_ref().map_or("none", |engine| engine.identity.as_str());
                outside.push(format!("engine {engine}"));
            }
            Use::Name => outside.push(format!("name {}", recipe.name)),
        }
    }
    let parts = serde_json::to_vec(parts).expect("plain values become JSON");
    let outside = outside.join("\n");
    Fingerprint::of([("parts", parts.as_slice()), ("outside", outside.as_bytes())])
}

/// Refuses, by name, a threshold that is looser than what was measured.
fn check_thresholds(configs: &BTreeMap<&str, Value>) -> anyhow::Result<()> {
    let number =
        |stage: &str, path: &str| configs.get(stage).and_then(|config| config.pointer(path)).and_then(Value::as_f64);
    if let (Some(measured), Some(threshold)) =
        (number("dedup", "/max_distance_bits"), number("select", "/duplicate_bits"))
    {
        ensure!(
            threshold <= measured,
            "stages.select.duplicate_bits is {threshold}, but distances are measured to {measured} bits only; raise \
             stages.dedup.max_distance_bits too"
        );
    }
    if let (Some(floor), Some(threshold)) = (number("measure", "/floor/min_side_px"), number("select", "/min_side_px"))
    {
        ensure!(
            threshold >= floor,
            "stages.select.min_side_px is {threshold}, below the floor of {floor}: smaller images are never measured; \
             lower stages.measure.floor.min_side_px too"
        );
    }
    if let Some(floor) = number("measure", "/floor/max_aspect") {
        for (name, elongation) in [
            ("aspect_max", number("select", "/aspect_max")),
            ("aspect_min", number("select", "/aspect_min").map(f64::recip)),
        ] {
            if let Some(elongation) = elongation {
                ensure!(
                    elongation <= floor,
                    "stages.select.{name} admits images of 1:{elongation}, beyond the floor of 1:{floor}: such images \
                     are never measured; raise stages.measure.floor.max_aspect too"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_below_the_floor_is_refused_by_name() {
        let configs = BTreeMap::from([
            ("measure", serde_json::json!({"floor": {"min_side_px": 100, "max_aspect": 3.0}})),
            ("select", serde_json::json!({"min_side_px": 50, "aspect_min": 0.5, "aspect_max": 2.0})),
        ]);
        let error = check_thresholds(&configs).unwrap_err().to_string();
        assert!(error.contains("stages.select.min_side_px is 50"), "{error}");
    }

    #[test]
    fn an_aspect_beyond_the_floor_is_refused_by_name() {
        let configs = BTreeMap::from([
            ("measure", serde_json::json!({"floor": {"min_side_px": 100, "max_aspect": 3.0}})),
            ("select", serde_json::json!({"min_side_px": 150, "aspect_min": 0.25, "aspect_max": 2.0})),
        ]);
        let error = check_thresholds(&configs).unwrap_err().to_string();
        assert!(error.contains("aspect_min admits images of 1:4"), "{error}");
    }
}
