//! The profiles.

use core::time::Duration;

use super::{ClockRule, Keys, NameRule, Order, Patience, Profile, Sni, Stack, Trust};
use crate::tls::{Curve, Hash};

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// ECDHE-RSA-AES128-GCM-SHA256, the one suite of these devices.
const ONE_SUITE: &[u16] = &[0xc02f];
const P256: &[u16] = &[0x0017];
const RSA_SHA256: &[u16] = &[0x0401];

/// mbedTLS 3.6.5 built as ESP-IDF 5 leaves it: no DHE, no ChaCha20. Captured; 0x00ff is a signal.
const IDF5_SUITES: &[u16] = &[
    0xc02c, 0xc030, 0xc0ad, 0xc024, 0xc028, 0xc00a, 0xc014, 0xc0af, 0xc02b, 0xc02f, 0xc0ac, 0xc023,
    0xc027, 0xc009, 0xc013, 0xc0ae, 0x009d, 0xc09d, 0x003d, 0x0035, 0xc032, 0xc02a, 0xc00f, 0xc02e,
    0xc026, 0xc005, 0xc0a1, 0x009c, 0xc09c, 0x003c, 0x002f, 0xc031, 0xc029, 0xc00e, 0xc02d, 0xc025,
    0xc004, 0xc0a0, 0x00ff,
];
const IDF5_GROUPS: &[u16] = &[
    0x001d, 0x0017, 0x0018, 0x001e, 0x0019, 0x001a, 0x001b, 0x001c,
];
const IDF5_SIGNATURES: &[u16] = &[0x0603, 0x0601, 0x0503, 0x0501, 0x0403, 0x0401];

/// What mbedTLS 4 has left of the list above: no static RSA, no static ECDH; in front of it the suites
/// of TLS 1.3 in the order of the captured 3.6.5, without ChaCha20.
const IDF6_SUITES: &[u16] = &[
    0x1302, 0x1301, 0x1304, 0x1305, 0xc02c, 0xc030, 0xc0ad, 0xc024, 0xc028, 0xc00a, 0xc014, 0xc0af,
    0xc02b, 0xc02f, 0xc0ac, 0xc023, 0xc027, 0xc009, 0xc013, 0xc0ae, 0x00ff,
];
/// With PSS, which TLS 1.3 needs; order of the captured 3.6.5.
const IDF6_SIGNATURES: &[u16] = &[
    0x0403, 0x0503, 0x0603, 0x0806, 0x0805, 0x0804, 0x0601, 0x0501, 0x0401,
];

/// A module offers what it can and tells nobody; this is what all of them have in common with servers.
const MODEM_SUITES: &[u16] = &[
    0xc02c, 0xc030, 0xc02b, 0xc02f, 0xc024, 0xc028, 0xc023, 0xc027, 0xc00a, 0xc014, 0xc009, 0xc013,
    0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f, 0x000a, 0x00ff,
];
const MODEM_SIGNATURES: &[u16] = &[
    0x0603, 0x0601, 0x0503, 0x0501, 0x0403, 0x0401, 0x0203, 0x0201,
];

