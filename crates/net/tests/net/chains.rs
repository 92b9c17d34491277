//! Chains from PEM files: what is served, and what is refused with which words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use safeport_net::Chain;
use safeport_net::pki::{AnchorKind, ChainError, ChainNote, KeyKind, Origin, Roots, authorities};

use crate::folder::{DAY, Folder, june_2026};
use crate::lab::{self, Authority, Kind, Made, self_signed, verify};

const NAME: &str = "home.example.com";

/// Root, intermediate and server certificate, as an authority hands them out.
struct House {
    root: Authority,
    issuing: Authority,
    leaf: Made,
}

fn house() -> House {
    let root = Authority::root("Lab Root", Kind::P256);
    let issuing = root.authority("Lab Issuing", Kind::P256);
    let leaf = issuing.leaf(NAME, Kind::P256);
    House {
        root,
        issuing,
        leaf,
    }
}

fn roots(root: &Authority) -> Roots {
    Roots::none().with_certificate(AnchorKind::Given, &root.der)
}

fn read(pems: &[&str], key: &str, roots: &Roots) -> Result<Chain, ChainError> {
    let folder = Folder::empty();
    std::fs::write(folder.file("chain.pem"), pems.concat()).unwrap();
    std::fs::write(folder.file("key.pem"), key).unwrap();
    let (chain, key) = (folder.file("chain.pem"), folder.file("key.pem"));
    Chain::from_files(&chain, &key, roots, june_2026())
}

/// The error, which has to name the file and what else it is about.
fn refused(pems: &[&str], key: &str, roots: &Roots, words: &[&str]) -> ChainError {
    let error = read(pems, key, roots).unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    error
}

#[test]
fn a_chain_up_to_but_without_its_root_is_served_as_it_is() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let chain = read(&[&leaf.pem, &issuing.pem], &leaf.key, &roots(&root)).unwrap();
    assert_eq!(chain.names(), [NAME]);
    assert_eq!(chain.key(), KeyKind::P256);
    let named: Vec<&str> = chain.certificates().iter().map(|c| &*c.name).collect();
    assert_eq!(named, [NAME, "Lab Issuing"]);
    let [anchor] = chain.anchors() else {
        panic!("{:?}", chain.anchors())
    };
    assert_eq!(
        (&*anchor.name, anchor.kind, anchor.length),
        ("Lab Root", AnchorKind::Given, 2)
    );
    assert!(chain.notes().is_empty(), "{:?}", chain.notes());
    assert!(matches!(chain.origin(), Origin::Files { path } if path.ends_with("chain.pem")));
    assert_eq!(chain.days_left(june_2026()), 64);
    assert_eq!(chain.not_after(), june_2026() + 64 * DAY);
    verify(&root.der, &chain, NAME, june_2026()).unwrap();
}

#[test]
fn a_root_at_the_end_says_where_the_chain_ends_and_is_not_sent() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let pems = [&*leaf.pem, &issuing.pem, &root.pem];
    let chain = read(&pems, &leaf.key, &Roots::none()).unwrap();
    assert_eq!(chain.certificates().len(), 2);
    assert_eq!(chain.anchors()[0].kind, AnchorKind::InFile);
    assert_eq!(chain.notes(), [ChainNote::RootNotSent("Lab Root".into())]);
    verify(&root.der, &chain, NAME, june_2026()).unwrap();
    // Known from elsewhere as well: named once, by the better source.
    let chain = read(&pems, &leaf.key, &roots(&root)).unwrap();
    assert_eq!(chain.anchors().len(), 1);
    assert_eq!(chain.anchors()[0].kind, AnchorKind::Given);
}

#[test]
fn keys_in_every_usual_form_are_read() {
    let root = Authority::root("Lab Root", Kind::P256);
    // Made with `openssl genrsa -traditional` and `openssl ecparam -genkey`, for this test alone.
    for (key, kind) in [
        (include_str!("keys/pkcs1.pem"), KeyKind::Rsa(2048)),
        (include_str!("keys/sec1.pem"), KeyKind::P256),
    ] {
        let pair = rcgen::KeyPair::from_pem(key).unwrap();
        let made = root.leaf_for(NAME, &pair);
        let chain = read(&[&made], key, &roots(&root)).unwrap();
        assert_eq!(chain.key(), kind);
    }
}

