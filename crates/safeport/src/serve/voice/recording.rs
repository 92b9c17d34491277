//! What a turn sounds like, where its agent keeps that: the packets of the device as they came, and those that it was
//! sent, as two files in memory. The thread of the [history](super::history) writes them down when the turn is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use safeport_voice::OggOpus;
use safeport_voice::limits::OGG_STEP;
use safeport_xiaozhi::opus_duration;

use crate::limits::{
    VOICE_RUN_UP, VOICE_SOUND_BYTES, VOICE_SOUND_LENGTH, VOICE_SOUND_MEMORY, VOICE_SOUND_RUN_UP,
};

/// The sound of one turn, in the making. Takes no memory for it before somebody speaks.
#[derive(Debug)]
pub(super) struct Recording {
    keep: Duration,
    /// What came before somebody was noticed: the first sound of their first word.
    run_up: VecDeque<(Box<[u8]>, Duration)>,
    heard: Track,
    said: Track,
}

/// The sound of a turn that is over.
#[derive(Debug)]
pub struct Sound {
    /// How long it is kept.
    pub keep: Duration,
    /// What was said to the device.
    pub heard: Option<SoundFile>,
    /// What the device said.
    pub said: Option<SoundFile>,
}

/// A whole file of Ogg Opus.
#[derive(Debug)]
pub struct SoundFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it plays.
    pub lasts: Duration,
    _grant: Grant,
}

/// Memory for all sound that is not written down yet.
#[derive(Debug, Default)]
pub(super) struct SoundMemory {
    granted: AtomicUsize,
    /// Files that end before their sound did.
    cut: AtomicU64,
}

/// One voice.
#[derive(Debug)]
struct Track {
    ogg: OggOpus,
    grant: Grant,
    /// There was no room for all.
    is_cut: bool,
}

/// Memory that was granted, until it is dropped.
#[derive(Debug)]
struct Grant {
    memory: Arc<SoundMemory>,
    bytes: usize,
}

impl Recording {
    /// Of a turn with this number in its conversation.
    pub(super) fn new(turn: u32, keep: Duration, memory: &Arc<SoundMemory>) -> Recording {
        // Different ones, should somebody put the two files into one.
        let serial = turn.wrapping_mul(2);
        Recording {
            keep,
            run_up: VecDeque::new(),
            heard: Track::new(serial, 16_000, memory),
            said: Track::new(serial.wrapping_add(1), 24_000, memory),
        }
    }

    /// A packet in which nobody is noticed yet.
    pub(super) fn run_up(&mut self, packet: &[u8]) {
        let Ok(lasts) = opus_duration(packet) else {
            return;
        };
        self.run_up.push_back((packet.into(), lasts));
        let is_more = |all: &VecDeque<(Box<[u8]>, Duration)>| {
            let lasts: Duration = all.iter().map(|(_, lasts)| *lasts).sum();
            let bytes: usize = all.iter().map(|(packet, _)| packet.len()).sum();
            lasts > Duration::from_millis(VOICE_RUN_UP.into()) || bytes > VOICE_SOUND_RUN_UP
        };
        while is_more(&self.run_up) {
            self.run_up.pop_front();
        }
    }

    /// A packet of who speaks.
    pub(super) fn heard(&mut self, packet: &[u8]) {
        for (packet, lasts) in std::mem::take(&mut self.run_up) {
            self.heard.push(&packet, lasts);
        }
        if let Ok(lasts) = opus_duration(packet) {
            self.heard.push(packet, lasts);
        }
    }

    /// A packet that the device was sent.
    pub(super) fn said(&mut self, packet: &[u8]) {
        if let Ok(lasts) = opus_duration(packet) {
            self.said.push(packet, lasts);
        }
    }

    /// The turn is over; `None` where nothing can be heard in it.
    pub(super) fn finish(self) -> Option<Sound> {
        let sound = Sound {
            keep: self.keep,
            heard: self.heard.finish(),
            said: self.said.finish(),
        };
        (sound.heard.is_some() || sound.said.is_some()).then_some(sound)
    }
}

impl SoundMemory {
    /// Files that end before their sound did.
    pub(super) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.granted.fetch_add(bytes, Ordering::Relaxed);
        let is_room = before + bytes <= VOICE_SOUND_MEMORY;
        if !is_room {
            self.granted.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_room
    }
}

impl Track {
    fn new(serial: u32, rate: u32, memory: &Arc<SoundMemory>) -> Track {
        Track {
            ogg: OggOpus::new(serial, rate),
            grant: Grant {
                memory: memory.clone(),
                bytes: 0,
            },
            is_cut: false,
        }
    }

