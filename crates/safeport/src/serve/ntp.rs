//! The time for devices, answered on the sockets of `ntp`.
//!
//! What is answered, and to whom, [`safeport_net::ntp`] says.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use quinn_udp::Transmit;
use safeport_net::ntp::{Answer, Ignored, NEVER_BEFORE, Request, Turn, Turns, since_1970};

use super::datagrams::{DatagramSocket, Datagrams, Packets, Taker};
use crate::limits::NTP_CLOCK_WORD;
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// Tells the time on any number of UDP sockets. Cheap to clone; all clones steer the same sockets.
#[derive(Clone, Debug)]
pub struct NtpListeners {
    sockets: Datagrams,
    clock: Arc<Clock>,
}

/// Who answers.
#[derive(Debug)]
struct Clock {
    turns: Mutex<Turns>,
    counts: Counts,
    throttle: Throttle,
    /// The clock of [`Turns`] begins here.
    start: Instant,
}

/// What became of packets since the start.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    not_set: AtomicU64,
    slowed_down: AtomicU64,
    silenced: AtomicU64,
    malformed: AtomicU64,
    version: AtomicU64,
    mode: AtomicU64,
    unsent: AtomicU64,
}

impl NtpListeners {
    /// No sockets yet. A panic while one is answered ends the server through `tasks`.
    pub fn new(tasks: Tasks) -> NtpListeners {
        let clock = Arc::new(Clock {
            turns: Mutex::new(Turns::new()),
            counts: Counts::default(),
            throttle: Throttle::new(NTP_CLOCK_WORD),
            start: Instant::now(),
        });
        NtpListeners {
            sockets: Datagrams::new("ntp", clock.clone(), tasks),
            clock,
        }
    }

    /// As [`Datagrams::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        self.sockets.set(sockets)
    }

    /// As [`Datagrams::add`].
    ///
    /// # Errors
    /// As there.
    pub fn add(&self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        self.sockets.add(sockets)
    }

    /// Where questions are answered now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.addresses()
    }

    /// What became of packets, for `/metrics`: `safeport_ntp_packets_total` by outcome.
    pub fn metrics(&self) -> NtpMetrics {
        NtpMetrics(self.clone())
    }
}

impl Taker for Clock {
    fn take(&self, packets: Packets<'_>, socket: &Arc<DatagramSocket>) {
        for (packet, meta) in packets.each() {
            let received = received_at(meta.timestamp);
            let Some(answer) = self.answer(packet, meta.addr.ip(), received) else {
                continue;
            };
            let transmit = Transmit {
                destination: meta.addr,
                ecn: None,
                contents: answer.as_bytes(),
                segment_size: None,
                // From the address that was asked: clients take an answer from no other, and a
                // machine has several addresses of IPv6.
                src_ip: meta.dst_ip,
            };
            if socket.send(&transmit).is_err() {
                count(&self.counts.unsent);
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        self.warn("receive", &format!("no question can be read: {error}"));
    }
}

impl Clock {
    /// The answer to a packet of `ip`, if it gets one.
    fn answer(&self, packet: &[u8], ip: IpAddr, received: Duration) -> Option<Answer> {
        let counts = &self.counts;
        let request = match Request::read(packet) {
            Ok(request) => request,
            Err(ignored) => {
                count(match ignored {
                    Ignored::Malformed => &counts.malformed,
                    Ignored::Version(_) => &counts.version,
                    Ignored::Mode(_) => &counts.mode,
                });
                return None;
            }
        };
        let turn = self
            .turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next(ip, self.start.elapsed());
        match turn {
            Turn::Answer if received < NEVER_BEFORE => {
                count(&counts.not_set);
                self.warn(
                    "clock",
                    "this machine's clock was never set (it stands before 2026), and devices \
                     that ask are told so; set it, or let it reach a time server (timedatectl)",
                );
                Some(request.answer(received, since_1970(SystemTime::now())))
            }
            Turn::Answer => {
                count(&counts.answered);
                Some(request.answer(received, since_1970(SystemTime::now())))
            }
            Turn::SlowDown => {
                count(&counts.slowed_down);
                Some(request.slow_down())
            }
            Turn::Silence => {
                count(&counts.silenced);
                None
            }
        }
    }

    fn warn(&self, cause: &str, line: &str) {
        if self.throttle.admit(cause, Instant::now()).is_some() {
            tracing::warn!(target: "safeport::ntp", "{line}");
        }
    }
}

/// The time at which a packet came: the kernel's word for it, unless the clock was set since.
fn received_at(stamp: Option<Duration>) -> Duration {
    let now = since_1970(SystemTime::now());
    stamp
        .filter(|stamp| *stamp <= now && now - *stamp < BELIEVED_DELAY)
        .unwrap_or(now)
}

/// Longest time that a packet is believed to have waited for us.
const BELIEVED_DELAY: Duration = Duration::from_secs(1);

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The counters of [`NtpListeners`].
#[derive(Debug)]
pub struct NtpMetrics(NtpListeners);

impl Collector for NtpMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut packets = encoder.encode_descriptor(
            "safeport_ntp_packets",
            "Packets that came to the listener of the time, by what became of them",
            None,
            MetricType::Counter,
        )?;
        let counts = &self.0.clock.counts;
        for (outcome, counter) in [
            ("answered", &counts.answered),
            ("clock_not_set", &counts.not_set),
            ("told_to_slow_down", &counts.slowed_down),
            ("silenced", &counts.silenced),
            ("malformed", &counts.malformed),
            ("wrong_version", &counts.version),
            ("no_question", &counts.mode),
            ("answer_not_sent", &counts.unsent),
        ] {
            let labels = [("outcome", outcome)];
            let family = packets.encode_family(&labels)?;
            ConstCounter::new(counter.load(Ordering::Relaxed)).encode(family)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
