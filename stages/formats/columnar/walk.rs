//! Walks a table by ascending keys: many row groups side by side, each read once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::file::metadata::ParquetMetaData;
use weft_core::limits::Limits;

use super::footer;
use super::group::{COLUMNS, GroupCursor};
use super::pages::{PartFile, Traffic};
use super::{TableError, TableSummary, WINDOWS_BYTES};
use crate::formats::cdx::CaptureLine;
use crate::formats::outside::OutsideRoot;

/// A smaller request costs more than its bytes.
const LEAST_WINDOW_BYTES: u64 = 64 << 10;
/// Footers kept: a walk mostly stays in the same few parts.
const FOOTERS: usize = 8;

/// A row group that may hold the key, and cannot be read.
#[derive(Debug)]
pub struct TableFault {
    /// The group's number in the summary.
    pub group: usize,
    /// Why.
    pub cause: TableError,
}

/// Merges ascending keys with a table: each row group is read at most once, and only where a key may be in it.
///
/// After a fault the walk may go on: every key that the group may hold gives the fault again.
pub struct TableWalk<'t> {
    table: &'t TableSummary,
    root: Arc<OutsideRoot>,
    limits: Limits,
    traffic: Arc<Traffic>,
    /// Bytes of one request.
    request_bytes: u64,
    /// Groups to walk, by first key.
    order: Vec<usize>,
    /// The first of them that is not yet reached.
    next: usize,
    /// Those that may hold the key asked, or a later one.
    active: Vec<(usize, State)>,
    footers: Vec<(usize, Arc<ParquetMetaData>)>,
    asked: Option<String>,
    found: Vec<CaptureLine>,
    groups_read: u64,
    lines_read: u64,
}

enum State {
    Unopened,
    Open(Box<GroupCursor>),
    Failed(TableError),
}

impl std::fmt::Debug for TableWalk<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TableWalk")
            .field("asked", &self.asked)
            .field("groups_read", &self.groups_read)
            .finish_non_exhaustive()
    }
}

impl<'t> TableWalk<'t> {
    /// A walk over the row groups of these numbers, before the first key.
    pub fn new(
        table: &'t TableSummary,
        groups: impl IntoIterator<Item = usize>,
        root: Arc<OutsideRoot>,
        limits: Limits,
        request_bytes: u64,
    ) -> Self {
        let mut order: Vec<usize> = groups.into_iter().collect();
        order.sort_by_key(|&group| (table.groups()[group].first(), group));
        Self {
            table,
            root,
            limits,
            traffic: Arc::default(),
            request_bytes,
            order,
            next: 0,
            active: Vec::new(),
            footers: Vec::new(),
            asked: None,
            found: Vec::new(),
            groups_read: 0,
            lines_read: 0,
        }
    }

    /// What was asked of the outside world so far.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Row groups read so far.
    #[must_use]
    pub fn groups_read(&self) -> u64 {
        self.groups_read
    }

    /// Rows looked at so far.
    #[must_use]
    pub fn lines_read(&self) -> u64 {
        let open = self.active.iter().map(|(_, state)| match state {
            State::Open(cursor) => cursor.lines_read(),
            State::Unopened | State::Failed(_) => 0,
        });
        self.lines_read + open.sum::<u64>()
    }

    /// All captures of a key, by time, url, file and offset; asking the same key again gives them again. Keys ascend.
    ///
    /// # Errors
    /// A row group that may hold the key and cannot be read.
    pub fn captures_of(&mut self, urlkey: &str) -> Result<&[CaptureLine], TableFault> {
        if self.asked.as_deref() == Some(urlkey) {
            return Ok(&self.found);
        }
        self.asked = None;
        self.found.clear();
        while let Some(&group) = self.order.get(self.next)
            && self.table.groups()[group].first() <= urlkey
        {
            self.active.push((group, State::Unopened));
            self.next += 1;
        }
        let (table, mut passed_lines) = (self.table, 0);
        self.active.retain(|(group, state)| {
            let is_behind = table.groups()[*group].is_behind(urlkey);
            if let State::Open(cursor) = state
                && is_behind
            {
                passed_lines += cursor.lines_read();
            }
            !is_behind
        });
        self.lines_read += passed_lines;
        // A group that failed is told before any other is asked: those would be beyond the key when it is asked again.
        for (group, state) in &self.active {
            if let State::Failed(cause) = state {
                return Err(TableFault { group: *group, cause: cause.clone() });
            }
        }
        let active = u64::try_from(self.active.len()).expect("usize fits u64");
        let share = (WINDOWS_BYTES / COLUMNS / active.max(1)).max(LEAST_WINDOW_BYTES);
        let window_bytes = share.min(self.request_bytes).max(1);
        let mut fault = None;
        for at in 0..self.active.len() {
            if let Err(cause) = self.advance(at, urlkey, window_bytes) {
                let (group, state) = &mut self.active[at];
                if let State::Open(cursor) = &*state {
                    self.lines_read += cursor.lines_read();
                }
                *state = State::Failed(cause.clone());
                fault = fault.or(Some(TableFault { group: *group, cause }));
            }
        }
        if let Some(fault) = fault {
            self.found.clear();
            return Err(fault);
        }
        let place = |line: &CaptureLine| (line.timestamp.clone(), line.url.clone(), line.filename.clone(), line.offset);
        self.found.sort_by_cached_key(place);
        self.asked = Some(urlkey.to_owned());
        Ok(&self.found)
    }

    /// Adds what one active group holds of the key.
    fn advance(&mut self, at: usize, urlkey: &str, window_bytes: u64) -> Result<(), TableError> {
        let group = self.active[at].0;
        if matches!(self.active[at].1, State::Unopened) {
            self.groups_read += 1;
            let cursor = self.open(group, window_bytes)?;
            self.active[at].1 = State::Open(Box::new(cursor));
        }
        let State::Open(cursor) = &mut self.active[at].1 else { return Ok(()) };
        let found = &mut self.found;
        guarded(AssertUnwindSafe(|| cursor.captures_of(urlkey, found)))
    }

    fn open(&mut self, group: usize, window_bytes: u64) -> Result<GroupCursor, TableError> {
        let of = &self.table.groups()[group];
        let part = &self.table.parts()[of.part];
        let metadata = match self.footers.iter().find(|(known, _)| *known == of.part) {
            Some((_, metadata)) => Arc::clone(metadata),
            None => {
                let (bytes, metadata) = footer::read_again(&self.root, part)?;
                self.traffic.add(bytes.len());
                let metadata = Arc::new(metadata);
                if self.footers.len() == FOOTERS {
                    self.footers.remove(0);
                }
                self.footers.push((of.part, Arc::clone(&metadata)));
                metadata
            }
        };
        let file = PartFile {
            root: Arc::clone(&self.root),
            path: Arc::clone(&part.path),
            limits: self.limits.clone(),
            traffic: Arc::clone(&self.traffic),
        };
        let data_end = part.bytes.saturating_sub(part.footer_bytes);
        let keys = of.keys.clone();
        guarded(AssertUnwindSafe(|| GroupCursor::open(&file, &metadata, of.row_group, data_end, window_bytes, keys)))
    }
}

/// Runs a decoder over bytes from outside: should it panic on some, they are damaged and nothing else is.
fn guarded<T>(decode: impl FnOnce() -> Result<T, TableError> + std::panic::UnwindSafe) -> Result<T, TableError> {
    catch_unwind(decode).unwrap_or_else(|_| {
        let (place, cause) = ("row group".to_owned(), "its decoder fails on it".to_owned());
        Err(TableError::Damaged { place, cause })
    })
}