    fn push(&mut self, packet: &[u8], lasts: Duration) {
        if self.is_cut {
            return;
        }
        let needed = self.ogg.bytes() + packet.len() + PAGE;
        if self.ogg.lasts() + lasts > VOICE_SOUND_LENGTH || !self.grant.grow_to(needed) {
            self.is_cut = true;
            self.grant.memory.cut.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.ogg.push(packet, lasts);
    }

    fn finish(self) -> Option<SoundFile> {
        if self.ogg.is_empty() {
            return None;
        }
        Some(SoundFile {
            lasts: self.ogg.lasts(),
            bytes: self.ogg.finish(),
            _grant: self.grant,
        })
    }
}

impl Grant {
    /// Whether there is memory for so many bytes.
    fn grow_to(&mut self, bytes: usize) -> bool {
        while self.bytes < bytes {
            let is_small = self.bytes + OGG_STEP <= VOICE_SOUND_BYTES;
            if !is_small || !self.memory.take(OGG_STEP) {
                return false;
            }
            self.bytes += OGG_STEP;
        }
        true
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.memory.granted.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a packet may take beside its bytes: the head of a page with all of its segments.
const PAGE: usize = 27 + 255;

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 ms, as many bytes as wanted.
    fn packet(bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        packet[0] = 0x58;
        packet
    }

    fn recording(memory: &Arc<SoundMemory>) -> Recording {
        Recording::new(3, Duration::from_secs(60), memory)
    }

    #[test]
    fn both_voices_are_kept_and_of_the_silence_before_only_a_moment() {
        let memory = Arc::default();
        let mut recording = recording(&memory);
        for _ in 0..1_000 {
            recording.run_up(&packet(40));
        }
        assert_eq!(memory.granted.load(Ordering::Relaxed), 0);
        for _ in 0..10 {
            recording.heard(&packet(40));
            recording.said(&packet(90));
        }
        recording.said(&packet(90));
        // What is no packet is in neither.
        recording.heard(&[]);
        recording.said(&[3]);
        let sound = recording.finish().expect("sound");
        let frame = Duration::from_millis(60);
        assert_eq!(sound.heard.expect("heard").lasts, frame * 18);
        assert_eq!(sound.said.expect("said").lasts, frame * 11);
        assert_eq!(memory.granted.load(Ordering::Relaxed), 0);
        assert_eq!(memory.cut(), 0);
    }

    #[test]
    fn a_moment_before_somebody_speaks_is_small_whatever_is_sent() {
        let memory = Arc::default();
        let mut recording = recording(&memory);
        for _ in 0..300 {
            // 2.5 ms, and as large as can be.
            let mut huge = packet(4_000);
            huge[0] = 0x80;
            recording.run_up(&huge);
            let held: usize = recording
                .run_up
                .iter()
                .map(|(packet, _)| packet.len())
                .sum();
            assert!(held <= VOICE_SOUND_RUN_UP);
        }
    }

    #[test]
    fn nothing_is_kept_of_a_turn_in_which_nobody_spoke() {
        let memory = Arc::default();
        let mut recording = recording(&memory);
        recording.run_up(&packet(40));
        assert!(recording.finish().is_none());
    }

    #[test]
    fn somebody_who_talks_for_an_hour_is_kept_for_the_longest_time_and_no_longer() {
        let memory = Arc::default();
        let mut recording = recording(&memory);
        for _ in 0..60_000 {
            recording.heard(&packet(100));
        }
        assert_eq!(memory.cut(), 1);
        let heard = recording.finish().expect("sound").heard.expect("heard");
        assert_eq!(heard.lasts, VOICE_SOUND_LENGTH);
    }

    #[test]
    fn one_conversation_and_all_of_them_have_a_most_of_memory() {
        let memory = Arc::default();
        let mut recordings = Vec::new();
        for _ in 0..=VOICE_SOUND_MEMORY / VOICE_SOUND_BYTES {
            let mut one = recording(&memory);
            for _ in 0..2_000 {
                one.heard(&packet(1_000));
            }
            assert!(one.heard.ogg.bytes() <= VOICE_SOUND_BYTES);
            recordings.push(one);
        }
        let granted = memory.granted.load(Ordering::Relaxed);
        assert!(granted <= VOICE_SOUND_MEMORY && granted > VOICE_SOUND_MEMORY - OGG_STEP);
        // For the last one nothing was left.
        let last = recordings.pop().expect("one");
        assert!(last.finish().is_none());
        let sounds: Vec<_> = recordings.into_iter().map(Recording::finish).collect();
        assert_eq!(memory.granted.load(Ordering::Relaxed), granted);
        drop(sounds);
        assert_eq!(memory.granted.load(Ordering::Relaxed), 0);
    }
}
