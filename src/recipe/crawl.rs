//! Crawl manifests: where the index and the archives are.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use weft_core::stage::Crawl;

use super::{outside_file, read_toml};
use crate::ledger::DigestCache;

/// Where the crawl is: `manifests/sources/*.toml` of kind `crawl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrawlManifest {
    kind: CrawlKind,
    name: String,
    /// A folder, or an http(s) URL; `filename`s of the index are below it.
    root: String,
    /// The folder of cluster.idx below the root.
    index: String,
    #[serde(default)]
    cluster_sha256: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CrawlKind {
    Crawl,
}

/// Reads a crawl manifest and gets the index's summary.
pub(super) fn read(path: &Path, digests: &mut DigestCache) -> anyhow::Result<Crawl> {
    let manifest: CrawlManifest = read_toml(path)?;
    let CrawlKind::Crawl = manifest.kind;
    let is_url = manifest.root.starts_with("http://") || manifest.root.starts_with("https://");
    let folder = path.parent().unwrap_or(Path::new(""));
    let root = if is_url { manifest.root.clone() } else { folder.join(&manifest.root).display().to_string() };
    let cluster_path = format!("{}/{}/cluster.idx", root.trim_end_matches('/'), manifest.index.trim_matches('/'));
    let name = format!("{}/cluster.idx", manifest.index.trim_matches('/'));
    let pinned = manifest.cluster_sha256.as_deref().map(|digest| (digest, path));
    let location = if is_url { digests.download(&root, &name)? } else { PathBuf::from(&cluster_path) };
    let cluster = outside_file(&name, &location, pinned, digests)?;
    Ok(Crawl { name: manifest.name, root, index: manifest.index, cluster })
}

/// Reads a crawl manifest without looking for its index.
#[cfg(test)]
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    read_toml::<CrawlManifest>(path).map(|_| ())
}
