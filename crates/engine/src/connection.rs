//! One open socket: what was read and is not a packet yet, what waits to be written.

use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpStream;
use safeport_broker::SessionId;
use safeport_mqtt::Version;
use safeport_net::attempt::{Attempt, Ending, SentRecord, TlsFacts};
use safeport_net::hello::ClientHello;
use safeport_net::{FirstBytes, Layer};

use crate::limits::{LARGE_RECORD, LARGE_RECORD_WATCH, SLICES, WRAP_AT_ONCE};
use crate::out_buffer::OutBuffer;
use crate::pool::Pool;

/// A connection. Idle it owns no buffer: only its socket, its session's name and flags.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) state: State,
    pub(crate) out: OutBuffer,
    /// bytes of a packet that is not complete yet
    pub(crate) tail: Vec<u8>,
    /// length the packet at the start of `tail` will have; 0 = not known
    pub(crate) needed: u32,
    pub(crate) max_packet: u32,
    /// tells this connection from an earlier one in the same slot
    pub(crate) serial: u32,
    pub(crate) version: Version,
    pub(crate) listener: u8,
    pub(crate) layer: Option<Box<Wrapped>>,
    /// listed for flushing
    pub(crate) dirty: bool,
    /// the socket took less than it was given; it will tell when it takes more
    pub(crate) full: bool,
    /// the event queue was told to tell: most sockets are never full
    pub(crate) told_when_writable: bool,
    /// listed for reading
    pub(crate) listed: bool,
    /// not read for a while; there may be something to read
    pub(crate) unread: bool,
    /// its last packet, at the start of `tail`, has to wait: a subscriber does not keep up
    pub(crate) held: bool,
    /// what waits to be written depends on a group of the log: this one, by its low bits
    gated: bool,
    gate: u32,
    /// the peer will send no more
    pub(crate) read_closed: bool,
    /// it ended with an error
    pub(crate) reset: bool,
    /// the broker wants to know when `out` is empty
    pub(crate) watch_drain: bool,
}

/// Where a connection is in its life.
pub(crate) enum State {
    /// CONNECT has not come yet.
    Connecting(Box<Arrival>),
    /// CONNECT is with the gatekeeper.
    Deciding(Box<Undecided>),
    /// CONNECT was admitted, but its client identifier is at home on another loop.
    Leaving(Box<Leaving>),
    /// TLS came to a plain listener that takes both: these bytes go with it to the door.
    Knocking(Box<(Arrival, Vec<u8>)>),
    /// The client has a session.
    Live(SessionId),
    /// Our last words are being written; `true` once they are and we wait for the peer to go.
    Closing(bool),
    /// To be freed at the end of the turn.
    Dead,
}

/// How a connection came in; kept until it has a session.
#[derive(Clone)]
pub(crate) struct Arrival {
    /// The socket knows it too, but asking is a system call.
    pub(crate) peer: SocketAddr,
    pub(crate) accepted: Instant,
    /// What its first bytes on the wire were.
    pub(crate) first: Option<FirstBytes>,
}

impl Arrival {
    pub(crate) fn now(peer: SocketAddr, accepted: Instant) -> Box<Arrival> {
        Box::new(Arrival {
            peer,
            accepted,
            first: None,
        })
    }

    /// What came of it, as far as it is known.
    pub(crate) fn attempt(&self, listener: &Arc<str>, ending: Ending) -> Attempt {
        let took = self.accepted.elapsed();
        let at = SystemTime::now()
            .checked_sub(took)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        Attempt {
            took,
            first: self.first,
            ..Attempt::new(at, listener.clone(), self.peer, ending)
        }
    }
}

/// A CONNECT that waits for its verdict.
pub(crate) struct Undecided {
    /// its bytes
    pub(crate) connect: Box<[u8]>,
    pub(crate) arrival: Box<Arrival>,
}

