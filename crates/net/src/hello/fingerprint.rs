//! A short name for the shape of a ClientHello.

use sha1::{Digest, Sha1};

use super::{ClientHello, GREASE, TLS13};

impl ClientHello {
    /// The shape of this hello in about 20 printable characters, such as `12-s1-x6-3f0a9c81d2`:
    ///
    /// * the highest version without its dot (`30` is SSL 3.0, `13` is TLS 1.3);
    /// * `s` and how many suites, `x` and how many extensions there are;
    /// * the first ten hexadecimal digits of the SHA-1 of these lists written out:
    ///   versions, suites, extensions, groups, signatures, point formats, the record size that was
    ///   asked for; extensions sorted, the others in the order sent; `,` behind each hexadecimal
    ///   number and `;` behind each list.
    ///
    /// What differs between two connections of the same program is left out and not counted: the
    /// random bytes and keys, GREASE, the server name and ALPN, padding, and whatever a resumed
    /// session adds (tickets, pre-shared keys, early data, cookies). Extensions are sorted because
    /// browsers and rustls shuffle them. So all devices with the same firmware share one
    /// fingerprint, and a client that changed it has changed its TLS stack or its settings.
    pub fn fingerprint(&self) -> String {
        let mut extensions: Vec<u16> = steady(&self.extensions)
            .filter(|number| !PASSING.contains(number))
            .collect();
        extensions.sort_unstable();
        let suites: Vec<u16> = steady(&self.suites).collect();
        let mut digest = Sha1::new();
        let mut list = |numbers: &mut dyn Iterator<Item = u16>| {
            for number in numbers {
                digest.update(format!("{number:x},"));
            }
            digest.update(";");
        };
        list(&mut steady(&self.versions));
        list(&mut suites.iter().copied());
        list(&mut extensions.iter().copied());
        list(&mut steady(&self.groups));
        list(&mut steady(&self.signatures));
        list(&mut self.point_formats.iter().map(|format| u16::from(*format)));
        list(&mut self.max_fragment.into_iter().chain(self.record_size_limit));
        let digest = digest.finalize();
        let mark: String = digest[..5].iter().map(|b| format!("{b:02x}")).collect();
        let version = match self.highest_version() {
            0x0300 => "30".to_string(),
            other if other <= TLS13 && other > 0x0300 => format!("1{}", (other & 0xff) - 1),
            other => format!("{other:04x}"),
        };
        let (suites, extensions) = (suites.len(), extensions.len());
        format!("{version}-s{suites}-x{extensions}-{mark}")
    }
}

fn steady(numbers: &[u16]) -> impl Iterator<Item = u16> {
    numbers.iter().copied().filter(|number| *number != GREASE)
}

/// Extensions that come and go with the connection: server_name, ALPN, padding, session_ticket,
/// pre_shared_key, early_data, cookie, and ALPS (17513, 17613), which goes with ALPN.
const PASSING: [u16; 9] = [0, 16, 21, 35, 41, 42, 44, 17513, 17613];
