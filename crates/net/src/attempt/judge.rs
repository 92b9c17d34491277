//! From what a listener saw to what it means: pure, so that it can be asked again later, when
//! more is known.

use super::alert::{from_client, from_us};
use super::suspects::Suspects;
use super::{Attempt, Cause, Ending, Limit, Stage, TlsFacts};
use crate::FirstBytes;
use crate::hello::Stack;

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
    pub(super) fn certain(cause: Cause) -> Judgement {
        Judgement {
            cause,
            certainty: Certainty::Certain,
            others: Vec::new(),
        }
    }

    pub(super) fn likely(cause: Cause, others: &[Cause]) -> Judgement {
        Judgement {
            cause,
            certainty: Certainty::Likely,
            others: others.iter().copied().filter(|it| *it != cause).collect(),
        }
    }

    pub(super) fn possible(cause: Cause, others: &[Cause]) -> Judgement {
        Judgement {
            certainty: Certainty::Possible,
            ..Judgement::likely(cause, others)
        }
    }
}

/// Says what an attempt means.
///
/// Where the wire leaves several causes, what else is known narrows them: the names, dates,
/// signatures and root of the chain that was served, what the client's stack can compare and
/// trusts from the factory, the pinned key.
pub fn judge(attempt: &Attempt, circumstances: &Circumstances) -> Judgement {
    let tls = attempt.tls.as_deref();
    match attempt.ending {
        Ending::Connected => Judgement::certain(Cause::Healthy),
        Ending::Refused { reason, .. } => Judgement::certain(refused(reason)),
        Ending::WrongProtocol => Judgement::certain(wrong_protocol(attempt, circumstances)),
        Ending::AlertReceived(alert) => from_client(alert, attempt, circumstances),
        Ending::Failed { alert, .. } => from_us(alert, tls),
        Ending::Closed { stage, reset } => closed(stage, reset, attempt, circumstances),
        Ending::TimedOut {
            stage,
            unacknowledged,
        } => timed_out(stage, unacknowledged),
        Ending::TurnedAway(limit) => Judgement::certain(turned_away(limit)),
        Ending::TakenOver => match circumstances.take_overs {
            0..TAKE_OVERS => Judgement::certain(Cause::TakenOver),
            TAKE_OVERS.. => Judgement::certain(Cause::DuplicateClientId),
        },
        Ending::Noted { cause, .. } => Judgement::certain(cause),
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

fn closed(stage: Stage, reset: bool, attempt: &Attempt, known: &Circumstances) -> Judgement {
    match stage {
        // A device that gives up on a connect drops it; a monitor closes it in good order.
        Stage::Silent if reset => Judgement::likely(Cause::TimeoutTooShort, &[Cause::PortCheck]),
        Stage::Silent => Judgement::likely(Cause::PortCheck, &[Cause::TimeoutTooShort]),
        Stage::Hello => Judgement::possible(
            Cause::ClosesInHandshake,
            &[Cause::HelloIncomplete, Cause::TimeoutTooShort],
        ),
        Stage::Certificate => closed_at_certificate(attempt, known),
        Stage::Finished => closed_after_handshake(attempt, known),
        Stage::Established => closed_when_established(reset, attempt),
    }
}

fn closed_at_certificate(attempt: &Attempt, known: &Circumstances) -> Judgement {
    let suspects = Suspects::new(attempt, known);
    let evident = suspects.evident();
    let stack = suspects.stack();
    // These say nothing about a certificate that they refuse: BearSSL closes, a module too.
    if stack.is_some_and(closes_without_alert) {
        return suspects.judge(suspects.all_of_silent_client());
    }
    // The others would have sent an alert, so it takes a plain fault to blame the certificate.
    let plain = evident.iter().find(|cause| **cause != Cause::Untrusted);
    match (plain, stack) {
        (Some(cause), _) => Judgement::likely(*cause, &evident),
        (None, Some(stack)) if !stack.has_large_buffers() => Judgement::possible(
            Cause::ClosesInHandshake,
            &[&[Cause::LowHeap][..], &evident].concat(),
        ),
        (None, _) => Judgement::possible(Cause::ClosesInHandshake, &evident),
    }
}

/// Node.js and other programs that look at names and roots only after the handshake then close
/// without an alert; a device without memory does it too.
fn closed_after_handshake(attempt: &Attempt, known: &Circumstances) -> Judgement {
    let suspects = Suspects::new(attempt, known);
    let evident = suspects.evident();
    match evident.first() {
        Some(cause) if suspects.stack() == Some(Stack::OpenSsl) => {
            let others = [&evident[..], &[Cause::ClosesAfterHandshake]].concat();
            match cause {
                Cause::Untrusted => Judgement::possible(*cause, &others),
                _ => Judgement::likely(*cause, &others),
            }
        }
        _ => Judgement::possible(
            Cause::ClosesAfterHandshake,
            &[&[Cause::LowHeap][..], &evident].concat(),
        ),
    }
}

fn closed_when_established(reset: bool, attempt: &Attempt) -> Judgement {
    match attempt.tls.as_deref().and_then(too_large) {
        Some(certainty) if reset => Judgement {
            certainty,
            ..Judgement::likely(Cause::RecordTooLarge, &[Cause::ConnectionLost])
        },
        Some(_) => Judgement::possible(Cause::RecordTooLarge, &[Cause::ConnectionLost]),
        None if reset => Judgement::certain(Cause::ConnectionLost),
        None => Judgement::certain(Cause::Healthy),
    }
}

/// Whether a record went out just before the end that the client could not hold.
fn too_large(tls: &TlsFacts) -> Option<Certainty> {
    let sent = tls.largest_sent?;
    let hello = tls.hello.as_ref()?;
    if sent.before_end.as_millis() > RECORD_PROOF_MS {
        return None;
    }
    let bytes = usize::from(sent.bytes);
    let stack = hello.stack();
    match (stack, hello.fragment()) {
        // Its buffer is 325 bytes larger than the fragment it asks for, 29 of them for the
        // header, the nonce and the tag; without asking it holds what the sketch chose.
        (Stack::BearSsl | Stack::BearSslOther, asked) => {
            let holds = asked.unwrap_or(SMALLEST_BEARSSL) + BEARSSL_SPARE;
            (bytes > holds).then_some(Certainty::Likely)
        }
        (_, Some(asked)) => (bytes > asked).then_some(Certainty::Likely),
        // Buffers of ESP-IDF are often cut to 4 KiB.
        (stack, None) if !stack.has_large_buffers() && bytes > CUT_BUFFER => {
            Some(Certainty::Possible)
        }
        _ => None,
    }
}

fn timed_out(stage: Stage, unacknowledged: Option<u32>) -> Judgement {
    match (stage, unacknowledged) {
        (Stage::Silent, _) => Judgement::certain(Cause::Silent),
        (Stage::Hello, _) => Judgement::likely(Cause::HelloIncomplete, &[Cause::MtuBlackHole]),
        (Stage::Certificate, Some(1..)) => {
            Judgement::likely(Cause::MtuBlackHole, &[Cause::HandshakeTimeout])
        }
        (Stage::Certificate, Some(0)) => {
            Judgement::likely(Cause::HandshakeTimeout, &[Cause::LowHeap])
        }
        (Stage::Certificate, None) => Judgement::possible(
            Cause::HandshakeTimeout,
            &[Cause::MtuBlackHole, Cause::LowHeap],
        ),
        (Stage::Finished, _) => Judgement::likely(Cause::SilentAfterHandshake, &[Cause::LowHeap]),
        (Stage::Established, _) => Judgement::certain(Cause::ConnectionLost),
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

/// Whether a client closes without an alert when it does not like a certificate.
fn closes_without_alert(stack: Stack) -> bool {
    matches!(
        stack,
        Stack::BearSsl | Stack::BearSslOther | Stack::Modem | Stack::Unknown
    )
}

/// Take-overs within a minute from which on two clients must share one identifier.
const TAKE_OVERS: u32 = 3;
/// How soon after a record that is too large a client closes, in milliseconds.
const RECORD_PROOF_MS: u128 = 2000;
/// The buffer of BearSSL clients that ask for no fragment, at least: 512 bytes.
const SMALLEST_BEARSSL: usize = 1024;
/// Plaintext beyond the asked fragment that BearSSL clients were measured to take.
const BEARSSL_SPARE: usize = 296;
/// Plaintext from which on devices with mbedTLS may lack room.
const CUT_BUFFER: usize = 4096;
