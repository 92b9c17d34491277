//! Audio in the binary frames of a WebSocket, in every form that devices and gateways speak.

use alloc::vec::Vec;

use crate::limits::MAX_OPUS_PACKET;

/// How an Opus packet lies in a binary frame. Chosen by `websocket.version` of the check's answer
/// and announced by the device in `Protocol-Version`; an existing gateway says
/// `?from=mqtt_gateway` instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// The packet and nothing else.
    #[default]
    V1,
    /// Behind 16 bytes with a time stamp, for devices whose echo the server cancels.
    V2,
    /// Behind 4 bytes.
    V3,
    /// Our side of a gateway: its frames come in, with 16 bytes that begin with eight zeros; ours
    /// go out, with 16 that carry a sequence number.
    GatewayServer,
    /// The gateway's own side: the same the other way around.
    Gateway,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed<'a> {
    /// One Opus packet.
    Audio {
        /// The packet, 1 to 4096 bytes.
        packet: &'a [u8],
        /// Milliseconds: which played frame the microphone heard with this one. 0 where the
        /// framing has no room for it or the device does not use it.
        timestamp: u32,
    },
    /// A JSON message (type 1 of version 2 and 3). Stock firmware never sends one.
    Text(&'a [u8]),
}

/// Why a frame is not read, or a packet not framed. One bad frame is dropped; the connection
/// stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Shorter than its header.
    #[error(
        "a binary frame of {bytes} bytes is shorter than its header of {header}; the device must \
         speak the protocol version that it announced in Protocol-Version"
    )]
    Short {
        /// Size of the frame.
        bytes: usize,
        /// Size of the header.
        header: usize,
    },
    /// The header's version or type is none that exists.
    #[error(
        "a binary frame begins with {found}, which its protocol version does not know; the device \
         must speak the version that it announced in Protocol-Version"
    )]
    Unknown {
        /// The version or the type.
        found: u16,
    },
    /// The size in the header is not that of the rest.
    #[error(
        "a binary frame says that it holds {said} bytes and holds {held}; it was cut or forged, \
         and is dropped"
    )]
    Size {
        /// By the header.
        said: usize,
        /// What follows the header.
        held: usize,
    },
    /// No packet in it.
    #[error("a binary frame holds no audio; an Opus packet has at least one byte")]
    Empty,
    /// More than any Opus packet of the field.
    #[error(
        "an audio packet of {bytes} bytes is larger than {MAX_OPUS_PACKET}; send shorter frames"
    )]
    Large {
        /// Size of the packet.
        bytes: usize,
    },
}

impl Framing {
    /// The framing of this `Protocol-Version`, or `version` of a hello over WebSocket. What is
    /// none of 2 and 3 is 1, as firmware has it.
    pub fn of_version(version: u64) -> Framing {
        match version {
            2 => Framing::V2,
            3 => Framing::V3,
            _ => Framing::V1,
        }
    }

    /// What the header takes, in bytes.
    pub const fn header(self) -> usize {
        match self {
            Framing::V1 => 0,
            Framing::V3 => 4,
            Framing::V2 | Framing::GatewayServer | Framing::Gateway => 16,
        }
    }

