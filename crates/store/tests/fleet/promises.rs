//! Backups and activations.

use safeport_store::{ActivationRow, Kind, NewBackup, Secret, StoreError, limits};

use super::{BY, again, at, device, hash, member, open};

fn backup(kind: &str, number: u8) -> NewBackup {
    NewBackup {
        member: 1,
        kind: kind.to_string(),
        version: Some(format!("15.0.{number}")),
        file_name: format!("plug-{number}.dmp"),
        hash: hash(number),
        bytes: 4096,
        why: "asked for".to_string(),
    }
}

#[test]
fn a_backup_remembers_why_it_was_taken_and_when_its_bytes_were_found_again() {
    let (folder, mut registry) = open();
    registry.write_members(&[member(1)]).unwrap();
    let id = registry
        .add_backup(&backup("settings", 1), 3, at(100))
        .unwrap();
    registry.note_backup(id, at(200)).unwrap();
    let row = again(&folder).backup(id).unwrap().unwrap();
    assert_eq!((row.at, row.again_at), (100, Some(200)));
    assert_eq!(row.why, "asked for");
    assert!(registry.note_backup(id + 1, at(201)).is_err());
}

#[test]
fn the_password_of_a_device_s_pages_is_kept_until_it_is_forgotten_and_told_to_no_log() {
    let (folder, mut registry) = open();
    registry.write_members(&[member(1), member(2)]).unwrap();
    let secret = Secret::new("open sesame");
    registry.set_web_password(1, Some(&secret), BY).unwrap();
    let kept = again(&folder).web_password(1).unwrap();
    assert_eq!(kept.as_ref(), Some(&secret));
    assert!(!format!("{kept:?}").contains("sesame"));
    assert_eq!(registry.web_password(2).unwrap(), None);
    let told = registry.audit(10).unwrap();
    assert!(
        told.iter()
            .any(|row| row.what.contains("pages of device 1"))
    );
    assert!(told.iter().all(|row| !row.what.contains("sesame")));

    registry.set_web_password(1, None, BY).unwrap();
    assert_eq!(registry.web_password(1).unwrap(), None);
    registry.set_web_password(1, Some(&secret), BY).unwrap();
    registry.remove_members(&[1]).unwrap();
    assert_eq!(registry.web_password(1).unwrap(), None);
    let gone = registry.set_web_password(1, Some(&secret), BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Member,
            ..
        }
    ));
}

#[test]
fn the_newest_backups_of_each_kind_stay() {
    let (folder, mut registry) = open();
    registry.write_members(&[member(1), member(2)]).unwrap();
    for number in 0..5 {
        let by = at(100 + u64::from(number));
        registry
            .add_backup(&backup("settings", number), 3, by)
            .unwrap();
    }
    let rules = registry.add_backup(&backup("rules", 9), 3, BY).unwrap();
    let kept = again(&folder).backups(1).unwrap();
    let told: Vec<_> = kept
        .iter()
        .map(|row| (row.kind.as_str(), row.hash, row.at))
        .collect();
    assert_eq!(
        told,
        [
            ("rules", hash(9), 1_000),
            ("settings", hash(4), 104),
            ("settings", hash(3), 103),
            ("settings", hash(2), 102),
        ]
    );
    assert_eq!(kept[1].version.as_deref(), Some("15.0.4"));
    assert_eq!(registry.backup(rules).unwrap().as_ref(), Some(&kept[0]));
    // Not even with `keep = 0` is the one lost that was just taken.
    registry.add_backup(&backup("settings", 8), 0, BY).unwrap();
    assert_eq!(registry.backups(1).unwrap().len(), 2);
    registry.remove_backup(rules, BY).unwrap();
    let gone = registry.remove_backup(rules, BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Backup,
            ..
        }
    ));
    let mut nobody = backup("settings", 1);
    nobody.member = 9;
    let gone = registry.add_backup(&nobody, 3, BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Member,
            ..
        }
    ));
    assert_eq!(registry.backups(2).unwrap(), []);
}

