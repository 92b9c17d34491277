//! Numbers by the block they are in.

use alloc::format;

use super::{Guess, Text, libraries, modem};
use crate::catalogue::{Entry, catalogue};
use crate::log::speaker::{Level, Speaker, Spoken};
use crate::{Cause, Strength};

/// A number in a line, in the numbering of who printed it.
pub(super) fn in_line(text: &Text<'_>, spoken: &Spoken<'_>) -> Option<Guess> {
    let line = text.line;
    let speaker = spoken.speaker;
    let bears = matches!(
        speaker,
        Speaker::Tasmota | Speaker::Espeasy | Speaker::Unknown
    );
    if bears && let Some(number) = text.number_behind(&["TLS connection error", "TLS error code"]) {
        return bearssl(number);
    }
    if speaker != Speaker::Server
        && let Some(guess) = modem::answer(line)
    {
        return Some(guess);
    }
    if let Some(guess) = libraries::in_line(text) {
        return Some(guess);
    }
    if let Some(number) = hex_in(text, "-0x")
        && !matches!(speaker, Speaker::Tasmota | Speaker::Espeasy)
    {
        return mbedtls(-number);
    }
    if let Some(number) = text.number_behind(&["errno", "connect_r"]) {
        return if !speaker.is_newlib() {
            linux_errno(number)
        } else if matches!(number, 103 | 113) && text.has(&["connect"]) {
            Some(aborted(number))
        } else {
            newlib_errno(number)
        };
    }
    if line.contains("alert")
        && let Some(number) = text
            .number_behind(&["alert number", "alert", "description", "msg"])
            .or_else(|| number_in_brackets(line))
    {
        return alert(number);
    }
    if let Some(guess) = named_alert(text) {
        return Some(guess);
    }
    if let Some(guess) = esp_symbol(line) {
        return Some(guess);
    }
    let loud = spoken.level >= Level::Warning || speaker.is_beside() || speaker == Speaker::Unknown;
    if !loud {
        return http_status(text);
    }
    if matches!(
        speaker,
        Speaker::Idf | Speaker::Esphome | Speaker::Unknown | Speaker::Arduino
    ) && let Some(number) = hex_in(text, "0x").or_else(|| decimal_esp(text))
        && let Some(guess) = esp_err(number)
    {
        return Some(guess);
    }
    mqtt_reason(text)
        .or_else(|| close_code(text))
        .or_else(|| http_status(text))
}

/// The entry for a number that stands in other words than its pattern has.
pub(super) fn entry(text: &Text<'_>, spoken: &Spoken<'_>) -> Option<&'static Entry> {
    let line = text.line;
    let catalogue = catalogue();
    let speaker = spoken.speaker;
    // Parts of TLS print the number without its sign.
    let tls = spoken.tag.contains("mbedtls") || spoken.tag.contains("crt-bundle");
    if tls && spoken.level >= Level::Warning {
        let number = hex_in(text, "0x").or_else(|| hex_in(text, "-0x"))?;
        return catalogue.number("mbedtls", -number);
    }
    if let Some(entry) = libraries::entry(text) {
        return Some(entry);
    }
    // The radio's states: the reason stands in front of the last two digits.
    if spoken.tag == "wifi"
        && let Some((_, behind)) = line.split_once("-> init (")
    {
        let (code, _) = behind.split_once(')')?;
        let code = i64::from_str_radix(code.trim_start_matches("0x"), 16).ok()?;
        return catalogue.number("esp-wifi", code >> 8);
    }
    if matches!(speaker, Speaker::Unknown | Speaker::Arduino)
        && text.has(&["mqtt"])
        && let Some(number) = text.number_behind(&["state", "rc", "return code", "error code"])
    {
        return catalogue.number("pubsubclient", number);
    }
    if matches!(
        speaker,
        Speaker::Shelly | Speaker::Arduino | Speaker::Unknown
    ) && let Some(number) = text.number_behind(&["failed", "error", "ret", "code", "ssl", "tls"])
        && (-0x7fff..=-0x1000).contains(&number)
    {
        return catalogue.number("mbedtls", number);
    }
    None
}

