//! Load for a server of OTA checks and firmware files. Called by `safeport bench http`.
//!
//! Clients are as poor as devices: one request for each connection, `Connection: close`, and slow
//! ones read with the small window of lwIP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Bytes that lwIP of a stock ESP-IDF has for what it received, and of one segment.
const LWIP_WINDOW: u32 = 5760;
const LWIP_SEGMENT: u32 = 1440;
/// What a client waits for at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct HttpLoad {
    /// The server.
    pub target: SocketAddr,
    /// The whole request, head and body; to have `Connection: close` or be of HTTP/1.0. `{n}` in
    /// it becomes the number of the request modulo `names`, in six hexadecimal digits.
    pub request: String,
    /// How many different requests that makes.
    pub names: u32,
    /// Requests under way at once.
    pub clients: u32,
    /// How long requests are begun.
    pub seconds: f64,
    /// At most so many requests; 0: as many as fit.
    pub requests: u64,
    /// Bytes a second that each client reads; `None`: as fast as they come.
    pub rate: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct HttpReport {
    /// Answers with status 200 or 206 that came to their end.
    pub answered: u64,
    /// Everything else.
    pub failed: u64,
    /// What the first failure was.
    pub first_failure: Option<String>,
    /// Bytes of all answers, heads included.
    pub bytes: u64,
    /// From the first connection to the last byte.
    pub elapsed: Duration,
}

impl HttpReport {
    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "answered": self.answered,
            "failed": self.failed,
            "first_failure": self.first_failure,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    first_failure: std::sync::Mutex<Option<String>>,
}

impl Counts {
    fn note(&self, result: io::Result<u64>) {
        match result {
            Ok(bytes) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut first) = self.first_failure.lock() {
                    first.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }
}

/// Sends the load and waits for its end.
///
/// # Errors
/// If the machine gives no threads. Requests that fail are counted.
pub fn http(load: &HttpLoad) -> io::Result<HttpReport> {
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(load.seconds);
    match load.rate {
        None => std::thread::scope(|scope| {
            for _ in 0..load.clients.max(1) {
                scope.spawn(|| {
                    let mut buffer = vec![0; 256 * 1024];
                    while let Some(request) = load.next(&counts, until) {
                        counts.note(fetch(load.target, request.as_bytes(), &mut buffer));
                    }
                });
            }
        }),
        Some(rate) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let counts = counts.clone();
            runtime.block_on(async {
                let mut clients = tokio::task::JoinSet::new();
                for _ in 0..load.clients {
                    let (load, counts) = (load.clone(), counts.clone());
                    clients.spawn(async move {
                        while let Some(request) = load.next(&counts, until) {
                            counts.note(crawl(load.target, request.as_bytes(), rate).await);
                        }
                    });
                }
                clients.join_all().await;
            });
        }
    }
    Ok(HttpReport {
        answered: counts.answered.load(Ordering::Relaxed),
        failed: counts.failed.load(Ordering::Relaxed),
        first_failure: counts
            .first_failure
            .lock()
            .map_or(None, |first| first.clone()),
        bytes: counts.bytes.load(Ordering::Relaxed),
        elapsed: began.elapsed(),
    })
}

impl HttpLoad {
    fn next(&self, counts: &Counts, until: Instant) -> Option<String> {
        if Instant::now() >= until {
            return None;
        }
        let number = counts.begun.fetch_add(1, Ordering::Relaxed);
        if self.requests != 0 && number >= self.requests {
            return None;
        }
        let name = format!("{:06x}", number % u64::from(self.names.max(1)));
        Some(self.request.replace("{n}", &name))
    }
}

/// One request; how many bytes came.
fn fetch(target: SocketAddr, request: &[u8], buffer: &mut [u8]) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Answer::default();
    loop {
        let count = stream.read(buffer)?;
        if count == 0 {
            return answer.end();
        }
        answer.take(&buffer[..count])?;
    }
}

/// The same, slowly.
async fn crawl(target: SocketAddr, request: &[u8], rate: u32) -> io::Result<u64> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_recv_buffer_size(LWIP_WINDOW)?;
    // Over loopback a segment would be as long as the whole window, and what the server's kernel
    // holds goes by the length of a segment.
    SockRef::from(&socket).set_tcp_mss(LWIP_SEGMENT)?;
    let mut stream = socket.connect(target).await?;
    stream.write_all(request).await?;
    let mut answer = Answer::default();
    let mut buffer = vec![0; LWIP_WINDOW as usize / 2];
    let mut due = tokio::time::Instant::now();
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer));
        let count = read.await.map_err(|_| io::ErrorKind::TimedOut)??;
        if count == 0 {
            return answer.end();
        }
        answer.take(&buffer[..count])?;
        due += Duration::from_secs_f64(count as f64 / f64::from(rate));
        tokio::time::sleep_until(due).await;
    }
}

/// An answer as it comes: its status is looked at, and whether all of it came.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    bytes: u64,
    /// Bytes that are to follow the head.
    expected: Option<u64>,
    body: u64,
}

impl Answer {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if self.expected.is_some() {
            self.body += bytes.len() as u64;
            return Ok(());
        }
        self.head.extend_from_slice(bytes);
        let Some(at) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&self.head[..at]).to_ascii_lowercase();
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let code = status.split(' ').nth(1).unwrap_or_default();
        if !["200", "206"].contains(&code) {
            return Err(io::Error::other(status.to_owned()));
        }
        let length =
            lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        self.expected = Some(length.ok_or_else(|| io::Error::other("an answer without a length"))?);
        self.body = (self.head.len() - at - 4) as u64;
        self.head = Vec::new();
        Ok(())
    }

    fn end(self) -> io::Result<u64> {
        match self.expected {
            Some(expected) if expected == self.body => Ok(self.bytes),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the answer ended after {} bytes", self.bytes),
            )),
        }
    }
}
