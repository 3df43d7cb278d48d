//! Measures how alike images are: distances within a document, frequencies across the corpus; no verdict.
//!
//! Phase `pairs` (crawl shards) reads `images` and writes `distances`, one row per pair of a document's images
//! whose perceptual hashes differ in at most `max_distance_bits` of 64 bits, in key order. It also sends
//! `hash_counts` to the key shard of each hash. O(n²) in the images of one document, which `Limits::page_images`
//! bounds; one document is held at a time, and at most [`HASHES_HELD`] hashes.
//!
//! Phase `count` (key shards) reads the `hash_counts` of all crawl shards, merged by hash, and sends
//! `frequencies` back to every crawl shard where a hash occurs, for hashes of two images or more. All rows of one
//! hash meet in one key shard, so the counts are exact. It holds the shard numbers of one hash at a time.
//!
//! Every downloaded image counts, whatever becomes of it later: the numbers do not depend on any threshold.
//!
//! MMC4 (section 3) removes images with more than 10 duplicates in a sample of 60,000 images; these are the
//! counts of the whole corpus, of equal hashes rather than near ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space, hash_shard};
use weft_core::reject::Unit;
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError};
use weft_core::table::def;
use weft_core::tables::{Distances, DistancesRow, Frequencies, FrequenciesRow, HashCounts, HashCountsRow, ImageHashes};
use weft_core::tally::Tally;
use weft_core::write::{ExchangeWriter, WriteError};

/// The phase over crawl shards.
const PAIRS: &str = "pairs";
/// The phase over key shards.
const COUNT: &str = "count";

/// Hashes counted in memory before they are handed on: some 50 MB. Fixed, not a matter of the machine, since a
/// crawl shard with more distinct hashes than this writes several rows of one key, which `count` adds up.
const HASHES_HELD: usize = 1 << 20;

/// What `dedup` measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The largest distance written, in bits of 64. A recipe's `select.duplicate_bits` must not exceed it.
    pub max_distance_bits: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_distance_bits: 16 }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Dedup {
    config: Config,
}

impl Stage for Dedup {
    const NAME: &'static str = "dedup";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let pairs = Phase {
            name: PAIRS,
            space: Space::Crawl,
            reads: vec![def::<ImageHashes>()],
            writes: vec![def::<Distances>(), def::<HashCounts>()],
            flows: vec![Flow { unit: Unit::Images, reads: Some(def::<ImageHashes>()), keeps: None }],
        };
        let count = Phase {
            name: COUNT,
            space: Space::Key,
            reads: vec![def::<HashCounts>()],
            writes: vec![def::<Frequencies>()],
            flows: vec![],
        };
        Spec { uses: vec![], phases: vec![pairs, count] }
    }

    fn open(config: Config, _resources: &Resources) -> Result<Self, StageError> {
        Ok(Self { config })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        match context.phase.as_str() {
            PAIRS => self.pairs(context, HASHES_HELD),
            COUNT => count(context),
            other => Err(StageError::Outside {
                what: "phase",
                place: format!("{}.{other}", Self::NAME),
                cause: "there is none of this name".to_owned(),
                way_out: "ask for `pairs` or `count`",
                retry: false,
            }),
        }
    }
}

impl Dedup {
    fn pairs(&self, context: &Context, hashes_held: usize) -> Result<Tally, StageError> {
        let mut accounts = context.accounts(Self::NAME)?;
        let mut images = context.rows::<ImageHashes>()?;
        let mut distances = context.writer::<Distances>()?;
        let mut counts = HashCounter {
            writer: context.exchange()?,
            crawl_shard: context.shard,
            key_shards: context.shards.of(Space::Key),
            held: BTreeMap::new(),
            hashes_held,
        };
        while let Some((document_id, batch)) = images.next_document()? {
            let hashes: Vec<(u32, u64)> = batch.rows().map(|image| (image.image_index, image.phash)).collect();
            for (position, &(image_index, phash)) in hashes.iter().enumerate() {
                accounts.read(Unit::Images)?;
                accounts.kept(Unit::Images);
                counts.add(phash)?;
                for &(other_index, other_phash) in hashes.iter().skip(position + 1) {
                    let distance_bits = (phash ^ other_phash).count_ones();
                    if distance_bits <= self.config.max_distance_bits {
                        let document_id = &document_id;
                        distances.push(&DistancesRow { document_id, image_index, other_index, distance_bits })?;
                    }
                }
            }
        }
        accounts.fact("near_pairs_count", distances.rows());
        context.commit(distances.finish())?;
        counts.hand_over()?;
        context.commit(counts.writer.finish())?;
        accounts.finish()
    }
}

/// Counts the hashes of one crawl shard on their way to the key shards.
struct HashCounter {
    writer: ExchangeWriter<HashCounts>,
    crawl_shard: ShardId,
    key_shards: u32,
    held: BTreeMap<u64, u64>,
    hashes_held: usize,
}

