//! Revisions staged and settled.

use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

use super::fold::fold;
use super::sums::{self, Touched};
use super::{Change, Draft, FileSnapshot, RevisionKind, RevisionState, Scope};
use crate::areas::{self, Area};
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{By, Registry, StoreError, audit, limits};

impl Registry {
    /// Writes down what somebody wants, for a server to judge. Returns its
    /// number.
    ///
    /// A staged revision that no server took within 60 s is refused by this, and
    /// one that nobody confirmed is reverted 60 s after its time: the server
    /// that should have done so is gone.
    ///
    /// # Errors
    /// [`StoreError::ChangePending`] if another revision is not settled yet;
    /// [`StoreError::RevisionConflict`] if one of the keys or files was changed
    /// since the draft's base (other keys may have been);
    /// [`StoreError::TooMany`]: at most 1000 changes and 4 MiB.
    pub fn stage(&mut self, draft: &Draft, by: By<'_>) -> Result<u64, StoreError> {
        self.change(Area::Settings, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let bytes = measured(draft)?;
            settle_abandoned(db, path, by)?;
            check_base(db, path, draft, by)?;
            let id = insert(db, draft, RevisionState::Staged, bytes, by).map_err(failed)?;
            fold(db, limits::MAX_REVISIONS, limits::MAX_HISTORY_BYTES).map_err(failed)?;
            let what = format!("revision {id} staged: {}", contents(draft));
            audit::write(db, by, &what).map_err(failed)?;
            Ok(id)
        })
    }

    /// Says what became of a revision. `verdict` is shown with it and must hold
    /// no secret; `confirm_by` (seconds since 1970) belongs to
    /// [`RevisionState::Unconfirmed`].
    ///
    /// # Errors
    /// [`StoreError::NoRevision`]; [`StoreError::RevisionSettled`] if it cannot
    /// go from its state to this one, for instance because somebody was
    /// quicker.
    pub fn settle(
        &mut self,
        id: u64,
        state: RevisionState,
        verdict: Option<&str>,
        confirm_by: Option<u64>,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Settings, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let found: Option<RevisionState> = db
                .query_row(
                    "SELECT state FROM revisions WHERE id = ?1",
                    [signed(id)],
                    |row| row.get(0),
                )
                .optional()
                .map_err(failed)?;
            let found = found.ok_or(StoreError::NoRevision { id })?;
            if !found.may_become(state) {
                return Err(StoreError::RevisionSettled {
                    id,
                    state: found,
                    wanted: state,
                });
            }
            set_state(db, id, state, verdict, confirm_by).map_err(failed)?;
            audit::write(db, by, &format!("revision {id} {state}")).map_err(failed)
        })
    }
}

/// Unsets, within the caller's transaction, what is set for one device that is
/// about to go.
pub(crate) fn unset_all_of_device(
    db: &Connection,
    device: &str,
    by: By<'_>,
) -> rusqlite::Result<()> {
    let scope = Scope::Device(device.to_string());
    let changes: Vec<Change> = sums::managed(db, u64::MAX)?
        .into_iter()
        .filter(|row| row.scope == scope)
        .map(|row| Change {
            scope: row.scope,
            key: row.key,
            old: Some(row.value),
            new: None,
            secret: row.secret,
        })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    let draft = Draft {
        reason: format!("device {device} forgotten"),
        kind: RevisionKind::Set,
        base: None,
        changes,
        files: Vec::new(),
    };
    insert(db, &draft, RevisionState::Live, bytes(&draft), by)?;
    areas::bump(db, Area::Settings)
}

/// The bytes of a draft that is not too large.
fn measured(draft: &Draft) -> Result<usize, StoreError> {
    let within = |what, found, limit| {
        if found > limit {
            return Err(StoreError::TooMany { what, found, limit });
        }
        Ok(found)
    };
    let changes = draft.changes.len() + draft.files.len();
    within("changes in one revision", changes, limits::MAX_CHANGES)?;
    within(
        "bytes in one revision",
        bytes(draft),
        limits::MAX_REVISION_BYTES,
    )
}

fn bytes(draft: &Draft) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let of_change = |change: &Change| {
        change.scope.name().len() + change.key.len() + text(&change.old) + text(&change.new)
    };
    let of_file = |file: &FileSnapshot| file.path.len() + text(&file.old) + text(&file.new);
    draft.reason.len()
        + draft.changes.iter().map(of_change).sum::<usize>()
        + draft.files.iter().map(of_file).sum::<usize>()
}

