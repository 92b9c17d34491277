//! The private certificate authority of one installation: a folder with one root and two server
//! certificates, made once and renewed without new keys, since devices pin the key.
//!
//! Why two leaves: Tasmota and ESPEasy know RSA only, and everything else is five times cheaper
//! with P-256. The root is RSA too, so that those devices can check its signature. All signatures
//! use SHA-256, the one hash that a BearSSL profile for small devices has.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::chain::Chain;
use super::error::PkiError;
use super::files::{CA_FIX, Folder, Root};
use super::fingerprint::Fingerprints;
use super::issue;
use super::key::ServerKey;
use super::leaf::Leaf;
use super::secret::SecretKey;
use super::validity::{CLOCK_JITTER, CLOCK_OVERFLOW, RENEW_BEFORE, RENEW_ROOT_BEFORE, Validity};

/// A private authority and the two server certificates it has issued.
///
/// The folder holds `ca.pem` (to be given to devices), `ca.key`, `server-rsa.pem`,
/// `server-rsa.key`, `server-p256.pem` and `server-p256.key`; while a change of keys is planned,
/// `server-rsa.next.key` or `server-p256.next.key`, and after it `….previous.key`. Key files are
/// readable by their owner only (mode 0600). Files are replaced in one step, so a power cut leaves
/// the old or the new one.
#[derive(Debug)]
pub struct PrivateCa {
    folder: Folder,
    root: Root,
    issuer: Issuer<'static, KeyPair>,
    rsa: Leaf,
    p256: Leaf,
}

/// What [`PrivateCa::ensure_leaf`] had to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// The new end of the root. Its key and subject are the old ones: devices that have the old
    /// `ca.pem` go on as they are until that ends.
    pub root: Option<SystemTime>,
    /// The server certificates, with their new ends.
    pub leaves: Vec<(ServerKey, SystemTime)>,
}

impl Renewed {
    /// Nothing was made.
    pub fn is_empty(&self) -> bool {
        *self == Renewed::default()
    }

    /// Whether the new root lasts beyond 2038-01-19, which devices that count seconds in 32 bits
    /// take for the past. To be said loudly.
    pub fn outlives_32_bit_clocks(&self) -> bool {
        let overflow = UNIX_EPOCH + Duration::from_secs(CLOCK_OVERFLOW);
        self.root.is_some_and(|until| until > overflow)
    }
}

impl PrivateCa {
    /// Reads the authority in `dir`, or makes folder, root and keys where there are none. That
    /// takes up to some seconds once, for three keys.
    ///
    /// `now` is the clock of this machine; a clock before the year 2026 counts as unset.
    ///
    /// # Errors
    ///
    /// Unwritable folder, unreadable or broken files, lost keys. Nothing that exists is ever
    /// overwritten here.
    pub fn open_or_create(dir: &Path, now: SystemTime) -> Result<PrivateCa, PkiError> {
        let folder = Folder::open(dir)?;
        let ca_key = folder.key("ca", ServerKey::Rsa, CA_LOST)?;
        let pem = match folder.read("ca.pem")? {
            Some(pem) => pem,
            None => {
                let pem = issue::root(&ca_key, &Validity::of_root(now))
                    .map_err(|e| folder.cannot_make("ca.pem", e))?;
                folder.write_public("ca.pem", &pem)?;
                pem
            }
        };
        let root = folder.root(pem, &ca_key)?;
        let issuer = Issuer::from_ca_cert_der(&root.der, ca_key)
            .map_err(|e| folder.broken("ca.pem", e.to_string(), CA_FIX))?;
        let rsa = Leaf::open(&folder, ServerKey::Rsa)?;
        let p256 = Leaf::open(&folder, ServerKey::P256)?;
        Ok(PrivateCa {
            folder,
            root,
            issuer,
            rsa,
            p256,
        })
    }

    /// The root certificate, for devices that are given an authority to trust (ESPHome
    /// `certificate_authority`, Shelly `user_ca.pem`, `mosquitto_sub --cafile`).
    pub fn ca_pem(&self) -> &str {
        &self.root.pem
    }

