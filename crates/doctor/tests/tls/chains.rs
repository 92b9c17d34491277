//! Rows 1 to 14 of doctor.md §7 with what devices were measured to print there, and what lies between
//! the rows.

use std::time::Duration;

use safeport_doctor::Cause;
use safeport_doctor::profile::Profile;
use safeport_doctor::tls::{Anchor, Certificate, Pin, inspect_chain, tasmota_fingerprint};

use crate::lab::{Lab, b, b_ecdsa, causes, certificate, chain, x};

/// What B and X say to a chain, in this order.
fn both(lab: &Lab, names: &[&str]) -> (String, String) {
    (lab.says(b(), names), lab.says(&x(), names))
}

fn expect(lab: &Lab, names: &[&str], b: &str, x: &str) {
    assert_eq!(both(lab, names), (b.to_owned(), x.to_owned()), "{names:?}");
}

#[test]
fn row_1_a_good_chain_passes() {
    expect(&Lab::new(), &["leaf", "intermediate"], "ok", "ok");
    // With the root behind it, which is of no use, it does, too.
    expect(&Lab::new(), &["leaf", "intermediate", "root"], "ok", "ok");
}

#[test]
fn row_2_a_missing_intermediate() {
    expect(
        &Lab::new(),
        &["leaf"],
        "62 chain_incomplete",
        "-0x2700 (flags 0x8) chain_incomplete",
    );
    // Where to get it stands in the certificate; devices do not look there.
    expect(
        &Lab::new(),
        &["named-issuer"],
        "62 chain_incomplete",
        "-0x2700 (flags 0x8) chain_incomplete",
    );
    // Without any hint the issuer may be a private root, which is not sent.
    let or = |lab: Lab, name: &str| lab.judge(b(), &[name]).clues[0].or.clone();
    assert_eq!(or(Lab::stock(), "leaf"), [Cause::ChainNotTrusted]);
    assert_eq!(or(Lab::stock(), "named-issuer"), []);
    assert_eq!(or(Lab::new(), "leaf"), []);
    let read = Certificate::read(&certificate("named-issuer")).unwrap();
    assert_eq!(
        read.issuer_url.as_deref(),
        Some("http://ca.example/intermediate.crt")
    );
}

#[test]
fn row_3_an_expired_certificate() {
    expect(
        &Lab::new(),
        &["expired", "intermediate"],
        "54 certificate_expired",
        "-0x2700 (flags 0x1) certificate_expired",
    );
    // The one above it may be the expired one.
    expect(
        &Lab::new(),
        &["below-old", "intermediate-old"],
        "54 certificate_expired",
        "-0x2700 (flags 0x1) certificate_expired",
    );
    // A program on ESP-IDF 5 looks at dates if it is built to: its clock is not blamed.
    let idf = Profile::of("idf-5-bundle").unwrap();
    let expired = "-0x2700 (flags 0x1) certificate_expired";
    assert_eq!(Lab::new().says(idf, &["expired", "intermediate"]), expired);
    let unset = Lab {
        device_time: Some(Duration::ZERO),
        ..Lab::new()
    };
    assert_eq!(unset.says(idf, &["leaf", "intermediate"]), "ok");
    let idf = Profile::of("idf-6").unwrap();
    let clock = "-0x2700 (flags 0x200) device_clock_unset";
    assert_eq!(unset.says(idf, &["leaf", "intermediate"]), clock);
}

#[test]
fn row_4_a_certificate_that_is_not_yet_valid() {
    expect(
        &Lab::new(),
        &["early", "intermediate"],
        "54 not_yet_valid",
        "-0x2700 (flags 0x200) not_yet_valid",
    );
}

#[test]
fn row_5_another_name() {
    expect(
        &Lab::new(),
        &["other", "intermediate"],
        "56 name_mismatch",
        "-0x2700 (flags 0x4) name_mismatch",
    );
    let verdict = Lab::new().judge(b(), &["other", "intermediate"]);
    assert_eq!(verdict.facts.get("other"), Some("other.example"));
    assert!(verdict.clues[0].quote.en.contains("hub.example"));
}

#[test]
fn row_6_the_common_name_does_not_count_beside_names() {
    expect(
        &Lab::new(),
        &["common-name", "intermediate"],
        "56 name_mismatch",
        "-0x2700 (flags 0x4) name_mismatch",
    );
    // Without any names it does.
    expect(&Lab::new(), &["no-names", "intermediate"], "ok", "ok");
    expect(&Lab::new(), &["wildcard", "intermediate"], "ok", "ok");
    expect(
        &Lab::to("a.hub.example"),
        &["wildcard", "intermediate"],
        "56 name_mismatch",
        "-0x2700 (flags 0x4) name_mismatch",
    );
}

