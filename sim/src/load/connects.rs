//! Connections that come and go: connect, CONNACK, DISCONNECT, and wait for the broker to close.

use super::histogram::Histogram;
use super::layer::{Buffers, Filled, Layer};
use super::link::set_up_error;
use super::report::{Connects, Figures, Latency};
use super::target::Tls;
use super::wire::{self, Frame, Session};
use super::{Clocks, LoadError, Target};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::time::{Duration, Instant};

/// How long nothing may happen before the run fails.
const SILENCE: Duration = Duration::from_secs(10);

pub(super) fn run(
    target: &Target,
    count: u32,
    concurrent: u32,
    rate: Option<u32>,
) -> Result<Figures, LoadError> {
    let devices: Vec<Option<Tls>> = (0..concurrent.min(count))
        .map(|_| target.tls.as_ref().map(Tls::of_one_device))
        .collect();
    if target
        .tls
        .as_ref()
        .is_some_and(|tls| tls.handshake().resume)
    {
        // Each device's first handshake is a full one, and not what is measured.
        Storm::open(target, &devices, devices.len() as u32, None)?.finish()?;
    }
    let before = Clocks::read(target)?;
    let seen = Storm::open(target, &devices, count, rate)?.finish()?;
    let used = Clocks::read(target)?.since(&before);
    Ok(Figures::Connects(Connects {
        connects: count,
        resumed: seen.resumed,
        latency: Latency::of(&seen.times),
        elapsed: used.elapsed,
        broker_cpu: used.broker,
        generator_share: used.generator_share,
        others_share: used.others_share,
    }))
}

/// One connection under way.
struct Visit {
    socket: TcpStream,
    layer: Layer,
    /// When it was due.
    due: Instant,
    greeted: bool,
    /// Bytes that wait to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    answer: Vec<u8>,
    admitted: bool,
}

impl Visit {
    fn flush(&mut self) -> io::Result<()> {
        self.layer
            .write(&mut self.socket, &mut self.out, &mut self.written)
    }
}

/// What a storm found.
struct Seen {
    /// Connections that took up an earlier session of TLS.
    resumed: u32,
    /// From when a connection was due to its CONNACK.
    times: Histogram,
}

struct Storm<'a> {
    target: &'a Target,
    /// What each slot keeps of TLS from one connection to the next.
    devices: &'a [Option<Tls>],
    poll: Poll,
    visits: Vec<Option<Visit>>,
    /// Connections still to open.
    left: u32,
    /// Connections still to finish.
    unfinished: u32,
    /// Slots without a connection, which only a schedule leaves.
    free: Vec<usize>,
    schedule: Option<Schedule>,
    seen: Seen,
    buffers: Buffers,
}

