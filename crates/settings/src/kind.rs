//! The types that a value may have: how each is read, shown and limited.

use alloc::format;
use alloc::string::{String, ToString};
use core::net::SocketAddr;
use core::time::Duration;

use crate::nearest::{either, nearest};
use crate::units::{parse_duration, show_duration};
use crate::{ByteSize, DataPath};

/// A value as it was written.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    /// In a settings file, where it has a type of its own.
    Toml(&'a toml_edit::Value),
    /// In the environment or on the command line, where all is text.
    Text(&'a str),
}

/// Why a value does not fit.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// What was seen and why it does not fit.
    pub(crate) what: String,
    /// What would.
    pub(crate) help: String,
}

/// A rule that one key has beyond its type and limits.
pub(crate) type Check<T> = fn(&T) -> Result<(), Misfit>;

/// A type that a setting may have.
pub(crate) trait Kind: Sized {
    /// Reads a value.
    fn read(raw: Raw<'_>) -> Result<Self, Misfit>;
    /// Writes it as TOML.
    fn show(&self) -> String;
    /// Its size for a check of limits; `None` for kinds without order.
    fn measure(&self) -> Option<u64> {
        None
    }
}

impl Raw<'_> {
    /// The value as a person would recognise it.
    fn seen(self) -> String {
        match self {
            Raw::Text(text) => format!("{text:?}"),
            Raw::Toml(value) => value.to_string().trim().to_string(),
        }
    }

    /// The text of a string, or why it is none.
    fn text(&self, example: &str) -> Result<&str, Misfit> {
        match self {
            Raw::Text(text) => Ok(text),
            Raw::Toml(value) => value.as_str().ok_or_else(|| Misfit {
                what: format!("{} is {}, not a text", self.seen(), type_name(value)),
                help: format!("write a text in double quotes, for example {example}"),
            }),
        }
    }

    fn misfit(self, what: &str, help: &str) -> Misfit {
        Misfit {
            what: format!("{} {what}", self.seen()),
            help: help.to_string(),
        }
    }
}

fn type_name(value: &toml_edit::Value) -> &'static str {
    match value {
        toml_edit::Value::String(_) => "a text",
        toml_edit::Value::Integer(_) => "a number",
        toml_edit::Value::Float(_) => "a fraction",
        toml_edit::Value::Boolean(_) => "true or false",
        toml_edit::Value::Datetime(_) => "a date or time",
        toml_edit::Value::Array(_) => "a list",
        toml_edit::Value::InlineTable(_) => "a table",
    }
}

impl Kind for bool {
    fn read(raw: Raw<'_>) -> Result<bool, Misfit> {
        let read = match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Text("true") => Some(true),
            Raw::Text("false") => Some(false),
            Raw::Text(_) => None,
        };
        read.ok_or_else(|| {
            raw.misfit(
                "is neither true nor false",
                "write true or false, without quotes",
            )
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Kind for String {
    fn read(raw: Raw<'_>) -> Result<String, Misfit> {
        Ok(raw.text("\"text\"")?.to_string())
    }

    fn show(&self) -> String {
        quote(self)
    }
}

impl Kind for DataPath {
    fn read(raw: Raw<'_>) -> Result<DataPath, Misfit> {
        match raw.text("\"/var/lib/safeport\"")? {
            "" => Err(raw.misfit("names no folder", "write a path, or \"auto\"")),
            text if text.contains('\0') => Err(raw.misfit(
                "has a zero byte, which no path can have",
                "write a path, or \"auto\"",
            )),
            "auto" => Ok(DataPath::Auto),
            folder => Ok(DataPath::Folder(folder.to_string())),
        }
    }

    fn show(&self) -> String {
        match self {
            DataPath::Auto => quote("auto"),
            DataPath::Folder(folder) => quote(folder),
        }
    }
}

/// Whole numbers, of the width that the setting's type has.
macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Kind for $type {
            fn read(raw: Raw<'_>) -> Result<$type, Misfit> {
                let number = match raw {
                    Raw::Toml(value) => value.as_integer(),
                    Raw::Text(text) => text.replace('_', "").parse::<i64>().ok(),
                };
                let Some(number) = number else {
                    return Err(raw.misfit("is not a whole number", "write digits without quotes or a unit, for example 1000"));
                };
                <$type>::try_from(number).map_err(|_| raw.misfit(
                    "is out of range",
                    &format!("use a number from 0 to {}", <$type>::MAX),
                ))
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn measure(&self) -> Option<u64> {
                Some(u64::from(*self))
            }
        }
    )*};
}
whole_number!(u16, u32);

impl Kind for ByteSize {
    fn read(raw: Raw<'_>) -> Result<ByteSize, Misfit> {
        with_unit(
            raw,
            ByteSize::parse,
            "a size",
            "\"64KiB\", \"1MiB\" or a plain number of bytes",
        )
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }

