//! Managed settings: who wanted what, what became of it, what it adds up to.

use safeport_store::{
    By, Change, DataFolder, DeviceRecord, Draft, FileSnapshot, Registry, RevisionKind,
    RevisionState, Rights, Scope, Secret, StoreError,
};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const ANNA: By<'static> = By {
    who: "cli:anna",
    at: 1_000,
};
const BEN: By<'static> = By {
    who: "api:ben",
    at: 1_010,
};
const SERVER: By<'static> = By {
    who: "serve",
    at: 1_020,
};

fn open(scratch: &TempDir) -> Registry {
    DataFolder::open(scratch.path().join("data"))
        .unwrap()
        .registry()
        .unwrap()
}

fn change(key: &str, new: Option<&str>) -> Change {
    Change {
        scope: Scope::Everyone,
        key: key.to_string(),
        old: None,
        new: new.map(str::to_string),
        secret: false,
    }
}

fn draft(base: Option<u64>, changes: Vec<Change>) -> Draft {
    Draft {
        reason: "because".to_string(),
        kind: RevisionKind::Set,
        base,
        changes,
        files: vec![],
    }
}

fn file(path: &str, old: Option<&str>, new: Option<&str>) -> FileSnapshot {
    FileSnapshot {
        path: path.to_string(),
        old: old.map(str::to_string),
        new: new.map(str::to_string),
    }
}

/// Stages and lets a server take it.
fn live(registry: &mut Registry, draft: &Draft, by: By<'_>) -> u64 {
    let id = registry.stage(draft, by).unwrap();
    registry
        .settle(id, RevisionState::Live, None, None, SERVER)
        .unwrap();
    id
}

fn set(registry: &mut Registry, key: &str, value: &str, by: By<'_>) -> u64 {
    live(registry, &draft(None, vec![change(key, Some(value))]), by)
}

fn values(registry: &Registry) -> Vec<(String, String)> {
    let rows = registry.managed().unwrap();
    rows.into_iter().map(|row| (row.key, row.value)).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_string(), value.to_string())
}

#[test]
fn a_staged_revision_is_seen_by_another_process_and_holds_only_once_it_is_live() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = open(&scratch);
    let mut server = open(&scratch);
    let before = server.settings_version().unwrap();
    let wanted = draft(Some(0), vec![change("limits.max_inflight", Some("50"))]);
    let id = command.stage(&wanted, ANNA).unwrap();

    assert_ne!(server.settings_version().unwrap(), before);
    let staged = server.staged().unwrap().unwrap();
    assert_eq!((staged.id, staged.who.as_str()), (id, "cli:anna"));
    assert_eq!((staged.at, staged.reason.as_str()), (1_000, "because"));
    assert_eq!(staged.changes, wanted.changes);
    assert_eq!(staged.state, RevisionState::Staged);
    assert_eq!(values(&server), []);

    server
        .settle(id, RevisionState::Live, Some("taken"), None, SERVER)
        .unwrap();
    assert_eq!(command.staged().unwrap(), None);
    assert_eq!(values(&command), [pair("limits.max_inflight", "50")]);
    let row = &command.managed().unwrap()[0];
    assert_eq!(
        (row.revision, row.who.as_str(), row.at),
        (id, "cli:anna", 1_000)
    );
    let done = command.revision(id).unwrap().unwrap();
    assert_eq!(done.state, RevisionState::Live);
    assert_eq!(done.verdict.as_deref(), Some("taken"));

    // All of it survives a restart.
    drop((command, server));
    let registry = open(&scratch);
    assert_eq!(registry.history(10).unwrap(), [done]);
    assert_eq!(values(&registry), [pair("limits.max_inflight", "50")]);
}

#[test]
fn only_one_change_is_pending_and_the_next_author_is_told_whose_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let first = registry
        .stage(&draft(None, vec![change("a.b", Some("1"))]), ANNA)
        .unwrap();
    let second = draft(None, vec![change("c.d", Some("2"))]);
    let error = registry.stage(&second, BEN).unwrap_err();
    assert!(error.to_string().contains("cli:anna"), "{error}");
    assert!(
        matches!(error, StoreError::ChangePending { id, .. } if id == first),
        "{error}"
    );
    registry
        .settle(first, RevisionState::Unconfirmed, None, Some(1_080), SERVER)
        .unwrap();
    let error = registry.stage(&second, BEN).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::ChangePending {
                state: RevisionState::Unconfirmed,
                confirm_by: Some(1_080),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("confirmed"), "{error}");
    // A refused draft leaves nothing behind.
    assert_eq!(registry.history(10).unwrap().len(), 1);
    registry
        .settle(first, RevisionState::Live, None, None, ANNA)
        .unwrap();
    registry.stage(&second, BEN).unwrap();
}

