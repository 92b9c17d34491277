//! A fixed number of messages, each with its number in it: published until all are acknowledged, and
//! counted off where they arrive.

use super::crew::{Audience, Crew, Delivery};
use super::link::Link;
use super::report::Exactness;
use super::traffic::{DOUBLES_MAY_FOLLOW, MAX_BACKLOG, filling, last_ack};
use super::wire::{self, PublishTemplate};
use super::{LoadError, Target, client_id};
use safeport_mqtt::{AckKind, QoS};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Bytes of a payload that say what it is: its number and the run's own mark (4 each, big endian).
pub(super) const STAMP: usize = 8;

/// What all messages of a run have in common.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    /// Topics are `name/` and seven digits, and `/state` behind them if retained: a level for each
    /// device and one for what it tells, as devices have it.
    pub(super) name: &'a str,
    /// How many.
    pub(super) messages: u32,
    /// Payload length in bytes.
    pub(super) payload: usize,
    pub(super) qos: QoS,
    /// Set retained, each on the topic of its number. Otherwise each publisher has one topic.
    pub(super) retain: bool,
}

impl Batch<'_> {
    fn topic(&self) -> String {
        let leaf = if self.retain { "/state" } else { "" };
        format!("{}/0000000{leaf}", self.name)
    }

    /// Tells messages of this run from those of others.
    fn mark(&self) -> u32 {
        self.name.bytes().fold(17, |mark: u32, byte| {
            mark.wrapping_mul(31).wrapping_add(byte.into())
        })
    }
}

/// Publishers that share a [`Batch`]: number `n` is sent by publisher `n % publishers`.
pub(super) struct Publishers<'a> {
    batch: Batch<'a>,
    template: PublishTemplate,
    digits_at: usize,
    publishers: Vec<Publisher>,
    woken: Vec<usize>,
    /// By number.
    pub(super) acknowledged: Vec<bool>,
    /// How many of them, and when the last one was.
    pub(super) count: u32,
    pub(super) last_at: Instant,
}

struct Publisher {
    link: usize,
    /// The number of its next message.
    next: u32,
    window: u32,
    next_id: u16,
    /// Unacknowledged messages by packet identifier.
    pending: HashMap<u16, u32>,
}

impl<'a> Publishers<'a> {
    /// Opens them as the first links of `crew`.
    pub(super) fn open(
        target: &Target,
        batch: Batch<'a>,
        publishers: u32,
        window: u32,
        crew: &mut Crew,
    ) -> Result<Self, LoadError> {
        let mut opened = Vec::new();
        for publisher in 0..publishers {
            let client_id = client_id(batch.name, "pub", publisher);
            let link = Link::open(target, &client_id, None)?;
            opened.push(Publisher {
                window: window.min(link.receive_maximum.into()),
                link: crew.add(link)?,
                next: publisher,
                next_id: 1,
                pending: HashMap::new(),
            });
        }
        let template = wire::publish(
            target.version,
            &batch.topic(),
            batch.qos,
            batch.retain,
            &filling(batch.payload),
        );
        Ok(Publishers {
            digits_at: template.topic_at + batch.name.len() + 1,
            template,
            woken: (0..opened.len()).collect(),
            publishers: opened,
            acknowledged: vec![false; batch.messages as usize],
            count: 0,
            last_at: Instant::now(),
            batch,
        })
    }

    /// Publishes until `enough` messages are acknowledged, or until no acknowledgement has come for
    /// `silence`.
    pub(super) fn run(
        &mut self,
        crew: &mut Crew,
        enough: u32,
        silence: Duration,
    ) -> Result<(), LoadError> {
        self.last_at = Instant::now();
        while self.count < enough && self.last_at.elapsed() < silence {
            let mut wait = Duration::from_millis(50);
            for publisher in std::mem::take(&mut self.woken) {
                if self.top_up(crew, publisher) {
                    wait = Duration::ZERO;
                }
            }
            crew.turn(wait, self)?;
        }
        Ok(())
    }

