//! [`PrivateCa`] over the years: the clock is moved across every threshold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use safeport_net::PrivateCa;
use safeport_net::pki::{KeyKind, PkiError, Renewed, ServerKey};
use safeport_net::rustls::pki_types::CertificateDer;
use safeport_net::rustls::pki_types::pem::PemObject;

use crate::authority::{LEAVES, changed, contents, issued, names, open, parse};
use crate::folder::{DAY, Folder, june_2026};
use crate::lab::verify;

const SECOND: Duration = Duration::from_secs(1);
/// 2037-12-31 23:59:59.
const ROOT_END: Duration = Duration::from_secs(2_145_916_799);
/// What a new root needs at least.
const TWO_YEARS: Duration = Duration::from_secs(2 * 365 * 86_400);

fn root_threshold() -> SystemTime {
    UNIX_EPOCH + ROOT_END - TWO_YEARS
}

fn renew(folder: &Folder, now: SystemTime) -> Renewed {
    let mut ca = PrivateCa::open_or_create(folder.path(), now).unwrap();
    ca.ensure_leaf(&names(&["safeport.lan"]), now).unwrap()
}

fn kinds(renewed: &Renewed) -> Vec<ServerKey> {
    renewed.leaves.iter().map(|(which, _)| *which).collect()
}

fn end(pem: &str) -> SystemTime {
    let seconds = parse(pem, |c| c.validity().not_after.timestamp());
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

#[test]
fn each_server_certificate_is_renewed_when_less_than_a_third_of_825_days_is_left() {
    for (which, file, life) in [
        (ServerKey::Rsa, LEAVES[0], 825),
        (ServerKey::P256, LEAVES[1], 459),
    ] {
        let folder = Folder::with_authority();
        issued(&folder, june_2026());
        let threshold = june_2026() + (life - 275) * DAY;
        let is_renewed = |now| kinds(&renew(&folder, now)).contains(&which);
        assert!(!is_renewed(threshold - SECOND), "{file} before");
        assert!(!is_renewed(threshold), "{file} at");
        assert!(is_renewed(threshold + SECOND), "{file} after");
        assert!(
            !is_renewed(threshold + 2 * SECOND),
            "{file}: once is enough"
        );
        assert_eq!(end(&folder.text(file)), threshold + SECOND + life * DAY);
    }
}

#[test]
fn renewal_keeps_keys_fingerprint_and_root_and_takes_a_new_serial_number() {
    let folder = Folder::with_authority();
    let first = issued(&folder, june_2026()).tasmota_fingerprint();
    let before = contents(folder.path());
    let renewed = issued(&folder, june_2026() + 800 * DAY);
    let after = contents(folder.path());
    assert_eq!(
        changed(&before, &after),
        ["server-p256.pem", "server-rsa.pem"]
    );
    assert_eq!(renewed.tasmota_fingerprint(), first);
    for file in LEAVES {
        let of = |text: &str| {
            parse(text, |leaf| {
                (leaf.public_key().raw.to_vec(), leaf.raw_serial().to_vec())
            })
        };
        let (old, new) = (of(&before[file]), of(&after[file]));
        assert!(old.0 == new.0, "the key of {file} stays");
        assert_ne!(old.1, new.1, "browsers refuse a serial number used twice");
    }
}

#[test]
fn the_root_is_renewed_when_less_than_two_years_are_left_and_then_lasts_twenty() {
    let folder = Folder::with_authority();
    issued(&folder, root_threshold() - DAY);
    assert_eq!(renew(&folder, root_threshold()).root, None);
    let before = contents(folder.path());

    let now = root_threshold() + SECOND;
    let renewed = renew(&folder, now);
    assert_eq!(renewed.root, Some(now + 20 * 365 * DAY));
    assert!(renewed.outlives_32_bit_clocks());
    assert_eq!(changed(&before, &contents(folder.path())), ["ca.pem"]);
    let identity = |pem: &str| {
        parse(pem, |root| {
            (
                root.subject().to_string(),
                root.public_key().raw.to_vec(),
                root.validity().not_before.timestamp(),
            )
        })
    };
    assert!(identity(&before["ca.pem"]) == identity(&folder.text("ca.pem")));
    assert!(renew(&folder, now + DAY).is_empty());
    // A clock that is set back across the threshold by a little changes nothing.
    assert!(renew(&folder, root_threshold() - 10 * DAY).is_empty());
    // And twenty years later, once more.
    assert!(renew(&folder, now + 18 * 365 * DAY).root.is_none());
    let again = renew(&folder, now + 18 * 365 * DAY + SECOND);
    assert_eq!(again.root, Some(now + SECOND + 38 * 365 * DAY));
}

#[test]
fn before_2036_a_new_root_ends_before_32_bit_clocks_do() {
    let folder = Folder::with_authority();
    let ca = issued(&folder, june_2026());
    assert_eq!(ca.ca_until(), UNIX_EPOCH + ROOT_END);
    assert!(
        !Renewed {
            root: Some(ca.ca_until()),
            leaves: Vec::new()
        }
        .outlives_32_bit_clocks()
    );
}

#[test]
fn devices_with_the_old_root_verify_the_new_certificates_and_the_other_way_round() {
    let folder = Folder::with_authority();
    let before = root_threshold() - DAY;
    let old = issued(&folder, before);
    let (old_root, old_chains) = (old.ca_der().clone(), old.chains());
    let after = root_threshold() + 600 * DAY;
    let new = issued(&folder, after);
    let (new_root, new_chains) = (new.ca_der().clone(), new.chains());
    assert_ne!(old_root, new_root);
    for (root, chains, clock) in [
        (&old_root, &new_chains, after),
        (&new_root, &old_chains, before),
        (&new_root, &new_chains, after),
    ] {
        for chain in chains {
            verify(root, chain, "safeport.lan", clock).unwrap();
            verify(root, chain, "other.lan", clock).unwrap_err();
        }
    }
    // The old root is not followed beyond its own end: rustls does not look, but devices may.
    assert!(end(&folder.text("server-rsa.pem")) > UNIX_EPOCH + ROOT_END);
}

#[test]
fn an_unset_clock_makes_what_is_missing_and_renews_nothing() {
    let folder = Folder::with_authority();
    let made = renew(&folder, UNIX_EPOCH);
    assert_eq!(kinds(&made), [ServerKey::Rsa, ServerKey::P256]);
    for file in LEAVES {
        // Good once the clock is set, for a year at least: nobody starts this before 2026.
        assert!(
            end(&folder.text(file)) > UNIX_EPOCH + 56 * 365 * DAY + 400 * DAY,
            "{file}"
        );
    }
    // A machine without a battery for its clock, ten years on, starts in 1970 and then asks.
    let late = root_threshold() + DAY;
    assert_eq!(kinds(&renew(&folder, late)).len(), 2);
    let before = contents(folder.path());
    for unset in [UNIX_EPOCH, UNIX_EPOCH + 1000 * DAY] {
        assert!(renew(&folder, unset).is_empty());
    }
    assert!(changed(&before, &contents(folder.path())).is_empty());
}

#[test]
fn what_a_clock_that_ran_ahead_made_is_made_again_when_it_is_right() {
    let folder = Folder::with_authority();
    issued(&folder, root_threshold() + 900 * DAY);
    let renewed = renew(&folder, june_2026());
    assert_eq!(renewed.root, Some(UNIX_EPOCH + ROOT_END));
    assert_eq!(kinds(&renewed), [ServerKey::Rsa, ServerKey::P256]);
    assert_eq!(end(&folder.text(LEAVES[0])), june_2026() + 825 * DAY);
    // A few days are not worth new certificates.
    assert!(renew(&folder, june_2026() - 20 * DAY).is_empty());
}

#[test]
fn a_root_of_the_owners_making_is_never_replaced_and_leaves_end_with_it() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
    let folder = Folder::with_authority();
    let key = KeyPair::from_pem(&folder.text("ca.key")).unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Our house");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = UNIX_EPOCH.into();
    let last_day = june_2026() + 300 * DAY;
    params.not_after = last_day.into();
    let own = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.file("ca.pem"), &own).unwrap();

    issued(&folder, june_2026());
    assert_eq!(folder.text("ca.pem"), own);
    assert_eq!(end(&folder.text(LEAVES[0])), last_day);
    // Not made again every day of its last months.
    let before = contents(folder.path());
    assert!(renew(&folder, last_day - 10 * DAY).is_empty());
    assert!(changed(&before, &contents(folder.path())).is_empty());
    let mut ca = open(&folder);
    let error = ca.ensure_leaf(&names(&["a"]), last_day).unwrap_err();
    assert!(matches!(error, PkiError::Ended { .. }));
    assert!(error.to_string().contains("clock"), "{error}");
}