#[test]
fn of_many_processes_that_stage_at_one_moment_exactly_one_succeeds() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    drop(folder.registry().unwrap());
    let results: Vec<Result<u64, StoreError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let folder = folder.clone();
                scope.spawn(move || {
                    let wanted = draft(Some(0), vec![change(&format!("k.n{number}"), Some("1"))]);
                    folder.registry().unwrap().stage(&wanted, ANNA)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let taken: Vec<&u64> = results.iter().flatten().collect();
    assert_eq!(taken, [&1]);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(
            matches!(error, StoreError::ChangePending { id: 1, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_change_of_a_key_that_moved_since_its_author_looked_names_both_authors() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let base = set(&mut registry, "limits.max_inflight", "10", ANNA);
    let theirs = set(&mut registry, "limits.max_inflight", "20", ANNA);
    let late = draft(
        Some(base),
        vec![
            change("log.level", Some("\"debug\"")),
            change("limits.max_inflight", Some("30")),
        ],
    );
    let error = registry.stage(&late, BEN).unwrap_err();
    let text = error.to_string();
    for part in [
        "limits.max_inflight",
        "cli:anna",
        "api:ben",
        "config diff 1..2",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let StoreError::RevisionConflict {
        key,
        scope,
        base: from,
        theirs: other,
        their_at,
        ..
    } = error
    else {
        panic!("{text}");
    };
    assert_eq!(
        (key.as_str(), *scope),
        ("limits.max_inflight", Scope::Everyone)
    );
    assert_eq!((from, other, their_at), (base, theirs, 1_000));
    assert_eq!(values(&registry), [pair("limits.max_inflight", "20")]);

    // Without a base, or from the newest, the same change goes through.
    for base in [None, Some(theirs)] {
        let wanted = draft(base, vec![change("limits.max_inflight", Some("30"))]);
        let id = registry.stage(&wanted, BEN).unwrap();
        registry
            .settle(id, RevisionState::Refused, None, None, SERVER)
            .unwrap();
    }
}

#[test]
fn a_change_of_other_keys_scopes_or_files_is_no_conflict() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    set(&mut registry, "limits.max_inflight", "10", ANNA);
    let mut of_a_tag = change("limits.max_inflight", Some("11"));
    of_a_tag.scope = Scope::Tag("kitchen".to_string());
    let mut wanted = draft(
        Some(0),
        vec![of_a_tag, change("log.level", Some("\"warn\""))],
    );
    wanted.files = vec![file("/etc/safeport.toml", None, Some("x"))];
    live(&mut registry, &wanted, BEN);

    // Unsetting counts as a change, and so does writing the same file.
    let unset = draft(None, vec![change("log.level", None)]);
    live(&mut registry, &unset, ANNA);
    let error = registry
        .stage(
            &draft(Some(2), vec![change("log.level", Some("\"info\""))]),
            BEN,
        )
        .unwrap_err();
    assert!(
        matches!(error, StoreError::RevisionConflict { theirs: 3, .. }),
        "{error}"
    );
    let mut same_file = draft(Some(1), vec![]);
    same_file.files = vec![file("/etc/safeport.toml", None, Some("y"))];
    let error = registry.stage(&same_file, ANNA).unwrap_err();
    assert!(error.to_string().contains("/etc/safeport.toml"), "{error}");

    // What was refused or taken back is no change to be in conflict with.
    for way in [
        &[RevisionState::Refused][..],
        &[RevisionState::Unconfirmed, RevisionState::Reverted],
    ] {
        let id = registry
            .stage(&draft(None, vec![change("x.y", Some("1"))]), ANNA)
            .unwrap();
        for state in way {
            registry.settle(id, *state, None, None, SERVER).unwrap();
        }
    }
    live(
        &mut registry,
        &draft(Some(3), vec![change("x.y", Some("2"))]),
        BEN,
    );
    assert_eq!(
        values(&registry),
        [
            pair("limits.max_inflight", "10"),
            pair("x.y", "2"),
            pair("limits.max_inflight", "11"),
        ]
    );
}

#[test]
fn an_unconfirmed_revision_holds_until_it_is_reverted() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    set(&mut registry, "http.port", "1", ANNA);
    let id = registry
        .stage(&draft(None, vec![change("http.port", Some("2"))]), BEN)
        .unwrap();
    registry
        .settle(id, RevisionState::Unconfirmed, None, Some(1_100), SERVER)
        .unwrap();
    assert_eq!(registry.unconfirmed().unwrap().unwrap().id, id);
    assert_eq!(
        registry.unconfirmed().unwrap().unwrap().confirm_by,
        Some(1_100)
    );
    assert_eq!(registry.staged().unwrap(), None);
    assert_eq!(values(&registry), [pair("http.port", "2")]);
    registry
        .settle(
            id,
            RevisionState::Reverted,
            Some("nobody came back"),
            None,
            SERVER,
        )
        .unwrap();
    assert_eq!(values(&registry), [pair("http.port", "1")]);
    assert_eq!(registry.unconfirmed().unwrap(), None);
}

#[test]
fn a_settled_revision_stays_as_it_is_whoever_comes_late() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    use RevisionState::{Live, Refused, Reverted, Staged, Unconfirmed};
    let all = [Staged, Live, Refused, Unconfirmed, Reverted];
    for way in [
        &[Live][..],
        &[Refused],
        &[Unconfirmed, Live],
        &[Unconfirmed, Reverted],
    ] {
        let id = registry.stage(&draft(None, vec![]), ANNA).unwrap();
        for state in way {
            registry.settle(id, *state, None, None, SERVER).unwrap();
        }
        for wanted in all {
            let error = registry.settle(id, wanted, None, None, BEN).unwrap_err();
            assert!(
                matches!(error, StoreError::RevisionSettled { state, .. } if Some(&state) == way.last()),
                "{error}"
            );
        }
    }
    let error = registry.settle(99, Live, None, None, BEN).unwrap_err();
    assert!(
        matches!(error, StoreError::NoRevision { id: 99 }),
        "{error}"
    );
}

#[test]
fn a_revision_that_its_server_left_behind_makes_room_after_a_minute() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let wanted = draft(None, vec![change("a.b", Some("1"))]);
    let staged = registry.stage(&wanted, ANNA).unwrap();
    let at = |at| By { who: "api:ben", at };
    assert!(registry.stage(&wanted, at(1_060)).is_err());
    let next = registry.stage(&wanted, at(1_061)).unwrap();
    let left = registry.revision(staged).unwrap().unwrap();
    assert_eq!(left.state, RevisionState::Refused);
    assert!(left.verdict.unwrap().contains("no server took it"));
    // The server that was only slow is told, and takes its work back.
    assert!(matches!(
        registry.settle(staged, RevisionState::Live, None, None, SERVER),
        Err(StoreError::RevisionSettled { .. })
    ));

    registry
        .settle(next, RevisionState::Unconfirmed, None, Some(1_100), SERVER)
        .unwrap();
    assert_eq!(values(&registry), [pair("a.b", "1")]);
    assert!(registry.stage(&wanted, at(1_160)).is_err());
    let third = registry.stage(&wanted, at(1_161)).unwrap();
    let left = registry.revision(next).unwrap().unwrap();
    assert_eq!(left.state, RevisionState::Reverted);
    assert_eq!(values(&registry), []);

    // A clock that was set back does not make it wait for days.
    let fourth = registry.stage(&wanted, at(5)).unwrap();
    assert_eq!(fourth, third + 1);
}

#[test]
fn going_back_restores_values_of_every_scope_and_files_as_they_were() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let scoped = |scope: Scope, key: &str, new: Option<&str>| Change {
        scope,
        ..change(key, new)
    };
    let kitchen = Scope::Tag("kitchen".to_string());
    let mut first = draft(
        None,
        vec![
            change("a.a", Some("1")),
            scoped(kitchen.clone(), "a.a", Some("2")),
        ],
    );
    first.kind = RevisionKind::Start;
    first.files = vec![file("main.toml", None, Some("one"))];
    let good = live(&mut registry, &first, ANNA);
    let mut second = draft(
        None,
        vec![
            change("a.a", Some("9")),
            change("b.b", Some("9")),
            scoped(kitchen.clone(), "a.a", None),
        ],
    );
    second.files = vec![
        file("main.toml", Some("one"), Some("nine")),
        file("conf.d/new.toml", None, Some("new")),
    ];
    let bad = live(&mut registry, &second, BEN);

    let (changes, files) = registry.way_back(good).unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change.scope.clone(),
                change.key.as_str(),
                change.old.as_deref(),
                change.new.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Scope::Everyone, "a.a", Some("9"), Some("1")),
            (Scope::Everyone, "b.b", Some("9"), None),
            (kitchen, "a.a", None, Some("2")),
        ]
    );
    assert_eq!(
        files,
        [
            file("conf.d/new.toml", Some("new"), None),
            file("main.toml", Some("nine"), Some("one")),
        ]
    );
    let then = registry.managed_at(good).unwrap();
    let back = Draft {
        reason: format!("back to {good}"),
        kind: RevisionKind::Rollback,
        base: Some(bad),
        changes,
        files,
    };
    live(&mut registry, &back, ANNA);
    let same = |rows: Vec<safeport_store::ManagedRow>| {
        rows.into_iter()
            .map(|row| (row.scope, row.key, row.value))
            .collect::<Vec<_>>()
    };
    assert_eq!(same(registry.managed().unwrap()), same(then));
    assert_eq!(
        registry.last_good_files().unwrap(),
        [("main.toml".to_string(), "one".to_string())]
    );
    assert_eq!(registry.way_back(good).unwrap(), (vec![], vec![]));

    // Before the first, nobody knows what was in the file; it is left alone.
    let (changes, files) = registry.way_back(0).unwrap();
    assert!(changes.iter().all(|change| change.new.is_none()));
    assert_eq!(files, []);
    assert!(matches!(
        registry.way_back(77),
        Err(StoreError::NoRevision { id: 77 })
    ));
}

