//! How many requests and bytes it takes to get scattered records out of large files.
//!
//! Two questions. *Which blocks of a sorted index hold at least one of so many keys?* Keys fall on blocks unevenly (a
//! site's pages are neighbours, and some blocks hold none), so the keys of a run tell: how many blocks they fell on once
//! and twice says how many more will be met. Where no run tells, keys are taken to fall evenly (Poisson), which is the
//! most blocks. Requests are then counted on the blocks as they lie, by the rule of the stage. *How do records of a file
//! coalesce into ranges?* By letting the stage that reads them plan files of the same density, made with a seed; records
//! lie as a Poisson process in the bytes that are not theirs. O(records walked), at most [`WALKED`] and one file.

use std::ops::Range;

use weft_stages::fetch::plan::{Settings, Span, plan};
use weft_stages::formats::cdx::BlockRef;

/// Blocks on either side that tell how many keys fall near one.
const NEIGHBOURS: usize = 2;
/// Records walked through for one answer.
const WALKED: f64 = 400_000.0;

/// How neighbouring blocks are read together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Most bytes between two records of one range.
    pub(crate) gap_bytes: f64,
    /// Most bytes of a range, unless one record is larger.
    pub(crate) range_bytes: f64,
    /// Most records of a range.
    pub(crate) range_records: f64,
}

/// Requests, and the bytes that they bring.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Access {
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
}

/// The mean access to one file of `file_bytes` that holds `records` wanted ones, of these lengths, by the stage's own
/// plans.
pub(crate) fn ranges(file_bytes: f64, records: f64, lengths: &[f64], settings: &Settings, seed: u64) -> Access {
    if records <= 0.0 || lengths.is_empty() {
        return Access::default();
    }
    let mut rng = Rng(seed);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 4 to 4,000")]
    let files = (WALKED / records).clamp(4.0, 4_000.0) as u32;
    let mean_length = lengths.iter().sum::<f64>() / super::value::amount(lengths.len().try_into().unwrap_or(u64::MAX));
    let free_bytes = (file_bytes - records * mean_length).max(0.0);
    let mut total = Access::default();
    for _ in 0..files {
        for read in plan(&one_file(free_bytes, records, lengths, &mut rng), settings) {
            total.requests += 1.0;
            total.bytes += super::value::amount(read.length);
        }
    }
    Access { requests: total.requests / f64::from(files), bytes: total.bytes / f64::from(files) }
}

/// The records of one file.
fn one_file(free_bytes: f64, records: f64, lengths: &[f64], rng: &mut Rng) -> Vec<Span> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a file, rounded down")]
    let whole = |bytes: f64| bytes as u64;
    let mean_gap = free_bytes / records;
    let mut spans = Vec::new();
    let (mut free_left, mut left, mut at) = (free_bytes, records, 0.0);
    loop {
        // Without free space there is no process: all records, back to back.
        let gap = rng.exponential(mean_gap);
        free_left -= gap;
        left -= 1.0;
        if free_left < 0.0 || (mean_gap <= 0.0 && left < -0.5) {
            break;
        }
        let length = lengths[rng.below(lengths.len())];
        at += gap;
        spans.push(Span { start: whole(at), length: whole(length) });
        at += length;
    }
    spans
}

/// How many of `blocks` hold at least one of `keys` that fall on them evenly.
pub(crate) fn evenly_touched(blocks: f64, keys: f64) -> f64 {
    if blocks <= 0.0 { 0.0 } else { blocks * (1.0 - (-keys / blocks).exp()) }
}

/// How the keys of a sample fell on the blocks of an index.
#[derive(Clone, Debug)]
pub(crate) struct Fallen {
    /// Keys by block.
    counts: Vec<u32>,
    keys: f64,
}

impl Fallen {
    /// No key yet, on so many blocks.
    pub(crate) fn new(blocks: usize) -> Self {
        Self { counts: vec![0; blocks], keys: 0.0 }
    }

