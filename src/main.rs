//! Weft: from C4 documents and a crawl to interleaved image-text shards.

mod cli;
mod command;
mod estimate;
mod ledger;
mod plan;
mod recipe;
mod report;
mod runner;
mod view;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
