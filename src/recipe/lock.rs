//! Lock files: what a manifest's addresses held at first use.
//!
//! A manifest names addresses; sizes and digests are facts of the day somebody asked. They are read at first use and
//! pinned in `NAME.lock.toml` beside `NAME.toml`, or in the output folder where the manifest's own cannot be written.
//! From then on a run that meets anything else stops and names both. Only what lies at an address is pinned: a local
//! file's digest is taken at each run, and a changed one is simply another input.
//!
//! Entries are in order of their names, whoever adds them; a file is replaced whole. Removing an entry pins it anew.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::read_text_of;

/// Of the lock file's own form.
const VERSION: u32 = 1;
/// A lock of C4-en holds 1,032 entries of about 300 bytes.
const MOST_BYTES: u64 = 64 << 20;
const HEAD: &str = "# Pinned by weft at first use of the manifest beside it. A run that meets anything else stops and \
                    names both;\n# remove an entry to pin it anew.\n\n";

/// What an address held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinned {
    pub(crate) address: String,
    pub(crate) bytes: u64,
    /// The server's tag, of a file that was not read at first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    /// Once it was read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// Paths of a path list, blocks of an index's summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    version: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, Pinned>,
}

/// The lock of one manifest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lock {
    /// Where it is written: the first place that can be.
    places: Vec<PathBuf>,
    file: LockFile,
    is_changed: bool,
}

impl Lock {
    /// Reads the lock of `manifest`: the one beside it, else the one in the output folder, else an empty one.
    pub(crate) fn open(manifest: &Path, output: &Path) -> anyhow::Result<Self> {
        let stem = manifest.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}.lock.toml");
        let mut lock = Self { places: vec![manifest.with_file_name(&name), output.join(&name)], ..Self::default() };
        for place in &lock.places {
            if let Some(file) = read(place)? {
                lock.file = file;
                break;
            }
        }
        Ok(lock)
    }

    /// What is pinned under `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Pinned> {
        self.file.files.get(name)
    }

    /// Whether anything is pinned.
    pub(crate) fn is_empty(&self) -> bool {
        self.file.files.is_empty()
    }

    /// Pins `found`, or compares it with what is pinned: what both know must agree, and what one knows is kept.
    pub(crate) fn pin(&mut self, name: &str, found: Pinned) -> anyhow::Result<()> {
        let Some(pinned) = self.file.files.get_mut(name) else {
            self.file.files.insert(name.to_owned(), found);
            self.is_changed = true;
            return Ok(());
        };
        let before = pinned.clone();
        let texts = |of: &Pinned| {
            let entries = of.entries.map(|entries| entries.to_string());
            let bytes = Some(of.bytes.to_string());
            [("sha256", of.sha256.clone()), ("etag", of.etag.clone()), ("bytes", bytes), ("entries", entries)]
        };
        // The digest first: it says most.
        for ((what, pinned_text), (_, found_text)) in texts(pinned).into_iter().zip(texts(&found)) {
            if let (Some(pinned_text), Some(found_text)) = (pinned_text, found_text)
                && !pinned_text.eq_ignore_ascii_case(&found_text)
            {
                bail!(
                    "{} is not the file that was pinned: its {what} is {found_text}, pinned is {pinned_text}; get that \
                     file back, or remove the entry `{name}` from {} to take this one",
                    found.address,
                    self.place().display()
                );
            }
        }
        pinned.address = found.address;
        pinned.etag = pinned.etag.take().or(found.etag);
        pinned.sha256 = pinned.sha256.take().or(found.sha256);
        pinned.entries = pinned.entries.or(found.entries);
        self.is_changed |= *pinned != before;
        Ok(())
    }

    /// Adds digests of files that were read whole since.
    pub(crate) fn learn<'d>(
        &mut self,
        digests: impl IntoIterator<Item = (&'d String, &'d String)>,
    ) -> anyhow::Result<()> {
        for (name, sha256) in digests {
            if let Some(pinned) = self.get(name) {
                let found = Pinned { sha256: Some(sha256.clone()), ..pinned.clone() };
                self.pin(name, found)?;
            }
        }
        Ok(())
    }

    /// Sha256 by name, of the files whose digest is known.
    pub(crate) fn known_sha256(&self) -> BTreeMap<String, String> {
        let known = self.file.files.iter();
        known.filter_map(|(name, pinned)| Some((name.clone(), pinned.sha256.clone()?))).collect()
    }

    /// Writes what was pinned since it was read, whole or not at all; nothing where nothing was.
    pub(crate) fn save(&mut self) -> anyhow::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        // Another run may have pinned since; what it pinned is kept, and must be the same.
        let place = self.place().to_owned();
        for (name, pinned) in read(&place)?.unwrap_or_default().files {
            self.pin(&name, pinned)?;
        }
        self.file.version = VERSION;
        let text = format!("{HEAD}{}", toml::to_string(&self.file).context("a lock file becomes TOML")?);
        let mut failures = Vec::new();
        for place in &self.places {
            match replace(place, text.as_bytes()) {
                Ok(()) => {
                    tracing::info!(lock = %place.display(), "pinned what the manifest's addresses hold");
                    self.is_changed = false;
                    return Ok(());
                }
                Err(cause) => failures.push(format!("{}: {cause}", place.display())),
            }
        }
        bail!("failed to write the lock file; tried {}", failures.join(", then "))
    }

    /// Where it lies, or would.
    pub(crate) fn place(&self) -> &Path {
        let there = self.places.iter().find(|place| place.exists());
        there.or(self.places.first()).map_or(Path::new(""), PathBuf::as_path)
    }
}

