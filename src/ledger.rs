//! The ledger: memory of runs, attempts and digests, in SQLite beside the store.
//!
//! The store is the truth: a task is done when its report stands there, and deleting the ledger loses timings and
//! causes only. It has one writer, the coordinator, which holds the output's lock; readers may come at any time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use weft_core::front::{FrontReport, Usage};
use weft_core::task::{Fault, Report};
use weft_stages::formats::outside::OutsideRoot;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    recipe TEXT NOT NULL,
    version TEXT NOT NULL,
    started TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    finished TEXT,
    outcome TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS attempts (
    folder TEXT NOT NULL,
    shard INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    started TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    elapsed_ms INTEGER,
    outcome TEXT,
    message TEXT,
    PRIMARY KEY (folder, shard, attempt)
) STRICT;
CREATE TABLE IF NOT EXISTS tallies (
    folder TEXT NOT NULL,
    shard INTEGER NOT NULL,
    unit TEXT NOT NULL,
    read_rows INTEGER NOT NULL,
    kept_rows INTEGER NOT NULL,
    rejected_rows INTEGER NOT NULL,
    PRIMARY KEY (folder, shard, unit)
) STRICT;
CREATE TABLE IF NOT EXISTS fronts (
    front TEXT PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    cause TEXT,
    since_ms INTEGER,
    until_ms INTEGER,
    requests INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL
) STRICT;
";

/// Whether a failure is the ledger's disk being full.
pub(crate) fn is_disk_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let code = cause.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
        code == Some(rusqlite::ErrorCode::DiskFull)
    })
}

/// The coordinator's hold on an output folder; released when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct OutputLock {
    _file: File,
}

/// Takes the output folder for this process.
pub(crate) fn lock(output: &Path) -> anyhow::Result<OutputLock> {
    std::fs::create_dir_all(output).with_context(|| format!("failed to make folder {}", output.display()))?;
    let path = output.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(OutputLock { _file: file }),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "another weft run holds {}; wait for it (weft status shows how far it is), or give another --output",
            output.display()
        ),
        Err(std::fs::TryLockError::Error(cause)) => {
            Err(cause).with_context(|| format!("failed to lock {}", path.display()))
        }
    }
}

/// Memory of runs and attempts.
#[derive(Debug)]
pub(crate) struct Ledger {
    connection: Connection,
    run: i64,
}

