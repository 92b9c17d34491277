//! How many connections a listener may have open, and who holds a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places of one listener. Connections that have become WebSockets are counted by the engine.
#[derive(Debug)]
pub(super) struct Room {
    open: AtomicUsize,
    limit: AtomicUsize,
}

/// One place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

impl Room {
    /// No connection gets in before [`Room::set_limit`].
    pub(super) fn closed() -> Arc<Room> {
        Arc::new(Room {
            open: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
        })
    }

    /// Counts for connections from now on; those that are open stay.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// A place beside `upgraded` connections that the engine holds, or `None` if all are taken.
    pub(super) fn enter(self: &Arc<Room>, upgraded: usize) -> Option<Place> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let place = Place(self.clone());
        (open + upgraded <= self.limit()).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends_and_a_lowered_limit_ends_none() {
        let room = Room::closed();
        assert!(room.enter(0).is_none());
        room.set_limit(3);
        let one = room.enter(0).expect("room for three");
        let two = room.enter(1).expect("the engine holds one");
        assert!(room.enter(1).is_none());
        drop(two);
        let _three = room.enter(1).expect("a place is free again");
        room.set_limit(1);
        assert!(room.enter(0).is_none());
        drop(one);
        assert!(room.enter(0).is_none());
    }
}
