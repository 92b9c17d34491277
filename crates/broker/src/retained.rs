//! The last value of each topic [MQTT-3.3.1-5].

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::message::Message;
use crate::time::Time;
use crate::trie::{NONE, NodeId, ROOT, Trie};

/// Retained messages by topic, found by filter.
pub(crate) struct Retained {
    trie: Trie<Option<Arc<Message>>>,
    count: u64,
    bytes: u64,
    /// the highest count in any stamp seen
    clock: u64,
}

impl Retained {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            trie: Trie::new(seed),
            count: 0,
            bytes: 0,
            clock: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.trie.is_empty()
    }

    /// A stamp above all that were given or seen here. The peer's number makes it unlike any
    /// other, so that all peers agree which of two messages is the later one.
    pub(crate) fn next_stamp(&mut self, me: u8) -> u64 {
        self.clock += 1;
        self.clock << 8 | u64::from(me)
    }

    /// Learns of a peer's stamp.
    pub(crate) fn saw(&mut self, stamp: u64) {
        self.clock = self.clock.max(stamp >> 8);
    }

    /// Whether the message with `stamp`, or a later one, has come for the topic.
    pub(crate) fn has_newer(&self, topic: &str, stamp: u64) -> bool {
        self.find(topic).is_some_and(|known| known.stamp >= stamp)
    }

    /// Forgets all messages; stamps go on.
    pub(crate) fn clear(&mut self) {
        for node in 0..self.places() {
            if node != ROOT && self.trie.get(node).is_some_and(Option::is_some) {
                self.take(node);
            }
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Weight of what is kept for `topic` now.
    pub(crate) fn weight_of(&self, topic: &str) -> Option<usize> {
        self.find(topic)
            .filter(|message| !is_tombstone(message))
            .map(|message| message.weight())
    }

    /// When the message of `node`, if one is there, expires.
    pub(crate) fn expires_at(&self, node: NodeId) -> Option<Time> {
        self.trie.get(node)?.as_ref()?.expires_at
    }

    /// Keeps a message, or with an empty payload the memory that there is none. Returns where,
    /// for [`Self::expire`].
    pub(crate) fn set(&mut self, message: Arc<Message>) -> NodeId {
        if counts(&message) {
            self.count += 1;
            self.bytes += message.weight() as u64;
        }
        let node = self.trie.insert(message.topic());
        let old = self.trie.value_mut(node).replace(message);
        self.forget(old);
        node
    }

    /// Whether there was something to remove.
    pub(crate) fn remove(&mut self, topic: &str) -> bool {
        let node = self.trie.find(topic);
        let node = node.filter(|node| self.trie.value(*node).is_some());
        if let Some(node) = node {
            self.take(node);
        }
        node.is_some()
    }

    /// Places of messages are numbers below this.
    pub(crate) fn places(&self) -> NodeId {
        self.trie.places()
    }

    /// The message in a place that is to survive a restart, removals that are remembered too.
    pub(crate) fn at(&self, node: NodeId) -> Option<&Arc<Message>> {
        let message = self.trie.get(node)?.as_ref()?;
        (!is_own(message.topic())).then_some(message)
    }

    /// Removes the message of `node`, and returns it, if it has expired at `now`.
    pub(crate) fn expire(&mut self, node: NodeId, now: Time) -> Option<Arc<Message>> {
        match self.expires_at(node) {
            Some(at) if at <= now => self.take(node),
            _ => None,
        }
    }

    /// All retained messages whose topic `filter` matches.
    pub(crate) fn matching(&self, filter: &str, now: Time, out: &mut Vec<Arc<Message>>) {
        let levels: Vec<&str> = filter.split('/').collect();
        let mut stack = alloc::vec![(ROOT, 0usize)];
        while let Some((node, depth)) = stack.pop() {
            match levels.get(depth) {
                None => out.extend(self.trie.value(node).clone()),
                Some(&"#") => self.walk_from(node, |message| out.push(message.clone())),
                Some(&"+") => {
                    let mut child = self.trie.first_child(node);
                    while child != NONE {
                        if depth > 0 || !self.trie.level(child).starts_with('$') {
                            stack.push((child, depth + 1));
                        }
                        child = self.trie.next_sibling(child);
                    }
                }
                Some(level) => stack.extend(self.trie.child(node, level).map(|c| (c, depth + 1))),
            }
        }
        out.retain(|message| !is_tombstone(message) && !message.is_expired(now));
    }

    /// Everything that is known, removals too, for a peer that has just come.
    pub(crate) fn all(&self, tell: impl FnMut(&Arc<Message>)) {
        self.walk(alloc::vec![ROOT], tell);
    }

    fn find(&self, topic: &str) -> Option<&Arc<Message>> {
        self.trie.value(self.trie.find(topic)?).as_ref()
    }

    /// `node` itself (`a/#` matches `a`) and everything below it.
    fn walk_from(&self, node: NodeId, visit: impl FnMut(&Arc<Message>)) {
        if node != ROOT {
            return self.walk(alloc::vec![node], visit);
        }
        let mut first = Vec::new();
        let mut child = self.trie.first_child(ROOT);
        while child != NONE {
            // A leading wildcard does not match `$` topics [MQTT-4.7.2-1].
            if !self.trie.level(child).starts_with('$') {
                first.push(child);
            }
            child = self.trie.next_sibling(child);
        }
        self.walk(first, visit);
    }

    fn walk(&self, mut stack: Vec<NodeId>, mut visit: impl FnMut(&Arc<Message>)) {
        while let Some(node) = stack.pop() {
            if let Some(message) = self.trie.value(node) {
                visit(message);
            }
            let mut child = self.trie.first_child(node);
            while child != NONE {
                stack.push(child);
                child = self.trie.next_sibling(child);
            }
        }
    }

    fn take(&mut self, mut node: NodeId) -> Option<Arc<Message>> {
        let old = self.trie.value_mut(node).take();
        self.forget(old.clone());
        while node != ROOT && self.trie.first_child(node) == NONE && self.trie.value(node).is_none()
        {
            let parent = self.trie.parent(node);
            self.trie.remove_leaf(node);
            node = parent;
        }
        old
    }

    fn forget(&mut self, old: Option<Arc<Message>>) {
        if let Some(old) = old.filter(|old| counts(old)) {
            self.count -= 1;
            self.bytes -= old.weight() as u64;
        }
    }
}

/// No retained message has an empty payload [MQTT-3.3.1-6]: one that has stands for a removal.
fn is_tombstone(message: &Message) -> bool {
    message.payload().is_empty()
}

/// Whether a message counts against the limits: the server's own topics take nobody's place.
fn counts(message: &Message) -> bool {
    !is_tombstone(message) && !is_own(message.topic())
}

/// Topics that only the server publishes to.
pub(crate) fn is_own(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Outgoing;
    use safeport_mqtt::QoS;

    fn message(topic: &str, payload: &str, stamp: u64, expires_at: Option<Time>) -> Arc<Message> {
        Arc::new(Message::new(&Outgoing {
            topic,
            payload: payload.as_bytes(),
            properties: &[],
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at,
            origin: 0,
            stamp,
        }))
    }

    #[test]
    fn count_and_bytes_follow_every_change() {
        let mut retained = Retained::new(1);
        retained.set(message("a/b", "12345", 1, None));
        retained.set(message("a/b", "1", 2, None));
        retained.set(message("a", "22", 3, None));
        assert_eq!((retained.len(), retained.bytes()), (2, 4 + 3));
        assert_eq!(retained.weight_of("a/b"), Some(4));
        retained.remove("a/b");
        retained.remove("a/b");
        retained.remove("nowhere");
        assert_eq!((retained.len(), retained.bytes()), (1, 3));
        retained.remove("a");
        assert!(retained.is_empty());
    }

    #[test]
    fn the_servers_own_topics_take_nobodys_place() {
        let mut retained = Retained::new(1);
        retained.set(message("$SYS/broker/uptime", "1 seconds", 1, None));
        retained.set(message("a", "1", 2, None));
        assert_eq!((retained.len(), retained.bytes()), (1, 2));
        retained.remove("$SYS/broker/uptime");
        assert_eq!((retained.len(), retained.bytes()), (1, 2));
    }

    #[test]
    fn a_removal_that_is_remembered_is_no_message() {
        let mut retained = Retained::new(1);
        retained.set(message("t", "x", 1, None));
        let node = retained.set(message("t", "", 5, Some(Time(10))));
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
        assert_eq!(retained.weight_of("t"), None);
        let mut found = Vec::new();
        retained.matching("#", Time(0), &mut found);
        assert!(found.is_empty());
        assert!(retained.has_newer("t", 4) && !retained.has_newer("t", 6));
        retained.expire(node, Time(9));
        assert!(!retained.is_empty());
        retained.expire(node, Time(10));
        assert!(retained.is_empty());
    }

    #[test]
    fn an_expiry_does_not_hit_what_came_later_to_the_same_place() {
        let mut retained = Retained::new(1);
        let old = retained.set(message("t", "x", 1, Some(Time(10))));
        retained.remove("t");
        let new = retained.set(message("u", "y", 2, Some(Time(99))));
        assert_eq!(old, new, "the place was used again");
        retained.expire(old, Time(10));
        assert_eq!(retained.len(), 1);
        assert_eq!(retained.expires_at(new), Some(Time(99)));
    }

    #[test]
    fn stamps_rise_above_those_that_were_seen_and_never_meet() {
        let mut retained = Retained::new(1);
        let first = retained.next_stamp(3);
        let other = Retained::new(1).next_stamp(4);
        assert_ne!(first, other);
        retained.saw(1_000 << 8 | 7);
        assert!(retained.next_stamp(3) > 1_000 << 8 | 255);
        retained.saw(2);
        assert!(retained.next_stamp(3) > 1_001 << 8);
    }
}
