//! Listening sockets: bound where the plan says, moved only as far as the settings allow, and never
//! from under a device that holds the old address.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use safeport_net::BindError;
use safeport_net::holder::Holding;
use safeport_settings::{
    BoundSocket, Listener, OnConflict, PlannedBind, PortClaim, Protocol, Settings,
};
use safeport_store::{By, PortEvent, PortEventKind, Registry};

use super::words::bind_error;
use crate::console::Failure;
use crate::say;
use crate::serve::access::unix_now;
use crate::text::Texts;

/// One socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Whose it is.
    pub(crate) listener: Listener,
    /// Where the settings want it.
    pub(crate) wanted: SocketAddr,
    /// Where it is: another port after a conflict, where the settings allow it, or in place of
    /// port 0; `0.0.0.0` in place of `[::]` on a machine without IPv6.
    pub(crate) actual: SocketAddr,
    /// One of the standard ports, which may be missing without harm.
    pub(crate) standard: bool,
    socket: Socket,
}

/// What is bound.
#[derive(Debug)]
enum Socket {
    Stream(TcpListener),
    Datagram(UdpSocket),
}

impl Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Stream(socket) => socket.local_addr(),
            Socket::Datagram(socket) => socket.local_addr(),
        }
    }
}

impl Bound {
    /// The same socket once more, for who accepts on it; `None` for one of UDP. The port stays
    /// taken until every copy is closed.
    pub(crate) fn share(&self) -> Option<io::Result<TcpListener>> {
        match &self.socket {
            Socket::Stream(socket) => Some(socket.try_clone()),
            Socket::Datagram(_) => None,
        }
    }

    /// The same for who answers packets; `None` for one of TCP.
    pub(crate) fn share_datagrams(&self) -> Option<io::Result<UdpSocket>> {
        match &self.socket {
            Socket::Stream(_) => None,
            Socket::Datagram(socket) => Some(socket.try_clone()),
        }
    }

    /// What it takes.
    pub(crate) fn claim(&self) -> PortClaim {
        PortClaim {
            protocol: self.listener.protocol(),
            address: self.actual,
        }
    }

    /// Where it listens, for the gate.
    pub(crate) fn place(&self) -> BoundSocket {
        BoundSocket {
            listener: self.listener,
            address: self.actual,
            standard: self.standard,
        }
    }

    /// Whether it is what `planned` asks for.
    pub(crate) fn serves(&self, planned: &PlannedBind) -> bool {
        self.listener == planned.listener
            && self.wanted == planned.address
            && self.standard == planned.standard
    }
}

