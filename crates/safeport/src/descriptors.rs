//! How many files and sockets this process may have open: each connection is one of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::RESERVED_DESCRIPTORS;

/// What came of asking for as many descriptors as the system grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit before.
    pub before: u64,
    /// The limit now. `u64::MAX` if there is none.
    pub now: u64,
}

impl Descriptors {
    /// Raises the soft limit to the hard one, which needs no privilege.
    pub fn raise() -> Descriptors {
        let limit = getrlimit(Resource::Nofile);
        let before = limit.current.unwrap_or(u64::MAX);
        let hard = limit.maximum.unwrap_or(u64::MAX);
        if before < hard {
            // A system that refuses (some sandboxes do) leaves us with what we had.
            let _ = setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: limit.maximum,
                    maximum: limit.maximum,
                },
            );
        }
        Descriptors {
            before,
            now: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        }
    }

    /// Connections that fit beside everything else this process keeps open.
    pub fn connections(self) -> u64 {
        self.now.saturating_sub(RESERVED_DESCRIPTORS)
    }
}
