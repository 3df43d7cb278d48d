//! Source manifests: where documents come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use weft_core::stage::OutsideFile;
use weft_stages::formats::outside::OutsideRoot;

use super::figures::Figure;
use super::lock::{Lock, Pinned};
use super::{is_remote, outside_file, read_toml};
use crate::ledger::DigestCache;

/// Files that one pattern may name: C4-en has 1,024.
const MOST_FILES: u32 = 1_000_000;

/// Where documents come from: `manifests/sources/*.toml` of any kind but `crawl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceManifest {
    pub(super) kind: SourceKind,
    pub(crate) name: String,
    /// A folder; or an address, for the kinds that are streamed.
    pub(crate) root: String,
    /// What the columns are called, for the kinds that have names of their own.
    #[serde(default)]
    columns: Option<Columns>,
    files: Vec<SourceEntry>,
    #[serde(default)]
    pub(crate) figures: Vec<Figure>,
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

    /// Whether its files are read from beginning to end; of others, parts are read here and there.
    fn is_streamed(self) -> bool {
        matches!(self, Self::C4 | Self::Jsonl)
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

/// A file by its name, or many by a pattern and their numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    #[serde(default)]
    name: Option<String>,
    /// `{}` or `{:05}` stands for a number, with that many digits.
    #[serde(default)]
    pattern: Option<String>,
    /// The first number, 0 if not given.
    #[serde(default)]
    first: Option<u32>,
    /// How many numbers.
    #[serde(default)]
    count: Option<u32>,
    /// Numbers among them that there are no files of.
    #[serde(default)]
    without: BTreeSet<u32>,
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

/// A source manifest, its files checked.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) kind: SourceKind,
    /// The manifest's share of the section `ingest`: what determines how the files are read stands in the fingerprint.
    pub(super) form: serde_json::Map<String, serde_json::Value>,
    /// The shards of space `source`, in this order.
    pub(super) documents: Vec<OutsideFile>,
}

impl SourceManifest {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let manifest: Self = read_toml(path)?;
        ensure!(!manifest.files.is_empty(), "{}: source `{}` names no file", path.display(), manifest.name);
        Ok(manifest)
    }

    /// The files in the order of their shards.
    pub(crate) fn named(&self, path: &Path) -> anyhow::Result<Vec<NamedFile>> {
        let place = path.display();
        let mut named = Vec::new();
        for entry in &self.files {
            named.extend(entry.named().with_context(|| format!("{place}: a [[files]] is not usable"))?);
        }
        ensure!(!named.is_empty(), "{place}: source `{}` names no file", self.name);
        let mut names = BTreeSet::new();
        for file in &named {
            // What a document is called may hang on its file's name, be that packed or not.
            let name = file.name.as_str();
            let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zip")).unwrap_or(name);
            ensure!(names.insert(plain), "{place}: file `{name}` is named twice, here or in another packing");
        }
        Ok(named)
    }

    /// The manifest's share of the section `ingest`.
    pub(super) fn form(&self, path: &Path) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
        let (kind, place) = (self.kind, path.display());
        let mut form = serde_json::Map::from_iter([("kind".to_owned(), kind.name().into())]);
        match &self.columns {
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

    /// The folder that local files are below.
    pub(crate) fn folder(&self, path: &Path) -> PathBuf {
        path.parent().unwrap_or(Path::new("")).join(&self.root)
    }
}

