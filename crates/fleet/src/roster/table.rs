//! Members by number, with what lookups and filters need beside them.
//!
//! Rows stand in the order of their numbers, so that a page of a list goes on
//! where the last one ended. A filter that few members pass looks at 24 or 56
//! bytes of each, one after the other in memory, and at a member only when those
//! do not rule it out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use super::versions::Versions;
use crate::member::{Known, Member, MemberId};
use crate::query::fold;
use crate::sighting::Identity;
use crate::{Chip, Family, Slot, limits};

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    ids: Vec<u64>,
    rows: Vec<Row>,
    columns: Vec<Column>,
    letters: Vec<Letters>,
    versions: Versions,
    live: usize,
    index: HashTable<Owned>,
    hasher: FixedState,
}

#[derive(Debug)]
struct Row {
    /// None: it was removed.
    member: Option<Box<Member>>,
    dirty: bool,
    /// Its place among those who are only seen.
    queued_at: u64,
    /// What `last_seen` was when it was written down.
    saved_seen: u64,
}

/// An identity's owner. The identity itself stands in the member.
#[derive(Debug)]
struct Owned {
    hash: u64,
    id: MemberId,
}

/// What filters look at first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Column {
    /// One bit for each tag, by its hash.
    pub(super) tags: u64,
    /// Of the main image's version, by its number among [`Versions`].
    pub(super) version: u32,
    /// The same of its safeboot.
    pub(super) safeboot: u32,
    /// When it was last seen, in seconds since 1970.
    pub(super) seen: u32,
    /// Of what it is called, by its hash without case.
    pub(super) name: u32,
    pub(super) family: u8,
    pub(super) chip: u8,
    pub(super) layout: u8,
    pub(super) live: bool,
    pub(super) state: u8,
}

/// It is enrolled.
pub(super) const ENROLLED: u8 = 1;
/// It is connected.
pub(super) const ONLINE: u8 = 2;

/// Which pairs of letters stand in what a text search looks at, by their hash.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Letters([u64; 4]);