#[test]
fn a_missing_issuer_is_named_with_where_to_get_it() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let words = [
        "chain.pem",
        "Lab Issuing",
        "certificate 1 (`home.example.com`)",
        "62",
    ];
    let error = refused(&[&leaf.pem], &leaf.key, &roots(&root), &words);
    assert!(matches!(error, ChainError::Incomplete { missing, .. } if missing == "Lab Issuing"));
    // The root in the file does not stand in for the link between.
    refused(
        &[&leaf.pem, &root.pem],
        &leaf.key,
        &Roots::none(),
        &["Lab Issuing"],
    );
    // Complete but for a root that nobody knows.
    let words = ["Lab Root", "certificate 2 (`Lab Issuing`)", "tls.ca_file"];
    refused(
        &[&leaf.pem, &issuing.pem],
        &leaf.key,
        &Roots::public(),
        &words,
    );
    // The certificate itself says where its issuer can be had.
    let leaf = issuing.leaf_with(NAME, Kind::P256, |params| {
        let content = b"\x30\x2b\x30\x29\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x1d\
                        http://ca.example/issuing.der"
            .to_vec();
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
        let extension = rcgen::CustomExtension::from_oid_content(&oid, content);
        params.custom_extensions.push(extension);
    });
    let words = ["http://ca.example/issuing.der"];
    refused(&[&leaf.pem], &leaf.key, &roots(&root), &words);
}

#[test]
fn certificates_out_of_order_are_named_with_their_right_place() {
    let root = Authority::root("Lab Root", Kind::P256);
    let upper = root.authority("Lab Upper", Kind::P256);
    let lower = upper.authority("Lab Lower", Kind::P256);
    let leaf = lower.leaf(NAME, Kind::P256);
    let words = [
        "certificate 3 (`Lab Lower`) issued certificate 1 (`home.example.com`)",
        "right after it",
    ];
    let pems = [&*leaf.pem, &upper.pem, &lower.pem];
    let error = refused(&pems, &leaf.key, &roots(&root), &words);
    assert!(matches!(error, ChainError::Misordered { .. }));
    // Row 13 of the fault lab: the root before the intermediate.
    let pems = [&*leaf.pem, &root.pem, &upper.pem, &lower.pem];
    refused(
        &pems,
        &leaf.key,
        &roots(&root),
        &["certificate 4 (`Lab Lower`) issued"],
    );
    // The server's own has to be the first.
    let pems = [&*lower.pem, &leaf.pem, &upper.pem];
    let words = [
        "begins with certificate 1 (`Lab Lower`)",
        "certificate 2 (`home.example.com`)",
    ];
    let error = refused(&pems, &leaf.key, &roots(&root), &words);
    assert!(matches!(error, ChainError::LeafNotFirst { .. }));
    read(
        &[&leaf.pem, &lower.pem, &upper.pem],
        &leaf.key,
        &roots(&root),
    )
    .unwrap();
}

#[test]
fn a_certificate_that_has_no_part_in_the_chain_is_named() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let other = Authority::root("Other Root", Kind::P256);
    let stranger = other.authority("Other Issuing", Kind::P256);
    let pems = [&*leaf.pem, &issuing.pem, &stranger.pem];
    let words = [
        "certificate 3 (`Other Issuing`)",
        "did not issue certificate 2",
    ];
    let error = refused(&pems, &leaf.key, &roots(&root), &words);
    assert!(matches!(error, ChainError::Stranger { .. }));
    let pems = [&*leaf.pem, &issuing.pem, &issuing.pem];
    refused(
        &pems,
        &leaf.key,
        &roots(&root),
        &["certificate 3", "remove it"],
    );
}

#[test]
fn an_issuer_with_the_right_name_and_another_key_is_not_taken() {
    let House { root, leaf, .. } = house();
    let namesake = root.authority("Lab Issuing", Kind::P256);
    let words = ["certificate 2 (`Lab Issuing`)", "did not sign it"];
    let error = refused(
        &[&leaf.pem, &namesake.pem],
        &leaf.key,
        &roots(&root),
        &words,
    );
    assert!(matches!(error, ChainError::WrongIssuer { .. }));
    // Nor a root.
    let namesake = Authority::root("Lab Root", Kind::P256);
    let House { issuing, leaf, .. } = house();
    let pems = [&*leaf.pem, &issuing.pem];
    let error = refused(&pems, &leaf.key, &roots(&namesake), &["Lab Root"]);
    assert!(matches!(error, ChainError::Incomplete { .. }));
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_files() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let other = issuing.leaf(NAME, Kind::P256);
    let words = ["key.pem", "chain.pem", "certificate 1 (`home.example.com`)"];
    let pems = [&*leaf.pem, &issuing.pem];
    let error = refused(&pems, &other.key, &roots(&root), &words);
    assert!(matches!(error, ChainError::KeyMismatch { .. }));
}

