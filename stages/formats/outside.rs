//! Reads files of the outside world (source files, index, archives) by range, from a folder or an http(s) root.
//!
//! The one place of the stages that opens a file or a connection to a crawl. A path comes from an index and is
//! not trusted: one that would leave the root is refused. A range is read whole or gives an error; a file that
//! ends inside it is told from a connection that broke inside it. Over http that takes a `206` whose
//! `Content-Range` is what was asked for: a server that sends the whole file instead is not read from.
//!
//! Requests are tried [`ATTEMPTS`] times with doubling waits, on 429, 5xx and broken connections; 403 is an
//! answer, not a reason to try again. Memory is the range asked for; lengths are the caller's to bound.
//!
//! Thin: the waits are per request. One budget per front for the whole run, `Retry-After`, and a stop of the
//! front for long after a 403 are still to come. Proxies of the environment are not used.

mod http;
#[cfg(test)]
pub(crate) mod server;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use weft_core::stage::StageError;

use self::http::HttpRoot;

/// How often a request is tried.
pub const ATTEMPTS: u32 = 5;
/// Bytes of one request where a whole file is streamed over http.
pub const STREAM_BYTES: u64 = 8 << 20;

/// Why bytes from outside could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// There is no such file (http: 404 or 410).
    #[error("`{place}` is not there")]
    Missing {
        /// The file.
        place: String,
    },
    /// The file ends inside the range.
    #[error("`{place}` ends after {present} of the {wanted} bytes from {start} on")]
    Short {
        /// The file.
        place: String,
        /// First byte of the range.
        start: u64,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes there are.
        present: u64,
    },
    /// The server forbids it (403).
    #[error("the server forbids `{place}` (403)")]
    Forbidden {
        /// The URL.
        place: String,
    },
    /// The server answered with another status.
    #[error("the server answered {status} for `{place}`")]
    Status {
        /// The URL.
        place: String,
        /// The status.
        status: u16,
    },
    /// The server's answer is not the range asked for.
    #[error("the server did not send the range asked of `{place}`: {cause}")]
    BadRange {
        /// The URL.
        place: String,
        /// What it sent.
        cause: String,
    },
    /// The connection could not be made, or broke.
    #[error("failed to fetch `{place}`: {cause}")]
    Connection {
        /// The URL.
        place: String,
        /// Why, with its causes.
        cause: String,
    },
    /// A path that would leave the root.
    #[error("`{path}` is no path below the root")]
    Escapes {
        /// As the index has it.
        path: String,
    },
    /// A local file failed.
    #[error("failed to read `{place}`")]
    Io {
        /// The file.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The root itself is not usable.
    #[error("`{root}` is not usable as a root: {cause}")]
    BadRoot {
        /// As the manifest has it.
        root: String,
        /// Why.
        cause: String,
    },
}

impl OutsideError {
    /// The failure inside the error of a stream's read.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether the same read can succeed later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Io { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Short { .. } => "get the file again, or mend the manifest that names it",
            Self::Forbidden { .. } => {
                "stop asking this server for hours, then ask it more slowly, with a contact in the user agent"
            }
            Self::Escapes { .. } | Self::BadRoot { .. } => "mend the manifest that names it",
            Self::BadRange { .. } => "use a server that answers range requests, or a local copy",
            Self::Status { .. } | Self::Connection { .. } => {
                "run the same command again later: finished tasks are kept"
            }
            Self::Io { .. } => "check the disk and the file's permissions",
        }
    }

    /// The task's failure that this is where no row can be blamed.
    #[must_use]
    pub fn into_stage_error(self, what: &'static str, place: String) -> StageError {
        let (way_out, retry) = (self.way_out(), self.is_retryable());
        StageError::Outside { what, place, cause: with_causes(&self), way_out, retry }
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let words = current.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = current.source();
    }
    text
}

/// What is known of a file that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its size.
    pub bytes: u64,
    /// The server's entity tag as it writes it; none of a local file, or where the server has none.
    pub etag: Option<String>,
}

