//! Source manifests: where documents come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};
use weft_core::stage::OutsideFile;

use super::{outside_file, read_toml};
use crate::ledger::DigestCache;

/// Where documents come from: `manifests/sources/*.toml` of any kind but `crawl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceManifest {
    kind: SourceKind,
    name: String,
    root: PathBuf,
    /// What the columns are called, for the kinds that have names of their own.
    #[serde(default)]
    columns: Option<Columns>,
    #[serde(default)]
    files: Vec<SourceEntry>,
    #[serde(default)]
    series: Option<Series>,
}

/// What the files are; each is described in its file below `stages/ingest/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceKind {
    /// C4's JSON lines.
    C4,
    /// JSON lines with named keys.
    Jsonl,
    /// Parquet with named columns.
    Parquet,
    /// MMC4's published JSON lines.
    Mmc4,
    /// OBELICS's published Parquet.
    Obelics,
    /// Web archives.
    Warc,
}

impl SourceKind {
    /// Whether its documents' images are yet to be found in their pages, which only a crawl has.
    pub(crate) fn needs_crawl(self) -> bool {
        match self {
            Self::C4 | Self::Jsonl | Self::Parquet => true,
            Self::Mmc4 | Self::Obelics | Self::Warc => false,
        }
    }

    fn has_columns(self) -> bool {
        matches!(self, Self::Jsonl | Self::Parquet)
    }

    /// As manifests write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::C4 => "c4",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Mmc4 => "mmc4",
            Self::Obelics => "obelics",
            Self::Warc => "warc",
        }
    }
}

/// Which column, or key of a JSON line, holds what; all others are not looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    text: String,
    url: String,
    /// A text is an RFC 3339 time or 14 digits of UTC; a whole number counts seconds since 1970; a timestamp of Parquet
    /// has its own unit.
    timestamp: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    name: String,
    /// Pinned where known; the run stops at a file that differs.
    #[serde(default)]
    sha256: Option<String>,
}

/// Files that differ in a number: `{n}` of `name` stands for each of `first` to `last`, without leading zeros.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    name: String,
    first: u32,
    last: u32,
    /// Numbers that there are no files of.
    #[serde(default)]
    without: BTreeSet<u32>,
}

/// A source manifest, its files checked.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) kind: SourceKind,
    /// The manifest's share of the section `ingest`: what determines how the files are read stands in the fingerprint.
    pub(super) form: serde_json::Map<String, serde_json::Value>,
    /// The shards of space `source`, in this order.
    pub(super) documents: Vec<OutsideFile>,
}

/// Reads a source manifest and checks its files.
pub(super) fn read(path: &Path, digests: &mut DigestCache) -> anyhow::Result<Source> {
    let manifest: SourceManifest = read_toml(path)?;
    let form = form(&manifest, path)?;
    let root = path.parent().unwrap_or(Path::new("")).join(&manifest.root);
    let mut documents = Vec::new();
    for entry in entries(&manifest, path)? {
        let pinned = entry.sha256.as_deref().map(|digest| (digest, path));
        documents.push(outside_file(&entry.name, &root.join(&entry.name), pinned, digests)?);
    }
    Ok(Source { kind: manifest.kind, form, documents })
}

/// Reads a source manifest without looking for its files.
#[cfg(test)]
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let manifest: SourceManifest = read_toml(path)?;
    form(&manifest, path)?;
    entries(&manifest, path).map(|_| ())
}

/// The manifest's share of the section `ingest`.
fn form(manifest: &SourceManifest, path: &Path) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let (kind, place) = (manifest.kind, path.display());
    let mut form = serde_json::Map::from_iter([("kind".to_owned(), kind.name().into())]);
    match &manifest.columns {
        Some(columns) if kind.has_columns() => {
            let names = BTreeSet::from([&columns.text, &columns.url, &columns.timestamp]);
            ensure!(names.len() == 3, "{place}: [columns] names one column twice");
            form.insert("columns".to_owned(), serde_json::to_value(columns)?);
        }
        Some(_) => bail!("{place}: [columns] is for kinds `jsonl` and `parquet`; `{}` has its own", kind.name()),
        None => ensure!(
            !kind.has_columns(),
            "{place}: kind `{}` needs [columns] with `text`, `url` and `timestamp`: what its columns are called",
            kind.name()
        ),
    }
    Ok(form)
}

