//! From everything that was seen to one finding.
//!
//! A clue that names one cause outranks one that names a class, which outranks one that only carries
//! the news. Among equals the lowest broken layer is the cause, for it hides those above. A clue that
//! leaves several causes open is settled by another source: either that source saw one of them, or
//! it saw that the others cannot be.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use safeport_settings::Said;

use crate::finding::{Diagnosis, Excluded, Finding, Sight};
use crate::limits::{ALTERNATIVES, SIGHTS};
use crate::{Cause, Clue, Confidence, Evidence, Layer, Place, Strength, Texts};

/// A device whose clock shows a year before this was never set.
const UNSET_BEFORE: u16 = 2020;

/// The same as a stamp: 2020-01-01 UTC.
const UNSET_STAMP: Duration = Duration::from_secs(1_577_836_800);

/// The one finding for what was seen, and what else it could be.
pub fn judge(evidence: Evidence, texts: &Texts) -> Diagnosis {
    let mut clues: Vec<&Clue> = evidence
        .clues
        .iter()
        .filter(|clue| clue.cause != Cause::Healthy)
        .collect();
    clues.sort_by_key(|clue| weight(clue));
    let Some(&foremost) = clues.first() else {
        return nothing_wrong(evidence, texts);
    };
    let case = Case {
        evidence: &evidence,
        texts,
        clues: &clues,
    };
    let (cause, decided_by) = case.settle(foremost);
    let finding = case.finding(
        cause,
        decided_by,
        case.confidence(cause, foremost, decided_by),
    );
    let alternatives = case.alternatives(cause, foremost);
    let note = only_from_here(&evidence);
    Diagnosis {
        finding,
        alternatives,
        note,
        evidence,
    }
}

/// The foremost clue first: by strength (what proves is no stronger here than what names), by
/// layer, by strength again, by who saw it, and the latest.
fn weight(clue: &Clue) -> impl Ord + use<> {
    (
        Reverse(clue.strength.min(Strength::Specific)),
        clue.layer.rank(),
        Reverse(clue.strength),
        clue.place.rank(),
        Reverse(clue.at),
    )
}

struct Case<'a> {
    evidence: &'a Evidence,
    texts: &'a Texts,
    /// The foremost first.
    clues: &'a [&'a Clue],
}

impl<'a> Case<'a> {
    /// What the foremost clue comes to in the light of the others, and the clue that decided.
    fn settle(&self, foremost: &'a Clue) -> (Cause, &'a Clue) {
        let finer = self.clues.iter().copied().find(|clue| {
            clue.place.kind() != foremost.place.kind()
                && clue.strength >= Strength::Specific
                && (foremost.or.contains(&clue.cause) || foremost.cause.is_refined_by(clue.cause))
        });
        if let Some(finer) = finer {
            return (finer.cause, finer);
        }
        // One source may say the same twice, and the second time more exactly.
        let again = self.clues.iter().copied().find(|clue| {
            clue.place.kind() == foremost.place.kind()
                && clue.strength.min(Strength::Specific)
                    == foremost.strength.min(Strength::Specific)
                && clue.strength > Strength::Carrier
                && foremost.cause.is_refined_by(clue.cause)
        });
        if let Some(again) = again {
            return (again.cause, again);
        }
        if matches!(
            foremost.cause,
            Cause::CertificateExpired | Cause::NotYetValid
        ) && foremost.place.is_of_device()
        {
            // BearSSL says 54 for every time outside of the certificate's: with a clock that was
            // never set, or a certificate that was just seen to be in date, it is the clock.
            let clock = self.clock_cause(foremost);
            if clock == Cause::DeviceClockUnset || self.probed(Layer::Certificate) {
                return (clock, foremost);
            }
        }
        let mut open = core::iter::once(foremost.cause)
            .chain(foremost.or.iter().copied())
            .filter(|cause| !self.is_ruled_out(*cause));
        match (open.next(), open.next()) {
            (Some(only), None) => (only, foremost),
            _ => (foremost.cause, foremost),
        }
    }

