//! Who subscribed to what, and who a topic concerns.
//!
//! Matching walks the topic's levels once and looks at three children per level (the level
//! itself, `+`, `#`), so its cost grows with the topic's depth and not with the number of
//! subscriptions.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::{QoS, SubscribeOptions};

use crate::ids::SessionId;
use crate::trie::{NONE, NodeId, ROOT, Trie};

/// Index of a session's own list of subscriptions.
type Slot = u32;

/// One subscription, as its node keeps it.
#[derive(Debug, Clone, Copy)]
struct Subscriber {
    session: SessionId,
    /// where the session's list points back at this entry
    slot: Slot,
    /// Subscription Identifier, 0 for none
    identifier: u32,
    options: Options,
}

/// QoS, No Local and Retain As Published in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options(u8);

impl Options {
    pub(crate) fn new(options: SubscribeOptions) -> Self {
        Self(
            options.qos as u8
                | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3,
        )
    }

    /// As it is written down.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits & 0b1111)
    }

    pub(crate) fn qos(self) -> QoS {
        match self.0 & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    fn no_local(self) -> bool {
        self.0 & 4 != 0
    }

    pub(crate) fn retain_as_published(self) -> bool {
        self.0 & 8 != 0
    }

    /// Overlapping subscriptions deliver once, at the highest QoS of them
    /// [MQTT-3.3.4-2]; RETAIN stays if one of them wants it as published.
    fn join(self, other: Options) -> Options {
        Options((self.0 | other.0) & 0b1100 | (self.0 & 3).max(other.0 & 3))
    }
}

/// What a session keeps of a subscription: enough to find and remove it without searching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionRef {
    node: NodeId,
    /// index into the node's shared groups, or `NONE` for an ordinary subscription
    group: u32,
    /// index into the subscribers of the node or group
    position: u32,
}

/// Members of one `$share/<name>/<filter>` [MQTT-4.8.2].
struct Group {
    name: Box<str>,
    /// `$share/<name>/<filter>`, by which peers know it
    key: Arc<str>,
    members: Vec<Subscriber>,
    /// (peer, members there)
    remote: Vec<(u8, u32)>,
    /// whose turn it is, for each [`Reach`] (two circles of different size)
    next: [u32; 2],
}

impl Group {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.remote.is_empty()
    }
}

#[derive(Default)]
struct Filters {
    plus: Child,
    hash: Child,
    subscribers: Vec<Subscriber>,
    /// peers with ordinary subscriptions to this filter, one bit each
    peers: u64,
    // A boxed list: nearly no filter has groups, and each one pays for this pointer.
    #[allow(clippy::box_collection)]
    groups: Option<Box<Vec<Group>>>,
}

impl Filters {
    fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.peers == 0 && self.groups.is_none()
    }
}

/// A node id whose default is "none".
#[derive(Clone, Copy, PartialEq, Eq)]
struct Child(NodeId);

impl Default for Child {
    fn default() -> Self {
        Child(NONE)
    }
}

/// One session that a topic concerns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver {
    pub(crate) session: SessionId,
    pub(crate) options: Options,
    /// its first Subscription Identifier, 0 for none
    pub(crate) identifier: u32,
    /// index of a further one in [`Matches::identifiers`], or `NONE`
    more: u32,
}

impl Receiver {
    fn new(subscriber: &Subscriber) -> Self {
        Self {
            session: subscriber.session,
            options: subscriber.options,
            identifier: subscriber.identifier,
            more: NONE,
        }
    }

    /// One that gets a message without having subscribed to it.
    pub(crate) fn direct(session: SessionId, qos: QoS) -> Self {
        Self {
            session,
            options: Options(qos as u8),
            identifier: 0,
            more: NONE,
        }
    }
}

