//! What devices are told, and what nobody is.

use alloc::string::{String, ToString};
use core::fmt;

use super::{Kind, Misfit, Raw, quote};
use crate::address::{AdvertisedAddress, HostName};
use crate::said::said;

/// The host that devices are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdvertisedHost {
    /// The best address of this machine that a device could reach. Written
    /// `auto`.
    Auto,
    /// This one.
    Host(HostName),
}

impl AdvertisedHost {
    /// Reads a value as TOML, as managed values are kept. `None` for what is no
    /// advertised host.
    pub fn parse_toml(toml: &str) -> Option<AdvertisedHost> {
        let value = toml.parse::<toml_edit::Value>().ok()?;
        AdvertisedHost::read(Raw::Toml(&value)).ok()
    }
}

impl Kind for AdvertisedHost {
    fn read(raw: Raw<'_>) -> Result<AdvertisedHost, Misfit> {
        let text = raw.text("\"auto\"")?.trim();
        if text == "auto" {
            return Ok(AdvertisedHost::Auto);
        }
        let host = HostName::parse(text).and_then(|host| {
            host.check_for_devices()?;
            Ok(host)
        });
        match host {
            Ok(host) => Ok(AdvertisedHost::Host(host)),
            Err(error) => Err(Misfit {
                what: error.what(),
                help: error.help(),
            }),
        }
    }

    fn show(&self) -> String {
        match self {
            AdvertisedHost::Auto => quote("auto"),
            AdvertisedHost::Host(host) => quote(&host.to_string()),
        }
    }
}

impl Kind for AdvertisedAddress {
    fn read(raw: Raw<'_>) -> Result<AdvertisedAddress, Misfit> {
        let text = raw.text("\"https://hub.example.com\"")?;
        let address = AdvertisedAddress::parse(text.trim()).and_then(|address| {
            address.host().check_for_devices()?;
            Ok(address)
        });
        address.map_err(|error| Misfit {
            what: error.what(),
            help: error.help(),
        })
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }
}

/// A text that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What stands for it wherever it would be shown.
    pub const SHOWN: &'static str = "(secret)";

    /// The text itself; never to be written anywhere.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::SHOWN)
    }
}

impl Kind for Secret {
    fn read(raw: Raw<'_>) -> Result<Secret, Misfit> {
        // None of these messages repeats what was written.
        let text = match raw {
            Raw::Text(text) => text,
            Raw::Toml(value) => value.as_str().ok_or_else(|| Misfit {
                what: said!("the secret is not a text", "密文不是文字"),
                help: said!("write a text in double quotes", "请把文字写在双引号里"),
            })?,
        };
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && text.len() <= MAX_SECRET {
            return Ok(Secret(text.to_string()));
        }
        Err(Misfit {
            what: if printable {
                said!(
                    "the secret has {} characters",
                    "密文有 {} 个字符",
                    text.len()
                )
            } else {
                said!(
                    "the secret has characters that a request could not carry",
                    "密文含有请求里无法传送的字符"
                )
            },
            help: said!(
                "write letters, digits and signs of ASCII without spaces; \"\" for none",
                "请写 ASCII 字母、数字和符号，不含空格；\"\" 表示没有"
            ),
        })
    }

    fn show(&self) -> String {
        quote(&self.0)
    }
}

/// A check of secrets that this server itself asks others for.
pub(crate) fn check_secret(secret: &Secret) -> Result<(), Misfit> {
    if secret.is_empty() || (16..=128).contains(&secret.0.len()) {
        return Ok(());
    }
    Err(Misfit {
        what: said!(
            "the secret has {} characters",
            "密文有 {} 个字符",
            secret.0.len()
        ),
        help: said!(
            "write 16 to 128 letters, digits and signs of ASCII without spaces, for example \
             what `openssl rand -hex 16` prints; \"\" for none",
            "请写 16 到 128 个 ASCII 字母、数字和符号，不含空格，例如 `openssl rand -hex 16` 的输出；\
             \"\" 表示没有"
        ),
    })
}

/// A check of `acme.eab_key`: authorities give it in the alphabet of base64url
/// (RFC 8555 section 7.3.4).
pub(crate) fn check_eab_key(key: &Secret) -> Result<(), Misfit> {
    let fits = key
        .0
        .trim_end_matches('=')
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if fits {
        return check_secret(key);
    }
    Err(Misfit {
        what: said!(
            "the key has characters that do not belong to base64url",
            "密钥含有不属于 base64url 的字符"
        ),
        help: said!(
            "write the key as the certificate authority gave it: letters, digits, - and _",
            "请照证书机构给出的样子写密钥：字母、数字、- 和 _"
        ),
    })
}

/// Longest secret, in bytes: keys that are tokens with claims in them have some hundreds.
const MAX_SECRET: usize = 4096;