pub(crate) struct Leaving {
    pub(crate) home: u8,
    /// bytes of the CONNECT
    pub(crate) connect: Box<[u8]>,
    pub(crate) arrival: Box<Arrival>,
}

/// TLS or WebSocket between the protocol and the socket.
pub(crate) struct Wrapped {
    pub(crate) layer: Layer,
    /// bytes for the socket
    pub(crate) raw: Vec<u8>,
    sent: usize,
    /// said goodbye in the layer's own way
    closed: bool,
    /// only for clients that may be sent records which they cannot hold
    watch: Option<Box<Watch>>,
}

/// What tells, once the connection is lost, whether a record was too large for the client.
struct Watch {
    /// the socket no longer knows once it was reset
    peer: SocketAddr,
    hello: ClientHello,
    /// the longest record of data beyond [`LARGE_RECORD`] that was sent; 0 = none
    largest: u16,
    /// when, by the low bits of the loop's clock in milliseconds
    largest_at: u32,
}

impl Wrapped {
    pub(crate) fn new(layer: Layer) -> Box<Self> {
        Self::with_unsent(layer, Vec::new())
    }

    /// With bytes for the socket that are still to be written.
    pub(crate) fn with_unsent(layer: Layer, raw: Vec<u8>) -> Box<Self> {
        Box::new(Self {
            layer,
            raw,
            sent: 0,
            closed: false,
            watch: None,
        })
    }

    /// What TLS showed goes to the witness now; of a client with small buffers that is sent long
    /// records all the same (`record_size`) it is kept, too.
    pub(crate) fn take_facts(&mut self, peer: SocketAddr) -> Option<Box<TlsFacts>> {
        let facts = self.layer.take_facts()?;
        let hello = facts.hello.as_ref();
        let small = hello.filter(|hello| !hello.stack().has_large_buffers());
        if facts.record_size > LARGE_RECORD
            && let Some(hello) = small
        {
            self.watch = Some(Box::new(Watch {
                peer,
                hello: hello.clone(),
                largest: 0,
                largest_at: 0,
            }));
        }
        Some(facts)
    }

    /// What TLS had shown, with the largest record of data, if that was large and sent within the
    /// last two seconds: a client whose buffer it does not fit is gone by then. Told once.
    pub(crate) fn take_large_record(&mut self, now: u32) -> Option<(SocketAddr, TlsFacts)> {
        let watch = self.watch.take()?;
        let before_end = Duration::from_millis(now.wrapping_sub(watch.largest_at).into());
        if watch.largest == 0 || before_end > LARGE_RECORD_WATCH {
            return None;
        }
        let sent = SentRecord {
            bytes: watch.largest,
            before_end,
        };
        let facts = TlsFacts {
            hello: Some(watch.hello),
            record_size: self.layer.record_size()?,
            largest_sent: Some(sent),
            ..TlsFacts::default()
        };
        Some((watch.peer, facts))
    }
}

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is with the kernel.
    All,
    /// The socket is full.
    Partly,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        listener: u8,
        max_packet: u32,
        serial: u32,
        layer: Option<Box<Wrapped>>,
        arrival: Box<Arrival>,
    ) -> Self {
        Self {
            stream,
            state: State::Connecting(arrival),
            out: OutBuffer::default(),
            tail: Vec::new(),
            needed: 0,
            max_packet,
            serial,
            version: Version::V311,
            listener,
            layer,
            dirty: false,
            full: false,
            told_when_writable: false,
            listed: false,
            unread: false,
            held: false,
            gated: false,
            gate: 0,
            read_closed: false,
            reset: false,
            watch_drain: false,
        }
    }

    /// Writes what waits, as much as the socket takes. Returns the bytes written, too.
    /// `now`: low bits of the loop's clock.
    pub(crate) fn flush(&mut self, pool: &mut Pool, now: u32) -> io::Result<(Flushed, usize)> {
        let result = match &mut self.layer {
            None => flush_plain(&mut self.stream, &mut self.out),
            Some(wrapped) => {
                let closing = matches!(self.state, State::Closing(_));
                wrapped.flush(&mut self.stream, &mut self.out, closing, now)
            }
        };
        if let Ok((flushed, _)) = &result {
            self.full = *flushed == Flushed::Partly;
            if *flushed == Flushed::All {
                self.gated = false;
                self.out.release(pool);
            }
        }
        result
    }

    /// What is written from now on may not leave before this group of the log is safe.
    pub(crate) fn wait_for(&mut self, group: u64) {
        self.gated = true;
        self.gate = group as u32;
    }

    /// Whether it has to wait while this is the last group that is safe. Two groups that are
    /// compared here are never 2^31 apart.
    pub(crate) fn waits(&self, safe: u64) -> bool {
        self.gated && (self.gate.wrapping_sub(safe as u32) as i32) > 0
    }

    /// Bytes that wait, wrapped or not.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() + self.layer.as_ref().map_or(0, |w| w.raw.len() - w.sent)
    }
}

