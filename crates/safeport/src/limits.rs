//! Every bound of the binary by name. Reaching one has the outcome written beside it.

use std::time::Duration;

/// Log lines per cause: one each minute, the rest counted.
pub const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Causes that the log tells apart within one interval; more stay unsaid.
pub const LOG_CAUSES: usize = 1024;

/// Threads that verify passwords. Two leave a core to the event loops on small boards, and one
/// slow verification does not hold up the other.
pub const VERIFIER_THREADS: usize = 2;
/// Logins that may wait for a verifier; more are refused with 0x89 Server busy. As many refusals
/// may wait for a look at the registry; more are final at once.
pub const VERIFIER_QUEUE: usize = 1024;
/// A login that waited longer than this is refused with 0x89 Server busy instead of verified: its
/// device has given up (Tasmota waits 4 s for CONNACK) and the next ones should not.
pub const VERIFIER_PATIENCE: Duration = Duration::from_secs(4);

/// Longest password that is verified, in bytes; longer ones are refused as wrong.
pub const PASSWORD_BYTES: usize = 1024;
/// Longest user name that is looked up, in bytes; longer ones are refused as unknown.
pub const USERNAME_BYTES: usize = 256;

/// Remembered verdicts of each kind (right, wrong) per generation; two generations are kept, and
/// when the younger is full the older is forgotten. Forgetting costs one more verification.
pub const VERDICTS: usize = 8192;
/// Client ids whose last login is remembered per generation; forgetting one only means that
/// another login may use that id.
pub const CLAIMS: usize = 16384;

/// Devices whose logins are noted between two looks of who writes them down; more are met again at
/// their next login.
pub const DEVICES_MET: usize = 16384;

/// An address may use up one in so many of its wrong logins a minute
/// (`limits.failed_logins_per_minute`) under one name: a container's proxy or a router shows many
/// devices as one address, and one broken plug is not to spend what its neighbours may need.
pub const NAME_SHARE: u32 = 3;
/// Addresses and names whose failures are counted; when full, the ones longest quiet are
/// forgotten.
pub const FAILURE_BUCKETS: usize = 16384;

/// How often the registry is asked whether users or devices changed.
pub const REVOCATION_INTERVAL: Duration = Duration::from_millis(250);
/// Pause after a look at the registry before the next one, when a login that is about to be refused
/// asks for it: wrong passwords cost twenty looks a second at most, whoever sends how many.
pub const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How often the certificates are looked at: they are renewed in their last thirty days, and when
/// the machine has got another name or address.
pub const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// How often it is looked whether the wall clock was set, files of certificates were replaced, or
/// somebody wants something of them.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

/// From when on it is said every day that a certificate from files is about to end.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(21 * 24 * 3600);

