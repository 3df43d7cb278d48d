//! `weft locate`: the mapping from documents to a crawl's records, by itself.
//!
//! Runs a recipe to its stage `locate` and publishes what it found: one folder of Parquet files that stands alone, with
//! a manifest. `mapping-*-of-*.parquet` has a row for each document located, one file a crawl shard, in the order of
//! WARC file and offset; `misses.parquet` has a row for each document that was not, in the order of urlkeys, with the
//! reason and its evidence. `manifest.json` is written last: where it stands, the folder is whole.
//!
//! Names and bytes depend on the fingerprint of `locate` alone, and the folder's name holds it. Memory is a batch of
//! each of a shard's parts.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weft_core::id::ShardId;
use weft_core::reject::Unit;
use weft_core::rows::{Part, Rows};
use weft_core::store::{Layout, Store};
use weft_core::table::Table;
use weft_core::tables::Rejects;
use weft_core::task::Report;
use weft_core::write::{Output, TableWriter};
use weft_stages::formats::surt;

use crate::command::Opened;
use crate::command::run::{RunArgs, run_and};
use crate::plan::{Plan, PlannedPhase};
use crate::report::{self, FunnelRow};
use crate::runner::Finished;

/// The file that says that a mapping is whole.
const MANIFEST: &str = "manifest.json";

weft_core::table! {
    /// A document and the record that it is in; fields of the record under the names of Common Crawl's columnar index.
    pub struct Mapping, MappingRow = "mapping" v1 in Crawl by ["warc_filename", "warc_record_offset", "document_id"] {
        /// The document's url, as the source has it.
        url: Text,
        /// The source's own timestamp.
        timestamp: Text,
        /// Common Crawl's SURT key of the url.
        urlkey: Text,
        /// 32 hex digits: the blake3 of url and 14 digits.
        document_id: Text,
        /// The WARC file, as a path below the crawl's root.
        warc_filename: Text,
        /// The record's first byte in that file.
        warc_record_offset: U64,
        /// The record's stored bytes.
        warc_record_length: U64,
        /// The index's payload digest (sha1, base32); null where the index has none.
        content_digest: MaybeText,
        /// The media type by a look at the bytes, as the index has it.
        content_mime_detected: MaybeText,
        /// `exact`, or the name of the fall-back that gave the capture.
        matched_by: Text,
        /// The capture's own url; null where it is the document's.
        capture_url: MaybeText,
        /// The capture's own time, 14 digits; null where it is the document's.
        capture_timestamp: MaybeText,
    }
}

weft_core::table! {
    /// A document that was not located.
    pub struct Misses, MissesRow = "misses" v1 in Corpus by ["urlkey", "url", "timestamp"] {
        /// The document's url, as the source has it.
        url: Text,
        /// The source's own timestamp.
        timestamp: Text,
        /// Common Crawl's SURT key of the url.
        urlkey: Text,
        /// 32 hex digits.
        document_id: Text,
        /// As the funnel names it.
        reason: Text,
        /// What was seen instead.
        evidence: Text,
    }
}

weft_core::table! {
    /// `captures` without the sentences.
    pub struct Located, LocatedRow = "captures" v2 in Crawl by ["filename", "offset", "document_id"] {
        /// The WARC file.
        filename: Text,
        /// The record's first byte.
        offset: U64,
        /// 32 hex digits.
        document_id: Text,
        /// The record's stored bytes.
        length: U64,
        /// Payload digest.
        digest: MaybeText,
        /// Media type.
        mime_detected: MaybeText,
        /// How the capture was chosen.
        matched_by: Text,
        /// The capture's own url.
        capture_url: MaybeText,
        /// The capture's own time.
        capture_timestamp: MaybeText,
        /// The document's url.
        url: Text,
        /// The source's own timestamp.
        source_timestamp: Text,
    }
}

weft_core::table! {
    /// `documents` without the sentences.
    pub struct Asked, AskedRow = "documents" v1 in Corpus by ["urlkey", "timestamp", "url", "document_id"] {
        /// SURT key.
        urlkey: Text,
        /// 14 digits.
        timestamp: Text,
        /// The document's url.
        url: Text,
        /// 32 hex digits.
        document_id: Text,
        /// The source's own timestamp.
        source_timestamp: Text,
    }
}

#[derive(Debug, Args)]
pub(crate) struct LocateArgs {
    #[command(flatten)]
    run: RunArgs,
}