#[test]
fn row_7_an_address_where_the_certificate_has_names() {
    let lab = Lab::to("192.168.1.5");
    for names in ["leaf", "address"] {
        expect(
            &lab,
            &[names, "intermediate"],
            "56 name_mismatch",
            "-0x2700 (flags 0x4) name_mismatch",
        );
    }
    // Written out as a name it counts, and for newer mbedTLS as an address, too.
    expect(&lab, &["address-as-name", "intermediate"], "ok", "ok");
    let idf = Profile::of("idf-5-bundle").unwrap();
    assert_eq!(lab.says(idf, &["address", "intermediate"]), "ok");
    // ESPEasy has no name to compare when it is given an address.
    let espeasy = Profile::of("espeasy").unwrap();
    assert_eq!(lab.says(espeasy, &["leaf", "intermediate"]), "ok");
}

#[test]
fn row_8_a_self_signed_certificate() {
    expect(
        &Lab::new(),
        &["alone"],
        "62 untrusted_self_signed",
        "-0x2700 (flags 0x8) untrusted_self_signed",
    );
}

#[test]
fn row_9_an_ecdsa_key_and_a_device_with_rsa_only() {
    expect(
        &Lab::new(),
        &["p256", "intermediate"],
        "296 no_common_cipher_ecdsa_only",
        "ok",
    );
    assert_eq!(Lab::new().says(b_ecdsa(), &["p256", "intermediate"]), "ok");
}

#[test]
fn row_10_a_p384_intermediate() {
    let lab = Lab::new();
    let names = &["below-p384", "intermediate-p384"];
    expect(&lab, names, "296 no_common_cipher_ecdsa_only", "ok");
    assert_eq!(lab.says(b_ecdsa(), names), "52 chain_unsupported_curve");
    // With an RSA key below it, the handshake goes on until the chain is looked at.
    let names = &["rsa-below-p384", "intermediate-p384"];
    expect(&lab, names, "49 chain_unsupported_curve", "ok");
    assert_eq!(lab.says(b_ecdsa(), names), "52 chain_unsupported_curve");
    let names = &["below-p384-sha384", "intermediate-p384"];
    assert_eq!(lab.says(b_ecdsa(), names), "49 hash_unsupported");
}

#[test]
fn row_11_a_signature_with_sha384() {
    expect(
        &Lab::new(),
        &["sha384", "intermediate"],
        "49 hash_unsupported",
        "ok",
    );
}

#[test]
fn row_12_a_signature_with_sha1() {
    expect(
        &Lab::new(),
        &["sha1", "intermediate"],
        "49 hash_weak",
        "-0x2700 (flags 0x4000) hash_weak",
    );
}

#[test]
fn row_13_the_root_before_the_intermediate() {
    let names = &["leaf", "root", "intermediate"];
    expect(&Lab::new(), names, "55 chain_order", "ok");
    // Whoever looks at the chain by itself is told, though most devices get along.
    let inspected = inspect_chain(&chain(names), &Lab::new().circumstances());
    assert_eq!(causes(&inspected), [Cause::ChainOrder]);
}

#[test]
fn row_14_a_certificate_for_clients() {
    expect(
        &Lab::new(),
        &["client", "intermediate"],
        "ok",
        "-0x7A00 (flags 0x1000) wrong_eku",
    );
}

#[test]
fn rows_32_and_33_a_device_whose_clock_is_wrong() {
    let mut lab = Lab::new();
    let names = &["leaf", "intermediate"];
    lab.device_time = Some(Duration::ZERO);
    assert_eq!(lab.says(b(), names), "54 device_clock_unset");
    lab.device_time = Some(Duration::from_secs(2_208_988_800));
    assert_eq!(lab.says(b(), names), "54 device_clock_wrong");
    // An expired certificate is expired, whatever the device takes for the time.
    lab.device_time = None;
    assert_eq!(
        lab.says(b(), &["expired", "intermediate"]),
        "54 certificate_expired"
    );
    // With a fingerprint no clock is looked at.
    lab.device_time = Some(Duration::ZERO);
    lab.pin = tasmota_fingerprint(&certificate("leaf")).map(Pin::Key);
    assert_eq!(lab.says(b(), names), "ok");
}

