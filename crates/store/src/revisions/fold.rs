//! The history is bounded: the oldest revisions are folded into a base that
//! keeps what they add up to.

use rusqlite::{Connection, OptionalExtension};

use super::RevisionState;

/// Folds the oldest revisions until at most `keep` are left that hold at most
/// `bytes`. The newest always stays, and so does one that is not settled, with
/// those after it: they could not be told apart from it in the base.
pub(super) fn fold(db: &Connection, keep: u32, bytes: u64) -> rusqlite::Result<()> {
    let (mut count, mut sum): (i64, i64) = db.query_row(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM revisions",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let bytes = crate::columns::signed(bytes);
    while count > 1 && (count > i64::from(keep) || sum > bytes) {
        let Some((id, state, size)) = oldest(db)? else {
            return Ok(());
        };
        match state {
            RevisionState::Staged | RevisionState::Unconfirmed => return Ok(()),
            RevisionState::Live => keep_sum(db, id)?,
            RevisionState::Refused | RevisionState::Reverted => {}
        }
        db.prepare_cached("DELETE FROM revisions WHERE id = ?1")?
            .execute([id])?;
        count -= 1;
        sum -= size;
    }
    Ok(())
}

fn oldest(db: &Connection) -> rusqlite::Result<Option<(i64, RevisionState, i64)>> {
    db.prepare_cached("SELECT id, state, bytes FROM revisions ORDER BY id LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
}

/// An unset key stays in the base as such: a change that started from before is
/// still in conflict with it.
fn keep_sum(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO base_values
            (scope, name, key, value, secret, revision, who, at)
         SELECT c.scope, c.name, c.key, c.new, c.secret, r.id, r.who, r.at
         FROM revisions r JOIN revision_changes c ON c.revision = r.id
         WHERE r.id = ?1 ORDER BY c.position",
    )?
    .execute([id])?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO base_files (path, text, revision, who, at)
         SELECT f.path, f.new, r.id, r.who, r.at
         FROM revisions r JOIN revision_files f ON f.revision = r.id
         WHERE r.id = ?1 ORDER BY f.position",
    )?
    .execute([id])
    .map(drop)
}
