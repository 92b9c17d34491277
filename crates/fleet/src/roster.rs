//! All devices, enrolled or only seen. [`Roster::sight`] folds what is seen of
//! them into [`Member`]s by their identities.
//!
//! An identity belongs to one member at most. One that a member has *proved*
//! (by a login, a token, or an operator's word) is never lost to a mere claim:
//! what contradicts goes to the quarantine, where a person settles it. Nothing
//! depends on a clock, on chance or on the order of a hash table: the same
//! sightings make the same roster.

mod asked;
mod facts;
mod flood;
mod fold;
mod quarantine;
mod select;
mod table;
mod versions;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

pub use self::asked::Asked;
pub use self::quarantine::{Conflict, ConflictId, ConflictIdError, Settle, SettleError, Why};
pub use self::select::{Found, Page, Query};

use self::facts::is_told;
use self::flood::Flood;
use self::quarantine::Quarantine;
use self::table::Table;
use crate::member::{Event, Known, Member, MemberId, Set, Told, What};
use crate::sighting::{Confidence, Identity, IdentityKind, Installed, Source, Text};
use crate::{DeviceName, Family, MacAddress, Slot, limits};

/// How much a roster holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RosterLimits {
    /// Devices that are only seen; the one longest unseen makes room. Default
    /// 200,000.
    pub max_seen: usize,
    /// Devices that one address may add a minute by showing up; more are counted
    /// and forgotten. Default 64.
    pub new_per_address: u32,
    /// After how many seconds a device that was only seen is forgotten. Default
    /// 30 days.
    pub forget_unseen: u64,
}

impl Default for RosterLimits {
    fn default() -> RosterLimits {
        RosterLimits {
            max_seen: 200_000,
            new_per_address: 64,
            forget_unseen: 30 * 86_400,
        }
    }
}

/// All devices.
#[derive(Debug)]
pub struct Roster {
    limits: RosterLimits,
    table: Table,
    names: BTreeMap<DeviceName, MemberId>,
    /// Who is only seen, by when it was seen last. That may be out of date: it
    /// is put right when somebody has to go.
    seen: BTreeSet<(u64, MemberId)>,
    /// Who must not go, and for how many reasons; they are not in `seen`.
    pinned: BTreeMap<MemberId, u32>,
    quarantine: Quarantine,
    flood: Flood,
    next_id: u64,
    dirty: VecDeque<MemberId>,
    removed: Vec<MemberId>,
    events: Vec<(MemberId, Event)>,
    counts: Counts,
}

/// What the roster could not take, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// New devices not added, because too many came from their address at once.
    pub flooded: u64,
    /// Devices forgotten because there were too many that were only seen.
    pub crowded_out: u64,
    /// Sightings put into quarantine.
    pub contradicted: u64,
    /// Events that were not written down, because too many waited for it.
    pub events_lost: u64,
}

/// What came of a sighting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighted {
    /// Whose it was; none if it named nobody or was not taken.
    pub member: Option<MemberId>,
    /// Whether the device was never seen before.
    pub is_new: bool,
    /// Whether it was the device itself, as far as can be told: it came with its
    /// login or token and from its own hardware; or nobody is enrolled under its
    /// identities, and a claim is all there is.
    pub is_itself: bool,
    /// Whether something is known now that was not.
    pub changed: bool,
    /// What happened to the member by it.
    pub events: Vec<What>,
    /// The contradiction that it was put into quarantine for.
    pub conflict: Option<ConflictId>,
    /// It would have been a new device, but too many came from its address.
    pub dropped: bool,
}

/// An enrolment, as far as it tells which device is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its name.
    pub name: DeviceName,
    /// Which firmware it was added for.
    pub family: Family,
    /// Its hardware address, once known.
    pub mac: Option<MacAddress>,
    /// Its client identifier.
    pub client_id: Text,
    /// Where its topics grow.
    pub topic: Text,
    /// Its tags.
    pub tags: Vec<Text>,
    /// When it was added, in seconds since 1970.
    pub created: u64,
}

/// What is to be written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Members that are new or changed, as they are now.
    pub members: Vec<Member>,
    /// Members that are no more.
    pub removed: Vec<MemberId>,
    /// What happened to them.
    pub events: Vec<(MemberId, Event)>,
    /// Contradictions that are new or changed.
    pub conflicts: Vec<Conflict>,
    /// Contradictions that are settled or crowded out.
    pub settled: Vec<ConflictId>,
}