/// The result of a match, kept between publishes so that matching allocates nothing.
#[derive(Default)]
pub(crate) struct Matches {
    pub(crate) receivers: Vec<Receiver>,
    /// peers that have ordinary subscriptions to the topic
    pub(crate) peers: u64,
    /// shared groups that the topic concerns
    pub(crate) groups: Vec<(NodeId, u32)>,
    identifiers: Vec<(u32, u32)>,
    /// by session: (generation, index into receivers)
    marks: Vec<(u32, u32)>,
    generation: u32,
    marked: bool,
    /// (node, where in the topic its next level begins)
    stack: Vec<(NodeId, usize)>,
}

impl Matches {
    /// All Subscription Identifiers under which the receiver gets the message.
    pub(crate) fn identifiers(&self, receiver: &Receiver) -> impl Iterator<Item = u32> + '_ {
        let first = Some(receiver.identifier).filter(|&id| id != 0);
        let mut more = receiver.more;
        first.into_iter().chain(core::iter::from_fn(move || {
            let (id, next) = *self.identifiers.get(more as usize)?;
            more = next;
            Some(id)
        }))
    }

    fn clear(&mut self) {
        self.receivers.clear();
        self.groups.clear();
        self.identifiers.clear();
        self.peers = 0;
        self.marked = false;
    }
}

/// Among whom a shared subscription's message may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All members, here and at the peers.
    Everywhere,
    /// A peer left the choice to us: only if no member is left here, members at the peers.
    HereIfPossible,
}

/// Where a shared subscription's message goes.
pub(crate) enum GroupChoice {
    Member(Receiver),
    Peer(u8, Arc<str>),
}

/// Every subscription of one broker, and which filters its peers want.
pub(crate) struct SubscriptionTree {
    trie: Trie<Filters>,
    count: u64,
}

