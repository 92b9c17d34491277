//! Text frames of a WebSocket to and from channels.

use std::io;

use safeport_net::{Message, Messages, Received};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::limits::{
    ACCESS_POINT_MESSAGE, ACCESS_POINT_SILENCE, VOICE_GOODBYE, VOICE_READ, VOICE_WRITE,
};

/// A question of ours that only shows whether somebody is still there.
const PING: &str = r#"{"jsonrpc":"2.0","id":"safeport-ping","method":"ping"}"#;

/// Carries until one side has enough or `removed` is over; returns why. While nobody takes what was heard, nothing is read.
pub(super) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    early: Vec<u8>,
    heard: mpsc::Sender<String>,
    mut said: mpsc::Receiver<String>,
    removed: impl Future<Output = ()>,
) -> String {
    let mut removed = std::pin::pin!(removed);
    let mut messages = Messages::of_up_to(ACCESS_POINT_MESSAGE);
    let carried = tokio::select! {
        carried = run(&mut socket, &mut messages, early, heard, &mut said) => carried,
        () = &mut removed => Ok("it was removed"),
    };
    let why = match carried {
        Ok(why) => why.to_owned(),
        Err(error) => error.to_string(),
    };
    let mut out = Vec::new();
    messages.close(&mut out);
    let goodbye = async {
        socket.write_all(&out).await?;
        socket.shutdown().await
    };
    let _ = tokio::time::timeout(VOICE_GOODBYE, goodbye).await;
    why
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    messages: &mut Messages,
    early: Vec<u8>,
    heard: mpsc::Sender<String>,
    said: &mut mpsc::Receiver<String>,
) -> io::Result<&'static str> {
    let mut buffer = vec![0; VOICE_READ].into_boxed_slice();
    let mut fresh = early;
    let mut last = Instant::now();
    let mut asked = false;
    loop {
        let (mut texts, mut out) = (Vec::new(), Vec::new());
        let received = messages.receive(&fresh, &mut out, |message| {
            // Binary frames mean nothing here.
            if let Message::Text(text) = message
                && let Ok(text) = std::str::from_utf8(text)
            {
                texts.push(text.to_owned());
            }
        });
        write(socket, &out).await?;
        if received.map_err(io::Error::other)? == Received::Closed {
            return Ok("it closed the connection");
        }
        for text in texts {
            if text.contains("\"safeport-ping\"") && !text.contains("\"method\"") {
                continue;
            }
            if heard.send(text).await.is_err() {
                return Ok("it broke the rules of the Model Context Protocol");
            }
        }
        fresh = Vec::new();
        tokio::select! {
            read = socket.read(&mut buffer) => {
                let read = read?;
                if read == 0 {
                    return Ok("it closed the connection");
                }
                fresh.extend_from_slice(&buffer[..read]);
                (last, asked) = (Instant::now(), false);
            }
            text = said.recv() => match text {
                Some(text) => send(socket, messages, &text).await?,
                None => return Ok("it broke the rules of the Model Context Protocol"),
            },
            () = tokio::time::sleep_until(last + ACCESS_POINT_SILENCE) => {
                if asked {
                    return Ok("it does not answer any more");
                }
                send(socket, messages, PING).await?;
                (last, asked) = (Instant::now(), true);
            }
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(
    socket: &mut S,
    messages: &Messages,
    text: &str,
) -> io::Result<()> {
    let mut out = Vec::new();
    messages
        .send_text(text, &mut out)
        .map_err(io::Error::other)?;
    write(socket, &out).await
}

async fn write<S: AsyncWrite + Unpin>(socket: &mut S, out: &[u8]) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    tokio::time::timeout(VOICE_WRITE, async {
        socket.write_all(out).await?;
        socket.flush().await
    })
    .await?
}
