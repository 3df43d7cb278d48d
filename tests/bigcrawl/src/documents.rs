//! Writes documents in C4's form, in no particular order.
//!
//! Documents come in the order of their keys. Each is put into one of several files by its id, without its text; at
//! the end each file in turn is shuffled, given its texts, and written. So memory is one file's urls and times.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use weft_tinyweb::Rng;

use crate::plant::Document;
use crate::sites::{drawn, syllables};
use crate::zipnum::{compressor, create, gzip};

/// Documents of one file, about (C4: 356,000).
const FILE_DOCUMENTS: u64 = 100_000;
/// Bytes of lines in one gzip member.
const MEMBER_BYTES: usize = 2 << 20;

const OPENINGS: [&str; 8] = [
    "Most visitors of the",
    "Nobody in the village remembers the",
    "Bring a warm coat to the",
    "It took us three attempts to find the",
    "Every member of the club writes about the",
    "Mrs. Weaver from No. 7 keeps a map of the",
    "Prices have hardly changed at the",
    "\"Good planning saves time,\" says the sign at the",
];
const PLACES: [&str; 12] = [
    "old harbour",
    "main street",
    "railway museum",
    "summer festival",
    "kitchen garden",
    "public library",
    "small bakery",
    "stone bridge",
    "weather station",
    "evening market",
    "wooden pier",
    "hill path",
];
const ENDINGS: [&str; 8] = [
    "and leave before dinner.",
    "although it closes for two weeks every August.",
    "because the early train stops there!",
    "and wrote down every idea in a small notebook.",
    "which was rebuilt after the great storm of 1953.",
    "but who would have thought of that?",
    "for almost an hour, approx. 4.5 km along the river.",
    "and several readers asked about the missing chapter.",
];

/// The document files being written.
#[derive(Debug)]
pub(crate) struct DocumentFiles {
    seed: u64,
    folder: PathBuf,
    parts: Vec<(PathBuf, BufWriter<File>)>,
}

impl DocumentFiles {
    /// Files for about `documents` documents in `folder`.
    pub(crate) fn create(folder: &Path, seed: u64, documents: u64) -> anyhow::Result<Self> {
        let files = documents.div_ceil(FILE_DOCUMENTS).clamp(3, 1_024);
        let parts = (0..files).map(|number| {
            let path = folder.join(format!("part-{number:05}.tsv"));
            create(&path).map(|file| (path, file))
        });
        Ok(Self { seed, folder: folder.to_owned(), parts: parts.collect::<Result<_, _>>()? })
    }

    /// Adds a document.
    pub(crate) fn push(&mut self, document: &Document) -> anyhow::Result<()> {
        let id = &document.fate.document_id;
        let digits = id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let part = usize::try_from(digits.context("a document id is of hex digits")?)? % self.parts.len();
        let (path, file) = &mut self.parts[part];
        writeln!(file, "{}\t{}", document.url, document.at.rfc3339())
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// Writes the files; gives their names.
    #[expect(clippy::disallowed_methods, reason = "its own temporary files; no stage and no store is involved")]
    pub(crate) fn finish(self) -> anyhow::Result<Vec<String>> {
        let count = self.parts.len();
        let mut names = Vec::new();
        for (number, (path, mut file)) in (0_u64..).zip(self.parts) {
            let place = || format!("failed to write {}", path.display());
            file.flush().with_context(place)?;
            drop(file);
            let read = File::open(&path).with_context(place)?;
            let mut entries: Vec<String> =
                BufReader::new(read).lines().collect::<Result<_, _>>().with_context(place)?;
            let mut rng = drawn(self.seed, 6, number);
            rng.shuffle(&mut entries);
            let name = format!("c4-bigcrawl.{number:05}-of-{count:05}.json.gz");
            write_file(&self.folder.join(&name), &entries, &mut rng)?;
            std::fs::remove_file(&path).with_context(place)?;
            names.push(name);
        }
        Ok(names)
    }
}

fn write_file(path: &Path, entries: &[String], rng: &mut Rng) -> anyhow::Result<()> {
    let place = || format!("failed to write {}", path.display());
    let mut file = create(path)?;
    let mut compressor = compressor()?;
    let mut lines = Vec::new();
    for entry in entries {
        let (url, timestamp) = entry.split_once('\t').context("an entry is of two columns")?;
        let text = serde_json::Value::from(text(rng));
        writeln!(lines, "{{\"text\": {text}, \"timestamp\": \"{timestamp}\", \"url\": \"{url}\"}}")
            .with_context(place)?;
        if lines.len() >= MEMBER_BYTES {
            file.write_all(&gzip(&mut compressor, &lines)?).with_context(place)?;
            lines.clear();
        }
    }
    file.write_all(&gzip(&mut compressor, &lines)?).with_context(place)?;
    file.flush().with_context(place)
}

/// Three to nine sentences in paragraphs. Each names things of its own, so that hardly two are alike.
fn text(rng: &mut Rng) -> String {
    let sentences = rng.between(3, 9);
    let mut text = String::new();
    for number in 0..sentences {
        if number > 0 {
            text.push(if number % 3 == 0 { '\n' } else { ' ' });
        }
        for part in [*rng.pick(&OPENINGS), " ", *rng.pick(&PLACES)] {
            text.push_str(part);
        }
        for joint in [" near ", " and "] {
            let length = rng.between(1, 3);
            text.push_str(joint);
            text.push_str(&syllables(rng.bits() & ((1 << (6 * length)) - 1), length));
        }
        text.push(' ');
        let ending = rng.pick(&ENDINGS);
        text.push_str(ending);
    }
    text
}
