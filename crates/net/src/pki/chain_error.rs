//! Why a chain from files or from an ACME authority is not served.

use std::fmt;
use std::io;

use thiserror::Error;

use super::certificate::{Hash, KeyKind};

/// A certificate in a file: its place, counted from 1, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// 1 for the first.
    pub number: usize,
    /// Its common name, or the whole subject.
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {} (`{}`)", self.number, self.name)
    }
}

/// What is wrong with a chain or its key. Each names the file, the certificate and the way out.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The file cannot be read.
    #[error(
        "cannot read {file}: {source}; name an existing file and let the user that runs safeport read it"
    )]
    Read {
        /// The file.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is too long.
    #[error(
        "{file} is longer than {limit} bytes; name the file with this server's chain alone, not a collection of roots"
    )]
    TooLong {
        /// The file.
        file: String,
        /// Bytes that are read at most.
        limit: u64,
    },
    /// No certificate in it.
    #[error(
        "{file} holds no certificate in PEM form; a chain begins with `-----BEGIN CERTIFICATE-----` (certbot calls it fullchain.pem)"
    )]
    NoCertificate {
        /// The file.
        file: String,
    },
    /// More certificates than any chain has.
    #[error(
        "{file} holds {found} certificates; a chain has the server certificate and its issuers, {limit} in all at most"
    )]
    TooMany {
        /// The file.
        file: String,
        /// How many it holds.
        found: usize,
        /// How many it may hold.
        limit: usize,
    },
    /// A certificate cannot be parsed.
    #[error(
        "certificate {number} in {file} is damaged; copy the file again from where it was issued"
    )]
    Damaged {
        /// The file.
        file: String,
        /// 1 for the first.
        number: usize,
    },
    /// No key in it.
    #[error(
        "{file} holds no private key in PEM form; name the key that was made for this certificate (certbot calls it privkey.pem)"
    )]
    NoKey {
        /// The file.
        file: String,
    },
    /// The key is under a pass phrase.
    #[error(
        "the key in {file} is encrypted, and nobody is there to type its pass phrase when safeport starts; write it in clear with `openssl pkey -in OLD -out NEW` and let its owner alone read it"
    )]
    KeyEncrypted {
        /// The file.
        file: String,
    },
    /// The key is of a kind that cannot be used.
    #[error(
        "the key in {file} cannot be used; make one of RSA 2048 (which every device can use) or ECDSA P-256, and ask for a certificate for it"
    )]
    UnusableKey {
        /// The file.
        file: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the key in {key_file} belongs to no certificate in {file}, whose {leaf} was made for another key; name the two files that were issued together"
    )]
    KeyMismatch {
        /// The file with the chain.
        file: String,
        /// The file with the key.
        key_file: String,
        /// The first certificate.
        leaf: Place,
    },
    /// The server certificate is not the first.
    #[error(
        "{file} begins with {first}, but {leaf} is the one that belongs to the key; put that one first, then its issuer, and so on"
    )]
    LeafNotFirst {
        /// The file.
        file: String,
        /// What stands first.
        first: Place,
        /// What has to.
        leaf: Place,
    },
    /// An issuer does not stand right behind what it issued. Desktop tools put that right
    /// silently; Tasmota and ESPEasy give up (error 55).
    #[error(
        "{file} is out of order: {issuer} issued {issued} and has to stand right after it; Tasmota gives up on anything else (error 55)"
    )]
    Misordered {
        /// The file.
        file: String,
        /// The certificate that stands in the wrong place.
        issuer: Place,
        /// The one that it has to follow.
        issued: Place,
    },
    /// A certificate that issued nothing in the chain.
    #[error(
        "{certificate} in {file} does not belong to the chain: it did not issue {previous}; remove it"
    )]
    Stranger {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
        /// The one before it.
        previous: Place,
    },
    /// The right name, but another key.
    #[error(
        "{issuer} in {file} has the name of the issuer of {issued}, but did not sign it; there are several authorities of that name: get the chain that was issued with this certificate"
    )]
    WrongIssuer {
        /// The file.
        file: String,
        /// What was taken for the issuer.
        issuer: Place,
        /// The certificate.
        issued: Place,
    },
    /// An issuer is missing. No device fetches it.
    #[error(
        "{file} is not complete: the certificate of `{missing}`, which issued {last}, is missing; append it{}, or if `{missing}` is a root of your own, name its file in `tls.ca_file`. Devices do not fetch it (Tasmota error 62, mbedTLS -0x2700)",
        where_from(.address.as_deref())
    )]
    Incomplete {
        /// The file.
        file: String,
        /// The last certificate that leads on.
        last: Place,
        /// The issuer that is missing.
        missing: String,
        /// Where to get it (DER form), if the certificate says so.
        address: Option<String>,
    },
    /// A certificate is over.
    #[error(
        "{certificate} in {file} ended on {ended}; renew it, or set the clock of this machine if it is wrong"
    )]
    Expired {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
        /// Its last moment, as `2026-11-22 17:05:09Z`.
        ended: String,
    },
    /// A certificate has not begun.
    #[error(
        "{certificate} in {file} is good only from {begins} on; set the clock of this machine if it is wrong"
    )]
    NotYetValid {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
        /// Its first moment, as `2026-11-22 17:05:09Z`.
        begins: String,
    },
    /// A certificate that signed itself stands for the server.
    #[error(
        "{certificate} in {file} signed itself, as `openssl req -x509` makes them, and most clients refuse such a certificate for a server; use `certificate = \"private\"` (safeport's own authority, made for this), or issue a server certificate from it and name that, with this one in `tls.ca_file`"
    )]
    SelfSigned {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// The certificate of an authority stands for the server.
    #[error(
        "{certificate} in {file} is that of an authority (CA:TRUE), not of a server; issue a server certificate from it (CA:FALSE, serverAuth) and put that first"
    )]
    AuthorityAsServer {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// An issuer is no authority.
    #[error(
        "{certificate} in {file} stands as an issuer but is no authority (CA:FALSE); get the right issuer's certificate"
    )]
    NotAnAuthority {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// MD5 or SHA-1.
    #[error(
        "{certificate} in {file} is signed with {hash}, which clients refuse (Tasmota error 49); have it issued again with SHA-256"
    )]
    WeakSignature {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
        /// The hash.
        hash: Hash,
    },
    /// A short RSA key.
    #[error(
        "{certificate} in {file} has an {key} key, and clients refuse less than 2048 bits; have it issued again for a key of 2048 bits"
    )]
    ShortKey {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
        /// Its key.
        key: KeyKind,
    },
    /// A key of a kind that nobody here knows.
    #[error(
        "{certificate} in {file} has a key of a kind that TLS clients do not know; have it issued with RSA 2048 or ECDSA P-256, and SHA-256"
    )]
    UnknownKey {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// A signature of a kind that nobody here knows.
    #[error(
        "{certificate} in {file} has a signature of a kind that TLS clients do not know; have it issued with RSA 2048 or ECDSA P-256, and SHA-256"
    )]
    UnknownSignature {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// Its extended key usage leaves servers out.
    #[error(
        "{certificate} in {file} is not made for servers: its extended key usage has no serverAuth; have it issued for a server"
    )]
    NotForServers {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// Its key usage leaves signatures out.
    #[error(
        "{certificate} in {file} may not sign handshakes: its key usage has no digitalSignature; have it issued for a server"
    )]
    MayNotSign {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
    /// It has no DNS name.
    #[error(
        "{certificate} in {file} has no DNS name in subjectAltName, and small devices look nowhere else; have it issued with the name that devices are told, and if that is an address, with the address as a DNS name"
    )]
    NoDnsName {
        /// The file.
        file: String,
        /// The certificate.
        certificate: Place,
    },
}

fn where_from(address: Option<&str>) -> String {
    address.map_or_else(String::new, |url| {
        format!(" (it can be had from {url}; `openssl x509 -inform der` turns it into PEM)")
    })
}
