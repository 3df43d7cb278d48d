//! Memory is flat: ten times the corpus, stage by stage, in about the same memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use weft_tinyweb::{Shape, make, write as write_web};

use crate::support::{repository, weft, write};

/// Peak resident memory of a command in bytes, as the kernel counts it.
fn peak_bytes(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status_path = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let status = loop {
        if let Ok(status) = std::fs::File::open(&status_path).and_then(std::io::read_to_string) {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
            peak_kib = peak_kib.max(kib.unwrap_or(0));
        }
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success(), "{command:?}: {}", std::io::read_to_string(child.stderr.take().unwrap()).unwrap());
    peak_kib * 1024
}

/// Peak memory of each stage on a web of `pages` pages, one stage a process.
fn peaks(folder: &Path, pages: u32) -> Vec<(&'static str, u64)> {
    let shape = Shape { pages, ..Shape::default() };
    write_web(&make(&shape), folder).unwrap();
    let recipe = crate::tiny::recipe_for(folder);
    let recipe_path = folder.join("recipe.toml");
    write(&recipe_path, recipe.as_bytes());
    let stages =
        ["ingest", "locate", "fetch", "extract", "download", "dedup", "measure", "select", "assign", "interleave"];
    stages
        .iter()
        .map(|stage| {
            let mut command = weft();
            command.arg("run").arg(&recipe_path).args(["--quiet", "--workers", "1", "--output"]);
            command.arg(folder.join("out")).args(["--set", &format!("until={stage}")]);
            (*stage, peak_bytes(&mut command))
        })
        .collect()
}

#[test]
fn memory_of_every_stage_is_flat_in_the_size_of_the_corpus() {
    assert!(repository().join("manifests/recipes/tiny.toml").exists());
    let (small, large) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (small, large) = (peaks(small.path(), 64), peaks(large.path(), 640));
    for ((stage, small_bytes), (_, large_bytes)) in small.into_iter().zip(large) {
        println!("{stage:<11} {:>4} MB at 64 pages, {:>4} MB at 640", small_bytes / 1_000_000, large_bytes / 1_000_000);
        // Fixed costs (program, graphs) are in both. Buffers of a fixed size that the small web does not fill are
        // allowed for: 64 MiB of index blocks in download, elsewhere row groups and batches.
        let buffers_bytes = if stage == "download" { 112_000_000 } else { 48_000_000 };
        assert!(
            large_bytes < small_bytes + buffers_bytes,
            "{stage} takes {small_bytes} bytes at 64 pages and {large_bytes} at 640"
        );
    }
}
