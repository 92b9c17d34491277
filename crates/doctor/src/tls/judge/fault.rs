//! A fault of a chain, and the words for it.

use alloc::format;
use alloc::string::{String, ToString};

use safeport_settings::Said;

use super::Case;
use crate::limits::NAMES_SHOWN;
use crate::profile::ClockRule;
use crate::tls::certificate::{Certificate, Hash, Key, day};
use crate::tls::number::Number;
use crate::{Cause, Clue, Facts, Strength};

/// What is wrong with a chain for a device. `at` counts the certificates from 0, the server's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No certificate came.
    Empty,
    /// One cannot be read.
    Unreadable,
    /// Its last day has passed.
    Expired { at: usize },
    /// Its first day is to come.
    NotYetValid { at: usize },
    /// It is good, and the device's clock says otherwise.
    DeviceClock { at: usize },
    /// It is not that of the issuer of the one before it.
    Order { at: usize },
    /// The host does not stand in it.
    Name,
    /// The hash under its signature.
    Hash { at: usize },
    /// More bits than the device takes.
    KeyTooLarge { at: usize },
    /// Fewer bits than the device takes.
    KeyTooSmall { at: usize },
    /// A curve that the device does not know.
    Curve { at: usize },
    /// A kind of key that no device knows.
    KeyUnknown { at: usize },
    /// ECDSA, for a device without it.
    EcdsaOnly,
    /// It issued another one and may not.
    NotAuthority { at: usize },
    /// It is not meant for servers.
    Usage,
    /// A critical extension that the device does not know.
    Critical { at: usize },
    /// The key that should verify its signature does not.
    Signature { at: usize },
    /// No root of the device stands behind it.
    Untrusted { last: usize, why: Untrusted },
    /// Another key than the fingerprint's.
    Pin,
}

/// Why a chain leads to no root of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// The server's certificate signed itself.
    SelfSigned,
    /// The issuer was not sent, and is no root that is known.
    Missing,
    /// The issuer was sent, and is no authority.
    IssuerMayNot,
    /// It ends at a root that the device does not have.
    Root,
    /// The device has a root of that name with another key.
    OtherRoot,
    /// The device has the root and cannot use a key of that size.
    RootTooLarge(Key),
}

