//! [`PrivateCa`]: what is made once, what is renewed, and what is said when something is wrong.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use safeport_net::rustls::pki_types::CertificateDer;
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_net::{PkiError, PrivateCa};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::folder::{DAY, Folder, june_2026};

pub(crate) fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn open(folder: &Folder) -> PrivateCa {
    PrivateCa::open_or_create(folder.path(), june_2026()).unwrap()
}

pub(crate) fn issued(folder: &Folder, now: SystemTime) -> PrivateCa {
    let mut ca = PrivateCa::open_or_create(folder.path(), now).unwrap();
    ca.ensure_leaf(&names(&["safeport.lan"]), now).unwrap();
    ca
}

pub(crate) fn contents(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| {
            let file = file.unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            (file.file_name().into_string().unwrap(), text)
        })
        .collect()
}

/// The files that differ: said by name, since a failed test must not print keys either.
pub(crate) fn changed(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let all = before.keys().chain(after.keys());
    let mut changed: Vec<String> = all
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    changed.sort();
    changed.dedup();
    changed
}

pub(crate) fn parse<R>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> R) -> R {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    look(&certificate)
}

pub(crate) const LEAVES: [&str; 2] = ["server-rsa.pem", "server-p256.pem"];
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";

#[test]
fn a_new_folder_gets_a_root_and_keys_that_only_their_owner_reads() {
    let folder = Folder::empty();
    let inside = folder.path().join("deep/pki");
    let ca = PrivateCa::open_or_create(&inside, june_2026()).unwrap();
    let files = contents(&inside);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["ca.key", "ca.pem", "server-p256.key", "server-rsa.key"]
    );
    assert_eq!(files["ca.pem"], ca.ca_pem());
    for key in ["ca.key", "server-p256.key", "server-rsa.key"] {
        let mode = std::fs::metadata(inside.join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert!(ca.chains().is_empty());
}

#[test]
fn the_root_is_rsa_2048_with_sha256_and_ends_before_32_bit_clocks_do() {
    parse(open(&Folder::with_authority()).ca_pem(), |root| {
        assert!(root.is_ca());
        assert_eq!(root.public_key().parsed().unwrap().key_size(), 2048);
        assert_eq!(
            root.signature_algorithm.algorithm.to_id_string(),
            SHA256_WITH_RSA
        );
        assert_eq!(root.validity().not_before.timestamp(), 0);
        let end = root.validity().not_after.timestamp();
        assert!(end < i64::from(i32::MAX) && end > i64::from(i32::MAX) - 60 * 86_400);
    });
}

#[test]
fn two_installations_have_different_subjects() {
    let subject = |pem: &str| parse(pem, |root| root.subject().to_string());
    let (one, other) = (Folder::with_authority(), Folder::empty());
    assert_ne!(subject(open(&one).ca_pem()), subject(open(&other).ca_pem()));
}

#[test]
fn leaves_are_for_servers_signed_with_sha256_and_carry_addresses_in_both_forms() {
    let folder = Folder::with_authority();
    let mut ca = open(&folder);
    ca.ensure_leaf(
        &names(&["Safeport.LAN", "10.0.0.5", "fd00::5", "safeport.lan."]),
        june_2026(),
    )
    .unwrap();
    for file in LEAVES {
        parse(&folder.text(file), |leaf| {
            assert!(!leaf.is_ca());
            assert_eq!(
                leaf.signature_algorithm.algorithm.to_id_string(),
                SHA256_WITH_RSA
            );
            assert!(
                leaf.extended_key_usage()
                    .unwrap()
                    .unwrap()
                    .value
                    .server_auth
            );
            assert_eq!(leaf.subject().to_string(), "CN=safeport.lan");
            let found = &leaf
                .subject_alternative_name()
                .unwrap()
                .unwrap()
                .value
                .general_names;
            assert_eq!(
                found[..],
                [
                    GeneralName::DNSName("safeport.lan"),
                    GeneralName::DNSName("10.0.0.5"),
                    GeneralName::IPAddress(&[10, 0, 0, 5]),
                    GeneralName::DNSName("fd00::5"),
                    GeneralName::IPAddress(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
                ]
            );
        });
        // The chain has one link, and the root is not sent.
        assert_eq!(folder.text(file).matches("BEGIN CERTIFICATE").count(), 1);
    }
}

#[test]
fn the_rsa_leaf_suits_unset_clocks_and_the_p256_leaf_the_825_days_of_apple() {
    let folder = Folder::with_authority();
    issued(&folder, june_2026());
    let [rsa, p256] = LEAVES.map(|file| {
        parse(&folder.text(file), |leaf| {
            (
                leaf.validity().not_before.timestamp(),
                leaf.validity().not_after.timestamp(),
            )
        })
    });
    let now = june_2026().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert_eq!(rsa, (0, now + 825 * 86_400));
    assert_eq!(p256.0, now - 365 * 86_400);
    assert!(p256.1 - p256.0 <= 825 * 86_400 && p256.1 > now + 400 * 86_400);
}

#[test]
fn nothing_is_written_while_names_and_dates_are_good() {
    let folder = Folder::with_authority();
    issued(&folder, june_2026());
    let before = contents(folder.path());
    issued(&folder, june_2026() + 184 * DAY);
    assert!(changed(&before, &contents(folder.path())).is_empty());
}

#[test]
fn an_address_that_is_gone_for_a_while_and_another_order_issue_nothing_again() {
    let folder = Folder::with_authority();
    let mut ca = open(&folder);
    let mut ensure = |list: &[&str]| ca.ensure_leaf(&names(list), june_2026()).unwrap();
    assert!(!ensure(&["safeport.lan", "10.0.0.7", "10.0.0.8"]).is_empty());
    let before = contents(folder.path());
    assert!(ensure(&["safeport.lan"]).is_empty());
    assert!(ensure(&["safeport.lan", "10.0.0.8", "10.0.0.7"]).is_empty());
    assert!(changed(&before, &contents(folder.path())).is_empty());
    assert!(!ensure(&["safeport.lan", "10.0.0.9"]).is_empty());
}

#[test]
fn changed_names_are_issued_again_with_the_same_keys() {
    let folder = Folder::with_authority();
    let mut ca = issued(&folder, june_2026());
    let (before, fingerprint) = (contents(folder.path()), ca.tasmota_fingerprint());
    ca.ensure_leaf(&names(&["safeport.lan", "10.0.0.7"]), june_2026())
        .unwrap();
    let after = contents(folder.path());
    assert!(LEAVES.iter().all(|file| before[*file] != after[*file]));
    assert_eq!(before["server-rsa.key"], after["server-rsa.key"]);
    assert_eq!(ca.tasmota_fingerprint(), fingerprint);
}

#[test]
fn the_fingerprint_is_twenty_bytes_of_the_key_in_the_file_and_survives_a_restart() {
    let folder = Folder::with_authority();
    let fingerprint = open(&folder).tasmota_fingerprint();
    let bytes: Vec<&str> = fingerprint.split(' ').collect();
    assert_eq!(bytes.len(), 20);
    assert!(
        bytes
            .iter()
            .all(|b| b.len() == 2 && u8::from_str_radix(b, 16).is_ok())
    );
    assert_eq!(open(&folder).tasmota_fingerprint(), fingerprint);
    assert_ne!(open(&Folder::empty()).tasmota_fingerprint(), fingerprint);
}

#[test]
fn an_unset_clock_of_the_server_makes_certificates_that_are_good_once_it_is_set() {
    let folder = Folder::with_authority();
    issued(&folder, UNIX_EPOCH);
    for file in LEAVES {
        parse(&folder.text(file), |leaf| {
            let end = leaf.validity().not_after.timestamp();
            assert!(end > 1_767_225_600 + 400 * 86_400, "{file} ends {end}");
        });
    }
}

#[test]
fn a_leaf_of_another_authority_is_issued_again() {
    let (folder, other) = (Folder::with_authority(), Folder::empty());
    issued(&folder, june_2026());
    open(&other);
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(other.file(file), folder.file(file)).unwrap();
    }
    let before = folder.text("server-rsa.pem");
    issued(&folder, june_2026());
    assert_ne!(folder.text("server-rsa.pem"), before);
}

#[test]
fn an_older_key_from_a_backup_gets_a_certificate_of_its_own() {
    let (folder, backup) = (Folder::with_authority(), Folder::empty());
    issued(&folder, june_2026());
    let old = open(&backup).tasmota_fingerprint();
    std::fs::copy(backup.file("server-rsa.key"), folder.file("server-rsa.key")).unwrap();
    let ca = issued(&folder, june_2026());
    assert_eq!(ca.tasmota_fingerprint(), old);
    assert_eq!(ca.chains().len(), 2);
}

#[test]
fn a_root_lost_but_for_its_key_is_made_again_with_that_key() {
    let folder = Folder::with_authority();
    issued(&folder, june_2026());
    let key_of = |pem: &str| parse(pem, |root| root.public_key().raw.to_vec());
    let before = key_of(&folder.text("ca.pem"));
    std::fs::remove_file(folder.file("ca.pem")).unwrap();
    assert_eq!(key_of(issued(&folder, june_2026()).ca_pem()), before);
}

#[test]
fn a_lost_key_is_an_error_and_never_replaced_in_silence() {
    for (lost, proof) in [("ca.key", "ca.pem"), ("server-rsa.key", "server-rsa.pem")] {
        let folder = Folder::with_authority();
        issued(&folder, june_2026());
        std::fs::remove_file(folder.file(lost)).unwrap();
        let error = PrivateCa::open_or_create(folder.path(), june_2026()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, PkiError::KeyLost { .. }), "{text}");
        assert!(
            text.contains(lost) && text.contains(proof) && text.contains("backup"),
            "{text}"
        );
        assert!(!folder.file(lost).exists());
    }
}