/// Time from accepting an HTTP connection (or the end of the last answer) to the end of the next
/// request's headers.
pub const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of request line and headers together; more is answered with 431.
pub const HTTP_HEADER_BYTES: usize = 16 * 1024;
/// Header lines of one request; more is answered with 431.
pub const HTTP_HEADERS: usize = 64;
/// Longest life of an HTTP connection that was not upgraded; a peer that reads slower than this is
/// cut, one that only keeps alive connects again.
pub const HTTP_CONNECTION_LIFETIME: Duration = Duration::from_secs(3600);
/// Bytes of a CONNECT that a port of HTTP looks at before it refuses; a longer one gets no answer.
pub const HTTP_STRANGER_BYTES: usize = 4096;
/// Time in which a client that was told its last word should close; then it is cut off.
pub const HTTP_GOODBYE: Duration = Duration::from_secs(2);
/// Bytes that such a client may still send; then it is cut off, too.
pub const HTTP_GOODBYE_BYTES: u64 = 64 * 1024;
/// Bytes that are read from a TLS socket at once; what they decrypt to is held until it is taken.
pub const TLS_SOCKET_READ: usize = 16 * 1024;
/// Bytes of an answer that are encrypted at once; a multiple of the record sizes, so that only the
/// last record is short.
pub const TLS_SOCKET_WRITE: usize = 32 * 1024;
/// Encrypted bytes that are gathered for one write; as long as the socket does not take them, the
/// answer stands still.
pub const TLS_SOCKET_UNSENT: usize = 32 * 1024;
/// Encrypted bytes with which a TLS socket is not read any more: those of an answer, and what a
/// peer made TLS answer without reading it.
pub const TLS_SOCKET_UNSENT_MOST: usize = 128 * 1024;
/// Least time between two looks at the kernel's table of connections, for what a client that fell
/// silent has not acknowledged; the attempts between say nothing of it. A look takes some
/// microseconds for each connection of the machine.
pub const KERNEL_LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Time that closing a listening socket may take, for what the kernel had queued on it; then it is
/// reported as not closed.
pub const HTTP_SWAP_PATIENCE: Duration = Duration::from_secs(5);
/// Nonces that pages for a second vantage point hold at once; the oldest are forgotten, and their
/// pages have to be loaded again.
pub const VANTAGE_NONCES: usize = 1024;
/// How long such a page may take for its tests after it was loaded.
pub const VANTAGE_NONCE_LIFE: Duration = Duration::from_secs(5 * 60);
/// Addresses that one such page tests; more are left out.
pub const VANTAGE_ADDRESSES: usize = 64;
/// Time that a WebSocket which only proves an address gets to close after it has its proof.
pub const VANTAGE_GOODBYE: Duration = Duration::from_secs(5);
/// Pause after the system refused to accept a connection (no descriptors left), so that the
/// refusal does not become a busy loop.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between the first two looks at the first bytes of a connection that sent too few to tell;
/// it doubles with each, up to [`FIRST_BYTES_PAUSE_MOST`].
pub const FIRST_BYTES_PAUSE: Duration = Duration::from_millis(20);
/// See [`FIRST_BYTES_PAUSE`]: who sends nothing more costs a few looks a second.
pub const FIRST_BYTES_PAUSE_MOST: Duration = Duration::from_millis(320);

/// Time that connections get to finish when the server stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// File descriptors kept for everything that is not a connection: data folder, logs, listeners.
pub const RESERVED_DESCRIPTORS: u64 = 64;

/// Time in which a probe's nonce is known; a probe takes less.
pub const PROBE_NONCE_LIFE: Duration = Duration::from_secs(30);
/// Time for one probe from the name to the proof, if nobody says otherwise; less than
/// [`PROBE_NONCE_LIFE`].
pub const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// Time in which the resolver has to answer a probe; later it counts as down.
pub const PROBE_LOOKUP: Duration = Duration::from_secs(4);
/// Time in which one address of a name has to take a probe's connection.
pub const PROBE_CONNECT: Duration = Duration::from_secs(3);
/// Addresses of one name that a probe tries; more are left out.
pub const PROBE_ANSWERS: usize = 8;
/// Bytes of the head of an answer that a probe reads; a longer one is no answer.
pub const PROBE_HEAD: usize = 16 * 1024;
/// Bytes of an answer's body that a probe reads; the proof stands in the first hundred.
pub const PROBE_ANSWER: usize = 8 * 1024;
/// Probes whose nonces are known at once; of more, the oldest is forgotten and its probe fails.
pub const PROBE_NONCES: usize = 256;

/// Bytes of one settings file; a larger one is an error.
pub const CONFIG_BYTES: u64 = 1 << 20;
/// Settings files in one `conf.d`; more are an error.
pub const CONF_D_FILES: usize = 128;
/// How long a name in a bind setting may take to resolve; then it counts as unknown.
pub const NAME_DEADLINE: Duration = Duration::from_secs(2);
/// How often the registry is asked whether somebody has staged settings.
pub const SETTINGS_INTERVAL: Duration = Duration::from_millis(100);
/// How often the machine's addresses are compared with those of before.
pub const SURROUNDINGS_INTERVAL: Duration = Duration::from_secs(5);
/// How often devices that logged in are written down with the listener they came by.
pub const MET_INTERVAL: Duration = Duration::from_secs(2);
/// How long each new address is probed before a change of listeners holds.
pub const PROVE_BEFORE_SWAP: Duration = Duration::from_secs(3);
/// How long `config set` and its kin wait for what the server says to a change; then they tell
/// where it will be seen.
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a command waits until the server has taken up what was staged before; then it refuses.
pub const STAGE_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks at what has become of a change.
pub const CHANGE_POLL: Duration = Duration::from_millis(50);
/// How long the page for a phone can be opened.
pub const VANTAGE_LIFE: Duration = Duration::from_secs(600);
/// How long the greeting waits for the first addresses to be proved. Listeners serve meanwhile.
pub const FIRST_PROOFS: Duration = Duration::from_millis(1500);
/// How long a command waits for a server that has just started to prove an address.
pub const PROOF_PATIENCE: Duration = Duration::from_secs(4);