    fn measure(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Kind for Duration {
    fn read(raw: Raw<'_>) -> Result<Duration, Misfit> {
        with_unit(
            raw,
            parse_duration,
            "a duration",
            "\"500ms\", \"10s\", \"7d\" or a plain number of seconds",
        )
    }

    fn show(&self) -> String {
        quote(&show_duration(*self))
    }

    fn measure(&self) -> Option<u64> {
        u64::try_from(self.as_millis()).ok()
    }
}

/// Reads a number with a unit, or a bare integer from a file.
fn with_unit<T>(
    raw: Raw<'_>,
    parse: fn(&str) -> Result<T, String>,
    name: &str,
    example: &str,
) -> Result<T, Misfit> {
    let text = match raw {
        Raw::Text(text) => text.to_string(),
        Raw::Toml(value) => match (value.as_str(), value.as_integer()) {
            (Some(text), _) => text.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => {
                return Err(Misfit {
                    what: format!("{} is {}, not {name}", raw.seen(), type_name(value)),
                    help: format!("write {example}"),
                });
            }
        },
    };
    parse(&text).map_err(|why| Misfit {
        what: format!("{} is not {name}: {why}", raw.seen()),
        help: format!("write {example}"),
    })
}

impl Kind for SocketAddr {
    fn read(raw: Raw<'_>) -> Result<SocketAddr, Misfit> {
        const HELP: &str = "write an address and a port, for example \"0.0.0.0:1883\" for every network, \
             \"127.0.0.1:1883\" for this machine only, \"[::]:1883\" for IPv6";
        // A bare port is the commonest slip; answer it with the line to write.
        let port = match raw {
            Raw::Toml(value) => value.as_integer().map(|port| port.to_string()),
            Raw::Text(_) => None,
        };
        let text = match &port {
            Some(port) => port.as_str(),
            None => raw.text("\"0.0.0.0:1883\"")?,
        };
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.parse::<u16>().is_err() {
            return Err(raw.misfit("is not an address with a port", HELP));
        }
        match host {
            "" | "*" => Err(raw.misfit(
                "has no address",
                &format!("write \"0.0.0.0:{port}\" for every network, or \"127.0.0.1:{port}\" for this machine only"),
            )),
            "localhost" => Err(raw.misfit(
                "has a name where an address is needed",
                &format!("write \"127.0.0.1:{port}\""),
            )),
            host if host.contains(':') && !host.starts_with('[') => Err(raw.misfit(
                "is an IPv6 address without brackets",
                &format!("write \"[{host}]:{port}\""),
            )),
            _ => Err(raw.misfit("is not an address with a port", HELP)),
        }
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }
}

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

/// Kinds with a fixed list of words.
macro_rules! one_of {
    ($type:ty { $($word:literal => $value:path),* $(,)? }) => {
        impl Kind for $type {
            fn read(raw: Raw<'_>) -> Result<$type, Misfit> {
                const WORDS: &[&str] = &[$($word),*];
                match raw.text(concat!("\"", one_of!(@first $($word),*), "\""))? {
                    $($word => Ok($value),)*
                    other => {
                        let help = match nearest(other, WORDS.iter().copied()) {
                            Some(word) => format!("did you mean {word:?}? Known are {}", either(WORDS)),
                            None => format!("write {}", either(WORDS)),
                        };
                        Err(raw.misfit("is not one of the known words", &help))
                    }
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
one_of!(Durability {
    "os" => Durability::Os,
    "disk" => Durability::Disk,
    "none" => Durability::None,
});

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
        let help = match nearest(word, LEVELS.into_iter()) {
            Some(near) => format!("did you mean {near:?}? Known are {}", either(&LEVELS)),
            None => format!(
                "write {}, or a list such as \"info,safeport::engine=debug\"",
                either(&LEVELS)
            ),
        };
        return Err(Misfit {
            what: format!("{word:?} is no log level"),
            help,
        });
    }
    Ok(())
}

/// A check of `server.name`.
pub(crate) fn check_name(name: &String) -> Result<(), Misfit> {
    if name.trim().is_empty() || name.chars().count() > 64 || name.contains(char::is_control) {
        return Err(Misfit {
            what: format!("{name:?} cannot be the name of a server"),
            help: "write 1 to 64 characters without control characters".to_string(),
        });
    }
    Ok(())
}

/// A TOML string.
fn quote(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
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
