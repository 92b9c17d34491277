//! Who talks, once each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Conversations by the name of their device.
#[derive(Debug, Default)]
pub(super) struct Guests {
    seats: Mutex<HashMap<String, (u64, watch::Sender<bool>)>>,
    next: AtomicU64,
}

/// The place of one conversation, free again when dropped.
#[derive(Debug)]
pub struct Seat {
    guests: Arc<Guests>,
    name: String,
    number: u64,
    over: watch::Receiver<bool>,
}

impl Guests {
    /// A device talks once: it has restarted, or lost its connection without noticing, when it
    /// comes again.
    pub(super) fn enter(self: &Arc<Guests>, name: &str) -> Seat {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, over) = watch::channel(false);
        if let Some((_, before)) = self.seats().insert(name.to_owned(), (number, end)) {
            let _ = before.send(true);
        }
        Seat {
            guests: self.clone(),
            name: name.to_owned(),
            number,
            over,
        }
    }

    pub(super) fn end(&self, name: &str) {
        if let Some((_, end)) = self.seats().get(name) {
            let _ = end.send(true);
        }
    }

    pub(super) fn end_all(&self) {
        for (_, end) in self.seats().values() {
            let _ = end.send(true);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seats().len()
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<String, (u64, watch::Sender<bool>)>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns when the conversation has to end: the device has opened another one, or was
    /// forgotten.
    pub async fn over(&mut self) {
        // The sender is dropped only with the seat of this number, or after it has said so.
        let _ = self.over.wait_for(|over| *over).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.guests.seats();
        if seats
            .get(&self.name)
            .is_some_and(|(number, _)| *number == self.number)
        {
            seats.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_device_that_comes_again_ends_what_it_left_open_and_keeps_its_own_seat() {
        let guests = Arc::new(Guests::default());
        let mut first = guests.enter("kitchen");
        let mut other = guests.enter("bath");
        let mut second = guests.enter("kitchen");
        first.over().await;
        drop(first);
        assert_eq!(guests.len(), 2);
        let waits = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(waits, second.over()).await.is_err());
        guests.end("kitchen");
        second.over().await;
        assert!(tokio::time::timeout(waits, other.over()).await.is_err());
        drop((second, other));
        assert_eq!(guests.len(), 0);
    }
}