/// Bytes of the body of a request to the API; a longer one is answered with 413.
pub const API_BODY_BYTES: usize = 64 * 1024;
/// The same of a request with many rows, such as the devices of a table.
pub const API_BULK_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Time in which the body of a request to the API has to come; then it is answered with 408.
pub const API_BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Requests to the API that are worked on at once; more wait for [`API_TURN_PATIENCE`].
pub const API_REQUESTS: usize = 8;
/// How long a request to the API waits for its turn, and for other changes of settings to end; then
/// it is answered with 503 or 423.
pub const API_TURN_PATIENCE: Duration = Duration::from_secs(5);
/// Files that the API takes at once; more wait for [`API_TURN_PATIENCE`].
pub const API_UPLOADS: usize = 4;
/// Time that a file may take to come.
pub const UPLOAD_PATIENCE: Duration = Duration::from_secs(1800);
/// Time within which each next piece of it has to come.
pub const UPLOAD_SILENCE: Duration = Duration::from_secs(30);
/// Longest name of a file, in bytes; a longer one is refused.
pub const FILE_NAME_BYTES: usize = 120;
/// Longest name of a release, in bytes; a longer one is refused.
pub const RELEASE_NAME_BYTES: usize = 64;
/// Devices that are looked at in one go for a list; in between, what is seen of devices is folded in.
pub const DEVICES_LOOKED_AT: usize = 4_000;
/// Most devices that are offered something by one request; more have to be asked for in parts.
pub const OFFERED_AT_ONCE: usize = 10_000;
/// Most devices, events, images or offers that one request to the API may ask for; more is answered
/// with 400.
pub const API_DEVICES: u32 = 1000;
/// Bytes of a text that is shown as a QR code in a terminal; a longer one would not fit.
pub const QR_BYTES: usize = 600;
/// Most devices that are added at once; more are refused, and the table has to be cut.
pub const BULK_DEVICES: usize = 10_000;
/// Bytes of a file that are read at once to be sent.
pub const STREAM_PIECE: usize = 64 * 1024;
/// Such pieces that wait to be sent.
pub const STREAM_AHEAD: usize = 2;
/// Time in which the API must have answered the command line; uploads and downloads may take longer.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(90);
/// Time in which a connection to the API must stand.
pub const CLIENT_CONNECT: Duration = Duration::from_secs(10);
/// Pause between two looks at an offer that the command line watches.
pub const WATCH_PAUSE: Duration = Duration::from_millis(500);
/// Most bytes of an answer that the command line reads; a longer one is an error.
pub const CLIENT_ANSWER: usize = 256 * 1024 * 1024;
/// Longest name of a person that the command line works for, in bytes; a longer one is not written
/// down.
pub const WHO_BYTES: usize = 80;
/// Wrong tokens that an address may show the API in a minute; more are answered with 429, without a
/// look at the registry. Right ones are let in.
pub const API_FAILURES_PER_MINUTE: u32 = 30;
/// Most revisions that one request to the API may ask for; more is answered with 400.
pub const API_REVISIONS: u32 = 1000;
/// Longest name of a token, in bytes; a longer one is refused.
pub const TOKEN_NAME_BYTES: usize = 64;
/// How old the memory of a proved address may be before it is written anew: it is for the next
/// start, and each writing waits for the disk.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// Bytes of a file in `pki/acme`; a larger one is not read.
pub const ACME_FILE_BYTES: u64 = 1 << 20;
/// Bytes of an answer of a certificate authority; a longer one is an error.
pub const ACME_ANSWER_BYTES: usize = 1 << 20;
/// How long one address of an authority may take to accept a connection; then the next is tried.
pub const ACME_CONNECT: Duration = Duration::from_secs(10);
/// How long an authority may take for one answer; then the attempt has failed.
pub const ACME_REQUEST: Duration = Duration::from_secs(30);
/// How long an authority may take to look at proofs, and to issue; then the next attempt goes on
/// with the order.
pub const ACME_PATIENCE: Duration = Duration::from_secs(90);
/// How long after its begin an order is gone on with; then another one is placed. Let's Encrypt
/// keeps them for seven days.
pub const ACME_ORDER_LIFE: Duration = Duration::from_secs(6 * 24 * 3600);
/// How long the hook of `dns-01` may run, waiting for name servers included; then it is ended.
pub const ACME_HOOK: Duration = Duration::from_secs(300);
/// Bytes of what the hook says that are told on: the last ones.
pub const ACME_HOOK_WORDS: usize = 2048;
/// Longest pause between two looks at the wall clock, which may have been moved.
pub const ACME_CLOCK_LOOK: Duration = Duration::from_secs(5);
/// How often a certificate that cannot be renewed is told again.
pub const ACME_ALARM_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// Shortest and longest pause between two questions when an authority would like a certificate
/// renewed, whatever it says itself.
pub const ACME_SUGGESTION_SOONEST: Duration = Duration::from_secs(3600);
/// See [`ACME_SUGGESTION_SOONEST`].
pub const ACME_SUGGESTION_LATEST: Duration = Duration::from_secs(24 * 3600);

