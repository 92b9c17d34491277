//! The decision at CONNECT, as a pure machine: no thread, no clock, no hash is computed here.
//!
//! [`Door::judge`] answers from memory or asks for a verification, [`Door::verified`] takes the
//! outcome, and [`Door::count`] takes note of a refusal when it has become final. Rules, in this
//! order:
//!
//! 1. No user name: admitted if anonymous clients are, else refused as not authorized.
//! 2. Too many wrong logins under this name from this address: refused, whatever the password.
//! 3. A name that is no login, while anonymous clients are admitted: admitted as anonymous. The
//!    client gets no more than it would without the name, and devices that are being tried out
//!    need not be cleared of their old credentials.
//! 4. The password, by a remembered verdict or by argon2. An unknown name costs as much as a wrong
//!    password, so that the time does not tell which names exist.
//! 5. The account is enabled, and the client id is the login's to use: a device's client ids are
//!    its own; a device or an anonymous client cannot use a client id that another login used
//!    last. People may move a client id from one login to another. So a stolen plug's credentials
//!    take over no other client's session.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use safeport_broker::Permissions;
use safeport_mqtt::ReasonCode;
use safeport_store::{Secret, Snapshot};

use super::accounts::{Accounts, UnreadableDevice};
use super::failures::Failures;
use super::recent::Recent;
use super::xiaozhi::Enrolled;
use crate::limits::{CLAIMS, DEVICES_MET, PASSWORD_BYTES, USERNAME_BYTES, VERDICTS};
use crate::program;

/// A keyed hash of user name and password: what verdicts are remembered by. The key is drawn at
/// start and never leaves the process.
pub(super) type Fingerprint = [u8; 32];

/// Who asks to come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) client_id: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
    pub(super) address: IpAddr,
    /// The listener it came by.
    pub(super) listener: &'a str,
}

/// A device that logged in, and the listener it came by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Met {
    /// The device's name.
    pub device: String,
    /// `mqtt`, `mqtts`, `http` or `https`.
    pub listener: String,
}

/// The rights a login comes in with, or why it stays out.
pub(super) type Decision = Result<Arc<Permissions>, Refusal>;

/// What to do with a login.
#[derive(Clone, Debug)]
pub(super) enum Judgement {
    Decided(Decision),
    /// Verify the password against this hash, then call [`Door::verified`]. `None`: no such
    /// login; verify against a hash that nothing matches.
    Verify(Option<Secret>),
}

/// Why a login is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoCredentials,
    WrongPassword,
    UnknownUser,
    Disabled,
    TooManyFailures,
    /// The client id belongs to this device.
    ClientIdOfDevice(String),
    /// The client id was last used by this other login.
    ClientIdOfLogin(String),
    /// More logins wait for verification than are worth keeping waiting.
    Busy,
    /// The stored hash is damaged.
    Unreadable,
}

impl Refusal {
    /// What the client is told. A wrong name and a wrong password look the same.
    pub(super) fn reason(&self) -> ReasonCode {
        match self {
            Refusal::NoCredentials | Refusal::Disabled => ReasonCode::NotAuthorized,
            Refusal::WrongPassword | Refusal::UnknownUser => ReasonCode::BadUserNameOrPassword,
            Refusal::TooManyFailures => ReasonCode::ConnectionRateExceeded,
            Refusal::ClientIdOfDevice(_) | Refusal::ClientIdOfLogin(_) => {
                ReasonCode::ClientIdentifierNotValid
            }
            Refusal::Busy => ReasonCode::ServerBusy,
            Refusal::Unreadable => ReasonCode::ServerUnavailable,
        }
    }

    /// Whether a change of the registry could turn this refusal into an admission, so that it is
    /// final only after a look at the registry that is younger than the login.
    pub(super) fn rests_on_the_registry(&self) -> bool {
        match self {
            Refusal::WrongPassword
            | Refusal::UnknownUser
            | Refusal::Disabled
            | Refusal::ClientIdOfDevice(_)
            | Refusal::ClientIdOfLogin(_)
            | Refusal::Unreadable => true,
            Refusal::NoCredentials | Refusal::TooManyFailures | Refusal::Busy => false,
        }
    }