    /// Deletes what was set: an empty retained message on every topic.
    pub(super) fn delete(
        mut self,
        target: &Target,
        crew: &mut Crew,
        silence: Duration,
    ) -> Result<(), LoadError> {
        let name = self.batch.name;
        self.template = wire::publish(
            target.version,
            &self.batch.topic(),
            self.batch.qos,
            true,
            &[],
        );
        self.batch.payload = 0;
        self.count = 0;
        self.acknowledged.fill(false);
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            publisher.next = number as u32;
        }
        self.digits_at = self.template.topic_at + name.len() + 1;
        self.woken = (0..self.publishers.len()).collect();
        self.run(crew, self.batch.messages, silence)
    }

    fn top_up(&mut self, crew: &mut Crew, index: usize) -> bool {
        let step = self.publishers.len() as u32;
        let publisher = &mut self.publishers[index];
        while publisher.next < self.batch.messages
            && (publisher.pending.len() as u32) < publisher.window
        {
            if crew.links[publisher.link].backlog() >= MAX_BACKLOG {
                self.woken.push(index);
                return true;
            }
            let number = publisher.next;
            publisher.next += step;
            let packet = &mut self.template.bytes;
            let topic = if self.batch.retain {
                number
            } else {
                index as u32
            };
            wire::put_digits(&mut packet[self.digits_at..self.digits_at + 7], topic);
            if let Some(at) = self.template.id_at {
                packet[at..at + 2].copy_from_slice(&publisher.next_id.to_be_bytes());
                publisher.pending.insert(publisher.next_id, number);
                publisher.next_id = publisher.next_id.checked_add(1).unwrap_or(1);
            }
            if self.batch.payload >= STAMP {
                let stamp = u64::from(number) << 32 | u64::from(self.batch.mark());
                packet[self.template.payload_at..][..STAMP].copy_from_slice(&stamp.to_be_bytes());
            }
            crew.out(publisher.link).extend_from_slice(packet);
        }
        false
    }
}

impl Audience for Publishers<'_> {
    fn delivered(
        &mut self,
        _crew: &mut Crew,
        _link: usize,
        delivery: &Delivery<'_>,
    ) -> Result<(), LoadError> {
        // Nobody has subscribed.
        Err(LoadError::Foreign(delivery.payload.len()))
    }

    fn acknowledged(&mut self, crew: &mut Crew, link: usize, kind: AckKind, id: u16) {
        if kind != last_ack(self.batch.qos) {
            return;
        }
        let sender = self
            .publishers
            .iter_mut()
            .enumerate()
            .find(|(_, publisher)| publisher.link == link);
        if let Some((index, publisher)) = sender
            && let Some(number) = publisher.pending.remove(&id)
        {
            self.acknowledged[number as usize] = true;
            self.count += 1;
            self.last_at = crew.now;
            self.woken.push(index);
        }
    }

    fn writable(&mut self, link: usize) {
        let index = self.publishers.iter().position(|p| p.link == link);
        self.woken.extend(index);
    }
}

/// Counts messages of a [`Batch`] off as they reach one subscriber.
pub(super) struct Tally<'a> {
    batch: Batch<'a>,
    /// What follows the stamp.
    rest: Vec<u8>,
    /// By number: what has to come, and what has.
    expected: Vec<bool>,
    seen: Vec<bool>,
    /// Messages seen, and how many of the expected ones are still missing.
    pub(super) count: u32,
    missing: u64,
    /// By publisher: the highest number seen. `None` where order is not promised.
    highest: Option<Vec<Option<u32>>>,
    /// When the last of them came.
    pub(super) last_at: Instant,
    duplicated: u64,
    reordered: u64,
    altered: u64,
}

impl<'a> Tally<'a> {
    /// `expected` says by number what has to come; others may. `publishers` are those that keep their
    /// order, `None` where each message has a topic of its own.
    pub(super) fn new(batch: Batch<'a>, expected: &[bool], publishers: Option<u32>) -> Self {
        Tally {
            expected: expected.to_vec(),
            missing: expected.iter().filter(|expected| **expected).count() as u64,
            rest: filling(batch.payload)[STAMP..].to_vec(),
            seen: vec![false; batch.messages as usize],
            count: 0,
            highest: publishers.map(|publishers| vec![None; publishers as usize]),
            last_at: Instant::now(),
            duplicated: 0,
            reordered: 0,
            altered: 0,
            batch,
        }
    }

