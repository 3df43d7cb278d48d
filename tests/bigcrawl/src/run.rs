//! Opens the tables that a run left behind, as its reports name them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use weft_core::id::ShardId;
use weft_core::rows::Part;
use weft_core::store::Store;
use weft_core::task::Report;

/// The tasks of one stage in an output folder.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) store: Store,
    reports: Vec<Report>,
}

impl Run {
    /// Reads the reports of `stage`, which has run there under one fingerprint.
    pub(crate) fn open(output: &Path, stage: &str) -> anyhow::Result<Self> {
        ensure!(output.is_dir(), "{} is no folder", output.display());
        let store = Store::local(output)?;
        let prefix = format!("tables/{stage}-");
        let mut paths = store.list("tables")?;
        paths.retain(|path| path.starts_with(&prefix) && path.ends_with("/report.json"));
        let mut folders: Vec<&Path> = paths.iter().filter_map(|path| Path::new(path).parent()?.parent()).collect();
        folders.sort_unstable();
        folders.dedup();
        if folders.len() != 1 {
            bail!("{} holds {} runs of {stage}, not one: {folders:?}", output.display(), folders.len());
        }
        let report = |path: &String| -> anyhow::Result<Report> {
            serde_json::from_slice(&store.get(path)?).with_context(|| format!("{path} is damaged"))
        };
        let reports = paths.iter().map(report).collect::<anyhow::Result<_>>()?;
        Ok(Self { store, reports })
    }

    /// The whole files of a table.
    pub(crate) fn files(&self, table: &str) -> Vec<Part> {
        let outputs = self.reports.iter().flat_map(|report| &report.outputs).filter(|output| output.table == table);
        outputs.map(|output| Part { path: output.path.clone(), row_groups: None }).collect()
    }

    /// The parts of each shard of a table that was written for shards of another space.
    pub(crate) fn exchanged(&self, table: &str) -> BTreeMap<ShardId, Vec<Part>> {
        let mut shards: BTreeMap<ShardId, Vec<Part>> = BTreeMap::new();
        let outputs = self.reports.iter().flat_map(|report| &report.outputs).filter(|output| output.table == table);
        for output in outputs {
            for entry in output.directory.iter().flatten() {
                let row_groups = Some((entry.first_row_group, entry.row_groups));
                shards.entry(entry.shard).or_default().push(Part { path: output.path.clone(), row_groups });
            }
        }
        shards
    }
}