    /// One word for metrics and log causes.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Refusal::NoCredentials => "no_credentials",
            Refusal::WrongPassword => "wrong_password",
            Refusal::UnknownUser => "unknown_user",
            Refusal::Disabled => "disabled",
            Refusal::TooManyFailures => "too_many_failures",
            Refusal::ClientIdOfDevice(_) | Refusal::ClientIdOfLogin(_) => "client_id_taken",
            Refusal::Busy => "busy",
            Refusal::Unreadable => "unreadable_hash",
        }
    }

    /// What happened and what to do, for the log.
    pub(super) fn advice(&self) -> String {
        let program = program::name();
        match self {
            Refusal::NoCredentials => format!(
                "no user name was sent and anonymous clients are not admitted; give the client a \
                 login with `{program} device add` or `{program} user add`"
            ),
            Refusal::WrongPassword => format!(
                "the password is wrong; set a new one with `{program} user passwd NAME`, or for a \
                 device `{program} device passwd NAME`"
            ),
            Refusal::UnknownUser => format!(
                "there is no such login; add it with `{program} device add` or `{program} user add`"
            ),
            Refusal::Disabled => {
                format!("this login is disabled; `{program} user enable NAME` lets it in again")
            }
            Refusal::TooManyFailures => {
                "too many wrong logins from this address; correct the client's password, it is let \
                 in again within a minute (limits.failed_logins_per_minute)"
                    .to_owned()
            }
            Refusal::ClientIdOfDevice(device) => format!(
                "this client id belongs to device `{device}`; give the client another one, or log \
                 in as that device"
            ),
            Refusal::ClientIdOfLogin(login) => {
                format!("login `{login}` used this client id last; give this client another one")
            }
            Refusal::Busy => {
                "more logins wait than can be verified in time; clients that try again get in"
                    .to_owned()
            }
            Refusal::Unreadable => {
                "the stored password hash is unreadable; set a new password".to_owned()
            }
        }
    }
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Right,
    Wrong,
    UnreadableHash,
}

/// The state behind every login decision; one lock holds it.
#[derive(Debug)]
pub(super) struct Door {
    accounts: Accounts,
    anonymous: Option<Arc<Permissions>>,
    right: Recent<Fingerprint, ()>,
    wrong: Recent<Fingerprint, ()>,
    failures: Failures,
    /// Client id → the login that used it last.
    claims: Recent<String, String>,
    /// Devices that came in since somebody asked; bounded by [`DEVICES_MET`].
    met: HashSet<Met>,
}

impl Door {
    pub(super) fn new(accounts: Accounts, anonymous: bool, failures_per_minute: u32) -> Door {
        Door {
            accounts,
            anonymous: anonymous.then(|| Arc::new(Permissions::open())),
            right: Recent::new(VERDICTS),
            wrong: Recent::new(VERDICTS),
            failures: Failures::new(failures_per_minute),
            claims: Recent::new(CLAIMS),
            met: HashSet::new(),
        }
    }

    /// Other rules for logins that are judged from now on.
    pub(super) fn set_rules(&mut self, anonymous: bool, failures_per_minute: u32) {
        self.anonymous = anonymous.then(|| Arc::new(Permissions::open()));
        self.failures.set_rate(failures_per_minute);
    }

    /// Who came in since the last call.
    pub(super) fn take_met(&mut self) -> Vec<Met> {
        self.met.drain().collect()
    }

    /// How many logins there are.
    pub(super) fn logins(&self) -> usize {
        self.accounts.len()
    }

    pub(super) fn judge(
        &mut self,
        caller: &Caller<'_>,
        fingerprint: &Fingerprint,
        now: Instant,
    ) -> Judgement {
        let Some(username) = caller.username else {
            return Judgement::Decided(match self.anonymous.clone() {
                Some(permissions) => self.admit(caller, None, permissions),
                None => Err(Refusal::NoCredentials),
            });
        };
        if username.len() > USERNAME_BYTES {
            return Judgement::Decided(Err(Refusal::UnknownUser));
        }
        if self.failures.name_is_over(caller.address, username, now) {
            return Judgement::Decided(Err(Refusal::TooManyFailures));
        }
        let account = self.accounts.get(username);
        if account.is_none()
            && let Some(permissions) = self.anonymous.clone()
        {
            return Judgement::Decided(self.admit(caller, None, permissions));
        }
        let known_wrong = match caller.password {
            None => true,
            Some(password) if password.is_empty() || password.len() > PASSWORD_BYTES => true,
            Some(_) => self.wrong.get(fingerprint).is_some(),
        };
        let hash = account.map(|account| account.hash.clone());
        if known_wrong {
            return Judgement::Decided(Err(wrong(hash.is_some())));
        }
        if self.right.get(fingerprint).is_some() {
            return Judgement::Decided(self.admit_login(caller, username));
        }
        if self.failures.address_is_over(caller.address, now) {
            return Judgement::Decided(Err(Refusal::TooManyFailures));
        }
        Judgement::Verify(hash)
    }

