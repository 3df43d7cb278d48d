//! Tallies: what a task read, kept and rejected, in its input units.
//!
//! `read = kept + rejected` holds for every unit of every task; sums of tallies over the stages are the funnel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reject::{Reason, Unit};

/// Names of facts that estimates count with: what a task asked of servers that are others', and what it brought.
pub mod fact {
    /// Bytes of a source file as stored (`ingest`).
    pub const SOURCE_BYTES: &str = "source_bytes";
    /// Blocks of the crawl's index that were read (`locate`).
    pub const INDEX_BLOCKS: &str = "index_blocks_read";
    /// Requests to the index.
    pub const INDEX_REQUESTS: &str = "index_requests";
    /// Bytes of the index as stored.
    pub const INDEX_BYTES: &str = "index_bytes";
    /// Requests to the archives (`fetch`).
    pub const REQUESTS: &str = "requests";
    /// Bytes of the archives as stored.
    pub const RANGE_BYTES: &str = "range_bytes";
}

/// Counts of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Rows read.
    pub read: u64,
    /// Rows kept.
    pub kept: u64,
    /// Rows rejected, by [`Reason::name`].
    pub rejected: BTreeMap<String, u64>,
}

impl Count {
    /// Rows rejected for any reason.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// Counts of one task, or of many added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Counts of what a stage decides about, by unit.
    pub counts: BTreeMap<Unit, Count>,
    /// Other facts worth a total, by name with its unit: `blocks_read_count`, `html_bytes`.
    #[serde(default)]
    pub facts: BTreeMap<String, u64>,
}

/// A tally that loses rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{read} {unit} were read, but {kept} kept and {rejected} rejected", unit = unit.as_str())]
pub struct TallyError {
    /// What is counted.
    pub unit: Unit,
    /// Rows read.
    pub read: u64,
    /// Rows kept.
    pub kept: u64,
    /// Rows rejected.
    pub rejected: u64,
}

impl Tally {
    /// Counts rows read.
    pub fn read(&mut self, unit: Unit, rows: u64) {
        self.counts.entry(unit).or_default().read += rows;
    }

    /// Counts rows kept.
    pub fn kept(&mut self, unit: Unit, rows: u64) {
        self.counts.entry(unit).or_default().kept += rows;
    }

    /// Counts one rejected row.
    pub fn reject(&mut self, unit: Unit, reason: Reason) {
        *self.counts.entry(unit).or_default().rejected.entry(reason.name().into_owned()).or_default() += 1;
    }

    /// Adds to a fact's total.
    pub fn fact(&mut self, name: &str, value: u64) {
        if let Some(total) = self.facts.get_mut(name) {
            *total += value;
        } else {
            self.facts.insert(name.to_owned(), value);
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        for (unit, count) in &other.counts {
            let own = self.counts.entry(*unit).or_default();
            own.read += count.read;
            own.kept += count.kept;
            for (reason, rows) in &count.rejected {
                *own.rejected.entry(reason.clone()).or_default() += rows;
            }
        }
        for (name, value) in &other.facts {
            self.fact(name, *value);
        }
    }

    /// Checks `read = kept + rejected` for every unit.
    ///
    /// # Errors
    /// The first unit that does not add up.
    pub fn check(&self) -> Result<(), TallyError> {
        for (unit, count) in &self.counts {
            let rejected = count.rejected_total();
            if count.read != count.kept + rejected {
                return Err(TallyError { unit: *unit, read: count.read, kept: count.kept, rejected });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_row_is_an_error() {
        let mut tally = Tally::default();
        tally.read(Unit::Pages, 3);
        tally.kept(Unit::Pages, 1);
        tally.reject(Unit::Pages, Reason::NoCandidate);
        assert_eq!(tally.check().unwrap_err().to_string(), "3 pages were read, but 1 kept and 1 rejected");
        tally.reject(Unit::Pages, Reason::NotHtml);
        assert!(tally.check().is_ok());
    }
}
