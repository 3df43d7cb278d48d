//! Tasks that wait for a front of the outside world, while the run goes on elsewhere.
//!
//! A task that a front did not serve is tried again at the time that the front's budget gives, as often as it takes:
//! such tries are not held against it. It is given up, for this run, where the front forbade us to ask (403), or has
//! answered nobody for [`LONGEST_OUTAGE`].

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use weft_core::front::Unavailable;
use weft_core::id::ShardId;

/// How long a front may fail before the run ends without it.
const LONGEST_OUTAGE: Duration = Duration::from_secs(12 * 3600);

/// A task: the phase's position and the shard.
type Place = (usize, ShardId);

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    until: HashMap<Place, Instant>,
    given_up: HashMap<Place, Unavailable>,
    /// Outages that were told of, by front: when each began.
    told: BTreeMap<String, u64>,
    /// The last outage noted, for the word that is said when nothing else is left to do.
    last: Option<Unavailable>,
    /// The outage that this word was said of.
    idle_told: Option<Unavailable>,
}

impl Waiting {
    /// Takes note that a task could not be served at `now`, which is `now_ms` in milliseconds of Unix time. Returns
    /// whether this outage is news.
    pub(super) fn note(&mut self, place: Place, unavailable: &Unavailable, now: Instant, now_ms: u64) -> bool {
        let outage_ms = now_ms.saturating_sub(unavailable.since_ms);
        match unavailable.until_ms {
            Some(until_ms) if Duration::from_millis(outage_ms) < LONGEST_OUTAGE => {
                let wait = Duration::from_millis(until_ms.saturating_sub(now_ms));
                self.until.insert(place, now + wait);
            }
            _ => {
                self.given_up.insert(place, unavailable.clone());
            }
        }
        self.last = Some(unavailable.clone());
        self.told.insert(unavailable.front.clone(), unavailable.since_ms) != Some(unavailable.since_ms)
    }

    /// Whether a task is not to be tried at `now`.
    pub(super) fn holds(&self, place: Place, now: Instant) -> bool {
        self.given_up.contains_key(&place) || self.until.get(&place).is_some_and(|until| *until > now)
    }

    /// A task is tried.
    pub(super) fn leave(&mut self, place: Place) {
        self.until.remove(&place);
    }

    /// Whether a task will be tried again without anything else happening.
    pub(super) fn has_next(&self) -> bool {
        !self.until.is_empty()
    }

    /// What to say when nothing is left to do but to wait; said once an outage.
    pub(super) fn idle_word(&mut self, now: Instant) -> Option<String> {
        let (next, last) = (self.until.values().min()?, self.last.as_ref()?);
        let is_told = |told: &Unavailable| told.front == last.front && told.since_ms == last.since_ms;
        if self.idle_told.as_ref().is_some_and(is_told) {
            return None;
        }
        self.idle_told = Some(last.clone());
        let wait_seconds = next.saturating_duration_since(now).as_secs_f64();
        let tasks = self.until.len();
        Some(format!("nothing else to do: {tasks} tasks wait, the next one for {wait_seconds:.1} s; {last}"))
    }

    /// Why tasks were given up, if any were.
    pub(super) fn given_up(&self) -> Option<String> {
        let mut by_front: BTreeMap<&str, (usize, &Unavailable)> = BTreeMap::new();
        for unavailable in self.given_up.values() {
            by_front.entry(&unavailable.front).or_insert((0, unavailable)).0 += 1;
        }
        let words = by_front.values().map(|(tasks, unavailable)| {
            let way_out = if unavailable.until_ms.is_none() {
                "leave it alone for hours; then ask it more slowly (`[front]` in the crawl's manifest), or turn to \
                 whoever runs it"
            } else {
                "it has failed for hours; run the same command again when it serves"
            };
            format!("{tasks} tasks could not be served by {}: {}; {way_out}", unavailable.front, unavailable.cause)
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn unavailable(since_ms: u64, until_ms: Option<u64>) -> Unavailable {
        let (front, cause) = ("https://front.example".to_owned(), "503 for x".to_owned());
        Unavailable { front, cause, since_ms, until_ms }
    }

    #[test]
    fn a_task_waits_until_its_time_and_is_then_free() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let place = (2, ShardId(1));
        assert!(waiting.note(place, &unavailable(1_000, Some(6_000)), now, 5_000));
        assert!(waiting.holds(place, now) && !waiting.holds((2, ShardId(0)), now) && waiting.has_next());
        assert!(!waiting.holds(place, now + Duration::from_secs(1)));
        let word = waiting.idle_word(now).unwrap();
        assert_eq!(
            word,
            "nothing else to do: 1 tasks wait, the next one for 1.0 s; https://front.example does not serve now: 503 \
             for x"
        );
        assert_eq!(waiting.idle_word(now), None);
        assert!(!waiting.note(place, &unavailable(1_000, Some(9_000)), now, 6_000), "the same outage is no news");
        waiting.leave(place);
        assert!(!waiting.has_next() && waiting.given_up().is_none());
    }

    #[test]
    fn an_outage_of_an_hour_is_waited_for_and_one_of_half_a_day_is_not() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.note((0, ShardId(0)), &unavailable(0, Some(HOUR_MS + 1)), now, HOUR_MS);
        assert!(waiting.has_next() && waiting.given_up().is_none());
        waiting.leave((0, ShardId(0)));
        waiting.note((0, ShardId(0)), &unavailable(0, Some(13 * HOUR_MS)), now, 12 * HOUR_MS);
        assert!(!waiting.has_next() && waiting.given_up().unwrap().contains("it has failed for hours"));
    }

    #[test]
    fn a_front_that_forbids_is_not_waited_for() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for shard in 0..3 {
            waiting.note((0, ShardId(shard)), &unavailable(0, None), now, 1);
        }
        assert!(!waiting.has_next() && waiting.holds((0, ShardId(1)), now + Duration::from_secs(1_000_000)));
        let word = waiting.given_up().unwrap();
        assert!(word.starts_with("3 tasks could not be served by https://front.example: 503 for x; leave"), "{word}");
    }
}
