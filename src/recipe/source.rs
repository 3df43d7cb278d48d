//! Source manifests: where documents come from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use weft_core::stage::OutsideFile;
use weft_stages::formats::outside::OutsideRoot;

use super::figures::Figure;
use super::lock::{Lock, Pinned};
use super::{is_address, outside_file, read_toml};
use crate::ledger::DigestCache;

/// Files that one pattern may name: C4-en has 1,024.
const MOST_FILES: u32 = 1_000_000;

/// Where documents come from: `manifests/sources/*.toml` of kind `c4`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceManifest {
    kind: SourceKind,
    pub(crate) name: String,
    /// A folder, or an http(s) URL.
    pub(crate) root: String,
    files: Vec<SourceEntry>,
    #[serde(default)]
    pub(crate) figures: Vec<Figure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    C4,
}

/// A file by its name, or many by a pattern and their number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    #[serde(default)]
    name: Option<String>,
    /// `{}` or `{:05}` stands for a number from 0 on, with that many digits.
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    count: Option<u32>,
    /// Pinned where known; the run stops at a file that differs.
    #[serde(default)]
    sha256: Option<String>,
}

/// One file that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) name: String,
    pub(crate) sha256: Option<String>,
}

impl SourceManifest {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let manifest: Self = read_toml(path)?;
        let SourceKind::C4 = manifest.kind;
        ensure!(!manifest.files.is_empty(), "{}: source `{}` names no file", path.display(), manifest.name);
        Ok(manifest)
    }

    /// The files in the order of their shards.
    pub(crate) fn named(&self, path: &Path) -> anyhow::Result<Vec<NamedFile>> {
        let mut named = Vec::new();
        for entry in &self.files {
            let added = entry.named().with_context(|| format!("{}: a [[files]] is not usable", path.display()))?;
            named.extend(added);
        }
        Ok(named)
    }

    /// The folder that local files are below.
    pub(crate) fn folder(&self, path: &Path) -> PathBuf {
        path.parent().unwrap_or(Path::new("")).join(&self.root)
    }
}

impl SourceEntry {
    fn named(&self) -> anyhow::Result<Vec<NamedFile>> {
        match (&self.name, &self.pattern, self.count) {
            (Some(name), None, None) => Ok(vec![NamedFile { name: name.clone(), sha256: self.sha256.clone() }]),
            (None, Some(pattern), Some(count)) => {
                ensure!(self.sha256.is_none(), "one sha256 cannot be that of all files of `{pattern}`");
                ensure!((1..=MOST_FILES).contains(&count), "count is {count}; it lies in 1 to {MOST_FILES}");
                (0..count).map(|number| Ok(NamedFile { name: numbered(pattern, number)?, sha256: None })).collect()
            }
            _ => bail!("give a name, or a pattern and its count"),
        }
    }
}

/// `pattern` with its one `{}` or `{:0N}` replaced.
fn numbered(pattern: &str, number: u32) -> anyhow::Result<String> {
    let parts = pattern.split_once('{').and_then(|(before, rest)| {
        let (form, after) = rest.split_once('}')?;
        let digits = if form.is_empty() { 0 } else { form.strip_prefix(":0")?.parse::<usize>().ok()? };
        (digits <= 20 && !after.contains('{')).then_some((before, digits, after))
    });
    let Some((before, digits, after)) = parts else {
        bail!("`{pattern}` has to hold `{{}}`, or `{{:05}}` for five digits, once");
    };
    Ok(format!("{before}{number:0digits$}{after}"))
}

