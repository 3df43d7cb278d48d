//! Makes a crawl: walks the pages once, in the order of their keys, and writes all that is about each.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::captures::{LONG_CAPTURES, captures};
use crate::columnar::{FetchTime, Table};
use crate::documents::DocumentFiles;
use crate::plant::Planter;
use crate::sites::Pages;
use crate::zipnum::{ZipNum, create};

/// The crawl's name.
pub const CRAWL: &str = "WEFT-BIG-2019-18";

/// What to make. The same shape gives the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Lines of the index, at least 10,000.
    pub lines: u64,
    /// Files of the index.
    pub shards: u64,
    /// Documents, at most as many as lines.
    pub documents: u64,
    /// Chooses everything.
    pub seed: u64,
    /// Whether to write the columnar form too, and how its times are stored.
    pub columnar: Option<FetchTime>,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Blocks of the index.
    pub blocks: u64,
    /// Document files.
    pub files: usize,
    /// Documents by case and outcome.
    pub documents: BTreeMap<(String, String), u64>,
}

/// Writes a crawl, its documents, the truth about them and a recipe into `folder`, which has none of them yet.
///
/// # Errors
/// When a file cannot be written, or is there already.
pub fn make(shape: &Shape, folder: &Path) -> anyhow::Result<Made> {
    let &Shape { lines, shards, documents, seed, columnar } = shape;
    ensure!(lines >= 10_000, "{lines} lines are too few: 10,000 hold one of everything");
    ensure!((1..=lines / 1_000).contains(&shards), "{shards} shards: a shard has 1,000 lines or more");
    ensure!(documents <= lines, "{documents} documents: a line has one at most");
    let mut made = Made::default();
    let index = format!("cc-index/collections/{CRAWL}/indexes");
    let mut zipnum = ZipNum::create(&folder.join("crawl").join(&index), lines, shards)?;
    let mut table = columnar.map(|time| Table::create(&folder.join("crawl"), lines / shards, time)).transpose()?;
    let mut files = DocumentFiles::create(&folder.join("documents"), seed, documents)?;
    let truth_path = folder.join("truth.tsv");
    let mut truth = create(&truth_path)?;

    let mut planter = Planter::new(seed, lines, documents);
    let mut pages = Pages::new(seed);
    let mut line = 0;
    let mut had_long = false;
    while line < lines {
        let per_mille = u32::try_from(u128::from(line) * 1_000 / u128::from(lines)).expect("below 1,000");
        let (host, page) = pages.next(per_mille);
        let long = !had_long && line >= lines / 2;
        had_long |= long;
        let left = zipnum.left();
        let captures = captures(seed, host, &page, line, left, lines - line, long);
        let count = u64::try_from(captures.len()).expect("usize fits u64");
        for document in planter.documents(host, &page, &captures, line, count > left)? {
            document.fate.write(&mut truth).with_context(|| format!("failed to write {}", truth_path.display()))?;
            files.push(&document)?;
            let kind = (document.fate.case.clone(), document.fate.outcome.name().to_owned());
            *made.documents.entry(kind).or_default() += 1;
        }
        for (capture, text) in &captures {
            if let Some(table) = &mut table {
                table.push(zipnum.shard(), host, &page, capture)?;
            }
            zipnum.push(text)?;
        }
        line += count;
    }
    ensure!(had_long, "no key has {LONG_CAPTURES} captures");
    if let Some(table) = table {
        table.finish()?;
    }
    truth.flush().with_context(|| format!("failed to write {}", truth_path.display()))?;
    made.blocks = zipnum.finish()?;
    let names = files.finish()?;
    made.files = names.len();
    write_manifests(folder, &index, &names, shards)?;
    Ok(made)
}

fn write_manifests(folder: &Path, index: &str, names: &[String], shards: u64) -> anyhow::Result<()> {
    let entries: Vec<String> = names.iter().map(|name| format!("\n[[files]]\nname = \"{name}\"\n")).collect();
    let source = format!("kind = \"c4\"\nname = \"c4-bigcrawl\"\nroot = \"documents\"\n{}", entries.concat());
    let crawl = format!("kind = \"crawl\"\nname = \"{CRAWL}\"\nroot = \"crawl\"\nindex = \"{index}\"\n");
    let recipe = format!(
        "# A made crawl without WARC files: the pipeline ends at `locate`.\n\nname = \"bigcrawl\"\n\
         until = \"locate\"\n\n[source]\nmanifest = \"source.toml\"\n\n[crawl]\nmanifest = \"crawl.toml\"\n\n\
         [shards]\ncorpus = {shards}\ncrawl = 8\nkey = 2\n"
    );
    for (name, text) in [("source.toml", source), ("crawl.toml", crawl), ("recipe.toml", recipe)] {
        let mut file = create(&folder.join(name))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.flush())
            .with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}
