//! Times as indexes of archives write them: 14 digits, UTC, year to second.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::formats::time;
pub(super) use crate::formats::time::seconds_of;

/// `time` as 14 digits.
pub(super) fn digits_of(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let digits = i64::try_from(seconds).ok().and_then(time::digits_of);
    digits.expect("a clock of this age of the world")
}
