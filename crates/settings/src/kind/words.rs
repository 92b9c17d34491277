//! Kinds with a fixed list of words.

use alloc::string::String;

use super::{Kind, Misfit, Raw, quote};
use crate::Listener;
use crate::nearest::{either, nearest};
use crate::said::said;

/// The language of what the server says to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Follow `LC_ALL`, `LC_MESSAGES` and `LANG`. Written `auto`.
    Auto,
    /// English. Written `en`.
    En,
    /// Chinese in simplified characters. Written `zh-CN`.
    ZhCn,
}

impl Language {
    /// The language to use, [`Language::En`] or [`Language::ZhCn`]. `Auto` takes
    /// the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is not empty:
    /// Chinese in simplified characters for `zh_CN`, `zh_SG` and a bare `zh`,
    /// English for all others.
    pub fn resolve(self, env: &[(&str, &str)]) -> Language {
        if self != Language::Auto {
            return self;
        }
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| {
                env.iter()
                    .find(|(variable, value)| *variable == name && !value.is_empty())
                    .map(|(_, value)| *value)
            })
            .unwrap_or("");
        // `zh_CN.UTF-8@variant`: the encoding says nothing about the language.
        let name = locale.split(['.', '@']).next().unwrap_or("");
        match name.replace('-', "_").to_ascii_lowercase().as_str() {
            "zh" | "zh_cn" | "zh_sg" | "zh_hans" | "zh_hans_cn" => Language::ZhCn,
            _ => Language::En,
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people. Written `text`.
    Text,
    /// One JSON object a line. Written `json`.
    Json,
}

/// What becomes of the second image of a Tasmota when its main one is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafebootPolicy {
    /// As `ensure` for devices that come over TLS, as `off` for others. Written `auto`.
    Auto,
    /// It is brought up to the main image's version first. Written `ensure`.
    Ensure,
    /// It is left alone. Written `off`.
    Off,
}

/// What an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process. Written `os`.
    Os,
    /// A power cut, too. Written `disk`.
    Disk,
    /// Nothing: messages and sessions are in memory only. Written `none`.
    None,
}

/// Which way xiaozhi devices are told to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XiaozhiTransport {
    /// Whatever this server offers and the device can do. Written `auto`.
    Auto,
    /// WebSocket. Written `websocket`.
    WebSocket,
    /// MQTT without TLS. Written `mqtt`.
    Mqtt,
    /// MQTT over TLS, which their firmware uses on port 8883 only. Written `mqtts`.
    Mqtts,
}

impl XiaozhiTransport {
    /// Reads a value as TOML, as managed values are kept. `None` for what is none.
    pub fn parse_toml(toml: &str) -> Option<XiaozhiTransport> {
        let value = toml.parse::<toml_edit::Value>().ok()?;
        XiaozhiTransport::read(Raw::Toml(&value)).ok()
    }
}

/// Which forms of its protocol a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Its own: `mqtts` and `https` inside TLS, `mqtt` and `http` in the clear.
    /// Written `own`.
    Own,
    /// In the clear and inside TLS on the same port, told apart by the first
    /// byte of a connection. Written `both`.
    Both,
}

/// Which certificates a listener presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateChoice {
    /// Whichever fits the name that the client asks for and what it can verify:
    /// those of `tls.chain_files` first, then those of `[acme]`, then this
    /// server's own authority. Written `auto`.
    Auto,
    /// Those of this server's own authority. Written `private`.
    Private,
    /// Those of `tls.chain_files`. Written `files`.
    Files,
    /// Those of `[acme]`. Written `acme`.
    Acme,
}

/// How a certificate authority sees that a name is ours (RFC 8555 section 8,
/// RFC 8737).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// It fetches a file by HTTP from port 80. Written `http-01`.
    Http01,
    /// It asks for a certificate made for that by TLS on port 443. Written
    /// `tls-alpn-01`.
    TlsAlpn01,
    /// It looks up a record in DNS, which a program of the operator sets.
    /// Written `dns-01`.
    Dns01,
}

/// Makes a kind of a fixed list of words.
macro_rules! one_of {
    ($type:ty { $($word:literal => $value:path),* $(,)? }) => {
        impl Kind for $type {
            fn read(raw: Raw<'_>) -> Result<$type, Misfit> {
                const WORDS: &[&str] = &[$($word),*];
                match raw.text(concat!("\"", one_of!(@first $($word),*), "\""))? {
                    $($word => Ok($value),)*
                    other => Err(raw.misfit(
                        said!("is not one of the known words", "不是已知的词"),
                        slip(other, WORDS),
                    )),
                }
            }

            fn show(&self) -> String {
                quote(match self { $($value => $word),* })
            }
        }
    };
    (@first $first:literal $(, $rest:literal)*) => { $first };
}
one_of!(Language { "auto" => Language::Auto, "en" => Language::En, "zh-CN" => Language::ZhCn });
one_of!(LogFormat { "text" => LogFormat::Text, "json" => LogFormat::Json });
one_of!(SafebootPolicy {
    "auto" => SafebootPolicy::Auto,
    "ensure" => SafebootPolicy::Ensure,
    "off" => SafebootPolicy::Off,
});

