//! Who may come in: answers the engine's logins from memory where it can, and from two threads
//! that compute argon2 where it cannot.
//!
//! The registry is another process's to change, so what is in memory may be a moment old. That is
//! no matter for those who are let in: a change that takes rights away ends their connections when
//! it is seen. A refusal would last, since a device that is refused may stay away for minutes; so
//! a refusal that the registry could have made wrong waits for one more look at it ([`Look`]) and
//! is then judged again.

mod accounts;
mod door;
pub(in crate::serve) mod failures;
mod looks;
pub(in crate::serve) mod recent;
#[cfg(test)]
mod rows;
mod xiaozhi;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use safeport_broker::{Permissions, TopicRights};
use safeport_engine::{Gatekeeper, Login, OwnedLogin, Verdict};
use safeport_store::{Secret, Snapshot};

use accounts::Accounts;
pub(crate) use accounts::device;
pub use door::Met;
use door::{Caller, Decision, Door, Fingerprint, Found, Judgement, Refusal};
use looks::Looks;
pub use xiaozhi::XiaozhiDevice;
use xiaozhi::XiaozhiLogins;

use crate::limits::{
    LOOK_PAUSE, REVOCATION_INTERVAL, VERIFIER_PATIENCE, VERIFIER_QUEUE, VERIFIER_THREADS,
};
use crate::password;
use crate::probe::proof::{self, Proofs};
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// What came of logins since the start; one counter per outcome.
#[derive(Debug, Default)]
pub struct LoginCounts {
    admitted: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
}

/// The words of refusals, as metrics show them.
const REFUSALS: [&str; 8] = [
    "no_credentials",
    "wrong_password",
    "unknown_user",
    "disabled",
    "too_many_failures",
    "client_id_taken",
    "busy",
    "unreadable_hash",
];

impl LoginCounts {
    /// Logins admitted.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Logins refused, by cause.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REFUSALS.into_iter().zip(
            self.refused
                .iter()
                .map(|count| count.load(Ordering::Relaxed)),
        )
    }
}

/// The gate of this server. Shared by the engine's loops, the verifiers and the task that follows
/// the registry.
pub struct Access {
    door: Mutex<Door>,
    /// Keys the fingerprints by which verdicts are remembered; drawn at start, never stored.
    key: [u8; 32],
    /// What an unknown name is verified against: no password is known for it.
    nobody: Secret,
    queue: SyncSender<Job>,
    looks: Looks<Job>,
    throttle: Throttle,
    counts: LoginCounts,
    /// Tells this server's own probes from strangers.
    proofs: Arc<Proofs>,
    xiaozhi: XiaozhiLogins,
}

/// A look at the registry that is being made, and the logins that wait for what it finds.
#[derive(Debug)]
pub struct Look(looks::Look<Job>);

/// A login that is not answered yet.
struct Job {
    login: OwnedLogin,
    fingerprint: Fingerprint,
    asked: Instant,
    answer: Box<dyn FnOnce(Verdict) + Send>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// A gate that admits what `snapshot` lists, and its verifier threads.
    ///
    /// `failed_logins_per_minute` is per address and name; 0 sets no limit.
    ///
    /// # Errors
    /// If the system gives no random bytes or no threads.
    pub fn start(
        snapshot: Snapshot,
        anonymous: bool,
        failed_logins_per_minute: u32,
        proofs: Arc<Proofs>,
        tasks: &Tasks,
    ) -> io::Result<Arc<Access>> {
        let (access, jobs) = Access::new(snapshot, anonymous, failed_logins_per_minute, proofs)?;
        let access = Arc::new(access);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..VERIFIER_THREADS {
            let access = access.clone();
            let jobs = jobs.clone();
            tasks.spawn_thread("password verifier", move || access.verify_all(&jobs))?;
        }
        Ok(access)
    }

