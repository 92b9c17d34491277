//! Attempts to connect, the keys that devices check, and what is wanted of the
//! server's certificates.

#[allow(dead_code)]
use safeport_store::{
    AttemptDetails, AttemptKey, AttemptQuery, AttemptRow, By, ChainRow, DataFolder, DeviceRecord,
    Kind, Registry, Rights, Secret, StoreError, WishKind, WishState,
};
use tempfile::TempDir;

const BY: By<'static> = By {
    who: "cli:ada",
    at: 1_000,
};

fn open(scratch: &TempDir) -> Registry {
    DataFolder::open(scratch.path().join("data"))
        .unwrap()
        .registry()
        .unwrap()
}

fn with_device(registry: &mut Registry, name: &str) {
    let device = DeviceRecord {
        name: name.to_string(),
        family: "tasmota".to_string(),
        topic: name.to_string(),
        client_id: format!("DVES_{name}"),
        username: format!("{name}-login"),
        mac: None,
        password_hash: Secret::new("hash"),
        extra: Rights::default(),
        tags: vec![],
        created: 1,
    };
    registry.add_device(&device, BY).unwrap();
}

fn attempt(address: &str, cause: &str, client_id: &str, user: &str, at: u64) -> AttemptRow {
    AttemptRow {
        key: AttemptKey {
            address: address.to_string(),
            listener: "mqtts".to_string(),
            cause: cause.to_string(),
            hello: "771,c02f,23,ff01".to_string(),
            client_id: client_id.to_string(),
            user: user.to_string(),
        },
        count: 1,
        first_at: at,
        last_at: at,
        last: AttemptDetails {
            failure: cause != "healthy",
            stack: "bearssl".to_string(),
            server_name: Some("hub.local".to_string()),
            version: Some(0x0303),
            suite: Some(0xc02f),
            alert: Some(46),
            why: format!("at {at}"),
            candidates: "untrusted device_clock_wrong".to_string(),
            certainty: "likely".to_string(),
            took_ms: 1_300,
        },
    }
}

#[test]
fn attempts_that_are_alike_are_counted_and_the_last_one_is_remembered() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = open(&scratch).without_waiting().unwrap();
    let mut twice = attempt("192.168.1.40", "untrusted", "", "", 1_000);
    twice.count = 2;
    server.add_attempts(&[twice]).unwrap();
    let other = attempt("192.168.1.40", "healthy", "DVES_1", "plug-1", 1_010);
    let again = attempt("192.168.1.40", "untrusted", "", "", 1_020);
    server.add_attempts(&[again, other.clone()]).unwrap();
    server.add_attempts(&[]).unwrap();
    drop(server);

    let rows = open(&scratch).attempts(&AttemptQuery::default()).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].count, 3);
    assert_eq!((rows[0].first_at, rows[0].last_at), (1_000, 1_020));
    assert_eq!(rows[0].last.why, "at 1020");
    assert_eq!(rows[1], other);
}

#[test]
fn attempts_are_found_by_address_by_device_by_outcome_and_by_time() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry
        .add_attempts(&[
            attempt("192.168.1.40", "untrusted", "", "", 1_000),
            attempt("192.168.1.40", "healthy", "DVES_1", "plug-1", 1_010),
            attempt("192.168.1.41", "auth_failed", "DVES_1", "somebody", 1_020),
            attempt("192.168.1.42", "auth_failed", "DVES_2", "plug-2", 1_030),
        ])
        .unwrap();
    let found = |query: AttemptQuery<'_>| -> Vec<u64> {
        let rows = registry.attempts(&query).unwrap();
        rows.iter().map(|row| row.last_at).collect()
    };
    let all = AttemptQuery::default();
    assert_eq!(found(all.clone()), [1_030, 1_020, 1_010, 1_000]);
    let by_address = AttemptQuery {
        address: Some("192.168.1.40"),
        ..all.clone()
    };
    assert_eq!(found(by_address), [1_010, 1_000]);
    let by_device = AttemptQuery {
        who: Some(("plug-1", "DVES_1")),
        ..all.clone()
    };
    assert_eq!(found(by_device.clone()), [1_020, 1_010]);
    let failed = AttemptQuery {
        failed: true,
        ..by_device
    };
    assert_eq!(found(failed), [1_020]);
    let recent = AttemptQuery {
        since: 1_010,
        limit: 2,
        ..all.clone()
    };
    assert_eq!(found(recent), [1_030, 1_020]);
    // Who never told a name is nobody's.
    let nobody = AttemptQuery {
        who: Some(("", "")),
        ..all
    };
    assert_eq!(found(nobody), [0; 0]);
}

