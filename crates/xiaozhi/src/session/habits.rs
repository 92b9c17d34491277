//! What a version of the firmware does with what it is sent during a conversation.

use crate::{Client, Version};

/// The habits of a device in a conversation, by the version that it reported with its last check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Habits {
    /// Packets that it keeps before it plays them; more are dropped without a word. 40, and 20
    /// from firmware 2.5 on or if the version is not known.
    pub queue: u8,
    /// In `auto` mode it plays out what it has before it listens again (from firmware 2.2.2), so
    /// that nothing is cut off if the end is told a little early.
    pub drains: bool,
}

impl Habits {
    /// The habits of a device of this version. Browsers and programs have versions of their own,
    /// and drop what they have not played when the end is told.
    pub fn by(version: Option<&Version>, client: Client) -> Habits {
        let version = version.filter(|version| !version.is_empty() && client == Client::Device);
        let from = |first: &[u32]| version.is_some_and(|version| version.segments() >= first);
        Habits {
            queue: match version {
                Some(version) if version.segments() < &[2, 5][..] => 40,
                _ => 20,
            },
            drains: from(&[2, 2, 2]),
        }
    }

    /// Packets that may be on their way or waiting there at once: a few fewer than it keeps, since
    /// it may play later than we think.
    pub(super) fn most_ahead(&self) -> usize {
        usize::from(self.queue).saturating_sub(4).max(1)
    }
}