/// Attempts to connect that wait for their judgement; more are counted as dropped and forgotten.
pub const ATTEMPTS_WAITING: usize = 4096;
/// The newest attempts that are kept one by one, for the API; older ones are only counted.
pub const ATTEMPTS_RECENT: usize = 4096;
/// Pause between two looks at the attempts that wait, so that a storm of them wakes their thread
/// twenty times a second and not for each.
pub const ATTEMPTS_PAUSE: Duration = Duration::from_millis(50);
/// Attempts are written into the registry so often at most.
pub const ATTEMPTS_FLUSH: Duration = Duration::from_secs(1);
/// How long a server that stops waits until the last attempts are written down.
pub const ATTEMPTS_GOODBYE: Duration = Duration::from_secs(2);
/// Rows of attempts that are gathered between two writings; more are counted as dropped.
pub const ATTEMPT_ROWS: usize = 8192;
/// One log line per cause and address in this time; the rest are counted, and told at its end.
pub const ATTEMPT_LOG_INTERVAL: Duration = Duration::from_secs(600);
/// Pairs of cause and address that the log tells apart at once; what more come are counted
/// together, and told once in [`ATTEMPT_LOG_INTERVAL`].
pub const ATTEMPT_LOG_PAIRS: usize = 1024;
/// ClientHellos whose fingerprint is remembered, so that it need not be made again.
pub const HELLOS: usize = 256;
/// Addresses (with the ClientHello that comes from there) whose user and whose trust in our
/// certificates is remembered per generation; of others the registry is asked.
pub const ATTEMPT_NEIGHBOURS: usize = 4096;
/// Questions to the registry about who lives at an address, a second; beyond, attempts are judged
/// from memory alone.
pub const ATTEMPT_LOOKS: u32 = 50;
/// Client ids whose take-overs of the last minute are remembered per generation.
pub const TAKE_OVERS: usize = 1024;
/// Time in which take-overs of one client id count as a quarrel of two clients.
pub const TAKE_OVER_WINDOW: Duration = Duration::from_secs(60);
/// Longest text of what was seen of an attempt, in bytes; the rest is cut off.
pub const ATTEMPT_WHY_BYTES: usize = 300;
/// Longest server name of a ClientHello that is kept, in bytes; the rest is cut off.
pub const SERVER_NAME_BYTES: usize = 255;
/// Attempts with causes of their own that the doctor reads of one device, the newest; older ones are
/// left out.
pub const OWN_CLUES: usize = 64;
/// What happened to a device lately that the doctor looks at, its newest.
pub const OWN_EVENTS: u32 = 64;
/// How often failures that are too old to matter are forgotten.
pub const WATCH_SWEEP: Duration = Duration::from_secs(60);
/// Probes that run at once for the API; more are answered with 503.
pub const API_PROBES: usize = 2;
/// Longest log that the API reads, in bytes; more is answered with 413.
pub const API_LOG_BYTES: usize = 1024 * 1024;
/// Longest line that the API explains, and longest target that it probes, in bytes; more is
/// answered with 400.
pub const API_LINE_BYTES: usize = 4096;
/// Most attempts that one request to the API may ask for; more is answered with 400.
pub const API_ATTEMPTS: u32 = 4096;

