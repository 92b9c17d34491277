//! Attempts to connect, gathered: who tried how often, and what the last one
//! looked like.
//!
//! Single attempts are a matter of the server's memory. Here are rows that count
//! those which are alike in everything that a row is known by ([`AttemptKey`]).

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::{Registry, StoreError, limits};

/// What attempts that are counted together have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    /// The peer's IP address, without its port.
    pub address: String,
    /// The listener that it came to.
    pub listener: String,
    /// The code of what became of it, for instance `healthy`.
    pub cause: String,
    /// The fingerprint of its ClientHello; empty without one.
    pub hello: String,
    /// The client identifier; empty if it never told one.
    pub client_id: String,
    /// The login name; empty if it never told one.
    pub user: String,
}

/// What is known of the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptDetails {
    /// Whether it was a failure.
    pub failure: bool,
    /// The code of the TLS stack; empty without a ClientHello.
    pub stack: String,
    /// The server name that was asked for.
    pub server_name: Option<String>,
    /// The number of the TLS version agreed on.
    pub version: Option<u16>,
    /// The number of the cipher suite agreed on.
    pub suite: Option<u16>,
    /// The TLS alert that ended it, ours or theirs.
    pub alert: Option<u8>,
    /// What was seen, in words.
    pub why: String,
    /// Codes of what may be behind it, the likeliest first, separated by spaces.
    pub candidates: String,
    /// How sure the cause is, in a word of the caller's.
    pub certainty: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Attempts that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// What they have in common.
    pub key: AttemptKey,
    /// How many there were, since the row was made.
    pub count: u64,
    /// When the first one ended, in seconds since 1970.
    pub first_at: u64,
    /// When the last one ended, in seconds since 1970.
    pub last_at: u64,
    /// What is known of the last one.
    pub last: AttemptDetails,
}

/// Which rows are asked for. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptQuery<'a> {
    /// Only those from this IP address.
    pub address: Option<&'a str>,
    /// Only those with this login name or this client identifier: those of one
    /// device. Both empty means nobody.
    pub who: Option<(&'a str, &'a str)>,
    /// Only failures.
    pub failed: bool,
    /// Only rows whose last attempt was at or after this moment, in seconds
    /// since 1970.
    pub since: u64,
    /// At most so many rows; 0 means as many as are kept.
    pub limit: u32,
}

const COLUMNS: &str = "SELECT address, listener, cause, hello, client_id, user, count, first_at,
    last_at, failure, stack, server_name, version, suite, alert, why, candidates, certainty, took_ms
    FROM attempts";

impl Registry {
    /// Adds attempts to those that were counted before: `count` of each row is
    /// added, the last details replace those of before, in one transaction. Rows
    /// beyond the limits go, those least recently seen first.
    ///
    /// Text from the wire is the caller's to shorten: nothing here has a limit.
    ///
    /// # Errors
    /// The database could not be written; then nothing is added.
    pub fn add_attempts(&mut self, rows: &[AttemptRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            add(
                db,
                rows,
                limits::MAX_ATTEMPTS_PER_ADDRESS,
                limits::MAX_ATTEMPTS,
            )
            .map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// The rows that are asked for, the most recent first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn attempts(&self, query: &AttemptQuery<'_>) -> Result<Vec<AttemptRow>, StoreError> {
        find(&self.connection, query).map_err(|source| self.failed(source))
    }
}

fn add(db: &Connection, rows: &[AttemptRow], per_address: u32, most: u32) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO attempts
            (address, listener, cause, hello, client_id, user, count, first_at, last_at, failure,
             stack, server_name, version, suite, alert, why, candidates, certainty, took_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                 ?19)
         ON CONFLICT DO UPDATE SET
            count = count + excluded.count, last_at = max(last_at, excluded.last_at),
            failure = excluded.failure, stack = excluded.stack,
            server_name = excluded.server_name, version = excluded.version,
            suite = excluded.suite, alert = excluded.alert, why = excluded.why,
            candidates = excluded.candidates, certainty = excluded.certainty,
            took_ms = excluded.took_ms",
    )?;
    let mut addresses: Vec<&str> = Vec::new();
    for AttemptRow {
        key,
        count,
        first_at,
        last_at,
        last,
    } in rows
    {
        insert.execute(params![
            key.address,
            key.listener,
            key.cause,
            key.hello,
            key.client_id,
            key.user,
            signed(*count),
            signed(*first_at),
            signed(*last_at),
            last.failure,
            last.stack,
            last.server_name,
            last.version,
            last.suite,
            last.alert,
            last.why,
            last.candidates,
            last.certainty,
            signed(last.took_ms),
        ])?;
        addresses.push(&key.address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    let mut crowd = db.prepare_cached(
        "DELETE FROM attempts WHERE address = ?1
            AND (listener, cause, hello, client_id, user) IN (
                SELECT listener, cause, hello, client_id, user FROM attempts WHERE address = ?1
                ORDER BY last_at DESC LIMIT -1 OFFSET ?2)",
    )?;
    for address in addresses {
        crowd.execute(params![address, per_address])?;
    }
    db.prepare_cached(
        "DELETE FROM attempts WHERE (address, listener, cause, hello, client_id, user) IN (
            SELECT address, listener, cause, hello, client_id, user FROM attempts
            ORDER BY last_at DESC LIMIT -1 OFFSET ?1)",
    )?
    .execute([most])
    .map(drop)
}

