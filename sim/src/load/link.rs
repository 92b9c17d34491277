//! One connection of the generator: opened in turn, then driven without blocking.

use super::layer::{Buffers, Filled, Layer};
use super::wire::{self, BrokenFrame, Frame, Session};
use super::{LoadError, Target};
use mio::net::TcpStream;
use safeport_mqtt::{QoS, Version};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the broker may take for each of TCP connect, CONNACK and SUBACK while a run is set up.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is being set up, one answer after the other.
pub(super) struct Opening {
    stream: std::net::TcpStream,
    layer: Layer,
    address: SocketAddr,
    version: Version,
    /// Bytes that arrived and are not looked at.
    bytes: Vec<u8>,
    buffers: Buffers,
    /// CONNACK said that the broker had kept this session.
    pub(super) session_present: bool,
    receive_maximum: u16,
}

impl Opening {
    /// Connects and waits for CONNACK.
    pub(super) fn connect(
        target: &Target,
        client_id: &str,
        session: Session,
    ) -> Result<Opening, LoadError> {
        let address = target.address;
        let failed = |error| LoadError::Connect { address, error };
        let stream =
            std::net::TcpStream::connect_timeout(&address, SET_UP_TIMEOUT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream
            .set_read_timeout(Some(SET_UP_TIMEOUT))
            .map_err(failed)?;
        let mut opening = Opening {
            stream,
            layer: Layer::of(target)?,
            address,
            version: target.version,
            bytes: Vec::new(),
            buffers: Buffers::new(512),
            session_present: false,
            receive_maximum: u16::MAX,
        };
        let mut hello = Vec::with_capacity(128);
        wire::connect(target, client_id, session, &mut hello);
        opening.send(hello)?;
        let (present, maximum) = opening.wait_for("CONNACK", |frame| match frame {
            Frame::ConnAck {
                code: 0,
                session_present,
                receive_maximum,
            } => Some(Ok((session_present, receive_maximum))),
            Frame::ConnAck { code, .. } => Some(Err(LoadError::Refused { address, code })),
            _ => None,
        })?;
        opening.session_present = present;
        opening.receive_maximum = maximum;
        Ok(opening)
    }

    /// Subscribes to every filter with one SUBSCRIBE and waits for SUBACK.
    pub(super) fn subscribe(&mut self, filters: &[&str], qos: QoS) -> Result<(), LoadError> {
        let mut bytes = Vec::with_capacity(64 * filters.len());
        wire::subscribe(self.version, 1, filters, qos, &mut bytes);
        self.send(bytes)?;
        self.wait_for("SUBACK", |frame| match frame {
            Frame::SubAck(codes) => {
                let refused = filters
                    .iter()
                    .zip(codes)
                    .find(|(_, code)| **code != qos as u8);
                Some(match refused {
                    None if codes.len() == filters.len() => Ok(()),
                    None => Err(LoadError::Unexpected {
                        waited_for: "a SUBACK with one code for each filter",
                    }),
                    Some((filter, _)) => Err(LoadError::NotGranted {
                        filter: (*filter).to_owned(),
                        qos: qos as u8,
                    }),
                })
            }
            _ => None,
        })
    }

    /// Says goodbye. The broker keeps the session if it was asked to.
    pub(super) fn leave(mut self) -> Result<(), LoadError> {
        self.send(wire::DISCONNECT.to_vec())
    }

    /// The connection, from now on without blocking.
    pub(super) fn into_link(self) -> Result<Link, LoadError> {
        let address = self.address;
        self.stream
            .set_nonblocking(true)
            .map_err(|error| LoadError::Connect { address, error })?;
        Ok(Link {
            socket: TcpStream::from_std(self.stream),
            layer: self.layer,
            out: Vec::new(),
            written: 0,
            tail: self.bytes,
            receive_maximum: self.receive_maximum,
            dirty: false,
        })
    }

    fn send(&mut self, mut bytes: Vec<u8>) -> Result<(), LoadError> {
        let address = self.address;
        self.layer
            .write(&mut self.stream, &mut bytes, &mut 0)
            .map_err(|error| set_up_error(address, error))?;
        self.stream
            .flush()
            .map_err(|error| set_up_error(address, error))
    }

    /// Blocks until one whole packet has arrived and gives it to `accept`, which knows the one that
    /// is due by its kind.
    fn wait_for<T>(
        &mut self,
        due: &'static str,
        accept: impl Fn(Frame<'_>) -> Option<Result<T, LoadError>>,
    ) -> Result<T, LoadError> {
        let address = self.address;
        loop {
            if let Some((frame, length)) = wire::next_frame(self.version, &self.bytes)? {
                let result =
                    accept(frame).unwrap_or(Err(LoadError::Unexpected { waited_for: due }));
                self.bytes.drain(..length);
                return result;
            }
            match self.layer.read(&mut self.stream, &mut self.buffers, 0) {
                Ok(Filled::Bytes { length, .. }) => {
                    self.bytes.extend_from_slice(&self.buffers.plain[..length])
                }
                Ok(Filled::Closed) => return Err(LoadError::Closed { address }),
                Ok(Filled::Nothing) => {
                    return Err(LoadError::Silent {
                        address,
                        waited: SET_UP_TIMEOUT,
                    });
                }
                Err(error) => return Err(set_up_error(address, error)),
            }
        }
    }
}

/// A connection that is admitted.
pub(super) struct Link {
    pub(super) socket: TcpStream,
    layer: Layer,
    /// Bytes that wait to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The start of a packet whose end has not arrived; at first, all that came behind CONNACK.
    tail: Vec<u8>,
    /// QoS 1 and 2 messages that the broker lets us have unacknowledged.
    pub(super) receive_maximum: u16,
    /// The link is in the round's list of links to flush.
    pub(super) dirty: bool,
}

impl Link {
    /// Connects with a clean session and, if asked for, subscribes to `filter`.
    pub(super) fn open(
        target: &Target,
        client_id: &str,
        filter: Option<(&str, QoS)>,
    ) -> Result<Link, LoadError> {
        let mut opening = Opening::connect(target, client_id, Session::Clean)?;
        if let Some((filter, qos)) = filter {
            opening.subscribe(&[filter], qos)?;
        }
        opening.into_link()
    }

    /// Reads once into `buffers`, behind what was left of the last read.
    pub(super) fn fill(&mut self, buffers: &mut Buffers) -> io::Result<Filled> {
        let kept = self.tail.len();
        if buffers.plain.len() < kept * 2 {
            // One packet larger than the shared buffer; it grows once and stays.
            buffers.plain.resize(kept * 2, 0);
        }
        let filled = self.layer.read(&mut self.socket, buffers, kept)?;
        if let Filled::Bytes { .. } = filled {
            buffers.plain[..kept].copy_from_slice(&self.tail);
            self.tail.clear();
        }
        Ok(filled)
    }

    /// What came behind CONNACK and SUBACK, before the first [`Link::fill`].
    pub(super) fn take_tail(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }

    /// Keeps the start of a packet for the next [`Link::fill`].
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.tail.extend_from_slice(rest);
    }

    /// Where packets to send are appended. Nothing leaves before [`Link::flush`].
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() - self.written + self.layer.waiting()
    }

    /// Writes what the socket takes; the rest goes when mio reports it writable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.layer
            .write(&mut self.socket, &mut self.out, &mut self.written)
    }
}

/// A failure while a connection is set up. Only TLS finds invalid data.
pub(super) fn set_up_error(address: SocketAddr, error: io::Error) -> LoadError {
    match error.kind() {
        io::ErrorKind::InvalidData => LoadError::Tls { address, error },
        _ => LoadError::Connect { address, error },
    }
}

impl From<BrokenFrame> for LoadError {
    fn from(broken: BrokenFrame) -> Self {
        LoadError::Broken(broken.to_string())
    }
}
