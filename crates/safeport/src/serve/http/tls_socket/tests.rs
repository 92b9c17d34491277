//! Over pipes of memory, whose far end is a client of rustls.

use std::sync::Arc;
use std::time::Duration;

use safeport_net::rustls::pki_types::ServerName;
use safeport_net::rustls::{ClientConfig, SupportedProtocolVersion, version};
use safeport_net::{FirstBytes, RecordSize, TlsProfile, TlsService};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::serve::http::tests::{authority, client_config};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A server and its client after the handshake, with room for `room` bytes on the way.
async fn connected(
    version: &'static SupportedProtocolVersion,
    room: usize,
) -> (TlsSocket<DuplexStream>, TlsStream<DuplexStream>) {
    let (ours, theirs) = duplex(room);
    let client = tokio::spawn(connect(client_config(&[version]), theirs));
    let mut server = TlsSocket::new(ours, authority().layer());
    server.shake_hands(|_| ()).await.expect("a handshake");
    (server, client.await.expect("no panic"))
}

async fn connect(config: Arc<ClientConfig>, stream: DuplexStream) -> TlsStream<DuplexStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(config).connect(name, stream);
    connecting.await.expect("a handshake")
}

/// Bytes of which no two stretches are alike.
fn bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(u32::to_be_bytes).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Runs `test`, which would wait forever for a wake that was lost.
fn soon(test: impl Future<Output = ()>) {
    runtime()
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await })
        .expect("nobody waits for what does not come");
}

#[test]
fn large_bodies_pass_both_ways_in_tiny_reads_and_writes() {
    soon(async {
        for version in VERSIONS {
            for (room, piece, count) in [
                (1, 700, 4_000),
                (97, 13, 40_000),
                (40_000, 1, 8_000),
                (3_000, 70_000, 400_000),
            ] {
                let (ours, theirs) = duplex(room);
                let echo = tokio::spawn(async move {
                    let mut server = TlsSocket::new(ours, authority().layer());
                    server.shake_hands(|_| ()).await.expect("a handshake");
                    let mut read = Vec::new();
                    let mut part = vec![0; piece];
                    while read.len() < count as usize {
                        let got = server.read(&mut part).await.expect("bytes");
                        assert_ne!(got, 0, "an early end");
                        read.extend_from_slice(&part[..got]);
                    }
                    for part in read.chunks(piece) {
                        server.write_all(part).await.expect("written");
                    }
                    server.shutdown().await.expect("a goodbye");
                    read
                });
                let mut client = connect(client_config(&[version]), theirs).await;
                let sent = bytes(count);
                let (mut from, mut to) = tokio::io::split(&mut client);
                let write = async {
                    to.write_all(&sent).await.expect("written");
                    to.flush().await.expect("flushed");
                };
                let mut back = Vec::new();
                // Ends with close_notify, or this would be an error.
                let read = from.read_to_end(&mut back);
                let ((), count) = tokio::join!(write, read);
                assert_eq!(count.expect("all"), sent.len());
                assert!(back == sent, "as it was sent");
                assert!(echo.await.expect("no panic") == sent, "as it was sent");
            }
        }
    });
}

