//! Which devices can connect with which chains: every verdict here is one that a device confirmed
//! or that its source says.

use std::sync::Arc;
use std::time::SystemTime;

use safeport_net::pki::{
    AnchorKind, Condition, FamilyVerdict, KeyKind, Origin, Reason, Roots, Route, WhyNot, families,
};
use safeport_net::{Chain, Choice};

use crate::authority::{issued, names};
use crate::folder::{DAY, Folder, june_2026};
use crate::lab::{Authority, Kind, Made};

const NAME: &str = "home.example.com";

fn private(host: &[&str]) -> Vec<Arc<Chain>> {
    let folder = Folder::with_authority();
    let mut ca = issued(&folder, june_2026());
    ca.ensure_leaf(&names(host), june_2026()).unwrap();
    ca.chains().into_iter().map(Arc::new).collect()
}

fn chain(kind: AnchorKind, root: &Authority, upper: &[&str], leaf: &Made) -> Vec<Arc<Chain>> {
    let pem = format!("{}{}", leaf.pem, upper.concat());
    let roots = Roots::none().with_certificate(kind, &root.der);
    let (origin, key) = (Origin::Acme, leaf.key.as_bytes());
    let chain = Chain::from_pem(origin, pem.as_bytes(), key, &roots, june_2026());
    vec![Arc::new(chain.unwrap())]
}

fn public(root: &Authority, upper: &[&str], leaf: &Made) -> Vec<Arc<Chain>> {
    chain(AnchorKind::Public, root, upper, leaf)
}

fn verdicts(chains: &[Arc<Chain>], host: &str) -> Vec<FamilyVerdict> {
    families(chains, Choice::Auto, Some(host), june_2026())
}

fn of(verdicts: &[FamilyVerdict], route: Route) -> FamilyVerdict {
    verdicts
        .iter()
        .find(|verdict| verdict.route == route)
        .unwrap()
        .clone()
}

fn who_can(verdicts: &[FamilyVerdict]) -> Vec<Route> {
    let can = verdicts.iter().filter(|verdict| verdict.can);
    can.map(|verdict| verdict.route).collect()
}

#[test]
fn the_private_authority_serves_all_that_pin_or_are_given_its_root_and_nobody_else() {
    let verdicts = verdicts(&private(&["safeport.lan"]), "safeport.lan");
    assert_eq!(
        who_can(&verdicts),
        [
            Route::TasmotaEsp32Fingerprint,
            Route::TasmotaEsp8266Fingerprint,
            Route::EspEasyUnchecked,
            Route::EspIdfOwnRoot,
            Route::XiaozhiModem,
            Route::ShellyUnchecked,
            Route::ShellyOwnRoot,
            Route::Browser,
            Route::Phone,
            Route::MqttTools,
        ]
    );
    let pinned = of(&verdicts, Route::TasmotaEsp32Fingerprint);
    let served = pinned.served.unwrap();
    let fingerprint = served.tasmota_fingerprints().unwrap().v2;
    assert_eq!(pinned.why, Reason::PinsKey(fingerprint));
    assert!(matches!(
        of(&verdicts, Route::XiaozhiWifi).why,
        Reason::PrivateRoot(_)
    ));
    assert!(matches!(
        of(&verdicts, Route::TasmotaEsp32Roots).why,
        Reason::PrivateRoot(_)
    ));
    assert!(matches!(
        of(&verdicts, Route::Browser).why,
        Reason::IsGivenRoot(_)
    ));
    assert_eq!(
        of(&verdicts, Route::XiaozhiModem).why,
        Reason::ChecksNothing
    );
    // Those that can use P-256 get it, and it is within the 825 days of Apple.
    let phone = of(&verdicts, Route::Phone).served.unwrap();
    assert_eq!(phone.key(), KeyKind::P256);
}

#[test]
fn the_private_rsa_certificate_alone_lives_too_long_for_a_phone() {
    let rsa: Vec<_> = private(&["safeport.lan"]).into_iter().skip(1).collect();
    let verdicts = verdicts(&rsa, "safeport.lan");
    assert!(matches!(of(&verdicts, Route::Phone).why, Reason::TooLongLived(days) if days > 20_000));
    assert!(of(&verdicts, Route::Browser).can);
    // It has always been good, so that no clock has to be set.
    assert!(of(&verdicts, Route::EspIdfOwnRoot).conditions.is_empty());
}

#[test]
fn a_full_lets_encrypt_chain_for_rsa_serves_everybody() {
    let x1 = Authority::root("ISRG Root X1", Kind::Rsa);
    let yr = Authority::root("Root YR", Kind::Rsa);
    let issuing = yr.authority("YR1", Kind::Rsa);
    let leaf = issuing.leaf(NAME, Kind::Rsa);
    let bridge = x1.cross_sign(&yr);
    let verdicts = verdicts(&public(&x1, &[&issuing.pem, &bridge], &leaf), NAME);
    assert_eq!(who_can(&verdicts).len(), verdicts.len());
    let tasmota = of(&verdicts, Route::TasmotaEsp32Roots);
    assert_eq!(tasmota.why, Reason::KnowsRoot("ISRG Root X1".into()));
    // It began last month, and a clock at 1970 does not believe that.
    assert_eq!(tasmota.conditions, [Condition::ClockSet]);
    let idf = of(&verdicts, Route::EspIdfBundle);
    assert_eq!(idf.conditions, [Condition::ClockSetIfChecked]);
    assert!(of(&verdicts, Route::Browser).conditions.is_empty());
    let pinned = of(&verdicts, Route::TasmotaEsp32Fingerprint);
    assert!(pinned.can && pinned.conditions.is_empty());
}