/// A number alone, as people type it: every numbering that could have it, named.
pub(crate) fn by_number(number: i64, hex: bool) -> alloc::vec::Vec<(&'static str, Guess)> {
    let mut all = alloc::vec::Vec::new();
    let mut add = |stack, guess: Option<Guess>| {
        if let Some(guess) = guess
            && catalogue().number(stack, number).is_none()
        {
            all.push((stack, guess));
        }
    };
    if hex || number < -64 {
        add("mbedtls", mbedtls(-number.abs()));
    }
    if number > 0 {
        add("esp_err", esp_err(number));
    }
    if !hex && (1..=767).contains(&number) {
        add("bearssl", bearssl(number));
    }
    if !hex && (1..=140).contains(&number) {
        add("lwip-errno", newlib_errno(number));
        add("linux-errno", linux_errno(number));
    }
    if (300..=599).contains(&number) && !hex {
        add("http", Some(status(number)));
    }
    if (1000..=4999).contains(&number) && !hex {
        add("websocket", closed_with(number));
    }
    all
}

/// BearSSL counts its engine up to 31, certificates from 32 to 63, and adds 256 to an alert that
/// came in and 512 to one that went out.
fn bearssl(number: i64) -> Option<Guess> {
    Some(match number {
        0 => return None,
        1..=31 => Guess::new(
            Cause::TlsBroken,
            format!(
                "error {number} of BearSSL's engine: the handshake or a record was not as it must be"
            ),
            format!("BearSSL 引擎错误 {number}：握手或记录不符合规范"),
        ),
        32..=63 => Guess::new(
            Cause::CertificateRefused,
            format!("error {number} of BearSSL's certificate check"),
            format!("BearSSL 证书检查错误 {number}"),
        ),
        256..=511 => alert(number - 256)?,
        512..=767 => sent(alert(number - 512)?),
        i64::MIN..=-1000 => Guess::new(
            Cause::TlsFailed,
            format!("error {number} of the device's TLS client, before or beside the handshake"),
            format!("设备 TLS 客户端错误 {number}，发生在握手之前或之外"),
        ),
        _ => return None,
    })
}

/// An alert that the device sent is its own refusal.
fn sent(guess: Guess) -> Guess {
    let cause = match guess.cause {
        Cause::ClientCertificateRefused => Cause::CertificateRefused,
        other => other,
    };
    Guess { cause, ..guess }
}

/// TLS alerts by number, as the one that receives them sees them.
fn alert(number: i64) -> Option<Guess> {
    let cause = match number {
        10 | 20 | 22 | 30 | 47 | 50 | 51 => Cause::TlsBroken,
        40 | 71 => Cause::NoCommonCipher,
        70 | 86 => Cause::TlsVersion,
        42 | 43 | 46 | 48 => Cause::CertificateRefused,
        44 => Cause::CertificateRevoked,
        45 => Cause::CertificateExpired,
        41 | 116 => Cause::ClientCertRequired,
        112 => Cause::SniNeeded,
        120 => Cause::AlpnRefused,
        80 => Cause::ServerFault,
        // A farewell.
        0 => return None,
        1..=255 => Cause::TlsFailed,
        _ => return None,
    };
    Some(Guess::new(
        cause,
        format!("TLS alert {number}"),
        format!("TLS 警报 {number}"),
    ))
}

/// Alerts by the names that the standard gives to them.
fn named_alert(text: &Text<'_>) -> Option<Guess> {
    if !text.has(&["alert"]) {
        return None;
    }
    let names: &[(&str, i64)] = &[
        ("handshake_failure", 40),
        ("handshake failure", 40),
        ("protocol_version", 70),
        ("protocol version", 70),
        ("unknown_ca", 48),
        ("unknown ca", 48),
        ("bad_certificate", 42),
        ("certificate_expired", 45),
        ("certificate expired", 45),
        ("certificate_unknown", 46),
        ("certificate unknown", 46),
        ("certificate_required", 116),
        ("certificate required", 116),
        ("unrecognized_name", 112),
        ("unrecognized name", 112),
        ("internal_error", 80),
        ("decode_error", 50),
        ("decrypt_error", 51),
        ("record_overflow", 22),
        ("insufficient_security", 71),
        ("no_application_protocol", 120),
    ];
    let (_, number) = names.iter().find(|(name, _)| text.has(&[name]))?;
    alert(*number)
}