    /// Takes note of a key that these blocks may hold.
    pub(crate) fn fall(&mut self, blocks: Range<usize>) {
        self.keys += 1.0;
        for count in self.counts.get_mut(blocks).into_iter().flatten() {
            *count = count.saturating_add(1);
        }
    }

    /// Blocks with a key.
    pub(crate) fn touched(&self) -> f64 {
        super::value::amount(self.counts.len().try_into().unwrap_or(u64::MAX)) - self.blocks_with(0)
    }

    /// How likely each block is to hold one of `keys`. Of fewer keys than the sample's: by the block's own count. Of
    /// more: its own blocks surely, and of the others as many as Chao's extrapolation expects (Chao et al. 2014,
    /// equation 9), the rather the more keys fell on their neighbours, since neighbours are of one site.
    fn likely(&self, keys: f64) -> Vec<f64> {
        if self.keys <= 0.0 {
            let share =
                evenly_touched(1.0, keys / super::value::amount(self.counts.len().max(1).try_into().unwrap_or(1)));
            return vec![share; self.counts.len()];
        }
        let times = keys / self.keys;
        if times < 1.0 {
            return self.counts.iter().map(|count| 1.0 - (1.0 - times).powf(f64::from(*count))).collect();
        }
        let near = self.near_counts();
        let untouched = || self.counts.iter().zip(&near).filter(|(count, _)| **count == 0).map(|(_, near)| *near);
        let unseen = self.still_unseen(keys - self.keys);
        let of_near = |near: f64, scale: f64| 1.0 - (-scale * near).exp();
        // The scale at which the neighbourhoods give as many: bisection, for the sum grows with it.
        let (mut low, mut high) = (0.0, 1e6);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            let sum: f64 = untouched().map(|near| of_near(near, middle)).sum();
            if sum < unseen { low = middle } else { high = middle }
        }
        // What the neighbourhoods cannot give falls anywhere else.
        let given: f64 = untouched().map(|near| of_near(near, high)).sum();
        let elsewhere = untouched().filter(|near| *near <= 0.0).count();
        let elsewhere = super::value::amount(elsewhere.try_into().unwrap_or(u64::MAX));
        let far = if elsewhere > 0.0 { ((unseen - given) / elsewhere).clamp(0.0, 1.0) } else { 0.0 };
        let of_block = |(count, near): (&u32, &f64)| match (count, near) {
            (0, near) if *near > 0.0 => of_near(*near, high),
            (0, _) => far,
            _ => 1.0,
        };
        self.counts.iter().zip(&near).map(of_block).collect()
    }

    /// The mean count of each block and its [`NEIGHBOURS`] on either side.
    fn near_counts(&self) -> Vec<f64> {
        let blocks = self.counts.len();
        let near = (0..blocks).map(|block| {
            let window = block.saturating_sub(NEIGHBOURS)..(block + NEIGHBOURS + 1).min(blocks);
            let size = super::value::amount(window.len().try_into().unwrap_or(1));
            let counts = self.counts.get(window).unwrap_or_default();
            counts.iter().map(|count| f64::from(*count)).sum::<f64>() / size
        });
        near.collect()
    }

    /// Blocks without a key of the sample that `more` further keys are expected to fall on.
    fn still_unseen(&self, more: f64) -> f64 {
        let (once, twice) = (self.blocks_with(1), self.blocks_with(2));
        if more <= 0.0 || once <= 0.0 {
            return 0.0;
        }
        let correction = (self.keys - 1.0) / self.keys;
        let all = correction * if twice > 0.0 { once * once / (2.0 * twice) } else { once * (once - 1.0) / 2.0 };
        if all <= 0.0 { 0.0 } else { all * (1.0 - (1.0 - once / (self.keys * all + once)).powf(more)) }
    }

    fn blocks_with(&self, keys: u32) -> f64 {
        let blocks = self.counts.iter().filter(|count| **count == keys).count();
        super::value::amount(blocks.try_into().unwrap_or(u64::MAX))
    }
}

