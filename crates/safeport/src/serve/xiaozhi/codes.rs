//! The codes that devices show until somebody enters them.
//!
//! A device gets the same code at every check for [`XIAOZHI_CODE_LIFE`]; it is kept here and in the
//! registry, where `device activate` finds it. Everything is bounded: how many wait, how many new
//! ones an address gets, how often two that claim one hardware address may take turns.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use safeport_fleet::MacAddress;
use safeport_store::ActivationRow;
use safeport_xiaozhi::{CheckRequest, Code};
use serde::{Deserialize, Serialize};

use super::super::access::recent::Recent;
use super::asker;
use crate::limits::{
    XIAOZHI_ASKERS, XIAOZHI_CODE_LIFE, XIAOZHI_CODE_PAUSE, XIAOZHI_CODES, XIAOZHI_CODES_PER_MINUTE,
};

/// The table of codes; clones share it.
#[derive(Clone)]
pub(super) struct Codes(Arc<Mutex<Table>>);

struct Table {
    waiting: HashMap<MacAddress, Waiting>,
    taken: HashSet<Code>,
    /// New codes of an address in a minute: the minute, and how many.
    askers: Recent<IpAddr, (u64, u32)>,
}

/// A device that waits.
#[derive(Debug, Clone)]
struct Waiting {
    client_id: String,
    code: Code,
    challenge: String,
    /// What py-xiaozhi signs with. In memory only.
    signing_key: Option<String>,
    created: u64,
    expires: u64,
    seen: u64,
}

/// What a device shows, and what it sends back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) code: Code,
    pub(super) challenge: String,
}

/// What an activation call is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waits {
    pub(super) challenge: String,
    pub(super) signing_key: Option<String>,
}

/// Why there is no new code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCode {
    /// This address asked for too many.
    TooMany,
    /// This hardware address got one for another Client-Id a moment ago.
    Contested,
}

/// A code that is to be written down.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) shown: Shown,
    pub(super) row: ActivationRow,
    /// Codes that had to make room.
    pub(super) pushed_out: Vec<String>,
    mac: MacAddress,
    signing_key: Option<String>,
}

/// What stands in the registry beside a code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Described {
    pub(super) board: String,
    pub(super) version: Option<String>,
    pub(super) challenge: String,
}

impl Codes {
    /// The codes that were given out before the last stop.
    pub(super) fn restored(rows: Vec<ActivationRow>, now: u64) -> Codes {
        let mut table = Table {
            waiting: HashMap::new(),
            taken: HashSet::new(),
            askers: Recent::new(XIAOZHI_ASKERS),
        };
        for row in rows.into_iter().take(XIAOZHI_CODES) {
            let (Ok(code), Ok(mac), Some(client_id)) =
                (row.code.parse(), row.mac.parse(), row.uuid)
            else {
                continue;
            };
            let described: Described = serde_json::from_str(&row.body).unwrap_or_default();
            let waiting = Waiting {
                client_id,
                code,
                challenge: described.challenge,
                signing_key: None,
                created: row.created,
                expires: row.expires,
                seen: now,
            };
            table.taken.insert(code);
            table.waiting.insert(mac, waiting);
        }
        Codes(Arc::new(Mutex::new(table)))
    }

    /// The code that this device has, if it has one.
    pub(super) fn asked(&self, mac: MacAddress, client_id: &str, now: u64) -> Option<Shown> {
        let mut table = self.table();
        let waiting = table.of(mac, client_id, now)?;
        waiting.seen = now;
        Some(Shown {
            code: waiting.code,
            challenge: waiting.challenge.clone(),
        })
    }

    /// The same for an activation call.
    pub(super) fn find(&self, mac: MacAddress, client_id: &str, now: u64) -> Option<Waits> {
        let mut table = self.table();
        let waiting = table.of(mac, client_id, now)?;
        waiting.seen = now;
        Some(Waits {
            challenge: waiting.challenge.clone(),
            signing_key: waiting.signing_key.clone(),
        })
    }

    /// Whether a device at `address` may get a new code; counts it.
    pub(super) fn may_issue(
        &self,
        mac: MacAddress,
        address: IpAddr,
        now: u64,
    ) -> Result<(), NoCode> {
        let mut table = self.table();
        if let Some(waiting) = table.waiting.get(&mac)
            && waiting.expires > now
            && now.saturating_sub(waiting.created) < XIAOZHI_CODE_PAUSE.as_secs()
        {
            return Err(NoCode::Contested);
        }
        let (address, minute) = (asker(address), now / 60);
        let count = match table.askers.get(&address) {
            Some((of, count)) if *of == minute => *count,
            _ => 0,
        };
        if count >= XIAOZHI_CODES_PER_MINUTE {
            return Err(NoCode::TooMany);
        }
        table.askers.insert(address, (minute, count + 1));
        Ok(())
    }

