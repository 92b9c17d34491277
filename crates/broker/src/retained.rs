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
}

impl Retained {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            trie: Trie::new(seed),
            count: 0,
            bytes: 0,
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
        self.trie
            .find(topic)
            .and_then(|node| self.trie.value(node).as_ref())
            .map(|message| message.weight())
    }

    /// Returns where it is kept, for [`Self::expire`].
    pub(crate) fn set(&mut self, message: Arc<Message>) -> NodeId {
        let weight = message.weight() as u64;
        let node = self.trie.insert(message.topic());
        let old = self.trie.value_mut(node).replace(message);
        self.count += 1;
        self.bytes += weight;
        self.forget(old);
        node
    }

    pub(crate) fn remove(&mut self, topic: &str) -> bool {
        match self.trie.find(topic) {
            Some(node) => self.take(node),
            None => false,
        }
    }

    /// Removes the message of `node` if it has expired at `now`.
    pub(crate) fn expire(&mut self, node: NodeId, now: Time) {
        let expired = self.trie.get(node).is_some_and(|message| {
            message
                .as_ref()
                .is_some_and(|message| message.is_expired(now))
        });
        if expired {
            self.take(node);
        }
    }

    /// All retained messages whose topic `filter` matches.
    pub(crate) fn matching(&self, filter: &str, now: Time, out: &mut Vec<Arc<Message>>) {
        let levels: Vec<&str> = filter.split('/').collect();
        let mut stack = alloc::vec![(ROOT, 0usize)];
        while let Some((node, depth)) = stack.pop() {
            match levels.get(depth) {
                None => self.push(node, now, out),
                Some(&"#") => self.walk_children(node, depth == 0, &mut |message| {
                    if !message.is_expired(now) {
                        out.push(message.clone());
                    }
                }),
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
    }

    /// Every retained message, for a peer that has just come.
    pub(crate) fn all(&self, mut tell: impl FnMut(&Arc<Message>)) {
        self.walk(ROOT, &mut |_, message| tell(message));
    }

    fn push(&self, node: NodeId, now: Time, out: &mut Vec<Arc<Message>>) {
        if let Some(message) = self.trie.value(node)
            && !message.is_expired(now)
        {
            out.push(message.clone());
        }
    }

    /// `node` itself (`a/#` matches `a`) and everything below it.
    fn walk_children(&self, node: NodeId, root: bool, visit: &mut impl FnMut(&Arc<Message>)) {
        if !root {
            self.walk(node, &mut |_, message| visit(message));
            return;
        }
        let mut child = self.trie.first_child(node);
        while child != NONE {
            // A leading wildcard does not match `$` topics [MQTT-4.7.2-1].
            if !self.trie.level(child).starts_with('$') {
                self.walk(child, &mut |_, message| visit(message));
            }
            child = self.trie.next_sibling(child);
        }
    }

    fn walk(&self, from: NodeId, visit: &mut impl FnMut(NodeId, &Arc<Message>)) {
        let mut stack = alloc::vec![from];
        while let Some(node) = stack.pop() {
            if let Some(message) = self.trie.value(node) {
                visit(node, message);
            }
            let mut child = self.trie.first_child(node);
            while child != NONE {
                stack.push(child);
                child = self.trie.next_sibling(child);
            }
        }
    }

    fn take(&mut self, mut node: NodeId) -> bool {
        let old = self.trie.value_mut(node).take();
        let was_there = old.is_some();
        self.forget(old);
        while node != ROOT && self.trie.first_child(node) == NONE && self.trie.value(node).is_none()
        {
            let parent = self.trie.parent(node);
            self.trie.remove_leaf(node);
            node = parent;
        }
        was_there
    }

    fn forget(&mut self, old: Option<Arc<Message>>) {
        if let Some(old) = old {
            self.count -= 1;
            self.bytes -= old.weight() as u64;
        }
    }
}
