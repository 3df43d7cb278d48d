//! Reads the needed blocks of a ZipNum index: neighbours as one range, ahead of the walk.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use weft_core::limits::{LimitExceeded, Limits};

use super::CrawlIndex;
use crate::formats::cdx::{BlockRef, ReadError};
use crate::formats::columnar::Traffic;
use crate::formats::outside::{OutsideError, OutsideRoot};

/// Ranges read before the walk asks for them, besides the one being read.
const AHEAD: usize = 1;

/// How much of an index is asked for at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Two needed blocks are read as one range when at most this many bytes lie between them.
    pub gap_bytes: u64,
    /// Most bytes of a range, unless one block is larger.
    pub request_bytes: u64,
}

/// One range of a shard that holds needed blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    shard: Arc<str>,
    start: u64,
    length: u64,
}

impl Fetch {
    /// Where the block's bytes are in the range's.
    fn offset_of(&self, block: &BlockRef) -> Option<usize> {
        let skip = block.offset.checked_sub(self.start)?;
        let is_within = self.shard == block.shard && skip.checked_add(block.length)? <= self.length;
        usize::try_from(skip).ok().filter(|_| is_within)
    }
}

/// The ranges to read for the needed blocks, in the order of the index. A block that is larger than a record may be,
/// or that ends beyond all numbers, is in none.
pub(super) fn plan<'b>(needed: impl Iterator<Item = &'b BlockRef>, reading: Reading, limits: &Limits) -> Vec<Fetch> {
    let mut fetches: Vec<Fetch> = Vec::new();
    for block in needed {
        let Some(end) = block.offset.checked_add(block.length).filter(|_| block.length <= limits.record_bytes) else {
            continue;
        };
        if let Some(last) = fetches.last_mut()
            && last.shard == block.shard
            && block.offset.checked_sub(last.start + last.length).is_some_and(|gap| gap <= reading.gap_bytes)
            && end - last.start <= reading.request_bytes
        {
            last.length = end - last.start;
            continue;
        }
        fetches.push(Fetch { shard: Arc::clone(&block.shard), start: block.offset, length: block.length });
    }
    fetches
}

/// A failure to read a range, for each of its blocks.
#[derive(Clone, Debug)]
pub(super) struct SharedError(pub(super) Arc<OutsideError>);

impl fmt::Display for SharedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What was read for a range: fewer bytes only where the file ends.
type Read = Result<Vec<u8>, Arc<OutsideError>>;

/// Gives blocks their bytes; a thread reads the planned ranges ahead.
pub(super) struct BlockReader {
    root: Arc<OutsideRoot>,
    folder: String,
    limits: Limits,
    traffic: Arc<Traffic>,
    ranges: Receiver<(Fetch, Read)>,
    current: Option<(Fetch, Read)>,
    /// The block given last, which is asked again after a line of it was bad.
    last: Option<(BlockRef, Vec<u8>)>,
}

impl BlockReader {
    /// Begins to read; the thread ends with the plan, or when the reader is dropped.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        root: &Arc<OutsideRoot>,
        folder: &str,
        fetches: Vec<Fetch>,
        limits: &Limits,
    ) -> Self {
        let (sender, ranges) = sync_channel(AHEAD);
        let (thread_root, thread_folder) = (Arc::clone(root), folder.to_owned());
        scope.spawn(move || read_all(&thread_root, &thread_folder, fetches, &sender));
        Self {
            root: Arc::clone(root),
            folder: folder.to_owned(),
            limits: limits.clone(),
            traffic: Arc::default(),
            ranges,
            current: None,
            last: None,
        }
    }

    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// The block's bytes as stored.
    pub(super) fn read(&mut self, block: &BlockRef) -> Result<Vec<u8>, ReadError> {
        // The summary comes from outside too: its lengths are not to be trusted with memory.
        if block.length > self.limits.record_bytes {
            return Err(LimitExceeded { what: "record_bytes", limit: self.limits.record_bytes }.into());
        }
        if let Some((last, stored)) = &self.last
            && last == block
        {
            return Ok(stored.clone());
        }
        let stored = match self.of_ranges(block) {
            Some(stored) => stored?,
            // Not in the plan, or out of its order: the summary's offsets do not ascend.
            None => {
                let path = CrawlIndex::shard_path(&self.folder, &block.shard);
                let read = self.root.read_range(&path, block.offset, block.length);
                self.traffic.add(read.as_ref().map_or(0, Vec::len));
                read.map_err(|cause| SharedError(Arc::new(cause)))?
            }
        };
        self.last = Some((block.clone(), stored.clone()));
        Ok(stored)
    }

    /// From the range that holds the block; none where no range to come does.
    fn of_ranges(&mut self, block: &BlockRef) -> Option<Result<Vec<u8>, SharedError>> {
        loop {
            if let Some((fetch, read)) = &self.current
                && let Some(begin) = fetch.offset_of(block)
            {
                let bytes = match read {
                    Ok(bytes) => bytes,
                    Err(cause) => return Some(Err(SharedError(Arc::clone(cause)))),
                };
                let left = bytes.get(begin..).unwrap_or_default();
                let wanted = usize::try_from(block.length).ok().and_then(|length| left.get(..length));
                return Some(wanted.map(<[u8]>::to_vec).ok_or_else(|| {
                    // The file ends inside the range: those of its blocks that are whole were given.
                    let path = CrawlIndex::shard_path(&self.folder, &block.shard);
                    SharedError(Arc::new(OutsideError::Short {
                        place: self.root.place(&path),
                        start: block.offset,
                        wanted: block.length,
                        present: u64::try_from(left.len()).expect("usize fits u64"),
                    }))
                }));
            }
            let (fetch, read) = self.ranges.recv().ok()?;
            self.traffic.add(read.as_ref().map_or(0, Vec::len));
            self.current = Some((fetch, read));
        }
    }
}

fn read_all(root: &OutsideRoot, folder: &str, fetches: Vec<Fetch>, sender: &SyncSender<(Fetch, Read)>) {
    for fetch in fetches {
        let path = CrawlIndex::shard_path(folder, &fetch.shard);
        let read = root.read_up_to(&path, fetch.start, fetch.length).map_err(Arc::new);
        // Nobody waits for more: the walk is over.
        if sender.send((fetch, read)).is_err() {
            return;
        }
    }
}
