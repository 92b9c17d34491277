//! Very many wildcard filters. Each message matches two of them, one of either form, on two
//! different connections:
//!
//! ```text
//! load/RUN/0000017/+/x/#      first level known, second free
//! load/RUN/+/0000018/x/#      first level free, second known
//! ```
//!
//! A publisher's topics run through all the numbers, so that a broker gains little by remembering
//! who got the last message.

use super::crew::{Audience, Crew, Delivery};
use super::histogram::Histogram;
use super::link::{Link, Opening};
use super::report::{Exactness, Figures, Wildcards};
use super::traffic::{Course, Identifiers, MAX_BACKLOG, STAMP, Stamp, filling, last_ack, measure};
use super::wire::{self, PublishTemplate, Session};
use super::{Clocks, Flow, LoadError, Target, Timing, client_id, process, run_name};
use safeport_mqtt::{AckKind, QoS};
use std::thread;
use std::time::{Duration, Instant};

/// How many filters, on how many connections, and how many publishers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    pub(super) filters: u32,
    pub(super) connections: u32,
    pub(super) publishers: u32,
}

pub(super) fn run(
    target: &Target,
    pattern: Pattern,
    flow: Flow,
    timing: Timing,
) -> Result<Figures, LoadError> {
    let name = run_name();
    let mut crew = Crew::new(target)?;
    let mut subscribers = Vec::new();
    for subscriber in 0..pattern.connections {
        let client_id = client_id(&name, "sub", subscriber);
        subscribers.push(Opening::connect(target, &client_id, Session::Clean)?);
    }
    thread::sleep(SETTLE);
    let empty = memory(target)?;
    let before = Clocks::read(target)?;
    for (connection, subscriber) in subscribers.iter_mut().enumerate() {
        subscribe(subscriber, &name, pattern, connection as u32, flow.qos)?;
    }
    let used = Clocks::read(target)?.since(&before);
    thread::sleep(SETTLE);
    let full = memory(target)?;
    for subscriber in subscribers {
        crew.add(subscriber.into_link()?)?;
    }
    let mut course = Wild::open(target, &name, pattern, flow, &mut crew)?;
    let traffic = measure(target, timing, &mut crew, &mut course)?;
    Ok(Figures::Wildcards(Wildcards {
        filters: pattern.filters,
        subscribing: used.elapsed,
        subscribing_cpu: used.broker,
        rss: full,
        rss_per_filter: match (empty, full) {
            (Some(empty), Some(full)) => {
                Some((full as f64 - empty as f64) / f64::from(pattern.filters))
            }
            _ => None,
        },
        traffic,
    }))
}

fn memory(target: &Target) -> Result<Option<u64>, LoadError> {
    Ok(process::memory(target)?.map(|memory| memory.rss))
}

fn subscribe(
    opening: &mut Opening,
    name: &str,
    pattern: Pattern,
    connection: u32,
    qos: QoS,
) -> Result<(), LoadError> {
    let filters: Vec<String> = (connection..pattern.numbers())
        .step_by(pattern.connections as usize)
        .flat_map(|number| {
            [
                format!("{name}/{number:07}/+/x/#"),
                format!("{name}/+/{number:07}/x/#"),
            ]
        })
        .collect();
    for some in filters.chunks(FILTERS_AT_ONCE) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        opening.subscribe(&some, qos)?;
    }
    Ok(())
}

impl Pattern {
    /// Each number has a filter of either form.
    fn numbers(self) -> u32 {
        self.filters / 2
    }

    /// The numbers in the two levels of a message's topic. They are neighbours, and so on different
    /// connections: a client with two matching filters may get a message once or twice
    /// [MQTT-3.3.5-1], which could not be counted exactly.
    fn levels(self, publisher: u32, sequence: u32) -> [u32; 2] {
        let first = (u64::from(publisher) + u64::from(self.publishers) * u64::from(sequence))
            % u64::from(self.numbers());
        let first = first as u32;
        [first, (first + 1) % self.numbers()]
    }

    /// The connections that a message with these levels has to reach.
    fn receivers(self, levels: [u32; 2]) -> [usize; 2] {
        levels.map(|number| (number % self.connections) as usize)
    }
}

/// One publisher's messages.
struct Source {
    link: usize,
    sent: u32,
    /// The first message that has not reached both receivers.
    oldest: u32,
    /// Receivers that message `sequence` still has to reach, a bit each, at `sequence % window`.
    owed: Vec<u8>,
    identifiers: Identifiers,
}

struct Wild {
    pattern: Pattern,
    flow: Flow,
    template: PublishTemplate,
    /// Where the numbers of the two levels begin in the packet.
    levels_at: [usize; 2],
    sources: Vec<Source>,
    start: Instant,
    sending: bool,
    /// Sources that may have become free to send.
    woken: Vec<usize>,
    delivered: u64,
    latency: Histogram,
    faults: Exactness,
}

impl Wild {
    /// Links 0 to `connections` of the crew are the subscribers.
    fn open(
        target: &Target,
        name: &str,
        pattern: Pattern,
        flow: Flow,
        crew: &mut Crew,
    ) -> Result<Wild, LoadError> {
        let mut sources = Vec::new();
        for publisher in 0..pattern.publishers {
            let link = Link::open(target, &client_id(name, "pub", publisher), None)?;
            sources.push(Source {
                identifiers: Identifiers::new(link.receive_maximum),
                link: crew.add(link)?,
                sent: 0,
                oldest: 0,
                owed: vec![0; flow.window as usize],
            });
        }
        let template = wire::publish(
            target.version,
            &format!("{name}/0000000/0000000/x/y"),
            flow.qos,
            false,
            &filling(flow.payload),
        );
        let first = template.topic_at + name.len() + 1;
        Ok(Wild {
            pattern,
            flow,
            template,
            levels_at: [first, first + 8],
            woken: (0..sources.len()).collect(),
            sources,
            start: Instant::now(),
            sending: true,
            delivered: 0,
            latency: Histogram::new(),
            faults: Exactness::default(),
        })
    }