#[test]
fn without_the_cross_signed_root_those_with_the_old_one_are_lost() {
    let yr = Authority::root("Root YR", Kind::Rsa);
    let issuing = yr.authority("YR1", Kind::Rsa);
    let leaf = issuing.leaf(NAME, Kind::Rsa);
    let verdicts = verdicts(&public(&yr, &[&issuing.pem], &leaf), NAME);
    for route in [
        Route::TasmotaEsp32Roots,
        Route::TasmotaEsp8266Roots,
        Route::EspEasyRoots,
    ] {
        let why = of(&verdicts, route).why;
        let Reason::UnknownRoot { ends_at, knows } = &why else {
            panic!("{why:?}")
        };
        assert_eq!(ends_at[..], ["Root YR"]);
        assert!(knows.contains(&"ISRG Root X1"));
    }
    assert!(of(&verdicts, Route::Browser).can && of(&verdicts, Route::XiaozhiWifi).can);
}

#[test]
fn an_ecdsa_chain_over_p384_is_dead_to_bearssl_and_fine_for_mbedtls() {
    let x1 = Authority::root("ISRG Root X1", Kind::Rsa);
    let ye = x1.authority("YE1", Kind::P384);
    let leaf = ye.leaf(NAME, Kind::P256);
    let verdicts = verdicts(&public(&x1, &[&ye.pem], &leaf), NAME);
    for route in [
        Route::TasmotaEsp32Fingerprint,
        Route::TasmotaEsp32Roots,
        Route::EspEasyUnchecked,
    ] {
        let why = of(&verdicts, route).why;
        assert_eq!(
            why,
            Reason::CannotVerify(WhyNot::Key(KeyKind::P256)),
            "{route:?}"
        );
    }
    let why = of(&verdicts, Route::TasmotaEsp32Ecdsa).why;
    assert!(
        matches!(
            why,
            Reason::CannotVerify(WhyNot::Signature { position: 0, .. })
        ),
        "{why:?}"
    );
    for route in [
        Route::EspIdfBundle,
        Route::XiaozhiWifi,
        Route::ShellyBuiltIn,
        Route::Phone,
    ] {
        assert!(of(&verdicts, route).can, "{route:?}");
    }
}

#[test]
fn ecdsa_over_p256_serves_a_tasmota_with_set_option_165_and_the_root_for_it() {
    let amazon = Authority::root("Amazon Root CA 3", Kind::P256);
    let issuing = amazon.authority("Amazon ECDSA 256 M01", Kind::P256);
    let leaf = issuing.leaf(NAME, Kind::P256);
    let verdicts = verdicts(&public(&amazon, &[&issuing.pem], &leaf), NAME);
    assert!(of(&verdicts, Route::TasmotaEsp32Ecdsa).can);
    assert!(!of(&verdicts, Route::TasmotaEsp32Roots).can);
}

#[test]
fn a_large_hash_above_the_known_root_does_not_matter_and_below_it_does() {
    let x1 = Authority::root("ISRG Root X1", Kind::Rsa);
    let large = x1.authority("Large", Kind::RsaSha384);
    let leaf = large.leaf(NAME, Kind::Rsa);
    let below = verdicts(&public(&x1, &[&large.pem], &leaf), NAME);
    let why = of(&below, Route::TasmotaEsp32Roots).why;
    assert!(matches!(
        why,
        Reason::CannotVerify(WhyNot::Signature { position: 0, .. })
    ));
    // The pinned key asks for no signature.
    assert!(of(&below, Route::TasmotaEsp32Fingerprint).can);

    let older = Authority::root("Older Root", Kind::RsaSha384);
    let leaf = x1.leaf(NAME, Kind::Rsa);
    let bridge = older.cross_sign(&x1);
    let above = verdicts(&public(&x1, &[&bridge], &leaf), NAME);
    assert!(of(&above, Route::TasmotaEsp32Roots).can);
}

#[test]
fn rsa_4096_is_too_long_for_an_esp8266_alone() {
    let x1 = Authority::root("ISRG Root X1", Kind::Rsa);
    let leaf = x1.leaf(NAME, Kind::Rsa4096);
    let verdicts = verdicts(&public(&x1, &[], &leaf), NAME);
    let key = KeyKind::Rsa(4096);
    for route in [Route::TasmotaEsp8266Roots, Route::TasmotaEsp8266Fingerprint] {
        assert_eq!(
            of(&verdicts, route).why,
            Reason::KeyTooLong { key, most: 2048 }
        );
    }
    assert_eq!(who_can(&verdicts).len(), verdicts.len() - 2);
}

