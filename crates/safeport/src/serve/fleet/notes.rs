//! What of the roster is written down, and what of the registry is followed.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use safeport_fleet::{Conflict, ConflictId, Dirty, Enrolment, Event, Member, MemberId, Roster};
use safeport_store::{
    IdentityRow, MemberEventRow, MemberRow, QuarantineRow, Registry, StoreError, Version,
};

use super::accounts::Enrolled;
use super::{Fleet, lock};
use crate::limits::{FLEET_AT_ONCE, FLEET_EXPIRE, FLEET_EXPIRE_AT_ONCE, FLEET_FLUSH, FLEET_FOLLOW};
use crate::serve::access::unix_now;
use crate::throttle::Throttle;

/// Takes up what was written down.
pub(super) fn load(registry: &mut Registry, roster: &mut Roster) -> Result<(), StoreError> {
    let mut unreadable: u64 = 0;
    registry.load_members(|row| match serde_json::from_str::<Member>(&row.body) {
        Ok(mut member) => {
            member.id = MemberId(row.id);
            // The row's word counts: a device may be forgotten while no server runs.
            member.enrolment = row.device.and_then(|name| name.parse().ok());
            roster.load(member);
        }
        Err(_) => unreadable += 1,
    })?;
    if unreadable > 0 {
        tracing::warn!(
            target: "safeport::fleet",
            "what is known of {unreadable} devices cannot be read and is learnt anew"
        );
    }
    for row in registry.quarantine()? {
        if let Ok(conflict) = serde_json::from_str(&row.body) {
            roster.load_conflict(conflict);
        }
    }
    roster.reserve_ids(registry.next_member_id()?);
    Ok(())
}

/// What the thread works with.
pub(super) struct Notes {
    registry: Registry,
    seen: Option<Version>,
    enrolments: BTreeMap<safeport_fleet::DeviceName, Enrolment>,
    trouble: Throttle,
}

impl Notes {
    pub(super) fn new(registry: Registry) -> Notes {
        Notes {
            registry,
            seen: None,
            enrolments: BTreeMap::new(),
            trouble: Throttle::default(),
        }
    }

    /// Links enrolments that are new or changed to their devices, and releases those that are gone.
    pub(super) fn follow(&mut self, fleet: &Fleet) -> Result<(), StoreError> {
        let look = fleet.looks.begin();
        let version = self.registry.version()?;
        if self.seen != Some(version) {
            self.take_over(fleet)?;
        }
        fleet.looks.end(look);
        Ok(())
    }

    fn take_over(&mut self, fleet: &Fleet) -> Result<(), StoreError> {
        let snapshot = self.registry.load()?;
        let now = unix_now();
        let people = snapshot.users.into_iter().map(|user| user.name);
        let enrolled = Enrolled::of(snapshot.devices, people);
        let new = enrolled.enrolments;
        // Not one lock for all: others may have to wait for it.
        let released: Vec<String> = fleet.with(|roster| {
            let gone = roster.names().filter(|(name, _)| match new.get(*name) {
                None => true,
                // Forgotten and added again between two looks.
                Some(now) => self
                    .enrolments
                    .get(*name)
                    .is_some_and(|before| before.created != now.created),
            });
            gone.map(|(name, _)| name.to_string()).collect()
        });
        for name in released {
            fleet.with_mut(|roster| roster.release(&name, now));
        }
        let changed: Vec<&Enrolment> = new
            .iter()
            .filter(|(name, enrolment)| self.enrolments.get(*name) != Some(enrolment))
            .map(|(_, enrolment)| enrolment)
            .collect();
        for some in changed.chunks(FLEET_AT_ONCE) {
            fleet.with_mut(|roster| {
                for enrolment in some {
                    roster.enrol(enrolment, now);
                }
            });
        }
        *fleet.logins.write().unwrap_or_else(PoisonError::into_inner) = enrolled.logins.into();
        self.enrolments = new;
        self.seen = Some(snapshot.version);
        Ok(())
    }

    /// Writes down everything that is new, and waits until it is on the disk.
    pub(super) fn keep(&mut self, fleet: &Fleet) -> Result<(), StoreError> {
        self.flush(fleet)?;
        // Also what was written down before and not waited for.
        self.registry.sync()
    }