/// When connections are due.
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl<'a> Storm<'a> {
    fn open(
        target: &'a Target,
        devices: &'a [Option<Tls>],
        count: u32,
        rate: Option<u32>,
    ) -> Result<Self, LoadError> {
        let slots = devices.len();
        let mut storm = Storm {
            target,
            devices,
            poll: Poll::new().map_err(LoadError::Socket)?,
            visits: (0..slots).map(|_| None).collect(),
            left: count,
            unfinished: count,
            free: (0..slots).rev().collect(),
            schedule: rate.map(|rate| Schedule {
                next: Instant::now(),
                interval: Duration::from_secs(1) / rate,
            }),
            seen: Seen {
                resumed: 0,
                times: Histogram::new(),
            },
            buffers: Buffers::new(4096),
        };
        storm.begin_due()?;
        Ok(storm)
    }

    /// Begins what is due, as far as there are slots: how long nothing more is.
    fn begin_due(&mut self) -> Result<Duration, LoadError> {
        while self.left > 0
            && let Some(slot) = self.free.last().copied()
        {
            let now = Instant::now();
            let due = match &mut self.schedule {
                None => now,
                Some(schedule) if schedule.next > now => return Ok(schedule.next - now),
                Some(schedule) => {
                    let due = schedule.next;
                    schedule.next += schedule.interval;
                    due
                }
            };
            self.free.pop();
            self.begin(slot, due)?;
        }
        Ok(Duration::from_millis(100))
    }

    fn begin(&mut self, slot: usize, due: Instant) -> Result<(), LoadError> {
        self.left -= 1;
        let mut socket =
            TcpStream::connect(self.target.address).map_err(|error| self.no_connection(error))?;
        self.poll
            .registry()
            .register(
                &mut socket,
                Token(slot),
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(LoadError::Socket)?;
        self.visits[slot] = Some(Visit {
            socket,
            layer: Layer::with(self.devices[slot].as_ref())?,
            due,
            greeted: false,
            out: Vec::new(),
            written: 0,
            answer: Vec::new(),
            admitted: false,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Seen, LoadError> {
        let mut events = Events::with_capacity(256);
        let mut heard = Instant::now();
        while self.unfinished > 0 {
            let wait = self.begin_due()?;
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(LoadError::Socket(error));
                }
                _ => {}
            }
            if !events.is_empty() || self.all_done() {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE {
                return Err(LoadError::Silent {
                    address: self.target.address,
                    waited: SILENCE,
                });
            }
            for event in events.iter() {
                self.advance(event.token().0)?;
            }
        }
        Ok(self.seen)
    }

    /// Nothing is under way; the schedule has not come to the next.
    fn all_done(&self) -> bool {
        self.free.len() == self.visits.len()
    }

    /// Takes one connection as far as it goes now.
    fn advance(&mut self, slot: usize) -> Result<(), LoadError> {
        let address = self.target.address;
        let number = self.unfinished;
        let Some(visit) = &mut self.visits[slot] else {
            return Ok(());
        };
        if !visit.greeted {
            match visit.socket.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return Err(LoadError::Connect { address, error }),
            }
            if let Err(error) = visit.socket.peer_addr() {
                // Not connected yet: the next event tells.
                return if error.kind() == io::ErrorKind::NotConnected {
                    Ok(())
                } else {
                    Err(LoadError::Connect { address, error })
                };
            }
            wire::connect(
                self.target,
                &format!("visit-{slot:04}-{number:08}"),
                Session::Clean,
                &mut visit.out,
            );
            visit.greeted = true;
        }
        let failed = |error| set_up_error(address, error);
        visit.flush().map_err(failed)?;
        loop {
            let filled = visit.layer.read(&mut visit.socket, &mut self.buffers, 0);
            match filled {
                Ok(Filled::Nothing) => return Ok(()),
                Ok(Filled::Closed) if visit.admitted => break,
                Ok(Filled::Closed) => return Err(LoadError::Closed { address }),
                Ok(Filled::Bytes { length, .. }) if !visit.admitted => {
                    visit
                        .answer
                        .extend_from_slice(&self.buffers.plain[..length]);
                    match wire::next_frame(self.target.version, &visit.answer)? {
                        None => {}
                        Some((Frame::ConnAck { code: 0, .. }, _)) => {
                            visit.admitted = true;
                            self.seen.resumed += u32::from(visit.layer.is_resumed());
                            self.seen.times.add(visit.due.elapsed().as_nanos() as u64);
                            visit.out.extend_from_slice(&wire::DISCONNECT);
                            visit.flush().map_err(failed)?;
                        }
                        Some((Frame::ConnAck { code, .. }, _)) => {
                            return Err(LoadError::Refused { address, code });
                        }
                        Some(_) => {
                            return Err(LoadError::Unexpected {
                                waited_for: "CONNACK",
                            });
                        }
                    }
                }
                Ok(Filled::Bytes { .. }) => {
                    return Err(LoadError::Unexpected {
                        waited_for: "the end of the connection",
                    });
                }
                // A broker may close with a reset once it has our DISCONNECT.
                Err(error) if visit.admitted && error.kind() == io::ErrorKind::ConnectionReset => {
                    break;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        self.visits[slot] = None;
        self.unfinished -= 1;
        self.free.push(slot);
        Ok(())
    }

    fn no_connection(&self, error: io::Error) -> LoadError {
        LoadError::Connect {
            address: self.target.address,
            error,
        }
    }
}
