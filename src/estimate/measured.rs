//! What an earlier run measured: counts, facts, seconds and bytes of each phase, and where its captures and candidates
//! lie.
//!
//! Read from the reports that stand in its output folder. Of several fingerprints of one phase the one that was worked
//! on last is taken, by the ledger; without a ledger, the one with most tasks done. A run that is not finished counts
//! as far as it went: only ratios are taken from it. Tables are read up to [`MOST_ROWS`] rows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use weft_core::reject::Unit;
use weft_core::rows::{Part, Rows};
use weft_core::store::Store;
use weft_core::tally::{Count, Tally};
use weft_core::task::Report;
use weft_stages::formats::cdx::ClusterIndex;
use weft_stages::formats::domain::registered_domain;
use weft_stages::formats::surt;

use super::access::Fallen;

/// Rows of one table that are looked at: a sample of a sample is enough.
const MOST_ROWS: u64 = 5_000_000;
/// Lengths of records that are kept to draw from.
const MOST_LENGTHS: usize = 100_000;

weft_core::table! {
    /// Where a capture lies.
    pub struct CapturePlaces, CapturePlacesRow = "captures" v2 in Crawl by ["filename", "offset", "document_id"] {
        /// The WARC file.
        filename: Text,
        /// The record's first byte in that file.
        offset: U64,
        /// 32 hex digits.
        document_id: Text,
        /// The record's stored bytes.
        length: U64,
    }
}

weft_core::table! {
    /// Where a document's capture is looked for.
    pub struct DocumentKeys, DocumentKeysRow = "documents" v1 in Corpus by ["urlkey"] {
        /// Common Crawl's SURT key of the url.
        urlkey: Text,
    }
}

weft_core::table! {
    /// Whose image a candidate is.
    pub struct CandidateUrls, CandidateUrlsRow = "candidates" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates, from 0, in DOM order.
        image_index: U32,
        /// The image's absolute URL.
        image_url: Text,
    }
}

/// One phase as far as it was run.
#[derive(Debug, Default)]
pub(crate) struct PhaseRun {
    pub(crate) tally: Tally,
    /// Summed over tasks.
    pub(crate) task_seconds: f64,
    /// Of all tables and shards.
    pub(crate) written_bytes: u64,
    /// Files by table.
    files: BTreeMap<String, Vec<String>>,
}

impl PhaseRun {
    fn of(reports: &[Report]) -> Self {
        let mut run = Self::default();
        let mut elapsed_ms = 0;
        for report in reports {
            run.tally.add(&report.tally);
            elapsed_ms += report.elapsed_ms;
            for output in &report.outputs {
                run.written_bytes += output.bytes;
                run.files.entry(output.table.clone()).or_default().push(output.path.clone());
            }
        }
        run.task_seconds = std::time::Duration::from_millis(elapsed_ms).as_secs_f64();
        run
    }

    pub(crate) fn count(&self, unit: Unit) -> Option<&Count> {
        self.tally.counts.get(&unit)
    }

    pub(crate) fn fact(&self, name: &str) -> Option<u64> {
        self.tally.facts.get(name).copied()
    }
}

/// An earlier run.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) place: String,
    store: Store,
    phases: BTreeMap<String, PhaseRun>,
}

/// How captures lie in their files.
#[derive(Debug, Default)]
pub(crate) struct CaptureShape {
    pub(crate) captures: u64,
    pub(crate) files: u64,
    /// Of some of the captures.
    pub(crate) lengths: Vec<f64>,
    /// The mean size of a file, as far as its captures tell: where the last one ends, and a gap of mean length behind.
    pub(crate) file_bytes: f64,
}

impl Measured {
    /// Reads the reports of an output folder; nothing where no task of it is done.
    pub(crate) fn read(output: &Path) -> anyhow::Result<Option<Self>> {
        if !output.join("tables").is_dir() {
            return Ok(None);
        }
        let store = Store::local(output)?;
        let last = crate::ledger::last_attempts(output)?;
        let mut folders: BTreeMap<String, Vec<Report>> = BTreeMap::new();
        for path in store.list("tables")? {
            let Some(folder) = phase_folder(&path) else { continue };
            let report: Report = serde_json::from_slice(&store.get(&path)?)
                .with_context(|| format!("report {path} in {} is damaged", store.describe()))?;
            folders.entry(folder.to_owned()).or_default().push(report);
        }
        let mut chosen: BTreeMap<String, (String, Vec<Report>)> = BTreeMap::new();
        for (folder, reports) in folders {
            let Some(name) = reports.first().map(|report| weft_core::task::task_name(&report.stage, &report.phase))
            else {
                continue;
            };
            let rank = |folder: &str, reports: &[Report]| (last.get(folder).cloned(), reports.len());
            let is_better =
                chosen.get(&name).is_none_or(|(other, others)| rank(&folder, &reports) > rank(other, others));
            if is_better {
                chosen.insert(name, (folder, reports));
            }
        }
        if chosen.is_empty() {
            return Ok(None);
        }
        let phases = chosen.into_iter().map(|(name, (_, reports))| (name, PhaseRun::of(&reports))).collect();
        Ok(Some(Self { place: output.display().to_string(), store, phases }))
    }