/// What a mapping is: of what, by what, and its files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MappingManifest {
    /// The recipe.
    pub(crate) recipe: String,
    /// The version of weft.
    pub(crate) version: String,
    /// The fingerprint of `locate`.
    pub(crate) fingerprint: String,
    /// The crawl.
    pub(crate) crawl: String,
    /// The summary of its index.
    pub(crate) index: String,
    /// The summary's digest.
    pub(crate) index_digest: String,
    /// The source files with their digests.
    pub(crate) sources: BTreeMap<String, String>,
    /// The stage's section, complete.
    pub(crate) locate: serde_json::Value,
    /// Documents located, by how.
    pub(crate) located: BTreeMap<String, u64>,
    /// Documents not located, by reason.
    pub(crate) missed: BTreeMap<String, u64>,
    /// Every file of the folder but this one.
    pub(crate) files: Vec<PublishedFile>,
    /// Counts of the stages.
    pub(crate) funnel: Vec<serde_json::Value>,
}

/// A file of a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishedFile {
    /// In the manifest's folder.
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
    pub(crate) sha256: String,
}

pub(crate) fn run(mut args: LocateArgs) -> anyhow::Result<ExitCode> {
    args.run.recipe.set.push("until=\"locate\"".to_owned());
    run_and(&args.run, publish)
}

/// The folder of a plan's mapping in the store, where the plan reaches `locate`.
pub(crate) fn folder_of(plan: &Plan) -> Option<String> {
    let locate = plan.phases.iter().find(|phase| phase.stage == "locate")?;
    Some(Layout::mapping(&plan.recipe, &locate.fingerprint))
}

/// The manifest of a mapping, where there is one, and its files as a report would list them.
pub(crate) fn read_manifest(store: &Store, folder: &str) -> anyhow::Result<Option<(MappingManifest, Vec<Output>)>> {
    let path = format!("{folder}/{MANIFEST}");
    let Some(bytes) = store.get_if_there(&path)? else { return Ok(None) };
    let manifest: MappingManifest = serde_json::from_slice(&bytes)
        .with_context(|| format!("manifest {path} is damaged; remove it and run weft locate again"))?;
    let outputs = manifest.files.iter().map(|file| Output {
        table: file.name.clone(),
        version: 1,
        path: format!("{folder}/{}", file.name),
        rows: file.rows,
        bytes: file.bytes,
        blake3: file.blake3.clone(),
        directory: None,
    });
    let outputs = outputs.collect();
    Ok(Some((manifest, outputs)))
}

fn publish(opened: &Opened, finished: &Finished, funnel: &[FunnelRow]) -> anyhow::Result<String> {
    let plan = &opened.plan;
    let position = |stage: &str| {
        let position = plan.phases.iter().position(|phase| phase.stage == stage);
        position.with_context(|| format!("the plan has no stage {stage}"))
    };
    let (ingest, locate) = (position("ingest")?, position("locate")?);
    let folder = Layout::mapping(&plan.recipe, &plan.phases[locate].fingerprint);
    let told = format!("mapping: {}\n", opened.output.join(&folder).display());
    if is_whole(&opened.store, &folder)? {
        return Ok(told);
    }
    let mut publisher = Publisher { store: &opened.store, folder: &folder, files: Vec::new() };
    let located = publisher.mapping(plan.hello.shards.crawl, &finished.reports[locate])?;
    let missed = publisher.misses(&finished.reports[ingest], &finished.reports[locate])?;
    let files = publisher.files;

    let counted = report::total(&finished.reports[locate]).counts.remove(&Unit::Documents).unwrap_or_default();
    ensure!(
        located.values().sum::<u64>() == counted.kept && missed == counted.rejected,
        "the tables of locate and its tally differ; weft verify says where"
    );
    let manifest = manifest(opened, &plan.phases[locate], located, missed, files, funnel)?;
    let json = format!("{}\n", serde_json::to_string_pretty(&manifest)?);
    opened.store.put(&format!("{folder}/{MANIFEST}"), json.into_bytes())?;
    Ok(told)
}

/// Whether a mapping stands there with all its files.
fn is_whole(store: &Store, folder: &str) -> anyhow::Result<bool> {
    let Some((_, outputs)) = read_manifest(store, folder)? else { return Ok(false) };
    Ok(outputs.iter().all(|output| store.open(&output.path).is_ok_and(|file| file.len_bytes() == output.bytes)))
}

fn manifest(
    opened: &Opened,
    locate: &PlannedPhase,
    located: BTreeMap<String, u64>,
    missed: BTreeMap<String, u64>,
    files: Vec<PublishedFile>,
    funnel: &[FunnelRow],
) -> anyhow::Result<MappingManifest> {
    let resources = &opened.plan.hello.resources;
    let crawl = resources.crawl.as_ref().context("the recipe names no crawl")?;
    Ok(MappingManifest {
        recipe: opened.recipe.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: locate.fingerprint.as_str().to_owned(),
        crawl: crawl.name.clone(),
        index: crawl.cluster.name.clone(),
        index_digest: crawl.cluster.digest.clone(),
        sources: resources.documents.iter().map(|file| (file.name.clone(), file.digest.clone())).collect(),
        locate: locate.config.clone(),
        located,
        missed,
        files,
        funnel: funnel.iter().map(serde_json::to_value).collect::<Result<_, _>>()?,
    })
}

