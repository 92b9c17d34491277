//! Lists of members: filtered, page by page.

use alloc::vec::Vec;

use super::Roster;
use super::table::{
    Column, ENROLLED, Letters, ONLINE, bit_of_tag, number_of_chip, number_of_family, searched,
    short_hash,
};
use crate::member::{Member, MemberId};
use crate::sighting::{Identity, Text};
use crate::{Chip, Family, MacAddress};

/// Which members are meant. What is none, all members pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The firmware it runs.
    pub family: Option<Family>,
    /// Its chip.
    pub chip: Option<Chip>,
    /// The version of its main image, as it says it.
    pub version: Option<Text>,
    /// A tag that it has.
    pub tag: Option<Text>,
    /// Part of its name, host name, address, topic, client identifier or board,
    /// in any case.
    pub text: Option<Text>,
    /// Whether it is connected.
    pub online: Option<bool>,
    /// Whether it is enrolled.
    pub enrolled: Option<bool>,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page<'r> {
    /// In the order of their numbers.
    pub members: Vec<&'r Member>,
    /// If there is more: what to ask for after this page.
    pub next: Option<MemberId>,
}

/// What a person may have meant.
#[derive(Debug, Clone)]
pub enum Found<'r> {
    /// This one.
    One(&'r Member),
    /// One of these.
    Several(Vec<&'r Member>),
    /// Nobody.
    Nobody,
}

impl Roster {
    /// The first `limit` members after `after` that pass `query` and `accept`.
    pub fn select(
        &self,
        query: &Query,
        after: Option<MemberId>,
        limit: usize,
        accept: impl FnMut(&Member) -> bool,
    ) -> Page<'_> {
        self.select_within(query, after, limit, usize::MAX, accept)
    }

    /// The same, but gives up for now after `most` members were shown to `accept`: who holds a lock
    /// meanwhile lets it go and asks on behind [`Page::next`]. A page may so be short, or empty,
    /// and not be the last.
    pub fn select_within(
        &self,
        query: &Query,
        after: Option<MemberId>,
        limit: usize,
        most: usize,
        mut accept: impl FnMut(&Member) -> bool,
    ) -> Page<'_> {
        let mut members: Vec<&Member> = Vec::new();
        let mut behind = after;
        for (shown, member) in self.matching(query, after).enumerate() {
            if shown >= most {
                let next = behind;
                return Page { members, next };
            }
            if accept(member) {
                if members.len() >= limit {
                    let next = behind;
                    return Page { members, next };
                }
                members.push(member);
            }
            behind = Some(member.id);
        }
        Page {
            members,
            next: None,
        }
    }

    /// How many members pass.
    pub fn count(&self, query: &Query) -> usize {
        if *query == Query::default() {
            return self.len();
        }
        let sieve = Sieve::of(query);
        if sieve.decides() {
            let columns = self.table.columns().iter();
            return columns.filter(|column| sieve.passes(column)).count();
        }
        self.matching(query, None).count()
    }

    /// All members that pass, after this one, in the order of their numbers.
    pub fn matching<'r>(
        &'r self,
        query: &Query,
        after: Option<MemberId>,
    ) -> impl Iterator<Item = &'r Member> + use<'r> {
        let from = self.table.after(after);
        let sieve = Sieve::of(query);
        let columns = self.table.columns()[from..].iter().zip(from..);
        columns.filter_map(move |(column, at)| {
            if !sieve.passes(column) || !sieve.passes_letters(self.table.letters(at)) {
                return None;
            }
            let member = self.table.at(at)?;
            sieve.passes_fully(member).then_some(member)
        })
    }

    /// The member that somebody calls so: by its enrolled name, number, MAC
    /// address, client identifier, topic, UUID, or its own name for itself.
    pub fn find(&self, called: &str) -> Found<'_> {
        let called = called.trim();
        let known = [
            self.by_name(called),
            called.parse().ok().and_then(|id| self.get(id)),
            called
                .parse::<MacAddress>()
                .ok()
                .and_then(|mac| self.by_mac(mac)),
        ];
        if let Some(member) = known.into_iter().flatten().next() {
            return Found::One(member);
        }
        let spellings = [
            Identity::client_id(called),
            Identity::topic(called),
            Identity::uuid(called),
            Identity::serial(called),
        ];
        let mut found: Vec<&Member> = Vec::new();
        for member in spellings
            .iter()
            .flatten()
            .filter_map(|identity| self.by_identity(identity))
        {
            if !found.iter().any(|before| before.id == member.id) {
                found.push(member);
            }
        }
        if found.is_empty() && !called.is_empty() {
            let query = Query {
                text: Some(called.into()),
                ..Query::default()
            };
            let own_name = |member: &Member| {
                let own = [&member.facts.label, &member.facts.hostname];
                let mut own = own.into_iter().flatten();
                own.any(|own| own.eq_ignore_ascii_case(called))
            };
            found = self.select(&query, None, MOST_MEANT, own_name).members;
        }
        match found.as_slice() {
            [] => Found::Nobody,
            [one] => Found::One(one),
            _ => Found::Several(found),
        }
    }
}

