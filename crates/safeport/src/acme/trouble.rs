//! Why there is no new certificate: what happened, and what to do about it, in both languages.

use std::fmt::Display;
use std::path::Path;

use instant_acme::{Error, Problem};
use safeport_settings::Said;

use super::client::CallError;
use super::config::Challenge;

macro_rules! both {
    ($en:literal, $zh:literal $(,)?) => {
        ::safeport_settings::Said::new(format!($en), format!($zh))
    };
}
pub(super) use both;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// A stable word for programs; the list is in `docs/certificates.md`.
    pub(super) code: &'static str,
    /// What happened.
    pub(super) what: Said,
    /// What to do about it.
    pub(super) next: Said,
    /// Seconds for which the authority wants to hear nothing.
    pub(super) retry_after: Option<u32>,
}

/// What was being asked of the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Directory,
    Account,
    Order,
    Proof,
    Certificate,
}

/// How the authority judged one name.
#[derive(Debug, Clone)]
pub(super) struct Unproved {
    pub(super) name: String,
    pub(super) problem: Option<Problem>,
    /// What came of looking for ourselves.
    pub(super) look: Option<Said>,
}

impl Trouble {
    fn new(code: &'static str, what: Said, next: Said) -> Trouble {
        Trouble {
            code,
            what,
            next,
            retry_after: None,
        }
    }

    /// Whether the authority no longer knows the account that asked.
    pub(super) fn is_unknown_account(&self) -> bool {
        self.code == "account_unknown"
    }

    pub(super) fn broken_file(path: &Path, error: &dyn Display) -> Trouble {
        let path = path.display();
        Trouble::new(
            "file_unreadable",
            both!("cannot read {path}: {error}", "无法读取 {path}：{error}"),
            both!(
                "make it readable for the user that runs safeport; if it is damaged, remove it, \
                 and it is made anew",
                "请让运行 safeport 的用户可以读取它；如果已损坏，请删除它，会重新生成"
            ),
        )
    }

    pub(super) fn cannot_write(path: &Path, error: &dyn Display) -> Trouble {
        let path = path.display();
        Trouble::new(
            "file_unwritable",
            both!("cannot write {path}: {error}", "无法写入 {path}：{error}"),
            both!(
                "make its folder writable for the user that runs safeport, or free space on the disk",
                "请让运行 safeport 的用户可以写入该目录，或腾出磁盘空间"
            ),
        )
    }

    pub(super) fn ca_file(path: &Path, error: &dyn Display) -> Trouble {
        let path = path.display();
        Trouble::new(
            "ca_file_unusable",
            both!(
                "the certificates in {path} cannot be used: {error}",
                "{path} 中的证书无法使用：{error}"
            ),
            both!(
                "set acme.ca_file to a PEM file with the root certificate of your authority",
                "请把 acme.ca_file 设为包含您的证书机构根证书的 PEM 文件"
            ),
        )
    }

    pub(super) fn eab_key() -> Trouble {
        Trouble::new(
            "eab_refused",
            both!(
                "acme.eab_key is not written in base64url",
                "acme.eab_key 不是 base64url 写法"
            ),
            EAB_NEXT(),
        )
    }

    pub(super) fn own_key(error: &dyn Display) -> Trouble {
        Trouble::new(
            "key_unusable",
            both!(
                "the server's own key cannot sign a request: {error}",
                "服务器自己的密钥无法签署请求：{error}"
            ),
            both!(
                "restore pki/server-rsa.key or pki/server-p256.key in the data folder from a backup",
                "请从备份恢复数据目录中的 pki/server-rsa.key 或 pki/server-p256.key"
            ),
        )
    }

