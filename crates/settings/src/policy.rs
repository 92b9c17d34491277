//! Who may set a key, and how several sources go together.

/// The policy of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Only defaults, files, the environment and flags may set it: a value that
    /// comes from elsewhere must not cut off the way by which it is repaired.
    pub local: bool,
    /// Sources may set it only to the same value.
    pub agree: bool,
    /// The lists of several sources are joined, without doubles; `"!reset"` as
    /// the first of a list drops what lower ranks have said.
    pub append: bool,
    /// Its value is never shown.
    pub secret: bool,
    /// `auto` is worked out by the server.
    pub derived: bool,
    /// A change holds at once; otherwise at the next start.
    pub live: bool,
    /// It may be set for a tag or for one device.
    pub told: bool,
    /// A change may cut off who made it, and has to be confirmed.
    pub lockout: bool,
}

impl Policy {
    /// What holds for a key of which the table says nothing else.
    pub(crate) const PLAIN: Policy = Policy {
        local: false,
        agree: false,
        append: false,
        secret: false,
        derived: false,
        live: true,
        told: false,
        lockout: false,
    };
}
