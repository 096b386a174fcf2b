//! Dates as HTTP, XML and signatures write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment of the Gregorian calendar in UTC.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    seconds_of_day: i64,
    days: i64,
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// A time, some seconds off.
pub(crate) fn skewed(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) }.unwrap_or(time)
}

/// Days since 1970 of a date: the algorithm of Howard Hinnant's `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Its inverse, `civil_from_days`.
fn civil(seconds: i64) -> Civil {
    let days = seconds.div_euclid(86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        seconds_of_day: seconds.rem_euclid(86_400),
        days,
    }
}

fn name<'a>(names: &[&'a str], index: i64) -> &'a str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("")
}

/// As in a `Date` header (RFC 9110, 5.6.7).
pub(crate) fn http_date(time: SystemTime) -> String {
    let Civil { year, month, day, seconds_of_day: s, days } = civil(seconds(time));
    let (weekday, month) = (name(&WEEKDAYS, days.rem_euclid(7)), name(&MONTHS, month - 1));
    format!("{weekday}, {day:02} {month} {year} {:02}:{:02}:{:02} GMT", s / 3600, s / 60 % 60, s % 60)
}

/// As in EC2's XML.
pub(crate) fn iso8601(time: SystemTime) -> String {
    let Civil { year, month, day, seconds_of_day: s, .. } = civil(seconds(time));
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}.000Z", s / 3600, s / 60 % 60, s % 60)
}

/// As in `X-Amz-Date`.
pub(crate) fn basic(seconds: i64) -> String {
    let Civil { year, month, day, seconds_of_day: s, .. } = civil(seconds);
    format!("{year}{month:02}{day:02}T{:02}{:02}{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

/// Seconds since 1970 that an `X-Amz-Date` stands for.
pub(crate) fn parse_basic(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 || !(date.bytes().chain(time.bytes())).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let days = days_from_civil(number(&date[..4])?, number(&date[4..6])?, number(&date[6..])?);
    Some(days * 86_400 + number(&time[..2])? * 3600 + number(&time[2..4])? * 60 + number(&time[4..])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_others_write_them() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(iso8601(time), "1994-11-06T08:49:37.000Z");
        assert_eq!(basic(784_111_777), "19941106T084937Z");
        assert_eq!(basic(951_782_400), "20000229T000000Z");
    }

    #[test]
    fn what_is_written_is_read() {
        for seconds in [0, 951_782_400, 784_111_777, 4_107_542_399] {
            assert_eq!(parse_basic(&basic(seconds)), Some(seconds));
        }
        for wrong in ["", "20200101", "2020-01-01T00:00:00Z", "20200101T0000é0Z"] {
            assert_eq!(parse_basic(wrong), None, "{wrong}");
        }
    }
}