#[test]
fn the_last_good_files_are_those_before_an_unconfirmed_change() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let mut good = draft(None, vec![]);
    good.files = vec![file("a", None, Some("good")), file("b", None, Some("b"))];
    live(&mut registry, &good, ANNA);
    let mut risky = draft(None, vec![]);
    risky.files = vec![file("a", Some("good"), Some("risky"))];
    let id = registry.stage(&risky, ANNA).unwrap();
    registry
        .settle(id, RevisionState::Unconfirmed, None, Some(1), SERVER)
        .unwrap();
    let expected = [
        ("a".to_string(), "good".to_string()),
        ("b".to_string(), "b".to_string()),
    ];
    assert_eq!(registry.last_good_files().unwrap(), expected);
    registry
        .settle(id, RevisionState::Live, None, None, SERVER)
        .unwrap();
    assert_eq!(registry.last_good_files().unwrap()[0].1, "risky");
}

#[test]
fn history_tells_the_value_before_whatever_the_author_believed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    set(&mut registry, "a.b", "1", ANNA);
    let mut wrong = change("a.b", Some("2"));
    wrong.old = Some("77".to_string());
    let id = live(&mut registry, &draft(None, vec![wrong]), BEN);
    let told = registry.revision(id).unwrap().unwrap();
    assert_eq!(told.changes[0].old.as_deref(), Some("1"));
    let ids: Vec<u64> = registry
        .history(10)
        .unwrap()
        .iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(ids, [2, 1]);
    assert_eq!(registry.history(1).unwrap().len(), 1);
    assert_eq!(registry.newest_revision().unwrap(), 2);
}