impl SubscriptionTree {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            trie: Trie::new(seed),
            count: 0,
        }
    }

    /// Subscriptions of local sessions.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Whether nobody, here or at a peer, wants anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.trie.is_empty()
    }

    /// Adds or replaces the subscription of `session` to `filter` (without `$share/group/`).
    /// `list` is the session's own list. Returns the number of local subscriptions if peers
    /// have to hear of it: for the first one to a filter, and for each new one of a group.
    pub(crate) fn subscribe(
        &mut self,
        session: SessionId,
        list: &mut Vec<SubscriptionRef>,
        filter: &str,
        group: Option<&str>,
        options: Options,
        identifier: u32,
    ) -> Option<u32> {
        let node = self.insert(filter);
        let group_index = match group {
            Some(name) => self.group_index(node, name, filter),
            None => NONE,
        };
        if let Some(existing) = self.find_in(node, group_index, session, list) {
            let entry = &mut self.subscribers_mut(node, group_index)[existing as usize];
            entry.options = options;
            entry.identifier = identifier;
            return None;
        }
        let slot = list.len() as Slot;
        let subscribers = self.subscribers_mut(node, group_index);
        let position = subscribers.len() as u32;
        // Most filters have one subscriber and most sessions one filter.
        if subscribers.is_empty() {
            subscribers.reserve_exact(1);
        }
        if list.is_empty() {
            list.reserve_exact(1);
        }
        subscribers.push(Subscriber {
            session,
            slot,
            identifier,
            options,
        });
        let members = subscribers.len() as u32;
        list.push(SubscriptionRef {
            node,
            group: group_index,
            position,
        });
        self.count += 1;
        (group.is_some() || members == 1).then_some(members)
    }

    /// Finds the subscription of a session to exactly this filter.
    pub(crate) fn find(
        &self,
        session: SessionId,
        list: &[SubscriptionRef],
        filter: &str,
        group: Option<&str>,
    ) -> Option<Slot> {
        let node = self.trie.find(filter)?;
        let group_index = match group {
            Some(name) => {
                let groups = self.trie.value(node).groups.as_ref()?;
                groups.iter().position(|g| *g.name == *name)? as u32
            }
            None => NONE,
        };
        let position = self.find_in(node, group_index, session, list)?;
        Some(self.subscribers(node, group_index)[position as usize].slot)
    }

    /// Removes the subscription at `slot` of the session's list; `lists` gives other
    /// sessions' lists, whose back pointers may move. Returns what peers have to hear:
    /// (filter, group key, members left), if anything.
    pub(crate) fn remove(
        &mut self,
        list: &mut Vec<SubscriptionRef>,
        slot: Slot,
        mut other: impl FnMut(SessionId, Slot, u32),
    ) -> Option<(String, u32)> {
        let gone = list.swap_remove(slot as usize);
        if let Some(moved) = list.get(slot as usize) {
            let (node, group, position) = (moved.node, moved.group, moved.position);
            self.subscribers_mut(node, group)[position as usize].slot = slot;
        }
        let subscribers = self.subscribers_mut(gone.node, gone.group);
        let removed = subscribers.swap_remove(gone.position as usize);
        if let Some(moved) = subscribers.get(gone.position as usize) {
            // Never the session itself, whose list is in our hands: it is listed once.
            debug_assert_ne!(moved.session, removed.session);
            other(moved.session, moved.slot, gone.position);
        }
        if subscribers.is_empty() {
            subscribers.shrink_to_fit();
        }
        let left = subscribers.len() as u32;
        self.count -= 1;
        let interest = if gone.group != NONE {
            let key = self.groups(gone.node)[gone.group as usize].key.clone();
            Some((String::from(&*key), left))
        } else {
            (left == 0).then(|| (self.trie.path(gone.node), 0))
        };
        self.tidy(gone.node);
        interest
    }

    /// The filter of a session's subscription, with its `$share/group/`.
    pub(crate) fn filter_of(&self, reference: &SubscriptionRef) -> String {
        if reference.group == NONE {
            self.trie.path(reference.node)
        } else {
            String::from(&*self.groups(reference.node)[reference.group as usize].key)
        }
    }

    /// Options and Subscription Identifier of a session's subscription.
    pub(crate) fn options_of(&self, reference: &SubscriptionRef) -> (Options, u32) {
        let subscribers = self.subscribers(reference.node, reference.group);
        let subscriber = &subscribers[reference.position as usize];
        (subscriber.options, subscriber.identifier)
    }

    /// The filter with its `$share/group/`, options and Subscription Identifier.
    pub(crate) fn describe(&self, reference: &SubscriptionRef) -> (String, Options, u32) {
        let (options, identifier) = self.options_of(reference);
        (self.filter_of(reference), options, identifier)
    }

    /// Records how many subscriptions a peer has to `filter` (an ordinary filter: any
    /// number, a `$share` key: its members).
    pub(crate) fn set_peer_interest(&mut self, peer: u8, filter: &str, members: u32) {
        let bit = 1u64 << peer;
        if let Some((name, rest)) = split_share(filter) {
            if members == 0 && self.trie.find(rest).is_none() {
                return;
            }
            let node = self.insert(rest);
            let index = self.group_index(node, name, rest);
            let remote = &mut self.groups_mut(node)[index as usize].remote;
            remote.retain(|(p, _)| *p != peer);
            if members > 0 {
                remote.push((peer, members));
            }
            self.tidy(node);
        } else if members > 0 {
            let node = self.insert(filter);
            self.trie.value_mut(node).peers |= bit;
        } else if let Some(node) = self.trie.find(filter) {
            self.trie.value_mut(node).peers &= !bit;
            self.tidy(node);
        }
    }

    /// Collects everybody whom `topic` concerns. A subscription with No Local does not count
    /// for its own publisher [MQTT-3.8.3-3].
    pub(crate) fn matches(&self, topic: &str, publisher: Option<SessionId>, out: &mut Matches) {
        out.clear();
        // A leading wildcard does not match `$` topics [MQTT-4.7.2-1].
        let dollar = topic.as_bytes().first() == Some(&b'$');
        let mut stack = core::mem::take(&mut out.stack);
        let (mut node, mut start) = (ROOT, 0);
        loop {
            let value = self.trie.value(node);
            let wildcards = !(dollar && node == ROOT);
            if wildcards && value.hash.0 != NONE {
                // `sport/#` also matches `sport`, the parent itself.
                self.collect(value.hash.0, publisher, out);
            }
            let mut named = None;
            if let Some(rest) = topic.get(start..) {
                let end = rest.bytes().position(|byte| byte == b'/');
                let level = &rest[..end.unwrap_or(rest.len())];
                start += level.len() + 1;
                let by_wildcard = u32::from(value.hash.0 != NONE) + u32::from(value.plus.0 != NONE);
                // Where only wildcards are, as below `tele/#`, nothing has to be looked up.
                if self.trie.children(node) > by_wildcard {
                    named = self.trie.child(node, level);
                }
                if wildcards && value.plus.0 != NONE {
                    stack.push((value.plus.0, start));
                }
            } else {
                // Past the end of the last level, where a `/` would be.
                self.collect(node, publisher, out);
            }
            (node, start) = match named {
                Some(child) => (child, start),
                None => match stack.pop() {
                    Some(next) => next,
                    None => break,
                },
            };
        }
        out.stack = stack;
    }

    fn collect(&self, node: NodeId, publisher: Option<SessionId>, out: &mut Matches) {
        let value = self.trie.value(node);
        out.peers |= value.peers;
        if let Some(groups) = &value.groups {
            out.groups
                .extend((0..groups.len() as u32).map(|index| (node, index)));
        }
        if value.subscribers.is_empty() {
            return;
        }
        // The first matching filter cannot hold a session twice: only a second one has to
        // look for sessions that are already there.
        let first = out.receivers.is_empty();
        if !first && !out.marked {
            out.mark_all();
        }
        for subscriber in &value.subscribers {
            if subscriber.options.no_local() && Some(subscriber.session) == publisher {
                continue;
            }
            if first {
                out.receivers.push(Receiver::new(subscriber));
            } else {
                out.join(Receiver::new(subscriber));
            }
        }
    }

    /// Whose turn it is in a group that [`Self::matches`] found. `usable` tells whether a
    /// local member can take the message now; members that cannot are only chosen if nobody
    /// else is there.
    pub(crate) fn choose(
        &mut self,
        (node, index): (NodeId, u32),
        reach: Reach,
        usable: impl Fn(SessionId, QoS) -> bool,
    ) -> Option<GroupChoice> {
        let group = &mut self.groups_mut(node)[index as usize];
        let local = group.members.len() as u32;
        let remote: u32 = match reach {
            Reach::HereIfPossible if local > 0 => 0,
            _ => group.remote.iter().map(|(_, members)| members).sum(),
        };
        let total = local + remote;
        if total == 0 {
            return None;
        }
        let next = &mut group.next[reach as usize];
        let start = *next % total;
        let mut fallback = None;
        for step in 0..total {
            let turn = (start + step) % total;
            if turn < local {
                let member = &group.members[turn as usize];
                let choice = GroupChoice::Member(Receiver::new(member));
                if usable(member.session, member.options.qos()) {
                    *next = turn + 1;
                    return Some(choice);
                }
                fallback.get_or_insert(choice);
            } else {
                let mut left = turn - local;
                for &(peer, members) in &group.remote {
                    if left < members {
                        *next = turn + 1;
                        return Some(GroupChoice::Peer(peer, group.key.clone()));
                    }
                    left -= members;
                }
            }
        }
        *next = start + 1;
        fallback
    }

    /// The group behind a key that a peer named.
    pub(crate) fn group_by_key(&self, key: &str) -> Option<(NodeId, u32)> {
        let (name, filter) = split_share(key)?;
        let node = self.trie.find(filter)?;
        let groups = self.trie.value(node).groups.as_ref()?;
        let index = groups.iter().position(|g| *g.name == *name)?;
        Some((node, index as u32))
    }

    /// Every filter that local sessions want, for a peer that has just come.
    pub(crate) fn local_interest(&self, mut tell: impl FnMut(&str, u32)) {
        let mut stack = alloc::vec![ROOT];
        while let Some(node) = stack.pop() {
            let value = self.trie.value(node);
            if !value.subscribers.is_empty() {
                tell(&self.trie.path(node), value.subscribers.len() as u32);
            }
            for group in value.groups.iter().flat_map(|g| g.iter()) {
                if !group.members.is_empty() {
                    tell(&group.key, group.members.len() as u32);
                }
            }
            let mut child = self.trie.first_child(node);
            while child != NONE {
                stack.push(child);
                child = self.trie.next_sibling(child);
            }
        }
    }

    fn insert(&mut self, filter: &str) -> NodeId {
        let node = self.trie.insert(filter);
        // Wildcard children are also linked from their parents, so that matching finds them
        // without hashing.
        let mut child = node;
        while child != ROOT {
            let parent = self.trie.parent(child);
            match self.trie.level(child) {
                "+" => self.trie.value_mut(parent).plus = Child(child),
                "#" => self.trie.value_mut(parent).hash = Child(child),
                _ => {}
            }
            child = parent;
        }
        node
    }

    /// Drops groups and nodes that nobody uses any more.
    fn tidy(&mut self, mut node: NodeId) {
        let value = self.trie.value_mut(node);
        if let Some(groups) = &mut value.groups {
            // Only trailing groups can go: sessions point at groups by index.
            while groups.last().is_some_and(Group::is_empty) {
                groups.pop();
            }
            if groups.is_empty() {
                value.groups = None;
            }
        }
        while node != ROOT
            && self.trie.first_child(node) == NONE
            && self.trie.value(node).is_empty()
        {
            let parent = self.trie.parent(node);
            let value = self.trie.value_mut(parent);
            if value.plus.0 == node {
                value.plus = Child(NONE);
            }
            if value.hash.0 == node {
                value.hash = Child(NONE);
            }
            self.trie.remove_leaf(node);
            node = parent;
        }
    }

    fn group_index(&mut self, node: NodeId, name: &str, filter: &str) -> u32 {
        let groups = self
            .trie
            .value_mut(node)
            .groups
            .get_or_insert_with(|| Box::new(Vec::new()));
        if let Some(index) = groups.iter().position(|g| *g.name == *name) {
            return index as u32;
        }
        let group = Group {
            name: name.into(),
            key: alloc::format!("$share/{name}/{filter}").into(),
            members: Vec::new(),
            remote: Vec::new(),
            next: [0; 2],
        };
        // Places that became free between others are used first, or they would add up.
        let index = groups.iter().position(Group::is_empty);
        match index {
            Some(index) => groups[index] = group,
            None => groups.push(group),
        }
        index.unwrap_or(groups.len() - 1) as u32
    }

    /// Position of the session's entry: searched in whichever list is shorter.
    fn find_in(
        &self,
        node: NodeId,
        group: u32,
        session: SessionId,
        list: &[SubscriptionRef],
    ) -> Option<u32> {
        let subscribers = self.subscribers(node, group);
        if list.len() < subscribers.len() {
            list.iter()
                .find(|r| r.node == node && r.group == group)
                .map(|r| r.position)
        } else {
            subscribers
                .iter()
                .position(|s| s.session == session)
                .map(|position| position as u32)
        }
    }

    fn groups(&self, node: NodeId) -> &[Group] {
        self.trie.value(node).groups.as_deref().map_or(&[], |g| g)
    }

    fn groups_mut(&mut self, node: NodeId) -> &mut Vec<Group> {
        self.trie
            .value_mut(node)
            .groups
            .get_or_insert_with(|| Box::new(Vec::new()))
    }

    fn subscribers(&self, node: NodeId, group: u32) -> &[Subscriber] {
        if group == NONE {
            &self.trie.value(node).subscribers
        } else {
            &self.groups(node)[group as usize].members
        }
    }

    fn subscribers_mut(&mut self, node: NodeId, group: u32) -> &mut Vec<Subscriber> {
        if group == NONE {
            &mut self.trie.value_mut(node).subscribers
        } else {
            &mut self.groups_mut(node)[group as usize].members
        }
    }
}

