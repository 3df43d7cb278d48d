//! Crawl manifests: where the index and the archives are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use weft_core::stage::Crawl;

use super::figures::Figure;
use super::lock::{Lock, Pinned};
use super::{is_address, lists, outside_file, read_toml};
use crate::ledger::DigestCache;

/// Where the crawl is: `manifests/sources/*.toml` of kind `crawl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrawlManifest {
    kind: CrawlKind,
    pub(crate) name: String,
    /// A folder, or an http(s) URL; `filename`s of the index are below it.
    pub(crate) root: String,
    /// The folder of cluster.idx below the root.
    pub(crate) index: String,
    #[serde(default)]
    cluster_sha256: Option<String>,
    #[serde(default)]
    pub(crate) lists: PathLists,
    #[serde(default)]
    pub(crate) figures: Vec<Figure>,
}

/// The crawl's path lists, as paths below its root: a gzip file of one path a line each.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathLists {
    /// The archives of pages.
    #[serde(default)]
    pub(crate) warc: Option<String>,
    /// The ZipNum index.
    #[serde(default)]
    pub(crate) index: Option<String>,
    /// The columnar index.
    #[serde(default)]
    pub(crate) table: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CrawlKind {
    Crawl,
}

impl CrawlManifest {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let manifest: Self = read_toml(path)?;
        let CrawlKind::Crawl = manifest.kind;
        Ok(manifest)
    }

    /// The root, seen from where weft runs.
    pub(crate) fn root(&self, path: &Path) -> String {
        if is_address(&self.root) {
            return self.root.clone();
        }
        path.parent().unwrap_or(Path::new("")).join(&self.root).display().to_string()
    }

    /// The index's summary, as a path below the root.
    pub(crate) fn cluster(&self) -> String {
        format!("{}/cluster.idx", self.index.trim_matches('/'))
    }
}

/// Reads a crawl manifest and gets the index's summary. What lies at an address is pinned in `lock`: the summary, and
/// the path lists that the manifest names.
pub(super) fn read(path: &Path, digests: &mut DigestCache, lock: &mut Lock) -> anyhow::Result<Crawl> {
    let manifest = CrawlManifest::read(path)?;
    let root = manifest.root(path);
    let name = manifest.cluster();
    let pinned = manifest.cluster_sha256.as_deref().map(|digest| (digest, path));
    let is_remote = is_address(&root);
    let location = below(&root, &name, digests)?;
    let cluster = outside_file(&name, &location, pinned, digests)?;
    if is_remote {
        pin(lock, &root, &name, &location, digests)?;
        let PathLists { warc, index, table } = &manifest.lists;
        for list in [warc, index, table].into_iter().flatten() {
            // Its bytes are of no use here once they are counted.
            if lock.get(list).is_none() {
                let location = below(&root, list, digests)?;
                pin(lock, &root, list, &location, digests)?;
            }
        }
    }
    Ok(Crawl { name: manifest.name, root, index: manifest.index, cluster })
}

/// Where a file below the root can be read: in its folder, or downloaded.
fn below(root: &str, name: &str, digests: &mut DigestCache) -> anyhow::Result<PathBuf> {
    if is_address(root) { digests.download(root, name) } else { Ok(Path::new(root).join(name)) }
}

/// Pins a downloaded file, which has one entry a line.
fn pin(lock: &mut Lock, root: &str, name: &str, location: &Path, digests: &mut DigestCache) -> anyhow::Result<()> {
    let (sha256, bytes) = digests.sha256(location)?;
    let known = lock.get(name).and_then(|pinned| pinned.entries);
    let entries = match known {
        Some(entries) => entries,
        None => lists::count(location).with_context(|| format!("failed to count the lines of {name} of {root}"))?,
    };
    let address = format!("{}/{name}", root.trim_end_matches('/'));
    lock.pin(name, Pinned { address, bytes, etag: None, sha256: Some(sha256), entries: Some(entries) })
}
