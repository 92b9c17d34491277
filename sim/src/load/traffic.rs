//! Messages from publishers to subscribers in closed loops, every delivery checked.

use super::histogram::Histogram;
use super::link::{Filled, Link};
use super::report::{Exactness, Figures, Latency, Traffic};
use super::wire::{self, Frame};
use super::{Clocks, Flow, LoadError, Shape, Target, Timing};
use mio::{Events, Interest, Poll, Token};
use safeport_mqtt::{AckKind, QoS};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a payload that say where it belongs: stream and sequence (4 each), sending time in
/// nanoseconds since the run began (8), all big endian.
pub(super) const STAMP: usize = 16;

pub(super) fn run(
    target: &Target,
    shape: Shape,
    flow: Flow,
    timing: Timing,
) -> Result<Figures, LoadError> {
    let mut run = Run::open(target, shape, flow)?;
    let start = Instant::now();
    run.start = start;

    run.turn_until(start + timing.warm_up)?;
    run.latency.clear();
    let delivered_before = run.delivered;
    let before = Clocks::read(target)?;
    run.turn_until(before.at + timing.measure)?;
    let used = Clocks::read(target)?.since(&before);
    let deliveries = run.delivered - delivered_before;
    let latency = run.latency();

    run.drain(timing.silence)?;
    Ok(Figures::Traffic(Traffic {
        deliveries,
        elapsed: used.elapsed,
        broker_cpu: used.broker,
        generator_share: used.generator_share,
        others_share: used.others_share,
        exactness: run.exactness(),
        latency,
    }))
}

/// One publisher's messages.
struct Stream {
    link: usize,
    /// Subscribers that each message must reach.
    receivers: u32,
    packet: Vec<u8>,
    payload_at: usize,
    id_at: Option<usize>,
    /// Messages handed to the link so far; the next one has this sequence.
    sent: u32,
    /// The first message that has not reached every subscriber.
    oldest: u32,
    /// Subscribers that message `sequence` still has to reach, at `sequence % window`.
    owed: Vec<u32>,
    next_id: u16,
    /// Sent with QoS 1 or 2 and not yet acknowledged to the end.
    unacknowledged: u32,
}

/// What a subscriber has seen: the sequence it expects next of each stream from `first` on.
struct Receiver {
    first: u32,
    next: Vec<u32>,
}

struct Run {
    poll: Poll,
    links: Vec<Link>,
    streams: Vec<Stream>,
    /// By link: the stream that it publishes.
    stream_of: Vec<Option<usize>>,
    /// By link: what it receives.
    receivers: Vec<Option<Receiver>>,
    flow: Flow,
    address: std::net::SocketAddr,
    start: Instant,
    sending: bool,
    /// Links to flush at the end of this turn.
    dirty: Vec<usize>,
    /// Streams that may have become free to send.
    woken: Vec<usize>,
    buffer: Vec<u8>,
    delivered: u64,
    latency: Histogram,
    faults: Exactness,
    /// Skipped (link, stream, sequence): lost, unless they still come.
    missing: BTreeSet<(usize, u32, u32)>,
}

