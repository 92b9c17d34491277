//! TLS of a connection that the HTTP server accepted and handed over after its upgrade. That is
//! rustls's buffered connection, which cannot be turned into the lean one of [`super::tls`].

use std::io::{BufRead, Write};

use rustls::{Error, ServerConnection};

use super::tls::End;
use super::{LayerError, Received};
use crate::limits::TLS_RECORD_PLAINTEXT;

#[derive(Debug)]
pub(super) struct HandedOverTls {
    connection: ServerConnection,
    /// Plaintext that was taken out of `connection` before it came here. Empty and without
    /// capacity from the first [`HandedOverTls::receive`] on.
    early: Vec<u8>,
    end: End,
}

impl HandedOverTls {
    pub(super) fn new(connection: ServerConnection, early: Vec<u8>) -> HandedOverTls {
        HandedOverTls {
            connection,
            early,
            end: End::Open,
        }
    }

    /// Decrypts all of `raw` and hands every piece of plaintext to `take`, in order.
    pub(super) fn receive(
        &mut self,
        mut raw: &[u8],
        raw_out: &mut Vec<u8>,
        mut take: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<Received, LayerError> {
        if self.end == End::Over {
            return Ok(Received::Closed);
        }
        let early = std::mem::take(&mut self.early);
        if !early.is_empty() {
            take(&early)?;
        }
        // A connection handed over after an HTTP upgrade may hold plaintext already.
        self.deliver(&mut take)?;
        while !raw.is_empty() {
            let before = raw.len();
            let read = self.connection.read_tls(&mut raw);
            // A record longer than TLS allows, or bytes after close_notify, are not taken.
            if read.is_err() || raw.len() == before {
                break;
            }
            let processed = self.connection.process_new_packets();
            self.write_out(raw_out);
            if let Err(error) = processed {
                self.end = End::Over;
                return Err(error.into());
            }
            self.deliver(&mut take)?;
        }
        self.outcome(raw, raw_out)
    }

    fn deliver(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let mut reader = self.connection.reader();
        while let Ok(chunk) = reader.fill_buf() {
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len();
            let taken = take(chunk);
            reader.consume(length);
            taken?;
        }
        Ok(())
    }

    fn outcome(&mut self, left: &[u8], raw_out: &mut Vec<u8>) -> Result<Received, LayerError> {
        let state = self.connection.process_new_packets();
        self.write_out(raw_out);
        match state {
            Ok(state) if state.peer_has_closed() => {
                self.close(raw_out);
                self.end = End::Over;
                Ok(Received::Closed)
            }
            Ok(_) if left.is_empty() => Ok(Received::Open),
            Ok(_) => {
                self.end = End::Over;
                Err(Error::General("a record that does not fit its buffer".into()).into())
            }
            Err(error) => {
                self.end = End::Over;
                Err(error.into())
            }
        }
    }

    /// Encrypts `plain`, cut so that each piece is a record of its own.
    pub(super) fn send(&mut self, plain: &[u8], raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        if self.end != End::Open {
            return Err(LayerError::Closed);
        }
        for piece in plain.chunks(usize::from(TLS_RECORD_PLAINTEXT)) {
            match self.connection.writer().write(piece) {
                Ok(written) if written == piece.len() => self.write_out(raw_out),
                _ => return Err(LayerError::TooEarly),
            }
        }
        Ok(())
    }

    /// Sends `plain` if that is still possible, then close_notify.
    pub(super) fn say_last(&mut self, plain: &[u8], raw_out: &mut Vec<u8>) {
        if self.end == End::Open && !self.connection.is_handshaking() {
            for piece in plain.chunks(usize::from(TLS_RECORD_PLAINTEXT)) {
                // It cannot fail for lack of room: nothing is ever left in the buffers.
                let _ = self.connection.writer().write(piece);
            }
        }
        self.close(raw_out);
    }

    pub(super) fn close(&mut self, raw_out: &mut Vec<u8>) {
        if self.end == End::Open {
            self.connection.send_close_notify();
            self.end = End::SaidGoodbye;
        }
        self.write_out(raw_out);
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn write_out(&mut self, raw_out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection
                .write_tls(raw_out)
                .expect("writing into memory does not fail");
        }
    }
}