/// The blocks of `index` that some of `keys` fall on, and requests and bytes for them: where neighbours of one shard are
/// read together, by `rule`; without a rule each is a request.
pub(crate) fn index(index: &[BlockRef], fallen: &Fallen, keys: f64, rule: Option<Rule>, seed: u64) -> (f64, Access) {
    let likely = fallen.likely(keys);
    let mut rng = Rng(seed);
    let blocks = super::value::amount(index.len().try_into().unwrap_or(u64::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 1 to 64")]
    let rounds = (WALKED / blocks.max(1.0)).clamp(1.0, 64.0) as u32;
    let rule = rule.unwrap_or(Rule { gap_bytes: -1.0, range_bytes: 0.0, range_records: 0.0 });
    let (mut touched, mut total) = (0.0, Access::default());
    for _ in 0..rounds {
        // The range's shard, its first byte and the one behind it.
        let mut range: Option<(&str, f64, f64)> = None;
        for (block, likely) in index.iter().zip(&likely) {
            if rng.unit() >= *likely {
                continue;
            }
            touched += 1.0;
            let (start, length) = (super::value::amount(block.offset), super::value::amount(block.length));
            let joined = range.filter(|(shard, first, end)| {
                **shard == *block.shard
                    && (0.0..=rule.gap_bytes).contains(&(start - end))
                    && start + length - first <= rule.range_bytes
            });
            if let Some((shard, first, end)) = joined {
                total.bytes += start + length - end;
                range = Some((shard, first, start + length));
            } else {
                total.requests += 1.0;
                total.bytes += length;
                range = Some((&*block.shard, start, start + length));
            }
        }
    }
    let rounds = f64::from(rounds);
    (touched / rounds, Access { requests: total.requests / rounds, bytes: total.bytes / rounds })
}

/// Requests and bytes for `touched` of `blocks`, each `block_bytes` long, where neighbours are read together by `rule`;
/// without a rule each block is a request.
pub(crate) fn blocks(blocks: f64, touched: f64, block_bytes: f64, rule: Option<Rule>, seed: u64) -> Access {
    match rule {
        None => Access { requests: touched, bytes: touched * block_bytes },
        // A block is a record, and an index a file whose untouched blocks are gaps.
        Some(rule) => {
            let share = if blocks > 0.0 { (touched / blocks).min(1.0) } else { 0.0 };
            walk_blocks(blocks, share, block_bytes, rule, seed)
        }
    }
}

fn walk_blocks(blocks: f64, share: f64, block_bytes: f64, rule: Rule, seed: u64) -> Access {
    let mut rng = Rng(seed);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 1,000 to 400,000")]
    let walked = blocks.clamp(1_000.0, WALKED) as u32;
    let mut access = Access::default();
    // Blocks since the range's last one; none is open at first.
    let mut gap: Option<f64> = None;
    let (mut range_bytes, mut range_records) = (0.0, 0.0);
    for _ in 0..walked {
        if rng.unit() >= share {
            gap = gap.map(|blocks| blocks + 1.0);
            continue;
        }
        let joined = gap.map(|blocks| blocks * block_bytes).filter(|gap_bytes| {
            *gap_bytes <= rule.gap_bytes
                && range_bytes + gap_bytes + block_bytes <= rule.range_bytes
                && range_records < rule.range_records
        });
        match joined {
            Some(gap_bytes) => {
                range_bytes += gap_bytes + block_bytes;
                range_records += 1.0;
                access.bytes += gap_bytes + block_bytes;
            }
            None => {
                access.requests += 1.0;
                access.bytes += block_bytes;
                (range_bytes, range_records) = (block_bytes, 1.0);
            }
        }
        gap = Some(0.0);
    }
    let scale = blocks / f64::from(walked);
    Access { requests: access.requests * scale, bytes: access.bytes * scale }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, the same everywhere.
struct Rng(u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        super::value::amount(self.bits() >> 11) / super::value::amount(1 << 53)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// In 0..`end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("usize fits u64");
        usize::try_from(self.bits() % end).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { gap_bytes: 1_000_000, whole_file_density: 1.0 };
    const RULE: Rule = Rule { gap_bytes: 1e6, range_bytes: 16e6, range_records: 4_096.0 };

    fn near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance * expected.abs(), "{actual}, expected {expected}");
    }

    #[test]
    fn scattered_records_are_a_request_each_and_dense_ones_are_one() {
        let sparse = ranges(1e13, 1_000.0, &[2e4], &SETTINGS, 1);
        near(sparse.requests, 1_000.0, 0.01);
        near(sparse.bytes, 2e7, 0.02);
        let dense = ranges(1e9, 20_000.0, &[2e4], &SETTINGS, 1);
        near(dense.requests, 1.0, 1e-9);
        near(dense.bytes, 1e9, 0.01);
        let back_to_back = ranges(1e6, 100.0, &[1e4], &SETTINGS, 1);
        assert_eq!((back_to_back.requests, back_to_back.bytes), (1.0, 1e6));
        assert_eq!(ranges(1e9, 0.0, &[2e4], &SETTINGS, 1), Access::default());
    }

    #[test]
    fn ranges_that_hold_nearly_all_of_a_file_become_one() {
        // A gap in e^-2.25 breaks a range.
        let broken = ranges(4e8, 1_000.0, &[1e5], &Settings { gap_bytes: 675_000, ..SETTINGS }, 1);
        let held = broken.bytes / 4e8;
        assert!(broken.requests > 30.0 && (0.6..0.95).contains(&held), "{broken:?}");
        let dense = Settings { gap_bytes: 675_000, whole_file_density: held - 0.1 };
        let whole = ranges(4e8, 1_000.0, &[1e5], &dense, 1);
        near(whole.requests, 1.0, 1e-9);
        near(whole.bytes, 4e8, 0.01);
    }

    #[test]
    fn the_share_of_gaps_that_break_a_range_is_that_of_an_exponential() {
        // 1,000 records with a mean gap of 1 MB: e^-1 of the gaps are longer than that.
        let access = ranges(1e9 + 1e3, 1_000.0, &[1.0], &SETTINGS, 1);
        near(access.requests, 1.0 + 999.0 * (-1.0_f64).exp(), 0.02);
    }

    #[test]
    fn evenly_spread_keys_touch_blocks_as_balls_fill_urns() {
        near(evenly_touched(1_000.0, 1_000.0), 1_000.0 * (1.0 - (-1.0_f64).exp()), 1e-12);
        near(evenly_touched(1e6, 3.65e8), 1e6, 1e-9);
        assert_eq!(Some(evenly_touched(0.0, 5.0)), Some(0.0));
    }

    /// An index of `blocks` blocks of 100 bytes, in shards of 50.
    fn some_index(blocks: u64) -> Vec<BlockRef> {
        let block = |number: u64| BlockRef {
            urlkey: format!("{number:09}").into(),
            timestamp: "20190418000000".into(),
            shard: format!("cdx-{:05}.gz", number / 50).into(),
            offset: number % 50 * 100,
            length: 100,
        };
        (0..blocks).map(block).collect()
    }

    #[test]
    fn a_quarter_of_the_keys_tells_how_many_blocks_all_of_them_touch() {
        // Keys fall on every fourth block only, ten or four on each: what evenness knows nothing of.
        let blocks = some_index(4_000);
        let mut rng = Rng(7);
        let mut keys = Vec::new();
        for number in (0..4_000_usize).step_by(4) {
            let weight = if number % 8 == 0 { 10 } else { 4 };
            keys.extend(std::iter::repeat_n(number, weight));
        }
        let mut sample = Fallen::new(blocks.len());
        for key in keys.iter().filter(|_| rng.unit() < 0.25) {
            sample.fall(*key..*key + 1);
        }
        let all = amount_of(keys.len());
        let (touched, access) = index(&blocks, &sample, all, None, 1);
        near(touched, 1_000.0, 0.1);
        near(access.requests, touched, 1e-9);
        near(access.bytes, touched * 100.0, 1e-9);
        assert!(evenly_touched(4_000.0, all) > 3_200.0);
        // The sample itself, and half of it.
        let (own, _) = index(&blocks, &sample, sample.keys, None, 1);
        near(own, sample.touched(), 1e-9);
        let (half, _) = index(&blocks, &sample, sample.keys / 2.0, None, 1);
        assert!((own * 0.5..own).contains(&half), "{half} of {own}");
    }

    #[test]
    fn blocks_far_from_all_keys_stay_unread_and_ranges_stay_whole() {
        // Stretches of 30 blocks in turn: every third has no key, the others one on most blocks.
        let blocks = some_index(1_800);
        let mut rng = Rng(11);
        let mut keys = Vec::new();
        for block in (0..1_800_usize).filter(|block| block / 30 % 3 != 0) {
            keys.extend(std::iter::repeat_n(block, (0..20).filter(|_| rng.unit() < 0.1).count()));
        }
        let (mut all, mut sample) = (Fallen::new(blocks.len()), Fallen::new(blocks.len()));
        for key in &keys {
            all.fall(*key..*key + 1);
            if rng.unit() < 0.33 {
                sample.fall(*key..*key + 1);
            }
        }
        // A gap of four blocks, a request of sixteen, as in the index of a crawl.
        let rule = Rule { gap_bytes: 400.0, range_bytes: 1_600.0, range_records: 1e9 };
        let (_, asked) = index(&blocks, &all, all.keys, Some(rule), 1);
        let (_, estimated) = index(&blocks, &sample, all.keys, Some(rule), 1);
        near(estimated.requests, asked.requests, 0.1);
        near(estimated.bytes, asked.bytes, 0.1);
    }

    fn amount_of(count: usize) -> f64 {
        crate::estimate::value::amount(u64::try_from(count).unwrap())
    }

    #[test]
    fn neighbours_of_one_shard_are_one_request_up_to_gap_and_size() {
        let blocks = some_index(100);
        let mut all = Fallen::new(100);
        (0..100).for_each(|block| all.fall(block..block + 1));
        let rule = Rule { gap_bytes: 100.0, range_bytes: 1e9, range_records: 1e9 };
        let (_, access) = index(&blocks, &all, 100.0, Some(rule), 1);
        assert_eq!((access.requests, access.bytes), (2.0, 10_000.0));
        let mut some = Fallen::new(100);
        for block in [0, 2, 5, 49, 50] {
            some.fall(block..block + 1);
        }
        // 0 and 2 with the block between them; 5 is too far; 49 and 50 lie in two shards.
        let (_, access) = index(&blocks, &some, 5.0, Some(rule), 1);
        assert_eq!((access.requests, access.bytes), (4.0, 600.0));
        let narrow = Rule { range_bytes: 250.0, ..rule };
        let (_, access) = index(&blocks, &some, 5.0, Some(narrow), 1);
        assert_eq!((access.requests, access.bytes), (5.0, 500.0));
    }

    #[test]
    fn neighbouring_blocks_are_one_request_under_a_rule() {
        let each = blocks(1_000.0, 400.0, 2e5, None, 1);
        assert_eq!((each.requests, each.bytes), (400.0, 8e7));
        let all = blocks(8_000.0, 8_000.0, 2e5, Some(RULE), 1);
        near(all.requests, 8_000.0 / 80.0, 0.01);
        near(all.bytes, 1.6e9, 1e-9);
        // Every second block: gaps of five blocks or fewer are read over.
        let some = blocks(100_000.0, 50_000.0, 2e5, Some(RULE), 1);
        assert!(some.requests < 2_500.0 && some.bytes > 1e10, "{some:?}");
    }
}
