//! Lists of members: filtered, page by page.

use alloc::vec::Vec;

use super::Roster;
use super::asked::{Asked, Classes};
use super::table::{
    Column, ENROLLED, Letters, ONLINE, bit_of_tag, hash_in_any_case, number_of_chip,
    number_of_family, searched, second,
};
use super::versions::Versions;
use crate::member::{Member, MemberId};
use crate::query::{Where, same};
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
    /// Tags of which it has one, in any case; if there are none, its tags do not matter.
    pub tags: Vec<Text>,
    /// What it is called ([`Member::name`]), in any case.
    pub name: Option<Text>,
    /// Its number.
    pub id: Option<MemberId>,
    /// Part of its name, host name, address, topic, client identifier or board,
    /// in any case.
    pub text: Option<Text>,
    /// Whether it is connected.
    pub online: Option<bool>,
    /// Whether it is enrolled.
    pub enrolled: Option<bool>,
    /// What a search would find in all who are meant: looked for only roughly, since whoever asks
    /// looks again.
    pub(super) hint: Option<Text>,
    /// Between which numbers of seconds, these included, the time since it was last seen lies:
    /// heeded where there is a question, which is asked at some moment.
    pub(super) age: Option<(u64, u64)>,
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
        accept: impl FnMut(&Member) -> bool,
    ) -> Page<'_> {
        let matching = self.matching(query, after);
        page(
            matching.map(|member| (member, None)),
            after,
            limit,
            most,
            accept,
        )
    }

    /// The same for who passes `query` and meets `question`, if there is one, at `now` in seconds
    /// since 1970; at most `most` members are looked at whom what stands beside them does not rule
    /// out. Give a query that was [`Query::narrowed`] by the question.
    pub fn select_where(
        &self,
        query: &Query,
        question: Option<&Where>,
        now: u64,
        (after, limit, most): (Option<MemberId>, usize, usize),
    ) -> Page<'_> {
        let Some(question) = question else {
            return self.select_within(query, after, limit, most, |_| true);
        };
        let mut classes = Classes::new(question, now);
        let open =
            self.sifted(query, after, Some(now))
                .filter_map(|(column, member)| match classes.verdict(column, member) {
                    Some(false) => None,
                    verdict => Some((member, verdict)),
                });
        page(open, after, limit, most, |member| {
            question.matches(&Asked { member, now })
        })
    }

    /// How many members pass.
    pub fn count(&self, query: &Query) -> usize {
        if *query == Query::default() {
            return self.len();
        }
        let sieve = Sieve::of(query, self.table.versions(), None);
        if sieve.decides() && query.id.is_none() {
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
        self.sifted(query, after, None).map(|(_, member)| member)
    }

    fn sifted<'r>(
        &'r self,
        query: &Query,
        after: Option<MemberId>,
        now: Option<u64>,
    ) -> impl Iterator<Item = (&'r Column, &'r Member)> + use<'r> {
        let from = self.table.after(after);
        let (from, to) = match query.id {
            None => (from, self.table.columns().len()),
            Some(id) => {
                let first = self.table.after(id.0.checked_sub(1).map(MemberId));
                (from.max(first), self.table.after(Some(id)))
            }
        };
        let sieve = Sieve::of(query, self.table.versions(), now);
        let columns = self.table.columns().get(from..to).unwrap_or_default();
        let columns = columns.iter().zip(from..);
        columns.filter_map(move |(column, at)| {
            if !sieve.passes(column) || !sieve.passes_letters(self.table.letters(at)) {
                return None;
            }
            let member = self.table.at(at)?;
            sieve.passes_fully(member).then_some((column, member))
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

/// The first `limit` of `all`, who come behind `after`, whom `accept` takes; it is shown `most`.
fn page<'r>(
    all: impl Iterator<Item = (&'r Member, Option<bool>)>,
    after: Option<MemberId>,
    limit: usize,
    most: usize,
    mut accept: impl FnMut(&Member) -> bool,
) -> Page<'r> {
    let mut members: Vec<&Member> = Vec::new();
    let mut behind = after;
    for (shown, (member, verdict)) in all.enumerate() {
        let is_over = shown >= most;
        let accepted = !is_over && verdict.unwrap_or_else(|| accept(member));
        if is_over || accepted && members.len() >= limit {
            let next = behind;
            return Page { members, next };
        }
        if accepted {
            members.push(member);
        }
        behind = Some(member.id);
    }
    Page {
        members,
        next: None,
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
    name: Option<u32>,
    /// First and last second at which it was last seen.
    seen: (u32, u32),
    /// Of any tag that is asked for.
    tags: u64,
    state: u8,
    state_mask: u8,
}

impl Sieve {
    fn of(query: &Query, versions: &Versions, now: Option<u64>) -> Sieve {
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
            letters: Letters::in_texts([text.as_deref(), query.hint.as_deref()]),
            text,
            family: query.family.map(number_of_family),
            chip: query.chip.map(number_of_chip),
            // A version that nobody has is nobody's number.
            version: query
                .version
                .as_deref()
                .map(|version| versions.number(version).unwrap_or(u32::MAX)),
            name: query.name.as_deref().map(hash_in_any_case),
            seen: match (query.age, now) {
                (Some((least, most)), Some(now)) => seen_within(least, most, now),
                _ => (0, u32::MAX),
            },
            tags: query.tags.iter().fold(0, |all, tag| all | bit_of_tag(tag)),
            state,
            state_mask,
            query: query.clone(),
        }
    }

    /// Whether the column alone tells.
    fn decides(&self) -> bool {
        let by_text = self.text.is_some() || self.query.hint.is_some();
        !by_text && self.name.is_none() && self.tags == 0
    }

    fn passes(&self, column: &Column) -> bool {
        column.live
            && column.state & self.state_mask == self.state
            && self.family.is_none_or(|family| family == column.family)
            && self.chip.is_none_or(|chip| chip == column.chip)
            && (self.seen.0..=self.seen.1).contains(&column.seen)
            && self.version.is_none_or(|version| version == column.version)
            && self.name.is_none_or(|name| name == column.name)
            && (self.tags == 0 || column.tags & self.tags != 0)
    }

    fn passes_letters(&self, letters: &Letters) -> bool {
        let asked = self.text.is_some() || self.query.hint.is_some();
        !asked || letters.hold(&self.letters)
    }

    fn passes_fully(&self, member: &Member) -> bool {
        if self.decides() {
            return true;
        }
        let name = self.query.name.as_deref();
        let tags = &self.query.tags;
        let has = |tag: &Text| member.tags.iter().any(|own| same(own, tag));
        name.is_none_or(|name| member.with_name(|own| same(own, name)))
            && (tags.is_empty() || tags.iter().any(has))
            && self
                .text
                .as_deref()
                .is_none_or(|text| speaks_of(member, text))
    }
}

/// The seconds at which those were last seen for whom that is so long ago. Who was seen in the future
/// was seen now.
fn seen_within(least: u64, most: u64, now: u64) -> (u32, u32) {
    let first = second(now.saturating_sub(most));
    let last = match least {
        0 => u32::MAX,
        least => match now.checked_sub(least) {
            Some(last) => second(last),
            // Longer ago than there was time.
            None => return (1, 0),
        },
    };
    (first, last)
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
