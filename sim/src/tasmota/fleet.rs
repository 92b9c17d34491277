//! Sockets and time for any number of pretend plugs.

use super::plug::{Failure, Note, Output, Plug};
use super::tls::{self, Trust};
use super::{MacAddress, PlugOptions};
use crate::descriptors::{self, TooFewDescriptors};
use crate::dial::{DialError, Socket, dial};
use safeport_mqtt::{Decoded, TopicError, TopicName, Version, decode, limits};
use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;

/// Which plugs to run, and for how long.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// What all plugs have in common. With more than one, hardware address, client id, seed and
    /// topic get a number each; a topic that is not given becomes `plug-1`, `plug-2`…
    pub plug: PlugOptions,
    /// How many, at least 1.
    pub count: u32,
    /// TLS, and how the server is known. None connects in the clear.
    pub trust: Option<Trust>,
    /// Time from one plug's power-on to the next one's. Default 2 ms.
    pub stagger: Duration,
    /// When to stop by itself.
    pub stop_after: Option<Duration>,
}

impl FleetOptions {
    /// `count` plugs after the pattern of `plug`, in the clear, until stopped.
    pub fn new(plug: PlugOptions, count: u32) -> Self {
        FleetOptions {
            plug,
            count,
            trust: None,
            stagger: Duration::from_millis(2),
            stop_after: None,
        }
    }

    /// The options of plug `number`, counted from 1.
    fn numbered(&self, number: u32) -> PlugOptions {
        let mut plug = self.plug.clone();
        if self.count > 1 {
            plug.mac = MacAddress::pretend(plug.mac.tail().wrapping_add(number - 1));
            plug.seed = plug.seed.wrapping_add(number.into());
            plug.topic = plug.topic.map(|topic| format!("{topic}-{number}"));
            plug.client_id = plug.client_id.map(|id| format!("{id}-{number}"));
        }
        plug.topic.get_or_insert_with(|| format!("plug-{number}"));
        plug
    }
}

/// What the plugs went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetSummary {
    /// Plugs that run.
    pub plugs: u32,
    /// Of them connected now.
    pub connected: u32,
    /// Connections that were accepted.
    pub connects: u64,
    /// Attempts that failed and connections that were lost.
    pub failures: u64,
    /// Messages published.
    pub published: u64,
    /// Commands received.
    pub commands: u64,
}

impl fmt::Display for FleetSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} plugs connected; {} connects, {} failures, {} messages published, {} \
             commands received",
            self.connected, self.plugs, self.connects, self.failures, self.published, self.commands
        )
    }
}

/// Why the plugs could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// `count` is 0.
    #[error("there are no plugs to run; choose at least 1")]
    NoPlugs,
    /// The topic names that follow from the options are not allowed.
    #[error("the plug's topic `{topic}` cannot be used: {error}; choose one without wildcards")]
    Topic {
        /// A topic name that the plug would use.
        topic: String,
        /// The rule that it breaks.
        error: TopicError,
    },
    /// The TLS settings cannot be used.
    #[error("TLS of the plug: {0}")]
    Tls(String),
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
}

/// Runs the plugs until `stop` is ready (pass `tokio::signal::ctrl_c()` and the like) or
/// [`FleetOptions::stop_after`] is over. They then lose their power: no DISCONNECT, so that their
/// wills are published.
///
/// `print` gets a line for everything that happens to a single plug; with more of them, troubles and
/// a summary every ten seconds.
pub async fn run_fleet(
    options: FleetOptions,
    stop: impl Future<Output = ()>,
    mut print: impl FnMut(&str),
) -> Result<FleetSummary, FleetError> {
    if options.count == 0 {
        return Err(FleetError::NoPlugs);
    }
    descriptors::make_room(options.count.into())?;
    let tls = match &options.trust {
        Some(trust) => Some(tls::connector(trust).map_err(FleetError::Tls)?),
        None => None,
    };
    check_topics(&options.numbered(options.count))?;

    let (events, mut inbox) = mpsc::channel(1024);
    let mut plugs = JoinSet::new();
    let utc = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    for number in 1..=options.count {
        let power_on = Instant::now() + options.stagger * (number - 1);
        let socket = Driver {
            number,
            plug: Plug::new(options.numbered(number), utc),
            tls: tls.clone(),
            events: events.clone(),
            power_on,
        };
        plugs.spawn(socket.run());
    }
    drop(events);

    let mut fleet = Fleet {
        single: options.count == 1,
        summary: FleetSummary {
            plugs: options.count,
            ..FleetSummary::default()
        },
        troubles: 0,
    };
    let mut ticks = tokio::time::interval_at(Instant::now() + SUMMARY_EVERY, SUMMARY_EVERY);
    let end = options.stop_after.map(|after| Instant::now() + after);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = at(end) => break,
            event = inbox.recv() => match event {
                Some((number, event)) => fleet.take(number, event, &mut print),
                // Every plug's task has ended, which only a panic in it can do.
                None => break,
            },
            _ = ticks.tick() => {
                fleet.troubles = 0;
                if !fleet.single {
                    print(&fleet.summary.to_string());
                }
            }
        }
    }
    if let Some(Err(error)) = plugs.try_join_next()
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    Ok(fleet.summary)
}

/// Something that a plug's task reports.
enum Event {
    Note(Note),
    /// The reason behind a [`Failure`], which the device itself could not name.
    Trouble(String),
}

struct Fleet {
    single: bool,
    summary: FleetSummary,
    /// Lines about troubles since the last summary.
    troubles: u32,
}