#[test]
fn a_pin_counts_until_its_device_is_told_another_one_stranded_or_forgotten() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    with_device(&mut registry, "plug-1");
    with_device(&mut registry, "plug-2");
    let unknown = registry.pin("plug-9", "DA 39", 1).unwrap_err();
    assert!(matches!(
        unknown,
        StoreError::NotFound {
            kind: Kind::Device,
            ..
        }
    ));
    registry.pin("plug-1", "DA 39", 10).unwrap();
    registry.pin("plug-1", "F5 42", 20).unwrap();
    registry.pin("plug-2", "DA 39", 30).unwrap();
    let before = registry.certificates_version().unwrap();
    let stranded = ["plug-2".to_string(), "plug-9".to_string()];
    registry.strand(&stranded, BY).unwrap();
    assert!(registry.certificates_version().unwrap() > before);
    let pins = registry.pins().unwrap();
    assert_eq!(pins.len(), 2);
    let logins = registry.pinned_logins().unwrap();
    assert!(logins.contains(&("plug-1-login".to_string(), "F5 42".to_string())));
    assert_eq!(pins[0].fingerprint, "F5 42");
    assert_eq!((pins[0].at, pins[0].stranded), (20, None));
    assert_eq!(pins[1].stranded, Some(1_000));
    assert!(registry.audit(1).unwrap()[0].what.contains("plug-2"));
    // Told anew, it counts again.
    registry.pin("plug-2", "F5 42", 40).unwrap();
    assert_eq!(registry.pins().unwrap()[1].stranded, None);
    registry.forget_device("plug-1", BY).unwrap();
    assert!(registry.unpin("plug-2").unwrap());
    assert!(!registry.unpin("plug-2").unwrap());
    assert_eq!(registry.pins().unwrap(), []);
}

#[test]
fn a_wish_wakes_the_server_and_is_settled_once() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = open(&scratch);
    let mut server = open(&scratch);
    let before = server.certificates_version().unwrap();
    let strand = ["plug-1".to_string(), "plug-2".to_string()];
    let accept = command.wish(WishKind::Accept, &strand, false, BY).unwrap();
    let renew = command.wish(WishKind::Renew, &[], true, BY).unwrap();
    assert!(server.certificates_version().unwrap() > before);
    let open_ones = server.open_wishes().unwrap();
    assert_eq!(
        open_ones.iter().map(|wish| wish.id).collect::<Vec<_>>(),
        [accept, renew]
    );
    assert_eq!(open_ones[0].strand, strand);
    assert_eq!(open_ones[0].who, "cli:ada");
    assert!(!open_ones[0].strand_all && open_ones[1].strand_all);
    assert!(open_ones[1].strand.is_empty());
    server
        .settle_wish(accept, WishState::Refused, ("no files", "没有文件"), BY)
        .unwrap();
    server
        .settle_wish(accept, WishState::Done, ("late", "晚了"), BY)
        .unwrap();
    let settled = command.certificate_wish(accept).unwrap().unwrap();
    assert_eq!(settled.state, WishState::Refused);
    let verdict = ("no files".to_string(), "没有文件".to_string());
    assert_eq!(settled.verdict, Some(verdict));
    assert_eq!(server.open_wishes().unwrap().len(), 1);
    assert_eq!(command.certificate_wish(99).unwrap(), None);
}

#[test]
fn the_chains_of_a_server_are_seen_by_others_and_replaced_as_a_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = open(&scratch);
    let mut chains = vec![
        ChainRow {
            origin: "private".to_string(),
            path: None,
            pem: "-----BEGIN CERTIFICATE-----\n".to_string(),
            refused: None,
            since: 1_000,
        },
        ChainRow {
            origin: "files".to_string(),
            path: Some("/etc/ssl/hub.pem".to_string()),
            pem: String::new(),
            refused: Some(("expired".to_string(), "已过期".to_string())),
            since: 1_001,
        },
    ];
    server.set_chains(&chains).unwrap();
    assert_eq!(open(&scratch).chains().unwrap(), chains);
    chains.remove(0);
    server.set_chains(&chains).unwrap();
    assert_eq!(open(&scratch).chains().unwrap(), chains);
    let many = vec![chains[0].clone(); 101];
    assert!(matches!(
        server.set_chains(&many),
        Err(StoreError::TooMany { limit: 100, .. })
    ));
}
