//! The tables of the registry and how older ones become them.

use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::Path;

use crate::StoreError;

/// `PRAGMA application_id`: "SAFE". Tells our files from other databases.
const APPLICATION_ID: i64 = 0x5341_4645;

/// Step `n` brings schema `n` to `n + 1`. Steps are never edited once released;
/// a change is a new step.
const STEPS: &[&str] = &[
    // 1: people, devices, what each may do, and who changed what.
    "CREATE TABLE logins (
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('user', 'device'))
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE users (
        name TEXT PRIMARY KEY REFERENCES logins (name) ON DELETE CASCADE,
        password_hash TEXT NOT NULL,
        enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE devices (
        name TEXT PRIMARY KEY,
        family TEXT NOT NULL,
        topic TEXT NOT NULL,
        client_id TEXT NOT NULL UNIQUE,
        username TEXT NOT NULL UNIQUE REFERENCES logins (name) ON DELETE CASCADE,
        mac TEXT UNIQUE,
        password_hash TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE rights (
        login TEXT NOT NULL REFERENCES logins (name) ON DELETE CASCADE,
        direction TEXT NOT NULL CHECK (direction IN ('publish', 'subscribe')),
        position INTEGER NOT NULL,
        filter TEXT NOT NULL,
        PRIMARY KEY (login, direction, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL
    ) STRICT;",
    // 2: managed settings with their history, what the server uses of them,
    // ports, addresses, tags; and a counter for those who wait for a change.
    "CREATE TABLE areas (
        name TEXT PRIMARY KEY,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO areas (name, version) VALUES ('accounts', 0), ('settings', 0);

    CREATE TABLE device_tags (
        device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
        tag TEXT NOT NULL,
        PRIMARY KEY (device, tag)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE revisions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        reason TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('set', 'rollback', 'files', 'import', 'start')),
        state TEXT NOT NULL
            CHECK (state IN ('staged', 'live', 'refused', 'unconfirmed', 'reverted')),
        verdict TEXT,
        confirm_by INTEGER,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX revisions_pending ON revisions (id) WHERE state IN ('staged', 'unconfirmed');
    CREATE TABLE revision_changes (
        revision INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        scope TEXT NOT NULL CHECK (scope IN ('everyone', 'tag', 'device')),
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        old TEXT,
        new TEXT,
        secret INTEGER NOT NULL CHECK (secret IN (0, 1)),
        PRIMARY KEY (revision, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX revision_changes_keys ON revision_changes (scope, name, key, revision);
    CREATE TABLE revision_files (
        revision INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        path TEXT NOT NULL,
        old TEXT,
        new TEXT,
        PRIMARY KEY (revision, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX revision_files_paths ON revision_files (path, revision);
    CREATE TABLE base_values (
        scope TEXT NOT NULL,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT,
        secret INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        who TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (scope, name, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE base_files (
        path TEXT PRIMARY KEY,
        text TEXT,
        revision INTEGER NOT NULL,
        who TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE live (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        file TEXT,
        degraded TEXT,
        pid INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE live_values (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        source TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE instance (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        key BLOB NOT NULL CHECK (length(key) = 32)
    ) STRICT;

    CREATE TABLE chosen_ports (
        listener TEXT NOT NULL,
        wanted TEXT NOT NULL,
        chosen INTEGER NOT NULL CHECK (chosen BETWEEN 1 AND 65535),
        who TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (listener, wanted)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE port_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        kind TEXT NOT NULL
            CHECK (kind IN ('bound', 'released', 'refused', 'moved', 'returned')),
        listener TEXT NOT NULL,
        address TEXT NOT NULL,
        holder TEXT,
        detail TEXT
    ) STRICT;
    CREATE TABLE told (
        device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
        listener TEXT NOT NULL,
        host TEXT NOT NULL,
        port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
        url TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (device, listener)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX told_ports ON told (listener, port);
    CREATE TABLE addresses (
        position INTEGER PRIMARY KEY,
        listener TEXT NOT NULL,
        url TEXT NOT NULL,
        via TEXT NOT NULL,
        state TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER,
        detail_en TEXT NOT NULL,
        detail_zh TEXT NOT NULL,
        vantage TEXT
    ) STRICT;
    CREATE TABLE verified_addresses (
        listener TEXT NOT NULL,
        scheme TEXT NOT NULL,
        url TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (listener, scheme)
    ) STRICT, WITHOUT ROWID;",
    // 3: who may use the HTTP API; of a token, only its hash.
    "CREATE TABLE tokens (
        name TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        scope TEXT NOT NULL CHECK (scope IN ('read', 'write')),
        created INTEGER NOT NULL,
        last_used INTEGER
    ) STRICT, WITHOUT ROWID;",
    // 4: attempts to connect, which device checks which key, the server's
    // certificates and what is wanted of them.
    "INSERT INTO areas (name, version) VALUES ('certificates', 0);
    CREATE TABLE attempts (
        address TEXT NOT NULL,
        listener TEXT NOT NULL,
        cause TEXT NOT NULL,
        hello TEXT NOT NULL,
        client_id TEXT NOT NULL,
        user TEXT NOT NULL,
        count INTEGER NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        failure INTEGER NOT NULL CHECK (failure IN (0, 1)),
        stack TEXT NOT NULL,
        server_name TEXT,
        version INTEGER,
        suite INTEGER,
        alert INTEGER,
        why TEXT NOT NULL,
        candidates TEXT NOT NULL,
        certainty TEXT NOT NULL,
        took_ms INTEGER NOT NULL,
        PRIMARY KEY (address, listener, cause, hello, client_id, user)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX attempts_last ON attempts (last_at);
    CREATE TABLE pins (
        device TEXT PRIMARY KEY REFERENCES devices (name) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL,
        at INTEGER NOT NULL,
        stranded INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE certificate_wishes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('renew', 'prepare', 'rotate', 'accept')),
        strand TEXT NOT NULL,
        strand_all INTEGER NOT NULL CHECK (strand_all IN (0, 1)),
        state TEXT NOT NULL CHECK (state IN ('asked', 'done', 'refused')),
        verdict_en TEXT,
        verdict_zh TEXT
    ) STRICT;
    CREATE TABLE chains (
        position INTEGER PRIMARY KEY,
        origin TEXT NOT NULL,
        path TEXT,
        pem TEXT NOT NULL,
        refused_en TEXT,
        refused_zh TEXT,
        since INTEGER NOT NULL
    ) STRICT;",
    // 5: what is known of every device, images, releases, offers, download
    // tokens, backups, activations; scopes of API tokens.
    include_str!("schema/step_5.sql"),
    // 6: passwords of devices' own pages, and more about backups.
    include_str!("schema/step_6.sql"),
    // 7: what devices and their agents said to each other.
    include_str!("schema/step_7.sql"),
    // 8: the sound of these talks.
    include_str!("schema/step_8.sql"),
    // 9: programs at the access point.
    include_str!("schema/step_9.sql"),
];

/// The newest schema version that this program knows.
pub(crate) const NEWEST: i64 = STEPS.len() as i64;

/// Brings a database to [`NEWEST`], in one transaction: it is old or new, never
/// between.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Another process may have been quicker while we waited for the lock.
    let found = recognise(&transaction, path)?;
    for step in &STEPS[found as usize..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(failed)?;
    transaction
        .pragma_update(None, "user_version", NEWEST)
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// The schema version of a database that this program may use; 0 for an empty
/// one. Changes nothing, so a database of another program stays as it is.
///
/// Wants a transaction: three looks at three moments, with another process
/// making the tables in between, do not fit together.
pub(crate) fn recognise(connection: &Transaction<'_>, path: &Path) -> Result<i64, StoreError> {
    let number = |query: &str| {
        connection
            .query_row(query, [], |row| row.get::<_, i64>(0))
            .map_err(|source| StoreError::sqlite(path, source))
    };
    let found = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if tables == 0 && found == 0 && application == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID || found < 1 {
        return Err(StoreError::Corrupt {
            path: path.to_path_buf(),
            detail: "it is a database of another program".to_string(),
        });
    }
    if found > NEWEST {
        return Err(StoreError::NewerSchema {
            path: path.to_path_buf(),
            found,
            known: NEWEST,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod from_4;

#[cfg(test)]
mod tests {
    use super::{APPLICATION_ID, NEWEST, STEPS};
    use crate::{By, DataFolder, Draft, RevisionKind};
    use rusqlite::Connection;

    #[test]
    fn a_registry_of_the_first_schema_keeps_its_rows_and_gets_the_new_tables() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(scratch.path()).unwrap();
        let old = Connection::open(folder.database()).unwrap();
        old.execute_batch(STEPS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO logins VALUES ('ada', 'user'), ('plug-1', 'device');
             INSERT INTO users VALUES ('ada', 'hash', 1, 7);
             INSERT INTO devices VALUES
                ('plug-1', 'tasmota', 'plug-1', 'plug-1', 'plug-1', NULL, 'hash', 7);
             INSERT INTO rights VALUES ('plug-1', 'publish', 0, 'cmnd/lamp/POWER');
             INSERT INTO audit VALUES (41, 7, 'cli:ada', 'user ada added');",
        )
        .unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);

        // Whoever only looks brings nothing up to date.
        assert!(folder.registry_to_read().unwrap().is_none());
        let mut registry = folder.registry().unwrap();
        let by = By { who: "test", at: 8 };
        assert_eq!(registry.user("ada").unwrap().unwrap().created, 7);
        let plug = registry.device("plug-1").unwrap().unwrap();
        assert_eq!(plug.extra.publish, ["cmnd/lamp/POWER"]);
        assert!(plug.tags.is_empty());
        assert_eq!(registry.audit(10).unwrap()[0].id, 41);
        registry
            .set_device_tags("plug-1", &["kitchen"], by)
            .unwrap();
        let draft = Draft {
            reason: String::new(),
            kind: RevisionKind::Start,
            base: Some(0),
            changes: vec![],
            files: vec![],
        };
        assert_eq!(registry.stage(&draft, by).unwrap(), 1);
        assert!(folder.registry_to_read().unwrap().is_some());
        assert_eq!(registry.tokens().unwrap(), []);
        assert_eq!(registry.certificates_version().unwrap(), 0);
        registry.pin("plug-1", "DA 39", 8).unwrap();
        assert_eq!(registry.certificates_version().unwrap(), 1);
        let version: i64 = registry
            .connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, NEWEST);
    }
}
