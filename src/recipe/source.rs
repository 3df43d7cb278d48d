//! Source manifests: where documents come from.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde::Deserialize;
use weft_core::stage::OutsideFile;

use super::{outside_file, read_toml};
use crate::ledger::DigestCache;

/// Where documents come from: `manifests/sources/*.toml` of kind `c4`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceManifest {
    kind: SourceKind,
    name: String,
    root: PathBuf,
    files: Vec<SourceEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    C4,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    name: String,
    /// Pinned where known; the run stops at a file that differs.
    #[serde(default)]
    sha256: Option<String>,
}

/// Reads a source manifest and checks its files: they are the shards of space `source`, in this order.
pub(super) fn read(path: &Path, digests: &mut DigestCache) -> anyhow::Result<Vec<OutsideFile>> {
    let manifest: SourceManifest = read_toml(path)?;
    let SourceKind::C4 = manifest.kind;
    let root = path.parent().unwrap_or(Path::new("")).join(&manifest.root);
    ensure!(!manifest.files.is_empty(), "{}: source `{}` names no file", path.display(), manifest.name);
    let mut documents = Vec::new();
    for entry in &manifest.files {
        let pinned = entry.sha256.as_deref().map(|digest| (digest, path));
        documents.push(outside_file(&entry.name, &root.join(&entry.name), pinned, digests)?);
    }
    Ok(documents)
}