fn flush_plain(stream: &mut TcpStream, out: &mut OutBuffer) -> io::Result<(Flushed, usize)> {
    let mut total = 0;
    while !out.is_empty() {
        let (wanted, written) = match out.unshared() {
            // Nearly always: no list of slices has to be made.
            Some(bytes) => (bytes.len(), stream.write(bytes)),
            None => write_shared(stream, out),
        };
        match written {
            Ok(written) => {
                total += written;
                out.advance(written);
                if written < wanted {
                    return Ok((Flushed::Partly, total));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok((Flushed::Partly, total)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok((Flushed::All, total))
}

/// Writes as many slices as one call takes; returns their bytes, too.
fn write_shared(stream: &mut TcpStream, out: &OutBuffer) -> (usize, io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = out.gather(&mut slices);
    let wanted = slices[..used].iter().map(|slice| slice.len()).sum();
    (wanted, stream.write_vectored(&slices[..used]))
}

impl Wrapped {
    fn flush(
        &mut self,
        stream: &mut TcpStream,
        out: &mut OutBuffer,
        closing: bool,
        now: u32,
    ) -> io::Result<(Flushed, usize)> {
        let mut total = 0;
        loop {
            while self.sent < self.raw.len() {
                match stream.write(&self.raw[self.sent..]) {
                    Ok(written) => {
                        self.sent += written;
                        total += written;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        return Ok((Flushed::Partly, total));
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            self.raw = Vec::new();
            self.sent = 0;
            if !out.is_empty() {
                self.wrap(out, now)?;
            } else if closing && !self.closed {
                self.closed = true;
                self.layer.close(&mut self.raw);
            } else {
                return Ok((Flushed::All, total));
            }
        }
    }

    /// Wraps the next protocol bytes: as many packets as fit share records and frames.
    fn wrap(&mut self, out: &mut OutBuffer, now: u32) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = out.gather(&mut slices);
        let taken = if let [only] = &slices[..used] {
            let part = &only[..only.len().min(WRAP_AT_ONCE)];
            self.layer
                .send(part, &mut self.raw)
                .map_err(io::Error::other)?;
            part.len()
        } else {
            let mut joined = Vec::new();
            for slice in &slices[..used] {
                let room = WRAP_AT_ONCE - joined.len();
                joined.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            self.layer
                .send(&joined, &mut self.raw)
                .map_err(io::Error::other)?;
            joined.len()
        };
        out.advance(taken);
        if let Some(watch) = &mut self.watch {
            let longest = self.layer.record_size().unwrap_or(0);
            let longest = longest.min(u16::try_from(taken).unwrap_or(u16::MAX));
            if longest > LARGE_RECORD && longest > watch.largest {
                (watch.largest, watch.largest_at) = (longest, now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_stays_small() {
        // The budget for a whole connection, session included, is 490 bytes.
        assert!(
            size_of::<Connection>() <= 136,
            "{}",
            size_of::<Connection>()
        );
    }
}
