//! Downloads in the clear, beside hyper: from the file to the socket within the kernel.
//!
//! A connection comes here when its next request begins like one for a file, and goes (back) to
//! hyper when it does not. Requests are looked at before they are taken out of the socket, so that
//! nothing has to be carried over.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustix::fs::sendfile;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::super::caller::Caller;
use super::super::connection::Answers;
use super::head::{BadHead, Head, end_of, wants_file};
use super::reply::Reply;
use super::{Asked, Content, End, NotServed, Pace, Sent, Served, Shelf, Ticket};
use crate::limits::{
    DOWNLOAD_GOODBYE, DOWNLOAD_HEAD_BYTES, DOWNLOAD_PATIENCE, DOWNLOAD_REPORT,
    DOWNLOAD_SEND_BUFFER, DOWNLOAD_STALL, FIRST_BYTES_PAUSE, FIRST_BYTES_PAUSE_MOST,
    HTTP_HEADER_TIMEOUT, SHUTDOWN_GRACE,
};
use safeport_net::attempt::Ending;

/// What becomes of a connection after a request.
enum Next {
    /// Another request may come, which shows that this was sent to the end.
    Stay(Option<Delivery>),
    /// It is over.
    Over,
}

/// Serves files until the connection ends (`None`) or wants something else: then hyper goes on
/// with it.
pub(in super::super) async fn carry(
    mut stream: TcpStream,
    caller: &Caller,
    answers: &Answers,
    end: &mut watch::Receiver<()>,
) -> Option<TcpStream> {
    // What the kernel has taken counts as sent: it must not be the whole file. And a thousand slow
    // clients must not fill its memory.
    let _ = SockRef::from(&stream).set_send_buffer_size(DOWNLOAD_SEND_BUFFER);
    // Sent, but not known to have arrived.
    let mut last: Option<Delivery> = None;
    loop {
        let looked = look(&stream, end).await;
        if let Some(mut delivery) = last.take() {
            delivery.end(match looked {
                Look::Lost => End::Gone,
                // It has read its answer to the end, or may have.
                _ => End::Complete,
            });
        }
        let bytes = match looked {
            Look::Head(bytes) => bytes,
            Look::Other => return Some(stream),
            Look::Over | Look::Lost => return None,
        };
        let mut head = vec![0; bytes];
        if stream.read_exact(&mut head).await.is_err() {
            return None;
        }
        let head = Head::read(&head);
        // Whatever comes of it, the connection did what it came for.
        caller.visit.tell(Ending::Connected);
        let site = &answers.site;
        let mut carrying = Carrying {
            stream: &mut stream,
            caller,
            shelf: site.shelf(),
            pace: &site.pace,
        };
        let carried = match head {
            Ok(head) => carrying.answer(head, end).await,
            Err(bad) => carrying.refuse(bad).await,
        };
        match carried {
            Ok(Next::Stay(delivery)) => last = delivery,
            Ok(Next::Over) | Err(_) => return None,
        }
    }
}

/// What a connection says next.
enum Look {
    /// A request for a file, whose head has so many bytes.
    Head(usize),
    Other,
    Over,
    /// The client went in the middle of something.
    Lost,
}

/// Waits for the next head, and leaves it in the socket.
async fn look(stream: &TcpStream, end: &mut watch::Receiver<()>) -> Look {
    let looked = async {
        let mut bytes = vec![0; DOWNLOAD_HEAD_BYTES];
        let mut pause = FIRST_BYTES_PAUSE;
        loop {
            let count = match stream.peek(&mut bytes).await {
                Ok(0) => return Look::Over,
                Err(_) => return Look::Lost,
                Ok(count) => count,
            };
            if wants_file(&bytes[..count]) == Some(false) {
                return Look::Other;
            }
            if let Some(head) = end_of(&bytes[..count]) {
                return Look::Head(head);
            }
            if count == bytes.len() {
                // hyper says what is too long.
                return Look::Other;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(FIRST_BYTES_PAUSE_MOST);
        }
    };
    tokio::select! {
        looked = timeout(HTTP_HEADER_TIMEOUT, looked) => looked.unwrap_or(Look::Over),
        _ = end.changed() => Look::Over,
    }
}

/// One request while it is answered.
struct Carrying<'a> {
    stream: &'a mut TcpStream,
    caller: &'a Caller,
    shelf: Arc<dyn Shelf>,
    pace: &'a Pace,
}

