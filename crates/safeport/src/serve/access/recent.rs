//! A bounded memory: what was used lately stays, what was not is forgotten.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map of at most two generations of `capacity` entries. When the younger generation is full it
/// becomes the older one, and what was the older one is forgotten; reading an old entry makes it
/// young again. So an entry survives at least `capacity` insertions of others, at constant cost.
#[derive(Debug)]
pub(in crate::serve) struct Recent<K, V> {
    capacity: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(in crate::serve) fn new(capacity: usize) -> Recent<K, V> {
        Recent {
            capacity,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(in crate::serve) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // The older generation is mostly empty; finding nothing in it need not cost a hash.
        if !self.old.is_empty()
            && !self.young.contains_key(key)
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(in crate::serve) fn insert(&mut self, key: K, value: V) {
        if !self.old.is_empty() {
            self.old.remove(&key);
        }
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(in crate::serve) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    pub(in crate::serve) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten_within_the_bound() {
        let mut recent = Recent::new(10);
        recent.insert(0, "kept");
        for number in 1..1000 {
            recent.insert(number, "");
            assert!(recent.get(&0).is_some(), "after {number}");
            assert!(recent.len() <= 20);
        }
        assert!(recent.get(&1).is_none());
        assert!(recent.get(&999).is_some());
    }

    #[test]
    fn an_entry_survives_as_many_others_as_the_capacity() {
        let mut recent = Recent::new(10);
        recent.insert(0, ());
        for number in 1..=10 {
            recent.insert(number, ());
        }
        assert!(recent.get(&0).is_some());
    }
}
