//! The store: immutable files under a root, written whole or not at all.
//!
//! A small, blocking face over `object_store`: a local directory by default, memory in tests. A file becomes visible
//! when [`StoreWriter::finish`] returns and never in part. The only place that touches files, and, with
//! [`Layout`], the only place that formats a path inside the store.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

use crate::id::{Fingerprint, ShardId};

/// Bytes collected before a part is handed to the store.
const PART_BYTES: usize = 8 << 20;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file.
    #[error("no file `{path}` in {store}")]
    Missing {
        /// The file.
        path: String,
        /// The store.
        store: String,
    },
    /// The disk is full.
    #[error("no space left for `{path}` in {store}; free some and run the same command again: finished tasks are kept")]
    NoSpace {
        /// The file.
        path: String,
        /// The store.
        store: String,
    },
    /// Anything else.
    #[error("failed to {action} `{path}` in {store}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// The store.
        store: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whether the cause of an error is a full disk.
#[must_use]
pub fn is_no_space(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        cause = current.source();
    }
    false
}

/// Immutable files under a root.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    /// The root's folder, where the store is a local directory.
    root: Option<PathBuf>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("root", &self.describe()).finish()
    }
}

/// Whether a create-if-absent put created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The file is new.
    Yes,
    /// The file was there and was left as it was.
    AlreadyThere,
}

