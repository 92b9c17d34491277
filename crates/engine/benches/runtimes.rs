//! Which runtime carries the loops: the same bare relay on `mio` and on tokio's current-thread
//! runtime. A hundred publishers write 256 bytes each in turn; the relay copies every block to
//! one subscriber and flushes once per turn where the runtime lets it.
//!
//! `cargo bench -p safeport-engine --bench runtimes` prints CPU seconds of the relay's thread per
//! million blocks, runs alternating, medians last. Figures and verdict: docs/decisions/.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

const PUBLISHERS: usize = 100;
const BLOCK: usize = 256;
const RUNS: usize = 5;
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    // `cargo test` builds it, and need not wait for it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    type Relay = fn(TcpListener, Arc<AtomicBool>);
    let relays: [(&str, Relay); 3] = [
        ("mio", mio_relay),
        ("tokio, one task each", |listener, stop| {
            tokio_relay(listener, stop, false)
        }),
        ("tokio, one writer task", |listener, stop| {
            tokio_relay(listener, stop, true)
        }),
    ];
    for window in [1usize, 20] {
        let mut results = vec![Vec::new(); relays.len()];
        for _ in 0..RUNS {
            for (result, (_, relay)) in results.iter_mut().zip(relays) {
                result.push(measure(relay, window));
            }
        }
        for ((name, _), result) in relays.iter().zip(&mut results) {
            result.sort_by(f64::total_cmp);
            println!(
                "{name:<24} window {window:>2}: {:.2} CPU s per million (min {:.2}, max {:.2})",
                result[RUNS / 2],
                result[0],
                result[RUNS - 1]
            );
        }
    }
}

/// CPU seconds of the relay's thread per million blocks.
fn measure(relay: fn(TcpListener, Arc<AtomicBool>), window: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let stop = Arc::new(AtomicBool::new(false));
    let (cpu, spent) = mpsc::channel();
    let relay_stop = stop.clone();
    let thread = thread::spawn(move || {
        let before = thread_cpu();
        relay(listener, relay_stop);
        cpu.send(thread_cpu() - before).expect("the bench waits");
    });
    let blocks = load(address, window, &stop);
    thread.join().expect("the relay ends");
    spent.recv().expect("measured").as_secs_f64() / blocks as f64 * 1e6
}

/// Writes blocks, each publisher having at most `window` under way, until time is over.
fn load(address: SocketAddr, window: usize, stop: &AtomicBool) -> u64 {
    let mut subscriber = TcpStream::connect(address).expect("connects");
    subscriber.write_all(b"s").expect("sent");
    let mut publishers: Vec<TcpStream> = (0..PUBLISHERS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connects");
            stream.set_nodelay(true).expect("nodelay");
            stream.write_all(b"p").expect("sent");
            stream
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    let burst = vec![0u8; BLOCK * window];
    let mut buffer = vec![0u8; 1 << 20];
    let mut under_way = 0usize;
    let mut blocks = 0u64;
    let started = Instant::now();
    while started.elapsed() < MEASURED {
        for publisher in &mut publishers {
            publisher.write_all(&burst).expect("sent");
            under_way += burst.len();
        }
        while under_way > 0 {
            let n = subscriber.read(&mut buffer).expect("relayed");
            assert!(n > 0, "the relay goes on");
            under_way -= n;
            blocks += (n / BLOCK) as u64;
        }
    }
    stop.store(true, Ordering::Relaxed);
    drop(publishers);
    drop(subscriber);
    // Wakes a relay that waits for the next connection.
    let _ = TcpStream::connect(address);
    blocks
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn mio_relay(listener: TcpListener, stop: Arc<AtomicBool>) {
    use mio::{Events, Interest, Poll, Token};
    listener.set_nonblocking(true).expect("non-blocking");
    let mut listener = mio::net::TcpListener::from_std(listener);
    let mut poll = Poll::new().expect("a poll");
    let listening = Token(usize::MAX);
    poll.registry()
        .register(&mut listener, listening, Interest::READABLE)
        .expect("registered");
    let mut events = Events::with_capacity(1024);
    let mut streams: Vec<mio::net::TcpStream> = Vec::new();
    let mut subscriber = None;
    let mut buffer = vec![0u8; 64 << 10];
    let mut out = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(200)))
            .expect("events");
        for event in &events {
            if event.token() == listening {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true).expect("nodelay");
                    poll.registry()
                        .register(
                            &mut stream,
                            Token(streams.len()),
                            Interest::READABLE | Interest::WRITABLE,
                        )
                        .expect("registered");
                    streams.push(stream);
                }
                continue;
            }
            let key = event.token().0;
            loop {
                match streams[key].read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        let mut bytes = &buffer[..n];
                        if n % BLOCK == 1 {
                            if bytes[0] == b's' {
                                subscriber = Some(key);
                            }
                            bytes = &bytes[1..];
                        }
                        out.extend_from_slice(bytes);
                        if n < buffer.len() {
                            break;
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => break,
                }
            }
        }
        if let Some(key) = subscriber
            && !out.is_empty()
        {
            match streams[key].write(&out) {
                Ok(n) => {
                    out.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

fn tokio_relay(listener: TcpListener, stop: Arc<AtomicBool>, writer_task: bool) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    listener.set_nonblocking(true).expect("non-blocking");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("registered");
        let (to_writer, mut from_readers) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
        let shared = std::rc::Rc::new(tokio::sync::Mutex::new(None));
        let local = tokio::task::LocalSet::new();
        let writer = shared.clone();
        local.spawn_local(async move {
            let mut out = Vec::new();
            while let Some(bytes) = from_readers.recv().await {
                out.extend_from_slice(&bytes);
                while let Ok(bytes) = from_readers.try_recv() {
                    out.extend_from_slice(&bytes);
                }
                if let Some(stream) = &mut *writer.lock().await {
                    let stream: &mut tokio::net::tcp::OwnedWriteHalf = stream;
                    if stream.write_all(&out).await.is_err() {
                        return;
                    }
                }
                out.clear();
            }
        });
        local
            .run_until(async move {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((stream, _)) = listener.accept().await else {
                        return;
                    };
                    stream.set_nodelay(true).expect("nodelay");
                    let shared = shared.clone();
                    let to_writer = to_writer.clone();
                    tokio::task::spawn_local(async move {
                        let (mut read, write) = stream.into_split();
                        let mut write = Some(write);
                        let mut buffer = vec![0u8; 16 << 10];
                        while let Ok(n) = read.read(&mut buffer).await {
                            if n == 0 {
                                return;
                            }
                            let mut bytes = &buffer[..n];
                            if n % BLOCK == 1 {
                                if bytes[0] == b's' {
                                    *shared.lock().await = write.take();
                                }
                                bytes = &bytes[1..];
                            }
                            if bytes.is_empty() {
                                continue;
                            }
                            if writer_task {
                                let _ = to_writer.send(bytes.to_vec());
                            } else if let Some(stream) = &mut *shared.lock().await
                                && stream.write_all(bytes).await.is_err()
                            {
                                return;
                            }
                        }
                    });
                }
            })
            .await;
    });
}
