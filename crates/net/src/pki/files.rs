//! The folder of a `PrivateCa`: reading with errors that name the file, writing in one
//! step.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{Certificate, time};
use super::error::PkiError;
use super::key::ServerKey;
use super::read::stamp;
use crate::limits::PEM_FILE;

#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// The certificate of the authority.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
    pub(super) until: SystemTime,
}

impl Root {
    /// Whether the two stand for one authority to those who compare names, as all clients do.
    pub(super) fn has_subject_of(&self, other: &Root) -> bool {
        match (
            Certificate::parse(&self.der),
            Certificate::parse(&other.der),
        ) {
            (Some(one), Some(other)) => {
                one.x509.subject().as_raw() == other.x509.subject().as_raw()
            }
            _ => false,
        }
    }
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Folder, PkiError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|source| PkiError::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Folder(path.to_owned()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path(name);
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(PEM_FILE + 1).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PkiError::Read { path, source }),
        }
        let fix = "restore it from a backup";
        if text.len() as u64 > PEM_FILE {
            return Err(self.broken(name, format!("it is longer than {PEM_FILE} bytes"), fix));
        }
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| self.broken(name, "it is no text", fix))
    }

    /// The key `<stem>.key`, made if neither it nor `<stem>.pem` exists.
    pub(super) fn key(
        &self,
        stem: &str,
        kind: ServerKey,
        consequence: &'static str,
    ) -> Result<KeyPair, PkiError> {
        let (name, certificate) = (format!("{stem}.key"), self.path(&format!("{stem}.pem")));
        let Some(pem) = self.read(&name)? else {
            if certificate.exists() {
                return Err(PkiError::KeyLost {
                    key: self.path(&name),
                    certificate,
                    consequence,
                });
            }
            let key = kind.generate().map_err(|e| self.cannot_make(&name, e))?;
            self.write_secret(&name, &key.serialize_pem())?;
            return Ok(key);
        };
        self.parse_key(&name, &pem, kind)
    }

    /// The key in the file `name`, if there is one.
    pub(super) fn key_if_any(
        &self,
        name: &str,
        kind: ServerKey,
    ) -> Result<Option<KeyPair>, PkiError> {
        let pem = self.read(name)?;
        pem.map(|pem| self.parse_key(name, &pem, kind)).transpose()
    }

    fn parse_key(&self, name: &str, pem: &str, kind: ServerKey) -> Result<KeyPair, PkiError> {
        // Somebody copied the folder about: close what it opened. A file system without modes
        // (a USB stick) cannot, and that is its owner's choice.
        #[cfg(unix)]
        let _ = fs::set_permissions(
            self.path(name),
            std::os::unix::fs::PermissionsExt::from_mode(SECRET),
        );
        let key = KeyPair::from_pem(pem)
            .map_err(|_| self.broken(name, "it holds no private key in PEM form", KEY_FIX))?;
        if !kind.fits(&key) {
            return Err(self.broken(name, format!("it is not {}", kind.described()), KEY_FIX));
        }
        Ok(key)
    }

    pub(super) fn write_public(&self, name: &str, text: &str) -> Result<(), PkiError> {
        self.write(name, text, PUBLIC)
    }

    pub(super) fn write_secret(&self, name: &str, text: &str) -> Result<(), PkiError> {
        self.write(name, text, SECRET)
    }

    /// Gives a file another name in the same folder, over what has that name.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), PkiError> {
        let renamed = fs::rename(self.path(from), self.path(to));
        #[cfg(unix)]
        let renamed = renamed.and_then(|()| File::open(&self.0)?.sync_all());
        renamed.map_err(|source| PkiError::Write {
            path: self.path(to),
            source,
        })
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), PkiError> {
        let path = self.path(name);
        self.replace(&path, name, text, mode)
            .map_err(|source| PkiError::Write { path, source })
    }

    /// A new file beside the old one, on disk, then renamed over it, and the rename on disk too.
    fn replace(&self, path: &Path, name: &str, text: &str, mode: u32) -> io::Result<()> {
        let new = self.path(&format!(".{name}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode; // there, files inherit the rights of their folder
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        #[cfg(unix)]
        File::open(&self.0)?.sync_all()?;
        Ok(())
    }

    /// The root in `pem`, if it belongs to `key`.
    pub(super) fn root(&self, pem: String, key: &KeyPair) -> Result<Root, PkiError> {
        let broken = |what: &str| self.broken("ca.pem", what, CA_FIX);
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| broken("it holds no certificate in PEM form"))?;
        let (_, root) = X509Certificate::from_der(&der)
            .map_err(|_| broken("its certificate cannot be parsed"))?;
        if !root.is_ca() {
            return Err(broken("its certificate is not that of an authority"));
        }
        if root.public_key().raw != key.subject_public_key_info() {
            return Err(broken("it does not belong to ca.key"));
        }
        let until = time(root.validity().not_after.timestamp());
        Ok(Root { pem, der, until })
    }

    /// Whether a root that cannot be renewed here is still good.
    pub(super) fn check_end(&self, root: &Root, now: SystemTime) -> Result<(), PkiError> {
        if now < root.until {
            return Ok(());
        }
        let parsed = Certificate::parse(&root.der);
        let end = parsed.map(|root| stamp(root.x509.validity().not_after));
        Err(PkiError::Ended {
            path: self.path("ca.pem"),
            ended: end.unwrap_or_default(),
        })
    }

    pub(super) fn broken(
        &self,
        name: &str,
        what: impl Into<String>,
        fix: &'static str,
    ) -> PkiError {
        PkiError::Broken {
            path: self.path(name),
            what: what.into(),
            fix,
        }
    }

    pub(super) fn cannot_make(&self, name: &str, what: impl Display) -> PkiError {
        PkiError::Make {
            path: self.path(name),
            what: what.to_string(),
        }
    }
}

const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// For a root that cannot be used.
pub(super) const CA_FIX: &str =
    "restore it from a backup, or remove it: it is then made again from ca.key";

const KEY_FIX: &str = "restore it from a backup; without one, remove it and the .pem file of the \
                       same name for a new key, which devices must then be given";
