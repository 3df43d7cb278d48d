//! `weft probe`: shows what the readers of outside formats make of files, without a recipe or a run.
//!
//! Findings go to standard output: with `--json` one object a line, else in short lines for people. What cannot be
//! read is told by an object with `file`, `line` where there is one, and `error` (without `--json` on standard
//! error); the rest goes on, and the exit code is 1. All bytes pass through the default [`Limits`]; memory is one
//! record, line, page or picture.

mod archive;
mod findings;
mod image;
mod index;
mod input;
mod page;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use weft_core::limits::Limits;

use self::findings::Findings;

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// One object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    probe: Probe,
}

#[derive(Debug, Subcommand)]
enum Probe {
    /// List the records of WARC and ARC archives, gzip or plain
    Warc(Files),
    /// Turn URLs, one a line, into the keys of a crawl's index
    Urlkey(Files),
    /// Look up index keys, one a line, in a `ZipNum` index
    Index(index::IndexArgs),
    /// List the image references of an HTML page
    Page(page::PageArgs),
    /// Decode and hash images
    Image(Files),
    /// Match images to sentences, for each JSON line with a `similarity_matrix`
    Match(rows::MatchArgs),
    /// Split the `text` of each JSON line into sentences
    Sentences(Files),
}

/// What to read.
#[derive(Debug, Args)]
struct Files {
    /// Files to read; standard input where there is none, and for `-`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let limits = Limits::default();
    let mut findings = Findings::new(args.json);
    match &args.probe {
        Probe::Warc(files) => archive::probe(&files.files, &limits, &mut findings)?,
        Probe::Urlkey(files) => index::probe_urls(&files.files, &limits, &mut findings)?,
        Probe::Index(args) => index::probe_keys(args, &limits, &mut findings)?,
        Probe::Page(args) => page::probe(args, &limits, &mut findings)?,
        Probe::Image(files) => image::probe(&files.files, &limits, &mut findings)?,
        Probe::Match(args) => rows::probe_matrices(args, &limits, &mut findings)?,
        Probe::Sentences(files) => rows::probe_texts(&files.files, &limits, &mut findings)?,
    }
    Ok(findings.finish()?)
}