one_of!(Durability {
    "os" => Durability::Os,
    "disk" => Durability::Disk,
    "none" => Durability::None,
});
one_of!(XiaozhiTransport {
    "auto" => XiaozhiTransport::Auto,
    "websocket" => XiaozhiTransport::WebSocket,
    "mqtt" => XiaozhiTransport::Mqtt,
    "mqtts" => XiaozhiTransport::Mqtts,
});
one_of!(Accept { "own" => Accept::Own, "both" => Accept::Both });
one_of!(CertificateChoice {
    "auto" => CertificateChoice::Auto,
    "private" => CertificateChoice::Private,
    "files" => CertificateChoice::Files,
    "acme" => CertificateChoice::Acme,
});
one_of!(Challenge {
    "http-01" => Challenge::Http01,
    "tls-alpn-01" => Challenge::TlsAlpn01,
    "dns-01" => Challenge::Dns01,
});

/// One that connections can be forwarded to.
impl Kind for Listener {
    fn read(raw: Raw<'_>) -> Result<Listener, Misfit> {
        let word = raw.text("\"http\"")?;
        let known = Listener::CONNECTED;
        known
            .into_iter()
            .find(|listener| listener.name() == word)
            .ok_or_else(|| {
                raw.misfit(
                    said!("is not one of the known words", "不是已知的词"),
                    slip(word, &known.map(Listener::name)),
                )
            })
    }

    fn show(&self) -> String {
        quote(self.name())
    }
}

/// What to write instead of a word that is not known.
pub(super) fn slip(word: &str, known: &[&str]) -> crate::Said {
    let all = either(known);
    match nearest(word, known.iter().copied()) {
        Some(word) => said!(
            "did you mean {word:?}? Known are {}",
            "您是指 {word:?} 吗？可用的有 {}",
            all
        ),
        None => said!("write {}", "请写 {}", all),
    }
}

/// A check of `log.level`, in the form of tracing's filters.
#[expect(clippy::ptr_arg, reason = "a `Check` sees the type of the key")]
pub(crate) fn check_log_level(level: &String) -> Result<(), Misfit> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in level.split(',') {
        let word = directive.rsplit('=').next().unwrap_or(directive).trim();
        let is_target = !directive.contains('=') && (word.contains("::") || word == "safeport");
        if is_target || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            continue;
        }
        let all = either(&LEVELS);
        let help = match nearest(word, LEVELS.into_iter()) {
            Some(_) => slip(word, &LEVELS),
            None => said!(
                "write {}, or a list such as \"info,safeport::engine=debug\"",
                "请写 {}，或写成列表，例如 \"info,safeport::engine=debug\"",
                all
            ),
        };
        return Err(Misfit {
            what: said!("{word:?} is no log level", "{word:?} 不是日志级别"),
            help,
        });
    }
    Ok(())
}

/// A check of `server.name`.
pub(crate) fn check_name(name: &String) -> Result<(), Misfit> {
    if name.trim().is_empty() || name.chars().count() > 64 || name.contains(char::is_control) {
        return Err(Misfit {
            what: said!(
                "{name:?} cannot be the name of a server",
                "{name:?} 不能用作服务器名称"
            ),
            help: said!(
                "write 1 to 64 characters without control characters",
                "请写 1 到 64 个字符，不含控制字符"
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_follows_the_first_locale_variable_that_is_set() {
        for (env, expected) in [
            (&[("LANG", "zh_CN.UTF-8")][..], Language::ZhCn),
            (&[("LANG", "zh")], Language::ZhCn),
            (&[("LANG", "zh_TW.UTF-8")], Language::En),
            (&[("LANG", "zh_CN"), ("LC_ALL", "C.UTF-8")], Language::En),
            (
                &[
                    ("LANG", "de_DE"),
                    ("LC_ALL", ""),
                    ("LC_MESSAGES", "zh-Hans-CN"),
                ],
                Language::ZhCn,
            ),
            (&[], Language::En),
        ] {
            assert_eq!(Language::Auto.resolve(env), expected, "{env:?}");
        }
        assert_eq!(Language::En.resolve(&[("LANG", "zh_CN")]), Language::En);
    }
}
