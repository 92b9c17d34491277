//! The sockets of `http` and `https`, which may change while connections live on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use safeport_net::attempt::{Attempt, Ending, Limit, Witness};
use safeport_net::{Handshakes, TlsService};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::connection::{self, Accepted, Answers, Live};
use super::room::Room;
use super::visit::Visit;
use super::{Site, Transport, pages};
use crate::limits::{ACCEPT_PAUSE, HTTP_SWAP_PATIENCE};
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// Serves HTTP on any number of sockets, in the clear and inside TLS. Cheap to clone; all clones
/// steer the same sockets.
#[derive(Clone)]
pub struct HttpListeners(Arc<Shared>);

/// What accepts, and what it hands on.
struct Shared {
    answers: Arc<Answers>,
    site: Arc<Site>,
    plain: Side,
    tls: Side,
    tasks: Tasks,
    runtime: Handle,
}

/// One of the two listeners.
struct Side {
    sockets: Mutex<Vec<Socket>>,
    room: Arc<Room>,
    takes_both: AtomicBool,
    /// Changes when all connections are to end.
    end: watch::Sender<()>,
}

/// A socket that accepts.
struct Socket {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Disconnected when the socket is closed.
    closed: Receiver<()>,
}

impl HttpListeners {
    /// No sockets yet, and no room for connections before [`HttpListeners::set_max_connections`].
    /// A panic in the accept loop of any socket ends the server through `tasks`.
    ///
    /// # Panics
    /// Outside of a tokio runtime, which then serves every connection.
    pub fn new(site: Arc<Site>, tasks: Tasks) -> HttpListeners {
        let side = || Side {
            sockets: Mutex::new(Vec::new()),
            room: Room::closed(),
            takes_both: AtomicBool::new(false),
            end: watch::Sender::new(()),
        };
        HttpListeners(Arc::new(Shared {
            answers: Arc::new(Answers {
                site: site.clone(),
                router: pages::router(site.clone()),
                wrong_port: pages::wrong_port(),
                throttle: Throttle::default(),
                looked: Mutex::default(),
                live: RwLock::new(Live {
                    tls: None,
                    handshakes: Handshakes::default(),
                    witness: Arc::new(Nobody),
                }),
            }),
            site,
            plain: side(),
            tls: side(),
            tasks,
            runtime: Handle::current(),
        }))
    }

    /// `sockets` accept from now on, those that did so far are closed once everybody that the
    /// kernel had queued on them is served. Connections stay. A socket that is to stay may be
    /// handed in as its own `try_clone`.
    ///
    /// Blocks until the old ones are closed, which takes a moment, at most
    /// [`HTTP_SWAP_PATIENCE`]: call it from a thread of its own, not from a task.
    ///
    /// # Errors
    /// If one of `sockets` cannot be driven: then nothing has changed. Or if an old one is not
    /// closed in time: the new ones serve then.
    pub fn set(&self, transport: Transport, sockets: Vec<std::net::TcpListener>) -> io::Result<()> {
        let started = self.start_told(transport, sockets, Vec::new())?;
        let old = std::mem::replace(&mut *self.0.side(transport).sockets(), started);
        close(transport, old)
    }

    /// `sockets` accept too.
    ///
    /// # Errors
    /// If one of them cannot be driven; then nothing has changed.
    pub fn add(&self, transport: Transport, sockets: Vec<std::net::TcpListener>) -> io::Result<()> {
        let started = self.start_told(transport, sockets, self.addresses(transport))?;
        self.0.side(transport).sockets().extend(started);
        Ok(())
    }

    /// Closes the sockets whose address `stays` denies, as [`HttpListeners::set`] does.
    ///
    /// # Errors
    /// If one is not closed in time.
    pub fn retain(
        &self,
        transport: Transport,
        stays: impl Fn(SocketAddr) -> bool,
    ) -> io::Result<()> {
        let old = {
            let mut sockets = self.0.side(transport).sockets();
            let (kept, old) = sockets
                .drain(..)
                .partition(|socket: &Socket| stays(socket.address));
            *sockets = kept;
            old
        };
        self.tell_local(transport);
        close(transport, old)
    }

    /// Starts `sockets`, of which programs on this machine know before anybody is answered, as of
    /// those that `stay`.
    fn start_told(
        &self,
        transport: Transport,
        sockets: Vec<std::net::TcpListener>,
        stay: Vec<SocketAddr>,
    ) -> io::Result<Vec<Socket>> {
        let coming = sockets.iter().filter_map(|socket| socket.local_addr().ok());
        let all: Vec<SocketAddr> = stay.into_iter().chain(coming).collect();
        self.0.site.api.listening(transport, &all);
        let started = self.start(transport, sockets);
        if started.is_err() {
            self.tell_local(transport);
        }
        started
    }

    /// Programs on this machine find the API where it is now.
    fn tell_local(&self, transport: Transport) {
        self.0
            .site
            .api
            .listening(transport, &self.addresses(transport));
    }

    /// Where connections are accepted now.
    pub fn addresses(&self, transport: Transport) -> Vec<SocketAddr> {
        let sockets = self.0.side(transport).sockets();
        sockets.iter().map(|socket| socket.address).collect()
    }

    /// Most connections of both listeners, see [`HttpListeners::set_max_connections`].
    pub fn set_room(&self, http: usize, https: usize) {
        self.set_max_connections(Transport::Plain, http);
        self.set_max_connections(Transport::Tls, https);
    }

