//! Reads files of the outside world (source files, index, archives) by range: from a folder, an http(s) root, or S3.
//!
//! The one place of the stages that opens a file or a connection to a crawl. A path comes from an index and is
//! not trusted: one that would leave the root is refused. A range is read whole or gives an error; a file that
//! ends inside it is told from a connection that broke inside it. [`transfer`] says what a server's answer must be,
//! and how a broken one is resumed.
//!
//! All roots of one server share one budget of requests and connections for the whole process, and stop asking it
//! together: [`front`]. A server that does not serve is no failure but a time to wait ([`OutsideError::Unavailable`]);
//! the runner does other work until then. Memory is the range asked for, or a piece of a stream; lengths are the
//! caller's to bound. Proxies of the environment are not used, certificates are checked.

mod clock;
mod front;
mod http;
mod retry_after;
mod s3;
#[cfg(test)]
pub(crate) mod server;
mod transfer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use weft_core::front::{FrontBudget, Unavailable, Usage};
use weft_core::stage::StageError;

pub use self::front::{fronts, stop_waiting};
use self::http::HttpRoot;
use self::transfer::{Transfer, TransferReader};

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
    /// The file is not the one that it was when the first of its bytes came.
    #[error("`{place}` has changed while it was read")]
    Changed {
        /// The URL.
        place: String,
    },
    /// The server sends us to another one.
    #[error("the server sends us from `{place}` to `{target}`")]
    Redirected {
        /// The URL.
        place: String,
        /// The other URL.
        target: String,
    },
    /// The server does not serve now, or forbids us to ask it (403).
    #[error("{0}")]
    Unavailable(Unavailable),
    /// The process is being stopped.
    #[error("stopped")]
    Stopping,
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
            Self::Connection { .. } | Self::Changed { .. } => true,
            Self::Status { status, .. } => *status == 408 || *status == 429 || *status >= 500,
            Self::Io { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether another request may bring what this one did not.
    fn is_worth_another_request(&self) -> bool {
        match self {
            // A server behind several others may send one wrong answer among right ones.
            Self::BadRange { .. } => true,
            Self::Changed { .. } | Self::Io { .. } => false,
            other => other.is_retryable(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Short { .. } => "get the file again, or mend the manifest that names it",
            Self::Escapes { .. } | Self::BadRoot { .. } | Self::Redirected { .. } => "mend the manifest that names it",
            Self::BadRange { .. } => "use a server that answers range requests, or a local copy",
            Self::Status { .. } | Self::Connection { .. } | Self::Changed { .. } | Self::Unavailable(_) => {
                "run the same command again later: finished tasks are kept"
            }
            Self::Stopping => "run the same command again to go on",
            Self::Io { .. } => "check the disk and the file's permissions",
        }
    }

    /// The failure of a task that is no fault of what it read: it waits, or is being stopped. None for any other.
    #[must_use]
    pub fn interruption(&self) -> Option<StageError> {
        match self {
            Self::Unavailable(unavailable) => Some(StageError::Unavailable(unavailable.clone())),
            Self::Stopping => Some(StageError::Cancelled),
            _ => None,
        }
    }

    /// The task's failure that this is where no row can be blamed.
    #[must_use]
    pub fn into_stage_error(self, what: &'static str, place: String) -> StageError {
        if let Some(interruption) = self.interruption() {
            return interruption;
        }
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

/// A folder, an http(s) URL, or an S3 prefix that paths are below.
#[derive(Clone, Debug)]
pub enum OutsideRoot {
    /// A local folder.
    Folder(PathBuf),
    /// A web server, or S3.
    Http(HttpRoot),
}

impl OutsideRoot {
    /// Opens `root` within the budget that its front has, or the default one.
    ///
    /// # Errors
    /// As [`Self::open_within`].
    pub fn open(root: &str, user_agent: &str) -> Result<Self, OutsideError> {
        Self::open_any(root, user_agent, None)
    }

    /// Opens `root`: an `http://`, `https://` or `s3://` URL, else a folder, which must be there. No request is made.
    ///
    /// All roots of one server share its front; the budget given last is in force. A server that is no part of this
    /// machine is refused where `user_agent` names no contact.
    ///
    /// # Errors
    /// [`OutsideError::BadRoot`].
    pub fn open_within(root: &str, user_agent: &str, budget: &FrontBudget) -> Result<Self, OutsideError> {
        Self::open_any(root, user_agent, Some(budget))
    }

    fn open_any(root: &str, user_agent: &str, budget: Option<&FrontBudget>) -> Result<Self, OutsideError> {
        if is_remote(root) {
            return Ok(Self::Http(HttpRoot::open(root, user_agent, budget)?));
        }
        let folder = PathBuf::from(root);
        if !folder.is_dir() {
            return Err(OutsideError::BadRoot { root: root.to_owned(), cause: "no such folder".to_owned() });
        }
        Ok(Self::Folder(folder))
    }

    /// The same root with counters of its own, for one task.
    #[must_use]
    pub fn counted(&self) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.clone()),
            Self::Http(root) => Self::Http(root.counted()),
        }
    }

    /// What was asked through this root and its clones; nothing for a folder.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::Folder(_) => Usage::default(),
            Self::Http(root) => root.usage(),
        }
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

    /// Streams the `length` bytes from `start` on, fewer only where the file ends: over http one request, resumed
    /// where it breaks. `u64::MAX` bytes are all there are.
    ///
    /// A read's failure holds the [`OutsideError`]; see [`OutsideError::of`]. A stream holds one of its front's
    /// connections until it is dropped: a thread that has one open asks for nothing else of the same front.
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
            Self::Http(root) => Ok(Box::new(TransferReader::new(Transfer::new(root, path, start, length)))),
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

/// Whether `root` is a URL rather than a folder.
#[must_use]
pub fn is_remote(root: &str) -> bool {
    ["http://", "https://", "s3://"].iter().any(|scheme| root.starts_with(scheme))
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

#[cfg(test)]
mod tests;
