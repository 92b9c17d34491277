//! From what a listener saw to what it means: pure, so that it can be asked again later, when
//! more is known.

use super::{Attempt, Cause, Ending, Limit, Stage};
use crate::FirstBytes;

/// What is known beside the attempt itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// What the listener carries.
    pub service: Service,
    /// Whether the listener carries it over TLS.
    pub tls: bool,
    /// Whether the key that was served is one that the device was told to expect. None when the
    /// device is unknown or was told none.
    pub pinned: Option<bool>,
    /// Whether a client with this address and stack has connected with the certificate that was
    /// served, so that it trusts its root.
    pub trusted_before: bool,
    /// How often the client identifier was taken over in the last 60 seconds.
    pub take_overs: u32,
}

/// What a listener carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// MQTT.
    Mqtt,
    /// HTTP, and WebSocket within it.
    Http,
}

/// What an attempt means, and how sure that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What it means, or means most probably.
    pub cause: Cause,
    /// How sure that is.
    pub certainty: Certainty,
    /// What else it can mean, most probable first, without `cause`. Empty when it is certain.
    pub others: Vec<Cause>,
}

/// How sure a judgement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// The wire shows a class of causes, and this is one of them.
    Possible,
    /// What else is known makes this one stand out.
    Likely,
    /// Nothing else looks like this.
    Certain,
}

impl Certainty {
    /// The stable word.
    pub fn code(self) -> &'static str {
        match self {
            Certainty::Possible => "possible",
            Certainty::Likely => "likely",
            Certainty::Certain => "certain",
        }
    }
}

impl Cause {
    /// The cause alone of [`judge`].
    pub fn of(attempt: &Attempt, circumstances: &Circumstances) -> Cause {
        judge(attempt, circumstances).cause
    }
}

impl Judgement {
    fn certain(cause: Cause) -> Judgement {
        Judgement {
            cause,
            certainty: Certainty::Certain,
            others: Vec::new(),
        }
    }
}

/// Says what an attempt means.
pub fn judge(attempt: &Attempt, circumstances: &Circumstances) -> Judgement {
    match &attempt.ending {
        Ending::Connected => Judgement::certain(Cause::Healthy),
        Ending::Refused { reason, .. } => Judgement::certain(refused(*reason)),
        Ending::WrongProtocol => Judgement::certain(wrong_protocol(attempt, circumstances)),
        Ending::AlertReceived(_) => Judgement::certain(Cause::CertificateRefused),
        Ending::Failed { .. } => Judgement::certain(Cause::TlsBroken),
        Ending::Closed { stage, .. } | Ending::TimedOut { stage, .. } => {
            Judgement::certain(match stage {
                Stage::Silent => Cause::Silent,
                Stage::Hello => Cause::HelloIncomplete,
                Stage::Certificate => Cause::CertificateRefused,
                Stage::Finished => Cause::ClosesAfterHandshake,
                Stage::Established => Cause::ConnectionLost,
            })
        }
        Ending::TurnedAway(limit) => Judgement::certain(turned_away(*limit)),
        Ending::TakenOver => Judgement::certain(match circumstances.take_overs {
            0..3 => Cause::TakenOver,
            3.. => Cause::DuplicateClientId,
        }),
    }
}

fn wrong_protocol(attempt: &Attempt, circumstances: &Circumstances) -> Cause {
    match (attempt.first, circumstances.service, circumstances.tls) {
        (Some(FirstBytes::Tls), ..) => Cause::TlsToPlainPort,
        (Some(FirstBytes::Mqtt), Service::Mqtt, _) => Cause::PlainToTlsPort,
        (Some(FirstBytes::Http), _, true) if attempt.asked_websocket => Cause::WssInClear,
        (Some(FirstBytes::Http), _, true) => Cause::HttpToTls,
        (Some(FirstBytes::Mqtt | FirstBytes::Http), ..) => Cause::WrongService,
        (Some(FirstBytes::Unknown) | None, ..) => Cause::Garbage,
    }
}

/// The reason of a refusing CONNACK, in numbers of MQTT 5 (§3.2.2.2).
fn refused(reason: u8) -> Cause {
    match reason {
        0x81 | 0x82 | 0x90 | 0x99 | 0x9a | 0x9b => Cause::ProtocolError,
        0x84 => Cause::ProtocolVersion,
        0x85 => Cause::ClientIdRefused,
        0x86 | 0x87 | 0x8c => Cause::AuthFailed,
        0x88 | 0x89 | 0x97 => Cause::ServerBusy,
        0x8a => Cause::Banned,
        0x95 => Cause::PacketTooLarge,
        0x9f => Cause::RateLimited,
        _ => Cause::Refused,
    }
}

fn turned_away(limit: Limit) -> Cause {
    match limit {
        Limit::PushedOut => Cause::PushedOut,
        Limit::TooManyHandshakes => Cause::TooManyHandshakes,
        Limit::TooManyFromAddress => Cause::TooManyFromAddress,
        Limit::TooManyConnections => Cause::TooManyConnections,
        Limit::NoDescriptors => Cause::NoDescriptors,
    }
}
