//! Messages that flow while the clock runs, every delivery checked: what all traffic has in common.

use super::crew::{Audience, Crew};
use super::histogram::Histogram;
use super::report::{Exactness, Latency, Traffic};
use super::{Clocks, LoadError, Target, Timing};
use safeport_mqtt::{AckKind, QoS};
use std::time::{Duration, Instant};

/// Bytes of a payload that say where it belongs: stream and sequence (4 each), sending time in
/// nanoseconds since the run began (8), all big endian.
pub(super) const STAMP: usize = 16;

/// Messages that flow until told to stop, and what became of them.
pub(super) trait Course: Audience {
    /// Sends what is due and allowed, then lets the crew take one turn of at most `wait`.
    fn turn(&mut self, crew: &mut Crew, wait: Duration) -> Result<(), LoadError>;
    /// The clock of the stamps begins now.
    fn begin(&mut self, now: Instant);
    /// From now on nothing new is sent.
    fn stop_sending(&mut self);
    /// Everything sent has arrived and is acknowledged.
    fn all_done(&self) -> bool;
    /// Messages delivered and messages not yet acknowledged: while these change, more may come.
    fn progress(&self) -> (u64, u64);
    /// Times on the way; emptied when measuring begins.
    fn latency(&mut self) -> &mut Histogram;
    /// The verdict, once nothing is awaited any more.
    fn exactness(&self) -> Exactness;
}

/// Warm-up, the measured time, and then everything that is still under way.
pub(super) fn measure(
    target: &Target,
    timing: Timing,
    crew: &mut Crew,
    course: &mut impl Course,
) -> Result<Traffic, LoadError> {
    let start = Instant::now();
    course.begin(start);
    turn_until(crew, course, start + timing.warm_up)?;
    course.latency().clear();
    let delivered_before = course.progress().0;
    let before = Clocks::read(target)?;
    turn_until(crew, course, before.at + timing.measure)?;
    let used = Clocks::read(target)?.since(&before);
    let deliveries = course.progress().0 - delivered_before;
    let latency = Latency::of(course.latency());

    drain(crew, course, timing.silence)?;
    Ok(Traffic {
        deliveries,
        elapsed: used.elapsed,
        broker_cpu: used.broker,
        generator_share: used.generator_share,
        others_share: used.others_share,
        exactness: course.exactness(),
        latency,
    })
}

fn turn_until(crew: &mut Crew, course: &mut impl Course, end: Instant) -> Result<(), LoadError> {
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        course.turn(crew, end - now)?;
    }
}

/// Sends nothing new and waits for what is under way, until `silence` goes by without a delivery or
/// an acknowledgement.
fn drain(crew: &mut Crew, course: &mut impl Course, silence: Duration) -> Result<(), LoadError> {
    course.stop_sending();
    let mut heard = Instant::now();
    let mut last = (0, 0);
    while !(crew.all_written() && course.all_done()) && heard.elapsed() < silence {
        course.turn(crew, Duration::from_millis(50))?;
        let progress = course.progress();
        if last != progress {
            last = progress;
            heard = Instant::now();
        }
    }
    // A doubled last message would arrive right behind the first.
    turn_until(crew, course, Instant::now() + DOUBLES_MAY_FOLLOW)
}

/// The acknowledgement that ends a message: PUBACK at QoS 1, PUBCOMP at QoS 2.
pub(super) fn last_ack(qos: QoS) -> AckKind {
    match qos {
        QoS::ExactlyOnce => AckKind::PubComp,
        _ => AckKind::PubAck,
    }
}

/// What [`STAMP`] bytes say.
pub(super) struct Stamp {
    pub(super) stream: u32,
    pub(super) sequence: u32,
    /// Nanoseconds since the run began.
    pub(super) sent_at: u64,
}

impl Stamp {
    /// The stamp at the front of a payload, and what follows.
    pub(super) fn split(payload: &[u8]) -> Option<(Stamp, &[u8])> {
        let (bytes, rest) = payload.split_first_chunk::<STAMP>()?;
        let all = u128::from_be_bytes(*bytes);
        let stamp = Stamp {
            stream: (all >> 96) as u32,
            sequence: (all >> 64) as u32,
            sent_at: all as u64,
        };
        Some((stamp, rest))
    }

    pub(super) fn to_bytes(&self) -> [u8; STAMP] {
        let all = u128::from(self.stream) << 96
            | u128::from(self.sequence) << 64
            | u128::from(self.sent_at);
        all.to_be_bytes()
    }
}

/// Packet identifiers of one publisher's messages of QoS 1 and 2, and how many are in use.
pub(super) struct Identifiers {
    next: u16,
    /// Sent and not acknowledged to the end.
    pub(super) open: u32,
    most: u32,
}

impl Identifiers {
    /// `receive_maximum` is what the broker lets its client have open.
    pub(super) fn new(receive_maximum: u16) -> Self {
        Identifiers {
            next: 1,
            open: 0,
            most: MAX_UNACKNOWLEDGED.min(receive_maximum.into()),
        }
    }

    /// One more message may leave.
    pub(super) fn has_room(&self) -> bool {
        self.open < self.most
    }

    /// Puts the next identifier into a packet, at `place`. At QoS 0 there is none.
    pub(super) fn put(&mut self, packet: &mut [u8], place: Option<usize>) {
        if let Some(at) = place {
            packet[at..at + 2].copy_from_slice(&self.next.to_be_bytes());
            self.next = self.next.checked_add(1).unwrap_or(1);
            self.open += 1;
        }
    }

    /// One was acknowledged to the end; true when its publisher had been waiting for that.
    pub(super) fn acknowledged(&mut self) -> bool {
        let was_full = !self.has_room();
        self.open = self.open.saturating_sub(1);
        was_full
    }
}

/// What a payload holds behind its stamp: compared byte by byte on arrival.
pub(super) fn filling(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + 7) as u8).collect()
}

/// Bytes that may wait for a socket before its stream pauses.
pub(super) const MAX_BACKLOG: usize = 256 * 1024;

/// Half of all packet identifiers: none is ever used again while it may be under way.
const MAX_UNACKNOWLEDGED: u32 = 32_768;

/// How long a finished run listens for messages that should not come.
pub(super) const DOUBLES_MAY_FOLLOW: Duration = Duration::from_millis(50);