#[test]
fn a_broken_file_is_named_with_what_to_do_and_left_alone() {
    for file in [
        "ca.pem",
        "ca.key",
        "server-rsa.pem",
        "server-rsa.key",
        "server-p256.key",
    ] {
        for damage in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let folder = Folder::with_authority();
            issued(&folder, june_2026());
            std::fs::write(folder.file(file), damage).unwrap();
            let error = PrivateCa::open_or_create(folder.path(), june_2026()).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, PkiError::Broken { .. }), "{text}");
            assert!(text.contains(file), "{text}");
            assert!(
                text.contains("remove it") && folder.text(file) == damage,
                "{text}"
            );
        }
    }
}

#[test]
fn swapped_files_are_noticed() {
    let folder = Folder::with_authority();
    std::fs::copy(
        folder.file("server-p256.key"),
        folder.file("server-rsa.key"),
    )
    .unwrap();
    let error = PrivateCa::open_or_create(folder.path(), june_2026())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("server-rsa.key") && error.contains("RSA"),
        "{error}"
    );

    let (folder, other) = (Folder::with_authority(), Folder::empty());
    open(&other);
    std::fs::copy(other.file("ca.key"), folder.file("ca.key")).unwrap();
    let error = PrivateCa::open_or_create(folder.path(), june_2026())
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not belong to ca.key"), "{error}");
}