    /// A clock that nobody has set starts at 1970, or at the day the firmware was built. The stamps
    /// of a device's own lines are its clock, too.
    fn clock_cause(&self, line: &Clue) -> Cause {
        let told = self.evidence.facts.get("device_time");
        let year = told.and_then(|time| time.get(..4)?.parse::<u16>().ok());
        let stamp = line.at.filter(|at| at.wall).map(|at| at.since);
        if year.is_some_and(|year| year < UNSET_BEFORE)
            || stamp.is_some_and(|stamp| stamp < UNSET_STAMP)
        {
            Cause::DeviceClockUnset
        } else {
            Cause::DeviceClockWrong
        }
    }

    /// Whether something seen to work shows that it cannot be this.
    fn is_ruled_out(&self, cause: Cause) -> bool {
        match cause {
            Cause::NothingListens | Cause::PortInUse | Cause::UrlWithoutPort => {
                self.probed(Layer::Tcp)
            }
            Cause::NameNotResolved => self.probed(Layer::Dns),
            Cause::CertificateExpired
            | Cause::NotYetValid
            | Cause::ChainIncomplete
            | Cause::ChainOrder => self.probed(Layer::Certificate),
            Cause::TlsToPlainPort | Cause::TlsToPlainHttp => self.probed(Layer::Tls),
            _ => false,
        }
    }

    /// Whether a probe or a listener of ours saw this layer work.
    fn probed(&self, layer: Layer) -> bool {
        self.evidence.passed.iter().any(|passed| {
            passed.layer == layer && matches!(passed.place, Place::Probe { .. } | Place::Listener)
        })
    }

    fn confidence(&self, cause: Cause, foremost: &Clue, decided_by: &Clue) -> Confidence {
        let ours = |clue: &Clue| matches!(clue.place, Place::Listener | Place::Capture { .. });
        let agrees = |clue: &&&Clue| clue.cause == cause && clue.strength >= Strength::Specific;
        // Who saw the same without being able to name it agrees, too.
        let leaves_open = |clue: &Clue| {
            clue.strength >= Strength::Class
                && (clue.or.contains(&cause) || clue.cause.is_refined_by(cause))
        };
        let mut kinds: Vec<u8> = self
            .clues
            .iter()
            .filter(|clue| agrees(clue) || leaves_open(clue))
            .map(|clue| clue.place.kind())
            .collect();
        if foremost.place.kind() != decided_by.place.kind() {
            kinds.push(foremost.place.kind());
        }
        kinds.sort_unstable();
        kinds.dedup();
        let seen_on_the_wire =
            self.clues.iter().any(|clue| agrees(&clue) && ours(clue)) || ours(foremost);
        if kinds.len() > 1 && seen_on_the_wire {
            return Confidence::Certain;
        }
        if kinds.len() > 1 {
            return Confidence::High;
        }
        match decided_by.strength {
            Strength::Carrier => Confidence::Low,
            Strength::Class => Confidence::Medium,
            Strength::Specific | Strength::Proof => {
                // What would only be said more exactly leaves nothing open.
                let open = decided_by.cause == cause
                    && decided_by
                        .or
                        .iter()
                        .filter(|other| !self.is_ruled_out(**other))
                        .any(|other| !cause.is_refined_by(*other) && !other.is_refined_by(cause));
                if open {
                    Confidence::Medium
                } else {
                    Confidence::High
                }
            }
        }
    }

    fn finding(&self, cause: Cause, decided_by: &Clue, confidence: Confidence) -> Finding {
        let layer = if decided_by.cause == cause {
            decided_by.layer
        } else {
            cause.layer()
        };
        Finding {
            code: match decided_by.entry.as_ref() {
                Some(entry) if decided_by.cause == cause => entry.to_string(),
                _ => cause.code().to_string(),
            },
            layer,
            cause,
            confidence,
            saw: self.sights(cause, decided_by),
            means: self.texts.means(cause, &self.evidence.facts),
            fix: self.texts.fix(cause, &self.evidence.facts),
            excluded: self.excluded(layer),
        }
    }

