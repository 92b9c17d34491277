//! What can go wrong with the folder of a `PrivateCa` and the certificates in it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why certificates could not be read, made or used. Each names the file and the way out.
#[derive(Debug, Error)]
pub enum PkiError {
    /// The folder cannot be made, or a file in it cannot be written.
    #[error(
        "cannot write {}: {source}; make its folder writable for the user that runs safeport, or \
         choose another data folder with --data", .path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is there but cannot be read.
    #[error(
        "cannot read {}: {source}; make it readable for the user that runs safeport", .path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{} is broken: {what}; {fix}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A certificate is there without its key. Making a new key would lock devices out silently.
    #[error(
        "{} is missing although {} is there; restore it from a backup. Without one: remove {} to \
         start with a new key, and then {consequence}",
        .key.display(), .certificate.display(), .certificate.display()
    )]
    KeyLost {
        /// The missing key file.
        key: PathBuf,
        /// The certificate that proves that there was one.
        certificate: PathBuf,
        /// What has to be done at the devices.
        consequence: &'static str,
    },
    /// A root that was not made here is past its end, or the clock of this machine is wrong.
    #[error(
        "the certificate authority {} ended on {ended}, by the clock of this machine; set the \
         clock if it is wrong, else renew it with the tool that made it, or move the folder away \
         to start a new authority, and give devices the new ca.pem or fingerprint", .path.display()
    )]
    Ended {
        /// The root certificate.
        path: PathBuf,
        /// Its last day.
        ended: String,
    },
    /// A name cannot stand in a certificate.
    #[error(
        "`{name}` cannot be a name in a certificate: {why}; set a host name such as \
         safeport.lan, or an IP address"
    )]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Making a key or a certificate failed.
    #[error("cannot make {}: {what}; report this line, it should not happen", .path.display())]
    Make {
        /// The file that was to be made.
        path: PathBuf,
        /// What the cryptographic library said.
        what: String,
    },
    /// A certificate for an ACME challenge could not be made.
    #[error(
        "cannot answer the challenge for `{name}`: {what}; report this line, it should not happen"
    )]
    Challenge {
        /// The name.
        name: String,
        /// What the cryptographic library said.
        what: String,
    },
    /// The roots that clients' certificates have to come from cannot be used.
    #[error(
        "client certificates cannot be asked for: {what}; let the file hold the certificate of \
         each authority whose clients may connect"
    )]
    ClientRoots {
        /// What is wrong with them.
        what: String,
    },
    /// The cryptographic library could not set up TLS.
    #[error("cannot set up TLS: {what}; report this line, it should not happen")]
    Tls {
        /// What it said.
        what: String,
    },
    /// There is no key to change to.
    #[error("{} does not exist; prepare the next key first, and give devices its fingerprint", .path.display())]
    NoNextKey {
        /// The key that is missing.
        path: PathBuf,
    },
    /// A request for a certificate could not be made.
    #[error(
        "cannot ask for a certificate for {names}: {what}; report this line, it should not happen"
    )]
    Request {
        /// The names in it.
        names: String,
        /// What the cryptographic library said.
        what: String,
    },
}