/// mbedTLS: modules have blocks of 128, and add the number of what failed below to their own.
fn mbedtls(number: i64) -> Option<Guess> {
    let value = -number;
    if !(1..=0x7fff).contains(&value) {
        return None;
    }
    let (high, low) = (value & 0x7f80, value & 0x7f);
    if matches!(low, 0x10) && high != 0 || matches!(low, 0x6a) {
        return Some(Guess::new(
            Cause::OutOfMemoryTls,
            format!("mbedTLS -0x{value:04X}: out of memory below (-0x{low:04X})"),
            format!("mbedTLS -0x{value:04X}：底层内存不足（-0x{low:04X}）"),
        ));
    }
    // Its upper part may be known.
    if let Some(entry) = catalogue().number("mbedtls", -high)
        && low != 0
        && entry.strength >= Strength::Class
    {
        return Some(Guess {
            meaning: entry.meaning.clone(),
            ..Guess::new(entry.cause, "", "")
        });
    }
    let (cause, en, zh) = match value {
        0x0001..=0x0033 => (
            Cause::TlsFailed,
            "ciphers and big numbers",
            "加密算法与大数运算",
        ),
        0x0034..=0x0041 => (Cause::DeviceFault, "the random generator", "随机数生成器"),
        0x0042..=0x0059 => (Cause::TcpFailed, "sockets", "套接字"),
        0x0060..=0x007f => (Cause::CertificateUnreadable, "reading ASN.1", "ASN.1 解析"),
        0x0080..=0x009f => (Cause::TlsFailed, "PSA cryptography", "PSA 加密接口"),
        0x1080..=0x14ff => (Cause::DeviceTrustMissing, "reading PEM", "PEM 解析"),
        0x1500..=0x1fff => (Cause::DeviceTrustMissing, "reading PKCS", "PKCS 解析"),
        0x2000..=0x2fff => (
            Cause::CertificateRefused,
            "certificates (X.509)",
            "证书（X.509）",
        ),
        0x3000..=0x3fff => (
            Cause::CertificateRefused,
            "keys of certificates",
            "证书密钥",
        ),
        0x4000..=0x4fff => (
            Cause::TlsFailed,
            "RSA and elliptic curves",
            "RSA 与椭圆曲线",
        ),
        0x5000..=0x5fff => (Cause::TlsFailed, "hashes", "摘要算法"),
        0x6000..=0x64ff => (Cause::TlsFailed, "ciphers", "对称加密"),
        0x6500..=0x7fff => (Cause::TlsFailed, "the handshake and records", "握手与记录"),
        _ => (Cause::TlsFailed, "the TLS library", "TLS 库"),
    };
    Some(Guess::new(
        cause,
        format!("mbedTLS -0x{value:04X}: an error of its module for {en}"),
        format!("mbedTLS -0x{value:04X}：{zh}模块的错误"),
    ))
}

/// ESP-IDF gives each component a block of numbers.
fn esp_err(number: i64) -> Option<Guess> {
    let (cause, en, zh) = match number {
        0x1500..=0x15ff => (Cause::OtaFailed, "firmware updates", "固件升级"),
        0x3000..=0x30ff => (Cause::WifiFailed, "Wi-Fi", "Wi-Fi"),
        0x5000..=0x50ff => (
            Cause::WifiNoAddress,
            "network interfaces and DHCP",
            "网络接口与 DHCP",
        ),
        0x7000..=0x70ff => (Cause::HttpFailed, "the HTTP client", "HTTP 客户端"),
        0x8000..=0x800f => (
            Cause::TcpFailed,
            "connecting (esp-tls)",
            "建立连接（esp-tls）",
        ),
        0x8010..=0x80ff => (Cause::TlsFailed, "TLS (esp-tls)", "TLS（esp-tls）"),
        0x9000..=0x90ff => (
            Cause::OtaFailed,
            "firmware updates over HTTPS",
            "HTTPS 固件升级",
        ),
        _ => return None,
    };
    Some(Guess::new(
        cause,
        format!("0x{number:X}: an error of ESP-IDF's part for {en}"),
        format!("0x{number:X}：ESP-IDF {zh}部分的错误"),
    ))
}

