//! Every bound of the broker, with its default and what happens at it.

/// What one broker will hold. All limits are per broker (one per event loop) or per
/// session, as each says; reaching one has the written outcome, never a silent loss of
/// something acknowledged.
///
/// They can be changed while the broker serves ([`Broker::set_limits`](crate::Broker::set_limits)).
/// A changed limit holds for what comes from then on; each says below what happens to what is
/// over a lowered one. Nothing that was acknowledged is dropped for it, no connection is ended,
/// and no client is held to a number that it was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest session expiry granted, in seconds; default 30 days. A longer wish is cut,
    /// and a version 5 client is told so in CONNACK. `u32::MAX` means sessions may live for
    /// ever.
    /// Lowered: sessions keep what they were granted until their client connects again, or asks for
    /// another expiry in its DISCONNECT.
    pub session_expiry: u32,
    /// Messages of QoS 1 and 2 sent to one client and not yet acknowledged; default 256.
    /// A smaller Receive Maximum of the client wins. Further messages wait in the queue.
    /// Changed: connections keep the window that they began with; a session gets the new one when
    /// its client connects again. What is in flight beyond it is still sent again, and settled.
    pub max_inflight: u16,
    /// Messages waiting for one session; default 10,000. While a connected subscriber's queue is
    /// full, its publishers are held back (see `patience`). If nobody is there to empty it, or
    /// patience ends, a QoS 1 or 2 publish is refused on the wire (0x97 for version 5, no acknowledgement before it)
    /// and reaches nobody. Wills, the server's own messages and those that a peer has taken
    /// already cannot be refused: they pass by the full session, which is counted and told.
    /// A SUBSCRIBE whose retained messages do not fit behind what waits gets 0x97 (3.x: 0x80);
    /// one set of retained messages always fits into an empty queue.
    /// Lowered: what waits beyond it goes on waiting and is delivered; the session counts as full
    /// until it has fewer.
    pub max_queued_messages: u32,
    /// Bytes (topic, properties and payload) waiting for one session; default 16 MiB. The
    /// outcome is that of `max_queued_messages`. A single message may be larger.
    /// Lowered: as for `max_queued_messages`.
    pub max_queued_bytes: u32,
    /// Bytes (topic, properties, payload, and 160 more for each message) waiting or in flight for
    /// all sessions together; default 256 MiB. A message that several sessions are owed counts for
    /// each. A QoS 1 or 2
    /// publish that would exceed it is refused as for `max_queued_messages`.
    /// Lowered: what is stored stays, and publishes of QoS 1 and 2 that have to wait are refused
    /// until it is less.
    pub max_stored_bytes: u64,
    /// How long a publisher of QoS 1 and 2 is held back (its connection is not read) while a
    /// connected subscriber's queue is full, in milliseconds; default 10 s. Then its message is
    /// refused as for `max_queued_messages`. Any progress of the subscriber starts it anew.
    /// Changed: who is held back already waits as long as was said then.
    pub patience: u64,
    /// QoS 0 messages waiting for a connected client whose socket is full; default 1,000.
    /// Newer ones are dropped and counted.
    /// Lowered: what waits is still sent.
    pub max_queued_qos0: u32,
    /// Bytes of those; default 1 MiB. A single message may be larger.
    /// Lowered: what waits is still sent.
    pub max_queued_qos0_bytes: u64,
    /// Retained messages; default 1,000,000. A further one is refused with 0x97 (QoS 1, 2)
    /// or delivered but not kept (QoS 0).
    /// Lowered: all that is retained stays and can be replaced or removed, but no topic comes new
    /// before there are fewer.
    pub max_retained_messages: u32,
    /// Bytes of all retained messages; default 256 MiB. Outcome as above.
    /// Lowered: all that is retained stays, and can be replaced by what is not larger.
    pub max_retained_bytes: u64,
    /// Subscriptions of one session; default 10,000. Further ones get 0x97 (3.x: 0x80).
    /// Lowered: subscriptions stay, and can be replaced; further ones are refused.
    pub max_subscriptions: u32,
    /// Levels of a topic name or filter; default 128. Deeper ones are refused with 0x8F or
    /// 0x90.
    /// Lowered: subscriptions and retained messages stay; what is published deeper is refused.
    pub max_topic_levels: u16,
    /// QoS 2 messages that one client may have open towards us on one connection; default
    /// 1,024 (QoS 1 is acknowledged at once). Told to version 5 clients; exceeding it closes
    /// with 0x93.
    /// Changed: a connection is held to what its CONNACK said; the next one is told the new value.
    pub receive_maximum: u16,
    /// Topic aliases a version 5 client may set; default 32. A higher one closes with 0x94.
    /// Changed: as for `receive_maximum`.
    pub topic_alias_maximum: u16,
    /// Topic aliases that we set towards a client that accepts them; default 32. Further
    /// topics travel in full.
    /// Changed: connections keep what they began with.
    pub topic_aliases_out: u16,
    /// Longest keep alive in seconds, 0 = any; default 0. A version 5 client that wishes a
    /// longer one (or none) is told this one in CONNACK (Server Keep Alive).
    /// Changed: connections keep what their CONNACK said.
    pub max_keep_alive: u16,
    /// Longest client identifier in bytes; default 1,024. Longer ones are refused (0x85).
    /// Lowered: who is connected stays; a longer identifier is refused at its next CONNECT.
    pub max_client_id: u16,
    /// Sessions, connected or not; default 1,000,000. A CONNECT beyond it gets 0x97.
    /// Lowered: sessions stay, and their clients may come back; new ones are refused.
    pub max_sessions: u32,
}

