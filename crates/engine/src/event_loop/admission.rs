//! From the first byte of a connection to its session.

use std::time::Duration;

use safeport_broker::{Admission, ConnectionId, Time, home_of};
use safeport_mqtt::{
    ConnAck, Connect, DecodeError, DecodeErrorKind, Decoded, Packet, PacketType, Properties,
    ReasonCode, Version, decode,
};
use safeport_net::FirstBytes;
use safeport_net::attempt::Ending;

use crate::connection::{Arrival, Leaving, State, Undecided};
use crate::door::{ALERT_UNEXPECTED, asks_for_websocket, http_answer};
use crate::gatekeeper::{Login, TURNED_AWAY, Verdict};
use crate::mailbox::{Carries, Command};

use super::EventLoop;

impl EventLoop {
    /// The first packet of a connection. `raw` are its bytes; `again` if another loop has seen
    /// it before.
    pub(super) fn first_packet(
        &mut self,
        key: usize,
        packet: &Packet<'_>,
        raw: &[u8],
        again: bool,
    ) {
        let Packet::Connect(connect) = packet else {
            return self.not_connect(key, FirstBytes::Unknown, raw);
        };
        let connection = &mut self.connections[key];
        connection.version = connect.version;
        let State::Connecting(arrival) = &mut connection.state else {
            return;
        };
        arrival.first.get_or_insert(FirstBytes::Mqtt);
        let peer = arrival.peer;
        let listener = &self.listeners[usize::from(connection.listener)];
        let login = Login {
            client_id: connect.client_id,
            username: connect.username,
            password: connect.password,
            peer,
            listener: &listener.name,
            tls: connection.layer.as_ref().is_some_and(|w| w.layer.is_tls()),
            again,
        };
        match self.gatekeeper.decide_now(&login) {
            Some(verdict) => self.decided(key, connect, raw, verdict),
            None => {
                let undecided = Undecided {
                    connect: raw.into(),
                    arrival: arrival.clone(),
                };
                connection.state = State::Deciding(Box::new(undecided));
                let serial = connection.serial;
                let mailbox = self.mailboxes[usize::from(self.me)].clone();
                self.gatekeeper.decide(
                    login.to_owned(),
                    Box::new(move |verdict| {
                        mailbox.send(Command::Verdict {
                            key,
                            serial,
                            verdict,
                        });
                    }),
                );
            }
        }
    }

