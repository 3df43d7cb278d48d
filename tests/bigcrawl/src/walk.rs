//! Walks the index for the keys of a run's documents, and nothing else: the merge inside `locate`, apart from the
//! tables that it reads and writes.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use weft_core::limits::Limits;
use weft_core::rows::Rows;
use weft_core::table;
use weft_stages::formats::cdx::{BlockRef, ClusterIndex, IndexWalk, ReadError};

use crate::inflate::processor_time;
use crate::run::Run;

table! {
    /// What a walk needs of `documents`.
    pub struct Keys, KeysRow = "documents" v1 in Corpus by ["urlkey"] {
        /// Common Crawl's SURT key of the url.
        urlkey: Text,
    }
}

/// What walking took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Different keys asked for.
    pub keys: u64,
    /// Captures of those keys.
    pub captures: u64,
    /// Blocks read, those at a shard's border twice.
    pub blocks: u64,
    /// Time on a processor from the first key to the last; reading the keys is not in it.
    pub walking: Duration,
}

/// Walks the index in `folder` for the documents that `ingest` wrote below the output folder `run`, a corpus shard
/// after the other. Memory is one shard's keys.
///
/// # Errors
/// When a file is missing or damaged.
pub fn walk(run: &Path, folder: &Path) -> anyhow::Result<Walked> {
    let run = Run::open(run, "ingest")?;
    let cluster = folder.join("cluster.idx");
    let file = File::open(&cluster).with_context(|| format!("failed to open {}", cluster.display()))?;
    let cluster = ClusterIndex::parse(BufReader::new(file), &Limits::default())?;
    let mut walked = Walked::default();
    for (_, parts) in run.exchanged("documents") {
        let mut rows = Rows::<Keys>::open(&run.store, &parts)?;
        let mut keys: Vec<String> = Vec::new();
        while let Some(row) = rows.next()? {
            if keys.last().is_none_or(|last| last != row.urlkey) {
                keys.push(row.urlkey.to_owned());
            }
        }
        let begun = processor_time()?;
        let mut walk = IndexWalk::new(&cluster, Limits::default(), |block| read_block(folder, block));
        for key in &keys {
            let captures = walk.captures_of(key)?;
            walked.captures += u64::try_from(captures.len()).expect("usize fits u64");
        }
        walked.walking += processor_time()?.saturating_sub(begun);
        walked.keys += u64::try_from(keys.len()).expect("usize fits u64");
        walked.blocks += walk.blocks_read();
    }
    Ok(walked)
}

fn read_block(folder: &Path, block: &BlockRef) -> Result<Vec<u8>, ReadError> {
    let mut file = File::open(folder.join(&*block.shard))?;
    file.seek(SeekFrom::Start(block.offset))?;
    let mut bytes = vec![0; usize::try_from(block.length)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
