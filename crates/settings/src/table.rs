//! The one table of all keys. Types, docs, defaults, limits, policies, the example
//! file and `config show` are made from it.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::kind::{
    check_acme_keys, check_contact, check_directory, check_eab_key, check_log_level, check_name,
    check_secret, check_timezone, check_websocket_url,
};
use crate::ladder::Resolved;
use crate::spec::{KeySpec, SectionSpec, judge, read_back};
use crate::{
    Accept, AcmeKey, AdvertisedHost, AgentChoice, Binds, ByteSize, CertificateChoice, Challenge,
    DataPath, DnsName, Durability, FilePath, Language, LogFormat, Network, OnConflict, Pin, Policy,
    Problem, RecordSize, SafebootPolicy, Secret, Tag, UtcOffset, XiaozhiActivation,
    XiaozhiTransport,
};

/// `Some` of what was given, `None` of nothing.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// One word of a policy, set in `$policy`.
macro_rules! policy {
    ($($word:ident)*) => {{
        #[allow(unused_mut, reason = "most keys have a plain policy")]
        let mut policy = Policy::PLAIN;
        $(policy!(@ policy $word);)*
        policy
    }};
    (@ $policy:ident restart) => {
        $policy.live = false
    };
    (@ $policy:ident $word:ident) => {
        $policy.$word = true
    };
}

// Behind the macros that it uses.
mod entries;

pub use entries::{Agent, Provider, Proxy};

