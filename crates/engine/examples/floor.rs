//! The floor under the engine: an MQTT server that checks nothing, keeps nothing and only reads,
//! copies and writes, so that what it costs is the price of the system calls. Nothing that answers
//! each packet with one read and one write can be much cheaper.
//!
//! ```text
//! cargo run --release -p safeport-engine --example floor -- 1883
//! safeport bench mqtt pairs --pairs 500 --qos 1 --payload 64 --pid PID
//! ```
//!
//! It knows what `safeport bench` sends with QoS 0 and 1: topics in full, or one filter with a
//! wildcard that gets everything. Start it anew for each run, since it never forgets a subscription.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    out: Vec<u8>,
    /// the start of a packet
    tail: Vec<u8>,
    dirty: bool,
    leaving: bool,
}

#[derive(Default)]
struct Floor {
    clients: Slab<Client>,
    dirty: Vec<usize>,
    exact: HashMap<Vec<u8>, Vec<usize>>,
    everything: Vec<usize>,
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let Some(port) = port else {
        return Err(io::Error::other("which port? For example: floor 1883"));
    };
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("process {} listens on port {port}", std::process::id());

    let mut floor = Floor::default();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, Some(Duration::from_secs(3600)))?;
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((stream, _)) = listener.accept() {
                        floor.welcome(stream, &poll)?;
                    }
                }
                Token(key) => floor.read(key, &mut buffer),
            }
        }
        floor.flush();
    }
}

impl Floor {
    fn welcome(&mut self, stream: TcpStream, poll: &Poll) -> io::Result<()> {
        let key = self.clients.insert(Client {
            stream,
            out: Vec::new(),
            tail: Vec::new(),
            dirty: false,
            leaving: false,
        });
        let stream = &mut self.clients[key].stream;
        poll.registry()
            .register(stream, Token(key), Interest::READABLE)
    }

    fn read(&mut self, key: usize, buffer: &mut [u8]) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.stream.read(buffer) {
            Ok(0) => self.leave(key),
            Ok(n) => {
                let mut bytes = std::mem::take(&mut client.tail);
                if bytes.is_empty() {
                    let used = self.packets(key, &buffer[..n]);
                    bytes.extend_from_slice(&buffer[used..n]);
                } else {
                    bytes.extend_from_slice(&buffer[..n]);
                    let used = self.packets(key, &bytes);
                    bytes.drain(..used);
                }
                self.clients[key].tail = bytes;
            }
            Err(_) => {}
        }
    }

    /// Answers whole packets; returns how many bytes they were.
    fn packets(&mut self, key: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((first, body, len)) = packet(&bytes[at..]) {
            let whole = &bytes[at..at + len];
            at += len;
            match first >> 4 {
                1 => self.send(key, &[0x20, 2, 0, 0]),
                3 => self.publish(key, first, body, whole),
                8 => self.subscribe(key, body),
                14 => self.leave(key),
                _ => {}
            }
        }
        at
    }

    fn publish(&mut self, key: usize, first: u8, body: &[u8], whole: &[u8]) {
        let (topic, rest) = text(body);
        if first & 0x06 != 0 {
            self.send(key, &[0x40, 2, rest[0], rest[1]]);
        }
        let exact = self.exact.get_mut(topic).map(std::mem::take);
        if let Some(receivers) = exact {
            for &to in &receivers {
                self.send(to, whole);
            }
            if let Some(place) = self.exact.get_mut(topic) {
                *place = receivers;
            }
        }
        for index in 0..self.everything.len() {
            self.send(self.everything[index], whole);
        }
    }

    fn subscribe(&mut self, key: usize, body: &[u8]) {
        let (filter, options) = text(&body[2..]);
        let wild = filter.iter().any(|byte| matches!(byte, b'#' | b'+'));
        match wild {
            true => self.everything.push(key),
            false => self.exact.entry(filter.to_vec()).or_default().push(key),
        }
        self.send(key, &[0x90, 3, body[0], body[1], options[0]]);
    }

    fn send(&mut self, to: usize, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(to) else {
            return;
        };
        client.out.extend_from_slice(bytes);
        if !std::mem::replace(&mut client.dirty, true) {
            self.dirty.push(to);
        }
    }

    fn leave(&mut self, key: usize) {
        self.clients[key].leaving = true;
        self.send(key, &[]);
    }

    fn flush(&mut self) {
        for key in self.dirty.drain(..) {
            let client = &mut self.clients[key];
            client.dirty = false;
            if !client.out.is_empty() {
                // What a full socket does not take is lost, and the bench says so.
                let _ = client.stream.write(&client.out);
                client.out.clear();
            }
            if client.leaving {
                self.clients.remove(key);
            }
        }
    }
}

/// First byte, body and whole length of the packet at the front.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let mut length = 0;
    for (place, &byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let start = place + 2;
            return Some((bytes[0], bytes.get(start..start + length)?, start + length));
        }
    }
    None
}

/// A string with its length before it, and what comes after.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    bytes[2..].split_at(length)
}
