//! Every bound of the event loops, and what happens at it.

use std::time::Duration;

/// Bytes read from one socket at once; a longer burst is read in several pieces.
pub(crate) const READ_BUFFER: usize = 64 << 10;

/// Bytes read in one turn. What is left is read in the next turn, after new connections and
/// first packets: a CONNECT is answered within a few milliseconds however much comes in.
pub(crate) const READ_PER_TURN: usize = 1 << 20;

/// Bytes read at once from a connection at the door. What its handshake is followed by is handed
/// on with it, so this bounds that too.
pub(crate) const DOOR_BUFFER: usize = 16 << 10;

/// Steps of handshakes, some 500 us each, before a door looks at its other events.
pub(crate) const DOOR_STEPS: usize = 16;

/// Bytes of a first message of the wrong protocol that are waited for, so that it can be answered
/// by what it says.
pub(crate) const FIRST_MESSAGE: usize = 4 << 10;

/// A record of data longer than this is remembered for a moment: a client whose buffer it does
/// not fit goes at once.
pub(crate) const LARGE_RECORD: u16 = 1024;

/// For so long: it fails on the first one that it reads.
pub(crate) const LARGE_RECORD_WATCH: Duration = Duration::from_secs(2);

/// Bytes waiting to be written to one connection at which it counts as congested: QoS 1 and 2
/// then wait in the session's queue and QoS 0 in its own short one, with the broker's limits.
pub(crate) const CONGESTED_AT: usize = 256 << 10;

/// Bytes waiting to be written at which a connection's requests are no longer read: a client
/// that asks (PINGREQ, SUBSCRIBE) without reading the answers is held back by its own socket.
pub(crate) const STOP_READING_AT: usize = 1 << 20;

/// Protocol bytes wrapped for TLS or WebSocket at once.
pub(crate) const WRAP_AT_ONCE: usize = 64 << 10;

/// Slices of one vectored write.
pub(crate) const SLICES: usize = 64;

/// The largest empty buffer that a loop keeps for reuse, and the bytes of all that it keeps. A
/// small message to a thousand clients takes a thousand small buffers, which should all be kept.
pub(crate) const POOL_BUFFER_BYTES: usize = 64 << 10;
pub(crate) const POOL_BYTES: usize = 4 << 20;

/// How long a closed connection may take to read our last words before its socket goes, in
/// milliseconds.
pub(crate) const CLOSING: u64 = 2_000;

/// Size of a log from which on it is written anew once more than half of it is outdated.
pub(crate) const CHECKPOINT_FROM: u64 = 64 << 20;

/// On a full disk a log is written anew at the earliest after so many bytes more.
pub(crate) const COMPACT_STEP: u64 = 256 << 10;

/// Bytes of a checkpoint written in one turn: some 200 µs.
pub(crate) const CHECKPOINT_STEP: usize = 256 << 10;

/// How often a write that the disk refused is tried again.
pub(crate) const LOG_RETRY: Duration = Duration::from_millis(500);

/// What is written, and need not be durable at once, is made so after this long: what a power
/// cut may take with durability `os`.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How often reading back a log tells how far it has come.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How often `$SYS` topics are published, as Mosquitto does it.
pub(crate) const SYS_INTERVAL: Duration =
    Duration::from_secs(safeport_broker::LOAD_INTERVAL as u64);

/// How often counters are shared with other threads.
pub(crate) const SHARE_INTERVAL: Duration = Duration::from_millis(100);

/// A loop turns at least this often, so that its silence means trouble.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A loop that has not turned for this long counts as stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Connections accepted before the loop looks at its other events.
pub(crate) const ACCEPTS_IN_A_ROW: usize = 256;

/// How long accepting rests when descriptors have run out.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listening sockets of one listener; more are refused. And of all, those on their way out
/// included.
pub(crate) const MAX_SOCKETS: usize = 16;
pub(crate) const MAX_ALL_SOCKETS: usize = 255;

/// How long a listening socket that goes takes no new connections, but still finishes those whose
/// first packet the kernel had answered: a round trip over a poor Wi-Fi.
pub(crate) const LAST_HANDSHAKES: Duration = Duration::from_millis(300);

/// How long it then waits for descriptors if these have run out, before it closes on those who
/// wait in its queue.
pub(crate) const LAST_ACCEPTS: Duration = Duration::from_secs(3);

/// How long a caller waits for the loops to have changed what it asked for.
pub(crate) const STEERING_TIMEOUT: Duration = Duration::from_secs(5);

/// Log lines of one cause within one period; further ones are counted and summed up in one.
pub(crate) const LINES_PER_CAUSE: u32 = 20;
/// The same for causes that concern the whole server.
pub(crate) const LINES_FOR_SERVER: u32 = 1;
pub(crate) const CAUSE_PERIOD: Duration = Duration::from_secs(10);

/// Messages on their way to one peer loop; beyond it QoS 0 is dropped and counted.
pub(crate) const PEER_BACKLOG: usize = 1_000_000;

/// Places reserved in the tables of connections: address space, not memory, until used. Tables
/// that grow by doubling leave their old halves as holes in the heap.
pub(crate) const RESERVED: usize = 1 << 16;
