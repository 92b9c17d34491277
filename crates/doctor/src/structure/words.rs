//! The words with which programs and people say that something failed, in two languages.

use alloc::boxed::Box;

use aho_corasick::AhoCorasick;
use once_cell::race::OnceBox;

use super::numbers::contains;
use super::{Guess, Text};
use crate::log::speaker::{Level, Speaker, Spoken};
use crate::{Cause, Strength};

/// What a line says by its words, if they say that something failed.
pub(super) fn guess(text: &Text<'_>, spoken: &Spoken<'_>) -> Option<Guess> {
    let line = text.line;
    let devices = !matches!(spoken.speaker, Speaker::Server | Speaker::Unknown);
    let written = guess_as_written(text, spoken);
    if devices || !line.contains('_') {
        return written;
    }
    // Some brokers join the words of a reason: `not_authorized`.
    let telling = |guess: &Guess| guess.strength > Strength::Carrier;
    match written {
        Some(written) if telling(&written) => Some(written),
        written => {
            let parted = guess_as_written(&Text::of(&line.replace('_', " ")), spoken);
            parted.filter(telling).or(written)
        }
    }
}

fn guess_as_written(text: &Text<'_>, spoken: &Spoken<'_>) -> Option<Guess> {
    if !says_failure(text.line, spoken) {
        return None;
    }
    let line = text.line;
    let context = Context::of(text, spoken.tag);
    let has = |words: &[&str]| text.has(words);
    let guess = |cause, en: &str, zh: &str| Some(Guess::new(cause, en, zh));
    let vague = |cause, en: &str, zh: &str| Some(Guess::new(cause, en, zh).vague());

    if has(&[
        "address already in use",
        "address in use",
        "eaddrinuse",
        "port is already",
        "端口被占用",
        "端口已被",
    ]) {
        // The words are the cause itself.
        return Some(Guess {
            strength: Strength::Specific,
            ..Guess::new(Cause::PortInUse, "the port is taken", "端口已被占用")
        });
    }
    if has(&[
        "guru meditation",
        "abort() was called",
        "brownout detector",
        "watchdog got triggered",
        "stack overflow",
        "corrupt heap",
    ]) {
        return guess(Cause::DeviceFault, "the device crashed", "设备崩溃");
    }
    if context.mqtt || spoken.speaker.is_beside() || has(&["client"]) {
        let taken = ["taken over", "takenover", "already connected", "kicked out"];
        if has(&taken) {
            return Some(
                Guess::new(
                    Cause::DuplicateClientId,
                    "another connection took the client identifier",
                    "客户端标识被另一连接占用",
                )
                .or(&[Cause::ConnectionLost]),
            );
        }
    }
    let upstream = [
        "upstream",
        "bad gateway",
        "<nosrv>",
        "no server available",
        "backend",
    ];
    if spoken.speaker.is_beside() && has(&upstream) {
        return guess(
            Cause::BackendDown,
            "a proxy does not reach what is behind it",
            "代理无法连接后端",
        );
    }
    if let Some(guess) = handshake(text, &context) {
        return Some(guess);
    }
    if has(&[
        "certificate",
        "cert ",
        "x509",
        "x.509",
        "trust anchor",
        "证书",
    ]) {
        return certificate(text);
    }
    if has(&[
        "resolve",
        "resolving",
        "mdns",
        "getaddrinfo",
        "dns",
        "name resolution",
        "unknown host",
        "no such host",
        "host not found",
        "enotfound",
        "eai_again",
        "hostname not found",
        "域名",
        "解析",
    ]) && !has(&["json", "parse"])
    {
        return guess(
            Cause::NameNotResolved,
            "a name was not resolved",
            "域名未能解析",
        );
    }
    if context.wifi {
        return wifi(text);
    }
    if has(&[
        "create socket",
        "creating socket",
        "no more sockets",
        "too many open",
        "no free socket",
        "创建套接字",
        "创建 socket",
    ]) {
        let cause = match spoken.speaker.is_beside() {
            true => Cause::ServerBusy,
            false => Cause::SocketsExhausted,
        };
        return guess(cause, "no socket was left", "套接字已用尽");
    }
    let no_network = [
        "no sim",
        "sim not",
        "sim failure",
        "no service",
        "not registered",
        "registration denied",
        "no carrier",
        "未插卡",
        "无服务",
        "未注册",
        "sim卡",
        "sim 卡",
    ];
    let modem = [
        "modem",
        "at+",
        "at command",
        "4g",
        "lte",
        "模组",
        "ec801e",
        "ml307",
        "nt26",
    ];
    let of_modem = has(&modem) || modem.iter().any(|word| contains(spoken.tag, word));
    if (of_modem || has(&["sim"])) && has(&no_network) {
        return guess(
            Cause::MobileNoNetwork,
            "the modem has no network",
            "模组没有网络",
        );
    }
    if of_modem
        && has(&[
            "send command",
            "failed to send at",
            "command timeout",
            "not respond",
        ])
    {
        return Some(
            Guess::new(
                Cause::DeviceFault,
                "the modem does not answer commands",
                "模组不应答命令",
            )
            .or(&[Cause::MobileNoNetwork]),
        );
    }
    if has(&[
        "out of memory",
        "no memory",
        "not enough memory",
        "alloc fail",
        "malloc",
        "allocate",
        "insufficient heap",
        "low heap",
        "内存不足",
        "内存分配",
    ]) {
        let cause = if context.tls {
            Cause::OutOfMemoryTls
        } else {
            Cause::OutOfMemory
        };
        return guess(cause, "memory ran out", "内存不足");
    }
    if has(&["handshake", "握手"]) && !context.websocket {
        if has(&["timeout", "timed out", "超时"]) {
            return Some(
                Guess::new(
                    Cause::TlsTimeout,
                    "a TLS handshake did not end in time",
                    "TLS 握手超时",
                )
                .or(&[Cause::AcceptsThenSilent, Cause::MtuBlackHole]),
            );
        }
        return guess(Cause::TlsFailed, "a TLS handshake failed", "TLS 握手失败");
    }
    if has(&[
        "unauthorized",
        "unauthorised",
        "not authorized",
        "not authorised",
        "bad credential",
        "invalid credential",
        "bad username",
        "bad user name",
        "wrong password",
        "bad password",
        "incorrect password",
        "invalid password",
        "login failed",
        "login incorrect",
        "authentication fail",
        "auth fail",
        "access denied",
        "permission denied",
        "denied",
        "forbidden",
        "密码错误",
        "认证失败",
        "鉴权失败",
        "未授权",
        "用户名或密码",
    ]) {
        let cause = match () {
            () if context.ota && !context.http => Cause::OtaPassword,
            () if context.mqtt => Cause::AuthFailed,
            () if context.http || context.websocket => Cause::HttpUnauthorized,
            () => Cause::AuthFailed,
        };
        return guess(cause, "a login was refused", "登录被拒绝");
    }
    if context.ota
        && !has(&[
            "refused",
            "timeout",
            "timed out",
            "unreachable",
            "reset",
            "connect",
            "no data received",
            "拒绝",
            "超时",
            "连接",
        ])
    {
        return Some(image(text));
    }
    if has(&[
        "refused",
        "econnrefused",
        "拒绝连接",
        "连接被拒绝",
        "拒绝了",
        "被拒绝",
    ]) {
        let cause = match () {
            () if has(&[
                "connection refused by server",
                "broker refused",
                "server refused",
            ]) && context.mqtt =>
            {
                Cause::MqttRefused
            }
            () => Cause::NothingListens,
        };
        return Some(
            Guess::new(cause, "a connection was refused", "连接被拒绝").or(&[Cause::WrongAddress]),
        );
    }
    if has(&[
        "unreachable",
        "ehostunreach",
        "enetunreach",
        "no route",
        "不可达",
        "无法到达",
        "无法访问",
    ]) {
        return guess(
            Cause::HostUnreachable,
            "the host cannot be reached",
            "主机不可达",
        );
    }
    if has(&[
        "reset by",
        "connection reset",
        "econnreset",
        "连接被重置",
        "被重置",
    ]) {
        return guess(
            Cause::ConnectionReset,
            "the connection was reset",
            "连接被重置",
        );
    }
    if has(&[
        "timeout",
        "timed out",
        "etimedout",
        "time out",
        "time-out",
        "no answer",
        "no response",
        "not responding",
        "no data received",
        "超时",
        "无响应",
        "没有响应",
    ]) {
        let cause = match () {
            // What had begun was not finished.
            () if context.ota
                && has(&[
                    "waiting for data",
                    "no data received",
                    "acknowledge",
                    "upload",
                ]) =>
            {
                Cause::ImageInterrupted
            }
            () if has(&["before data", "waiting for data", "reading response"]) => {
                Cause::HttpTimeout
            }
            // Waiting for a connection to open.
            () if has(&["select()", "connect timeout", "connection timeout"]) => Cause::TcpTimeout,
            () if context.websocket => Cause::WebsocketFailed,
            () if context.tls => Cause::TlsTimeout,
            () if context.mqtt && !has(&["connect", "连接"]) => Cause::KeepAliveTimeout,
            () if context.http && !has(&["connect", "连接"]) => Cause::HttpTimeout,
            () if context.any()
                || names_address(line)
                || has(&[
                    "connect",
                    "socket",
                    "tcp",
                    "select",
                    "host",
                    "server",
                    "连接",
                    "服务器",
                ]) =>
            {
                Cause::TcpTimeout
            }
            () => return None,
        };
        return guess(cause, "no answer came in time", "未能及时收到应答");
    }
    let connecting = [
        "failed to connect",
        "couldn't connect",
        "could not connect",
        "unable to connect",
        "cannot connect",
    ];
    if has(&connecting) && !context.mqtt && !context.websocket && !context.tls {
        return vague(
            Cause::TcpConnectFailed,
            "a connection did not open",
            "连接未能建立",
        );
    }
    if context.tls {
        return guess(Cause::TlsFailed, "TLS failed", "TLS 失败");
    }
    if context.websocket {
        return vague(
            Cause::WebsocketFailed,
            "a WebSocket failed",
            "WebSocket 失败",
        );
    }
    let gone = has(&[
        "closed",
        "disconnect",
        "lost",
        "broken pipe",
        "断开",
        "掉线",
    ]);
    if gone && (context.any() || has(&["connection", "socket", "peer", "连接"])) {
        return guess(Cause::ConnectionLost, "a connection ended", "连接断开");
    }
    if context.mqtt {
        return vague(Cause::MqttFailed, "MQTT failed", "MQTT 失败");
    }
    if context.http {
        return vague(Cause::HttpFailed, "a request failed", "请求失败");
    }
    if has(&["connect", "socket", "tcp", "连接"]) {
        return vague(Cause::TcpFailed, "a connection failed", "连接失败");
    }
    None
}