#[test]
fn a_planned_key_is_known_beforehand_and_taken_on_demand_with_the_old_one_kept() {
    let folder = Folder::with_authority();
    let mut ca = issued(&folder, june_2026());
    let first = ca.fingerprints();
    assert!(matches!(
        ca.rotate(ServerKey::Rsa, june_2026()),
        Err(PkiError::NoNextKey { .. })
    ));
    assert_eq!(ca.next_fingerprints(), None);
    ca.prepare_next(ServerKey::Rsa).unwrap();
    let next = ca.next_fingerprints().unwrap();
    assert_ne!(next, first);
    // Prepared twice is prepared once, also after a restart; and nothing is served differently.
    let mut ca = issued(&folder, june_2026() + DAY);
    ca.prepare_next(ServerKey::Rsa).unwrap();
    assert_eq!(
        (ca.next_fingerprints(), ca.fingerprints()),
        (Some(next), first)
    );

    let old_key = folder.text("server-rsa.key");
    ca.rotate(ServerKey::Rsa, june_2026() + 2 * DAY).unwrap();
    assert_eq!((ca.next_fingerprints(), ca.fingerprints()), (None, next));
    let served = ca.chains();
    let rsa = served
        .iter()
        .find(|c| c.key() == KeyKind::Rsa(2048))
        .unwrap();
    assert_eq!(rsa.tasmota_fingerprints(), Some(next));
    assert_eq!(rsa.names(), ["safeport.lan"]);
    assert!(folder.text("server-rsa.previous.key") == old_key);
    let ca = issued(&folder, june_2026() + 3 * DAY);
    assert_eq!(ca.fingerprints(), next);
    assert!(!ca.has_next(ServerKey::Rsa));
}