impl Fleet {
    fn take(&mut self, number: u32, event: Event, print: &mut impl FnMut(&str)) {
        let summary = &mut self.summary;
        let (line, trouble) = match &event {
            Event::Trouble(trouble) => (trouble.clone(), true),
            Event::Note(note) => {
                let mut trouble = false;
                match note {
                    Note::Connected { .. } => {
                        summary.connects += 1;
                        summary.connected += 1;
                    }
                    Note::Failed { was_connected, .. } => {
                        summary.failures += 1;
                        summary.connected -= u32::from(*was_connected);
                        trouble = true;
                    }
                    Note::Restarting { was_connected } => {
                        summary.connected -= u32::from(*was_connected);
                    }
                    Note::Published { .. } => summary.published += 1,
                    Note::Command { .. } => summary.commands += 1,
                    Note::TooLong { .. } | Note::NotSubscribed { .. } | Note::NotSent { .. } => {
                        trouble = true;
                    }
                }
                (note.to_string(), trouble)
            }
        };
        if self.single {
            print(&line);
        } else if trouble && self.troubles < MAX_TROUBLES {
            self.troubles += 1;
            print(&format!("plug {number}: {line}"));
        }
    }
}

/// One plug with its socket.
struct Driver {
    number: u32,
    plug: Plug,
    tls: Option<TlsConnector>,
    events: mpsc::Sender<(u32, Event)>,
    power_on: Instant,
}

impl Driver {
    async fn run(mut self) {
        sleep_until(self.power_on).await;
        let mut socket: Option<Box<dyn Socket>> = None;
        let mut received = Vec::new();
        let mut chunk = [0; 2048];
        loop {
            self.plug.handle_timeout(self.now());
            if self.carry_out(&mut socket, &mut received).await.is_err() {
                // Nobody listens any more: the run is over.
                return;
            }
            let wake_at = self.plug.poll_timeout().map(|at| self.power_on + at);
            let read = async {
                match &mut socket {
                    Some(socket) => socket.read(&mut chunk).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = at(wake_at) => {}
                read = read => match read {
                    Ok(0) | Err(_) => self.plug.handle_failure(Failure::Lost, self.now()),
                    Ok(read) => {
                        received.extend_from_slice(&chunk[..read]);
                        self.take_packets(&mut received);
                    }
                },
            }
        }
    }

    /// Does everything that the plug asks for. An error means that nobody listens to events.
    async fn carry_out(
        &mut self,
        socket: &mut Option<Box<dyn Socket>>,
        received: &mut Vec<u8>,
    ) -> Result<(), ()> {
        let mut out = Vec::new();
        loop {
            let output = self.plug.poll_output();
            let ends = matches!(output, None | Some(Output::Close));
            if ends && let Some(socket) = socket.as_mut() {
                let written = async {
                    socket.write_all(&out).await?;
                    socket.flush().await
                };
                if written.await.is_err() && output.is_none() {
                    self.plug.handle_failure(Failure::Lost, self.now());
                    out.clear();
                    continue;
                }
                out.clear();
            }
            match output {
                None => return Ok(()),
                Some(Output::Close) => *socket = None,
                Some(Output::Send(bytes)) => out.extend_from_slice(&bytes),
                Some(Output::Note(note)) => self.report(Event::Note(note)).await?,
                Some(Output::Dial {
                    host,
                    port,
                    timeout,
                }) => match self.dial(&host, port, timeout).await {
                    Ok(opened) => {
                        *socket = Some(opened);
                        received.clear();
                        self.plug.handle_open(self.now());
                    }
                    Err((failure, why)) => {
                        self.report(Event::Trouble(why)).await?;
                        self.plug.handle_failure(failure, self.now());
                    }
                },
            }
        }
    }

    async fn dial(
        &self,
        host: &str,
        port: u16,
        wait: Duration,
    ) -> Result<Box<dyn Socket>, (Failure, String)> {
        dial(host, port, wait, self.tls.as_ref())
            .await
            .map_err(|error| match error {
                DialError::Dns(why) => (Failure::Dns, why),
                DialError::Connect(why) => (Failure::Connect, why),
            })
    }

    fn take_packets(&mut self, received: &mut Vec<u8>) {
        let now = self.now();
        let mut used = 0;
        loop {
            match decode(&received[used..], Version::V311, limits::MAX_PACKET) {
                Ok(Decoded::Packet(packet, length)) => {
                    used += length;
                    self.plug.handle_packet(&packet, now);
                }
                Ok(Decoded::Incomplete(_)) => break,
                Err(_) => {
                    self.plug.handle_failure(Failure::Lost, now);
                    used = received.len();
                    break;
                }
            }
        }
        received.drain(..used);
    }

    async fn report(&self, event: Event) -> Result<(), ()> {
        self.events.send((self.number, event)).await.map_err(drop)
    }

    fn now(&self) -> Duration {
        self.power_on.elapsed()
    }
}

/// Ready at `instant`; never without one.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn check_topics(options: &PlugOptions) -> Result<(), FleetError> {
    let plug = Plug::new(options.clone(), 0);
    let topic = plug.will_topic();
    match TopicName::new(&topic) {
        Ok(_) => Ok(()),
        Err(error) => Err(FleetError::Topic { topic, error }),
    }
}

/// Between two summaries of more than one plug.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);
/// Lines about troubles between two summaries.
const MAX_TROUBLES: u32 = 10;
