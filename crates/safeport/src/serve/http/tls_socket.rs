//! TLS on a socket of tokio, the server's side: what hyper reads from and writes to on `https`.
//!
//! [`Layer`] makes records of bytes and bytes of records, as it does for the engine, so that HTTP
//! keeps to the same record sizes as MQTT; here is only the carrying.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safeport_net::attempt::Ending;
use safeport_net::{Layer, Received};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{TLS_SOCKET_READ, TLS_SOCKET_UNSENT, TLS_SOCKET_UNSENT_MOST, TLS_SOCKET_WRITE};

/// A connection inside TLS. One task drives both directions; two would take each other's wakes.
///
/// Idle, it holds no buffers. Otherwise it holds the plaintext of one read of [`TLS_SOCKET_READ`]
/// bytes, and records for the wire up to about [`TLS_SOCKET_UNSENT_MOST`]: a peer that reads slowly
/// is written to slowly, and one that reads nothing is not read from in the end.
pub(super) struct TlsSocket<S> {
    stream: S,
    layer: Layer,
    /// Decrypted; up to `taken` it has been read.
    plain: Vec<u8>,
    taken: usize,
    /// For the wire; up to `sent` it is there.
    raw: Vec<u8>,
    sent: usize,
    incoming: Incoming,
}

/// Whether more may come from the peer.
#[derive(Debug)]
enum Incoming {
    Open,
    /// It said close_notify, or closed its side of the socket.
    Ended,
    /// It broke the rules, which is told when the alert is out.
    Broken(Ending),
}

/// The error inside an [`io::Error`] of a [`TlsSocket`] whose peer broke the rules of TLS, or said
/// that we do.
#[derive(Debug, thiserror::Error)]
#[error("TLS failed: {0:?}")]
pub(super) struct Broken(pub(super) Ending);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsSocket<S> {
    /// TLS on `stream`. `layer` has seen everything that came from it so far.
    pub(super) fn new(stream: S, layer: Layer) -> TlsSocket<S> {
        TlsSocket {
            stream,
            layer,
            plain: Vec::new(),
            taken: 0,
            raw: Vec::new(),
            sent: 0,
            incoming: Incoming::Open,
        }
    }

