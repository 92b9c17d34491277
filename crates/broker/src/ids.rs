//! Names of sockets and sessions.

/// The driver's name for an open socket. May be used again once the broker was told that it
/// closed, or has asked for it to be closed, and its effects were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A session's place in its broker. Valid until the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u32);

impl SessionId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}
