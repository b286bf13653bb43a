//! Which backups stay: all of two days, then the oldest of each day up to two weeks, of each week up to two months, of
//! each month up to two years.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::HashMap;

const FORMAT: &str = "dump-%Y-%m-%d-%H%M%S.json.gz";

/// Spans of equal length, up to an age; both in days.
const SPANS: [(i64, i64); 3] = [(14, 1), (60, 7), (730, 30)];
/// Younger ones all stay.
const ALL_DAYS: i64 = 2;

pub(super) fn name(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime(FORMAT).to_string()
}

/// Names without a place. A name that is none of a backup is nobody's to remove.
pub(super) fn expired<'n>(names: &[&'n str], now: DateTime) -> Vec<&'n str> {
    let mut kept: HashMap<(i64, i64), (DateTime, &str)> = HashMap::new();
    let mut expired = Vec::new();
    for &name in names {
        let Ok(at) = DateTime::strptime(FORMAT, name) else { continue };
        let age_days = now.duration_since(at).as_hours() / 24;
        if age_days < ALL_DAYS {
            continue;
        }
        let Some(&(_, length)) = SPANS.iter().find(|(until, _)| age_days < *until) else {
            expired.push(name);
            continue;
        };
        // Spans stand still while backups grow older: those of a span are compared with one another until one is left.
        let day = i64::from(
            at.date().since((jiff::Unit::Day, DateTime::default().date())).map_or(0, |span| span.get_days()),
        );
        match kept.entry((length, day / length)) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert((at, name));
            }
            std::collections::hash_map::Entry::Occupied(mut place) => {
                let (oldest, holder) = *place.get();
                if at < oldest {
                    expired.push(holder);
                    place.insert((at, name));
                } else {
                    expired.push(name);
                }
            }
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use std::collections::BTreeSet;

    fn at(text: &str) -> DateTime {
        text.parse().expect("a time")
    }

    fn named(time: DateTime) -> String {
        time.strftime(FORMAT).to_string()
    }

    #[test]
    fn names_are_the_peers() {
        let now: Timestamp = "2026-11-25T07:08:09Z".parse().expect("a time");
        assert_eq!(name(now), "dump-2026-11-25-070809.json.gz");
    }

    #[test]
    fn two_years_of_hours_thin_out() {
        // A backup each hour, each followed by a rotation, as it goes in a bucket.
        let begin = at("2024-01-01T00:30:00");
        let mut there: BTreeSet<String> = BTreeSet::new();
        let hours = 24 * 800;
        for hour in 0..hours {
            let now = begin.checked_add(i64::from(hour).hours()).expect("in range");
            there.insert(named(now));
            if hour % 6 == 0 || hour == hours - 1 {
                let names: Vec<&str> = there.iter().map(String::as_str).collect();
                let gone: Vec<String> = expired(&names, now).into_iter().map(str::to_owned).collect();
                for name in gone {
                    there.remove(&name);
                }
            }
        }
        let now = begin.checked_add(i64::from(hours - 1).hours()).expect("in range");
        let age = |name: &String| {
            let at = DateTime::strptime(FORMAT, name).expect("ours");
            now.duration_since(at).as_hours() / 24
        };
        let within =
            |from: i64, until: i64| there.iter().filter(|name| (from..until).contains(&age(name))).count();
        assert_eq!(within(0, 2), 48, "every one of two days");
        assert!((11..=13).contains(&within(2, 14)), "one a day: {}", within(2, 14));
        assert!((5..=9).contains(&within(14, 60)), "one a week: {}", within(14, 60));
        assert!((20..=25).contains(&within(60, 730)), "one a month: {}", within(60, 730));
        assert_eq!(within(730, i64::MAX), 0, "none past two years");
    }

    #[test]
    fn what_is_no_backup_stays() {
        let names =
            ["dump-2020-01-01-000000.json.gz", "dump-2020-01-01.json.gz", "notes.txt", "dump-x.json.gz"];
        assert_eq!(expired(&names, at("2026-01-01T00:00:00")), ["dump-2020-01-01-000000.json.gz"]);
    }

    #[test]
    fn the_oldest_of_a_day_stays() {
        let names = [
            "dump-2026-01-03-100000.json.gz",
            "dump-2026-01-03-010000.json.gz",
            "dump-2026-01-03-230000.json.gz",
        ];
        let gone = expired(&names, at("2026-01-10T00:00:00"));
        assert_eq!(gone, ["dump-2026-01-03-100000.json.gz", "dump-2026-01-03-230000.json.gz"]);
    }
}