impl Store {
    /// A store in a local directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made or opened.
    pub fn local(root: &Path) -> Result<Self, StoreError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Failed {
            action: "open",
            path: String::new(),
            store: root.display().to_string(),
            source,
        };
        std::fs::create_dir_all(root).map_err(|cause| failed(cause.into()))?;
        let objects = LocalFileSystem::new_with_prefix(root).map_err(|cause| failed(cause.into()))?;
        let root = std::fs::canonicalize(root).map_err(|cause| failed(cause.into()))?;
        Ok(Self { objects: Arc::new(objects), runtime: runtime(), root: Some(root) })
    }

    /// An empty store in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    /// A store over any `object_store`.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, runtime: runtime(), root: None }
    }

    /// The folder of a local store.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Where the store is, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        self.root.as_ref().map_or_else(|| self.objects.to_string(), |root| root.display().to_string())
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none.
    pub fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let result = self.wait(async { self.objects.get(&ObjectPath::from(path)).await?.bytes().await });
        result.map_err(|cause| self.error("read", path, cause))
    }

    /// Reads a whole file, or `None` when there is none.
    ///
    /// # Errors
    /// Any failure but absence.
    pub fn get_if_there(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        match self.get(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Writes a file, replacing what was there, atomically.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let result = self.wait(self.objects.put(&ObjectPath::from(path), PutPayload::from(bytes)));
        result.map(drop).map_err(|cause| self.error("write", path, cause))
    }

    /// Writes a file unless it is there already; of several writers exactly one creates.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(bytes);
        match self.wait(self.objects.put_opts(&ObjectPath::from(path), payload, options)) {
            Ok(_) => Ok(Created::Yes),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::AlreadyThere),
            Err(cause) => Err(self.error("create", path, cause)),
        }
    }

    /// The paths below `prefix`, sorted.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix_path = ObjectPath::from(prefix);
        let listing = self.objects.list(Some(&prefix_path)).map_ok(|meta| meta.location.to_string());
        let mut paths: Vec<String> =
            self.wait(listing.try_collect()).map_err(|cause| self.error("list", prefix, cause))?;
        paths.sort();
        Ok(paths)
    }

    /// Removes the files below `prefix`; returns how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, prefix: &str) -> Result<usize, StoreError> {
        let paths = self.list(prefix)?;
        let locations = paths.into_iter().map(|path| Ok(ObjectPath::from(path)));
        let locations = futures::stream::iter(locations).boxed();
        let removed: Vec<ObjectPath> = self
            .wait(self.objects.delete_stream(locations).try_collect())
            .map_err(|cause| self.error("remove", prefix, cause))?;
        Ok(removed.len())
    }

    /// Removes one file, if it is there.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove_file(&self, path: &str) -> Result<(), StoreError> {
        match self.wait(self.objects.delete(&ObjectPath::from(path))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(self.error("remove", path, cause)),
        }
    }

    /// Removes what killed writers left: a local store's files that never got their final name. Only for a caller
    /// that knows no other writer lives. Returns how many there were.
    ///
    /// # Errors
    /// When a folder cannot be read or a file not removed.
    #[expect(clippy::disallowed_methods, reason = "unfinished files have no path that the object store lists")]
    pub fn remove_unfinished(&self) -> Result<usize, StoreError> {
        let Some(root) = &self.root else { return Ok(0) };
        let failed = |path: &Path, source: io::Error| StoreError::Failed {
            action: "clear",
            path: path.display().to_string(),
            store: self.describe(),
            source: source.into(),
        };
        let mut removed = 0;
        let mut folders: Vec<PathBuf> = ["tables", "shards", "mapping"].iter().map(|name| root.join(name)).collect();
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(failed(&folder, cause)),
            };
            for entry in entries {
                let entry = entry.map_err(|cause| failed(&folder, cause))?;
                let path = entry.path();
                if entry.file_type().map_err(|cause| failed(&path, cause))?.is_dir() {
                    folders.push(path);
                } else if is_unfinished(&entry.file_name().to_string_lossy()) {
                    std::fs::remove_file(&path).map_err(|cause| failed(&path, cause))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Opens a file for reading in ranges.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none.
    pub fn open(&self, path: &str) -> Result<StoreFile, StoreError> {
        let meta =
            self.wait(self.objects.head(&ObjectPath::from(path))).map_err(|cause| self.error("open", path, cause))?;
        let local = match &self.root {
            Some(root) => Some(std::fs::File::open(root.join(path)).map_err(|cause| StoreError::Failed {
                action: "open",
                path: path.to_owned(),
                store: self.describe(),
                source: cause.into(),
            })?),
            None => None,
        };
        Ok(StoreFile { store: self.clone(), path: path.to_owned(), len: meta.size, local: local.map(Arc::new) })
    }

    /// Begins a file that becomes visible at [`StoreWriter::finish`].
    #[must_use]
    pub fn create(&self, path: &str) -> StoreWriter {
        StoreWriter {
            store: self.clone(),
            path: path.to_owned(),
            buffer: Vec::new(),
            upload: None,
            hasher: blake3::Hasher::new(),
            written_bytes: 0,
        }
    }

    /// Waits for a future, also where the caller runs inside somebody's async runtime.
    fn wait<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        if tokio::runtime::Handle::try_current().is_err() {
            return self.runtime.block_on(future);
        }
        // A thread that drives a runtime may not drive a second one.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| self.runtime.block_on(future));
            waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn error(&self, action: &'static str, path: &str, cause: object_store::Error) -> StoreError {
        let (path, store) = (path.to_owned(), self.describe());
        match cause {
            object_store::Error::NotFound { .. } => StoreError::Missing { path, store },
            cause if is_no_space(&cause) => StoreError::NoSpace { path, store },
            cause => StoreError::Failed { action, path, store, source: cause.into() },
        }
    }
}

/// Whether a local file is one that `object_store` was still writing: it adds `#` and a number until the end.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn runtime() -> Arc<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("weft-store").build();
    Arc::new(runtime.expect("a thread can be started"))
}

/// A file of the store, read in ranges.
#[derive(Clone, Debug)]
pub struct StoreFile {
    store: Store,
    path: String,
    len: u64,
    local: Option<Arc<std::fs::File>>,
}

impl StoreFile {
    /// Reads up to `buffer.len()` bytes from `offset`; 0 only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = &self.local {
            return std::os::unix::fs::FileExt::read_at(file.as_ref(), buffer, offset);
        }
        let wanted = u64::try_from(buffer.len()).expect("usize fits u64").min(self.len.saturating_sub(offset));
        if wanted == 0 {
            return Ok(0);
        }
        let location = ObjectPath::from(self.path.as_str());
        let range = self.store.objects.get_range(&location, offset..offset + wanted);
        let bytes = self.store.wait(range).map_err(io::Error::other)?;
        buffer.get_mut(..bytes.len()).expect("no more than was asked for").copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// The file's size.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// A reader from `offset` to the end.
    #[must_use]
    pub fn reader(&self, offset: u64) -> io::BufReader<StoreFileReader> {
        io::BufReader::with_capacity(256 << 10, StoreFileReader { file: self.clone(), offset })
    }
}