#[test]
fn a_fingerprint_is_of_the_key_and_of_nothing_else() {
    let mut lab = Lab::stock();
    lab.pin = tasmota_fingerprint(&certificate("leaf")).map(Pin::Key);
    assert_eq!(lab.says(b(), &["leaf"]), "ok");
    assert_eq!(lab.says(b(), &["other"]), "1 fingerprint_mismatch");
    assert_eq!(tasmota_fingerprint(&certificate("p256")), None);
    lab.pin = Some(Pin::Any);
    assert_eq!(lab.says(b(), &["alone"]), "ok");
    assert_eq!(lab.says(b(), &["large"]), "27 key_too_large");
}

#[test]
fn keys_beyond_what_the_device_is_built_for() {
    let lab = Lab::new();
    let names = &["large", "intermediate"];
    expect(&lab, names, "27 key_too_large", "ok");
    assert_eq!(lab.says(Profile::of("tasmota-esp32").unwrap(), names), "ok");
    // The root is not sent, and its signature has to be verified all the same.
    let mut lab = Lab::new();
    lab.own = vec![Anchor::of_certificate(&certificate("root-4096")).unwrap()];
    expect(&lab, &["below-4096"], "62 key_too_large", "ok");
    // No device knows Ed25519.
    expect(
        &Lab::new(),
        &["ed25519", "intermediate"],
        "296 no_common_cipher",
        "-0x7780 no_common_cipher",
    );
}

#[test]
fn a_root_that_the_device_does_not_have() {
    let mut lab = Lab::stock();
    // Sent along, or known to exist, it is not missing.
    let not_trusted = "62 chain_not_trusted";
    let x_not_trusted = "-0x2700 (flags 0x8) chain_not_trusted";
    expect(
        &lab,
        &["leaf", "intermediate", "root"],
        not_trusted,
        x_not_trusted,
    );
    lab.known = vec![Anchor::of_certificate(&certificate("root")).unwrap()];
    expect(&lab, &["leaf", "intermediate"], not_trusted, x_not_trusted);
    expect(&lab, &["below-root"], not_trusted, x_not_trusted);
    // Another authority of the same name does not stand in for it.
    lab.own = vec![Anchor::of_certificate(&certificate("impostor")).unwrap()];
    expect(&lab, &["leaf", "intermediate"], not_trusted, x_not_trusted);
}

#[test]
fn devices_have_few_of_the_public_roots_and_programs_have_all() {
    let mut lab = Lab::stock();
    lab.anchors = vec![Anchor::of_certificate(&certificate("root")).unwrap()];
    expect(
        &lab,
        &["leaf", "intermediate"],
        "62 chain_not_trusted",
        "ok",
    );
}

#[test]
fn an_issuer_has_to_be_an_authority() {
    expect(
        &Lab::new(),
        &["below-no-authority", "no-authority"],
        "58 issuer_not_ca",
        "-0x2700 (flags 0x8) issuer_not_ca",
    );
}

#[test]
fn a_critical_extension_that_a_device_does_not_know() {
    expect(
        &Lab::new(),
        &["critical", "intermediate"],
        "57 certificate_unreadable",
        "-0x2562 certificate_unreadable",
    );
}

#[test]
fn several_faults_at_once_stop_each_device_in_its_own_order() {
    // BearSSL comes to the name before the issuer; mbedTLS says all it has found.
    expect(
        &Lab::to("elsewhere.example"),
        &["expired"],
        "54 certificate_expired",
        "-0x2700 (flags 0xD) certificate_expired chain_incomplete name_mismatch",
    );
    expect(
        &Lab::to("elsewhere.example"),
        &["leaf"],
        "56 name_mismatch",
        "-0x2700 (flags 0xC) chain_incomplete name_mismatch",
    );
}

#[test]
fn modules_verify_nothing() {
    for name in ["ml307", "ec801e"] {
        let module = Profile::of(name).unwrap();
        for names in [&["alone"][..], &["expired"], &["other", "root"]] {
            assert_eq!(Lab::stock().says(module, names), "ok");
        }
    }
}

#[test]
fn what_is_no_certificate_is_said_to_be_none() {
    let lab = Lab::new();
    let mut cut = certificate("leaf");
    cut.truncate(200);
    for chain in [vec![cut], vec![vec![]], vec![b"hello".to_vec()]] {
        for profile in Profile::ALL.iter().filter(|profile| profile.verifies()) {
            let verdict = safeport_doctor::tls::judge_chain(profile, &chain, &lab.circumstances());
            assert_eq!(causes(&verdict), [Cause::CertificateUnreadable]);
        }
    }
}