impl Dirty {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.removed.is_empty()
            && self.events.is_empty()
            && self.conflicts.is_empty()
            && self.settled.is_empty()
    }
}

impl Roster {
    /// An empty one. `seed` keeps strangers from choosing identities that meet
    /// in the index; nothing else depends on it.
    pub fn new(limits: RosterLimits, seed: u64) -> Roster {
        Roster {
            limits,
            table: Table::new(seed),
            names: BTreeMap::new(),
            seen: BTreeSet::new(),
            pinned: BTreeMap::new(),
            quarantine: Quarantine::default(),
            flood: Flood::default(),
            next_id: 1,
            dirty: VecDeque::new(),
            removed: Vec::new(),
            events: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes up a member that was written down. It counts as not connected
    /// until it shows up. Of an identity that two of them have, who has proved it
    /// keeps it, else the first that is loaded, as with names.
    pub fn load(&mut self, mut member: Member) {
        let id = member.id;
        if self.table.get(id).is_some() {
            return;
        }
        self.next_id = self.next_id.max(id.0 + 1);
        member.facts.online = None;
        // What passed from one to the other as the server died may be with both.
        let mut passed = Vec::new();
        member
            .identities
            .retain(|known| match self.table.owner(&known.identity) {
                None => true,
                Some(holder) if known.proved && !self.holds_by_proof(holder, &known.identity) => {
                    passed.push((holder, known.identity.clone()));
                    true
                }
                Some(_) => false,
            });
        for (holder, identity) in passed {
            self.table.detach(holder, &identity);
            self.mark_dirty(holder);
        }
        member
            .enrolment
            .take_if(|name| self.names.contains_key(name));
        self.put(member);
    }

    /// Takes up a contradiction that was written down.
    pub fn load_conflict(&mut self, conflict: Conflict) {
        self.quarantine.load(conflict);
    }

    /// Numbers below `next` were given before and are not given again.
    pub fn reserve_ids(&mut self, next: u64) {
        self.next_id = self.next_id.max(next);
    }

    /// Other limits from now on. Who is too many goes with the next newcomer.
    pub fn set_limits(&mut self, limits: RosterLimits) {
        self.limits = limits;
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of them are enrolled.
    pub fn enrolled(&self) -> usize {
        self.names.len()
    }

    /// What could not be taken so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The member with this number.
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.table.get(id)
    }

    /// The member that is enrolled under this name.
    pub fn by_name(&self, name: &str) -> Option<&Member> {
        let name = DeviceName::new(name).ok()?;
        self.get(*self.names.get(&name)?)
    }

    /// The member that has this identity.
    pub fn by_identity(&self, identity: &Identity) -> Option<&Member> {
        self.get(self.table.owner(identity)?)
    }

    /// The member with this hardware address, or one derived from the same
    /// base, as those of a chip's other interfaces are.
    pub fn by_mac(&self, mac: MacAddress) -> Option<&Member> {
        self.get(self.owner_of_mac(mac)?.0)
    }

    /// Links an enrolment to its device: the one that was enrolled under this
    /// name before, else one that was only seen under its hardware address,
    /// client identifier or topic, else a new entry. Returns its number.
    pub fn enrol(&mut self, enrolment: &Enrolment, now: u64) -> MemberId {
        let mut identities: Vec<Identity> = Vec::new();
        identities.extend(enrolment.mac.and_then(Identity::mac));
        identities.extend(Identity::client_id(&enrolment.client_id));
        identities.extend(Identity::topic(&enrolment.topic));
        let known = self.names.get(&enrolment.name).copied();
        let id = known.unwrap_or_else(|| {
            let seen = identities
                .iter()
                .filter_map(|identity| self.table.owner(identity))
                .find(|owner| self.may_become(*owner, enrolment));
            let id = seen.unwrap_or_else(|| {
                self.add(Member::new(
                    self.next(),
                    enrolment.created,
                    Source::Operator,
                ))
            });
            self.link(id, &enrolment.name, now);
            id
        });
        for identity in identities {
            self.replace_hardware(id, &identity);
            // That an enrolment brings its own identities is no news.
            let mut quiet = Sighted {
                is_new: true,
                ..Sighted::default()
            };
            self.prove(id, &identity, now, &mut quiet);
        }
        self.edit(id, |member| {
            let family = Some(enrolment.family);
            let mut changed = false;
            if member.facts.family.is_none() {
                member.facts.family = family;
                changed = true;
            }
            let mut tags = enrolment.tags.clone();
            tags.truncate(limits::MAX_TAGS);
            if member.tags != tags {
                member.tags = tags;
                changed = true;
            }
            changed
        });
        id
    }

    /// Whether the enrolment can be that of a device which was only seen.
    fn may_become(&self, id: MemberId, enrolment: &Enrolment) -> bool {
        let Some(member) = self.get(id) else {
            return false;
        };
        let family_fits = member
            .family()
            .is_none_or(|family| family == enrolment.family || enrolment.family == Family::Plain);
        let mac_fits = match (member.mac(), enrolment.mac) {
            (Some(_), Some(mac)) => facts::has_mac(member, mac),
            _ => true,
        };
        member.enrolment.is_none() && family_fits && mac_fits
    }

    fn link(&mut self, id: MemberId, name: &DeviceName, now: u64) {
        let Some(member) = self.get(id) else { return };
        self.seen.remove(&(self.table.queued_at(id), member.id));
        self.names.insert(name.clone(), id);
        let what = What::Enrolled { name: name.clone() };
        self.edit(id, |member| {
            member.enrolment = Some(name.clone());
            true
        });
        self.happened(id, now, what);
    }

    /// Unlinks an enrolment that is no more. The device stays as one that was
    /// seen; what it had proved are claims from now on.
    pub fn release(&mut self, name: &str, now: u64) -> Option<MemberId> {
        let name = DeviceName::new(name).ok()?;
        let id = self.names.remove(&name)?;
        self.edit(id, |member| {
            member.enrolment = None;
            member.proved_facts = 0;
            member.tags = Vec::new();
            for known in &mut member.identities {
                known.proved = false;
            }
            if let Some(from) = &mut member.came_from {
                from.proved = false;
            }
            true
        });
        self.happened(id, now, What::Released { name });
        self.queue_as_seen(id);
        Some(id)
    }

    /// The names that are enrolled, in order.
    pub fn names(&self) -> impl Iterator<Item = (&DeviceName, MemberId)> {
        self.names.iter().map(|(name, id)| (name, *id))
    }

    /// Replaces what an operator has set for it. Whether there is such a member.
    pub fn set(&mut self, id: MemberId, set: Set) -> bool {
        self.edit(id, |member| {
            let set = (set != Set::default()).then(|| set.into());
            let changed = member.set != set;
            member.set = set;
            changed
        })
    }

    /// Notes that it was told an address of ours.
    pub fn told(&mut self, id: MemberId, address: &str, now: u64) -> bool {
        self.edit(id, |member| {
            if let Some(told) = member.told.iter_mut().find(|t| *t.address == *address) {
                // Told with every check: worth a row once an hour.
                let old = now.saturating_sub(told.at) >= 3600;
                if old {
                    told.at = now;
                }
                return old;
            }
            if member.told.len() >= limits::MAX_TOLD {
                member.told.remove(0);
            }
            member.told.push(Told {
                address: address.into(),
                at: now,
            });
            true
        })
    }

    /// Notes that we have written this image into a slot of it; until the device
    /// says what it runs, that is all we know. An image that tells no version of
    /// its own takes none from a slot that the device runs: it has come back and
    /// said so itself.
    pub fn installed(&mut self, id: MemberId, slot: Slot, image: Installed, now: u64) -> bool {
        let mut image = image;
        image.confidence = Confidence::InstalledByUs;
        image.at = now;
        let Some(member) = self.get(id) else {
            return false;
        };
        let runs = member.facts.running.unwrap_or(Slot::Main) == slot;
        let known = member.facts.image(slot);
        if runs && image.version.is_none() && known.is_some_and(|known| is_told(known, &image)) {
            return true;
        }
        let before = known.and_then(|known| known.version.clone());
        let to = image.version.clone();
        let known = self.edit(id, |member| {
            member.facts.images.retain(|(of, _)| *of != slot);
            member.facts.images.reserve_exact(1);
            member.facts.images.push((slot, image));
            true
        });
        if known && before != to {
            let from = before;
            self.happened(id, now, What::Version { slot, from, to });
        }
        known
    }

    /// Notes something that another part of the server did with it; of a text of
    /// more than [`limits::MAX_NOTE`] bytes the beginning.
    pub fn note(&mut self, id: MemberId, text: &str, now: u64) {
        let text = text[..text.floor_char_boundary(limits::MAX_NOTE)].into();
        self.happened(id, now, What::Note { text });
    }

    /// Keeps a device that was only seen from being forgotten or joined to
    /// another, as long as somebody counts on it (an open offer). Each call wants
    /// its [`Roster::unpin`]; nothing of this is written down.
    pub fn pin(&mut self, id: MemberId) {
        *self.pinned.entry(id).or_default() += 1;
        self.seen.remove(&(self.table.queued_at(id), id));
    }

    /// Nobody counts on it any more, once this was called as often as
    /// [`Roster::pin`].
    pub fn unpin(&mut self, id: MemberId) {
        let Some(count) = self.pinned.get_mut(&id) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.pinned.remove(&id);
        if self
            .get(id)
            .is_some_and(|member| member.enrolment.is_none())
        {
            self.queue_as_seen(id);
        }
    }

    /// Whether somebody counts on it.
    pub fn is_pinned(&self, id: MemberId) -> bool {
        self.pinned.contains_key(&id)
    }

    /// Forgets a device that was only seen. An enrolment is released first, and
    /// what somebody counts on stays. Whether it is gone.
    pub fn forget(&mut self, id: MemberId) -> bool {
        let free = self
            .get(id)
            .is_some_and(|member| member.enrolment.is_none());
        free && !self.is_pinned(id) && self.remove(id).is_some()
    }

    /// Forgets devices that were only seen, and not for long: at most `most` of
    /// them at once. Returns how many.
    pub fn expire(&mut self, now: u64, most: usize) -> usize {
        let mut forgotten = 0;
        for _ in 0..most {
            let Some(&(queued, id)) = self.seen.first() else {
                break;
            };
            if queued.saturating_add(self.limits.forget_unseen) > now {
                break;
            }
            if self.queue_again(queued, id) {
                continue;
            }
            self.remove(id);
            forgotten += 1;
        }
        forgotten
    }

    /// What contradicts what is known, newest first.
    pub fn quarantine(&self) -> Vec<&Conflict> {
        self.quarantine.newest_first()
    }

    /// One contradiction.
    pub fn conflict(&self, id: ConflictId) -> Option<&Conflict> {
        self.quarantine.get(id)
    }

    /// Whether another board has shown up under the login of this device, and
    /// nobody has settled yet which one it is.
    pub fn is_contested(&self, id: MemberId) -> bool {
        self.quarantine.is_contested(id)
    }

    /// Settles a contradiction as a person says.
    ///
    /// # Errors
    /// It is no more, or its holder or claimant is.
    pub fn settle(&mut self, id: ConflictId, how: Settle, now: u64) -> Result<(), SettleError> {
        let conflict = self.quarantine.get(id).ok_or(SettleError::NoConflict)?;
        let identity = conflict.identity.clone();
        let holder = conflict.holder;
        let claimant = conflict.claimant;
        match how {
            Settle::Keep => {}
            Settle::Pass => {
                let to = match claimant {
                    Some(claimant) => {
                        self.get(claimant).ok_or(SettleError::NoClaimant)?;
                        claimant
                    }
                    // The holder itself, with other hardware than before.
                    None => {
                        self.get(holder).ok_or(SettleError::NoHolder)?;
                        holder
                    }
                };
                self.give(to, &identity, now);
            }
        }
        self.quarantine.remove(id);
        Ok(())
    }

    /// At most `most` members that are to be written down, and all else that is.
    /// They count as written from now on; [`Roster::put_back`] if they were not.
    pub fn take_dirty(&mut self, most: usize) -> Dirty {
        let mut members = Vec::new();
        while members.len() < most {
            let Some(id) = self.dirty.pop_front() else {
                break;
            };
            members.extend(self.table.clean(id));
        }
        let (conflicts, settled) = self.quarantine.take_dirty();
        Dirty {
            members,
            removed: core::mem::take(&mut self.removed),
            events: core::mem::take(&mut self.events),
            conflicts,
            settled,
        }
    }

    /// This could not be written down and is to be taken again.
    pub fn put_back(&mut self, unwritten: Dirty) {
        for member in &unwritten.members {
            self.mark_dirty(member.id);
        }
        self.removed.extend(unwritten.removed);
        // In their order, before what has happened since.
        let later = core::mem::replace(&mut self.events, unwritten.events);
        for (id, event) in later {
            self.log(id, event);
        }
        self.quarantine
            .put_back(&unwritten.conflicts, unwritten.settled);
    }

    /// This member is to be written down again.
    fn mark_dirty(&mut self, id: MemberId) {
        if self.table.soil(id) {
            self.dirty.push_back(id);
        }
    }

    /// How many members are to be written down.
    pub fn dirty(&self) -> usize {
        self.dirty.len() + self.removed.len()
    }

    // What the parts build on.

    fn next(&self) -> MemberId {
        MemberId(self.next_id)
    }

    /// Adds a member that is new, to be written down.
    fn add(&mut self, member: Member) -> MemberId {
        let id = member.id;
        self.next_id = self.next_id.max(id.0 + 1);
        let first = member.events.back().cloned();
        self.put(member);
        self.mark_dirty(id);
        if let Some(event) = first {
            self.log(id, event);
        }
        id
    }

    fn put(&mut self, member: Member) {
        let id = member.id;
        let enrolment = member.enrolment.clone();
        self.table.insert(member);
        match enrolment {
            Some(name) => {
                self.names.insert(name, id);
            }
            None => self.queue_as_seen(id),
        }
    }

    /// Changes a member and keeps the indices right. `edit` says whether it
    /// changed something worth writing down. Whether there is such a member.
    fn edit(&mut self, id: MemberId, edit: impl FnOnce(&mut Member) -> bool) -> bool {
        match self.table.edit(id, edit) {
            Some(true) => {
                self.mark_dirty(id);
                true
            }
            Some(false) => true,
            None => false,
        }
    }

    fn happened(&mut self, id: MemberId, at: u64, what: What) {
        let event = Event {
            at,
            what: what.clone(),
        };
        if self.edit(id, |member| {
            member.note(at, what);
            true
        }) {
            self.log(id, event);
        }
    }

    fn log(&mut self, id: MemberId, event: Event) {
        if self.events.len() < limits::MAX_WAITING_EVENTS {
            self.events.push((id, event));
        } else {
            self.counts.events_lost += 1;
        }
    }

    fn remove(&mut self, id: MemberId) -> Option<Member> {
        self.seen.remove(&(self.table.queued_at(id), id));
        let member = self.table.remove(id)?;
        if let Some(name) = &member.enrolment {
            self.names.remove(name);
        }
        self.quarantine.forget_member(id);
        self.removed.push(id);
        Some(member)
    }

    fn queue_as_seen(&mut self, id: MemberId) {
        if self.is_pinned(id) {
            return;
        }
        if let Some(at) = self.table.queue(id) {
            self.seen.insert((at, id));
        }
    }

    /// Puts a member that was seen since it was queued where it belongs.
    fn queue_again(&mut self, queued: u64, id: MemberId) -> bool {
        let seen = self.get(id).map(|member| member.last_seen);
        if seen.is_none_or(|seen| seen <= queued) {
            return false;
        }
        self.seen.remove(&(queued, id));
        self.queue_as_seen(id);
        true
    }

    /// Makes room for one more that is only seen.
    fn make_room(&mut self) {
        while self.seen.len() >= self.limits.max_seen.max(1) {
            let Some(&(queued, id)) = self.seen.first() else {
                break;
            };
            if self.queue_again(queued, id) {
                continue;
            }
            self.remove(id);
            self.counts.crowded_out += 1;
        }
    }

    /// Gives an identity to a member, whoever has it.
    fn give(&mut self, to: MemberId, identity: &Identity, now: u64) {
        self.take_away(identity, to, now);
        self.replace_hardware(to, identity);
        self.table.attach(
            to,
            Known {
                identity: identity.clone(),
                proved: true,
                first: now,
                last: now,
            },
        );
        self.mark_dirty(to);
    }

    /// An operator says that a member has this hardware: what it had before, it
    /// has no more.
    fn replace_hardware(&mut self, id: MemberId, identity: &Identity) {
        let (Identity::Mac(mac), Some(member)) = (identity, self.get(id)) else {
            return;
        };
        if facts::has_mac(member, *mac) {
            return;
        }
        let old: Vec<Identity> = member
            .identities
            .iter()
            .filter(|known| known.identity.kind() == IdentityKind::Mac)
            .map(|known| known.identity.clone())
            .collect();
        for identity in old {
            self.table.detach(id, &identity);
        }
    }

    /// Takes an identity from whoever but `to` has it.
    fn take_away(&mut self, identity: &Identity, to: MemberId, now: u64) {
        let Some(from) = self.table.owner(identity).filter(|from| *from != to) else {
            return;
        };
        self.table.detach(from, identity);
        self.mark_dirty(from);
        let what = What::Passed {
            identity: identity.clone(),
            from,
            to,
        };
        self.happened(from, now, what.clone());
        self.happened(to, now, what);
    }
}

#[cfg(test)]
mod tests;