    /// The same in DER form, which phones and Windows like better.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.root.der
    }

    /// When the root ends.
    pub fn ca_until(&self) -> SystemTime {
        self.root.until
    }

    /// Sees to it that both server certificates carry all of `names` and are good for 275 more
    /// days, a third of their life, and that the root lasts two more years; if not, issues them
    /// again *with the same keys*, for exactly `names`. Call it at start and once a day, and give the result of
    /// [`PrivateCa::chains`] to [`super::Certificates::set_private`].
    ///
    /// A name is a host name or an IP address. IP addresses are written as address and also as
    /// DNS name, since BearSSL and mbedTLS 2.28 compare the latter only.
    ///
    /// An unset clock renews nothing: it knows no better than the clock by which the certificates
    /// were made.
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a certificate, an empty or too long list, an unwritable folder,
    /// a root that is not of safeport's making and past its end.
    pub fn ensure_leaf(&mut self, names: &[String], now: SystemTime) -> Result<Renewed, PkiError> {
        self.issue(names, now, false)
    }

    /// Issues both server certificates again whether it is time or not, with the same keys.
    ///
    /// # Errors
    ///
    /// As for [`PrivateCa::ensure_leaf`].
    pub fn renew(&mut self, names: &[String], now: SystemTime) -> Result<Renewed, PkiError> {
        self.issue(names, now, true)
    }

    fn issue(
        &mut self,
        names: &[String],
        now: SystemTime,
        at_once: bool,
    ) -> Result<Renewed, PkiError> {
        let names = issue::check_names(names)?;
        let mut renewed = Renewed {
            root: self.renew_root(now)?,
            leaves: Vec::new(),
        };
        for leaf in [&mut self.rsa, &mut self.p256] {
            let fresh = Validity::of_leaf(leaf.kind(), now, self.root.until);
            let enough = |until| fresh.is_met_by(until, RENEW_BEFORE, now);
            if at_once || !leaf.is_good(&names, &self.root.der, now, enough) {
                leaf.issue(&self.folder, &self.issuer, &names, &fresh)?;
                renewed.leaves.push((leaf.kind(), fresh.until));
            }
        }
        Ok(renewed)
    }

    /// A root with the same key and subject and a later end, where the time has come. Whoever has
    /// the old one verifies with it what the new one would verify, and the other way round.
    fn renew_root(&mut self, now: SystemTime) -> Result<Option<SystemTime>, PkiError> {
        let lasts = |by: SystemTime| {
            Validity::of_root(by).is_met_by(self.root.until, RENEW_ROOT_BEFORE, now)
        };
        // The day on which new roots begin to end later must not make old ones look wrong to a
        // clock that is set back a little.
        if lasts(now) || lasts(now + CLOCK_JITTER) {
            return Ok(None);
        }
        let fresh = Validity::of_root(now);
        let failed = |e| self.folder.cannot_make("ca.pem", e);
        let pem = issue::root(self.issuer.key(), &fresh).map_err(failed)?;
        let root = self.folder.root(pem, self.issuer.key())?;
        if !self.root.has_subject_of(&root) {
            // The owner's own root: its subject is not ours to repeat. It is good until it ends.
            return self.folder.check_end(&self.root, now).map(|()| None);
        }
        self.folder.write_public("ca.pem", &root.pem)?;
        self.root = root;
        Ok(Some(self.root.until))
    }

    /// What to paste into Tasmota's `MqttFingerprint1`: 20 hexadecimal bytes separated by spaces,
    /// of the RSA server key (the version 2 algorithm, current since Tasmota 8.4). It stays the
    /// same across renewals.
    pub fn tasmota_fingerprint(&self) -> String {
        self.fingerprints().v2.to_string()
    }

    /// Both fingerprints of the RSA server key.
    pub fn fingerprints(&self) -> Fingerprints {
        self.rsa.fingerprints()
    }

    /// Those of the RSA key that [`PrivateCa::rotate`] will bring, once it is prepared: what goes
    /// into Tasmota's `MqttFingerprint2` before the change.
    pub fn next_fingerprints(&self) -> Option<Fingerprints> {
        self.rsa.next_fingerprints()
    }

    /// What to present: the P-256 certificate and the RSA one, each once it is issued.
    pub fn chains(&self) -> Vec<Chain> {
        let name = Certificate::parse(&self.root.der).map(|root| root.name());
        let name = name.unwrap_or_default();
        let leaves = [&self.p256, &self.rsa].into_iter();
        leaves.filter_map(|leaf| leaf.chain(&name)).collect()
    }

    /// A server key, for certificates of other authorities: with the same key behind all of them
    /// a pinned fingerprint stays true whichever is served.
    pub fn key(&self, which: ServerKey) -> SecretKey {
        self.leaf(which).secret()
    }

    /// Makes the key that [`PrivateCa::rotate`] will put in the place of this one, if there is
    /// none yet. It is stored beside the other, so the fingerprint can be given to devices long
    /// before the change.
    ///
    /// # Errors
    ///
    /// An unwritable folder.
    pub fn prepare_next(&mut self, which: ServerKey) -> Result<(), PkiError> {
        let folder = self.folder.clone();
        self.leaf_mut(which).prepare_next(&folder)
    }

    /// Whether there is a key to change to.
    pub fn has_next(&self, which: ServerKey) -> bool {
        self.leaf(which).has_next()
    }

    /// Puts the prepared key in the place of the present one, which stays in the folder as
    /// `….previous.key`, and issues the certificate again. Devices that pin the old key and were
    /// not given the new one cannot connect from then on.
    ///
    /// # Errors
    ///
    /// [`PkiError::NoNextKey`] before [`PrivateCa::prepare_next`]; an unwritable folder, which
    /// leaves the old key in use, or the new one with its certificate still to be issued by
    /// [`PrivateCa::ensure_leaf`].
    pub fn rotate(&mut self, which: ServerKey, now: SystemTime) -> Result<(), PkiError> {
        let folder = self.folder.clone();
        let names = self.leaf_mut(which).rotate(&folder)?;
        if !names.is_empty() {
            let fresh = Validity::of_leaf(which, now, self.root.until);
            let leaf = match which {
                ServerKey::Rsa => &mut self.rsa,
                ServerKey::P256 => &mut self.p256,
            };
            leaf.issue(&self.folder, &self.issuer, &names, &fresh)?;
        }
        Ok(())
    }

    fn leaf(&self, which: ServerKey) -> &Leaf {
        match which {
            ServerKey::Rsa => &self.rsa,
            ServerKey::P256 => &self.p256,
        }
    }

    fn leaf_mut(&mut self, which: ServerKey) -> &mut Leaf {
        match which {
            ServerKey::Rsa => &mut self.rsa,
            ServerKey::P256 => &mut self.p256,
        }
    }
}

const CA_LOST: &str = "give every device that trusts the old ca.pem the new one";
