//! What the devices hear: recorded speech, and the quiet room behind it.

use std::time::Duration;

/// What one packet lasts.
pub(super) const FRAME: Duration = Duration::from_millis(60);

/// A sentence in English, spoken, with a second of quiet behind it: packets of 60 ms of Opus, each
/// behind its length. It is what the voice crate is tested with.
const LAMP: &[u8] = include_bytes!("../../../../crates/voice/tests/speech/lamp.en.packets");

/// Packets at the end of the recording in which nobody speaks.
const QUIET: usize = 14;

/// The recording.
pub(super) struct Sound {
    packets: Vec<&'static [u8]>,
}

impl Sound {
    pub(super) fn lamp() -> Sound {
        let mut packets = Vec::new();
        let mut rest = LAMP;
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((packet, behind)) = behind.split_at_checked(length) else {
                break;
            };
            packets.push(packet);
            rest = behind;
        }
        Sound { packets }
    }

    /// How many packets the sentence has, the quiet behind it included.
    pub(super) fn length(&self) -> usize {
        self.packets.len()
    }

    /// Packet `number` of somebody who says the sentence and then nothing more.
    pub(super) fn spoken(&self, number: usize) -> &'static [u8] {
        match self.packets.get(number) {
            Some(packet) => packet,
            None => self.quiet(number),
        }
    }

    /// Packet `number` of a quiet room.
    pub(super) fn quiet(&self, number: usize) -> &'static [u8] {
        self.packets[self.packets.len() - QUIET + number % QUIET]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recording_is_read_to_its_last_packet_and_goes_on_in_a_quiet_room() {
        let sound = Sound::lamp();
        assert_eq!(sound.length(), 59);
        let bytes: usize = sound.packets.iter().map(|packet| 2 + packet.len()).sum();
        assert_eq!(bytes, LAMP.len());
        assert_eq!(sound.spoken(58), sound.quiet(13));
        assert_eq!(sound.spoken(59 + QUIET * 3), sound.quiet(59));
        assert_ne!(sound.quiet(0), sound.quiet(1));
    }
}
