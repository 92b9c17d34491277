//! What a broker knows while it reads its records back, and how far it has come in writing them
//! anew.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::message::Message;
use crate::permissions::{Permissions, TopicRights};
use crate::records::OwedRecord;
use crate::session::Owed;
use crate::time::Time;

/// What is only needed while records are read back.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) messages: HashMap<u64, Arc<Message>, FixedState>,
    /// how many messages there may be before those that nobody needs any more are let go
    pub(crate) messages_mark: usize,
    pub(crate) users: BTreeMap<Box<str>, Arc<Permissions>>,
    pub(crate) nobody: Option<Arc<Permissions>>,
    /// sessions whose connection the records do not see the end of
    pub(crate) connected: BTreeSet<u32>,
    /// latest time in any record
    pub(crate) latest: Time,
    /// a new account of everything has begun: what it has not come to yet may be missing
    pub(crate) partial: bool,
    /// an account was complete: nothing before what was read can be missing
    pub(crate) whole: bool,
    /// what made no sense in an account that may never be complete
    pub(crate) doubt: Option<&'static str>,
    /// when a session of another broker is taken in: where it went
    pub(crate) adopted: Option<u32>,
}

/// Where a checkpoint has come to.
#[derive(Clone, Copy)]
pub(crate) enum Cursor {
    Session(usize),
    /// Messages of a session, from this one on: they need not be in one group with it, and may be
    /// many.
    Bodies(usize, usize),
    Retained(u32),
}

impl Replay {
    /// Lets go of messages that nobody needs any more: whoever refers to one later holds it now.
    /// Not in an account of everything, where bodies come before what refers to them.
    pub(crate) fn tidy(&mut self) {
        if self.partial || self.messages.len() < self.messages_mark.max(MESSAGES_MARK) {
            return;
        }
        self.messages
            .retain(|_, message| Arc::strong_count(message) > 1);
        self.messages_mark = self.messages.len() * 2;
    }

    pub(crate) fn message(&self, number: u64) -> Result<Arc<Message>, &'static str> {
        let message = self.messages.get(&number);
        message.cloned().ok_or("a message that was never written")
    }

    pub(crate) fn owed(&self, record: OwedRecord) -> Result<Owed, &'static str> {
        Ok(Owed {
            message: self.message(record.message)?,
            identifiers: record.identifiers,
            qos: record.qos,
            retain: record.retain,
        })
    }

    /// Rights are looked up anew when the client comes back; until then only the name counts.
    pub(crate) fn permissions(&mut self, user: Option<&str>) -> Arc<Permissions> {
        let none = |user: Option<&str>| {
            Arc::new(Permissions {
                user: user.map(Into::into),
                publish: TopicRights::Filters(Vec::new()),
                subscribe: TopicRights::Filters(Vec::new()),
                to_server: None,
            })
        };
        let Some(user) = user else {
            return self.nobody.get_or_insert_with(|| none(None)).clone();
        };
        if let Some(known) = self.users.get(user) {
            return known.clone();
        }
        let permissions = none(Some(user));
        self.users.insert(user.into(), permissions.clone());
        permissions
    }
}

/// Below so many messages, letting go of some is not worth the while.
const MESSAGES_MARK: usize = 4096;
