//! One sighting into one member.

use alloc::vec::Vec;

use super::facts::{self, Weight, has_mac, has_other, has_proved, has_row};
use super::quarantine::{Conflict, ConflictId, Why};
use super::table::known;
use super::{Roster, Sighted};
use crate::member::{CameFrom, Known, Member, MemberId, What};
use crate::sighting::{Identity, IdentityKind, Proof, Sighting, Source};
use crate::{MacAddress, limits};

impl Roster {
    /// Folds a sighting into the member that it is of, or makes a new one.
    ///
    /// A few microseconds, however many members there are.
    pub fn sight(&mut self, sighting: &Sighting) -> Sighted {
        let identities = usable(sighting);
        let mut sighted = Sighted::default();
        let proved = match &sighting.proof {
            Proof::Login(name) => self.names.get(name).copied(),
            Proof::Token(id) => self.get(*id).map(|member| member.id),
            Proof::Claim => None,
        };
        let is_other_hardware =
            proved.is_some_and(|id| !self.is_its_hardware(id, &identities, sighting));
        let member = match proved {
            Some(id) if is_other_hardware => {
                self.contradict_hardware(id, &identities, sighting, &mut sighted);
                // What a login says in its own topics is the device's, whatever
                // board it runs on. A token may have been handed on.
                matches!(sighting.proof, Proof::Login(_)).then_some(id)
            }
            Some(id) => {
                for identity in &identities {
                    self.prove_or_contradict(id, identity, sighting, &mut sighted);
                }
                Some(id)
            }
            None => self.claimed(&identities, sighting, &mut sighted),
        };
        if let Some(id) = member {
            sighted.member = Some(id);
            sighted.is_itself = match proved {
                Some(_) => !is_other_hardware,
                None => !self.is_enrolled(id),
            };
            self.take_in(id, sighting, proved.is_some(), &mut sighted);
        }
        sighted
    }

    // With proof.

    /// Whether the hardware address that it shows is the one that is known.
    fn is_its_hardware(&self, id: MemberId, shown: &[Identity], sighting: &Sighting) -> bool {
        let Some(member) = self.get(id) else {
            return true;
        };
        let Some(mac) = first_mac(shown) else {
            return true;
        };
        let sure = match sighting.proof {
            // An address that was only claimed gives way to the login's.
            Proof::Login(_) => has_proved(member, IdentityKind::Mac),
            _ => member.mac().is_some(),
        };
        !sure || has_mac(member, mac)
    }

    fn contradict_hardware(
        &mut self,
        id: MemberId,
        shown: &[Identity],
        sighting: &Sighting,
        sighted: &mut Sighted,
    ) {
        let Some(mac) = first_mac(shown) else { return };
        let identity = Identity::Mac(mac);
        let why = match sighting.proof {
            Proof::Login(_) => Why::OtherHardware,
            _ => Why::OthersToken,
        };
        let claimant = self.table.owner(&identity).filter(|owner| *owner != id);
        self.contradict(&identity, id, claimant, why, sighting, sighted);
    }

    fn prove_or_contradict(
        &mut self,
        id: MemberId,
        identity: &Identity,
        sighting: &Sighting,
        sighted: &mut Sighted,
    ) {
        let owner = self.table.owner(identity).filter(|owner| *owner != id);
        if let Some(holder) = owner
            && self.holds_by_proof(holder, identity)
        {
            let why = Why::ProvedTwice;
            self.contradict(identity, holder, Some(id), why, sighting, sighted);
            return;
        }
        self.prove(id, identity, sighting.at, sighted);
    }

    /// Whether it proved this identity, and uses it still.
    pub(super) fn holds_by_proof(&self, holder: MemberId, identity: &Identity) -> bool {
        self.get(holder)
            .and_then(|member| known(member, identity))
            .is_some_and(|known| known.proved)
    }

