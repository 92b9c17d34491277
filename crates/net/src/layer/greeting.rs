//! A TLS connection until its whole ClientHello is there. What a listener presents, and how long
//! its records may be, is chosen by what the client says in it, so rustls begins only then.

use std::net::IpAddr;

use rustls::Error;

use super::tls::{Refusal, Tls, Traits};
use crate::attempt::TlsFacts;
use crate::hello::{ClientHello, TLS12, TLS13};
use crate::limits::{TLS_RECORD_PLAINTEXT, TLS_RECORD_WHOLE};
use crate::{RecordSize, TlsService};

#[derive(Debug)]
pub(super) struct Greeting {
    service: TlsService,
    reached: Option<IpAddr>,
    bytes: Vec<u8>,
}

impl Greeting {
    pub(super) fn new(service: &TlsService, reached: Option<IpAddr>) -> Greeting {
        Greeting {
            service: service.clone(),
            reached,
            bytes: Vec::new(),
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes bytes from the socket; the connection and all bytes so far once it can begin. A
    /// ClientHello that nobody can read goes to rustls, too, which knows the alert for it.
    pub(super) fn receive(&mut self, raw: &[u8]) -> Option<Result<(Tls, Vec<u8>), Error>> {
        self.bytes.extend_from_slice(raw);
        let hello = match ClientHello::read(&self.bytes) {
            Ok(Some(hello)) => Some(hello),
            Ok(None) => return None,
            Err(_) => None,
        };
        let refusal = hello.as_ref().and_then(refusal);
        let begun = self.service.begin(hello.as_ref(), self.reached);
        let record = record_size(begun.record_size, hello.as_ref());
        let facts = Box::new(TlsFacts {
            hello,
            served: begun.served,
            record_size: record,
            ..TlsFacts::default()
        });
        let tls = Tls::new(
            begun.config,
            Traits {
                record,
                facts,
                challenge: begun.is_challenge,
                refusal,
            },
        );
        Some(tls.map(|tls| (tls, std::mem::take(&mut self.bytes))))
    }
}

/// Why a client is refused before rustls sees its hello: rustls would name another reason, or none.
fn refusal(hello: &ClientHello) -> Option<Refusal> {
    if hello.highest_version() < TLS12 {
        // Without signature_algorithms, which older versions do not have, rustls says
        // handshake_failure, and a device then prints that no suite is shared.
        return Some(Refusal::TooOld);
    }
    // The client tries again below what it can do, because it did not get through with that; we
    // would have answered, so somebody is in between (RFC 7507).
    (hello.suites.contains(&FALLBACK_SCSV) && !hello.speaks(TLS13)).then_some(Refusal::Fallback)
}

const FALLBACK_SCSV: u16 = 0x5600;

/// Most plaintext of one record that we send.
fn record_size(wanted: RecordSize, hello: Option<&ClientHello>) -> u16 {
    let size = match wanted {
        RecordSize::Fixed(size) => size,
        RecordSize::Auto if hello.is_some_and(|hello| hello.stack().has_large_buffers()) => {
            TLS_RECORD_WHOLE
        }
        RecordSize::Auto => TLS_RECORD_PLAINTEXT,
    };
    let asked = hello.and_then(ClientHello::fragment);
    let asked = asked.map_or(u16::MAX, |asked| u16::try_from(asked).unwrap_or(u16::MAX));
    size.min(asked).clamp(SMALLEST_RECORD, TLS_RECORD_WHOLE)
}

/// The smallest limit that a client may ask for is 64 (RFC 8449), which in TLS 1.3 leaves so much.
const SMALLEST_RECORD: u16 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_records_counts_their_type_in_tls_1_3_only() {
        let mut hello = ClientHello {
            legacy_version: TLS12,
            record_size_limit: Some(64),
            ..ClientHello::default()
        };
        assert_eq!(record_size(RecordSize::Auto, Some(&hello)), 64);
        hello.versions = vec![TLS13, TLS12];
        assert_eq!(record_size(RecordSize::Fixed(16_384), Some(&hello)), 63);
    }
}
