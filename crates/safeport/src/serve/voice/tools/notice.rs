//! Words for a device that does not talk: spoken where its firmware plays what it is told to fetch, shown otherwise.
//!
//! Firmware from 2.5 on plays a `notify` while it is idle, and answers nothing. So the file that it names lies ready for
//! [`NOTICE_FETCH`]; a device that has not come by then was busy or did not want it, and is shown the words.

use std::sync::Arc;
use std::time::Duration;

use safeport_settings::AdvertisedAddress;
use safeport_voice::{Agent, Begin, OggOpus, Scene, Told, Turn};
use safeport_xiaozhi::limits::MAX_SUBTITLES;
use safeport_xiaozhi::{Repacketizer, Subtitle, ToDevice, opus_duration};
use tokio::sync::mpsc;

use super::device::{NotSaid, Said, Say, WhyShown};
use super::reach::{Post, Unsent};
use crate::limits::{
    NOTICE_AGE, NOTICE_BYTES, NOTICE_FETCH, NOTICE_LENGTH, NOTICE_MADE, NOTICE_PACKET, NOTICE_PAUSE,
};
use crate::serve::voice::answer::without_faces;
use crate::serve::voice::notices::{Notices, Place};

/// What is needed to speak to a device that does not talk.
#[derive(Debug)]
pub struct Herald {
    /// Who speaks.
    pub agent: Arc<Agent>,
    /// Where the device fetches what is spoken.
    pub address: AdvertisedAddress,
    /// Where that lies.
    pub notices: Arc<Notices>,
}

/// Says one thing after the other to one device: while it plays, it would pass over the next.
pub(super) struct Crier {
    pub(super) device: String,
    pub(super) post: Arc<dyn Post>,
    /// How long the device may take to fetch what it was told of.
    pub(super) patience: Duration,
    /// How long it is left alone behind what it plays.
    pub(super) pause: Duration,
}

impl Crier {
    pub(super) fn new(device: &str, post: Arc<dyn Post>) -> Crier {
        Crier {
            device: device.to_owned(),
            post,
            patience: NOTICE_FETCH,
            pause: NOTICE_PAUSE,
        }
    }

    /// Until the device is gone, or nobody can want anything any more.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Say>) {
        while let Some(say) = waiting.recv().await {
            if say.is_given_up() {
                continue;
            }
            match self.speak(&say.text).await {
                Ok((lasts, _place)) => {
                    say.done(Ok(Said::Spoken));
                    tokio::time::sleep(lasts + self.pause).await;
                }
                Err(Silent::Gone) => {
                    say.done(Err(NotSaid::Gone));
                    return;
                }
                Err(Silent::Shows(why)) => {
                    let shown = self.show(&say.text);
                    say.done(shown.map(|()| Said::Shown(why)));
                }
            }
        }
    }

    /// Has it speak; how long that lasts. The file stays in its place meanwhile.
    async fn speak(&self, text: &str) -> Result<(Duration, Place), Silent> {
        let herald = self.post.herald(&self.device)?;
        if herald.agent.synthesizer.is_none() {
            return Err(WhyShown::NoVoice.into());
        }
        let mut place = herald.notices.place().ok_or(WhyShown::TooMany)?;
        let notice = Notice::make(herald.agent, text.to_owned());
        let notice = match tokio::time::timeout(NOTICE_MADE, notice).await {
            Ok(notice) => notice?,
            Err(_) => {
                let late = format!("it took longer than {} s", NOTICE_MADE.as_secs());
                return Err(WhyShown::NoSound(late).into());
            }
        };
        let lasts = notice.lasts;
        let notify = ToDevice::Notify {
            audio_url: herald.address.url(&place.path()).into(),
            subtitles: notice.subtitles(),
        };
        let notify = notify.to_json(None);
        place.put(notice.file);
        self.send(notify)?;
        match tokio::time::timeout(self.patience, place.fetched()).await {
            Ok(()) => Ok((lasts, place)),
            Err(_) => Err(WhyShown::NotFetched.into()),
        }
    }

    /// It shows the words, and rings: every firmware does.
    fn show(&self, text: &str) -> Result<(), NotSaid> {
        let alert = ToDevice::Alert {
            status: "Safeport".into(),
            message: text.into(),
            emotion: "neutral".into(),
        };
        let sent = self.send(alert.to_json(None));
        sent.map_err(|_| NotSaid::Gone)
    }

    fn send(&self, message: String) -> Result<(), Silent> {
        let sent = self.post.send(&self.device, message);
        sent.map_err(|Unsent| Silent::Gone)
    }
}