impl SubscriptionRef {
    pub(crate) fn set_position(&mut self, position: u32) {
        self.position = position;
    }
}

impl Matches {
    fn mark_all(&mut self) {
        self.marked = true;
        if self.generation == u32::MAX {
            // Marks of the first generations would count again.
            self.marks.clear();
            self.generation = 0;
        }
        self.generation += 1;
        for index in 0..self.receivers.len() {
            self.mark(index);
        }
    }

    fn mark(&mut self, index: usize) {
        let session = self.receivers[index].session.index();
        if self.marks.len() <= session {
            self.marks.resize(session + 1, (0, 0));
        }
        self.marks[session] = (self.generation, index as u32);
    }

    fn join(&mut self, receiver: Receiver) {
        match self.marks.get(receiver.session.index()) {
            Some(&(generation, index)) if generation == self.generation => {
                let known = &mut self.receivers[index as usize];
                known.options = known.options.join(receiver.options);
                if known.identifier == 0 {
                    known.identifier = receiver.identifier;
                } else if receiver.identifier != 0 {
                    self.identifiers.push((receiver.identifier, known.more));
                    known.more = (self.identifiers.len() - 1) as u32;
                }
            }
            _ => {
                self.receivers.push(receiver);
                self.mark(self.receivers.len() - 1);
            }
        }
    }
}