/// Members of one name that are told; more are left out.
const MOST_MEANT: usize = 16;

/// A query made ready.
struct Sieve {
    query: Query,
    /// Lower case.
    text: Option<Text>,
    letters: Letters,
    family: Option<u8>,
    chip: Option<u8>,
    version: Option<u32>,
    tag: u64,
    state: u8,
    state_mask: u8,
}

impl Sieve {
    fn of(query: &Query) -> Sieve {
        let mut state = 0;
        let mut state_mask = 0;
        for (bit, asked) in [(ENROLLED, query.enrolled), (ONLINE, query.online)] {
            if let Some(asked) = asked {
                state_mask |= bit;
                state |= if asked { bit } else { 0 };
            }
        }
        let text: Option<Text> = query
            .text
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| text.to_ascii_lowercase().into());
        Sieve {
            letters: text
                .as_deref()
                .map_or_else(Letters::default, Letters::in_text),
            text,
            family: query.family.map(number_of_family),
            chip: query.chip.map(number_of_chip),
            version: query.version.as_deref().map(short_hash),
            tag: query.tag.as_deref().map_or(0, bit_of_tag),
            state,
            state_mask,
            query: query.clone(),
        }
    }

    /// Whether the column alone tells.
    fn decides(&self) -> bool {
        self.text.is_none() && self.version.is_none() && self.tag == 0
    }

    fn passes(&self, column: &Column) -> bool {
        column.live
            && column.state & self.state_mask == self.state
            && self.family.is_none_or(|family| family == column.family)
            && self.chip.is_none_or(|chip| chip == column.chip)
            && self.version.is_none_or(|version| version == column.version)
            && column.tags & self.tag == self.tag
    }

    fn passes_letters(&self, letters: &Letters) -> bool {
        self.text.is_none() || letters.hold(&self.letters)
    }

    fn passes_fully(&self, member: &Member) -> bool {
        if self.decides() {
            return true;
        }
        let version = self.query.version.as_deref();
        let tag = self.query.tag.as_deref();
        version.is_none_or(|version| member.facts.version() == Some(version))
            && tag.is_none_or(|tag| member.tags.iter().any(|own| **own == *tag))
            && self
                .text
                .as_deref()
                .is_none_or(|text| speaks_of(member, text))
    }
}

/// Whether one of its texts contains this, which is in lower case.
fn speaks_of(member: &Member, asked: &str) -> bool {
    let mut found = false;
    searched(member, |text| {
        found = found || contains_in_any_case(text.as_bytes(), asked.as_bytes());
    });
    found
}

fn contains_in_any_case(text: &[u8], asked: &[u8]) -> bool {
    text.windows(asked.len())
        .any(|part| part.eq_ignore_ascii_case(asked))
}