/// What the two sides of a handshake did not agree on, where the words say it.
fn handshake(text: &Text<'_>, context: &Context) -> Option<Guess> {
    let has = |words: &[&str]| text.has(words);
    if has(&[
        "not look like a tls",
        "not a tls record",
        "not an ssl/tls record",
        "http request to https",
        "invalid tls record",
    ]) {
        return Some(
            Guess::new(
                Cause::PlainToTlsPort,
                "somebody spoke something else than TLS to a TLS port",
                "向 TLS 端口发送了非 TLS 数据",
            )
            .or(&[Cause::HttpToTls]),
        );
    }
    if !context.tls && !has(&["cipher"]) {
        return None;
    }
    if has(&[
        "unsupported version",
        "unsupported protocol",
        "protocol version",
        "version too low",
        "no protocols available",
        "protocol not supported",
        "版本不支持",
        "协议版本",
    ]) {
        return Some(Guess::new(
            Cause::TlsVersion,
            "the two sides have no version of TLS in common",
            "双方没有共同的 TLS 版本",
        ));
    }
    has(&[
        "no shared cipher",
        "no cipher",
        "no common cipher",
        "cipher suite supported by both",
        "no ciphers",
        "cipher mismatch",
        "加密套件",
    ])
    .then(|| {
        Guess::new(
            Cause::NoCommonCipher,
            "the two sides have no suite in common",
            "双方没有共同的加密套件",
        )
    })
}

