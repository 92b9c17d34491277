//! The registry: what is written is read back, everywhere and after a restart.

use rusqlite::Connection;
use safeport_store::{
    Account, By, DataFolder, DeviceRecord, Kind, Registry, Rights, Secret, StoreError, User,
};
use std::fs;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

const BY: By<'static> = By {
    who: "test",
    at: 1_700_000_000,
};

fn user(name: &str) -> User {
    User {
        name: name.to_string(),
        password_hash: Secret::new("$argon2id$of-the-user"),
        rights: Rights {
            publish: vec!["b/#".to_string(), "a/+".to_string()],
            subscribe: vec!["#".to_string()],
        },
        enabled: true,
        created: 1_700_000_000,
    }
}

fn device(name: &str) -> DeviceRecord {
    DeviceRecord {
        name: name.to_string(),
        family: "tasmota".to_string(),
        topic: name.to_string(),
        client_id: name.to_string(),
        username: name.to_string(),
        mac: None,
        password_hash: Secret::new("$argon2id$of-the-device"),
        extra: Rights::default(),
        tags: Vec::new(),
        created: 1_700_000_000,
    }
}

fn open(scratch: &TempDir) -> Registry {
    DataFolder::open(scratch.path())
        .unwrap()
        .registry()
        .unwrap()
}

#[test]
fn users_and_devices_are_read_back_as_written_after_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let mut plug = device("plug-1");
    plug.mac = Some("a0:b1:c2:d3:e4:f5".to_string());
    plug.extra = Rights {
        publish: vec!["cmnd/lamp/POWER".to_string()],
        subscribe: vec![],
    };
    {
        let mut registry = open(&scratch);
        registry.add_user(&user("ada"), BY).unwrap();
        registry.add_device(&plug, BY).unwrap();
    }
    let mut registry = open(&scratch);
    assert_eq!(registry.user("ada").unwrap(), Some(user("ada")));
    assert_eq!(registry.device("plug-1").unwrap(), Some(plug.clone()));
    assert_eq!(registry.users().unwrap(), [user("ada")]);
    assert_eq!(registry.devices().unwrap(), [plug.clone()]);
    let snapshot = registry.load().unwrap();
    assert_eq!(snapshot.users, [user("ada")]);
    assert_eq!(snapshot.devices, [plug.clone()]);
    assert_eq!(
        registry.account("plug-1").unwrap(),
        Some(Account::Device(plug))
    );
    assert_eq!(
        registry.account("ada").unwrap(),
        Some(Account::User(user("ada")))
    );
    assert_eq!(registry.account("eve").unwrap(), None);
    assert_eq!(registry.user("plug-1").unwrap(), None);
}

#[test]
fn users_and_devices_share_one_space_of_login_names() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_user(&user("ada"), BY).unwrap();
    registry.add_device(&device("plug-1"), BY).unwrap();
    let taken = |result: Result<(), StoreError>, expected: Kind| match result.unwrap_err() {
        StoreError::NameTaken { by, .. } => assert_eq!(by, expected),
        other => panic!("{other}"),
    };
    taken(registry.add_user(&user("ada"), BY), Kind::User);
    taken(registry.add_user(&user("plug-1"), BY), Kind::Device);
    taken(registry.add_device(&device("ada"), BY), Kind::User);
    taken(registry.add_device(&device("plug-1"), BY), Kind::Device);
    // A removed name is free again, for either kind.
    registry.remove_user("ada", BY).unwrap();
    registry.forget_device("plug-1", BY).unwrap();
    registry.add_device(&device("ada"), BY).unwrap();
    registry.add_user(&user("plug-1"), BY).unwrap();
}