    /// A code that nobody here shows. It counts once it is written down and kept.
    pub(super) fn draw(
        &self,
        check: &CheckRequest,
        signing_key: Option<String>,
        now: u64,
    ) -> Result<Issued, getrandom::Error> {
        let mut bytes = [0; 20];
        getrandom::fill(&mut bytes)?;
        let (number, challenge) = bytes.split_at(4);
        let challenge = challenge.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let number = u32::from_le_bytes([number[0], number[1], number[2], number[3]]);
        let mut table = self.table();
        let pushed_out = table.make_room(now);
        let code = table.free(number);
        let described = Described {
            board: check.board.clone(),
            version: check.version_text.clone(),
            challenge: challenge.clone(),
        };
        Ok(Issued {
            row: ActivationRow {
                code: code.to_string(),
                mac: check.mac.to_string(),
                uuid: Some(check.client_id.clone()),
                body: serde_json::to_string(&described).unwrap_or_default(),
                created: now,
                expires: now + XIAOZHI_CODE_LIFE.as_secs(),
            },
            shown: Shown { code, challenge },
            pushed_out,
            mac: check.mac,
            signing_key,
        })
    }

    /// Another code in place of one that somebody else has.
    pub(super) fn draw_again(&self, issued: &mut Issued) {
        let mut bytes = [0; 4];
        // Codes need not be hard to guess: they are entered by who may take in any device.
        let number = match getrandom::fill(&mut bytes) {
            Ok(()) => u32::from_le_bytes(bytes),
            Err(_) => issued.row.created as u32,
        };
        issued.shown.code = self.table().free(number);
        issued.row.code = issued.shown.code.to_string();
    }

    /// Takes up a code that has been written down.
    pub(super) fn keep(&self, issued: &Issued) {
        let mut table = self.table();
        let waiting = Waiting {
            client_id: issued.row.uuid.clone().unwrap_or_default(),
            code: issued.shown.code,
            challenge: issued.shown.challenge.clone(),
            signing_key: issued.signing_key.clone(),
            created: issued.row.created,
            expires: issued.row.expires,
            seen: issued.row.created,
        };
        table.taken.insert(waiting.code);
        if let Some(before) = table.waiting.insert(issued.mac, waiting)
            && before.code != issued.shown.code
        {
            table.taken.remove(&before.code);
        }
    }

    /// The device is taken in: its code is used up.
    pub(super) fn done(&self, mac: MacAddress) {
        let mut table = self.table();
        if let Some(waiting) = table.waiting.remove(&mac) {
            table.taken.remove(&waiting.code);
        }
    }

    /// How many wait.
    pub(super) fn len(&self, now: u64) -> usize {
        let table = self.table();
        let waiting = table.waiting.values();
        waiting.filter(|waiting| waiting.expires > now).count()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing under the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn of(&mut self, mac: MacAddress, client_id: &str, now: u64) -> Option<&mut Waiting> {
        self.waiting
            .get_mut(&mac)
            .filter(|waiting| waiting.expires > now && waiting.client_id == client_id)
    }

    /// The next code from this number on that nobody shows.
    fn free(&self, number: u32) -> Code {
        let numbers = (0..Code::COUNT).map(|step| Code::of(number.wrapping_add(step)));
        // There are a hundred times as many codes as places.
        numbers
            .into_iter()
            .find(|code| !self.taken.contains(code))
            .unwrap_or(Code::of(number))
    }

    /// Forgets what has run out, and, if that is not enough, who has not asked for longest.
    /// Returns the codes that others might still enter.
    fn make_room(&mut self, now: u64) -> Vec<String> {
        if self.waiting.len() < XIAOZHI_CODES {
            return Vec::new();
        }
        self.waiting.retain(|_, waiting| waiting.expires > now);
        let mut pushed_out = Vec::new();
        while self.waiting.len() >= XIAOZHI_CODES {
            let oldest = self.waiting.iter().min_by_key(|(_, waiting)| waiting.seen);
            let Some((mac, _)) = oldest else {
                break;
            };
            let mac = *mac;
            if let Some(waiting) = self.waiting.remove(&mac) {
                pushed_out.push(waiting.code.to_string());
            }
        }
        self.taken = self.waiting.values().map(|waiting| waiting.code).collect();
        pushed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_xiaozhi::Headers;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 20));

    fn check(mac: &str, client_id: &str) -> CheckRequest {
        let headers = Headers {
            device_id: Some(mac),
            client_id: Some(client_id),
            user_agent: Some("board/2.4.2"),
            ..Headers::default()
        };
        CheckRequest::read(&headers, b"").expect("a check")
    }

