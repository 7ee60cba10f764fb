//! `strftime` for templates that write the date into the prompt.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Seconds since 1970 UTC.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

/// A moment in UTC, taken apart.
struct Moment {
    year: i64,
    month: usize,
    day: i64,
    day_of_year: i64,
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Moment {
    fn new(seconds: i64) -> Moment {
        // The bound is far beyond any date, and small enough for the arithmetic below.
        let seconds = seconds.clamp(-(1 << 40), 1 << 40);
        let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
        // Years that begin in March put the leap day at their end; eras of 400 such years are all alike.
        let z = days + 719_468;
        let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let m = (5 * from_march + 2) / 153;
        let month = if m < 10 { m + 3 } else { m - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let day = from_march - (153 * m + 2) / 5 + 1;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
        Moment {
            year,
            month: month as usize,
            day,
            day_of_year: before + day + i64::from(leap && month > 2),
            weekday: (days + 4).rem_euclid(7) as usize,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    fn number(&self, code: char) -> Option<(i64, usize)> {
        let hour12 = (self.hour + 11) % 12 + 1;
        Some(match code {
            'Y' => (self.year, 1),
            'y' => (self.year.rem_euclid(100), 2),
            'm' => (self.month as i64, 2),
            'd' | 'e' => (self.day, 2),
            'j' => (self.day_of_year, 3),
            'H' => (self.hour, 2),
            'I' => (hour12, 2),
            'M' => (self.minute, 2),
            'S' => (self.second, 2),
            'w' => (self.weekday as i64, 1),
            'u' => ((self.weekday as i64 + 6) % 7 + 1, 1),
            _ => return None,
        })
    }

    fn text(&self, code: char) -> Option<String> {
        Some(match code {
            'B' => MONTHS[self.month - 1].to_owned(),
            'b' | 'h' => MONTHS[self.month - 1][..3].to_owned(),
            'A' => DAYS[self.weekday].to_owned(),
            'a' => DAYS[self.weekday][..3].to_owned(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
            'F' => self.format("%Y-%m-%d"),
            'T' | 'X' => self.format("%H:%M:%S"),
            'R' => self.format("%H:%M"),
            'D' | 'x' => self.format("%m/%d/%y"),
            'c' => self.format("%a %b %e %H:%M:%S %Y"),
            // A time without a zone has neither.
            'Z' | 'z' => String::new(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }

    fn format(&self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let ahead = rest.clone();
            let (plain, code) = match rest.next() {
                Some('-') => (true, rest.next()),
                code => (false, code),
            };
            match code.and_then(|c| self.number(c).map(|n| (c, n))) {
                Some((_, (n, _))) if plain => out.push_str(&n.to_string()),
                Some(('e', (n, width))) => out.push_str(&format!("{n:width$}")),
                Some((_, (n, width))) => out.push_str(&format!("{n:0width$}")),
                None => match code.and_then(|c| self.text(c)) {
                    Some(text) => out.push_str(&text),
                    // A letter that is no code stays, as in C.
                    None => {
                        out.push('%');
                        rest = ahead;
                    }
                },
            }
        }
        out
    }
}

/// Python's `datetime.strftime` in the C locale.
pub(super) fn strftime(seconds: i64, format: &str) -> String {
    Moment::new(seconds).format(format)
}
