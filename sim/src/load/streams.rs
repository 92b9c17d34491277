//! Fan-in, fan-out and pairs: streams of messages in closed loops or on a schedule.

use super::crew::{Audience, Crew, Delivery};
use super::histogram::Histogram;
use super::link::{Link, Opening};
use super::report::{Exactness, Figures};
use super::traffic::{Course, Identifiers, MAX_BACKLOG, STAMP, Stamp, filling, last_ack, measure};
use super::wire::{self, Session};
use super::{Flow, LoadError, MAX_WINDOW, Shape, Target, Timing, client_id, run_name};
use safeport_mqtt::AckKind;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn run(
    target: &Target,
    shape: Shape,
    flow: Flow,
    timing: Timing,
) -> Result<Figures, LoadError> {
    let mut crew = Crew::new(target)?;
    let mut course = Streams::open(target, shape, flow, &mut crew)?;
    let traffic = measure(target, timing, &mut crew, &mut course)?;
    drop(crew);
    course.end_sessions(target)?;
    Ok(Figures::Traffic(traffic))
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
    identifiers: Identifiers,
}

/// What a subscriber has seen: the sequence it expects next of each stream from `first` on.
struct Receiver {
    first: u32,
    next: Vec<u32>,
}

/// The shapes of [`Shape`].
struct Streams {
    streams: Vec<Stream>,
    /// By link: the stream that it publishes.
    stream_of: Vec<Option<usize>>,
    /// By link: what it receives.
    receivers: Vec<Option<Receiver>>,
    flow: Flow,
    start: Instant,
    sending: bool,
    /// Messages of the schedule that have been sent, and the time between two.
    scheduled: u64,
    interval: Option<Duration>,
    /// Streams that may have become free to send.
    woken: Vec<usize>,
    delivered: u64,
    latency: Histogram,
    faults: Exactness,
    /// Skipped (link, stream, sequence): lost, unless they still come.
    missing: BTreeSet<(usize, u32, u32)>,
    /// Clients whose sessions outlive the run unless they are ended.
    kept_sessions: Vec<String>,
}

impl Streams {
    /// Opens subscribers first, so that nothing published can miss them.
    fn open(
        target: &Target,
        shape: Shape,
        flow: Flow,
        crew: &mut Crew,
    ) -> Result<Streams, LoadError> {
        let name = run_name();
        let (subscribers, publishers) = match shape {
            Shape::FanIn { publishers } => (1, publishers),
            Shape::FanOut { subscribers } => (subscribers, 1),
            Shape::Pairs { pairs } => (pairs, pairs),
        };
        let session = if flow.durable {
            Session::Kept
        } else {
            Session::Clean
        };

        let mut receivers = Vec::new();
        let mut kept_sessions = Vec::new();
        for subscriber in 0..subscribers {
            let (filter, heard) = match shape {
                Shape::FanIn { publishers } => (format!("{name}/+"), 0..publishers),
                Shape::FanOut { .. } => (format!("{name}/0"), 0..1),
                Shape::Pairs { .. } => (format!("{name}/{subscriber}"), subscriber..subscriber + 1),
            };
            let client_id = client_id(&name, "sub", subscriber);
            let mut opening = Opening::connect(target, &client_id, session)?;
            opening.subscribe(&[&filter], flow.qos)?;
            crew.add(opening.into_link()?)?;
            if flow.durable {
                kept_sessions.push(client_id);
            }
            receivers.push(Some(Receiver {
                first: heard.start,
                next: vec![0; heard.len()],
            }));
        }
        let mut stream_of = vec![None; receivers.len()];
        let mut streams = Vec::new();
        let window = flow.reach();
        for stream in 0..publishers {
            let template = wire::publish(
                target.version,
                &format!("{name}/{stream}"),
                flow.qos,
                false,
                &filling(flow.payload),
            );
            stream_of.push(Some(streams.len()));
            receivers.push(None);
            let link = Link::open(target, &client_id(&name, "pub", stream), None)?;
            streams.push(Stream {
                identifiers: Identifiers::new(link.receive_maximum),
                link: crew.add(link)?,
                receivers: match shape {
                    Shape::FanOut { subscribers } => subscribers,
                    _ => 1,
                },
                packet: template.bytes,
                payload_at: template.payload_at,
                id_at: template.id_at,
                sent: 0,
                oldest: 0,
                owed: vec![0; window as usize],
            });
        }
        Ok(Streams {
            woken: (0..streams.len()).collect(),
            streams,
            stream_of,
            receivers,
            flow,
            start: Instant::now(),
            sending: true,
            scheduled: 0,
            interval: flow.rate.map(|rate| Duration::from_secs(1) / rate),
            delivered: 0,
            latency: Histogram::new(),
            faults: Exactness::default(),
            missing: BTreeSet::new(),
            kept_sessions,
        })
    }

    /// Sends what the schedule asks for by now, a message of each stream in turn. One that its window
    /// holds back is sent later, but counts from its scheduled time.
    fn keep_schedule(&mut self, crew: &mut Crew, interval: Duration) {
        loop {
            let due = interval.as_nanos() as u64 * self.scheduled;
            let index = (self.scheduled % self.streams.len() as u64) as usize;
            if due > self.nanoseconds(Instant::now()) || !self.may_send(index) {
                return;
            }
            self.send(crew, index, due);
            self.scheduled += 1;
        }
    }