fn find(db: &Connection, query: &AttemptQuery<'_>) -> rusqlite::Result<Vec<AttemptRow>> {
    let mut text = format!("{COLUMNS} WHERE last_at >= ?");
    let mut values: Vec<Value> = vec![signed(query.since).into()];
    if let Some(address) = query.address {
        text.push_str(" AND address = ?");
        values.push(address.to_string().into());
    }
    if let Some((user, client_id)) = query.who {
        // An empty text in a row stands for "never told", not for a name.
        text.push_str(" AND (user = ? AND user <> '' OR client_id = ? AND client_id <> '')");
        values.push(user.to_string().into());
        values.push(client_id.to_string().into());
    }
    if query.failed {
        text.push_str(" AND failure = 1");
    }
    text.push_str(" ORDER BY last_at DESC, count DESC LIMIT ?");
    values.push(match query.limit {
        0 => Value::Integer(-1),
        limit => i64::from(limit).into(),
    });
    db.prepare_cached(&text)?
        .query_map(params_from_iter(values), read)?
        .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        key: AttemptKey {
            address: row.get(0)?,
            listener: row.get(1)?,
            cause: row.get(2)?,
            hello: row.get(3)?,
            client_id: row.get(4)?,
            user: row.get(5)?,
        },
        count: unsigned(row, 6)?,
        first_at: unsigned(row, 7)?,
        last_at: unsigned(row, 8)?,
        last: AttemptDetails {
            failure: row.get(9)?,
            stack: row.get(10)?,
            server_name: row.get(11)?,
            version: row.get(12)?,
            suite: row.get(13)?,
            alert: row.get(14)?,
            why: row.get(15)?,
            candidates: row.get(16)?,
            certainty: row.get(17)?,
            took_ms: unsigned(row, 18)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{AttemptDetails, AttemptKey, AttemptQuery, AttemptRow, add, find};
    use crate::{DataFolder, Registry};
    use tempfile::TempDir;

    fn registry() -> (TempDir, Registry) {
        let scratch = tempfile::tempdir().unwrap();
        let registry = DataFolder::open(scratch.path())
            .unwrap()
            .registry()
            .unwrap();
        (scratch, registry)
    }

    fn row(address: &str, client_id: &str, at: u64) -> AttemptRow {
        AttemptRow {
            key: AttemptKey {
                address: address.to_string(),
                listener: "mqtts".to_string(),
                cause: "untrusted".to_string(),
                hello: "h".to_string(),
                client_id: client_id.to_string(),
                user: String::new(),
            },
            count: 1,
            first_at: at,
            last_at: at,
            last: AttemptDetails::default(),
        }
    }

    #[test]
    fn rows_least_recently_seen_go_first_for_each_address_and_over_all() {
        let (_scratch, registry) = registry();
        let db = &registry.connection;
        for at in 1..=5 {
            add(db, &[row("192.168.1.9", &format!("c{at}"), at)], 3, 5).unwrap();
        }
        // Seen again, so another one is the oldest.
        add(db, &[row("192.168.1.9", "c3", 6)], 3, 5).unwrap();
        add(db, &[row("192.168.1.9", "c7", 7)], 3, 5).unwrap();
        let known = |address| {
            let query = AttemptQuery {
                address: Some(address),
                ..AttemptQuery::default()
            };
            find(db, &query)
                .unwrap()
                .into_iter()
                .map(|row| (row.key.client_id, row.count))
                .collect::<Vec<_>>()
        };
        let kept = |names: &[(&str, u64)]| -> Vec<(String, u64)> {
            names.iter().map(|(n, c)| (n.to_string(), *c)).collect()
        };
        assert_eq!(
            known("192.168.1.9"),
            kept(&[("c7", 1), ("c3", 2), ("c5", 1)])
        );
        for at in 8..=10 {
            add(db, &[row("192.168.1.10", &format!("d{at}"), at)], 3, 5).unwrap();
        }
        assert_eq!(known("192.168.1.9"), kept(&[("c7", 1), ("c3", 2)]));
        assert_eq!(known("192.168.1.10").len(), 3);
    }
}
