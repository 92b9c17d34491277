//! The one table of all keys. Types, docs, defaults, limits, the example file
//! and `config show` are made from it.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::kind::{Kind, check_log_level, check_name};
use crate::resolve::Resolver;
use crate::{ByteSize, DataPath, Durability, Language, LogFormat, Source};

/// One key of the table.
pub(crate) struct KeySpec {
    /// Its section.
    pub(crate) section: &'static str,
    /// Its name within the section.
    pub(crate) name: &'static str,
    /// What it means, line by line.
    pub(crate) doc: &'static [&'static str],
    /// Its default as text.
    pub(crate) default: &'static str,
    /// Least and greatest value as text.
    pub(crate) range: Option<(&'static str, &'static str)>,
}

/// One section of the table.
pub(crate) struct SectionSpec {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for, line by line.
    pub(crate) doc: &'static [&'static str],
    /// Its keys.
    pub(crate) keys: &'static [KeySpec],
}

/// `Some` of what was given, `None` of nothing.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// Makes the section types, [`Settings`] and [`SECTIONS`] from one listing.
macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:literal
                    $(, $least:literal to $most:literal)?
                    $(, check $check:path)?;
            )*
        }
    )*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Section {
                $(
                    $(#[doc = $doc])*
                    #[doc = ""]
                    #[doc = concat!("Default `", $default, "`.")]
                    $(#[doc = concat!("From `", $least, "` to `", $most, "`.")])?
                    pub $key: $type,
                )*
            }
        )*

        /// All settings of a server, each with its [`Source`].
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $(
                $(#[doc = $section_doc])*
                pub $section: $Section,
            )*
            /// Where each key was set, in the order of the table.
            pub(crate) sources: Vec<Source>,
        }

        /// Every section, in the order of the example file.
        pub(crate) const SECTIONS: &[SectionSpec] = &[
            $(SectionSpec {
                name: stringify!($section),
                doc: &[$($section_doc),*],
                keys: &[
                    $(KeySpec {
                        section: stringify!($section),
                        name: stringify!($key),
                        doc: &[$($doc),*],
                        default: $default,
                        range: optional!($(($least, $most))?),
                    },)*
                ],
            },)*
        ];

        impl Settings {
            /// Takes every value from the resolver, in the order of the table.
            pub(crate) fn build(resolver: &mut Resolver<'_>) -> Settings {
                Settings {
                    $($section: $Section {
                        $($key: resolver.take::<$type>(optional!($($check)?)),)*
                    },)*
                    sources: resolver.take_sources(),
                }
            }

            /// Every value as TOML, in the order of the table.
            pub(crate) fn shown(&self) -> Vec<String> {
                vec![$($(Kind::show(&self.$section.$key)),*),*]
            }
        }
    };
}

