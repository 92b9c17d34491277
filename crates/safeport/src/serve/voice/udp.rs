//! The sound of conversations over MQTT: the datagrams of all of them, on the sockets of `voice`.
//!
//! A datagram finds its conversation by the number in it, and is heard if it decrypts to what that
//! device sends ([`safeport_xiaozhi::AudioChannel`]). Answers leave by the socket, and from the
//! address, at which the device was heard last.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use quinn_udp::{RecvMeta, Transmit};
use safeport_xiaozhi::limits::UDP_KEEP_ALIVE;
use safeport_xiaozhi::{AudioChannels, AudioError, AudioKey, NotAdded, SentAudio, Time};
use tokio::sync::mpsc;

use crate::limits::{VOICE_HELD, VOICE_LINES, VOICE_UNHEARD};
use crate::serve::datagrams::{DatagramSocket, Datagrams, Packets, Taker};
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// The sound of every conversation over MQTT. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Lines {
    sockets: Datagrams,
    exchange: Arc<Exchange>,
}

/// Who gives each datagram to its conversation.
#[derive(Debug)]
struct Exchange {
    channels: Mutex<AudioChannels<Device>>,
    counts: Counts,
    throttle: Throttle,
}

/// The other end of a line.
#[derive(Debug)]
struct Device {
    heard: mpsc::Sender<Box<[u8]>>,
    /// The socket that it was heard on, and the address of ours that it sent to.
    way: Option<(Weak<DatagramSocket>, Option<IpAddr>)>,
}

/// A packet, and the conversation that hears it.
struct Heard {
    by: mpsc::Sender<Box<[u8]>>,
    packet: Box<[u8]>,
}