impl Table {
    pub(super) fn new(seed: u64) -> Table {
        Table {
            ids: Vec::new(),
            rows: Vec::new(),
            columns: Vec::new(),
            letters: Vec::new(),
            versions: Versions::default(),
            live: 0,
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn get(&self, id: MemberId) -> Option<&Member> {
        self.rows[self.position(id)?].member.as_deref()
    }

    fn position(&self, id: MemberId) -> Option<usize> {
        // Mostly the newest, or nothing was ever removed.
        let guess = usize::try_from(id.0.checked_sub(*self.ids.first()?)?).ok()?;
        if self.ids.get(guess) == Some(&id.0) {
            return Some(guess);
        }
        self.ids.binary_search(&id.0).ok()
    }

    /// Who has this identity.
    pub(super) fn owner(&self, identity: &Identity) -> Option<MemberId> {
        let hash = self.hasher.hash_one(identity);
        let has = |owned: &Owned| {
            owned.hash == hash
                && self
                    .get(owned.id)
                    .is_some_and(|member| known(member, identity).is_some())
        };
        self.index.find(hash, has).map(|owned| owned.id)
    }

    /// Takes in a member. Its identities belong to nobody else.
    pub(super) fn insert(&mut self, member: Member) {
        let id = member.id;
        for known in &member.identities {
            self.own(id, &known.identity);
        }
        let column = Column::of(&member, &Column::default(), &mut self.versions);
        let letters = Letters::of(&member);
        let row = Row {
            dirty: false,
            queued_at: 0,
            saved_seen: member.last_seen,
            member: Some(Box::new(member)),
        };
        self.live += 1;
        // Numbers grow, so this is the end except while members are loaded in
        // no order.
        let at = match self.ids.last() {
            Some(last) if *last >= id.0 => self.ids.partition_point(|before| *before < id.0),
            _ => self.ids.len(),
        };
        if self.ids.get(at) == Some(&id.0) {
            self.rows[at] = row;
            self.columns[at] = column;
            self.letters[at] = letters;
        } else {
            self.ids.insert(at, id.0);
            self.rows.insert(at, row);
            self.columns.insert(at, column);
            self.letters.insert(at, letters);
        }
    }

    pub(super) fn remove(&mut self, id: MemberId) -> Option<Member> {
        let at = self.position(id)?;
        let member = self.rows[at].member.take()?;
        let column = core::mem::take(&mut self.columns[at]);
        for number in [column.version, column.safeboot] {
            self.versions.exchange(number, None);
        }
        for known in &member.identities {
            self.disown(id, &known.identity);
        }
        self.live -= 1;
        let holes = self.ids.len() - self.live;
        if holes > 1024 && holes > self.live {
            self.close_ranks();
        }
        Some(*member)
    }

    fn close_ranks(&mut self) {
        let kept: Vec<bool> = self.rows.iter().map(|row| row.member.is_some()).collect();
        let mut keep = kept.iter();
        self.ids.retain(|_| keep.next().is_some_and(|keep| *keep));
        let mut keep = kept.iter();
        self.columns
            .retain(|_| keep.next().is_some_and(|keep| *keep));
        let mut keep = kept.iter();
        self.letters
            .retain(|_| keep.next().is_some_and(|keep| *keep));
        self.rows.retain(|row| row.member.is_some());
    }

    /// Changes a member without touching its identities; what `edit` returns.
    pub(super) fn edit(
        &mut self,
        id: MemberId,
        edit: impl FnOnce(&mut Member) -> bool,
    ) -> Option<bool> {
        let at = self.position(id)?;
        let member = self.rows[at].member.as_deref_mut()?;
        let changed = edit(member);
        if changed {
            self.columns[at] = Column::of(member, &self.columns[at], &mut self.versions);
            self.letters[at] = Letters::of(member);
        }
        Some(changed)
    }

    /// It was seen now. Whether that is worth writing down: its last time in the
    /// registry is a minute old.
    pub(super) fn seen(&mut self, id: MemberId, seen: impl FnOnce(&mut Member)) -> bool {
        let Some(at) = self.position(id) else {
            return false;
        };
        let row = &mut self.rows[at];
        let Some(member) = row.member.as_deref_mut() else {
            return false;
        };
        seen(member);
        self.columns[at].seen = second(member.last_seen);
        member.last_seen >= row.saved_seen.saturating_add(limits::SEEN_GRAIN)
    }

    /// Gives a member an identity that nobody has, or that it has already. If it
    /// has too many, one makes room.
    pub(super) fn attach(&mut self, id: MemberId, new: Known) {
        let Some(at) = self.position(id) else { return };
        let Some(member) = self.rows[at].member.as_deref_mut() else {
            return;
        };
        if let Some(old) = known_mut(member, &new.identity) {
            old.proved |= new.proved;
            old.last = old.last.max(new.last);
            return;
        }
        let surplus = (member.identities.len() >= limits::MAX_IDENTITIES)
            .then(|| least_wanted(&member.identities))
            .flatten();
        let gone = surplus.map(|index| member.identities.remove(index));
        let identity = new.identity.clone();
        member.identities.reserve_exact(1);
        member.identities.push(new);
        self.letters[at] = Letters::of(member);
        // Who has no name is called by an identity.
        self.columns[at].name = hash_of_name(member);
        if let Some(gone) = gone {
            self.disown(id, &gone.identity);
        }
        self.own(id, &identity);
    }

    /// Takes an identity from a member.
    pub(super) fn detach(&mut self, id: MemberId, identity: &Identity) -> Option<Known> {
        let at = self.position(id)?;
        let member = self.rows[at].member.as_deref_mut()?;
        let index = member
            .identities
            .iter()
            .position(|known| known.identity == *identity)?;
        let known = member.identities.remove(index);
        self.letters[at] = Letters::of(member);
        self.columns[at].name = hash_of_name(member);
        self.disown(id, identity);
        Some(known)
    }

    fn own(&mut self, id: MemberId, identity: &Identity) {
        let hash = self.hasher.hash_one(identity);
        self.index
            .insert_unique(hash, Owned { hash, id }, |owned| owned.hash);
    }

    fn disown(&mut self, id: MemberId, identity: &Identity) {
        let hash = self.hasher.hash_one(identity);
        let entry = self
            .index
            .find_entry(hash, |owned| owned.hash == hash && owned.id == id);
        if let Ok(entry) = entry {
            entry.remove();
        }
    }

    /// Whether it was not yet to be written down.
    pub(super) fn soil(&mut self, id: MemberId) -> bool {
        let Some(at) = self.position(id) else {
            return false;
        };
        let row = &mut self.rows[at];
        row.member.is_some() && !core::mem::replace(&mut row.dirty, true)
    }

    /// The member as it is to be written down.
    pub(super) fn clean(&mut self, id: MemberId) -> Option<Member> {
        let at = self.position(id)?;
        let row = &mut self.rows[at];
        let member = row.member.as_deref()?;
        row.dirty = false;
        row.saved_seen = member.last_seen;
        Some(member.clone())
    }

    pub(super) fn queued_at(&self, id: MemberId) -> u64 {
        self.position(id).map_or(0, |at| self.rows[at].queued_at)
    }

    /// Its new place among those who are only seen.
    pub(super) fn queue(&mut self, id: MemberId) -> Option<u64> {
        let at = self.position(id)?;
        let row = &mut self.rows[at];
        row.queued_at = row.member.as_deref()?.last_seen;
        Some(row.queued_at)
    }

    /// The rows after this number.
    pub(super) fn after(&self, after: Option<MemberId>) -> usize {
        after.map_or(0, |after| self.ids.partition_point(|id| *id <= after.0))
    }

    pub(super) fn versions(&self) -> &Versions {
        &self.versions
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn letters(&self, at: usize) -> &Letters {
        &self.letters[at]
    }

    pub(super) fn at(&self, at: usize) -> Option<&Member> {
        self.rows.get(at)?.member.as_deref()
    }
}

/// What the member knows of an identity.
pub(super) fn known<'m>(member: &'m Member, identity: &Identity) -> Option<&'m Known> {
    let mut all = member.identities.iter();
    all.find(|known| known.identity == *identity)
}

fn known_mut<'m>(member: &'m mut Member, identity: &Identity) -> Option<&'m mut Known> {
    let mut all = member.identities.iter_mut();
    all.find(|known| known.identity == *identity)
}

