//! Compares what a run located and rejected with the truth, exactly.
//!
//! Memory is bounded: the truth is read in passes, each over the documents of one range of ids, and the run's tables
//! once a pass.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context as _, ensure};
use weft_core::rows::Rows;
use weft_core::table;

use crate::run::Run;
use crate::truth::{self, Outcome, REPEATED};

/// Documents held at once, about.
const PASS_DOCUMENTS: u64 = 1 << 20;
/// Differences that are told in words.
const TOLD: usize = 20;

table! {
    /// What the truth says of `captures`.
    pub struct Located, LocatedRow = "captures" v1 in Crawl by ["filename", "offset", "document_id"] {
        /// The WARC file.
        filename: Text,
        /// The record's first byte.
        offset: U64,
        /// 32 hex digits.
        document_id: Text,
        /// The record's stored bytes.
        length: U64,
    }
}

table! {
    /// What the truth says of `rejects`.
    pub struct Missed, MissedRow = "rejects" v1 in Crawl by ["document_id"] {
        /// 32 hex digits.
        document_id: Text,
        /// The reason's name.
        reason: Text,
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Documents of the truth by case and outcome.
    pub documents: BTreeMap<(String, String), u64>,
    /// Documents whose fate is the planted one.
    pub right: u64,
    /// Documents whose fate is another, or that are in no table; and rows of no document.
    pub wrong: u64,
    /// The first of those, in words.
    pub told: Vec<String>,
}

impl Checked {
    fn differs(&mut self, difference: String) {
        self.wrong += 1;
        if self.told.len() < TOLD {
            self.told.push(difference);
        }
    }
}

/// What is still expected of an id.
#[derive(Debug, Default)]
struct Expected {
    outcome: Option<Outcome>,
    /// Second entries.
    repetitions: u32,
}

/// Compares the tables that `locate` wrote below the output folder `run` with the truth file.
///
/// # Errors
/// When a file cannot be read, or the output holds no run of `locate`, or several.
pub fn check(run: &Path, truth: &Path) -> anyhow::Result<Checked> {
    let run = Run::open(run, "locate")?;
    let mut checked = Checked::default();
    let mut total = 0;
    truth::read(truth, |fate| {
        total += 1;
        *checked.documents.entry((fate.case, fate.outcome.name().to_owned())).or_default() += 1;
        Ok(())
    })?;
    let passes = total / PASS_DOCUMENTS + 1;
    for pass in 0..passes {
        let is_of_pass = |id: u128| id % u128::from(passes) == u128::from(pass);
        check_pass(&run, truth, &is_of_pass, &mut checked)?;
    }
    ensure!(
        checked.wrong > 0 || checked.right == total,
        "{} documents were compared of {total}: this check is broken",
        checked.right
    );
    Ok(checked)
}

fn check_pass(run: &Run, truth: &Path, is_of_pass: &dyn Fn(u128) -> bool, checked: &mut Checked) -> anyhow::Result<()> {
    let mut expected: HashMap<u128, Expected> = HashMap::new();
    truth::read(truth, |fate| {
        let id = number_of(&fate.document_id)?;
        if is_of_pass(id) {
            let entry = expected.entry(id).or_default();
            match fate.outcome {
                Outcome::Missed(reason) if reason == REPEATED => entry.repetitions += 1,
                outcome => {
                    ensure!(entry.outcome.is_none(), "the truth has two fates for {}", fate.document_id);
                    entry.outcome = Some(outcome);
                }
            }
        }
        Ok(())
    })?;
    for part in run.files("captures") {
        let mut rows = Rows::<Located>::open(&run.store, std::slice::from_ref(&part))?;
        while let Some(row) = rows.next()? {
            let id = number_of(row.document_id)?;
            if !is_of_pass(id) {
                continue;
            }
            let found = Outcome::Located { filename: row.filename.to_owned(), offset: row.offset, length: row.length };
            compare(&mut expected, id, found, checked);
        }
    }
    for part in run.files("rejects") {
        let mut rows = Rows::<Missed>::open(&run.store, std::slice::from_ref(&part))?;
        while let Some(row) = rows.next()? {
            let id = number_of(row.document_id)?;
            if is_of_pass(id) {
                compare(&mut expected, id, Outcome::Missed(row.reason.to_owned()), checked);
            }
        }
    }
    let mut left: Vec<(u128, Expected)> = expected.into_iter().collect();
    left.sort_by_key(|(id, _)| *id);
    for (id, Expected { outcome, repetitions }) in left {
        if let Some(outcome) = outcome {
            checked.differs(format!("{id:032x}: planted as {outcome:?}, but in no table"));
        }
        if repetitions > 0 {
            checked.differs(format!("{id:032x}: {repetitions} repetitions are in no table"));
        }
    }
    Ok(())
}

/// Takes what was found off what is expected.
fn compare(expected: &mut HashMap<u128, Expected>, id: u128, found: Outcome, checked: &mut Checked) {
    let Some(entry) = expected.get_mut(&id) else {
        checked.differs(format!("{id:032x}: {found:?}, but no such document was planted"));
        return;
    };
    if entry.repetitions > 0 && found == Outcome::Missed(REPEATED.to_owned()) {
        entry.repetitions -= 1;
        checked.right += 1;
        return;
    }
    match entry.outcome.take() {
        Some(planted) if planted == found => checked.right += 1,
        Some(planted) => checked.differs(format!("{id:032x}: planted as {planted:?}, but {found:?}")),
        None => checked.differs(format!("{id:032x}: {found:?} once more")),
    }
}

fn number_of(document_id: &str) -> anyhow::Result<u128> {
    u128::from_str_radix(document_id, 16).with_context(|| format!("`{document_id}` is no document id"))
}