    /// The gatekeeper's answer for a connection that may be gone by now.
    pub(super) fn verdict(&mut self, key: usize, serial: u32, verdict: Verdict) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial || !matches!(connection.state, State::Deciding(_)) {
            return;
        }
        let State::Deciding(undecided) = std::mem::replace(&mut connection.state, State::Dead)
        else {
            return;
        };
        connection.state = State::Connecting(undecided.arrival);
        self.decide_on(key, &undecided.connect, verdict);
        self.go_on(key);
    }

    /// A connection that another loop sent home. The gatekeeper is asked again: the login may
    /// have been revoked while the connection was between the loops, where no revocation finds
    /// it. A login that was just admitted is answered from memory.
    pub(super) fn arrive(&mut self, key: usize, admitted: &Leaving) {
        if let Ok(Decoded::Packet(packet, _)) = decode(&admitted.connect, Version::V311, u32::MAX) {
            self.first_packet(key, &packet, &admitted.connect, true);
        }
    }

    fn decide_on(&mut self, key: usize, raw: &[u8], verdict: Verdict) {
        if let Ok(Decoded::Packet(Packet::Connect(connect), _)) =
            decode(raw, Version::V311, u32::MAX)
        {
            self.connections[key].version = connect.version;
            self.decided(key, &connect, raw, verdict);
        }
    }

    fn decided(&mut self, key: usize, connect: &Connect<'_>, raw: &[u8], verdict: Verdict) {
        let now = self.time();
        let connection = &mut self.connections[key];
        let id = ConnectionId(key as u32);
        let State::Connecting(arrival) = std::mem::replace(&mut connection.state, State::Dead)
        else {
            return;
        };
        match verdict {
            Verdict::Refuse(reason) => {
                connection.state = State::Closing(false);
                self.answered.push((id, *arrival));
                self.broker.refuse_connect(id, connect, reason, TURNED_AWAY);
            }
            Verdict::Admit(permissions) => {
                let home = if connect.client_id.is_empty() {
                    // The broker assigns one that is at home here.
                    self.me
                } else {
                    home_of(connect.client_id, self.mailboxes.len() as u8)
                };
                if home != self.me {
                    connection.state = State::Leaving(Box::new(Leaving {
                        home,
                        connect: raw.into(),
                        arrival,
                    }));
                    return;
                }
                let admission = Admission {
                    permissions,
                    max_packet: connection.max_packet,
                };
                self.answered.push((id, *arrival));
                match self.broker.handle_connect(id, connect, &admission, now) {
                    Some(session) => connection.state = State::Live(session),
                    None => connection.state = State::Closing(false),
                }
            }
        }
    }

    /// The first packet is no CONNECT, or no packet at all: closed [MQTT-3.1.0-1], and told why
    /// if it speaks another protocol.
    pub(super) fn not_connect(&mut self, key: usize, first: FirstBytes, bytes: &[u8]) {
        let connection = &mut self.connections[key];
        let State::Connecting(arrival) = &mut connection.state else {
            return;
        };
        let listener = &self.listeners[usize::from(connection.listener)];
        match first {
            FirstBytes::Tls if connection.layer.is_none() => {
                arrival.first = Some(first);
                if listener.carries == Carries::Plain && listener.limits().accept_both {
                    let knocking = (Arrival::clone(arrival), bytes.to_vec());
                    connection.state = State::Knocking(Box::new(knocking));
                    return;
                }
                connection.out.push_bytes(&ALERT_UNEXPECTED);
            }
            FirstBytes::Http => {
                arrival.first = Some(first);
                let answer = http_answer(&self.signpost.text());
                connection.out.push_bytes(&answer);
            }
            _ => arrival.first = Some(first),
        }
        self.mark_dirty(key);
        if let Some(mut attempt) = self.attempt(key, Ending::WrongProtocol) {
            attempt.asked_websocket = first == FirstBytes::Http && asks_for_websocket(bytes);
            self.witness.saw(attempt);
        }
        self.close(key);
    }

    /// Bytes that are no packet, before or after CONNECT.
    pub(super) fn malformed(&mut self, key: usize, error: DecodeError) {
        let now = self.time();
        let connection = &mut self.connections[key];
        let id = ConnectionId(key as u32);
        if let State::Live(session) = connection.state {
            let what = format!("{}: {error}", self.describe(key));
            self.journal.warn("malformed packet", what, self.now);
            self.broker
                .handle_malformed(session, id, error.reason(), now);
            return;
        }
        let ending = Ending::Refused {
            reason: error.reason() as u8,
            why: error.to_string(),
        };
        self.report(key, ending);
        // What said the protocol level gets its answer in that form; anything else is closed.
        let version = match error.level() {
            5.. => Some(Version::V5),
            // 3.x knows one answer only: not this protocol level [MQTT-3.1.2-2].
            _ if error.kind == DecodeErrorKind::ProtocolLevel => Some(Version::V311),
            _ => None,
        };
        if let Some(version) = version {
            let code = match error.reason().is_allowed_in(PacketType::ConnAck) {
                true => error.reason(),
                false => ReasonCode::ProtocolError,
            };
            let answer = Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                properties: Properties::EMPTY,
            });
            self.write_packet(key, &answer, version);
        }
        self.close(key);
    }

    /// The peer and its listener, for a log line.
    pub(super) fn describe(&self, key: usize) -> String {
        let Some(connection) = self.connections.get(key) else {
            return String::new();
        };
        let listener = &self.listeners[usize::from(connection.listener)].name;
        match connection.stream.peer_addr() {
            Ok(peer) => format!("{peer} on `{listener}`"),
            Err(_) => format!("a peer that is gone, on `{listener}`"),
        }
    }

    /// New connections get so long; those that are there already no longer, from now on.
    pub(super) fn set_connect_timeout(&mut self, timeout: Duration) {
        self.connect_timeout = timeout;
        let latest = self.time() + timeout.as_millis() as u64;
        // They stay in the order of their time.
        for due in &mut self.connecting {
            due.at = due.at.min(latest);
        }
    }

    /// Closes connections that have taken too long to say CONNECT, or to go.
    pub(super) fn close_overdue(&mut self, now: Time) {
        while let Some(due) = self.connecting.front() {
            if due.at > now {
                break;
            }
            let due = self.connecting.pop_front().expect("looked at");
            let key = due.key as usize;
            let Some(connection) = self.connections.get(key) else {
                continue;
            };
            if connection.serial != due.serial {
                continue;
            }
            if matches!(
                connection.state,
                State::Connecting(_) | State::Deciding(_) | State::Leaving(_)
            ) {
                let ending = Ending::TimedOut {
                    stage: self.stage(key),
                    unacknowledged: None,
                };
                self.report(key, ending);
                self.close(key);
            }
        }
        while let Some(due) = self.closing.front() {
            if due.at > now {
                break;
            }
            let due = self.closing.pop_front().expect("looked at");
            let key = due.key as usize;
            if self
                .connections
                .get(key)
                .is_some_and(|c| c.serial == due.serial && matches!(c.state, State::Closing(_)))
            {
                self.kill(key);
            }
        }
    }
}
