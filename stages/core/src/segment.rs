//! Segments: what a long task has finished so far, so that the next attempt goes on behind it.
//!
//! A long task writes its outputs in numbered segments. Closing one commits its files under attempt-safe names, then
//! its report, create-if-absent and last. An attempt adopts the segments that stand under its own fingerprint, skips
//! the rows that they hold, and goes on. The task's own report, at its end, lists the files of all segments in order
//! and the sum of their tallies; readers see one sequence of rows. Files of a segment without a report are never read.
//!
//! A stage closes a segment by a rule on its input alone (a number of rows), never by time: so the files are the same
//! however often the task was killed. A task that ends within its first segment has none, and one file a table.
//!
//! ```text
//! let mut segments = context.segments()?;
//! let mut rows = segments.rows::<T>()?;
//! let mut segment = segments.begin();          // a context: its accounts and writers are the segment's
//! …                                            // and when it is full
//! segments.close(segment, tally, rows_read)?;
//! segment = segments.begin();
//! …                                            // and at the end of the rows
//! segments.finish(segment, tally)              // the task's tally
//! ```

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use crate::context::{Context, Tripwire};
use crate::id::{Fingerprint, ShardId};
use crate::rows::Rows;
use crate::stage::StageError;
use crate::store::{Created, Layout};
use crate::table::Table;
use crate::tally::Tally;
use crate::write::Output;

/// A segment's report: where it stands in the store, the segment is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentReport {
    /// Everything that determines the task's output.
    pub fingerprint: Fingerprint,
    /// The shard.
    pub shard: ShardId,
    /// The segment's number in the task, from 0.
    pub segment: u32,
    /// The try that closed it.
    pub attempt: u32,
    /// The cursor: rows of the task's input in this segment and all before it.
    pub rows: u64,
    /// What the segment counted.
    pub tally: Tally,
    /// What it wrote.
    pub outputs: Vec<Output>,
}

/// The closed segments of a task, and the place where the next one begins.
#[derive(Debug)]
pub struct Segments<'c> {
    context: &'c Context,
    adopted: u32,
    next: u32,
    rows: u64,
    tally: Tally,
    outputs: Vec<Output>,
}

impl<'c> Segments<'c> {
    /// Adopts what earlier attempts of the task closed.
    ///
    /// # Errors
    /// When the store fails, or a segment is not what its report says.
    pub(crate) fn adopt(context: &'c Context) -> Result<Self, StageError> {
        let mut segments = Self { context, adopted: 0, next: 0, rows: 0, tally: Tally::default(), outputs: Vec::new() };
        while let Some(report) = segments.standing()? {
            segments.take(report);
            segments.adopted += 1;
        }
        if segments.adopted > 0 {
            context.progress.rows.fetch_add(segments.rows, Ordering::Relaxed);
            let (shard, adopted, rows) = (context.shard, segments.adopted, segments.rows);
            tracing::info!(%shard, adopted, rows, "goes on behind {rows} rows of {adopted} closed segments");
        }
        Ok(segments)
    }

    /// Segments that earlier attempts closed.
    #[must_use]
    pub fn adopted(&self) -> u32 {
        self.adopted
    }

    /// What the closed segments counted.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The shard's rows of table `T` behind those of the closed segments, where `T` is what the cursor counts.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another table.
    pub fn rows<T: Table>(&self) -> Result<Rows<T>, StageError> {
        let mut rows = self.context.rows::<T>()?;
        rows.skip(self.rows)?;
        Ok(rows)
    }

    /// A context for the next segment: what is written and counted with it is the segment's.
    #[must_use]
    pub fn begin(&self) -> Context {
        let before = self.rows;
        let tripwire = self.context.tripwire.clone();
        // A tripwire counts the task's rows.
        let tripwire = tripwire.map(|tripwire| -> Tripwire { Arc::new(move |row| tripwire(before + row)) });
        Context { segment: self.next, outputs: Arc::default(), tripwire, ..self.context.clone() }
    }