impl Fault {
    /// The worst first: what is wrong for everyone before what is wrong for this device.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Fault::Empty | Fault::Unreadable => 0,
            Fault::DeviceClock { .. } => 1,
            Fault::Expired { .. } | Fault::NotYetValid { .. } => 2,
            Fault::Untrusted { .. } => 3,
            Fault::Name => 4,
            _ => 5,
        }
    }

    fn cause(&self, case: &Case<'_>) -> Cause {
        match self {
            // The handshake ends before such a key comes to be looked at.
            Fault::KeyUnknown { at: 0 } => Cause::NoCommonCipher,
            Fault::Empty
            | Fault::Unreadable
            | Fault::KeyUnknown { .. }
            | Fault::Critical { .. } => Cause::CertificateUnreadable,
            Fault::Expired { .. } => Cause::CertificateExpired,
            Fault::NotYetValid { .. } => Cause::NotYetValid,
            Fault::DeviceClock { .. } => match case.time() < UNSET_BEFORE {
                true => Cause::DeviceClockUnset,
                false => Cause::DeviceClockWrong,
            },
            Fault::Order { .. } => Cause::ChainOrder,
            Fault::Name => Cause::NameMismatch,
            Fault::Hash { at } => match case.chain[*at].hash {
                Some(Hash::Md5 | Hash::Sha1) => Cause::HashWeak,
                _ => Cause::HashUnsupported,
            },
            Fault::KeyTooLarge { .. } => Cause::KeyTooLarge,
            Fault::KeyTooSmall { .. } => Cause::KeyTooWeak,
            Fault::Curve { .. } => Cause::ChainUnsupportedCurve,
            Fault::EcdsaOnly => Cause::NoCommonCipherEcdsaOnly,
            Fault::NotAuthority { .. } => Cause::IssuerNotCa,
            Fault::Signature { .. } => Cause::ChainNotTrusted,
            Fault::Usage => Cause::WrongEku,
            Fault::Untrusted { why, .. } => match why {
                Untrusted::SelfSigned => Cause::UntrustedSelfSigned,
                Untrusted::Missing => Cause::ChainIncomplete,
                Untrusted::IssuerMayNot => Cause::IssuerNotCa,
                Untrusted::Root | Untrusted::OtherRoot => Cause::ChainNotTrusted,
                Untrusted::RootTooLarge(_) => Cause::KeyTooLarge,
            },
            Fault::Pin => Cause::FingerprintMismatch,
        }
    }

    /// The clue for it.
    pub(super) fn clue(&self, case: &Case<'_>, number: Option<Number>) -> Clue {
        let strength = match self {
            // A private root that signs servers itself leaves the same trace as a missing one.
            Fault::Untrusted { .. } => Strength::Specific,
            // Not every build looks at dates.
            Fault::Expired { .. } | Fault::NotYetValid { .. }
                if case.profile.clock == ClockRule::IfBuilt =>
            {
                Strength::Specific
            }
            _ => Strength::Proof,
        };
        let said = self.words(case);
        let quote = match number {
            Some(number) => Said::new(
                format!("{} [{number}]", said.en),
                format!("{}〔{number}〕", said.zh),
            ),
            None => said,
        };
        let clue = Clue::new(self.cause(case), strength, case.at.place, quote);
        match self {
            // It says where its issuer is to be had, or the owner has told us the root: then it is
            // not the root that is unknown.
            Fault::Untrusted {
                last,
                why: Untrusted::Missing,
            } if case.at.own.is_empty() && case.chain[*last].issuer_url.is_none() => {
                clue.or(&[Cause::ChainNotTrusted])
            }
            Fault::Untrusted {
                why: Untrusted::RootTooLarge(_),
                ..
            } => clue.or(&[Cause::ChainNotTrusted]),
            Fault::NotYetValid { .. } => clue.or(&[Cause::ServerClockWrong]),
            _ => clue,
        }
    }

    /// What texts want to know besides.
    pub(super) fn note(&self, case: &Case<'_>, facts: &mut Facts) {
        match self {
            Fault::Name => {
                if let Some(leaf) = case.leaf() {
                    facts.note("other", names(leaf));
                }
            }
            Fault::Untrusted { last, .. } => {
                facts.note("other", case.chain[*last].issuer.clone());
            }
            Fault::Expired { at } => facts.note("other", day(case.chain[*at].not_after)),
            Fault::NotYetValid { at } => facts.note("other", day(case.chain[*at].not_before)),
            _ => {}
        }
        if let Some(time) = case.at.device_time {
            facts.note(
                "device_time",
                day(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
            );
        }
    }

    fn words(&self, case: &Case<'_>) -> Said {
        let of = |at: usize| Served { case, at };
        match *self {
            Fault::Empty => Said::new("the server sent no certificate", "服务器没有发来证书"),
            Fault::Unreadable => {
                let at = case.chain.len() + 1;
                Said::new(
                    format!("certificate {at} of the chain cannot be read"),
                    format!("证书链中第 {at} 张证书无法解析"),
                )
            }
            Fault::Expired { at } => {
                let (Said { en, zh }, end) = (of(at).said(), day(case.chain[at].not_after));
                Said::new(
                    format!("{en} ended on {end}"),
                    format!("{zh}已于 {end} 过期"),
                )
            }
            Fault::NotYetValid { at } => {
                let (Said { en, zh }, start) = (of(at).said(), day(case.chain[at].not_before));
                Said::new(
                    format!("{en} is good only from {start}"),
                    format!("{zh}要到 {start} 才生效"),
                )
            }
            Fault::DeviceClock { at } => {
                let certificate = &case.chain[at];
                let Said { en, zh } = of(at).said();
                let (start, end) = (day(certificate.not_before), day(certificate.not_after));
                let time = day(case.time());
                Said::new(
                    format!("{en} is good from {start} to {end}; the device takes it for {time}"),
                    format!("{zh}的有效期是 {start} 到 {end}，而设备以为今天是 {time}"),
                )
            }
            Fault::Order { at } => {
                let (sent, wanted) = (&case.chain[at].subject, &case.chain[at - 1].issuer);
                let place = at + 1;
                Said::new(
                    format!(
                        "certificate {place} of the chain is \"{sent}\" where \"{wanted}\" was due"
                    ),
                    format!("证书链中第 {place} 张是“{sent}”，那里应是“{wanted}”"),
                )
            }
            Fault::Name => {
                let (host, names) = (case.at.host, case.leaf().map(names).unwrap_or_default());
                let address = host.ip().is_some();
                let apart = case
                    .leaf()
                    .is_some_and(|leaf| host.ip().is_some_and(|ip| leaf.addresses.contains(&ip)));
                match (address, apart) {
                    (true, true) => Said::new(
                        format!(
                            "{host} stands in the certificate as an address, and this device compares names only"
                        ),
                        format!("证书里 {host} 是以 IP 地址形式写的，而设备只比较域名"),
                    ),
                    _ => Said::new(
                        format!("the device connects to {host}; the certificate is for {names}"),
                        format!("设备连接的是 {host}，证书却是给 {names} 的"),
                    ),
                }
            }
            Fault::Hash { at } => {
                let hash = case.chain[at].hash;
                let hash = hash.map_or("another algorithm".to_string(), |hash| hash.to_string());
                let Said { en, zh } = of(at).said();
                Said::new(
                    format!("{en} is signed with {hash}"),
                    format!("{zh}的签名用的是 {hash}"),
                )
            }
            Fault::KeyTooLarge { at } => {
                let key = case.chain[at].key;
                let most = match at {
                    0 => case.profile.keys.rsa_server,
                    _ => case.profile.keys.rsa_authority,
                };
                let Said { en, zh } = of(at).said();
                Said::new(
                    format!("{en} has a key of {key}; this device takes {most} bits at most"),
                    format!("{zh}的密钥是 {key}，设备最多支持 {most} 位"),
                )
            }
            Fault::KeyTooSmall { at } => {
                let (key, least) = (case.chain[at].key, case.profile.keys.rsa_least);
                let Said { en, zh } = of(at).said();
                Said::new(
                    format!("{en} has a key of {key}; this device wants {least} bits at least"),
                    format!("{zh}的密钥是 {key}，设备要求至少 {least} 位"),
                )
            }
            Fault::Curve { at } => {
                let (key, Said { en, zh }) = (case.chain[at].key, of(at).said());
                Said::new(
                    format!("{en} has a key on {key}, which this device cannot use"),
                    format!("{zh}的密钥用的是 {key}，设备不支持"),
                )
            }
            Fault::KeyUnknown { at } => {
                let Said { en, zh } = of(at).said();
                Said::new(
                    format!("{en} has a kind of key that devices do not know"),
                    format!("{zh}的密钥类型设备不认识"),
                )
            }
            Fault::EcdsaOnly => {
                let key = case.chain[0].key;
                Said::new(
                    format!(
                        "the server's key is ECDSA ({key}), and this device offers suites with RSA only"
                    ),
                    format!("服务器的密钥是 ECDSA（{key}），而设备只支持 RSA 套件"),
                )
            }
            Fault::NotAuthority { at } => {
                let Said { en, zh } = of(at).said();
                Said::new(
                    format!("{en} has signed another and is no authority"),
                    format!("{zh}签发了别的证书，但它不是 CA"),
                )
            }
            Fault::Usage => Said::new(
                "the certificate is not meant for servers (extended key usage without serverAuth)",
                "证书不是给服务器用的（扩展密钥用法里没有 serverAuth）",
            ),
            Fault::Critical { at } => {
                let extension = case.chain[at].critical.clone().unwrap_or_default();
                let Said { en, zh } = of(at).said();
                Said::new(
                    format!(
                        "{en} has a critical extension that this device does not know ({extension})"
                    ),
                    format!("{zh}有设备不认识的关键扩展（{extension}）"),
                )
            }
            Fault::Signature { at } => {
                let (Said { en, zh }, issuer) = (of(at).said(), &case.chain[at].issuer);
                Said::new(
                    format!("{en} was not signed with the key that was sent for \"{issuer}\""),
                    format!("{zh}的签名与服务器发来的“{issuer}”的密钥不符"),
                )
            }
            Fault::Untrusted { last, why } => untrusted(case, last, why),
            Fault::Pin => match case.leaf().map(|leaf| leaf.key) {
                Some(Key::Rsa(_)) => Said::new(
                    "the server has another key than the fingerprint in the device",
                    "服务器的密钥与设备里存的指纹不符",
                ),
                _ => Said::new(
                    "the device has a fingerprint of an RSA key, and the server's key is ECDSA",
                    "设备里存的是 RSA 密钥的指纹，而服务器的密钥是 ECDSA",
                ),
            },
        }
    }
}

