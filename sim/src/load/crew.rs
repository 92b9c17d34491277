//! All connections of one run, driven by one thread: each touched socket is written once a turn.

use super::layer::{Buffers, Filled};
use super::link::Link;
use super::wire::{self, Frame};
use super::{LoadError, Target};
use mio::{Events, Interest, Poll, Token};
use safeport_mqtt::{AckKind, Version};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A message that the broker delivered. It is answered already as its QoS demands.
pub(super) struct Delivery<'a> {
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// Who decides what is sent and judges what arrives.
pub(super) trait Audience {
    /// A message reached the client of `link`.
    fn delivered(
        &mut self,
        crew: &mut Crew,
        link: usize,
        delivery: &Delivery<'_>,
    ) -> Result<(), LoadError>;

    /// PUBACK or PUBCOMP for a message that the client of `link` published.
    fn acknowledged(&mut self, crew: &mut Crew, link: usize, kind: AckKind, id: u16);

    /// The socket of `link` takes bytes again.
    fn writable(&mut self, _link: usize) {}
}

/// See the module.
pub(super) struct Crew {
    poll: Poll,
    events: Option<Events>,
    pub(super) links: Vec<Link>,
    /// Links to flush at the start of the next turn.
    dirty: Vec<usize>,
    /// Links that were sent something behind CONNACK.
    unread: Vec<usize>,
    buffers: Option<Buffers>,
    address: SocketAddr,
    version: Version,
    /// When the bytes that are being judged were read.
    pub(super) now: Instant,
}

impl Crew {
    pub(super) fn new(target: &Target) -> Result<Crew, LoadError> {
        Ok(Crew {
            poll: Poll::new().map_err(LoadError::Socket)?,
            events: Some(Events::with_capacity(1024)),
            links: Vec::new(),
            dirty: Vec::new(),
            unread: Vec::new(),
            buffers: Some(Buffers::new(READ_BUFFER)),
            address: target.address,
            version: target.version,
            now: Instant::now(),
        })
    }

    /// Takes a link in and returns its number.
    pub(super) fn add(&mut self, mut link: Link) -> Result<usize, LoadError> {
        let index = self.links.len();
        self.poll
            .registry()
            .register(
                &mut link.socket,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(LoadError::Socket)?;
        self.links.push(link);
        self.unread.push(index);
        Ok(index)
    }

    /// Where packets of `link` are appended; they leave at the start of the next turn.
    pub(super) fn out(&mut self, link: usize) -> &mut Vec<u8> {
        self.touch(link);
        self.links[link].out()
    }

    /// Flush `link` at the start of the next turn.
    pub(super) fn touch(&mut self, link: usize) {
        if !self.links[link].dirty {
            self.links[link].dirty = true;
            self.dirty.push(link);
        }
    }

    /// Nothing waits to be written.
    pub(super) fn all_written(&self) -> bool {
        self.links.iter().all(|link| link.backlog() == 0)
    }

    /// One turn: write each touched socket once, wait at most `wait`, read. False when nothing
    /// happened.
    pub(super) fn turn(
        &mut self,
        wait: Duration,
        audience: &mut impl Audience,
    ) -> Result<bool, LoadError> {
        for link in std::mem::take(&mut self.unread) {
            let bytes = self.links[link].take_tail();
            let used = self.take_packets(link, &bytes, audience)?;
            self.links[link].keep(&bytes[used..]);
        }
        for link in std::mem::take(&mut self.dirty) {
            self.links[link].dirty = false;
            self.links[link].flush().map_err(LoadError::Socket)?;
        }
        let mut events = self
            .events
            .take()
            .unwrap_or_else(|| Events::with_capacity(1024));
        let result = match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                Err(LoadError::Socket(error))
            }
            _ => self.serve(&events, audience),
        };
        let happened = !events.is_empty();
        self.events = Some(events);
        result.map(|()| happened)
    }

    fn serve(&mut self, events: &Events, audience: &mut impl Audience) -> Result<(), LoadError> {
        for event in events {
            let link = event.token().0;
            if event.is_writable() {
                self.touch(link);
                audience.writable(link);
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(link, audience)?;
            }
        }
        Ok(())
    }

    /// Reads until the socket is empty: with edge-triggered events, a short read says so.
    fn read(&mut self, index: usize, audience: &mut impl Audience) -> Result<(), LoadError> {
        let mut buffers = self
            .buffers
            .take()
            .unwrap_or_else(|| Buffers::new(READ_BUFFER));
        let result = loop {
            match self.links[index].fill(&mut buffers) {
                Ok(Filled::Nothing) => break Ok(()),
                Ok(Filled::Closed) => {
                    break Err(LoadError::Closed {
                        address: self.address,
                    });
                }
                Err(error) => break Err(LoadError::Socket(error)),
                Ok(Filled::Bytes { length, more }) => {
                    match self.take_packets(index, &buffers.plain[..length], audience) {
                        Ok(used) => self.links[index].keep(&buffers.plain[used..length]),
                        Err(error) => break Err(error),
                    }
                    if !more {
                        break Ok(());
                    }
                }
            }
        };
        self.buffers = Some(buffers);
        result
    }

    /// Takes every whole packet off `bytes` and returns how many bytes those were.
    fn take_packets(
        &mut self,
        link: usize,
        bytes: &[u8],
        audience: &mut impl Audience,
    ) -> Result<usize, LoadError> {
        self.now = Instant::now();
        let mut used = 0;
        while let Some((frame, length)) = wire::next_frame(self.version, &bytes[used..])? {
            used += length;
            match frame {
                Frame::Publish {
                    qos,
                    retain,
                    id,
                    topic,
                    payload,
                } => {
                    match qos {
                        0 => {}
                        1 => wire::ack(AckKind::PubAck, id, self.out(link)),
                        _ => wire::ack(AckKind::PubRec, id, self.out(link)),
                    }
                    let delivery = Delivery {
                        qos,
                        retain,
                        topic,
                        payload,
                    };
                    audience.delivered(self, link, &delivery)?;
                }
                Frame::Ack(_, _, code) if code >= 0x80 => {
                    return Err(LoadError::MessageRefused { code });
                }
                Frame::Ack(AckKind::PubRec, id, _) => {
                    wire::ack(AckKind::PubRel, id, self.out(link));
                }
                Frame::Ack(AckKind::PubRel, id, _) => {
                    wire::ack(AckKind::PubComp, id, self.out(link));
                }
                Frame::Ack(kind, id, _) => audience.acknowledged(self, link, kind, id),
                Frame::SubAck(codes) => {
                    if let Some(code) = codes.iter().find(|code| **code >= 0x80) {
                        return Err(LoadError::MessageRefused { code: *code });
                    }
                }
                Frame::ConnAck { .. } | Frame::Other(_) => {
                    return Err(LoadError::Unexpected {
                        waited_for: "PUBLISH or its acknowledgement",
                    });
                }
            }
        }
        Ok(used)
    }
}

/// One read takes at most this much.
const READ_BUFFER: usize = 256 * 1024;