/// A folder or an http(s) URL that paths are below.
#[derive(Debug)]
pub enum OutsideRoot {
    /// A local folder.
    Folder(PathBuf),
    /// A web server.
    Http(HttpRoot),
}

impl OutsideRoot {
    /// Opens `root`: an `http://` or `https://` URL, else a folder, which must be there.
    ///
    /// # Errors
    /// [`OutsideError::BadRoot`].
    pub fn open(root: &str, user_agent: &str) -> Result<Self, OutsideError> {
        if root.starts_with("http://") || root.starts_with("https://") {
            return Ok(Self::Http(HttpRoot::open(root, user_agent)?));
        }
        let folder = PathBuf::from(root);
        if !folder.is_dir() {
            return Err(OutsideError::BadRoot { root: root.to_owned(), cause: "no such folder".to_owned() });
        }
        Ok(Self::Folder(folder))
    }

    /// Where `path` is, for messages.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(path).display().to_string(),
            Self::Http(root) => root.place(path),
        }
    }

    /// The file's size in bytes.
    ///
    /// # Errors
    /// When the file is missing or the root fails.
    pub fn len(&self, path: &str) -> Result<u64, OutsideError> {
        check_path(path)?;
        match self {
            Self::Folder(folder) => {
                let file = open_file(&folder.join(path))?;
                file.metadata().map(|metadata| metadata.len()).map_err(|source| io_error(&folder.join(path), source))
            }
            Self::Http(root) => root.len(path),
        }
    }

    /// What the file is without reading it: its size, and the server's tag.
    ///
    /// # Errors
    /// When the file is missing or the root fails.
    pub fn stat(&self, path: &str) -> Result<Stat, OutsideError> {
        match self {
            Self::Folder(_) => Ok(Stat { bytes: self.len(path)?, etag: None }),
            Self::Http(root) => {
                check_path(path)?;
                root.stat(path)
            }
        }
    }

    /// The `length` bytes from `start` on.
    ///
    /// # Errors
    /// [`OutsideError::Short`] where the file ends inside them; else when the file is missing or the root fails.
    pub fn read_range(&self, path: &str, start: u64, length: u64) -> Result<Vec<u8>, OutsideError> {
        let bytes = self.read_up_to(path, start, length)?;
        let present = u64::try_from(bytes.len()).expect("usize fits u64");
        if present < length {
            return Err(OutsideError::Short { place: self.place(path), start, wanted: length, present });
        }
        Ok(bytes)
    }

    /// The `length` bytes from `start` on, fewer only where the file ends.
    ///
    /// # Errors
    /// When the file is missing or the root fails.
    pub fn read_up_to(&self, path: &str, start: u64, length: u64) -> Result<Vec<u8>, OutsideError> {
        check_path(path)?;
        match self {
            Self::Folder(folder) => {
                let place = folder.join(path);
                let mut file = open_file(&place)?;
                let file_bytes = file.metadata().map_err(|source| io_error(&place, source))?.len();
                let mut bytes = Vec::new();
                if start >= file_bytes {
                    return Ok(bytes);
                }
                file.seek(SeekFrom::Start(start)).map_err(|source| io_error(&place, source))?;
                file.take(length).read_to_end(&mut bytes).map_err(|source| io_error(&place, source))?;
                Ok(bytes)
            }
            Self::Http(root) => root.read_up_to(path, start, length),
        }
    }

    /// Streams the whole file.
    ///
    /// # Errors
    /// When a local file is missing; over http, the first read says so.
    pub fn open_file<'r>(&'r self, path: &'r str) -> Result<Box<dyn Read + 'r>, OutsideError> {
        self.stream(path, 0, u64::MAX).map(|stream| stream as Box<dyn Read + 'r>)
    }

    /// Streams the `length` bytes from `start` on, fewer only where the file ends.
    ///
    /// A read's failure holds the [`OutsideError`]; see [`OutsideError::of`].
    ///
    /// # Errors
    /// When a local file is missing; over http, the first read says so.
    pub fn stream<'r>(
        &'r self,
        path: &'r str,
        start: u64,
        length: u64,
    ) -> Result<Box<dyn Read + Send + 'r>, OutsideError> {
        check_path(path)?;
        match self {
            Self::Folder(folder) => {
                let place = folder.join(path);
                let mut file = open_file(&place)?;
                file.seek(SeekFrom::Start(start)).map_err(|source| io_error(&place, source))?;
                Ok(Box::new(FolderStream { file: file.take(length), place }))
            }
            Self::Http(root) => {
                Ok(Box::new(HttpFile { root, path, next: start, left: length, piece: io::Cursor::default() }))
            }
        }
    }
}