fn untrusted(case: &Case<'_>, last: usize, why: Untrusted) -> Said {
    let certificate = &case.chain[last];
    let issuer = &certificate.issuer;
    match why {
        Untrusted::SelfSigned => {
            let subject = &certificate.subject;
            Said::new(
                format!("the server's certificate \"{subject}\" signed itself"),
                format!("服务器证书“{subject}”是自签名的"),
            )
        }
        Untrusted::Missing => {
            let sent = case.chain.len();
            Said::new(
                format!(
                    "the server sends {sent} certificate(s) and not that of \"{issuer}\", which signed the last; devices fetch none"
                ),
                format!(
                    "服务器只发来 {sent} 张证书，缺少签发最后一张的“{issuer}”，设备不会自己去下载"
                ),
            )
        }
        Untrusted::IssuerMayNot => Said::new(
            format!("\"{issuer}\" has signed another certificate and is no authority"),
            format!("“{issuer}”签发了别的证书，但它不是 CA"),
        ),
        Untrusted::Root => Said::new(
            format!("the chain ends at \"{issuer}\", which this device does not trust"),
            format!("证书链止于“{issuer}”，设备不信任它"),
        ),
        Untrusted::OtherRoot => Said::new(
            format!(
                "the device trusts a \"{issuer}\" with another key than the one that signed the chain"
            ),
            format!("设备信任的“{issuer}”与签发这条证书链的密钥不同"),
        ),
        Untrusted::RootTooLarge(key) => {
            let most = case.profile.keys.rsa_authority;
            Said::new(
                format!(
                    "the root \"{issuer}\" has a key of {key}; a build of this device verifies {most} bits unless it was made for more"
                ),
                format!("根证书“{issuer}”的密钥是 {key}，这种固件若非特别编译只能验证 {most} 位"),
            )
        }
    }
}

/// A certificate of the chain, by its place.
struct Served<'a> {
    case: &'a Case<'a>,
    at: usize,
}

impl Served<'_> {
    fn said(&self) -> Said {
        let subject = &self.case.chain[self.at].subject;
        match self.at {
            0 => Said::new(
                format!("the server's certificate \"{subject}\""),
                format!("服务器证书“{subject}”"),
            ),
            _ => Said::new(
                format!("the certificate of \"{subject}\" in the chain"),
                format!("证书链中“{subject}”的证书"),
            ),
        }
    }
}

/// The names in a certificate, a few of them.
fn names(leaf: &Certificate) -> String {
    let mut all = leaf.dns.clone().unwrap_or_default();
    all.extend(leaf.addresses.iter().map(ToString::to_string));
    if all.is_empty() {
        all.extend(leaf.common_name.clone());
    }
    let more = all.len().saturating_sub(NAMES_SHOWN);
    all.truncate(NAMES_SHOWN);
    match more {
        0 => all.join(", "),
        more => format!("{} +{more}", all.join(", ")),
    }
}

/// 2016-01-01: a clock before it was never set since power came.
const UNSET_BEFORE: i64 = 1_451_606_400;
