//! The time for devices: sockets of `ntp`, each answered by a task of its own.
//!
//! What is answered, and to whom, [`safeport_net::ntp`] says.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use safeport_net::ntp::{Answer, Ignored, NEVER_BEFORE, Request, Turn, Turns, since_1970};
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::limits::{ACCEPT_PAUSE, NTP_CLOCK_WORD, NTP_RECEIVE, NTP_SWAP_PATIENCE};
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// Tells the time on any number of UDP sockets. Cheap to clone; all clones steer the same sockets.
#[derive(Clone)]
pub struct NtpListeners(Arc<Shared>);

struct Shared {
    sockets: Mutex<Vec<Socket>>,
    turns: Mutex<Turns>,
    counts: Counts,
    throttle: Throttle,
    /// The clock of [`Turns`] begins here.
    start: Instant,
    tasks: Tasks,
    runtime: Handle,
}

/// A socket that is answered.
struct Socket {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Disconnected when the socket is closed.
    closed: Receiver<()>,
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
    ///
    /// # Panics
    /// Outside of a tokio runtime, which then answers every packet.
    pub fn new(tasks: Tasks) -> NtpListeners {
        NtpListeners(Arc::new(Shared {
            sockets: Mutex::new(Vec::new()),
            turns: Mutex::new(Turns::new()),
            counts: Counts::default(),
            throttle: Throttle::new(NTP_CLOCK_WORD),
            start: Instant::now(),
            tasks,
            runtime: Handle::current(),
        }))
    }

    /// `sockets` are answered from now on, and those that were so far are closed. A socket that is
    /// to stay may be handed in as its own `try_clone`.
    ///
    /// Blocks until the old ones are closed, which takes a moment, at most [`NTP_SWAP_PATIENCE`]:
    /// call it from a thread of its own, not from a task.
    ///
    /// # Errors
    /// If one of `sockets` cannot be driven: then nothing has changed. Or if an old one is not
    /// closed in time: the new ones are answered then.
    pub fn set(&self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        let started = self.start(sockets)?;
        let old = std::mem::replace(&mut *self.0.sockets(), started);
        close(old)
    }

    /// `sockets` are answered, too.
    ///
    /// # Errors
    /// If one of them cannot be driven; then nothing has changed.
    pub fn add(&self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        let started = self.start(sockets)?;
        self.0.sockets().extend(started);
        Ok(())
    }

    /// Where questions are answered now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let sockets = self.0.sockets();
        sockets.iter().map(|socket| socket.address).collect()
    }

    /// What became of packets, for `/metrics`: `safeport_ntp_packets_total` by outcome.
    pub fn metrics(&self) -> NtpMetrics {
        NtpMetrics(self.clone())
    }

    fn start(&self, sockets: Vec<UdpSocket>) -> io::Result<Vec<Socket>> {
        let _inside = self.0.runtime.enter();
        let ready = sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
                let address = socket.local_addr()?;
                Ok((address, tokio::net::UdpSocket::from_std(socket)?, state))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let begin = |(address, socket, state)| {
            let (stop, stopped) = oneshot::channel();
            let (closing, closed) = channel();
            let shared = self.0.clone();
            self.0.tasks.spawn_stoppable("ntp listener", async move {
                shared.serve(&socket, &state, stopped).await;
                drop(socket);
                drop(closing);
            });
            Socket {
                address,
                stop,
                closed,
            }
        };
        Ok(ready.into_iter().map(begin).collect())
    }
}

impl fmt::Debug for NtpListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NtpListeners")
            .field(&self.addresses())
            .finish()
    }
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, Vec<Socket>> {
        // Nothing under the lock can leave the list half changed.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers until told to stop.
    async fn serve(
        &self,
        socket: &tokio::net::UdpSocket,
        state: &UdpSocketState,
        stopped: oneshot::Receiver<()>,
    ) {
        let mut stopped = pin!(stopped);
        let mut buffer = vec![0; NTP_RECEIVE];
        loop {
            let mut meta = [RecvMeta::default()];
            let received = {
                let mut into = [IoSliceMut::new(&mut buffer)];
                let receive = socket.async_io(Interest::READABLE, || {
                    state.recv(UdpSockRef::from(socket), &mut into, &mut meta)
                });
                tokio::select! {
                    received = receive => received,
                    _ = &mut stopped => return,
                }
            };
            match received {
                Ok(_) => self.answer_all(socket, state, &buffer, &meta[0]),
                Err(error) => {
                    self.warn("receive", &format!("no question can be read: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Answers what the kernel gave us at once: one packet, or several of one length from one
    /// address.
    fn answer_all(
        &self,
        socket: &tokio::net::UdpSocket,
        state: &UdpSocketState,
        buffer: &[u8],
        meta: &RecvMeta,
    ) {
        let received = received_at(meta.timestamp);
        let packets = buffer.get(..meta.len).unwrap_or(buffer);
        for packet in packets.chunks(meta.stride.max(1)) {
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
            if state.try_send(UdpSockRef::from(socket), &transmit).is_err() {
                count(&self.counts.unsent);
            }
        }
    }

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

/// Stops answering on `old` and waits until they are closed.
fn close(old: Vec<Socket>) -> io::Result<()> {
    let deadline = Instant::now() + NTP_SWAP_PATIENCE;
    let closing: Vec<(SocketAddr, Receiver<()>)> = old
        .into_iter()
        .map(|socket| {
            // A task that is gone has closed its socket already.
            let _ = socket.stop.send(());
            (socket.address, socket.closed)
        })
        .collect();
    for (address, closed) in closing {
        let left = deadline.saturating_duration_since(Instant::now());
        if closed.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the old socket of ntp at {address} was not closed within {} s; it will be when the machine has time for it",
                    NTP_SWAP_PATIENCE.as_secs(),
                ),
            ));
        }
    }
    Ok(())
}

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
        let counts = &self.0.0.counts;
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
