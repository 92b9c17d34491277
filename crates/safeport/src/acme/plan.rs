//! When a certificate is asked for, and when somebody has to be told that it is not there: values
//! only. Time and randomness are arguments, so that tests live years in a moment.
//!
//! Moments are seconds since 1970 by the wall clock, since that is what certificates count in. A
//! wall clock may be moved: nothing here believes a moment that lies in the future although it
//! should be past.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// For which of the server's keys a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// RSA of 2048 bits.
    Rsa,
    /// The curve P-256.
    P256,
}

impl Key {
    /// `rsa`, `p256`, as in settings and names of files.
    pub fn word(self) -> &'static str {
        match self {
            Key::Rsa => "rsa",
            Key::P256 => "p256",
        }
    }
}

/// The time in which the authority would like a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its begin.
    pub start: u64,
    /// Its end.
    pub end: u64,
}

/// A certificate that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The names it was asked for.
    pub names: Vec<String>,
    /// The directory of the authority that gave it; empty if the note about it was lost.
    pub directory: String,
    /// Its first second.
    pub not_before: u64,
    /// Its last second.
    pub not_after: u64,
    /// When it came, by the clock of that time; unknown if the note about it was lost.
    pub since: Option<u64>,
    /// What the authority suggests.
    pub suggested: Option<Window>,
}

/// Attempts that failed, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// When the first failed.
    pub since: u64,
    /// When the latest failed.
    pub last: u64,
    /// How many failed.
    pub count: u32,
    /// When the next is due.
    pub retry_at: u64,
    /// The authority allows none before this moment, whoever asks.
    pub barred_until: Option<u64>,
    /// [`Wanted::mark`] of what failed: another wish begins anew.
    pub mark: u64,
}

/// All that is known of the certificate for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which key.
    pub key: Key,
    /// The certificate there is.
    pub held: Option<Held>,
    /// What has gone wrong since.
    pub failing: Option<Failing>,
    /// Somebody wants a new one now.
    pub asked: bool,
    /// When the authority is to be asked for its suggestion again, and when that was decided;
    /// `None` if it makes none.
    pub suggestion: Option<Suggestion>,
}

/// When to ask the authority for a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// When it was asked last.
    pub asked: u64,
    /// When to ask again.
    pub again: u64,
}

/// What the settings want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The names, every certificate for all of them.
    pub names: Vec<String>,
    /// The keys.
    pub keys: Vec<Key>,
    /// The authority's directory.
    pub directory: String,
    /// A hash of everything that may make an order fail or succeed: names, authority, challenge.
    pub mark: u64,
    /// A number of this installation, always the same: it spreads renewals, of many servers and of
    /// several certificates, over time.
    pub seed: u64,
}

/// Why a certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// The one that is there has other names.
    Names,
    /// The one that is there is of another authority.
    Authority,
    /// It ends before long.
    Due,
    /// A person wants it.
    Asked,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Order a certificate for this key.
    Order(Key, Why),
    /// Ask the authority when it would like this certificate renewed.
    Ask(Key),
    /// Nothing before this moment.
    Wait(u64),
    /// Nothing before somebody sets the clock of this machine.
    ClockUnset,
}

/// How urgent it is that a person looks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Alarm {
    /// All is well.
    #[default]
    Fine,
    /// A renewal is overdue and goes on being tried; or there is no certificate for the names yet.
    Warning,
    /// Little of the lifetime is left, or nothing; or there has been no certificate for three days.
    Alarm,
}

/// What is to be done next. One thing at a time: keys in their order, what is missing before what
/// is due.
pub fn next(wanted: &Wanted, standings: &[Standing], now: u64) -> Next {
    if now < CLOCK_SET {
        return Next::ClockUnset;
    }
    let of = |key| standings.iter().find(|standing| standing.key == key);
    let mut first: Option<(u64, bool, u64, Key, Why)> = None;
    let mut ask: Option<(u64, Key)> = None;
    for &key in &wanted.keys {
        let standing = of(key);
        let (at, why) = attempt(wanted, key, standing, now);
        let asked = standing.is_some_and(|standing| standing.asked);
        let at = at.max(others_wait(wanted, standings, key, asked, now));
        let tried = standing.and_then(|standing| standing.failing);
        let tried = tried.map_or(0, |failing| failing.last);
        // Of those that may go now, a certificate that is there can wait for one that is not.
        let renews = !matches!(why, Why::Missing | Why::Names | Why::Authority);
        let candidate = (at.max(now), renews, tried, key, why);
        let rank = |of: &(u64, bool, u64, Key, Why)| (of.0, of.1, of.2);
        if first.is_none_or(|known| rank(&candidate) < rank(&known)) {
            first = Some(candidate);
        }
        if let Some(standing) = standing
            && standing.held.is_some()
            && let Some(Suggestion { asked, again }) = standing.suggestion
        {
            let at = believed(asked, again, now);
            if ask.is_none_or(|(known, _)| at < known) {
                ask = Some((at, key));
            }
        }
    }
    let Some((at, _, _, key, why)) = first else {
        return Next::Wait(now + LONGEST_WAIT);
    };
    if at <= now {
        return Next::Order(key, why);
    }
    match ask {
        Some((due, key)) if due <= now => Next::Ask(key),
        Some((due, _)) => Next::Wait(at.min(due)),
        None => Next::Wait(at),
    }
}

