//! Room for sockets: our own limit of open descriptors, raised as far as we may.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The hard limit leaves too few open files for the sockets that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} open files are needed, but the limit is {allowed}; raise it with `ulimit -n` or \
     choose fewer connections"
)]
pub struct TooFewDescriptors {
    /// Descriptors that are needed.
    pub needed: u64,
    /// The hard limit of this process.
    pub allowed: u64,
}

pub(crate) fn make_room(sockets: u64) -> Result<(), TooFewDescriptors> {
    let needed = sockets.saturating_add(SPARE);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = limit.maximum;
        // If it is refused, the check below tells how many there are.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => Err(TooFewDescriptors { needed, allowed }),
        _ => Ok(()),
    }
}

/// Descriptors beyond the sockets: standard streams, epoll, files read in passing.
const SPARE: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_sockets_than_the_system_allows_are_refused_with_both_numbers() {
        assert_eq!(make_room(1), Ok(()));
        if let Some(allowed) = getrlimit(Resource::Nofile).maximum {
            let error = make_room(allowed).expect_err("the spare ones are missing");
            assert_eq!(error.allowed, allowed);
            assert_eq!(error.needed, allowed + SPARE);
        }
    }
}
