//! What `[tls]` and `[acme]` are made of: sizes of records, files, names, keys,
//! the address of a certificate authority.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::words::slip;
use super::{Kind, Misfit, Raw, quote};
use crate::address::{HostName, Reach};
use crate::kind::lists::Element;
use crate::said::said;
use crate::{ByteSize, Said};

/// How much may be in one TLS record that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSize {
    /// 1 KiB, which the smallest devices can take; more for clients that
    /// certainly have room for it. Written `auto`.
    Auto,
    /// This many bytes, 512 to 16384.
    Bytes(u16),
}

impl Kind for RecordSize {
    fn read(raw: Raw<'_>) -> Result<RecordSize, Misfit> {
        if matches!(raw, Raw::Text("auto"))
            || matches!(raw, Raw::Toml(value) if value.as_str() == Some("auto"))
        {
            return Ok(RecordSize::Auto);
        }
        let help = || {
            said!(
                "write \"auto\", or a size from \"512B\" to \"16KiB\"",
                "请写 \"auto\"，或 \"512B\" 到 \"16KiB\" 之间的大小"
            )
        };
        let bytes = ByteSize::read(raw).map_err(|misfit| Misfit {
            help: help(),
            ..misfit
        })?;
        match u16::try_from(bytes.0) {
            Ok(bytes @ 512..=16384) => Ok(RecordSize::Bytes(bytes)),
            _ => Err(raw.misfit(
                said!(
                    "is no size that a TLS record may have",
                    "不是 TLS 记录可以有的大小"
                ),
                help(),
            )),
        }
    }

    fn show(&self) -> String {
        match self {
            RecordSize::Auto => quote("auto"),
            RecordSize::Bytes(bytes) => quote(&ByteSize(u64::from(*bytes)).to_string()),
        }
    }

    fn measure(&self) -> Option<u64> {
        match self {
            RecordSize::Auto => None,
            RecordSize::Bytes(bytes) => Some(u64::from(*bytes)),
        }
    }
}

/// The path of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath(String);

impl FilePath {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Element for FilePath {
    const EXAMPLE: &'static str = "\"/etc/ssl/hub/fullchain.pem\"";

    fn parse(text: &str) -> Result<FilePath, Misfit> {
        if !text.trim().is_empty() && !text.contains('\0') {
            return Ok(FilePath(text.to_string()));
        }
        Err(Misfit {
            what: said!("{text:?} names no file", "{text:?} 没有指明文件"),
            help: said!(
                "write a path, for example {}",
                "请写路径，例如 {}",
                FilePath::EXAMPLE
            ),
        })
    }
}

/// A name that a certificate is asked for: what DNS can carry, in small
/// letters, or `*.` and that.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

impl DnsName {
    /// As text: `hub.example.com`, `*.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for every name one label longer.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Element for DnsName {
    const EXAMPLE: &'static str = "\"hub.example.com\"";

    fn parse(text: &str) -> Result<DnsName, Misfit> {
        let help = || {
            said!(
                "write a name, for example \"hub.example.com\", or \"*.example.com\" for every name \
                 under it",
                "请写名称，例如 \"hub.example.com\"，或用 \"*.example.com\" 表示其下的每个名称"
            )
        };
        let text = text.trim();
        let (star, rest) = match text.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", text),
        };
        // A star anywhere else, and `_`, stand in no certificate (RFC 5280, CA/Browser Forum).
        if rest.contains(['*', '_']) {
            return Err(Misfit {
                what: said!(
                    "{text:?} is no name that a certificate can carry",
                    "{text:?} 不是证书里可以写的名称"
                ),
                help: help(),
            });
        }
        match HostName::parse(rest.strip_suffix('.').unwrap_or(rest)) {
            Ok(HostName::Name(name)) => Ok(DnsName(alloc::format!("{star}{name}"))),
            Ok(HostName::Ip(_)) => Err(Misfit {
                what: said!(
                    "{text:?} is an address, and names are asked for here",
                    "{text:?} 是地址，而这里要的是名称"
                ),
                help: help(),
            }),
            Err(error) => Err(Misfit {
                what: error.what(),
                help: help(),
            }),
        }
    }
}

