//! A conversation over a WebSocket.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use safeport_net::{Message, Messages, Received};
use safeport_xiaozhi::{End, Framed, Framing, HelloWay, Time};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::conversation::{Conversation, News, Order};
use super::{Seat, Voice};
use crate::limits::{VOICE_GOODBYE, VOICE_READ, VOICE_WRITE};
use crate::serve::xiaozhi::Guest;

/// Talks with a device whose WebSocket was opened with 101 until one of the two has enough.
/// `early` came behind the request.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    voice: Arc<Voice>,
    mut socket: S,
    early: Vec<u8>,
    guest: Guest,
    mut seat: Seat,
) {
    let session_id = match session_id() {
        Ok(id) => id,
        Err(error) => {
            tracing::error!(target: "safeport::voice", "no conversation without random bytes: {error}");
            return;
        }
    };
    let mut talk = Talk::new(&voice, &guest, session_id);
    let why = match talk.run(&voice, &mut socket, early, &mut seat).await {
        Ok(why) => why,
        Err(error) => {
            tracing::debug!(
                target: "safeport::voice",
                device = guest.name, session = talk.conversation.id(),
                "the connection of a conversation broke: {error}"
            );
            End::Gone
        }
    };
    tracing::info!(
        target: "safeport::voice",
        device = guest.name, session = talk.conversation.id(),
        "conversation over: {}", word(why)
    );
    talk.messages.close(&mut talk.out);
    // A device closes its end without a close frame of its own.
    let goodbye = async {
        socket.write_all(&talk.out).await?;
        socket.shutdown().await
    };
    let _ = tokio::time::timeout(VOICE_GOODBYE, goodbye).await;
}

struct Talk {
    conversation: Conversation,
    messages: Messages,
    framing: Framing,
    asked: Framing,
    sequence: u32,
    out: Vec<u8>,
}

impl Talk {
    fn new(voice: &Arc<Voice>, guest: &Guest, session_id: Box<str>) -> Talk {
        let way = HelloWay::WebSocket;
        let conversation = Conversation::new(voice, guest, session_id, way, voice.now());
        Talk {
            conversation,
            messages: Messages::default(),
            framing: guest.framing,
            asked: guest.framing,
            sequence: 0,
            out: Vec::new(),
        }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        voice: &Voice,
        socket: &mut S,
        early: Vec<u8>,
        seat: &mut Seat,
    ) -> io::Result<End> {
        let mut open = self.take(&early, voice.now())?;
        drop(early);
        loop {
            let ended = self.act(voice.now());
            if !self.out.is_empty() {
                // Who does not read its messages is gone, or might as well be.
                tokio::time::timeout(VOICE_WRITE, async {
                    socket.write_all(&self.out).await?;
                    socket.flush().await
                })
                .await??;
                self.out = Vec::new();
            }
            if let Some(why) = ended {
                return Ok(why);
            }
            if open == Received::Closed {
                return Ok(End::Gone);
            }
            let due = self.conversation.next_wake();
            let wake = async {
                match due {
                    Some(at) => tokio::time::sleep(until(at, voice.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                came = poll_fn(|context| self.poll(socket, voice, context)) => match came? {
                    Came::Bytes(received) => open = received,
                    Came::News(news) => self.conversation.take(news, voice.now()),
                    Came::End => return Ok(End::Gone),
                },
                () = wake => {}
                () = seat.over() => self.conversation.close(),
            }
        }
    }

    /// Takes bytes from where they are read to, so that a session that waits holds no memory for them.
    fn poll<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        voice: &Voice,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Came>> {
        if let Poll::Ready(news) = self.conversation.poll_news(context) {
            return Poll::Ready(Ok(Came::News(news)));
        }
        let mut room = [const { MaybeUninit::uninit() }; VOICE_READ];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        let came = match buffer.filled() {
            [] => Came::End,
            raw => Came::Bytes(self.take(raw, voice.now())?),
        };
        Poll::Ready(Ok(came))
    }

    /// Takes what was read from the socket.
    fn take(&mut self, raw: &[u8], now: Time) -> io::Result<Received> {
        let Talk {
            conversation,
            messages,
            framing,
            asked,
            out,
            ..
        } = self;
        let received = messages.receive(raw, out, |message| match message {
            Message::Text(text) => {
                if let Err(error) = conversation.hear_message(text, now) {
                    passed_over(conversation, &error);
                }
                // The header says it, and the hello again; programs send only one of them.
                if *asked == Framing::V1
                    && let Some(version) = conversation.version()
                {
                    *framing = Framing::of_version(version);
                }
            }
            Message::Binary(frame) => match framing.decode(frame) {
                Ok(Framed::Audio { packet, .. }) => conversation.hear_audio(packet, now),
                Ok(Framed::Text(text)) => {
                    if let Err(error) = conversation.hear_message(text, now) {
                        passed_over(conversation, &error);
                    }
                }
                Err(error) => passed_over(conversation, &error),
            },
        });
        received.map_err(io::Error::other)
    }

    /// Does what is due; `Some` when it is over.
    fn act(&mut self, now: Time) -> Option<End> {
        while let Some(order) = self.conversation.poll(now) {
            match order {
                // Closed by a close frame of theirs: nobody reads it any more.
                Order::Message(text) => {
                    let _ = self.messages.send_text(&text, &mut self.out);
                }
                Order::Audio { packet, timestamp } => {
                    let mut frame = Vec::with_capacity(packet.len() + 16);
                    let framed = self
                        .framing
                        .encode(&packet, timestamp, self.sequence, &mut frame);
                    self.sequence = self.sequence.wrapping_add(1);
                    match framed {
                        Ok(()) => {
                            let _ = self.messages.send_binary(&frame, &mut self.out);
                        }
                        Err(error) => passed_over(&self.conversation, &error),
                    }
                }
                Order::End(why) => return Some(why),
            }
        }
        None
    }
}

/// What a session waits for, beside the clock.
enum Came {
    Bytes(Received),
    News(News),
    /// The end of the stream.
    End,
}

/// Which nobody guesses: over MQTT and UDP it is what a goodbye names.
pub(super) fn session_id() -> Result<Box<str>, getrandom::Error> {
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn)?;
    Ok(drawn.map(|byte| format!("{byte:02x}")).concat().into())
}

pub(super) fn word(why: End) -> &'static str {
    match why {
        End::NoHello => "no hello came within ten seconds",
        End::Goodbye => "the device said goodbye",
        End::Unheard => "the device hears no datagrams",
        End::Idle => "nobody said anything for long",
        End::Renewed => "the device began another one",
        End::Closed => "this server closed it",
        End::Gone => "the device closed it",
    }
}

pub(super) fn passed_over(conversation: &Conversation, error: &dyn std::error::Error) {
    tracing::debug!(target: "safeport::voice", session = conversation.id(), "passed over: {error}");
}

pub(super) fn until(at: Time, now: Time) -> Duration {
    Duration::from_millis(at.0.saturating_sub(now.0))
}
