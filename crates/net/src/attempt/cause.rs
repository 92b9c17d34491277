//! The words for what a failed attempt means.

/// What an [`Attempt`](super::Attempt) means. Each line says the meaning, then the way out.
///
/// [`Cause::code`] is the stable word for logs, metrics, JSON and the keys of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Connected. Nothing to do.
    Healthy,
    /// The client identifier connected again, as after a short loss of Wi-Fi. Nothing to do.
    TakenOver,
    /// Connected, said nothing and closed in good order: a monitor or a port scan. Nothing to do; a
    /// device does that only if its connect timeout is too short.
    PortCheck,
    /// TLS came to a port in clear. Switch TLS off in the device, or give it the TLS port (Tasmota:
    /// `MqttPort 8883`), or set `accept = "both"`.
    TlsToPlainPort,
    /// MQTT in clear came to a TLS port. Switch TLS on in the device (Tasmota: `SetOption103 1`),
    /// or give it the port in clear (1883).
    PlainToTlsPort,
    /// HTTP in clear came to a TLS port. Write `https://` (or `wss://`) in the device's URL, or
    /// give it the port in clear.
    HttpToTls,
    /// A WebSocket was asked for in clear on a TLS port: 4G firmware with modem driver 1.9.1 to 2.x
    /// knows TLS on port 443 only. Hand out wss on port 443, update the device, or set `accept =
    /// "both"`.
    WssInClear,
    /// HTTP came to an MQTT port, or MQTT to an HTTP port. Give the device the port of the protocol
    /// it speaks.
    WrongService,
    /// The first bytes are neither MQTT nor TLS nor HTTP. Look what connects; a scanner is
    /// harmless.
    Garbage,
    /// The client gave up before it could say anything. Raise its connect timeout (ESPEasy Client
    /// Timeout 1000 ms, Tasmota `MqttWifiTimeout 1000`).
    TimeoutTooShort,
    /// The client connected and sent nothing: it waits for the server to speak first, or its bytes
    /// are lost on the way. Look at the protocol it is set to, then at the network.
    Silent,
    /// The first message began and never became whole. Look at the network between: large packets
    /// lost, weak Wi-Fi.
    HelloIncomplete,
    /// The client offers only versions older than TLS 1.2. Update it, or let it use the port in
    /// clear.
    TlsVersion,
    /// None of the client's cipher suites can be used here. Update it, or let it use the port in
    /// clear.
    NoCommonCipher,
    /// None of the client's curves can be used here. Let it offer P-256 or X25519.
    NoCommonGroup,
    /// The client can verify neither RSA nor P-256 signatures of TLS 1.2 or 1.3. Let it offer
    /// rsa_pkcs1_sha256 or ecdsa_secp256r1_sha256.
    NoCommonSignature,
    /// The client asks by ALPN for a protocol that is not spoken here. Let it ask for `mqtt` or
    /// `http/1.1`, or for none.
    NoCommonAlpn,
    /// TLS messages arrived damaged or against the rules. Look for a middlebox or bad memory;
    /// update the client.
    TlsBroken,
    /// The listener demands a client certificate and none came. Give the device one, or empty
    /// `client_ca_file`.
    ClientCertRequired,
    /// The client's certificate does not come from `client_ca_file`, or is out of date. Issue a new
    /// one.
    ClientCertRefused,
    /// The client refused our certificate without a reason. Candidates stand beside it.
    CertificateRefused,
    /// The device expects another key. Paste the fingerprint that `safeport cert fingerprint`
    /// shows.
    FingerprintMismatch,
    /// The name or address the device connects to is not in the certificate, or only as an address,
    /// which BearSSL and mbedTLS 2 do not compare. Put a name that is in the certificate into the
    /// device, or add the name.
    NameMismatch,
    /// The client does not trust the root of the chain. Give it the private CA, use the fingerprint
    /// (Tasmota: `SetOption132 1`), or get a public certificate.
    Untrusted,
    /// The certificate is signed by itself, so nothing can lead to it. Use one of a CA, or its
    /// fingerprint.
    UntrustedSelfSigned,
    /// An intermediate certificate is missing in what is sent, and devices never fetch one. Add it
    /// to the chain file.
    ChainIncomplete,
    /// The certificate is out of date. Renew it.
    CertificateExpired,
    /// The certificate is not valid yet by the clock here. Wait, or issue it again with an earlier
    /// beginning.
    NotYetValid,
    /// The client knows the certificate as revoked. Get a new one with a new key.
    CertificateRevoked,
    /// The certificate is not meant for servers (extended key usage). Get one with serverAuth.
    WrongEku,
    /// The certificate is good, but the device believes it to be earlier than its beginning: its
    /// clock is not set. Give it a time server; `[ntp] enabled = true` makes this one.
    DeviceClockUnset,
    /// The certificate is good, but the device's clock stands elsewhere. Give it a time server.
    DeviceClockWrong,
    /// A certificate in the chain is signed with SHA-384 or SHA-512, which the client does not
    /// know. Serve a chain that is signed with SHA-256.
    HashUnsupported,
    /// A certificate in the chain is signed with SHA-1 or MD5, which clients refuse. Get a new one.
    HashWeak,
    /// A key in the chain lies on a curve that the client does not know. Serve an RSA chain.
    ChainUnsupportedCurve,
    /// An RSA key in the chain is larger than 2048 bits, which small clients refuse. Serve
    /// RSA-2048.
    KeyTooLarge,
    /// The client failed inside itself, mostly for want of memory. Free some: fewer drivers,
    /// smaller buffers, no other TLS connection at the same time.
    LowHeap,
    /// The client closed in the middle of the TLS handshake. Look at its log.
    ClosesInHandshake,
    /// The client stopped answering in the middle of the TLS handshake. Look whether it restarts;
    /// look at the network.
    HandshakeTimeout,
    /// Our certificate was sent and never arrived: large packets are lost on the way. Lower the MTU
    /// or clamp the MSS to 1360 on the router.
    MtuBlackHole,
    /// The TLS handshake was done, then the client closed without a word: it looks at the
    /// certificate late, or runs out of memory. Look at its log.
    ClosesAfterHandshake,
    /// The TLS handshake was done and neither CONNECT nor request came. Look whether the device
    /// speaks the protocol of this port; look at its memory.
    SilentAfterHandshake,
    /// A TLS record was longer than the client's buffer. Set `record_size` of the listener to
    /// `auto` or 1024.
    RecordTooLarge,
    /// The connection broke after it had worked. Look at the network if it happens often.
    ConnectionLost,
    /// User name or password is wrong, or not allowed. Set them in the device as `safeport device
    /// show` tells.
    AuthFailed,
    /// The client identifier is refused: empty without a clean session, or not allowed. Set
    /// another.
    ClientIdRefused,
    /// The client speaks a version of MQTT that is neither 3.1.1 nor 5. Set it to 3.1.1.
    ProtocolVersion,
    /// The server had no room or was stopping. Try again; look at its limits.
    ServerBusy,
    /// The client is shut out. Let it in again in the registry.
    Banned,
    /// The client connects too often. Raise its retry interval.
    RateLimited,
    /// The CONNECT is larger than allowed. Shorten the will message or raise the limit.
    PacketTooLarge,
    /// The CONNECT is against the rules of MQTT. Update the client.
    ProtocolError,
    /// The CONNECT was refused for another reason, which stands beside it.
    Refused,
    /// Two clients use the same client identifier and throw each other out. Give each its own
    /// (Tasmota: `MqttClient DVES_%06X`).
    DuplicateClientId,
    /// So many handshakes were open that the most silent was closed. Look who connects so much, or
    /// raise `tls.max_handshakes`.
    PushedOut,
    /// Every place for a handshake was taken. Devices try again by themselves; raise
    /// `tls.max_handshakes` if it lasts.
    TooManyHandshakes,
    /// The address has too many handshakes open. Look what runs there; raise
    /// `tls.max_handshakes_per_address` if it is a gateway.
    TooManyFromAddress,
    /// The listener has its most connections. Raise its `max_connections`.
    TooManyConnections,
    /// The process may open no more files. Raise LimitNOFILE (`ulimit -n`).
    NoDescriptors,
    /// A xiaozhi device checked in and was answered. Nothing to do.
    Checked,
    /// A xiaozhi device checked in that nobody has taken in: it shows a code. Enter it.
    NotActivated,
    /// The check of a xiaozhi device was refused; why stands beside it.
    CheckRefused,
    /// A xiaozhi device was told no voice server, for there is none that it can reach. Set
    /// `xiaozhi.websocket_url`.
    NoVoiceServer,
    /// It connects again and again, and no connection lasts. Look at how they end.
    Flapping,
    /// It connects again and again, since it falls silent for one and a half keep alives each time.
    /// Look at its signal; shorten its keep alive.
    KeepAliveTimeout,
    /// It starts again and again. Look at its power, then at its firmware.
    Restarts,
}

