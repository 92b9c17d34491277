//! Which stage of probing comes next, what it may cost, and what a failed one leaves out.
//!
//! A machine without sockets and clock. Whoever owns those asks [`Plan::poll_stage`] what to do, does
//! it within its [`Allowance`], and says what came of it with [`Plan::handle`]. `now` is the time
//! since any fixed moment.
//!
//! The stages run in the order [`Stage::RUN`]: whether the target is this machine, which stage 0
//! needs to know, is known when its name is looked up. A stage that fails stops the deeper ones; only
//! the look at this machine, at other ports, at what the port speaks, and at the clocks go on.

use core::fmt;
use core::time::Duration;

use safeport_settings::Said;
use serde::{Serialize, Serializer};

use crate::limits::{CONNECTS, PROBE_RUN};

#[cfg(test)]
mod tests;

/// A stage of probing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// 0: this machine, if it is the target: who holds the port, and for whom it is bound.
    Own,
    /// 1: the text as firmware reads it.
    Parse,
    /// 2: from the name to addresses.
    Dns,
    /// 3: from an address to an open connection.
    Tcp,
    /// 3b: which other port of that host answers as wanted.
    Alternates,
    /// 4: which protocol the port speaks.
    Sniff,
    /// 5: TLS as a client that can do everything.
    Tls,
    /// 6: TLS as the device would.
    AsDevice,
    /// 7: the clocks of both sides.
    Clock,
    /// 8: the protocol that the device came for.
    App,
    /// 9: large packets, and both families of addresses.
    Path,
    /// 10: whether an idle connection lives as long as the device needs it.
    Session,
}

impl Stage {
    /// In the order in which they run.
    pub const RUN: [Stage; 12] = [
        Stage::Parse,
        Stage::Dns,
        Stage::Own,
        Stage::Tcp,
        Stage::Sniff,
        Stage::Tls,
        Stage::AsDevice,
        Stage::Clock,
        Stage::App,
        Stage::Path,
        Stage::Session,
        Stage::Alternates,
    ];

    /// Its number, 0 to 10; that of [`Stage::Alternates`] is 3.
    pub const fn number(self) -> u8 {
        match self {
            Stage::Own => 0,
            Stage::Parse => 1,
            Stage::Dns => 2,
            Stage::Tcp | Stage::Alternates => 3,
            Stage::Sniff => 4,
            Stage::Tls => 5,
            Stage::AsDevice => 6,
            Stage::Clock => 7,
            Stage::App => 8,
            Stage::Path => 9,
            Stage::Session => 10,
        }
    }

    /// `0` to `10`, and `3b`.
    pub const fn code(self) -> &'static str {
        match self {
            Stage::Own => "0",
            Stage::Parse => "1",
            Stage::Dns => "2",
            Stage::Tcp => "3",
            Stage::Alternates => "3b",
            Stage::Sniff => "4",
            Stage::Tls => "5",
            Stage::AsDevice => "6",
            Stage::Clock => "7",
            Stage::App => "8",
            Stage::Path => "9",
            Stage::Session => "10",
        }
    }

    /// What it looks at.
    pub fn word(self) -> Said {
        let (en, zh) = match self {
            Stage::Own => ("this machine", "本机"),
            Stage::Parse => ("the address as typed", "输入的地址"),
            Stage::Dns => ("the name", "域名"),
            Stage::Tcp => ("the connection", "连接"),
            Stage::Alternates => ("other ports", "其他端口"),
            Stage::Sniff => ("what the port speaks", "端口使用的协议"),
            Stage::Tls => ("TLS", "TLS"),
            Stage::AsDevice => ("TLS as the device", "以设备身份的 TLS"),
            Stage::Clock => ("the clocks", "时钟"),
            Stage::App => ("the protocol", "应用协议"),
            Stage::Path => ("the path", "网络路径"),
            Stage::Session => ("a long connection", "长连接"),
        };
        Said::new(en, zh)
    }

    /// The most that it may cost.
    const fn allowance(self, long: Option<Duration>) -> Allowance {
        // Connects: three round trips at stage 3, of which later stages use two; one for each
        // different ClientHello at stage 6, of which all known devices together have five.
        let (milliseconds, kibibytes, connects) = match self {
            Stage::Parse => (200, 0, 0),
            Stage::Own => (2_000, 64, 0),
            Stage::Dns => (4_000, 64, 0),
            Stage::Tcp => (6_000, 16, 3),
            Stage::Sniff => (8_000, 64, 3),
            Stage::Tls => (10_000, 256, 3),
            Stage::AsDevice => (15_000, 512, 5),
            Stage::Clock => (3_000, 16, 1),
            Stage::App => (25_000, 512, 3),
            Stage::Path => (12_000, 512, 2),
            Stage::Session => match long {
                // The pauses together are twice the longest one, less a bit; each ends with a question.
                Some(longest) => (longest.as_millis() as u64 * 2 + 30_000, 64, 1),
                None => (0, 0, 0),
            },
            Stage::Alternates => (8_000, 256, CONNECTS),
        };
        Allowance {
            time: Duration::from_millis(milliseconds),
            bytes: kibibytes * 1024,
            connects,
        }
    }

    /// Whether it goes on though a stage before it failed.
    const fn outlives_failure(self) -> bool {
        matches!(
            self,
            Stage::Own | Stage::Alternates | Stage::Sniff | Stage::Clock
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// What a stage may cost; reaching it ends the stage with what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// How long it may take.
    pub time: Duration,
    /// How many bytes it may read.
    pub bytes: usize,
    /// How many connections it may open to the target's host.
    pub connects: u8,
}

/// What the owner of the command wants looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--long`: also whether an idle connection lives, through a pause of this length at most.
    pub long: Option<Duration>,
}

