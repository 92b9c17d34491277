//! Fingerprints of ClientHellos: a fleet has few different ones, and making one costs more than
//! finding it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use safeport_net::hello::ClientHello;

use super::seen::Hello;
use crate::limits::HELLOS;
use crate::serve::access::recent::Recent;

/// The fingerprints that were needed lately.
pub(super) struct Hellos(Recent<ClientHello, Arc<Hello>>);

impl Default for Hellos {
    fn default() -> Hellos {
        Hellos(Recent::new(HELLOS))
    }
}

impl Hellos {
    /// What a hello is known by.
    pub(super) fn of(&mut self, hello: &ClientHello) -> Arc<Hello> {
        if let Some(known) = self.0.get(hello) {
            return known.clone();
        }
        let fingerprint = hello.fingerprint();
        let mut mark = DefaultHasher::new();
        fingerprint.hash(&mut mark);
        let made = Arc::new(Hello {
            fingerprint,
            stack: hello.stack(),
            mark: mark.finish(),
        });
        self.0.insert(hello.clone(), made.clone());
        made
    }
}