/// `$share/name/filter` into name and filter.
fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use safeport_mqtt::TopicFilter;

    /// Sessions' lists beside a tree, as the broker keeps them.
    struct Book {
        tree: SubscriptionTree,
        lists: BTreeMap<u32, Vec<SubscriptionRef>>,
    }

    impl Book {
        fn new() -> Self {
            Self {
                tree: SubscriptionTree::new(1),
                lists: BTreeMap::new(),
            }
        }

        fn subscribe(&mut self, session: u32, filter: &str) -> Option<u32> {
            let parsed = TopicFilter::new(filter).unwrap();
            self.tree.subscribe(
                SessionId(session),
                self.lists.entry(session).or_default(),
                parsed.filter(),
                parsed.share_group(),
                Options(0),
                session,
            )
        }

        fn unsubscribe(&mut self, session: u32, filter: &str) -> Option<(String, u32)> {
            let parsed = TopicFilter::new(filter).unwrap();
            let mut list = self.lists.remove(&session).unwrap_or_default();
            let slot = self
                .tree
                .find(
                    SessionId(session),
                    &list,
                    parsed.filter(),
                    parsed.share_group(),
                )
                .expect("subscribed");
            let lists = &mut self.lists;
            let interest = self.tree.remove(&mut list, slot, |other, slot, position| {
                lists.get_mut(&other.0).unwrap()[slot as usize].set_position(position);
            });
            self.lists.insert(session, list);
            interest
        }

        /// Every pointer leads to an entry that points back.
        fn check(&self) {
            for (session, list) in &self.lists {
                for (slot, reference) in list.iter().enumerate() {
                    let entries = self.tree.subscribers(reference.node, reference.group);
                    let entry = entries[reference.position as usize];
                    assert_eq!((entry.session.0, entry.slot), (*session, slot as u32));
                }
            }
        }
    }

    #[test]
    fn lists_and_tree_point_at_each_other_after_any_changes() {
        let filters = [
            "a",
            "a/+",
            "a/#",
            "#",
            "+/b",
            "$share/g/a",
            "$share/h/a",
            "$share/g/#",
        ];
        let mut book = Book::new();
        let mut has = BTreeSet::new();
        let mut random = 7u64;
        for _ in 0..5_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let session = (random >> 40) as u32 % 9;
            let filter = filters[(random >> 33) as usize % filters.len()];
            if has.remove(&(session, filter)) {
                book.unsubscribe(session, filter);
            } else {
                book.subscribe(session, filter);
                has.insert((session, filter));
            }
            book.check();
            assert_eq!(book.tree.len(), has.len() as u64);
        }
        for (session, filter) in has {
            book.unsubscribe(session, filter);
            book.check();
        }
        assert!(book.tree.is_empty());
    }

    #[test]
    fn matching_agrees_with_the_filter_itself() {
        let levels = ["a", "b", "", "$x"];
        let mut topics = Vec::new();
        for a in levels {
            topics.push(String::from(a));
            for b in levels {
                topics.push(alloc::format!("{a}/{b}"));
                topics.extend(levels.iter().map(|c| alloc::format!("{a}/{b}/{c}")));
            }
        }
        topics.retain(|topic| !topic.is_empty());
        let wild = ["a", "b", "", "$x", "+", "#"];
        let mut filters = Vec::new();
        for a in wild {
            filters.push(String::from(a));
            for b in wild {
                filters.push(alloc::format!("{a}/{b}"));
                filters.extend(wild.iter().map(|c| alloc::format!("{a}/{b}/{c}")));
            }
        }
        filters.retain(|filter| TopicFilter::new(filter).is_ok());
        let mut book = Book::new();
        for (session, filter) in filters.iter().enumerate() {
            book.subscribe(session as u32, filter);
        }
        let mut matches = Matches::default();
        for topic in &topics {
            book.tree.matches(topic, None, &mut matches);
            let got: BTreeSet<u32> = matches.receivers.iter().map(|r| r.session.0).collect();
            let expected: BTreeSet<u32> = (0..filters.len() as u32)
                .filter(|&n| {
                    TopicFilter::new(&filters[n as usize])
                        .unwrap()
                        .matches(topic)
                })
                .collect();
            assert_eq!(got, expected, "{topic}");
            assert_eq!(got.len(), matches.receivers.len(), "each once");
        }
    }

    #[test]
    fn overlaps_are_found_after_the_generations_have_gone_round() {
        let mut book = Book::new();
        book.subscribe(20, "t");
        book.subscribe(20, "+");
        let mut matches = Matches {
            generation: u32::MAX - 2,
            ..Matches::default()
        };
        // Each round brings a session that has no mark of its own yet.
        for round in 0..5 {
            book.tree.matches("t", None, &mut matches);
            assert_eq!(matches.receivers.len(), 1 + round);
            book.subscribe(round as u32, "+");
        }
    }

    #[test]
    fn peers_hear_of_the_first_and_the_last_and_of_each_member_of_a_group() {
        let mut book = Book::new();
        assert_eq!(book.subscribe(0, "t"), Some(1));
        assert_eq!(book.subscribe(1, "t"), None);
        assert_eq!(book.subscribe(1, "t"), None, "again");
        assert_eq!(book.unsubscribe(0, "t"), None);
        assert_eq!(book.unsubscribe(1, "t"), Some(("t".into(), 0)));
        assert_eq!(book.subscribe(0, "$share/g/t"), Some(1));
        assert_eq!(book.subscribe(1, "$share/g/t"), Some(2));
        let left = |members| Some(("$share/g/t".into(), members));
        assert_eq!(book.unsubscribe(0, "$share/g/t"), left(1));
        assert_eq!(book.unsubscribe(1, "$share/g/t"), left(0));
    }

    #[test]
    fn an_interest_that_ends_before_it_began_leaves_nothing() {
        let mut tree = SubscriptionTree::new(1);
        for filter in ["a/b", "$share/g/a/b"] {
            tree.set_peer_interest(1, filter, 0);
            assert!(tree.is_empty());
            tree.set_peer_interest(1, filter, 2);
            tree.set_peer_interest(2, filter, 1);
            tree.set_peer_interest(1, filter, 0);
            assert!(!tree.is_empty());
            tree.set_peer_interest(2, filter, 0);
            assert!(tree.is_empty());
        }
    }
}