/// What is known of the target when its text has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// There is a name to look up.
    pub name: bool,
    /// TLS is wanted: by the scheme, or by what the port was found to speak.
    pub tls: bool,
}

/// What came of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// All is well so far.
    Passed,
    /// Something is broken.
    Failed {
        /// The port takes connections, so that it can be asked what it speaks.
        takes_connections: bool,
        /// Another port of the host may be the right one.
        elsewhere: bool,
    },
    /// It had nothing to look at.
    Nothing,
}

/// The stages of one target.
#[derive(Debug)]
pub struct Plan {
    wishes: Wishes,
    wanted: Wanted,
    /// By place in [`Stage::RUN`].
    done: [bool; Stage::RUN.len()],
    running: Option<(Stage, Duration)>,
    connects: u8,
    ends: Duration,
    broken: Option<Stage>,
    deaf: bool,
    elsewhere: bool,
}

impl Plan {
    /// The plan of a run that begins at `now`.
    pub fn new(wishes: Wishes, now: Duration) -> Plan {
        let most = PROBE_RUN + Stage::Session.allowance(wishes.long).time;
        Plan {
            wishes,
            wanted: Wanted {
                name: true,
                tls: true,
            },
            done: [false; Stage::RUN.len()],
            running: None,
            connects: CONNECTS,
            ends: now + most,
            broken: None,
            deaf: false,
            elsewhere: false,
        }
    }

    /// Takes what is known now of the target: after its text was read, and when the port was found
    /// to speak something else.
    pub fn learn(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// The stage that is to run now, with what it may cost. None while one is running, and when
    /// there is no more.
    pub fn poll_stage(&mut self, now: Duration) -> Option<(Stage, Allowance)> {
        if self.running.is_some() || now >= self.ends {
            return None;
        }
        let stage = self.following()?;
        let mut allowance = stage.allowance(self.wishes.long);
        allowance.time = allowance.time.min(self.ends - now);
        allowance.connects = allowance.connects.min(self.connects);
        self.running = Some((stage, now + allowance.time));
        Some((stage, allowance))
    }

    /// When [`Plan::handle_timeout`] is to be called, if the stage has not ended by then.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.running.map(|(_, until)| until)
    }

    /// The running stage has ended, and opened so many connections.
    pub fn handle(&mut self, came: Came, connects: u8) {
        let Some((stage, _)) = self.running.take() else {
            return;
        };
        self.connects = self.connects.saturating_sub(connects);
        self.mark(stage);
        if let Came::Failed {
            takes_connections,
            elsewhere,
        } = came
        {
            // What is broken is the least deep of all.
            if self.broken.is_none() {
                self.broken = Some(stage);
            }
            self.deaf |= !takes_connections;
            self.elsewhere |= elsewhere;
        }
    }

    /// The time is `now`. A stage that is late counts as failed, having opened all the connections
    /// that it might; which one it was.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Stage> {
        let (stage, until) = self.running?;
        if now < until {
            return None;
        }
        let connects = stage.allowance(self.wishes.long).connects;
        let came = Came::Failed {
            takes_connections: stage > Stage::Tcp,
            elsewhere: false,
        };
        self.handle(came, connects);
        Some(stage)
    }

    /// The stage that failed first.
    pub fn broken(&self) -> Option<Stage> {
        self.broken
    }

    /// How many connections may still be opened to the target's host.
    pub fn connects_left(&self) -> u8 {
        self.connects
    }

    fn following(&mut self) -> Option<Stage> {
        // While it is fresh which port is wrong, the right one is looked for.
        let mut stages = core::iter::once(Stage::Alternates).chain(Stage::RUN);
        stages.find(|stage| !self.is_done(*stage) && self.is_due(*stage))
    }

    fn is_due(&self, stage: Stage) -> bool {
        if self.broken.is_some() && !stage.outlives_failure() {
            return false;
        }
        // Without an address there is nothing to connect to.
        let has_address = !matches!(self.broken, Some(Stage::Parse | Stage::Dns));
        match stage {
            Stage::Dns => self.wanted.name,
            Stage::Tls | Stage::AsDevice => self.wanted.tls,
            Stage::Session => self.wishes.long.is_some(),
            Stage::Sniff => has_address && !self.deaf,
            Stage::Alternates => has_address && self.elsewhere && self.connects > 0,
            _ => true,
        }
    }

    fn is_done(&self, stage: Stage) -> bool {
        self.done[place(stage)]
    }

    fn mark(&mut self, stage: Stage) {
        self.done[place(stage)] = true;
    }
}

fn place(stage: Stage) -> usize {
    Stage::RUN
        .iter()
        .position(|known| *known == stage)
        .unwrap_or(Stage::RUN.len() - 1)
}

/// Ports on which servers of devices listen, tried when the given one is missing or wrong.
pub const OTHER_PORTS: [u16; 11] = [
    80, 443, 1883, 8883, 8000, 8002, 8003, 8080, 8443, 8884, 9001,
];
