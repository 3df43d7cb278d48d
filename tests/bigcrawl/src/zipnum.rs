//! Writes lines as a ZipNum index: gzip members of 3,000 lines in shards, and `cluster.idx`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use libdeflater::{CompressionLvl, Compressor};

/// Lines of one gzip member, as Common Crawl has them.
pub(crate) const BLOCK_LINES: u64 = 3_000;

/// Opens a file that must not be there yet.
pub(crate) fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let parent = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    let file = File::options().write(true).create_new(true).open(path);
    let file = file.with_context(|| format!("failed to create {}", path.display()))?;
    Ok(BufWriter::with_capacity(256 << 10, file))
}

/// A gzip member, fast.
pub(crate) fn gzip(compressor: &mut Compressor, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut member).context("failed to compress")?;
    member.truncate(length);
    Ok(member)
}

/// A compressor of the level that gzip's tools take by themselves, and the writers of real indexes with them.
pub(crate) fn compressor() -> anyhow::Result<Compressor> {
    let level = CompressionLvl::new(6).map_err(|cause| anyhow::anyhow!("no compression level 6: {cause:?}"))?;
    Ok(Compressor::new(level))
}

/// The index being written.
pub(crate) struct ZipNum {
    folder: PathBuf,
    lines: u64,
    shards: u64,
    compressor: Compressor,
    cluster: BufWriter<File>,
    shard: u64,
    file: BufWriter<File>,
    offset: u64,
    block: Vec<u8>,
    block_lines: u64,
    /// `urlkey timestamp` of the block's first line.
    first: Vec<u8>,
    last: Vec<u8>,
    written: u64,
    blocks: u64,
}

impl ZipNum {
    /// An index of exactly `lines` lines in `folder`.
    pub(crate) fn create(folder: &Path, lines: u64, shards: u64) -> anyhow::Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            lines,
            shards,
            compressor: compressor()?,
            cluster: create(&folder.join("cluster.idx"))?,
            shard: 0,
            file: create(&folder.join(shard_name(0)))?,
            offset: 0,
            block: Vec::new(),
            block_lines: 0,
            first: Vec::new(),
            last: Vec::new(),
            written: 0,
            blocks: 0,
        })
    }

    /// The shard that the next line goes to.
    pub(crate) fn shard(&self) -> u64 {
        self.shard
    }

    /// Lines that still go into the open block.
    pub(crate) fn left(&self) -> u64 {
        (BLOCK_LINES - self.block_lines).min(self.shard_end() - self.written)
    }

    /// The number of the first line behind the open shard.
    fn shard_end(&self) -> u64 {
        let end = u128::from(self.lines) * u128::from(self.shard + 1) / u128::from(self.shards);
        u64::try_from(end).expect("at most the number of lines")
    }

    /// Adds a line with its line end.
    pub(crate) fn push(&mut self, line: &[u8]) -> anyhow::Result<()> {
        ensure!(*line >= *self.last, "line {} is out of order: {}", self.written + 1, String::from_utf8_lossy(line));
        self.last.clear();
        self.last.extend_from_slice(line);
        if self.block_lines == 0 {
            let head = memchr::memchr_iter(b' ', line).nth(1).context("a line of fewer than three parts")?;
            self.first = line.get(..head).unwrap_or_default().to_vec();
        }
        self.block.extend_from_slice(line);
        self.block_lines += 1;
        self.written += 1;
        let ends_shard = self.written == self.shard_end();
        if self.block_lines == BLOCK_LINES || ends_shard {
            self.end_block()?;
        }
        if ends_shard && self.shard + 1 < self.shards {
            self.file.flush().context("failed to write the index")?;
            self.shard += 1;
            self.file = create(&self.folder.join(shard_name(self.shard)))?;
            self.offset = 0;
        }
        Ok(())
    }

    fn end_block(&mut self) -> anyhow::Result<()> {
        let member = gzip(&mut self.compressor, &self.block)?;
        self.file.write_all(&member).context("failed to write the index")?;
        self.blocks += 1;
        let (offset, length, number) = (self.offset, member.len(), self.blocks);
        self.cluster.write_all(&self.first).context("failed to write cluster.idx")?;
        writeln!(self.cluster, "\t{}\t{offset}\t{length}\t{number}", shard_name(self.shard))
            .context("failed to write cluster.idx")?;
        self.offset += u64::try_from(length).expect("usize fits u64");
        self.block.clear();
        self.block_lines = 0;
        Ok(())
    }

    /// Ends the index; gives the number of blocks.
    pub(crate) fn finish(mut self) -> anyhow::Result<u64> {
        ensure!(self.written == self.lines, "{} lines were written of {}", self.written, self.lines);
        self.file.flush().context("failed to write the index")?;
        self.cluster.flush().context("failed to write cluster.idx")?;
        Ok(self.blocks)
    }
}

impl std::fmt::Debug for ZipNum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZipNum").field("shard", &self.shard).field("written", &self.written).finish_non_exhaustive()
    }
}

fn shard_name(shard: u64) -> String {
    format!("cdx-{shard:05}.gz")
}
