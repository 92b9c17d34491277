//! Who of those that send under the number of a session is its device.
//!
//! A datagram proves nothing: whoever knows the number can send noise, which decrypts to other
//! noise, and half of that looks like Opus (at lengths that suit it three quarters, and of one
//! channel at most 40 %). But only one in 256 has a given first byte, and a device uses a few of
//! them. So nobody but the device that was found is taken at its word, and several packets in a
//! row prove a device:
//!
//! - **Another address**, or numbers far ahead, count when [`PROOF`] packets came from there of
//!   kinds that the device used last, with growing numbers and nothing implausible between them.
//!   The first three of them are lost. Where the first one is of a kind that nobody knows, it
//!   counts for nothing, the others may be of its kind, and four are lost. There are at most
//!   [`KINDS`] known kinds, so a datagram of noise completes such a row with a probability of at
//!   most `(4/256)^4 + 0.4 * (5/256)^4 = 1.2e-7`; where the device sends one kind, as most do, it
//!   is 2e-9. A device that was moved away comes back by the same proof.
//! - **The first** is believed at once, so that no word is lost and an answer can leave after a
//!   single packet. Until it has sent [`PROOF`] of known kinds in a row (noise does with 6e-8),
//!   its first implausible packet puts everything back as it was after the hello. A stranger who
//!   comes first takes up to [`FIRST_GAP`] and one numbers from the device with each packet that is
//!   believed, and the way back until the device has proven itself as if it had moved.
//!
//! This is no lock. Who sees datagrams can repeat them faster than their way is, and who sends
//! from the device's own address is believed as the device is. A flood from many addresses that
//! knows the number keeps a device that moves from being followed while it lasts.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::net::SocketAddr;

use foldhash::fast::FixedState;

use super::Peer;
use crate::Toc;
use crate::limits::MAX_TRIALS;

/// So many packets in a row prove a sender.
const PROOF: u8 = 4;
/// So many kinds of packets are known, those that were used last.
const KINDS: usize = 4;
/// So many missing numbers are believed from a device that is proven, more only after a proof.
pub(super) const USUAL_GAP: u32 = 64;
/// The same before it is proven.
pub(super) const FIRST_GAP: u32 = 8;

/// The device, as far as it is known, and others who send as if they were.
#[derive(Debug)]
pub(super) struct Senders {
    peer: Option<SocketAddr>,
    /// How many packets speak for the peer, up to [`PROOF`].
    proof: u8,
    /// First bytes of packets that were accepted, the last one first.
    kinds: [Option<Toc>; KINDS],
    /// Who is not believed yet, the last one last.
    trials: Vec<Trial>,
    /// Nobody else can tell which addresses collide.
    seed: u64,
}

/// Somebody who is not believed yet.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// Stands for the address, which takes eight times as much.
    sender: u32,
    sequence: u32,
    /// The kind of its first packet.
    toc: Toc,
    /// How many packets speak for it.
    proof: u8,
}

impl Senders {
    /// Nobody was heard yet. `seed` is secret.
    pub(super) fn new(seed: u64) -> Senders {
        Senders {
            peer: None,
            proof: 0,
            kinds: [None; KINDS],
            trials: Vec::new(),
            seed,
        }
    }

    /// Where the device is heard from.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether a plausible packet is one of the device. If not, it may still speak for its sender
    /// when others follow.
    pub(super) fn admit(&mut self, from: SocketAddr, sequence: u32, missed: u32, toc: Toc) -> bool {
        let reach = if self.is_proven() {
            USUAL_GAP
        } else {
            FIRST_GAP
        };
        let trusted = match self.peer {
            Some(peer) => peer == from,
            None => !toc.stereo(),
        };
        trusted && missed <= reach || self.proves(from, sequence, toc)
    }

    /// Takes a packet that was admitted for one of the device.
    pub(super) fn learn(&mut self, from: SocketAddr, toc: Toc) -> Peer {
        let known = self.kinds.iter().position(|kind| *kind == Some(toc));
        self.kinds[..=known.unwrap_or(KINDS - 1)].rotate_right(1);
        self.kinds[0] = Some(toc);
        let before = self.peer.replace(from);
        if before.is_some() && !self.is_proven() {
            self.proof = known.map_or(0, |_| self.proof + 1);
        }
        match before {
            Some(peer) if peer == from => Peer::Same,
            Some(_) => Peer::Moved,
            None => Peer::Found,
        }
    }

    /// Something came that no device sends. Whether it came from a peer that had not proven itself
    /// and is forgotten now.
    pub(super) fn distrust(&mut self, from: SocketAddr) -> bool {
        if !self.trials.is_empty() {
            let sender = self.sender(from);
            self.trials.retain(|trial| trial.sender != sender);
        }
        let forgotten = self.peer == Some(from) && !self.is_proven();
        if forgotten {
            self.peer = None;
            self.proof = 0;
            self.kinds = [None; KINDS];
        }
        forgotten
    }

    fn is_proven(&self) -> bool {
        self.proof >= PROOF
    }

    /// Whether this packet completes the proof of somebody.
    fn proves(&mut self, from: SocketAddr, sequence: u32, toc: Toc) -> bool {
        let sender = self.sender(from);
        let familiar = self.kinds.contains(&Some(toc));
        let at = self.trials.iter().position(|trial| trial.sender == sender);
        let before = at.map(|at| self.trials.remove(at));
        let trial = match before {
            // Sent twice, or overtaken: nothing new.
            Some(before) if sequence <= before.sequence => before,
            Some(before) if familiar || toc == before.toc => Trial {
                sequence,
                proof: before.proof + 1,
                ..before
            },
            _ if familiar || !toc.stereo() => Trial {
                sender,
                sequence,
                toc,
                proof: u8::from(familiar),
            },
            _ => return false,
        };
        if trial.proof >= PROOF {
            self.trials = Vec::new();
            self.proof = PROOF;
            return true;
        }
        self.make_room();
        self.trials.push(trial);
        false
    }

    /// Leaves out who has the least to show, and of those who came first.
    fn make_room(&mut self) {
        if self.trials.len() >= MAX_TRIALS {
            let weakest = (0..self.trials.len()).min_by_key(|at| self.trials[*at].proof);
            self.trials.remove(weakest.expect("there are some"));
        }
    }

    fn sender(&self, from: SocketAddr) -> u32 {
        FixedState::with_seed(self.seed).hash_one(from) as u32
    }
}

#[cfg(test)]
mod tests;