    pub(super) fn not_offered(name: &str, challenge: Challenge, offered: &[String]) -> Trouble {
        let (challenge, offered) = (challenge.word(), offered.join(", "));
        Trouble::new(
            "challenge_not_offered",
            both!(
                "the authority does not offer {challenge} for {name}, only: {offered}",
                "证书机构不为 {name} 提供 {challenge}，只提供：{offered}"
            ),
            if name.starts_with("*.") {
                both!(
                    "names with a star are proved by DNS only: set acme.challenge = \"dns-01\" and \
                     acme.dns_hook",
                    "带星号的名称只能通过 DNS 证明：请设置 acme.challenge = \"dns-01\" 和 acme.dns_hook"
                )
            } else {
                both!(
                    "set acme.challenge to one of these",
                    "请把 acme.challenge 设为其中之一"
                )
            },
        )
    }

    pub(super) fn hook(program: &str, record: &str, verb: &str, why: &Said) -> Trouble {
        let Said { en, zh } = why;
        Trouble::new(
            "dns_hook_failed",
            Said::new(
                format!("`{program} {verb} {record} …` (acme.dns_hook) {en}"),
                format!("`{program} {verb} {record} …`（acme.dns_hook）{zh}"),
            ),
            both!(
                "run it by hand with these arguments until it ends with 0; it has to set the TXT \
                 record, and to wait until the name servers of the zone show it",
                "请用这些参数手动运行它，直到以 0 结束；它必须设置 TXT 记录，并等到该区域的域名服务器能查到为止"
            ),
        )
    }

