//! Writes the tiny graphs into the folder given as the only argument.
//!
//! `cargo run -p weft-models --example write_tiny -- models/tiny`

use std::io::Write;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("give the folder to write to"));
    };
    for graph in weft_models::tiny::graphs(weft_models::tiny::SEED) {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(folder.join(graph.name))?;
        file.write_all(&graph.bytes)?;
    }
    Ok(())
}
