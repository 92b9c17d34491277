//! How long the records are in which a server sends its data: small devices have room for short
//! ones only, and find out when the first long one comes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The longest record of application data that came, in bytes without its header; 0 before any.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(super) fn longest(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket below TLS, of which the records that come in are measured.
pub(super) struct Metered {
    inner: TcpStream,
    meter: Meter,
    records: Records,
}

impl Metered {
    pub(super) fn new(inner: TcpStream, meter: Meter) -> Metered {
        Metered {
            inner,
            meter,
            records: Records::default(),
        }
    }
}

/// Where in the sequence of records the bytes stand.
#[derive(Debug, Default)]
struct Records {
    header: [u8; 5],
    have: usize,
    /// Bytes of the current record that are still to come.
    left: usize,
}

impl Records {
    /// Takes bytes as they come; calls `seen` with the length of each record of application data.
    fn take(&mut self, mut bytes: &[u8], mut seen: impl FnMut(usize)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.header.len() {
                let [kind, _, _, high, low] = self.header;
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.have = 0;
                if kind == APPLICATION_DATA {
                    seen(self.left);
                }
            }
        }
    }
}

const APPLICATION_DATA: u8 = 23;

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        let meter = &this.meter;
        this.records.take(&buffer.filled()[before..], |length| {
            meter.0.fetch_max(length, Ordering::Relaxed);
        });
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::Records;

    #[test]
    fn records_of_data_are_measured_however_the_bytes_are_cut() {
        let mut bytes = vec![22, 3, 3, 0, 2, 9, 9];
        bytes.extend([23, 3, 3, 0x13, 0x88]);
        bytes.extend(vec![0; 5000]);
        bytes.extend([23, 3, 3, 0, 1, 0, 21, 3, 3, 0xFF, 0xFF]);
        for piece in [1, 3, 4096, bytes.len()] {
            let mut records = Records::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(piece) {
                records.take(part, |length| seen.push(length));
            }
            assert_eq!(seen, [5000, 1], "{piece}");
        }
    }
}