/// A kind of key that a certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcmeKey {
    /// RSA of 2048 bits, which every device can verify. Written `rsa`.
    Rsa,
    /// The curve P-256. Written `p256`.
    P256,
}

impl fmt::Display for AcmeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcmeKey::Rsa => "rsa",
            AcmeKey::P256 => "p256",
        })
    }
}

impl Element for AcmeKey {
    const EXAMPLE: &'static str = "\"rsa\"";

    fn parse(text: &str) -> Result<AcmeKey, Misfit> {
        match text {
            "rsa" => Ok(AcmeKey::Rsa),
            "p256" => Ok(AcmeKey::P256),
            other => Err(Misfit {
                what: said!("{other:?} is no kind of key", "{other:?} 不是密钥种类"),
                help: slip(other, &["rsa", "p256"]),
            }),
        }
    }
}

/// A check of `acme.keys`: at least one, none twice.
pub(crate) fn check_acme_keys(keys: &Vec<AcmeKey>) -> Result<(), Misfit> {
    let twice = matches!(keys.as_slice(), [one, rest @ ..] if rest.contains(one)) || keys.len() > 2;
    if !keys.is_empty() && !twice {
        return Ok(());
    }
    Err(Misfit {
        what: if twice {
            said!("a kind of key stands here twice", "同一种密钥写了两次")
        } else {
            said!("the list names no kind of key", "列表里没有密钥种类")
        },
        help: said!(
            "write [\"rsa\"], [\"rsa\", \"p256\"] or [\"p256\"]",
            "请写 [\"rsa\"]、[\"rsa\", \"p256\"] 或 [\"p256\"]"
        ),
    })
}

/// A check of `acme.directory`. What is asked and answered there must not be
/// changed on the way: without TLS it may lead to this machine only.
pub(crate) fn check_directory(url: &String) -> Result<(), Misfit> {
    let misfit = |what: Said| Misfit {
        what: said!("{url:?} {}", "{url:?} {}", what),
        help: said!(
            "write the address of the directory as the certificate authority names it, for \
             example \"https://acme-v02.api.letsencrypt.org/directory\"",
            "请写证书机构给出的目录地址，例如 \"https://acme-v02.api.letsencrypt.org/directory\""
        ),
    };
    let no_url = || misfit(said!("is no URL of HTTPS", "不是 HTTPS 的网址"));
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(no_url());
    }
    let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
    let place = rest.split(['/', '?', '#']).next().unwrap_or("");
    if place.contains('@') {
        return Err(misfit(said!(
            "has a user in it, and an account there is kept by a key",
            "里面有用户名，而那里的账户用密钥标识"
        )));
    }
    let host = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            if port.parse::<u16>().is_ok_and(|port| port != 0) {
                host
            } else {
                return Err(no_url());
            }
        }
        _ => place,
    };
    let host = HostName::parse(host).map_err(|error| misfit_of(error.what(), &no_url()))?;
    match scheme {
        "https" => Ok(()),
        "http" if host.reach() == Reach::Loopback => Ok(()),
        "http" => Err(misfit(said!(
            "is without TLS, which is for programs on this machine only",
            "不带 TLS，而那只用于本机的程序"
        ))),
        _ => Err(no_url()),
    }
}

fn misfit_of(what: Said, like: &Misfit) -> Misfit {
    Misfit {
        what,
        help: like.help.clone(),
    }
}

