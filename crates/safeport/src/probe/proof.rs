//! How a probe knows that it reached *this* server and no other one at the same address.
//!
//! A probe sends a nonce. Whoever holds the instance key answers with a keyed hash of it
//! ([`Proofs::answer`], for HTTP and WebSocket); for plain MQTT, whose CONNACK has no room for an
//! answer, the login carries the nonce, and the gatekeeper of the same process notes that it came
//! in ([`Proofs::arrived`]).

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};

use crate::limits::{PROBE_NONCE_LIFE, PROBE_NONCES};

/// Path under which the HTTP listeners answer a nonce: `PATH` + nonce.
pub const PATH: &str = "/.well-known/safeport/";
/// First word of that answer; the proof follows after one space. `text/plain`, nothing else.
pub const ANSWER_WORD: &str = "safeport";
/// Request header of a WebSocket upgrade that carries the nonce.
pub const NONCE_HEADER: &str = "safeport-nonce";
/// Header of the 101 answer that carries the proof.
pub const PROOF_HEADER: &str = "safeport-proof";
/// User name of an MQTT login that is a probe; its password is the nonce. `$` keeps it apart from
/// every real user.
pub const USER: &str = "$safeport";
/// Path of the page for a second vantage point: `VANTAGE_PATH` + a token of
/// [`Proofs::vantage_token`].
pub const VANTAGE_PATH: &str = "/.well-known/safeport/from/";

/// Bytes of the hash that a token carries: 128 bits that nobody guesses, in a QR code that stays
/// small.
const TOKEN_MAC: usize = 16;