    /// Gives the member an identity that it has proved. Who only claimed it
    /// loses it, and is the same device if nothing speaks against it.
    pub(super) fn prove(
        &mut self,
        id: MemberId,
        identity: &Identity,
        at: u64,
        sighted: &mut Sighted,
    ) {
        if let Some(other) = self.table.owner(identity).filter(|owner| *owner != id) {
            if self.may_join(other, id) {
                self.join(other, id, at, sighted);
            } else if self.holds_by_proof(other, identity) {
                // Two enrolments that name the same: the first keeps it.
                return;
            } else {
                self.take_away(identity, id, at);
                self.quarantine.passed(identity, other);
            }
        }
        if identity.kind() == IdentityKind::Mac {
            self.drop_claimed_macs(id, identity);
        }
        self.gain(id, identity, true, at, sighted);
    }

    /// A hardware address that is proved puts an end to others that were only
    /// claimed, unless they are of the same chip.
    fn drop_claimed_macs(&mut self, id: MemberId, proved: &Identity) {
        let Identity::Mac(mac) = *proved else { return };
        let Some(member) = self.get(id) else { return };
        if has_mac(member, mac) {
            return;
        }
        let wrong: Vec<Identity> = member
            .identities
            .iter()
            .filter(|known| !known.proved && known.identity.kind() == IdentityKind::Mac)
            .map(|known| known.identity.clone())
            .collect();
        for identity in wrong {
            self.table.detach(id, &identity);
        }
    }

    // Without proof.

    /// Whose a claim is. Makes a new member if it names nobody that is known.
    fn claimed(
        &mut self,
        identities: &[Identity],
        sighting: &Sighting,
        sighted: &mut Sighted,
    ) -> Option<MemberId> {
        let strongest = identities.first()?;
        let subject = match strongest {
            Identity::Mac(mac) => self.by_hardware(*mac, identities, sighting),
            _ => identities
                .iter()
                .find_map(|identity| self.table.owner(identity)),
        };
        let subject = match subject {
            Some(id) => id,
            None => self.newcomer(identities, sighting, sighted)?,
        };
        let subject = identities.iter().fold(subject, |subject, identity| {
            self.claim(subject, identity, sighting, sighted)
        });
        Some(subject)
    }

    /// The member with this hardware address, or one whose address is not known
    /// yet and that has another of these identities.
    fn by_hardware(
        &self,
        mac: MacAddress,
        identities: &[Identity],
        sighting: &Sighting,
    ) -> Option<MemberId> {
        let exact = self.table.owner(&Identity::Mac(mac));
        let relative = || {
            let twin = self.table.owner(&Identity::Mac(mac.twin()));
            twin.or_else(|| {
                let said = has_row(sighting.facts.chip, sighting.facts.family);
                let mut owners = mac.siblings().into_iter().filter_map(|sibling| {
                    let id = self.table.owner(&Identity::Mac(sibling))?;
                    let member = self.get(id)?;
                    (said || has_row(member.chip(), member.family())).then_some(id)
                });
                owners.next()
            })
        };
        let without = || {
            let owners = identities[1..].iter().filter_map(|identity| {
                let id = self.table.owner(identity)?;
                let open = self.is_open(id, identity, sighting);
                (open && self.get(id)?.mac().is_none()).then_some(id)
            });
            owners.into_iter().next()
        };
        exact.or_else(relative).or_else(without)
    }

    /// The member with this hardware address or one of the same chip, and
    /// whether it is exactly this.
    pub(super) fn owner_of_mac(&self, mac: MacAddress) -> Option<(MemberId, bool)> {
        let exact = self.table.owner(&Identity::Mac(mac));
        if let Some(id) = exact {
            return Some((id, true));
        }
        let empty = Sighting::new(0, Source::Operator, Proof::Claim);
        let id = self.by_hardware(mac, &[Identity::Mac(mac)], &empty)?;
        Some((id, false))
    }