#[test]
fn two_devices_cannot_have_one_client_identifier_or_hardware_address() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let mut first = device("one");
    first.mac = Some("a0:b1:c2:d3:e4:f5".to_string());
    registry.add_device(&first, BY).unwrap();
    let mut second = device("two");
    second.client_id = "one".to_string();
    let error = registry.add_device(&second, BY).unwrap_err();
    assert!(error.to_string().contains("client id"), "{error}");
    let mut second = device("two");
    second.mac = first.mac.clone();
    let error = registry.add_device(&second, BY).unwrap_err();
    assert!(error.to_string().contains("\"one\""), "{error}");
    // A refused device leaves nothing behind, its login name included.
    registry.add_device(&device("two"), BY).unwrap();
    assert!(matches!(
        registry.set_device_mac("two", first.mac.as_deref(), BY),
        Err(StoreError::IdentityTaken { .. })
    ));
    registry
        .set_device_mac("one", first.mac.as_deref(), BY)
        .unwrap();
    registry.set_device_mac("one", None, BY).unwrap();
    registry
        .set_device_mac("two", first.mac.as_deref(), BY)
        .unwrap();
}

#[test]
fn every_change_is_stored_and_audited_without_secrets() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let hash = Secret::new("$argon2id$new");
    let rights = Rights {
        publish: vec!["x".to_string()],
        subscribe: vec!["y/#".to_string(), "z".to_string()],
    };
    registry.add_user(&user("ada"), BY).unwrap();
    registry.set_user_password("ada", &hash, BY).unwrap();
    registry.set_user_rights("ada", &rights, BY).unwrap();
    registry.set_user_enabled("ada", false, BY).unwrap();
    registry.add_device(&device("plug-1"), BY).unwrap();
    registry.set_device_password("plug-1", &hash, BY).unwrap();
    registry.set_device_extra("plug-1", &rights, BY).unwrap();
    registry
        .note(
            By {
                who: "serve",
                at: 7,
            },
            "started",
        )
        .unwrap();

    let ada = registry.user("ada").unwrap().unwrap();
    assert_eq!(ada.password_hash, hash);
    assert_eq!(ada.rights, rights);
    assert!(!ada.enabled);
    let plug = registry.device("plug-1").unwrap().unwrap();
    assert_eq!(plug.password_hash, hash);
    assert_eq!(plug.extra, rights);

    let audit = registry.audit(100).unwrap();
    let what: Vec<&str> = audit.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "started",
            "device plug-1 rights changed",
            "device plug-1 password changed",
            "tasmota device plug-1 added",
            "user ada disabled",
            "user ada rights changed",
            "user ada password changed",
            "user ada added",
        ]
    );
    assert_eq!((audit[0].at, audit[0].who.as_str()), (7, "serve"));
    assert_eq!((audit[7].at, audit[7].who.as_str()), (BY.at, BY.who));
    assert!(audit.windows(2).all(|pair| pair[0].id > pair[1].id));
    assert_eq!(registry.audit(3).unwrap().len(), 3);
}

#[test]
fn changing_what_is_not_there_says_so_and_is_not_audited() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_device(&device("plug-1"), BY).unwrap();
    let hash = Secret::new("x");
    let rights = Rights::default();
    // A device is no user, though both log in.
    for name in ["nobody", "plug-1"] {
        for result in [
            registry.set_user_password(name, &hash, BY),
            registry.set_user_rights(name, &rights, BY),
            registry.set_user_enabled(name, true, BY),
            registry.remove_user(name, BY),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(
                    error,
                    StoreError::NotFound {
                        kind: Kind::User,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(error.to_string().contains("user list"), "{error}");
        }
    }
    for result in [
        registry.set_device_password("nobody", &hash, BY),
        registry.set_device_mac("nobody", None, BY),
        registry.set_device_extra("nobody", &rights, BY),
        registry.forget_device("nobody", BY),
    ] {
        assert!(matches!(
            result,
            Err(StoreError::NotFound {
                kind: Kind::Device,
                ..
            })
        ));
    }
    assert!(registry.device("plug-1").unwrap().is_some());
    assert_eq!(registry.audit(100).unwrap().len(), 1);
}

#[test]
fn removing_a_login_removes_its_rights_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_user(&user("ada"), BY).unwrap();
    registry.remove_user("ada", BY).unwrap();
    let mut bare = user("ada");
    bare.rights = Rights::default();
    registry.add_user(&bare, BY).unwrap();
    assert_eq!(registry.user("ada").unwrap(), Some(bare));
}

