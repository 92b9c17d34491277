//! A registry of schema 4, with something in every table that matters, brought up
//! to date.

use rusqlite::Connection;
use tempfile::TempDir;

use super::{APPLICATION_ID, NEWEST, STEPS};
use crate::{By, DataFolder, MemberRow, Registry, ScopeArea, ScopeLevel, Scopes, TokenHash};

/// A data folder with a registry of schema 4.
fn of_schema_4(rows: &str) -> (TempDir, DataFolder) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let old = Connection::open(folder.database()).unwrap();
    for step in &STEPS[..4] {
        old.execute_batch(step).unwrap();
    }
    old.execute_batch(rows).unwrap();
    old.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    old.pragma_update(None, "user_version", 4).unwrap();
    (scratch, folder)
}

fn version(registry: &Registry) -> i64 {
    registry
        .connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

const ROWS: &str = "
    INSERT INTO logins VALUES ('ada', 'user'), ('plug-login', 'device');
    INSERT INTO users VALUES ('ada', 'hash', 1, 7);
    INSERT INTO devices VALUES
        ('plug-1', 'tasmota', 'plug-1', 'DVES_1', 'plug-login', NULL, 'hash', 7);
    INSERT INTO device_tags VALUES ('plug-1', 'kitchen');
    INSERT INTO pins VALUES ('plug-1', 'DA 39', 8, NULL);
    INSERT INTO tokens VALUES
        ('look', x'0101010101010101010101010101010101010101010101010101010101010101', 'read', 5, NULL),
        ('panel', x'0202020202020202020202020202020202020202020202020202020202020202', 'write', 6, 60);";

#[test]
fn tokens_of_schema_4_keep_their_hash_and_may_do_everywhere_what_they_might_do() {
    let (_scratch, folder) = of_schema_4(ROWS);
    assert!(folder.registry_to_read().unwrap().is_none());
    let mut registry = folder.registry().unwrap();
    assert_eq!(version(&registry), NEWEST);
    let tokens = registry.tokens().unwrap();
    let told: Vec<_> = tokens
        .iter()
        .map(|token| (token.name.as_str(), token.scopes, token.last_used))
        .collect();
    assert_eq!(
        told,
        [
            ("look", Scopes::all(ScopeLevel::Read), None),
            ("panel", Scopes::all(ScopeLevel::Write), Some(60)),
        ]
    );
    assert!(tokens[0].hash == TokenHash::new([1; 32]) && tokens[0].created == 5);
    assert!(tokens[1].hash == TokenHash::new([2; 32]) && tokens[1].created == 6);

    let by = By { who: "test", at: 9 };
    let narrow = Scopes::none()
        .with(ScopeArea::Firmware, ScopeLevel::Write)
        .with(ScopeArea::Devices, ScopeLevel::Read);
    registry
        .add_token("builder", TokenHash::new([3; 32]), narrow, by)
        .unwrap();
    assert_eq!(
        folder.registry().unwrap().tokens().unwrap()[0].scopes,
        narrow
    );
    // A token that is good for nothing is a mistake.
    let nothing = registry.add_token("none", TokenHash::new([4; 32]), Scopes::none(), by);
    assert!(nothing.is_err());
    // As before: no two with one hash.
    let twice = registry.add_token("twice", TokenHash::new([3; 32]), narrow, by);
    assert!(twice.is_err());
}

#[test]
fn devices_of_schema_4_stay_as_they_are_and_can_be_known_as_members() {
    let (_scratch, folder) = of_schema_4(ROWS);
    let mut registry = folder.registry().unwrap();
    let plug = registry.device("plug-1").unwrap().unwrap();
    assert_eq!(plug.tags, ["kitchen"]);
    assert_eq!(registry.pins().unwrap().len(), 1);
    assert_eq!(registry.next_member_id().unwrap(), 1);
    let member = MemberRow {
        id: 1,
        device: Some("plug-1".to_string()),
        family: "tasmota".to_string(),
        first_at: 1,
        last_at: 2,
        body: "{}".to_string(),
        identities: Vec::new(),
    };
    registry
        .write_members(std::slice::from_ref(&member))
        .unwrap();
    assert_eq!(registry.member(1).unwrap(), Some(member));
    assert_eq!(registry.images().unwrap(), []);
    assert_eq!(registry.open_offers().unwrap(), []);
    assert_eq!(registry.activations(0).unwrap(), []);
}

#[test]
fn a_registry_that_cannot_be_brought_up_to_date_stays_of_schema_4() {
    // A table that the new step makes is there already: it fails in its middle.
    let (_scratch, folder) = of_schema_4(&format!("{ROWS} CREATE TABLE offers (id INTEGER);"));
    assert!(folder.registry().is_err());
    let old = Connection::open(folder.database()).unwrap();
    let number: i64 = old
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(number, 4);
    let scope: String = old
        .query_row("SELECT scope FROM tokens WHERE name = 'look'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(scope, "read");
    let members = old.prepare("SELECT * FROM members");
    assert!(members.is_err());
}

#[test]
fn nothing_in_the_newest_schema_is_found_by_reading_a_whole_table() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = DataFolder::open(scratch.path())
        .unwrap()
        .registry()
        .unwrap();
    // What goes with a device, an offer or an image is looked for by each of these.
    for query in [
        "SELECT * FROM identities WHERE member = 1",
        "SELECT * FROM identities WHERE kind = 'mac' AND value = 'a'",
        "SELECT * FROM member_events WHERE member = 1",
        "SELECT * FROM quarantine WHERE member = 1",
        "SELECT * FROM offers WHERE member = 1",
        "SELECT * FROM offers WHERE release = 1",
        "SELECT * FROM offers WHERE open = 1 AND image = x'00'",
        "SELECT * FROM downloads WHERE offer = 1",
        "SELECT * FROM downloads WHERE member = 1",
        "SELECT * FROM downloads WHERE expires <= 1",
        "SELECT * FROM download_files WHERE image = x'00'",
        "SELECT * FROM release_images WHERE image = x'00'",
        "SELECT * FROM backups WHERE member = 1",
        "SELECT * FROM backups WHERE hash = x'00'",
        "SELECT * FROM members WHERE device = 'a'",
    ] {
        let plan: String = registry
            .connection
            .query_row(&format!("EXPLAIN QUERY PLAN {query}"), [], |row| row.get(3))
            .unwrap();
        assert!(plan.starts_with("SEARCH"), "{query}: {plan}");
    }
}
