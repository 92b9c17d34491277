//! All certificates of this server, and the choice among them for one ClientHello.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::chain::{Chain, Origin, fits};
use super::challenge;
use super::error::PkiError;
use super::offer::Offer;

/// The chains that listeners present, shared between them. Each exchange holds from the next
/// handshake on; connections that stand are not touched.
#[derive(Clone, Default)]
pub struct Certificates(Arc<RwLock<Sources>>);

#[derive(Clone, Default)]
struct Sources {
    private: Vec<Arc<Chain>>,
    files: Vec<Arc<Chain>>,
    acme: Vec<Arc<Chain>>,
    challenges: Vec<(String, Arc<Chain>)>,
}

/// Which certificates a listener prefers. The private ones always stand behind them, since some
/// certificate is better than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// All of them by name; files before ACME before private where the name does not decide.
    #[default]
    Auto,
    /// Nothing but the private ones.
    Private,
    /// Files; private ones only for clients that can use none of these.
    Files,
    /// ACME; private ones only for clients that can use none of these.
    Acme,
}

impl Certificates {
    /// None at all.
    pub fn new() -> Certificates {
        Certificates::default()
    }

    /// A set of its own with the same chains: for finding out what an exchange would do.
    pub fn copy(&self) -> Certificates {
        Certificates(Arc::new(RwLock::new(self.read().clone())))
    }

    /// Exchanges those of the private authority.
    pub fn set_private(&self, chains: impl IntoIterator<Item: Into<Arc<Chain>>>) {
        self.write().private = sorted(chains);
    }

    /// Exchanges those from files.
    pub fn set_files(&self, chains: impl IntoIterator<Item: Into<Arc<Chain>>>) {
        self.write().files = sorted(chains);
    }

    /// Exchanges those that came by ACME.
    pub fn set_acme(&self, chains: impl IntoIterator<Item: Into<Arc<Chain>>>) {
        self.write().acme = sorted(chains);
    }

    /// Answers the ACME challenge TLS-ALPN-01 (RFC 8737) for `name` from now on, with the SHA-256
    /// of its key authorization. Only a client that offers exactly the protocol `acme-tls/1` gets
    /// to see it.
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a certificate.
    pub fn set_challenge(&self, name: &str, digest: [u8; 32]) -> Result<(), PkiError> {
        let chain = Arc::new(challenge::chain(name, &digest)?);
        let mut sources = self.write();
        sources.challenges.retain(|(known, _)| known != name);
        sources.challenges.push((name.to_owned(), chain));
        Ok(())
    }

    /// Forgets the challenge for `name`.
    pub fn clear_challenge(&self, name: &str) {
        self.write().challenges.retain(|(known, _)| known != name);
    }

    /// The chain for one client, `None` only if there is none at all.
    ///
    /// Of the chains that carry the name it asked for, the first that it can verify; else the
    /// first of all that it can verify, which without SNI is the default; else the first whose
    /// key at least it can use, since a client may pin that or not look; else a private RSA one.
    /// The order is that of `choice`, and within one source that of cost: P-256 before RSA. Where
    /// `choice` names files or ACME, a private chain counts as worse than all of those that the
    /// client can use as well, whatever its names.
    pub fn choose(&self, offer: &Offer<'_>, choice: Choice) -> Option<Arc<Chain>> {
        let sources = self.read();
        if let Some(chain) = sources.challenge(offer) {
            return Some(chain.clone());
        }
        best(sources.candidates(choice), choice, offer).cloned()
    }

    /// All that a listener with `choice` may present, in its order.
    pub fn presented(&self, choice: Choice) -> Vec<Arc<Chain>> {
        self.read().candidates(choice).cloned().collect()
    }

    /// The chain that a Tasmota or ESPEasy device gets that was told to connect to `host`: the
    /// fingerprint to give it is that of this chain.
    pub fn for_tasmota(&self, choice: Choice, host: Option<&str>) -> Option<Arc<Chain>> {
        self.choose(&Offer::of_tasmota(host), choice)
    }

    fn read(&self) -> RwLockReadGuard<'_, Sources> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sources> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of a chain a client can check, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ability {
    Everything,
    Key,
    Nothing,
}

impl Sources {
    fn candidates(&self, choice: Choice) -> impl Iterator<Item = &Arc<Chain>> {
        let with = |source, choices: &[Choice]| match choices.contains(&choice) {
            true => source,
            false => &[][..],
        };
        with(&self.files, &[Choice::Auto, Choice::Files])
            .iter()
            .chain(with(&self.acme, &[Choice::Auto, Choice::Acme]))
            .chain(&self.private)
    }

    fn challenge(&self, offer: &Offer<'_>) -> Option<&Arc<Chain>> {
        let [protocol] = offer.alpn else { return None };
        let name = offer.server_name?;
        if protocol != challenge::PROTOCOL {
            return None;
        }
        let mut challenges = self.challenges.iter();
        challenges.find_map(|(known, chain)| fits(known, name).then_some(chain))
    }
}

/// The best of `candidates` for one client, as [`Certificates::choose`] says.
pub(super) fn best<'a>(
    candidates: impl Iterator<Item = &'a Arc<Chain>>,
    choice: Choice,
    offer: &Offer<'_>,
) -> Option<&'a Arc<Chain>> {
    let reached = match offer.server_name {
        None => offer.reached.map(|address| address.to_string()),
        Some(_) => None,
    };
    let wanted = offer.server_name.or(reached.as_deref());
    let others_wanted = matches!(choice, Choice::Files | Choice::Acme);
    let rank = |chain: &Arc<Chain>| {
        let is_private = *chain.origin() == Origin::Private;
        let ability = if chain.can_verify(offer).is_ok() {
            Ability::Everything
        } else if offer.takes_key(chain.key()).is_ok() {
            Ability::Key
        } else {
            // No handshake will be made of it: the one that a pinned fingerprint knows.
            return (Ability::Nothing, false, !(is_private && chain.is_rsa()));
        };
        let matches = wanted.is_some_and(|name| chain.matches(name));
        (ability, is_private && others_wanted, !matches)
    };
    // Of those that are alike, `min_by_key` takes the first.
    candidates.min_by_key(|chain| rank(chain))
}

fn sorted(chains: impl IntoIterator<Item: Into<Arc<Chain>>>) -> Vec<Arc<Chain>> {
    let mut chains: Vec<Arc<Chain>> = chains.into_iter().map(Into::into).collect();
    chains.sort_by_key(|chain| chain.key().cost());
    chains
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.read();
        f.debug_struct("Certificates")
            .field("private", &sources.private)
            .field("files", &sources.files)
            .field("acme", &sources.acme)
            .field("challenges", &sources.challenges)
            .finish()
    }
}
