//! Servers that do what a test says.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::dial::Dial;

/// A server on a port of its own, for as long as its test lasts.
pub(crate) struct Stub {
    pub(crate) url: String,
    opened: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Stub {
    /// Talks with each connection as it is told; the first is number 0.
    pub(crate) async fn talking<W>(talk: impl Fn(usize, Peer) -> W + Send + 'static) -> Stub
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Stub::at(&listener);
        let (opened, ended) = (stub.opened.clone(), stub.ended.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let Some(peer) = Peer::accept(socket).await else {
                    continue;
                };
                let (talk, ended) = (talk(number, peer), ended.clone());
                tokio::spawn(async move {
                    talk.await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        stub
    }

    /// Answers every upgrade with these bytes, and closes.
    pub(crate) async fn answering(answer: &'static str) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Stub::at(&listener);
        let opened = stub.opened.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 4096];
                let _ = socket.read(&mut head).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        stub
    }

    /// Nobody listens there.
    pub(crate) async fn nobody() -> Stub {
        Stub::at(&TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn at(listener: &TcpListener) -> Stub {
        Stub {
            url: format!("ws://{}/path", listener.local_addr().unwrap()),
            opened: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// How many connections there were.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Waits until so many conversations are over.
    pub(crate) async fn until_ended(&self, count: usize) {
        within(async {
            while self.ended.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Who has connected to a [`Stub`].
pub(crate) struct Peer {
    stream: WebSocketStream<TcpStream>,
    pub(crate) authorization: Option<String>,
}

impl Peer {
    async fn accept(socket: TcpStream) -> Option<Peer> {
        let mut authorization = None;
        #[allow(clippy::result_large_err)]
        let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let value = request.headers().get("authorization");
            authorization = value.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let stream = tokio_tungstenite::accept_hdr_async(socket, look)
            .await
            .ok()?;
        Some(Peer {
            stream,
            authorization,
        })
    }

    /// The next message; `None` when they are gone.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    return Some(message);
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message, which is JSON.
    pub(crate) async fn json(&mut self) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("not JSON: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, json: Value) {
        self.send(Message::text(json.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        // Who is gone hears nothing; tests notice by what comes.
        let _ = self.stream.send(message).await;
    }

    /// Waits until they are gone, whatever they send before that.
    pub(crate) async fn until_gone(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// Nothing here takes long, but machines may be busy.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("within 20 s")
}

/// Trusts nobody.
pub(crate) fn dial() -> Dial {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Dial::new(config).unwrap()
}