/// Makes room where the one that is pending was abandoned.
fn settle_abandoned(db: &Connection, path: &Path, by: By<'_>) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    let Some(pending) = pending(db).map_err(failed)? else {
        return Ok(());
    };
    let (given_up, state, verdict) = match pending.state {
        // Either way: a clock that was set back must not make it wait for days.
        RevisionState::Staged => (
            by.at.abs_diff(pending.at) > limits::ABANDONED_AFTER,
            RevisionState::Refused,
            "no server took it in time",
        ),
        _ => (
            pending
                .confirm_by
                .is_some_and(|until| by.at > until.saturating_add(limits::ABANDONED_AFTER)),
            RevisionState::Reverted,
            "nobody confirmed it in time",
        ),
    };
    if !given_up {
        return Err(StoreError::ChangePending {
            id: pending.id,
            who: pending.who,
            at: pending.at,
            state: pending.state,
            confirm_by: pending.confirm_by,
        });
    }
    set_state(db, pending.id, state, Some(verdict), None).map_err(failed)?;
    let what = format!("revision {} {state}: {verdict}", pending.id);
    audit::write(db, by, &what).map_err(failed)
}

struct Pending {
    id: u64,
    at: u64,
    who: String,
    state: RevisionState,
    confirm_by: Option<u64>,
}

fn pending(db: &Connection) -> rusqlite::Result<Option<Pending>> {
    db.prepare_cached(
        "SELECT id, at, who, state, confirm_by FROM revisions
         WHERE state IN ('staged', 'unconfirmed')",
    )?
    .query_row([], |row| {
        Ok(Pending {
            id: unsigned(row, 0)?,
            at: unsigned(row, 1)?,
            who: row.get(2)?,
            state: row.get(3)?,
            confirm_by: maybe_unsigned(row, 4)?,
        })
    })
    .optional()
}

/// Refuses a draft whose keys or files have moved since its author looked.
fn check_base(db: &Connection, path: &Path, draft: &Draft, by: By<'_>) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    let Some(base) = draft.base else {
        return Ok(());
    };
    if base > sums::newest(db).map_err(failed)? {
        return Err(StoreError::NoRevision { id: base });
    }
    let conflict = |scope: Scope, key: &str, last: Option<Touched>| match last {
        Some(theirs) if theirs.revision > base => Err(StoreError::RevisionConflict {
            key: key.to_string(),
            scope: Box::new(scope),
            base,
            theirs: theirs.revision,
            their_author: theirs.who,
            their_at: theirs.at,
            yours: by.who.to_string(),
        }),
        _ => Ok(()),
    };
    for change in &draft.changes {
        let last = sums::last_value(db, &change.scope, &change.key).map_err(failed)?;
        conflict(change.scope.clone(), &change.key, last)?;
    }
    for file in &draft.files {
        let last = sums::last_file(db, &file.path).map_err(failed)?;
        conflict(Scope::Everyone, &file.path, last)?;
    }
    Ok(())
}

fn insert(
    db: &Connection,
    draft: &Draft,
    state: RevisionState,
    bytes: usize,
    by: By<'_>,
) -> rusqlite::Result<u64> {
    db.execute(
        "INSERT INTO revisions (at, who, reason, kind, state, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            signed(by.at),
            by.who,
            draft.reason,
            draft.kind,
            state,
            signed(bytes as u64)
        ],
    )?;
    let id = db.last_insert_rowid();
    let mut change_row = db.prepare_cached(
        "INSERT INTO revision_changes (revision, position, scope, name, key, old, new, secret)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (position, change) in (0i64..).zip(&draft.changes) {
        // What is stored, not what the author believed: history tells the truth.
        let old = sums::last_value(db, &change.scope, &change.key)?.and_then(|last| last.value);
        change_row.execute(params![
            id,
            position,
            change.scope.word(),
            change.scope.name(),
            change.key,
            old,
            change.new,
            change.secret
        ])?;
    }
    let mut file_row = db.prepare_cached(
        "INSERT INTO revision_files (revision, position, path, old, new)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (position, file) in (0i64..).zip(&draft.files) {
        file_row.execute(params![id, position, file.path, file.old, file.new])?;
    }
    Ok(u64::try_from(id).unwrap_or(0))
}

fn set_state(
    db: &Connection,
    id: u64,
    state: RevisionState,
    verdict: Option<&str>,
    confirm_by: Option<u64>,
) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE revisions SET state = ?2, verdict = ?3, confirm_by = ?4 WHERE id = ?1",
        params![signed(id), state, verdict, confirm_by.map(signed)],
    )
    .map(drop)
}

/// The keys of a draft, never their values.
fn contents(draft: &Draft) -> String {
    let keys = draft.changes.iter().map(|change| match &change.scope {
        Scope::Everyone => change.key.clone(),
        scope => format!("{} ({scope})", change.key),
    });
    let all: Vec<String> = keys
        .chain(draft.files.iter().map(|file| file.path.clone()))
        .collect();
    match all.len() {
        0 => "nothing".to_string(),
        count if count > NAMED => {
            format!("{} and {} more", all[..NAMED].join(", "), count - NAMED)
        }
        _ => all.join(", "),
    }
}

/// Keys that the audit names of one revision.
const NAMED: usize = 10;
