//! Who may come in: answers the engine's logins from memory where it can, and from two threads
//! that compute argon2 where it cannot.

mod accounts;
mod door;
mod failures;
mod recent;
#[cfg(test)]
mod rows;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use safeport_engine::{Gatekeeper, Login, OwnedLogin, Verdict};
use safeport_store::{Secret, Snapshot};

use accounts::Accounts;
pub(crate) use accounts::device;
use door::{Caller, Door, Fingerprint, Found, Judgement, Refusal};

use crate::limits::{VERIFIER_PATIENCE, VERIFIER_QUEUE, VERIFIER_THREADS};
use crate::password::{self, Cost};
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
    throttle: Throttle,
    counts: LoginCounts,
}

struct Job {
    login: OwnedLogin,
    fingerprint: Fingerprint,
    against: Option<Secret>,
    asked: Instant,
    answer: Box<dyn FnOnce(Verdict) + Send>,
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
        tasks: &Tasks,
    ) -> io::Result<Arc<Access>> {
        let (access, jobs) = Access::new(snapshot, anonymous, failed_logins_per_minute)?;
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
    ) -> io::Result<(Access, Receiver<Job>)> {
        let (accounts, unreadable) = Accounts::new(snapshot);
        for row in unreadable {
            tracing::error!(target: "safeport::access", "{row}");
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let nobody = password::generate()
            .and_then(|password| password::hash(password.as_str().as_bytes(), Cost::Chosen))
            .map_err(io::Error::other)?;
        let (queue, jobs) = sync_channel(VERIFIER_QUEUE);
        let access = Access {
            door: Mutex::new(Door::new(accounts, anonymous, failed_logins_per_minute)),
            key,
            nobody,
            queue,
            throttle: Throttle::default(),
            counts: LoginCounts::default(),
        };
        Ok((access, jobs))
    }

    /// Takes over what the registry says now and forgets every verdict. Returns the logins whose
    /// connections must end.
    pub fn replace(&self, snapshot: Snapshot) -> Vec<String> {
        let (revoked, unreadable) = self.door().replace(snapshot);
        for row in unreadable {
            tracing::error!(target: "safeport::access", "{row}");
        }
        revoked
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

    fn verify(&self, job: Job) {
        let caller = caller_of(&job.login);
        if job.asked.elapsed() > VERIFIER_PATIENCE {
            return (job.answer)(self.settle(&caller, Judgement::Refuse(Refusal::Busy)));
        }
        let against = job.against.as_ref().unwrap_or(&self.nobody);
        let password = job.login.password.as_deref().unwrap_or_default();
        let found = match password::verify(password, against.expose()) {
            Ok(true) => Found::Right,
            Ok(false) => Found::Wrong,
            Err(_) => Found::UnreadableHash,
        };
        let mut door = self.door();
        let judgement = door.verified(
            &caller,
            job.fingerprint,
            job.against.as_ref(),
            found,
            Instant::now(),
        );
        let verdict = self.settle(&caller, judgement);
        // Answered under the lock: a revocation that comes after this verdict must also reach the
        // loops after it, or it would find nobody to disconnect.
        (job.answer)(verdict);
        drop(door);
    }

    /// Counts, logs and translates what was decided.
    fn settle(&self, caller: &Caller<'_>, judgement: Judgement) -> Verdict {
        match judgement {
            Judgement::Admit(permissions) => {
                self.counts.admitted.fetch_add(1, Ordering::Relaxed);
                Verdict::Admit(permissions)
            }
            Judgement::Refuse(refusal) => {
                self.tell(caller, &refusal);
                Verdict::Refuse(refusal.reason())
            }
            // `Door::verified` asks for no second verification.
            Judgement::Verify(_) => Verdict::Refuse(Refusal::Busy.reason()),
        }
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
        let mut mac =
            Blake2sMac256::new_from_slice(&self.key).expect("a key of 32 bytes is accepted");
        let username = caller.username.unwrap_or_default().as_bytes();
        // The length keeps `ab` + `c` and `a` + `bc` apart.
        mac.update(&(username.len() as u64).to_le_bytes());
        mac.update(username);
        mac.update(caller.password.unwrap_or_default());
        mac.finalize().into_bytes().into()
    }
}

impl Gatekeeper for Access {
    fn decide_now(&self, login: &Login<'_>) -> Option<Verdict> {
        let caller = Caller {
            client_id: login.client_id,
            username: login.username,
            password: login.password,
            address: login.peer.ip(),
        };
        let fingerprint = self.fingerprint(&caller);
        let judgement = self.door().judge(&caller, &fingerprint, Instant::now());
        match judgement {
            Judgement::Verify(_) => None,
            known => Some(self.settle(&caller, known)),
        }
    }

    fn decide(&self, login: OwnedLogin, answer: Box<dyn FnOnce(Verdict) + Send>) {
        let caller = caller_of(&login);
        let fingerprint = self.fingerprint(&caller);
        let now = Instant::now();
        let mut door = self.door();
        let against = match door.judge(&caller, &fingerprint, now) {
            Judgement::Verify(against) => against,
            // The verdict was found between the two calls.
            known => {
                let verdict = self.settle(&caller, known);
                answer(verdict);
                return;
            }
        };
        drop(door);
        let job = Job {
            login,
            fingerprint,
            against,
            asked: now,
            answer,
        };
        if let Err(refused) = self.queue.try_send(job) {
            let (std::sync::mpsc::TrySendError::Full(job)
            | std::sync::mpsc::TrySendError::Disconnected(job)) = refused;
            let caller = caller_of(&job.login);
            let verdict = self.settle(&caller, Judgement::Refuse(Refusal::Busy));
            (job.answer)(verdict);
        }
    }
}

fn caller_of(login: &OwnedLogin) -> Caller<'_> {
    Caller {
        client_id: &login.client_id,
        username: login.username.as_deref(),
        password: login.password.as_deref(),
        address: login.peer.ip(),
    }
}

/// What a stranger sent, as it may stand in a log: at most 64 characters, control characters
/// escaped.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}

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
        Access::new(snapshot, false, 30).expect("a gate")
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

    fn refused(verdict: &Receiver<Verdict>) -> Option<ReasonCode> {
        match verdict.try_recv().expect("a verdict") {
            Verdict::Admit(_) => None,
            Verdict::Refuse(reason) => Some(reason),
        }
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
        assert_eq!(refused(&verdict), Some(ReasonCode::BadUserNameOrPassword));
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
        assert!(shown(&"x".repeat(500)).chars().count() <= 65);
    }
}