#[test]
fn a_change_by_another_process_is_noticed_and_quiet_polls_stay_equal() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = open(&scratch);
    let mut command = open(&scratch);
    let before = server.load().unwrap();
    assert_eq!(server.version().unwrap(), before.version);
    assert_eq!(server.version().unwrap(), before.version);

    command.add_user(&user("ada"), BY).unwrap();
    let after = server.version().unwrap();
    assert_ne!(after, before.version);
    let loaded = server.load().unwrap();
    assert_eq!(loaded.users, [user("ada")]);
    assert_eq!(server.version().unwrap(), loaded.version);

    // It is the registry's state, whoever looks.
    assert_eq!(server.version().unwrap(), command.version().unwrap());

    // Its own changes count as well.
    server.remove_user("ada", BY).unwrap();
    assert_ne!(server.version().unwrap(), loaded.version);
    assert_eq!(command.users().unwrap(), []);
}

#[test]
fn many_handles_may_open_and_write_a_new_registry_at_the_same_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let folder = folder.clone();
            scope.spawn(move || {
                let mut registry = folder.registry().unwrap();
                for round in 0..5 {
                    registry
                        .add_user(&user(&format!("u{number}-{round}")), BY)
                        .unwrap();
                }
            });
        }
    });
    let registry = folder.registry().unwrap();
    assert_eq!(registry.users().unwrap().len(), 40);
    assert_eq!(registry.audit(100).unwrap().len(), 40);
}