impl Limits {
    /// Whether a topic name or filter has more levels than allowed. Short ones cannot.
    pub(crate) fn is_too_deep(&self, topic: &str) -> bool {
        let most = usize::from(self.max_topic_levels);
        topic.len() >= most && topic.bytes().filter(|byte| *byte == b'/').count() >= most
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_expiry: 30 * 24 * 3600,
            max_inflight: 256,
            max_queued_messages: 10_000,
            max_queued_bytes: 16 << 20,
            max_stored_bytes: 256 << 20,
            patience: 10_000,
            max_queued_qos0: 1_000,
            max_queued_qos0_bytes: 1 << 20,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 256 << 20,
            max_subscriptions: 10_000,
            max_topic_levels: 128,
            receive_maximum: 1_024,
            topic_alias_maximum: 32,
            topic_aliases_out: 32,
            max_keep_alive: 0,
            max_client_id: 1_024,
            max_sessions: 1_000_000,
        }
    }
}

/// What a message takes in memory beside its bytes, so that a limit in bytes also holds for
/// messages without any.
pub(crate) const STORED_OVERHEAD: u64 = 160;

/// Bytes that one call may send from a session's queue before the engine has to say that the
/// socket took them. Bounds what a burst (retained messages, a returning session) can pile
/// up in a connection's buffer.
pub(crate) const PUMP_BYTES: usize = 64 << 10;

/// From this payload size on, a message is shared by reference between its receivers; below
/// it, copying into the connection's buffer is cheaper than a counted reference.
pub(crate) const SHARE_FROM: usize = 2_048;

/// Loops (or nodes) that one broker can know: one bit each in an interest mask.
pub const MAX_PEERS: u8 = 63;

/// Longest payload that an observer is shown; what devices say of themselves is far shorter.
pub(crate) const MAX_OBSERVED: usize = 32 * 1024;

/// Longest payload of a message to the server itself; a longer one is refused (0x97), or with QoS 0
/// dropped, and reported. Devices send up to 64 KiB at once.
pub(crate) const MAX_ADDRESSED: usize = 64 * 1024;

/// Places reserved in the tables of sessions and timers. A large reservation is address space,
/// not memory, until it is used; a table that grows by doubling instead leaves its old halves
/// as holes in the heap, which cost 320 bytes per idle connection (docs/decisions/0006).
pub(crate) const RESERVED: usize = 1 << 16;