impl Run {
    /// Opens subscribers first, so that nothing published can miss them.
    fn open(target: &Target, shape: Shape, flow: Flow) -> Result<Run, LoadError> {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!(
            "load/{:08x}{:x}",
            seconds.as_millis() as u32,
            std::process::id()
        );
        let (subscribers, publishers) = match shape {
            Shape::FanIn { publishers } => (1, publishers),
            Shape::FanOut { subscribers } => (subscribers, 1),
            Shape::Pairs { pairs } => (pairs, pairs),
        };

        let mut links = Vec::new();
        let mut receivers = Vec::new();
        for subscriber in 0..subscribers {
            let (filter, heard) = match shape {
                Shape::FanIn { publishers } => (format!("{name}/+"), 0..publishers),
                Shape::FanOut { .. } => (format!("{name}/0"), 0..1),
                Shape::Pairs { .. } => (format!("{name}/{subscriber}"), subscriber..subscriber + 1),
            };
            let client_id = format!("{name}-sub-{subscriber}");
            links.push(Link::open(target, &client_id, Some((&filter, flow.qos)))?);
            receivers.push(Some(Receiver {
                first: heard.start,
                next: vec![0; heard.len()],
            }));
        }
        let mut stream_of = vec![None; links.len()];
        let mut streams = Vec::new();
        for stream in 0..publishers {
            let template = wire::publish(
                &format!("{name}/{stream}"),
                flow.qos,
                &filling(flow.payload),
            );
            streams.push(Stream {
                link: links.len(),
                receivers: match shape {
                    Shape::FanOut { subscribers } => subscribers,
                    _ => 1,
                },
                packet: template.bytes,
                payload_at: template.payload_at,
                id_at: template.id_at,
                sent: 0,
                oldest: 0,
                owed: vec![0; flow.window as usize],
                next_id: 1,
                unacknowledged: 0,
            });
            stream_of.push(Some(streams.len() - 1));
            receivers.push(None);
            links.push(Link::open(target, &format!("{name}-pub-{stream}"), None)?);
        }

        let poll = Poll::new().map_err(LoadError::Socket)?;
        for (index, link) in links.iter_mut().enumerate() {
            poll.registry()
                .register(
                    &mut link.socket,
                    Token(index),
                    Interest::READABLE | Interest::WRITABLE,
                )
                .map_err(LoadError::Socket)?;
        }
        Ok(Run {
            poll,
            woken: (0..streams.len()).collect(),
            links,
            streams,
            stream_of,
            receivers,
            flow,
            address: target.address,
            start: Instant::now(),
            sending: true,
            dirty: Vec::new(),
            buffer: vec![0; READ_BUFFER],
            delivered: 0,
            latency: Histogram::new(),
            faults: Exactness::default(),
            missing: BTreeSet::new(),
        })
    }

