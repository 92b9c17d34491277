//! Talks with xiaozhi devices.
//!
//! A `Conversation` is one session without its transport: what the device says goes in, what it is
//! to be sent comes out. The drivers ([`websocket`]) carry both, and time.

mod conversation;
mod echo;
mod guests;
pub mod websocket;

use std::sync::Arc;
use std::time::Instant;

use safeport_xiaozhi::Time;

use self::guests::Guests;
pub use self::guests::Seat;
use crate::serve::xiaozhi::Guest;
use crate::text::{Language, Texts};

/// What conversations are made from.
pub struct Voice {
    started: Instant,
    guests: Arc<Guests>,
    texts: Arc<Texts>,
}

impl Voice {
    /// Nobody talks yet.
    pub fn new(language: Language) -> Voice {
        Voice {
            started: Instant::now(),
            guests: Arc::default(),
            texts: Arc::new(Texts::new(language)),
        }
    }

    /// A seat for this device; the conversation that it may still have elsewhere ends.
    pub fn enter(&self, guest: &Guest) -> Seat {
        self.guests.enter(&guest.name)
    }

    /// Ends the conversation of a device that was forgotten, or whose login was changed.
    pub fn disconnect(&self, name: &str) {
        self.guests.end(name);
    }

    fn now(&self) -> Time {
        Time(self.started.elapsed().as_millis() as u64)
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice")
            .field("open", &self.guests.len())
            .finish_non_exhaustive()
    }
}