    /// Shakes hands, until all of our side of it is written. `heard` is called whenever something
    /// came. Whoever gives it up may ask the [`TlsSocket::layer`] how far it came.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::UnexpectedEof`] if the peer went; [`Broken`] inside
    /// of [`io::ErrorKind::InvalidData`], when its alert is written.
    pub(super) async fn shake_hands(&mut self, heard: impl Fn(&Layer)) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            loop {
                let is_broken = matches!(self.incoming, Incoming::Broken(_));
                if !is_broken && !self.layer.is_handshaking() {
                    return self.poll_send(cx, 0);
                }
                if matches!(self.incoming, Incoming::Ended) {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                ready!(self.poll_fill(cx))?;
                heard(&self.layer);
            }
        })
        .await
    }

    /// Shows `look` what the peer says until it has seen enough; everything can be read all the
    /// same. `None` if the peer ends before. How much is enough is the caller's bound.
    ///
    /// # Errors
    /// As [`TlsSocket::shake_hands`].
    pub(super) async fn ahead<T>(
        &mut self,
        look: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        std::future::poll_fn(|cx| {
            loop {
                if let Some(seen) = look(self.unread()) {
                    return Poll::Ready(Ok(Some(seen)));
                }
                if matches!(self.incoming, Incoming::Ended) {
                    return Poll::Ready(Ok(None));
                }
                ready!(self.poll_fill(cx))?;
            }
        })
        .await
    }

    pub(super) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// What was decrypted and not read yet.
    fn unread(&self) -> &[u8] {
        &self.plain[self.taken..]
    }

    /// The socket, its layer, and what was decrypted and not read yet. Flush before: what is not
    /// written is lost.
    pub(super) fn into_parts(mut self) -> (S, Layer, Vec<u8>) {
        self.plain.drain(..self.taken);
        (self.stream, self.layer, self.plain)
    }

    /// Reads once and decrypts. Ready when there is plaintext more, or nothing more to come, or
    /// neither, since records come in pieces.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody flushes what TLS answers by itself. It is the writer's business if that fails.
        let drained = self.poll_send(cx, 0);
        if let Incoming::Broken(_) = self.incoming {
            let _ = ready!(drained);
            let before = std::mem::replace(&mut self.incoming, Incoming::Ended);
            return Poll::Ready(match before {
                Incoming::Broken(ending) => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, Broken(ending)))
                }
                Incoming::Open | Incoming::Ended => Ok(()),
            });
        }
        if self.unsent() >= TLS_SOCKET_UNSENT_MOST {
            ready!(drained)?;
        }
        let mut space = [MaybeUninit::uninit(); TLS_SOCKET_READ];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        if space.filled().is_empty() {
            self.incoming = Incoming::Ended;
            return Poll::Ready(Ok(()));
        }
        self.plain.drain(..self.taken);
        self.taken = 0;
        let received = self
            .layer
            .receive(space.filled(), &mut self.plain, &mut self.raw);
        match received {
            Ok(Received::Open) => {}
            Ok(Received::Closed) => self.incoming = Incoming::Ended,
            Err(error) => self.incoming = Incoming::Broken(self.layer.ending(&error)),
        }
        // If it cannot be written now, the next call tries again.
        let _ = self.poll_send(cx, 0);
        Poll::Ready(Ok(()))
    }

    /// Writes until no more than `rest` bytes are unsent.
    fn poll_send(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<io::Result<()>> {
        while self.unsent() > rest {
            let stream = Pin::new(&mut self.stream);
            match ready!(stream.poll_write(cx, &self.raw[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.unsent() == 0 {
            self.raw = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn unsent(&self) -> usize {
        self.raw.len() - self.sent
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        while socket.unread().is_empty() {
            if into.remaining() == 0 || matches!(socket.incoming, Incoming::Ended) {
                return Poll::Ready(Ok(()));
            }
            ready!(socket.poll_fill(cx))?;
        }
        let count = into.remaining().min(socket.unread().len());
        into.put_slice(&socket.unread()[..count]);
        socket.taken += count;
        if socket.unread().is_empty() {
            socket.plain = Vec::new();
            socket.taken = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsSocket<S> {
    /// Takes at most [`TLS_SOCKET_WRITE`] bytes. They leave with the flush, or when
    /// [`TLS_SOCKET_UNSENT`] bytes have gathered: records are small, and each in a write of its own
    /// would be dear.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        if socket.unsent() >= TLS_SOCKET_UNSENT {
            ready!(socket.poll_send(cx, TLS_SOCKET_UNSENT - 1))?;
        }
        let bytes = &bytes[..bytes.len().min(TLS_SOCKET_WRITE)];
        // Moving what is left costs less than growing, but not for every byte that is added.
        if socket.sent > socket.unsent() {
            socket.raw.drain(..socket.sent);
            socket.sent = 0;
        }
        socket
            .layer
            .send(bytes, &mut socket.raw)
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
        if socket.unsent() >= TLS_SOCKET_UNSENT {
            // These bytes are taken; what the socket says of them is for the next call.
            let _ = socket.poll_send(cx, 0);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        match first {
            Some(large) if large.len() >= TLS_SOCKET_WRITE => self.poll_write(cx, large),
            // Each slice by itself would end in a short record.
            _ => {
                let mut gathered = Vec::new();
                for slice in slices {
                    let room = TLS_SOCKET_WRITE - gathered.len();
                    gathered.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                self.poll_write(cx, &gathered)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        ready!(socket.poll_send(cx, 0))?;
        Pin::new(&mut socket.stream).poll_flush(cx)
    }

    /// Says close_notify and closes our side of the socket.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        socket.layer.close(&mut socket.raw);
        ready!(socket.poll_send(cx, 0))?;
        Pin::new(&mut socket.stream).poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for TlsSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket")
            .field("layer", &self.layer)
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
