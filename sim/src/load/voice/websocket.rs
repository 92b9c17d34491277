//! The WebSocket of one device, as plain as its firmware's.

use super::check::Pass;
use super::line::Heard;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open WebSocket.
pub(super) struct WebSocket {
    stream: TcpStream,
    /// Bytes that came and are not looked at.
    inbox: Vec<u8>,
    out: Vec<u8>,
    mask: u32,
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// A longer answer to the upgrade is none.
const LONGEST_HEAD: usize = 8192;

impl WebSocket {
    /// Connects and upgrades.
    pub(super) async fn open(pass: &Pass, path: &str, token: &str) -> io::Result<WebSocket> {
        let mut stream = pass.connect().await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nClient-Id: {}\r\n\
             Connection: Upgrade\r\nDevice-Id: {}\r\nProtocol-Version: 1\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Upgrade: websocket\r\n\r\n",
            path, pass.host, token, pass.client_id, pass.mac
        );
        stream.write_all(request.as_bytes()).await?;
        let mut inbox = Vec::with_capacity(1024);
        let end = loop {
            if let Some(at) = inbox.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut inbox).await? == 0 || inbox.len() > LONGEST_HEAD {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        if !inbox.starts_with(b"HTTP/1.1 101") {
            let words = String::from_utf8_lossy(&inbox);
            return Err(io::Error::other(words.replace("\r\n", " ")));
        }
        inbox.drain(..end);
        Ok(WebSocket {
            stream,
            inbox,
            out: Vec::new(),
            mask: 0x9e37_79b9,
        })
    }

    pub(super) async fn send_text(&mut self, text: &str) -> io::Result<()> {
        self.put(TEXT, text.as_bytes());
        self.flush().await
    }

    pub(super) async fn send_sound(&mut self, packet: &[u8]) -> io::Result<()> {
        self.put(BINARY, packet);
        self.flush().await
    }

    /// What comes next; `None` when the server has closed. Nothing is lost when it is dropped.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Heard>> {
        loop {
            while let Some((first, payload)) = self.next_frame() {
                match first {
                    TEXT => return Ok(Some(Heard::Text(payload))),
                    BINARY => return Ok(Some(Heard::Sound)),
                    CLOSE => return Ok(None),
                    PING => {
                        self.put(PONG, &payload);
                        self.flush().await?;
                    }
                    _ => {}
                }
            }
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[first, second], rest) = self.inbox.split_first_chunk()?;
        let (length, rest) = match second {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length) as usize, rest)
            }
            short => (usize::from(short), rest),
        };
        let payload = rest.get(..length)?.to_vec();
        let used = self.inbox.len() - rest.len() + length;
        self.inbox.drain(..used);
        Some((first, payload))
    }

    /// Every client masks its frames (RFC 6455 §5.3).
    fn put(&mut self, first: u8, payload: &[u8]) {
        self.mask = self
            .mask
            .wrapping_mul(0x0019_660d)
            .wrapping_add(0x3c6e_f35f);
        let mask = self.mask.to_be_bytes();
        self.out.push(first);
        match payload.len() {
            length @ ..126 => self.out.push(0x80 | length as u8),
            length => {
                self.out.push(0x80 | 126);
                self.out.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        self.out.extend_from_slice(&mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        self.out.extend(masked.map(|(byte, mask)| byte ^ mask));
    }

    async fn flush(&mut self) -> io::Result<()> {
        let written = self.stream.write_all(&self.out).await;
        self.out.clear();
        written
    }
}