    /// Most connections at once, those that have become WebSockets included. One more is closed at
    /// once; lowering it ends none that is open.
    pub fn set_max_connections(&self, transport: Transport, connections: usize) {
        self.0.side(transport).room.set_limit(connections);
    }

    /// What TLS handshakes are made with from now on; connections stay. Before the first call,
    /// connections that need it are closed with a line in the log.
    pub fn set_tls(&self, service: TlsService) {
        self.0.live(|live| live.tls = Some(service));
    }

    /// Where handshakes are counted from now on, and limited; those that are open stay counted
    /// where they are.
    pub fn set_handshakes(&self, handshakes: Handshakes) {
        self.0.live(|live| live.handshakes = handshakes);
    }

    /// Who is told of connections from now on, each once. Before the first call, nobody is.
    pub fn set_witness(&self, witness: Arc<dyn Witness>) {
        self.0.live(|live| live.witness = witness);
    }

    /// Whether a listener serves connections in the clear and inside TLS alike from now on. If
    /// not, which is so at first, the other kind is told that it is wrong there.
    pub fn set_accept_both(&self, transport: Transport, both: bool) {
        let side = self.0.side(transport);
        side.takes_both.store(both, Ordering::Relaxed);
    }

    /// Ends every connection of a listener that was switched off: answers that are under way are
    /// finished within [`crate::limits::SHUTDOWN_GRACE`]. WebSockets belong to the engine, which
    /// has to be told by itself.
    pub fn end_connections(&self, transport: Transport) {
        self.0.side(transport).end.send_replace(());
    }

    fn start(
        &self,
        transport: Transport,
        sockets: Vec<std::net::TcpListener>,
    ) -> io::Result<Vec<Socket>> {
        let _inside = self.0.runtime.enter();
        let ready = sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                Ok((socket.local_addr()?, TcpListener::from_std(socket)?))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(ready
            .into_iter()
            .map(|(address, listener)| self.accept_on(transport, address, listener))
            .collect())
    }

    fn accept_on(
        &self,
        transport: Transport,
        address: SocketAddr,
        listener: TcpListener,
    ) -> Socket {
        let (stop, stopped) = oneshot::channel();
        let (closing, closed) = channel();
        let shared = self.0.clone();
        let name = match transport {
            Transport::Plain => "http listener",
            Transport::Tls => "https listener",
        };
        self.0.tasks.spawn_stoppable(name, async move {
            accept(&shared, transport, listener, stopped).await;
            drop(closing);
        });
        Socket {
            address,
            stop,
            closed,
        }
    }
}

impl fmt::Debug for HttpListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpListeners")
            .field("http", &self.addresses(Transport::Plain))
            .field("https", &self.addresses(Transport::Tls))
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn side(&self, transport: Transport) -> &Side {
        match transport {
            Transport::Plain => &self.plain,
            Transport::Tls => &self.tls,
        }
    }

    fn live(&self, change: impl FnOnce(&mut Live)) {
        let live = self.answers.live.write();
        change(&mut live.unwrap_or_else(PoisonError::into_inner));
    }

    /// Gives an accepted connection a task of its own, if there is room.
    fn admit(self: &Arc<Shared>, transport: Transport, stream: TcpStream, peer: SocketAddr) {
        let side = self.side(transport);
        let name = transport.listener();
        let visit = Visit::new(self.answers.live().witness, name, peer);
        let Some(place) = side.room.enter(self.site.engine.open_connections(name)) else {
            return visit.tell(Ending::TurnedAway(Limit::TooManyConnections));
        };
        let end = side.end.subscribe();
        let answers = self.answers.clone();
        let accepted = Accepted {
            listener: transport,
            takes_both: side.takes_both.load(Ordering::Relaxed),
            stream,
            peer,
            place,
            visit: Arc::new(visit),
        };
        tokio::spawn(async move {
            connection::serve(&answers, accepted, end).await;
        });
    }
}

/// Is told and says nothing.
struct Nobody;

impl Witness for Nobody {
    fn saw(&self, _: Attempt) {}
}

impl Side {
    fn sockets(&self) -> MutexGuard<'_, Vec<Socket>> {
        // Nothing under the lock can leave the list half changed.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops accepting on `old` and waits until they are closed.
fn close(transport: Transport, old: Vec<Socket>) -> io::Result<()> {
    let deadline = Instant::now() + HTTP_SWAP_PATIENCE;
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
                    transport.listener(),
                    HTTP_SWAP_PATIENCE.as_secs(),
                ),
            ));
        }
    }
    Ok(())
}

/// Accepts until told to stop, then what the kernel has queued by then.
async fn accept(
    shared: &Arc<Shared>,
    transport: Transport,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) {
    let mut stopped = pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        match accepted {
            Ok((stream, peer)) => shared.admit(transport, stream, peer),
            Err(error) => {
                let name = transport.listener();
                shared.answers.warn(&format!("accept {name}"), || {
                    format!(
                        "{name}: no connection can be accepted: {error}; if descriptors ran out, raise LimitNOFILE or `ulimit -n`"
                    )
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closing a socket resets what waits on it, although its clients count as connected.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = ready {
            shared.admit(transport, stream, peer);
        }
    }
}
