//! Crawl manifests: where the index and the archives are, and which form the index has.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use weft_core::front::FrontBudget;
use weft_core::limits::Limits;
use weft_core::stage::{Crawl, OutsideFile};
use weft_stages::formats::columnar;
use weft_stages::formats::outside::{OutsideRoot, with_causes};

use super::figures::Figure;
use super::front::FrontSection;
use super::lock::{Lock, Pinned};
use super::{is_remote, lists, outside_file, read_toml};
use crate::ledger::DigestCache;

/// Where the crawl is: `manifests/sources/*.toml` of kind `crawl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrawlManifest {
    kind: CrawlKind,
    pub(crate) name: String,
    /// A folder, or a URL; `filename`s of the index are below it.
    pub(crate) root: String,
    /// Which of Common Crawl's two indexes locates captures.
    #[serde(default)]
    form: IndexForm,
    /// ZipNum: the folder of cluster.idx below the root.
    #[serde(default)]
    index: Option<String>,
    /// ZipNum: the digest of cluster.idx, where it is known.
    #[serde(default)]
    cluster_sha256: Option<String>,
    /// Columnar: the folder of the table below the root, `cc-index/table/cc-main/warc/crawl=…`.
    #[serde(default)]
    table: Option<String>,
    /// Columnar: the subsets to read; all three by default, so that a miss has the same reason in both forms.
    ///
    /// Pages that did not answer with 200 are in `crawldiagnostics`: a recipe that reads `warc` alone saves about a
    /// quarter of the reading, locates the same documents, and calls a `status_404` a `url_not_in_index`.
    #[serde(default)]
    subsets: Option<Vec<String>>,
    /// Columnar: the paths of the parts below the root; else those of the table's path list, else those in its folder.
    #[serde(default)]
    parts: Option<Vec<String>>,
    /// Columnar: the digest of the summary that weft makes of the table, where it is known.
    #[serde(default)]
    summary_sha256: Option<String>,
    /// What its server is asked at most.
    #[serde(default)]
    front: FrontSection,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IndexForm {
    /// CDX lines in gzip blocks, and cluster.idx.
    #[default]
    ZipNum,
    /// Parquet files.
    Columnar,
}

/// Common Crawl's subsets of the columnar index.
const SUBSETS: [&str; 3] = ["warc", "crawldiagnostics", "robotstxt"];

impl CrawlManifest {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let manifest: Self = read_toml(path)?;
        let CrawlKind::Crawl = manifest.kind;
        Ok(manifest)
    }

    /// The root, seen from where weft runs.
    pub(crate) fn root(&self, path: &Path) -> String {
        if is_remote(&self.root) {
            return self.root.clone();
        }
        path.parent().unwrap_or(Path::new("")).join(&self.root).display().to_string()
    }

    /// What its server is asked at most.
    pub(crate) fn budget(&self) -> anyhow::Result<FrontBudget> {
        self.front.budget()
    }

    /// The summary of a ZipNum index, as a path below the root.
    pub(crate) fn cluster(&self) -> Option<String> {
        self.index.as_deref().map(|index| format!("{}/cluster.idx", index.trim_matches('/')))
    }
}

/// Reads a crawl manifest and gets the index's summary. What lies at an address is pinned in `lock`: the summary, and
/// the path lists that the manifest names.
pub(super) fn read(
    path: &Path,
    user_agent: &str,
    digests: &mut DigestCache,
    lock: &mut Lock,
) -> anyhow::Result<(Crawl, FrontBudget)> {
    let manifest = CrawlManifest::read(path)?;
    let place = || format!("manifest {} is not usable", path.display());
    let front = manifest.front.budget().with_context(place)?;
    let name = manifest.root(path);
    // Refuses, before any request, a recipe that names no contact.
    let outside = is_remote(&name)
        .then(|| OutsideRoot::open_within(&name, user_agent, &front))
        .transpose()
        .with_context(|| format!("the crawl of {} cannot be asked", path.display()))?;
    let root = Root { name, outside };
    if root.outside.is_some() {
        let PathLists { warc, index, table } = &manifest.lists;
        for list in [warc, index, table].into_iter().flatten() {
            // Its bytes are of no use here once they are counted.
            if lock.get(list).is_none() {
                let location = root.file(list, digests)?;
                pin(lock, &root.name, list, &location, digests)?;
            }
        }
    }
    let (index, cluster) = match manifest.form {
        IndexForm::ZipNum => zipnum(&manifest, &root, path, digests).with_context(place)?,
        IndexForm::Columnar => table(&manifest, &root, path, digests).with_context(place)?,
    };
    if root.outside.is_some() {
        pin(lock, &root.name, &cluster.name, &cluster.location, digests)?;
    }
    Ok((Crawl { name: manifest.name, root: root.name, index, cluster }, front))
}

/// Where the crawl's files are.
struct Root {
    /// A folder, or an address.
    name: String,
    /// Of an address.
    outside: Option<OutsideRoot>,
}

