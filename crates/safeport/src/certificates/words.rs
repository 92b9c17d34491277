//! Why certificates cannot be read, made or presented, in both languages. What the operating
//! system or a library said about it stays as it was said, so that it can be searched for.

use std::path::Path;

use safeport_net::pki::{ChainError, PkiError, Place};
use safeport_settings::Said;

use super::RotationError;
use crate::say;
use crate::text::{Language, Texts};

/// What is wrong with a chain or its key.
pub fn chain_said(error: &ChainError) -> Said {
    in_both(|texts| chain(texts, error))
}

/// What is wrong with our own authority and what it issues.
pub fn pki_said(error: &PkiError) -> Said {
    in_both(|texts| pki(texts, error))
}

/// Why nothing was rotated.
pub fn rotation_said(error: &RotationError) -> Said {
    match error {
        RotationError::Pki(error) => pki_said(error),
        RotationError::Store(error) => Said::same(error),
    }
}

fn in_both(say: impl Fn(&Texts) -> String) -> Said {
    let [en, zh] =
        [Language::English, Language::Chinese].map(|language| say(&Texts::new(language)));
    Said::new(en, zh)
}

fn chain(t: &Texts, error: &ChainError) -> String {
    let at = |place: &Place| say!(t, "chain-place", number = place.number, name = place.name);
    // What never was a file has words for a name.
    let named = |file: &str| part(t, file);
    match error {
        ChainError::Read { file, source } => {
            say!(t, "chain-read", file = named(file), error = source)
        }
        ChainError::TooLong { file, limit } => {
            say!(t, "chain-too-long", file = named(file), limit = limit)
        }
        ChainError::NoCertificate { file } => {
            say!(t, "chain-no-certificate", file = named(file))
        }
        ChainError::TooMany { file, found, limit } => say!(
            t,
            "chain-too-many",
            file = named(file),
            found = found,
            limit = limit
        ),
        ChainError::Damaged { file, number } => {
            say!(t, "chain-damaged", file = named(file), number = number)
        }
        ChainError::NoKey { file } => say!(t, "chain-no-key", file = named(file)),
        ChainError::KeyEncrypted { file } => say!(t, "chain-key-encrypted", file = named(file)),
        ChainError::UnusableKey { file } => say!(t, "chain-unusable-key", file = named(file)),
        ChainError::KeyMismatch {
            file,
            key_file,
            leaf,
        } => say!(
            t,
            "chain-key-mismatch",
            file = named(file),
            key_file = named(key_file),
            leaf = at(leaf)
        ),
        ChainError::LeafNotFirst { file, first, leaf } => say!(
            t,
            "chain-leaf-not-first",
            file = named(file),
            first = at(first),
            leaf = at(leaf)
        ),
        ChainError::Misordered {
            file,
            issuer,
            issued,
        } => say!(
            t,
            "chain-misordered",
            file = named(file),
            issuer = at(issuer),
            issued = at(issued)
        ),
        ChainError::Stranger {
            file,
            certificate,
            previous,
        } => say!(
            t,
            "chain-stranger",
            file = named(file),
            certificate = at(certificate),
            previous = at(previous)
        ),
        ChainError::WrongIssuer {
            file,
            issuer,
            issued,
        } => say!(
            t,
            "chain-wrong-issuer",
            file = named(file),
            issuer = at(issuer),
            issued = at(issued)
        ),
        ChainError::Incomplete {
            file,
            last,
            missing,
            address: None,
        } => say!(
            t,
            "chain-incomplete",
            file = named(file),
            last = at(last),
            missing = missing
        ),
        ChainError::Incomplete {
            file,
            last,
            missing,
            address: Some(url),
        } => say!(
            t,
            "chain-incomplete-at",
            file = named(file),
            last = at(last),
            missing = missing,
            url = url
        ),
        ChainError::Expired {
            file,
            certificate,
            ended,
        } => say!(
            t,
            "chain-expired",
            file = named(file),
            certificate = at(certificate),
            at = ended
        ),
        ChainError::NotYetValid {
            file,
            certificate,
            begins,
        } => say!(
            t,
            "chain-not-begun",
            file = named(file),
            certificate = at(certificate),
            at = begins
        ),
        ChainError::WeakSignature {
            file,
            certificate,
            hash,
        } => say!(
            t,
            "chain-weak-signature",
            file = named(file),
            certificate = at(certificate),
            hash = hash
        ),
        ChainError::ShortKey {
            file,
            certificate,
            key,
        } => say!(
            t,
            "chain-short-key",
            file = named(file),
            certificate = at(certificate),
            key = key
        ),
        ChainError::SelfSigned { file, certificate } => say!(
            t,
            "chain-self-signed",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::AuthorityAsServer { file, certificate } => say!(
            t,
            "chain-authority-as-server",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::NotAnAuthority { file, certificate } => say!(
            t,
            "chain-no-authority",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::UnknownKey { file, certificate } => say!(
            t,
            "chain-unknown-key",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::UnknownSignature { file, certificate } => say!(
            t,
            "chain-unknown-signature",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::NotForServers { file, certificate } => say!(
            t,
            "chain-not-for-servers",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::MayNotSign { file, certificate } => say!(
            t,
            "chain-may-not-sign",
            file = named(file),
            certificate = at(certificate)
        ),
        ChainError::NoDnsName { file, certificate } => say!(
            t,
            "chain-no-dns-name",
            file = named(file),
            certificate = at(certificate)
        ),
    }
}

fn pki(t: &Texts, error: &PkiError) -> String {
    let shown = |path: &Path| path.display().to_string();
    match error {
        PkiError::Write { path, source } => {
            say!(t, "pki-write", path = shown(path), error = source)
        }
        PkiError::Read { path, source } => say!(t, "pki-read", path = shown(path), error = source),
        PkiError::Broken { path, what, fix } => say!(
            t,
            "pki-broken",
            path = shown(path),
            what = part(t, what),
            fix = part(t, fix)
        ),
        PkiError::KeyLost {
            key,
            certificate,
            consequence,
        } => say!(
            t,
            "pki-key-lost",
            key = shown(key),
            certificate = shown(certificate),
            consequence = part(t, consequence)
        ),
        PkiError::Ended { path, ended } => say!(t, "pki-ended", path = shown(path), at = ended),
        PkiError::Name { name, why } => say!(t, "pki-name", name = name, why = part(t, why)),
        PkiError::Make { path, what } => say!(t, "pki-make", path = shown(path), error = what),
        PkiError::Challenge { name, what } => say!(t, "pki-challenge", name = name, error = what),
        PkiError::ClientRoots { what } => say!(t, "pki-client-roots", error = what),
        PkiError::Tls { what } => say!(t, "pki-tls", error = what),
        PkiError::NoNextKey { path } => say!(t, "pki-no-next-key", path = shown(path)),
        PkiError::Request { names, what } => say!(t, "pki-request", names = names, error = what),
    }
}

/// Words that an error carries in English. Others are names, or a library's, and stay.
fn part(t: &Texts, words: &str) -> String {
    let long = words.strip_prefix("it is longer than ");
    if let Some(limit) = long.and_then(|rest| rest.strip_suffix(" bytes")) {
        return say!(t, "pki-too-long", limit = limit);
    }
    let english = parts(&Texts::new(Language::English));
    let known = english.iter().position(|part| part == words);
    known.map_or_else(|| words.to_owned(), |at| parts(t)[at].clone())
}

fn parts(t: &Texts) -> [String; 24] {
    [
        say!(t, "chain-of-acme"),
        say!(t, "chain-unnamed"),
        say!(t, "chain-own-key"),
        say!(t, "pki-no-text"),
        say!(t, "pki-no-key"),
        say!(t, "pki-not-rsa"),
        say!(t, "pki-not-p256"),
        say!(t, "pki-no-certificate"),
        say!(t, "pki-unparsable"),
        say!(t, "pki-no-authority"),
        say!(t, "pki-other-key"),
        say!(t, "pki-fix-restore"),
        say!(t, "pki-fix-root"),
        say!(t, "pki-fix-key"),
        say!(t, "pki-fix-leaf"),
        say!(t, "pki-then-root"),
        say!(t, "pki-then-fingerprint"),
        say!(t, "pki-name-ascii"),
        say!(t, "pki-name-url"),
        say!(t, "pki-name-long"),
        say!(t, "pki-name-label"),
        say!(t, "pki-name-characters"),
        say!(t, "pki-name-none"),
        say!(t, "pki-name-many"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::io;
    use std::mem::{Discriminant, discriminant};
    use std::path::PathBuf;
    use std::time::SystemTime;
    use tempfile::TempDir;

    use safeport_net::PrivateCa;
    use safeport_net::pki::{Chain, Hash, KeyKind, Origin, Roots};

    use super::*;

    const FILE: &str = "/etc/hub/full.pem";

    /// What is left of a Chinese text without names, commands and what others said.
    fn english_in(said: &Said, names: &[&str]) -> Vec<String> {
        let mut text = said.zh.clone();
        for name in names {
            text = text.replace(name, " ");
        }
        // Between backquotes stand names and commands.
        let quoted = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        let words = quoted.split(|c: char| !c.is_ascii_alphanumeric());
        let plain = |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase());
        let allowed = [
            "safeport",
            "certbot",
            "fullchain",
            "privkey",
            "pem",
            "data",
            "key",
            "ca",
            "xn",
            "lan",
            "tls",
        ];
        words
            .filter(plain)
            .filter(|word| !allowed.contains(word))
            .map(str::to_owned)
            .collect()
    }

    fn place(number: usize) -> Place {
        Place {
            number,
            name: format!("Lab {number}"),
        }
    }

    fn chain_errors() -> Vec<ChainError> {
        let file = || FILE.to_owned();
        let certificate = || place(2);
        let incomplete = |address| ChainError::Incomplete {
            file: file(),
            last: place(1),
            missing: "Lab Root".to_owned(),
            address,
        };
        let (first, leaf) = (place(1), place(2));
        vec![
            ChainError::Read {
                file: file(),
                source: io::Error::other("no disk"),
            },
            ChainError::TooLong {
                file: file(),
                limit: 65_536,
            },
            ChainError::NoCertificate { file: file() },
            ChainError::TooMany {
                file: file(),
                found: 99,
                limit: 10,
            },
            ChainError::Damaged {
                file: file(),
                number: 2,
            },
            ChainError::NoKey { file: file() },
            ChainError::KeyEncrypted { file: file() },
            ChainError::UnusableKey { file: file() },
            ChainError::KeyMismatch {
                file: file(),
                key_file: "/etc/hub/key.pem".to_owned(),
                leaf: place(1),
            },
            ChainError::LeafNotFirst {
                file: file(),
                first,
                leaf,
            },
            ChainError::Misordered {
                file: file(),
                issuer: place(3),
                issued: place(1),
            },
            ChainError::Stranger {
                file: file(),
                certificate: certificate(),
                previous: place(1),
            },
            ChainError::WrongIssuer {
                file: file(),
                issuer: place(2),
                issued: place(1),
            },
            incomplete(None),
            incomplete(Some("http://lab/root.cer".to_owned())),
            ChainError::Expired {
                file: file(),
                certificate: certificate(),
                ended: "2026-11-22 17:05:09Z".to_owned(),
            },
            ChainError::NotYetValid {
                file: file(),
                certificate: certificate(),
                begins: "2026-11-22 17:05:09Z".to_owned(),
            },
            ChainError::SelfSigned {
                file: file(),
                certificate: certificate(),
            },
            ChainError::AuthorityAsServer {
                file: file(),
                certificate: certificate(),
            },
            ChainError::NotAnAuthority {
                file: file(),
                certificate: certificate(),
            },
            ChainError::WeakSignature {
                file: file(),
                certificate: certificate(),
                hash: Hash::Sha1,
            },
            ChainError::ShortKey {
                file: file(),
                certificate: certificate(),
                key: KeyKind::Rsa(1024),
            },
            ChainError::UnknownKey {
                file: file(),
                certificate: certificate(),
            },
            ChainError::UnknownSignature {
                file: file(),
                certificate: certificate(),
            },
            ChainError::NotForServers {
                file: file(),
                certificate: certificate(),
            },
            ChainError::MayNotSign {
                file: file(),
                certificate: certificate(),
            },
            ChainError::NoDnsName {
                file: file(),
                certificate: certificate(),
            },
        ]
    }

    #[test]
    fn english_that_stands_in_a_chinese_text_is_noticed() {
        let said = Said::same("/a.pem 已损坏：it is no text；`mv a b`（CA:TRUE）");
        assert_eq!(english_in(&said, &["/a.pem"]), ["it", "is", "no", "text"]);
    }

    #[test]
    fn every_fault_of_a_chain_is_told_in_chinese_with_the_file_and_without_english_words() {
        let errors = chain_errors();
        let seen: HashSet<Discriminant<ChainError>> = errors.iter().map(discriminant).collect();
        assert_eq!(seen.len(), 26, "one of each");
        for error in errors {
            let said = chain_said(&error);
            assert_eq!(said.en, error.to_string());
            assert!(said.zh.contains(FILE), "{}", said.zh);
            let numbers = said.en.split("certificate ").skip(1);
            for number in numbers.filter_map(|rest| rest.split_once(" (`")?.0.parse::<u8>().ok()) {
                assert!(
                    said.zh
                        .contains(&format!("第 {number} 份证书（`Lab {number}`）"))
                );
            }
            let names = [FILE, "/etc/hub/key.pem", "http://lab/root.cer", "no disk"];
            let english = english_in(&said, &names);
            assert!(english.is_empty(), "{english:?} in {}", said.zh);
        }
    }

    #[test]
    fn a_chain_that_came_from_an_acme_authority_has_no_english_name_in_chinese() {
        let (roots, now) = (Roots::public(), SystemTime::now());
        for origin in [Origin::Acme, Origin::Private] {
            let error = Chain::from_pem(origin, b"", b"", &roots, now).unwrap_err();
            let said = chain_said(&error);
            assert_eq!(said.en, error.to_string());
            assert!(said.zh.contains("证书链"), "{}", said.zh);
            assert_eq!(english_in(&said, &[]), [""; 0], "{}", said.zh);
        }
        let error = ChainError::NoKey {
            file: "its key".to_owned(),
        };
        assert!(chain_said(&error).zh.starts_with("其密钥"));
    }

    /// A folder that goes with its test.
    struct Folder(TempDir);

    impl Folder {
        fn new() -> Folder {
            let folder = Folder(tempfile::tempdir().expect("a folder"));
            let mut ca =
                PrivateCa::open_or_create(folder.0.path(), SystemTime::now()).expect("new");
            ca.ensure_leaf(&["hub.lan".to_owned()], SystemTime::now())
                .expect("certificates");
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn error(&self) -> PkiError {
            let opened = PrivateCa::open_or_create(self.0.path(), SystemTime::now());
            opened.expect_err("it is broken")
        }
    }

    fn is_chinese(error: &PkiError, name: &str, further: &[&str]) {
        let said = pki_said(error);
        assert_eq!(said.en, error.to_string());
        assert!(said.zh.contains(name), "{}", said.zh);
        let names: Vec<&str> = further.iter().copied().chain([name]).collect();
        let english = english_in(&said, &names);
        assert!(english.is_empty(), "{english:?} in {}", said.zh);
    }

    #[test]
    fn a_broken_folder_of_the_authority_is_told_in_chinese_with_the_file_and_the_way_out() {
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let long = "x".repeat(2_000_000);
        let faults = [
            ("ca.pem", "no certificate"),
            ("ca.pem", no_certificate),
            ("ca.pem", &long),
            ("ca.key", "no key"),
            ("server-rsa.pem", "no certificate"),
            ("server-p256.pem", no_certificate),
            ("server-rsa.key", "no key"),
        ];
        for (name, text) in faults {
            let folder = Folder::new();
            let path = folder.path(name);
            fs::write(&path, text).expect("a fault");
            let error = folder.error();
            assert!(matches!(error, PkiError::Broken { .. }), "{error}");
            is_chinese(&error, &path.display().to_string(), &[]);
        }
        let swaps = [
            ("server-rsa.pem", "ca.pem"),
            ("server-p256.key", "ca.key"),
            ("server-rsa.key", "server-p256.key"),
            ("server-p256.key", "server-rsa.key"),
        ];
        for (from, to) in swaps {
            let folder = Folder::new();
            fs::copy(folder.path(from), folder.path(to)).expect("a fault");
            let error = folder.error();
            assert!(matches!(error, PkiError::Broken { .. }), "{error}");
            is_chinese(&error, &folder.path(to).display().to_string(), &[]);
        }
        for (key, certificate) in [("ca.key", "ca.pem"), ("server-rsa.key", "server-rsa.pem")] {
            let folder = Folder::new();
            fs::remove_file(folder.path(key)).expect("a fault");
            let certificate = folder.path(certificate).display().to_string();
            let key = folder.path(key).display().to_string();
            is_chinese(&folder.error(), &key, &[&certificate]);
        }
    }

    #[test]
    fn a_name_that_no_certificate_can_have_is_told_in_chinese_with_the_reason() {
        let folder = Folder::new();
        let mut ca =
            PrivateCa::open_or_create(folder.0.path(), SystemTime::now()).expect("an authority");
        let long = "ab.".repeat(100) + "lan";
        for name in ["bücher.lan", "http://hub", &long, "a..b", "hub lan"] {
            let error = ca.ensure_leaf(&[name.to_owned()], SystemTime::now());
            is_chinese(&error.unwrap_err(), name, &[]);
        }
        let error = ca.ensure_leaf(&[], SystemTime::now()).unwrap_err();
        is_chinese(&error, "没有给出名称", &[]);
    }

    #[test]
    fn whatever_else_fails_with_our_own_authority_keeps_the_words_of_the_library_and_no_others() {
        let path = || PathBuf::from(FILE);
        let (what, name) = ("bad day".to_owned(), "hub.lan".to_owned());
        let source = || io::Error::other("bad day");
        let errors = [
            PkiError::Write {
                path: path(),
                source: source(),
            },
            PkiError::Read {
                path: path(),
                source: source(),
            },
            PkiError::Make {
                path: path(),
                what: what.clone(),
            },
        ];
        for error in errors {
            is_chinese(&error, "bad day", &[FILE]);
            assert!(pki_said(&error).zh.contains(FILE));
        }
        let ended = PkiError::Ended {
            path: path(),
            ended: "2026-11-22 17:05:09Z".to_owned(),
        };
        is_chinese(&ended, "2026-11-22 17:05:09Z", &[FILE]);
        is_chinese(&PkiError::NoNextKey { path: path() }, FILE, &[]);
        let errors = [
            PkiError::Challenge {
                name: name.clone(),
                what: what.clone(),
            },
            PkiError::Request {
                names: name,
                what: what.clone(),
            },
            PkiError::ClientRoots { what: what.clone() },
            PkiError::Tls { what },
        ];
        for error in errors {
            is_chinese(&error, "bad day", &["hub.lan"]);
        }
    }
}