    /// The clue that decided first, then those that say the same, then the next ones.
    fn sights(&self, cause: Cause, decided_by: &Clue) -> Vec<Sight> {
        let same = self.clues.iter().filter(|clue| clue.cause == cause);
        let others = self.clues.iter().filter(|clue| clue.cause != cause);
        let mut sights: Vec<Sight> = Vec::new();
        for clue in core::iter::once(&decided_by).chain(same).chain(others) {
            if sights.len() < SIGHTS && sights.iter().all(|sight| sight.quote != clue.quote) {
                sights.push(Sight {
                    place: clue.place,
                    quote: clue.quote.clone(),
                });
            }
        }
        sights
    }

    /// The layers that work, below the broken one or beside it.
    fn excluded(&self, broken: Layer) -> Vec<Excluded> {
        let mut excluded: Vec<Excluded> = Vec::new();
        for passed in &self.evidence.passed {
            let fits = passed.layer != broken && passed.layer.rank() <= broken.rank();
            if fits && excluded.iter().all(|other| other.layer != passed.layer) {
                excluded.push(Excluded {
                    layer: passed.layer,
                    because: passed.quote.clone(),
                });
            }
        }
        excluded.sort_by_key(|excluded| excluded.layer);
        excluded
    }

    /// What the foremost clue leaves open, then what the next clues point to.
    fn alternatives(&self, cause: Cause, foremost: &'a Clue) -> Vec<Finding> {
        let open = foremost.or.iter().map(|other| (*other, foremost));
        let seen = self
            .clues
            .iter()
            .filter(|clue| clue.strength > Strength::Carrier)
            .map(|clue| (clue.cause, *clue));
        let mut alternatives: Vec<Finding> = Vec::new();
        for (other, clue) in open.chain(seen) {
            let is_new = other != cause
                && !self.is_ruled_out(other)
                && !other.is_refined_by(cause)
                && alternatives.iter().all(|finding| finding.cause != other);
            if is_new && alternatives.len() < ALTERNATIVES {
                let confidence = if clue.cause == other {
                    Confidence::Medium
                } else {
                    Confidence::Low
                };
                alternatives.push(self.finding(other, clue, confidence));
            }
        }
        alternatives
    }
}

fn nothing_wrong(evidence: Evidence, texts: &Texts) -> Diagnosis {
    let deepest = evidence
        .passed
        .iter()
        .max_by_key(|passed| passed.layer.rank());
    let by_listener = evidence
        .passed
        .iter()
        .any(|passed| passed.place == Place::Listener);
    let finding = Finding {
        code: Cause::Healthy.code().to_string(),
        layer: deepest.map_or(Layer::Http, |passed| passed.layer),
        cause: Cause::Healthy,
        confidence: match (deepest, by_listener) {
            (_, true) => Confidence::Certain,
            (Some(_), false) => Confidence::High,
            (None, false) => Confidence::Low,
        },
        saw: deepest
            .map(|passed| Sight {
                place: passed.place,
                quote: passed.quote.clone(),
            })
            .into_iter()
            .collect(),
        means: texts.means(Cause::Healthy, &evidence.facts),
        fix: texts.fix(Cause::Healthy, &evidence.facts),
        excluded: Vec::new(),
    };
    let note = joined(soon_over(&evidence), only_from_here(&evidence));
    Diagnosis {
        finding,
        alternatives: Vec::new(),
        note,
        evidence,
    }
}

/// What works today and not for much longer.
fn soon_over(evidence: &Evidence) -> Option<Said> {
    let days = evidence.facts.get("ends_in_days")?;
    Some(Said::new(
        alloc::format!("The certificate ends in {days} days: renew it now."),
        alloc::format!("证书将在 {days} 天后到期：请尽快更新。"),
    ))
}

fn joined(one: Option<Said>, other: Option<Said>) -> Option<Said> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Said::new(
            alloc::format!("{} {}", one.en, other.en),
            alloc::format!("{}{}", one.zh, other.zh),
        )),
        (one, other) => one.or(other),
    }
}

