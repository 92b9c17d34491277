//! One POST without a body, for commands that confirm something over an address of the server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use safeport_net::surroundings;
use safeport_settings::{AdvertisedAddress, Said, Scheme};
use thiserror::Error;

use super::{Trust, bare_host, both};
use crate::limits::PROBE_ANSWERS;

/// Why there was no answer.
#[derive(Debug, Error)]
pub enum PostError {
    /// The URL is none, or of another scheme.
    #[error("`{0}` is no address of http:// or https:// with a path")]
    NotHttp(String),
    /// An address of `https://`, and nothing to know its certificate by.
    #[error("`{0}` needs TLS, and no authority is known to trust")]
    NoTrust(String),
    /// The name leads nowhere.
    #[error(transparent)]
    Name(#[from] surroundings::ResolveError),
    /// The connection failed or ended.
    #[error("no answer ({0})")]
    Connection(#[from] io::Error),
    /// What answers is no HTTP server.
    #[error("what answers there is no HTTP server")]
    Strange,
}

impl PostError {
    /// In both languages.
    pub fn said(&self) -> Said {
        match self {
            PostError::NotHttp(url) => both!(
                "`{url}` is no address of http:// or https:// with a path",
                "`{url}` 不是带路径的 http:// 或 https:// 地址"
            ),
            PostError::NoTrust(url) => both!(
                "`{url}` needs TLS, and no authority is known to trust",
                "`{url}` 需要 TLS，但没有可信任的证书机构"
            ),
            PostError::Name(error) => {
                Said::new(error.to_string(), format!("名称无法解析（{error}）"))
            }
            PostError::Connection(error) => both!("no answer ({error})", "没有回应（{error}）"),
            PostError::Strange => Said::new(
                "what answers there is no HTTP server",
                "那里的程序不是 HTTP 服务器",
            ),
        }
    }
}

/// Sends `POST` to `url`, which is an [`AdvertisedAddress`] of `http://` and a path, and tells the
/// status of the answer. Blocks for `patience` at most.
///
/// # Errors
/// [`PostError`], which the caller puts behind the URL.
pub fn post(url: &str, patience: Duration) -> Result<u16, PostError> {
    send(url, None, patience)
}

/// The same, for addresses of `https://`, too.
///
/// # Errors
/// [`PostError`], which the caller puts behind the URL.
pub fn post_trusting(url: &str, trust: &Trust, patience: Duration) -> Result<u16, PostError> {
    send(url, Some(trust), patience)
}

fn send(url: &str, trust: Option<&Trust>, patience: Duration) -> Result<u16, PostError> {
    let not_http = || PostError::NotHttp(url.to_owned());
    let (_, behind_scheme) = url.split_once("://").ok_or_else(not_http)?;
    let path_at = behind_scheme.find('/').ok_or_else(not_http)?;
    let path = &behind_scheme[path_at..];
    let base = &url[..url.len() - path.len()];
    let address = AdvertisedAddress::parse(base).map_err(|_| not_http())?;
    let is_path = path.bytes().all(|byte| byte.is_ascii_graphic());
    if address.scheme().http() != address.scheme() || !is_path {
        return Err(not_http());
    }

    let until = Instant::now() + patience;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: safeport/{}\r\nAccept: text/plain\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        address.host(),
        address.port(),
        env!("CARGO_PKG_VERSION"),
    );
    match (address.scheme(), trust) {
        (Scheme::Http, _) => ask(Timed::connect(&address, until)?, &request),
        (Scheme::Https, Some(trust)) => {
            let stream = Timed::connect(&address, until)?;
            ask(trust.wrap(address.host(), stream)?, &request)
        }
        (Scheme::Https, None) => Err(PostError::NoTrust(url.to_owned())),
        _ => Err(not_http()),
    }
}

/// Sends the request and reads the status: `HTTP/1.1 200 …`.
fn ask(mut stream: impl Read + Write, request: &str) -> Result<u16, PostError> {
    const LONGEST: usize = 64;
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut line = Vec::new();
    while !line.contains(&b'\n') && line.len() < LONGEST {
        let mut buffer = [0; LONGEST];
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => line.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&line)
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok())
        .ok_or(PostError::Strange)
}

/// A connection on which all reads and writes together end in time.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn connect(address: &AdvertisedAddress, until: Instant) -> Result<Timed, PostError> {
        let answers = surroundings::resolve(&bare_host(address.host()), left(until)?)?;
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for ip in answers.into_iter().take(PROBE_ANSWERS) {
            match TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), left(until)?) {
                Ok(stream) => return Ok(Timed { stream, until }),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What is left of the time.
fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers one connection with these bytes; what it was asked, and its port.
    fn server(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (port, asked)
    }

    #[test]
    fn the_path_is_posted_to_and_the_status_told() {
        let (port, asked) = server("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n");
        let url = format!("http://127.0.0.1:{port}/a/b");
        assert_eq!(post(&url, 5 * SECOND).unwrap(), 410);
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("POST /a/b HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")));
    }

    #[test]
    fn a_server_of_another_kind_or_none_is_told_as_that() {
        let (port, _) = server("220 mail ready\r\n");
        let url = format!("http://127.0.0.1:{port}/");
        assert!(matches!(post(&url, 5 * SECOND), Err(PostError::Strange)));
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        drop(free);
        assert!(matches!(post(&url, SECOND), Err(PostError::Connection(_))));
    }

    #[test]
    fn only_http_with_a_path_is_posted_to() {
        for url in [
            "",
            "http://127.0.0.1:8002",
            "ws://127.0.0.1:8002/x",
            "http://127.0.0.1:8002/a b",
            "http://0.0.0.0:1/x",
        ] {
            assert!(
                matches!(post(url, SECOND), Err(PostError::NotHttp(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn https_needs_someone_to_trust() {
        let url = "https://127.0.0.1:8443/x";
        assert!(matches!(post(url, SECOND), Err(PostError::NoTrust(_))));
    }

    #[test]
    fn a_silent_server_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let started = Instant::now();
        let error = post(&url, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, PostError::Connection(_)), "{error}");
        assert!(started.elapsed() < 5 * SECOND);
    }
}
