//! What each kind of device offers, trusts and checks. Facts measured or read in source are cited
//! where they decide.

use crate::pki::offer::Offer;

/// A kind of device and the way in which it is set up to make sure whom it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// Tasmota on ESP32, `SetOption132 1` and `MqttFingerprint1`.
    TasmotaEsp32Fingerprint,
    /// Tasmota on ESP32, `SetOption132 0`: roots built into the firmware.
    TasmotaEsp32Roots,
    /// Tasmota on ESP32 with `SetOption165 1`, which adds ECDSA; roots built into the firmware.
    TasmotaEsp32Ecdsa,
    /// A TLS build of Tasmota on ESP8266 with a fingerprint.
    TasmotaEsp8266Fingerprint,
    /// A TLS build of Tasmota on ESP8266 with the roots built into the firmware.
    TasmotaEsp8266Roots,
    /// ESPEasy, mode 2 `TLS CA Cert`: roots built into the firmware.
    EspEasyRoots,
    /// ESPEasy, mode 15 `TLS No Checks`; mode 4 does not check either.
    EspEasyUnchecked,
    /// ESPHome or another ESP-IDF program that is given a root (`certificate_authority`).
    EspIdfOwnRoot,
    /// An ESP-IDF program with the certificate bundle.
    EspIdfBundle,
    /// xiaozhi on Wi-Fi: bundle only.
    XiaozhiWifi,
    /// xiaozhi on a 4G modem (ML307, EC801E), which checks nothing and sends no server name.
    XiaozhiModem,
    /// Shelly from Gen2 on, `ssl_ca: "*"`.
    ShellyUnchecked,
    /// Shelly from Gen2 on, `ssl_ca: "ca.pem"`, which is built in.
    ShellyBuiltIn,
    /// Shelly from Gen2 on, `ssl_ca: "user_ca.pem"`, which its owner has put there.
    ShellyOwnRoot,
    /// Browsers on computers.
    Browser,
    /// Phones: the stricter rules of Apple.
    Phone,
    /// mosquitto, paho, MQTT.js and the like, with `--cafile` where the root is not public.
    MqttTools,
}

impl Route {
    /// A word for it, as a name of messages and in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Route::TasmotaEsp32Fingerprint => "tasmota-esp32-fingerprint",
            Route::TasmotaEsp32Roots => "tasmota-esp32-roots",
            Route::TasmotaEsp32Ecdsa => "tasmota-esp32-ecdsa",
            Route::TasmotaEsp8266Fingerprint => "tasmota-esp8266-fingerprint",
            Route::TasmotaEsp8266Roots => "tasmota-esp8266-roots",
            Route::EspEasyRoots => "espeasy-roots",
            Route::EspEasyUnchecked => "espeasy-unchecked",
            Route::EspIdfOwnRoot => "esp-idf-own-root",
            Route::EspIdfBundle => "esp-idf-bundle",
            Route::XiaozhiWifi => "xiaozhi-wifi",
            Route::XiaozhiModem => "xiaozhi-modem",
            Route::ShellyUnchecked => "shelly-unchecked",
            Route::ShellyBuiltIn => "shelly-built-in",
            Route::ShellyOwnRoot => "shelly-own-root",
            Route::Browser => "browser",
            Route::Phone => "phone",
            Route::MqttTools => "mqtt-tools",
        }
    }
}

pub(super) struct Profile {
    pub(super) route: Route,
    /// Without a name.
    pub(super) offer: Offer<'static>,
    pub(super) server_name: ServerName,
    pub(super) trust: Trust,
    pub(super) names: Names,
    pub(super) dates: Dates,
    /// Bits of the server's RSA key, where there is a limit.
    pub(super) longest_rsa: Option<u16>,
}

/// When it sends the server name (SNI).
#[derive(Clone, Copy)]
pub(super) enum ServerName {
    /// Even for an address.
    Always,
    /// Not for an address (RFC 6066 §3).
    NamesOnly,
    Never,
}

#[derive(Clone, Copy)]
pub(super) enum Trust {
    Nothing,
    /// A pinned RSA key.
    Fingerprint,
    /// These few public roots.
    Roots(&'static [&'static str]),
    /// The usual public roots.
    Public,
    /// Any root that its owner gives it.
    Given,
}

/// Where it looks for the name or address that it was told.
#[derive(Clone, Copy)]
pub(super) enum Names {
    /// DNS names, where an address may stand as text.
    Dns,
    /// DNS names, and it has none to compare when it was told an address.
    NeedsDns,
    /// An address among the addresses.
    DnsOrAddress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dates {
    Unchecked,
    /// By a clock that stands at 1970, or when the firmware was built, until it is set.
    ByClock,
    /// Only in builds with `MBEDTLS_HAVE_TIME_DATE`.
    InSomeBuilds,
    /// By a clock that is always set.
    OwnClock,
    /// The same, and no more than 825 days where the root is not public.
    Apple,
}

const TASMOTA: Offer<'static> = Offer {
    server_name: None,
    reached: None,
    tls13: false,
    suites: &[0xc02f],
    groups: Some(&[0x0017]),
    signatures: &[0x0401],
    certificate_signatures: None,
    alpn: &[],
};

