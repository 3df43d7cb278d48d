//! Turns the times that sources state into the 14 digits of UTC that crawl indexes use.

const MINUTES_PER_DAY: i64 = 24 * 60;

/// `2019-04-18T14:57:54.5+02:00` becomes `20190418125754`: fractions of a second are dropped, as crawlers do.
///
/// None for anything that is no RFC 3339 time (section 5.6), and for one whose year in UTC is not 0 to 9999. A leap
/// second counts as the second after it.
pub(super) fn digits_of(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (date, time) = (bytes.get(..10)?, bytes.get(11..19)?);
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, b':', [2, 2, 2])?;
    // The `T` may be small, or a space (section 5.6, notes).
    let separated = matches!(bytes.get(10)?, b'T' | b't' | b' ');
    let in_range = hour <= 23 && minute <= 59 && second <= 60;
    let days = days_of(year, month, day);
    if !separated || !in_range || date_of(days) != (year, month, day) {
        return None;
    }
    let offset_minutes = offset_of(skip_fraction(bytes.get(19..)?)?)?;
    let minutes = days * MINUTES_PER_DAY + hour * 60 + minute - offset_minutes + second / 60;
    digits_of_minutes(minutes, second % 60)
}

/// Of whole minutes since 1970 and a second.
fn digits_of_minutes(minutes: i64, second: i64) -> Option<String> {
    let (year, month, day) = date_of(minutes.div_euclid(MINUTES_PER_DAY));
    if !(0..=9999).contains(&year) {
        return None;
    }
    let minute_of_day = minutes.rem_euclid(MINUTES_PER_DAY);
    let (hour, minute) = (minute_of_day / 60, minute_of_day % 60);
    Some(format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"))
}

/// As [`digits_of`], or the 14 digits themselves where they are a time.
pub(super) fn digits_of_text(text: &str) -> Option<String> {
    let is_digits = text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits {
        return digits_of(text);
    }
    let part = |start: usize, end: usize| text.get(start..end).expect("14 digits of ASCII");
    let (date, time) = ([part(0, 4), part(4, 6), part(6, 8)], [part(8, 10), part(10, 12), part(12, 14)]);
    digits_of(&format!("{}T{}Z", date.join("-"), time.join(":")))
}

/// Of seconds since 1970-01-01T00:00:00Z, leap seconds not counted; none where the year is not 0 to 9999.
pub(super) fn digits_of_unix(seconds: i64) -> Option<String> {
    let (minutes, second) = (seconds.div_euclid(60), seconds.rem_euclid(60));
    digits_of_minutes(minutes, second)
}

/// Three numbers of these widths, separated.
fn numbers(text: &[u8], separator: u8, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(|&byte| byte == separator);
    let mut values = [0; 3];
    for (value, width) in values.iter_mut().zip(widths) {
        let digits = parts.next().filter(|part| part.len() == width && part.iter().all(u8::is_ascii_digit))?;
        *value = digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    }
    parts.next().is_none().then_some(values)
}

fn skip_fraction(rest: &[u8]) -> Option<&[u8]> {
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(rest) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { None } else { fraction.get(digits..) }
}

/// Minutes that local time is ahead of UTC.
fn offset_of(zone: &[u8]) -> Option<i64> {
    if matches!(zone, b"Z" | b"z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    // The same shape as a time without its seconds.
    let [hours, minutes, _] = numbers(&[rest, b":00"].concat(), b':', [2, 2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years begin in March, so that leap days come last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The inverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_fractions_and_leap_days_are_counted() {
        for (text, digits) in [
            ("2019-04-18T12:57:54Z", "20190418125754"),
            ("2019-04-18t12:57:54.999z", "20190418125754"),
            ("2019-04-18 14:57:54+02:00", "20190418125754"),
            ("2019-01-01T00:30:00+01:00", "20181231233000"),
            ("2020-02-28T23:30:00-00:45", "20200229001500"),
            ("2000-02-29T00:00:00Z", "20000229000000"),
            ("2016-12-31T23:59:60Z", "20170101000000"),
            ("0000-01-01T00:00:00Z", "00000101000000"),
        ] {
            assert_eq!(digits_of(text).as_deref(), Some(digits), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2019-04-18",
            "20190418125754",
            "2019-04-18T12:57:54",
            "2019-04-18T12:57Z",
            "2019-04-18T12:57:54.Z",
            "2019-04-18T24:00:00Z",
            "2019-04-18T12:60:00Z",
            "2019-04-18T12:57:61Z",
            "2019-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2019-13-01T00:00:00Z",
            "2019-00-01T00:00:00Z",
            "2019-04-00T00:00:00Z",
            "2019-04-18T12:57:54+0200",
            "2019-04-18T12:57:54+24:00",
            "2019-04-18T12:57:54Zz",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:60Z",
            "+019-04-18T12:57:54Z",
            "2019-04-18T12:57:5éZ",
        ] {
            assert_eq!(digits_of(text), None, "{text}");
        }
    }

    #[test]
    fn fourteen_digits_are_a_time_only_where_the_calendar_has_it() {
        assert_eq!(digits_of_text("20190418125754").as_deref(), Some("20190418125754"));
        assert_eq!(digits_of_text("2019-04-18T14:57:54+02:00").as_deref(), Some("20190418125754"));
        for text in ["20190230000000", "20190418250000", "2019041812575", "201904181257540", "2019041812575x"] {
            assert_eq!(digits_of_text(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_since_1970_are_a_time_within_four_digits_of_a_year() {
        for (seconds, digits) in [
            (0, Some("19700101000000")),
            (-1, Some("19691231235959")),
            (1_555_592_274, Some("20190418125754")),
            (253_402_300_799, Some("99991231235959")),
            (253_402_300_800, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            assert_eq!(digits_of_unix(seconds).as_deref(), digits, "{seconds}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        let first = days_of(1600, 1, 1);
        for days in first..first + 2 * 146_097 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!((date_of(first + 2 * 146_097), days_of(1970, 1, 1)), ((2400, 1, 1), 0));
    }
}