/// Counts the writes that reach the far end.
struct Counted {
    stream: DuplexStream,
    writes: usize,
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        counted.writes += 1;
        Pin::new(&mut counted.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[test]
fn records_stay_small_while_many_of_them_leave_in_one_write() {
    soon(async {
        for version in VERSIONS {
            for size in [512, 1024] {
                let profile = TlsProfile {
                    record_size: RecordSize::Fixed(size),
                    ..TlsProfile::default()
                };
                let certificates = &authority().certificates;
                let service = TlsService::new(certificates, profile).expect("a service");
                let (stream, theirs) = duplex(1_000_000);
                let client = tokio::spawn(connect(client_config(&[version]), theirs));
                let counted = Counted { stream, writes: 0 };
                let mut server = TlsSocket::new(counted, Layer::tls(&service, None));
                server.shake_hands(|_| ()).await.expect("a handshake");
                let (mut stream, mut tls) = client.await.expect("no panic").into_inner();
                let before = server.stream.writes;
                let sent = bytes(100_000);
                let (head, body) = sent.split_at(300);
                let slices = [IoSlice::new(head), IoSlice::new(b""), IoSlice::new(body)];
                let taken = server.write_vectored(&slices).await.expect("written");
                server.write_all(&sent[taken..]).await.expect("written");
                server.shutdown().await.expect("a goodbye");
                let writes = server.stream.writes - before;
                assert!(writes <= 4, "{writes} writes");
                drop(server);
                let mut raw = Vec::new();
                stream.read_to_end(&mut raw).await.expect("all of it");
                let mut records = data_records(&raw);
                // The ticket of TLS 1.3, which came with the handshake, and close_notify look like
                // data.
                records.retain(|length| *length > 100);
                let longest = usize::from(size) + 24;
                assert!(
                    records.iter().all(|length| *length <= longest),
                    "{records:?}"
                );
                let least = sent.len().div_ceil(size.into());
                assert!(records.len() <= least + 2, "{} records", records.len());
                let mut read = Vec::new();
                let mut raw = raw.as_slice();
                while !raw.is_empty() {
                    tls.read_tls(&mut raw).expect("memory");
                    tls.process_new_packets().expect("records");
                    // Before the goodbye it has read all there is, and would wait for more.
                    let _ = std::io::Read::read_to_end(&mut tls.reader(), &mut read);
                }
                assert!(read == sent, "as it was sent");
            }
        }
    });
}

/// The lengths of the records of application data, by their headers.
fn data_records(mut raw: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = raw {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == 23 {
            lengths.push(length);
        }
        raw = &rest[length..];
    }
    lengths
}

#[test]
fn a_peer_that_does_not_read_is_waited_for_and_costs_no_more_than_the_bound() {
    soon(async {
        for version in VERSIONS {
            let (mut server, mut client) = connected(version, 10_000).await;
            let sent = bytes(3_000_000);
            let mut written = 0;
            let stuck = async {
                loop {
                    written += server.write(&sent[written..]).await.expect("taken");
                }
            };
            let stuck: Result<(), _> = tokio::time::timeout(Duration::from_millis(50), stuck).await;
            stuck.expect_err("nobody reads");
            assert!(written < 10_000 + TLS_SOCKET_UNSENT + TLS_SOCKET_WRITE);
            let held = server.raw.len();
            assert!(
                held < TLS_SOCKET_UNSENT + TLS_SOCKET_WRITE * 11 / 10,
                "{held}"
            );
            // It reads on, and nothing is lost.
            let rest = sent[written..].to_vec();
            let writing = tokio::spawn(async move {
                server.write_all(&rest).await.expect("written");
                server.shutdown().await.expect("a goodbye");
                server
            });
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.expect("all of it");
            assert!(read == sent, "as it was sent");
            let server = writing.await.expect("no panic");
            assert_eq!(server.raw.capacity(), 0, "idle, it holds nothing");
        }
    });
}

#[test]
fn who_only_closes_its_side_of_the_socket_still_gets_its_answer() {
    soon(async {
        for version in VERSIONS {
            let (mut server, mut client) = connected(version, 10_000).await;
            client.write_all(b"question").await.expect("written");
            client.flush().await.expect("flushed");
            let mut question = [0; 8];
            server.read_exact(&mut question).await.expect("read");
            // Without close_notify, as a device does it.
            let (mut stream, mut tls) = client.into_inner();
            stream.shutdown().await.expect("closed");
            assert_eq!(server.read(&mut question).await.expect("an end"), 0);
            assert_eq!(server.read(&mut question).await.expect("an end"), 0);
            server.write_all(b"answer").await.expect("written");
            server.shutdown().await.expect("a goodbye");
            let mut raw = Vec::new();
            stream.read_to_end(&mut raw).await.expect("all of it");
            tls.read_tls(&mut raw.as_slice()).expect("memory");
            tls.process_new_packets().expect("records");
            let mut answer = Vec::new();
            std::io::Read::read_to_end(&mut tls.reader(), &mut answer).expect("and a goodbye");
            assert_eq!(answer, b"answer");
        }
    });
}

#[test]
fn what_came_before_a_broken_record_is_read_and_the_alert_is_written() {
    soon(async {
        for version in VERSIONS {
            let (mut server, client) = connected(version, 10_000).await;
            let (mut stream, mut tls) = client.into_inner();
            let mut raw = Vec::new();
            std::io::Write::write_all(&mut tls.writer(), b"good").expect("room");
            tls.write_tls(&mut raw).expect("memory");
            raw.extend([0x17, 3, 3, 0, 40]);
            raw.extend([0; 40]);
            stream.write_all(&raw).await.expect("written");
            let mut read = [0; 4];
            server.read_exact(&mut read).await.expect("what was good");
            assert_eq!(&read, b"good");
            let error = server.read(&mut read).await.expect_err("it broke");
            let inner = error.get_ref().expect("a reason");
            assert!(inner.is::<Broken>(), "{error}");
            assert_eq!(server.read(&mut read).await.expect("an end"), 0);
            let refused = server.write(b"more").await.expect_err("it broke");
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
            drop(server);
            let mut raw = Vec::new();
            stream.read_to_end(&mut raw).await.expect("all of it");
            tls.read_tls(&mut raw.as_slice()).expect("memory");
            let alert = tls.process_new_packets().expect_err("an alert");
            assert!(alert.to_string().contains("BadRecordMac"), "{alert}");
        }
    });
}

#[test]
fn a_peer_that_goes_or_talks_nonsense_in_the_handshake_is_told_apart() {
    soon(async {
        let (ours, theirs) = duplex(10_000);
        drop(theirs);
        let mut gone = TlsSocket::new(ours, authority().layer());
        let error = gone.shake_hands(|_| ()).await.expect_err("it went");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let (ours, mut theirs) = duplex(10_000);
        let mut broken = TlsSocket::new(ours, authority().layer());
        let nonsense = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
        theirs.write_all(nonsense).await.expect("written");
        let error = broken.shake_hands(|_| ()).await.expect_err("nonsense");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut alert = [0; 7];
        theirs.read_exact(&mut alert).await.expect("an alert");
        assert_eq!(alert[0], 0x15);
    });
}

#[test]
fn what_was_read_ahead_is_looked_at_and_handed_on() {
    soon(async {
        let (mut server, mut client) = connected(&version::TLS13, 10_000).await;
        client.write_all(b"GE").await.expect("written");
        client.flush().await.expect("flushed");
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            client.write_all(b"T / HTTP/1.1").await.expect("written");
            client.flush().await.expect("flushed");
            client
        });
        let first = server.ahead(FirstBytes::of).await.expect("bytes");
        assert_eq!(first, Some(FirstBytes::Http));
        let mut read = [0; 4];
        server.read_exact(&mut read).await.expect("the same bytes");
        assert_eq!(&read, b"GET ");
        let (_, _, unread) = server.into_parts();
        assert_eq!(unread, b"/ HTTP/1.1");
        drop(later.await);
    });
}