/// Binds sockets and remembers what became of them.
pub(crate) struct Binder<'a> {
    settings: &'a Settings,
    registry: &'a mut Registry,
    texts: &'a Texts,
    by: By<'a>,
    /// Devices that the operator allows to be stranded by a move.
    strand: &'a [String],
    /// What has happened to ports and is not written down yet.
    events: Vec<PortEvent>,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(
        settings: &'a Settings,
        registry: &'a mut Registry,
        texts: &'a Texts,
        strand: &'a [String],
    ) -> Binder<'a> {
        Binder {
            settings,
            registry,
            texts,
            by: By {
                who: "server",
                at: unix_now(),
            },
            strand,
            events: Vec::new(),
        }
    }

    /// Binds one planned address. `None` for a standard port that cannot be had.
    ///
    /// # Errors
    /// The port is taken, may not be used, or may not be moved from; says by whom and what to do.
    pub(crate) fn bind(&mut self, planned: &PlannedBind) -> Result<Option<Bound>, Failure> {
        let wanted = planned.address;
        let chosen = self
            .registry
            .chosen_port(planned.listener.name(), wanted)
            .ok()
            .flatten();
        let first = chosen.map_or(wanted, |port| SocketAddr::new(wanted.ip(), port));
        let error = match open(planned, first) {
            Ok(socket) => return self.bound(planned, socket).map(Some),
            Err(error) => error,
        };
        if planned.standard {
            self.note(
                PortEventKind::Refused,
                planned,
                first,
                holder_of(&error),
                &error,
            );
            tracing::warn!(
                target: "safeport::serve",
                "standard port not served: {error}",
            );
            return Ok(None);
        }
        let (BindError::Taken { .. }, Some(range)) =
            (&error, port_range(self.settings, planned.listener))
        else {
            return Err(self.refused(planned, first, &error));
        };
        self.may_leave(planned, first, &error)?;
        match self.bind_elsewhere(planned, range) {
            Ok((socket, port)) => {
                let moved = SocketAddr::new(wanted.ip(), port);
                if let Err(error) =
                    self.registry
                        .choose_port(planned.listener.name(), wanted, port, self.by)
                {
                    tracing::warn!(
                        target: "safeport::serve",
                        "the new port cannot be remembered, the next start may choose another one: {error}"
                    );
                }
                self.note(
                    PortEventKind::Moved,
                    planned,
                    moved,
                    holder_of(&error),
                    &error,
                );
                tracing::warn!(
                    target: "safeport::serve",
                    "{} moved from port {} to {port}: {error}",
                    planned.listener.name(),
                    first.port(),
                );
                self.bound(planned, socket).map(Some)
            }
            Err(error) => Err(self.refused(planned, first, &error)),
        }
    }

    /// Takes the first port of a range that is free and that no other listener of ours wants.
    fn bind_elsewhere(
        &self,
        planned: &PlannedBind,
        mut range: RangeInclusive<u16>,
    ) -> Result<(Socket, u16), BindError> {
        let (listener, from) = (planned.listener, planned.address.port());
        let key = format!("{}.on_conflict", listener.name());
        let whole = range.clone();
        loop {
            let (socket, port) =
                open_in(planned.protocol, &key, planned.address.ip(), range.clone())?;
            let clashes = self.settings.plan.moved(listener, from, port).is_err();
            if !clashes {
                return Ok((socket, port));
            }
            if port >= *range.end() {
                // Free, but another listener or an advertised address of ours wants it.
                return Err(BindError::RangeTaken {
                    key,
                    ip: planned.address.ip(),
                    first: *whole.start(),
                    last: *whole.end(),
                    tried: vec![(port, Some(Holding::ThisProcess))],
                });
            }
            range = port + 1..=*range.end();
        }
    }

    /// Refuses to leave an address that devices hold, unless each of them may be stranded.
    fn may_leave(
        &mut self,
        planned: &PlannedBind,
        from: SocketAddr,
        error: &BindError,
    ) -> Result<(), Failure> {
        let texts = self.texts;
        let held = self
            .registry
            .holders(planned.listener.name(), from.port())
            .map_err(|error| super::registry_failed(texts, &error))?;
        let stranded: Vec<String> = held
            .into_iter()
            .map(|told| told.device)
            .filter(|device| !self.strand.contains(device))
            .collect();
        if stranded.is_empty() {
            return Ok(());
        }
        self.note(
            PortEventKind::Refused,
            planned,
            from,
            holder_of(error),
            error,
        );
        let names = stranded.join(", ");
        Err(Failure::new(say!(
            texts,
            "bind-stranding",
            port = from.port(),
            key = planned.key,
            count = stranded.len(),
            devices = names
        ))
        .detail(bind_error(texts, error))
        .next(say!(
            texts,
            "bind-stranding-next",
            port = from.port(),
            devices = stranded.join(",")
        )))
    }

    fn refused(&mut self, planned: &PlannedBind, at: SocketAddr, error: &BindError) -> Failure {
        self.note(PortEventKind::Refused, planned, at, holder_of(error), error);
        Failure::new(say!(
            self.texts,
            "bind-failed",
            key = format!("{}, {}", planned.key, planned.source),
            address = at
        ))
        .detail(bind_error(self.texts, error))
    }

    fn bound(&mut self, planned: &PlannedBind, socket: Socket) -> Result<Bound, Failure> {
        let actual = socket.local_addr().map_err(|error| {
            Failure::new(say!(
                self.texts,
                "bind-failed",
                key = planned.key,
                address = planned.address
            ))
            .detail(error)
        })?;
        self.event(PortEventKind::Bound, planned.listener, actual, None, "");
        Ok(Bound {
            listener: planned.listener,
            wanted: planned.address,
            actual,
            standard: planned.standard,
            socket,
        })
    }

    /// Writes down that a socket is given up.
    pub(crate) fn released(&mut self, bound: &Bound) {
        self.event(
            PortEventKind::Released,
            bound.listener,
            bound.actual,
            None,
            "",
        );
    }

    fn note(
        &mut self,
        kind: PortEventKind,
        planned: &PlannedBind,
        at: SocketAddr,
        holder: Option<String>,
        error: &BindError,
    ) {
        self.event(kind, planned.listener, at, holder, &error.to_string());
    }

    fn event(
        &mut self,
        kind: PortEventKind,
        listener: Listener,
        address: SocketAddr,
        holder: Option<String>,
        detail: &str,
    ) {
        let event = PortEvent {
            kind,
            listener: listener.name().to_owned(),
            address: address.to_string(),
            holder,
            detail: (!detail.is_empty()).then(|| detail.to_owned()),
        };
        self.events.push(event);
    }
}

impl Drop for Binder<'_> {
    /// Writes down what happened, all of it at once: each writing waits for the disk.
    fn drop(&mut self) {
        if self.events.is_empty() {
            return;
        }
        // The history is for people; that it cannot be written keeps no port from being used.
        if let Err(error) = self.registry.port_events_happened(&self.events, self.by) {
            tracing::warn!(target: "safeport::serve", "the port history cannot be written: {error}");
        }
    }
}

fn open(planned: &PlannedBind, address: SocketAddr) -> Result<Socket, BindError> {
    match planned.protocol {
        Protocol::Tcp => safeport_net::bind(&planned.key, address).map(Socket::Stream),
        Protocol::Udp => safeport_net::bind_udp(&planned.key, address).map(Socket::Datagram),
    }
}

fn open_in(
    protocol: Protocol,
    key: &str,
    ip: IpAddr,
    range: RangeInclusive<u16>,
) -> Result<(Socket, u16), BindError> {
    match protocol {
        Protocol::Tcp => safeport_net::bind_range(key, ip, range)
            .map(|(socket, port)| (Socket::Stream(socket), port)),
        Protocol::Udp => safeport_net::bind_udp_range(key, ip, range)
            .map(|(socket, port)| (Socket::Datagram(socket), port)),
    }
}

/// The ports that a listener may move to when its own is taken; `None`: it may not.
pub(crate) fn port_range(settings: &Settings, listener: Listener) -> Option<RangeInclusive<u16>> {
    let on_conflict = match listener {
        Listener::Mqtt => settings.mqtt.on_conflict,
        Listener::Mqtts => settings.mqtts.on_conflict,
        Listener::Http => settings.http.on_conflict,
        Listener::Https => settings.https.on_conflict,
        Listener::Voice => settings.voice.on_conflict,
        // Devices ask at one port only.
        Listener::Ntp => return None,
    };
    match on_conflict {
        OnConflict::Fail => None,
        OnConflict::Range(range) => Some(range.first..=range.last),
    }
}

fn holder_of(error: &BindError) -> Option<String> {
    match error {
        BindError::Taken { holding, .. } => Some(holding.to_string()),
        _ => None,
    }
}
