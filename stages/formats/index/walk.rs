//! Merges ascending keys with an index of either form, and says which block is to blame for a key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Scope;

use weft_core::limits::Limits;

use super::ahead::{BlockReader, SharedError, plan};
use super::{CrawlIndex, Reading, blocks_of};
use crate::formats::cdx::{BlockRef, CaptureLine, CdxError, ClusterIndex, IndexWalk, ReadError};
use crate::formats::columnar::{TableError, TableSummary, TableWalk, Traffic};
use crate::formats::outside::{OutsideError, OutsideRoot, with_causes};

/// A block that may hold the key, and cannot be read.
#[derive(Clone, Debug)]
pub struct BlockFault {
    /// The block's number in the index.
    pub block: usize,
    /// Which file, and where in it.
    pub place: String,
    /// What is wrong with it.
    pub cause: String,
}

/// Why a key has no answer.
#[derive(Debug)]
pub enum Fault {
    /// A block is damaged, or is not there.
    Block(BlockFault),
    /// Nothing can be had from there now: no block's fault.
    Outside {
        /// Which file, and where in it.
        place: String,
        /// Why.
        cause: Arc<OutsideError>,
    },
}

/// What a walk has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Ranges asked for.
    pub requests: u64,
    /// Their bytes, those between needed blocks included.
    pub bytes: u64,
    /// Blocks inflated, or row groups opened.
    pub blocks: u64,
    /// Lines or rows in them, as far as they were looked at.
    pub lines: u64,
}

type ReadBlock = Box<dyn FnMut(&BlockRef) -> Result<Vec<u8>, ReadError>>;

/// A walk over the needed blocks of an index; keys ascend.
pub struct Walk<'i> {
    root: Arc<OutsideRoot>,
    form: Form<'i>,
}

enum Form<'i> {
    ZipNum {
        folder: &'i str,
        cluster: &'i ClusterIndex,
        walk: IndexWalk<'i, ReadBlock>,
        traffic: Arc<Traffic>,
        /// Blocks that give no line at all: asking again would only read and inflate them again.
        dead: BTreeMap<usize, BlockFault>,
        /// The key that failed last: its blocks lie behind the reader.
        failed: Option<(String, BlockFault)>,
    },
    Columnar {
        table: &'i TableSummary,
        walk: TableWalk<'i>,
    },
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Walk").field("cost", &self.cost()).finish_non_exhaustive()
    }
}

impl<'i> Walk<'i> {
    /// Begins to read the `needed` blocks ahead; a thread of `scope` does, and ends with the walk.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        index: &'i CrawlIndex,
        needed: &[usize],
        root: &Arc<OutsideRoot>,
        reading: Reading,
        limits: &Limits,
    ) -> Self {
        let form = match index {
            CrawlIndex::ZipNum { folder, cluster } => {
                let blocks = needed.iter().filter_map(|&block| cluster.blocks().get(block));
                let fetches = plan(blocks, reading, limits);
                let mut reader = BlockReader::start(scope, root, folder, fetches, limits);
                let traffic = reader.traffic();
                let read: ReadBlock = Box::new(move |block| reader.read(block));
                let walk = IndexWalk::new(cluster, limits.clone(), read);
                Form::ZipNum { folder, cluster, walk, traffic, dead: BTreeMap::new(), failed: None }
            }
            CrawlIndex::Columnar(table) => {
                let groups = needed.iter().copied();
                let walk = TableWalk::new(table, groups, Arc::clone(root), limits.clone(), reading.request_bytes);
                Form::Columnar { table, walk }
            }
        };
        Self { root: Arc::clone(root), form }
    }

    /// What the walk has cost so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        match &self.form {
            Form::ZipNum { walk, traffic, .. } => Cost {
                requests: traffic.requests(),
                bytes: traffic.bytes(),
                blocks: walk.blocks_read(),
                lines: walk.lines_read(),
            },
            Form::Columnar { walk, .. } => Cost {
                requests: walk.traffic().requests(),
                bytes: walk.traffic().bytes(),
                blocks: walk.groups_read(),
                lines: walk.lines_read(),
            },
        }
    }

    /// All captures of a key; asking the same key again gives them again.
    ///
    /// # Errors
    /// The block to blame, for every key that it may hold; or that nothing can be had from outside.
    pub fn captures_of(&mut self, urlkey: &str) -> Result<&[CaptureLine], Fault> {
        match &mut self.form {
            Form::ZipNum { folder, cluster, walk, dead, failed, .. } => {
                if let Some((key, fault)) = failed
                    && *key == *urlkey
                {
                    return Err(Fault::Block(fault.clone()));
                }
                if let Some((_, fault)) = dead.range(blocks_of(cluster, urlkey)).next() {
                    return Err(Fault::Block(fault.clone()));
                }
                walk.captures_of(urlkey).map_err(|cause| {
                    let fault = zipnum_fault(&self.root, folder, cluster, urlkey, &cause, dead);
                    if let Fault::Block(fault) = &fault {
                        *failed = Some((urlkey.to_owned(), fault.clone()));
                    }
                    fault
                })
            }
            Form::Columnar { table, walk } => walk.captures_of(urlkey).map_err(|fault| {
                let (path, row_group) = table.place_of(fault.group);
                let place = format!("{} row group {row_group}", self.root.place(&path));
                match fault.cause {
                    TableError::Outside { source } if !is_of_the_file(&source) => {
                        Fault::Outside { place, cause: source }
                    }
                    cause => {
                        let cause = with_causes(&cause);
                        Fault::Block(BlockFault { block: fault.group, place, cause })
                    }
                }
            }),
        }
    }
}

/// Whether the failure is the file's: it is not there, or ends too early. Anything else (a server that forbids, a
/// connection that breaks, a disk that fails) says nothing about the index.
fn is_of_the_file(cause: &OutsideError) -> bool {
    matches!(cause, OutsideError::Missing { .. } | OutsideError::Short { .. } | OutsideError::Escapes { .. })
}

fn zipnum_fault(
    root: &OutsideRoot,
    folder: &str,
    cluster: &ClusterIndex,
    urlkey: &str,
    cause: &CdxError,
    dead: &mut BTreeMap<usize, BlockFault>,
) -> Fault {
    let (shard, offset, is_dead) = match cause {
        CdxError::ReadBlock { shard, offset, .. } | CdxError::DamagedBlock { shard, offset, .. } => {
            (Some(shard), *offset, true)
        }
        // Other lines of the block may be well.
        CdxError::BadBlockLine { shard, offset, .. } => (Some(shard), *offset, false),
        _ => (None, 0, false),
    };
    let blocks = blocks_of(cluster, urlkey);
    let of_key = cluster.blocks().get(blocks.clone()).unwrap_or_default();
    let at = of_key.iter().position(|block| Some(&block.shard) == shard && block.offset == offset);
    let block = blocks.start + at.unwrap_or(0);
    let path = shard.map_or_else(|| folder.to_owned(), |shard| CrawlIndex::shard_path(folder, shard));
    let place = format!("{} at byte {offset}", root.place(&path));
    if let CdxError::ReadBlock { source, .. } = cause
        && let Some(SharedError(outside)) = source.downcast_ref::<SharedError>()
        && !is_of_the_file(outside)
    {
        return Fault::Outside { place, cause: Arc::clone(outside) };
    }
    let fault = BlockFault { block, place, cause: with_causes(cause) };
    if is_dead {
        dead.insert(block, fault.clone());
    }
    Fault::Block(fault)
}