    /// The outcome of the verification that `judge` asked for, against the hash it named. `None`
    /// if that is no longer the login's hash: judge again.
    pub(super) fn verified(
        &mut self,
        caller: &Caller<'_>,
        fingerprint: Fingerprint,
        against: Option<&Secret>,
        found: Found,
    ) -> Option<Decision> {
        let username = caller.username.unwrap_or_default();
        let current = self.accounts.get(username).map(|account| &account.hash);
        if current != against {
            return None;
        }
        Some(match (found, against) {
            (Found::UnreadableHash, Some(_)) => Err(Refusal::Unreadable),
            (Found::Right, Some(_)) => {
                self.right.insert(fingerprint, ());
                self.admit_login(caller, username)
            }
            (_, against) => {
                self.wrong.insert(fingerprint, ());
                Err(wrong(against.is_some()))
            }
        })
    }

    /// A xiaozhi device that showed the password made for it: admitted under its own name.
    pub(super) fn admit_xiaozhi(&mut self, caller: &Caller<'_>, name: &str) -> Decision {
        self.admit_login(caller, name)
    }

    /// The xiaozhi devices that are enrolled.
    pub(super) fn xiaozhi(&self) -> Arc<Enrolled> {
        self.accounts.xiaozhi().clone()
    }

    /// Takes note of a refusal that is final.
    pub(super) fn count(&mut self, caller: &Caller<'_>, refusal: &Refusal, now: Instant) {
        if matches!(refusal, Refusal::WrongPassword | Refusal::UnknownUser) {
            let username = caller.username.unwrap_or_default();
            self.failures.count(caller.address, username, now);
        }
    }

    /// Takes over what the registry says now; returns the logins whose connections must end.
    pub(super) fn replace(&mut self, snapshot: Snapshot) -> (Vec<String>, Vec<UnreadableDevice>) {
        let (accounts, unreadable) = Accounts::new(snapshot);
        let revoked = self.accounts.revoked_by(&accounts);
        self.accounts = accounts;
        self.right.clear();
        self.wrong.clear();
        (revoked, unreadable)
    }

    /// Verdicts remembered at present.
    pub(super) fn remembered(&self) -> usize {
        self.right.len() + self.wrong.len()
    }

    fn admit_login(&mut self, caller: &Caller<'_>, username: &str) -> Decision {
        let Some(account) = self.accounts.get(username) else {
            return Err(Refusal::UnknownUser);
        };
        if !account.enabled {
            return Err(Refusal::Disabled);
        }
        let permissions = account.permissions.clone();
        self.admit(caller, Some(username), permissions)
    }

    /// Admits if the client id is the caller's to use, and remembers whose it is.
    fn admit(
        &mut self,
        caller: &Caller<'_>,
        login: Option<&str>,
        permissions: Arc<Permissions>,
    ) -> Decision {
        // The server makes up an id of its own for an empty one [MQTT-3.1.3-6].
        if caller.client_id.is_empty() {
            return Ok(permissions);
        }
        let device = login
            .and_then(|login| self.accounts.get(login))
            .and_then(|account| account.device.clone());
        if let Some(owner) = self.accounts.owner(caller.client_id)
            && device.as_ref() != Some(&owner)
        {
            return Err(Refusal::ClientIdOfDevice(owner));
        }
        let is_person = login.is_some() && device.is_none();
        if let Some(claim) = self.claims.get(caller.client_id)
            && Some(claim.as_str()) != login
            && !is_person
            && self.accounts.get(claim).is_some()
        {
            return Err(Refusal::ClientIdOfLogin(claim.clone()));
        }
        if let Some(login) = login {
            self.claims
                .insert(caller.client_id.to_owned(), login.to_owned());
        }
        if let Some(device) = device
            && self.met.len() < DEVICES_MET
        {
            self.met.insert(Met {
                device,
                listener: caller.listener.to_owned(),
            });
        }
        Ok(permissions)
    }
}