impl Root {
    /// Where a file below the root can be read: in its folder, or downloaded.
    fn file(&self, name: &str, digests: &mut DigestCache) -> anyhow::Result<PathBuf> {
        match &self.outside {
            Some(outside) => digests.download(outside, &self.name, name),
            None => Ok(Path::new(&self.name).join(name)),
        }
    }
}

/// Pins a file that has one entry a line.
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

/// The folder of a ZipNum index, and its summary.
fn zipnum(
    manifest: &CrawlManifest,
    root: &Root,
    path: &Path,
    digests: &mut DigestCache,
) -> anyhow::Result<(String, OutsideFile)> {
    let of_table = [
        ("table", manifest.table.is_some()),
        ("subsets", manifest.subsets.is_some()),
        ("parts", manifest.parts.is_some()),
        ("summary_sha256", manifest.summary_sha256.is_some()),
    ];
    for (key, is_there) in of_table {
        ensure!(!is_there, "`{key}` is of a columnar index; add form = \"columnar\", or leave it out");
    }
    let name = manifest.cluster().context("it names no `index`, the folder of cluster.idx below the root")?;
    let pinned = manifest.cluster_sha256.as_deref().map(|digest| (digest, path));
    let cluster = outside_file(&name, &root.file(&name, digests)?, pinned, digests)?;
    Ok((manifest.index.clone().unwrap_or_default(), cluster))
}

/// The summary of a columnar index, which lies in no folder of its own.
fn table(
    manifest: &CrawlManifest,
    root: &Root,
    path: &Path,
    digests: &mut DigestCache,
) -> anyhow::Result<(String, OutsideFile)> {
    let table = manifest.table.as_deref().context("it names no `table`, the folder of the table below the root")?;
    let table = table.trim_matches('/');
    ensure!(
        manifest.index.is_none() && manifest.cluster_sha256.is_none(),
        "`index` and `cluster_sha256` are of a ZipNum index; leave them out, or the form"
    );
    let all: Vec<String> = SUBSETS.iter().map(|subset| (*subset).to_owned()).collect();
    let subsets = manifest.subsets.as_ref().unwrap_or(&all);
    ensure!(!subsets.is_empty(), "`subsets` names none");
    let named = match (&manifest.parts, &manifest.lists.table) {
        (Some(parts), _) => parts.clone(),
        (None, Some(list)) => lists::paths(&root.file(list, digests)?)?,
        (None, None) if root.outside.is_some() => {
            bail!("the parts of a table behind a URL cannot be listed; name their path list under [lists] as `table`")
        }
        (None, None) => list(Path::new(&root.name), table, subsets)?,
    };
    let parts: Vec<String> = named.into_iter().filter(|part| is_of(part, subsets)).collect();
    ensure!(!parts.is_empty(), "table `{table}` has no part of {}", subsets.join(", "));
    let name = format!("{table} ({})", subsets.join(", "));
    let location = digests.derived(&root.name, &parts, "table-summary.jsonl", || {
        let folder;
        let outside = match &root.outside {
            Some(outside) => outside,
            None => {
                folder = OutsideRoot::open(&root.name, "").with_context(|| format!("failed to open {}", root.name))?;
                &folder
            }
        };
        let summary = columnar::summarise(outside, &parts, &Limits::default());
        summary.map_err(|(part, cause)| anyhow::anyhow!("failed to read {part}: {}", with_causes(&cause)))
    })?;
    let pinned = manifest.summary_sha256.as_deref().map(|digest| (digest, path));
    let cluster = outside_file(&name, &location, pinned, digests)?;
    Ok((String::new(), cluster))
}

/// Whether a part is of one of the subsets; a path that tells none is of all.
fn is_of(part: &str, subsets: &[String]) -> bool {
    let told = part.split('/').find_map(|folder| folder.strip_prefix("subset="));
    told.is_none_or(|told| subsets.iter().any(|subset| subset == told))
}

/// The Parquet files in the table's folders of these subsets, as paths below the root, in order.
fn list(root: &Path, table: &str, subsets: &[String]) -> anyhow::Result<Vec<String>> {
    let mut parts = Vec::new();
    for subset in subsets {
        let folder = format!("{table}/subset={subset}");
        let place = root.join(&folder);
        let failed = || format!("failed to list {}", place.display());
        for entry in std::fs::read_dir(&place).with_context(failed)? {
            let name = entry.with_context(failed)?.file_name().to_string_lossy().into_owned();
            // Hadoop's own marks begin with a dot or an underscore.
            if name.ends_with(".parquet") && !name.starts_with(['.', '_']) {
                parts.push(format!("{folder}/{name}"));
            }
        }
    }
    parts.sort();
    Ok(parts)
}

/// Reads a crawl manifest without looking for its index.
#[cfg(test)]
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    read_toml::<CrawlManifest>(path).map(|_| ())
}