    /// Closes a segment whose writers are finished. `rows` is how many rows of the task's input it holds.
    ///
    /// # Errors
    /// When the store fails, or another attempt closed a segment of this number otherwise.
    pub fn close(&mut self, segment: Context, tally: Tally, rows: u64) -> Result<(), StageError> {
        let report = SegmentReport {
            fingerprint: self.context.fingerprint.clone(),
            shard: self.context.shard,
            segment: self.next,
            attempt: self.context.attempt,
            rows: self.rows + rows,
            tally,
            outputs: outputs_of(&segment),
        };
        let path = self.path();
        let json = serde_json::to_vec_pretty(&report).expect("a report is plain JSON");
        let report = match self.context.store.put_new(&path, json)? {
            Created::Yes => report,
            Created::AlreadyThere => {
                // Another attempt was faster; its files are the ones that count.
                let cursor = report.rows;
                let standing = self.standing()?.filter(|standing| standing.rows == cursor);
                standing.ok_or_else(|| unusable(path, "it ends at another row".to_owned()))?
            }
        };
        self.take(report);
        Ok(())
    }

    /// Ends the task with its last segment: hands the files of all segments to the task's report and returns the sum
    /// of their tallies.
    ///
    /// # Errors
    /// When the accounts do not balance.
    pub fn finish(mut self, segment: Context, tally: Tally) -> Result<Tally, StageError> {
        self.tally.add(&tally);
        self.tally.check()?;
        self.outputs.extend(outputs_of(&segment));
        self.context.outputs.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.outputs);
        Ok(self.tally)
    }

    /// Forgets the closed segments, for a task that fails since what it read is not to be trusted: when its cause is
    /// mended, the next attempt reads all of it again.
    ///
    /// # Errors
    /// When the store fails.
    pub fn discard(self) -> Result<(), StageError> {
        // From the last to the first: what is left by a kill in between is still a row of segments.
        for segment in (0..self.next).rev() {
            self.context.store.remove_file(&Layout::segment(&self.context.folder, self.context.shard, segment))?;
        }
        Ok(())
    }

    fn path(&self) -> String {
        Layout::segment(&self.context.folder, self.context.shard, self.next)
    }

    /// The report of the next segment, where it is closed already.
    fn standing(&self) -> Result<Option<SegmentReport>, StageError> {
        let path = self.path();
        let Some(bytes) = self.context.store.get_if_there(&path)? else { return Ok(None) };
        let report: SegmentReport = match serde_json::from_slice(&bytes) {
            Ok(report) => report,
            Err(cause) => return Err(unusable(path, cause.to_string())),
        };
        if report.fingerprint != self.context.fingerprint
            || report.shard != self.context.shard
            || report.segment != self.next
            || report.rows < self.rows
        {
            return Err(unusable(path, "it is of another task".to_owned()));
        }
        for output in &report.outputs {
            let bytes = self.context.store.open(&output.path)?.len_bytes();
            if bytes != output.bytes {
                let cause = format!("`{}` has {bytes} bytes, not {}", output.path, output.bytes);
                return Err(unusable(path, cause));
            }
        }
        Ok(Some(report))
    }

    fn take(&mut self, report: SegmentReport) {
        self.next += 1;
        self.rows = report.rows;
        self.tally.add(&report.tally);
        self.outputs.extend(report.outputs);
    }
}

fn outputs_of(segment: &Context) -> Vec<Output> {
    std::mem::take(&mut *segment.outputs.lock().unwrap_or_else(PoisonError::into_inner))
}