    fn newcomer(
        &mut self,
        identities: &[Identity],
        sighting: &Sighting,
        sighted: &mut Sighted,
    ) -> Option<MemberId> {
        // What the broker has kept is bounded there.
        let free = sighting.source == Source::Retained || sighting.source == Source::Operator;
        let limit = self.limits.new_per_address;
        if !free && !self.flood.admits(sighting.peer, sighting.at, limit) {
            self.counts.flooded += 1;
            sighted.dropped = true;
            return None;
        }
        // Nothing that is free: everything it names is another's.
        let named = identities
            .iter()
            .any(|identity| self.table.owner(identity).is_none());
        if !named {
            let identity = identities.first()?;
            let holder = self.table.owner(identity)?;
            self.contradict(identity, holder, None, Why::Claimed, sighting, sighted);
            return None;
        }
        self.make_room();
        let member = Member::new(self.next(), sighting.at, sighting.source);
        sighted.is_new = true;
        sighted.events.push(What::FirstSeen {
            source: sighting.source,
        });
        Some(self.add(member))
    }

    /// Adds a claimed identity to the member, if it is free. Returns the member,
    /// which is another one if the two turn out to be the same device.
    fn claim(
        &mut self,
        id: MemberId,
        identity: &Identity,
        sighting: &Sighting,
        sighted: &mut Sighted,
    ) -> MemberId {
        let at = sighting.at;
        let Some(holder) = self.table.owner(identity).filter(|holder| *holder != id) else {
            if self.speaks_against(id, identity) {
                let why = Why::Claimed;
                self.contradict(identity, id, None, why, sighting, sighted);
            } else {
                self.gain(id, identity, false, at, sighted);
            }
            return id;
        };
        let open = self.is_open(holder, identity, sighting);
        if self.may_join(holder, id) {
            self.join(holder, id, at, sighted);
            self.gain(id, identity, false, at, sighted);
        } else if open && self.may_join(id, holder) {
            self.join(id, holder, at, sighted);
            self.gain(holder, identity, false, at, sighted);
            return holder;
        } else if self.has_moved_on(holder, identity) {
            self.take_away(identity, id, at);
            self.quarantine.passed(identity, holder);
            self.gain(id, identity, false, at, sighted);
        } else {
            let why = Why::Claimed;
            self.contradict(identity, holder, Some(id), why, sighting, sighted);
        }
        id
    }

    /// Whether a claim of this identity may add to what is known of its holder.
    /// A stranger could otherwise hang its address on a device that has not
    /// shown its own yet; a message has passed the broker's rights.
    fn is_open(&self, holder: MemberId, identity: &Identity, sighting: &Sighting) -> bool {
        !self.is_enrolled(holder)
            || identity.kind().is_strong()
            || matches!(sighting.source, Source::Message | Source::Retained)
    }

    fn is_enrolled(&self, id: MemberId) -> bool {
        self.get(id)
            .is_some_and(|member| member.enrolment.is_some())
    }

    /// Whether the member is known by another value of a kind of which a device
    /// has one only. (A new UUID under the same hardware address is no
    /// contradiction: the flash was erased.)
    fn speaks_against(&self, id: MemberId, identity: &Identity) -> bool {
        let Some(member) = self.get(id) else {
            return false;
        };
        match identity {
            Identity::Serial(_) => known(member, identity).is_none() && has_other(member, identity),
            Identity::Uuid(_) => {
                known(member, identity).is_none()
                    && has_other(member, identity)
                    && member.mac().is_none()
            }
            _ => false,
        }
    }

    /// Whether it was only claimed by a device that goes by another of its kind
    /// now: it was renamed, and the name is free.
    fn has_moved_on(&self, holder: MemberId, identity: &Identity) -> bool {
        let kind = identity.kind();
        let Some(member) = self.get(holder).filter(|_| !kind.is_strong()) else {
            return false;
        };
        let newest = member.newest(kind);
        known(member, identity).is_some_and(|known| {
            !known.proved && newest.is_some_and(|newest| newest.last > known.last)
        })
    }

    // Both.