/// A check of `acme.contact`: nothing, or one mail address.
pub(crate) fn check_contact(contact: &String) -> Result<(), Misfit> {
    let is_mail = contact.split_once('@').is_some_and(|(who, host)| {
        !who.is_empty()
            && !host.contains('@')
            && matches!(HostName::parse(host), Ok(HostName::Name(_)))
    });
    let plain = contact
        .chars()
        .all(|c| c.is_ascii_graphic() && !matches!(c, ',' | ':' | '<' | '>' | '?'));
    if contact.is_empty() || (is_mail && plain && contact.len() <= 254) {
        return Ok(());
    }
    let bare = contact
        .trim()
        .trim_start_matches("mailto:")
        .trim_matches(['<', '>']);
    Err(Misfit {
        what: said!("{contact:?} is no mail address", "{contact:?} 不是邮箱地址"),
        help: if bare != contact && bare.contains('@') {
            said!("write {bare:?}", "请写 {bare:?}")
        } else {
            said!(
                "write one such as \"me@example.com\", or \"\" for none",
                "请写邮箱，例如 \"me@example.com\"，或用 \"\" 表示没有"
            )
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_512_bytes_to_16_kib_or_what_suits_the_client() {
        let read = |text| RecordSize::read(Raw::Text(text));
        assert_eq!(read("auto").unwrap(), RecordSize::Auto);
        assert_eq!(read("4KiB").unwrap(), RecordSize::Bytes(4096));
        assert_eq!(read("512").unwrap(), RecordSize::Bytes(512));
        assert_eq!(read("16KiB").unwrap(), RecordSize::Bytes(16384));
        for wrong in ["511", "16385", "64KiB", "1GiB", "small", ""] {
            let misfit = read(wrong).unwrap_err();
            assert!(misfit.help.en.contains("\"512B\" to \"16KiB\""), "{wrong}");
        }
        assert_eq!(RecordSize::Bytes(4096).show(), "\"4KiB\"");
    }

    #[test]
    fn names_for_certificates_are_names_and_at_most_one_leading_star() {
        for (text, name) in [
            ("hub.example.com", "hub.example.com"),
            ("Hub.Example.COM.", "hub.example.com"),
            ("*.example.com", "*.example.com"),
            ("hub", "hub"),
        ] {
            assert_eq!(DnsName::parse(text).unwrap().as_str(), name);
        }
        assert!(DnsName::parse("*.example.com").unwrap().is_wildcard());
        assert!(!DnsName::parse("example.com").unwrap().is_wildcard());
        for wrong in [
            "",
            "*",
            "*.",
            "hub.*.com",
            "*.*.example.com",
            "h*b.example.com",
            "192.168.1.20",
            "[fd00::1]",
            "_acme.example.com",
            "https://hub.example.com",
            "hub.example.com:443",
            "hub example.com",
        ] {
            assert!(DnsName::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_authority_is_asked_over_tls_unless_it_is_on_this_machine() {
        for url in [
            "https://acme-v02.api.letsencrypt.org/directory",
            "https://ca.lan:9000/acme/acme/directory",
            "https://192.168.1.9/dir",
            "https://[fd00::9]:14000/dir",
            "http://localhost:14000/dir",
            "http://127.0.0.1:14000/dir",
            "http://[::1]:14000/dir",
        ] {
            assert!(check_directory(&url.to_string()).is_ok(), "{url}");
        }
        for wrong in [
            "",
            "acme-v02.api.letsencrypt.org",
            "ftp://ca.lan/",
            "https:///directory",
            "https://ca.lan:0/dir",
            "https://ca.lan:99999/dir",
            "https://me@ca.lan/dir",
            "https://ca lan/dir",
        ] {
            let misfit = check_directory(&wrong.to_string()).unwrap_err();
            assert!(misfit.help.en.contains("letsencrypt"), "{wrong:?}");
        }
        let misfit = check_directory(&"http://ca.lan/dir".to_string()).unwrap_err();
        assert!(misfit.what.en.contains("without TLS"));
    }

    #[test]
    fn a_contact_is_one_mail_address_or_nothing() {
        for right in ["", "me@example.com", "first.last+hub@mail.example.com"] {
            assert!(check_contact(&right.to_string()).is_ok(), "{right}");
        }
        for wrong in [
            "me",
            "@example.com",
            "me@",
            "a@b@c.d",
            "a@b.c,d@e.f",
            "me @b.c",
        ] {
            assert!(check_contact(&wrong.to_string()).is_err(), "{wrong}");
        }
        let misfit = check_contact(&"mailto:me@example.com".to_string()).unwrap_err();
        assert_eq!(misfit.help.en, "write \"me@example.com\"");
    }

    #[test]
    fn a_certificate_is_asked_for_one_kind_of_key_or_both() {
        use AcmeKey::{P256, Rsa};
        for right in [[Rsa].to_vec(), [P256].to_vec(), [P256, Rsa].to_vec()] {
            assert!(check_acme_keys(&right).is_ok());
        }
        for wrong in [Vec::new(), [Rsa, Rsa].to_vec(), [Rsa, P256, Rsa].to_vec()] {
            assert!(check_acme_keys(&wrong).is_err());
        }
    }
}