impl Carrying<'_> {
    async fn answer(&mut self, head: Head, end: &mut watch::Receiver<()>) -> io::Result<Next> {
        let asked = Asked {
            token: &head.token,
            file: &head.file,
            headers: &head.headers,
            peer: self.caller.peer,
            tls: false,
            is_head: head.is_head,
        };
        let served = match self.shelf.find(&asked) {
            Ok(served) => served,
            Err(not) => return self.say(&Reply::refusal(&not, head.is_head), &head).await,
        };
        let reply = Reply::of(
            &served,
            head.is_head,
            head.header("range"),
            head.header("if-range"),
        );
        if reply.range.is_empty() {
            return self.say(&reply, &head).await;
        }
        let deadline = Instant::now() + DOWNLOAD_PATIENCE;
        let Some(turn) = self.pace.enter_by(deadline).await else {
            let busy = super::busy();
            return self.say(&Reply::refusal(&busy, head.is_head), &head).await;
        };
        let (old, keep) = (head.is_old, head.keep_alive);
        let text = reply.to_bytes(old, keep, SystemTime::now());
        drop(head);
        let Served {
            content, ticket, ..
        } = served;
        let mut delivery = Delivery {
            shelf: self.shelf.clone(),
            ticket,
            sent: Sent {
                start: reply.range.start,
                bytes: 0,
                of: reply.range.end - reply.range.start,
                ended: None,
            },
            reported: Instant::now(),
        };
        let range = reply.range;
        match content {
            Content::File(file) => {
                self.write_more(&text).await?;
                drop(text);
                let mut sending = Sending {
                    stream: self.stream,
                    file: &file,
                    at: range.start,
                    until: range.end,
                    turn,
                };
                let ended = tokio::select! {
                    ended = sending.run(&mut delivery) => ended,
                    () = stopping(end) => End::Stopping,
                };
                if ended != End::Complete {
                    delivery.end(ended);
                    return Ok(Next::Over);
                }
            }
            Content::Bytes(bytes) => {
                let part = bytes.slice(range.start as usize..range.end as usize);
                self.write_more(&text).await?;
                self.stream.write_all(&part).await?;
                delivery.sent.bytes = part.len() as u64;
            }
        }
        if keep {
            return Ok(Next::Stay(Some(delivery)));
        }
        delivery.end(self.say_goodbye().await);
        Ok(Next::Over)
    }

    async fn refuse(&mut self, bad: BadHead) -> io::Result<Next> {
        let not = match bad {
            BadHead::Malformed => NotServed {
                status: 400,
                why: "this is no request of HTTP/1".to_owned(),
            },
            BadHead::Method => super::no_such_method(),
            BadHead::Path => super::no_such_path(),
        };
        let text = Reply::refusal(&not, false).to_bytes(false, false, SystemTime::now());
        self.stream.write_all(&text).await?;
        self.say_goodbye().await;
        Ok(Next::Over)
    }

    /// Sends an answer without a file.
    async fn say(&mut self, reply: &Reply, head: &Head) -> io::Result<Next> {
        let text = reply.to_bytes(head.is_old, head.keep_alive, SystemTime::now());
        self.stream.write_all(&text).await?;
        if head.keep_alive {
            return Ok(Next::Stay(None));
        }
        self.say_goodbye().await;
        Ok(Next::Over)
    }

    /// Writes bytes that more will follow at once: they share its first packet.
    async fn write_more(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let stream = &*self.stream;
            let written = stream
                .async_io(Interest::WRITABLE, || {
                    SockRef::from(stream).send_with_flags(bytes, MSG_MORE)
                })
                .await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Closes our end and waits for the client's: it has everything then. Closing at once could
    /// reset the connection while the last bytes are on their way.
    async fn say_goodbye(&mut self) -> End {
        if SockRef::from(&*self.stream)
            .shutdown(Shutdown::Write)
            .is_err()
        {
            return End::Gone;
        }
        let mut left = [0; 512];
        let read = async {
            loop {
                match self.stream.read(&mut left).await {
                    Ok(0) => return End::Complete,
                    Ok(_) => {}
                    Err(_) => return End::Gone,
                }
            }
        };
        // A slow client may still be reading what the kernel has for it.
        timeout(DOWNLOAD_GOODBYE, read)
            .await
            .unwrap_or(End::Complete)
    }
}

/// `MSG_MORE` of Linux.
const MSG_MORE: i32 = 0x8000;

/// The server, or the listener, stops: what runs has a moment left.
async fn stopping(end: &mut watch::Receiver<()>) {
    let _ = end.changed().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}

/// Tells the shelf how far it is.
struct Delivery {
    shelf: Arc<dyn Shelf>,
    ticket: Ticket,
    sent: Sent,
    reported: Instant,
}

impl Delivery {
    fn add(&mut self, bytes: u64, now: Instant) {
        self.sent.bytes += bytes;
        if now.duration_since(self.reported) >= DOWNLOAD_REPORT {
            self.reported = now;
            self.shelf.progress(self.ticket, self.sent);
        }
    }

    fn end(&mut self, how: End) {
        if self.sent.ended.is_none() {
            self.sent.ended = Some(how);
            self.shelf.progress(self.ticket, self.sent);
        }
    }
}

/// A connection that is given up in the middle has an end, too.
impl Drop for Delivery {
    fn drop(&mut self) {
        self.end(End::Gone);
    }
}

/// The bytes of a file on their way.
struct Sending<'a> {
    stream: &'a TcpStream,
    file: &'a std::fs::File,
    at: u64,
    until: u64,
    turn: super::pace::Turn,
}

impl Sending<'_> {
    async fn run(&mut self, delivery: &mut Delivery) -> End {
        while self.at < self.until {
            let now = Instant::now();
            let most = match self.turn.allows(now) {
                Ok(bytes) => bytes.min(self.until - self.at),
                Err(later) => {
                    sleep_until(later.into()).await;
                    continue;
                }
            };
            match timeout(DOWNLOAD_STALL, self.send(most)).await {
                Ok(Ok(0)) => return End::Gone,
                Ok(Ok(bytes)) => {
                    self.at += bytes;
                    let now = Instant::now();
                    self.turn.took(bytes, now);
                    delivery.add(bytes, now);
                }
                Ok(Err(_)) => return End::Gone,
                Err(_) => return End::Stalled,
            }
        }
        End::Complete
    }

    /// Sends what fits, at most `most` bytes.
    async fn send(&self, most: u64) -> io::Result<u64> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let sent = self
            .stream
            .async_io(Interest::WRITABLE, || {
                let mut at = self.at;
                Ok(sendfile(self.stream, self.file, Some(&mut at), most)?)
            })
            .await?;
        Ok(sent as u64)
    }
}
