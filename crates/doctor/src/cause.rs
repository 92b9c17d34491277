//! The words for what is wrong.

use core::fmt;

use serde::{Serialize, Serializer};

use crate::Layer;

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident $code:literal $layer:ident,)*) => {
        /// What is wrong, in one stable word: the verdict of the lab, of logs, of JSON and of the API.
        ///
        /// What each means and the way out of it, in both languages, is data: `causes.toml`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "causes.toml says what each means")]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// Every cause.
            pub const ALL: &[Cause] = &[$(Cause::$name,)*];

            /// The stable word.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Cause::$name => $code,)*
                }
            }

            /// The layer on which it lies.
            pub const fn layer(self) -> Layer {
                match self {
                    $(Cause::$name => Layer::$layer,)*
                }
            }
        }
    };
}

causes! {
    Healthy "healthy" Http,
    ChainIncomplete "chain_incomplete" Certificate,
    ChainNotTrusted "chain_not_trusted" Certificate,
    UntrustedSelfSigned "untrusted_self_signed" Certificate,
    CertificateExpired "certificate_expired" Certificate,
    NotYetValid "not_yet_valid" Certificate,
    NameMismatch "name_mismatch" Certificate,
    ChainUnsupportedCurve "chain_unsupported_curve" Certificate,
    HashUnsupported "hash_unsupported" Certificate,
    HashWeak "hash_weak" Certificate,
    ChainOrder "chain_order" Certificate,
    WrongEku "wrong_eku" Certificate,
    IssuerNotCa "issuer_not_ca" Certificate,
    KeyTooLarge "key_too_large" Certificate,
    KeyTooWeak "key_too_weak" Certificate,
    FingerprintMismatch "fingerprint_mismatch" Certificate,
    CertificateRefused "certificate_refused" Certificate,
    CertificateRevoked "certificate_revoked" Certificate,
    CertificateUnreadable "certificate_unreadable" Certificate,
    ClientCertificateRefused "client_cert_refused" Certificate,
    DeviceTrustMissing "device_trust_missing" Certificate,
    DeviceClockUnset "device_clock_unset" Clock,
    DeviceClockWrong "device_clock_wrong" Clock,
    ServerClockWrong "server_clock_wrong" Clock,
    NoCommonCipher "no_common_cipher" Tls,
    NoCommonCipherEcdsaOnly "no_common_cipher_ecdsa_only" Tls,
    NoCommonGroup "no_common_group" Tls,
    TlsVersion "tls_version" Tls,
    TlsVersionMismatch "tls_version_mismatch" Tls,
    ClientCertRequired "client_cert_required" Tls,
    SniNeeded "sni_needed" Tls,
    AlpnRefused "alpn_refused" Tls,
    TlsToPlainHttp "tls_to_plain_http" Tls,
    TlsToPlainPort "tls_to_plain_port" Tls,
    PlainToTlsPort "plain_to_tls_port" Tls,
    HttpToTls "http_to_tls" Tls,
    ModemNoTls "modem_component_no_tls_off_443" Tls,
    WrongService "wrong_service" Tcp,
    ResetOnAccept "reset_on_accept" Tcp,
    AcceptsThenSilent "accepts_then_silent" Tls,
    ClosesInHandshake "closes_in_handshake" Tls,
    DeviceCloses "device_closes" Tls,
    DeviceSilent "device_silent" Tcp,
    MtuBlackHole "mtu_black_hole" Tls,
    RecordTooLarge "record_too_large" Tls,
    HandshakeFragmented "handshake_fragmented" Tls,
    TlsBroken "tls_broken" Tls,
    TlsTimeout "tls_timeout" Tls,
    TlsFailed "tls_failed" Tls,
    NothingListens "nothing_listens" Tcp,
    NothingArrived "nothing_arrived" Tcp,
    TcpConnectFailed "tcp_connect_failed_timeout_or_port" Tcp,
    TcpTimeout "tcp_timeout_filtered" Tcp,
    TimeoutTooShort "timeout_too_short" Tcp,
    UrlWithoutPort "url_without_port" Tcp,
    UrlMalformed "url_malformed" Tcp,
    WrongScheme "wrong_scheme" Tcp,
    PortInUse "port_in_use" Tcp,
    PortNotPermitted "port_not_permitted" Tcp,
    BindAddressMissing "bind_address_missing" Tcp,
    NotReachableFromLan "not_reachable_from_lan" Tcp,
    HandedOutUnreachable "handed_out_unreachable_address" Tcp,
    HandedOutMismatch "handed_out_mismatch" Tcp,
    HostUnreachable "host_unreachable" Tcp,
    ConnectionLost "connection_lost" Tcp,
    ConnectionReset "connection_reset" Tcp,
    Ipv6Broken "ipv6_broken" Tcp,
    Nat64Literal "nat64_literal" Tcp,
    NatIdleTimeout "nat_idle_timeout" Tcp,
    SocketsExhausted "sockets_exhausted" Tcp,
    TcpFailed "tcp_failed" Tcp,
    NameNotResolved "name_not_resolved" Dns,
    SplitHorizon "split_horizon" Dns,
    DnsSilent "dns_server_silent" Dns,
    WrongAddress "wrong_address" Dns,
    DnsFailed "dns_failed" Dns,
    WifiWrongPassword "wifi_wrong_password" Wifi,
    WifiNotFound "wifi_not_found" Wifi,
    WifiSecurity "wifi_security_mismatch" Wifi,
    WifiRefused "wifi_refused" Wifi,
    WifiLost "wifi_lost" Wifi,
    WifiNoAddress "wifi_no_address" Wifi,
    MobileNoNetwork "mobile_no_network" Wifi,
    WifiFailed "wifi_failed" Wifi,
    AuthFailed "auth_failed" Mqtt,
    NotAuthorized "not_authorized" Mqtt,
    ClientIdRefused "client_id_refused" Mqtt,
    DuplicateClientId "duplicate_client_id" Mqtt,
    ProtocolVersion "protocol_version" Mqtt,
    ProtocolError "protocol_error" Mqtt,
    ServerBusy "server_busy" Mqtt,
    RateLimited "rate_limited" Mqtt,
    Banned "banned" Mqtt,
    PacketTooLarge "packet_too_large" Mqtt,
    KeepAliveTimeout "keep_alive_timeout" Mqtt,
    UdpMissing "udp_missing" Mqtt,
    NoConnack "no_connack" Mqtt,
    MqttRefused "mqtt_refused" Mqtt,
    MqttFeatureRefused "mqtt_feature_refused" Mqtt,
    MqttFailed "mqtt_failed" Mqtt,
    ProxyDropsUpgrade "proxy_drops_upgrade" Websocket,
    ServerNoHello "server_no_hello" Websocket,
    UpgradeRefused "upgrade_refused" Websocket,
    WebsocketClosed "websocket_closed" Websocket,
    WebsocketFailed "websocket_failed" Websocket,
    PathMissing "path_missing" Http,
    BackendDown "backend_down" Http,
    CaptivePortal "captive_portal" Http,
    WrongServiceOrPortal "wrong_service_or_captive_portal" Http,
    ReplyWithoutProtocol "ota_reply_without_protocol" Http,
    ReplyNotJson "reply_not_json" Http,
    HttpUnauthorized "http_unauthorized" Http,
    HttpRedirect "http_redirect" Http,
    HttpServerError "http_server_error" Http,
    HttpRefused "http_refused" Http,
    HttpTimeout "http_timeout" Http,
    HttpFailed "http_failed" Http,
    NotActivated "not_activated" Http,
    ServerFault "server_fault" Http,
    SafebootSilent "safeboot_lacks_tls_or_outdated" Ota,
    VersionMismatch "version_mismatch_main_safeboot" Ota,
    ImageNotValid "image_not_valid" Ota,
    ImageTooLarge "image_too_large" Ota,
    NoOtaPartition "no_ota_partition" Ota,
    ImageWrongChip "image_wrong_chip" Ota,
    ImageChecksum "image_checksum" Ota,
    ImageVersionRefused "image_version_refused" Ota,
    ImageNotFound "image_not_found" Ota,
    ImageLengthMissing "image_length_missing" Ota,
    ImageInterrupted "image_interrupted" Ota,
    RolledBack "rolled_back" Ota,
    OtaPassword "ota_password" Ota,
    OtaFailed "ota_failed" Ota,
    OutOfMemoryTls "out_of_memory_tls" Memory,
    LowHeap "low_heap" Memory,
    OutOfMemory "out_of_memory" Memory,
    DeviceFault "device_fault" Memory,
    Restarts "restarts" Memory,
}

impl Cause {
    /// The cause with this word.
    pub fn of_code(code: &str) -> Option<Cause> {
        Cause::ALL
            .iter()
            .copied()
            .find(|cause| cause.code() == code)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