    /// The authority looked, and was not convinced.
    pub(super) fn unproved(challenge: Challenge, unproved: &[Unproved]) -> Trouble {
        let mut what = Said::default();
        let mut kind = None;
        for one in unproved {
            let name = &one.name;
            let word = challenge.word();
            let said = one.problem.as_ref().map(told).unwrap_or_default();
            kind = kind.or_else(|| one.problem.as_ref().and_then(kind_of));
            let separator = if what.en.is_empty() { "" } else { "; " };
            what.en += &format!(
                "{separator}the authority could not see by {word} that {name} is yours: {said}"
            );
            what.zh += &format!("{separator}证书机构无法通过 {word} 确认 {name} 属于您：{said}");
            if let Some(look) = &one.look {
                what.en += &format!(" ({})", look.en);
                what.zh += &format!("（{}）", look.zh);
            }
        }
        let names = unproved.iter().map(|one| one.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        Trouble::new("not_proved", what, proof_next(challenge, kind, &names))
    }

    pub(super) fn waited(asking: Asking) -> Trouble {
        let (en, zh) = asking.words();
        Trouble::new(
            "authority_slow",
            both!(
                "the authority has not come to an end in time ({en})",
                "证书机构没有按时完成（{zh}）"
            ),
            both!(
                "nothing: the same order goes on at the next attempt",
                "无需处理：下次尝试会继续同一个订单"
            ),
        )
    }

    pub(super) fn unusable(why: &Said) -> Trouble {
        let Said { en, zh } = why;
        Trouble::new(
            "certificate_unusable",
            Said::new(
                format!("the certificate that the authority gave cannot be served: {en}"),
                format!("证书机构给出的证书无法使用：{zh}"),
            ),
            both!(
                "compare the clock of this machine with the authority's, and acme.names with what \
                 the authority gives certificates for",
                "请核对本机与证书机构的时钟，以及 acme.names 与该机构可签发的名称"
            ),
        )
    }

    pub(super) fn clock_unset(now: u64) -> Trouble {
        let clock = crate::time::stamp(now);
        Trouble::new(
            "clock_unset",
            both!(
                "the clock of this machine says {clock}, so no authority can be asked",
                "本机时钟为 {clock}，无法向证书机构申请"
            ),
            both!(
                "set the clock, or let the system set it over the network (NTP); then it goes on by \
                 itself",
                "请设置时钟，或让系统通过网络（NTP）校时；之后会自动继续"
            ),
        )
    }

    pub(super) fn order_ended(status: &str) -> Trouble {
        Trouble::new(
            "order_ended",
            both!(
                "the authority has ended the order (status {status})",
                "证书机构终止了该订单（状态 {status}）"
            ),
            both!(
                "nothing: a new order is placed at the next attempt",
                "无需处理：下次尝试会重新下单"
            ),
        )
    }

    /// Of an error of the library.
    pub(super) fn of(asking: Asking, directory: &str, error: &Error) -> Trouble {
        match error {
            Error::Api(problem) => Trouble::of_problem(asking, problem),
            Error::Timeout(_) => Trouble::waited(asking),
            Error::Other(inner) => match inner.downcast_ref::<CallError>() {
                Some(call) => Trouble::of_call(directory, call),
                None => Trouble::strange(asking, directory, error),
            },
            _ => Trouble::strange(asking, directory, error),
        }
    }

    fn of_call(directory: &str, error: &CallError) -> Trouble {
        let mut trouble = match error {
            CallError::Strange { status, .. } if *status >= 500 || *status == 429 => Trouble::new(
                "authority_down",
                both!(
                    "the authority at {directory} answers with HTTP {status}",
                    "位于 {directory} 的证书机构以 HTTP {status} 回应"
                ),
                both!(
                    "nothing, if it passes: attempts go on by themselves",
                    "若会自行恢复则无需处理：会自动继续尝试"
                ),
            ),
            CallError::Strange { .. } => Trouble::strange(Asking::Directory, directory, error),
            CallError::Untrusted(why) => Trouble::new(
                "authority_untrusted",
                both!(
                    "the certificate of the authority at {directory} is not accepted: {why}",
                    "不接受位于 {directory} 的证书机构自己的证书：{why}"
                ),
                both!(
                    "for an authority at home set acme.ca_file to its root certificate; else compare \
                     the clock of this machine, and install the system's root certificates \
                     (ca-certificates)",
                    "若是家中的证书机构，请把 acme.ca_file 设为其根证书；否则请检查本机时钟，并安装系统根证书（ca-certificates）"
                ),
            ),
            CallError::Unreachable(why) => Trouble::new(
                "authority_unreachable",
                both!(
                    "the authority at {directory} cannot be reached: {why}",
                    "无法连接位于 {directory} 的证书机构：{why}"
                ),
                both!(
                    "see that this machine reaches the internet (DNS, outgoing TCP), and that \
                     acme.directory is right; attempts go on by themselves",
                    "请确认本机可以访问互联网（DNS、出站 TCP），且 acme.directory 正确；会自动继续尝试"
                ),
            ),
        };
        trouble.retry_after = error.retry_after();
        trouble
    }

    fn strange(asking: Asking, directory: &str, error: &dyn Display) -> Trouble {
        let (en, zh) = asking.words();
        Trouble::new(
            "authority_strange",
            both!(
                "what answers at {directory} does not speak ACME as expected ({en}): {error}",
                "{directory} 的回应不符合 ACME（{zh}）：{error}"
            ),
            both!(
                "set acme.directory to the address of the directory as the authority names it",
                "请把 acme.directory 设为证书机构给出的目录地址"
            ),
        )
    }

    fn of_problem(asking: Asking, problem: &Problem) -> Trouble {
        let said = told(problem);
        let (en, zh) = asking.words();
        let what = both!(
            "the authority refused ({en}): {said}",
            "证书机构拒绝（{zh}）：{said}"
        );
        match (kind_of(problem).unwrap_or_default(), asking) {
            ("rateLimited", _) => Trouble::new(
                "rate_limited",
                what,
                both!(
                    "nothing: the next attempt waits as long as the authority asks for; for tests \
                     use its staging directory",
                    "无需处理：下次尝试会按证书机构要求的时间等待；测试请使用其 staging 目录"
                ),
            ),
            ("externalAccountRequired", _) => Trouble::new("eab_required", what, EAB_NEXT()),
            ("accountDoesNotExist", _) => Trouble::new(
                "account_unknown",
                what,
                both!(
                    "nothing: a new account is made at the next attempt",
                    "无需处理：下次尝试会新建账户"
                ),
            ),
            ("unauthorized" | "malformed", Asking::Account) => {
                Trouble::new("account_refused", what, EAB_NEXT())
            }
            ("userActionRequired", _) => Trouble::new(
                "account_refused",
                what,
                both!(
                    "open the address that the authority names, and accept its new terms there",
                    "请打开证书机构给出的网址，接受其新条款"
                ),
            ),
            ("invalidContact" | "unsupportedContact", _) => Trouble::new(
                "account_refused",
                what,
                both!(
                    "set acme.contact to a mail address that the authority accepts, or to \"\"",
                    "请把 acme.contact 设为证书机构接受的邮箱，或设为 \"\""
                ),
            ),
            ("rejectedIdentifier" | "unsupportedIdentifier" | "malformed", Asking::Order) => {
                Trouble::new(
                    "name_refused",
                    what,
                    both!(
                        "take the name out of acme.names, or use an authority that gives \
                         certificates for it; public ones want public names",
                        "请从 acme.names 去掉该名称，或使用可为其签发证书的机构；公共机构只签发公共域名"
                    ),
                )
            }
            ("caa", _) => Trouble::new(
                "caa",
                what,
                both!(
                    "a CAA record of the domain allows other authorities only: add this one to it",
                    "域名的 CAA 记录只允许其他证书机构：请把该机构加入其中"
                ),
            ),
            ("badCSR" | "badPublicKey", _) => Trouble::new(
                "key_refused",
                what,
                both!(
                    "set acme.keys to a kind that this authority certifies",
                    "请把 acme.keys 设为该机构可签发的密钥种类"
                ),
            ),
            _ => Trouble::new(
                "refused",
                what,
                both!(
                    "do what the authority says; attempts go on by themselves",
                    "请按证书机构的提示处理；会自动继续尝试"
                ),
            ),
        }
    }

    /// With what the authority said about when to come back.
    pub(super) fn bar(mut self, retry_after: Option<u32>) -> Trouble {
        self.retry_after = self.retry_after.or(retry_after);
        self
    }
}

#[expect(non_snake_case, reason = "a constant, but for the allocation")]
fn EAB_NEXT() -> Said {
    both!(
        "take key id and key (external account binding) from your account at the authority, and set \
         acme.eab_key_id and acme.eab_key",
        "请从您在证书机构的账户取得密钥 ID 和密钥（external account binding），并设置 acme.eab_key_id 和 acme.eab_key"
    )
}

/// What has to be mended so that the authority sees the proof. `kind` is its own word for what is
/// wrong (RFC 8555 section 6.7).
fn proof_next(challenge: Challenge, kind: Option<&str>, names: &str) -> Said {
    match (challenge, kind) {
        (Challenge::Http01 | Challenge::TlsAlpn01, Some("dns")) => both!(
            "give {names} an address in public DNS: that of your router, at which the internet \
             reaches this server",
            "请在公共 DNS 中为 {names} 设置地址：您的路由器地址，互联网由此访问本服务器"
        ),
        (Challenge::Http01, Some("unauthorized" | "incorrectResponse")) => both!(
            "another web server answers at port 80 of {names}: forward port 80 to an http listener \
             of this server, or let that one pass on /.well-known/acme-challenge/",
            "{names} 的 80 端口由另一个网页服务器应答：请把 80 端口转发到本服务器的 http 监听，或让它转发 \
             /.well-known/acme-challenge/"
        ),
        (Challenge::Http01, _) => both!(
            "port 80 of {names} must reach an http listener of this server from the internet: \
             forward it in the router (http.standard_ports binds it), or use dns-01",
            "互联网访问 {names} 的 80 端口必须能到达本服务器的 http 监听：请在路由器上转发\
             （http.standard_ports 会绑定它），或改用 dns-01"
        ),
        (Challenge::TlsAlpn01, _) => both!(
            "port 443 of {names} must reach an https listener of this server from the internet, \
             without a proxy that ends TLS before it; or use dns-01",
            "互联网访问 {names} 的 443 端口必须直接到达本服务器的 https 监听，中间不能有终止 TLS 的代理；或改用 dns-01"
        ),
        (Challenge::Dns01, Some("dns")) => both!(
            "the name servers of {names} did not answer well: look at the zone with your provider",
            "{names} 的域名服务器没有正确应答：请在服务商处检查该区域"
        ),
        (Challenge::Dns01, _) => both!(
            "see that acme.dns_hook sets the TXT record in the public zone of {names}, and waits \
             until all of its name servers show it",
            "请确认 acme.dns_hook 在 {names} 的公共区域设置 TXT 记录，并等到其所有域名服务器都能查到"
        ),
    }
}

impl Asking {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Asking::Directory => ("asked for its directory", "请求目录"),
            Asking::Account => ("asked for an account", "请求账户"),
            Asking::Order => ("asked for a certificate", "请求证书"),
            Asking::Proof => ("while it looked at the proofs", "检查证明"),
            Asking::Certificate => ("asked to issue", "请求签发"),
        }
    }
}

