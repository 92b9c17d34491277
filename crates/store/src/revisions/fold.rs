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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::fold;
    use crate::{
        By, Change, DataFolder, Draft, FileSnapshot, RevisionKind, RevisionState, Scope, StoreError,
    };

    /// The same numbers for every seed (Knuth's multiplier).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }

        fn text(&mut self) -> Option<String> {
            match self.below(4) {
                0 => None,
                number => Some(format!("{number}")),
            }
        }
    }

    /// What is remembered of every revision, without folding.
    struct Entry {
        draft: Draft,
        state: RevisionState,
    }

    fn holding(model: &[Entry], last: usize) -> impl Iterator<Item = &Entry> {
        model[..last].iter().filter(|entry| {
            matches!(
                entry.state,
                RevisionState::Live | RevisionState::Unconfirmed
            )
        })
    }

    fn values(model: &[Entry], last: usize) -> BTreeMap<(Scope, String), String> {
        let mut sum = BTreeMap::new();
        for change in holding(model, last).flat_map(|entry| &entry.draft.changes) {
            let place = (change.scope.clone(), change.key.clone());
            match &change.new {
                Some(value) => sum.insert(place, value.clone()),
                None => sum.remove(&place),
            };
        }
        sum
    }

    fn files(model: &[Entry], last: usize) -> BTreeMap<String, Option<String>> {
        let mut sum: BTreeMap<String, Option<String>> = holding(model, last)
            .flat_map(|entry| &entry.draft.files)
            .map(|file| (file.path.clone(), file.new.clone()))
            .collect();
        let mut unknown = BTreeSet::new();
        for (index, entry) in model.iter().enumerate().skip(last) {
            let holds = holding(&model[..=index], index + 1)
                .last()
                .is_some_and(|last| std::ptr::eq(last, entry));
            for file in entry.draft.files.iter().filter(|_| holds) {
                if sum.contains_key(&file.path) || unknown.contains(&file.path) {
                    continue;
                }
                if file.old.is_none() && entry.draft.kind == RevisionKind::Start {
                    unknown.insert(file.path.clone());
                } else {
                    sum.insert(file.path.clone(), file.old.clone());
                }
            }
        }
        sum
    }

    #[test]
    fn folding_never_changes_what_the_revisions_add_up_to_now_or_at_any_that_is_kept() {
        for seed in 0..12 {
            let scratch = tempfile::tempdir().unwrap();
            let mut registry = DataFolder::open(scratch.path())
                .unwrap()
                .registry()
                .unwrap();
            // The disk is not what is tested.
            registry
                .connection
                .pragma_update(None, "synchronous", "OFF")
                .unwrap();
            let mut dice = Dice(seed);
            let mut model: Vec<Entry> = Vec::new();
            let mut oldest = 0;
            for at in 0..120 {
                let by = By { who: "test", at };
                let draft = random_draft(&mut dice);
                let id = registry.stage(&draft, by).unwrap();
                let way = match dice.below(6) {
                    0 => vec![RevisionState::Refused],
                    1 => vec![RevisionState::Unconfirmed, RevisionState::Reverted],
                    2 => vec![RevisionState::Unconfirmed, RevisionState::Live],
                    _ => vec![RevisionState::Live],
                };
                model.push(Entry {
                    draft,
                    state: RevisionState::Staged,
                });
                assert_eq!(id, model.len() as u64);
                for state in way {
                    registry.settle(id, state, None, None, by).unwrap();
                    model.last_mut().unwrap().state = state;
                    let now = listed(&registry.managed().unwrap());
                    assert_eq!(now, values(&model, model.len()), "seed {seed}");
                }
                if dice.below(5) == 0 {
                    let keep = 1 + dice.below(20);
                    fold(&registry.connection, u32::try_from(keep).unwrap(), u64::MAX).unwrap();
                    oldest = oldest.max(id.saturating_sub(keep));
                }
                let then = dice.below(id + 1);
                if then < oldest {
                    assert!(matches!(
                        registry.managed_at(then),
                        Err(StoreError::RevisionFolded { oldest: told, .. }) if told == oldest
                    ));
                    continue;
                }
                let last = usize::try_from(then).unwrap();
                let found = listed(&registry.managed_at(then).unwrap());
                assert_eq!(found, values(&model, last), "seed {seed} at {then}");
                let found: BTreeMap<_, _> = registry.files_at(then).unwrap().into_iter().collect();
                assert_eq!(found, files(&model, last), "seed {seed} at {then}");
                let good: BTreeMap<_, _> =
                    registry.last_good_files().unwrap().into_iter().collect();
                let expected: BTreeMap<_, _> = files(&model, model.len())
                    .into_iter()
                    .filter_map(|(path, text)| Some((path, text?)))
                    .collect();
                assert_eq!(good, expected, "seed {seed}");
            }
            assert!(oldest > 0, "seed {seed} folded nothing");
        }
    }

    fn listed(rows: &[crate::ManagedRow]) -> BTreeMap<(Scope, String), String> {
        rows.iter()
            .map(|row| ((row.scope.clone(), row.key.clone()), row.value.clone()))
            .collect()
    }

    fn random_draft(dice: &mut Dice) -> Draft {
        let scopes = [
            Scope::Everyone,
            Scope::Tag("a".to_string()),
            Scope::Device("a".to_string()),
        ];
        let changes = (0..dice.below(4)).map(|_| Change {
            scope: scopes[dice.below(3) as usize].clone(),
            key: format!("k{}", dice.below(4)),
            old: None,
            new: dice.text(),
            secret: false,
        });
        let changes = changes.collect();
        let files = (0..dice.below(3)).map(|_| FileSnapshot {
            path: format!("f{}", dice.below(4)),
            old: dice.text(),
            new: dice.text(),
        });
        let files = files.collect();
        let kind = if dice.below(4) == 0 {
            RevisionKind::Start
        } else {
            RevisionKind::Set
        };
        Draft {
            reason: String::new(),
            kind,
            base: None,
            changes,
            files,
        }
    }

    #[test]
    fn a_revision_that_is_not_settled_is_never_folded_and_the_newest_always_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let mut registry = DataFolder::open(scratch.path())
            .unwrap()
            .registry()
            .unwrap();
        let by = By { who: "test", at: 1 };
        let draft = random_draft(&mut Dice(5));
        for _ in 0..3 {
            let id = registry.stage(&draft, by).unwrap();
            registry
                .settle(id, RevisionState::Live, None, None, by)
                .unwrap();
        }
        // Too many bytes fold as well as too many revisions.
        fold(&registry.connection, 100, 0).unwrap();
        let left = registry.history(10).unwrap();
        assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [3]);
        let pending = registry.stage(&draft, by).unwrap();
        fold(&registry.connection, 0, 0).unwrap();
        assert_eq!(registry.staged().unwrap().unwrap().id, pending);
    }

    #[test]
    fn a_full_history_is_still_summed_up_and_added_to_quickly() {
        let scratch = tempfile::tempdir().unwrap();
        let mut registry = DataFolder::open(scratch.path())
            .unwrap()
            .registry()
            .unwrap();
        registry
            .connection
            .execute_batch(
                "PRAGMA synchronous = OFF;
                 BEGIN;
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                 INSERT INTO revisions (at, who, reason, kind, state, bytes)
                     SELECT i, 'test', '', 'set', 'live', 10 FROM n;
                 WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4)
                 INSERT INTO revision_changes
                     SELECT id, i, 'device', 'd' || (id % 200), 'k' || i, NULL, id, 0
                     FROM revisions, n;
                 COMMIT;",
            )
            .unwrap();
        let by = By { who: "test", at: 1 };
        let change = |number: u64| Change {
            scope: Scope::Device(format!("d{}", number % 200)),
            key: format!("k{}", number / 200),
            old: None,
            new: Some("new".to_string()),
            secret: false,
        };
        let draft = Draft {
            reason: String::new(),
            kind: RevisionKind::Import,
            base: Some(10_000),
            changes: (0..1_000).map(change).collect(),
            files: Vec::new(),
        };
        let begun = std::time::Instant::now();
        assert_eq!(registry.managed().unwrap().len(), 1_000);
        let summed = begun.elapsed();
        let id = registry.stage(&draft, by).unwrap();
        let staged = begun.elapsed() - summed;
        // A fraction of this in truth; the bound only catches a scan for each key.
        let limit = std::time::Duration::from_secs(2);
        assert!(summed < limit && staged < limit, "{summed:?} {staged:?}");
        println!("summed up in {summed:?}, a thousand changes staged in {staged:?}");
        // Full: the oldest went, and the newest state did not change by it.
        assert_eq!(registry.revision(1).unwrap(), None);
        registry
            .settle(id, RevisionState::Live, None, None, by)
            .unwrap();
        let rows = registry.managed().unwrap();
        assert!(rows.iter().all(|row| row.value == "new"));
    }
}
