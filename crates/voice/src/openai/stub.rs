//! A service that does as a test tells it: HTTP/1.1 by hand, so that it can also do what no HTTP server would.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{ApiKey, Endpoint, Timeouts};
use crate::dial::Dial;

/// What it does with one request.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Sends bytes one by one, each as a packet of its own.
    Drip(Vec<u8>),
    /// Until the client closes the connection; [`Stub::gone`] hears of it.
    UntilGone,
    Close,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// In lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// Which connection, from 0.
    pub(super) connection: usize,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the request is JSON")
    }
}

pub(super) struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    gone: mpsc::UnboundedReceiver<()>,
}

type Plans = Arc<Mutex<VecDeque<Vec<Step>>>>;

impl Stub {
    /// Deals with the first request as the first plan says, and so on; it refuses connections when there is no more.
    pub(super) async fn new(plans: impl Into<VecDeque<Vec<Step>>>) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let plans: Plans = Arc::new(Mutex::new(plans.into()));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (went, gone) = mpsc::unbounded_channel();
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (plans, noted, went) = (plans.clone(), noted.clone(), went.clone());
                tokio::spawn(async move {
                    serve(stream, number, &plans, &noted).await;
                    let _ = went.send(());
                });
            }
        });
        Stub { url, asked, gone }
    }

    /// Every request so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Waits until a connection is closed.
    pub(super) async fn gone(&mut self) {
        let closed = tokio::time::timeout(Duration::from_secs(20), self.gone.recv());
        closed.await.expect("the connection is closed");
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        endpoint(&self.url)
    }
}

/// With a key, and all the time that a busy machine needs.
pub(super) fn endpoint(url: &str) -> Endpoint {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Endpoint {
        provider: "cloud".into(),
        url: url.to_string(),
        key: Some(ApiKey::new(KEY)),
        model: "small".to_string(),
        extra: Map::new(),
        timeouts: Timeouts::default(),
        dial: Dial::new(tls).expect("a client"),
    }
}

pub(super) const KEY: &str = "sk-4ZxT9qLmW2vB7nRc";

/// A whole response.
pub(super) fn response(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Step {
    let body = body.as_ref();
    let length = body.len();
    let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
    // Headers end with a line end each, and there may be none.
    bytes = bytes.replace("\n\r\n\r\n", "\n\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    Step::Send(bytes)
}

pub(super) fn json(status: &str, body: impl AsRef<[u8]>) -> Step {
    response(status, "content-type: application/json\r\n", body)
}

/// The head of a response that comes in chunks.
pub(super) fn head(content_type: &str) -> Step {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    Step::Send(head.into_bytes())
}

pub(super) fn chunk(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref();
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    Step::Send(chunk)
}

/// The end of chunks.
pub(super) fn end() -> Step {
    chunk([])
}

async fn serve(mut stream: TcpStream, number: usize, plans: &Plans, asked: &Mutex<Vec<Asked>>) {
    let _ = stream.set_nodelay(true);
    let mut held = Vec::new();
    while let Some(request) = request(&mut stream, &mut held, number).await {
        asked.lock().expect("no panic").push(request);
        let plan = plans.lock().expect("no panic").pop_front();
        let Some(plan) = plan else { return };
        for step in plan {
            if !perform(&mut stream, step).await {
                return;
            }
        }
    }
}

async fn perform(stream: &mut TcpStream, step: Step) -> bool {
    match step {
        Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
        Step::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            true
        }
        Step::UntilGone => {
            let mut rest = [0; 64];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
            false
        }
        Step::Close => false,
    }
}

async fn request(stream: &mut TcpStream, held: &mut Vec<u8>, number: usize) -> Option<Asked> {
    let head = loop {
        if let Some(end) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break held.drain(..end + 4).collect::<Vec<u8>>();
        }
        more(stream, held).await?;
    };
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| {
        let value = line.strip_prefix("content-length:")?;
        value.trim().parse::<usize>().ok()
    });
    let length = length.expect("requests say how long they are");
    while held.len() < length {
        more(stream, held).await?;
    }
    Some(Asked {
        head,
        body: held.drain(..length).collect(),
        connection: number,
    })
}

async fn more(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16 << 10];
    let read = stream
        .read(&mut piece)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    held.extend_from_slice(&piece[..read]);
    Some(())
}