impl SourceEntry {
    fn named(&self) -> anyhow::Result<Vec<NamedFile>> {
        match (&self.name, &self.pattern, self.count) {
            (Some(name), None, None) if self.first.is_none() && self.without.is_empty() => {
                Ok(vec![NamedFile { name: name.clone(), sha256: self.sha256.clone() }])
            }
            (None, Some(pattern), Some(count)) => {
                ensure!(self.sha256.is_none(), "one sha256 cannot be that of all files of `{pattern}`");
                ensure!((1..=MOST_FILES).contains(&count), "count is {count}; it lies in 1 to {MOST_FILES}");
                let first = self.first.unwrap_or(0);
                let end = first.checked_add(count).context("the last number is too large")?;
                let numbers = (first..end).filter(|number| !self.without.contains(number));
                numbers.map(|number| Ok(NamedFile { name: numbered(pattern, number)?, sha256: None })).collect()
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

/// Reads a source manifest and checks its files. What lies at an address is pinned in `lock`.
pub(super) fn read(
    path: &Path,
    user_agent: &str,
    digests: &mut DigestCache,
    lock: &mut Lock,
) -> anyhow::Result<Source> {
    let manifest = SourceManifest::read(path)?;
    let (kind, form, named) = (manifest.kind, manifest.form(path)?, manifest.named(path)?);
    let documents = if is_remote(&manifest.root) {
        ensure!(
            kind.is_streamed(),
            "{}: files of kind `{}` are not read from an address; download them, and make `root` their folder",
            path.display(),
            kind.name()
        );
        at_addresses(&manifest.root, named, user_agent, lock)?
    } else {
        let root = manifest.folder(path);
        let checked = named.iter().map(|file| {
            let pinned = file.sha256.as_deref().map(|digest| (digest, path));
            outside_file(&file.name, &root.join(&file.name), pinned, digests)
        });
        checked.collect::<anyhow::Result<_>>()?
    };
    Ok(Source { kind, form, documents })
}

/// Reads a source manifest without looking for its files.
#[cfg(test)]
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let manifest = SourceManifest::read(path)?;
    manifest.form(path)?;
    manifest.named(path).map(|_| ())
}

/// Files at addresses as their lock has them, asked for where it has none.
fn at_addresses(
    address_of_root: &str,
    named: Vec<NamedFile>,
    user_agent: &str,
    lock: &mut Lock,
) -> anyhow::Result<Vec<OutsideFile>> {
    let mut root = None;
    let mut documents = Vec::new();
    for file in named {
        let address = address(address_of_root, &file.name);
        if lock.get(&file.name).is_none_or(|pinned| pinned.address != address) {
            let root = match &root {
                Some(root) => root,
                None => root.insert(OutsideRoot::open(address_of_root, user_agent)?),
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

    /// What becomes of a manifest of this text; its files are empty and lie beside it.
    fn read_manifest(text: &str, files: &[&str]) -> anyhow::Result<Source> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = std::fs::File::options().write(true).create_new(true).open(folder.path().join(name));
            std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
        };
        write("source.toml", text);
        files.iter().for_each(|name| write(name, ""));
        let output = folder.path().join("out");
        let manifest = folder.path().join("source.toml");
        let mut digests = DigestCache::open(&output).unwrap();
        let mut lock = Lock::open(&manifest, &output).unwrap();
        read(&manifest, "weft-test/0", &mut digests, &mut lock)
    }

    fn refused(text: &str, files: &[&str]) -> String {
        format!("{:#}", read_manifest(text, files).unwrap_err())
    }

    #[test]
    fn a_pattern_goes_without_numbers_that_are_missing() {
        let text = "kind = \"mmc4\"\nname = \"x\"\nroot = \".\"\n\
                    [[files]]\npattern = \"s_{}_v2.jsonl\"\nfirst = 9\ncount = 4\nwithout = [10]\n";
        let source = read_manifest(text, &["s_9_v2.jsonl", "s_11_v2.jsonl", "s_12_v2.jsonl"]).unwrap();
        let names: Vec<&str> = source.documents.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["s_9_v2.jsonl", "s_11_v2.jsonl", "s_12_v2.jsonl"]);
        assert_eq!(serde_json::to_value(source.form).unwrap(), serde_json::json!({"kind": "mmc4"}));
    }

    #[test]
    fn what_is_read_here_and_there_is_not_read_from_an_address() {
        let text = "kind = \"mmc4\"\nname = \"x\"\nroot = \"https://files.example/x\"\n[[files]]\nname = \"a.jsonl\"\n";
        let message = refused(text, &[]);
        assert!(message.contains("download them, and make `root` their folder"), "{message}");
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
