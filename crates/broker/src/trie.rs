//! Topic levels as a tree in one arena, found by hash: the ground under subscriptions and
//! retained messages.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Index of a node; [`ROOT`] is the empty path.
pub(crate) type NodeId = u32;
pub(crate) const ROOT: NodeId = 0;
pub(crate) const NONE: NodeId = u32::MAX;

struct Node<V> {
    parent: NodeId,
    first_child: NodeId,
    next: NodeId,
    previous: NodeId,
    /// how many children there are
    children: u32,
    level: Box<str>,
    value: V,
}

/// A tree of topic levels. A child is found by one hash of (parent, level), whatever the
/// number of its siblings; siblings are also linked, for walks by wildcard.
pub(crate) struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<NodeId>,
    index: HashTable<NodeId>,
    hasher: FixedState,
}

impl<V: Default> Trie<V> {
    /// `seed` makes the places of topics in the table unguessable, since clients choose them.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            nodes: alloc::vec![Node {
                parent: NONE,
                first_child: NONE,
                next: NONE,
                previous: NONE,
                children: 0,
                level: "".into(),
                value: V::default(),
            }],
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(crate) fn value(&self, node: NodeId) -> &V {
        &self.nodes[node as usize].value
    }

    /// The value of a node that may be gone, or stand for another path by now.
    pub(crate) fn get(&self, node: NodeId) -> Option<&V> {
        self.nodes.get(node as usize).map(|node| &node.value)
    }

    pub(crate) fn value_mut(&mut self, node: NodeId) -> &mut V {
        &mut self.nodes[node as usize].value
    }

    pub(crate) fn first_child(&self, node: NodeId) -> NodeId {
        self.nodes[node as usize].first_child
    }

    pub(crate) fn children(&self, node: NodeId) -> u32 {
        self.nodes[node as usize].children
    }

    pub(crate) fn next_sibling(&self, node: NodeId) -> NodeId {
        self.nodes[node as usize].next
    }

    pub(crate) fn level(&self, node: NodeId) -> &str {
        &self.nodes[node as usize].level
    }

    pub(crate) fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node as usize].parent
    }

    #[inline]
    pub(crate) fn child(&self, parent: NodeId, level: &str) -> Option<NodeId> {
        let hash = hash(&self.hasher, parent, level);
        self.index
            .find(hash, |&id| {
                let node = &self.nodes[id as usize];
                node.parent == parent && *node.level == *level
            })
            .copied()
    }

    pub(crate) fn find(&self, path: &str) -> Option<NodeId> {
        path.split('/')
            .try_fold(ROOT, |node, level| self.child(node, level))
    }

    /// The node of `path`, made with all its parents where missing.
    pub(crate) fn insert(&mut self, path: &str) -> NodeId {
        path.split('/')
            .fold(ROOT, |node, level| match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            })
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let next = self.first_child(parent);
        let node = Node {
            parent,
            first_child: NONE,
            next,
            previous: NONE,
            children: 0,
            level: level.into(),
            value: V::default(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        if next != NONE {
            self.nodes[next as usize].previous = id;
        }
        let above = &mut self.nodes[parent as usize];
        above.first_child = id;
        above.children += 1;
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.index
            .insert_unique(hash(hasher, parent, level), id, |&id| {
                let node = &nodes[id as usize];
                hash(hasher, node.parent, &node.level)
            });
        id
    }

    /// Removes a node that has no children.
    pub(crate) fn remove_leaf(&mut self, node: NodeId) {
        debug_assert!(node != ROOT && self.first_child(node) == NONE);
        let Node {
            parent,
            next,
            previous,
            ..
        } = self.nodes[node as usize];
        let hash = hash(&self.hasher, parent, &self.nodes[node as usize].level);
        if let Ok(entry) = self.index.find_entry(hash, |&id| id == node) {
            entry.remove();
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
        } else {
            self.nodes[parent as usize].first_child = next;
        }
        self.nodes[parent as usize].children -= 1;
        let gone = &mut self.nodes[node as usize];
        gone.level = "".into();
        gone.value = V::default();
        gone.parent = NONE;
        self.free.push(node);
    }

    /// The path that leads to `node`.
    pub(crate) fn path(&self, mut node: NodeId) -> String {
        let mut levels = Vec::new();
        while node != ROOT {
            levels.push(self.level(node));
            node = self.parent(node);
        }
        levels.reverse();
        levels.join("/")
    }

    /// Nodes, those that are free too: every id is below this.
    pub(crate) fn places(&self) -> NodeId {
        self.nodes.len() as NodeId
    }

    /// Whether only the root is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() - self.free.len() == 1 && self.index.is_empty()
    }
}

#[inline]
fn hash(state: &FixedState, parent: NodeId, level: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u32(parent);
    hasher.write(level.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_where_they_were_put_and_nowhere_else() {
        let mut trie: Trie<u32> = Trie::new(1);
        let paths = ["a", "a/b", "a/b/c", "/", "//", "a/", "/a", "", "b/a"];
        for (number, path) in paths.iter().enumerate() {
            let node = trie.insert(path);
            *trie.value_mut(node) = number as u32 + 1;
        }
        for (number, path) in paths.iter().enumerate() {
            let node = trie.find(path).unwrap();
            assert_eq!(*trie.value(node), number as u32 + 1, "{path}");
            assert_eq!(trie.path(node), *path);
        }
        for path in ["c", "a/c", "b", "a/b/c/d", "a//b", "///"] {
            assert!(
                trie.find(path).is_none_or(|node| *trie.value(node) == 0),
                "{path}"
            );
        }
    }

    #[test]
    fn removing_leaves_in_any_order_keeps_siblings_linked_and_places_are_used_again() {
        for first in 0..4 {
            for second in 0..3 {
                let mut trie: Trie<()> = Trie::new(1);
                let mut left: Vec<NodeId> = ["w", "x", "y", "z"]
                    .iter()
                    .map(|level| trie.insert(level))
                    .collect();
                for at in [first, second] {
                    trie.remove_leaf(left.remove(at));
                    let mut linked = Vec::new();
                    let mut child = trie.first_child(ROOT);
                    while child != NONE {
                        linked.push(child);
                        child = trie.next_sibling(child);
                    }
                    linked.sort();
                    assert_eq!(linked, left);
                }
                let nodes = trie.nodes.len();
                trie.insert("p");
                trie.insert("q");
                assert_eq!(trie.nodes.len(), nodes, "freed places come first");
                assert_eq!(trie.find("p").map(|node| trie.path(node)).unwrap(), "p");
            }
        }
    }
}
