//! Log lines: one per cause, and not more than a reader can use.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Instant;

use safeport_broker::{ConnectionId, DisconnectCause, Event};
use tracing::{debug, info, warn};

use crate::limits::{CAUSE_PERIOD, LINES_FOR_SERVER, LINES_PER_CAUSE};

/// Writes events to the log. After a few lines of one cause within a period the rest is counted
/// and told in one line, so that ten thousand clients dropping at once do not fill a disk.
pub(crate) struct Journal {
    /// a dozen or two: looking through them is cheaper than hashing
    causes: Vec<Cause>,
}

/// Something that lines are written about.
struct Cause {
    name: &'static str,
    /// when the period began
    since: Instant,
    /// lines in it, written or not
    lines: u32,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { causes: Vec::new() }
    }

    /// Whether one more line of this cause may be written.
    pub(crate) fn may_tell(&mut self, cause: &'static str, now: Instant) -> bool {
        self.admit(cause, LINES_PER_CAUSE, now)
    }

    /// The same for causes that concern the whole server: one line says it all.
    pub(crate) fn may_tell_once(&mut self, cause: &'static str, now: Instant) -> bool {
        self.admit(cause, LINES_FOR_SERVER, now)
    }

    fn admit(&mut self, cause: &'static str, allowed: u32, now: Instant) -> bool {
        let known = self.causes.iter().position(|known| known.name == cause);
        let at = known.unwrap_or_else(|| {
            self.causes.push(Cause {
                name: cause,
                since: now,
                lines: 0,
            });
            self.causes.len() - 1
        });
        let Cause { since, lines, .. } = &mut self.causes[at];
        if now.duration_since(*since) >= CAUSE_PERIOD {
            let left_out = lines.saturating_sub(allowed);
            if left_out > 0 {
                info!(target: "safeport::mqtt", cause, left_out, "more of the same were not logged");
            }
            (*since, *lines) = (now, 0);
        }
        *lines += 1;
        *lines <= allowed
    }

    /// A warning, if its cause has not been told too often.
    pub(crate) fn warn(&mut self, cause: &'static str, what: impl Display, now: Instant) {
        if self.may_tell(cause, now) {
            warn!(target: "safeport::mqtt", cause, "{what}");
        }
    }

    pub(crate) fn event(
        &mut self,
        event: &Event,
        peer: impl FnOnce(ConnectionId) -> Option<SocketAddr>,
        now: Instant,
    ) {
        match event {
            Event::Connected {
                connection,
                client_id,
                user,
                version,
                keep_alive,
                resumed,
            } => {
                // The server's own probes come every few minutes, and are no news.
                if user.as_deref().is_some_and(|user| user.starts_with('$')) {
                    debug!(target: "safeport::mqtt", client = client_id, user, "own probe connected");
                } else if self.may_tell("connected", now) {
                    info!(
                        target: "safeport::mqtt", client = client_id, user, peer = peer(*connection).map(tracing::field::display), ?version,
                        keep_alive, resumed, "client connected"
                    );
                }
            }
            // The witness tells it.
            Event::Refused { .. } => {}
            Event::Disconnected {
                client_id, cause, ..
            } => self.disconnected(client_id, *cause, now),
            Event::NotAllowed {
                client_id,
                user,
                action,
                topic,
            } => {
                if self.may_tell("not allowed", now) {
                    warn!(
                        target: "safeport::mqtt", client = client_id, user, topic,
                        "may not {action} to this topic: the rights of the user do not cover it"
                    );
                }
            }
            Event::HeldBack {
                publisher,
                subscriber,
            } => {
                if self.may_tell_once("held back", now) {
                    warn!(
                        target: "safeport::mqtt", client = publisher, subscriber,
                        "a publisher is held back: the queue of the subscriber is full; let it \
                         read faster, or raise limits.max_queued_messages"
                    );
                }
            }
            Event::LimitReached { client_id, limit } => {
                if self.may_tell_once(limit, now) {
                    warn!(
                        target: "safeport::mqtt", client = client_id, limit,
                        "a limit is reached: a publish or subscription was refused; raise the \
                         limit, or let the client read faster"
                    );
                }
            }
        }
    }

    fn disconnected(&mut self, client: &str, cause: DisconnectCause, now: Instant) {
        let name = match cause {
            DisconnectCause::Client => "client said goodbye",
            DisconnectCause::ClientWithWill => "client said goodbye and left its will",
            DisconnectCause::Lost => "connection lost",
            DisconnectCause::KeepAlive => "nothing came for one and a half keep alives",
            DisconnectCause::TakenOver => "the same client identifier connected again",
            DisconnectCause::Protocol(_) => "protocol error",
            DisconnectCause::Server(_) => "ended by the server",
        };
        if !self.may_tell(name, now) {
            return;
        }
        match cause {
            DisconnectCause::Client => {
                debug!(target: "safeport::mqtt", client, cause = name, "client disconnected");
            }
            DisconnectCause::Protocol(reason) => {
                warn!(
                    target: "safeport::mqtt", client, cause = name, reason = reason as u8,
                    "client disconnected: {reason}"
                );
            }
            DisconnectCause::Server(reason) => {
                info!(
                    target: "safeport::mqtt", client, cause = name, reason = reason as u8,
                    "client disconnected: {reason}"
                );
            }
            _ => info!(target: "safeport::mqtt", client, cause = name, "client disconnected"),
        }
    }
}