impl Cause {
    /// Every cause, in the order of the documentation.
    pub const ALL: [Cause; 66] = [
        Cause::Healthy,
        Cause::TakenOver,
        Cause::PortCheck,
        Cause::TlsToPlainPort,
        Cause::PlainToTlsPort,
        Cause::HttpToTls,
        Cause::WssInClear,
        Cause::WrongService,
        Cause::Garbage,
        Cause::TimeoutTooShort,
        Cause::Silent,
        Cause::HelloIncomplete,
        Cause::TlsVersion,
        Cause::NoCommonCipher,
        Cause::NoCommonGroup,
        Cause::NoCommonSignature,
        Cause::NoCommonAlpn,
        Cause::TlsBroken,
        Cause::ClientCertRequired,
        Cause::ClientCertRefused,
        Cause::CertificateRefused,
        Cause::FingerprintMismatch,
        Cause::NameMismatch,
        Cause::Untrusted,
        Cause::UntrustedSelfSigned,
        Cause::ChainIncomplete,
        Cause::CertificateExpired,
        Cause::NotYetValid,
        Cause::CertificateRevoked,
        Cause::WrongEku,
        Cause::DeviceClockUnset,
        Cause::DeviceClockWrong,
        Cause::HashUnsupported,
        Cause::HashWeak,
        Cause::ChainUnsupportedCurve,
        Cause::KeyTooLarge,
        Cause::LowHeap,
        Cause::ClosesInHandshake,
        Cause::HandshakeTimeout,
        Cause::MtuBlackHole,
        Cause::ClosesAfterHandshake,
        Cause::SilentAfterHandshake,
        Cause::RecordTooLarge,
        Cause::ConnectionLost,
        Cause::AuthFailed,
        Cause::ClientIdRefused,
        Cause::ProtocolVersion,
        Cause::ServerBusy,
        Cause::Banned,
        Cause::RateLimited,
        Cause::PacketTooLarge,
        Cause::ProtocolError,
        Cause::Refused,
        Cause::DuplicateClientId,
        Cause::PushedOut,
        Cause::TooManyHandshakes,
        Cause::TooManyFromAddress,
        Cause::TooManyConnections,
        Cause::NoDescriptors,
        Cause::Checked,
        Cause::NotActivated,
        Cause::CheckRefused,
        Cause::NoVoiceServer,
        Cause::Flapping,
        Cause::KeepAliveTimeout,
        Cause::Restarts,
    ];

