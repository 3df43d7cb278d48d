//! Cuts the space of urlkeys into corpus shards: ranges that hold equal parts of a crawl's index.
//!
//! A ZipNum index is cut into equal numbers of blocks, a columnar one into equal numbers of rows.
//!
//! Border `n` of `shards` is the first key of block `n * blocks / shards`, so that each block is read by one shard,
//! or by two where a border lies inside it; for a columnar index, the first key of the row group before which
//! `n / shards` of the rows lie, row groups taken by their first keys: where files overlap, several shards read one. A key belongs to the shard of the last border that is not behind it;
//! keys before the first block belong to shard 0. The cut depends on the index and the number of shards alone:
//! `ingest` and `locate` see the same one. An index of fewer blocks than shards leaves shards empty.

use weft_core::id::ShardId;

use super::cdx::ClusterIndex;
use super::columnar::TableSummary;
use super::index::CrawlIndex;

/// The ranges of the corpus shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurtRanges {
    /// The first key of each shard but shard 0, ascending; equal ones leave the earlier shard empty.
    borders: Vec<Box<str>>,
}

impl SurtRanges {
    /// Cuts an index of either form into `shards` ranges.
    #[must_use]
    pub fn of(index: &CrawlIndex, shards: u32) -> Self {
        match index {
            CrawlIndex::ZipNum { cluster, .. } => Self::from_cluster(cluster, shards),
            CrawlIndex::Columnar(table) => Self::from_table(table, shards),
        }
    }

    /// Cuts the table's row groups into `shards` runs of about equal rows. O(row groups + shards).
    ///
    /// Groups whose keys are not known take no part.
    #[must_use]
    pub fn from_table(table: &TableSummary, shards: u32) -> Self {
        let known = table.by_first().iter().filter_map(|&group| {
            let group = &table.groups()[group];
            group.keys.as_ref().map(|(first, _)| (first, u128::from(group.rows)))
        });
        let known: Vec<(&Box<str>, u128)> = known.collect();
        let total: u128 = known.iter().map(|(_, rows)| rows).sum();
        let mut borders = Vec::new();
        let (mut at, mut before) = (0, 0);
        for shard in 1..shards {
            let wanted = u128::from(shard) * total / u128::from(shards);
            while before < wanted
                && let Some((_, rows)) = known.get(at)
            {
                before += rows;
                at += 1;
            }
            // A group that the border cuts through belongs to the shard that it begins in.
            let Some((first, _)) = known.get(at) else { break };
            borders.push((*first).clone());
        }
        Self { borders }
    }

    /// Cuts the index's blocks into `shards` runs of equal count. O(shards).
    #[must_use]
    pub fn from_cluster(cluster: &ClusterIndex, shards: u32) -> Self {
        let blocks = cluster.blocks();
        let count = u128::try_from(blocks.len()).expect("usize fits u128");
        let border = |shard: u32| {
            let block = u128::from(shard) * count / u128::from(shards);
            let block = usize::try_from(block).expect("below the number of blocks");
            blocks.get(block).map(|block| block.urlkey.clone())
        };
        Self { borders: (1..shards).filter_map(border).collect() }
    }

    /// The shard that `urlkey` belongs to. O(log shards).
    #[must_use]
    pub fn shard_of(&self, urlkey: &str) -> ShardId {
        let shard = self.borders.partition_point(|border| **border <= *urlkey);
        ShardId(u32::try_from(shard).expect("there are at most a u32 of shards"))
    }
}

#[cfg(test)]
mod tests {
    use weft_core::limits::Limits;

    use super::*;

    fn cluster(keys: &[&str]) -> ClusterIndex {
        let lines: Vec<String> = keys.iter().map(|key| format!("{key} 20190418000000\tcdx-00000.gz\t0\t1\n")).collect();
        ClusterIndex::parse(lines.concat().as_bytes(), &Limits::default()).unwrap()
    }

    fn shards(ranges: &SurtRanges, keys: &[&str]) -> Vec<u32> {
        keys.iter().map(|key| ranges.shard_of(key).0).collect()
    }

    #[test]
    fn blocks_are_dealt_out_evenly_in_key_order() {
        let ranges = SurtRanges::from_cluster(&cluster(&["b", "d", "f", "h"]), 2);
        assert_eq!(shards(&ranges, &["a", "b", "e", "f", "g", "z"]), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn row_groups_are_dealt_out_by_their_rows_whatever_file_they_are_in() {
        let text = concat!(
            r#"{"columnar":{"version":1}}"#,
            "\n",
            r#"{"part":{"path":"b","bytes":9,"footer_bytes":9,"footer_sha256":""}}"#,
            "\n",
            r#"{"group":{"rows":10,"keys":["a","f"]}}"#,
            "\n",
            r#"{"group":{"rows":10,"keys":["g","k"]}}"#,
            "\n",
            r#"{"group":{"rows":99,"keys":null}}"#,
            "\n",
            r#"{"part":{"path":"c","bytes":9,"footer_bytes":9,"footer_sha256":""}}"#,
            "\n",
            r#"{"group":{"rows":20,"keys":["c","p"]}}"#,
            "\n",
        );
        let table = TableSummary::parse(text.as_bytes(), &Limits::default()).unwrap();
        let ranges = SurtRanges::from_table(&table, 2);
        assert_eq!(shards(&ranges, &["0", "a", "c", "f", "g", "z"]), [0, 0, 0, 0, 1, 1]);
        let ranges = SurtRanges::from_table(&table, 4);
        assert_eq!(shards(&ranges, &["a", "c", "g", "z"]), [0, 1, 3, 3]);
        assert_eq!(shards(&SurtRanges::from_table(&TableSummary::default(), 3), &["a", "z"]), [0, 0]);
    }

    #[test]
    fn a_key_that_fills_several_blocks_stays_in_one_shard() {
        let ranges = SurtRanges::from_cluster(&cluster(&["b", "d", "d", "d"]), 4);
        assert_eq!(shards(&ranges, &["c", "d", "e"]), [0, 3, 3]);
    }

    #[test]
    fn more_shards_than_blocks_and_an_empty_index_still_place_every_key() {
        let ranges = SurtRanges::from_cluster(&cluster(&["b", "d"]), 5);
        assert_eq!(shards(&ranges, &["a", "b", "c", "d", "e"]), [0, 2, 2, 4, 4]);
        let ranges = SurtRanges::from_cluster(&cluster(&[]), 3);
        assert_eq!(shards(&ranges, &["a", "z"]), [0, 0]);
        let ranges = SurtRanges::from_cluster(&cluster(&["b"]), 1);
        assert_eq!(shards(&ranges, &["a", "z"]), [0, 0]);
    }
}