impl HashCounter {
    fn add(&mut self, phash: u64) -> Result<(), WriteError> {
        *self.held.entry(phash).or_default() += 1;
        if self.held.len() >= self.hashes_held { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), WriteError> {
        for (phash, images) in std::mem::take(&mut self.held) {
            // Perceptual hashes crowd in few ranges (half of the bits are set): hash them again.
            let target = hash_shard(&format!("{phash:016x}"), self.key_shards);
            self.writer.push(target, &HashCountsRow { phash, crawl_shard: self.crawl_shard.0, images })?;
        }
        Ok(())
    }
}

/// One hash and where it occurs.
struct Occurrences {
    phash: u64,
    images: u64,
    crawl_shards: Vec<u32>,
}

fn count(context: &Context) -> Result<Tally, StageError> {
    let mut accounts = context.accounts(Dedup::NAME)?;
    let mut counts = context.rows::<HashCounts>()?;
    let mut frequencies = context.exchange::<Frequencies>()?;
    let mut current: Option<Occurrences> = None;
    let (mut hashes, mut repeated_hashes, mut images, mut repeated_images) = (0, 0, 0, 0);
    loop {
        let next = counts.next()?;
        if let (Some(row), Some(hash)) = (&next, &mut current)
            && row.phash == hash.phash
        {
            hash.images += row.images;
            // Rows of one hash come by crawl shard.
            if hash.crawl_shards.last() != Some(&row.crawl_shard) {
                hash.crawl_shards.push(row.crawl_shard);
            }
            continue;
        }
        if let Some(hash) = current.take() {
            context.check_cancelled()?;
            hashes += 1;
            images += hash.images;
            if hash.images >= 2 {
                repeated_hashes += 1;
                repeated_images += hash.images;
                for crawl_shard in hash.crawl_shards {
                    let row = FrequenciesRow { phash: hash.phash, images: hash.images };
                    frequencies.push(ShardId(crawl_shard), &row)?;
                }
            }
        }
        let Some(row) = next else { break };
        current = Some(Occurrences { phash: row.phash, images: row.images, crawl_shards: vec![row.crawl_shard] });
    }
    accounts.fact("hashes_count", hashes);
    accounts.fact("repeated_hashes_count", repeated_hashes);
    accounts.fact("images_count", images);
    accounts.fact("repeated_images_count", repeated_images);
    context.commit(frequencies.finish())?;
    accounts.finish()
}

#[cfg(test)]
mod tests {
    use weft_core::id::ShardCounts;
    use weft_core::rows::{Part, Rows};
    use weft_core::table::Table;
    use weft_core::tables::ImageHashesRow;
    use weft_core::testing;

    use super::*;

    fn dedup() -> Dedup {
        Dedup { config: Config::default() }
    }

    /// A context of the pairs phase over images given as (document, index, hash).
    fn pairs_context(images: &[(&str, u32, u64)]) -> Context {
        let mut context = testing::context();
        context.phase = PAIRS.to_owned();
        let rows =
            images.iter().map(|&(document_id, image_index, phash)| ImageHashesRow { document_id, image_index, phash });
        testing::give::<ImageHashes>(&mut context, rows);
        context
    }

    fn distances(context: &Context) -> Vec<(String, u32, u32, u32)> {
        testing::written::<Distances, _>(context, |row| {
            (row.document_id.to_owned(), row.image_index, row.other_index, row.distance_bits)
        })
    }

    #[test]
    fn pairs_of_one_document_within_16_bits_are_written_in_order() {
        let far = 0x1_FFFF; // 17 bits from 0
        let context = pairs_context(&[("b", 0, 0), ("b", 2, 0b111), ("b", 5, far), ("a", 0, 0), ("a", 1, 0xFFFF)]);
        let tally = Stage::run(&dedup(), ShardId(0), &context).unwrap();
        let expected = [("b", 0, 2, 3), ("b", 2, 5, 14), ("a", 0, 1, 16)];
        assert_eq!(distances(&context), expected.map(|(id, one, other, bits)| (id.to_owned(), one, other, bits)));
        let images = &tally.counts[&Unit::Images];
        assert_eq!((images.read, images.kept, images.rejected_total()), (5, 5, 0));
    }

    #[test]
    fn equal_hashes_of_two_documents_make_no_pair() {
        let context = pairs_context(&[("a", 0, 7), ("b", 0, 7)]);
        Stage::run(&dedup(), ShardId(0), &context).unwrap();
        assert_eq!(distances(&context), []);
    }

    #[test]
    fn a_shard_of_no_images_writes_empty_tables() {
        let context = pairs_context(&[]);
        Stage::run(&dedup(), ShardId(0), &context).unwrap();
        assert_eq!(distances(&context), []);
        assert_eq!(testing::written::<HashCounts, _>(&context, |row| row.phash), Vec::<u64>::new());
    }

