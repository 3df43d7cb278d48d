//! Crawl manifests: where the index and the archives are, and which form the index has.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use weft_core::limits::Limits;
use weft_core::stage::Crawl;
use weft_stages::formats::columnar;
use weft_stages::formats::outside::{OutsideRoot, with_causes};

use super::{outside_file, read_toml};
use crate::ledger::DigestCache;

/// Where the crawl is: `manifests/sources/*.toml` of kind `crawl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrawlManifest {
    kind: CrawlKind,
    name: String,
    /// A folder, or a URL; `filename`s of the index are below it.
    root: String,
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
    /// Columnar: the paths of the parts below the root; those in the table's folder where the root is a folder.
    #[serde(default)]
    parts: Option<Vec<String>>,
    /// Columnar: the digest of the summary that weft makes of the table, where it is known.
    #[serde(default)]
    summary_sha256: Option<String>,
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

/// Reads a crawl manifest and gets the index's summary.
pub(super) fn read(path: &Path, digests: &mut DigestCache) -> anyhow::Result<Crawl> {
    let manifest: CrawlManifest = read_toml(path)?;
    let CrawlKind::Crawl = manifest.kind;
    let is_url = manifest.root.contains("://");
    let folder = path.parent().unwrap_or(Path::new(""));
    let root = if is_url { manifest.root.clone() } else { folder.join(&manifest.root).display().to_string() };
    let place = || format!("manifest {} is not usable", path.display());
    match manifest.form {
        IndexForm::ZipNum => zipnum(&manifest, root, is_url, path, digests).with_context(place),
        IndexForm::Columnar => table(&manifest, root, is_url, path, digests).with_context(place),
    }
}

fn zipnum(
    manifest: &CrawlManifest,
    root: String,
    is_url: bool,
    path: &Path,
    digests: &mut DigestCache,
) -> anyhow::Result<Crawl> {
    let index = manifest.index.as_deref().context("it names no `index`, the folder of cluster.idx below the root")?;
    let of_table = [
        ("table", manifest.table.is_some()),
        ("subsets", manifest.subsets.is_some()),
        ("parts", manifest.parts.is_some()),
        ("summary_sha256", manifest.summary_sha256.is_some()),
    ];
    for (key, is_there) in of_table {
        ensure!(!is_there, "`{key}` is of a columnar index; add form = \"columnar\", or leave it out");
    }
    let name = format!("{}/cluster.idx", index.trim_matches('/'));
    let pinned = manifest.cluster_sha256.as_deref().map(|digest| (digest, path));
    let location = if is_url {
        digests.download(&root, &name)?
    } else {
        PathBuf::from(format!("{}/{name}", root.trim_end_matches('/')))
    };
    let cluster = outside_file(&name, &location, pinned, digests)?;
    Ok(Crawl { name: manifest.name.clone(), root, index: index.to_owned(), cluster })
}

fn table(
    manifest: &CrawlManifest,
    root: String,
    is_url: bool,
    path: &Path,
    digests: &mut DigestCache,
) -> anyhow::Result<Crawl> {
    let table = manifest.table.as_deref().context("it names no `table`, the folder of the table below the root")?;
    let table = table.trim_matches('/');
    ensure!(
        manifest.index.is_none() && manifest.cluster_sha256.is_none(),
        "`index` and `cluster_sha256` are of a ZipNum index; leave them out, or the form"
    );
    let all: Vec<String> = SUBSETS.iter().map(|subset| (*subset).to_owned()).collect();
    let subsets = manifest.subsets.as_ref().unwrap_or(&all);
    ensure!(!subsets.is_empty(), "`subsets` names none");
    let named = match &manifest.parts {
        Some(parts) => parts.clone(),
        None if is_url => bail!("the parts of a table behind a URL cannot be listed; name them under `parts`"),
        None => list(Path::new(&root), table, subsets)?,
    };
    let parts: Vec<String> = named.into_iter().filter(|part| is_of(part, subsets)).collect();
    ensure!(!parts.is_empty(), "table `{table}` has no part of {}", subsets.join(", "));
    let name = format!("{table} ({})", subsets.join(", "));
    let location = digests.derived(&root, &parts, "table-summary.jsonl", || {
        let outside = OutsideRoot::open(&root, concat!("weft/", env!("CARGO_PKG_VERSION")))
            .with_context(|| format!("failed to reach {root}"))?;
        let summary = columnar::summarise(&outside, &parts, &Limits::default());
        summary.map_err(|(part, cause)| anyhow::anyhow!("failed to read {part}: {}", with_causes(&cause)))
    })?;
    let pinned = manifest.summary_sha256.as_deref().map(|digest| (digest, path));
    let cluster = outside_file(&name, &location, pinned, digests)?;
    Ok(Crawl { name: manifest.name.clone(), root, index: String::new(), cluster })
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