/// Writes a mapping's files.
struct Publisher<'p> {
    store: &'p Store,
    folder: &'p str,
    files: Vec<PublishedFile>,
}

impl Publisher<'_> {
    /// One file a crawl shard; gives the rows by how they were matched.
    fn mapping(&mut self, shards: u32, located: &BTreeMap<ShardId, Report>) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut by_match: BTreeMap<String, u64> = BTreeMap::new();
        for shard in 0..shards {
            let name = format!("mapping-{shard:05}-of-{shards:05}.parquet");
            let mut rows = Rows::<Located>::open(self.store, &parts::<Located>(located, ShardId(shard)))?;
            let mut writer = TableWriter::<Mapping>::create(self.store, &format!("{}/{name}", self.folder))?;
            while let Some(row) = rows.next()? {
                *by_match.entry(row.matched_by.to_owned()).or_default() += 1;
                writer.push(&MappingRow {
                    url: row.url,
                    timestamp: row.source_timestamp,
                    urlkey: &surt::urlkey(row.url).unwrap_or_default(),
                    document_id: row.document_id,
                    warc_filename: row.filename,
                    warc_record_offset: row.offset,
                    warc_record_length: row.length,
                    content_digest: row.digest,
                    content_mime_detected: row.mime_detected,
                    matched_by: row.matched_by,
                    capture_url: row.capture_url,
                    capture_timestamp: row.capture_timestamp,
                })?;
            }
            self.add(name, &writer.finish()?)?;
        }
        Ok(by_match)
    }

    /// One file; gives the rows by reason. The rejects of a shard are a subsequence of its documents.
    fn misses(
        &mut self,
        ingested: &BTreeMap<ShardId, Report>,
        located: &BTreeMap<ShardId, Report>,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let name = "misses.parquet".to_owned();
        let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
        let mut writer = TableWriter::<Misses>::create(self.store, &format!("{}/{name}", self.folder))?;
        for (shard, report) in located {
            let mut documents = Rows::<Asked>::open(self.store, &parts::<Asked>(ingested, *shard))?;
            let outputs = report.outputs.iter().filter(|output| output.table == Rejects::NAME);
            let whole: Vec<Part> = outputs.map(|output| Part { path: output.path.clone(), row_groups: None }).collect();
            let mut rejects = Rows::<Rejects>::open(self.store, &whole)?;
            while let Some(reject) = rejects.next()? {
                let document = loop {
                    match documents.next()? {
                        Some(document) if document.document_id == reject.document_id => break Some(document),
                        Some(_) => {}
                        None => break None,
                    }
                };
                let document = document
                    .with_context(|| format!("a reject of shard {shard} is of no document; weft verify says where"))?;
                *by_reason.entry(reject.reason.to_owned()).or_default() += 1;
                writer.push(&MissesRow {
                    url: document.url,
                    timestamp: document.source_timestamp,
                    urlkey: document.urlkey,
                    document_id: document.document_id,
                    reason: reject.reason,
                    evidence: reject.evidence,
                })?;
            }
        }
        self.add(name, &writer.finish()?)?;
        Ok(by_reason)
    }

    /// Lists a file, after reading back what was written.
    fn add(&mut self, name: String, output: &Output) -> anyhow::Result<()> {
        let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
        let mut reader = self.store.open(&output.path)?.reader(0);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = reader.read(&mut buffer).with_context(|| format!("failed to read {} back", output.path))?;
            if read == 0 {
                break;
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            sha256.update(bytes);
            blake3.update(bytes);
        }
        ensure!(
            blake3.finalize().to_hex().as_str() == output.blake3,
            "{} does not read back as it was written; check the disk and run again",
            output.path
        );
        let sha256 = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let (rows, bytes, blake3) = (output.rows, output.bytes, output.blake3.clone());
        self.files.push(PublishedFile { name, rows, bytes, blake3, sha256 });
        Ok(())
    }
}

/// The parts of `T`'s table that exchanges wrote for a shard.
fn parts<T: Table>(reports: &BTreeMap<ShardId, Report>, shard: ShardId) -> Vec<Part> {
    let outputs = reports.values().flat_map(|report| &report.outputs).filter(|output| output.table == T::NAME);
    let parts = outputs.flat_map(|output| {
        let entries = output.directory.iter().flatten().filter(move |entry| entry.shard == shard);
        entries.map(|entry| Part {
            path: output.path.clone(),
            row_groups: Some((entry.first_row_group, entry.row_groups)),
        })
    });
    parts.collect()
}
