//! Sightings that contradict what is known: kept for a person to settle, never
//! folded in.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::member::MemberId;
use crate::sighting::{Identity, Sighting};

/// The number of a contradiction. Shown as `q_17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConflictId(pub u64);

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q_{}", self.0)
    }
}

impl FromStr for ConflictId {
    type Err = ConflictIdError;

    fn from_str(text: &str) -> Result<ConflictId, ConflictIdError> {
        let digits = text.strip_prefix("q_").ok_or(ConflictIdError)?;
        digits.parse().map(ConflictId).map_err(|_| ConflictIdError)
    }
}

/// The text is no number of a contradiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the number of a contradiction: it looks like q_17")]
pub struct ConflictIdError;

/// Somebody showed up with an identity that is another's. Alike sightings share
/// one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its number.
    pub id: ConflictId,
    /// What is contested.
    pub identity: Identity,
    /// Who has it, and keeps it. (For [`Why::OtherHardware`] and
    /// [`Why::OthersToken`]: who has the login or the token.)
    pub holder: MemberId,
    /// Who else showed up with it, if that is a device of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimant: Option<MemberId>,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// What the contradiction is.
    pub why: Why,
    /// When it was seen first, in seconds since 1970.
    pub first: u64,
    /// When it was seen last.
    pub last: u64,
    /// How often.
    pub count: u64,
    /// The last such sighting.
    pub sighting: Box<Sighting>,
}

/// What a contradiction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Without proof, with an identity that another device has.
    Claimed,
    /// With proof, and the other has proved it, too.
    ProvedTwice,
    /// The login of a device was used by other hardware.
    OtherHardware,
    /// The token of a device was used by other hardware.
    OthersToken,
}

impl Why {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Claimed => "claimed",
            Why::ProvedTwice => "proved_twice",
            Why::OtherHardware => "other_hardware",
            Why::OthersToken => "others_token",
        }
    }
}

/// How a person settles a contradiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Who has the identity keeps it. If it is contradicted again, that is a new
    /// entry.
    Keep,
    /// It passes to who showed up with it. For other hardware under a device's
    /// login: the device has this hardware from now on.
    Pass,
}

/// A contradiction cannot be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// It is not there (any more).
    #[error("there is no such contradiction any more: see `safeport device quarantine`")]
    NoConflict,
    /// The claimant is gone.
    #[error("the device that came with this identity is forgotten: wait until it comes again")]
    NoClaimant,
    /// The holder is gone.
    #[error("the device that had this identity is forgotten: nothing is contradicted any more")]
    NoHolder,
}

/// What tells one contradiction from another. The address counts only for
/// who is no device of its own: a device may change its address.
type Key = (Identity, MemberId, Option<MemberId>, Why, Option<IpAddr>);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    conflicts: BTreeMap<ConflictId, Conflict>,
    keys: BTreeMap<Key, ConflictId>,
    dirty: BTreeSet<ConflictId>,
    settled: Vec<ConflictId>,
    next: u64,
}

impl Quarantine {
    pub(super) fn load(&mut self, conflict: Conflict) {
        let key = conflict.key();
        if self.keys.contains_key(&key) || self.conflicts.len() >= limits::MAX_CONFLICTS {
            self.settled.push(conflict.id);
            return;
        }
        self.next = self.next.max(conflict.id.0 + 1);
        self.keys.insert(key, conflict.id);
        self.conflicts.insert(conflict.id, conflict);
    }

    pub(super) fn get(&self, id: ConflictId) -> Option<&Conflict> {
        self.conflicts.get(&id)
    }

    pub(super) fn is_contested(&self, holder: MemberId) -> bool {
        let mut all = self.conflicts.values();
        all.any(|conflict| conflict.holder == holder && conflict.why == Why::OtherHardware)
    }

    pub(super) fn newest_first(&self) -> Vec<&Conflict> {
        let mut all: Vec<&Conflict> = self.conflicts.values().collect();
        all.sort_by_key(|conflict| core::cmp::Reverse((conflict.last, conflict.id)));
        all
    }

    /// Counts the contradiction with its like, if there is one; else it is new.
    pub(super) fn repeat(&mut self, conflict: &Conflict) -> Option<ConflictId> {
        let id = *self.keys.get(&conflict.key())?;
        let known = self.conflicts.get_mut(&id)?;
        known.count = known.count.saturating_add(1);
        // Somebody may repeat it a thousand times a second.
        if conflict.last.saturating_sub(known.last) >= limits::SEEN_GRAIN || known.count == 2 {
            self.dirty.insert(id);
        }
        known.last = known.last.max(conflict.last);
        known.peer = conflict.peer;
        known.sighting = conflict.sighting.clone();
        Some(id)
    }

    pub(super) fn add(&mut self, mut conflict: Conflict) -> ConflictId {
        if self.conflicts.len() >= limits::MAX_CONFLICTS {
            let oldest = self
                .conflicts
                .values()
                .min_by_key(|conflict| conflict.last)
                .map(|conflict| conflict.id);
            if let Some(oldest) = oldest {
                self.remove(oldest);
            }
        }
        let id = ConflictId(self.next.max(1));
        self.next = id.0 + 1;
        conflict.id = id;
        self.keys.insert(conflict.key(), id);
        self.conflicts.insert(id, conflict);
        self.dirty.insert(id);
        id
    }

    pub(super) fn remove(&mut self, id: ConflictId) {
        if let Some(conflict) = self.conflicts.remove(&id) {
            self.keys.remove(&conflict.key());
            self.dirty.remove(&id);
            self.settled.push(id);
        }
    }

    /// Who is gone contradicts nobody.
    pub(super) fn forget_member(&mut self, member: MemberId) {
        if self.conflicts.is_empty() {
            return;
        }
        let about: Vec<ConflictId> = self
            .conflicts
            .values()
            .filter(|conflict| conflict.holder == member || conflict.claimant == Some(member))
            .map(|conflict| conflict.id)
            .collect();
        for id in about {
            self.remove(id);
        }
    }

    /// The identity has passed on: who contested it does so no more.
    pub(super) fn passed(&mut self, identity: &Identity, from: MemberId) {
        let about: Vec<ConflictId> = self
            .conflicts
            .values()
            .filter(|conflict| conflict.holder == from && conflict.identity == *identity)
            .map(|conflict| conflict.id)
            .collect();
        for id in about {
            self.remove(id);
        }
    }

    pub(super) fn take_dirty(&mut self) -> (Vec<Conflict>, Vec<ConflictId>) {
        let dirty = core::mem::take(&mut self.dirty);
        let conflicts = dirty
            .iter()
            .filter_map(|id| self.conflicts.get(id).cloned())
            .collect();
        (conflicts, core::mem::take(&mut self.settled))
    }

    /// These could not be written down.
    pub(super) fn put_back(&mut self, conflicts: &[Conflict], settled: Vec<ConflictId>) {
        let open = conflicts.iter().map(|conflict| conflict.id);
        self.dirty
            .extend(open.filter(|id| self.conflicts.contains_key(id)));
        self.settled.extend(settled);
    }
}

impl Conflict {
    fn key(&self) -> Key {
        let peer = if self.claimant.is_none() {
            self.peer
        } else {
            None
        };
        (
            self.identity.clone(),
            self.holder,
            self.claimant,
            self.why,
            peer,
        )
    }
}
