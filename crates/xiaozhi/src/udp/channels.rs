//! All sessions behind one socket.

use core::net::SocketAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{AudioChannel, AudioError, AudioHeader, AudioKey, HeardAudio};
use crate::Time;

/// The voice sessions whose audio comes through one UDP socket, each with what the driver keeps of
/// it. A datagram reaches the session whose number it has, and no other.
#[derive(Debug)]
pub struct AudioChannels<S> {
    // Numbers are drawn here, so nobody can choose such that collide.
    channels: HashMap<u32, (AudioChannel, S), FixedState>,
    capacity: usize,
    strays: u64,
}

/// Why a session was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotAdded {
    /// Another session has its number; draw another key.
    #[error("the number of the session is taken; draw another key")]
    Taken,
    /// There are as many as there may be.
    #[error("there are as many voice sessions over UDP as there may be; raise the limit, or wait")]
    Full,
}

impl<S> AudioChannels<S> {
    /// Room for so many sessions.
    pub fn new(capacity: usize) -> AudioChannels<S> {
        AudioChannels {
            channels: HashMap::with_hasher(FixedState::with_seed(0)),
            capacity,
            strays: 0,
        }
    }

    /// Adds a session that has just said hello.
    ///
    /// # Errors
    /// Its number is taken, or there is no room.
    pub fn insert(&mut self, key: AudioKey, session: S, now: Time) -> Result<(), NotAdded> {
        if self.channels.contains_key(&key.ssrc()) {
            return Err(NotAdded::Taken);
        }
        if self.channels.len() >= self.capacity {
            return Err(NotAdded::Full);
        }
        let ssrc = key.ssrc();
        self.channels
            .insert(ssrc, (AudioChannel::new(key, now), session));
        Ok(())
    }

    /// Removes a session; later datagrams of it belong to nobody.
    pub fn remove(&mut self, ssrc: u32) -> Option<(AudioChannel, S)> {
        self.channels.remove(&ssrc)
    }

    /// Gives a datagram to the session whose number it has. See [`AudioChannel::receive`].
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn receive<'a>(
        &mut self,
        datagram: &'a mut [u8],
        from: SocketAddr,
    ) -> Result<(&mut S, HeardAudio<'a>), AudioError> {
        let found = AudioHeader::read(datagram).and_then(|header| {
            let found = self.channels.get_mut(&header.ssrc);
            found.ok_or(AudioError::OtherSession)
        });
        match found {
            Ok((channel, session)) => {
                let heard = channel.receive(datagram, from)?;
                Ok((session, heard))
            }
            Err(error) => {
                self.strays = self.strays.saturating_add(1);
                Err(error)
            }
        }
    }

    /// The session of this number.
    pub fn get_mut(&mut self, ssrc: u32) -> Option<(&mut AudioChannel, &mut S)> {
        let (channel, session) = self.channels.get_mut(&ssrc)?;
        Some((channel, session))
    }

    /// Every session.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut AudioChannel, &mut S)> {
        let all = self.channels.values_mut();
        all.map(|(channel, session)| (channel, session))
    }

    /// How many sessions.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Datagrams that belonged to nobody.
    pub fn strays(&self) -> u64 {
        self.strays
    }
}