    /// Takes what comes until all that is expected is here, or until nothing has come for `silence`;
    /// then a moment longer, for those that should not come.
    pub(super) fn listen(&mut self, crew: &mut Crew, silence: Duration) -> Result<(), LoadError> {
        self.last_at = Instant::now();
        while self.missing > 0 && self.last_at.elapsed() < silence {
            crew.turn(Duration::from_millis(50), self)?;
        }
        let end = Instant::now() + DOUBLES_MAY_FOLLOW;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            crew.turn(left, self)?;
        }
        Ok(())
    }

    /// The verdict.
    pub(super) fn exactness(&self) -> Exactness {
        Exactness {
            expected: self.expected.iter().filter(|expected| **expected).count() as u64,
            lost: self.missing,
            duplicated: self.duplicated,
            reordered: self.reordered,
            altered: self.altered,
            unacknowledged: 0,
        }
    }

    fn count_off(&mut self, delivery: &Delivery<'_>) -> Result<(), LoadError> {
        let foreign = LoadError::Foreign(delivery.payload.len());
        let Some((stamp, rest)) = delivery.payload.split_first_chunk::<STAMP>() else {
            return Err(foreign);
        };
        let stamp = u64::from_be_bytes(*stamp);
        let (number, mark) = ((stamp >> 32) as u32, stamp as u32);
        if number >= self.batch.messages || mark != self.batch.mark() {
            return Err(foreign);
        }
        if rest != self.rest
            || delivery.qos != self.batch.qos as u8
            || delivery.retain != self.batch.retain
        {
            self.altered += 1;
        }
        if std::mem::replace(&mut self.seen[number as usize], true) {
            self.duplicated += 1;
            return Ok(());
        }
        self.count += 1;
        self.missing -= u64::from(self.expected[number as usize]);
        if let Some(highest) = &mut self.highest {
            let publisher = number as usize % highest.len();
            let highest = &mut highest[publisher];
            if highest.is_some_and(|highest| highest > number) {
                self.reordered += 1;
            } else {
                *highest = Some(number);
            }
        }
        Ok(())
    }
}

impl Audience for Tally<'_> {
    fn delivered(
        &mut self,
        crew: &mut Crew,
        _link: usize,
        delivery: &Delivery<'_>,
    ) -> Result<(), LoadError> {
        self.last_at = crew.now;
        self.count_off(delivery)
    }

    fn acknowledged(&mut self, _crew: &mut Crew, _link: usize, _kind: AckKind, _id: u16) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Batch<'_> = Batch {
        name: "load/test",
        messages: 6,
        payload: 10,
        qos: QoS::AtLeastOnce,
        retain: false,
    };

    fn arrive(tally: &mut Tally<'_>, number: u32, qos: u8) -> Result<(), LoadError> {
        let mut payload = filling(BATCH.payload);
        let stamp = u64::from(number) << 32 | u64::from(BATCH.mark());
        payload[..STAMP].copy_from_slice(&stamp.to_be_bytes());
        tally.count_off(&Delivery {
            qos,
            retain: false,
            topic: b"load/test/0000000",
            payload: &payload,
        })
    }

    #[test]
    fn a_tally_tells_lost_doubled_reordered_and_altered_messages_apart() {
        // What was never acknowledged need not come.
        for (acknowledged, lost) in [([true; 6], 1), ([true, true, true, true, true, false], 0)] {
            let mut tally = Tally::new(BATCH, &acknowledged, Some(2));
            // 4 before 2 of the same publisher; 1 twice; 3 with the wrong QoS; 5 never.
            for (number, qos) in [(0, 1), (4, 1), (2, 1), (1, 1), (1, 1), (3, 0)] {
                arrive(&mut tally, number, qos).expect("ours");
            }
            let found = tally.exactness();
            assert_eq!((found.expected, found.lost), (5 + lost, lost));
            assert_eq!(
                (found.duplicated, found.reordered, found.altered),
                (1, 1, 1)
            );
        }
    }

    #[test]
    fn a_message_of_another_run_is_not_counted() {
        let mut tally = Tally::new(BATCH, &[true; 6], None);
        assert!(arrive(&mut tally, 6, 1).is_err());
        let other = Delivery {
            qos: 1,
            retain: false,
            topic: b"load/test/0000000",
            payload: &[0; 10],
        };
        assert!(tally.count_off(&other).is_err());
        assert_eq!(tally.count, 0);
    }
}