/// Reads a [`StoreFile`] from an offset on.
#[derive(Debug)]
pub struct StoreFileReader {
    file: StoreFile,
    offset: u64,
}

impl Read for StoreFileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.offset, buffer)?;
        self.offset += u64::try_from(read).expect("usize fits u64");
        Ok(read)
    }
}

impl parquet::file::reader::Length for StoreFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl parquet::file::reader::ChunkReader for StoreFile {
    type T = io::BufReader<StoreFileReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        // Parquet asks for a reader to find a page's header, then for the page's bytes.
        Ok(io::BufReader::with_capacity(8 << 10, StoreFileReader { file: self.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let offset = start + u64::try_from(filled).expect("usize fits u64");
            let read = self.read_at(offset, bytes.get_mut(filled..).expect("filled is below length"))?;
            if read == 0 {
                let message = format!("`{}` ends before byte {}", self.path, start + length as u64);
                return Err(parquet::errors::ParquetError::EOF(message));
            }
            filled += read;
        }
        Ok(bytes.into())
    }
}

/// What a finished file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file's size.
    pub bytes: u64,
    /// Blake3 of its bytes, 64 hex digits.
    pub blake3: String,
}

/// A file being written; nothing of it is visible before [`finish`](Self::finish).
pub struct StoreWriter {
    store: Store,
    path: String,
    buffer: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    hasher: blake3::Hasher,
    written_bytes: u64,
}

impl fmt::Debug for StoreWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreWriter").field("path", &self.path).field("written_bytes", &self.written_bytes).finish()
    }
}

impl StoreWriter {
    /// The file's path in the store.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Makes the file visible.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn finish(mut self) -> Result<Written, StoreError> {
        let written = Written { bytes: self.written_bytes, blake3: self.hasher.finalize().to_hex().to_string() };
        if self.upload.is_none() {
            let bytes = std::mem::take(&mut self.buffer);
            self.store.put(&self.path, bytes)?;
            return Ok(written);
        }
        self.send_part().map_err(|cause| self.store.error("write", &self.path, cause))?;
        if let Some(mut upload) = self.upload.take() {
            let completed = self.store.wait(upload.complete());
            completed.map_err(|cause| self.store.error("complete", &self.path, cause))?;
        }
        Ok(written)
    }

    fn send_part(&mut self) -> Result<(), object_store::Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let location = ObjectPath::from(self.path.as_str());
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => self.store.wait(self.store.objects.put_multipart(&location))?,
        };
        let part = upload.put_part(PutPayload::from(std::mem::take(&mut self.buffer)));
        let sent = self.store.wait(part);
        self.upload = Some(upload);
        sent
    }
}

impl Write for StoreWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        self.written_bytes += u64::try_from(bytes.len()).expect("usize fits u64");
        if self.buffer.len() >= PART_BYTES {
            self.send_part().map_err(|cause| io::Error::other(self.store.error("write", &self.path, cause)))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            // Best effort: an upload left behind has no final name and is never read.
            if let Err(cause) = self.store.wait(upload.abort()) {
                tracing::debug!(path = self.path, %cause, "failed to abort an upload");
            }
        }
    }
}

/// Where things lie in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout;

impl Layout {
    /// The folder of one phase of a stage under one fingerprint.
    #[must_use]
    pub fn phase(task_name: &str, version: u32, fingerprint: &Fingerprint) -> String {
        format!("tables/{task_name}-v{version}/{}", fingerprint.short())
    }

    /// A task's report: written last, create-if-absent; where it stands, the task is done.
    #[must_use]
    pub fn report(phase: &str, shard: ShardId) -> String {
        format!("{phase}/{shard}/report.json")
    }

    /// A table file of one attempt; a task's first segment is named as a task without segments is.
    #[must_use]
    pub fn table(phase: &str, shard: ShardId, table: &str, segment: u32, attempt: u32) -> String {
        if segment == 0 {
            return format!("{phase}/{shard}/{table}-a{attempt:03}.parquet");
        }
        format!("{phase}/{shard}/{table}-s{segment:05}-a{attempt:03}.parquet")
    }

