//! Inflates every block of an index with bare libdeflate: the yardstick for whatever walks the index.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use libdeflater::Decompressor;

/// What inflating took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inflated {
    /// Blocks.
    pub blocks: u64,
    /// Line ends in them.
    pub lines: u64,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// Bytes inflated.
    pub inflated_bytes: u64,
    /// Time on a processor inside libdeflate alone; reading and counting are not in it.
    pub inflating: Duration,
    /// The same by the clock: more where the machine is busy.
    pub inflating_by_the_clock: Duration,
}

/// Inflates all blocks that `cluster.idx` in `folder` names, each into the same buffer.
///
/// # Errors
/// When a file is missing or damaged.
pub fn inflate(folder: &Path) -> anyhow::Result<Inflated> {
    let cluster = folder.join("cluster.idx");
    let file = File::open(&cluster).with_context(|| format!("failed to open {}", cluster.display()))?;
    let mut inflated = Inflated::default();
    let mut inflater = Decompressor::new();
    let mut open: Option<(String, File)> = None;
    let (mut stored, mut text) = (Vec::new(), Vec::new());
    for (number, line) in (1_u64..).zip(BufReader::new(file).lines()) {
        let place = || format!("{}, line {number}", cluster.display());
        let line = line.with_context(place)?;
        let columns: Vec<&str> = line.split('\t').collect();
        let &[_, shard, offset, length, _] = &columns[..] else { anyhow::bail!("{}: not five columns", place()) };
        let (offset, length): (u64, usize) = (offset.parse().with_context(place)?, length.parse().with_context(place)?);
        if open.as_ref().is_none_or(|(name, _)| name != shard) {
            open = Some((shard.to_owned(), File::open(folder.join(shard)).with_context(place)?));
        }
        let (_, shard) = open.as_mut().expect("opened just now");
        stored.resize(length, 0);
        shard.seek(SeekFrom::Start(offset)).with_context(place)?;
        shard.read_exact(&mut stored).with_context(place)?;
        // The member's last four bytes are its length inflated (RFC 1952, section 2.3.1).
        let trailer: [u8; 4] = *stored.last_chunk().with_context(place)?;
        text.resize(usize::try_from(u32::from_le_bytes(trailer)).expect("u32 fits usize"), 0);
        let (begun, clock) = (processor_time()?, Instant::now());
        let length = inflater.gzip_decompress(&stored, &mut text).with_context(place)?;
        inflated.inflating_by_the_clock += clock.elapsed();
        inflated.inflating += processor_time()?.saturating_sub(begun);
        ensure!(length == text.len(), "{}: {length} bytes of {}", place(), text.len());
        inflated.blocks += 1;
        inflated.lines += count(memchr::memchr_iter(b'\n', &text).count());
        inflated.stored_bytes += count(stored.len());
        inflated.inflated_bytes += count(text.len());
    }
    Ok(inflated)
}

fn count(count: usize) -> u64 {
    u64::try_from(count).expect("usize fits u64")
}

/// Time that this thread was on a processor: what other programs take is not in it.
pub(crate) fn processor_time() -> anyhow::Result<Duration> {
    let place = "/proc/thread-self/schedstat";
    let mut text = String::new();
    File::open(place).and_then(|mut file| file.read_to_string(&mut text)).with_context(|| place)?;
    let nanos = text.split(' ').next().unwrap_or_default().parse().with_context(|| place)?;
    Ok(Duration::from_nanos(nanos))
}