    /// A gate and the verifications that it asks for.
    fn new(
        snapshot: Snapshot,
        anonymous: bool,
        failed_logins_per_minute: u32,
        proofs: Arc<Proofs>,
    ) -> io::Result<(Access, Receiver<Job>)> {
        let (accounts, unreadable) = Accounts::new(snapshot);
        for row in unreadable {
            tracing::error!(target: "safeport::access", "{row}");
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let nobody = password::of_nobody().map_err(io::Error::other)?;
        let (queue, jobs) = sync_channel(VERIFIER_QUEUE);
        let access = Access {
            xiaozhi: XiaozhiLogins::new(accounts.xiaozhi().clone()),
            door: Mutex::new(Door::new(accounts, anonymous, failed_logins_per_minute)),
            key,
            nobody,
            queue,
            looks: Looks::new(VERIFIER_QUEUE, Instant::now()),
            throttle: Throttle::default(),
            counts: LoginCounts::default(),
            proofs,
        };
        Ok((access, jobs))
    }

    /// Blocks until the registry is to be looked at: every [`REVOCATION_INTERVAL`], and sooner,
    /// but [`LOOK_PAUSE`] after the last look, when a login is about to be refused. To be followed
    /// by [`Access::replace`] if it has changed, and by [`Access::looked`] in any case.
    pub fn next_look(&self) -> Look {
        Look(self.looks.next(REVOCATION_INTERVAL, LOOK_PAUSE))
    }

    /// Takes over what the registry says now and forgets every verdict. Returns the logins whose
    /// connections must end.
    pub fn replace(&self, snapshot: Snapshot) -> Vec<String> {
        let mut door = self.door();
        let (revoked, unreadable) = door.replace(snapshot);
        self.xiaozhi.replace(door.xiaozhi());
        drop(door);
        for row in unreadable {
            tracing::error!(target: "safeport::access", "{row}");
        }
        revoked
    }

    /// Other rules for logins that come from now on. Connections that were admitted stay.
    pub fn set_rules(&self, anonymous: bool, failed_logins_per_minute: u32) {
        self.door().set_rules(anonymous, failed_logins_per_minute);
    }

    /// Devices that logged in since the last call, each with the listeners it came by: they hold
    /// an address of ours that works for them.
    pub fn take_met(&self) -> Vec<Met> {
        self.door().take_met()
    }

    /// The look is over: logins that waited for it are judged by what is known now.
    pub fn looked(&self, look: Look) {
        for job in self.looks.done(look.0) {
            self.judge(job);
        }
    }

    /// How many logins exist.
    pub fn logins(&self) -> usize {
        self.door().logins()
    }

    /// Verdicts that spare a verification.
    pub fn remembered(&self) -> usize {
        self.door().remembered()
    }

    /// What came of logins so far.
    pub fn counts(&self) -> &LoginCounts {
        &self.counts
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify_all(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            // Holding the lock while waiting is what hands jobs out one by one.
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match job {
                Ok(job) => self.verify(job),
                Err(_) => return,
            }
        }
    }

    /// Answers from memory, or hands the login to the verifiers.
    fn judge(&self, job: Job) {
        // A device that was taken in a moment ago may have been unknown when it asked.
        if let Some(verdict) = self.xiaozhi_login(&caller_of(&job.login), false) {
            return (job.answer)(verdict);
        }
        let mut door = self.door();
        match door.judge(&caller_of(&job.login), &job.fingerprint, Instant::now()) {
            Judgement::Decided(decision) => self.conclude(door, job, decision),
            Judgement::Verify(_) => {
                if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
                    self.queue.try_send(job)
                {
                    self.conclude(door, job, Err(Refusal::Busy));
                }
            }
        }
    }

    fn verify(&self, job: Job) {
        loop {
            let caller = caller_of(&job.login);
            let mut door = self.door();
            let now = Instant::now();
            if now.saturating_duration_since(job.asked) > VERIFIER_PATIENCE {
                return self.conclude(door, job, Err(Refusal::Busy));
            }
            // Judged once more: another job with the same password may have been verified while
            // this one waited, and an address may have used up its wrong logins.
            let against = match door.judge(&caller, &job.fingerprint, now) {
                Judgement::Verify(against) => against,
                Judgement::Decided(decision) => return self.conclude(door, job, decision),
            };
            drop(door);
            let found = self.compare(&job.login, against.as_ref());
            let mut door = self.door();
            // The registry may have changed while argon2 worked; what it found says nothing then.
            if let Some(decision) = door.verified(&caller, job.fingerprint, against.as_ref(), found)
            {
                return self.conclude(door, job, decision);
            }
        }
    }

    fn compare(&self, login: &OwnedLogin, against: Option<&Secret>) -> Found {
        let against = against.unwrap_or(&self.nobody);
        let password = login.password.as_deref().unwrap_or_default();
        match password::verify(password, against.expose()) {
            Ok(true) => Found::Right,
            Ok(false) => Found::Wrong,
            Err(_) => Found::UnreadableHash,
        }
    }

    /// Answers, unless it is a refusal that must wait for a look at the registry.
    fn conclude(&self, door: MutexGuard<'_, Door>, job: Job, decision: Decision) {
        let refusal = match decision {
            Ok(permissions) => {
                self.counts.admitted.fetch_add(1, Ordering::Relaxed);
                // Answered under the lock: a revocation that comes after this verdict must also
                // reach the loops after it, or it would find nobody to disconnect.
                (job.answer)(Verdict::Admit(permissions));
                drop(door);
                return;
            }
            Err(refusal) => refusal,
        };
        let mut job = job;
        if refusal.rests_on_the_registry() {
            let asked = job.asked;
            job = match self.looks.keep(job, asked) {
                Ok(()) => return,
                Err(job) => job,
            };
        }
        let verdict = self.refuse(door, &caller_of(&job.login), &refusal);
        (job.answer)(verdict);
    }

    /// Counts and logs a refusal that is final.
    fn refuse(
        &self,
        mut door: MutexGuard<'_, Door>,
        caller: &Caller<'_>,
        refusal: &Refusal,
    ) -> Verdict {
        door.count(caller, refusal, Instant::now());
        drop(door);
        self.tell(caller, refusal);
        Verdict::Refuse(refusal.reason())
    }

    fn tell(&self, caller: &Caller<'_>, refusal: &Refusal) {
        let word = refusal.word();
        if let Some(index) = REFUSALS.iter().position(|known| *known == word) {
            self.counts.refused[index].fetch_add(1, Ordering::Relaxed);
        }
        let username = shown(caller.username.unwrap_or_default());
        let cause = format!("{word} {username} {}", caller.address);
        let Some(left_out) = self.throttle.admit(&cause, Instant::now()) else {
            return;
        };
        tracing::warn!(
            target: "safeport::access",
            user = username,
            client_id = shown(caller.client_id),
            address = %caller.address,
            cause = word,
            left_out,
            "login refused: {}",
            refusal.advice(),
        );
    }

    fn fingerprint(&self, caller: &Caller<'_>) -> Fingerprint {
        let Some(username) = caller.username else {
            // Nothing is remembered of those who bring no name [`Door::judge`].
            return Fingerprint::default();
        };
        let username = username.as_bytes();
        let mut mac =
            Blake2sMac256::new_from_slice(&self.key).expect("a key of 32 bytes is accepted");
        // The length keeps `ab` + `c` and `a` + `bc` apart.
        mac.update(&(username.len() as u64).to_le_bytes());
        mac.update(username);
        mac.update(caller.password.unwrap_or_default());
        mac.finalize().into_bytes().into()
    }
}

impl Access {
    /// The rights of one of our own probes: none. It has shown what it came for by coming.
    ///
    /// Whatever answers at an address that is probed sees the nonce. So it lets in only the client
    /// id that belongs to it: with another one a stranger would take over that client's session.
    fn own_probe(&self, login: &Login<'_>) -> Option<Verdict> {
        if login.username != Some(proof::USER) {
            return None;
        }
        let nonce = std::str::from_utf8(login.password?).ok()?;
        if proof::client_id(nonce).as_deref() != Some(login.client_id) {
            return None;
        }
        self.proofs
            .arrived(nonce, login.listener, login.peer)
            .then(|| {
                Verdict::Admit(Arc::new(Permissions {
                    user: Some(proof::USER.to_owned()),
                    publish: TopicRights::Filters(Vec::new()),
                    subscribe: TopicRights::Filters(Vec::new()),
                    to_server: None,
                }))
            })
    }
}

impl Gatekeeper for Access {
    fn decide_now(&self, login: &Login<'_>) -> Option<Verdict> {
        if let Some(verdict) = self.own_probe(login) {
            return Some(verdict);
        }
        let caller = Caller {
            client_id: login.client_id,
            username: login.username,
            password: login.password,
            address: login.peer.ip().to_canonical(),
            listener: login.listener,
        };
        if let Some(verdict) = self.xiaozhi_login(&caller, login.again) {
            return Some(verdict);
        }
        let fingerprint = self.fingerprint(&caller);
        let mut door = self.door();
        match door.judge(&caller, &fingerprint, Instant::now()) {
            Judgement::Verify(_) => None,
            Judgement::Decided(Ok(permissions)) => {
                let new = u64::from(!login.again);
                self.counts.admitted.fetch_add(new, Ordering::Relaxed);
                Some(Verdict::Admit(permissions))
            }
            Judgement::Decided(Err(refusal)) if refusal.rests_on_the_registry() => None,
            Judgement::Decided(Err(refusal)) => Some(self.refuse(door, &caller, &refusal)),
        }
    }