    /// Whether `one` was only seen, proved nothing, is not counted on, and can be the same device
    /// as `other`: nothing that tells devices apart differs.
    fn may_join(&self, one: MemberId, other: MemberId) -> bool {
        let (Some(one), Some(other)) = (self.get(one), self.get(other)) else {
            return false;
        };
        let bare = one.enrolment.is_none()
            && !self.is_pinned(one.id)
            && one.set.is_none()
            && one.identities.iter().all(|known| !known.proved);
        let hardware = match (one.mac(), other.mac()) {
            (Some(mac), Some(_)) => has_mac(other, mac),
            _ => true,
        };
        let alike = [IdentityKind::Serial, IdentityKind::Uuid]
            .into_iter()
            .all(|kind| match (one.newest(kind), other.newest(kind)) {
                (Some(one), Some(other)) => one.identity == other.identity,
                _ => true,
            });
        let family = match (one.family(), other.family()) {
            (Some(one), Some(other)) => one == other || other == crate::Family::Plain,
            _ => true,
        };
        bare && hardware && alike && family
    }

    /// Joins an entry that was only seen to the member that it turned out to be.
    fn join(&mut self, bare: MemberId, to: MemberId, at: u64, sighted: &mut Sighted) {
        let Some(gone) = self.remove(bare) else {
            return;
        };
        for known in &gone.identities {
            self.table.attach(to, known.clone());
        }
        self.edit(to, |member| {
            member.first_seen = member.first_seen.min(gone.first_seen);
            member.last_seen = member.last_seen.max(gone.last_seen);
            // What the other knew counts where nothing is known here, and is no proof.
            let own = core::mem::take(&mut member.facts);
            let proved = core::mem::take(&mut member.proved_facts);
            facts::learn(member, &gone.facts, Weight::Usual, gone.last_seen);
            facts::learn(member, &own, Weight::Usual, at);
            member.proved_facts = proved;
            member.came_from = member.came_from.or(gone.came_from);
            true
        });
        let what = What::Joined { with: bare };
        sighted.events.push(what.clone());
        sighted.changed = true;
        self.happened(to, at, what);
    }

    /// The member has this identity now, which nobody else has.
    fn gain(
        &mut self,
        id: MemberId,
        identity: &Identity,
        proved: bool,
        at: u64,
        sighted: &mut Sighted,
    ) {
        let Some(member) = self.get(id) else { return };
        let before = known(member, identity).map(|known| known.proved);
        let mut what = None;
        if before.is_none() {
            let old = member.newest(identity.kind());
            what = Some(match (old.map(|known| &known.identity), identity) {
                (Some(Identity::Uuid(from)), Identity::Uuid(to)) => What::Erased {
                    from: from.clone(),
                    to: to.clone(),
                },
                _ => What::Identified {
                    identity: identity.clone(),
                },
            });
            // Of these a device has one at a time. What it has proved stands
            // until it proves the next.
            let over: Vec<Identity> = member
                .identities
                .iter()
                .filter(|known| known.identity.kind() == identity.kind())
                .filter(|_| matches!(identity, Identity::Uuid(_) | Identity::Serial(_)))
                .filter(|known| proved || !known.proved)
                .map(|known| known.identity.clone())
                .collect();
            for old in over {
                self.table.detach(id, &old);
            }
        }
        self.table.attach(
            id,
            Known {
                identity: identity.clone(),
                proved,
                first: at,
                last: at,
            },
        );
        if before.is_none() || proved && before == Some(false) {
            sighted.changed = true;
            self.mark_dirty(id);
        }
        if let Some(what) = what {
            // What a newcomer brings is no news of its own.
            if !sighted.is_new {
                sighted.events.push(what.clone());
                self.happened(id, at, what);
            }
        }
    }

