//! What users and devices share: one name space of logins, and rights.

use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;
use std::path::Path;

use crate::{Kind, Rights, StoreError};

/// Reserves a login name in the space that users and devices share.
pub(crate) fn claim_login(
    db: &Connection,
    path: &Path,
    name: &str,
    kind: Kind,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    let taken: Option<String> = db
        .query_row("SELECT kind FROM logins WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()
        .map_err(failed)?;
    if let Some(by) = taken {
        return Err(StoreError::NameTaken {
            name: name.to_string(),
            by: if by == "user" {
                Kind::User
            } else {
                Kind::Device
            },
        });
    }
    db.execute(
        "INSERT INTO logins (name, kind) VALUES (?1, ?2)",
        params![name, kind.to_string()],
    )
    .map(drop)
    .map_err(failed)
}

pub(crate) fn exists(db: &Connection, query: &str, name: &str) -> rusqlite::Result<bool> {
    db.query_row(query, [name], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

/// Replaces the filters of one login.
pub(crate) fn write_rights(db: &Connection, login: &str, rights: &Rights) -> rusqlite::Result<()> {
    db.execute("DELETE FROM rights WHERE login = ?1", [login])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO rights (login, direction, position, filter) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (direction, filters) in [
        ("publish", &rights.publish),
        ("subscribe", &rights.subscribe),
    ] {
        for (position, filter) in (0i64..).zip(filters) {
            insert.execute(params![login, direction, position, filter])?;
        }
    }
    Ok(())
}

/// The filters of all logins that have any, in one query: one for each login is what reading
/// thousands of them would take longest for.
pub(crate) fn all_rights(db: &Connection) -> rusqlite::Result<HashMap<String, Rights>> {
    let mut all: HashMap<String, Rights> = HashMap::new();
    let mut statement = db.prepare_cached(
        "SELECT direction, filter, login FROM rights ORDER BY login, direction, position",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take_filter(all.entry(row.get(2)?).or_default(), row)?;
    }
    Ok(all)
}

pub(crate) fn read_rights(db: &Connection, login: &str) -> rusqlite::Result<Rights> {
    let mut rights = Rights::default();
    let mut statement = db.prepare_cached(
        "SELECT direction, filter FROM rights WHERE login = ?1 ORDER BY direction, position",
    )?;
    let mut rows = statement.query([login])?;
    while let Some(row) = rows.next()? {
        take_filter(&mut rights, row)?;
    }
    Ok(rights)
}

fn take_filter(rights: &mut Rights, row: &Row<'_>) -> rusqlite::Result<()> {
    let filter = row.get(1)?;
    if row.get_ref(0)?.as_str()? == "publish" {
        rights.publish.push(filter);
    } else {
        rights.subscribe.push(filter);
    }
    Ok(())
}
