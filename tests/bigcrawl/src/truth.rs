//! What should become of each document: a line of the truth file.
//!
//! `document_id case outcome filename offset length`, separated by tabs; the last three for located documents alone.
//! The outcome is `located` or the reason of the reject. Two lines of one id are an entry and its repetition.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::path::Path;

use anyhow::{Context as _, ensure};

/// What becomes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Located {
        filename: String,
        offset: u64,
        length: u64,
    },
    /// With the name of the reason.
    Missed(String),
}

impl Outcome {
    /// `located`, or the reason.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Located { .. } => "located",
            Self::Missed(reason) => reason,
        }
    }
}

/// The reason of a second entry of one url and timestamp.
pub(crate) const REPEATED: &str = "duplicate_document";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// 32 hex digits.
    pub(crate) document_id: String,
    /// Why this document was planted.
    pub(crate) case: String,
    pub(crate) outcome: Outcome,
}

impl Fate {
    pub(crate) fn write(&self, file: &mut impl Write) -> std::io::Result<()> {
        let Self { document_id, case, outcome } = self;
        match outcome {
            Outcome::Located { filename, offset, length } => {
                writeln!(file, "{document_id}\t{case}\tlocated\t{filename}\t{offset}\t{length}")
            }
            Outcome::Missed(reason) => writeln!(file, "{document_id}\t{case}\t{reason}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let columns: Vec<&str> = line.split('\t').collect();
        let (document_id, case, outcome) = match columns[..] {
            [id, case, "located", filename, offset, length] => {
                let (offset, length) = (offset.parse().ok()?, length.parse().ok()?);
                (id, case, Outcome::Located { filename: filename.to_owned(), offset, length })
            }
            [id, case, reason] if reason != "located" => (id, case, Outcome::Missed(reason.to_owned())),
            _ => return None,
        };
        Some(Self { document_id: document_id.to_owned(), case: case.to_owned(), outcome })
    }
}

/// Calls `each` with every line of a truth file.
pub(crate) fn read(path: &Path, mut each: impl FnMut(Fate) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let place = || format!("{}, line {number}", path.display());
        if reader.read_line(&mut line).with_context(place)? == 0 {
            break;
        }
        let fate = Fate::parse(line.trim_end_matches('\n')).with_context(|| format!("{}: no truth", place()))?;
        ensure!(fate.document_id.len() == 32, "{}: `{}` is no document id", place(), fate.document_id);
        each(fate)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_line_reads_back() {
        let located = Outcome::Located { filename: "a/b.warc.gz".to_owned(), offset: 7, length: 9 };
        for outcome in [located, Outcome::Missed("status_404".to_owned())] {
            let fate = Fate { document_id: "0".repeat(32), case: "faithful".to_owned(), outcome };
            let mut line = Vec::new();
            fate.write(&mut line).unwrap();
            assert_eq!(Fate::parse(std::str::from_utf8(&line).unwrap().trim_end()), Some(fate));
        }
        assert_eq!(Fate::parse("0\tfaithful\tlocated"), None);
    }
}