/// Makes the section types, [`Settings`] and [`SECTIONS`] from one listing.
/// Behind `is` stand the words of the key's [`Policy`].
macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:literal
                    $(, $least:literal to $most:literal)?
                    $(, check $check:path)?
                    $(, is $($word:ident)+)?;
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

        /// All settings of a server, each with where it came from.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $(
                $(#[doc = $section_doc])*
                pub $section: $Section,
            )*
            /// What stands between devices and this server, in the order of
            /// their names.
            pub proxy: Vec<Proxy>,
            /// Who hears, answers and speaks, in the order of their names.
            pub provider: Vec<Provider>,
            /// What devices can talk with, in the order of their names.
            pub agent: Vec<Agent>,
            /// Where this server listens and what the settings tell devices.
            pub plan: crate::PortPlan,
            /// What to know about the settings that is no mistake.
            pub notes: Vec<Problem>,
            /// Every key with its value and what was said about it, in the order
            /// of the table.
            pub(crate) resolved: Vec<Resolved>,
        }

        /// Every section, in the order of the example file.
        pub(crate) const SECTIONS: &[SectionSpec] = &[
            $(SectionSpec {
                name: stringify!($section),
                doc: &[$($section_doc),*],
                named: false,
                example: "",
                keys: &[
                    $(KeySpec {
                        section: stringify!($section),
                        name: stringify!($key),
                        doc: &[$($doc),*],
                        default: Some($default),
                        example: None,
                        range: optional!($(($least, $most))?),
                        policy: policy!($($($word)+)?),
                        judge: |spec, raw, lasting| {
                            judge::<$type>(spec, raw, lasting, optional!($($check)?))
                        },
                    },)*
                ],
            },)*
            entries::PROXY,
            entries::PROVIDER,
            entries::AGENT,
        ];

        impl Settings {
            /// Reads every value, in the order of the table.
            pub(crate) fn build(resolved: Vec<Resolved>) -> Settings {
                let mut values = resolved.iter();
                let mut next = || values.next().map_or("", |resolved| &resolved.value);
                Settings {
                    $($section: $Section {
                        $($key: read_back::<$type>(next()),)*
                    },)*
                    proxy: Proxy::read(&resolved),
                    provider: Provider::read(&resolved),
                    agent: Agent::read(&resolved),
                    plan: crate::PortPlan::default(),
                    notes: Vec::new(),
                    resolved,
                }
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
        data: DataPath = "auto", is local restart;
        /// What people call this server; shown in greetings and pages.
        name: String = "safeport", check check_name;
        /// Language of messages to people: `auto` follows the system, `en`, `zh-CN`.
        language: Language = "auto";
    }

    /// MQTT without TLS, for devices that know none and for rescue.
    mqtt: Mqtt {
        /// Whether this listener is opened.
        enabled: bool = "true", is local;
        /// Address and port, or a list of up to 8. `[::]` is every IPv6 and IPv4 network of
        /// this machine, `0.0.0.0` every IPv4 network, `127.0.0.1` this machine only. A name
        /// is resolved first.
        bind: Binds = "[::]:1883", is local;
        /// What happens when another program holds the port: `fail` starts nothing, a range
        /// such as `18883-18892` takes the first free one of these.
        on_conflict: OnConflict = "fail", is local;
        /// `own`: MQTT without TLS only. `both`: MQTT over TLS on the same port, too, with the
        /// certificates and sizes that `[mqtts]` has by default.
        accept: Accept = "own";
        /// Connections open at one time. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken from a client. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// MQTT over TLS.
    mqtts: Mqtts {
        /// Whether this listener is opened.
        enabled: bool = "true", is local;
        /// Address and port, as in `[mqtt]`.
        bind: Binds = "[::]:8883", is local;
        /// What happens when another program holds the port, as in `[mqtt]`.
        on_conflict: OnConflict = "fail", is local;
        /// `own`: MQTT over TLS only. `both`: MQTT without TLS on the same port, too.
        accept: Accept = "own";
        /// Which certificate is presented: `private` that of this server's own authority,
        /// `files` those of `tls.chain_files`, `acme` those of `[acme]`. `auto` picks for every
        /// connection, by the name that the client asks for and by what it can verify.
        certificate: CertificateChoice = "auto";
        /// Most that one TLS record carries. Devices with little memory can take no long ones:
        /// `auto` sends 1 KiB, and 16 KiB to clients that certainly have room. A client that
        /// asks for less gets less.
        record_size: RecordSize = "auto", "512B" to "16KiB";
        /// File with certificates (PEM): when set, a client must show a certificate that was
        /// issued by one of these.
        client_ca_file: String = "", is local;
        /// Connections open at one time. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken from a client. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// HTTP: MQTT over WebSocket (`/mqtt`), `/metrics`, `/healthz`.
    http: Http {
        /// Whether this listener is opened.
        enabled: bool = "true", is local lockout;
        /// Address and port, as in `[mqtt]`.
        bind: Binds = "[::]:8002", is local lockout;
        /// What happens when another program holds the port, as in `[mqtt]`.
        on_conflict: OnConflict = "fail", is local;
        /// Serve the same on port 80, too, where it is free and may be opened.
        standard_ports: bool = "false", is local;
        /// When set, `/metrics` wants `Authorization: Bearer` and this. 16 to 128 printable
        /// characters of ASCII; empty for none.
        metrics_token: Secret = "", check check_secret, is secret;
        /// `own`: HTTP without TLS only. `both`: HTTPS on the same port, too, with the
        /// certificates and sizes that `[https]` has by default.
        accept: Accept = "own", is lockout;
        /// Connections open at one time, WebSockets included. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken over WebSocket. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// HTTPS: what `[http]` has, over TLS.
    https: Https {
        /// Whether this listener is opened.
        enabled: bool = "true", is local lockout;
        /// Address and port, as in `[mqtt]`.
        bind: Binds = "[::]:8443", is local lockout;
        /// What happens when another program holds the port, as in `[mqtt]`.
        on_conflict: OnConflict = "fail", is local;
        /// Serve the same on port 443, too, where it is free and may be opened.
        standard_ports: bool = "false", is local;
        /// `own`: HTTPS only. `both`: HTTP without TLS on the same port, too.
        accept: Accept = "own", is lockout;
        /// Which certificate is presented: `private` that of this server's own authority,
        /// `files` those of `tls.chain_files`, `acme` those of `[acme]`. `auto` picks for every
        /// connection, by the name that the client asks for and by what it can verify.
        certificate: CertificateChoice = "auto", is lockout;
        /// Most that one TLS record carries. Devices with little memory can take no long ones:
        /// `auto` sends 1 KiB, and 16 KiB to clients that certainly have room. A client that
        /// asks for less gets less.
        record_size: RecordSize = "auto", "512B" to "16KiB";
        /// File with certificates (PEM): when set, a client must show a certificate that was
        /// issued by one of these.
        client_ca_file: String = "", is local lockout;
        /// Connections open at one time, WebSockets included. One more is closed at once.
        max_connections: u32 = "10000", "1" to "1000000";
        /// Longest MQTT packet taken over WebSocket. A longer one ends the connection.
        max_packet: ByteSize = "1MiB", "1KiB" to "256MiB";
    }

    /// Certificates from files, and how many TLS handshakes may be under way.
    tls: Tls {
        /// Files with certificates (PEM), each the server's own first and those that vouch for it
        /// behind, as a certificate authority hands them out (`fullchain.pem`). They are read
        /// again when they change.
        chain_files: Vec<FilePath> = "", is local;
        /// Files with the private keys (PEM) of `chain_files`, in the same order.
        key_files: Vec<FilePath> = "", is local;
        /// File with root certificates (PEM) at which `chain_files` may end, beside the public
        /// ones: those of an authority of your own.
        ca_file: String = "", is local;
        /// How long a TLS handshake may take.
        handshake_timeout: Duration = "10s", "2s" to "60s";
        /// Handshakes under way at one time, on all listeners together. One more pushes out the
        /// one that has been silent longest, or is closed.
        max_handshakes: u32 = "2000", "16" to "100000";
        /// Handshakes under way at one time from one address. One more is closed at once.
        max_handshakes_per_address: u32 = "500", "1" to "100000";
    }

    /// Certificates from an authority that hands them out by ACME, such as Let's Encrypt: asked
    /// for, and renewed in time, for the keys that this server has anyway, so that a
    /// fingerprint which a device was given stays true.
    acme: Acme {
        /// Names to ask certificates for, such as `["hub.example.com"]`; `*.example.com` takes
        /// `challenge = "dns-01"`. Empty switches this off.
        names: Vec<DnsName> = "";
        /// Address of the authority's directory. `https://` only, but for one on this machine.
        directory: String = "https://acme-v02.api.letsencrypt.org/directory",
            check check_directory;
        /// Mail address that the authority may write to; may be empty.
        contact: String = "", check check_contact;
        /// You have read and accept the authority's terms of service. Without that it gives
        /// nothing.
        accept_terms: bool = "false";
        /// How the authority sees that the names are yours: `http-01` fetches a file from port
        /// 80, `tls-alpn-01` looks at port 443, `dns-01` at a record in DNS that `dns_hook` sets.
        /// The ports are those at which the internet reaches this server.
        challenge: Challenge = "http-01";
        /// Program that sets and removes the record of `dns-01`.
        dns_hook: String = "", is local;
        /// For which keys certificates are asked for: `rsa`, which every device can verify, `p256`.
        keys: Vec<AcmeKey> = "rsa", check check_acme_keys;
        /// File with certificates (PEM) to trust for `directory`, beside the system's: for an
        /// authority at home.
        ca_file: String = "", is local;
        /// Name of the key with which the authority knows you already (external account
        /// binding); empty where it wants none.
        eab_key_id: String = "";
        /// That key, in base64url as the authority gave it.
        eab_key: Secret = "", check check_eab_key, is secret;
    }

    /// The time for devices (SNTP), as this machine's clock has it: TLS needs a clock, and not
    /// every house lets its devices ask the internet.
    ntp: Ntp {
        /// Whether the time is told.
        enabled: bool = "false", is local;
        /// Address and UDP port, as in `[mqtt]`. Devices ask at port 123 only, and that takes
        /// root or CAP_NET_BIND_SERVICE.
        bind: Binds = "[::]:123", is local;
    }

    /// The sound of xiaozhi devices that talk over MQTT: it comes and goes in UDP datagrams beside
    /// it. Devices that talk over WebSocket take nothing of this.
    voice: Voice {
        /// Whether devices can talk over MQTT. Without it they are told so when they begin.
        enabled: bool = "true", is local;
        /// Address and UDP port, as in `[mqtt]`. Devices are told the host at which MQTT reaches
        /// them and this port; firewall and router must let it through (UDP).
        bind: Binds = "[::]:8884", is local;
        /// What happens when another program holds the port, as in `[mqtt]`. By default another
        /// port is taken: devices are told it whenever they begin to talk.
        on_conflict: OnConflict = "8885-8999", is local;
    }

    /// xiaozhi voice devices: what they are told at `/xiaozhi/ota/`, where each of them asks at
    /// every start. By which way they connect is `advertise.xiaozhi`.
    xiaozhi: Xiaozhi {
        /// Whether they are answered.
        enabled: bool = "true";
        /// Address of the voice server that devices are told, such as
        /// `ws://192.168.1.20:8000/xiaozhi/v1/`. It is told while it opens a WebSocket. Empty for
        /// none.
        websocket_url: String = "", check check_websocket_url;
        /// Key of the tokens by which devices show themselves to the voice server: the same as
        /// there (`server.auth_key`). Empty for one of this server's own.
        auth_key: Secret = "", check check_secret, is secret;
        /// Key of the passwords by which devices log in over MQTT: the same as a gateway's
        /// (`MQTT_SIGNATURE_KEY`) that they come from. Empty for one of this server's own.
        mqtt_key: Secret = "", check check_secret, is secret;
        /// What becomes of a device that nobody knows: `code` has it show six digits, and
        /// `device activate` takes it in; `open` takes it in at once. Open is for trying things
        /// out: whoever reaches this server gets a login.
        activation: XiaozhiActivation = "code";
        /// How far the clocks of devices are ahead of UTC, as in `+08:00`: they show what they are
        /// told here. `auto` takes `timezone`, or else this machine's.
        utc_offset: UtcOffset = "auto";
        /// Time zone of the devices, such as `Asia/Shanghai`, with its summer time. Empty for
        /// this machine's.
        timezone: String = "", check check_timezone;
        /// The agent that devices talk with: the name of an `[agent.NAME]`, or `echo`, which says
        /// back what it heard. `auto` takes the only agent there is, or of several the one named
        /// `default`, and else the echo.
        agent: AgentChoice = "auto", is told;
    }

    /// Devices that are known: enrolled ones, and those that were only seen.
    devices: Devices {
        /// Devices that are remembered though they are only seen; of more, the one longest
        /// unseen is forgotten.
        max_seen: u32 = "200000", "100" to "2000000";
        /// Time after which a device that was only seen is forgotten. An enrolled one never is.
        forget_unseen: Duration = "30d", "1h" to "36500d";
    }

    /// Firmware of devices: images that are kept, and how they are handed out.
    firmware: Firmware {
        /// Longest image that is taken. A factory file of a whole flash is as long as that flash.
        max_image: ByteSize = "32MiB", "64KiB" to "256MiB";
        /// Bytes a second that all downloads together may take. 0 sets no ceiling.
        bandwidth: ByteSize = "0B", "0B" to "10GiB";
        /// Bytes a second that each download has at least where `bandwidth` sets a ceiling: no
        /// more run at once than can have it.
        device_floor: ByteSize = "16KiB", "1KiB" to "10MiB";
        /// Downloads at once; one more waits a moment and is then asked to come again.
        max_downloads: u32 = "10000", "1" to "1000000";
        /// How long a download address that was made for one offer stays good.
        token_lifetime: Duration = "7d", "1h" to "365d";
        /// What becomes of a Tasmota's safeboot, its second image, when its main one is offered:
        /// `ensure` brings it up to the same version first, `off` leaves it alone, `auto` ensures
        /// it for devices that come over TLS, which an old safeboot cannot always do.
        safeboot: SafebootPolicy = "auto";
        /// Whether the settings of a device are backed up before anything is changed on it.
        backup_before: bool = "true";
        /// How long a device has to stay connected and without a crash after an upgrade, before
        /// it counts as done.
        soak: Duration = "10m", "2s" to "1d";
        /// How long a device that was told something is waited for until it is told again. All
        /// other waits of an upgrade are multiples of it: see the states of an offer.
        patience: Duration = "1m", "5s" to "10m";
        /// Backups that are kept of one device; the oldest go first.
        keep_backups: u16 = "10", "1" to "1000";
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
        anonymous: bool = "false", is local;
    }

    /// The event loops that carry MQTT.
    engine: Engine {
        /// Event loops, one thread each. One carries a house; more pay off when one
        /// thread is busy all the time.
        loops: u16 = "1", "1" to "63", is local restart;
    }

    /// How sessions, the messages they are owed, and retained messages are kept.
    storage: Storage {
        /// What an acknowledged message survives. `os`: the end of the process, even
        /// `kill -9`; a power cut may take the last second. `disk`: a power cut, too, at the
        /// price of waiting for the disk. `none`: nothing; for disks that must not be written.
        durability: Durability = "os", is local agree restart;
        /// Start although the log of messages is damaged, leaving out what cannot be read.
        /// For once, if there is no backup.
        skip_damaged: bool = "false", is local restart;
    }

    /// What is written to stderr.
    log: Log {
        /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or a list such as
        /// `info,safeport::engine=debug`.
        level: String = "info", check check_log_level;
        /// `text` for people, `json` for programs.
        format: LogFormat = "text", is local restart;
    }

    /// What devices are told about how to get here.
    advertise: Advertise {
        /// Host that devices are told: a name or an IP address that they can reach. `auto`
        /// takes the best address of this machine.
        host: AdvertisedHost = "auto", is derived told;
        /// Tell devices the address of the TLS listener, where they can do TLS.
        tls: bool = "false", is told;
        /// How xiaozhi devices connect: `websocket`, `mqtt`, or `mqtts`, which their firmware
        /// does on port 8883 only. `auto` takes what this server offers.
        xiaozhi: XiaozhiTransport = "auto", is told;
        /// Networks of which no address is told to anyone, for example `["10.8.0.0/16"]`.
        avoid: Vec<Network> = "", is append;
        /// How often an advertised address is proved anew.
        verify_every: Duration = "5m", "10s" to "24h";
        /// File with certificates (PEM) that are trusted when advertised addresses are proved,
        /// beside this server's own and the system's: those of a reverse proxy with an authority
        /// of its own.
        ca_file: String = "", is local;
    }

    /// Tags that devices carry.
    tags: Tags {
        /// Where two tags of a device say different things, the later of this list wins.
        order: Vec<Tag> = "";
    }

    /// How settings themselves are changed.
    config: Config {
        /// Keys that only files, the environment and flags may set, for example
        /// `["limits.max_inflight", "advertise.*"]`. Values set while the server runs lose.
        pin: Vec<Pin> = "", is append local;
        /// How long a change that could cut off who made it waits for a word that it did
        /// not, before it is taken back.
        confirm: Duration = "60s", "10s" to "10m", is local;
    }
}

/// Every key of the sections without named entries, in the order of the table.
pub(crate) fn keys() -> impl Iterator<Item = &'static KeySpec> {
    SECTIONS
        .iter()
        .filter(|section| !section.named)
        .flat_map(|section| section.keys.iter())
}

/// Every key there is, those of named entries once.
pub(crate) fn all_keys() -> impl Iterator<Item = &'static KeySpec> {
    SECTIONS.iter().flat_map(|section| section.keys.iter())
}
