//! What must hold of what providers send and of the sound of devices, for any bytes at all.

use safeport_voice::{
    AnswerReader, Decoder, Ear, FailureKind, Part, Patience, Rate, Sentences, Sound, SoundReader,
    SpeechFormat, ToolCall, limits,
};

/// The answer of a chat model. The first byte says where the rest is cut: however it is cut, the
/// same text, the same calls and the same failure come out, and all of them within the limits.
pub fn answers(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let read = |size: usize| {
        let mut reader = AnswerReader::new(7);
        let mut parts = Vec::new();
        let mut pieces = data.chunks(size);
        let read = pieces.try_for_each(|piece| reader.feed(piece, &mut parts));
        let read = read.and_then(|()| reader.finish(&mut parts));
        if read.is_ok() {
            assert!(reader.could_end() || reader.has_ended());
        }
        (said(&parts), read.map_err(|error| error.kind()))
    };
    let whole = read(data.len().max(1));
    assert_eq!(whole, read(usize::from(cut % 16) + 1));
    let ((text, calls), _) = whole;
    assert!(text.len() <= limits::ANSWER_TEXT_BYTES);
    assert!(calls.len() <= limits::ANSWER_CALLS);
    for (at, call) in calls.iter().enumerate() {
        assert!(!call.name.is_empty() && !call.arguments.is_empty());
        assert!(calls[..at].iter().all(|other| other.id != call.id));
    }
}

/// Text and calls, however many parts they came in.
fn said(parts: &[Part]) -> (String, Vec<ToolCall>) {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::Call(call) => calls.push(call.clone()),
        }
    }
    (text, calls)
}

/// The sound of a sentence. The first byte says what was asked for and where the rest is cut:
/// however it is cut, the same samples and packets come out.
pub fn sounds(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let asked = match first % 3 {
        0 => SpeechFormat::Pcm { rate: 24_000 },
        1 => SpeechFormat::Wav,
        _ => SpeechFormat::Opus,
    };
    let whole = heard(asked, data, data.len().max(1));
    assert_eq!(whole, heard(asked, data, usize::from(first / 3 % 16) + 1));
}

type Heard = (Option<u32>, Vec<i16>, Vec<Vec<u8>>, Result<(), FailureKind>);

fn heard(asked: SpeechFormat, data: &[u8], size: usize) -> Heard {
    let mut reader = SoundReader::new(asked);
    let mut sound = Vec::new();
    let mut pieces = data.chunks(size);
    let read = pieces.try_for_each(|piece| reader.feed(piece, &mut sound));
    let read = read.and_then(|()| reader.finish());
    let (mut told, mut all, mut packets) = (None, Vec::new(), Vec::new());
    for piece in sound {
        match piece {
            Sound::Samples { rate, samples } => {
                assert!(limits::SOUND_RATES.contains(&rate) && !samples.is_empty());
                assert_eq!(*told.get_or_insert(rate), rate);
                all.extend(samples);
            }
            Sound::Opus(packet) => {
                assert!((1..=limits::PACKET_BYTES).contains(&packet.len()));
                packets.push(packet.to_vec());
            }
        }
    }
    assert!(2 * all.len() <= data.len());
    (told, all, packets, read.map_err(|error| error.kind()))
}

/// The text of a model. However it is cut into pieces, the same sentences come out, and none is
/// empty.
pub fn sentences(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = |size: usize| {
        let mut reader = Sentences::default();
        let mut ready = Vec::new();
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(size) {
            reader.push(&piece.iter().collect::<String>());
            ready.extend(std::iter::from_fn(|| reader.next()));
        }
        reader.finish();
        ready.extend(std::iter::from_fn(|| reader.next()));
        ready
    };
    let whole = read(data.len().max(1));
    assert_eq!(whole, read(1));
    assert_eq!(whole, read(7));
    for sentence in &whole {
        assert!(!sentence.shown.trim().is_empty());
        let most = limits::SENTENCE_WEIGHT + limits::SENTENCE_STOPS;
        assert!(sentence.shown.chars().count() <= most);
    }
}

/// Packets of a microphone, each behind a byte of its length. Each is refused or has at most
/// 120 ms of samples, and a device that speaks properly afterwards is heard.
pub fn packets(mut data: &[u8]) {
    let mut ear = Ear::new(Patience::default()).expect("memory");
    let mut decoder = Decoder::new(Rate::Hz24000).expect("memory");
    while let Some((length, rest)) = data.split_first() {
        let (packet, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        if ear.hear(packet, |_| ()).is_ok() {
            assert!(ear.samples().len() <= Rate::Hz16000.samples(limits::PACKET_MS));
        }
        let mut samples = Vec::new();
        let read = decoder.decode(packet, &mut samples);
        assert_eq!(read.is_err(), samples.is_empty());
        assert!(samples.len() <= Rate::Hz24000.samples(limits::PACKET_MS));
    }
    // One frame of silence, 60 ms.
    ear.hear(&[0x58], |_| ()).expect("a packet");
    assert_eq!(ear.samples().len(), Rate::Hz16000.samples(60));
}
