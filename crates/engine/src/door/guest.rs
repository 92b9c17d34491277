//! One connection at the door, from its first byte to the end of its handshake.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use safeport_net::attempt::{Attempt, Ending, Stage};
use safeport_net::{FirstBytes, Layer, Received, Turn};

use super::answers::{self, Answer};
use super::{House, Visitor};
use crate::connection::{Arrival, Wrapped};
use crate::mailbox::{Incoming, ListenerInfo};

pub(super) struct Guest {
    pub(super) stream: TcpStream,
    pub(super) listener: u8,
    pub(super) arrival: Box<Arrival>,
    /// Its place among the open handshakes; none once that is over.
    pub(super) turn: Option<Turn>,
    talk: Talk,
    /// bytes for the socket
    out: Vec<u8>,
    sent: usize,
    /// it was brought with bytes that nobody has looked at
    pub(super) brought: bool,
    /// listed for reading
    pub(super) listed: bool,
    /// the peer will send no more
    pub(super) read_closed: bool,
    /// the event queue was told to tell when the socket takes more
    pub(super) told_when_writable: bool,
}

/// Whether a listener that speaks TLS takes clients without: never where they have to show a
/// certificate. Settings that ask for both are refused, but this is not the place to rely on it.
fn takes_clear(listener: &ListenerInfo) -> bool {
    listener.limits().accept_both && listener.tls.profile().client_roots.is_none()
}

enum Talk {
    /// Too little has come to tell what it is.
    Listening(Vec<u8>),
    /// And what was decrypted behind the handshake.
    ShakingHands(Layer, Vec<u8>),
    /// Our last words are out, or on their way.
    Leaving,
}

/// What becomes of a guest.
pub(super) enum Next {
    /// More has to come, or to be written.
    Stay,
    /// It goes to a loop.
    Enter,
    /// What is to be written are our last words; how the attempt ended, if that is worth telling.
    Leave(Option<Box<Attempt>>),
}

/// What a flush came to.
pub(super) enum Written {
    All,
    /// The socket is full.
    Partly,
    /// The peer is gone; what it said before may still be read.
    Never,
}

impl Guest {
    pub(super) fn new(visitor: Visitor, turn: Turn) -> Guest {
        Guest {
            stream: visitor.stream,
            listener: visitor.listener,
            arrival: visitor.arrival,
            turn: Some(turn),
            brought: !visitor.early.is_empty(),
            talk: Talk::Listening(visitor.early),
            out: Vec::new(),
            sent: 0,
            listed: false,
            read_closed: false,
            told_when_writable: false,
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// Takes bytes from the socket. Without any, it looks at those that it was brought with.
    pub(super) fn hear(&mut self, bytes: &[u8], house: &House) -> Next {
        match &mut self.talk {
            Talk::Listening(held) => {
                held.extend_from_slice(bytes);
                if let Some(turn) = &self.turn {
                    turn.heard();
                }
                self.recognise(house)
            }
            Talk::ShakingHands(..) => self.shake_hands(bytes, house),
            Talk::Leaving => Next::Stay,
        }
    }

    fn recognise(&mut self, house: &House) -> Next {
        let Talk::Listening(held) = &mut self.talk else {
            return Next::Stay;
        };
        let Some(first) = FirstBytes::of(held) else {
            return Next::Stay;
        };
        self.arrival.first = Some(first);
        let listener = &house.listeners[usize::from(self.listener)];
        let answer = match first {
            FirstBytes::Tls => {
                let bytes = std::mem::take(held);
                let reached = self.stream.local_addr().ok();
                let layer = Layer::tls(&listener.tls, reached.map(|at| at.ip()));
                self.talk = Talk::ShakingHands(layer, Vec::new());
                return self.shake_hands(&bytes, house);
            }
            FirstBytes::Mqtt if takes_clear(listener) => return Next::Enter,
            FirstBytes::Mqtt => answers::to_connect(held, &house.listeners),
            FirstBytes::Http => answers::to_http(held, &house.signpost.text()),
            FirstBytes::Unknown => Some(Answer::default()),
        };
        let Some(answer) = answer else {
            return Next::Stay;
        };
        let mut attempt = self.attempt(Ending::WrongProtocol, house);
        attempt.client_id = answer.client_id;
        attempt.user = answer.user;
        attempt.asked_websocket = answer.asked_websocket;
        self.out = answer.bytes;
        self.leave(Some(attempt))
    }

    fn shake_hands(&mut self, bytes: &[u8], house: &House) -> Next {
        let Talk::ShakingHands(layer, plain) = &mut self.talk else {
            return Next::Stay;
        };
        let result = layer.receive(bytes, plain, &mut self.out);
        if let Some(turn) = &self.turn {
            match layer.stage() {
                Stage::Silent | Stage::Hello if layer.facts().is_none() => turn.heard(),
                _ => turn.said_hello(),
            }
        }
        let ending = match result {
            Ok(_) if layer.is_challenge() => {
                layer.close(&mut self.out);
                return self.leave(None);
            }
            // Also who has said all it wanted to say, goodbye included.
            Ok(Received::Closed) if !plain.is_empty() => return Next::Enter,
            Ok(Received::Closed) => Ending::Closed {
                stage: layer.stage(),
                reset: false,
            },
            Ok(Received::Open) if layer.is_handshaking() => return Next::Stay,
            Ok(Received::Open) => return Next::Enter,
            Err(error) => layer.ending(&error),
        };
        let attempt = self.attempt(ending, house);
        self.leave(Some(attempt))
    }

    fn leave(&mut self, attempt: Option<Attempt>) -> Next {
        self.talk = Talk::Leaving;
        // Who is on the way out takes nobody's place.
        self.turn = None;
        Next::Leave(attempt.map(Box::new))
    }

    /// Ends it at once.
    pub(super) fn end(&mut self, ending: Ending, house: &House) -> Option<Attempt> {
        match self.talk {
            Talk::Leaving => None,
            _ => Some(self.attempt(ending, house)),
        }
    }

    fn attempt(&mut self, ending: Ending, house: &House) -> Attempt {
        let name = &house.listeners[usize::from(self.listener)].name;
        let mut attempt = self.arrival.attempt(name, ending);
        if let Talk::ShakingHands(layer, _) = &mut self.talk {
            attempt.tls = layer.take_facts();
        }
        attempt
    }

    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        match &self.talk {
            Talk::Listening(held) if held.is_empty() => Stage::Silent,
            Talk::Listening(_) => Stage::Hello,
            Talk::ShakingHands(layer, _) => layer.stage(),
            Talk::Leaving => Stage::Established,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.talk, Talk::Leaving)
    }

    pub(super) fn flush(&mut self) -> Written {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Written::Partly,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.out = Vec::new();
                    self.sent = 0;
                    return Written::Never;
                }
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        if self.is_leaving() {
            // The socket says the same if the peer is gone already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Written::All
    }

    /// On its way to a loop, with all that it has said behind its handshake.
    pub(super) fn enter(mut self) -> Incoming {
        let (layer, tail) = match self.talk {
            Talk::ShakingHands(layer, plain) => {
                let unsent = self.out.split_off(self.sent);
                (Some(Wrapped::with_unsent(layer, unsent)), plain)
            }
            Talk::Listening(held) => (None, held),
            Talk::Leaving => (None, Vec::new()),
        };
        Incoming {
            stream: self.stream,
            listener: self.listener,
            layer,
            tail,
            early: Vec::new(),
            arrival: self.arrival,
            admitted: None,
        }
    }
}
