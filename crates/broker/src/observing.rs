//! What the server itself looks at: it learns from what devices say of themselves.
//!
//! It is no subscriber and stands in no tree: what devices say of themselves comes in topics that
//! end in one of a few words, and nearly every message that is published ends in another. One bit
//! tells those two apart; wildcards in front of the words, which Tasmota's FullTopic asks for, would
//! cost every message a walk of their own.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use safeport_mqtt::TopicFilter;

use crate::broker::Broker;
use crate::effect::{Effect, Observed, Publisher};
use crate::ids::SessionId;
use crate::limits::MAX_OBSERVED;
use crate::message::Outgoing;
use crate::time::Time;

/// What is looked at.
#[derive(Default)]
pub(crate) struct Watched {
    /// One bit for each length and last letter of the words in `by_last`.
    marks: [u64; 4],
    /// Filters that name their last level, by it.
    by_last: BTreeMap<Box<str>, Vec<Box<str>>>,
    /// Filters that end in a wildcard, behind what stands before their first one.
    open: Vec<(Box<str>, Box<str>)>,
}

impl Watched {
    fn new(filters: &[&str]) -> Watched {
        let mut watched = Watched::default();
        for &filter in filters {
            let last = last_level(filter);
            if matches!(last, "+" | "#") {
                let fixed = filter.find(['+', '#']).unwrap_or(filter.len());
                // `tele/#` matches `tele` as well [section 4.7.1.2].
                let fixed = filter[..fixed].trim_end_matches('/');
                watched.open.push((fixed.into(), filter.into()));
            } else {
                let (word, bit) = mark(last);
                watched.marks[word] |= bit;
                let filters = watched.by_last.entry(last.into()).or_default();
                filters.push(filter.into());
            }
        }
        watched
    }

    /// Whether a message with this topic is looked at.
    #[inline]
    pub(crate) fn sees(&self, topic: &str) -> bool {
        let last = last_level(topic);
        let (word, bit) = mark(last);
        (self.marks[word] & bit != 0 && self.sees_by_last(topic, last))
            || self
                .open
                .iter()
                .any(|(fixed, filter)| topic.starts_with(&**fixed) && is_matched(filter, topic))
    }

    #[cold]
    fn sees_by_last(&self, topic: &str, last: &str) -> bool {
        let filters = self.by_last.get(last);
        filters.is_some_and(|filters| filters.iter().any(|filter| is_matched(filter, topic)))
    }
}

fn is_matched(filter: &str, topic: &str) -> bool {
    TopicFilter::new(filter).is_ok_and(|filter| filter.matches(topic))
}

fn last_level(topic: &str) -> &str {
    let before = topic.bytes().rposition(|byte| byte == b'/');
    before.map_or(topic, |at| &topic[at + 1..])
}

/// Where the bit of such a last level stands.
fn mark(last: &str) -> (usize, u64) {
    let letter = last.as_bytes().last().map_or(0, |letter| letter & 31);
    let number = (last.len() & 7) << 5 | usize::from(letter);
    (number >> 6, 1 << (number & 63))
}

impl Broker {
    /// From now on messages of this broker's own clients, and their wills, make an
    /// [`Effect::Observed`] if one of `filters` matches and they are taken. What peers forward
    /// makes none: their brokers observe it. Nobody counts as a subscriber by it. Filters of
    /// shared subscriptions match nothing.
    ///
    /// First comes what is retained now, from each broker that has it. Payloads longer than 32 KiB
    /// are not shown.
    pub fn observe(&mut self, filters: &[&str], now: Time) {
        let filters: Vec<&str> = filters
            .iter()
            .copied()
            .filter(|filter| !filter.starts_with("$share/"))
            .collect();
        self.watched = Watched::new(&filters);
        let mut found = Vec::new();
        for filter in filters {
            self.retained.matching(filter, now, &mut found);
        }
        found.retain(|message| message.payload().len() <= MAX_OBSERVED);
        for message in found {
            self.effects.list.push(Effect::Observed(Box::new(Observed {
                publisher: None,
                topic: message.topic().into(),
                payload: message.payload().into(),
                retain: true,
            })));
        }
    }

    /// Tells of a message that was taken.
    pub(crate) fn tell_observer(&mut self, out: &Outgoing<'_>, publisher: SessionId) {
        if out.payload.len() > MAX_OBSERVED {
            return;
        }
        let session = self.expect(publisher);
        let publisher = Publisher {
            client_id: session.name(),
            user: session.user().map(String::from),
        };
        self.effects.list.push(Effect::Observed(Box::new(Observed {
            publisher: Some(publisher),
            topic: out.topic.into(),
            payload: out.payload.into(),
            retain: out.retain,
        })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: &[&str] = &[
        "+/+/LWT",
        "+/+/+/LWT",
        "tasmota/discovery/+/config",
        "esphome/discover/+",
        "+/status",
        "news/#",
        "exact",
    ];

    #[test]
    fn the_index_sees_exactly_what_the_filters_match() {
        let watched = Watched::new(FILTERS);
        let levels = [
            "tele",
            "plug",
            "LWT",
            "XWT",
            "tasmota",
            "discovery",
            "config",
            "esphome",
            "discover",
            "status",
            "news",
            "exact",
            "",
            "$SYS",
        ];
        let mut topics: Vec<String> = levels.iter().map(|level| String::from(*level)).collect();
        for depth in 0..3 {
            let shorter = topics.clone();
            let deepest = shorter.iter().filter(|t| t.matches('/').count() == depth);
            for topic in deepest {
                topics.extend(levels.iter().map(|level| [topic, "/", level].concat()));
            }
        }
        let mut seen = 0;
        for topic in &topics {
            let plainly = FILTERS.iter().any(|filter| is_matched(filter, topic));
            assert_eq!(watched.sees(topic), plainly, "{topic:?}");
            seen += usize::from(plainly);
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn whoever_looks_at_nothing_sees_nothing() {
        let watched = Watched::default();
        assert!(!watched.sees("tele/plug/LWT") && !watched.sees(""));
    }
}
