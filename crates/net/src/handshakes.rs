//! Bounds of the TLS handshakes that are open at once, over all listeners. The engine's door and
//! the HTTPS listeners enter each connection here right after `accept`, and leave when its
//! handshake is over.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::attempt::Limit;

/// Bounds of handshakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// From `accept` to the end of the handshake; default 10 s.
    pub timeout: Duration,
    /// Open at once over all listeners; default 2000. When there are as many, the one that has
    /// been silent longest without a whole ClientHello is pushed out; if all have said hello, the
    /// new one is turned away.
    pub most: usize,
    /// Open at once from one address; default 500. Further ones are turned away.
    pub most_per_address: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            most: 2000,
            most_per_address: 500,
        }
    }
}

/// All open handshakes of this process. Copies share them.
#[derive(Debug, Clone, Default)]
pub struct Handshakes(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    limits: HandshakeLimits,
    turns: HashMap<u64, Entry>,
    /// Those without a whole ClientHello, the one silent longest first: by when they were heard.
    waiting: BTreeMap<u64, u64>,
    per_address: HashMap<IpAddr, usize>,
    /// Counts turns, and whenever one of them is heard.
    count: u64,
}

struct Entry {
    address: IpAddr,
    /// Its place in `waiting`.
    heard: Option<u64>,
    push_out: Box<dyn FnOnce(u64) + Send>,
}

/// One open handshake. Dropped, it is over.
#[derive(Debug)]
pub struct Turn {
    all: Handshakes,
    number: u64,
}

impl Handshakes {
    /// With these limits.
    pub fn new(limits: HandshakeLimits) -> Handshakes {
        let handshakes = Handshakes::default();
        handshakes.set(limits);
        handshakes
    }

    /// Other limits, from now on. Handshakes that are open stay, but for the time they may take.
    pub fn set(&self, limits: HandshakeLimits) {
        self.lock().limits = limits;
    }

    /// The limits in force.
    pub fn limits(&self) -> HandshakeLimits {
        self.lock().limits.clone()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.lock().turns.len()
    }