settings! {
    /// Who this server is and where it keeps its data.
    server: Server {
        /// Folder for everything that survives a restart: registry, keys,
        /// certificates, logs. `auto` picks `$STATE_DIRECTORY` (systemd), else
        /// `/var/lib/safeport` for root, else `safeport` in the user's data folder.
        data: DataPath = "auto";
        /// What people call this server; shown in greetings and pages.
        name: String = "safeport", check check_name;
        /// Language of messages to people: `auto` follows the system, `en`, `zh-CN`.
        language: Language = "auto";
    }

    /// MQTT without TLS, for devices that know none and for rescue.
    mqtt: Mqtt {
        /// Whether this listener is opened.
        enabled: bool = "true";
        /// Address and port. `0.0.0.0` is every IPv4 network of this machine,
        /// `127.0.0.1` this machine only, `[::]` IPv6 and IPv4. Port 0 takes a free one.
        bind: SocketAddr = "0.0.0.0:1883";
        /// Connections open at one time. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken from a client. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// MQTT over TLS.
    mqtts: Mqtts {
        /// Whether this listener is opened.
        enabled: bool = "true";
        /// Address and port, as in `[mqtt]`.
        bind: SocketAddr = "0.0.0.0:8883";
        /// Connections open at one time. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken from a client. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// HTTP: MQTT over WebSocket (`/mqtt`), `/metrics`, `/healthz`.
    http: Http {
        /// Whether this listener is opened.
        enabled: bool = "true";
        /// Address and port, as in `[mqtt]`.
        bind: SocketAddr = "0.0.0.0:8002";
        /// Connections open at one time, WebSockets included. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken over WebSocket. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// What one client, and all of them together, may take. Each limit has an
    /// answer on the wire; nothing is dropped unsaid.
    limits: Limits {
        /// How long a new connection may stay silent before its CONNECT.
        connect_timeout: Duration = "10s", "1s" to "60s";
        /// Longest keep alive. MQTT 5 clients that ask for more, or for none, are told
        /// this one; older clients keep theirs. 0 leaves every client its own.
        max_keep_alive: Duration = "0s", "0s" to "65535s";
        /// Longest time a session is kept after its connection has ended. MQTT 5 clients
        /// that ask for more are told this; a 3.1.1 session without clean session gets it.
        session_expiry_max: Duration = "7d", "0s" to "36500d";
        /// QoS 2 messages that one client may have open towards us; QoS 1 is acknowledged at once.
        receive_maximum: u16 = "256", "1" to "65535";
        /// Unacknowledged QoS 1 and 2 messages on the way to one client. An MQTT 5 client
        /// may ask for fewer.
        max_inflight: u16 = "64", "1" to "65535";
        /// Topic aliases that one MQTT 5 client may define. 0 switches them off.
        topic_alias_maximum: u16 = "32", "0" to "65535";
        /// Messages waiting for one client that is slow or away. When it is full, publishers of
        /// QoS 1 and 2 are held back (`patience`) or refused; QoS 0 is dropped and counted.
        max_queued_messages: u32 = "1000", "1" to "10000000";
        /// Bytes waiting for one client that is slow or away.
        max_queued_bytes: ByteSize = "16MiB", "1KiB" to "64GiB";
        /// Bytes waiting for all clients together, each message with 160 more for its place in
        /// memory. One that several clients wait for counts for each.
        max_stored_bytes: ByteSize = "128MiB", "1MiB" to "1024GiB";
        /// How long a publisher is held back (not read) while a connected subscriber's queue is
        /// full, before its message is refused. 0 refuses at once.
        patience: Duration = "10s", "0s" to "600s";
        /// Retained messages on this server.
        max_retained_messages: u32 = "100000", "0" to "100000000";
        /// Bytes of retained messages on this server.
        max_retained_bytes: ByteSize = "256MiB", "0B" to "1024GiB";
        /// Subscriptions that one session may hold.
        max_subscriptions_per_client: u32 = "1000", "1" to "1000000";
        /// Levels that a topic or filter may have: `a/b/c` has 3.
        max_topic_levels: u16 = "128", "1" to "200";
        /// Failed logins a minute from one address before it is answered without looking
        /// at the password. 0 switches this off.
        failed_logins_per_minute: u32 = "30", "0" to "100000";
    }

    /// Who is let in.
    access: Access {
        /// Let clients in without user and password, with every right. For trying things
        /// out only.
        anonymous: bool = "false";
    }

    /// The event loops that carry MQTT.
    engine: Engine {
        /// Event loops, one thread each. One carries a house; more pay off when one
        /// thread is busy all the time.
        loops: u16 = "1", "1" to "64";
    }

    /// How sessions, the messages they are owed, and retained messages are kept.
    storage: Storage {
        /// What an acknowledged message survives. `os`: the end of the process, even
        /// `kill -9`; a power cut may take the last second. `disk`: a power cut, too, at the
        /// price of waiting for the disk. `none`: nothing; for disks that must not be written.
        durability: Durability = "os";
        /// Start although the log of messages is damaged, leaving out what cannot be read.
        /// For once, if there is no backup.
        skip_damaged: bool = "false";
    }

    /// What is written to stderr.
    log: Log {
        /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or a list such as
        /// `info,safeport::engine=debug`.
        level: String = "info", check check_log_level;
        /// `text` for people, `json` for programs.
        format: LogFormat = "text";
    }
}

/// Every key, in the order of the table.
pub(crate) fn keys() -> impl Iterator<Item = &'static KeySpec> {
    SECTIONS.iter().flat_map(|section| section.keys.iter())
}

impl KeySpec {
    /// `section.name`.
    pub(crate) fn full_name(&self) -> String {
        alloc::format!("{}.{}", self.section, self.name)
    }

    /// `SAFEPORT__SECTION__NAME`.
    pub(crate) fn variable(&self) -> String {
        alloc::format!("SAFEPORT__{}__{}", self.section, self.name).to_ascii_uppercase()
    }
}