#[test]
fn files_that_hold_something_else_are_refused_with_what_belongs_there() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let pems = [&*leaf.pem, &issuing.pem];
    let roots = roots(&root);
    refused(
        &[&leaf.key],
        &leaf.key,
        &roots,
        &["chain.pem", "fullchain.pem"],
    );
    refused(&["no PEM"], &leaf.key, &roots, &["holds no certificate"]);
    refused(&pems, &leaf.pem, &roots, &["key.pem", "privkey.pem"]);
    refused(&pems, "", &roots, &["holds no private key"]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    refused(&pems, encrypted, &roots, &["encrypted", "openssl pkey"]);
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    refused(
        &[&leaf.pem, damaged],
        &leaf.key,
        &roots,
        &["certificate 2", "damaged"],
    );
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    refused(&pems, key, &roots, &["key.pem", "RSA 2048"]);
    let many = issuing.pem.repeat(11);
    refused(&[&many], &leaf.key, &roots, &["11 certificates", "10"]);
    let long = format!("{}{}", leaf.pem, " ".repeat(256 * 1024));
    refused(&[&long], &leaf.key, &roots, &["longer than 262144 bytes"]);
    let nowhere = std::path::Path::new("/nonexistent/chain.pem");
    let error = Chain::from_files(nowhere, nowhere, &roots, june_2026()).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/chain.pem"),
        "{error}"
    );
    // An error about a key never shows any of it.
    let error = read(
        &pems,
        &format!("{}x", issuing.leaf(NAME, Kind::P256).key),
        &roots,
    );
    assert!(!format!("{error:?}").contains("MIG"));
}

#[test]
fn every_certificate_of_the_chain_has_to_be_good_at_this_time() {
    let root = Authority::root("Lab Root", Kind::P256);
    let mut params = lab::authority("Lab Issuing");
    params.not_before = (june_2026() - DAY).into();
    params.not_after = (june_2026() + 5 * DAY).into();
    let issuing = root.sign(params, Kind::P256.key());
    let leaf = issuing.leaf(NAME, Kind::P256);
    let pems = [leaf.pem, issuing.pem].concat();
    let at = |now: SystemTime| {
        let key = leaf.key.as_bytes();
        Chain::from_pem(Origin::Acme, pems.as_bytes(), key, &roots(&root), now)
    };
    let chain = at(june_2026()).unwrap();
    assert_eq!(chain.not_after(), june_2026() + 5 * DAY);
    assert_eq!(chain.not_before(), june_2026() - DAY);
    at(june_2026() + 5 * DAY - Duration::from_secs(1)).unwrap();
    let error = at(june_2026() + 5 * DAY).unwrap_err();
    assert!(matches!(error, ChainError::Expired { .. }));
    let text = error.to_string();
    assert!(
        text.contains("certificate 2 (`Lab Issuing`)") && text.contains("clock"),
        "{text}"
    );
    let error = at(june_2026() + 70 * DAY).unwrap_err().to_string();
    assert!(error.contains("certificate 1"), "{error}");
    at(june_2026() - DAY).unwrap();
    let error = at(june_2026() - DAY - Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, ChainError::NotYetValid { .. }), "{error}");
    // A clock that nobody has set yet must not keep a server from starting.
    at(UNIX_EPOCH).unwrap();
}