fn unusable(place: String, cause: String) -> StageError {
    StageError::Outside {
        what: "segment report",
        place,
        cause,
        way_out: "remove it and run the same command again",
        retry: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::reject::{Reason, Reject, Unit};
    use crate::tables::{Frequencies, FrequenciesRow, Rejects};
    use crate::testing;

    /// Rows of a segment in these tests.
    const SEGMENT_ROWS: u64 = 3;

    /// A context over ten rows of input.
    fn context() -> Context {
        let mut context = testing::context();
        testing::give::<Frequencies>(&mut context, (0..10).map(|phash| FrequenciesRow { phash, images: 1 }));
        context
    }

    fn next_attempt(context: &Context) -> Context {
        Context { attempt: context.attempt + 1, outputs: Arc::default(), ..context.clone() }
    }

    /// A task that keeps even rows and rejects odd ones; it stops, as if killed, before row `killed_at`. Returns its
    /// tally, and the rows that it read.
    fn run(context: &Context, killed_at: u64) -> Result<(Option<Tally>, Vec<u64>), StageError> {
        let mut segments = context.segments()?;
        let mut rows = segments.rows::<Frequencies>()?;
        let mut read = Vec::new();
        let mut segment = segments.begin();
        let (mut accounts, mut writer) = (segment.accounts("test")?, segment.writer::<Frequencies>()?);
        let mut in_segment = 0;
        while let Some(row) = rows.next()? {
            if row.phash == killed_at {
                // The files of the open segment are there, its report is not.
                segment.commit(writer.finish())?;
                accounts.finish()?;
                return Ok((None, read));
            }
            if in_segment == SEGMENT_ROWS {
                segment.commit(writer.finish())?;
                let tally = accounts.finish()?;
                segments.close(segment, tally, in_segment)?;
                segment = segments.begin();
                (accounts, writer) = (segment.accounts("test")?, segment.writer()?);
                in_segment = 0;
            }
            in_segment += 1;
            read.push(row.phash);
            accounts.read(Unit::Images)?;
            if row.phash % 2 == 0 {
                writer.push(&row)?;
                accounts.kept(Unit::Images);
            } else {
                let (document_id, evidence) = ("d", row.phash.to_string());
                let reason = Reason::Frequent;
                accounts.reject(&Reject { unit: Unit::Images, document_id, image_url: None, reason, evidence })?;
            }
        }
        segment.commit(writer.finish())?;
        let tally = accounts.finish()?;
        Ok((Some(segments.finish(segment, tally)?), read))
    }

    const NEVER: u64 = u64::MAX;

    /// Table, rows and digest of each output, in the report's order.
    fn files(context: &Context) -> Vec<(String, u64, String)> {
        let outputs = context.outputs.lock().unwrap();
        outputs.iter().map(|output| (output.table.clone(), output.rows, output.blake3.clone())).collect()
    }

    #[test]
    fn segments_follow_each_other_as_one_table() {
        let context = context();
        let (tally, _) = run(&context, NEVER).unwrap();
        let count = &tally.unwrap().counts[&Unit::Images];
        assert_eq!((count.read, count.kept, count.rejected_total()), (10, 5, 5));
        assert_eq!(testing::written::<Frequencies, _>(&context, |row| row.phash), [0, 2, 4, 6, 8]);
        let evidence = testing::written::<Rejects, _>(&context, |row| row.evidence.to_owned());
        assert_eq!(evidence, ["1", "3", "5", "7", "9"]);
        let rows: Vec<_> = files(&context).into_iter().map(|(table, rows, _)| format!("{table} {rows}")).collect();
        let (kept, rejected) = ([2, 1, 2, 0], [1, 2, 1, 1]);
        let expected = kept.iter().zip(rejected);
        let expected =
            expected.flat_map(|(kept, rejected)| [format!("frequencies {kept}"), format!("rejects {rejected}")]);
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    #[test]
    fn an_attempt_goes_on_behind_the_closed_segments_to_the_same_files() {
        let undisturbed = context();
        let (expected_tally, _) = run(&undisturbed, NEVER).unwrap();
        for killed_at in 0..10 {
            let first = context();
            let (tally, _) = run(&first, killed_at).unwrap();
            assert_eq!(tally, None);
            let second = next_attempt(&first);
            let (tally, read) = run(&second, NEVER).unwrap();
            // A segment is closed when a row comes behind it.
            let closed = killed_at.saturating_sub(1) / SEGMENT_ROWS * SEGMENT_ROWS;
            assert_eq!(read, (closed..10).collect::<Vec<_>>(), "killed at {killed_at}");
            assert_eq!(tally, expected_tally);
            assert_eq!(files(&second), files(&undisturbed), "killed at {killed_at}");
        }
    }

    #[test]
    fn a_task_within_its_first_segment_has_one_file_a_table_under_the_usual_name() {
        let mut context = testing::context();
        testing::give::<Frequencies>(&mut context, (0..3).map(|phash| FrequenciesRow { phash, images: 1 }));
        run(&context, NEVER).unwrap();
        let outputs = context.outputs.lock().unwrap();
        let paths: Vec<&str> = outputs.iter().map(|output| output.path.as_str()).collect();
        assert_eq!(paths, ["test/00000/frequencies-a001.parquet", "test/00000/rejects-a001.parquet"]);
        assert!(!context.store.list("").unwrap().iter().any(|path| path.contains("segment")));
    }

    #[test]
    fn of_two_attempts_at_once_the_first_to_close_a_segment_counts() {
        let slow = context();
        let fast = next_attempt(&slow);
        // Begun before any segment was closed.
        let mut of_slow = slow.segments().unwrap();
        run(&fast, 7).unwrap();
        let segment = of_slow.begin();
        let mut writer = segment.writer::<Frequencies>().unwrap();
        writer.push(&FrequenciesRow { phash: 0, images: 1 }).unwrap();
        writer.push(&FrequenciesRow { phash: 2, images: 1 }).unwrap();
        segment.commit(writer.finish()).unwrap();
        of_slow.close(segment, Tally::default(), SEGMENT_ROWS).unwrap();
        assert_eq!(of_slow.tally().counts[&Unit::Images].read, 3);
        assert!(of_slow.outputs.iter().all(|output| output.path.ends_with("-a002.parquet")));
        // One that disagrees about where the segment ends is not let pass.
        let segment = of_slow.begin();
        let error = of_slow.close(segment, Tally::default(), SEGMENT_ROWS + 1).unwrap_err();
        assert!(error.to_string().contains("segment-00001.json` is not usable: it ends at another row"), "{error}");
    }

    #[test]
    fn a_segment_that_is_not_what_its_report_says_is_named_with_a_way_out() {
        let first = context();
        run(&first, 7).unwrap();
        let store = first.store.clone();
        let second = next_attempt(&first);
        let refused = |word: &str| {
            let error = second.segments().unwrap_err();
            let message = error.to_string();
            assert!(message.contains(word), "{message}");
        };
        assert_eq!(second.segments().unwrap().adopted(), 2);
        store.put("test/00000/frequencies-a001.parquet", b"short".to_vec()).unwrap();
        refused("has 5 bytes");
        store.remove_file("test/00000/frequencies-a001.parquet").unwrap();
        refused("frequencies-a001.parquet");
        let other = Context { fingerprint: Fingerprint::of([("other", &b""[..])]), ..second.clone() };
        assert!(other.segments().unwrap_err().to_string().contains("it is of another task; remove it"));
        store.put("test/00000/segment-00000.json", b"{".to_vec()).unwrap();
        refused("test/00000/segment-00000.json");
    }

    #[test]
    fn discarded_segments_are_read_again() {
        let first = context();
        run(&first, 7).unwrap();
        next_attempt(&first).segments().unwrap().discard().unwrap();
        assert_eq!(next_attempt(&first).segments().unwrap().adopted(), 0);
    }

    #[test]
    fn a_tripwire_counts_the_rows_of_the_task() {
        let passed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&passed);
        let mut first = context();
        run(&first, 7).unwrap();
        first.tripwire = Some(Arc::new(move |row| seen.lock().unwrap().push(row)));
        run(&next_attempt(&first), NEVER).unwrap();
        assert_eq!(*passed.lock().unwrap(), [7, 8, 9, 10]);
    }
}
