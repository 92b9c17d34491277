//! What a client speaks, told from its first bytes, so that a mix-up of plain and TLS ports is a
//! named finding instead of a reset. Called by the engine before it chooses a [`crate::Layer`].

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FirstBytes {
    /// The fixed header of an MQTT CONNECT, `0x10` [MQTT-3.1.0-1].
    Mqtt,
    /// A TLS handshake record, `0x16 0x03`.
    Tls,
    /// An HTTP request: a method in capitals and a space.
    Http,
    /// None of these.
    Unknown,
}

impl FirstBytes {
    /// Bytes that are always enough for an answer.
    pub const ENOUGH: usize = 8;

    /// Recognises the start of a connection.
    ///
    /// `None` means that more bytes are needed; that can only happen with fewer than
    /// [`FirstBytes::ENOUGH`] bytes.
    pub fn of(bytes: &[u8]) -> Option<FirstBytes> {
        match *bytes {
            [] | [0x16] => None,
            [0x10, ..] => Some(FirstBytes::Mqtt),
            [0x16, 0x03, ..] => Some(FirstBytes::Tls),
            _ => FirstBytes::of_text(bytes),
        }
    }

    fn of_text(bytes: &[u8]) -> Option<FirstBytes> {
        if METHODS.iter().any(|method| bytes.starts_with(method)) {
            return Some(FirstBytes::Http);
        }
        if METHODS.iter().any(|method| method.starts_with(bytes)) {
            return None;
        }
        Some(FirstBytes::Unknown)
    }
}

/// `PRI` opens HTTP/2 without TLS.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"PATCH ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
];

#[cfg(test)]
mod tests {
    use super::FirstBytes;

    #[test]
    fn one_byte_of_a_connect_is_enough() {
        assert_eq!(FirstBytes::of(&[0x10]), Some(FirstBytes::Mqtt));
    }

    #[test]
    fn a_client_hello_needs_its_second_byte() {
        assert_eq!(FirstBytes::of(&[0x16]), None);
        assert_eq!(FirstBytes::of(&[0x16, 0x03]), Some(FirstBytes::Tls));
        assert_eq!(FirstBytes::of(&[0x16, 0x02]), Some(FirstBytes::Unknown));
    }

    #[test]
    fn every_http_method_is_recognised_at_its_space_and_not_before() {
        for request in [
            "GET /",
            "POST /",
            "PUT /",
            "HEAD /",
            "DELETE /",
            "PATCH /",
            "OPTIONS *",
            "CONNECT a",
            "TRACE /",
            "PRI * HTTP/2.0",
        ] {
            let space = request.find(' ').unwrap();
            for end in 0..=space {
                assert_eq!(
                    FirstBytes::of(&request.as_bytes()[..end]),
                    None,
                    "{request}, {end}"
                );
            }
            let bytes = request.as_bytes();
            assert_eq!(
                FirstBytes::of(&bytes[..=space]),
                Some(FirstBytes::Http),
                "{request}"
            );
        }
    }

    #[test]
    fn no_answer_ever_needs_more_bytes_than_promised() {
        for first in 0..=255u8 {
            let bytes = [first; FirstBytes::ENOUGH];
            assert!(FirstBytes::of(&bytes).is_some());
        }
        assert!(FirstBytes::of(b"OPTIONS ").is_some());
    }

    #[test]
    fn other_bytes_are_unknown_at_once() {
        for bytes in [&b"SSH-2.0"[..], b"get /", b"\0", b"\x82\x80", b"GETX"] {
            assert_eq!(FirstBytes::of(bytes), Some(FirstBytes::Unknown));
        }
    }
}