    /// Facts, address and time.
    fn take_in(&mut self, id: MemberId, sighting: &Sighting, proved: bool, sighted: &mut Sighted) {
        let at = sighting.at;
        let enrolled = self.is_enrolled(id);
        let usual = match sighting.source {
            // Anybody can send a check with the address of a device that has a login.
            Source::Check => !enrolled,
            Source::Web | Source::Operator => true,
            _ => false,
        };
        // Whether it was the device itself, as far as can be told.
        let counts = sighting.source != Source::Retained && (proved || !enrolled || usual);
        let weight = match (proved, usual) {
            (true, _) => Weight::Proved,
            (false, true) => Weight::Usual,
            (false, false) => Weight::Claimed,
        };
        let came_from = sighting.peer.map(|ip| CameFrom {
            ip: ip.to_canonical(),
            at,
            proved,
        });
        let fetches = sighting.source == Source::Download;
        let mut moved = None;
        let mut learnt = facts::Learnt::default();
        let old = self.table.seen(id, |member| {
            if counts {
                // Sightings overtake each other by seconds. More than that is a clock that
                // was set back, and what it said before would stand for ever.
                if at >= member.last_seen || member.last_seen - at > CLOCK_SET_BACK {
                    member.last_seen = at;
                }
                member.last_source = sighting.source;
            }
            let Some(new) = came_from.filter(|_| counts) else {
                return;
            };
            match &mut member.came_from {
                // Where a device has proved to be, a claim does not change, nor does whoever has
                // got hold of an address that it was told to fetch from.
                Some(known) if known.proved && (!proved || fetches) && known.ip != new.ip => {}
                Some(known) if known.ip == new.ip => {
                    known.at = at;
                    known.proved |= proved;
                }
                known => moved = Some(known.replace(new).map(|old| old.ip)),
            }
        });
        if sighting.facts != crate::Facts::default() || moved.is_some() {
            self.table.edit(id, |member| {
                learnt = facts::learn(member, &sighting.facts, weight, at);
                learnt.changed || moved.is_some()
            });
        }
        if old || learnt.changed || moved.is_some() {
            self.mark_dirty(id);
        }
        sighted.changed |= learnt.changed || moved.is_some();
        if let (Some(Some(from)), Some(new)) = (moved, came_from) {
            learnt.events.push(What::Moved { from, to: new.ip });
        }
        for what in learnt.events {
            if !sighted.is_new {
                self.happened(id, at, what.clone());
            }
            sighted.events.push(what);
        }
    }

    fn contradict(
        &mut self,
        identity: &Identity,
        holder: MemberId,
        claimant: Option<MemberId>,
        why: Why,
        sighting: &Sighting,
        sighted: &mut Sighted,
    ) {
        self.counts.contradicted += 1;
        let conflict = Conflict {
            id: ConflictId(0),
            identity: identity.clone(),
            holder,
            claimant,
            peer: sighting.peer,
            why,
            first: sighting.at,
            last: sighting.at,
            count: 1,
            sighting: alloc::boxed::Box::new(sighting.clone()),
        };
        if let Some(known) = self.quarantine.repeat(&conflict) {
            sighted.conflict = Some(known);
            return;
        }
        let limit = self.limits.new_per_address;
        if !self.flood.admits(sighting.peer, sighting.at, limit) {
            self.counts.flooded += 1;
            return;
        }
        sighted.conflict = Some(self.quarantine.add(conflict));
        let what = What::Contradicted {
            identity: identity.clone(),
        };
        sighted.events.push(what.clone());
        self.happened(holder, sighting.at, what);
    }
}

/// Seconds by which sightings may overtake each other.
const CLOCK_SET_BACK: u64 = 3600;

/// The identities that count, strongest first, each once.
fn usable(sighting: &Sighting) -> Vec<Identity> {
    let all = sighting.identities.iter().take(limits::MAX_SIGHTED);
    let mut usable: Vec<Identity> = all
        .filter(|identity| identity.is_usable())
        .cloned()
        .collect();
    // Of several addresses the first one named is its main one.
    usable.sort_by_key(Identity::kind);
    let mut seen = 0;
    while seen < usable.len() {
        if usable[..seen].contains(&usable[seen]) {
            usable.remove(seen);
        } else {
            seen += 1;
        }
    }
    usable
}

fn first_mac(identities: &[Identity]) -> Option<MacAddress> {
    match identities.first() {
        Some(Identity::Mac(mac)) => Some(*mac),
        _ => None,
    }
}