#[test]
fn a_certificate_that_signed_itself_is_refused_with_what_to_use_instead() {
    for is_ca in [true, false] {
        let made = self_signed(NAME, is_ca);
        let words = [
            "signed itself",
            "openssl req -x509",
            "certificate = \"private\"",
        ];
        let error = refused(&[&made.pem], &made.key, &Roots::none(), &words);
        assert!(matches!(error, ChainError::SelfSigned { .. }));
    }
    let House { root, issuing, .. } = house();
    let leaf = issuing.leaf_with(NAME, Kind::P256, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let pems = [&*leaf.pem, &issuing.pem];
    let error = refused(&pems, &leaf.key, &roots(&root), &["CA:TRUE", "CA:FALSE"]);
    assert!(matches!(error, ChainError::AuthorityAsServer { .. }));
}

#[test]
fn an_issuer_has_to_be_an_authority() {
    let root = Authority::root("Lab Root", Kind::P256);
    let mut params = lab::authority("Lab Server");
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let issuing = root.sign(params, Kind::P256.key());
    let leaf = issuing.leaf(NAME, Kind::P256);
    let words = ["certificate 2 (`Lab Server`)", "CA:FALSE"];
    let error = refused(&[&leaf.pem, &issuing.pem], &leaf.key, &roots(&root), &words);
    assert!(matches!(error, ChainError::NotAnAuthority { .. }));
}

#[test]
fn what_clients_refuse_in_a_server_certificate_is_refused_here() {
    let House { root, issuing, .. } = house();
    let try_leaf = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let leaf = issuing.leaf_with(NAME, Kind::P256, |params| change(params));
        read(&[&leaf.pem, &issuing.pem], &leaf.key, &roots(&root))
    };
    let error = try_leaf(&|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(matches!(error, Err(ChainError::NotForServers { .. })));
    let error = try_leaf(&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert!(matches!(error, Err(ChainError::MayNotSign { .. })));
    let error = try_leaf(&|params| {
        params.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 5].into())];
    });
    assert!(matches!(error, Err(ChainError::NoDnsName { .. })));
    let error = try_leaf(&|params| params.subject_alt_names.clear());
    assert!(matches!(error, Err(ChainError::NoDnsName { .. })));
    // Without any extended key usage a certificate is for everything.
    try_leaf(&|params| params.extended_key_usages.clear()).unwrap();
}

#[test]
fn weak_hashes_and_short_keys_are_refused() {
    let House { root, leaf, .. } = house();
    let roots = roots(&root);
    // Made with OpenSSL for this test alone: this crate cannot make such things.
    let (weak, key) = (
        include_str!("keys/sha1.pem"),
        include_str!("keys/pkcs1.pem"),
    );
    let error = refused(&[weak], key, &roots, &["SHA-1", "SHA-256", "49"]);
    assert!(matches!(error, ChainError::WeakSignature { .. }));
    let short = include_str!("keys/rsa1024.pem");
    let words = ["certificate 2 (`Short Issuing`)", "RSA 1024", "2048"];
    let error = refused(&[&leaf.pem, short], &leaf.key, &roots, &words);
    assert!(matches!(error, ChainError::ShortKey { .. }));
}

#[test]
fn long_keys_other_curves_and_large_hashes_are_served_and_told() {
    let root = Authority::root("Lab Root", Kind::P384);
    let issuing = root.authority("Lab Issuing", Kind::RsaSha384);
    let leaf = issuing.leaf(NAME, Kind::P384);
    let chain = read(&[&leaf.pem, &issuing.pem], &leaf.key, &roots(&root)).unwrap();
    assert_eq!(chain.key(), KeyKind::P384);
    let hash = |name: &str, signature: &str| ChainNote::LargeHash {
        name: name.to_owned(),
        signature: signature.to_owned(),
    };
    let curve = ChainNote::LargeCurve {
        name: NAME.to_owned(),
        key: KeyKind::P384,
    };
    assert_eq!(
        chain.notes(),
        [
            hash(NAME, "RSA with SHA-384"),
            curve,
            hash("Lab Issuing", "ECDSA with SHA-384"),
        ]
    );
    let root = Authority::root("Lab Root", Kind::Rsa);
    let leaf = root.leaf(NAME, Kind::Rsa4096);
    let chain = read(&[&leaf.pem], &leaf.key, &roots(&root)).unwrap();
    assert_eq!(chain.notes(), [ChainNote::LongKey(KeyKind::Rsa(4096))]);
}