const TASMOTA_ECDSA: Offer<'static> = Offer {
    suites: &[0xc02b, 0xc02f],
    signatures: &[0x0403, 0x0401],
    ..TASMOTA
};

/// mbedTLS 2.28 to 4 as ESP-IDF builds it, TLS 1.2 since that is what all of them have.
const MBED_TLS: Offer<'static> = Offer {
    suites: &[0xc02b, 0xc02c, 0xcca9, 0xc02f, 0xc030, 0xcca8],
    groups: Some(&[0x001d, 0x0017, 0x0018, 0x0019]),
    signatures: &[
        0x0603, 0x0503, 0x0403, 0x0806, 0x0601, 0x0805, 0x0501, 0x0804, 0x0401,
    ],
    ..TASMOTA
};

const COMPUTER: Offer<'static> = Offer {
    tls13: true,
    suites: &[0x1301, 0x1302, 0x1303],
    ..MBED_TLS
};

/// Since 13.4.1.2.
const TASMOTA_ROOTS: &[&str] = &["ISRG Root X1", "Amazon Root CA 1"];

/// The third came with ECDSA (arendst/Tasmota #24009).
const TASMOTA_ECDSA_ROOTS: &[&str] = &["ISRG Root X1", "Amazon Root CA 1", "Amazon Root CA 3"];

/// The facts name Google's root once by its own name and once by that of the older root that
/// cross-signs it; a chain from Google sends both.
const ESPEASY_ROOTS: &[&str] = &[
    "GTS Root R1",
    "GlobalSign Root CA",
    "ISRG Root X1",
    "Amazon Root CA 1",
];

const TASMOTA_FINGERPRINT: Profile = Profile {
    route: Route::TasmotaEsp32Fingerprint,
    offer: TASMOTA,
    server_name: ServerName::Always,
    trust: Trust::Fingerprint,
    names: Names::Dns,
    dates: Dates::Unchecked,
    longest_rsa: Some(4096),
};

const TASMOTA_WITH_ROOTS: Profile = Profile {
    route: Route::TasmotaEsp32Roots,
    trust: Trust::Roots(TASMOTA_ROOTS),
    dates: Dates::ByClock,
    ..TASMOTA_FINGERPRINT
};

const ESP_IDF: Profile = Profile {
    route: Route::EspIdfBundle,
    offer: MBED_TLS,
    server_name: ServerName::Always,
    trust: Trust::Public,
    names: Names::Dns,
    dates: Dates::InSomeBuilds,
    longest_rsa: None,
};

const BROWSER: Profile = Profile {
    route: Route::Browser,
    offer: COMPUTER,
    server_name: ServerName::NamesOnly,
    trust: Trust::Given,
    names: Names::DnsOrAddress,
    dates: Dates::OwnClock,
    longest_rsa: None,
};

pub(super) const ALL: &[Profile] = &[
    TASMOTA_FINGERPRINT,
    TASMOTA_WITH_ROOTS,
    Profile {
        route: Route::TasmotaEsp32Ecdsa,
        offer: TASMOTA_ECDSA,
        trust: Trust::Roots(TASMOTA_ECDSA_ROOTS),
        ..TASMOTA_WITH_ROOTS
    },
    Profile {
        route: Route::TasmotaEsp8266Fingerprint,
        // 4096 only in builds with USE_4K_RSA.
        longest_rsa: Some(2048),
        ..TASMOTA_FINGERPRINT
    },
    Profile {
        route: Route::TasmotaEsp8266Roots,
        longest_rsa: Some(2048),
        ..TASMOTA_WITH_ROOTS
    },
    Profile {
        route: Route::EspEasyRoots,
        server_name: ServerName::NamesOnly,
        trust: Trust::Roots(ESPEASY_ROOTS),
        names: Names::NeedsDns,
        ..TASMOTA_WITH_ROOTS
    },
    Profile {
        route: Route::EspEasyUnchecked,
        server_name: ServerName::NamesOnly,
        trust: Trust::Nothing,
        ..TASMOTA_FINGERPRINT
    },
    Profile {
        route: Route::EspIdfOwnRoot,
        trust: Trust::Given,
        ..ESP_IDF
    },
    ESP_IDF,
    Profile {
        route: Route::XiaozhiWifi,
        ..ESP_IDF
    },
    Profile {
        route: Route::XiaozhiModem,
        server_name: ServerName::Never,
        trust: Trust::Nothing,
        dates: Dates::Unchecked,
        ..ESP_IDF
    },
    Profile {
        route: Route::ShellyUnchecked,
        trust: Trust::Nothing,
        dates: Dates::Unchecked,
        ..ESP_IDF
    },
    Profile {
        route: Route::ShellyBuiltIn,
        ..ESP_IDF
    },
    Profile {
        route: Route::ShellyOwnRoot,
        trust: Trust::Given,
        ..ESP_IDF
    },
    BROWSER,
    Profile {
        route: Route::Phone,
        dates: Dates::Apple,
        ..BROWSER
    },
    Profile {
        route: Route::MqttTools,
        ..BROWSER
    },
];