#[test]
fn names_and_addresses_are_looked_for_where_each_stack_looks() {
    let here = private(&["safeport.lan", "192.168.1.5"]);
    let stranger = verdicts(&here, "other.lan");
    for route in [
        Route::EspIdfOwnRoot,
        Route::ShellyOwnRoot,
        Route::Browser,
        Route::MqttTools,
    ] {
        assert_eq!(
            of(&stranger, route).why,
            Reason::NameMissing("other.lan".into())
        );
    }
    // A pinned key and blind trust ask for no name.
    assert!(of(&stranger, Route::TasmotaEsp32Fingerprint).can);
    assert!(of(&stranger, Route::XiaozhiModem).can);
    // Ours has addresses in both forms.
    let address = verdicts(&here, "192.168.1.5");
    assert!(of(&address, Route::EspIdfOwnRoot).can && of(&address, Route::MqttTools).can);

    let root = Authority::root("ISRG Root X1", Kind::Rsa);
    let ip = "192.168.1.5".parse().unwrap();
    let leaf = root.leaf_with(NAME, Kind::Rsa, |params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress(ip));
    });
    let only_address = verdicts(&public(&root, &[], &leaf), "192.168.1.5");
    for route in [
        Route::TasmotaEsp32Roots,
        Route::EspIdfBundle,
        Route::ShellyBuiltIn,
    ] {
        assert_eq!(
            of(&only_address, route).why,
            Reason::AddressMissing(ip),
            "{route:?}"
        );
    }
    assert_eq!(
        of(&only_address, Route::EspEasyRoots).why,
        Reason::NeedsName(ip)
    );
    assert!(of(&only_address, Route::Browser).can);
    // Nobody was told anything yet.
    let unnamed = families(&here, Choice::Auto, None, june_2026());
    let tools = of(&unnamed, Route::MqttTools);
    assert!(tools.can && tools.conditions.contains(&Condition::NameUnknown));
}

#[test]
fn roots_of_the_owner_can_be_given_and_unknown_ones_cannot() {
    let root = Authority::root("Our House", Kind::Rsa);
    let leaf = root.leaf(NAME, Kind::Rsa);
    let given = verdicts(&chain(AnchorKind::Given, &root, &[], &leaf), NAME);
    assert_eq!(
        of(&given, Route::EspIdfOwnRoot).why,
        Reason::IsGivenRoot("Our House".into())
    );
    assert!(matches!(
        of(&given, Route::XiaozhiWifi).why,
        Reason::UnknownRoot { .. }
    ));
    let (origin, key) = (Origin::Acme, leaf.key.as_bytes());
    let unknown = Chain::from_pem(
        origin,
        leaf.pem.as_bytes(),
        key,
        &Roots::none(),
        june_2026(),
    );
    let unknown = verdicts(&[Arc::new(unknown.unwrap())], NAME);
    assert_eq!(of(&unknown, Route::MqttTools).why, Reason::RootNotAtHand);
}

#[test]
fn a_chain_that_is_over_or_has_not_begun_is_fine_only_for_those_who_do_not_look() {
    let chains = private(&["safeport.lan"]);
    let at = |now: SystemTime| families(&chains, Choice::Auto, Some("safeport.lan"), now);
    let late = at(june_2026() + 900 * DAY);
    assert!(matches!(of(&late, Route::Browser).why, Reason::Ended(_)));
    assert!(of(&late, Route::TasmotaEsp32Fingerprint).can);
    assert!(of(&late, Route::ShellyUnchecked).can);
    let early = at(june_2026() - 400 * DAY);
    assert!(matches!(
        of(&early, Route::Browser).why,
        Reason::NotBegun(_)
    ));
}

#[test]
fn without_any_chain_nobody_can() {
    let verdicts = verdicts(&[], NAME);
    assert!(who_can(&verdicts).is_empty());
    assert!(
        verdicts
            .iter()
            .all(|v| v.why == Reason::NoCertificate && v.served.is_none())
    );
    let mut codes: Vec<_> = verdicts
        .iter()
        .map(|verdict| verdict.route.code())
        .collect();
    codes.dedup();
    assert_eq!(codes.len(), 17);
}

#[test]
fn each_device_is_judged_by_the_chain_that_it_would_get() {
    let x1 = Authority::root("ISRG Root X1", Kind::Rsa);
    let ye = x1.authority("YE1", Kind::P384);
    let mut chains = public(&x1, &[&ye.pem], &ye.leaf(NAME, Kind::P256));
    chains.extend(private(&["safeport.lan"]));
    let verdicts = verdicts(&chains, NAME);
    // Tasmota cannot use the public one and gets the private one, which a fingerprint accepts.
    let pinned = of(&verdicts, Route::TasmotaEsp32Fingerprint);
    assert!(pinned.can);
    assert_eq!(*pinned.served.unwrap().origin(), Origin::Private);
    assert!(matches!(
        of(&verdicts, Route::TasmotaEsp32Roots).why,
        Reason::PrivateRoot(_)
    ));
    assert_eq!(
        *of(&verdicts, Route::Phone).served.unwrap().origin(),
        Origin::Acme
    );
}