#[test]
fn a_registry_of_a_newer_version_is_left_alone_and_says_what_to_do() {
    let scratch = tempfile::tempdir().unwrap();
    let path = DataFolder::open(scratch.path()).unwrap().database();
    drop(open(&scratch));
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = Registry::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 99,
                known: 1..99,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("newer Safeport"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused_with_advice_and_not_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = DataFolder::open(scratch.path()).unwrap().database();
    fs::write(&path, "this was never a database, only a note ".repeat(50)).unwrap();
    let before = fs::read(&path).unwrap();
    let error = Registry::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    for word in ["safeport.db", "backup", "-wal"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused_and_not_changed() {
    // Many programs number their schemas, so a number alone proves nothing.
    for its_version in [0, 1, 99] {
        let scratch = tempfile::tempdir().unwrap();
        let path = DataFolder::open(scratch.path()).unwrap().database();
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')")
            .unwrap();
        raw.pragma_update(None, "user_version", its_version)
            .unwrap();
        drop(raw);
        let before = fs::read(&path).unwrap();
        let error = Registry::open(&path).unwrap_err();
        assert!(error.to_string().contains("another program"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_damaged_page_is_an_error_with_advice_and_never_a_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let path = DataFolder::open(scratch.path()).unwrap().database();
    {
        let mut registry = open(&scratch);
        for number in 0..200 {
            registry
                .add_user(&user(&format!("user-{number}")), BY)
                .unwrap();
        }
    }
    let size = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Everything behind the first page, which holds the schema.
    file.write_all_at(&vec![0xa5; (size - 4096) as usize], 4096)
        .unwrap();
    let error = Registry::open(&path)
        .and_then(|registry| registry.users())
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}

#[test]
fn a_registry_below_a_file_is_not_writable() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    let error = Registry::open(&scratch.path().join("file/safeport.db")).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_user(&user("ada"), BY).unwrap();
    registry.add_device(&device("plug-1"), BY).unwrap();
    let shown = format!("{:?} {:?}", registry.load().unwrap(), registry);
    assert!(!shown.contains("argon2"), "{shown}");
}

#[test]
fn names_are_data_and_never_part_of_a_statement() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let name = "a'; DROP TABLE users; --";
    registry.add_user(&user(name), BY).unwrap();
    assert_eq!(registry.user(name).unwrap(), Some(user(name)));
    registry.remove_user(name, BY).unwrap();
    assert_eq!(registry.users().unwrap(), []);
}

#[test]
fn a_poll_is_cheap_enough_to_run_every_second() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = open(&scratch);
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        registry.version().unwrap();
    }
    // Microseconds each; the bound only catches a poll that reads the tables.
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn several_devices_are_added_with_their_tokens_or_none_of_them_is() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_device(&device("plug-2"), BY).unwrap();
    let with_token = |name: &str, token: &str| (device(name), Some(token.to_string()));
    let refused = registry.add_devices(&[with_token("plug-1", "d1"), (device("plug-2"), None)], BY);
    assert!(matches!(refused, Err(StoreError::NameTaken { .. })));
    assert!(registry.device("plug-1").unwrap().is_none());
    assert_eq!(registry.device_token_holder("d1").unwrap(), None);
    let twice = registry.add_devices(&[with_token("a", "d1"), with_token("b", "d1")], BY);
    assert!(matches!(twice, Err(StoreError::NameTaken { .. })));
    assert_eq!(registry.devices().unwrap().len(), 1);

    let added = [with_token("plug-1", "d1"), (device("plug-3"), None)];
    registry.add_devices(&added, BY).unwrap();
    assert_eq!(
        registry.device_token_holder("d1").unwrap().as_deref(),
        Some("plug-1")
    );
    assert_eq!(registry.device_token("plug-3").unwrap(), None);
    registry.forget_device("plug-1", BY).unwrap();
    assert_eq!(registry.device_token_holder("d1").unwrap(), None);
}

#[test]
fn a_topic_leads_to_the_devices_that_have_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_device(&device("plug-1"), BY).unwrap();
    let found = registry.devices_with_topic("plug-1").unwrap();
    assert_eq!(found, [("plug-1".to_string(), "tasmota".to_string())]);
    assert_eq!(registry.devices_with_topic("plug").unwrap(), []);
}

#[test]
fn a_device_is_found_by_its_hardware_address_without_a_look_at_any_other() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let mut plug = device("plug-1");
    plug.mac = Some("a0:b1:c2:d3:e4:f5".to_string());
    plug.extra.publish = vec!["cmnd/lamp/POWER".to_string()];
    plug.tags = vec!["hall".to_string(), "kitchen".to_string()];
    registry.add_device(&plug, BY).unwrap();
    registry.add_device(&device("plug-0"), BY).unwrap();
    // A row that cannot be read tells who reads it.
    Connection::open(scratch.path().join("safeport.db"))
        .unwrap()
        .execute(
            "UPDATE devices SET family = CAST(x'ff' AS TEXT) WHERE name = 'plug-0'",
            [],
        )
        .unwrap();
    assert!(registry.devices().is_err());
    let found = registry.device_with_mac("a0:b1:c2:d3:e4:f5").unwrap();
    assert_eq!(found, Some(plug));
    assert_eq!(registry.device_with_mac("a0:b1:c2:d3:e4:f6").unwrap(), None);
}

#[test]
fn all_that_is_read_at_once_has_the_rights_and_tags_of_each() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let mut users = vec![user("ada"), user("bert")];
    users[1].rights = Rights::default();
    let mut devices: Vec<_> = (1..5).map(|n| device(&format!("plug-{n}"))).collect();
    devices[1].extra.subscribe = vec!["b/#".to_string(), "a/#".to_string()];
    devices[2].extra.publish = vec!["c".to_string()];
    devices[2].tags = vec!["hall".to_string(), "kitchen".to_string()];
    devices[3].tags = vec!["hall".to_string()];
    for user in &users {
        registry.add_user(user, BY).unwrap();
    }
    for device in &devices {
        registry.add_device(device, BY).unwrap();
    }
    assert_eq!(registry.users().unwrap(), users);
    assert_eq!(registry.devices().unwrap(), devices);
    let snapshot = registry.load().unwrap();
    assert_eq!((snapshot.users, snapshot.devices), (users, devices));
}