fn certificate(text: &Text<'_>) -> Option<Guess> {
    let has = |words: &[&str]| text.has(words);
    let (cause, en, zh) = if has(&["not yet", "future", "尚未生效", "未生效"]) {
        (
            Cause::NotYetValid,
            "a certificate is not valid yet",
            "证书尚未生效",
        )
    } else if has(&["expired", "out of date", "过期", "到期"]) {
        (
            Cause::CertificateExpired,
            "a certificate is out of date",
            "证书已过期",
        )
    } else if has(&[
        "hostname",
        "host name",
        "name mismatch",
        "common name",
        "does not match",
        "域名不匹配",
        "名称不符",
    ]) {
        (
            Cause::NameMismatch,
            "a certificate is for another name",
            "证书名称不符",
        )
    } else if has(&["self signed", "self-signed", "自签"]) {
        (
            Cause::UntrustedSelfSigned,
            "a certificate is self-signed",
            "证书为自签名",
        )
    } else if has(&[
        "issuer",
        "unknown ca",
        "trust",
        "root",
        "chain",
        "不受信任",
        "根证书",
        "证书链",
    ]) {
        (
            Cause::ChainNotTrusted,
            "a chain leads to nothing that is trusted",
            "证书链不受信任",
        )
    } else if has(&["revoked", "吊销"]) {
        (
            Cause::CertificateRevoked,
            "a certificate is revoked",
            "证书已吊销",
        )
    } else if has(&["client certificate", "客户端证书"]) {
        (
            Cause::ClientCertRequired,
            "a certificate of the device is wanted",
            "需要客户端证书",
        )
    } else {
        (
            Cause::CertificateRefused,
            "a certificate was refused",
            "证书被拒绝",
        )
    };
    Some(Guess::new(cause, en, zh))
}

