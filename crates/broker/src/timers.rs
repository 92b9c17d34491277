//! What the broker has to come back to.

use crate::time::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) at: Time,
    pub(crate) what: Alarm,
    /// a session, or a node of the retained store
    pub(crate) subject: u32,
    pub(crate) epoch: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    KeepAlive,
    Will,
    SessionExpiry,
    RetainedExpiry,
    /// A publisher has been held back for long enough.
    Patience,
}
