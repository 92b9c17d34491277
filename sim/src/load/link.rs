//! One socket of the generator: opened in turn, then driven without blocking.

use super::wire::{self, BrokenFrame, Frame};
use super::{LoadError, Target};
use mio::net::TcpStream;
use safeport_mqtt::QoS;
use std::io::{self, Read, Write};
use std::time::Duration;

/// How long the broker may take for each of TCP connect, CONNACK and SUBACK while a run is set up.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Keep alive of every generator connection. No run lasts long enough to need a PINGREQ.
const KEEP_ALIVE_SECONDS: u16 = 3600;

/// A connection that is admitted and, if asked for, subscribed.
pub(super) struct Link {
    pub(super) socket: TcpStream,
    /// Bytes that wait to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The start of a packet whose end has not arrived.
    tail: Vec<u8>,
    /// The link is in the round's list of links to flush.
    pub(super) dirty: bool,
}

/// What one read of a link found.
pub(super) enum Filled {
    /// This many bytes of the buffer are valid; `more` says that the socket may hold others.
    Bytes {
        /// Valid bytes, those of an earlier cut packet first.
        length: usize,
        /// The read filled the buffer.
        more: bool,
    },
    /// Nothing to read now.
    Nothing,
    /// The broker closed the connection.
    Closed,
}

impl Link {
    /// Connects, waits for CONNACK, subscribes to `filter` and waits for SUBACK.
    pub(super) fn open(
        target: &Target,
        client_id: &str,
        filter: Option<(&str, QoS)>,
    ) -> Result<Link, LoadError> {
        let address = target.address;
        let failed = |error| LoadError::Connect { address, error };
        let mut socket =
            std::net::TcpStream::connect_timeout(&address, SET_UP_TIMEOUT).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket
            .set_read_timeout(Some(SET_UP_TIMEOUT))
            .map_err(failed)?;

        let mut bytes = Vec::with_capacity(128);
        wire::connect(
            client_id,
            target.username.as_deref(),
            target.password.as_deref(),
            KEEP_ALIVE_SECONDS,
            &mut bytes,
        );
        socket.write_all(&bytes).map_err(failed)?;
        let connack = wait_for_packet(&mut socket, address)?;
        match wire::next_frame(&connack)? {
            Some((Frame::ConnAck(0), _)) => {}
            Some((Frame::ConnAck(code), _)) => return Err(LoadError::Refused { address, code }),
            _ => {
                return Err(LoadError::Unexpected {
                    waited_for: "CONNACK",
                });
            }
        }

        if let Some((filter, qos)) = filter {
            bytes.clear();
            wire::subscribe(1, filter, qos, &mut bytes);
            socket.write_all(&bytes).map_err(failed)?;
            let suback = wait_for_packet(&mut socket, address)?;
            match wire::next_frame(&suback)? {
                Some((Frame::SubAck(&[granted]), _)) if granted == qos as u8 => {}
                Some((Frame::SubAck(_), _)) => {
                    return Err(LoadError::NotGranted {
                        filter: filter.to_owned(),
                        qos: qos as u8,
                    });
                }
                _ => {
                    return Err(LoadError::Unexpected {
                        waited_for: "SUBACK",
                    });
                }
            }
        }

        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Link {
            socket: TcpStream::from_std(socket),
            out: Vec::new(),
            written: 0,
            tail: Vec::new(),
            dirty: false,
        })
    }

    /// Reads once into `buffer`, behind what was left of the last read.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<Filled> {
        let kept = self.tail.len();
        if buffer.len() < kept * 2 {
            // One packet larger than the shared buffer; it grows once and stays.
            buffer.resize(kept * 2, 0);
        }
        loop {
            match self.socket.read(&mut buffer[kept..]) {
                Ok(0) => return Ok(Filled::Closed),
                Ok(read) => {
                    buffer[..kept].copy_from_slice(&self.tail);
                    self.tail.clear();
                    return Ok(Filled::Bytes {
                        length: kept + read,
                        more: kept + read == buffer.len(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Filled::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
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
        self.out.len() - self.written
    }

    /// Writes what the socket takes; the rest goes when mio reports it writable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => self.written += wrote,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

/// Blocks until one whole packet has arrived. Nothing can follow it yet: the broker owes a
/// connection that is being set up exactly one answer.
fn wait_for_packet(
    socket: &mut std::net::TcpStream,
    address: std::net::SocketAddr,
) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 256];
    loop {
        if wire::next_frame(&bytes)?.is_some() {
            return Ok(bytes);
        }
        match socket.read(&mut chunk) {
            Ok(0) => return Err(LoadError::Closed { address }),
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Err(LoadError::Silent {
                    address,
                    waited: SET_UP_TIMEOUT,
                });
            }
            Err(error) => return Err(LoadError::Connect { address, error }),
        }
    }
}

impl From<BrokenFrame> for LoadError {
    fn from(broken: BrokenFrame) -> Self {
        LoadError::Broken(broken.to_string())
    }
}
