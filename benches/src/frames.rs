//! Reads the input files that `prepare.py` writes: frames of one JSON line and as many bytes as it states.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use anyhow::Context;
use serde::Deserialize;

/// What a frame's line may tell of its bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// Bytes that follow the line.
    bytes: u64,
    /// Of a picture, in pixels; of a matrix.
    #[serde(default)]
    pub(crate) columns: u32,
    /// Of a picture, in pixels; of a matrix.
    #[serde(default)]
    pub(crate) rows: u32,
    /// Where a page was fetched from.
    #[serde(default)]
    pub(crate) url: String,
}

/// All frames of a file.
pub(crate) fn read(path: &str) -> anyhow::Result<Vec<(Head, Vec<u8>)>> {
    let mut reader = BufReader::new(File::open(path).with_context(|| format!("failed to open {path}"))?);
    let mut frames = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).with_context(|| format!("failed to read {path}"))? == 0 {
            return Ok(frames);
        }
        let head: Head = serde_json::from_str(&line).with_context(|| format!("{path} is no file of frames"))?;
        let mut bytes = Vec::new();
        let read = (&mut reader).take(head.bytes).read_to_end(&mut bytes);
        read.with_context(|| format!("failed to read {path}"))?;
        frames.push((head, bytes));
    }
}
