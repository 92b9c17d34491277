//! What the settings say about ACME.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use safeport_settings::Settings;

use super::plan::Key;

/// How the authority sees that the names are ours (RFC 8555 section 8, RFC 8737).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// It fetches a file from port 80.
    Http01,
    /// It looks at port 443.
    TlsAlpn01,
    /// It looks at a record in DNS.
    Dns01,
}

impl Challenge {
    /// As in settings and in ACME.
    pub fn word(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Dns01 => "dns-01",
        }
    }
}

/// What is wanted of which authority.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AcmeConfig {
    /// Names for every certificate, in small letters; at least one.
    pub names: Vec<String>,
    /// For which keys; at least one.
    pub keys: Vec<Key>,
    /// Address of the authority's directory.
    pub directory: String,
    /// Mail address for the account.
    pub contact: Option<String>,
    /// How names are proved.
    pub challenge: Challenge,
    /// The program that sets records for `dns-01`.
    pub dns_hook: Option<PathBuf>,
    /// Whom to trust for `directory`, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How the authority knows us already.
    pub eab: Option<Eab>,
}

/// External account binding (RFC 8555 section 7.3.4).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Eab {
    /// The name of the key.
    pub key_id: String,
    /// The key, in base64url.
    pub key: String,
}

impl AcmeConfig {
    /// What the settings want; `None` if `acme.names` is empty, or the terms are not accepted.
    pub fn of(settings: &Settings) -> Option<AcmeConfig> {
        let acme = &settings.acme;
        if acme.names.is_empty() || !acme.accept_terms {
            return None;
        }
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let eab = match (text(&acme.eab_key_id), text(acme.eab_key.reveal())) {
            (Some(key_id), Some(key)) => Some(Eab { key_id, key }),
            _ => None,
        };
        let keys = acme.keys.iter().map(|key| match key {
            safeport_settings::AcmeKey::Rsa => Key::Rsa,
            safeport_settings::AcmeKey::P256 => Key::P256,
        });
        Some(AcmeConfig {
            names: acme.names.iter().map(ToString::to_string).collect(),
            keys: keys.collect(),
            directory: acme.directory.clone(),
            contact: text(&acme.contact),
            challenge: match acme.challenge {
                safeport_settings::Challenge::Http01 => Challenge::Http01,
                safeport_settings::Challenge::TlsAlpn01 => Challenge::TlsAlpn01,
                safeport_settings::Challenge::Dns01 => Challenge::Dns01,
            },
            dns_hook: text(&acme.dns_hook).map(PathBuf::from),
            ca_file: text(&acme.ca_file).map(PathBuf::from),
            eab,
        })
    }

    /// A number that is another one as soon as something is wanted that may make an order that
    /// failed succeed.
    pub(super) fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl std::fmt::Debug for AcmeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcmeConfig")
            .field("names", &self.names)
            .field("directory", &self.directory)
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}

/// The bytes of a key in base64url, with or without padding.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0u32, 0);
    for c in text.bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_base64url_are_read_with_and_without_padding() {
        assert_eq!(base64url("Zm9v").as_deref(), Some(&b"foo"[..]));
        assert_eq!(base64url("Zm8=").as_deref(), Some(&b"fo"[..]));
        assert_eq!(base64url("Zg").as_deref(), Some(&b"f"[..]));
        assert_eq!(base64url("-_8").as_deref(), Some(&[0xfb, 0xff][..]));
        assert_eq!(base64url("Z"), None);
        assert_eq!(base64url("Zm+v"), None);
    }
}
