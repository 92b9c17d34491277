//! How a device and its server exchange messages and sound.

use super::check::{Login, Pass};
use super::datagrams::Datagrams;
use super::websocket::WebSocket;
use std::io;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(Vec<u8>),
    /// A packet of sound; what is in it is not looked at.
    Sound,
}

/// The way that its check told the device.
pub(super) enum Line {
    WebSocket(WebSocket),
    Datagrams(Box<Datagrams>),
}

impl Line {
    /// Connects.
    pub(super) async fn open(pass: &Pass) -> io::Result<Line> {
        Ok(match &pass.login {
            Login::WebSocket { path, token } => {
                Line::WebSocket(WebSocket::open(pass, path, token).await?)
            }
            Login::Mqtt(login) => Line::Datagrams(Box::new(Datagrams::open(pass, login).await?)),
        })
    }

    /// What its hello calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Line::WebSocket(_) => "websocket",
            Line::Datagrams(_) => "udp",
        }
    }

    /// Takes the server's hello: where datagrams go, and how they are encrypted.
    pub(super) async fn agree(&mut self, hello: &serde_json::Value) -> io::Result<()> {
        match self {
            Line::WebSocket(_) => Ok(()),
            Line::Datagrams(line) => line.agree(hello).await,
        }
    }

    pub(super) async fn send_text(&mut self, text: &str) -> io::Result<()> {
        match self {
            Line::WebSocket(line) => line.send_text(text).await,
            Line::Datagrams(line) => line.send_text(text).await,
        }
    }

    pub(super) async fn send_sound(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Line::WebSocket(line) => line.send_sound(packet).await,
            Line::Datagrams(line) => line.send_sound(packet).await,
        }
    }

    /// What comes next; `None` when the server has closed. Nothing is lost when it is dropped.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Heard>> {
        match self {
            Line::WebSocket(line) => line.hear().await,
            Line::Datagrams(line) => line.hear().await,
        }
    }
}