    fn may_send(&self, index: usize) -> bool {
        let stream = &self.streams[index];
        stream.sent - stream.oldest < self.flow.reach() && stream.identifiers.has_room()
    }

    /// Appends what the window of `stream` allows; true when only the link's buffer stopped it.
    fn top_up(&mut self, crew: &mut Crew, index: usize, now: u64) -> bool {
        let mut appended = false;
        while self.may_send(index) {
            if crew.links[self.streams[index].link].backlog() >= MAX_BACKLOG {
                // Either this turn's flush makes room, or the socket is full and the event that it
                // takes bytes again wakes the stream.
                if appended {
                    self.woken.push(index);
                }
                return appended;
            }
            self.send(crew, index, now);
            appended = true;
        }
        false
    }

    fn send(&mut self, crew: &mut Crew, index: usize, at: u64) {
        let window = self.flow.reach();
        let stream = &mut self.streams[index];
        let stamp = Stamp {
            stream: index as u32,
            sequence: stream.sent,
            sent_at: at,
        };
        stream.packet[stream.payload_at..][..STAMP].copy_from_slice(&stamp.to_bytes());
        stream.identifiers.put(&mut stream.packet, stream.id_at);
        crew.out(stream.link).extend_from_slice(&stream.packet);
        stream.owed[(stream.sent % window) as usize] = stream.receivers;
        stream.sent += 1;
    }

    /// One subscriber fewer to reach for this message.
    fn settle(&mut self, index: usize, sequence: u32) {
        let window = self.flow.reach();
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

    fn nanoseconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64
    }

    /// Ends the sessions that would outlive the run, each by taking it over with a clean one.
    fn end_sessions(&self, target: &Target) -> Result<(), LoadError> {
        for client_id in &self.kept_sessions {
            Opening::connect(target, client_id, Session::Clean)?.leave()?;
        }
        Ok(())
    }
}

impl Course for Streams {
    fn turn(&mut self, crew: &mut Crew, wait: Duration) -> Result<(), LoadError> {
        let mut wait = wait;
        match self.interval.filter(|_| self.sending) {
            None if self.sending => {
                let now = self.nanoseconds(Instant::now());
                for stream in std::mem::take(&mut self.woken) {
                    if self.top_up(crew, stream, now) {
                        wait = Duration::ZERO;
                    }
                }
            }
            None => {}
            Some(interval) => {
                self.keep_schedule(crew, interval);
                // A poll can sleep no less than a millisecond, so it does not sleep at all: else the
                // generator's own waking would be most of the latency.
                wait = Duration::ZERO;
            }
        }
        if !crew.turn(wait, self)? && wait.is_zero() {
            thread::yield_now();
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant) {
        self.start = now;
    }

    fn stop_sending(&mut self) {
        self.sending = false;
    }

    fn all_done(&self) -> bool {
        self.streams
            .iter()
            .all(|stream| stream.oldest == stream.sent && stream.identifiers.open == 0)
    }

    fn progress(&self) -> (u64, u64) {
        let unacknowledged = self.streams.iter().map(|s| u64::from(s.identifiers.open));
        (self.delivered, unacknowledged.sum())
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    fn exactness(&self) -> Exactness {
        let mut exactness = self.faults;
        exactness.lost = self.missing.len() as u64;
        for (stream, source) in self.streams.iter().enumerate() {
            exactness.expected += u64::from(source.sent) * u64::from(source.receivers);
            exactness.unacknowledged += u64::from(source.identifiers.open);
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

impl Audience for Streams {
    fn acknowledged(&mut self, _crew: &mut Crew, link: usize, kind: AckKind, _id: u16) {
        if let Some(index) = self.stream_of[link]
            && kind == last_ack(self.flow.qos)
            && self.streams[index].identifiers.acknowledged()
        {
            self.woken.push(index);
        }
    }

    fn writable(&mut self, link: usize) {
        self.woken.extend(self.stream_of[link]);
    }

    fn delivered(
        &mut self,
        crew: &mut Crew,
        link: usize,
        delivery: &Delivery<'_>,
    ) -> Result<(), LoadError> {
        if delivery.qos != self.flow.qos as u8 {
            self.faults.altered += 1;
        }
        let foreign = LoadError::Foreign(delivery.payload.len());
        let Some((stamp, rest)) = Stamp::split(delivery.payload) else {
            return Err(foreign);
        };
        let Stamp {
            stream, sequence, ..
        } = stamp;
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
        let now = self.nanoseconds(crew.now);
        self.latency.add(now.saturating_sub(stamp.sent_at));
        for skipped in skipped {
            self.missing.insert((link, stream, skipped));
            self.settle(stream as usize, skipped);
        }
        self.settle(stream as usize, sequence);
        Ok(())
    }
}

impl Flow {
    /// Messages of one publisher that may be under way. A schedule does not wait for answers, but
    /// what is checked of each message has to be remembered.
    fn reach(&self) -> u32 {
        match self.rate {
            None => self.window,
            Some(_) => MAX_WINDOW,
        }
    }
}