/// Probes run from the server: what they find does not hold for the device's own way.
fn only_from_here(evidence: &Evidence) -> Option<Said> {
    let places = || {
        evidence
            .clues
            .iter()
            .map(|clue| clue.place)
            .chain(evidence.passed.iter().map(|passed| passed.place))
    };
    let only_probes =
        places().next().is_some() && places().all(|place| matches!(place, Place::Probe { .. }));
    only_probes.then(|| {
        Said::new(
            "Seen from this machine; the device's own way may differ. Its log tells: \
             safeport doctor --log FILE",
            "以上是从本机看到的情况，设备自己走的路径可能不同。可用它的日志确认：safeport doctor --log 文件",
        )
    })
}

impl Place {
    /// Sources that see the same thing together count once.
    fn kind(self) -> u8 {
        match self {
            Place::Listener => 0,
            Place::Capture { .. } => 1,
            Place::DeviceLog { .. } => 2,
            Place::ServerLog { .. } => 3,
            Place::Probe { .. } => 4,
        }
    }

    /// Whom to believe first.
    fn rank(self) -> u8 {
        self.kind()
    }

    fn is_of_device(self) -> bool {
        matches!(self, Place::DeviceLog { .. })
    }
}

impl Cause {
    /// Whether `finer` says more exactly what `self` says.
    pub fn is_refined_by(self, finer: Cause) -> bool {
        use Cause as C;
        if self == finer {
            return false;
        }
        match self {
            C::TlsFailed
            | C::TlsBroken
            | C::ClosesInHandshake
            | C::DeviceCloses
            | C::TlsTimeout => {
                matches!(
                    finer.layer(),
                    Layer::Tls | Layer::Certificate | Layer::Clock
                ) && !matches!(finer, C::TlsFailed | C::TlsBroken)
            }
            C::CertificateRefused => {
                matches!(finer.layer(), Layer::Certificate | Layer::Clock)
            }
            C::ChainNotTrusted => matches!(
                finer,
                C::ChainIncomplete | C::UntrustedSelfSigned | C::SniNeeded | C::ChainOrder
            ),
            C::NoCommonCipher => matches!(
                finer,
                C::NoCommonCipherEcdsaOnly
                    | C::NoCommonGroup
                    | C::TlsVersion
                    | C::ClientCertRequired
                    | C::ChainUnsupportedCurve
            ),
            C::TlsVersionMismatch => finer == C::TlsVersion,
            C::HttpToTls => finer == C::ModemNoTls,
            C::AcceptsThenSilent => {
                matches!(finer, C::MtuBlackHole | C::TlsToPlainPort | C::WrongService)
            }
            C::TcpFailed | C::TcpConnectFailed | C::ConnectionReset => {
                finer.layer() == Layer::Tcp && !matches!(finer, C::TcpFailed | C::TcpConnectFailed)
            }
            C::NothingListens => matches!(
                finer,
                C::PortInUse | C::UrlWithoutPort | C::NotReachableFromLan
            ),
            C::TcpTimeout => finer == C::HostUnreachable,
            C::DnsFailed => finer.layer() == Layer::Dns,
            C::NameNotResolved => matches!(finer, C::DnsSilent | C::SplitHorizon),
            C::NameMismatch => finer == C::SniNeeded,
            C::AuthFailed => matches!(finer, C::NotAuthorized | C::Banned),
            C::ConnectionLost => matches!(
                finer,
                C::DuplicateClientId | C::NatIdleTimeout | C::KeepAliveTimeout
            ),
            C::WifiFailed => finer.layer() == Layer::Wifi,
            C::MqttFailed | C::MqttRefused => finer.layer() == Layer::Mqtt,
            C::WebsocketFailed | C::UpgradeRefused => {
                matches!(finer.layer(), Layer::Websocket)
                    || matches!(finer, C::PathMissing | C::BackendDown)
            }
            C::HttpFailed | C::HttpRefused => finer.layer() == Layer::Http,
            C::WrongServiceOrPortal => {
                matches!(finer, C::CaptivePortal | C::WrongService | C::PathMissing)
            }
            C::OtaFailed => finer.layer() == Layer::Ota,
            C::OutOfMemory => finer.layer() == Layer::Memory,
            C::WrongService => matches!(finer, C::TlsToPlainHttp | C::TlsToPlainPort),
            _ => false,
        }
    }
}
