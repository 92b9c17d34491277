//! Starting, steering and stopping the loops.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};
use safeport_broker::{BrokerSetup, Limits, MAX_PEERS, Publication, Stats, home_of};
use safeport_net::attempt::Witness;
use safeport_net::{FirstBytes, Handshakes, Layer, TlsService};

use crate::connection::{Arrival, Wrapped};
use crate::door::{Door, Doors, House, Signpost};
use crate::event_loop::{EventLoop, LoopParts};
use crate::gatekeeper::Gatekeeper;
use crate::ledger::Ledger;
use crate::mailbox::{Carries, Command, Drained, Incoming, ListenerInfo, ListenerLimits, Mailbox};
use crate::observer::{Addressee, Observer, Watch};
use crate::recovery::{LogSettings, StartError, recover};
use crate::shared::Shared;

/// How the engine runs.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Event loops, each a thread; default 1, at most [`MAX_PEERS`]. One loop routes millions
    /// of small messages a second, so more pay only where one core is full.
    pub loops: usize,
    /// Bounds of each broker.
    pub limits: Limits,
    /// How long a new connection may take to send its CONNECT, its TLS handshake included;
    /// default 10 s.
    pub connect_timeout: Duration,
    /// Open sockets over all listeners; default 1,000,000. Further ones are closed at once.
    pub max_connections: usize,
    /// Where sessions and retained messages survive a restart; `None`: they end with the process.
    pub log: Option<LogSettings>,
    /// Open TLS handshakes and their limits, shared with others that make some.
    pub handshakes: Handshakes,
    /// What `$SYS/broker/version` says.
    pub version: String,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            loops: 1,
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(10),
            max_connections: 1_000_000,
            log: None,
            handshakes: Handshakes::default(),
            version: concat!("safeport ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What a listener serves, and on which sockets. Every listener that may ever be switched on is
/// named at the start.
pub struct ListenerSpec {
    /// Name for settings, logs and the gatekeeper: `mqtt`, `mqtts`.
    pub name: String,
    /// The bound sockets, at most 16. None for a listener that is switched off (see
    /// [`EngineHandle::set_sockets`]), and for one whose connections are brought by
    /// [`EngineHandle::adopt`] (WebSocket).
    pub sockets: Vec<TcpListener>,
    /// What it presents when a client speaks TLS to it.
    pub tls: TlsService,
    /// What its clients are meant to speak. It cannot be changed later; see
    /// [`ListenerLimits::accept_both`].
    pub carries: Carries,
    /// Its bounds, at first.
    pub limits: ListenerLimits,
}

/// Running event loops.
pub struct Engine {
    handle: EngineHandle,
    threads: Vec<JoinHandle<Drained>>,
    doors: Vec<JoinHandle<()>>,
}

/// Steers the loops from any thread.
#[derive(Clone)]
pub struct EngineHandle {
    pub(crate) loops: Arc<[Mailbox]>,
    pub(crate) listeners: Arc<[ListenerInfo]>,
    pub(crate) doors: Doors,
    signpost: Signpost,
    next: Arc<AtomicU32>,
}

impl Engine {
    /// Reads back the log, if there is one, and starts the loops; they serve at once. `witness`
    /// is told what came of each connection.
    ///
    /// # Errors
    ///
    /// If the operating system gives no event queue, a listener cannot be registered or has more
    /// than 16 sockets, or the log cannot be read: see [`StartError`].
    pub fn start(
        settings: EngineSettings,
        gatekeeper: Arc<dyn Gatekeeper>,
        witness: Arc<dyn Witness>,
        listeners: Vec<ListenerSpec>,
    ) -> Result<Engine, StartError> {
        let loops = settings.loops.clamp(1, usize::from(MAX_PEERS));
        let mut sockets = Vec::new();
        let mut infos = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            sockets.push((index as u8, prepare(listener.sockets)?));
            infos.push(ListenerInfo::new(
                &listener.name,
                listener.tls,
                listener.carries,
                &listener.limits,
            ));
        }
        let infos: Arc<[ListenerInfo]> = infos.into();

        let random = RandomState::new();
        let setups = (0..loops)
            .map(|me| BrokerSetup {
                limits: settings.limits.clone(),
                // Fingerprints of client identifiers travel between loops.
                seed: [random.hash_one(0), random.hash_one(usize::MAX - me)],
                me: me as u8,
                brokers: loops as u8,
                durable: settings.log.is_some(),
            })
            .collect();
        let recovered = recover(settings.log.as_ref(), setups)?;
        let start = Instant::now();

        let mut mailboxes = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..loops {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), crate::event_loop::WAKE)?);
            let (sender, receiver) = channel();
            mailboxes.push(Mailbox {
                sender,
                waker,
                shared: Arc::new(Shared::new(start)),
            });
            inboxes.push((poll, receiver));
        }
        let mailboxes: Arc<[Mailbox]> = mailboxes.into();
        let house = House {
            loops: mailboxes.clone(),
            listeners: infos.clone(),
            witness,
            handshakes: settings.handshakes.clone(),
            signpost: Signpost::new(),
        };
        let (doors, door_parts) = Doors::new(&settings.handshakes, start)?;
        let durability = settings
            .log
            .map_or_else(Default::default, |log| log.durability);
        let mut threads = Vec::new();
        let mut sockets = Some(sockets);
        let loops = inboxes.into_iter().zip(recovered.loops);
        for (me, ((poll, inbox), (broker, kept))) in loops.enumerate() {
            let parts = LoopParts {
                poll,
                inbox,
                house: house.clone(),
                doors: doors.clone(),
                // The first loop accepts; connections move to their home by client identifier.
                sockets: sockets.take().unwrap_or_default(),
                gatekeeper: gatekeeper.clone(),
                start,
                epoch: recovered.now,
                connect_timeout: settings.connect_timeout,
                max_connections: settings.max_connections,
                version: settings.version.clone(),
            };
            let ledger = match kept {
                None => None,
                Some(kept) => {
                    let mailbox = mailboxes[me].clone();
                    Some(Ledger::new(
                        kept,
                        &broker.stats(),
                        durability,
                        &format!("log-{me}"),
                        mailbox,
                    )?)
                }
            };
            let mut event_loop = EventLoop::new(parts, me as u8, broker, ledger)?;
            threads.push(
                std::thread::Builder::new()
                    .name(format!("mqtt-{me}"))
                    .spawn(move || event_loop.run())?,
            );
        }
        let mut door_threads = Vec::new();
        for (number, parts) in door_parts.into_iter().enumerate() {
            let mut door = Door::new(parts, house.clone());
            door_threads.push(
                std::thread::Builder::new()
                    .name(format!("tls-{number}"))
                    .spawn(move || door.run())?,
            );
        }
        Ok(Engine {
            handle: EngineHandle {
                loops: mailboxes,
                listeners: infos,
                doors,
                signpost: house.signpost,
                next: Arc::new(AtomicU32::new(0)),
            },
            threads,
            doors: door_threads,
        })
    }

    /// The way to steer it from other threads.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops accepting, tells version 5 clients (DISCONNECT 0x8B), writes what waits for at most
    /// `grace`, and ends the loops.
    pub fn shutdown(self, grace: Duration) -> Drained {
        let deadline = Instant::now() + grace;
        // Whoever is in the middle of a handshake has nothing to lose.
        self.handle.doors.shutdown();
        for mailbox in self.handle.loops.iter() {
            mailbox.send(Command::Shutdown { deadline });
        }
        let mut sum = Drained::default();
        for thread in self.threads {
            if let Ok(drained) = thread.join() {
                sum.connections += drained.connections;
                sum.cut_off += drained.cut_off;
            }
        }
        for door in self.doors {
            // Its end was noticed by `has_failed`.
            let _ = door.join();
        }
        sum
    }

    /// Whether a loop or a door has ended although nobody asked for it.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
            || self.doors.iter().any(JoinHandle::is_finished)
    }
}

