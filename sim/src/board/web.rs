//! The web server of a pretend board: it reads requests, the board's own loop answers them.

use super::events::Events;
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request that waits for the board's answer.
pub(super) struct WebRequest {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    query: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The address that was asked.
    pub(super) local: SocketAddr,
    reply: oneshot::Sender<Option<WebReply>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct WebReply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl WebReply {
    pub(super) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        WebReply {
            status,
            headers: vec![("Content-Type", kind.to_owned())],
            body: body.into(),
        }
    }

    pub(super) fn html(body: impl Into<Vec<u8>>) -> Self {
        WebReply::new(200, "text/html", body)
    }

    pub(super) fn json(body: impl Into<Vec<u8>>) -> Self {
        WebReply::new(200, "application/json", body)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One file of an upload form.
pub(super) struct Upload {
    pub(super) field: String,
    pub(super) file_name: String,
    pub(super) bytes: Vec<u8>,
}

impl WebRequest {
    /// A header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// A field of the query, decoded; the first of its name.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| decoded(value))
        })
    }

    /// Whether it carries this name and password by Basic authentication.
    pub(super) fn is_login(&self, user: &str, password: &str) -> bool {
        let expected = base64(format!("{user}:{password}").as_bytes());
        self.header("authorization")
            .and_then(|value| value.strip_prefix("Basic "))
            .is_some_and(|given| given.trim() == expected)
    }

    /// The file of a `multipart/form-data` body.
    pub(super) fn upload(&self) -> Option<Upload> {
        let kind = self.header("content-type")?;
        let boundary = kind.split_once("boundary=")?.1.trim().trim_matches('"');
        let line = format!("--{boundary}");
        let mut rest = self.body.as_slice();
        loop {
            let at = crate::image::find(rest, line.as_bytes())?;
            rest = &rest[at + line.len()..];
            let head_end = crate::image::find(rest, b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
            let content = &rest[head_end + 4..];
            let until = format!("\r\n{line}");
            let end = crate::image::find(content, until.as_bytes());
            if let Some(file_name) = attribute(&head, "filename") {
                return Some(Upload {
                    field: attribute(&head, "name").unwrap_or_default(),
                    file_name,
                    bytes: content[..end?].to_vec(),
                });
            }
            rest = &content[end?..];
        }
    }

    /// Answers; `None` hangs up without a word.
    pub(super) fn answer(self, events: &Events, reply: Option<WebReply>) {
        events.tell(
            "web_request",
            json!({
                "method": self.method,
                "path": self.path,
                "status": reply.as_ref().map(|reply| reply.status),
            }),
        );
        // Who asked may have gone.
        let _ = self.reply.send(reply);
    }
}

fn attribute(head: &str, name: &str) -> Option<String> {
    let from = head.find(&format!(" {name}=\""))? + name.len() + 3;
    let length = head[from..].find('"')?;
    Some(head[from..from + length].to_owned())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &rest[2..];
                    }
                    None => bytes.push(b'%'),
                }
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Base64 with padding (RFC 4648 §4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            if place <= group.len() {
                text.push(DIGITS[(bits >> (18 - 6 * place) & 63) as usize].into());
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// A web server, and the requests that come to it. It ends with the value.
pub(super) struct Web {
    pub(super) requests: mpsc::Receiver<WebRequest>,
    _server: JoinSet<()>,
}

impl Web {
    /// On 127.0.0.1; port 0 takes any free one. Tells `web_listening`.
    pub(super) async fn open(port: u16, events: &Events) -> io::Result<Web> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        events.tell("web_listening", json!({ "port": port }));
        let (to, requests) = mpsc::channel(16);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, to));
        Ok(Web {
            requests,
            _server: server,
        })
    }
}

async fn serve(listener: TcpListener, to: mpsc::Sender<WebRequest>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((socket, _)) = accepted {
                    open.spawn(converse(socket, to.clone()));
                }
            }
            Some(_) = open.join_next() => {}
        }
    }
}

/// One request, one answer, as the small web servers of such boards do it.
async fn converse(mut socket: TcpStream, to: mpsc::Sender<WebRequest>) {
    let Ok(Some((request, answer))) = timeout(READ_WAIT, read(&mut socket)).await else {
        return;
    };
    if to.send(request).await.is_err() {
        return;
    }
    let Ok(Some(reply)) = answer.await else {
        return;
    };
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status)).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let length = reply.body.len();
    bytes.extend_from_slice(
        format!("Content-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    bytes.extend_from_slice(&reply.body);
    // Who asked may have gone.
    let _ = socket.write_all(&bytes).await;
    let _ = socket.shutdown().await;
}

async fn read(socket: &mut TcpStream) -> Option<(WebRequest, oneshot::Receiver<Option<WebReply>>)> {
    let local = socket.local_addr().ok()?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    let head_end = loop {
        if let Some(at) = crate::image::find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > 16 * 1024 {
            return None;
        }
        more(socket, &mut chunk, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let field = |name: &str| {
        let found = headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.clone())
    };
    let length = field("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0_usize);
    if length > MAX_BODY {
        return None;
    }
    if field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        socket
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .ok()?;
    }
    while bytes.len() < head_end + length {
        more(socket, &mut chunk, &mut bytes).await?;
    }
    let body = bytes[head_end..head_end + length].to_vec();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (reply, answer) = oneshot::channel();
    let request = WebRequest {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
        local,
        reply,
    };
    Some((request, answer))
}

async fn more(socket: &mut TcpStream, chunk: &mut [u8], bytes: &mut Vec<u8>) -> Option<()> {
    let read = socket.read(chunk).await.ok().filter(|read| *read > 0)?;
    bytes.extend_from_slice(&chunk[..read]);
    Some(())
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        401 => "Unauthorized",
        404 => "Not Found",
        _ => "Error",
    }
}

/// For a request to come whole.
const READ_WAIT: Duration = Duration::from_secs(60);
/// The biggest image, and the form around it.
const MAX_BODY: usize = 17 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_one_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_query_is_decoded_as_it_was_written() {
        assert_eq!(decoded("Upgrade%201"), "Upgrade 1");
        assert_eq!(decoded("a+b%2"), "a b%2");
    }
}