/// Bytes of a packet of UDP that are taken from the kernel; it may hand over 64 packets of one
/// address as one, and the rest of a longer packet is cut off.
pub const DATAGRAMS_RECEIVE: usize = 64 * 1024;
/// Packets of UDP that are taken from the kernel at once; more are taken right after.
pub const DATAGRAMS_AT_ONCE: usize = 32;
/// Packets of UDP that come closer together than twice this time wait up to this time for each
/// other. What comes meanwhile waits in the kernel, which has room for some 250 by default: enough
/// for 60,000 in a second.
pub const DATAGRAMS_REST: Duration = Duration::from_millis(4);
/// Time that closing a socket of UDP may take; then it is reported as not closed.
pub const DATAGRAMS_SWAP_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is said that devices ask for the time and this machine's clock was never set.
pub const NTP_CLOCK_WORD: Duration = Duration::from_secs(3600);

/// Bytes of the head of a request for a file; a longer one is hyper's, which refuses it.
pub const DOWNLOAD_HEAD_BYTES: usize = 8 * 1024;
/// How long a download waits for others to end where `firmware.bandwidth` or
/// `firmware.max_downloads` allows no more at once; then it is answered with 503. Tasmota reads no
/// longer than 8 s without a byte.
pub const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(5);
/// A download whose client takes no byte for so long is ended.
pub const DOWNLOAD_STALL: Duration = Duration::from_secs(60);
/// How often it is noted how far a download is. Each note wakes the thread that looks after
/// offers.
pub const DOWNLOAD_REPORT: Duration = Duration::from_secs(5);
/// How long a client may go on reading what the kernel holds for it after the last byte was sent.
pub const DOWNLOAD_GOODBYE: Duration = Duration::from_secs(120);

/// Bytes of the body of a check of a xiaozhi device; firmware sends about 2 KiB. A longer one is
/// answered with 413 and not read.
pub const XIAOZHI_BODY_BYTES: usize = 16 * 1024;
/// Time in which the body of a check has to come; then it is answered with 408.
pub const XIAOZHI_BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How long the code that a device shows can be entered.
pub const XIAOZHI_CODE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Devices that wait for their activation at once; of more, the one that has not asked for longest
/// is forgotten, and gets another code when it asks again. Waiting devices ask twice a minute.
pub const XIAOZHI_CODES: usize = 10_000;
/// New codes that one address may ask for in a minute; more are answered with 429, and the devices
/// ask again by themselves.
pub const XIAOZHI_CODES_PER_MINUTE: u32 = 64;
/// Names that are tried for a device that is taken in without one, before it gets one of its whole
/// hardware address.
pub const XIAOZHI_NAMES: u32 = 9;
/// Addresses whose new codes are counted, per generation.
pub const XIAOZHI_ASKERS: usize = 4096;
/// Time in which a hardware address gets another code because another Client-Id asks for it; sooner
/// it is answered with 429.
pub const XIAOZHI_CODE_PAUSE: Duration = Duration::from_secs(60);
/// Codes that are drawn for one device before it is told to ask again: each of them was taken.
pub const XIAOZHI_DRAWS: usize = 32;
/// Devices whose last answer is remembered per generation, to log what changes and nothing else.
pub const XIAOZHI_TOLD: usize = 65_536;
/// How often it is looked anew which addresses devices can be told.
pub const XIAOZHI_WAYS: Duration = Duration::from_secs(1);
/// Time after a start in which a device that could be told nothing waits for its answer, since the
/// first addresses are just being proved; firmware waits for 30 s.
pub const XIAOZHI_FIRST_WAYS: Duration = Duration::from_secs(12);
/// Pause between two looks meanwhile.
pub const XIAOZHI_WAYS_PAUSE: Duration = Duration::from_millis(100);
/// How often an external voice server that does not answer is probed again.
pub const XIAOZHI_VOICE_AGAIN: Duration = Duration::from_secs(15);
/// Seconds between two signs of life of a xiaozhi device over MQTT: less than home routers and
/// carriers remember a silent connection for. Firmware without it takes 240.
pub const XIAOZHI_KEEPALIVE: u16 = 60;
/// How long a token of a device is good. It ends with the enrolment that it was made for, so its
/// age proves little, and a device that is never restarted gets no other.
pub const XIAOZHI_TOKEN_AGE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Bytes that are read at once from the connection of a conversation; no session holds them.
pub const VOICE_READ: usize = 2048;
/// How long a device may take to receive what it is sent; then its connection ends. The firmware
/// holds some seconds of sound.
pub const VOICE_WRITE: Duration = Duration::from_secs(10);
/// How long the end of a connection may take.
pub const VOICE_GOODBYE: Duration = Duration::from_secs(2);
/// Conversations over MQTT at once; a device that wants one more is told goodbye, and asks again
/// when it is woken.
pub const VOICE_LINES: usize = 10_000;
/// Packets of a device's sound that wait to be heard in one conversation: 3 s. Further ones are
/// passed over and counted.
pub const VOICE_UNHEARD: usize = 50;
/// Packets that wait for a device whose first datagram has not come: nobody knows where it is. Of
/// more, the oldest is passed over. Devices keep 20.
pub const VOICE_HELD: usize = 12;
/// Messages over MQTT that wait in one conversation; further ones are passed over.
pub const VOICE_MESSAGES: usize = 16;
/// Bytes of messages over MQTT that wait to be sorted; further ones are passed over, and it is said.
pub const VOICE_POST: usize = 8 << 20;
/// What a message weighs beside its text.
pub const VOICE_POST_EACH: usize = 256;
/// Longest name of a conversation that is repeated to a device that names one that is over; one with
/// a longer name gets no answer.
pub const VOICE_NAMED_SESSION: usize = 128;
/// How long a server that stops waits for its goodbyes to be said.
pub const VOICE_LAST_WORDS: Duration = Duration::from_millis(500);
/// Longest recording that the echo says back, in milliseconds of sound; then it answers.
pub const VOICE_RECORDING: u32 = 30_000;
/// Bytes that such a recording may have; then it answers, too. Speech of 30 s has some 80 kB.
pub const VOICE_RECORDING_BYTES: usize = 256 * 1024;
/// Devices whose talk with their agent is remembered; of more, the one that was silent longest is
/// forgotten. Each has at most 64 KiB.
pub const VOICE_TALKS: usize = 4096;
/// How long a talk is remembered after its last conversation; with a summary 48 times as long.
pub const VOICE_TALK_AGE: Duration = Duration::from_secs(30 * 60);
/// What people have a device say at once; who wants more is told to wait.
pub const VOICE_ANNOUNCED: usize = 4;
/// Sound that is kept of before somebody spoke, in milliseconds.
pub const VOICE_RUN_UP: u32 = 480;