const SHA256: &[Hash] = &[Hash::Sha256];
const SHA2: &[Hash] = &[Hash::Sha256, Hash::Sha384, Hash::Sha512];
const ANY_HASH: &[Hash] = &[Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
const NIST: &[Curve] = &[Curve::P256, Curve::P384, Curve::P521];

const TASMOTA_ROOTS: Trust = Trust::Roots(&["ISRG Root X1", "Amazon Root CA 1"]);

/// Library limit 10 s for the handshake, MqttTimeout 4 s for CONNACK.
const TASMOTA_PATIENCE: Patience = Patience {
    dns: Duration::from_secs(5),
    connect: Duration::from_millis(1000),
    handshake: Duration::from_secs(10),
    answer: Duration::from_secs(4),
    hello: Duration::from_secs(10),
};

/// esp-tls and esp-mqtt: 10 s each.
const IDF_PATIENCE: Patience = Patience {
    dns: Duration::from_secs(5),
    connect: Duration::from_secs(10),
    handshake: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    hello: Duration::from_secs(10),
};

/// Tasmota on an ESP8266 with TLS built in (published images have none).
///
/// `lib/lib_ssl/tls_mini/src/WiFiClientSecureLightBearSSL.cpp`: TLS 1.2, one suite, SHA-256, buffers
/// of 1024 bytes and BearSSL's own 325 besides, the later of clock and settings for dates, no name but
/// MqttHost. `docs/TLS.md`: keys of 2048 bits unless built with `-DUSE_4K_RSA`; ISRG Root X1 since
/// 13.4.1.2. The ClientHello is as captured. An application record of up to 1320 bytes was seen to
/// pass, one byte more was not.
const TASMOTA_ESP8266: Profile = Profile {
    name: "tasmota-esp8266",
    aliases: &["tasmota8266", "sonoff"],
    family: "tasmota",
    says: "Tasmota on an ESP8266 with TLS built in",
    says_zh: "编译了 TLS 的 ESP8266 版 Tasmota",
    stack: Stack::BearSsl,
    versions: &[TLS12],
    suites: ONE_SUITE,
    groups: P256,
    signatures: RSA_SHA256,
    sni: Sni::Always,
    alpn: &[],
    max_fragment: Some(1024),
    record_in: 1320,
    joins_handshake: true,
    trust: TASMOTA_ROOTS,
    pins: true,
    names: NameRule::Dns,
    keys: Keys {
        rsa_least: 1024,
        rsa_server: 2048,
        rsa_authority: 2048,
        curves: &[],
    },
    hashes: SHA256,
    order: Order::AsSent,
    usage: false,
    clock: ClockRule::NotBefore,
    patience: TASMOTA_PATIENCE,
};

/// Tasmota on an ESP32, as published: the same library with buffers of 2048 bytes and keys of up to
/// 4096 bits (arendst/Tasmota#10582). Records of up to 2344 bytes were seen to pass.
const TASMOTA_ESP32: Profile = Profile {
    name: "tasmota-esp32",
    aliases: &["tasmota", "tasmota32"],
    says: "Tasmota on an ESP32",
    says_zh: "ESP32 版 Tasmota",
    max_fragment: Some(2048),
    record_in: 2344,
    keys: Keys {
        rsa_least: 1024,
        rsa_server: 4096,
        rsa_authority: 4096,
        curves: &[],
    },
    ..TASMOTA_ESP8266
};

/// Tasmota 15.1 and later with SetOption165 1: ECDSA on P-256 besides RSA (arendst/Tasmota#24000). It
/// sets that option by itself after error 296.
const TASMOTA_ECDSA: Profile = Profile {
    name: "tasmota-ecdsa",
    aliases: &["tasmota-165"],
    says: "Tasmota 15.1 or later with SetOption165 1",
    says_zh: "开启 SetOption165 1 的 Tasmota 15.1 及以上版本",
    suites: &[0xc02b, 0xc02f],
    signatures: &[0x0403, 0x0401],
    trust: Trust::Roots(&["ISRG Root X1", "Amazon Root CA 1", "Amazon Root CA 3"]),
    keys: Keys {
        rsa_least: 1024,
        rsa_server: 4096,
        rsa_authority: 4096,
        curves: &[Curve::P256],
    },
    ..TASMOTA_ESP32
};

/// ESPEasy on an ESP32 with "TLS CA Cert" (letscontrolit/ESPEasy f9a2fd4): the library of Tasmota.
///
/// No name is sent or compared when the broker is given by address. The client timeout of the
/// controller is 100 ms unless set (10 to 4000), and the main loop stops a handshake after 5 s. Its
/// own CA file is not read; fingerprints are stored and not compared.
const ESPEASY: Profile = Profile {
    name: "espeasy",
    aliases: &["esp-easy"],
    family: "espeasy",
    says: "ESPEasy on an ESP32 with the choice \"TLS CA Cert\"",
    says_zh: "ESP32 版 ESPEasy（选择“TLS CA Cert”）",
    sni: Sni::Names,
    trust: Trust::Roots(&[
        "ISRG Root X1",
        "Amazon Root CA 1",
        "GTS Root R1",
        "GlobalSign Root CA",
        "GlobalSign",
    ]),
    pins: false,
    patience: Patience {
        dns: Duration::from_secs(5),
        connect: Duration::from_millis(100),
        handshake: Duration::from_secs(5),
        answer: Duration::from_millis(1000),
        hello: Duration::from_secs(10),
    },
    ..TASMOTA_ESP32
};

/// A program on ESP-IDF 5 (mbedTLS 3) that verifies with `esp_crt_bundle`.
///
/// ClientHello as captured from 3.6.5 built with IDF's choices. Dates are looked at only with
/// `MBEDTLS_HAVE_TIME_DATE`, which is off by default. Addresses in certificates are compared since
/// mbedTLS 3.5 (IDF 5.2). Handshake messages in several records are joined only by mbedTLS 3.6.3 and
/// later, which the latest patch releases carry.
const IDF_5: Profile = Profile {
    name: "idf-5-bundle",
    aliases: &[
        "idf-5",
        "idf5",
        "idf",
        "esp-idf",
        "esp-idf-5",
        "arduino-esp32",
    ],
    family: "idf",
    says: "a program on ESP-IDF 5 with the certificate bundle",
    says_zh: "用 ESP-IDF 5 和自带证书包的程序",
    stack: Stack::MbedTls,
    versions: &[TLS12],
    suites: IDF5_SUITES,
    groups: IDF5_GROUPS,
    signatures: IDF5_SIGNATURES,
    sni: Sni::Always,
    alpn: &[],
    max_fragment: None,
    record_in: 16_384,
    joins_handshake: false,
    trust: Trust::Bundle,
    pins: false,
    names: NameRule::DnsAndAddress,
    keys: Keys {
        rsa_least: 2048,
        rsa_server: 4096,
        rsa_authority: 4096,
        curves: NIST,
    },
    hashes: SHA2,
    order: Order::Searched,
    usage: true,
    clock: ClockRule::IfBuilt,
    patience: IDF_PATIENCE,
};

/// A program on ESP-IDF 6 (mbedTLS 4): TLS 1.3 besides 1.2, and a certificate outside its dates fails
/// (`components/mbedtls/esp_crt_bundle/esp_crt_bundle.c`). The ClientHello is put together from the
/// captured 3.6.5 with TLS 1.3 and what mbedTLS 4 took away; it was not captured from a device.
const IDF_6: Profile = Profile {
    name: "idf-6",
    aliases: &["idf6", "esp-idf-6"],
    says: "a program on ESP-IDF 6 with the certificate bundle",
    says_zh: "用 ESP-IDF 6 和自带证书包的程序",
    stack: Stack::MbedTls13,
    versions: &[TLS13, TLS12],
    suites: IDF6_SUITES,
    signatures: IDF6_SIGNATURES,
    joins_handshake: true,
    clock: ClockRule::Clock,
    ..IDF_5
};

/// ESPHome on ESP-IDF: `certificate_authority` of the owner, else the bundle. Connect 60 s, DNS 20 s.
const ESPHOME: Profile = Profile {
    name: "esphome",
    aliases: &["esp-home"],
    family: "esphome",
    says: "ESPHome on an ESP32",
    says_zh: "ESP32 版 ESPHome",
    patience: Patience {
        dns: Duration::from_secs(20),
        connect: Duration::from_secs(60),
        handshake: Duration::from_secs(60),
        answer: Duration::from_secs(10),
        hello: Duration::from_secs(10),
    },
    ..IDF_5
};

/// xiaozhi on Wi-Fi or NT26 (78/xiaozhi-esp32, 78/esp-ml307 `src/esp/esp_ssl.cc`): the bundle and
/// nothing else; the clock is set from the answer of the update address. WebSocket, hello and MQTT
/// 10 s, HTTP 30 s.
const XIAOZHI: Profile = Profile {
    name: "xiaozhi",
    aliases: &["xiaozhi-wifi", "nt26"],
    family: "xiaozhi",
    says: "a xiaozhi voice box on Wi-Fi",
    says_zh: "走 Wi-Fi 的小智",
    ..IDF_5
};

/// xiaozhi behind an ML307 (78/esp-ml307 `src/ml307/`): `AT+MSSLCFG="auth",0,0` verifies nothing, and
/// no server name is set. The module's TLS is its own; what it offers was not captured.
const ML307: Profile = Profile {
    name: "ml307",
    aliases: &["xiaozhi-ml307", "xiaozhi-4g", "ml307r"],
    family: "xiaozhi",
    says: "a xiaozhi voice box behind an ML307 module",
    says_zh: "用 ML307 模组的小智",
    stack: Stack::Modem,
    versions: &[TLS12],
    suites: MODEM_SUITES,
    groups: &[0x0017, 0x0018, 0x0019],
    signatures: MODEM_SIGNATURES,
    sni: Sni::Never,
    joins_handshake: false,
    trust: Trust::Anyone,
    names: NameRule::Nothing,
    keys: Keys {
        rsa_least: 512,
        rsa_server: 4096,
        rsa_authority: 4096,
        curves: NIST,
    },
    hashes: ANY_HASH,
    usage: false,
    clock: ClockRule::Ignored,
    ..IDF_5
};

/// xiaozhi behind an EC801E (78/esp-ml307 `src/ec801e/ec801e_ssl.cc`): all versions
/// (`sslversion` 4), all suites (0xFFFF), `seclevel` 0 verifies nothing, no server name.
const EC801E: Profile = Profile {
    name: "ec801e",
    aliases: &["xiaozhi-ec801e"],
    says: "a xiaozhi voice box behind an EC801E module",
    says_zh: "用 EC801E 模组的小智",
    versions: &[TLS12, 0x0302, 0x0301],
    ..ML307
};

/// Shelly Gen2 and later: TLS 1.2, RSA-2048 and P-256 to P-521, dates looked at, `ssl_ca` `ca.pem`
/// (built in), `user_ca.pem` (one's own) or `*` (none). From Shelly's documents; its ClientHello is
/// taken to be that of its mbedTLS.
const SHELLY: Profile = Profile {
    name: "shelly-gen2",
    aliases: &["shelly", "shelly-gen3", "shelly-plus"],
    family: "shelly",
    says: "a Shelly of the second generation or later",
    says_zh: "第二代及以后的 Shelly",
    clock: ClockRule::Clock,
    ..IDF_5
};

impl Profile {
    /// Every profile, in the order of the help.
    pub const ALL: &'static [Profile] = &[
        TASMOTA_ESP8266,
        TASMOTA_ESP32,
        TASMOTA_ECDSA,
        ESPEASY,
        IDF_5,
        IDF_6,
        ESPHOME,
        XIAOZHI,
        ML307,
        EC801E,
        SHELLY,
    ];
}
