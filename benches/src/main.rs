//! Times one side of a comparison, a round for each line of standard input.
//!
//! `weft-bench TOPIC FILE REPEATS`; `run.py` starts it beside a peer and asks each in turn, so that both meet the
//! same noise. A round answers with one JSON line: seconds, those of them on a processor, and a check of what was
//! computed, which both sides must agree on where they compute the same. Reading the input and making the check are not in the seconds.

mod frames;
mod topics;

use std::io::{BufRead, Write};

use anyhow::{Context, bail};

use self::topics::Topic;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [topic, file, repeats] = arguments.as_slice() else {
        bail!("usage: weft-bench TOPIC FILE REPEATS, with TOPIC one of {}", Topic::NAMES.join(", "));
    };
    let repeats: u32 = repeats.parse().context("REPEATS is no number")?;
    let mut topic = Topic::open(topic, file)?;
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        line.context("standard input ends in an error")?;
        let round = topic.run(repeats)?;
        let answer = serde_json::json!({
            "seconds": round.seconds, "cpu_seconds": round.cpu_seconds, "check": round.check,
        });
        writeln!(stdout, "{answer}").and_then(|()| stdout.flush()).context("nobody reads standard output")?;
    }
    Ok(())
}