    /// A handshake with this peer may begin. `push_out` is called with its [`Turn::number`], from
    /// any thread and at most once, when it has to make room for another one; the connection is
    /// then closed with [`Limit::PushedOut`].
    ///
    /// # Errors
    ///
    /// [`Limit::TooManyFromAddress`], or [`Limit::TooManyHandshakes`] if every open handshake has
    /// said its ClientHello: close the connection.
    pub fn enter(
        &self,
        address: IpAddr,
        push_out: impl FnOnce(u64) + Send + 'static,
    ) -> Result<Turn, Limit> {
        let address = address.to_canonical();
        let mut open = self.lock();
        let here = open.per_address.get(&address).copied().unwrap_or(0);
        if here >= open.limits.most_per_address {
            return Err(Limit::TooManyFromAddress);
        }
        let mut pushed_out = None;
        if open.turns.len() >= open.limits.most {
            let Some((_, number)) = open.waiting.pop_first() else {
                return Err(Limit::TooManyHandshakes);
            };
            pushed_out = open.leave(number).map(|entry| (number, entry));
        }
        open.count += 1;
        let number = open.count;
        *open.per_address.entry(address).or_default() += 1;
        open.waiting.insert(number, number);
        let entry = Entry {
            address,
            heard: Some(number),
            push_out: Box::new(push_out),
        };
        open.turns.insert(number, entry);
        // Who is told may come back here.
        drop(open);
        if let Some((number, entry)) = pushed_out {
            (entry.push_out)(number);
        }
        Ok(Turn {
            all: self.clone(),
            number,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn leave(&mut self, number: u64) -> Option<Entry> {
        let entry = self.turns.remove(&number)?;
        if let Some(heard) = entry.heard {
            self.waiting.remove(&heard);
        }
        if let Some(here) = self.per_address.get_mut(&entry.address) {
            *here -= 1;
            if *here == 0 {
                self.per_address.remove(&entry.address);
            }
        }
        Some(entry)
    }
}

impl Turn {
    /// Which one it is; no other in this process has the same number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes came: it is now the one that was silent shortest.
    pub fn heard(&self) {
        let mut open = self.all.lock();
        let open = &mut *open;
        if let Some(entry) = open.turns.get_mut(&self.number)
            && let Some(heard) = &mut entry.heard
        {
            open.waiting.remove(heard);
            open.count += 1;
            *heard = open.count;
            open.waiting.insert(open.count, self.number);
        }
    }

    /// The whole ClientHello is there: nobody pushes it out any more.
    pub fn said_hello(&self) {
        let mut open = self.all.lock();
        let open = &mut *open;
        if let Some(entry) = open.turns.get_mut(&self.number)
            && let Some(heard) = entry.heard.take()
        {
            open.waiting.remove(&heard);
        }
    }

    /// Whether it had to make room for another one.
    pub fn is_pushed_out(&self) -> bool {
        !self.all.lock().turns.contains_key(&self.number)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.lock().leave(self.number);
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("limits", &self.limits)
            .field("turns", &self.turns.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn handshakes(most: usize, most_per_address: usize) -> Handshakes {
        Handshakes::new(HandshakeLimits {
            most,
            most_per_address,
            ..HandshakeLimits::default()
        })
    }

    fn enter(all: &Handshakes, last: u8) -> Result<(Turn, Receiver<()>), Limit> {
        let (sender, receiver) = channel();
        let turn = all.enter(IpAddr::from([10, 0, 0, last]), move |_| {
            sender.send(()).expect("the test listens");
        })?;
        Ok((turn, receiver))
    }

    #[test]
    fn the_one_that_was_silent_longest_makes_room() {
        let all = handshakes(3, 9);
        let (first, first_out) = enter(&all, 1).unwrap();
        let (second, second_out) = enter(&all, 2).unwrap();
        let (third, third_out) = enter(&all, 3).unwrap();
        first.heard();
        second.said_hello();
        let (_fourth, _) = enter(&all, 4).unwrap();
        assert!(third.is_pushed_out() && third_out.try_recv().is_ok());
        let (fifth, _fifth_out) = enter(&all, 5).unwrap();
        assert!(first.is_pushed_out() && first_out.try_recv().is_ok());
        assert!(!second.is_pushed_out() && second_out.try_recv().is_err());
        assert_eq!(all.open(), 3);
        // Who was pushed out is gone already.
        drop((first, third));
        assert_eq!(all.open(), 3);
        drop(fifth);
        assert_eq!(all.open(), 2);
    }

    #[test]
    fn those_who_have_said_hello_stay_and_the_new_one_is_turned_away() {
        let all = handshakes(2, 9);
        let turns = [enter(&all, 1).unwrap().0, enter(&all, 2).unwrap().0];
        turns.iter().for_each(Turn::said_hello);
        // Bytes after the hello change nothing.
        turns[0].heard();
        assert_eq!(enter(&all, 3).unwrap_err(), Limit::TooManyHandshakes);
        drop(turns);
        assert!(enter(&all, 3).is_ok());
    }

    #[test]
    fn one_address_has_its_own_limit_however_it_is_written() {
        let all = handshakes(100, 2);
        let _one = enter(&all, 1).unwrap();
        let mapped = IpAddr::from([10, 0, 0, 1]);
        let IpAddr::V4(v4) = mapped else {
            unreachable!("written as one");
        };
        let two = all
            .enter(v4.to_ipv6_mapped().into(), |_| ())
            .expect("the second");
        assert_eq!(enter(&all, 1).unwrap_err(), Limit::TooManyFromAddress);
        assert!(enter(&all, 2).is_ok());
        drop(two);
        assert!(enter(&all, 1).is_ok());
    }

    #[test]
    fn a_raised_or_lowered_limit_holds_for_the_next_one() {
        let all = handshakes(1, 9);
        let (_first, first_out) = enter(&all, 1).unwrap();
        all.set(HandshakeLimits {
            most: 2,
            ..all.limits()
        });
        let _second = enter(&all, 2).unwrap();
        assert!(first_out.try_recv().is_err());
        all.set(HandshakeLimits {
            most: 1,
            ..all.limits()
        });
        let _third = enter(&all, 3).unwrap();
        assert!(first_out.try_recv().is_ok());
    }
}
