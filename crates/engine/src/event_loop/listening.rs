//! Listening sockets of one loop, and how they come and go while it serves.
//!
//! New ones accept before old ones leave. An old one first takes no new connections, finishes the
//! handshakes that are under way, gives up what waits in its queue, and only then closes: whoever
//! the kernel has told that it is connected is served.

use std::io;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use tracing::warn;

use crate::limits::{ACCEPT_PAUSE, LAST_ACCEPTS, LAST_HANDSHAKES, MAX_ALL_SOCKETS, MAX_SOCKETS};
use crate::mailbox::SocketChange;

use super::{EventLoop, FIRST_LISTENER};

/// All of them, of all listeners.
#[derive(Default)]
pub(super) struct Listening {
    list: Vec<ListeningSocket>,
    /// when there is one to close
    close_at: Option<Instant>,
    /// who waits for sockets to be closed: these tokens
    waiting: Vec<(Vec<Token>, SyncSender<io::Result<()>>)>,
}

pub(super) struct ListeningSocket {
    pub(super) listener: u8,
    pub(super) socket: TcpListener,
    token: Token,
    /// the event queue has told of somebody, and nobody has looked yet whether there are more
    pub(super) ready: bool,
    /// it goes: what its queue holds at this time is accepted
    closes_at: Option<Instant>,
    address: Option<SocketAddr>,
}

impl ListeningSocket {
    /// Undoes for an accepted connection what the socket does to leave.
    pub(super) fn let_in(&self, stream: &TcpStream) {
        if self.closes_at.is_some() {
            new_connections::take_again(stream);
        }
    }

    fn serves(&self, listener: u8) -> bool {
        self.listener == listener && self.closes_at.is_none()
    }
}

impl Listening {
    pub(super) fn is_ready(&mut self, token: Token) {
        if let Some(socket) = self.list.iter_mut().find(|socket| socket.token == token) {
            socket.ready = true;
        }
    }

    /// Those that may have somebody waiting.
    pub(super) fn ready(&mut self) -> impl Iterator<Item = &mut ListeningSocket> {
        self.list.iter_mut().filter(|socket| socket.ready)
    }

    /// When to look for one to close.
    pub(super) fn due(&self) -> Option<Instant> {
        self.close_at
    }

    /// Whether there is one to close now, whose queue has to be looked at before.
    pub(super) fn last_call(&mut self, now: Instant) -> bool {
        if self.close_at.is_none_or(|at| at > now) {
            return false;
        }
        for socket in &mut self.list {
            socket.ready |= socket.closes_at.is_some_and(|at| at <= now);
        }
        true
    }

    fn free_token(&self) -> Option<Token> {
        (0..MAX_ALL_SOCKETS)
            .map(|place| Token(FIRST_LISTENER + place))
            .find(|token| self.list.iter().all(|socket| socket.token != *token))
    }

    /// Starts with one more.
    fn add(
        &mut self,
        listener: u8,
        mut socket: TcpListener,
        registry: &Registry,
    ) -> io::Result<()> {
        let token = self
            .free_token()
            .ok_or_else(|| io::Error::other("too many listening sockets are still closing"))?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        self.list.push(ListeningSocket {
            listener,
            address: socket.local_addr().ok(),
            socket,
            token,
            ready: false,
            closes_at: None,
        });
        Ok(())
    }

    fn addresses(&self, listener: u8) -> Vec<SocketAddr> {
        let serving = self.list.iter().filter(|socket| socket.serves(listener));
        serving.filter_map(|socket| socket.address).collect()
    }

    /// Closes those that are due and have nobody waiting any more.
    fn close_due(&mut self, now: Instant, registry: &Registry) {
        self.list.retain_mut(|socket| {
            let Some(at) = socket.closes_at.filter(|at| *at <= now) else {
                return true;
            };
            let late = now >= at + LAST_ACCEPTS;
            if socket.ready && !late {
                return true;
            }
            if socket.ready {
                warn!(
                    target: "safeport::mqtt",
                    "a listening socket was closed while connections waited to be accepted, and \
                     they were reset: there were no descriptors for them. Raise the limit of open \
                     files (LimitNOFILE= of the unit, or `ulimit -n`)"
                );
            }
            // A copy of the descriptor elsewhere would keep it in the event queue.
            let _ = registry.deregister(&mut socket.socket);
            false
        });
        let closing = self.list.iter().filter_map(|socket| socket.closes_at);
        // Those that stay although they are due wait for descriptors, as accepting does.
        self.close_at = closing.min().map(|at| at.max(now + ACCEPT_PAUSE));
        let list = &self.list;
        self.waiting.retain(|(tokens, done)| {
            let still = |token: &Token| list.iter().any(|socket| socket.token == *token);
            let wait = tokens.iter().any(still);
            if !wait {
                // Who asked may have gone.
                let _ = done.send(Ok(()));
            }
            wait
        });
    }
}

