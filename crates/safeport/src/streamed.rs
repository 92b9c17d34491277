//! A body of HTTP that is made while it is sent: a thread that reads from the disk on one side, a
//! connection on the other, and never more than a few pieces between them.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::limits::{STREAM_AHEAD, STREAM_PIECE};

/// The receiving end; its length is said beforehand.
struct Streamed {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

/// A body of exactly `length` bytes out of `file`, read on a thread that may wait for the disk.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn of_file(mut file: impl Read + Send + 'static, length: u64) -> Body {
    let (sender, pieces) = mpsc::channel(STREAM_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut left = length;
        while left > 0 {
            let mut piece =
                vec![0; STREAM_PIECE.min(usize::try_from(left).unwrap_or(STREAM_PIECE))];
            let read = file.read_exact(&mut piece).map(|()| Bytes::from(piece));
            let end = read.is_err();
            left = left.saturating_sub(STREAM_PIECE as u64);
            // Nobody receives when the connection is gone.
            if sender.blocking_send(read).is_err() || end {
                return;
            }
        }
    });
    Body::new(Streamed {
        pieces,
        left: length,
    })
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| {
            let piece = piece?;
            if let Ok(piece) = &piece {
                self.left = self.left.saturating_sub(piece.len() as u64);
            }
            Some(piece.map(Frame::data))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