#[test]
fn what_was_served_is_told_in_words() {
    let verdict = Lab::new().judge(b(), &["leaf", "intermediate"]);
    assert_eq!(
        verdict.served,
        [
            "hub.example, RSA-2048, SHA-256, hub.example, 2026-06-01 … 2026-12-01, ← Lab intermediate",
            "Lab intermediate, RSA-2048, SHA-256, 2020-01-01 … 2037-01-01, ← Lab root",
        ]
    );
}

#[test]
fn roots_from_lists_for_rustls_are_taken_with_and_without_their_outer_sequence() {
    let whole = Anchor::of_certificate(&certificate("root")).unwrap();
    let root = certificate("root");
    let (_, parsed) = x509_parser::parse_x509_certificate(&root).unwrap();
    let inner = |der: &[u8]| -> Vec<u8> {
        let skip = if der[1] == 0x82 {
            4
        } else if der[1] == 0x81 {
            3
        } else {
            2
        };
        der[skip..].to_vec()
    };
    let subject = inner(parsed.subject().as_raw());
    let spki = inner(parsed.public_key().raw);
    assert_eq!(Anchor::of_parts(&subject, &spki), Some(whole.clone()));
    assert_eq!(
        Anchor::of_parts(parsed.subject().as_raw(), parsed.public_key().raw),
        Some(whole)
    );
    assert_eq!(Anchor::of_parts(b"x", b"y"), None);
}

/// What BearSSL 0.6 (set up as a Tasmota, without and with ECDSA) and mbedTLS 2.28.3 printed on
/// 2026-11-23 against `openssl s_server` with these chains, by the clients of `e2e/clients`.
#[test]
fn every_chain_of_the_lab_has_the_numbers_that_the_libraries_printed() {
    let lab = |root: &str| Lab {
        own: vec![Anchor::of_certificate(&certificate(root)).unwrap()],
        ..Lab::new()
    };
    for (names, wanted) in [
        ("leaf intermediate", ["ok", "ok", "ok"]),
        ("leaf", ["62", "62", "-0x2700 (flags 0x8)"]),
        ("leaf intermediate root", ["ok", "ok", "ok"]),
        ("expired intermediate", ["54", "54", "-0x2700 (flags 0x1)"]),
        ("early intermediate", ["54", "54", "-0x2700 (flags 0x200)"]),
        (
            "below-old intermediate-old",
            ["54", "54", "-0x2700 (flags 0x1)"],
        ),
        ("other intermediate", ["56", "56", "-0x2700 (flags 0x4)"]),
        ("no-names intermediate", ["ok", "ok", "ok"]),
        ("wildcard intermediate", ["ok", "ok", "ok"]),
        ("alone", ["62", "62", "-0x2700 (flags 0x8)"]),
        ("p256 intermediate", ["296", "ok", "ok"]),
        ("below-p384 intermediate-p384", ["296", "52", "ok"]),
        ("rsa-below-p384 intermediate-p384", ["49", "52", "ok"]),
        ("below-p384-sha384 intermediate-p384", ["296", "49", "ok"]),
        ("sha384 intermediate", ["49", "49", "ok"]),
        ("sha1 intermediate", ["49", "49", "-0x2700 (flags 0x4000)"]),
        ("leaf root intermediate", ["55", "55", "ok"]),
        (
            "client intermediate",
            ["ok", "ok", "-0x7A00 (flags 0x1000)"],
        ),
        ("large intermediate", ["27", "27", "ok"]),
        (
            "below-no-authority no-authority",
            ["58", "58", "-0x2700 (flags 0x8)"],
        ),
        ("critical intermediate", ["57", "57", "-0x2562"]),
        ("ed25519 intermediate", ["296", "296", "-0x7780"]),
        ("expired", ["54", "54", "-0x2700 (flags 0x9)"]),
        ("below-4096", ["62", "62", "ok"]),
        ("below-root", ["ok", "ok", "ok"]),
        ("leaf intermediate impostor", ["ok", "ok", "ok"]),
        ("alone intermediate", ["55", "55", "-0x2700 (flags 0x8)"]),
    ] {
        let lab = lab(if names == "below-4096" {
            "root-4096"
        } else {
            "root"
        });
        let names: Vec<&str> = names.split(' ').collect();
        // The client with ECDSA that was measured had the limits of an ESP8266.
        let ecdsa = Profile {
            keys: safeport_doctor::profile::Keys {
                curves: b_ecdsa().keys.curves,
                ..b().keys
            },
            ..b_ecdsa().clone()
        };
        let printed = [b(), &ecdsa, &x()].map(|profile| {
            let verdict = lab.judge(profile, &names);
            verdict
                .number
                .map_or("ok".into(), |number| number.to_string())
        });
        assert_eq!(printed, wanted, "{names:?}");
    }
}