/// Why nothing is spoken.
enum Silent {
    /// It is shown instead.
    Shows(WhyShown),
    /// The device is not connected any more.
    Gone,
}

impl From<WhyShown> for Silent {
    fn from(why: WhyShown) -> Silent {
        Silent::Shows(why)
    }
}

/// What a device is to play, made.
struct Notice {
    file: Vec<u8>,
    lasts: Duration,
    /// What is shown from which millisecond on.
    lines: Vec<(u32, String)>,
}

impl Notice {
    /// Has the agent say a text.
    async fn make(agent: Arc<Agent>, text: String) -> Result<Notice, WhyShown> {
        let mut turn = Turn::start(agent, Scene::default(), Begin::Announce(text));
        let mut tape = Tape::new();
        while let Some(told) = turn.next().await {
            match told {
                Told::Sentence { shown } => {
                    tape.flush()?;
                    tape.line(&without_faces(&shown));
                }
                Told::Audio(packet) => tape.push(&packet)?,
                Told::Opus(packet) => tape.repack(&packet)?,
                Told::Failed(failure) => return Err(WhyShown::NoSound(failure.to_string())),
                Told::Heard(_) | Told::Done(_) => {}
            }
        }
        tape.flush()?;
        tape.finish()
    }

    fn subtitles(&self) -> Vec<Subtitle<'_>> {
        let lines = self.lines.iter();
        lines
            .map(|(start_ms, text)| Subtitle {
                start_ms: *start_ms,
                text: text.as_str().into(),
            })
            .collect()
    }
}

/// A notice in the making.
struct Tape {
    ogg: OggOpus,
    lines: Vec<(u32, String)>,
    /// Puts a provider's packets into those of 60 ms.
    packets: Repacketizer,
}

impl Tape {
    fn new() -> Tape {
        Tape {
            ogg: OggOpus::new(SERIAL, RATE),
            lines: Vec::new(),
            packets: Repacketizer::new(FRAME, NOTICE_PACKET),
        }
    }

    /// What is said from here on. Joins the line before where nothing was heard since, or there are enough.
    fn line(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let start_ms = self.ogg.lasts().as_millis() as u32;
        let is_full = self.lines.len() >= MAX_SUBTITLES;
        match self.lines.last_mut() {
            Some((before, line)) if is_full || *before == start_ms => {
                line.push(' ');
                line.push_str(text);
            }
            _ => self.lines.push((start_ms, text.to_owned())),
        }
    }

    fn push(&mut self, packet: &[u8]) -> Result<(), WhyShown> {
        // What firmware does not take is passed over, as if it had been lost on the way.
        let lasts = match opus_duration(packet) {
            Ok(lasts) if (SHORTEST..=LONGEST).contains(&lasts) => lasts,
            _ => return Ok(()),
        };
        if packet.len() > NOTICE_PACKET {
            return Ok(());
        }
        let bytes = self.ogg.bytes() + packet.len() + PAGE;
        if self.ogg.lasts() + lasts > NOTICE_LENGTH || bytes > NOTICE_BYTES {
            return Err(WhyShown::TooLong);
        }
        self.ogg.push(packet, lasts);
        Ok(())
    }

    fn repack(&mut self, packet: &[u8]) -> Result<(), WhyShown> {
        if let Err(error) = self.packets.push(packet) {
            tracing::debug!(target: "safeport::voice", "a packet of a voice is passed over: {error}");
        }
        let mut out = Vec::new();
        while self.packets.take(&mut out) {
            self.push(&out)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WhyShown> {
        let mut out = Vec::new();
        while self.packets.flush(&mut out) {
            self.push(&out)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Notice, WhyShown> {
        if self.ogg.is_empty() {
            return Err(WhyShown::NoSound(
                "the voice made no sound of it".to_owned(),
            ));
        }
        Ok(Notice {
            lasts: self.ogg.lasts(),
            file: self.ogg.finish(),
            lines: self.lines,
        })
    }
}

/// A file has one voice.
const SERIAL: u32 = 1;
/// Of our encoder; firmware decodes at the rate that the head of the file names, and every packet can be decoded at this
/// one.
const RATE: u32 = 24_000;
const FRAME: Duration = Duration::from_millis(60);
/// What firmware takes (78/xiaozhi-esp32, docs/notify.md).
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(120);
/// What a packet may take beside its bytes: the head of a page with all of its segments.
const PAGE: usize = 27 + 255;

/// A file lies no longer than its age.
const _: () = assert!(
    NOTICE_FETCH.as_secs() + NOTICE_LENGTH.as_secs() + NOTICE_PAUSE.as_secs()
        <= NOTICE_AGE.as_secs()
);

#[cfg(test)]
mod tests;
