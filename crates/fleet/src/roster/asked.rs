//! Questions of the query language, asked of the list: what of them it can answer by itself, and
//! what a member answers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use core::cmp::Ordering;

use super::select::Query;
use super::table::Column;
use crate::member::Member;
use crate::query::{Field, Subject, Where, natural};
use crate::sighting::{Identity, IdentityKind, Installed};
use crate::{MacAddress, Slot, version};

impl Query {
    /// What of a question the list can answer by itself, from what stands beside its members. All
    /// who meet the question pass, and perhaps others: it is to be asked all the same.
    pub fn narrowed(question: &Where) -> Query {
        let mut query = Query::default();
        // The longest text that a search finds in whoever is meant.
        let mut look_for = |text: &str| {
            if text.len() > query.hint.as_deref().map_or(0, str::len) && has_no_case(text) {
                query.hint = Some(text.into());
            }
        };
        query.age = Some(question.must_be_within(&Field::Seen));
        let musts = question.must_be();
        for (field, value) in musts.clone() {
            match field {
                Field::Name | Field::Topic | Field::Board => {
                    value.split('*').for_each(&mut look_for)
                }
                Field::Mac => {
                    if let Ok(mac) = value.parse::<MacAddress>() {
                        look_for(&mac.to_string());
                    }
                }
                _ => {}
            }
        }
        for (field, value) in musts.filter(|(_, value)| !value.contains('*')) {
            match field {
                Field::Name => query.name = Some(value.into()),
                Field::Id => query.id = value.to_ascii_lowercase().parse().ok(),
                Field::Family => query.family = value.parse().ok(),
                Field::Chip => query.chip = value.parse().ok(),
                Field::Tag(None) => query.tags = vec![value.into()],
                // The two ways to write a key and its value, see [`Asked`].
                Field::Tag(Some(key)) => {
                    let ways = ['=', '-'].map(|sign| format!("{key}{sign}{value}").into());
                    query.tags = ways.into();
                }
                Field::Online => query.online = Some(value == "true"),
                Field::Enrolled => query.enrolled = Some(value == "true"),
                _ => {}
            }
        }
        query
    }
}

/// What a question makes of members that are alike in all that a [`Column`] tells of them: a fleet
/// has few such classes, so it is asked once for each.
pub(super) struct Classes<'q> {
    question: &'q Where,
    now: u64,
    known: BTreeMap<u128, Option<bool>>,
    last: Option<(u128, Option<bool>)>,
}

impl<'q> Classes<'q> {
    pub(super) fn new(question: &'q Where, now: u64) -> Classes<'q> {
        Classes {
            question,
            now,
            known: BTreeMap::new(),
            last: None,
        }
    }

    /// Whether the member meets the question; none if its class does not tell.
    pub(super) fn verdict(&mut self, column: &Column, member: &Member) -> Option<bool> {
        let class = column.class();
        if let Some((_, verdict)) = self.last.filter(|(of, _)| *of == class) {
            return verdict;
        }
        let verdict = match self.known.get(&class) {
            Some(verdict) => *verdict,
            None => {
                let asked = Asked {
                    member,
                    now: self.now,
                };
                let verdict = self.question.foretell(&asked, &is_of_class);
                if self.known.len() < MOST_CLASSES {
                    self.known.insert(class, verdict);
                }
                verdict
            }
        };
        self.last = Some((class, verdict));
        verdict
    }
}

/// Whether members of one class are the same in it.
fn is_of_class(field: &Field) -> bool {
    matches!(
        field,
        Field::Family
            | Field::Chip
            | Field::Layout
            | Field::Version
            | Field::Safeboot
            | Field::Online
            | Field::Enrolled
    )
}

/// Classes that are remembered for one question; those of devices that make up a version each are
/// not worth it.
const MOST_CLASSES: usize = 1024;

/// A device in a question.
pub struct Asked<'a> {
    /// Which.
    pub member: &'a Member,
    /// Seconds since 1970.
    pub now: u64,
}

impl Subject for Asked<'_> {
    fn values(&self, field: &Field, each: &mut dyn FnMut(&str)) {
        let member = self.member;
        let truth = |truth: bool| if truth { "true" } else { "false" };
        let image = |slot| {
            let image: Option<&Installed> = member.facts.image(slot);
            image.and_then(|image| image.version.as_deref())
        };
        match field {
            Field::Name => member.with_name(each),
            Field::Id => each(&member.id.to_string()),
            Field::Family => member
                .family()
                .iter()
                .for_each(|family| each(family.as_str())),
            Field::Chip => member.chip().iter().for_each(|chip| each(chip.as_str())),
            Field::Board => member.board().into_iter().for_each(each),
            Field::Version => member.facts.version().into_iter().for_each(each),
            Field::Safeboot => image(Slot::Safeboot).into_iter().for_each(each),
            Field::Layout => member
                .layout()
                .iter()
                .for_each(|layout| each(layout.as_str())),
            Field::Topic => of_kind(member, IdentityKind::Topic, each),
            Field::Mac => of_kind(member, IdentityKind::Mac, each),
            Field::Online => each(truth(member.is_online())),
            Field::Enrolled => each(truth(member.enrolment.is_some())),
            Field::Tag(None) => member.tags.iter().for_each(|tag| each(tag)),
            Field::Tag(Some(key)) => {
                for tag in &member.tags {
                    let rest = tag.strip_prefix(key.as_str());
                    // Tags of enrolled devices have no sign but the hyphen.
                    if let Some(value) = rest.and_then(|rest| rest.strip_prefix(['=', '-'])) {
                        each(value);
                    }
                }
            }
            Field::Seen => each(&self.now.saturating_sub(member.last_seen).to_string()),
        }
    }

    fn compare_versions(&self, one: &str, other: &str) -> Option<Ordering> {
        let of_family = self
            .member
            .family()
            .and_then(|family| version::compare(family, one, other));
        // Versions that a family has no order for are still ordered for whoever asks.
        Some(of_family.unwrap_or_else(|| natural(one, other)))
    }
}

fn of_kind(member: &Member, kind: IdentityKind, each: &mut dyn FnMut(&str)) {
    member
        .identities
        .iter()
        .map(|known| &known.identity)
        .filter(|identity: &&Identity| identity.kind() == kind)
        .for_each(|identity| each(&identity.value()));
}

/// Whether a search, which knows no case but that of ASCII, finds this in every spelling.
fn has_no_case(text: &str) -> bool {
    let stays = |c: char| c.is_ascii() || c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]);
    text.chars().all(stays)
}
