//! Reads the `Retry-After` header: seconds, or a date (RFC 9110, sections 10.2.3 and 5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long a server wants to be left alone from `now` on; none where the header is not understood.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = UNIX_EPOCH + Duration::from_secs(unix_seconds(value)?);
    // A moment that has passed asks for nothing.
    Some(date.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form of date that servers still write.
fn unix_seconds(date: &str) -> Option<u64> {
    let mut fields = date.split_once(", ")?.1.split(' ');
    let mut field = || fields.next();
    let (day, month, year, time, zone) = (field()?, field()?, field()?, field()?, field()?);
    if zone != "GMT" || fields.next().is_some() {
        return None;
    }
    let day = day.parse::<u64>().ok().filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year = year.parse::<u64>().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = time.split(':').map(str::parse::<u64>);
    let (Some(Ok(hour)), Some(Ok(minute)), Some(Ok(second)), None) =
        (clock.next(), clock.next(), clock.next(), clock.next())
    else {
        return None;
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_of_months: u64 = lengths.iter().take(month).sum();
    Some((days_of_years + days_of_months + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn seconds_and_dates_are_read() {
        assert_eq!(retry_after("120", at(0)), Some(Duration::from_secs(120)));
        // The example of RFC 9110, section 5.6.7.
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", at(784_111_770)), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Thu, 29 Feb 2024 00:00:01 GMT", at(1_709_164_800)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_moment_that_has_passed_asks_for_nothing() {
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", at(800_000_000)), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_neither_is_left_alone() {
        for odd in
            ["", "soon", "-1", "1.5", "06 Nov 1994", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:00:00 GMT"]
        {
            assert_eq!(retry_after(odd, at(0)), None, "{odd}");
        }
    }
}