    fn turn_until(&mut self, end: Instant) -> Result<(), LoadError> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.turn(&mut events, end - now)?;
        }
    }

    /// Sends nothing new and waits for what is under way, until `silence` goes by without a delivery
    /// or an acknowledgement.
    fn drain(&mut self, silence: Duration) -> Result<(), LoadError> {
        self.sending = false;
        let mut events = Events::with_capacity(1024);
        let mut heard = Instant::now();
        let mut last = (0, 0);
        while !self.all_done() && heard.elapsed() < silence {
            self.turn(&mut events, Duration::from_millis(50))?;
            let open: u64 = self
                .streams
                .iter()
                .map(|s| u64::from(s.unacknowledged))
                .sum();
            if last != (self.delivered, open) {
                last = (self.delivered, open);
                heard = Instant::now();
            }
        }
        // A doubled last message would arrive right behind the first.
        self.turn_until(Instant::now() + DOUBLES_MAY_FOLLOW)
    }

    fn all_done(&self) -> bool {
        self.links.iter().all(|link| link.backlog() == 0)
            && self
                .streams
                .iter()
                .all(|stream| stream.oldest == stream.sent && stream.unacknowledged == 0)
    }

    /// One turn: send what the windows allow, write each touched socket once, wait, read.
    fn turn(&mut self, events: &mut Events, wait: Duration) -> Result<(), LoadError> {
        let mut hungry = false;
        if self.sending {
            let now = self.nanoseconds();
            for stream in std::mem::take(&mut self.woken) {
                hungry |= self.top_up(stream, now);
            }
        }
        for link in std::mem::take(&mut self.dirty) {
            self.links[link].dirty = false;
            self.links[link].flush().map_err(LoadError::Socket)?;
        }
        let wait = if hungry { Duration::ZERO } else { wait };
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(LoadError::Socket(error));
            }
            _ => {}
        }
        for event in events.iter() {
            let link = event.token().0;
            if event.is_writable() {
                self.touch(link);
                if let Some(stream) = self.stream_of[link] {
                    self.woken.push(stream);
                }
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(link)?;
            }
        }
        Ok(())
    }

    /// Appends what the window of `stream` allows; true when only the link's buffer stopped it.
    fn top_up(&mut self, index: usize, now: u64) -> bool {
        let window = self.flow.window;
        let stream = &mut self.streams[index];
        let link = &mut self.links[stream.link];
        let mut appended = false;
        while stream.sent - stream.oldest < window && stream.unacknowledged < MAX_UNACKNOWLEDGED {
            if link.backlog() >= MAX_BACKLOG {
                // Either this turn's flush makes room, or the socket is full and the event that it
                // takes bytes again wakes the stream.
                if appended {
                    self.woken.push(index);
                    self.touch(self.streams[index].link);
                }
                return appended;
            }
            let place = (index as u128) << 96 | u128::from(stream.sent) << 64 | u128::from(now);
            stream.packet[stream.payload_at..][..STAMP].copy_from_slice(&place.to_be_bytes());
            if let Some(at) = stream.id_at {
                stream.packet[at..at + 2].copy_from_slice(&stream.next_id.to_be_bytes());
                stream.next_id = stream.next_id.checked_add(1).unwrap_or(1);
                stream.unacknowledged += 1;
            }
            link.out().extend_from_slice(&stream.packet);
            stream.owed[(stream.sent % window) as usize] = stream.receivers;
            stream.sent += 1;
            appended = true;
        }
        if appended {
            self.touch(self.streams[index].link);
        }
        false
    }

    /// Reads until the socket is empty: with edge-triggered events, a short read says so.
    fn read(&mut self, index: usize) -> Result<(), LoadError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            match self.links[index].fill(&mut buffer) {
                Ok(Filled::Nothing) => break Ok(()),
                Ok(Filled::Closed) => {
                    break Err(LoadError::Closed {
                        address: self.address,
                    });
                }
                Err(error) => break Err(LoadError::Socket(error)),
                Ok(Filled::Bytes { length, more }) => {
                    match self.take_packets(index, &buffer[..length]) {
                        Ok(used) => self.links[index].keep(&buffer[used..length]),
                        Err(error) => break Err(error),
                    }
                    if !more {
                        break Ok(());
                    }
                }
            }
        };
        self.buffer = buffer;
        result
    }

    /// Takes every whole packet off `bytes` and returns how many bytes those were.
    fn take_packets(&mut self, link: usize, bytes: &[u8]) -> Result<usize, LoadError> {
        let now = self.nanoseconds();
        let mut used = 0;
        while let Some((frame, length)) = wire::next_frame(&bytes[used..])? {
            used += length;
            match frame {
                Frame::Publish { qos, id, payload } => {
                    if qos != self.flow.qos as u8 {
                        self.faults.altered += 1;
                    }
                    match qos {
                        0 => {}
                        1 => self.answer(link, AckKind::PubAck, id),
                        _ => self.answer(link, AckKind::PubRec, id),
                    }
                    self.deliver(link, payload, now)?;
                }
                Frame::Ack(AckKind::PubRec, id) => self.answer(link, AckKind::PubRel, id),
                Frame::Ack(AckKind::PubRel, id) => self.answer(link, AckKind::PubComp, id),
                Frame::Ack(kind, _) => self.acknowledged(link, kind),
                Frame::ConnAck(_) | Frame::SubAck(_) | Frame::Other(_) => {
                    return Err(LoadError::Unexpected {
                        waited_for: "PUBLISH or its acknowledgement",
                    });
                }
            }
        }
        Ok(used)
    }

    fn answer(&mut self, link: usize, kind: AckKind, id: u16) {
        wire::ack(kind, id, self.links[link].out());
        self.touch(link);
    }

    /// PUBACK ends a message of QoS 1, PUBCOMP one of QoS 2.
    fn acknowledged(&mut self, link: usize, kind: AckKind) {
        let last = match self.flow.qos {
            QoS::ExactlyOnce => AckKind::PubComp,
            _ => AckKind::PubAck,
        };
        if let Some(stream) = self.stream_of[link]
            && kind == last
        {
            let unacknowledged = &mut self.streams[stream].unacknowledged;
            *unacknowledged = unacknowledged.saturating_sub(1);
            if *unacknowledged == MAX_UNACKNOWLEDGED - 1 {
                self.woken.push(stream);
            }
        }
    }

    fn deliver(&mut self, link: usize, payload: &[u8], now: u64) -> Result<(), LoadError> {
        let foreign = LoadError::Foreign(payload.len());
        let Some((stamp, rest)) = payload.split_first_chunk::<STAMP>() else {
            return Err(foreign);
        };
        let stamp = u128::from_be_bytes(*stamp);
        let (stream, sequence) = ((stamp >> 96) as u32, (stamp >> 64) as u32);
        let sent_at = stamp as u64;

        let Some(receiver) = &mut self.receivers[link] else {
            return Err(foreign);
        };
        let Some(next) = stream
            .checked_sub(receiver.first)
            .and_then(|slot| receiver.next.get_mut(slot as usize))
        else {
            return Err(foreign);
        };
        let source = &self.streams[stream as usize];
        if sequence >= source.sent {
            return Err(foreign);
        }
        if rest != &source.packet[source.payload_at + STAMP..] {
            self.faults.altered += 1;
        }
        if sequence < *next {
            if self.missing.remove(&(link, stream, sequence)) {
                self.faults.reordered += 1;
                self.delivered += 1;
            } else {
                self.faults.duplicated += 1;
            }
            return Ok(());
        }
        // MQTT delivers a publisher's messages to one topic in order, so what was skipped will not
        // come; the loop goes on without it.
        let skipped = *next..sequence;
        *next = sequence + 1;
        self.delivered += 1;
        self.latency.add(now.saturating_sub(sent_at));
        for skipped in skipped {
            self.missing.insert((link, stream, skipped));
            self.settle(stream as usize, skipped);
        }
        self.settle(stream as usize, sequence);
        Ok(())
    }

    /// One subscriber fewer to reach for this message.
    fn settle(&mut self, index: usize, sequence: u32) {
        let window = self.flow.window;
        let stream = &mut self.streams[index];
        let owed = &mut stream.owed[(sequence % window) as usize];
        *owed = owed.saturating_sub(1);
        if *owed == 0 && sequence == stream.oldest {
            while stream.oldest < stream.sent && stream.owed[(stream.oldest % window) as usize] == 0
            {
                stream.oldest += 1;
            }
            self.woken.push(index);
        }
    }

    fn touch(&mut self, link: usize) {
        if !self.links[link].dirty {
            self.links[link].dirty = true;
            self.dirty.push(link);
        }
    }

    fn nanoseconds(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn latency(&self) -> Option<Latency> {
        Some(Latency {
            p50: self.latency.quantile(0.5)?,
            p99: self.latency.quantile(0.99)?,
            p999: self.latency.quantile(0.999)?,
        })
    }

    /// The verdict, once [`Run::drain`] is over.
    fn exactness(&self) -> Exactness {
        let mut exactness = self.faults;
        exactness.lost = self.missing.len() as u64;
        for (stream, source) in self.streams.iter().enumerate() {
            exactness.expected += u64::from(source.sent) * u64::from(source.receivers);
            exactness.unacknowledged += u64::from(source.unacknowledged);
            for receiver in self.receivers.iter().flatten() {
                let next = (stream as u32)
                    .checked_sub(receiver.first)
                    .and_then(|slot| receiver.next.get(slot as usize));
                exactness.lost += next.map_or(0, |&next| u64::from(source.sent - next));
            }
        }
        exactness
    }
}

/// What a payload holds behind its stamp: compared byte by byte on arrival.
fn filling(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + 7) as u8).collect()
}

/// One read takes at most this much.
const READ_BUFFER: usize = 256 * 1024;

/// Bytes that may wait for a socket before its stream pauses.
const MAX_BACKLOG: usize = 256 * 1024;

/// Half of all packet identifiers: none is ever used again while it may be under way.
const MAX_UNACKNOWLEDGED: u32 = 32_768;

/// How long a finished run listens for messages that should not come.
const DOUBLES_MAY_FOLLOW: Duration = Duration::from_millis(50);