#[test]
fn secret_values_come_back_but_show_neither_in_debug_output_nor_in_the_audit() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let mut token = change("http.metrics_token", Some("\"hush-hush-hush-hush\""));
    token.secret = true;
    live(&mut registry, &draft(None, vec![token.clone()]), ANNA);
    let rows = registry.managed().unwrap();
    assert_eq!(rows[0].value, "\"hush-hush-hush-hush\"");
    assert!(rows[0].secret);
    let history = registry.history(1).unwrap();
    assert_eq!(history[0].changes[0].new, token.new);
    assert!(history[0].changes[0].secret);
    let audit = registry.audit(10).unwrap();
    let mut files = draft(None, vec![]);
    files.files = vec![file("a", None, Some("token = \"hush-hush\""))];
    let shown = format!("{rows:?} {history:?} {audit:?} {files:?}");
    assert!(shown.contains("http.metrics_token"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn every_step_of_a_revision_is_audited_with_who_took_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let many = (0..12).map(|number| change(&format!("k.n{number}"), Some("1")));
    live(&mut registry, &draft(None, many.collect()), ANNA);
    let audit = registry.audit(10).unwrap();
    assert_eq!(audit[0].what, "revision 1 live");
    assert_eq!(audit[0].who, "serve");
    assert!(audit[1].what.starts_with("revision 1 staged: k.n0, k.n1"));
    assert!(
        audit[1].what.ends_with("k.n9 and 2 more"),
        "{}",
        audit[1].what
    );
    assert_eq!(audit[1].who, "cli:anna");
}

#[test]
fn a_revision_that_is_too_large_is_refused_with_its_limit() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let many = (0..1_001).map(|number| change(&format!("k.n{number}"), Some("1")));
    let error = registry
        .stage(&draft(None, many.collect()), ANNA)
        .unwrap_err();
    assert!(error.to_string().contains("at most 1000"), "{error}");
    let mut large = draft(None, vec![]);
    large.files = vec![file("a", None, Some(&"x".repeat(5 << 20)))];
    let error = registry.stage(&large, ANNA).unwrap_err();
    assert!(matches!(error, StoreError::TooMany { .. }), "{error}");
    assert_eq!(registry.newest_revision().unwrap(), 0);
}