fn wrong(known: bool) -> Refusal {
    if known {
        Refusal::WrongPassword
    } else {
        Refusal::UnknownUser
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use super::super::rows::snapshot;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

    fn door(users: &[(&str, &str)], devices: &[(&str, &str)], anonymous: bool) -> Door {
        let (accounts, unreadable) = Accounts::new(snapshot(users, devices));
        assert!(unreadable.is_empty(), "{unreadable:?}");
        Door::new(accounts, anonymous, 30)
    }

    fn caller<'a>(client_id: &'a str, username: &'a str, password: &'a str) -> Caller<'a> {
        Caller {
            client_id,
            username: Some(username),
            password: Some(password.as_bytes()),
            address: ADDRESS,
            listener: "mqtt",
        }
    }

    /// Stands in for the keyed hash.
    fn fingerprint(caller: &Caller<'_>) -> Fingerprint {
        let mut out = [0; 32];
        let text = [
            caller.username.unwrap_or_default().as_bytes(),
            b"\0",
            caller.password.unwrap_or_default(),
        ]
        .concat();
        out[..text.len()].copy_from_slice(&text);
        out
    }

    /// Judges, and verifies by comparing the password with the "hash".
    fn login(
        door: &mut Door,
        caller: &Caller<'_>,
        now: Instant,
    ) -> Result<Option<String>, Refusal> {
        let print = fingerprint(caller);
        let decision = match door.judge(caller, &print, now) {
            Judgement::Verify(hash) => {
                let right = hash
                    .as_ref()
                    .is_some_and(|hash| hash.expose().as_bytes() == caller.password.unwrap());
                let found = if right { Found::Right } else { Found::Wrong };
                door.verified(caller, print, hash.as_ref(), found)
                    .expect("the hash is the same")
            }
            Judgement::Decided(decision) => decision,
        };
        decision
            .map(|permissions| permissions.user.clone())
            .inspect_err(|refusal| door.count(caller, refusal, now))
    }

    #[test]
    fn nobody_comes_in_without_a_name_unless_anonymous_clients_are_admitted() {
        let now = Instant::now();
        let nameless = Caller {
            client_id: "x",
            username: None,
            password: None,
            address: ADDRESS,
            listener: "mqtt",
        };
        let mut closed = door(&[], &[], false);
        assert_eq!(
            login(&mut closed, &nameless, now),
            Err(Refusal::NoCredentials)
        );
        let mut open = door(&[], &[], true);
        assert_eq!(login(&mut open, &nameless, now), Ok(None));
    }

    #[test]
    fn an_open_server_admits_unknown_names_as_anonymous_but_not_known_ones_with_a_wrong_password() {
        let now = Instant::now();
        let mut open = door(&[("anna", "right")], &[], true);
        assert_eq!(login(&mut open, &caller("x", "old", "y"), now), Ok(None));
        assert_eq!(
            login(&mut open, &caller("x", "anna", "wrong"), now),
            Err(Refusal::WrongPassword)
        );
        assert_eq!(
            login(&mut open, &caller("x", "anna", "right"), now),
            Ok(Some("anna".to_owned()))
        );
    }

    #[test]
    fn a_right_password_is_verified_once_and_a_wrong_one_too() {
        let now = Instant::now();
        let mut door = door(&[("anna", "right")], &[], false);
        for password in ["right", "wrong"] {
            let caller = caller("x", "anna", password);
            let print = fingerprint(&caller);
            assert!(matches!(
                door.judge(&caller, &print, now),
                Judgement::Verify(Some(_))
            ));
            let _ = login(&mut door, &caller, now);
            assert!(!matches!(
                door.judge(&caller, &print, now),
                Judgement::Verify(_)
            ));
        }
        assert_eq!(door.remembered(), 2);
    }

    #[test]
    fn an_unknown_name_is_verified_like_a_wrong_password_and_told_the_same() {
        let now = Instant::now();
        let mut door = door(&[("anna", "right")], &[], false);
        let caller = caller("x", "bob", "right");
        assert!(matches!(
            door.judge(&caller, &fingerprint(&caller), now),
            Judgement::Verify(None)
        ));
        let refusal = login(&mut door, &caller, now).unwrap_err();
        assert_eq!(refusal, Refusal::UnknownUser);
        assert_eq!(refusal.reason(), Refusal::WrongPassword.reason());
    }

    #[test]
    fn the_limit_refuses_even_the_right_password_until_a_token_is_back() {
        let start = Instant::now();
        let mut door = door(&[("anna", "right")], &[], false);
        for number in 0..10 {
            let password = format!("guess {number}");
            assert_eq!(
                login(&mut door, &caller("x", "anna", &password), start),
                Err(Refusal::WrongPassword)
            );
        }
        let right = caller("x", "anna", "right");
        assert_eq!(
            login(&mut door, &right, start),
            Err(Refusal::TooManyFailures)
        );
        let later = start + Duration::from_secs(6);
        assert_eq!(login(&mut door, &right, later), Ok(Some("anna".to_owned())));
    }

    #[test]
    fn an_address_over_its_limit_gets_no_verification_but_remembered_logins_still_pass() {
        let start = Instant::now();
        let mut door = door(&[("anna", "right"), ("bert", "bert")], &[], false);
        let anna = caller("x", "anna", "right");
        login(&mut door, &anna, start).expect("admitted");
        for number in 0..30 {
            let name = format!("user-{number}");
            let _ = login(&mut door, &caller("y", &name, "guess"), start);
        }
        assert_eq!(
            login(&mut door, &caller("y", "bert", "bert"), start),
            Err(Refusal::TooManyFailures)
        );
        assert_eq!(login(&mut door, &anna, start), Ok(Some("anna".to_owned())));
    }

    #[test]
    fn no_other_login_uses_the_client_id_of_a_device() {
        let now = Instant::now();
        let mut door = door(
            &[("anna", "right")],
            &[("plug-1", "one"), ("plug-2", "two")],
            true,
        );
        let taken = Err(Refusal::ClientIdOfDevice("plug-1".to_owned()));
        assert_eq!(
            login(&mut door, &caller("plug-1", "plug-1", "one"), now),
            Ok(Some("plug-1".to_owned()))
        );
        assert_eq!(
            login(&mut door, &caller("plug-1", "plug-2", "two"), now),
            taken
        );
        assert_eq!(
            login(&mut door, &caller("plug-1", "anna", "right"), now),
            taken
        );
        assert_eq!(
            login(&mut door, &caller("plug-1", "stranger", "x"), now),
            taken
        );
    }

    #[test]
    fn a_device_cannot_take_the_client_id_of_a_person_but_a_person_can_move_it() {
        let now = Instant::now();
        let mut door = door(
            &[("anna", "right"), ("hass", "home")],
            &[("plug-1", "one")],
            false,
        );
        login(&mut door, &caller("dashboard", "anna", "right"), now).expect("admitted");
        assert_eq!(
            login(&mut door, &caller("dashboard", "plug-1", "one"), now),
            Err(Refusal::ClientIdOfLogin("anna".to_owned()))
        );
        login(&mut door, &caller("dashboard", "hass", "home"), now).expect("moved");
        assert_eq!(
            login(&mut door, &caller("dashboard", "plug-1", "one"), now),
            Err(Refusal::ClientIdOfLogin("hass".to_owned()))
        );
    }

    #[test]
    fn a_change_forgets_verdicts_and_names_exactly_the_logins_that_changed() {
        let now = Instant::now();
        let mut door = door(
            &[("anna", "right"), ("bert", "bert"), ("carl", "carl")],
            &[("plug-1", "one")],
            false,
        );
        let anna = caller("x", "anna", "right");
        login(&mut door, &anna, now).expect("admitted");
        let (revoked, _) = door.replace(snapshot(
            &[("anna", "other"), ("bert", "bert"), ("dora", "dora")],
            &[],
        ));
        assert_eq!(revoked, ["anna", "carl", "plug-1"]);
        assert_eq!(door.remembered(), 0);
        assert_eq!(login(&mut door, &anna, now), Err(Refusal::WrongPassword));
    }

    #[test]
    fn a_disabled_login_is_refused_although_its_password_is_right() {
        let now = Instant::now();
        let mut door = door(&[], &[], false);
        let mut changed = snapshot(&[("anna", "right")], &[]);
        changed.users[0].enabled = false;
        let _ = door.replace(changed);
        assert_eq!(
            login(&mut door, &caller("x", "anna", "right"), now),
            Err(Refusal::Disabled)
        );
    }

    #[test]
    fn a_verdict_that_the_registry_overtook_admits_nobody() {
        let now = Instant::now();
        let mut door = door(&[("anna", "right")], &[], false);
        let anna = caller("x", "anna", "right");
        let print = fingerprint(&anna);
        let Judgement::Verify(against) = door.judge(&anna, &print, now) else {
            panic!("nothing to verify");
        };
        let _ = door.replace(snapshot(&[], &[]));
        assert!(
            door.verified(&anna, print, against.as_ref(), Found::Right)
                .is_none()
        );
    }

    #[test]
    fn a_missing_an_empty_and_an_endless_password_are_wrong_without_verification() {
        let now = Instant::now();
        let mut door = door(&[("anna", "right")], &[], false);
        let endless = "a".repeat(PASSWORD_BYTES + 1);
        for password in [None, Some(&b""[..]), Some(endless.as_bytes())] {
            let caller = Caller {
                client_id: "x",
                username: Some("anna"),
                password,
                address: ADDRESS,
                listener: "mqtt",
            };
            assert!(matches!(
                door.judge(&caller, &[0; 32], now),
                Judgement::Decided(Err(Refusal::WrongPassword))
            ));
        }
    }
}
