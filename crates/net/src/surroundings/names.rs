//! The system's resolver, with an end to waiting.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::limits::LOOKUPS;

/// Why a name gave no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The resolver knows no such name.
    #[error("the name `{name}` has no address here ({said}); check its spelling and the DNS entry")]
    Unknown {
        /// The name.
        name: String,
        /// What the system said.
        said: String,
    },
    /// The resolver could not find out now: it is not reached, or failed itself.
    #[error(
        "the name `{name}` could not be looked up ({said}); check this machine's DNS server \
         (`/etc/resolv.conf`)"
    )]
    Failed {
        /// The name.
        name: String,
        /// What the system said.
        said: String,
    },
    /// It did not answer in time.
    #[error(
        "the name `{name}` was not answered within {} ms; check this machine's DNS server \
         (`/etc/resolv.conf`)",
        .waited.as_millis()
    )]
    TimedOut {
        /// The name.
        name: String,
        /// How long we waited.
        waited: Duration,
    },
    /// [`LOOKUPS`] others wait already.
    #[error(
        "the name `{name}` was not looked up: {LOOKUPS} other names still wait; check this \
         machine's DNS server (`/etc/resolv.conf`)"
    )]
    Busy {
        /// The name.
        name: String,
    },
}

/// All addresses that this machine's resolver gives for `name` (a host name, or an address as
/// text), in its order, each once, waiting for `deadline` at most. Blocks the calling thread.
///
/// # Errors
/// [`ResolveError`]. The look-up itself goes on in a thread of its own until the resolver gives
/// up; at most [`LOOKUPS`] do.
pub fn resolve(name: &str, deadline: Duration) -> Result<Vec<IpAddr>, ResolveError> {
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    resolve_with(name, deadline, |name| {
        Ok((name, 0).to_socket_addrs()?.map(|a| a.ip()).collect())
    })
}

fn resolve_with(
    name: &str,
    deadline: Duration,
    look_up: impl FnOnce(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
) -> Result<Vec<IpAddr>, ResolveError> {
    let owned = || name.to_owned();
    let busy = || ResolveError::Busy { name: owned() };
    let place = Place::take().ok_or_else(busy)?;
    let (sender, answer) = mpsc::channel();
    let asked = owned();
    thread::Builder::new()
        .name("lookup".to_owned())
        .spawn(move || {
            let found = look_up(&asked);
            drop(place);
            // Nobody may be waiting any more.
            let _ = sender.send(found);
        })
        .map_err(|_| busy())?;
    match answer.recv_timeout(deadline) {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for ip in found {
                if !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
            if addresses.is_empty() {
                let said = "no address".to_owned();
                return Err(ResolveError::Unknown {
                    name: owned(),
                    said,
                });
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(explain(owned(), &error)),
        Err(RecvTimeoutError::Timeout) => Err(ResolveError::TimedOut {
            name: owned(),
            waited: deadline,
        }),
        Err(RecvTimeoutError::Disconnected) => Err(ResolveError::Failed {
            name: owned(),
            said: "the look-up ended without an answer".to_owned(),
        }),
    }
}

/// The standard library keeps the number of getaddrinfo(3) to itself, only the C library's words
/// come through: those of EAI_AGAIN and EAI_FAIL in glibc, musl and macOS mean that nobody knows.
fn explain(name: String, error: &io::Error) -> ResolveError {
    let text = error.to_string();
    let said = text
        .rsplit_once(": ")
        .map_or(text.as_str(), |(_, said)| said)
        .to_owned();
    let lower = said.to_ascii_lowercase();
    let is_failure = ["temporary", "try again", "non-recoverable", "unrecoverable"]
        .iter()
        .any(|word| lower.contains(word));
    if is_failure {
        ResolveError::Failed { name, said }
    } else {
        ResolveError::Unknown { name, said }
    }
}

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// One of the [`LOOKUPS`] places.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let place = Place;
        (taken < LOOKUPS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_address_is_its_own_answer_and_localhost_is_known() {
        assert_eq!(
            resolve("192.168.1.20", SECOND),
            Ok(vec!["192.168.1.20".parse().unwrap()])
        );
        assert_eq!(resolve("::1", SECOND), Ok(vec!["::1".parse().unwrap()]));
        let localhost = resolve("localhost", 10 * SECOND).unwrap();
        assert!(localhost.iter().all(IpAddr::is_loopback), "{localhost:?}");
    }

    #[test]
    fn a_silent_resolver_is_not_waited_for() {
        let (release, held) = mpsc::channel::<()>();
        let waited = Duration::from_millis(20);
        let result = resolve_with("slow.example", waited, move |_| {
            let _ = held.recv();
            Ok(Vec::new())
        });
        let name = "slow.example".to_owned();
        assert_eq!(result, Err(ResolveError::TimedOut { name, waited }));
        drop(release);
    }

    #[test]
    fn an_unknown_name_is_told_from_a_resolver_that_failed() {
        let said = |text: &'static str| {
            resolve_with("x.example", SECOND, move |_| Err(io::Error::other(text))).unwrap_err()
        };
        for unknown in [
            "failed to lookup address information: Name or service not known",
            "failed to lookup address information: Name does not resolve",
            "failed to lookup address information: No address associated with hostname",
        ] {
            assert!(matches!(said(unknown), ResolveError::Unknown { .. }));
        }
        for failed in [
            "failed to lookup address information: Temporary failure in name resolution",
            "failed to lookup address information: Try again",
        ] {
            assert!(matches!(said(failed), ResolveError::Failed { .. }));
        }
        let none = resolve_with("x.example", SECOND, |_| Ok(Vec::new()));
        assert!(matches!(none, Err(ResolveError::Unknown { .. })));
    }

    #[test]
    fn an_address_given_twice_is_told_once_in_the_resolvers_order() {
        let found = resolve_with("x.example", SECOND, |_| {
            Ok(["::1", "127.0.0.1", "::1"]
                .map(|ip| ip.parse().unwrap())
                .to_vec())
        });
        let expected: Vec<IpAddr> = ["::1", "127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(found, Ok(expected));
    }
}
