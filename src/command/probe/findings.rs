//! What a probe says: findings and troubles, as JSON lines or as short lines for people.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use serde::Serialize;

/// One finding: its fields are those of the JSON object.
pub(super) trait Finding: Serialize {
    /// The same for people: lines without line ends.
    fn lines(&self) -> Vec<String>;
}

/// Something that could not be read.
#[derive(Serialize)]
struct Trouble<'a> {
    file: &'a str,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    error: &'a str,
}

/// Where findings go; remembers whether there was any trouble.
pub(super) struct Findings {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    has_trouble: bool,
}

impl Findings {
    pub(super) fn new(json: bool) -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), json, has_trouble: false }
    }

    /// Prints a finding.
    pub(super) fn give(&mut self, finding: &impl Finding) -> io::Result<()> {
        if self.json {
            return self.object(finding);
        }
        for line in finding.lines() {
            writeln!(self.out, "{}", printable(&line))?;
        }
        Ok(())
    }

    /// Tells that something in `file`, perhaps in its line `line` (from 1), could not be read.
    pub(super) fn trouble(&mut self, file: &str, line: Option<u64>, error: &str) -> io::Result<()> {
        self.has_trouble = true;
        if self.json {
            return self.object(&Trouble { file, line, error });
        }
        // People see both streams on one terminal: in the order of the file.
        self.out.flush()?;
        let place = line.map_or(file.to_owned(), |line| format!("{file}, line {line}"));
        writeln!(io::stderr(), "error: {}", printable(&format!("{place}: {error}")))
    }

    /// Ends the output: exit code 1 where there was any trouble.
    pub(super) fn finish(mut self) -> io::Result<ExitCode> {
        self.out.flush()?;
        Ok(if self.has_trouble { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        // First into memory: an error of the output then stays an `io::Error`, which the caller can tell apart.
        let mut line = serde_json::to_vec(object)?;
        line.push(b'\n');
        self.out.write_all(&line)
    }
}

/// Without the control characters by which a file could steer the terminal.
fn printable(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// A value that may be missing.
pub(super) fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
