//! What lies between a socket and MQTT: nothing, or TLS.

use super::target::Tls;
use super::{LoadError, Target};
use std::io::{self, Read, Write};
use tokio_rustls::rustls::{ClientConnection, HandshakeKind};

/// Plain bytes or TLS.
pub(super) enum Layer {
    Plain,
    Tls(Box<Secure>),
}

/// What reading found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// The buffer is valid up to `length`; `more` says that the socket may hold others.
    Bytes {
        /// Valid bytes, those that were there before included.
        length: usize,
        /// The read filled what there was to fill.
        more: bool,
    },
    /// Nothing to read now.
    Nothing,
    /// The broker closed the connection.
    Closed,
}

/// Memory that all connections of a run share, one at a time.
pub(super) struct Buffers {
    /// Bytes of MQTT.
    pub(super) plain: Vec<u8>,
    /// Records of TLS; empty until the first is read.
    sealed: Vec<u8>,
}

impl Buffers {
    pub(super) fn new(plain: usize) -> Self {
        Buffers {
            plain: vec![0; plain],
            sealed: Vec::new(),
        }
    }
}

impl Layer {
    pub(super) fn of(target: &Target) -> Result<Layer, LoadError> {
        Layer::with(target.tls.as_ref())
    }

    pub(super) fn with(tls: Option<&Tls>) -> Result<Layer, LoadError> {
        Ok(match tls {
            None => Layer::Plain,
            Some(tls) => Layer::Tls(Box::new(Secure {
                connection: tls.begin()?,
                waiting: 0,
            })),
        })
    }

    /// Reads into `buffers.plain` from `at` on. A socket that does not block is empty when this
    /// says `Nothing` or no `more`; one that blocks has timed out at `Nothing`.
    pub(super) fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        buffers: &mut Buffers,
        at: usize,
    ) -> io::Result<Filled> {
        match self {
            Layer::Plain => Ok(match read_once(stream, &mut buffers.plain[at..])? {
                None => Filled::Nothing,
                Some(0) => Filled::Closed,
                Some(read) => Filled::Bytes {
                    length: at + read,
                    more: at + read == buffers.plain.len(),
                },
            }),
            Layer::Tls(secure) => secure.read(stream, buffers, at),
        }
    }

    /// Writes `out` from `written` on, as far as the socket takes it. Empties `out` once nothing of
    /// it is left to hand over.
    pub(super) fn write(
        &mut self,
        stream: &mut impl Write,
        out: &mut Vec<u8>,
        written: &mut usize,
    ) -> io::Result<()> {
        match self {
            Layer::Plain => {
                while *written < out.len() {
                    match stream.write(&out[*written..]) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(wrote) => *written += wrote,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                out.clear();
                *written = 0;
                Ok(())
            }
            Layer::Tls(secure) => {
                if !out.is_empty() {
                    secure.connection.writer().write_all(out)?;
                    secure.waiting += out.len();
                    out.clear();
                }
                secure.flush(stream)
            }
        }
    }

    /// An earlier session was taken up again.
    pub(super) fn is_resumed(&self) -> bool {
        match self {
            Layer::Plain => false,
            Layer::Tls(secure) => {
                secure.connection.handshake_kind() == Some(HandshakeKind::Resumed)
            }
        }
    }

    /// Bytes that were handed over and have not all left.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Layer::Plain => 0,
            Layer::Tls(secure) => secure.waiting,
        }
    }
}

/// One TLS connection.
pub(super) struct Secure {
    connection: ClientConnection,
    waiting: usize,
}

impl Secure {
    fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        buffers: &mut Buffers,
        at: usize,
    ) -> io::Result<Filled> {
        buffers.sealed.resize(SEALED, 0);
        loop {
            let Some(read) = read_once(stream, &mut buffers.sealed)? else {
                return Ok(Filled::Nothing);
            };
            let (length, closed) = self.open(&buffers.sealed[..read], &mut buffers.plain, at)?;
            // What the handshake has to answer.
            self.flush(stream)?;
            if length > at {
                return Ok(Filled::Bytes {
                    length,
                    more: read == SEALED,
                });
            }
            if closed || read == 0 {
                return Ok(Filled::Closed);
            }
        }
    }

    /// Opens records into `plain` from `length` on: where the bytes end, and whether the broker said
    /// that no more follow.
    fn open(
        &mut self,
        mut sealed: &[u8],
        plain: &mut Vec<u8>,
        mut length: usize,
    ) -> io::Result<(usize, bool)> {
        while !sealed.is_empty() {
            self.connection.read_tls(&mut sealed)?;
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let opened = state.plaintext_bytes_to_read();
            if opened > 0 {
                if plain.len() < length + opened {
                    plain.resize(length + opened, 0);
                }
                self.connection
                    .reader()
                    .read_exact(&mut plain[length..length + opened])?;
                length += opened;
            }
            if state.peer_has_closed() {
                return Ok((length, true));
            }
        }
        Ok((length, false))
    }

    fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Until the handshake is done, what was handed over waits inside.
        if !self.connection.is_handshaking() {
            self.waiting = 0;
        }
        Ok(())
    }
}

/// `None` when there is nothing to read now.
fn read_once(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(read) => return Ok(Some(read)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}

/// One read of TLS takes at most this much.
const SEALED: usize = 64 * 1024;