/// A range of a local file; its failures name the file.
struct FolderStream {
    file: io::Take<File>,
    place: PathBuf,
}

impl Read for FolderStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|source| io::Error::other(io_error(&self.place, source)))
    }
}

/// Opens a local file that a manifest names by its full path.
///
/// # Errors
/// When the file is missing or cannot be opened.
pub fn open_file(path: &Path) -> Result<File, OutsideError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    // Linux opens a directory and fails at the first read only.
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(OutsideError::Missing { place: path.display().to_string() }),
        Ok(_) => Ok(file),
        Err(source) => Err(io_error(path, source)),
    }
}

fn io_error(path: &Path, source: io::Error) -> OutsideError {
    let place = path.display().to_string();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OutsideError::Missing { place },
        _ => OutsideError::Io { place, source },
    }
}

/// Refuses whatever could name something that is not below the root.
fn check_path(path: &str) -> Result<(), OutsideError> {
    let is_name = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_odd = |c: char| c.is_control() || c == '\\';
    if path.split('/').all(is_name) && !path.contains(is_odd) {
        return Ok(());
    }
    Err(OutsideError::Escapes { path: path.to_owned() })
}

/// A file over http as a stream, in requests of [`STREAM_BYTES`].
struct HttpFile<'r> {
    root: &'r HttpRoot,
    path: &'r str,
    next: u64,
    left: u64,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for HttpFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || self.left == 0 || buffer.is_empty() {
                return Ok(read);
            }
            let wanted = self.left.min(STREAM_BYTES);
            let piece = self.root.read_up_to(self.path, self.next, wanted).map_err(io::Error::other)?;
            let piece_bytes = u64::try_from(piece.len()).expect("usize fits u64");
            self.left = if piece_bytes < wanted { 0 } else { self.left - piece_bytes };
            self.next += piece_bytes;
            self.piece = io::Cursor::new(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::server::{Fault, Server};
    use super::*;

    fn folder_with(bytes: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a b")).unwrap();
        File::options()
            .write(true)
            .create_new(true)
            .open(folder.path().join("a b/file#1%.bin"))
            .unwrap()
            .write_all(bytes)
            .unwrap();
        folder
    }

    const PATH: &str = "a b/file#1%.bin";

    fn http(server: &Server) -> OutsideRoot {
        let OutsideRoot::Http(mut root) = OutsideRoot::open(&server.root(), "weft-test/0 (test)").unwrap() else {
            panic!("an http root");
        };
        root.set_first_wait(Duration::from_millis(5));
        OutsideRoot::Http(root)
    }

    #[test]
    fn folder_and_server_give_the_same_bytes() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let folder = folder_with(&bytes);
        let server = Server::start(folder.path());
        for root in [OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap(), http(&server)] {
            assert_eq!(root.len(PATH).unwrap(), 100_000);
            assert_eq!(root.read_range(PATH, 0, 10).unwrap(), bytes[..10]);
            assert_eq!(root.read_range(PATH, 99_990, 10).unwrap(), bytes[99_990..]);
            assert_eq!(root.read_range(PATH, 5, 0).unwrap(), b"");
            assert_eq!(root.read_up_to(PATH, 99_990, 20).unwrap(), bytes[99_990..]);
            assert_eq!(root.read_up_to(PATH, 200_000, 20).unwrap(), b"");
            assert_eq!(root.read_up_to(PATH, u64::MAX - 1, 20).unwrap(), b"");
            let short = root.read_range(PATH, 99_990, 20).unwrap_err();
            assert!(matches!(short, OutsideError::Short { present: 10, wanted: 20, .. }), "{short}");
            let mut whole = Vec::new();
            root.open_file(PATH).unwrap().read_to_end(&mut whole).unwrap();
            assert!(whole == bytes);
            for (start, length, end) in [(0, 10, 10), (5, 0, 5), (99_990, 20, 100_000), (200_000, 20, 200_000)] {
                let mut streamed = Vec::new();
                root.stream(PATH, start, length).unwrap().read_to_end(&mut streamed).unwrap();
                let start = usize::try_from(start).unwrap();
                assert_eq!(streamed, bytes.get(start..end).unwrap_or_default());
            }
            assert!(matches!(root.read_range("a b/none", 0, 1), Err(OutsideError::Missing { .. })));
            assert!(matches!(root.read_range("a b", 0, 1), Err(OutsideError::Missing { .. })));
        }
        let error = http(&server).stream("a b/none", 0, 1).unwrap().read(&mut [0]).unwrap_err();
        assert!(matches!(OutsideError::of(&error), Some(OutsideError::Missing { .. })), "{error}");
        assert!(server.seen().iter().all(|request| request.contains("user-agent: weft-test/0 (test)")));
    }

    #[test]
    fn a_path_that_leaves_the_root_is_refused() {
        let folder = folder_with(b"x");
        let root = OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap();
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a\\..\\b", "a\0b", "a/"] {
            assert!(matches!(root.read_range(path, 0, 1), Err(OutsideError::Escapes { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error_at_once() {
        let error = OutsideRoot::open("no/such/folder", "").unwrap_err();
        assert_eq!(error.to_string(), "`no/such/folder` is not usable as a root: no such folder");
    }

    #[test]
    fn a_server_that_recovers_is_asked_again() {
        for fault in [Fault::Status(503), Fault::Status(429), Fault::Status(500), Fault::Hang, Fault::ShortBody] {
            let folder = folder_with(b"0123456789");
            let server = Server::start(folder.path());
            server.fail_next(2, fault);
            assert_eq!(http(&server).read_range(PATH, 2, 3).unwrap(), b"234", "{fault:?}");
            assert_eq!(server.seen().len(), 3, "{fault:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_recover_is_left_after_five_tries() {
        let folder = folder_with(b"0123456789");
        let server = Server::start(folder.path());
        server.fail_next(100, Fault::Status(503));
        let error = http(&server).read_range(PATH, 2, 3).unwrap_err();
        assert!(matches!(error, OutsideError::Status { status: 503, .. }), "{error}");
        assert!(error.is_retryable());
        assert_eq!(server.seen().len(), 5);
    }

    #[test]
    fn forbidden_is_final_at_the_first_answer() {
        let folder = folder_with(b"0123456789");
        let server = Server::start(folder.path());
        server.fail_next(1, Fault::Status(403));
        let error = http(&server).read_range(PATH, 2, 3).unwrap_err();
        assert!(matches!(error, OutsideError::Forbidden { .. }), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(server.seen().len(), 1);
    }

    #[test]
    fn an_answer_that_is_not_the_range_is_noticed() {
        for fault in [Fault::WholeFile, Fault::OtherRange] {
            let folder = folder_with(b"0123456789");
            let server = Server::start(folder.path());
            server.fail_next(100, fault);
            let error = http(&server).read_range(PATH, 2, 3).unwrap_err();
            assert!(matches!(error, OutsideError::BadRange { .. }), "{error}");
        }
    }
}
