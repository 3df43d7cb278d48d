//! Times as indexes of archives write them: 14 digits, UTC, year to second.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: i64 = 86_400;

/// Seconds since 1970 of 14 digits; none where they are no time of the years 1 to 9999.
pub(super) fn seconds_of(digits: &str) -> Option<i64> {
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let field = |range| digits.get(range).and_then(|part: &str| part.parse::<i64>().ok());
    let (year, month, day) = (field(0..4)?, field(4..6)?, field(6..8)?);
    let (hour, minute, second) = (field(8..10)?, field(10..12)?, field(12..14)?);
    // A leap second is the 61st of its minute.
    let is_time = year >= 1 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_time || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_before(year, month, day) * SECONDS_A_DAY + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Months from March on have 31, 30, 31, 30, 31 days, again and again: 153 in five.
    let days_before_month = (153 * month + 2) / 5;
    // 719,468 days lie between 1 March of the year 0 and 1 January 1970.
    year * 365 + leap_days + days_before_month + day - 1 - 719_468
}

/// `time` as 14 digits.
pub(super) fn digits_of(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = i64::try_from(seconds).expect("a clock of this age of the world");
    let days = seconds / SECONDS_A_DAY;
    // 400 years have 146,097 days; the guess is at most a year too late or too early.
    let mut year = 1970 + days * 400 / 146_097;
    while days_before(year, 1, 1) > days {
        year -= 1;
    }
    while days_before(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (2..=12).rev().find(|&month| days_before(year, month, 1) <= days).unwrap_or(1);
    let day = days - days_before(year, month, 1) + 1;
    let left = seconds % SECONDS_A_DAY;
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", left / 3_600, left / 60 % 60, left % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn digits_and_seconds_are_each_others_inverse() {
        // Seconds by `date -u -d ... +%s`.
        for (digits, seconds) in [
            ("19700101000000", 0),
            ("20000229235959", 951_868_799),
            ("20080430204825", 1_209_588_505),
            ("20191231235959", 1_577_836_799),
            ("20200101000000", 1_577_836_800),
            ("21000301000000", 4_107_542_400),
        ] {
            assert_eq!(seconds_of(digits), Some(seconds), "{digits}");
            assert_eq!(digits_of(UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())), digits);
        }
    }

    #[test]
    fn what_is_no_time_has_no_seconds() {
        for digits in ["", "2008043020482", "2008043020482x", "20081330204825", "20080430244825", "20080400204825"] {
            assert_eq!(seconds_of(digits), None, "{digits}");
        }
    }
}