/// What a line says of an image that was refused.
fn image(text: &Text<'_>) -> Guess {
    let has = |words: &[&str]| text.has(words);
    if has(&["chip id", "wrong chip", "chip mismatch", "芯片"]) {
        // No chip has such a number: what was read there is no header.
        if text
            .number_behind(&["found"])
            .is_some_and(|chip| chip > 255)
        {
            return Guess::new(
                Cause::ImageNotValid,
                "the file is no image",
                "文件不是有效固件",
            );
        }
        return Guess::new(
            Cause::ImageWrongChip,
            "the image is for another chip",
            "固件芯片不符",
        );
    }
    if has(&["rolled back", "回滚"]) {
        return Guess::new(
            Cause::RolledBack,
            "the new image was taken back",
            "新固件已回滚",
        );
    }
    if has(&["file not found", "404", "no such file", "文件不存在"]) {
        return Guess::new(
            Cause::ImageNotFound,
            "there is no image at that address",
            "该地址没有固件",
        );
    }
    if has(&[
        "magic",
        "not valid",
        "invalid image",
        "invalid header",
        "image header",
        "bin header",
        "efuse",
        "无效",
    ]) {
        return Guess::new(
            Cause::ImageNotValid,
            "the file is no image",
            "文件不是有效固件",
        )
        .or(&[Cause::ImageWrongChip]);
    }
    if has(&[
        "checksum", "hash", "md5", "sha256", "crc", "corrupt", "校验",
    ]) {
        return Guess::new(Cause::ImageChecksum, "the image is damaged", "固件校验失败");
    }
    if has(&[
        "too large",
        "too big",
        "larger than",
        "not enough space",
        "less space",
        "no space",
        "does not fit",
        "miscompare",
        "空间不足",
    ]) {
        return Guess::new(Cause::ImageTooLarge, "the image does not fit", "固件过大");
    }
    Guess::new(Cause::OtaFailed, "an update failed", "固件升级失败").vague()
}

