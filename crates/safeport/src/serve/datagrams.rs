//! Sockets of UDP: each is read by a task of its own, and they are swapped while the server goes on.
//! What becomes of packets is up to a [`Taker`].
//!
//! Packets of sound come from everybody at once, one at a time, and waking a thread costs more than
//! a packet. So while they come close together, nobody is woken for them: the task rests for
//! [`DATAGRAMS_REST`], and takes all that came meanwhile (decision 0019).

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::limits::{
    ACCEPT_PAUSE, DATAGRAMS_AT_ONCE, DATAGRAMS_RECEIVE, DATAGRAMS_REST, DATAGRAMS_SWAP_PATIENCE,
};
use crate::tasks::Tasks;

/// What becomes of packets.
pub trait Taker: Send + Sync + 'static {
    /// Takes what the kernel gave us at once. It is called on the runtime, so it does not wait.
    fn take(&self, packets: Packets<'_>, socket: &Arc<DatagramSocket>);

    /// Nothing can be read at the moment.
    fn failed(&self, error: &io::Error);
}

/// What the kernel gave us at once.
#[derive(Debug)]
pub struct Packets<'a> {
    /// A piece of [`DATAGRAMS_RECEIVE`] for each of `metas`.
    buffer: &'a mut [u8],
    metas: &'a [RecvMeta],
}

impl<'a> Packets<'a> {
    /// Each packet, with where it came from.
    pub fn each(self) -> impl Iterator<Item = (&'a mut [u8], &'a RecvMeta)> {
        self.buffer
            .chunks_mut(DATAGRAMS_RECEIVE)
            .zip(self.metas)
            .flat_map(|(buffer, meta)| {
                let length = meta.len.min(buffer.len());
                // The kernel may hand over several of one length from one address as one.
                buffer[..length]
                    .chunks_mut(meta.stride.max(1))
                    .map(move |packet| (packet, meta))
            })
    }
}

/// A socket that is read.
#[derive(Debug)]
pub struct DatagramSocket {
    address: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
}

impl DatagramSocket {
    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends at once, or not at all.
    ///
    /// # Errors
    /// What the operating system says; the packet is lost, as any packet may be.
    pub fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state
            .try_send(UdpSockRef::from(&self.socket), transmit)
    }
}

/// Any number of UDP sockets. Cheap to clone; all clones steer the same sockets.
#[derive(Clone)]
pub struct Datagrams(Arc<Shared>);

struct Shared {
    /// Name of the listener.
    name: &'static str,
    taker: Arc<dyn Taker>,
    reading: Mutex<Vec<Reading>>,
    tasks: Tasks,
    runtime: Handle,
}

/// A socket with the task that reads it.
struct Reading {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Disconnected when the socket is closed.
    closed: Receiver<()>,
}

impl Datagrams {
    /// No sockets yet. `name` is that of the listener. A panic while one is read ends the server
    /// through `tasks`.
    ///
    /// # Panics
    /// Outside of a tokio runtime, which then reads every packet.
    pub fn new(name: &'static str, taker: Arc<dyn Taker>, tasks: Tasks) -> Datagrams {
        Datagrams(Arc::new(Shared {
            name,
            taker,
            reading: Mutex::new(Vec::new()),
            tasks,
            runtime: Handle::current(),
        }))
    }

    /// `sockets` are read from now on, and those that were so far are closed. A socket that is to
    /// stay may be handed in as its own `try_clone`.
    ///
    /// Blocks until the old ones are closed, which takes a moment, at most
    /// [`DATAGRAMS_SWAP_PATIENCE`]: call it from a thread of its own, not from a task.
    ///
    /// # Errors
    /// If one of `sockets` cannot be driven: then nothing has changed. Or if an old one is not
    /// closed in time: the new ones are read then.
    pub fn set(&self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        let started = self.start(sockets)?;
        let old = std::mem::replace(&mut *self.reading(), started);
        self.close(old)
    }

    /// `sockets` are read, too.
    ///
    /// # Errors
    /// If one of them cannot be driven; then nothing has changed.
    pub fn add(&self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        let started = self.start(sockets)?;
        self.reading().extend(started);
        Ok(())
    }

    /// Where packets are read now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let reading = self.reading();
        reading.iter().map(|socket| socket.address).collect()
    }

    fn start(&self, sockets: Vec<UdpSocket>) -> io::Result<Vec<Reading>> {
        let ready = sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                Ok(DatagramSocket {
                    state: UdpSocketState::new(UdpSockRef::from(&socket))?,
                    address: socket.local_addr()?,
                    socket,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let _inside = self.0.runtime.enter();
        let begin = |socket: DatagramSocket| {
            let (stop, stopped) = oneshot::channel();
            let (closing, closed) = channel();
            let shared = self.0.clone();
            let address = socket.address;
            self.0.tasks.spawn_stoppable(self.0.name, async move {
                shared.read(Arc::new(socket), stopped).await;
                drop(closing);
            });
            Reading {
                address,
                stop,
                closed,
            }
        };
        Ok(ready.into_iter().map(begin).collect())
    }

    /// Stops reading `old` and waits until they are closed.
    fn close(&self, old: Vec<Reading>) -> io::Result<()> {
        let deadline = Instant::now() + DATAGRAMS_SWAP_PATIENCE;
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
                        "the old socket of {} at {address} was not closed within {} s; it will be when the machine has time for it",
                        self.0.name,
                        DATAGRAMS_SWAP_PATIENCE.as_secs(),
                    ),
                ));
            }
        }
        Ok(())
    }

    fn reading(&self) -> MutexGuard<'_, Vec<Reading>> {
        // Nothing under the lock can leave the list half changed.
        self.0
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Datagrams").field(&self.addresses()).finish()
    }
}