impl EngineHandle {
    /// A socket whose HTTP upgrade was done elsewhere joins a loop. `early` is what was read from
    /// it behind the upgrade, decrypted if TLS protects it ([`Layer::receive_early`]). What TLS
    /// showed comes along in `layer`. `listener` names one of the engine's listeners, whose limits
    /// it gets.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made non-blocking, or no listener has that name.
    pub fn adopt(
        &self,
        stream: TcpStream,
        layer: Layer,
        early: Vec<u8>,
        listener: &str,
    ) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        // A small packet must not wait for the acknowledgement of the one before it.
        stream.set_nodelay(true)?;
        let index = usize::from(self.index_of(listener).map_err(io::Error::other)?);
        let mut arrival = Arrival::now(stream.peer_addr()?, Instant::now());
        arrival.first = Some(match layer.is_tls() {
            true => FirstBytes::Tls,
            false => FirstBytes::Http,
        });
        let turn = self.next.fetch_add(1, Ordering::Relaxed) as usize % self.loops.len();
        self.listeners[index].open.fetch_add(1, Ordering::Relaxed);
        self.loops[turn].send(Command::Incoming(Box::new(Incoming {
            stream: mio::net::TcpStream::from_std(stream),
            listener: index as u8,
            layer: Some(Wrapped::new(layer)),
            tail: Vec::new(),
            early,
            arrival,
            admitted: None,
        })));
        Ok(())
    }

    /// Connections of a listener that are open now, those on their way to a loop included; 0 if no
    /// listener has that name. For who accepts what [`Self::adopt`] takes over.
    pub fn open_connections(&self, listener: &str) -> usize {
        self.listeners
            .iter()
            .find(|info| *info.name == *listener)
            .map_or(0, |info| info.open.load(Ordering::Relaxed))
    }

    /// Publishes for the server itself; no rights are asked.
    pub fn publish(&self, publication: Publication) {
        self.loops[0].send(Command::Publish(publication));
    }

    /// Shows `observer` what clients publish to topics that one of `filters` matches, and first what
    /// is retained of them (from each loop that has it), without a subscription and whatever the rights of others are. To be
    /// called once: a second observer takes the place of the first.
    pub fn observe(&self, filters: &[&str], observer: Arc<dyn Observer>) {
        let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
        let watch = Arc::new(Watch { filters, observer });
        for mailbox in self.loops.iter() {
            mailbox.send(Command::Observe(watch.clone()));
        }
    }

    /// Hands to `addressee` what clients say to the server itself
    /// ([`Permissions::to_server`](crate::Permissions::to_server)). Until somebody is there, it is
    /// heard by nobody. To be called once: a second addressee takes the place of the first.
    pub fn set_addressee(&self, addressee: Arc<dyn Addressee>) {
        for mailbox in self.loops.iter() {
            mailbox.send(Command::Hear(addressee.clone()));
        }
    }

    /// Delivers to one client by its identifier, without a subscription. A QoS 0 message to a
    /// client that is not connected is dropped; QoS 1 and 2 wait in its session, if it has one.
    pub fn deliver(&self, client_id: &str, publication: Publication) {
        let home = home_of(client_id, self.loops.len() as u8);
        self.loops[usize::from(home)].send(Command::Deliver(client_id.to_owned(), publication));
    }

    /// Ends every connection of a user, because its rights were revoked or changed. Sessions
    /// stay; their subscriptions are held against the rights of the next login.
    pub fn disconnect_user(&self, username: &str) {
        for mailbox in self.loops.iter() {
            mailbox.send(Command::DisconnectUser(username.to_owned()));
        }
    }

    /// Ends the connection of one client.
    pub fn disconnect_client(&self, client_id: &str) {
        let home = home_of(client_id, self.loops.len() as u8);
        self.loops[usize::from(home)].send(Command::DisconnectClient(client_id.to_owned()));
    }

    /// Counters over all loops, at most 100 ms old while there is traffic and 1 s without.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for mailbox in self.loops.iter() {
            sum += mailbox.shared.load();
        }
        sum
    }

    /// Whether every loop and every door has turned within the last 5 s.
    pub fn healthy(&self) -> bool {
        self.loops.iter().all(|mailbox| mailbox.shared.is_alive()) && self.doors.are_alive()
    }

    /// What an HTTP client that came to a port for MQTT reads: where HTTP is served. Plain text.
    pub fn set_signpost(&self, text: &str) {
        self.signpost.set(text);
    }
}

/// Makes bound sockets fit for a loop.
pub(crate) fn prepare(sockets: Vec<TcpListener>) -> io::Result<Vec<mio::net::TcpListener>> {
    let prepared = sockets.into_iter().map(|socket| {
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it from their listener, which saves a system call each.
        socket2::SockRef::from(&socket).set_tcp_nodelay(true)?;
        Ok(mio::net::TcpListener::from_std(socket))
    });
    prepared.collect()
}