    fn top_up(&mut self, crew: &mut Crew, index: usize, now: u64) -> bool {
        let mut appended = false;
        loop {
            let source = &mut self.sources[index];
            if source.sent - source.oldest >= self.flow.window || !source.identifiers.has_room() {
                return false;
            }
            if crew.links[source.link].backlog() >= MAX_BACKLOG {
                if appended {
                    self.woken.push(index);
                }
                return appended;
            }
            let packet = &mut self.template.bytes;
            let levels = self.pattern.levels(index as u32, source.sent);
            for (at, number) in self.levels_at.into_iter().zip(levels) {
                wire::put_digits(&mut packet[at..at + 7], number);
            }
            let stamp = Stamp {
                stream: index as u32,
                sequence: source.sent,
                sent_at: now,
            };
            packet[self.template.payload_at..][..STAMP].copy_from_slice(&stamp.to_bytes());
            source.identifiers.put(packet, self.template.id_at);
            crew.out(source.link).extend_from_slice(packet);
            source.owed[(source.sent % self.flow.window) as usize] = 0b11;
            source.sent += 1;
            appended = true;
        }
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64
    }
}

impl Course for Wild {
    fn turn(&mut self, crew: &mut Crew, wait: Duration) -> Result<(), LoadError> {
        let mut wait = wait;
        if self.sending {
            let now = self.nanoseconds(Instant::now());
            for source in std::mem::take(&mut self.woken) {
                if self.top_up(crew, source, now) {
                    wait = Duration::ZERO;
                }
            }
        }
        crew.turn(wait, self)?;
        Ok(())
    }

    fn begin(&mut self, now: Instant) {
        self.start = now;
    }

    fn stop_sending(&mut self) {
        self.sending = false;
    }

    fn all_done(&self) -> bool {
        self.sources
            .iter()
            .all(|source| source.oldest == source.sent && source.identifiers.open == 0)
    }

    fn progress(&self) -> (u64, u64) {
        let unacknowledged = self.sources.iter().map(|s| u64::from(s.identifiers.open));
        (self.delivered, unacknowledged.sum())
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    fn exactness(&self) -> Exactness {
        let mut exactness = self.faults;
        for source in &self.sources {
            exactness.expected += 2 * u64::from(source.sent);
            exactness.unacknowledged += u64::from(source.identifiers.open);
            exactness.lost += source
                .owed
                .iter()
                .map(|owed| u64::from(owed.count_ones()))
                .sum::<u64>();
        }
        exactness
    }
}

impl Audience for Wild {
    fn delivered(
        &mut self,
        crew: &mut Crew,
        link: usize,
        delivery: &Delivery<'_>,
    ) -> Result<(), LoadError> {
        let foreign = LoadError::Foreign(delivery.payload.len());
        let Some((stamp, rest)) = Stamp::split(delivery.payload) else {
            return Err(foreign);
        };
        let Some(source) = self
            .sources
            .get_mut(stamp.stream as usize)
            .filter(|source| stamp.sequence < source.sent)
        else {
            return Err(foreign);
        };
        let receivers = self
            .pattern
            .receivers(self.pattern.levels(stamp.stream, stamp.sequence));
        let Some(place) = receivers.iter().position(|receiver| *receiver == link) else {
            return Err(LoadError::Misrouted {
                topic: String::from_utf8_lossy(delivery.topic).into_owned(),
            });
        };
        let expected = &self.template.bytes[self.template.payload_at + STAMP..];
        if rest != expected || delivery.qos != self.flow.qos as u8 {
            self.faults.altered += 1;
        }
        let owed = &mut source.owed[(stamp.sequence % self.flow.window) as usize];
        if stamp.sequence < source.oldest || *owed & 1 << place == 0 {
            self.faults.duplicated += 1;
            return Ok(());
        }
        *owed &= !(1 << place);
        self.delivered += 1;
        if *owed == 0 && stamp.sequence == source.oldest {
            while source.oldest < source.sent
                && source.owed[(source.oldest % self.flow.window) as usize] == 0
            {
                source.oldest += 1;
            }
            self.woken.push(stamp.stream as usize);
        }
        let now = self.nanoseconds(crew.now);
        self.latency.add(now.saturating_sub(stamp.sent_at));
        Ok(())
    }

    fn acknowledged(&mut self, _crew: &mut Crew, link: usize, kind: AckKind, _id: u16) {
        if let Some(index) = link.checked_sub(self.pattern.connections as usize)
            && kind == last_ack(self.flow.qos)
            && self.sources[index].identifiers.acknowledged()
        {
            self.woken.push(index);
        }
    }

    fn writable(&mut self, link: usize) {
        self.woken
            .extend(link.checked_sub(self.pattern.connections as usize));
    }
}

/// Filters in one SUBSCRIBE.
const FILTERS_AT_ONCE: usize = 100;

/// How long the broker gets to tidy up before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_two_receivers_and_all_filters_get_their_turn() {
        let pattern = Pattern {
            filters: 24,
            connections: 4,
            publishers: 5,
        };
        let mut matched = [0; 12];
        for sequence in 0..12 {
            for publisher in 0..5 {
                let levels = pattern.levels(publisher, sequence);
                let [one, other] = pattern.receivers(levels);
                assert_ne!(one, other, "{levels:?}");
                matched[levels[0] as usize] += 1;
            }
        }
        assert_eq!(matched, [5; 12]);
    }
}