#[test]
fn keys_opened_by_a_copy_are_closed_again() {
    let folder = Folder::with_authority();
    let key = folder.file("server-rsa.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    open(&folder);
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_the_way_out() {
    // Root may write anywhere, so the obstacle is a file where the folder should be.
    let folder = Folder::empty();
    std::fs::write(folder.file("pki"), "in the way").unwrap();
    let path = folder.file("pki");
    let error = PrivateCa::open_or_create(&path, june_2026()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PkiError::Write { .. }), "{text}");
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains("--data"),
        "{text}"
    );
}

#[test]
fn a_file_left_by_a_power_cut_does_not_hinder_the_next_write() {
    let folder = Folder::with_authority();
    std::fs::write(folder.file(".server-rsa.pem.new"), "half a certi").unwrap();
    issued(&folder, june_2026());
    assert!(!folder.file(".server-rsa.pem.new").exists());
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused_by_name() {
    let folder = Folder::with_authority();
    let mut ca = open(&folder);
    let long = "a".repeat(64);
    for name in [
        "",
        "mqtts://plug.lan",
        "plug lan",
        "büro.lan",
        "a..b",
        &long,
        "plug.lan:8883",
    ] {
        let error = ca
            .ensure_leaf(&names(&["good.lan", name]), june_2026())
            .unwrap_err();
        assert!(matches!(error, PkiError::Name { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(ca.ensure_leaf(&[], june_2026()).is_err());
    let many: Vec<String> = (0..129).map(|n| format!("host-{n}.lan")).collect();
    assert!(ca.ensure_leaf(&many, june_2026()).is_err());
    assert!(!folder.file("server-rsa.pem").exists());
    ca.ensure_leaf(&names(&["*.home.arpa", "my_host"]), june_2026())
        .unwrap();
}