/// `dns` of `urn:ietf:params:acme:error:dns`.
fn kind_of(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref()?.rsplit(':').next()
}

/// What a problem document says, in the authority's own words.
fn told(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for each in &problem.subproblems {
        let detail = each.detail.as_deref().unwrap_or("?");
        let name = each.identifier.as_ref();
        let name = name.map(|name| name.authorized(false).to_string());
        text += &format!("; {}: {detail}", name.unwrap_or_default());
    }
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TOLD)
        .collect();
    match kind_of(problem) {
        Some(kind) if text.is_empty() => kind.to_owned(),
        Some(kind) => format!("{text} ({kind})"),
        None => text,
    }
}

/// Most characters of what an authority says that are told on.
const TOLD: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        serde_json::from_value(serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"),
            "detail": detail,
        }))
        .expect("a problem")
    }

    #[test]
    fn a_failed_proof_names_the_name_the_challenge_the_word_of_the_authority_and_the_way_out() {
        let unproved = [Unproved {
            name: "hub.example.com".to_owned(),
            problem: Some(problem("connection", "203.0.113.9: Connection refused")),
            look: Some(both!("from here it works", "从本机可以")),
        }];
        let trouble = Trouble::unproved(Challenge::Http01, &unproved);
        assert_eq!(
            trouble.what.en,
            "the authority could not see by http-01 that hub.example.com is yours: 203.0.113.9: \
             Connection refused (connection) (from here it works)"
        );
        assert!(trouble.next.en.starts_with("port 80 of hub.example.com"));
        assert!(trouble.what.zh.contains("hub.example.com"));
        let elsewhere = Unproved {
            problem: Some(problem("unauthorized", "404")),
            ..unproved[0].clone()
        };
        let trouble = Trouble::unproved(Challenge::Http01, &[elsewhere]);
        assert!(trouble.next.en.contains("another web server"));
    }

    #[test]
    fn what_an_authority_refuses_is_told_by_what_can_be_done_about_it() {
        let of = |kind, asking| {
            let error = Error::Api(problem(kind, "no\nway"));
            Trouble::of(asking, "https://ca/", &error)
        };
        assert_eq!(of("rateLimited", Asking::Order).code, "rate_limited");
        assert_eq!(
            of("externalAccountRequired", Asking::Account).code,
            "eab_required"
        );
        assert_eq!(of("rejectedIdentifier", Asking::Order).code, "name_refused");
        assert!(of("accountDoesNotExist", Asking::Order).is_unknown_account());
        assert_eq!(
            of("serverInternal", Asking::Certificate).what.en,
            "the authority refused (asked to issue): no way (serverInternal)"
        );
    }
}
