//! Which TLS implementation sent a ClientHello, told from what it offers.

use super::{ClientHello, GREASE};

/// The TLS implementation that a ClientHello looks like. It is a likeness: any client can send
/// any hello, so nothing but record sizes and words may depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Stack {
    /// BearSSL cut down to what Tasmota and ESPEasy use: one or two suites, P-256, SHA-256.
    BearSsl,
    /// BearSSL with more suites: Arduino on ESP8266.
    BearSslOther,
    /// mbedTLS 2: ESP-IDF up to 4, many cellular modules, some programs.
    MbedTls,
    /// mbedTLS 3 or 4: ESP-IDF 5 and later, newer cellular modules, some programs.
    EspIdf,
    /// wolfSSL.
    WolfSsl,
    /// A cellular module with a TLS of its own: suites that everybody else gave up years ago,
    /// and no server name. Modules that run mbedTLS look like that.
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
    ///
    /// What tells them apart is what their sources fix and settings do not reach: the order of
    /// extensions, the order of signature algorithms, the point formats. Suites and versions are
    /// the owner's choice and only split kin.
    pub fn stack(&self) -> Stack {
        // Browsers shuffle their extensions, so they go first.
        if self.suites.contains(&GREASE) {
            return match self.groups.contains(&P521) {
                true => Stack::Apple,
                false => Stack::Chromium,
            };
        }
        let known = [
            (self.is_bearssl(), self.bearssl()),
            (self.is_rustls(), Stack::Rustls),
            (self.point_formats == [0, 1, 2], Stack::OpenSsl),
            (self.signs_first(&[0x0804, 0x0403]), Stack::Go),
            (self.signs_first(&[0x0401, 0x0809]), Stack::GnuTls),
            (self.is_nss(), Stack::Nss),
            (self.has(STATUS_REQUEST_V2) && self.has(5), Stack::Java),
            (self.is_schannel(), Stack::Schannel),
            (self.in_a_row(&[13, 11, 10]), Stack::WolfSsl),
            (self.in_a_row(&[13, 10, 11]), Stack::MbedTls),
            (self.is_mbedtls_3(), Stack::EspIdf),
            (self.is_modem(), Stack::Modem),
        ];
        let found = known.into_iter().find(|(fits, _)| *fits);
        found.map_or(Stack::Unknown, |(_, stack)| stack)
    }

    /// It writes renegotiation_info first, has a fixed order, and knows nothing newer than ALPN.
    fn is_bearssl(&self) -> bool {
        let mut order = [0xff01, 0, 1, 13, 10, 11, 16].iter();
        self.extensions.first() == Some(&0xff01)
            && self
                .extensions
                .iter()
                .all(|number| order.any(|known| known == number))
    }

    fn bearssl(&self) -> Stack {
        let cut_down = self.groups == [P256]
            && self
                .suites
                .iter()
                .all(|suite| [0xc02b, 0xc02f].contains(suite));
        match cut_down {
            true => Stack::BearSsl,
            false => Stack::BearSslOther,
        }
    }

    /// Few suites, all good ones, and the signal of RFC 5746 as the last; extensions shuffled.
    fn is_rustls(&self) -> bool {
        let good = |suite: &u16| {
            matches!(
                suite,
                0x1301..=0x1303 | 0xc02b | 0xc02c | 0xc02f | 0xc030 | 0xcca8 | 0xcca9
            )
        };
        let tls13_only = self.versions == [0x0304];
        let (signal, suites) = match self.suites.split_last() {
            Some((0x00ff, suites)) => (true, suites),
            _ => (false, &self.suites[..]),
        };
        !self.versions.is_empty()
            && signal != tls13_only
            && suites.iter().all(good)
            && self.has(STATUS_REQUEST)
            && self.has(EXTENDED_MASTER_SECRET)
            && !self.has(SIGNED_TIMESTAMPS)
            && !self.has(RECORD_SIZE_LIMIT)
            && self.signs_first(&[0x0503])
    }

    /// Behind the name always the same four, and a record size limit.
    fn is_nss(&self) -> bool {
        self.in_a_row(&[EXTENDED_MASTER_SECRET, 0xff01, 10, 11])
            && self.has(RECORD_SIZE_LIMIT)
            && self.signs_first(&[0x0403, 0x0503, 0x0603])
    }

    /// From captures that others published; not seen here.
    fn is_schannel(&self) -> bool {
        let mut suites = self.suites.iter().filter(|suite| **suite > 0x1fff);
        let first: [Option<&u16>; 4] = std::array::from_fn(|_| suites.next());
        self.signs_first(&[0x0804, 0x0805, 0x0806, 0x0401, 0x0501])
            && first == [0xc02c, 0xc02b, 0xc030, 0xc02f].each_ref().map(Some)
    }

    fn is_mbedtls_3(&self) -> bool {
        let without_tls12 = self.in_a_row(&[43, 51, 45]) && self.in_a_row(&[10, 13]);
        self.in_a_row(&[10, 13, 11]) || without_tls12
    }

    /// RC4, 3DES or single DES with RSA, and no name: nobody else offers that any more.
    fn is_modem(&self) -> bool {
        let old =
            |suite: &u16| matches!(suite, 0x0001..=0x000a | 0xc011 | 0xc012 | 0xc007 | 0xc008);
        self.server_name.is_none() && self.suites.iter().any(old)
    }

    fn has(&self, extension: u16) -> bool {
        self.extensions.contains(&extension)
    }

    /// Whether these extensions stand next to each other in this order.
    fn in_a_row(&self, extensions: &[u16]) -> bool {
        let mut windows = self.extensions.windows(extensions.len());
        windows.any(|window| window == extensions)
    }

    fn signs_first(&self, signatures: &[u16]) -> bool {
        self.signatures.starts_with(signatures)
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
            Stack::MbedTls => "mbedTLS 2 (ESP-IDF 4)",
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

const P256: u16 = 0x0017;
const P521: u16 = 0x0019;
const STATUS_REQUEST: u16 = 5;
const STATUS_REQUEST_V2: u16 = 17;
const SIGNED_TIMESTAMPS: u16 = 18;
const EXTENDED_MASTER_SECRET: u16 = 23;
const RECORD_SIZE_LIMIT: u16 = 28;
