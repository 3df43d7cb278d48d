//! A crawl's index in either of its forms, behind one face.
//!
//! [`CrawlIndex`] is what a summary describes: a ZipNum index ([`super::cdx`]) by its `cluster.idx`, or a columnar one
//! ([`super::columnar`]) by the text that weft makes of its footers; the summary's first bytes tell which. Both consist
//! of *blocks* (gzip members, row groups) that hold ranges of urlkeys. From here come the blocks that a set of keys
//! needs ([`Needed`]), a walk over them for ascending keys ([`Walk`]), single look-ups, and, in
//! [`super::surt_ranges`], the cut into corpus shards.

mod ahead;
mod needed;
mod walk;

use std::io::{self, BufRead};
use std::ops::Range;
use std::sync::Arc;

use weft_core::limits::Limits;

pub use self::ahead::Reading;
pub use self::needed::Needed;
pub use self::walk::{BlockFault, Cost, Fault, Walk};
use super::cdx::{CaptureLine, CdxError, ClusterIndex};
use super::columnar::{SummaryError, TableFault, TableSummary, TableWalk};
use super::outside::OutsideRoot;

/// An index, described by its summary.
#[derive(Clone, Debug)]
pub enum CrawlIndex {
    /// Lines in gzip blocks.
    ZipNum {
        /// The folder of its shards below the crawl's root; empty for the root itself.
        folder: String,
        /// The blocks.
        cluster: ClusterIndex,
    },
    /// Parquet files in row groups.
    Columnar(TableSummary),
}

/// Why a summary is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It could not be read.
    #[error("failed to read the index summary")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no summary of a ZipNum index.
    #[error(transparent)]
    ZipNum(CdxError),
    /// It is no summary of a columnar index.
    #[error(transparent)]
    Columnar(SummaryError),
}

impl CrawlIndex {
    /// Reads a summary of either form; `folder` is where a ZipNum index's shards lie below the root.
    ///
    /// # Errors
    /// A line that breaks the format or the order, by its number.
    pub fn parse(mut summary: impl BufRead, folder: &str, limits: &Limits) -> Result<Self, IndexError> {
        let begin = summary.fill_buf().map_err(|source| IndexError::Read { source })?;
        if TableSummary::is_begun_by(begin) {
            return TableSummary::parse(summary, limits).map(Self::Columnar).map_err(IndexError::Columnar);
        }
        let cluster = ClusterIndex::parse(summary, limits).map_err(IndexError::ZipNum)?;
        Ok(Self::ZipNum { folder: folder.trim_matches('/').to_owned(), cluster })
    }

    /// How many blocks it has.
    #[must_use]
    pub fn blocks(&self) -> usize {
        match self {
            Self::ZipNum { cluster, .. } => cluster.blocks().len(),
            Self::Columnar(table) => table.groups().len(),
        }
    }

    /// A ZipNum shard's path below the crawl's root.
    #[must_use]
    pub fn shard_path(folder: &str, shard: &str) -> String {
        if folder.is_empty() { shard.to_owned() } else { format!("{folder}/{shard}") }
    }
}

/// The blocks of a ZipNum index that may hold lines of `urlkey`: from the one before the first whose own first key is
/// as large, since lines may begin at its end, to the last whose first key is not larger. O(log blocks).
pub(super) fn blocks_of(cluster: &ClusterIndex, urlkey: &str) -> Range<usize> {
    let blocks = cluster.blocks();
    let begin = blocks.partition_point(|block| *block.urlkey < *urlkey).saturating_sub(1);
    let end = blocks.partition_point(|block| *block.urlkey <= *urlkey);
    begin..end.max(begin)
}

/// All captures of one key of a columnar index, by time. Reads the key column of each row group that may hold the key
/// up to the key: made for small tables; a look-up in one of Common Crawl's row groups reads megabytes.
///
/// # Errors
/// The first row group that cannot be read.
pub fn look_up(
    table: &TableSummary,
    root: &Arc<OutsideRoot>,
    urlkey: &str,
    limits: &Limits,
    request_bytes: u64,
) -> Result<Vec<CaptureLine>, TableFault> {
    let groups = (0..table.groups().len()).filter(|&group| table.groups()[group].may_hold(urlkey));
    let mut walk = TableWalk::new(table, groups, Arc::clone(root), limits.clone(), request_bytes);
    walk.captures_of(urlkey).map(<[CaptureLine]>::to_vec)
}

#[cfg(test)]
mod tests;