/// The question of one probe: 32 lower-case hex digits, never asked twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    const DIGITS: usize = 32;

    fn new() -> Result<Nonce, getrandom::Error> {
        let mut bytes = [0; Nonce::DIGITS / 2];
        getrandom::fill(&mut bytes)?;
        Ok(Nonce(hex(&bytes)))
    }

    /// Whether `text` is shaped like a nonce.
    pub fn is_shaped_like(text: &str) -> bool {
        text.len() == Nonce::DIGITS
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The client identifier that an MQTT probe uses: 27 characters.
    pub fn client_id(&self) -> String {
        client_id_of(&self.0)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The client identifier that belongs to a nonce; `None` for what is not shaped like one.
pub fn client_id(nonce: &str) -> Option<String> {
    Nonce::is_shaped_like(nonce).then(|| client_id_of(nonce))
}

fn client_id_of(nonce: &str) -> String {
    format!("safeport-probe-{}", &nonce[..12])
}

/// Where an MQTT probe came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The listener that took it: `mqtt`, `mqtts`, `http` …
    pub listener: String,
    /// Who seemed to send it: this machine, or the proxy in front.
    pub peer: SocketAddr,
}

/// The instance key and the nonces that this process has asked and not settled. Shared by the
/// probes, the HTTP listeners and the gatekeeper.
pub struct Proofs {
    key: [u8; 32],
    outstanding: Mutex<Vec<Outstanding>>,
}

struct Outstanding {
    nonce: Nonce,
    until: Instant,
    arrival: Option<Arrival>,
}

impl Proofs {
    /// `key` is the instance key: secret, the same for every process that works on one data
    /// folder.
    pub fn new(key: [u8; 32]) -> Proofs {
        Proofs {
            key,
            outstanding: Mutex::new(Vec::new()),
        }
    }

    /// A new question, open for [`PROBE_NONCE_LIFE`]. Of more than [`PROBE_NONCES`] open ones the
    /// oldest is forgotten, and its MQTT probe will find that nothing arrived.
    ///
    /// # Errors
    /// If the operating system gives no random numbers.
    pub fn issue(&self) -> Result<Nonce, getrandom::Error> {
        let nonce = Nonce::new()?;
        let now = Instant::now();
        let mut outstanding = self.lock();
        outstanding.retain(|open| open.until > now);
        if outstanding.len() >= PROBE_NONCES {
            outstanding.remove(0);
        }
        outstanding.push(Outstanding {
            nonce: nonce.clone(),
            until: now + PROBE_NONCE_LIFE,
            arrival: None,
        });
        Ok(nonce)
    }

    /// What this server answers to a nonce, 64 hex digits; `None` for what is no nonce. Anyone
    /// may ask, and learns only that this is the server it is: the key stays unknown.
    pub fn answer(&self, nonce: &str) -> Option<String> {
        Nonce::is_shaped_like(nonce).then(|| hex(&self.mac(nonce).finalize().into_bytes()))
    }

    /// Whether `proof` is the answer to `nonce` that only this server gives.
    pub fn is_answer(&self, nonce: &Nonce, proof: &str) -> bool {
        self.answer(nonce.as_str())
            .is_some_and(|expected| expected == proof)
    }

    /// Whether this process asks with this nonce just now: who brings it is its own probe.
    pub fn is_asked(&self, nonce: &str) -> bool {
        let now = Instant::now();
        self.lock()
            .iter()
            .any(|open| open.nonce.as_str() == nonce && open.until > now)
    }

    /// Notes that an MQTT login with this nonce came in at `listener`. False if this process has
    /// no such question open: then the login is to be refused like any unknown user.
    pub fn arrived(&self, nonce: &str, listener: &str, peer: SocketAddr) -> bool {
        let now = Instant::now();
        let mut outstanding = self.lock();
        let Some(open) = outstanding
            .iter_mut()
            .find(|open| open.nonce.as_str() == nonce && open.until > now)
        else {
            return false;
        };
        open.arrival = Some(Arrival {
            listener: listener.to_owned(),
            peer,
        });
        true
    }

    /// Closes the question; where its login came out, if one did.
    pub fn settle(&self, nonce: &Nonce) -> Option<Arrival> {
        let mut outstanding = self.lock();
        let place = outstanding.iter().position(|open| open.nonce == *nonce)?;
        outstanding.remove(place).arrival
    }

    /// A word that opens the page for a second vantage point ([`VANTAGE_PATH`] + token) until
    /// `expires_at`, in seconds since 1970. Nothing is stored: any process with the same key may
    /// make one and any other check it.
    pub fn vantage_token(&self, expires_at: u64) -> String {
        let until = format!("{expires_at:x}");
        let mac = self.vantage_mac(&until).finalize().into_bytes();
        format!("{until}-{}", hex(&mac[..TOKEN_MAC]))
    }

    /// Whether `token` was made with this key and has not expired at `now`, in seconds since 1970.
    pub fn opens_vantage(&self, token: &str, now: u64) -> bool {
        let Some((until, mac)) = token.split_once('-') else {
            return false;
        };
        let Some(mac) = bytes_of::<TOKEN_MAC>(mac) else {
            return false;
        };
        // Compares in constant time.
        self.vantage_mac(until).verify_truncated_left(&mac).is_ok()
            && u64::from_str_radix(until, 16).is_ok_and(|until| now < until)
    }

    /// The word that keeps a change of settings ([`crate::serve::http::CONFIRM_PATH`] + token):
    /// 32 hex digits, the same for every process with this key.
    pub fn confirm_token(&self, revision: u64) -> String {
        let mac = self.keyed(b"confirm:", &revision.to_string()).finalize();
        hex(&mac.into_bytes()[..TOKEN_MAC])
    }

    fn vantage_mac(&self, until: &str) -> Blake2sMac256 {
        self.keyed(b"vantage:", until)
    }

    fn mac(&self, nonce: &str) -> Blake2sMac256 {
        self.keyed(b"probe:", nonce)
    }

    /// The prefix keeps what the key signs for one purpose apart from all others.
    fn keyed(&self, prefix: &[u8], text: &str) -> Blake2sMac256 {
        let mut mac = Blake2sMac256::new(&self.key.into());
        mac.update(prefix);
        mac.update(text.as_bytes());
        mac
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Outstanding>> {
        // Nothing under the lock can leave the list half changed.
        self.outstanding
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `digits` as `N` bytes, if they are just that in lower-case hex.
fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    #[test]
    fn two_servers_answer_one_nonce_differently_and_each_knows_its_own_answer() {
        let (ours, other) = (Proofs::new([1; 32]), Proofs::new([2; 32]));
        let nonce = ours.issue().expect("random numbers");
        let answer = ours.answer(nonce.as_str()).expect("a nonce");
        assert!(ours.is_answer(&nonce, &answer));
        assert!(!other.is_answer(&nonce, &answer));
        assert!(!ours.is_answer(&ours.issue().expect("random numbers"), &answer));
    }

    #[test]
    fn only_what_is_shaped_like_a_nonce_is_answered() {
        let proofs = Proofs::new([1; 32]);
        for text in [
            "",
            "abc",
            &"A".repeat(32),
            &"g".repeat(32),
            &"a".repeat(33),
            &"é".repeat(16),
        ] {
            assert_eq!(proofs.answer(text), None, "{text}");
        }
        assert_eq!(proofs.answer(&"a".repeat(32)).map(|a| a.len()), Some(64));
    }

    #[test]
    fn a_login_counts_once_and_only_for_a_question_of_this_process() {
        let proofs = Proofs::new([1; 32]);
        let nonce = proofs.issue().expect("random numbers");
        assert!(!proofs.arrived(&"a".repeat(32), "mqtt", PEER));
        assert!(proofs.arrived(nonce.as_str(), "mqtts", PEER));
        let arrival = proofs.settle(&nonce).expect("it arrived");
        assert_eq!((arrival.listener.as_str(), arrival.peer), ("mqtts", PEER));
        assert!(!proofs.arrived(nonce.as_str(), "mqtts", PEER));
        assert_eq!(proofs.settle(&nonce), None);
    }

    #[test]
    fn open_questions_are_bounded_and_the_oldest_goes_first() {
        let proofs = Proofs::new([1; 32]);
        let first = proofs.issue().expect("random numbers");
        let second = proofs.issue().expect("random numbers");
        for _ in 1..PROBE_NONCES {
            proofs.issue().expect("random numbers");
        }
        assert!(!proofs.arrived(first.as_str(), "mqtt", PEER));
        assert!(proofs.arrived(second.as_str(), "mqtt", PEER));
    }

    #[test]
    fn a_vantage_token_opens_until_it_expires_and_cannot_be_changed_or_made_by_another_server() {
        let (ours, other) = (Proofs::new([1; 32]), Proofs::new([2; 32]));
        let token = ours.vantage_token(1_700_000_600);
        assert!(ours.opens_vantage(&token, 1_700_000_599));
        assert!(!ours.opens_vantage(&token, 1_700_000_600));
        assert!(!other.opens_vantage(&token, 0));
        let (until, mac) = token.split_once('-').expect("two parts");
        let later = format!("{:x}-{mac}", 1_700_000_601);
        for wrong in [
            "",
            "-",
            until,
            mac,
            &later,
            &token.to_uppercase(),
            &token[1..],
        ] {
            assert!(!ours.opens_vantage(wrong, 0), "{wrong}");
        }
        // A token is no answer to a nonce, and no nonce makes a token.
        assert_ne!(
            ours.answer(&"a".repeat(32)).map(|a| a[..32].to_owned()),
            Some(mac.to_owned())
        );
    }

    #[test]
    fn each_revision_of_each_server_has_a_confirmation_token_of_its_own() {
        let (ours, other) = (Proofs::new([1; 32]), Proofs::new([2; 32]));
        let token = ours.confirm_token(12);
        assert_eq!(token, Proofs::new([1; 32]).confirm_token(12));
        assert_ne!(token, ours.confirm_token(13));
        assert_ne!(token, other.confirm_token(12));
        assert_eq!(token.len(), 32);
    }
}