fn connect(output: &Path) -> anyhow::Result<Connection> {
    std::fs::create_dir_all(output).with_context(|| format!("failed to make folder {}", output.display()))?;
    let path = output.join("ledger.sqlite");
    let failed =
        || format!("failed to open the ledger {}; it holds no results: move it away and run again", path.display());
    let connection = Connection::open(&path).with_context(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).with_context(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").with_context(failed)?;
    // A lost last entry costs nothing: the store is the truth.
    connection.pragma_update(None, "synchronous", "NORMAL").with_context(failed)?;
    connection.execute_batch(SCHEMA).with_context(failed)?;
    Ok(connection)
}

impl Ledger {
    /// Opens the ledger of an output folder and begins a run.
    pub(crate) fn begin(output: &Path, recipe: &str) -> anyhow::Result<Self> {
        let connection = connect(output)?;
        connection.execute(
            "INSERT INTO runs (recipe, version) VALUES (?1, ?2)",
            params![recipe, env!("CARGO_PKG_VERSION")],
        )?;
        let run = connection.last_insert_rowid();
        Ok(Self { connection, run })
    }

    /// The number that the next try of a task gets.
    pub(crate) fn next_attempt(&self, folder: &str, shard: u32) -> anyhow::Result<u32> {
        let last: Option<u32> = self
            .connection
            .query_row(
                "SELECT max(attempt) FROM attempts WHERE folder = ?1 AND shard = ?2",
                params![folder, shard],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        Ok(last.unwrap_or(0) + 1)
    }

    /// Takes note that a try begins.
    pub(crate) fn started(&self, folder: &str, shard: u32, attempt: u32) -> anyhow::Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO attempts (folder, shard, attempt, run) VALUES (?1, ?2, ?3, ?4)",
            params![folder, shard, attempt, self.run],
        )?;
        Ok(())
    }

    /// Takes note of a finished task.
    pub(crate) fn done(&self, folder: &str, report: &Report) -> anyhow::Result<()> {
        self.connection.execute(
            "UPDATE attempts SET outcome = 'done', elapsed_ms = ?4 WHERE folder = ?1 AND shard = ?2 AND attempt = ?3",
            params![folder, report.shard.0, report.attempt, i64::try_from(report.elapsed_ms)?],
        )?;
        for (unit, count) in &report.tally.counts {
            self.connection.execute(
                "INSERT OR REPLACE INTO tallies VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    folder,
                    report.shard.0,
                    unit.as_str(),
                    i64::try_from(count.read)?,
                    i64::try_from(count.kept)?,
                    i64::try_from(count.rejected_total())?
                ],
            )?;
        }
        Ok(())
    }

    /// Takes note of a failed try.
    pub(crate) fn failed(
        &self,
        folder: &str,
        shard: u32,
        attempt: u32,
        fault: &Fault,
        message: &str,
    ) -> anyhow::Result<()> {
        let outcome = fault.name();
        self.connection.execute(
            "UPDATE attempts SET outcome = ?4, message = ?5 WHERE folder = ?1 AND shard = ?2 AND attempt = ?3",
            params![folder, shard, attempt, outcome, message],
        )?;
        Ok(())
    }

    /// Takes note of how fronts stand.
    pub(crate) fn fronts(&self, fronts: &[FrontReport]) -> anyhow::Result<()> {
        for FrontReport { front, unavailable, usage } in fronts {
            let unavailable = unavailable.as_ref();
            let since_ms = unavailable.map(|unavailable| i64::try_from(unavailable.since_ms)).transpose()?;
            let until_ms = unavailable.and_then(|unavailable| unavailable.until_ms).map(i64::try_from).transpose()?;
            self.connection.execute(
                "INSERT OR REPLACE INTO fronts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    front,
                    self.run,
                    unavailable.map(|unavailable| &unavailable.cause),
                    since_ms,
                    until_ms,
                    i64::try_from(usage.requests)?,
                    i64::try_from(usage.retries)?,
                    i64::try_from(usage.bytes)?
                ],
            )?;
        }
        Ok(())
    }

    /// Ends the run.
    pub(crate) fn finish(&self, outcome: &str) -> anyhow::Result<()> {
        self.connection.execute(
            "UPDATE runs SET finished = strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), outcome = ?2 WHERE id = ?1",
            params![self.run, outcome],
        )?;
        Ok(())
    }
}

/// A failed try of a task that is not done yet.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) folder: String,
    pub(crate) shard: u32,
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
    pub(crate) message: String,
}

/// How a front stood when the last run that asked it took note; times in UTC.
#[derive(Debug)]
pub(crate) struct FrontNote {
    pub(crate) front: String,
    /// Why it did not serve, and since when; none where it did.
    pub(crate) outage: Option<(String, String)>,
    /// When it is asked again; none where it is not.
    pub(crate) next: Option<String>,
    pub(crate) usage: Usage,
}

