//! Opens the source files that a run's resources name: local ones, and ones at an http(s) address as a stream.
//!
//! A local file's digest was taken when the recipe was read. A file at an address is not read twice for that: before
//! it streams, the server's size and tag must be those that its identity was made of, and while it streams its sha256
//! is computed, which at the end must be the one that is pinned or known from an earlier time. Where none is, it is
//! noted in the task's report, and the coordinator pins it. One request more than the stream takes; memory is a piece
//! of the stream.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use weft_core::context::Context;
use weft_core::stage::{OutsideFile, Resources, StageError};

use crate::formats::outside::{OutsideError, OutsideRoot, open_file};

/// A source file, found but not read yet.
#[derive(Debug)]
pub struct SourceFile<'s> {
    file: &'s OutsideFile,
    /// Of a file at an address.
    root: Option<OutsideRoot>,
    /// What its bytes must be, where that is known.
    expected: Option<&'s str>,
}

impl<'s> SourceFile<'s> {
    /// Finds a file; one at an address must still be what it was when the recipe was read.
    ///
    /// # Errors
    /// [`StageError::Outside`] where it is not there or another.
    pub fn find(file: &'s OutsideFile, resources: &'s Resources) -> Result<Self, StageError> {
        let pinned = file.digest.strip_prefix("sha256:");
        let expected = pinned.or_else(|| resources.known_sha256.get(&file.name).map(String::as_str));
        let Some(address) = file.address() else {
            return Ok(Self { file, root: None, expected });
        };
        let failed = |cause: OutsideError| cause.into_stage_error("source file", address.to_owned());
        let root = address.strip_suffix(file.name.as_str()).unwrap_or(address);
        let root = OutsideRoot::open(root, &resources.user_agent).map_err(failed)?;
        if pinned.is_none() {
            let stat = root.stat(&file.name).map_err(failed)?;
            let found = OutsideFile::identity_at(address, stat.bytes, stat.etag.as_deref());
            if found != file.digest {
                return Err(changed(file, &found, &file.digest));
            }
        }
        Ok(Self { file, root: Some(root), expected })
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// [`StageError::Outside`] where it cannot be opened.
    pub fn reader(&self) -> Result<SourceReader<'_>, StageError> {
        let failed = |cause: OutsideError| cause.into_stage_error("source file", self.file.place());
        let bytes = match &self.root {
            Some(root) => {
                let stream = root.open_file(&self.file.name).map_err(failed)?;
                Bytes::Stream { stream, hasher: Sha256::new(), length: 0 }
            }
            None => Bytes::Local(open_file(&self.file.location).map_err(failed)?),
        };
        Ok(SourceReader { source: self, bytes })
    }
}

fn changed(file: &OutsideFile, found: &str, expected: &str) -> StageError {
    StageError::Outside {
        what: "source file",
        place: file.place(),
        cause: format!("it is not the file that was pinned: it is {found}, expected {expected}"),
        way_out: "get the pinned file back, or remove its entry from the lock file beside the manifest to take this one",
        retry: false,
    }
}

/// The server's or the connection's part in a failed read.
#[must_use]
pub fn outside_cause<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e OutsideError> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        // An `io::Error` gives away its content's source, not its content, as its own source.
        if let Some(outside) = current.downcast_ref::<io::Error>().and_then(OutsideError::of) {
            return Some(outside);
        }
        cause = current.source();
    }
    None
}

enum Bytes<'s> {
    Local(File),
    Stream { stream: Box<dyn Read + 's>, hasher: Sha256, length: u64 },
}

/// Reads a source file from its beginning to its end.
pub struct SourceReader<'s> {
    source: &'s SourceFile<'s>,
    bytes: Bytes<'s>,
}

impl std::fmt::Debug for SourceReader<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SourceReader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Bytes::Local(file) => file.read(buffer),
            Bytes::Stream { stream, hasher, length } => {
                let read = stream.read(buffer)?;
                hasher.update(buffer.get(..read).unwrap_or_default());
                *length += u64::try_from(read).expect("usize fits u64");
                Ok(read)
            }
        }
    }
}