/// Until when `key` waits because of other keys: the names are the same, so what fails for one fails
/// for the other, and authorities count failures by name.
fn others_wait(wanted: &Wanted, standings: &[Standing], key: Key, asked: bool, now: u64) -> u64 {
    let others = standings
        .iter()
        .filter(|other| other.key != key && wanted.keys.contains(&other.key));
    let waits = others
        .filter_map(|other| other.failing)
        .filter(|failing| failing.mark == wanted.mark)
        .map(|failing| {
            let barred = failing.barred_until.unwrap_or(0);
            let wait = match asked {
                true => barred,
                false => barred.max(failing.retry_at),
            };
            believed(failing.last, wait, now)
        });
    waits.max().unwrap_or(0)
}

/// What an attempt for `key` that fails now adds to, for [`failed`]: the failures for the other keys
/// count as well.
pub fn before(standings: &[Standing], key: Key, mark: u64, now: u64) -> Option<Failing> {
    let of_mark = |standing: &Standing| standing.failing.filter(|failing| failing.mark == mark);
    let count = standings
        .iter()
        .filter_map(of_mark)
        .map(|f| f.count)
        .max()?;
    let own = standings.iter().find(|standing| standing.key == key);
    let own = own.and_then(of_mark).unwrap_or(Failing {
        since: now,
        last: now,
        count,
        retry_at: now,
        barred_until: None,
        mark,
    });
    Some(Failing { count, ..own })
}

/// When the certificate for `key` is asked for next, and why; a moment that is past means now.
pub fn attempt(wanted: &Wanted, key: Key, standing: Option<&Standing>, now: u64) -> (u64, Why) {
    let held = standing.and_then(|standing| standing.held.as_ref());
    let (mut at, mut why) = match held {
        None => (now, Why::Missing),
        Some(held) if !same_names(&held.names, &wanted.names) => (now, Why::Names),
        Some(held) if !held.directory.is_empty() && held.directory != wanted.directory => {
            (now, Why::Authority)
        }
        Some(held) => (due(held, wanted.seed, key), Why::Due),
    };
    let asked = standing.is_some_and(|standing| standing.asked);
    if asked && at > now {
        (at, why) = (now, Why::Asked);
    }
    if !asked
        && why == Why::Due
        && let Some(Held {
            since: Some(since),
            not_before,
            not_after,
            suggested,
            ..
        }) = held
    {
        // A certificate that is due the moment it comes (a clock that is wrong, here or there) must
        // not be ordered over and over: authorities count.
        // One that the authority wants back early (it will be revoked) is no such case.
        let lifetime = not_after.saturating_sub(*not_before);
        let early = suggested.is_some_and(|window| window.start < not_before + lifetime / 2);
        let pause = match early {
            true => EARLY_SPACING,
            false => SPACING,
        };
        let pause = pause.min(lifetime / 4);
        at = at.max(believed(*since, since + pause, now));
    }
    let failing = standing
        .and_then(|standing| standing.failing)
        .filter(|failing| failing.mark == wanted.mark);
    if let Some(failing) = failing {
        // A person may try at once; an authority that counts attempts is not asked.
        let wait = if asked {
            failing.barred_until.unwrap_or(now)
        } else {
            failing.retry_at.max(failing.barred_until.unwrap_or(0))
        };
        at = at.max(believed(failing.last, wait, now));
    }
    (at, why)
}

/// When a certificate is to be renewed: when the authority suggests it, else when a little more than
/// a third of its lifetime is left; never later than the alarm.
pub fn due(held: &Held, seed: u64, key: Key) -> u64 {
    let lifetime = held.not_after.saturating_sub(held.not_before);
    let third = held.not_after.saturating_sub(lifetime / 3);
    // Each key has a slice of its own, so that the two never come due together and a bad day at the
    // authority meets one of them only.
    let slice = lifetime / 40;
    let slot = match key {
        Key::Rsa => 0,
        Key::P256 => 2 * slice,
    };
    let usual = third.saturating_sub(slot + portion(slice, mix(seed, key, held.not_before)));
    let at = match held.suggested {
        Some(Window { start, end }) if end > start => {
            start + portion(end - start, mix(seed, key, start))
        }
        _ => usual,
    };
    at.min(held.not_after.saturating_sub(alarm_below(lifetime)))
        .max(held.not_before)
}