/// Messages and attempts that wait to be read for what they tell of devices; more are counted and
/// left out.
pub const FLEET_WAITING: usize = 65_536;
/// Messages and attempts under logins that the fleet has not heard of, kept until it has looked at
/// the registry again; of more, the oldest is taken for a stranger's.
pub const FLEET_HELD: usize = 1_024;
/// How often changed devices are written down.
pub const FLEET_FLUSH: Duration = Duration::from_secs(1);
/// Devices that are written, or linked to their enrolments, at once.
pub const FLEET_AT_ONCE: usize = 200;
/// How often it is looked whether devices were enrolled or forgotten.
pub const FLEET_FOLLOW: Duration = Duration::from_millis(100);
/// How often devices that were only seen, and not for long, are forgotten.
pub const FLEET_EXPIRE: Duration = Duration::from_secs(60);
/// How many of them at once.
pub const FLEET_EXPIRE_AT_ONCE: usize = 10_000;
/// How long a server that stops waits until the last that was seen of devices is written down.
pub const FLEET_GOODBYE: Duration = Duration::from_secs(2);
/// How often what is too old to be kept is removed.
pub const TIDY_PAUSE: Duration = Duration::from_secs(3600);
/// Rest between two removals where there is more to remove.
pub const TIDY_REST: Duration = Duration::from_millis(500);
/// Files that nobody refers to are kept for so long: somebody may be about to.
pub const BLOB_AGE: Duration = Duration::from_secs(3600);