impl SourceReader<'_> {
    /// Ends the reading: what was streamed must be what is pinned, and is noted where nothing is. To be called before
    /// the task commits what it made of the file.
    ///
    /// # Errors
    /// [`StageError::Outside`] where the bytes are others, naming both digests; where the file was not read to its end.
    pub fn finish(self, context: &Context) -> Result<(), StageError> {
        let Bytes::Stream { hasher, length, .. } = self.bytes else { return Ok(()) };
        let file = self.source.file;
        if length != file.bytes {
            return Err(changed(file, &format!("{length} bytes long"), &format!("{} bytes", file.bytes)));
        }
        let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        match self.source.expected {
            Some(expected) if sha256.eq_ignore_ascii_case(expected) => {}
            Some(expected) => {
                return Err(changed(file, &format!("of sha256 {sha256}"), &format!("sha256 {expected}")));
            }
            None => context.learn(&file.name, sha256),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use weft_core::testing;

    use super::*;
    use crate::formats::outside::server::Server;

    const NAME: &str = "docs/a.json";
    const BYTES: &[u8] = b"{\"text\": \"a\"}\n";

    fn web() -> (tempfile::TempDir, Server) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        let file = File::options().write(true).create_new(true).open(folder.path().join(NAME));
        file.unwrap().write_all(BYTES).unwrap();
        let server = Server::start(folder.path());
        (folder, server)
    }

    fn at(server: &Server, bytes: u64) -> OutsideFile {
        let address = format!("{}{NAME}", server.root());
        let etag = OutsideRoot::open(&server.root(), "weft-test/0").unwrap().stat(NAME).unwrap().etag;
        let digest = OutsideFile::identity_at(&address, bytes, etag.as_deref());
        OutsideFile { name: NAME.to_owned(), location: PathBuf::from(address), digest, bytes }
    }

    fn resources(known: Option<&str>) -> Resources {
        let known = known.map(|sha256| (NAME.to_owned(), sha256.to_owned()));
        Resources { known_sha256: known.into_iter().collect(), ..Resources::default() }
    }

    fn sha256(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What was read, and what was learned of it.
    fn read(file: &OutsideFile, resources: &Resources) -> Result<(Vec<u8>, BTreeMap<String, String>), StageError> {
        let context = testing::context();
        let found = SourceFile::find(file, resources)?;
        let mut reader = found.reader()?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        reader.finish(&context)?;
        let digests = context.digests.lock().unwrap().clone();
        Ok((bytes, digests))
    }

    #[test]
    fn a_file_at_an_address_is_streamed_and_its_digest_learned_where_it_is_not_known() {
        let (_folder, server) = web();
        let file = at(&server, 14);
        let digest = sha256(BYTES);
        let learned = BTreeMap::from([(NAME.to_owned(), digest.clone())]);
        assert_eq!(read(&file, &resources(None)).unwrap(), (BYTES.to_vec(), learned));
        assert_eq!(read(&file, &resources(Some(&digest))).unwrap(), (BYTES.to_vec(), BTreeMap::new()));
        let pinned = OutsideFile { digest: format!("sha256:{}", digest.to_uppercase()), ..file };
        assert_eq!(read(&pinned, &resources(None)).unwrap(), (BYTES.to_vec(), BTreeMap::new()));
    }

    #[test]
    fn other_bytes_than_those_pinned_are_refused_with_both_digests() {
        let (_folder, server) = web();
        let other = "0".repeat(64);
        let pinned = OutsideFile { digest: format!("sha256:{other}"), ..at(&server, 14) };
        for (file, resources) in [(at(&server, 14), resources(Some(&other))), (pinned, resources(None))] {
            let message = read(&file, &resources).unwrap_err().to_string();
            assert!(message.contains(&other) && message.contains(&sha256(BYTES)), "{message}");
            assert!(message.contains("lock file"), "{message}");
        }
        let message = read(&at(&server, 15), &resources(None)).unwrap_err().to_string();
        assert!(message.contains("of 14 bytes") && message.contains("of 15 bytes"), "{message}");
    }

    #[test]
    fn a_local_file_is_read_as_it_is_and_one_that_is_not_there_is_named() {
        let (folder, server) = web();
        let local = |path: &Path| OutsideFile { location: path.to_owned(), digest: String::new(), ..at(&server, 14) };
        let file = local(&folder.path().join(NAME));
        assert_eq!(read(&file, &resources(None)).unwrap(), (BYTES.to_vec(), BTreeMap::new()));
        let message = read(&local(Path::new("no/such/file")), &resources(None)).unwrap_err().to_string();
        assert!(message.contains("no/such/file"), "{message}");
    }
}
