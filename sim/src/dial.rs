//! Opening sockets as devices do: IPv4 first, a limit on the wait, TLS where it is asked for.

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Why there is no connection, in words.
#[derive(Debug)]
pub(crate) enum DialError {
    /// The host name was not found.
    Dns(String),
    /// TCP or TLS failed.
    Connect(String),
}

impl DialError {
    pub(crate) fn words(self) -> String {
        match self {
            DialError::Dns(why) | DialError::Connect(why) => why,
        }
    }
}

pub(crate) async fn dial(
    host: &str,
    port: u16,
    wait: Duration,
    tls: Option<&TlsConnector>,
) -> Result<Box<dyn Socket>, DialError> {
    let no_host = DialError::Dns;
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| no_host(format!("host {host}: {error}")))?
        .collect();
    // The firmware asks for IPv4 first.
    let address = addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .ok_or_else(|| no_host(format!("host {host} has no address")))?;
    let failed = DialError::Connect;
    let socket = match timeout(wait, connect(*address)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Err(failed(format!("{address}: {error}"))),
        Err(_) => {
            return Err(failed(format!(
                "{address}: no TCP connection within {wait:?}, which is all the device waits"
            )));
        }
    };
    let Some(tls) = tls else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| failed(format!("host {host} in TLS: {error}")))?;
    match timeout(TLS_TIMEOUT, tls.connect(name, socket)).await {
        Ok(Ok(socket)) => Ok(Box::new(socket)),
        Ok(Err(error)) => Err(failed(format!("TLS with {address}: {error}"))),
        Err(_) => Err(failed(format!(
            "TLS with {address}: no handshake within {TLS_TIMEOUT:?}"
        ))),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Without it, what the kernel takes for a peer on this machine is a firmware file at once, and
    // no device that puts a file down after its first kilobyte looks like one.
    SockRef::from(&socket).set_tcp_mss(SEGMENT)?;
    socket.connect(address).await
}

/// Bytes of a segment, as lwIP on an ESP32 asks for (`CONFIG_LWIP_TCP_MSS`).
const SEGMENT: u32 = 1440;
/// What the firmware's TLS library waits for a handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
