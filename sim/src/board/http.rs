//! HTTP as devices ask: requests written byte for byte, answers read piece by piece.

use crate::dial::{Socket, dial};
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// An address as a device takes it apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// From the slash after the host on, query included.
    pub(super) path: String,
}

impl Url {
    pub(super) fn read(text: &str) -> Option<Url> {
        let (secure, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else {
            (false, text.strip_prefix("http://")?)
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, if secure { 443 } else { 80 }),
        };
        (!host.is_empty()).then(|| Url {
            secure,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// The `Host` header: with the port unless it is the usual one.
    pub(super) fn host_header(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host_header(), self.path)
    }
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HttpError {
    /// No connection: DNS, TCP or TLS.
    Connect(String),
    /// It ended while the request was written.
    Send,
    /// It ended before the answer was whole.
    Lost,
    /// Nothing came for too long.
    Silent,
    /// What came is not HTTP.
    NotHttp,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Connect(why) => f.write_str(why),
            HttpError::Send => f.write_str("the connection ended under the request"),
            HttpError::Lost => f.write_str("the connection ended before the answer did"),
            HttpError::Silent => f.write_str("nothing came in time"),
            HttpError::NotHttp => f.write_str("the answer is not HTTP"),
        }
    }
}

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// Bytes of the body that came with the head.
    early: Vec<u8>,
    socket: Box<dyn Socket>,
}

/// Sends `head` (request line and headers, each with its line end, without the empty line) and
/// `body`; returns when the head of the answer has come.
pub(super) async fn ask(
    url: &Url,
    head: &str,
    body: &[u8],
    waits: Waits,
    tls: Option<&TlsConnector>,
) -> Result<Answer, HttpError> {
    let tls = url.secure.then_some(tls).flatten();
    if url.secure && tls.is_none() {
        return Err(HttpError::Connect("this device cannot speak https".into()));
    }
    let mut socket = dial(&url.host, url.port, waits.connect, tls)
        .await
        .map_err(|error| HttpError::Connect(error.words()))?;
    let mut request = head.as_bytes().to_vec();
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    let sent = async {
        socket.write_all(&request).await?;
        socket.flush().await
    };
    sent.await.map_err(|_| HttpError::Send)?;
    Answer::begin(socket, waits.read).await
}

/// How long a device waits for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For the connection.
    pub(super) connect: Duration,
    /// For the next bytes.
    pub(super) read: Duration,
}

impl Answer {
    async fn begin(mut socket: Box<dyn Socket>, wait: Duration) -> Result<Answer, HttpError> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = crate::image::find(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > 16 * 1024 {
                return Err(HttpError::NotHttp);
            }
            if read(&mut socket, &mut bytes, 1024, wait).await? == 0 {
                return Err(if bytes.is_empty() {
                    HttpError::Lost
                } else {
                    HttpError::NotHttp
                });
            }
        };
        let early = bytes.split_off(end);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        if !words.next().unwrap_or_default().starts_with("HTTP/1.") {
            return Err(HttpError::NotHttp);
        }
        let status = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or(HttpError::NotHttp)?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Answer {
            status,
            headers,
            early,
            socket,
        })
    }

    /// A header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    /// Up to `most` more bytes of the body as they lie on the wire; empty at the end of the
    /// connection.
    pub(super) async fn piece(
        &mut self,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<u8>, HttpError> {
        if !self.early.is_empty() {
            let rest = self.early.split_off(self.early.len().min(most));
            return Ok(std::mem::replace(&mut self.early, rest));
        }
        let mut bytes = Vec::new();
        read(&mut self.socket, &mut bytes, most, wait).await?;
        Ok(bytes)
    }

    /// The whole body, by its length, its chunks, or the end of the connection.
    pub(super) async fn body(&mut self, most: usize, wait: Duration) -> Result<Vec<u8>, HttpError> {
        let length = self.length();
        let chunked = self.is_chunked();
        let mut body = Vec::new();
        loop {
            if let Some(length) = length
                && !chunked
                && body.len() as u64 >= length
            {
                body.truncate(length as usize);
                return Ok(body);
            }
            if chunked && let Some(whole) = unchunk(&body) {
                return Ok(whole);
            }
            if body.len() > most {
                return Err(HttpError::NotHttp);
            }
            let piece = self.piece(4096, wait).await?;
            if piece.is_empty() {
                if length.is_none() && !chunked {
                    return Ok(body);
                }
                return Err(HttpError::Lost);
            }
            body.extend_from_slice(&piece);
        }
    }
}

/// The content, if the last chunk has come.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = crate::image::find(bytes, b"\r\n")?;
        let line = std::str::from_utf8(&bytes[..end]).ok()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).ok()?;
        bytes = &bytes[end + 2..];
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(..length)?);
        bytes = bytes.get(length + 2..)?;
    }
}

async fn read(
    socket: &mut Box<dyn Socket>,
    bytes: &mut Vec<u8>,
    most: usize,
    wait: Duration,
) -> Result<usize, HttpError> {
    let mut chunk = vec![0; most];
    match timeout(wait, socket.read(&mut chunk)).await {
        Err(_) => Err(HttpError::Silent),
        Ok(Err(_)) => Err(HttpError::Lost),
        Ok(Ok(read)) => {
            bytes.extend_from_slice(&chunk[..read]);
            Ok(read)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_apart_with_and_without_a_port() {
        let url = Url::read("http://10.0.0.2:8002/ota/abc/tasmota32.bin").expect("a URL");
        assert_eq!((url.host.as_str(), url.port), ("10.0.0.2", 8002));
        assert_eq!(url.path, "/ota/abc/tasmota32.bin");
        assert_eq!(url.host_header(), "10.0.0.2:8002");
        let url = Url::read("https://home.example").expect("a URL");
        assert_eq!((url.port, url.path.as_str()), (443, "/"));
        assert_eq!(url.host_header(), "home.example");
        assert_eq!(Url::read("ftp://x/"), None);
        assert_eq!(Url::read("http://:80/"), None);
    }

    #[test]
    fn chunks_become_a_whole_when_the_last_one_is_there() {
        assert_eq!(
            unchunk(b"3\r\nabc\r\n2;x=1\r\nde\r\n0\r\n\r\n"),
            Some(b"abcde".to_vec())
        );
        assert_eq!(unchunk(b"3\r\nabc\r\n2\r\nd"), None);
    }
}