    /// The stable word, such as `name_mismatch`.
    pub fn code(self) -> &'static str {
        match self {
            Cause::Healthy => "healthy",
            Cause::TakenOver => "taken_over",
            Cause::PortCheck => "port_check",
            Cause::TlsToPlainPort => "tls_to_plain_port",
            Cause::PlainToTlsPort => "plain_to_tls_port",
            Cause::HttpToTls => "http_to_tls",
            Cause::WssInClear => "wss_in_clear",
            Cause::WrongService => "wrong_service",
            Cause::Garbage => "garbage",
            Cause::TimeoutTooShort => "timeout_too_short",
            Cause::Silent => "silent",
            Cause::HelloIncomplete => "hello_incomplete",
            Cause::TlsVersion => "tls_version",
            Cause::NoCommonCipher => "no_common_cipher",
            Cause::NoCommonGroup => "no_common_group",
            Cause::NoCommonSignature => "no_common_signature",
            Cause::NoCommonAlpn => "no_common_alpn",
            Cause::TlsBroken => "tls_broken",
            Cause::ClientCertRequired => "client_cert_required",
            Cause::ClientCertRefused => "client_cert_refused",
            Cause::CertificateRefused => "certificate_refused",
            Cause::FingerprintMismatch => "fingerprint_mismatch",
            Cause::NameMismatch => "name_mismatch",
            Cause::Untrusted => "untrusted",
            Cause::UntrustedSelfSigned => "untrusted_self_signed",
            Cause::ChainIncomplete => "chain_incomplete",
            Cause::CertificateExpired => "certificate_expired",
            Cause::NotYetValid => "not_yet_valid",
            Cause::CertificateRevoked => "certificate_revoked",
            Cause::WrongEku => "wrong_eku",
            Cause::DeviceClockUnset => "device_clock_unset",
            Cause::DeviceClockWrong => "device_clock_wrong",
            Cause::HashUnsupported => "hash_unsupported",
            Cause::HashWeak => "hash_weak",
            Cause::ChainUnsupportedCurve => "chain_unsupported_curve",
            Cause::KeyTooLarge => "key_too_large",
            Cause::LowHeap => "low_heap",
            Cause::ClosesInHandshake => "closes_in_handshake",
            Cause::HandshakeTimeout => "handshake_timeout",
            Cause::MtuBlackHole => "mtu_black_hole",
            Cause::ClosesAfterHandshake => "closes_after_handshake",
            Cause::SilentAfterHandshake => "silent_after_handshake",
            Cause::RecordTooLarge => "record_too_large",
            Cause::ConnectionLost => "connection_lost",
            Cause::AuthFailed => "auth_failed",
            Cause::ClientIdRefused => "client_id_refused",
            Cause::ProtocolVersion => "protocol_version",
            Cause::ServerBusy => "server_busy",
            Cause::Banned => "banned",
            Cause::RateLimited => "rate_limited",
            Cause::PacketTooLarge => "packet_too_large",
            Cause::ProtocolError => "protocol_error",
            Cause::Refused => "refused",
            Cause::DuplicateClientId => "duplicate_client_id",
            Cause::PushedOut => "pushed_out",
            Cause::TooManyHandshakes => "too_many_handshakes",
            Cause::TooManyFromAddress => "too_many_from_address",
            Cause::TooManyConnections => "too_many_connections",
            Cause::NoDescriptors => "no_descriptors",
            Cause::Checked => "checked",
            Cause::NotActivated => "not_activated",
            Cause::CheckRefused => "check_refused",
            Cause::NoVoiceServer => "no_voice_server",
            Cause::Flapping => "flapping",
            Cause::KeepAliveTimeout => "keep_alive_timeout",
            Cause::Restarts => "restarts",
        }
    }

    /// Whether something is wrong. What is not, needs no line in a log.
    pub fn is_failure(self) -> bool {
        !matches!(
            self,
            Cause::Healthy | Cause::TakenOver | Cause::PortCheck | Cause::Checked
        )
    }

    /// Whether it is about several connections, each of which may have gone well.
    pub fn is_unrest(self) -> bool {
        matches!(
            self,
            Cause::Flapping | Cause::KeepAliveTimeout | Cause::Restarts
        )
    }
}
