//! Downloads in the clear, beside hyper: from the file to the socket within the kernel.
//!
//! A connection comes here when its next request begins like one for a file, and goes (back) to
//! hyper when it does not. Requests are looked at before they are taken out of the socket, so that
//! nothing has to be carried over.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use rustix::fs::sendfile;
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until, timeout};

use super::super::caller::Caller;
use super::super::connection::Answers;
use super::head::{BadHead, Head, end_of, wants_file};
use super::pace::Turn;
use super::reply::Reply;
use super::{Asked, Content, End, NotServed, Pace, Sent, Shelf, Ticket};
use crate::limits::{
    DOWNLOAD_GOODBYE, DOWNLOAD_HEAD_BYTES, DOWNLOAD_PATIENCE, DOWNLOAD_REPORT, DOWNLOAD_STALL,
    FIRST_BYTES_PAUSE, FIRST_BYTES_PAUSE_MOST, HTTP_HEADER_TIMEOUT, HTTP_HEADERS, SHUTDOWN_GRACE,
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
        let head = match looked {
            Look::Head(head) => head,
            Look::Other => return Some(stream),
            Look::Over | Look::Lost => return None,
        };
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
    /// A request for a file.
    Head(Result<Head, BadHead>),
    Other,
    Over,
    /// The client went in the middle of something.
    Lost,
}

/// Waits for the next head.
async fn look(stream: &TcpStream, end: &mut watch::Receiver<()>) -> Look {
    let looked = async {
        let mut pause = FIRST_BYTES_PAUSE;
        loop {
            let looked = poll_fn(|context| glance(stream, context)).await;
            if let Some(look) = looked {
                return look;
            }
            sleep(pause).await;
            pause = (pause * 2).min(FIRST_BYTES_PAUSE_MOST);
        }
    };
    tokio::select! {
        looked = timeout(HTTP_HEADER_TIMEOUT, looked) => looked.unwrap_or(Look::Over),
        _ = end.changed() => Look::Over,
    }
}

/// Takes the head of a request for a file out of the socket; anything else stays there. `None`
/// while it is not all there.
///
/// Its buffer is gone whenever it waits: a thousand connections may.
fn glance(stream: &TcpStream, context: &mut Context<'_>) -> Poll<Option<Look>> {
    let mut bytes = [0; DOWNLOAD_HEAD_BYTES];
    let mut seen = ReadBuf::new(&mut bytes);
    let peeked = ready!(stream.poll_peek(context, &mut seen));
    let seen = seen.filled();
    let (files, length) = (wants_file(seen), end_of(seen));
    let is_full = seen.len() == DOWNLOAD_HEAD_BYTES;
    Poll::Ready(match (peeked, length) {
        (Ok(0), _) => Some(Look::Over),
        (Err(_), _) => Some(Look::Lost),
        (Ok(_), _) if files == Some(false) => Some(Look::Other),
        (Ok(_), Some(length)) => {
            let head = &mut bytes[..length];
            // What was seen is there to be read.
            Some(match stream.try_read(head) {
                Ok(read) if read == length => Look::Head(Head::read(head)),
                _ => Look::Lost,
            })
        }
        // hyper says what is too long.
        (Ok(_), None) if is_full => Some(Look::Other),
        (Ok(_), None) => None,
    })
}

/// One request while it is answered.
struct Carrying<'a> {
    stream: &'a mut TcpStream,
    caller: &'a Caller,
    shelf: Arc<dyn Shelf>,
    pace: &'a Pace,
}

/// An answer that is ready to go.
struct Outgoing {
    text: Vec<u8>,
    content: Content,
    range: Range<u64>,
    delivery: Delivery,
    keep: bool,
}

