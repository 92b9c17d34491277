//! Which broker a load is for, and how to speak to it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use safeport_mqtt::Version;
use safeport_sim::load::{Handshake, Key, Target, Tls, TlsVersion};

use crate::console::Failure;
use crate::say;
use crate::text::Texts;

#[derive(Debug, Args)]
pub(in crate::cli) struct TargetArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// Process of the broker on this machine: measures its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AddressArgs {
    /// Host of the broker
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of its MQTT listener
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// User name
    #[arg(long)]
    username: Option<String>,
    /// Password
    #[arg(long, env = "SAFEPORT_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Version of MQTT
    #[arg(long, value_enum, default_value_t = Spoken::V311)]
    mqtt: Spoken,
    /// Speak TLS
    #[arg(long, requires = "ca")]
    tls: bool,
    /// With --tls: the certificate authority to trust, a PEM file (Safeport's own is `pki/ca.pem` in
    /// its data folder)
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// With --tls: its version
    #[arg(long, value_enum, default_value_t = Sealed::V13)]
    tls_version: Sealed,
    /// With --tls: offer only RSA, as a Tasmota does, so that the broker sends its RSA certificate
    #[arg(long, requires = "tls")]
    tls_rsa: bool,
    /// With --tls: connections that come and go resume the session of the one before; otherwise
    /// every handshake is a full one
    #[arg(long, requires = "tls")]
    tls_resume: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Spoken {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sealed {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl TargetArgs {
    pub(super) fn resolve(&self, texts: &Texts) -> Result<Target, Failure> {
        Ok(Target {
            pid: self.pid,
            ..self.address.resolve(texts)?
        })
    }
}

impl AddressArgs {
    pub(super) fn resolve(&self, texts: &Texts) -> Result<Target, Failure> {
        let tls = match &self.ca {
            None => None,
            Some(ca) => {
                let handshake = Handshake {
                    version: match self.tls_version {
                        Sealed::V12 => TlsVersion::V12,
                        Sealed::V13 => TlsVersion::V13,
                    },
                    key: if self.tls_rsa { Key::Rsa } else { Key::Any },
                    resume: self.tls_resume,
                };
                let unusable = || Failure::usage(say!(texts, "ca-unreadable", path = ca.display()));
                Some(
                    Tls::new(ca, &self.host, handshake)
                        .map_err(|error| unusable().detail(error))?,
                )
            }
        };
        Ok(Target {
            username: self.username.clone(),
            password: self.password.clone(),
            version: match self.mqtt {
                Spoken::V311 => Version::V311,
                Spoken::V5 => Version::V5,
            },
            tls,
            ..Target::new(address(&self.host, self.port, texts)?)
        })
    }
}

/// The first address of a host.
fn address(host: &str, port: u16, texts: &Texts) -> Result<SocketAddr, Failure> {
    let unknown = || Failure::new(say!(texts, "host-unknown", host = host));
    (host, port)
        .to_socket_addrs()
        .map_err(|error| unknown().detail(error))?
        .next()
        .ok_or_else(unknown)
}