fn read(place: &Path) -> anyhow::Result<Option<LockFile>> {
    let text = match read_text_of(place, MOST_BYTES) {
        Ok(text) => text,
        Err(cause) if matches!(cause.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(cause) => return Err(cause).with_context(|| format!("failed to read lock file {}", place.display())),
    };
    let file: LockFile = toml::from_str(&text)
        .with_context(|| format!("lock file {} is damaged; remove it to pin everything anew", place.display()))?;
    ensure!(
        file.version == VERSION,
        "lock file {} is of version {}, and this weft reads version {VERSION}; remove it to pin everything anew",
        place.display(),
        file.version
    );
    Ok(Some(file))
}

fn replace(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut partial = tempfile::NamedTempFile::new_in(folder)?;
    partial.write_all(bytes)?;
    partial.as_file().sync_all()?;
    partial.persist(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(bytes: u64, etag: Option<&str>, sha256: Option<&str>) -> Pinned {
        let text = |text: &str| text.to_owned();
        Pinned {
            address: "http://h.example/a".to_owned(),
            bytes,
            etag: etag.map(text),
            sha256: sha256.map(text),
            entries: None,
        }
    }

    fn text(place: &Path) -> String {
        read_text_of(place, MOST_BYTES).unwrap()
    }

    #[test]
    fn what_was_pinned_is_read_again_and_entries_stand_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (manifest, output) = (folder.path().join("c4.toml"), folder.path().join("out"));
        let mut lock = Lock::open(&manifest, &output).unwrap();
        assert!(lock.is_empty());
        lock.pin("b", pinned(2, Some("\"t\""), None)).unwrap();
        lock.pin("a", pinned(1, None, Some("00"))).unwrap();
        lock.save().unwrap();
        let place = folder.path().join("c4.lock.toml");
        let first = text(&place);
        assert!(first.find("[files.a]").unwrap() < first.find("[files.b]").unwrap(), "{first}");
        let mut again = Lock::open(&manifest, &output).unwrap();
        assert_eq!(again.get("b").unwrap(), &pinned(2, Some("\"t\""), None));
        again.learn([(&"b".to_owned(), &"11".to_owned())]).unwrap();
        again.save().unwrap();
        assert_eq!(Lock::open(&manifest, &output).unwrap().known_sha256()["b"], "11");
        // The other order of pinning gives the same bytes.
        let other = folder.path().join("other.toml");
        let mut lock = Lock::open(&other, &output).unwrap();
        lock.pin("a", pinned(1, None, Some("00"))).unwrap();
        lock.pin("b", pinned(2, Some("\"t\""), None)).unwrap();
        lock.save().unwrap();
        assert_eq!(text(&folder.path().join("other.lock.toml")), first);
    }

    #[test]
    fn two_runs_that_pin_at_once_keep_what_both_found() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Lock::open(&folder.path().join("c4.toml"), folder.path()).unwrap();
        let (mut one, mut two) = (open(), open());
        one.pin("a", pinned(1, None, None)).unwrap();
        two.pin("b", pinned(2, None, None)).unwrap();
        one.save().unwrap();
        two.save().unwrap();
        assert!(open().get("a").is_some() && open().get("b").is_some());
        let mut three = Lock { file: LockFile::default(), ..open() };
        three.pin("a", pinned(3, None, None)).unwrap();
        assert!(three.save().unwrap_err().to_string().contains("bytes is 1, pinned is 3"));
    }

    #[test]
    fn anything_else_than_what_was_pinned_is_refused_with_both() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = Lock::open(&folder.path().join("c4.toml"), folder.path()).unwrap();
        lock.pin("a", pinned(1, Some("x"), Some("aa"))).unwrap();
        for (found, what) in [
            (pinned(1, Some("x"), Some("bb")), "sha256 is bb, pinned is aa"),
            (pinned(1, Some("y"), None), "etag is y, pinned is x"),
            (pinned(2, None, None), "bytes is 2, pinned is 1"),
        ] {
            let message = lock.pin("a", found).unwrap_err().to_string();
            assert!(message.contains(what) && message.contains("c4.lock.toml"), "{message}");
            assert!(message.contains("http://h.example/a"), "{message}");
        }
        lock.pin("a", pinned(1, None, Some("AA"))).unwrap();
        assert_eq!(lock.get("a").unwrap().etag.as_deref(), Some("x"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_leaves_the_lock_to_the_output() {
        let folder = tempfile::tempdir().unwrap();
        // No file can be made below what is no folder, not even by root.
        let not_a_folder = folder.path().join("file");
        std::fs::File::create_new(&not_a_folder).unwrap();
        let mut lock = Lock::open(&not_a_folder.join("c4.toml"), folder.path()).unwrap();
        lock.pin("a", pinned(1, None, None)).unwrap();
        lock.save().unwrap();
        let place = folder.path().join("c4.lock.toml");
        assert!(place.is_file());
        assert_eq!(Lock::open(&not_a_folder.join("c4.toml"), folder.path()).unwrap().place(), place);
    }

    #[test]
    fn a_damaged_lock_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("c4.lock.toml");
        for (text, words) in [("version = ", "is damaged"), ("version = 9", "is of version 9")] {
            replace(&place, text.as_bytes()).unwrap();
            let message = Lock::open(&folder.path().join("c4.toml"), folder.path()).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("remove it"), "{message}");
        }
    }
}