/// Which identity makes room: a claimed one that is easily replaced, the one
/// longest unused.
fn least_wanted(identities: &[Known]) -> Option<usize> {
    identities
        .iter()
        .enumerate()
        .min_by_key(|(_, known)| {
            let strong = known.identity.kind().is_strong();
            (known.proved, strong, known.last)
        })
        .map(|(index, _)| index)
}

impl Column {
    /// What of a member a question of its family, chip, layout, versions and state depends on.
    pub(super) fn class(&self) -> u128 {
        let bytes = [self.family, self.chip, self.layout, self.state];
        let versions = u128::from(self.version) << 32 | u128::from(self.safeboot);
        bytes
            .iter()
            .fold(versions, |class, byte| class << 8 | u128::from(*byte))
    }

    /// Whose column was `before`: texts that it had there are counted down.
    fn of(member: &Member, before: &Column, versions: &mut Versions) -> Column {
        let safeboot = member.facts.image(Slot::Safeboot);
        let safeboot = safeboot.and_then(|image| image.version.as_deref());
        let mut column = Column {
            tags: 0,
            version: versions.exchange(before.version, member.facts.version()),
            safeboot: versions.exchange(before.safeboot, safeboot),
            seen: second(member.last_seen),
            name: hash_of_name(member),
            family: member.family().map_or(0, number_of_family),
            chip: member.chip().map_or(0, number_of_chip),
            layout: member.layout().map_or(0, |layout| layout as u8 + 1),
            live: true,
            state: 0,
        };
        for tag in &member.tags {
            column.tags |= bit_of_tag(tag);
        }
        if member.enrolment.is_some() {
            column.state |= ENROLLED;
        }
        if member.is_online() {
            column.state |= ONLINE;
        }
        column
    }
}

pub(super) fn number_of_family(family: Family) -> u8 {
    family as u8 + 1
}

pub(super) fn number_of_chip(chip: Chip) -> u8 {
    chip as u8 + 1
}

/// The same for every spelling.
pub(super) fn bit_of_tag(tag: &str) -> u64 {
    1 << (hash_in_any_case(tag) % 64)
}

/// A moment as a [`Column`] has it; beyond the year 2106 all are the same.
pub(super) fn second(moment: u64) -> u32 {
    u32::try_from(moment).unwrap_or(u32::MAX)
}

fn hash_of_name(member: &Member) -> u32 {
    member.with_name(hash_in_any_case)
}

/// FNV-1a of a text without case: no secret, only to pass over most members.
pub(super) fn hash_in_any_case(text: &str) -> u32 {
    text.chars().fold(0x811c_9dc5, |hash, c| {
        (hash ^ u32::from(fold(c))).wrapping_mul(0x0100_0193)
    })
}

impl Letters {
    pub(super) fn of(member: &Member) -> Letters {
        let mut letters = Letters::default();
        searched(member, |text| letters.add(text));
        letters
    }

    /// Of all of them together.
    pub(super) fn in_texts(texts: [Option<&str>; 2]) -> Letters {
        let mut letters = Letters::default();
        texts
            .into_iter()
            .flatten()
            .for_each(|text| letters.add(text));
        letters
    }

    fn add(&mut self, text: &str) {
        let mut before = None;
        for byte in text.bytes() {
            let byte = byte.to_ascii_lowercase();
            if let Some(before) = before {
                let pair = u32::from(before) << 8 | u32::from(byte);
                let bit = pair.wrapping_mul(0x9e37_79b1) >> 24;
                self.0[bit as usize / 64] |= 1 << (bit % 64);
            }
            before = Some(byte);
        }
    }

    /// Whether all pairs of `asked` are here.
    pub(super) fn hold(&self, asked: &Letters) -> bool {
        self.0
            .iter()
            .zip(asked.0)
            .all(|(mine, asked)| mine & asked == asked)
    }
}

/// Every text that a search looks at.
pub(super) fn searched(member: &Member, mut text: impl FnMut(&str)) {
    if let Some(name) = &member.enrolment {
        text(name.as_str());
    }
    let facts = &member.facts;
    for fact in [&facts.label, &facts.hostname].into_iter().flatten() {
        text(fact);
    }
    if let Some(board) = member.board() {
        text(board);
    }
    // Who has neither is called by its first identity, or by its number.
    match member.identities.first().map(|known| &known.identity) {
        None | Some(Identity::CertKey(_)) => member.with_name(&mut text),
        Some(_) => {}
    }
    for known in &member.identities {
        match &known.identity {
            Identity::Mac(mac) => text(&alloc::string::ToString::to_string(mac)),
            Identity::Serial(value)
            | Identity::Uuid(value)
            | Identity::ClientId(value)
            | Identity::Topic(value) => text(value),
            Identity::CertKey(_) => {}
        }
    }
}