#[test]
fn a_p256_key_is_changed_the_same_way_and_leaves_the_fingerprint_alone() {
    let folder = Folder::with_authority();
    let mut ca = issued(&folder, june_2026());
    let (fingerprint, before) = (ca.fingerprints(), contents(folder.path()));
    ca.prepare_next(ServerKey::P256).unwrap();
    assert_eq!(ca.next_fingerprints(), None);
    ca.rotate(ServerKey::P256, june_2026()).unwrap();
    assert_eq!(ca.fingerprints(), fingerprint);
    assert_eq!(
        changed(&before, &contents(folder.path())),
        [
            "server-p256.key",
            "server-p256.pem",
            "server-p256.previous.key"
        ]
    );
}

#[test]
fn a_power_cut_in_the_middle_of_a_change_leaves_a_key_and_a_certificate_that_follows() {
    let folder = Folder::with_authority();
    let mut ca = issued(&folder, june_2026());
    ca.prepare_next(ServerKey::Rsa).unwrap();
    let next = ca.next_fingerprints().unwrap();
    // The new key has its place, its certificate was not written any more.
    std::fs::rename(
        folder.file("server-rsa.next.key"),
        folder.file("server-rsa.key"),
    )
    .unwrap();
    let ca = issued(&folder, june_2026());
    assert_eq!(ca.fingerprints(), next);
    assert_eq!(ca.chains().len(), 2);
}

#[test]
fn no_key_file_is_ever_readable_by_others_and_no_key_is_ever_printed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with_authority();
    let mut ca = issued(&folder, june_2026());
    for which in [ServerKey::Rsa, ServerKey::P256] {
        ca.prepare_next(which).unwrap();
        ca.rotate(which, june_2026()).unwrap();
        ca.prepare_next(which).unwrap();
    }
    let certificates = safeport_net::Certificates::new();
    certificates.set_private(ca.chains());
    certificates.set_challenge("a.example", [7; 32]).unwrap();
    let service = safeport_net::TlsService::new(&certificates, Default::default()).unwrap();
    let printed = format!(
        "{ca:?} {:?} {:?} {certificates:?} {service:?} {:#?}",
        ca.chains(),
        ca.key(ServerKey::Rsa),
        ca.key(ServerKey::P256),
    );
    let files = contents(folder.path());
    let keys: Vec<_> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".key"))
        .collect();
    assert_eq!(keys.len(), 7);
    for (name, pem) in keys {
        let mode = std::fs::metadata(folder.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        for line in pem.lines().filter(|line| line.len() > 20) {
            assert!(
                !printed.contains(line) || line.starts_with("-----"),
                "{name} is printed"
            );
        }
        // Nor as a list of bytes.
        let der = safeport_net::rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes());
        // Where the public part stands is no secret: in PKCS#8 the modulus of RSA comes first, and
        // the point of P-256 last.
        let der = der.unwrap();
        let secret = match der.secret_der() {
            rsa if rsa.len() > 1000 => &rsa[rsa.len() - 64..rsa.len() - 48],
            p256 => &p256[40..56],
        };
        let list = format!("{secret:?}");
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            !printed.contains(list.trim_matches(['[', ']'])),
            "{name} is printed"
        );
        assert!(!printed.to_lowercase().contains(&hex), "{name} is printed");
    }
    assert!(!printed.contains("PRIVATE KEY"));
}

#[test]
fn the_root_is_given_out_in_both_forms() {
    let folder = Folder::with_authority();
    let ca = open(&folder);
    let der = CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).unwrap();
    assert_eq!(&der, ca.ca_der());
}

#[test]
fn a_request_for_a_certificate_carries_the_key_that_devices_pin_and_the_names() {
    use x509_parser::prelude::{FromDer, X509CertificationRequest};
    let folder = Folder::with_authority();
    let ca = issued(&folder, june_2026());
    for (chain, which) in ca.chains().iter().zip([ServerKey::P256, ServerKey::Rsa]) {
        let request = ca
            .key(which)
            .request(&names(&["Home.example.com", "*.home.example.com"]));
        let request = request.unwrap();
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        request.verify_signature().unwrap();
        let info = &request.certification_request_info;
        parse_der(&chain.der()[0], |served| {
            assert!(info.subject_pki.raw == served.public_key().raw);
        });
        let text = format!(
            "{:?}",
            request.requested_extensions().unwrap().collect::<Vec<_>>()
        );
        assert!(text.contains("\"home.example.com\"") && text.contains("*.home.example.com"));
    }
    assert!(
        ca.key(ServerKey::Rsa)
            .request(&names(&["no url/"]))
            .is_err()
    );
}

fn parse_der(der: &[u8], look: impl FnOnce(&x509_parser::prelude::X509Certificate<'_>)) {
    use x509_parser::prelude::{FromDer, X509Certificate};
    look(&X509Certificate::from_der(der).unwrap().1);
}
