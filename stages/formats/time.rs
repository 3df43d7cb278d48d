//! Times as indexes of archives write them: 14 digits, UTC, year to second.

const SECONDS_A_DAY: i64 = 86_400;

/// Seconds since 1970 of 14 digits; none where they are no time of the years 1 to 9999.
#[must_use]
pub fn seconds_of(digits: &str) -> Option<i64> {
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

/// Seconds since 1970 as 14 digits; none outside the years 1 to 9999.
#[must_use]
pub fn digits_of(seconds: i64) -> Option<String> {
    let days = seconds.div_euclid(SECONDS_A_DAY);
    // The first and the last day that have 14 digits.
    if !(days_before(1, 1, 1)..days_before(10_000, 1, 1)).contains(&days) {
        return None;
    }
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
    let left = seconds.rem_euclid(SECONDS_A_DAY);
    Some(format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", left / 3_600, left / 60 % 60, left % 60))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_seconds_are_each_others_inverse() {
        // Seconds by `date -u -d ... +%s`.
        for (digits, seconds) in [
            ("19700101000000", 0),
            ("19691231235959", -1),
            ("00010101000000", -62_135_596_800),
            ("20000229235959", 951_868_799),
            ("20080430204825", 1_209_588_505),
            ("20191231235959", 1_577_836_799),
            ("20200101000000", 1_577_836_800),
            ("21000301000000", 4_107_542_400),
            ("99991231235959", 253_402_300_799),
        ] {
            assert_eq!(seconds_of(digits), Some(seconds), "{digits}");
            assert_eq!(digits_of(seconds).as_deref(), Some(digits));
        }
        for seconds in [-62_135_596_801, 253_402_300_800, i64::MIN, i64::MAX] {
            assert_eq!(digits_of(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn what_is_no_time_has_no_seconds() {
        for digits in ["", "2008043020482", "2008043020482x", "20081330204825", "20080430244825", "20080400204825"] {
            assert_eq!(seconds_of(digits), None, "{digits}");
        }
    }
}