/// The sound of one conversation; gone when dropped.
#[derive(Debug)]
pub(super) struct Line {
    exchange: Arc<Exchange>,
    key: AudioKey,
    heard: mpsc::Receiver<Box<[u8]>>,
    /// What is to be said to a device that was not heard yet.
    held: VecDeque<(Arc<[u8]>, u32)>,
    /// When a keep-alive is due; `None` before the device was heard.
    keep_alive: Option<Time>,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLine {
    /// There are too many.
    #[error("{0}")]
    NotAdded(NotAdded),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Lines {
    /// No sockets yet. A panic while one is read ends the server through `tasks`.
    pub fn new(tasks: Tasks) -> Lines {
        let exchange = Arc::new(Exchange {
            channels: Mutex::new(AudioChannels::new(VOICE_LINES)),
            counts: Counts::default(),
            throttle: Throttle::default(),
        });
        Lines {
            sockets: Datagrams::new("voice", exchange.clone(), tasks),
            exchange,
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

    /// What became of datagrams, for `/metrics`: `safeport_voice_datagrams_total` by outcome.
    pub fn metrics(&self) -> LineMetrics {
        LineMetrics(self.exchange.clone())
    }

    /// Where a device that reaches us at `host` sends its sound; `None`: nowhere.
    pub(super) fn place(&self, host: &str) -> Option<(Box<str>, u16)> {
        place(host, &self.sockets.addresses())
    }

    /// A line of its own for a conversation that begins.
    pub(super) fn open(&self, now: Time) -> Result<Line, NoLine> {
        loop {
            let mut drawn = [0; 20];
            getrandom::fill(&mut drawn).map_err(NoLine::Random)?;
            let key = AudioKey::from_random(drawn);
            let (sender, heard) = mpsc::channel(VOICE_UNHEARD);
            let device = Device {
                heard: sender,
                way: None,
            };
            let added = self.exchange.channels().insert(key.clone(), device, now);
            match added {
                Ok(()) => {
                    return Ok(Line {
                        exchange: self.exchange.clone(),
                        key,
                        heard,
                        held: VecDeque::new(),
                        keep_alive: None,
                    });
                }
                // One of four billion; there are far fewer conversations than that.
                Err(NotAdded::Taken) => {}
                Err(NotAdded::Full) => return Err(NoLine::NotAdded(NotAdded::Full)),
            }
        }
    }
}

/// The socket that serves a host best, as devices are told it: IPv4 addresses and names only.
fn place(host: &str, bound: &[SocketAddr]) -> Option<(Box<str>, u16)> {
    let told: Option<IpAddr> = host.parse().ok();
    let mut best: Option<(u8, Box<str>, u16)> = None;
    for address in bound {
        let ip = address.ip().to_canonical();
        let (worth, server) = match (ip, told) {
            (ip, Some(told)) if ip == told => (4, host.into()),
            (ip, _) if ip.is_unspecified() => (3, host.into()),
            // The host that it was told leads to no socket, or nobody knows where to.
            (IpAddr::V4(v4), _) if !v4.is_loopback() => (2, v4.to_string().into()),
            (IpAddr::V4(v4), _) => (1, v4.to_string().into()),
            (IpAddr::V6(_), _) => continue,
        };
        if best.as_ref().is_none_or(|(most, ..)| worth > *most) {
            best = Some((worth, server, address.port()));
        }
    }
    best.map(|(_, server, port)| (server, port))
}

impl Line {
    /// What its datagrams are encrypted with.
    pub(super) fn key(&self) -> &AudioKey {
        &self.key
    }

    /// The next packet of the device. Nothing is lost if this is dropped before it is ready.
    pub(super) async fn hear(&mut self, now: impl Fn() -> Time) -> Box<[u8]> {
        match self.heard.recv().await {
            Some(packet) => {
                // Heard for the first time, or again after somebody was taken for it.
                if self.keep_alive.is_none() || !self.held.is_empty() {
                    self.say_held(now());
                    self.look_when_to_keep_alive();
                }
                packet
            }
            // The other end lives as long as this one.
            None => std::future::pending().await,
        }
    }

    /// One that is there already.
    pub(super) fn heard(&mut self) -> Option<Box<[u8]>> {
        self.heard.try_recv().ok()
    }

    /// Sends a packet, to be played at `timestamp`. While nobody knows where the device is, a few
    /// wait for that.
    pub(super) fn say(&mut self, packet: &Arc<[u8]>, timestamp: u32, now: Time) {
        match self.exchange.send(&self.key, packet, timestamp, now) {
            Ok(()) => self.keep_alive = Some(now + UDP_KEEP_ALIVE),
            Err(AudioError::NoPeer) => {
                if self.held.len() >= VOICE_HELD {
                    self.held.pop_front();
                    count(&self.exchange.counts.unheard);
                }
                self.held.push_back((packet.clone(), timestamp));
            }
            Err(error) => tracing::debug!(target: "safeport::voice", "not said: {error}"),
        }
    }

    fn say_held(&mut self, now: Time) {
        for (packet, timestamp) in std::mem::take(&mut self.held) {
            self.say(&packet, timestamp, now);
        }
    }

    /// Sends what keeps the way to the device open, if it is due.
    pub(super) fn keep_alive(&mut self, now: Time) {
        let mut datagram = Vec::new();
        let sent = {
            let mut channels = self.exchange.channels();
            let found = channels.get_mut(self.key.ssrc());
            found.and_then(|(channel, device)| {
                let sent = channel.keep_alive(&mut datagram, now)?;
                Some((sent, device.way.clone()))
            })
        };
        if let Some((sent, way)) = sent {
            self.exchange.transmit(way, &sent, &datagram);
        }
        self.look_when_to_keep_alive();
    }

    /// When that is due; `None` before the device was heard.
    pub(super) fn next_keep_alive(&self) -> Option<Time> {
        self.keep_alive
    }

    fn look_when_to_keep_alive(&mut self) {
        let mut channels = self.exchange.channels();
        let channel = channels.get_mut(self.key.ssrc());
        self.keep_alive = channel.and_then(|(channel, _)| channel.next_keep_alive());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let gone = self.exchange.channels().remove(self.key.ssrc());
        if let Some((channel, _)) = gone {
            tracing::debug!(target: "safeport::voice", "datagrams of a conversation: {:?}", channel.counters());
        }
    }
}

impl Exchange {
    fn channels(&self) -> MutexGuard<'_, AudioChannels<Device>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(
        &self,
        key: &AudioKey,
        packet: &[u8],
        timestamp: u32,
        now: Time,
    ) -> Result<(), AudioError> {
        let mut datagram = Vec::with_capacity(packet.len() + 16);
        let (sent, way) = {
            let mut channels = self.channels();
            let (channel, device) = channels
                .get_mut(key.ssrc())
                .ok_or(AudioError::OtherSession)?;
            let sent = channel.write(packet, timestamp, &mut datagram, now)?;
            (sent, device.way.clone())
        };
        self.transmit(way, &sent, &datagram);
        Ok(())
    }

    fn transmit(
        &self,
        way: Option<(Weak<DatagramSocket>, Option<IpAddr>)>,
        sent: &SentAudio,
        datagram: &[u8],
    ) {
        let transmit = |socket: &DatagramSocket, src_ip| {
            socket.send(&Transmit {
                destination: sent.to,
                ecn: None,
                contents: datagram,
                segment_size: None,
                // From the address that it sends to: devices take sound from no other.
                src_ip,
            })
        };
        let done = way.and_then(|(socket, src_ip)| Some((socket.upgrade()?, src_ip)));
        match done.map(|(socket, src_ip)| transmit(&socket, src_ip)) {
            Some(Ok(())) => count(&self.counts.sent),
            // Its socket was closed, or the network is full: sound is not sent a second time.
            Some(Err(_)) | None => count(&self.counts.unsent),
        }
    }

    /// The packet in a datagram, and whose it is.
    fn receive(
        &self,
        channels: &mut AudioChannels<Device>,
        datagram: &mut [u8],
        meta: &RecvMeta,
        socket: &Arc<DatagramSocket>,
    ) -> Option<Heard> {
        let (device, heard) = channels
            .receive(datagram, meta.addr)
            .inspect_err(|error| count(self.counts.of(*error)))
            .ok()?;
        let is_same = device.way.as_ref().is_some_and(|(before, ip)| {
            std::ptr::eq(before.as_ptr(), Arc::as_ptr(socket)) && *ip == meta.dst_ip
        });
        if !is_same {
            device.way = Some((Arc::downgrade(socket), meta.dst_ip));
        }
        Some(Heard {
            by: device.heard.clone(),
            packet: heard.packet.into(),
        })
    }
}

impl Taker for Exchange {
    fn take(&self, packets: Packets<'_>, socket: &Arc<DatagramSocket>) {
        // All first, and then those who hear them are woken: they would wait for this lock.
        let heard: Vec<_> = {
            let mut channels = self.channels();
            let packets = packets.each();
            packets
                .filter_map(|(datagram, meta)| self.receive(&mut channels, datagram, meta, socket))
                .collect()
        };
        for Heard { by, packet } in heard {
            match by.try_send(packet) {
                Ok(()) => count(&self.counts.heard),
                Err(_) => count(&self.counts.not_taken),
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        if self.throttle.admit("receive", Instant::now()).is_some() {
            tracing::warn!(target: "safeport::voice", "no sound can be read: {error}");
        }
    }
}

/// What became of datagrams since the start.
#[derive(Debug, Default)]
struct Counts {
    heard: AtomicU64,
    not_taken: AtomicU64,
    no_audio: AtomicU64,
    length: AtomicU64,
    no_session: AtomicU64,
    late: AtomicU64,
    replayed: AtomicU64,
    implausible: AtomicU64,
    sent: AtomicU64,
    unsent: AtomicU64,
    unheard: AtomicU64,
}

impl Counts {
    fn of(&self, error: AudioError) -> &AtomicU64 {
        match error {
            AudioError::NoAudio => &self.no_audio,
            AudioError::Length => &self.length,
            AudioError::OtherSession => &self.no_session,
            AudioError::Late => &self.late,
            AudioError::Replayed => &self.replayed,
            AudioError::OutOfReach
            | AudioError::NotOpus
            | AudioError::Unfamiliar
            // Of what is sent only.
            | AudioError::NoPeer
            | AudioError::TooLong
            | AudioError::Spent => &self.implausible,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The counters of [`Lines`].
#[derive(Debug)]
pub struct LineMetrics(Arc<Exchange>);

impl Collector for LineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut datagrams = encoder.encode_descriptor(
            "safeport_voice_datagrams",
            "Datagrams of sound of conversations over MQTT, by what became of them",
            None,
            MetricType::Counter,
        )?;
        let counts = &self.0.counts;
        for (outcome, counter) in [
            ("heard", &counts.heard),
            ("not_taken_in_time", &counts.not_taken),
            ("no_audio", &counts.no_audio),
            ("wrong_length", &counts.length),
            ("no_conversation", &counts.no_session),
            ("late", &counts.late),
            ("repeated", &counts.replayed),
            ("implausible", &counts.implausible),
            ("sent", &counts.sent),
            ("not_sent", &counts.unsent),
            ("device_never_heard", &counts.unheard),
        ] {
            let labels = [("outcome", outcome)];
            let family = datagrams.encode_family(&labels)?;
            ConstCounter::new(counter.load(Ordering::Relaxed)).encode(family)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_the_host_that_it_knows_and_otherwise_an_address_that_is_served() {
        let bound = |texts: &[&str]| -> Vec<SocketAddr> {
            let parse = |text: &&str| text.parse().expect("an address");
            texts.iter().map(parse).collect()
        };
        for (host, sockets, told) in [
            ("192.168.1.5", &["[::]:8884"][..], Some("192.168.1.5 8884")),
            ("hub.lan", &["0.0.0.0:8885"], Some("hub.lan 8885")),
            (
                "192.168.1.5",
                &["0.0.0.0:1", "192.168.1.5:2"],
                Some("192.168.1.5 2"),
            ),
            (
                "192.168.1.5",
                &["127.0.0.1:1", "192.168.1.6:2"],
                Some("192.168.1.6 2"),
            ),
            ("hub.lan", &["192.168.1.6:2"], Some("192.168.1.6 2")),
            ("127.0.0.1", &["127.0.0.1:7"], Some("127.0.0.1 7")),
            ("hub.lan", &["[fd00::1]:7"], None),
            ("hub.lan", &[], None),
        ] {
            let found = place(host, &bound(sockets));
            let found = found.map(|(server, port)| format!("{server} {port}"));
            assert_eq!(found.as_deref(), told, "{host} {sockets:?}");
        }
    }
}