/// Reads a source manifest and checks its files: they are the shards of space `source`, in this order. What lies at an
/// address is pinned in `lock`.
pub(super) fn read(
    path: &Path,
    user_agent: &str,
    digests: &mut DigestCache,
    lock: &mut Lock,
) -> anyhow::Result<Vec<OutsideFile>> {
    let manifest = SourceManifest::read(path)?;
    let named = manifest.named(path)?;
    if !is_address(&manifest.root) {
        let root = manifest.folder(path);
        let pinned = |file: &NamedFile| file.sha256.clone();
        return named
            .iter()
            .map(|file| {
                let sha256 = pinned(file);
                let pinned = sha256.as_deref().map(|digest| (digest, path));
                outside_file(&file.name, &root.join(&file.name), pinned, digests)
            })
            .collect();
    }
    let mut root = None;
    let mut documents = Vec::new();
    for file in named {
        let address = address(&manifest.root, &file.name);
        if lock.get(&file.name).is_none_or(|pinned| pinned.address != address) {
            let root = match &root {
                Some(root) => root,
                None => root.insert(OutsideRoot::open(&manifest.root, user_agent)?),
            };
            let stat = root.stat(&file.name).map_err(|cause| {
                anyhow::anyhow!("source file {} cannot be had: {cause}; {}", file.name, cause.way_out())
            })?;
            let found =
                Pinned { address: address.clone(), bytes: stat.bytes, etag: stat.etag, sha256: None, entries: None };
            lock.pin(&file.name, found)?;
        }
        documents.push(at_address(address, file, lock));
    }
    Ok(documents)
}

/// A file at an address as its lock has it: its identity is the manifest's digest, or what the server said of it at
/// first use. It stays that when the digest becomes known later, so that nothing is done twice for knowing more.
fn at_address(address: String, file: NamedFile, lock: &Lock) -> OutsideFile {
    let pinned = lock.get(&file.name).cloned();
    let bytes = pinned.as_ref().map_or(0, |pinned| pinned.bytes);
    let etag = pinned.and_then(|pinned| pinned.etag);
    let digest = match file.sha256 {
        Some(sha256) => format!("sha256:{sha256}"),
        None => OutsideFile::identity_at(&address, bytes, etag.as_deref()),
    };
    OutsideFile { name: file.name, location: PathBuf::from(address), digest, bytes }
}

fn address(root: &str, name: &str) -> String {
    format!("{}/{name}", root.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(entry: &str) -> anyhow::Result<Vec<String>> {
        let text = format!("kind = \"c4\"\nname = \"c4\"\nroot = \".\"\n[[files]]\n{entry}\n");
        let manifest: SourceManifest = toml::from_str(&text).unwrap();
        Ok(manifest.named(Path::new("c4.toml"))?.into_iter().map(|file| file.name).collect())
    }

    #[test]
    fn a_pattern_stands_for_as_many_files_as_it_counts() {
        let names = named("pattern = \"en/c4-train.{:05}-of-01024.json.gz\"\ncount = 1024").unwrap();
        assert_eq!(names.len(), 1_024);
        assert_eq!(names[0], "en/c4-train.00000-of-01024.json.gz");
        assert_eq!(names[1_023], "en/c4-train.01023-of-01024.json.gz");
        assert_eq!(named("pattern = \"{}.gz\"\ncount = 2").unwrap(), ["0.gz", "1.gz"]);
        assert_eq!(named("name = \"a{b\"").unwrap(), ["a{b"]);
    }

    #[test]
    fn an_entry_that_names_no_file_says_how_to_write_one() {
        for (entry, words) in [
            ("pattern = \"a{:05}\"", "a name, or a pattern and its count"),
            ("name = \"a\"\ncount = 2", "a name, or a pattern and its count"),
            ("pattern = \"a\"\ncount = 2", "`{:05}` for five digits"),
            ("pattern = \"a{:5}{}\"\ncount = 2", "`{:05}` for five digits"),
            ("pattern = \"a{}\"\ncount = 0", "count is 0"),
            ("pattern = \"a{}\"\ncount = 2\nsha256 = \"00\"", "one sha256"),
        ] {
            let error = format!("{:#}", named(entry).unwrap_err());
            assert!(error.contains(words) && error.contains("c4.toml"), "{error}");
        }
    }
}