    /// A segment's report: written last, create-if-absent; where it stands, the segment is closed.
    #[must_use]
    pub fn segment(phase: &str, shard: ShardId, segment: u32) -> String {
        format!("{phase}/{shard}/segment-{segment:05}.json")
    }

    /// The folder of a dataset's shards.
    #[must_use]
    pub fn dataset(recipe: &str, fingerprint: &Fingerprint) -> String {
        format!("shards/{recipe}-{}", fingerprint.short())
    }

    /// The folder of a published mapping from documents to records.
    #[must_use]
    pub fn mapping(recipe: &str, fingerprint: &Fingerprint) -> String {
        format!("mapping/{recipe}-{}", fingerprint.short())
    }

    /// What a run made last: the manifest that names the shards.
    #[must_use]
    pub fn manifest(recipe: &str) -> String {
        format!("shards/{recipe}.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores() -> Vec<(Store, Option<tempfile::TempDir>)> {
        let folder = tempfile::tempdir().unwrap();
        vec![(Store::memory(), None), (Store::local(folder.path()).unwrap(), Some(folder))]
    }

    #[test]
    fn a_file_is_invisible_until_finished() {
        for (store, _folder) in stores() {
            let mut writer = store.create("a/b.bin");
            writer.write_all(&vec![7; PART_BYTES + 5]).unwrap();
            assert_eq!(store.list("a").unwrap(), Vec::<String>::new());
            let written = writer.finish().unwrap();
            assert_eq!(written.bytes, PART_BYTES as u64 + 5);
            assert_eq!(written.blake3, blake3::hash(&store.get("a/b.bin").unwrap()).to_hex().to_string());
            assert_eq!(store.list("a").unwrap(), ["a/b.bin"]);
        }
    }

    #[test]
    fn a_dropped_writer_leaves_nothing() {
        for (store, folder) in stores() {
            let mut writer = store.create("a/b.bin");
            writer.write_all(&vec![7; PART_BYTES + 5]).unwrap();
            drop(writer);
            assert_eq!(store.list("").unwrap(), Vec::<String>::new());
            if let Some(folder) = folder {
                let left = std::fs::read_dir(folder.path().join("a")).map_or(0, Iterator::count);
                assert_eq!(left, 0);
            }
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::local(folder.path()).unwrap();
        store.put("tables/x/00000/report.json", b"1".to_vec()).unwrap();
        let mut killed = store.create("shards/x/0.jsonl");
        killed.write_all(&vec![7; PART_BYTES + 5]).unwrap();
        // As after kill -9: nothing is aborted.
        std::mem::forget(killed);
        let left = std::fs::read_dir(folder.path().join("shards/x")).unwrap().count();
        assert_eq!(left, 1);
        assert_eq!(store.remove_unfinished().unwrap(), 1);
        assert_eq!(store.remove_unfinished().unwrap(), 0);
        assert_eq!(std::fs::read_dir(folder.path().join("shards/x")).unwrap().count(), 0);
        assert_eq!(store.list("").unwrap(), ["tables/x/00000/report.json"]);
    }

    #[test]
    fn exactly_one_writer_creates() {
        for (store, _folder) in stores() {
            assert_eq!(store.put_new("r.json", b"1".to_vec()).unwrap(), Created::Yes);
            assert_eq!(store.put_new("r.json", b"2".to_vec()).unwrap(), Created::AlreadyThere);
            assert_eq!(&store.get("r.json").unwrap()[..], b"1");
            assert_eq!(store.remove("r.json").unwrap_or(0) + store.list("").unwrap().len(), 1);
        }
    }

    #[test]
    fn a_file_is_removed_alone_and_once_is_enough() {
        for (store, _folder) in stores() {
            store.put("a/b", b"1".to_vec()).unwrap();
            store.put("a/b2", b"2".to_vec()).unwrap();
            store.remove_file("a/b").unwrap();
            store.remove_file("a/b").unwrap();
            assert_eq!(store.list("").unwrap(), ["a/b2"]);
        }
    }
}
