//! What devices and agents have said to each other lately: a device that is woken again goes on where it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use safeport_voice::{Memory, Talk};
use safeport_xiaozhi::Time;

use crate::limits::{VOICE_TALK_AGE, VOICE_TALKS};

/// The talk of a device, shared by its conversations.
pub(super) type Shared = Arc<Mutex<Talk>>;

/// By the name of the device.
#[derive(Debug, Default)]
pub(super) struct Talks(Mutex<HashMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    agent: Box<str>,
    memory: Memory,
    talk: Shared,
    used: Time,
}

impl Talks {
    /// What was said with this agent; nothing if that was long ago, or it was another one.
    pub(super) fn of(&self, device: &str, agent: &str, memory: Memory, now: Time) -> Shared {
        let mut all = lock(&self.0);
        if let Some(kept) = all.get_mut(device)
            && *kept.agent == *agent
            && kept.memory == memory
            && !kept.is_old(now)
        {
            kept.used = now;
            return kept.talk.clone();
        }
        if all.len() >= VOICE_TALKS {
            all.retain(|_, kept| !kept.is_old(now) || Arc::strong_count(&kept.talk) > 1);
        }
        if all.len() >= VOICE_TALKS
            && let Some(oldest) = all.iter().min_by_key(|(_, kept)| kept.used)
        {
            let oldest = oldest.0.clone();
            all.remove(&oldest);
        }
        let kept = Kept {
            agent: agent.into(),
            memory,
            talk: Arc::new(Mutex::new(Talk::new(memory))),
            used: now,
        };
        let talk = kept.talk.clone();
        all.insert(device.to_owned(), kept);
        talk
    }

    /// Forgets what was said with a device.
    pub(super) fn forget(&self, device: &str) {
        lock(&self.0).remove(device);
    }
}

impl Kept {
    /// What is summarised is kept longer: it is little, and meant to last.
    fn is_old(&self, now: Time) -> bool {
        let age = match self.memory {
            Memory::None => VOICE_TALK_AGE,
            Memory::RollingSummary => VOICE_TALK_AGE * 48,
        };
        now.0.saturating_sub(self.used.0) > age.as_millis() as u64
    }
}

/// The talk itself, for a moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_voice::ChatMessage;

    fn talks_with(device: &str) -> (Talks, Time) {
        let talks = Talks::default();
        let now = Time(5_000);
        let talk = talks.of(device, "kitchen", Memory::None, now);
        *lock(&talk) = Talk::resume(Memory::None, vec![ChatMessage::User("hello".into())]);
        (talks, now)
    }

    #[test]
    fn a_device_that_comes_back_soon_goes_on_and_later_begins_anew() {
        let (talks, now) = talks_with("box");
        let soon = Time(now.0 + VOICE_TALK_AGE.as_millis() as u64);
        let talk = talks.of("box", "kitchen", Memory::None, soon);
        assert_eq!(lock(&talk).history().len(), 1);
        drop(talk);
        let late = Time(soon.0 + VOICE_TALK_AGE.as_millis() as u64 + 1);
        let talk = talks.of("box", "kitchen", Memory::None, late);
        assert!(lock(&talk).history().is_empty());
    }

    #[test]
    fn another_agent_and_another_device_know_nothing_of_it() {
        let (talks, now) = talks_with("box");
        let talk = talks.of("lamp", "kitchen", Memory::None, now);
        assert!(lock(&talk).history().is_empty());
        let talk = talks.of("box", "bath", Memory::None, now);
        assert!(lock(&talk).history().is_empty());
        // It was another one meanwhile.
        let talk = talks.of("box", "kitchen", Memory::None, now);
        assert!(lock(&talk).history().is_empty());
    }

    #[test]
    fn more_devices_than_are_kept_push_out_the_one_that_was_silent_longest() {
        let (talks, now) = talks_with("first");
        for number in 0..VOICE_TALKS as u64 {
            let at = Time(now.0 + 1 + number);
            drop(talks.of(&format!("box-{number}"), "kitchen", Memory::None, at));
        }
        assert_eq!(lock(&talks.0).len(), VOICE_TALKS);
        assert!(!lock(&talks.0).contains_key("first"));
    }
}
