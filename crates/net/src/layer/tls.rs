//! The TLS server side of a [`super::Layer`], over the unbuffered connection of rustls: it decrypts
//! out of our bytes instead of keeping a 4 KiB buffer of its own, which is half of what an idle
//! connection would cost.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{AlertDescription, Error, ServerConfig};

use super::{LayerError, Received};
use crate::limits::{TLS_RECORD_PLAINTEXT, TLS_UNFINISHED};

pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    /// Bytes of a record, or of a handshake message, that is not complete yet. Empty and without
    /// capacity when the connection is idle.
    unfinished: Vec<u8>,
    end: End,
}

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// We have sent close_notify; the peer may still send.
    SaidGoodbye,
    /// Nothing more comes or goes.
    Over,
}

/// Why [`Tls::pump`] came to rest.
enum Rest {
    NeedsMore,
    PeerClosed,
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Tls, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Tls {
            connection,
            unfinished: Vec::new(),
            end: End::Open,
        })
    }

    /// Decrypts all of `raw` into `plain`.
    pub(super) fn receive(
        &mut self,
        raw: &[u8],
        plain: &mut Vec<u8>,
        raw_out: &mut Vec<u8>,
    ) -> Result<Received, LayerError> {
        if self.end == End::Over {
            return Ok(Received::Closed);
        }
        self.unfinished.extend_from_slice(raw);
        let rest = self.pump(plain, raw_out);
        // The start of a record must not keep the memory of all that came before it.
        if self.unfinished.is_empty()
            || self.unfinished.capacity() > self.unfinished.len() + TLS_RECORD_PLAINTEXT
        {
            self.unfinished.shrink_to_fit();
        }
        match rest {
            Ok(Rest::NeedsMore) if self.unfinished.len() > TLS_UNFINISHED => {
                self.end = End::Over;
                Err(Error::General("a handshake message that never ends".into()).into())
            }
            Ok(Rest::NeedsMore) => Ok(Received::Open),
            Ok(Rest::PeerClosed) => {
                self.close(raw_out);
                self.end = End::Over;
                self.unfinished = Vec::new();
                Ok(Received::Closed)
            }
            Err(error) => {
                self.write_alert(raw_out);
                self.end = End::Over;
                self.unfinished = Vec::new();
                Err(error.into())
            }
        }
    }

    /// Lets rustls work until it has nothing to do with the bytes there are.
    fn pump(&mut self, plain: &mut Vec<u8>, raw_out: &mut Vec<u8>) -> Result<Rest, Error> {
        // Records are cut off at the front only once, since each cut moves all that follow.
        let mut used = 0;
        let outcome = loop {
            let UnbufferedStatus { discard, state } = self
                .connection
                .process_tls_records(&mut self.unfinished[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => {
                    while let Some(record) = records.next_record() {
                        match record {
                            Ok(record) => plain.extend_from_slice(record.payload),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(raw_out, |out| message.encode(out))?;
                }
                Ok(ConnectionState::TransmitTlsData(message)) => message.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    used += discard;
                    break Ok(Rest::PeerClosed);
                }
                Ok(_) => {
                    used += discard;
                    break Ok(Rest::NeedsMore);
                }
                Err(error) => {
                    used += discard;
                    break Err(error);
                }
            }
            used += discard;
        };
        self.unfinished.drain(..used);
        outcome
    }

    /// After an error: the alert that rustls has prepared. Only what waits is asked for, since
    /// rustls would go on to judge input that it has judged already.
    fn write_alert(&mut self, raw_out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(mut alert)) = state else {
                return;
            };
            if append(raw_out, |out| alert.encode(out)).is_err() {
                return;
            }
        }
    }

    /// Encrypts `plain`, cut so that each piece is a record of its own.
    pub(super) fn send(&mut self, plain: &[u8], raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        if self.end != End::Open {
            return Err(LayerError::Closed);
        }
        if self.is_handshaking() {
            return Err(LayerError::TooEarly);
        }
        let state = self
            .connection
            .process_tls_records(&mut self.unfinished)
            .state?;
        let ConnectionState::WriteTraffic(mut writer) = state else {
            return Err(LayerError::TooEarly);
        };
        raw_out.reserve(plain.len() + plain.len().div_ceil(TLS_RECORD_PLAINTEXT) * OVERHEAD);
        for piece in plain.chunks(TLS_RECORD_PLAINTEXT) {
            append(raw_out, |out| writer.encrypt(piece, out))?;
        }
        Ok(())
    }

    /// Sends close_notify. During the handshake there is nothing to be said in good order: the
    /// closed socket tells enough.
    pub(super) fn close(&mut self, raw_out: &mut Vec<u8>) {
        if self.end != End::Open {
            return;
        }
        self.end = End::SaidGoodbye;
        if let Ok(ConnectionState::WriteTraffic(mut writer)) = self
            .connection
            .process_tls_records(&mut self.unfinished)
            .state
        {
            // The peer needs no goodbye from a connection whose keys are used up.
            let _ = append(raw_out, |out| writer.queue_close_notify(out));
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Header, nonce and tag of a record, at most: 5 + 8 + 16 bytes, or 5 + 1 + 16 in TLS 1.3.
const OVERHEAD: usize = 29;

/// Lets `write` fill the end of `out`, with as much room as it asks for.
fn append<E: Into<Unwritten>>(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let start = out.len();
    let mut room = TLS_RECORD_PLAINTEXT + OVERHEAD;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]).map_err(Into::into) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Unwritten::Needs(more)) if more > room => room = more,
            Err(_) => {
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}

/// Why nothing was written.
enum Unwritten {
    Needs(usize),
    Never,
}

impl From<EncodeError> for Unwritten {
    fn from(error: EncodeError) -> Unwritten {
        match error {
            EncodeError::InsufficientSize(size) => Unwritten::Needs(size.required_size),
            EncodeError::AlreadyEncoded => Unwritten::Never,
        }
    }
}

impl From<EncryptError> for Unwritten {
    fn from(error: EncryptError) -> Unwritten {
        match error {
            EncryptError::InsufficientSize(size) => Unwritten::Needs(size.required_size),
            EncryptError::EncryptExhausted => Unwritten::Never,
        }
    }
}

/// The next step for whoever reads the error: what this TLS fault usually means at a device.
pub(super) fn advice(error: &Error) -> &'static str {
    match error {
        Error::AlertReceived(alert) => advice_for_alert(*alert),
        Error::PeerIncompatible(_) => {
            "the client and this server share no version, suite or curve: a client needs \
             TLS 1.2 with ECDHE and AES-GCM, or TLS 1.3"
        }
        Error::InvalidMessage(_) => {
            "this does not look like TLS: check that the client has TLS switched on for this port"
        }
        Error::DecryptError => {
            "a record was damaged on the way: look for a proxy or firewall that rewrites traffic"
        }
        _ => "let the client try again, and note this line if it comes back",
    }
}

fn advice_for_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => {
            "the client does not trust our authority: give it pki/ca.pem or the fingerprint"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "the client refused our certificate: check that the host name in the client is one \
             of the certificate's names and that it was given pki/ca.pem or the fingerprint"
        }
        AlertDescription::CertificateExpired => {
            "the client finds our certificate out of date: check the clock of the client first"
        }
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "the client accepts none of our versions and suites: it needs TLS 1.2 with \
             ECDHE-RSA-AES128-GCM-SHA256, or better"
        }
        _ => "the client said so itself: its own log tells why",
    }
}