impl Carrying<'_> {
    async fn answer(&mut self, head: Head, end: &mut watch::Receiver<()>) -> io::Result<Next> {
        // What it takes to find the file is gone while it is sent, which is long.
        let (mut outgoing, turn) = match self.prepare(head).await? {
            Ok(prepared) => prepared,
            Err(said) => return Ok(said),
        };
        match self.send(&mut outgoing, turn, end).await? {
            End::Complete if outgoing.keep => return Ok(Next::Stay(Some(outgoing.delivery))),
            End::Complete => outgoing.delivery.end(self.say_goodbye().await),
            ended => outgoing.delivery.end(ended),
        }
        Ok(Next::Over)
    }

    /// What is to be sent; the inner error: that was all already.
    async fn prepare(&mut self, head: Head) -> io::Result<Result<(Outgoing, Turn), Next>> {
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
            Err(not) => {
                let refusal = Reply::refusal(&not, head.is_head);
                return self.say(&refusal, &head).await.map(Err);
            }
        };
        let reply = Reply::of(
            &served,
            head.is_head,
            head.header("range"),
            head.header("if-range"),
        );
        if reply.range.is_empty() {
            return self.say(&reply, &head).await.map(Err);
        }
        let deadline = Instant::now() + DOWNLOAD_PATIENCE;
        let Some(turn) = self.pace.enter_by(deadline).await else {
            let refusal = Reply::refusal(&super::busy(), head.is_head);
            return self.say(&refusal, &head).await.map(Err);
        };
        let outgoing = Outgoing {
            text: reply.to_bytes(head.is_old, head.keep_alive, SystemTime::now()),
            content: served.content,
            delivery: Delivery {
                shelf: self.shelf.clone(),
                ticket: served.ticket,
                sent: Sent {
                    start: reply.range.start,
                    bytes: 0,
                    of: reply.range.end - reply.range.start,
                    ended: None,
                },
                reported: Instant::now(),
            },
            range: reply.range,
            keep: head.keep_alive,
        };
        Ok(Ok((outgoing, turn)))
    }

    async fn send(
        &mut self,
        outgoing: &mut Outgoing,
        turn: Turn,
        end: &mut watch::Receiver<()>,
    ) -> io::Result<End> {
        self.write_more(&outgoing.text).await?;
        outgoing.text = Vec::new();
        let range = &outgoing.range;
        match &outgoing.content {
            Content::File(file) => {
                let mut sending = Sending {
                    stream: self.stream,
                    file,
                    at: range.start,
                    until: range.end,
                    turn,
                };
                Ok(tokio::select! {
                    ended = sending.run(&mut outgoing.delivery) => ended,
                    () = stopping(end) => End::Stopping,
                })
            }
            Content::Bytes(bytes) => {
                let part = bytes.slice(range.start as usize..range.end as usize);
                self.stream.write_all(&part).await?;
                outgoing.delivery.sent.bytes = part.len() as u64;
                Ok(End::Complete)
            }
        }
    }

    async fn refuse(&mut self, bad: BadHead) -> io::Result<Next> {
        let not = match bad {
            BadHead::Malformed => NotServed {
                status: 400,
                why: "this is no request of HTTP/1".to_owned(),
            },
            BadHead::Headers => NotServed {
                status: 431,
                why: format!("a request has at most {HTTP_HEADERS} header lines"),
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
        let stream = &*self.stream;
        let read = async {
            loop {
                if stream.readable().await.is_err() {
                    return End::Gone;
                }
                // Not kept while it waits: there are many of them.
                match stream.try_read(&mut [0; 512]) {
                    Ok(0) => return End::Complete,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
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
    turn: Turn,
}

impl Sending<'_> {
    /// Leaves it to the kernel how much it takes: little for a client with a small window, a whole
    /// image for one that is quick, for which fewer and longer calls are half of the cost.
    async fn run(&mut self, delivery: &mut Delivery) -> End {
        let mut moved = Instant::now();
        // Set anew when it is due, not with every piece.
        let mut stall = pin!(sleep(DOWNLOAD_STALL));
        while self.at < self.until {
            let most = match self.turn.allows(Instant::now()) {
                Ok(bytes) => bytes.min(self.until - self.at),
                Err(later) => {
                    sleep_until(later.into()).await;
                    continue;
                }
            };
            let Ok(bytes) = self.send(most) else {
                return End::Gone;
            };
            if bytes > 0 {
                moved = Instant::now();
                self.at += bytes;
                self.turn.took(bytes, moved);
                delivery.add(bytes, moved);
            }
            if bytes == most {
                // Others have their turn; a quick client would never let go.
                yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                room = self.stream.writable() => if room.is_err() {
                    return End::Gone;
                },
                () = &mut stall => {
                    let due = moved + DOWNLOAD_STALL;
                    if due <= Instant::now() {
                        return End::Stalled;
                    }
                    stall.as_mut().reset(due.into());
                }
            }
        }
        End::Complete
    }

    /// Sends what the socket takes now, at most `most` bytes. After less it is full, and says when
    /// there is room again.
    fn send(&self, most: u64) -> io::Result<u64> {
        let length = usize::try_from(most).unwrap_or(usize::MAX);
        let mut sent = 0;
        let tried = self.stream.try_io(Interest::WRITABLE, || {
            let mut at = self.at;
            sent = sendfile(self.stream, self.file, Some(&mut at), length)?;
            match sent {
                // The file has become shorter.
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                sent if sent < length => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        match tried {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(sent as u64),
        }
    }
}
