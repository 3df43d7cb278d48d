//! Marks the blocks of an index that a stream of ascending keys needs.

use super::{CrawlIndex, blocks_of};

/// The blocks that some key may be in. O(keys x log blocks); memory is a byte a block.
#[derive(Debug)]
pub struct Needed<'i> {
    index: &'i CrawlIndex,
    marked: Vec<bool>,
    last: Option<String>,
    /// For a columnar index: the first group, by first key, that no key has reached.
    next: usize,
    /// Groups that were reached, are not marked and not yet behind.
    open: Vec<usize>,
}

impl<'i> Needed<'i> {
    /// Nothing is needed yet.
    #[must_use]
    pub fn new(index: &'i CrawlIndex) -> Self {
        Self { index, marked: vec![false; index.blocks()], last: None, next: 0, open: Vec::new() }
    }

    /// Takes note of a key; keys ascend.
    pub fn mark(&mut self, urlkey: &str) {
        if self.last.as_deref() == Some(urlkey) {
            return;
        }
        self.last = Some(urlkey.to_owned());
        match self.index {
            CrawlIndex::ZipNum { cluster, .. } => self.marked[blocks_of(cluster, urlkey)].fill(true),
            CrawlIndex::Columnar(table) => {
                let groups = table.groups();
                while let Some(&group) = table.by_first().get(self.next)
                    && groups[group].first() <= urlkey
                {
                    self.open.push(group);
                    self.next += 1;
                }
                let marked = &mut self.marked;
                // A group that is marked needs no further look, nor does one that lies behind.
                self.open.retain(|&group| {
                    marked[group] = groups[group].may_hold(urlkey);
                    !marked[group] && groups[group].keys.as_ref().is_some_and(|(_, last)| **last > *urlkey)
                });
            }
        }
    }

    /// The numbers of the blocks needed, ascending.
    #[must_use]
    pub fn blocks(&self) -> Vec<usize> {
        (0..self.marked.len()).filter(|&block| self.marked[block]).collect()
    }
}