#[test]
fn a_device_that_is_forgotten_takes_its_settings_with_it_and_history_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let plug = DeviceRecord {
        name: "plug-1".to_string(),
        family: "tasmota".to_string(),
        topic: "plug-1".to_string(),
        client_id: "plug-1".to_string(),
        username: "plug-1".to_string(),
        mac: None,
        password_hash: Secret::new("hash"),
        extra: Rights::default(),
        tags: vec![],
        created: 1,
    };
    registry.add_device(&plug, ANNA).unwrap();
    let mut own = change("advertise.host", Some("\"hub\""));
    own.scope = Scope::Device("plug-1".to_string());
    let mut other = own.clone();
    other.scope = Scope::Device("plug-2".to_string());
    live(&mut registry, &draft(None, vec![own, other]), ANNA);
    let before = registry.settings_version().unwrap();
    registry.forget_device("plug-1", BEN).unwrap();
    assert_ne!(registry.settings_version().unwrap(), before);
    let left = registry.managed().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].scope, Scope::Device("plug-2".to_string()));
    let newest = &registry.history(1).unwrap()[0];
    assert_eq!(newest.reason, "device plug-1 forgotten");
    assert_eq!(
        (newest.state, newest.who.as_str()),
        (RevisionState::Live, "api:ben")
    );
    assert_eq!(newest.changes[0].old.as_deref(), Some("\"hub\""));
    assert_eq!(newest.changes[0].new, None);
}

#[test]
fn a_revision_that_was_acknowledged_survives_the_kill_of_the_process_that_wrote_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "other_process", "--nocapture"])
        .env("SAFEPORT_TEST_FOLDER", scratch.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(id) = line.split("live ").nth(1) {
            acknowledged = id.trim().parse().unwrap();
            if acknowledged == 20 {
                break;
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(acknowledged, 20);
    let registry = open(&scratch);
    // More may have been written before the kill arrived, never less.
    let row = &registry.managed().unwrap()[0];
    assert!(row.revision >= 20);
    assert_eq!(row.value, row.revision.to_string());
    assert_eq!(registry.managed_at(20).unwrap()[0].value, "20");
}

#[test]
#[ignore = "the second process of another test"]
fn other_process() {
    let Some(folder) = std::env::var_os("SAFEPORT_TEST_FOLDER") else {
        return;
    };
    let mut registry = DataFolder::open(folder).unwrap().registry().unwrap();
    for number in 1..10_000 {
        let id = set(&mut registry, "a.b", &number.to_string(), ANNA);
        println!("live {id}");
        std::io::stdout().flush().unwrap();
    }
}
