//! Makes a big crawl, checks a run over it, or inflates its index.
//!
//! ```text
//! bigcrawl make --out FOLDER [--lines N] [--shards N] [--documents N] [--seed N] [--columnar millis|int96]
//! bigcrawl check --run FOLDER --truth FILE
//! bigcrawl inflate --index FOLDER
//! bigcrawl walk --run FOLDER --index FOLDER
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use weft_bigcrawl::{FetchTime, Shape, check, inflate, make, walk};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().context("no command; known are make, check, inflate and walk")?;
    let mut options = Options(BTreeMap::new());
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("`{name}` needs a value"))?;
        let name = name.strip_prefix("--").with_context(|| format!("`{name}` is no option"))?;
        ensure!(options.0.insert(name.to_owned(), value).is_none(), "`--{name}` is given twice");
    }
    match command.as_str() {
        "make" => run_make(options),
        "check" => run_check(options),
        "inflate" => run_inflate(options),
        "walk" => run_walk(options),
        _ => bail!("`{command}` is unknown; known are make, check, inflate and walk"),
    }
}

struct Options(BTreeMap<String, String>);

impl Options {
    fn path(&mut self, name: &str) -> anyhow::Result<PathBuf> {
        self.0.remove(name).map(PathBuf::from).with_context(|| format!("`--{name}` is missing"))
    }

    fn number(&mut self, name: &str, default: u64) -> anyhow::Result<u64> {
        match self.0.remove(name) {
            Some(text) => text.parse().with_context(|| format!("`--{name} {text}` is no number")),
            None => Ok(default),
        }
    }

    fn done(self) -> anyhow::Result<()> {
        match self.0.into_keys().next() {
            Some(name) => bail!("`--{name}` is unknown here"),
            None => Ok(()),
        }
    }
}

fn run_make(mut options: Options) -> anyhow::Result<ExitCode> {
    let out = options.path("out")?;
    let columnar = match options.0.remove("columnar").as_deref() {
        None => None,
        Some("millis") => Some(FetchTime::Millis),
        Some("int96") => Some(FetchTime::Int96),
        Some(other) => bail!("`--columnar {other}` is unknown; known are millis and int96"),
    };
    let shape = Shape {
        lines: options.number("lines", 20_000_000)?,
        shards: options.number("shards", 30)?,
        documents: options.number("documents", 3_000_000)?,
        seed: options.number("seed", 2019)?,
        columnar,
    };
    options.done()?;
    let made = make(&shape, &out).context("failed to make the crawl")?;
    let mut text = format!(
        "{} lines in {} blocks and {} shards, {} documents in {} files\n",
        shape.lines, made.blocks, shape.shards, shape.documents, made.files
    );
    text.push_str(&fates(&made.documents));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn run_check(mut options: Options) -> anyhow::Result<ExitCode> {
    let (run, truth) = (options.path("run")?, options.path("truth")?);
    options.done()?;
    let checked = check(&run, &truth).context("failed to compare")?;
    let mut text = fates(&checked.documents);
    text.push_str(&format!("{} documents as planted, {} not\n", checked.right, checked.wrong));
    for difference in &checked.told {
        text.push_str(&format!("wrong: {difference}\n"));
    }
    print(&text)?;
    Ok(if checked.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_inflate(mut options: Options) -> anyhow::Result<ExitCode> {
    let index = options.path("index")?;
    options.done()?;
    let inflated = inflate(&index).context("failed to inflate the index")?;
    let seconds = inflated.inflating.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let per_second = |count: u64| count as f64 / seconds.max(1e-9);
    let shown = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    print(&format!(
        "blocks {}\nlines {}\nstored_bytes {}\ninflated_bytes {}\nprocessor_time {}\nclock_time {}\n\
         lines_per_second {:.0}\ninflated_bytes_per_second {:.0}\n",
        inflated.blocks,
        inflated.lines,
        inflated.stored_bytes,
        inflated.inflated_bytes,
        shown(inflated.inflating),
        shown(inflated.inflating_by_the_clock),
        per_second(inflated.lines),
        per_second(inflated.inflated_bytes),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn run_walk(mut options: Options) -> anyhow::Result<ExitCode> {
    let (run, index) = (options.path("run")?, options.path("index")?);
    options.done()?;
    let walked = walk(&run, &index).context("failed to walk the index")?;
    print(&format!(
        "keys {}\ncaptures {}\nblocks {}\nprocessor_time {:.2} s\n",
        walked.keys,
        walked.captures,
        walked.blocks,
        walked.walking.as_secs_f64()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A line a case and outcome.
fn fates(documents: &BTreeMap<(String, String), u64>) -> String {
    let lines = documents.iter().map(|((case, outcome), count)| format!("{case:<13} {outcome:<23} {count:>9}\n"));
    lines.collect()
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")
}
