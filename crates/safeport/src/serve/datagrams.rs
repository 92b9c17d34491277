//! Sockets of UDP: each is read by a task of its own, and they are swapped while the server goes on.
//! What becomes of packets is up to a [`Taker`].

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

use crate::limits::{ACCEPT_PAUSE, DATAGRAMS_RECEIVE, DATAGRAMS_SWAP_PATIENCE};
use crate::tasks::Tasks;

/// What becomes of packets.
pub trait Taker: Send + Sync + 'static {
    /// Takes what the kernel gave us at once: one packet, or several of one length
    /// (`meta.stride`) from one address. It is called on the runtime, so it does not wait.
    fn take(&self, packets: &mut [u8], meta: &RecvMeta, socket: &Arc<DatagramSocket>);

    /// Nothing can be read at the moment.
    fn failed(&self, error: &io::Error);
}

/// A socket that is read.
#[derive(Debug)]
pub struct DatagramSocket {
    address: SocketAddr,
    socket: tokio::net::UdpSocket,
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
        let _inside = self.0.runtime.enter();
        let ready = sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                Ok(DatagramSocket {
                    state: UdpSocketState::new(UdpSockRef::from(&socket))?,
                    address: socket.local_addr()?,
                    socket: tokio::net::UdpSocket::from_std(socket)?,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
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
        let mut buffer = vec![0; DATAGRAMS_RECEIVE];
        loop {
            let mut meta = [RecvMeta::default()];
            let received = {
                let mut into = [IoSliceMut::new(&mut buffer)];
                let receive = socket.socket.async_io(Interest::READABLE, || {
                    socket
                        .state
                        .recv(UdpSockRef::from(&socket.socket), &mut into, &mut meta)
                });
                tokio::select! {
                    received = receive => received,
                    _ = &mut stopped => return,
                }
            };
            match received {
                Ok(_) => {
                    let length = meta[0].len.min(buffer.len());
                    self.taker.take(&mut buffer[..length], &meta[0], &socket);
                }
                Err(error) => {
                    self.taker.failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