fn wifi(text: &Text<'_>) -> Option<Guess> {
    let has = |words: &[&str]| text.has(words);
    let (cause, en, zh) = if has(&[
        "password",
        "passphrase",
        "psk",
        "auth",
        "handshake",
        "密码",
        "认证",
    ]) {
        (
            Cause::WifiWrongPassword,
            "the Wi-Fi refused the password",
            "Wi-Fi 密码被拒绝",
        )
    } else if has(&[
        "not found",
        "no ap",
        "probe request",
        "cannot be found",
        "找不到",
        "未找到",
        "不存在",
    ]) {
        (
            Cause::WifiNotFound,
            "the Wi-Fi was not found",
            "未找到 Wi-Fi",
        )
    } else if has(&["dhcp", "ip address", "lease", "no ip", "未获取", "获取ip"]) {
        (
            Cause::WifiNoAddress,
            "no address was handed out",
            "未获取到地址",
        )
    } else if has(&["lost", "disconnect", "beacon", "断开", "掉线"]) {
        (Cause::WifiLost, "the Wi-Fi was lost", "Wi-Fi 断开")
    } else {
        (
            Cause::WifiFailed,
            "joining the Wi-Fi failed",
            "连接 Wi-Fi 失败",
        )
    };
    let guess = Guess::new(cause, en, zh);
    Some(match cause {
        Cause::WifiFailed => guess.vague(),
        _ => guess,
    })
}

/// Whether four numbers with dots between them are in it.
fn names_address(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_digit() && c != '.')
        .any(|word| word.split('.').filter(|part| !part.is_empty()).count() == 4)
}

/// Whether a line says that something failed, and not that nothing did.
fn says_failure(line: &str, spoken: &Spoken<'_>) -> bool {
    // Packets that came late are no failure, nor is advice for the case of one.
    if spoken.level == Level::Info || contains(line, "wrong sequence") || line.contains("(If ") {
        return false;
    }
    let soft_counts = spoken.level >= Level::Warning;
    finder().find_overlapping_iter(line).any(|found| {
        let index = found.pattern().as_usize();
        let telling = index < PLAIN.len()
            || soft_counts
            || (spoken.speaker != Speaker::Remark
                && line[found.range()].eq_ignore_ascii_case("error"));
        telling && is_word(line, found.start()) && !counts_none(line, found.start(), found.end())
    })
}

/// Words that say so wherever they stand.
const PLAIN: &[&str] = &[
    "refused",
    "reset by",
    "timed out",
    "timeout after",
    "unreachable",
    "no route",
    "expired",
    "denied",
    "rejected",
    "unable to",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "failed",
    "failure",
    "fail:",
    "not found",
    "unauthorized",
    "unauthorised",
    "not authorized",
    "not authorised",
    "unknown ca",
    "unknown host",
    "no such host",
    "out of memory",
    "no memory",
    "invalid",
    "incorrect",
    "wrong",
    "aborted",
    "broken pipe",
    "not responding",
    "no response",
    "untrusted",
    "guru meditation",
    "abort() was called",
    "brownout detector",
    "watchdog got triggered",
    "stack overflow",
    "corrupt heap",
    "<nosrv>",
    "bad gateway",
    "econnrefused",
    "econnreset",
    "etimedout",
    "ehostunreach",
    "enetunreach",
    "enotfound",
    "eai_again",
    "eaddrinuse",
    "miscompare",
    "not enough space",
    "does not fit",
    "rolled back",
    "no data received",
    "taken over",
    "takenover",
    "kicked out",
    "bad username",
    "bad user name",
    "invalid credential",
    "失败",
    "错误",
    "拒绝",
    "超时",
    "无法",
    "断开",
    "过期",
    "不可达",
    "异常",
    "不受信任",
    "未授权",
    "被重置",
    "未找到",
    "找不到",
];

