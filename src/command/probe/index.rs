//! `weft probe urlkey` and `weft probe index`: the keys of a crawl's index, and what the index holds under them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use weft_core::limits::{Limits, read_capped};
use weft_stages::formats::cdx::{BlockRef, CaptureLine, ClusterIndex, ReadError, ShardLocations};
use weft_stages::formats::outside::{OutsideError, open_file, with_causes};
use weft_stages::formats::surt;

use super::findings::{Finding, Findings, or_dash};
use super::input::each_line;

#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    /// The index's summary; its blocks lie beside it, or where a .loc file of the same name says
    #[arg(value_name = "CLUSTER.IDX")]
    summary: PathBuf,
    /// Files of keys, one a line; standard input where there is none, and for `-`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct KeyOfUrl {
    url: String,
    urlkey: String,
}

pub(super) fn probe_urls(files: &[PathBuf], limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    each_line(files, limits, findings, |url| match surt::urlkey(url) {
        Some(urlkey) => Ok(KeyOfUrl { url: url.to_owned(), urlkey }),
        None => Err(format!(
            "`{}` has no key: it is too long, or its port is no number",
            url.chars().take(200).collect::<String>()
        )),
    })
}

impl Finding for KeyOfUrl {
    fn lines(&self) -> Vec<String> {
        vec![format!("{}  {}", self.urlkey, self.url)]
    }
}

#[derive(Serialize)]
struct CapturesOfKey {
    urlkey: String,
    /// In the order of the index.
    captures: Vec<Capture>,
}

/// The fields of an index line under its own names; what it does not tell is null.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Capture {
    urlkey: String,
    timestamp: String,
    url: String,
    mime: Option<String>,
    mime_detected: Option<String>,
    status: Option<u16>,
    digest: Option<String>,
    length: u64,
    offset: u64,
    filename: String,
    charset: Option<String>,
    languages: Option<String>,
    redirect: Option<String>,
    truncated: Option<String>,
}

pub(super) fn probe_keys(args: &IndexArgs, limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    let (index, mut shards) = match open_index(&args.summary, limits) {
        Ok(opened) => opened,
        Err((file, cause)) => return findings.trouble(&file.display().to_string(), None, &cause),
    };
    each_line(&args.files, limits, findings, |urlkey| {
        let captures = index.lookup(urlkey, limits, |block| shards.read(block, limits));
        let captures = captures.map_err(|cause| with_causes(&cause))?;
        Ok(CapturesOfKey { urlkey: urlkey.to_owned(), captures: captures.into_iter().map(Capture::from).collect() })
    })
}

/// Reads the summary and the locations beside it; else the file that is to blame, and why.
fn open_index(summary: &Path, limits: &Limits) -> Result<(ClusterIndex, Shards), (PathBuf, String)> {
    let of_summary = |cause: &dyn std::error::Error| (summary.to_owned(), with_causes(cause));
    let file = open_file(summary).map_err(|cause| of_summary(&cause))?;
    let index = ClusterIndex::parse(BufReader::new(file), limits).map_err(|cause| of_summary(&cause))?;

    let beside = summary.with_extension("loc");
    let of_locations = |cause: &dyn std::error::Error| (beside.clone(), with_causes(cause));
    let locations = match open_file(&beside) {
        Ok(file) => {
            let bytes = read_capped(file, "line_bytes", limits.line_bytes).map_err(|cause| of_locations(&cause))?;
            let text = std::str::from_utf8(&bytes).map_err(|cause| of_locations(&cause))?;
            ShardLocations::parse(text).map_err(|cause| of_locations(&cause))?
        }
        Err(OutsideError::Missing { .. }) => ShardLocations::default(),
        Err(cause) => return Err(of_locations(&cause)),
    };
    let folder = summary.parent().unwrap_or(Path::new("")).to_owned();
    Ok((index, Shards { folder, locations, open: BTreeMap::new() }))
}

/// The shards' files, each opened once.
struct Shards {
    /// The summary's.
    folder: PathBuf,
    locations: ShardLocations,
    open: BTreeMap<Arc<str>, File>,
}

impl Shards {
    fn read(&mut self, block: &BlockRef, limits: &Limits) -> Result<Vec<u8>, ReadError> {
        let file = match self.open.get_mut(&block.shard) {
            Some(file) => file,
            None => {
                let file = self.open_shard(&block.shard)?;
                self.open.entry(Arc::clone(&block.shard)).or_insert(file)
            }
        };
        file.seek(SeekFrom::Start(block.offset))?;
        Ok(read_capped(file.take(block.length), "record_bytes", limits.record_bytes)?)
    }

    /// Opens the first of the shard's paths that there is.
    fn open_shard(&self, shard: &str) -> Result<File, OutsideError> {
        let listed = self.locations.paths_of(shard);
        let beside = [shard.to_owned()];
        let mut paths = if listed.is_empty() { beside.iter() } else { listed.iter() };
        let first = paths.next().expect("a listed shard has a path");
        let mut opened = open_file(&self.folder.join(first));
        for path in paths {
            if opened.is_ok() {
                break;
            }
            opened = open_file(&self.folder.join(path));
        }
        opened
    }
}

impl From<CaptureLine> for Capture {
    fn from(line: CaptureLine) -> Self {
        Self {
            urlkey: line.urlkey,
            timestamp: line.timestamp,
            url: line.url,
            mime: line.mime,
            mime_detected: line.mime_detected,
            status: line.status,
            digest: line.digest,
            length: line.length,
            offset: line.offset,
            filename: line.filename,
            charset: line.charset,
            languages: line.languages,
            redirect: line.redirect,
            truncated: line.truncated,
        }
    }
}

impl Finding for CapturesOfKey {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {} captures", self.urlkey, self.captures.len())];
        lines.extend(self.captures.iter().map(|capture| {
            format!(
                "  {} {} {} {} at {} + {} of {}",
                capture.timestamp,
                or_dash(capture.status.as_ref()),
                or_dash(capture.mime.as_ref()),
                capture.url,
                capture.offset,
                capture.length,
                capture.filename
            )
        }));
        lines
    }
}