/// How the fronts stand, by name.
pub(crate) fn fronts(output: &Path) -> anyhow::Result<Vec<FrontNote>> {
    let connection = connect(output)?;
    let mut statement = connection.prepare(
        "SELECT front, cause, strftime('%Y-%m-%dT%H:%M:%SZ', since_ms / 1000, 'unixepoch'),
                strftime('%Y-%m-%dT%H:%M:%SZ', until_ms / 1000, 'unixepoch'), requests, retries, bytes
         FROM fronts ORDER BY front",
    )?;
    let rows = statement.query_map([], |row| {
        let (cause, since): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
        // Written from unsigned numbers: none is below 0.
        let count = |column: usize| row.get(column).map(i64::unsigned_abs);
        Ok(FrontNote {
            front: row.get(0)?,
            outage: cause.zip(since),
            next: row.get(3)?,
            usage: Usage { requests: count(4)?, retries: count(5)?, bytes: count(6)? },
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The last failures noted, newest first.
pub(crate) fn recent_failures(output: &Path, most: u32) -> anyhow::Result<Vec<Failure>> {
    let connection = connect(output)?;
    let mut statement = connection.prepare(
        "SELECT a.folder, a.shard, a.attempt, a.outcome, coalesce(a.message, '') FROM attempts a
         WHERE a.outcome NOT IN ('done', 'cancelled', 'unavailable')
           AND NOT EXISTS (SELECT 1 FROM attempts b
                           WHERE b.folder = a.folder AND b.shard = a.shard AND b.outcome = 'done')
         ORDER BY a.started DESC LIMIT ?1",
    )?;
    let rows = statement.query_map(params![most], |row| {
        Ok(Failure {
            folder: row.get(0)?,
            shard: row.get(1)?,
            attempt: row.get(2)?,
            outcome: row.get(3)?,
            message: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When each phase's folder was last worked on, by the ledger's memory; nothing where there is no ledger.
pub(crate) fn last_attempts(output: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    if !output.join("ledger.sqlite").is_file() {
        return Ok(BTreeMap::new());
    }
    let connection = connect(output)?;
    let mut statement = connection.prepare("SELECT folder, max(started) FROM attempts GROUP BY folder")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where the copy of `name` below the remote root `root` lies in an output folder, once it was fetched.
pub(crate) fn downloaded(output: &Path, root: &str, name: &str) -> PathBuf {
    let root = blake3::hash(root.as_bytes()).to_hex().chars().take(16).collect::<String>();
    output.join("downloads").join(root).join(name.replace('/', "_"))
}

/// Digests of outside files, remembered by path, size and time of change, so that an unchanged recipe is recognised
/// without reading its inputs again.
#[derive(Debug)]
pub(crate) struct DigestCache {
    connection: Connection,
    output: PathBuf,
}

impl DigestCache {
    /// Opens the cache of an output folder.
    pub(crate) fn open(output: &Path) -> anyhow::Result<Self> {
        Ok(Self { connection: connect(output)?, output: output.to_owned() })
    }

    /// The output folder.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    /// Sha256 (64 hex digits) and size of a file.
    pub(crate) fn sha256(&mut self, path: &Path) -> anyhow::Result<(String, u64)> {
        let mut file = File::open(path)?;
        let meta = file.metadata()?;
        anyhow::ensure!(meta.is_file(), "it is not a file");
        let bytes = meta.len();
        let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        let key = std::path::absolute(path)?.display().to_string();
        let known: Option<String> = self
            .connection
            .query_row(
                "SELECT sha256 FROM digests WHERE path = ?1 AND bytes = ?2 AND modified_ns = ?3",
                params![key, i64::try_from(bytes)?, modified_ns],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(known) = known {
            return Ok((known, bytes));
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.connection.execute(
            "INSERT OR REPLACE INTO digests VALUES (?1, ?2, ?3, ?4)",
            params![key, i64::try_from(bytes)?, modified_ns, sha256],
        )?;
        Ok((sha256, bytes))
    }

    /// A text that `make` derives from files below `root`, made anew where one of them changed.
    ///
    /// Local files are told apart by size and time of change; those behind a URL are taken to stay as they are, as the
    /// ones that were downloaded.
    pub(crate) fn derived(
        &mut self,
        root: &str,
        files: &[String],
        name: &str,
        make: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<PathBuf> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(root.as_bytes());
        for file in files {
            let meta = std::fs::metadata(Path::new(root).join(file)).ok();
            let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
            let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let told = (meta.map(|meta| meta.len()), modified.map(|since| since.as_nanos()));
            hasher.update(format!("\n{file} {told:?}").as_bytes());
        }
        let folder =
            self.output.join("downloads").join(hasher.finalize().to_hex().chars().take(16).collect::<String>());
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let text = make()?;
        std::fs::create_dir_all(&folder)?;
        let mut partial = tempfile::NamedTempFile::new_in(&folder)?;
        partial.write_all(text.as_bytes())?;
        partial.persist(&path)?;
        Ok(path)
    }

    /// Fetches `name` below the remote root `root`, opened as `outside`, into the output folder, unless it is there.
    pub(crate) fn download(&mut self, outside: &OutsideRoot, root: &str, name: &str) -> anyhow::Result<PathBuf> {
        let path = downloaded(&self.output, root, name);
        let folder = path.parent().unwrap_or(&self.output).to_owned();
        if path.is_file() {
            return Ok(path);
        }
        let mut reader = outside.open_file(name).with_context(|| format!("failed to fetch {name} from {root}"))?;
        std::fs::create_dir_all(&folder)?;
        let mut partial = tempfile::NamedTempFile::new_in(&folder)?;
        std::io::copy(&mut reader, &mut partial).with_context(|| format!("failed to fetch {name} from {root}"))?;
        partial.persist(&path)?;
        Ok(path)
    }
}