fn waiting(code: &str, mac: &str) -> ActivationRow {
    ActivationRow {
        code: code.to_string(),
        mac: mac.to_string(),
        uuid: Some(format!("uuid-{mac}")),
        body: "{}".to_string(),
        created: 100,
        expires: 200,
    }
}

#[test]
fn no_two_devices_show_the_same_code_and_no_device_shows_two() {
    let (folder, mut registry) = open();
    assert!(
        registry
            .add_activation(&waiting("111111", "aa"), 100)
            .unwrap()
    );
    assert!(
        !registry
            .add_activation(&waiting("111111", "bb"), 100)
            .unwrap()
    );
    assert!(
        registry
            .add_activation(&waiting("222222", "bb"), 100)
            .unwrap()
    );
    assert!(
        registry
            .add_activation(&waiting("333333", "aa"), 100)
            .unwrap()
    );
    let beside = again(&folder);
    assert_eq!(beside.activation("111111", 100).unwrap(), None);
    assert_eq!(
        beside.activation_of("aa", 199).unwrap(),
        Some(waiting("333333", "aa"))
    );
    assert_eq!(beside.activations(100).unwrap().len(), 2);
    // What has run out is nobody's.
    assert_eq!(beside.activation("222222", 200).unwrap(), None);
    assert_eq!(beside.activation_of("bb", 200).unwrap(), None);
    assert_eq!(beside.activations(200).unwrap(), []);
    let mut later = waiting("222222", "cc");
    later.expires = 300;
    assert!(registry.add_activation(&later, 200).unwrap());
    assert!(registry.remove_activation("222222").unwrap());
    assert!(!registry.remove_activation("222222").unwrap());
}

#[test]
fn a_code_enrols_one_device_once() {
    let (_folder, mut registry) = open();
    registry
        .add_activation(&waiting("111111", "aa"), 100)
        .unwrap();
    registry.add_device(&device("taken"), BY).unwrap();
    let version = registry.version().unwrap();
    let error = registry
        .enrol_with_code("111111", &device("taken"), at(150))
        .unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");
    assert!(
        registry.activation("111111", 150).unwrap().is_some(),
        "the code stays"
    );
    assert_eq!(registry.version().unwrap(), version);

    let late = registry
        .enrol_with_code("111111", &device("box"), at(200))
        .unwrap_err();
    assert!(
        matches!(
            late,
            StoreError::NotFound {
                kind: Kind::Activation,
                ..
            }
        ),
        "{late}"
    );
    assert_eq!(registry.device("box").unwrap(), None);

    let used = registry
        .enrol_with_code("111111", &device("box"), at(150))
        .unwrap();
    assert_eq!(used, waiting("111111", "aa"));
    assert_eq!(registry.device("box").unwrap(), Some(device("box")));
    assert_ne!(registry.version().unwrap(), version, "who logs in is told");
    let twice = registry
        .enrol_with_code("111111", &device("two"), at(150))
        .unwrap_err();
    assert!(matches!(twice, StoreError::NotFound { .. }), "{twice}");
    assert_eq!(registry.device("two").unwrap(), None);
}

#[test]
fn ten_thousand_devices_may_wait_and_those_that_have_run_out_make_room() {
    let (_folder, registry) = open();
    let mut registry = registry.without_waiting().unwrap();
    for number in 0..limits::MAX_ACTIVATIONS {
        let row = waiting(&format!("{number:06}"), &format!("{number:012x}"));
        assert!(registry.add_activation(&row, 100).unwrap());
    }
    let more = registry
        .add_activation(&waiting("999999", "more"), 100)
        .unwrap_err();
    assert!(matches!(more, StoreError::TooMany { .. }), "{more}");
    // One that waits already may get another code.
    assert!(
        registry
            .add_activation(&waiting("999999", "000000000007"), 100)
            .unwrap()
    );
    let mut later = waiting("000001", "more");
    later.expires = 300;
    assert!(registry.add_activation(&later, 200).unwrap());
    assert_eq!(registry.activations(200).unwrap(), [later]);
}
