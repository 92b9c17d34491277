//! What outlives the process: sessions, what they are owed, retained messages. The broker
//! writes each change into its records; the driver keeps them before it lets anything out that
//! was made of them, and hands them back after a restart.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::TopicFilter;

use crate::broker::Broker;
use crate::ids::SessionId;
use crate::message::{Message, Outgoing};
use crate::records::{
    BadRecord, DiskRoom, Reader, Record, Records, SessionRecord, WillIs, WillRecord,
};
use crate::replay::{Cursor, Replay};
use crate::session::{Extra, InFlight, Keep, Owed, Session, Will};
use crate::subscriptions::Options;
use crate::time::Time;
use crate::timers::Alarm;

/// What came back after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions.
    pub sessions: u64,
    /// QoS 1 and 2 messages that they are owed.
    pub messages: u64,
    /// Retained messages.
    pub retained: u64,
}

impl Broker {
    /// Swaps out the records made since the last call; `into` is reused. Nothing that the
    /// effects of the same calls say may reach a client before they are kept.
    pub fn take_records(&mut self, into: &mut Vec<u8>) {
        self.records.take(into);
    }

    /// Bytes that [`Self::take_records`] would give.
    pub fn records_len(&self) -> usize {
        self.records.len()
    }

    /// What the driver's disk has left.
    pub fn set_disk_room(&mut self, room: DiskRoom) {
        self.records.room = room;
    }

