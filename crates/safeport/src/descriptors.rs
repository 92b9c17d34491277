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

    /// Connections that fit beside everything else this process keeps open. Where that is hardly
    /// anything, half of the descriptors go to connections all the same.
    pub fn connections(self) -> u64 {
        self.now - RESERVED_DESCRIPTORS.min(self.now / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_connections_fit_into_every_limit() {
        let connections = |now| Descriptors { before: now, now }.connections();
        assert_eq!(connections(1024), 960);
        assert_eq!(connections(64), 32);
        assert_eq!(connections(2), 1);
    }

    #[test]
    fn the_limit_never_falls() {
        let raised = Descriptors::raise();
        assert!(raised.now >= raised.before);
    }
}