/// ESP-IDF's names say the component too.
fn esp_symbol(line: &str) -> Option<Guess> {
    let (_, rest) = line.split_once("ESP_ERR_")?;
    let (cause, en, zh) = if rest.starts_with("HTTPS_OTA") || rest.starts_with("OTA") {
        (Cause::OtaFailed, "firmware updates", "固件升级")
    } else if rest.starts_with("HTTP") {
        (Cause::HttpFailed, "HTTP", "HTTP")
    } else if rest.starts_with("MBEDTLS")
        || rest.starts_with("ESP_TLS")
        || rest.starts_with("WOLFSSL")
    {
        (Cause::TlsFailed, "TLS", "TLS")
    } else if rest.starts_with("ESP_NETIF") {
        (
            Cause::WifiNoAddress,
            "network interfaces and DHCP",
            "网络接口与 DHCP",
        )
    } else if rest.starts_with("WIFI") {
        (Cause::WifiFailed, "Wi-Fi", "Wi-Fi")
    } else {
        return None;
    };
    Some(Guess::new(
        cause,
        format!("an error of ESP-IDF's part for {en}"),
        format!("ESP-IDF {zh}部分的错误"),
    ))
}

/// Sockets on devices: newlib's numbers.
fn newlib_errno(number: i64) -> Option<Guess> {
    let (cause, text) = match number {
        // Left over from an earlier call.
        0 | 11 | 119 => return None,
        12 | 105 => (Cause::OutOfMemory, "out of memory"),
        23 | 24 => (Cause::SocketsExhausted, "no socket left"),
        32 | 128 => (Cause::ConnectionLost, "not connected any more"),
        103 | 113 => (Cause::WifiLost, "connection aborted"),
        104 => (Cause::ConnectionReset, "reset by the peer"),
        111 => (Cause::NothingListens, "refused"),
        114 | 118 => (Cause::HostUnreachable, "unreachable"),
        115 => (Cause::WifiLost, "network down"),
        116 => (Cause::TcpTimeout, "timed out"),
        _ => (Cause::TcpFailed, "a socket error"),
    };
    Some(Guess::new(
        cause,
        format!("errno {number} of the device (newlib): {text}"),
        format!("设备 errno {number}（newlib 编号）"),
    ))
}

/// A connection that was given up while it opened: nobody answered the first packet, again and again.
fn aborted(number: i64) -> Guess {
    Guess::new(
        Cause::TcpTimeout,
        format!("errno {number} while connecting: nobody answered"),
        format!("连接时 errno {number}：对方没有应答"),
    )
    .or(&[Cause::HostUnreachable, Cause::WifiLost])
}

/// Sockets on servers: Linux's numbers.
fn linux_errno(number: i64) -> Option<Guess> {
    let (cause, text) = match number {
        0 | 11 | 115 => return None,
        12 => (Cause::ServerFault, "out of memory"),
        13 => (Cause::PortNotPermitted, "permission denied"),
        23 | 24 => (Cause::ServerBusy, "too many open files"),
        32 => (Cause::ConnectionLost, "broken pipe"),
        98 => (Cause::PortInUse, "address already in use"),
        99 => (Cause::BindAddressMissing, "address not on this machine"),
        101 | 113 => (Cause::HostUnreachable, "unreachable"),
        104 => (Cause::ConnectionReset, "reset by the peer"),
        110 => (Cause::TcpTimeout, "timed out"),
        111 => (Cause::NothingListens, "refused"),
        _ => (Cause::TcpFailed, "a system error"),
    };
    Some(Guess::new(
        cause,
        format!("errno {number} on Linux: {text}"),
        format!("Linux errno {number}"),
    ))
}

fn http_status(text: &Text<'_>) -> Option<Guess> {
    let line = text.line;
    let behind = text.number_behind(&[
        "status code",
        "statuscode",
        "status",
        "http code",
        "response code",
        "状态码",
    ]);
    // An access log: "GET / HTTP/1.1" 404 153
    let access = || {
        // What a browser looks for beside the page is nobody's trouble.
        if line.contains("Mozilla/") || line.contains("/favicon.ico") {
            return None;
        }
        let (_, rest) = line.split_once("HTTP/")?;
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        leading_number(rest.strip_prefix('"').unwrap_or(rest).trim_start())
    };
    let number = behind.or_else(access)?;
    // 101 and 2xx are what was asked for.
    (300..600).contains(&number).then(|| status(number))
}

fn status(number: i64) -> Guess {
    let cause = match number {
        300..=399 => Cause::HttpRedirect,
        401 | 403 => Cause::HttpUnauthorized,
        404 | 410 => Cause::PathMissing,
        407 | 511 => Cause::CaptivePortal,
        408 => Cause::HttpTimeout,
        426 => Cause::ProxyDropsUpgrade,
        429 => Cause::RateLimited,
        400..=499 => Cause::HttpRefused,
        502 | 504 => Cause::BackendDown,
        _ => Cause::HttpServerError,
    };
    Guess::new(
        cause,
        format!("HTTP answered {number}"),
        format!("HTTP 返回 {number}"),
    )
}