/// The files that are named one by one, then those of the series.
fn entries(manifest: &SourceManifest, path: &Path) -> anyhow::Result<Vec<SourceEntry>> {
    let place = path.display();
    let mut entries = manifest.files.clone();
    if let Some(Series { name, first, last, without }) = &manifest.series {
        ensure!(
            name.matches("{n}").count() == 1,
            "{place}: series.name is `{name}`; write {{n}} where the number stands"
        );
        ensure!(first <= last, "{place}: series.first is {first}, behind series.last, {last}");
        for number in (*first..=*last).filter(|number| !without.contains(number)) {
            entries.push(SourceEntry { name: name.replace("{n}", &number.to_string()), sha256: None });
        }
    }
    ensure!(!entries.is_empty(), "{place}: source `{}` names no file", manifest.name);
    let mut names = BTreeSet::new();
    for entry in &entries {
        // What a document is called may hang on its file's name, be that packed or not.
        let name = entry.name.as_str();
        let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zip")).unwrap_or(name);
        ensure!(names.insert(plain), "{place}: file `{name}` is named twice, here or in another packing");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a manifest of this text; its files are empty and lie beside it.
    fn read_manifest(text: &str, files: &[&str]) -> anyhow::Result<Source> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = std::fs::File::options().write(true).create_new(true).open(folder.path().join(name));
            std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
        };
        write("source.toml", text);
        files.iter().for_each(|name| write(name, ""));
        let mut digests = DigestCache::open(&folder.path().join("out")).unwrap();
        read(&folder.path().join("source.toml"), &mut digests)
    }

    fn refused(text: &str, files: &[&str]) -> String {
        format!("{:#}", read_manifest(text, files).unwrap_err())
    }

    #[test]
    fn a_series_is_its_numbers_without_those_that_are_missing() {
        let text = "kind = \"mmc4\"\nname = \"x\"\nroot = \".\"\n\
                    [series]\nname = \"s_{n}_v2.jsonl\"\nfirst = 9\nlast = 12\nwithout = [10]\n";
        let source = read_manifest(text, &["s_9_v2.jsonl", "s_11_v2.jsonl", "s_12_v2.jsonl"]).unwrap();
        let names: Vec<&str> = source.documents.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["s_9_v2.jsonl", "s_11_v2.jsonl", "s_12_v2.jsonl"]);
        assert_eq!(serde_json::to_value(source.form).unwrap(), serde_json::json!({"kind": "mmc4"}));
        let message = refused(&text.replace("{n}", "n"), &[]);
        assert!(message.contains("write {n} where the number stands"), "{message}");
    }

    #[test]
    fn columns_are_for_the_kinds_that_have_names_of_their_own() {
        let manifest = |kind, columns: &str| {
            format!("kind = \"{kind}\"\nname = \"x\"\nroot = \".\"\n{columns}[[files]]\nname = \"a.jsonl\"\n")
        };
        let columns = "[columns]\ntext = \"body\"\nurl = \"link\"\ntimestamp = \"seen\"\n";
        let source = read_manifest(&manifest("jsonl", columns), &["a.jsonl"]).unwrap();
        let expected = serde_json::json!({"text": "body", "url": "link", "timestamp": "seen"});
        let form = serde_json::json!({"kind": "jsonl", "columns": expected});
        assert_eq!(serde_json::to_value(source.form).unwrap(), form);
        for (manifest, words) in [
            (manifest("c4", columns), "[columns] is for kinds `jsonl` and `parquet`; `c4` has its own"),
            (manifest("parquet", ""), "kind `parquet` needs [columns]"),
            (manifest("jsonl", &columns.replace("link", "body")), "[columns] names one column twice"),
            (manifest("jsonl", &columns.replace("url", "uri")), "unknown field `uri`"),
        ] {
            let message = refused(&manifest, &["a.jsonl"]);
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_file_named_twice_is_refused_in_any_packing() {
        let text = "kind = \"mmc4\"\nname = \"x\"\nroot = \".\"\n\
                    [[files]]\nname = \"a.jsonl\"\n[[files]]\nname = \"a.jsonl.zip\"\n";
        let message = refused(text, &["a.jsonl", "a.jsonl.zip"]);
        assert!(message.contains("file `a.jsonl.zip` is named twice"), "{message}");
    }
}