    fn decide(&self, login: OwnedLogin, answer: Box<dyn FnOnce(Verdict) + Send>) {
        let fingerprint = self.fingerprint(&caller_of(&login));
        self.judge(Job {
            login,
            fingerprint,
            asked: Instant::now(),
            answer,
        });
    }
}

fn caller_of(login: &OwnedLogin) -> Caller<'_> {
    Caller {
        client_id: &login.client_id,
        username: login.username.as_deref(),
        password: login.password.as_deref(),
        address: login.peer.ip().to_canonical(),
        listener: &login.listener,
    }
}

/// What a stranger sent, as it may stand in a log: at most 128 characters, control characters
/// escaped. Client identifiers of xiaozhi devices have more than 80.
pub(in crate::serve) fn shown(text: &str) -> String {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'"' | b'\'');
    if text.len() <= SHOWN && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

const SHOWN: usize = 128;

/// Seconds since 1970, as the registry counts.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Whether an address is this machine itself.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::Cost;
    use std::net::SocketAddr;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use safeport_mqtt::ReasonCode;

    fn login(username: &str, password: &str) -> OwnedLogin {
        OwnedLogin {
            client_id: format!("client of {username}"),
            username: Some(username.to_owned()),
            password: Some(password.as_bytes().to_vec()),
            peer: SocketAddr::from(([192, 168, 1, 7], 50_000)),
            listener: "mqtt".to_owned(),
            tls: false,
        }
    }

    fn access() -> (Access, Receiver<Job>) {
        let hash = password::hash(b"secret", Cost::Generated).expect("a hash");
        let snapshot = rows::snapshot(&[("anna", hash.expose())], &[]);
        Access::new(snapshot, false, 30, Arc::new(Proofs::new([7; 32]))).expect("a gate")
    }

    /// Asks, and returns where the verdict will come.
    fn ask(access: &Access, login: OwnedLogin) -> Receiver<Verdict> {
        let (answer, verdict) = channel();
        access.decide(
            login,
            Box::new(move |verdict| {
                let _ = answer.send(verdict);
            }),
        );
        verdict
    }

    /// What the registry's follower does when nothing has changed.
    fn look(access: &Access) {
        let look = access.next_look();
        access.looked(look);
    }

    fn refused(verdict: &Receiver<Verdict>) -> Option<ReasonCode> {
        match verdict.try_recv().expect("a verdict") {
            Verdict::Admit(_) => None,
            Verdict::Refuse(reason) => Some(reason),
        }
    }

    #[test]
    fn a_nonce_lets_in_its_own_client_id_and_takes_over_nobody_elses_session() {
        let (access, _jobs) = access();
        let nonce = access.proofs.issue().expect("random numbers");
        let own_id = nonce.client_id();
        let come = |client_id: &str, username: &str, password: &str| {
            let verdict = access.decide_now(&Login {
                client_id,
                username: Some(username),
                password: Some(password.as_bytes()),
                peer: SocketAddr::from(([192, 168, 1, 66], 4711)),
                listener: "mqtt",
                tls: false,
                again: false,
            });
            matches!(verdict, Some(Verdict::Admit(_)))
        };
        for (client_id, username, password) in [
            ("plug-1", proof::USER, nonce.as_str()),
            ("", proof::USER, nonce.as_str()),
            ("safeport-probe-000000000000", proof::USER, nonce.as_str()),
            (&own_id, "anna", nonce.as_str()),
            (&own_id, proof::USER, "ffffffffffffffffffffffffffffffff"),
            (&own_id, proof::USER, "é"),
        ] {
            assert!(
                !come(client_id, username, password),
                "{client_id} {username}"
            );
        }
        assert!(come(&own_id, proof::USER, nonce.as_str()));
        access.proofs.settle(&nonce).expect("it came in");
        assert!(!come(&own_id, proof::USER, nonce.as_str()), "only once");
    }

    #[test]
    fn a_verified_login_is_known_the_next_time() {
        let (access, jobs) = access();
        let owned = login("anna", "secret");
        let borrowed = Login {
            client_id: &owned.client_id,
            username: owned.username.as_deref(),
            password: owned.password.as_deref(),
            peer: owned.peer,
            listener: &owned.listener,
            tls: owned.tls,
            again: false,
        };
        assert!(access.decide_now(&borrowed).is_none());
        let verdict = ask(&access, login("anna", "secret"));
        access.verify(jobs.try_recv().expect("a verification"));
        assert_eq!(refused(&verdict), None);
        assert!(matches!(
            access.decide_now(&borrowed),
            Some(Verdict::Admit(_))
        ));
        assert_eq!(access.remembered(), 1);
        assert_eq!(access.counts().admitted(), 2);
    }

    #[test]
    fn more_logins_than_can_wait_are_told_that_the_server_is_busy() {
        let (access, jobs) = access();
        let waiting: Vec<_> = (0..VERIFIER_QUEUE)
            .map(|number| ask(&access, login("anna", &format!("guess {number}"))))
            .collect();
        let over = ask(&access, login("anna", "secret"));
        assert_eq!(refused(&over), Some(ReasonCode::ServerBusy));
        assert!(waiting[0].try_recv().is_err(), "still waiting");
        drop(jobs);
    }

    #[test]
    fn a_login_that_waited_too_long_is_not_verified_any_more() {
        let (access, jobs) = access();
        let verdict = ask(&access, login("anna", "secret"));
        let mut job = jobs.try_recv().expect("a verification");
        let Some(long_ago) = job
            .asked
            .checked_sub(VERIFIER_PATIENCE + Duration::from_secs(1))
        else {
            return; // a machine that started this very moment
        };
        job.asked = long_ago;
        access.verify(job);
        assert_eq!(refused(&verdict), Some(ReasonCode::ServerBusy));
        assert_eq!(access.remembered(), 0);
    }

    #[test]
    fn an_unknown_name_is_verified_against_a_hash_that_nothing_matches() {
        let (access, jobs) = access();
        let verdict = ask(&access, login("nobody", "secret"));
        access.verify(jobs.try_recv().expect("a verification"));
        look(&access);
        assert_eq!(refused(&verdict), Some(ReasonCode::BadUserNameOrPassword));
    }

    /// A snapshot in which these users have the password `secret`.
    fn snapshot_of(names: &[&str]) -> Snapshot {
        let hash = password::hash(b"secret", Cost::Generated).expect("a hash");
        let users: Vec<_> = names.iter().map(|name| (*name, hash.expose())).collect();
        rows::snapshot(&users, &[])
    }

    #[test]
    fn a_login_that_was_added_a_moment_ago_comes_in_by_the_look_that_its_refusal_waits_for() {
        let (access, jobs) = access();
        let verdict = ask(&access, login("bert", "secret"));
        access.verify(jobs.try_recv().expect("a verification"));
        assert!(verdict.try_recv().is_err(), "refused before the look");
        let look = access.next_look();
        let _ = access.replace(snapshot_of(&["anna", "bert"]));
        access.looked(look);
        access.verify(jobs.try_recv().expect("another verification"));
        assert_eq!(refused(&verdict), None);
        assert_eq!(
            access
                .counts()
                .refused()
                .map(|(_, count)| count)
                .sum::<u64>(),
            0
        );
    }

    #[test]
    fn a_password_that_is_known_to_be_wrong_is_right_after_it_was_set() {
        let (access, jobs) = access();
        for _ in 0..2 {
            let verdict = ask(&access, login("anna", "new"));
            if let Ok(job) = jobs.try_recv() {
                access.verify(job);
            }
            look(&access);
            assert_eq!(refused(&verdict), Some(ReasonCode::BadUserNameOrPassword));
        }
        let verdict = ask(&access, login("anna", "new"));
        assert!(verdict.try_recv().is_err(), "refused from memory");
        let look = access.next_look();
        let hash = password::hash(b"new", Cost::Generated).expect("a hash");
        let _ = access.replace(rows::snapshot(&[("anna", hash.expose())], &[]));
        access.looked(look);
        access.verify(jobs.try_recv().expect("a verification"));
        assert_eq!(refused(&verdict), None);
    }

    #[test]
    fn a_change_of_the_registry_during_a_verification_leads_to_another_one_and_not_to_busy() {
        let (access, jobs) = access();
        let verdict = ask(&access, login("bert", "secret"));
        // Judged as unknown when it came, known when a verifier takes it.
        let _ = access.replace(snapshot_of(&["bert"]));
        access.verify(jobs.try_recv().expect("a verification"));
        assert_eq!(refused(&verdict), None);
    }

    #[test]
    fn a_final_refusal_counts_as_one_failure_however_often_it_was_judged() {
        let (access, jobs) = access();
        // 30 a minute from an address, a third of them under one name.
        for number in 0..10 {
            let verdict = ask(&access, login("anna", &format!("guess {number}")));
            access.verify(jobs.try_recv().expect("a verification"));
            look(&access);
            assert_eq!(
                refused(&verdict),
                Some(ReasonCode::BadUserNameOrPassword),
                "{number}"
            );
        }
        let verdict = ask(&access, login("anna", "secret"));
        assert_eq!(refused(&verdict), Some(ReasonCode::ConnectionRateExceeded));
    }

    #[test]
    fn user_name_and_password_cannot_be_shifted_into_each_other() {
        let (access, _jobs) = access();
        let print = |username, password| access.fingerprint(&caller_of(&login(username, password)));
        assert_ne!(print("ab", "c"), print("a", "bc"));
        assert_eq!(print("ab", "c"), print("ab", "c"));
    }

    #[test]
    fn what_strangers_send_cannot_forge_log_lines() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert!(shown(&"x".repeat(500)).chars().count() <= SHOWN + 1);
    }
}
