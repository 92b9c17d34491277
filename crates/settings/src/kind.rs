//! The types that a value may have: how each is read, shown and limited.

mod agents;
mod basic;
mod listen;
mod lists;
mod tls;
mod told;
mod words;
mod xiaozhi;

pub use agents::{
    AgentChoice, Argument, Memory, ProviderKind, ProviderNeed, ProviderRole, ToolSource,
};
pub(crate) use agents::{
    check_extra, check_language, check_prompt, check_provider_name, check_provider_url,
};
pub use listen::{Bind, Binds, OnConflict, PortRange};
pub use lists::{Network, Pin, Tag};
pub use tls::{AcmeKey, DnsName, FilePath, RecordSize};
pub(crate) use tls::{check_acme_keys, check_contact, check_directory};
pub use told::{AdvertisedHost, Secret};
pub(crate) use told::{check_eab_key, check_secret};
pub use words::{
    Accept, CertificateChoice, Challenge, Durability, Language, LogFormat, SafebootPolicy,
    XiaozhiTransport,
};
pub(crate) use words::{check_log_level, check_name};
pub use xiaozhi::{UtcOffset, XiaozhiActivation};
pub(crate) use xiaozhi::{check_timezone, check_websocket_url};

use alloc::format;
use alloc::string::{String, ToString};

use crate::Said;
use crate::said::said;

/// A value as it was written.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    /// In a settings file or a revision, where it has a type of its own.
    Toml(&'a toml_edit::Value),
    /// In the environment, on the command line or at a prompt, where all is text.
    Text(&'a str),
}

/// Why a value does not fit.
#[derive(Debug, Clone)]
pub(crate) struct Misfit {
    /// What was seen and why it does not fit.
    pub(crate) what: Said,
    /// What would.
    pub(crate) help: Said,
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
    /// Whether it may be said by a source that outlives this run; a flag may
    /// say more.
    fn lasting(&self) -> Result<(), Misfit> {
        Ok(())
    }
}

impl<'a> Raw<'a> {
    /// The value as a person would recognise it.
    pub(crate) fn seen(self) -> String {
        match self {
            Raw::Text(text) => format!("{text:?}"),
            Raw::Toml(value) => value.to_string().trim().to_string(),
        }
    }

    /// The text of a string, or why it is none.
    pub(crate) fn text(self, example: &str) -> Result<&'a str, Misfit> {
        match self {
            Raw::Text(text) => Ok(text),
            Raw::Toml(value) => value.as_str().ok_or_else(|| {
                let (seen, name) = (self.seen(), type_name(value));
                Misfit {
                    what: said!("{seen} is {}, not a text", "{seen} 是{}，不是文字", name),
                    help: said!(
                        "write a text in double quotes, for example {example}",
                        "请把文字写在双引号里，例如 {example}"
                    ),
                }
            }),
        }
    }

    /// The value followed by what is the matter with it.
    pub(crate) fn misfit(self, what: Said, help: Said) -> Misfit {
        let seen = self.seen();
        Misfit {
            what: said!("{seen} {}", "{seen} {}", what),
            help,
        }
    }
}

/// What a value of a file is.
pub(crate) fn type_name(value: &toml_edit::Value) -> Said {
    match value {
        toml_edit::Value::String(_) => said!("a text", "文字"),
        toml_edit::Value::Integer(_) => said!("a number", "数字"),
        toml_edit::Value::Float(_) => said!("a fraction", "小数"),
        toml_edit::Value::Boolean(_) => said!("true or false", "true 或 false"),
        toml_edit::Value::Datetime(_) => said!("a date or time", "日期或时间"),
        toml_edit::Value::Array(_) => said!("a list", "列表"),
        toml_edit::Value::InlineTable(_) => said!("a table", "表"),
    }
}

/// A TOML string.
pub(crate) fn quote(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