impl Shared {
    /// Reads until told to stop.
    async fn read(&self, socket: Arc<DatagramSocket>, stopped: oneshot::Receiver<()>) {
        let mut stopped = pin!(stopped);
        // Room that nothing was written to takes no memory.
        let mut room = Room {
            buffer: vec![0; DATAGRAMS_AT_ONCE * DATAGRAMS_RECEIVE],
            metas: [RecvMeta::default(); DATAGRAMS_AT_ONCE],
        };
        let mut watched = None;
        let mut last: Option<Instant> = None;
        loop {
            let taken = tokio::select! {
                taken = self.wait(&socket, &mut watched, &mut room) => taken,
                _ = &mut stopped => return,
            };
            let count = match taken {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    self.taker.failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let now = Instant::now();
            let before = last.replace(now);
            let are_close = before.is_some_and(|before| now - before < 2 * DATAGRAMS_REST);
            if count == DATAGRAMS_AT_ONCE {
                tokio::task::yield_now().await;
            } else if are_close {
                // Else the kernel would wake this thread for each packet.
                watched = None;
                tokio::time::sleep(DATAGRAMS_REST).await;
            }
        }
    }

    /// Takes what is there, or the next that comes; what is not watched is looked at once.
    async fn wait(
        &self,
        socket: &Arc<DatagramSocket>,
        watched: &mut Option<tokio::net::UdpSocket>,
        room: &mut Room,
    ) -> io::Result<usize> {
        if let Some(watched) = watched {
            let take = || self.take(socket, room);
            return watched.async_io(Interest::READABLE, take).await;
        }
        let taken = self.take(socket, room);
        if matches!(&taken, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            *watched = Some(tokio::net::UdpSocket::from_std(socket.socket.try_clone()?)?);
        }
        taken
    }

    /// Hands on what is there; how much it was, [`DATAGRAMS_AT_ONCE`] at most.
    fn take(&self, socket: &Arc<DatagramSocket>, room: &mut Room) -> io::Result<usize> {
        let Room { buffer, metas } = room;
        let mut pieces = buffer.chunks_mut(DATAGRAMS_RECEIVE);
        let mut into: [IoSliceMut<'_>; DATAGRAMS_AT_ONCE] =
            std::array::from_fn(|_| IoSliceMut::new(pieces.next().unwrap_or_default()));
        let from = UdpSockRef::from(&socket.socket);
        let count = socket.state.recv(from, &mut into, metas)?;
        let packets = Packets {
            buffer,
            metas: &metas[..count],
        };
        self.taker.take(packets, socket);
        Ok(count)
    }
}

/// Where packets are written to.
struct Room {
    buffer: Vec<u8>,
    metas: [RecvMeta; DATAGRAMS_AT_ONCE],
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::tasks::tasks;

    /// Passes on the first byte of each packet, with how many were taken at once.
    struct Ears(mpsc::UnboundedSender<(u8, usize)>);

    impl Taker for Ears {
        fn take(&self, packets: Packets<'_>, _: &Arc<DatagramSocket>) {
            let firsts: Vec<u8> = packets.each().map(|(packet, _)| packet[0]).collect();
            for first in &firsts {
                let _ = self.0.send((*first, firsts.len()));
            }
        }

        fn failed(&self, error: &io::Error) {
            panic!("{error}");
        }
    }

    fn heard() -> (Datagrams, UdpSocket, mpsc::UnboundedReceiver<(u8, usize)>) {
        let (sender, heard) = mpsc::unbounded_channel();
        let datagrams = Datagrams::new("test", Arc::new(Ears(sender)), tasks().0);
        let local = (Ipv4Addr::LOCALHOST, 0);
        let socket = UdpSocket::bind(local).expect("a port");
        let device = UdpSocket::bind(local).expect("a port");
        let to = socket.local_addr().expect("an address");
        device.connect(to).expect("a way");
        datagrams.set(vec![socket]).expect("a socket");
        (datagrams, device, heard)
    }

    #[tokio::test]
    async fn every_packet_is_taken_once_and_in_order_however_close_they_come() {
        let (_datagrams, device, mut heard) = heard();
        let (mut sent, mut batches) = (0_u8, Vec::new());
        // Alone, close together, alone again, and many in one instant.
        for (count, gap) in [(3, 30), (40, 1), (3, 30), (100, 0), (2, 30)] {
            let before = sent;
            for _ in 0..count {
                device.send(&[sent; 40]).expect("sent");
                sent += 1;
                tokio::time::sleep(Duration::from_millis(gap)).await;
            }
            for number in before..sent {
                let (first, batch) = heard.recv().await.expect("a packet");
                assert_eq!(first, number);
                batches.push(batch);
            }
        }
        assert!(heard.try_recv().is_err(), "nothing is taken twice");
        assert!(batches.iter().all(|batch| *batch <= DATAGRAMS_AT_ONCE));
        assert!(batches.iter().any(|batch| *batch > 1), "{batches:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_socket_is_closed_while_its_reader_rests() {
        let (datagrams, device, mut heard) = heard();
        let address = datagrams.addresses()[0];
        for _ in 0..20 {
            device.send(&[1]).expect("sent");
            heard.recv().await.expect("a packet");
        }
        let closing = datagrams.clone();
        let closed = tokio::task::spawn_blocking(move || closing.set(Vec::new()));
        closed.await.expect("no panic").expect("closed");
        assert!(datagrams.addresses().is_empty());
        UdpSocket::bind(address).expect("the port is free again");
    }
}