    /// Whether records are refused at the moment.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.records.on && self.records.room != DiskRoom::Enough
    }

    /// Reads back a group of records, in the order in which they were made. No effect comes of
    /// it.
    ///
    /// # Errors
    ///
    /// If the bytes are not what a broker writes, or do not fit to what came before.
    pub fn replay(&mut self, group: &[u8]) -> Result<(), BadRecord> {
        let mut replay = self.replay.take().unwrap_or_default();
        let result = self.replay_group(&mut replay, group);
        replay.tidy();
        self.replay = Some(replay);
        result
    }

    fn replay_group(&mut self, replay: &mut Replay, group: &[u8]) -> Result<(), BadRecord> {
        let mut reader = Reader::new(group);
        loop {
            let offset = reader.offset();
            let Some(record) = reader.next()? else {
                return Ok(());
            };
            if let Err(what) = self.replay_record(replay, record) {
                if replay.whole || replay.adopted.is_some() {
                    return Err(BadRecord { offset, what });
                }
                // What it refers to may have gone with a part of the log that nobody needs:
                // then this account ends before it is complete, and another one follows.
                replay.doubt.get_or_insert(what);
            }
        }
    }

    fn replay_record(
        &mut self,
        replay: &mut Replay,
        record: Record<'_>,
    ) -> Result<(), &'static str> {
        match record {
            Record::Seed(seed) => {
                if !replay.whole {
                    // The account before this one was never finished. That reading begins with
                    // it means that this one was, and that what it stood on is gone.
                    self.forget_replayed(replay);
                }
                self.reseed(seed);
                replay.partial = true;
            }
            Record::Complete => {
                (replay.partial, replay.whole) = (false, true);
                if let Some(what) = replay.doubt.take() {
                    return Err(what);
                }
            }
            Record::Session(session) => self.replay_session(replay, &session)?,
            Record::Ended(key) => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                replay.connected.remove(&id.0);
                self.forget_session(id);
            }
            Record::Away {
                key,
                at,
                expiry,
                will,
            } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                replay.connected.remove(&id.0);
                replay.latest = replay.latest.max(at);
                let session = self.expect_mut(id);
                session.last_seen = at;
                session.expiry = expiry;
                match (will, &mut session.extra) {
                    (WillIs::Gone, extra) => *extra = None,
                    (WillIs::Waiting, Some(extra)) => extra.interrupted = true,
                    _ => {}
                }
            }
            Record::WillDone(key) => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                self.expect_mut(id).extra = None;
            }
            Record::Subscribed {
                key,
                filter,
                options,
                identifier,
            } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let parsed = TopicFilter::new(filter).map_err(|_| "a filter that is none")?;
                let session = self.sessions[id.index()].as_mut().expect("looked up");
                self.tree.subscribe(
                    id,
                    &mut session.subscriptions,
                    parsed.filter(),
                    parsed.share_group(),
                    Options::from_bits(options),
                    identifier,
                );
            }
            Record::Unsubscribed { key, filter } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let parsed = TopicFilter::new(filter).map_err(|_| "a filter that is none")?;
                let list = &self.expect(id).subscriptions;
                let (plain, group) = (parsed.filter(), parsed.share_group());
                if let Some(slot) = self.tree.find(id, list, plain, group) {
                    self.remove_subscription(id, slot);
                }
            }
            Record::Message(number, body) => {
                self.records.saw_message(number);
                replay.messages.entry(number).or_insert_with(|| {
                    let message = Message::new(&body);
                    self.retained.saw(message.stamp);
                    Arc::new(message)
                });
                if replay.adopted.is_none() {
                    self.records.knows(number, &replay.messages[&number]);
                }
            }
            Record::Queued { key, owed } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let owed = replay.owed(owed)?;
                self.note_stored(owed.message.weight());
                self.expect_mut(id).flow().push_queue(owed);
            }
            Record::InFlight {
                key,
                packet_id,
                owed,
            } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let owed = replay.owed(owed)?;
                self.note_stored(owed.message.weight());
                let flow = self.expect_mut(id).flow();
                flow.put_in_flight(InFlight::Publish(packet_id, owed));
            }
            Record::Sent { key, packet_id } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let flow = self.expect_mut(id).flow();
                let owed = flow
                    .pop_queue()
                    .ok_or("a message was sent that did not wait")?;
                flow.put_in_flight(InFlight::Publish(packet_id, owed));
            }
            Record::Skipped(key) => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let gone = self.expect_mut(id).flow().pop_queue();
                let gone = gone.ok_or("a message was dropped that did not wait")?;
                self.note_unstored(gone.message.weight());
            }
            Record::Settled { key, packet_id } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let flow = self.expect_mut(id).flow();
                let at = flow.position(packet_id);
                let at = at.ok_or("a message was acknowledged that was not in flight")?;
                let weight = flow.inflight[at].weight();
                flow.inflight.remove(at);
                self.note_unstored(weight);
            }
            Record::Released { key, packet_id } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let flow = self.expect_mut(id).flow();
                match flow.position(packet_id) {
                    Some(at) => {
                        let weight = flow.inflight[at].weight();
                        flow.inflight[at] = InFlight::Release(packet_id);
                        self.note_lighter(weight);
                    }
                    None => {
                        flow.put_in_flight(InFlight::Release(packet_id));
                        self.note_stored(0);
                    }
                }
            }
            Record::Received { key, packet_id } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let incoming = &mut self.expect_mut(id).flow().incoming;
                if !incoming.contains(&packet_id) {
                    incoming.push(packet_id);
                }
            }
            Record::Completed { key, packet_id } => {
                let Some(id) = self.replayed(replay, key)? else {
                    return Ok(());
                };
                let incoming = &mut self.expect_mut(id).flow().incoming;
                incoming.retain(|open| *open != packet_id);
            }
            Record::Retained(number) => {
                let message = replay.message(number)?;
                if !self.retained.has_newer(message.topic(), message.stamp) {
                    self.set_retained(message);
                }
            }
            Record::Unretained(topic) => {
                self.retained.remove(topic);
            }
        }
        Ok(())
    }

    fn replay_session(
        &mut self,
        replay: &mut Replay,
        record: &SessionRecord<'_>,
    ) -> Result<(), &'static str> {
        let permissions = replay.permissions(record.user);
        let key = replay.adopted.unwrap_or(record.key);
        let origin = self.client_hash(record.client_id);
        let known = self.session(SessionId(key)).is_some();
        if record.fresh && known {
            // Written whole once more: what was known of it is part of this.
            self.forget_session(SessionId(key));
        }
        if record.fresh || !known {
            if !record.fresh {
                return match replay.partial {
                    true => Ok(()),
                    false => Err("a session that was never made"),
                };
            }
            if self.find_client(record.client_id).is_some() {
                return Err("a second session of the same client");
            }
            self.restore_session(
                key,
                Session::new(record.client_id.into(), origin, permissions.clone()),
            );
        }
        let session = self.expect_mut(SessionId(key));
        session.keep = match record.whole {
            true => Keep::Whole,
            false => Keep::Will,
        };
        session.permissions = permissions;
        session.version = record.version;
        session.bridge = record.bridge;
        session.expiry = record.expiry;
        session.extra = record.will.as_ref().map(|will| {
            Box::new(Extra {
                will: Some(Will {
                    message: Message::new(&will.message),
                    delay: will.delay,
                    expiry: will.expiry,
                }),
                interrupted: record.interrupted,
                ..Extra::default()
            })
        });
        match record.away_since {
            Some(at) => {
                session.last_seen = at;
                replay.latest = replay.latest.max(at);
                replay.connected.remove(&key);
            }
            None => {
                replay.connected.insert(key);
            }
        }
        Ok(())
    }

    /// Begins again with nothing.
    fn forget_replayed(&mut self, replay: &mut Replay) {
        for index in 0..self.sessions.len() {
            let id = SessionId(index as u32);
            if self.session(id).is_some() {
                self.forget_session(id);
            }
        }
        self.retained.clear();
        replay.messages.clear();
        replay.connected.clear();
        replay.doubt = None;
    }

    /// The session of a record. `None` if it is not known yet: it is written whole later on.
    fn replayed(&self, replay: &Replay, key: u32) -> Result<Option<SessionId>, &'static str> {
        let id = SessionId(replay.adopted.unwrap_or(key));
        match self.session(id) {
            Some(_) => Ok(Some(id)),
            None if replay.partial => Ok(None),
            None => Err("something of a session that does not exist"),
        }
    }

    /// The latest time that the records mention: the driver's clock must not start before it.
    pub fn replayed_until(&self) -> Time {
        self.replay.as_ref().map_or(Time(0), |replay| replay.latest)
    }

    /// Whether the records begin with a complete account of everything. If they do not, some
    /// that belong before them are missing.
    pub fn replay_is_whole(&self) -> bool {
        self.replay.as_ref().is_none_or(|replay| replay.whole)
    }

    /// All records are read: sessions wait for their clients, timers run. Connections that were
    /// open when the process died ended with it. Their wills wait [`RESTART_GRACE`] for their
    /// clients to come back, and are forgotten if they do.
    pub fn finish_replay(&mut self, now: Time) -> Restored {
        let connected = self.replay.take().unwrap_or_default().connected;
        // What peers would have been told on the way; they are introduced to the outcome.
        self.effects.clear();
        self.free_unused_places();
        for index in 0..self.sessions.len() {
            let id = SessionId(index as u32);
            if self.session(id).is_none() {
                continue;
            }
            let epoch = self.next_epoch();
            let cut = connected.contains(&id.0);
            let session = self.expect_mut(id);
            session.epoch = epoch;
            if cut {
                session.last_seen = now;
            }
            let (since, expiry) = (session.last_seen, session.expiry);
            let mut will = None;
            if let Some(extra) = &mut session.extra {
                extra.interrupted |= cut;
                let delay = extra.will.as_ref().map(|will| will.delay);
                will = delay.map(|delay| (delay, extra.interrupted));
            }
            if let Some((delay, interrupted)) = will {
                let delay = match interrupted {
                    true => delay.max(RESTART_GRACE),
                    false => delay,
                };
                self.set_timer(since.after_seconds(delay), Alarm::Will, id, epoch);
            }
            if expiry == 0 && will.is_none() {
                // It was to end with its connection.
                self.end_session(id, now);
                continue;
            }
            if expiry != 0 && expiry != u32::MAX {
                self.set_timer(since.after_seconds(expiry), Alarm::SessionExpiry, id, epoch);
            }
            if cut {
                let will = match will {
                    Some(_) => WillIs::Waiting,
                    None => WillIs::Gone,
                };
                self.records.away(id, now, expiry, will);
            }
        }
        Restored {
            sessions: self.stats.sessions,
            messages: self.stats.stored,
            retained: self.retained.len(),
        }
    }

    /// Starts to write down everything anew. When [`Self::checkpoint`] has come to the end,
    /// records made before this call are not needed any more.
    pub fn begin_checkpoint(&mut self) {
        self.records.begin_cycle();
        self.records.seed(self.seed);
        self.cursor = Some(Cursor::Session(0));
    }

    /// Writes down the next sessions and retained messages until the records have grown by
    /// `budget` bytes (a session is not split, but for its messages). False once everything is
    /// written.
    pub fn checkpoint(&mut self, budget: usize) -> bool {
        let start = self.records.len();
        while self.records.len() - start < budget {
            match self.cursor {
                None => return false,
                Some(Cursor::Session(index)) if index < self.sessions.len() => {
                    self.cursor = Some(Cursor::Bodies(index, 0));
                }
                Some(Cursor::Bodies(index, at)) => {
                    if self.write_body(index, at) {
                        self.cursor = Some(Cursor::Bodies(index, at + 1));
                    } else {
                        self.write_session(SessionId(index as u32));
                        self.cursor = Some(Cursor::Session(index + 1));
                    }
                }
                Some(Cursor::Session(_)) => self.cursor = Some(Cursor::Retained(0)),
                Some(Cursor::Retained(node)) if node < self.retained.places() => {
                    self.cursor = Some(Cursor::Retained(node + 1));
                    if let Some(message) = self.retained.at(node) {
                        self.records.retained(message);
                    }
                }
                Some(Cursor::Retained(_)) => {
                    self.cursor = None;
                    self.records.complete();
                }
            }
        }
        self.cursor.is_some()
    }

    /// Writes down one of the messages that a session is owed. False if there is none at this
    /// place. What moves meanwhile does no harm: the session itself writes what it misses.
    fn write_body(&mut self, index: usize, at: usize) -> bool {
        let Some(Some(session)) = self.sessions.get(index) else {
            return false;
        };
        let Some(flow) = session
            .flow
            .as_ref()
            .filter(|_| session.keep == Keep::Whole)
        else {
            return false;
        };
        let waiting = at.checked_sub(flow.inflight.len());
        let owed = match waiting {
            Some(waiting) => flow.queue.get(waiting),
            None => match &flow.inflight[at] {
                InFlight::Publish(_, owed) => Some(owed),
                InFlight::Release(_) => return true,
            },
        };
        if let Some(owed) = owed.filter(|owed| owed.is_kept()) {
            self.records.message(&owed.message);
        }
        owed.is_some()
    }

    /// Writes down a whole session.
    fn write_session(&mut self, id: SessionId) {
        let Some(Some(session)) = self.sessions.get(id.index()) else {
            return;
        };
        if session.keep == Keep::Nothing {
            return;
        }
        let records = &mut self.records;
        note_session(records, id, session, true);
        for reference in &session.subscriptions {
            let (filter, options, identifier) = self.tree.describe(reference);
            records.subscribed(id, &filter, options.bits(), identifier);
        }
        let Some(flow) = &session.flow else {
            return;
        };
        for entry in &flow.inflight {
            match entry {
                InFlight::Publish(packet_id, owed) => records.in_flight(id, *packet_id, owed),
                InFlight::Release(packet_id) => records.released(id, *packet_id),
            }
        }
        for owed in flow.queue.iter().filter(|owed| owed.is_kept()) {
            records.queued(id, owed);
        }
        for packet_id in &flow.incoming {
            if !self.peers.is_awaited(id, *packet_id) {
                records.received(id, *packet_id);
            }
        }
    }

    /// Everything that records could tell of this broker, for brokers among which client
    /// identifiers are shared out differently: `each` gets the client identifier of a session
    /// and its records, or no identifier and the records of retained messages. Only for a
    /// broker whose replay is finished and that was not used since.
    pub fn export(&mut self, mut each: impl FnMut(Option<&str>, &[u8])) {
        let mut bytes = Vec::new();
        for index in 0..self.sessions.len() {
            // A cycle of its own for each: it brings all its messages along.
            self.records.begin_cycle();
            self.write_session(SessionId(index as u32));
            self.records.take(&mut bytes);
            if let Some(Some(session)) = self.sessions.get(index)
                && !bytes.is_empty()
            {
                each(Some(&session.client_id), &bytes);
            }
        }
        for node in 0..self.retained.places() {
            self.records.begin_cycle();
            if let Some(message) = self.retained.at(node) {
                self.records.retained(message);
                self.records.take(&mut bytes);
                each(None, &bytes);
            }
        }
    }

    /// Takes in what [`Self::export`] of another broker gave, before [`Self::finish_replay`].
    ///
    /// # Errors
    ///
    /// As [`Self::replay`].
    pub fn adopt(&mut self, group: &[u8]) -> Result<(), BadRecord> {
        let mut replay = self.replay.take().unwrap_or_default();
        replay.adopted = Some(self.sessions.len() as u32);
        let result = self.replay_group(&mut replay, group);
        replay.adopted = None;
        replay.messages.clear();
        self.replay = Some(replay);
        result
    }

    /// Everything that the records have to bring back, in words: for tests that compare a broker
    /// with what a restart makes of it.
    #[doc(hidden)]
    pub fn kept_in_words(&self) -> Vec<String> {
        let owed = |owed: &Owed| {
            let Outgoing { topic, payload, .. } = owed.message.outgoing();
            let Owed {
                identifiers,
                qos,
                retain,
                ..
            } = owed;
            format!("{topic} {payload:?} {identifiers:?} {qos:?} {retain}")
        };
        let sessions = self.sessions.iter().enumerate();
        let sessions = sessions.filter_map(|(at, session)| Some((at, session.as_ref()?)));
        let sessions = sessions.filter(|(_, session)| session.keep == Keep::Whole);
        let mut words: Vec<String> = sessions
            .map(|(at, session)| {
                let id = SessionId(at as u32);
                let references = session.subscriptions.iter();
                let mut filters: Vec<_> = references.map(|r| self.tree.describe(r)).collect();
                filters.sort_by(|a, b| a.0.cmp(&b.0));
                let flow = session.flow.iter();
                let inflight: Vec<String> = flow
                    .clone()
                    .flat_map(|flow| &flow.inflight)
                    .map(|entry| match entry {
                        InFlight::Publish(id, kept) => format!("{id}: {}", owed(kept)),
                        InFlight::Release(id) => format!("{id}"),
                    })
                    .collect();
                let queue = flow.clone().flat_map(|flow| &flow.queue);
                let queue: Vec<String> = queue.filter(|o| o.is_kept()).map(owed).collect();
                let incoming = flow.flat_map(|flow| &flow.incoming);
                let incoming = incoming.filter(|open| !self.peers.is_awaited(id, **open));
                let mut incoming: Vec<_> = incoming.collect();
                incoming.sort();
                let (name, user, expiry) = (&session.client_id, session.user(), session.expiry);
                format!("{name} {user:?} {expiry} {filters:?} {inflight:?} {queue:?} {incoming:?}")
            })
            .collect();
        words.extend((0..self.retained.places()).filter_map(|node| {
            let message = self.retained.at(node)?.outgoing();
            Some(format!(
                "{} {:?} {}",
                message.topic, message.payload, message.stamp
            ))
        }));
        words.sort();
        words
    }

    /// Notes a session that was made or taken up.
    pub(crate) fn write_connect(&mut self, id: SessionId, fresh: bool) {
        if !self.records.on {
            return;
        }
        let session = self.sessions[id.index()]
            .as_mut()
            .expect("the session is listed");
        if fresh {
            let will = session
                .extra
                .as_ref()
                .is_some_and(|extra| extra.will.is_some());
            session.keep = match (session.expiry, will) {
                (0, false) => Keep::Nothing,
                (0, true) if self.records.room != DiskRoom::Nothing => Keep::Will,
                (0, true) => Keep::Nothing,
                _ => Keep::Whole,
            };
        }
        if session.keep != Keep::Nothing {
            note_session(&mut self.records, id, session, fresh);
        }
    }
}

fn note_session(records: &mut Records, id: SessionId, session: &Session, fresh: bool) {
    let will = session.extra.as_ref().and_then(|extra| extra.will.as_ref());
    records.session(&SessionRecord {
        key: id.0,
        fresh,
        whole: session.keep == Keep::Whole,
        bridge: session.bridge,
        version: session.version,
        client_id: &session.client_id,
        user: session.user(),
        expiry: session.expiry,
        away_since: session.connection.is_none().then_some(session.last_seen),
        will: will.map(WillRecord::of),
        interrupted: session
            .extra
            .as_ref()
            .is_some_and(|extra| extra.interrupted),
    });
}

/// Seconds that a client whose connection ended with the process has to come back before its
/// will is published. The specification lets a server defer wills to after its restart
/// [MQTT-3.1.2-8, non-normative part]; a fleet that is back within seconds is not told dead.
pub const RESTART_GRACE: u32 = 30;