    pub(crate) fn phase(&self, name: &str) -> Option<&PhaseRun> {
        self.phases.get(name)
    }

    /// How captures lie in their files; nothing where none was located.
    pub(crate) fn captures(&self) -> anyhow::Result<Option<CaptureShape>> {
        let mut shape = CaptureShape::default();
        // Captures and the last byte of each file.
        let mut files: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        self.each::<CapturePlaces>("locate", |row| {
            shape.captures += 1;
            if shape.lengths.len() < MOST_LENGTHS {
                shape.lengths.push(super::value::amount(row.length));
            }
            let end = row.offset.saturating_add(row.length);
            match files.get_mut(row.filename) {
                Some((captures, last)) => {
                    *captures += 1;
                    *last = (*last).max(end);
                }
                None => {
                    files.insert(row.filename.to_owned(), (1, end));
                }
            }
            shape.captures < MOST_ROWS
        })?;
        if files.is_empty() {
            return Ok(None);
        }
        shape.files = u64::try_from(files.len())?;
        // The largest of n even draws lies at n / (n + 1) of the whole on average.
        let whole = |(captures, last): &(u64, u64)| {
            let captures = super::value::amount(*captures);
            super::value::amount(*last) * (captures + 1.0) / captures
        };
        shape.file_bytes = files.values().map(whole).sum::<f64>() / super::value::amount(shape.files);
        Ok(Some(shape))
    }

    /// How the documents' keys fell on the blocks of the crawl's index; nothing where none was ingested.
    pub(crate) fn keys(&self, index: &ClusterIndex) -> anyhow::Result<Option<Fallen>> {
        let mut fallen = Fallen::new(index.blocks().len());
        let mut rows = 0;
        self.each::<DocumentKeys>("ingest", |row| {
            fallen.fall(blocks_of(index, row.urlkey));
            rows += 1;
            rows < MOST_ROWS
        })?;
        Ok(Some(fallen).filter(|_| rows > 0))
    }

    /// How the candidates' keys fell on the blocks of the crawl's index; nothing where none was extracted.
    pub(crate) fn image_keys(&self, index: &ClusterIndex) -> anyhow::Result<Option<Fallen>> {
        let mut fallen = Fallen::new(index.blocks().len());
        let mut rows = 0;
        self.each::<CandidateUrls>("extract", |row| {
            if let Some(urlkey) = surt::urlkey(row.image_url) {
                fallen.fall(blocks_of(index, &urlkey));
            }
            rows += 1;
            rows < MOST_ROWS
        })?;
        Ok(Some(fallen).filter(|_| rows > 0))
    }

    /// Candidates by registered domain; nothing where none was extracted.
    pub(crate) fn domains(&self) -> anyhow::Result<Option<BTreeMap<String, u64>>> {
        let mut domains: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = 0;
        self.each::<CandidateUrls>("extract", |row| {
            if let Some(domain) = registered_domain(row.image_url) {
                *domains.entry(domain).or_default() += 1;
            }
            rows += 1;
            rows < MOST_ROWS
        })?;
        Ok(Some(domains).filter(|domains| !domains.is_empty()))
    }

    /// Goes through the rows of a table that a phase wrote, file by file, until `take` has enough.
    fn each<T: weft_core::table::Table>(
        &self,
        phase: &str,
        mut take: impl FnMut(&T::Row<'_>) -> bool,
    ) -> anyhow::Result<()> {
        let Some(paths) = self.phases.get(phase).and_then(|run| run.files.get(T::NAME)) else { return Ok(()) };
        for path in paths {
            let part = Part { path: path.clone(), row_groups: None };
            let mut rows = Rows::<T>::open(&self.store, &[part])?;
            while let Some(row) = rows.next()? {
                if !take(&row) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The blocks that may hold a key: its lines may begin at the end of the one before the first whose own first key is as
/// large.
fn blocks_of(index: &ClusterIndex, urlkey: &str) -> Range<usize> {
    let blocks = index.blocks();
    let begin = blocks.partition_point(|block| *block.urlkey < *urlkey).saturating_sub(1);
    let end = blocks.partition_point(|block| *block.urlkey <= *urlkey);
    begin..end.max(begin)
}

/// The phase's folder of a report's path: `tables/STAGE-vN/FINGERPRINT` of `…/SHARD/report.json`.
fn phase_folder(path: &str) -> Option<&str> {
    let (folder, _shard) = path.strip_suffix("/report.json")?.rsplit_once('/')?;
    Some(folder)
}