/// Words that say so where the line is meant as a warning; `error` also elsewhere.
const SOFT: &[&str] = &[
    "error",
    "fail",
    "timeout",
    "lost",
    "disconnect",
    "closed",
    "missing",
    "bad ",
    "not trusted",
    "mismatch",
    "abort",
    "掉线",
    "丢失",
];

fn finder() -> &'static AhoCorasick {
    static FINDER: OnceBox<AhoCorasick> = OnceBox::new();
    FINDER.get_or_init(|| {
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(PLAIN.iter().chain(SOFT))
            .expect("a few words make a finder");
        Box::new(finder)
    })
}

/// Whether a word begins here: `ConnectFailures` says nothing of a failure.
fn is_word(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    !(before.is_some_and(|c| c.is_ascii_alphabetic())
        && line[at..].starts_with(|c: char| c.is_ascii()))
}

/// `no error`, `errors: 0`, `error=0`, `failed 0`.
fn counts_none(line: &str, start: usize, end: usize) -> bool {
    let before = line[..start].trim_end();
    let last = before.rsplit(' ').next().unwrap_or(before);
    let none_before = ["no", "0", "without", "this", "if"]
        .iter()
        .any(|none| last.eq_ignore_ascii_case(none))
        || before.ends_with(['无', '没'])
        || before.ends_with("没有");
    let behind = line[end..].trim_start_matches(|c: char| {
        c.is_ascii_alphabetic() || matches!(c, ' ' | ':' | '=' | '"' | '(' | '_')
    });
    // Only a number right behind the word counts it.
    let near = line.len() - end - behind.len() <= 12;
    let zero = ["0x0", "0"].iter().any(|zero| {
        let rest = behind.strip_prefix(zero);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.'))
    });
    none_before || (near && zero)
}

/// What a line is about.
#[derive(Default)]
struct Context {
    wifi: bool,
    mqtt: bool,
    websocket: bool,
    http: bool,
    tls: bool,
    ota: bool,
}

impl Context {
    fn of(text: &Text<'_>, tag: &str) -> Context {
        let has = |words: &[&str]| {
            words
                .iter()
                .any(|word| text.has(&[*word]) || contains(tag, word))
        };
        let websocket = has(&["websocket", "ws://", "wss://", "ws:", "upgrade: "]) || tag == "WS";
        Context {
            wifi: has(&[
                "wifi",
                "wi-fi",
                "wlan",
                "ssid",
                "dhcp",
                "netif",
                "access point",
                "无线",
                "热点",
            ]) || tag == "WIF"
                || tag == "WIFI",
            mqtt: has(&["mqtt", "broker", "connack"]) || tag == "MQT",
            websocket,
            http: has(&[
                "http:",
                "http ",
                "https",
                "http_",
                "webserver",
                " url",
                "url:",
            ]) || tag == "HTP",
            // The part called esp-tls also opens connections that have none.
            tls: has(&["tls", "ssl", "handshake"]) && !websocket && tag != "esp-tls",
            ota: has(&[
                "ota",
                "firmware",
                "image",
                "flash",
                "upload buffer",
                "[upload]",
                "acknowledge receive",
                "chip id",
                "update end",
                "固件",
                "升级",
            ]) && !has(&["total", "rotat", "quota", "notat"])
                || (has(&["upgrade"]) && !websocket && !has(&["header", "required", "http/"]))
                || tag == "UPL",
        }
    }

    fn any(&self) -> bool {
        self.wifi || self.mqtt || self.websocket || self.http || self.tls || self.ota
    }
}
