//! The TLS server side of a [`super::Layer`], over the unbuffered connection of rustls: it decrypts
//! out of our bytes instead of keeping a 4 KiB buffer of its own, which is half of what an idle
//! connection would cost.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{AlertDescription, Error, HandshakeKind, PeerIncompatible, ServerConfig};

use super::{LayerError, Received};
use crate::attempt::{Ending, Stage, TlsFacts};
use crate::limits::{TLS_RECORD_PLAINTEXT, TLS_UNFINISHED};

pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    /// Bytes of a record, or of a handshake message, that is not complete yet. Empty and without
    /// capacity when the connection is idle.
    unfinished: Vec<u8>,
    /// Until somebody takes them.
    facts: Option<Box<TlsFacts>>,
    /// Most plaintext of one record that we send.
    record: u16,
    end: End,
    /// How often we have answered during the handshake, up to 2.
    flights: u8,
    /// The fatal alert that we sent, if it can be known.
    alert: Option<u8>,
    /// Nothing follows its handshake.
    challenge: bool,
    /// There will be no handshake.
    refusal: Option<Refusal>,
}

/// What the ClientHello decided.
pub(super) struct Traits {
    pub(super) record: u16,
    pub(super) facts: Box<TlsFacts>,
    pub(super) challenge: bool,
    pub(super) refusal: Option<Refusal>,
}

/// What no handshake is begun with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// TLS 1.2 is the oldest that is spoken.
    TooOld,
    /// It could do better.
    Fallback,
}

impl Refusal {
    fn alert(self) -> AlertDescription {
        match self {
            Refusal::TooOld => AlertDescription::ProtocolVersion,
            Refusal::Fallback => AlertDescription::InappropriateFallback,
        }
    }

    fn error(self) -> Error {
        match self {
            Refusal::TooOld => PeerIncompatible::Tls12NotOffered.into(),
            Refusal::Fallback => Error::General(
                "the client fell back to TLS 1.2, although both sides know TLS 1.3".into(),
            ),
        }
    }
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
    pub(super) fn new(config: Arc<ServerConfig>, traits: Traits) -> Result<Tls, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Tls {
            connection,
            unfinished: Vec::new(),
            facts: Some(traits.facts),
            record: traits.record,
            end: End::Open,
            flights: 0,
            alert: None,
            challenge: traits.challenge,
            refusal: traits.refusal,
        })
    }

    pub(super) fn is_challenge(&self) -> bool {
        self.challenge
    }

    pub(super) fn facts(&self) -> Option<&TlsFacts> {
        self.facts.as_deref()
    }

    pub(super) fn take_facts(&mut self) -> Option<Box<TlsFacts>> {
        self.facts.take()
    }

    pub(super) fn record_size(&self) -> u16 {
        self.record
    }

    pub(super) fn selected_alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    pub(super) fn stage(&self) -> Stage {
        // A HelloRetryRequest holds no certificate yet.
        let retried =
            self.connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest);
        match self.flights {
            _ if !self.connection.is_handshaking() => Stage::Finished,
            0 => Stage::Hello,
            1 if retried => Stage::Hello,
            _ => Stage::Certificate,
        }
    }

    /// How an attempt ended that ended with this error.
    pub(super) fn ending(&self, error: &LayerError) -> Ending {
        match error {
            LayerError::Tls(Error::AlertReceived(alert)) => Ending::AlertReceived((*alert).into()),
            LayerError::Tls(error) => Ending::Failed {
                alert: self.alert,
                why: error.to_string(),
            },
            other => Ending::Failed {
                alert: None,
                why: other.to_string(),
            },
        }
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
        if let Some(refusal) = self.refusal {
            self.end = End::Over;
            self.alert = Some(refusal.alert().into());
            raw_out.extend_from_slice(&alert_in_clear(refusal.alert()));
            return Err(refusal.error().into());
        }
        let first = self.flights == 0 && self.is_handshaking();
        self.unfinished.extend_from_slice(raw);
        let shaking_hands = self.is_handshaking();
        let said = raw_out.len();
        let rest = self.pump(plain, raw_out);
        if shaking_hands {
            self.note_progress(raw_out.len() > said);
        }
        // The start of a record must not keep the memory of all that came before it.
        if self.unfinished.is_empty()
            || self.unfinished.capacity()
                > self.unfinished.len() + usize::from(TLS_RECORD_PLAINTEXT)
        {
            self.unfinished.shrink_to_fit();
        }
        match rest {
            Ok(Rest::NeedsMore) if self.unfinished.len() > TLS_UNFINISHED => {
                self.end = End::Over;
                self.unfinished = Vec::new();
                if self.flights == 0 {
                    raw_out.extend_from_slice(&alert_in_clear(AlertDescription::RecordOverflow));
                    self.alert = Some(AlertDescription::RecordOverflow.into());
                }
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
                let before = raw_out.len();
                self.write_alert(raw_out);
                // rustls has no word for some first messages that are no ClientHello.
                if first && raw_out.len() == said && !matches!(error, Error::AlertReceived(_)) {
                    raw_out.extend_from_slice(&alert_in_clear(AlertDescription::DecodeError));
                }
                self.alert = read_alert(&raw_out[before..]);
                self.end = End::Over;
                self.unfinished = Vec::new();
                Err(error.into())
            }
        }
    }

    fn note_progress(&mut self, answered: bool) {
        if answered {
            self.flights = 2.min(self.flights + 1);
        }
        if let Some(facts) = &mut self.facts {
            facts.version = self.connection.protocol_version().map(Into::into);
            let suite = self.connection.negotiated_cipher_suite();
            facts.suite = suite.map(|suite| suite.suite().into());
            if self.connection.handshake_kind() == Some(HandshakeKind::Resumed) {
                facts.resumed = true;
                facts.served = None;
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
                    append(raw_out, 0, |out| message.encode(out))?;
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
            if append(raw_out, 0, |out| alert.encode(out)).is_err() {
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
        let record = usize::from(self.record);
        raw_out.reserve(plain.len() + plain.len().div_ceil(record) * OVERHEAD);
        for piece in plain.chunks(record) {
            append(raw_out, piece.len(), |out| writer.encrypt(piece, out))?;
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
            let _ = append(raw_out, 0, |out| writer.queue_close_notify(out));
        }
    }

    /// Sends `plain` if that is still possible, then close_notify.
    pub(super) fn say_last(&mut self, plain: &[u8], raw_out: &mut Vec<u8>) {
        if !plain.is_empty() {
            // Who has said goodbye already hears no more.
            let _ = self.send(plain, raw_out);
        }
        self.close(raw_out);
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

/// Lets `write` fill the end of `out`, with room for a record of `plain` bytes, or as much as it
/// asks for.
fn append<E: Into<Unwritten>>(
    out: &mut Vec<u8>,
    plain: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let start = out.len();
    let mut room = plain + OVERHEAD;
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

/// A fatal alert before there are keys.
fn alert_in_clear(alert: AlertDescription) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, FATAL, alert.into()]
}

/// The alert that a record holds, unless it is encrypted.
fn read_alert(record: &[u8]) -> Option<u8> {
    match *record {
        [ALERT, _, _, 0, 2, FATAL, alert] => Some(alert),
        _ => None,
    }
}

const ALERT: u8 = 21;
const FATAL: u8 = 2;

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