    /// Writes down everything that is new, in parts that are short to write. What cannot be
    /// written down is kept for the next time.
    fn flush(&mut self, fleet: &Fleet) -> Result<(), StoreError> {
        loop {
            let (mut dirty, left) = fleet.with_mut(|roster| {
                let dirty = roster.take_dirty(FLEET_AT_ONCE);
                (dirty, roster.dirty())
            });
            fleet.unwritten.store(left as u64, Ordering::Relaxed);
            if dirty.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.write(&mut dirty) {
                fleet.with_mut(|roster| roster.put_back(dirty));
                return Err(error);
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// What is written is taken out of `dirty`.
    fn write(&mut self, dirty: &mut Dirty) -> Result<(), StoreError> {
        let removed: Vec<u64> = dirty.removed.iter().map(|id| id.0).collect();
        self.registry.remove_members(&removed)?;
        let gone = take(&mut dirty.removed);
        dirty.events.retain(|(id, _)| !gone.contains(id));
        let rows: Vec<MemberRow> = dirty.members.iter().filter_map(member_row).collect();
        self.registry.write_members(&rows)?;
        dirty.members.clear();
        let events: Vec<MemberEventRow> = dirty
            .events
            .iter()
            .filter_map(|(id, event)| event_row(*id, event))
            .collect();
        self.registry.add_member_events(&events)?;
        dirty.events.clear();
        let settled: Vec<String> = dirty.settled.iter().map(ConflictId::to_string).collect();
        self.registry.remove_quarantine(&settled)?;
        dirty.settled.clear();
        let conflicts: Vec<QuarantineRow> =
            dirty.conflicts.iter().filter_map(conflict_row).collect();
        self.registry.write_quarantine(&conflicts)
    }

    fn complain(&self, what: &str, error: &StoreError) {
        if let Some(left_out) = self.trouble.admit(what, Instant::now()) {
            tracing::error!(
                target: "safeport::fleet",
                left_out,
                "{what}; it is tried again: {error}"
            );
        }
    }
}

/// Follows the registry and writes down what is new, for ever.
pub(super) fn work(fleet: &Fleet) {
    let mut flushed = Instant::now();
    let mut expired = Instant::now();
    loop {
        let stopping = pause(fleet, FLEET_FOLLOW);
        if expired.elapsed() >= FLEET_EXPIRE {
            expired = Instant::now();
            fleet.with_mut(|roster| roster.expire(unix_now(), FLEET_EXPIRE_AT_ONCE));
        }
        if let Some(notes) = fleet.notes.get() {
            let mut notes = lock(notes);
            if let Err(error) = notes.follow(fleet) {
                notes.complain("enrolled devices cannot be read", &error);
            }
            if stopping || flushed.elapsed() >= FLEET_FLUSH {
                flushed = Instant::now();
                if let Err(error) = notes.flush(fleet) {
                    notes.complain("what is known of devices cannot be written down", &error);
                }
            }
        }
        if stopping {
            lock(&fleet.stopping).done = true;
            fleet.stopped.notify_all();
            return park();
        }
    }
}

/// Waits; whether the server stops.
fn pause(fleet: &Fleet, time: Duration) -> bool {
    let stopping = lock(&fleet.stopping);
    let (stopping, _) = fleet
        .stopped
        .wait_timeout_while(stopping, time, |stopping| !stopping.wanted)
        .unwrap_or_else(PoisonError::into_inner);
    stopping.wanted
}

/// The end of a thread stops the server, and this one has nothing left to do.
fn park() {
    loop {
        std::thread::park();
    }
}

fn member_row(member: &Member) -> Option<MemberRow> {
    Some(MemberRow {
        id: member.id.0,
        device: member.enrolment.as_ref().map(ToString::to_string),
        family: member
            .family()
            .map_or_else(String::new, |family| family.to_string()),
        first_at: member.first_seen,
        last_at: member.last_seen,
        body: serde_json::to_string(member).ok()?,
        identities: member
            .identities
            .iter()
            .map(|known| IdentityRow {
                kind: known.identity.kind().as_str().to_owned(),
                value: known.identity.value(),
                proved: known.proved,
            })
            .collect(),
    })
}

fn event_row(member: MemberId, event: &Event) -> Option<MemberEventRow> {
    Some(MemberEventRow {
        id: 0,
        member: member.0,
        at: event.at,
        kind: event.what.as_str().to_owned(),
        body: serde_json::to_string(event).ok()?,
    })
}

fn conflict_row(conflict: &Conflict) -> Option<QuarantineRow> {
    Some(QuarantineRow {
        key: conflict.id.to_string(),
        member: Some(conflict.holder.0),
        first_at: conflict.first,
        last_at: conflict.last,
        count: conflict.count,
        body: serde_json::to_string(conflict).ok()?,
    })
}