/// How long before its end a certificate that has not been renewed is an alarm: a sixth of its
/// lifetime, at least three days; but not more than a quarter, for those that live some days only.
pub fn alarm_below(lifetime: u64) -> u64 {
    (lifetime / 6).max(72 * 3600).min(lifetime / 4)
}

/// How urgent it is.
pub fn alarm(wanted: &Wanted, key: Key, standing: Option<&Standing>, now: u64) -> Alarm {
    let failing = standing.and_then(|standing| standing.failing);
    // A clock that was moved back does not calm anybody: the failures are still there.
    let failing_for = failing.map(|failing| now.saturating_sub(failing.since));
    let Some(held) = standing.and_then(|standing| standing.held.as_ref()) else {
        return match failing_for {
            None => Alarm::Fine,
            Some(time) if time < 72 * 3600 => Alarm::Warning,
            Some(_) => Alarm::Alarm,
        };
    };
    let lifetime = held.not_after.saturating_sub(held.not_before);
    let left = held.not_after.saturating_sub(now);
    if left < alarm_below(lifetime) {
        return Alarm::Alarm;
    }
    let overdue = left < lifetime / 3 && now >= due(held, wanted.seed, key);
    let other_names = failing.is_some() && !same_names(&held.names, &wanted.names);
    if overdue || other_names {
        return Alarm::Warning;
    }
    Alarm::Fine
}

/// What is known after one more attempt failed. `random` is any number; `bar` is what the authority
/// said about when to come back (`Retry-After`).
pub fn failed(
    before: Option<Failing>,
    mark: u64,
    now: u64,
    random: u64,
    bar: Option<u64>,
) -> Failing {
    let before = before.filter(|failing| failing.mark == mark);
    let count = before.map_or(0, |failing| failing.count).saturating_add(1);
    Failing {
        since: before.map_or(now, |failing| failing.since.min(now)),
        last: now,
        count,
        retry_at: now + backoff(count, random),
        barred_until: bar.map(|seconds| now + seconds.min(LONGEST_BAR)),
        mark,
    }
}

/// Seconds to wait after so many failures: a minute, and three times as long after each, at most 12
/// hours; by chance up to a quarter more or less, within those bounds.
///
/// Three times, since Let's Encrypt allows five failed validations of a name in an hour: doubling
/// would meet that limit, and then the person who has just mended things would wait for it.
pub fn backoff(failures: u32, random: u64) -> u64 {
    let usual = SHORTEST_RETRY.saturating_mul(3u64.saturating_pow(failures.saturating_sub(1)));
    let usual = usual.min(LONGEST_RETRY);
    let jittered = usual - usual / 4 + portion(usual / 2 + 1, random);
    jittered.clamp(SHORTEST_RETRY, LONGEST_RETRY)
}

/// Whether two lists name the same hosts.
pub fn same_names(one: &[String], other: &[String]) -> bool {
    let set = |names: &[String]| -> BTreeSet<String> {
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    set(one) == set(other)
}

/// A moment `at` that was computed at `from`. If `from` lies in the future by more than clocks are
/// corrected by as they run, the clock was moved back, and the moment belongs to another time.
fn believed(from: u64, at: u64, now: u64) -> u64 {
    match from > now + SHORTEST_RETRY {
        true => now,
        false => at,
    }
}

/// A number below `whole`, or 0, that depends on `random` evenly.
fn portion(whole: u64, random: u64) -> u64 {
    ((u128::from(whole) * u128::from(random)) >> 64) as u64
}

/// A number as good as random, that is the same for the same certificate of the same server
/// (the finalizer of splitmix64).
fn mix(seed: u64, key: Key, moment: u64) -> u64 {
    let mut x =
        seed ^ moment.rotate_left(32) ^ (key as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 2026-01-01: a clock before that was never set. No authority could be asked, since its own
/// certificate would seem to lie in the future.
const CLOCK_SET: u64 = 1_767_225_600;
/// Shortest and longest time between two attempts.
const SHORTEST_RETRY: u64 = 60;
const LONGEST_RETRY: u64 = 12 * 3600;
/// Longest time that an authority can bar us for; Let's Encrypt counts in weeks.
const LONGEST_BAR: u64 = 8 * 24 * 3600;
/// Least time between two certificates for the same key, unless names changed or a person asks:
/// Let's Encrypt gives five with the same names in a week, whatever their keys.
const SPACING: u64 = 3 * 24 * 3600;
/// The same where the authority itself wants an early renewal, which it does not count.
const EARLY_SPACING: u64 = 3600;
/// If nothing at all is wanted.
const LONGEST_WAIT: u64 = 24 * 3600;

#[cfg(test)]
mod tests;
