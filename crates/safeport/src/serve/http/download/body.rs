//! Downloads by way of hyper: inside TLS, and after other requests on the same connection.

use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until};

use super::super::caller::Caller;
use super::super::{Site, Transport};
use super::head::split;
use super::pace::Turn;
use super::reply::Reply;
use super::{Asked, Content, End, Sent, Shelf, Ticket, no_such_method, no_such_path};
use crate::limits::{DOWNLOAD_PATIENCE, DOWNLOAD_REPORT, STREAM_PIECE};

/// Answers a request for a file.
pub(in super::super) async fn answer(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    let Some((token, file)) = split(request.uri().path()) else {
        return response(Reply::refusal(&no_such_path(), is_head), None);
    };
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let asked = Asked {
        token,
        file,
        headers: &headers,
        peer: caller.peer,
        tls: caller.transport == Transport::Tls,
        is_head,
    };
    let shelf = site.shelf();
    let served = match shelf.find(&asked) {
        Ok(served) => served,
        Err(not) => return response(Reply::refusal(&not, is_head), None),
    };
    let reply = Reply::of(
        &served,
        is_head,
        asked.header("range"),
        asked.header("if-range"),
    );
    if reply.range.is_empty() {
        return response(reply, None);
    }
    let Some(turn) = site.pace.enter_by(Instant::now() + DOWNLOAD_PATIENCE).await else {
        return response(Reply::refusal(&super::busy(), is_head), None);
    };
    let body = Download {
        shelf,
        ticket: served.ticket,
        content: served.content,
        sent: Sent {
            start: reply.range.start,
            bytes: 0,
            of: reply.range.end - reply.range.start,
            ended: None,
        },
        reported: Instant::now(),
        turn,
        pause: None,
        reading: None,
    };
    response(reply, Some(body))
}

/// Answers other methods.
pub(in super::super) async fn wrong_method() -> Response<Body> {
    response(Reply::refusal(&no_such_method(), false), None)
}

fn response(reply: Reply, body: Option<Download>) -> Response<Body> {
    let mut response = Response::new(match body {
        Some(body) => Body::new(body),
        None => Body::from(reply.words),
    });
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    if reply.status == 405 {
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// A file, or a part of one, as a body.
struct Download {
    shelf: Arc<dyn Shelf>,
    ticket: Ticket,
    content: Content,
    sent: Sent,
    reported: Instant,
    turn: Turn,
    pause: Option<Pin<Box<Sleep>>>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Download {
    fn left(&self) -> u64 {
        self.sent.of - self.sent.bytes
    }

    fn took(&mut self, bytes: u64) {
        let now = Instant::now();
        self.turn.took(bytes, now);
        self.sent.bytes += bytes;
        if self.left() == 0 {
            self.end(End::Complete);
        } else if now.duration_since(self.reported) >= DOWNLOAD_REPORT {
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

impl HttpBody for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.reading.is_none() {
            let most = match self.turn.allows(Instant::now()) {
                Ok(most) => most,
                Err(later) => {
                    let mut pause = Box::pin(sleep_until(later.into()));
                    if pause.as_mut().poll(context).is_pending() {
                        self.pause = Some(pause);
                        return Poll::Pending;
                    }
                    1
                }
            };
            let length = most.min(self.left()).min(STREAM_PIECE as u64);
            let at = self.sent.start + self.sent.bytes;
            let file = match &self.content {
                Content::Bytes(bytes) => {
                    let piece = bytes.slice(at as usize..(at + length) as usize);
                    self.took(length);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Content::File(file) => file.clone(),
            };
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length as usize];
                file.read_exact_at(&mut piece, at)?;
                Ok(piece)
            }));
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Pending;
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(Ok(piece)) => {
                self.took(piece.len() as u64);
                Ok(Frame::data(piece.into()))
            }
            Ok(Err(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.end(End::Gone);
    }
}