    /// Runs both phases over crawl shards given as hashes; what each crawl shard reads of `frequencies`.
    fn frequencies(crawl_shards: &[&[u64]], key_shards: u32, hashes_held: usize) -> Vec<Vec<(u64, u64)>> {
        let shards =
            ShardCounts { source: 1, corpus: 1, crawl: u32::try_from(crawl_shards.len()).unwrap(), key: key_shards };
        let store = testing::context().store;
        let mut counted = Vec::new();
        for (shard, hashes) in (0..).zip(crawl_shards) {
            let images: Vec<_> = (0..).zip(*hashes).map(|(index, phash)| ("d", index, *phash)).collect();
            // The input lies in a store of its own; the outputs meet in one.
            let mut context = pairs_context(&images);
            (context.shard, context.shards) = (ShardId(shard), shards);
            dedup().pairs(&context, hashes_held).unwrap();
            counted.push(context);
        }
        let mut answers = vec![Vec::new(); crawl_shards.len()];
        for key_shard in 0..key_shards {
            let mut context = testing::context();
            (context.store, context.shards) = (store.clone(), shards);
            (context.phase, context.folder) = (COUNT.to_owned(), "count".to_owned());
            context.shard = ShardId(key_shard);
            for (number, source) in counted.iter().enumerate() {
                let part = part_of::<HashCounts>(source, ShardId(key_shard));
                if let Some(part) = part {
                    let path = format!("gathered/{number}.parquet");
                    store.put(&path, source.store.get(&part.path).unwrap().to_vec()).unwrap();
                    let parts = context.inputs.entry(HashCounts::NAME.to_owned()).or_default();
                    parts.push(vec![Part { path, row_groups: part.row_groups }]);
                }
            }
            Stage::run(&dedup(), ShardId(key_shard), &context).unwrap();
            for (shard, answer) in (0..).zip(&mut answers) {
                let Some(part) = part_of::<Frequencies>(&context, ShardId(shard)) else { continue };
                let mut rows = Rows::<Frequencies>::open(&store, &[part]).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    answer.push((row.phash, row.images));
                }
            }
        }
        for answer in &mut answers {
            answer.sort_unstable();
        }
        answers
    }

    /// The part of an exchange that is meant for `shard`.
    fn part_of<T: Table>(context: &Context, shard: ShardId) -> Option<Part> {
        let outputs = context.outputs.lock().unwrap();
        let output = outputs.iter().find(|output| output.table == T::NAME).unwrap();
        let directory = output.directory.as_ref().unwrap();
        let entry = directory.iter().find(|entry| entry.shard == shard)?;
        Some(Part { path: output.path.clone(), row_groups: Some((entry.first_row_group, entry.row_groups)) })
    }

    #[test]
    fn repeated_hashes_come_back_to_every_shard_that_has_them_with_the_count_of_the_corpus() {
        let shards: [&[u64]; 3] = [&[1, 2, 3, 2], &[2, 4, 4], &[5, u64::MAX, 1]];
        let expected = vec![vec![(1, 2), (2, 3)], vec![(2, 3), (4, 2)], vec![(1, 2)]];
        assert_eq!(frequencies(&shards, 1, HASHES_HELD), expected);
    }

    #[test]
    fn counts_depend_neither_on_the_number_of_key_shards_nor_on_the_memory() {
        let shards: [&[u64]; 3] = [&[1, 2, 3, 2, 9, 2], &[2, 4, 4, 9, 1], &[5, u64::MAX, 1, 5, 5]];
        let expected = frequencies(&shards, 1, HASHES_HELD);
        assert_eq!(frequencies(&shards, 5, HASHES_HELD), expected);
        assert_eq!(frequencies(&shards, 3, 1), expected);
    }

    #[test]
    fn an_unknown_phase_is_an_error() {
        let mut context = testing::context();
        context.phase = "verdict".to_owned();
        let error = Stage::run(&dedup(), ShardId(0), &context).unwrap_err();
        assert!(error.to_string().starts_with("phase `dedup.verdict` is not usable"), "{error}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads its reference values")]
    fn distances_of_a_real_crawl_are_the_reference_pairs() {
        let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
            println!("SKIPPED: WEFT_CONFORMANCE is not set");
            return;
        };
        let path = std::path::Path::new(&root).join("archive-org/expected.json");
        let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut compared = 0;
        for document in expected["documents"].as_array().unwrap() {
            let Some(candidates) = document["mmc4_candidates"].as_array() else { continue };
            let mut images = Vec::new();
            for (index, url) in (0..).zip(candidates) {
                if let Some(hash) = expected["images"][url.as_str().unwrap()]["phash"].as_str() {
                    images.push(("d", index, u64::from_str_radix(hash, 16).unwrap()));
                }
            }
            let context = pairs_context(&images);
            Stage::run(&dedup(), ShardId(0), &context).unwrap();
            let within =
                |low: u32, high: u32| distances(&context).iter().filter(|pair| (low..=high).contains(&pair.3)).count();
            let reference = |key: &str| document[key].as_array().map_or(0, Vec::len);
            assert_eq!(within(0, 5), reference("duplicate_pairs"), "document {}", document["i"]);
            assert_eq!(within(6, 10), reference("close_pairs_6_to_10"), "document {}", document["i"]);
            compared += images.len();
        }
        assert!(compared > 0, "no image was compared");
    }
}
