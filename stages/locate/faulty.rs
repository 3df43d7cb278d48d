//! Counts the blocks of the index that are at fault, and says when there are too many of them.

use std::collections::BTreeSet;

use weft_core::stage::StageError;

use crate::formats::index::BlockFault;

/// A task that needs fewer blocks is not judged by its share of faulty ones.
pub const JUDGED_BLOCKS: usize = 5;

/// The faulty blocks of a task.
#[derive(Debug)]
pub(super) struct Faulty {
    needed: usize,
    max_share: f64,
    blocks: BTreeSet<usize>,
    first: Option<BlockFault>,
}

impl Faulty {
    /// None yet of the `needed` ones.
    pub(super) fn new(needed: usize, max_share: f64) -> Self {
        Self { needed, max_share, blocks: BTreeSet::new(), first: None }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.blocks.len()).expect("usize fits u64")
    }

    /// Takes note of one.
    ///
    /// # Errors
    /// When there are too many: the task's failure, by its first cause.
    pub(super) fn add(&mut self, fault: &BlockFault) -> Result<(), StageError> {
        let first = self.first.get_or_insert_with(|| fault.clone());
        self.blocks.insert(fault.block);
        let faulty = u32::try_from(self.blocks.len()).map_or(f64::INFINITY, f64::from);
        let needed = u32::try_from(self.needed).map_or(f64::INFINITY, f64::from);
        if self.needed < JUDGED_BLOCKS || faulty <= self.max_share * needed {
            return Ok(());
        }
        let of_how_many =
            format!("{} of the {} blocks that the task needs are at fault", self.blocks.len(), self.needed);
        Err(StageError::Outside {
            what: "index",
            place: first.place.clone(),
            cause: format!("{}; {of_how_many}, and max_failed_share is {}", first.cause, self.max_share),
            way_out: "get the index and its summary again, both of one crawl, or raise stages.locate.max_failed_share",
            retry: false,
        })
    }
}