/// Time in which a target of the doctor has to take a connection; a TLS handshake gets twice that.
pub const DOCTOR_CONNECT: Duration = Duration::from_secs(3);
/// How long a connection that was opened ahead is still good for a question; most servers wait
/// longer for a first byte.
pub const DOCTOR_POOLED: Duration = Duration::from_secs(2);
/// How long the doctor waits for a server that speaks first.
pub const DOCTOR_BANNER: Duration = Duration::from_millis(300);
/// How long the doctor waits for the answer to its first question about a port; later it counts as
/// silent.
pub const DOCTOR_FIRST_ANSWER: Duration = Duration::from_secs(3);
/// The same for each further question.
pub const DOCTOR_NEXT_ANSWER: Duration = Duration::from_millis(1500);
/// Addresses of one name that the doctor tries until one takes a connection; more are left out.
pub const DOCTOR_ADDRESSES: usize = 3;
/// Time in which the system's resolver has to answer the doctor.
pub const DOCTOR_LOOKUP: Duration = Duration::from_secs(3);
/// Time in which a name server has to answer, the second try included.
pub const DOCTOR_QUESTION: Duration = Duration::from_millis(1500);
/// Name servers that the doctor asks; more are left out.
pub const DOCTOR_NAME_SERVERS: usize = 4;
/// Time in which another port of the host has to take a connection.
pub const DOCTOR_OTHER_CONNECT: Duration = Duration::from_secs(2);
/// Time for one other port in all.
pub const DOCTOR_OTHER_PORT: Duration = Duration::from_secs(5);
/// Bytes that are read from one other port.
pub const DOCTOR_OTHER_BYTES: usize = 16 * 1024;
/// Time for CONNACK: what the most patient devices give it.
pub const DOCTOR_CONNACK: Duration = Duration::from_secs(10);
/// Time for the answer to a request: what xiaozhi gives the upgrade to WebSocket.
pub const DOCTOR_HTTP: Duration = Duration::from_secs(10);
/// Time for the server's hello on a WebSocket: what xiaozhi gives it.
pub const DOCTOR_HELLO: Duration = Duration::from_secs(10);
/// Addresses in the reply to a check that the doctor tries; more are left out.
pub const DOCTOR_HANDED_OUT: usize = 4;
/// Time for an answer of NTP.
pub const DOCTOR_NTP: Duration = Duration::from_millis(800);
/// How far the clocks of server and doctor may be apart, before one of them counts as wrong.
pub const DOCTOR_CLOCKS_APART: Duration = Duration::from_secs(300);
/// Requests to the tools of one device that are not taken up yet; more are refused.
pub const TOOL_REQUESTS: usize = 16;
/// How long somebody waits for a device's tool: longer than the device has for it, so that its own deadline comes first.
pub const TOOL_ANSWER: Duration = Duration::from_secs(40);
/// Tools that one model is told of; more are left out, those of servers first. Interfaces of models take 128.
pub const TOOLS: usize = 128;
/// Bytes of all of these; what would be more is left out. A model reads them in every turn.
pub const TOOLS_BYTES: usize = 128 * 1024;
/// How long the tools of an idle device are remembered after they were last asked for.
pub const IDLE_REST: Duration = Duration::from_secs(60);
/// Messages of an idle device that wait to be read; more are passed over, and what waits for them fails in time.
pub const IDLE_PAYLOADS: usize = 16;
/// Servers at the access point; more are refused with 503.
pub const ACCESS_POINT_SERVERS: usize = 64;
/// Servers at the access point for one agent; more are refused with 503.
pub const ACCESS_POINT_SERVERS_OF_AGENT: usize = 8;
/// Bytes of one message of a program at the access point; the connection of one that sends more ends.
pub const ACCESS_POINT_MESSAGE: u32 = 1024 * 1024;
/// How long the answer of one tool at the access point may take.
pub const ACCESS_POINT_CALL: Duration = Duration::from_secs(30);
/// Questions of one voice server at the access point that are answered at once; meanwhile no more is read of it.
pub const ACCESS_POINT_CALLS: usize = 16;
/// Silence at the access point after which a server is asked whether it is still there; after twice that it is gone.
pub const ACCESS_POINT_SILENCE: Duration = Duration::from_secs(60);
/// Bytes of a picture that a device sends to be looked at; a larger one is answered with 413.
pub const PICTURE_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of the question and the parts around a picture.
pub const PICTURE_EXTRA_BYTES: usize = 64 * 1024;
/// Bytes of the question itself; a longer one is answered with 413.
pub const PICTURE_QUESTION_BYTES: usize = 8 * 1024;
/// How long a picture may take to come: 5 MB over a slow cellular connection. Then it is answered with 408.
pub const PICTURE_PATIENCE: Duration = Duration::from_secs(60);
/// Pictures that come or are looked at, at once; more are answered with 503.
pub const PICTURES_AT_ONCE: usize = 8;
/// How long a device's token for pictures is good; it gets another one in its next conversation.
pub const PICTURE_TOKEN_AGE: Duration = Duration::from_secs(24 * 3600);
/// Bytes of what a person has a device say at once: half a minute to a minute of speech.
pub const SAID_BYTES: usize = 600;
/// Files of speech for idle devices that lie ready or are being made, at once; who wants one more has the words shown.
pub const NOTICES: usize = 32;
/// Bytes of such a file; speech of 100 s has some 300 kB. Words that would need more are shown.
pub const NOTICE_BYTES: usize = 512 * 1024;
/// How long such a file may play. Words that would need more are shown.
pub const NOTICE_LENGTH: Duration = Duration::from_secs(100);
/// Bytes of one packet in it: the most that firmware takes. Larger ones are left out.
pub const NOTICE_PACKET: usize = 2048;
/// How long its speech may take to be made; then the words are shown.
pub const NOTICE_MADE: Duration = Duration::from_secs(40);
/// How long a device may take to fetch it; then it is taken away, and the words are shown.
pub const NOTICE_FETCH: Duration = Duration::from_secs(10);
/// How long a device is left alone behind what it has played: it plays a sound of its own before.
pub const NOTICE_PAUSE: Duration = Duration::from_secs(3);
/// How long such a file lies ready at most, whatever the device does.
pub const NOTICE_AGE: Duration = Duration::from_secs(120);
/// What waits to be said to one idle device; who wants more is told that it is speaking.
pub const NOTICES_WAITING: usize = 4;
/// How long somebody waits until a device has said something.
pub const SAID_PATIENCE: Duration = Duration::from_secs(80);
/// Bytes of a file with a provider's key that are read; the key is its first line.
pub const PROVIDER_KEY_FILE: u64 = 64 * 1024;
/// Programs of one provider that run at once; more wait for their turn.
pub const PROVIDER_PROGRAMS: usize = 8;
/// Longest sound that is kept of what was said in a turn, and as much of its answer; the rest is left out and counted
/// (`safeport_voice_recordings_cut_total`).
pub const VOICE_SOUND_LENGTH: Duration = Duration::from_secs(180);
/// Bytes of each of the two; speech of 180 s has some 700 kB. The rest is left out and counted, too. A conversation holds
/// them until its turn is over.
pub const VOICE_SOUND_BYTES: usize = 1 << 20;
/// Bytes of the moment before somebody spoke that are held for a recording; of more, the oldest packet is left out.
pub const VOICE_SOUND_RUN_UP: usize = 8 << 10;
/// Bytes of all sound that is not written down yet, over all conversations. Where they are used up, what is being kept
/// ends there, and is counted.
pub const VOICE_SOUND_MEMORY: usize = 64 << 20;
/// Turns that wait to be written down; more are dropped and counted (`safeport_voice_history_dropped_total`).
pub const VOICE_HISTORY_WAITING: usize = 1024;
/// Turns that are written down in one go.
pub const VOICE_HISTORY_BATCH: usize = 256;
/// How long the first of a batch waits for more.
pub const VOICE_HISTORY_REST: Duration = Duration::from_secs(1);
/// At the end of the server: how long it waits until everything that was said is written down.
pub const VOICE_HISTORY_GOODBYE: Duration = Duration::from_secs(5);
/// Before it is asked again whether there is room for the last note.
pub const VOICE_HISTORY_FULL_PAUSE: Duration = Duration::from_millis(5);
/// Bytes of what was heard, and of what was said, that are kept of a turn; the rest is cut off.
pub const VOICE_HISTORY_TEXT: usize = 16 * 1024;
/// Turns that are answered to one question; more are asked for page by page.
pub const API_TALKS: u32 = 1000;
/// Bytes of a recording that `agent try` takes: two minutes.
pub const TRY_RECORDING: u64 = 4 << 20;
/// How long `agent try` waits for the servers of tools to say what they have; it goes on without the others.
pub const TRY_TOOLS: Duration = Duration::from_secs(35);
/// Characters that `agent try` shows of what a tool was given, and of what it answered; the rest is left out.
pub const TRY_CALL_SHOWN: usize = 200;
