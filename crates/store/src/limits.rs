//! Limits of this crate, and what happens at each.

use std::time::Duration;

/// How long a statement waits for another process to finish its own. Then
/// [`StoreError::Busy`](crate::StoreError::Busy).
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many pages of 4 KiB the write-ahead log of the registry gathers before one
/// that does not wait for the disk moves them into the database: 16 MiB. It waits
/// for the disk then, and pages that changed several times are moved once.
pub const WAL_PAGES: u32 = 4_000;
/// Most audit rows kept; the oldest go first.
pub const MAX_AUDIT_ROWS: u32 = 100_000;
/// What a segment of the log holds unless the caller says otherwise: 16 MiB.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Longest group of the log: 1 GiB. Reading a group takes memory for all of its
/// segment.
pub const MAX_GROUP_BYTES: usize = 1 << 30;
/// Places of damage that a recovery remembers; more are only counted.
pub const MAX_PLACES: usize = 100;

/// Most revisions of the settings kept. The oldest are folded into what they
/// add up to: their values hold on, but nobody can go back behind them.
pub const MAX_REVISIONS: u32 = 10_000;
/// Most bytes of keys, values and files in all revisions kept: 64 MiB. Beyond,
/// the oldest are folded as well.
pub const MAX_HISTORY_BYTES: u64 = 64 << 20;
/// Most changes of one revision, keys and files together; more are refused.
pub const MAX_CHANGES: usize = 1_000;
/// Most bytes of one revision: 4 MiB; more are refused.
pub const MAX_REVISION_BYTES: usize = 4 << 20;
/// A staged revision that no server has taken for so long is refused once
/// another one is staged; one that waits for a confirmation is reverted so long
/// after its time. In seconds.
pub const ABANDONED_AFTER: u64 = 60;
/// Most values that a server may say it uses; more are refused.
pub const MAX_LIVE_VALUES: usize = 10_000;
/// Most events of ports kept; the oldest go first.
pub const MAX_PORT_EVENTS: u32 = 10_000;
/// Most chosen ports remembered; those chosen longest ago go first.
pub const MAX_CHOSEN_PORTS: u32 = 1_000;
/// Most addresses whose state is kept; more are refused.
pub const MAX_ADDRESSES: usize = 1_000;
/// A device that is told the same address again is written down again after so
/// long, in seconds: devices ask often, and each write waits for the disk.
pub const TOLD_REFRESH: u64 = 3_600;
/// Most tags of one device; more are refused.
pub const MAX_TAGS: usize = 16;
/// Longest tag, in characters.
pub const MAX_TAG_LENGTH: usize = 32;
/// Most tokens of the HTTP API; more are refused.
pub const MAX_TOKENS: usize = 100;
/// Most programs that may bring their tools to agents; more are refused.
pub const MAX_PROGRAMS: usize = 100;
/// The use of a token is written down again after so long, in seconds: programs
/// ask often, and each write waits for the disk.
pub const TOKEN_USE_REFRESH: u64 = 60;

/// Most rows of attempts kept; the least recently seen go first.
pub const MAX_ATTEMPTS: u32 = 20_000;
/// Most rows of attempts kept for one IP address; the least recently seen go
/// first.
pub const MAX_ATTEMPTS_PER_ADDRESS: u32 = 64;
/// Most wishes for certificates kept; the oldest go first.
pub const MAX_WISHES: u32 = 1_000;
/// Most certificate chains that a server may say it has; more are refused.
pub const MAX_CHAINS: usize = 100;

/// Most devices of which something is known; more are refused. What decides who
/// is kept is `devices.max_seen`, which is lower.
pub const MAX_MEMBERS: u64 = 1_000_000;
/// Longest text about one device, image, release, offer or event: 64 KiB; longer
/// ones are refused.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// Most identities of one device; more are refused.
pub const MAX_IDENTITIES: usize = 64;
/// Most events kept of one device; the oldest go first.
pub const MAX_EVENTS_PER_MEMBER: u32 = 200;
/// Most events kept of all devices; the oldest go first.
pub const MAX_EVENTS: u64 = 2_000_000;
/// Most turns of conversations kept of one device; the oldest go first.
pub const MAX_TALKS_PER_DEVICE: u32 = 2_000;
/// Most turns of conversations kept of all devices; the oldest go first.
pub const MAX_TALKS: u64 = 1_000_000;
/// Most sound of conversations kept of one device, as it lies on the disk: 256 MiB;
/// the oldest goes first, and its turn stays without.
pub const MAX_RECORDINGS_PER_DEVICE: u64 = 256 << 20;
/// Most sound of conversations kept of all devices: 4 GiB; the oldest goes first.
pub const MAX_RECORDINGS: u64 = 4 << 30;
/// What the sound of conversations leaves free on the disk: 256 MiB, or a tenth of a
/// small one. Below it no more is kept: messages and sessions need the disk more.
pub const RECORDINGS_LEAVE_FREE: u64 = 256 << 20;
/// Most contradictions kept in quarantine; those not seen for longest go first.
pub const MAX_QUARANTINE: u32 = 1_000;
/// Most images; more are refused.
pub const MAX_IMAGES: usize = 10_000;
/// Most releases, not counting removed ones; more are refused. As many removed
/// ones are remembered, the newest.
pub const MAX_RELEASES: usize = 10_000;
/// Most images of one release; more are refused.
pub const MAX_RELEASE_IMAGES: usize = 256;
/// Most ended offers kept; the oldest go first. A device has one open offer at
/// most.
pub const MAX_ENDED_OFFERS: u64 = 1_000_000;
/// Most download tokens of one offer, of one device without an offer, or of
/// neither; the oldest go first.
pub const MAX_DOWNLOADS: u32 = 16;
/// Most files under one download token; more are refused.
pub const MAX_DOWNLOAD_FILES: usize = 16;
/// Most backups of one kind kept for one device, whatever is asked for.
pub const MAX_BACKUPS: u32 = 100;
/// Most activation codes that wait; more are refused.
pub const MAX_ACTIVATIONS: usize = 10_000;
/// Most rows of a kind that one [`tidy`](crate::Registry::tidy) removes, so that
/// others can write in between.
pub const TIDY_ROWS: u32 = 5_000;
/// Largest piece in which a stored file is read and checked: 256 KiB.
pub const BLOB_PIECE: usize = 256 << 10;
/// On a file system without locks, an unfinished file counts as left over once
/// nothing was written to it for so long: a day.
pub const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3_600);
