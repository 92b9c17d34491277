//! What the server itself looks at: it learns from what devices say of themselves.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::broker::Broker;
use crate::effect::{Effect, Observed, Publisher};
use crate::ids::SessionId;
use crate::limits::{MAX_OBSERVED, MAX_PEERS};
use crate::message::Outgoing;
use crate::time::Time;

/// The observer stands in the tree as a peer that no broker is, so that a message is matched
/// once for subscribers and observer alike.
const OBSERVER: u8 = MAX_PEERS;

impl Broker {
    /// From now on messages of this broker's own clients, and their wills, make an
    /// [`Effect::Observed`] if one of `filters` matches and they are taken. What peers forward
    /// makes none: their brokers observe it. Nobody counts as a subscriber by it, and a filter
    /// that matches `$` topics or is shared observes nothing more than others do.
    ///
    /// First comes what is retained now, from each broker that has it. Payloads longer than 32 KiB
    /// are not shown.
    pub fn observe(&mut self, filters: &[&str], now: Time) {
        let mut found = Vec::new();
        for filter in filters {
            self.tree.set_peer_interest(OBSERVER, filter, 1);
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

    /// Takes the observer out of `peers`; whether it was among them.
    pub(crate) fn take_observer(peers: &mut u64) -> bool {
        let was = *peers & 1 << OBSERVER != 0;
        *peers &= !(1 << OBSERVER);
        was
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