/// A reason code of MQTT 5, of which those from 0x80 refuse.
fn mqtt_reason(text: &Text<'_>) -> Option<Guess> {
    if !text.has(&["mqtt"]) && !text.has(&["connack"]) && !text.has(&["reason code"]) {
        return None;
    }
    let number = text.number_behind(&["reason code", "return code", "connack code", "reason"])?;
    (0x80..=0xff).contains(&number).then(|| {
        Guess::new(
            Cause::MqttRefused,
            format!("MQTT reason code 0x{number:02X}: refused"),
            format!("MQTT 原因码 0x{number:02X}：被拒绝"),
        )
    })
}

fn close_code(text: &Text<'_>) -> Option<Guess> {
    if !text.has(&["close"]) || !(text.has(&["websocket"]) || text.has(&["ws"])) {
        return None;
    }
    closed_with(text.number_behind(&["close code", "closed code", "closed with", "code"])?)
}

fn closed_with(number: i64) -> Option<Guess> {
    matches!(number, 1002..=1015 | 3000..=4999).then(|| {
        Guess::new(
            Cause::WebsocketClosed,
            format!("WebSocket closed with {number}"),
            format!("WebSocket 以 {number} 关闭"),
        )
    })
}

/// `open a new connection: 32790`, `code=-1`: esp-tls in decimal.
fn decimal_esp(text: &Text<'_>) -> Option<i64> {
    let number = text.number_behind(&["connection", "code", "error", "returned", "err"])?;
    (0x8001..=0x80ff).contains(&number).then_some(number)
}

/// The number behind one of these words and at most a few signs.
pub(crate) fn number_behind(line: &str, words: &[&str]) -> Option<i64> {
    words.iter().find_map(|word| {
        let mut from = 0;
        while let Some(found) = find(&line[from..], word) {
            let behind = &line[from + found + word.len()..];
            from += found + word.len();
            let number = behind.trim_start_matches(|c: char| {
                c.is_whitespace() || matches!(c, ':' | '=' | '(' | '[' | '#' | '"' | '\'' | '：')
            });
            if behind.len() - number.len() <= 6
                && let Some(number) = leading_number(number)
            {
                return Some(number);
            }
        }
        None
    })
}

fn number_in_brackets(line: &str) -> Option<i64> {
    let (_, rest) = line.rsplit_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    inside.parse().ok()
}

/// `-0x7280`, `0x8006`, `-1002`, `404` at the start of a text, if nothing of a word follows.
pub(crate) fn leading_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(rest) => (16, rest),
        None => (10, digits),
    };
    let length = digits
        .bytes()
        .take_while(|byte| (*byte as char).is_digit(radix))
        .count();
    let next = digits[length..].chars().next();
    if length == 0 || length > 10 || next.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    Some(sign * i64::from_str_radix(&digits[..length], radix).ok()?)
}

/// The first hexadecimal number behind this prefix that stands alone; as it is written, without its sign.
fn hex_in(text: &Text<'_>, prefix: &str) -> Option<i64> {
    if !text.may_have(prefix) {
        return None;
    }
    let line = text.line;
    let mut from = 0;
    while let Some(found) = find(&line[from..], prefix) {
        let start = from + found;
        from = start + prefix.len();
        let alone = !line[..start].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        if alone && let Some(number) = leading_number(&line[start..]) {
            return Some(number.abs());
        }
    }
    None
}

/// Where a text in lower case first occurs, in either case.
pub(super) fn find(line: &str, word: &str) -> Option<usize> {
    let (line_bytes, word) = (line.as_bytes(), word.as_bytes());
    if word.is_empty() || line_bytes.len() < word.len() {
        return None;
    }
    let first = word[0].to_ascii_lowercase();
    (0..=line_bytes.len() - word.len()).find(|&at| {
        line_bytes[at].to_ascii_lowercase() == first
            && line_bytes[at..at + word.len()].eq_ignore_ascii_case(word)
    })
}

pub(super) fn contains(line: &str, word: &str) -> bool {
    find(line, word).is_some()
}
