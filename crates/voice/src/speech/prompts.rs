//! Speech that is there already.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::limits::PROMPT_BYTES;

/// A packet of speech.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// 60 ms at 24 kHz, as [`Packer`](super::Packer) makes them.
    Ours(Arc<[u8]>),
    /// As a provider made it.
    Theirs(Arc<[u8]>),
}

impl Packet {
    fn bytes(&self) -> usize {
        match self {
            Packet::Ours(packet) | Packet::Theirs(packet) => packet.len() + OVERHEAD,
        }
    }
}

/// What was spoken and will be again, encoded: greetings, notices, apologies. At most [`PROMPT_BYTES`].
#[derive(Debug, Default)]
pub struct Prompts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By voice and text.
    prompts: HashMap<(Box<str>, Box<str>), Prompt>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Prompt {
    packets: Arc<[Packet]>,
    bytes: usize,
    used: u64,
}

impl Prompts {
    /// What this voice said of this text. `voice` names all that makes it sound different from others.
    pub fn get(&self, voice: &str, text: &str) -> Option<Arc<[Packet]>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let clock = kept.clock;
        let prompt = kept.prompts.get_mut(&(voice.into(), text.into()))?;
        prompt.used = clock;
        Some(prompt.packets.clone())
    }

    /// Keeps it, and forgets others if it becomes too much.
    pub fn insert(&self, voice: &str, text: &str, packets: Vec<Packet>) {
        let bytes = packets.iter().map(Packet::bytes).sum::<usize>() + voice.len() + text.len();
        if bytes > PROMPT_BYTES / 8 {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let prompt = Prompt {
            packets: packets.into(),
            bytes,
            used: kept.clock,
        };
        if let Some(old) = kept.prompts.insert((voice.into(), text.into()), prompt) {
            kept.bytes -= old.bytes;
        }
        kept.bytes += bytes;
        while kept.bytes > PROMPT_BYTES {
            let oldest = kept.prompts.iter().min_by_key(|(_, prompt)| prompt.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some(old) = kept.prompts.remove(&key) {
                kept.bytes -= old.bytes;
            }
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

/// What is played where no voice can be had: that there is none. Packets of 60 ms at 24 kHz; Chinese for `zh`, English
/// for all others.
pub fn no_voice(language: Option<&str>) -> Vec<Arc<[u8]>> {
    match language {
        Some(language) if language.starts_with("zh") => NO_VOICE_ZH.clone(),
        _ => NO_VOICE_EN.clone(),
    }
}

// “My voice is not available right now. Please look at the server.” and “语音服务暂时不可用，请检查服务器。”, spoken by
// espeak-ng (voices en-us and cmn) and encoded by examples/encode.rs with 22050 as its argument.
static NO_VOICE_EN: LazyLock<Vec<Arc<[u8]>>> =
    LazyLock::new(|| read(include_bytes!("../../prompts/no-voice.en.packets")));
static NO_VOICE_ZH: LazyLock<Vec<Arc<[u8]>>> =
    LazyLock::new(|| read(include_bytes!("../../prompts/no-voice.zh.packets")));

/// Packets behind their lengths, as `examples/encode.rs` writes them.
fn read(mut bytes: &[u8]) -> Vec<Arc<[u8]>> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        packets.push(packet.into());
        bytes = rest;
    }
    packets
}

/// Of a packet in memory.
const OVERHEAD: usize = 40;
