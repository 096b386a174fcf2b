//! Leap seconds: the kernel adds them, or leaves them out, at the end of the UTC day on which it is told to.

use super::packet::Leap;

const DAY: i64 = 86_400 * 1_000_000_000;
/// 2000-03-01, in days since 1970: counted from a first of March, leap days come last and disturb nothing.
const MARCH_2000: i64 = 11_017;
/// Days in 400 years, in 100, in 4, in 1.
const ERA: i64 = 146_097;

/// What the kernel must do at the end of today, `now` being Unix time in ns: 1 adds a second, -1 leaves one out. Servers may
/// warn all month long, and leap seconds come at the end of June and December only.
#[must_use]
pub fn today(warning: Leap, now: i64) -> i8 {
    let day = now.div_euclid(DAY);
    match warning {
        Leap::Insert if is_last_of_half_year(day) => 1,
        Leap::Delete if is_last_of_half_year(day) => -1,
        _ => 0,
    }
}

fn is_last_of_half_year(day: i64) -> bool {
    // Hinnant's days_from_civil, backwards.
    let of_era = (day - MARCH_2000).rem_euclid(ERA);
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // The 30th of June and the 31st of December, from the 1st of March.
    matches!(of_year, 121 | 305)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_days_of_june_and_december_may_be_longer() {
        // Days since 1970 of 2015-06-30, 2016-12-31, 2028-06-30, 2100-12-31, by date(1).
        for last in [16_616, 17_166, 21_365, 47_846] {
            assert_eq!(today(Leap::Insert, last * DAY), 1, "{last}");
            assert_eq!(today(Leap::Delete, last * DAY + DAY - 1), -1);
            assert_eq!(today(Leap::None, last * DAY), 0);
            assert_eq!(today(Leap::Insert, (last + 1) * DAY), 0);
            assert_eq!(today(Leap::Insert, last * DAY - 1), 0);
        }
        let year = (20_454..20_819).filter(|day| is_last_of_half_year(*day)).count();
        assert_eq!(year, 2);
    }
}