impl EventLoop {
    /// Serves further sockets: all of them or none.
    pub(super) fn listen(&mut self, listener: u8, sockets: Vec<TcpListener>) -> io::Result<()> {
        let before = self.sockets.list.len();
        let serving = self.sockets.addresses(listener).len();
        if serving + sockets.len() > MAX_SOCKETS {
            return Err(io::Error::other(format!(
                "a listener has at most {MAX_SOCKETS} sockets"
            )));
        }
        for socket in sockets {
            if let Err(error) = self.sockets.add(listener, socket, self.poll.registry()) {
                for mut socket in self.sockets.list.drain(before..) {
                    let _ = self.poll.registry().deregister(&mut socket.socket);
                }
                return Err(error);
            }
        }
        self.note_addresses(listener);
        Ok(())
    }

    pub(super) fn change_sockets(
        &mut self,
        listener: u8,
        change: SocketChange,
        done: SyncSender<io::Result<()>>,
    ) {
        if self.stopping.is_some() {
            return;
        }
        let old = self.sockets.addresses(listener);
        let (new, gone) = match change {
            SocketChange::Add(new) => (new, Vec::new()),
            SocketChange::Remove(addresses) => (Vec::new(), addresses),
            SocketChange::Set(new) => {
                let wanted: Vec<_> = new.iter().filter_map(|s| s.local_addr().ok()).collect();
                let gone = old.iter().filter(|address| !wanted.contains(address));
                let gone = gone.copied().collect();
                (new, gone)
            }
        };
        // One that is there already stays; the second is most likely a copy of its descriptor.
        let new = new.into_iter();
        let new = new.filter(|socket| socket.local_addr().map_or(true, |at| !old.contains(&at)));
        // Room is counted without those that go.
        let leaving = self.retire(listener, &gone);
        match self.listen(listener, new.collect()) {
            Ok(()) if leaving.is_empty() => {
                let _ = done.send(Ok(()));
            }
            Ok(()) => {
                for socket in &mut self.sockets.list {
                    if leaving.contains(&socket.token) {
                        new_connections::refuse(&socket.socket);
                    }
                }
                let at = self.now + LAST_HANDSHAKES;
                self.sockets.close_at = Some(self.sockets.close_at.map_or(at, |is| is.min(at)));
                self.sockets.waiting.push((leaving, done));
            }
            Err(error) => {
                for socket in &mut self.sockets.list {
                    if leaving.contains(&socket.token) {
                        socket.closes_at = None;
                    }
                }
                let _ = done.send(Err(error));
            }
        }
        self.note_addresses(listener);
    }

    /// Sets the time at which the listener's sockets at these addresses close.
    fn retire(&mut self, listener: u8, addresses: &[SocketAddr]) -> Vec<Token> {
        let mut tokens = Vec::new();
        for socket in &mut self.sockets.list {
            let named = socket.address.is_some_and(|at| addresses.contains(&at));
            if named && socket.serves(listener) {
                socket.closes_at = Some(self.now + LAST_HANDSHAKES);
                tokens.push(socket.token);
            }
        }
        tokens
    }

    pub(super) fn close_retired(&mut self) {
        if self.sockets.due().is_some_and(|at| at <= self.now) {
            self.sockets.close_due(self.now, self.poll.registry());
        }
    }

    /// Closes all of them; the server stops.
    pub(super) fn stop_listening(&mut self) {
        for socket in &mut self.sockets.list {
            let _ = self.poll.registry().deregister(&mut socket.socket);
        }
        self.sockets = Listening::default();
        for info in self.listeners.iter() {
            info.bound
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
    }

    fn note_addresses(&self, listener: u8) {
        let bound = &self.listeners[usize::from(listener)].bound;
        *bound.lock().unwrap_or_else(PoisonError::into_inner) = self.sockets.addresses(listener);
    }
}

/// A listening socket that takes no new connections, while handshakes that have begun go on.
///
/// The system has no call for it: `close` and `shutdown` reset whoever is in the queue, and in the
/// moment between the last `accept` and `close` another one may have come in. A filter on the
/// socket drops each first packet of a handshake (SYN without ACK) as if the network had lost it.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod new_connections {
    use mio::net::{TcpListener, TcpStream};
    use socket2::{SockFilter, SockRef};

    pub(super) fn refuse(socket: &TcpListener) {
        let program = [
            // load the byte of flags of the TCP header
            SockFilter::new(LOAD_BYTE, 0, 0, 13),
            SockFilter::new(AND, 0, 0, ACK | SYN),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
            SockFilter::new(RETURN, 0, 0, NOTHING),
            SockFilter::new(RETURN, 0, 0, EVERYTHING),
        ];
        // Where it is not allowed, the moment is left in which a connection can be reset.
        let _ = SockRef::from(socket).attach_filter(&program);
    }

    /// Accepted sockets inherit the filter.
    pub(super) fn take_again(stream: &TcpStream) {
        let _ = SockRef::from(stream).detach_filter();
    }

    // Of the classic packet filter's instructions (linux/bpf_common.h):
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;

    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    const NOTHING: u32 = 0;
    const EVERYTHING: u32 = u32::MAX;
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod new_connections {
    use mio::net::{TcpListener, TcpStream};

    pub(super) fn refuse(_: &TcpListener) {}

    pub(super) fn take_again(_: &TcpStream) {}
}
