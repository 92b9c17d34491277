//! Times in front of lines, as devices, servers and terminal programs write them.

use core::time::Duration;

use crate::Moment;

/// When a line was printed, on the clock of whoever printed it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stamp {
    pub(super) since: Duration,
    pub(super) clock: Clock,
    /// Who wrote it: 1 the outermost program on the line, 2 the next.
    pub(super) writer: u8,
}

/// What a stamp counts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Clock {
    /// 1970.
    Wall,
    /// The last midnight.
    Day,
    /// The last boot.
    Boot,
}

impl Stamp {
    /// How long after `earlier` this was, if both are of one clock.
    pub(super) fn after(self, earlier: Stamp) -> Option<Duration> {
        if !self.is_like(earlier) {
            return None;
        }
        match self.since.checked_sub(earlier.since) {
            Some(later) => Some(later),
            // A time of day begins again at midnight; a clock that steps back says nothing.
            None if self.clock == Clock::Day => (self.since + DAY).checked_sub(earlier.since),
            None => None,
        }
    }

    /// Whether both are of one clock.
    pub(super) fn is_like(self, other: Stamp) -> bool {
        (self.clock, self.writer) == (other.clock, other.writer)
    }

    pub(super) fn moment(self) -> Moment {
        Moment {
            since: self.since,
            wall: self.clock == Clock::Wall,
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Takes the stamps off the front of a line: what the terminal wrote, then what the device wrote,
/// which counts. Also takes syslog's host, which tells devices apart.
pub(super) fn peel(line: &str) -> (Option<Stamp>, Option<&str>, &str) {
    let mut rest = line.trim_start();
    let mut stamp = None;
    let mut host = None;
    // A syslog priority: <134>1
    if let Some(end) = rest.strip_prefix('<').and_then(|rest| rest.find('>'))
        && end <= 3
        && rest[1..=end].bytes().all(|byte| byte.is_ascii_digit())
    {
        rest = rest[end + 2..].trim_start();
    }
    // docker compose: "name-1  | line"
    if let Some((name, line)) = rest.split_once(" | ")
        && !name.trim_end().is_empty()
        && name.trim_end().len() <= 40
        && name.trim_end().bytes().all(is_name)
    {
        host = Some(name.trim_end());
        rest = line.trim_start();
    }
    for writer in 1..=3 {
        let mut scan = Scan(rest);
        let Some(found) = scan.stamp() else { break };
        rest = scan.0;
        stamp = Some(Stamp {
            writer,
            ..found.stamp
        });
        if found.syslog
            && let Some((name, line)) = rest.split_once(' ')
            && !name.is_empty()
            && name.bytes().all(is_name)
            && !name.bytes().all(|byte| byte.is_ascii_digit())
        {
            host = Some(name);
            rest = line.trim_start();
        }
    }
    (stamp, host, rest)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

struct Found {
    stamp: Stamp,
    syslog: bool,
}

/// What is left of a line.
struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    fn stamp(&mut self) -> Option<Found> {
        let begun = self.0;
        let bracket = self.take('[');
        let found = self
            .date_and_time()
            .or_else(|| {
                *self = Scan(begun);
                self.take('[');
                self.syslog()
            })
            .or_else(|| {
                *self = Scan(begun);
                self.take('[');
                self.compact()
            })
            .or_else(|| {
                *self = Scan(begun);
                self.take('[');
                let since = self.time()?;
                Some(of(since, Clock::Day))
            })
            .or_else(|| {
                *self = Scan(begun);
                if bracket {
                    self.arduino()
                } else {
                    self.number()
                }
            });
        let Some(found) = found else {
            *self = Scan(begun);
            return None;
        };
        if bracket && !matches!(found.stamp.clock, Clock::Boot) && !self.take(']') {
            *self = Scan(begun);
            return None;
        }
        // What terminal programs put behind a stamp.
        self.0 = self.0.trim_start();
        for separator in ["-> ", "| ", "> ", ": ", "- "] {
            if let Some(rest) = self.0.strip_prefix(separator) {
                self.0 = rest.trim_start();
                break;
            }
        }
        Some(found)
    }

    /// `2025-07-24 10:11:12.123+08:00`, also with slashes and `T`.
    fn date_and_time(&mut self) -> Option<Found> {
        let year = self.digits(4, 4)?;
        let separator = self.0.chars().next().filter(|c| matches!(c, '-' | '/'))?;
        self.take(separator);
        let month = self.digits(1, 2)?;
        self.take(separator).then_some(())?;
        let day = self.digits(1, 2)?;
        (self.take('T') || self.take(' ')).then_some(())?;
        let time = self.time()?;
        let offset = self.offset();
        let days = days_of(year as i64, month, day)?;
        let seconds = days * 86_400 - offset;
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + time;
        Some(of(since, Clock::Wall))
    }

    /// `Jul 24 10:11:12 host`.
    fn syslog(&mut self) -> Option<Found> {
        let months = [
            "Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ", "Aug ", "Sep ", "Oct ", "Nov ",
            "Dec ",
        ];
        let month = months.iter().find(|month| self.0.starts_with(**month))?;
        self.0 = self.0[month.len()..].trim_start();
        self.digits(1, 2)?;
        self.take(' ').then_some(())?;
        let since = self.time()?;
        self.0 = self.0.trim_start();
        Some(Found {
            syslog: true,
            ..of(since, Clock::Day)
        })
    }

    /// `250423 09:12:40`, as Python servers are told to write it.
    fn compact(&mut self) -> Option<Found> {
        let date = self.digits(6, 6)?;
        self.take(' ').then_some(())?;
        let time = self.time()?;
        let days = days_of(2000 + (date / 10_000) as i64, date / 100 % 100, date % 100)?;
        Some(of(
            Duration::from_secs(u64::try_from(days * 86_400).ok()?) + time,
            Clock::Wall,
        ))
    }

    /// `10:11:12.123`; the hour may have one digit.
    fn time(&mut self) -> Option<Duration> {
        let hours = self.digits(1, 2).filter(|hours| *hours < 24)?;
        self.take(':').then_some(())?;
        let minutes = self.digits(2, 2).filter(|minutes| *minutes < 60)?;
        self.take(':').then_some(())?;
        let seconds = self.digits(2, 2).filter(|seconds| *seconds < 61)?;
        let mut time = Duration::from_secs(hours * 3600 + minutes * 60 + seconds);
        let fraction = self.0.strip_prefix(['.', ',']).map(|rest| {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.split_at(length)
        });
        if let Some((digits, rest)) = fraction
            && (1..=9).contains(&digits.len())
        {
            let value: u64 = digits.parse().ok()?;
            time += Duration::from_nanos(value * 10_u64.pow(9 - digits.len() as u32));
            self.0 = rest;
        }
        Some(time)
    }

    /// `Z`, `+08:00`, ` +0800`, in seconds.
    fn offset(&mut self) -> i64 {
        if self.take('Z') {
            return 0;
        }
        let begun = self.0;
        self.0 = self.0.strip_prefix(' ').unwrap_or(self.0);
        let sign = match self.0.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => {
                self.0 = begun;
                return 0;
            }
        };
        self.0 = &self.0[1..];
        let hours = self.digits(2, 2);
        self.take(':');
        match (hours, self.digits(2, 2)) {
            (Some(hours), Some(minutes)) => sign * (hours * 3600 + minutes * 60) as i64,
            _ => {
                self.0 = begun;
                0
            }
        }
    }

    /// `[  1234][E][file.cpp:12]`: the number alone is taken.
    fn arduino(&mut self) -> Option<Found> {
        self.take('[').then_some(())?;
        self.0 = self.0.trim_start_matches(' ');
        let millis = self.digits(1, 10)?;
        self.take(']').then_some(())?;
        self.0.starts_with('[').then_some(())?;
        Some(of(Duration::from_millis(millis), Clock::Boot))
    }

    /// `1751000000: ` is since 1970 from a server, `1506427: ` since boot from ESPEasy.
    fn number(&mut self) -> Option<Found> {
        let number = self.digits(1, 10)?;
        let rest = self.0.strip_prefix(':')?;
        rest.starts_with(' ').then_some(())?;
        self.0 = rest;
        // ESPEasy writes its tag with a space in front of the colon; its clock goes to 49 days.
        let espeasy = rest
            .split_once(':')
            .is_some_and(|(tag, _)| tag.ends_with(' '));
        Some(if number >= 1_000_000_000 && !espeasy {
            of(Duration::from_secs(number), Clock::Wall)
        } else {
            of(Duration::from_millis(number), Clock::Boot)
        })
    }

    fn take(&mut self, c: char) -> bool {
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<u64> {
        let length = self.0.bytes().take_while(u8::is_ascii_digit).count();
        if !(least..=most).contains(&length) {
            return None;
        }
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        digits.parse().ok()
    }
}

fn of(since: Duration, clock: Clock) -> Found {
    Found {
        stamp: Stamp {
            since,
            clock,
            writer: 1,
        },
        syslog: false,
    }
}

/// Days from 1970-01-01 to this date, if there is one.
fn days_of(year: i64, month: u64, day: u64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 {
        (year, month as i64 - 3)
    } else {
        (year - 1, month as i64 + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (153 * month + 2) / 5 + day as i64 - 1 - 719_468)
}