#[test]
fn a_cross_signed_root_carries_the_chain_on_and_its_absence_is_told() {
    // Let's Encrypt in 2026: devices know X1, the chain ends at the young root YR.
    let x1 = Authority::root("ISRG Root X1", Kind::P256);
    let yr = Authority::root("Root YR", Kind::P256);
    let bridge = x1.cross_sign(&yr);
    let issuing = yr.authority("YR1", Kind::P256);
    let leaf = issuing.leaf(NAME, Kind::P256);
    let both = Roots::none()
        .with_certificate(AnchorKind::Public, &x1.der)
        .with_certificate(AnchorKind::Public, &yr.der);
    let with = read(&[&leaf.pem, &issuing.pem, &bridge], &leaf.key, &both).unwrap();
    let ends: Vec<_> = with
        .anchors()
        .iter()
        .map(|a| (&*a.name, a.length))
        .collect();
    assert_eq!(ends, [("ISRG Root X1", 3), ("Root YR", 2)]);
    assert!(with.notes().is_empty(), "{:?}", with.notes());

    let without = read(&[&leaf.pem, &issuing.pem], &leaf.key, &both).unwrap();
    let note = ChainNote::WithoutCrossSigned {
        root: "Root YR".into(),
        older: "ISRG Root X1",
    };
    assert_eq!(without.notes(), [note]);
    // Where the young root is not known at all, such a file is not complete.
    let only_x1 = Roots::none().with_certificate(AnchorKind::Public, &x1.der);
    refused(
        &[&leaf.pem, &issuing.pem],
        &leaf.key,
        &only_x1,
        &["Root YR", "certificate 2"],
    );
}

#[test]
fn what_an_acme_authority_of_the_owners_choice_sent_may_end_at_any_root() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let pem = [leaf.pem, issuing.pem].concat();
    let from = |origin| {
        let key = leaf.key.as_bytes();
        Chain::from_pem(origin, pem.as_bytes(), key, &Roots::public(), june_2026())
    };
    let chain = from(Origin::Acme).unwrap();
    assert_eq!(chain.notes(), [ChainNote::UnknownRoot("Lab Root".into())]);
    assert!(chain.anchors().is_empty());
    verify(&root.der, &chain, NAME, june_2026()).unwrap();
    let path = "elsewhere.pem".into();
    let error = from(Origin::Files { path }).unwrap_err().to_string();
    assert!(error.contains("elsewhere.pem"), "{error}");
}

#[test]
fn roots_are_read_from_a_file_of_any_number_of_them() {
    let House {
        root,
        issuing,
        leaf,
    } = house();
    let folder = Folder::empty();
    let path = folder.file("ca.pem");
    let other = Authority::root("Other Root", Kind::P256);
    std::fs::write(&path, [&*other.pem, &root.pem].concat()).unwrap();
    assert_eq!(authorities(&path).unwrap().len(), 2);
    let given = Roots::public().with_file(&path).unwrap();
    read(&[&leaf.pem, &issuing.pem], &leaf.key, &given).unwrap();
    std::fs::write(&path, "nothing").unwrap();
    let error = authorities(&path).unwrap_err().to_string();
    assert!(error.contains("ca.pem"), "{error}");
    assert!(Roots::public().with_file(&folder.file("none.pem")).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// Files come from anywhere. Whatever is in them is served or refused in words.
    #[test]
    fn damaged_certificates_are_refused_and_never_worse(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte in proptest::prelude::any::<u8>(),
        cut in proptest::option::of(proptest::prelude::any::<proptest::sample::Index>()),
    ) {
        static MADE: std::sync::LazyLock<House> = std::sync::LazyLock::new(house);
        let whole = read(&[&MADE.leaf.pem, &MADE.issuing.pem], &MADE.leaf.key, &roots(&MADE.root));
        let mut ders: Vec<Vec<u8>> = whole.unwrap().der().iter().map(|der| der.to_vec()).collect();
        let all: usize = ders.iter().map(Vec::len).sum();
        let mut at = at.index(all);
        for der in &mut ders {
            if let Some(damaged) = der.get_mut(at) {
                *damaged = byte;
                break;
            }
            at -= der.len();
        }
        if let Some(cut) = cut {
            let length = cut.index(ders[1].len());
            ders[1].truncate(length);
        }
        let pem: String = ders
            .iter()
            .map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", &der[..])))
            .collect();
        let key = MADE.leaf.key.as_bytes();
        let path = "damaged.pem".into();
        let origin = Origin::Files { path };
        match Chain::from_pem(origin, pem.as_bytes(), key, &roots(&MADE.root), june_2026()) {
            Err(error) => proptest::prop_assert!(error.to_string().contains("damaged.pem")),
            // The byte that stood there before.
            Ok(chain) => verify(&MADE.root.der, &chain, NAME, june_2026()).unwrap(),
        }
    }
}