    /// Reads a frame. The size in a header must be exactly that of the rest.
    ///
    /// # Errors
    /// What is wrong with the frame.
    pub fn decode(self, frame: &[u8]) -> Result<Framed<'_>, FramingError> {
        let header = self.header();
        let Some((head, rest)) = frame.split_at_checked(header) else {
            let bytes = frame.len();
            return Err(FramingError::Short { bytes, header });
        };
        let (said, timestamp, is_text) = match self {
            Framing::V1 => (rest.len(), 0, false),
            Framing::V2 => {
                if short(head, 0) != 2 {
                    let found = short(head, 0);
                    return Err(FramingError::Unknown { found });
                }
                (size(head, 12), word(head, 8), is_text(short(head, 2))?)
            }
            Framing::V3 => (short(head, 2).into(), 0, is_text(head[0].into())?),
            // The first eight bytes are not looked at: gateways differ in them.
            Framing::GatewayServer | Framing::Gateway => (size(head, 12), word(head, 8), false),
        };
        if said != rest.len() {
            let held = rest.len();
            return Err(FramingError::Size { said, held });
        }
        if is_text {
            return Ok(Framed::Text(rest));
        }
        check(rest)?;
        let packet = rest;
        Ok(Framed::Audio { packet, timestamp })
    }

    /// Appends a frame with this packet to `out`. `timestamp` in milliseconds and `sequence` are
    /// written where the framing has room for them.
    ///
    /// # Errors
    /// The packet is empty or too large; `out` is as it was.
    pub fn encode(
        self,
        packet: &[u8],
        timestamp: u32,
        sequence: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), FramingError> {
        check(packet)?;
        out.reserve(self.header() + packet.len());
        // Both fit: a packet has at most MAX_OPUS_PACKET bytes. Firmware reads as far as the size says
        // without a look at the frame, so it comes from the packet and from nowhere else.
        let (size, small) = (packet.len() as u32, packet.len() as u16);
        match self {
            Framing::V1 => {}
            Framing::V2 => {
                out.extend_from_slice(&[0, 2, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&timestamp.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
            }
            Framing::V3 => {
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&small.to_be_bytes());
            }
            Framing::GatewayServer => {
                out.extend_from_slice(&[1, 0]);
                out.extend_from_slice(&small.to_be_bytes());
                out.extend_from_slice(&sequence.to_be_bytes());
                out.extend_from_slice(&timestamp.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
            }
            Framing::Gateway => {
                out.extend_from_slice(&[0; 8]);
                out.extend_from_slice(&timestamp.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
            }
        }
        out.extend_from_slice(packet);
        Ok(())
    }
}

fn check(packet: &[u8]) -> Result<(), FramingError> {
    match packet.len() {
        0 => Err(FramingError::Empty),
        bytes if bytes > MAX_OPUS_PACKET => Err(FramingError::Large { bytes }),
        _ => Ok(()),
    }
}

fn is_text(kind: u16) -> Result<bool, FramingError> {
    match kind {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(FramingError::Unknown { found }),
    }
}

/// The number at `at`, which the header is long enough for.
fn short(head: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([head[at], head[at + 1]])
}

fn word(head: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn size(head: &[u8], at: usize) -> usize {
    usize::try_from(word(head, at)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const ALL: [Framing; 5] = [
        Framing::V1,
        Framing::V2,
        Framing::V3,
        Framing::GatewayServer,
        Framing::Gateway,
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    }

    fn encoded(framing: Framing, packet: &[u8], timestamp: u32, sequence: u32) -> Vec<u8> {
        let mut out = Vec::new();
        framing
            .encode(packet, timestamp, sequence, &mut out)
            .expect("it fits");
        out
    }

    #[test]
    fn vector_7_frames_are_written_byte_by_byte_as_the_field_writes_them() {
        let opus = hex("f8fffe");
        for (framing, frame) in [
            (Framing::V1, "f8fffe"),
            (Framing::V2, "0002000000000000000003c000000003f8fffe"),
            (Framing::V3, "00000003f8fffe"),
            (
                Framing::GatewayServer,
                "0100000300000007000003c000000003f8fffe",
            ),
            (Framing::Gateway, "0000000000000000000003c000000003f8fffe"),
        ] {
            assert_eq!(encoded(framing, &opus, 960, 7), hex(frame), "{framing:?}");
        }
    }

    #[test]
    fn the_packet_is_lent_out_of_the_frame_with_its_time_stamp() {
        let frame = hex("0002000000000000000003c000000003f8fffe");
        assert_eq!(
            Framing::V2.decode(&frame),
            Ok(Framed::Audio {
                packet: &frame[16..],
                timestamp: 960
            })
        );
        assert_eq!(
            Framing::V2.decode(&hex("000200010000000000000000000000027b7d")),
            Ok(Framed::Text(b"{}"))
        );
        assert_eq!(
            Framing::V3.decode(&hex("010000027b7d")),
            Ok(Framed::Text(b"{}"))
        );
    }

    #[test]
    fn a_size_that_is_not_that_of_the_frame_is_refused_both_ways() {
        let mut frame = hex("0002000000000000000003c000000003f8fffe");
        frame.pop();
        let (said, held) = (3, 2);
        assert_eq!(
            Framing::V2.decode(&frame),
            Err(FramingError::Size { said, held })
        );
        frame.extend_from_slice(&[0, 0]);
        assert_eq!(
            Framing::V2.decode(&frame),
            Err(FramingError::Size { said, held: 4 })
        );
        let forged = hex("0002000000000000000003c0ffffffff00");
        assert!(matches!(
            Framing::V2.decode(&forged),
            Err(FramingError::Size { held: 1, .. })
        ));
        assert_eq!(
            Framing::V3.decode(&hex("0000ffff00")),
            Err(FramingError::Size {
                said: 65535,
                held: 1
            })
        );
    }

    #[test]
    fn frames_of_another_version_are_not_taken_for_audio() {
        let v3 = hex("00000003f8fffe");
        assert!(matches!(
            Framing::V2.decode(&v3),
            Err(FramingError::Short { header: 16, .. })
        ));
        let other = hex("0003000000000000000003c000000003f8fffe");
        assert_eq!(
            Framing::V2.decode(&other),
            Err(FramingError::Unknown { found: 3 })
        );
        let kind = hex("0002000700000000000003c000000003f8fffe");
        assert_eq!(
            Framing::V2.decode(&kind),
            Err(FramingError::Unknown { found: 7 })
        );
    }

    #[test]
    fn no_audio_and_too_much_of_it_are_refused_and_leave_the_buffer_as_it_was() {
        let large = vec![1; MAX_OPUS_PACKET + 1];
        for framing in ALL {
            let mut out = vec![9];
            let error = framing.encode(&large, 0, 0, &mut out);
            assert_eq!(error, Err(FramingError::Large { bytes: 4097 }));
            assert_eq!(
                framing.encode(&[], 0, 0, &mut out),
                Err(FramingError::Empty)
            );
            assert_eq!(out, [9]);
            let mut full = encoded(framing, &large[..MAX_OPUS_PACKET], 1, 2);
            assert!(framing.decode(&full).is_ok());
            full.truncate(framing.header());
            assert!(framing.decode(&full).is_err());
        }
    }

    #[test]
    fn what_no_version_has_is_version_1() {
        for version in [0, 1, 4, u64::MAX] {
            assert_eq!(Framing::of_version(version), Framing::V1);
        }
        assert_eq!(Framing::of_version(2), Framing::V2);
        assert_eq!(Framing::of_version(3), Framing::V3);
    }

    proptest! {
        #[test]
        fn every_packet_comes_back_as_it_went(
            packet in proptest::collection::vec(any::<u8>(), 1..300),
            timestamp: u32,
            sequence: u32,
        ) {
            for framing in ALL {
                let frame = encoded(framing, &packet, timestamp, sequence);
                let stamp = match framing {
                    Framing::V1 | Framing::V3 => 0,
                    _ => timestamp,
                };
                let audio = Framed::Audio { packet: &packet, timestamp: stamp };
                prop_assert_eq!(framing.decode(&frame), Ok(audio));
            }
        }

        #[test]
        fn strangers_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for framing in ALL {
                if let Ok(Framed::Audio { packet, .. }) = framing.decode(&bytes) {
                    prop_assert_eq!(packet.len() + framing.header(), bytes.len());
                }
            }
        }
    }
}
