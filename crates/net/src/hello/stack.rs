//! Which TLS implementation sent a ClientHello, told from what it offers.

use super::ClientHello;

/// The TLS implementation that a ClientHello looks like. It is a likeness: any client can send
/// any hello, so nothing but record sizes and words may depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Stack {
    /// BearSSL cut down to what Tasmota and ESPEasy use: one or two suites, P-256, SHA-256.
    BearSsl,
    /// BearSSL with more suites: Arduino on ESP8266.
    BearSslOther,
    /// mbedTLS 2.
    MbedTls,
    /// mbedTLS 3 or 4 as ESP-IDF builds it.
    EspIdf,
    /// wolfSSL.
    WolfSsl,
    /// A cellular module: versions down to SSL 3.0 or TLS 1.0, suites of every age, no name.
    Modem,
    /// OpenSSL and its forks other than BoringSSL.
    OpenSsl,
    /// GnuTLS.
    GnuTls,
    /// rustls.
    Rustls,
    /// Go's crypto/tls.
    Go,
    /// NSS: Firefox and its kin.
    Nss,
    /// BoringSSL as Chromium uses it: Chrome, Edge, Android's web view.
    Chromium,
    /// Apple's Secure Transport and Network framework.
    Apple,
    /// Java's JSSE.
    Java,
    /// Windows' SChannel.
    Schannel,
    /// None of these.
    #[default]
    Unknown,
}

impl ClientHello {
    /// The TLS implementation that this hello looks like.
    pub fn stack(&self) -> Stack {
        Stack::Unknown
    }
}

impl Stack {
    /// Every stack, in the order of the documentation.
    pub const ALL: [Stack; 16] = [
        Stack::BearSsl,
        Stack::BearSslOther,
        Stack::MbedTls,
        Stack::EspIdf,
        Stack::WolfSsl,
        Stack::Modem,
        Stack::OpenSsl,
        Stack::GnuTls,
        Stack::Rustls,
        Stack::Go,
        Stack::Nss,
        Stack::Chromium,
        Stack::Apple,
        Stack::Java,
        Stack::Schannel,
        Stack::Unknown,
    ];

    /// The stable word for logs, metrics and JSON.
    pub fn code(self) -> &'static str {
        match self {
            Stack::BearSsl => "bearssl",
            Stack::BearSslOther => "bearssl_other",
            Stack::MbedTls => "mbedtls",
            Stack::EspIdf => "esp_idf",
            Stack::WolfSsl => "wolfssl",
            Stack::Modem => "modem",
            Stack::OpenSsl => "openssl",
            Stack::GnuTls => "gnutls",
            Stack::Rustls => "rustls",
            Stack::Go => "go",
            Stack::Nss => "nss",
            Stack::Chromium => "chromium",
            Stack::Apple => "apple",
            Stack::Java => "java",
            Stack::Schannel => "schannel",
            Stack::Unknown => "unknown",
        }
    }

    /// The name for people, the same in every language. It says what the hello looks like and
    /// wants "looks like" before it.
    pub fn name(self) -> &'static str {
        match self {
            Stack::BearSsl => "BearSSL (Tasmota, ESPEasy)",
            Stack::BearSslOther => "BearSSL (Arduino)",
            Stack::MbedTls => "mbedTLS 2",
            Stack::EspIdf => "mbedTLS 3 (ESP-IDF)",
            Stack::WolfSsl => "wolfSSL",
            Stack::Modem => "4G module",
            Stack::OpenSsl => "OpenSSL",
            Stack::GnuTls => "GnuTLS",
            Stack::Rustls => "rustls",
            Stack::Go => "Go",
            Stack::Nss => "NSS (Firefox)",
            Stack::Chromium => "Chromium",
            Stack::Apple => "Apple",
            Stack::Java => "Java",
            Stack::Schannel => "Windows SChannel",
            Stack::Unknown => "-",
        }
    }

    /// Whether a program with this stack certainly holds whole records of 16 KiB. mbedTLS and
    /// wolfSSL do not count: their buffers are cut to fit the device.
    pub fn has_large_buffers(self) -> bool {
        match self {
            Stack::OpenSsl
            | Stack::GnuTls
            | Stack::Rustls
            | Stack::Go
            | Stack::Nss
            | Stack::Chromium
            | Stack::Apple
            | Stack::Java
            | Stack::Schannel => true,
            Stack::BearSsl
            | Stack::BearSslOther
            | Stack::MbedTls
            | Stack::EspIdf
            | Stack::WolfSsl
            | Stack::Modem
            | Stack::Unknown => false,
        }
    }
}