    fn issue(codes: &Codes, check: &CheckRequest, now: u64) -> Result<Shown, NoCode> {
        codes.may_issue(check.mac, HOME, now)?;
        let issued = codes.draw(check, None, now).expect("random numbers");
        codes.keep(&issued);
        Ok(issued.shown)
    }

    fn empty() -> Codes {
        Codes::restored(Vec::new(), 0)
    }

    #[test]
    fn a_device_gets_the_same_code_until_it_runs_out() {
        let codes = empty();
        let check = check("aa:bb:cc:dd:ee:01", "one");
        let shown = issue(&codes, &check, 1000).expect("a code");
        assert_eq!(shown.challenge.len(), 32);
        for later in [1001, 40_000, 1000 + 86_399] {
            assert_eq!(codes.asked(check.mac, "one", later), Some(shown.clone()));
        }
        assert_eq!(codes.asked(check.mac, "one", 1000 + 86_400), None);
        assert_eq!(codes.len(1000), 1);
        codes.done(check.mac);
        assert_eq!(codes.len(1000), 0);
    }

    #[test]
    fn codes_survive_a_restart_with_their_challenge() {
        let codes = empty();
        let check = check("aa:bb:cc:dd:ee:01", "one");
        let issued = codes.draw(&check, None, 1000).expect("random numbers");
        let again = Codes::restored(vec![issued.row], 2000);
        assert_eq!(again.asked(check.mac, "one", 2000), Some(issued.shown));
    }

    #[test]
    fn another_client_id_does_not_see_the_code_and_gets_its_own_only_after_a_while() {
        let codes = empty();
        let first = check("aa:bb:cc:dd:ee:01", "one");
        let shown = issue(&codes, &first, 1000).expect("a code");
        let other = check("aa:bb:cc:dd:ee:01", "other");
        assert_eq!(codes.asked(other.mac, "other", 1001), None);
        assert_eq!(issue(&codes, &other, 1059), Err(NoCode::Contested));
        assert_ne!(issue(&codes, &other, 1060).expect("a code"), shown);
        assert_eq!(codes.asked(first.mac, "one", 1061), None);
    }

    #[test]
    fn an_address_gets_so_many_codes_a_minute_and_a_whole_ipv6_network_counts_as_one() {
        let codes = empty();
        let mac = |number: u32| {
            let [_, a, b, c] = number.to_be_bytes();
            MacAddress([2, 0, 0, a, b, c])
        };
        for number in 0..XIAOZHI_CODES_PER_MINUTE {
            assert_eq!(codes.may_issue(mac(number), HOME, 600), Ok(()));
        }
        assert_eq!(codes.may_issue(mac(99), HOME, 659), Err(NoCode::TooMany));
        let other = IpAddr::from([192, 168, 1, 21]);
        assert_eq!(codes.may_issue(mac(99), other, 659), Ok(()));
        assert_eq!(codes.may_issue(mac(99), HOME, 660), Ok(()));
        for number in 0..XIAOZHI_CODES_PER_MINUTE {
            let address: IpAddr = format!("2001:db8::{number:x}").parse().expect("an address");
            assert_eq!(codes.may_issue(mac(number), address, 600), Ok(()));
        }
        let next: IpAddr = "2001:db8::ffff".parse().expect("an address");
        assert_eq!(codes.may_issue(mac(99), next, 600), Err(NoCode::TooMany));
    }

    #[test]
    fn a_full_table_forgets_who_has_not_asked_for_longest_and_no_two_codes_are_alike() {
        let codes = empty();
        let of = |number: usize| {
            let mac = format!("02:00:00:{:02x}:{:02x}:00", number / 256, number % 256);
            check(&mac, "client")
        };
        let mut seen = HashSet::new();
        for number in 0..XIAOZHI_CODES {
            let issued = codes.draw(&of(number), None, 1000).expect("random numbers");
            codes.keep(&issued);
            assert!(seen.insert(issued.shown.code));
            assert!(issued.pushed_out.is_empty());
        }
        for number in 1..XIAOZHI_CODES {
            assert!(codes.asked(of(number).mac, "client", 1001).is_some());
        }
        let one_more = of(XIAOZHI_CODES);
        let issued = codes.draw(&one_more, None, 1002).expect("random numbers");
        assert_eq!(issued.pushed_out.len(), 1);
        codes.keep(&issued);
        assert_eq!(codes.len(1002), XIAOZHI_CODES);
        assert_eq!(codes.asked(of(0).mac, "client", 1002), None);
        assert!(codes.asked(one_more.mac, "client", 1002).is_some());
    }
}
