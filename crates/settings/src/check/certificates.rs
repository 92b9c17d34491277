//! Certificates: what is asked for must be there, and what an authority looks
//! at must be open.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::said::said;
use crate::{
    Accept, CertificateChoice, Challenge, DnsName, Listener, Problem, Said, Settings, Source,
};

/// Adds what is wrong, and what is worth a note. Keys in `failed` have a
/// problem already: nothing is concluded from their values.
pub(super) fn certificates(
    settings: &mut Settings,
    failed: &[String],
    problems: &mut Vec<Problem>,
) {
    let judge = Judge { settings, failed };
    problems.extend(judge.files());
    problems.extend(judge.choices());
    problems.extend(judge.terms());
    problems.extend(judge.account());
    problems.extend(judge.way_of_challenge());
    problems.extend(judge.client_certificates());
    let mut notes = Vec::new();
    notes.extend(judge.port_of_challenge());
    notes.extend(judge.both());
    settings.notes.extend(notes);
}

struct Judge<'a> {
    settings: &'a Settings,
    failed: &'a [String],
}

impl Judge<'_> {
    /// Whether values of these keys may be held against each other.
    fn sound(&self, keys: &[&str]) -> bool {
        !self
            .failed
            .iter()
            .any(|failed| keys.iter().any(|key| key == failed))
    }

    fn source(&self, key: &str) -> Source {
        self.settings
            .source(key)
            .cloned()
            .unwrap_or(Source::Default)
    }

    /// A problem with `key`, and with another one that stands against it.
    fn problem(&self, key: &str, other: Option<&str>, what: Said, help: Said) -> Problem {
        Problem {
            source: self.source(key),
            key: Some(key.to_string()),
            what,
            help,
            related: other.map(|other| (other.to_string(), self.source(other))),
        }
    }

    /// Every chain has its key.
    fn files(&self) -> Option<Problem> {
        let tls = &self.settings.tls;
        let (chains, keys) = (tls.chain_files.len(), tls.key_files.len());
        if chains == keys || !self.sound(&["tls.chain_files", "tls.key_files"]) {
            return None;
        }
        let (fewer, more) = if chains < keys {
            ("tls.chain_files", "tls.key_files")
        } else {
            ("tls.key_files", "tls.chain_files")
        };
        Some(self.problem(
            fewer,
            Some(more),
            said!(
                "tls.chain_files names {chains} files and tls.key_files {keys}, and each certificate \
                 needs its key",
                "tls.chain_files 有 {chains} 个文件，tls.key_files 有 {keys} 个，而每个证书都要有自己的密钥"
            ),
            said!(
                "write in {fewer} one file for each of {more}, in the same order",
                "请在 {fewer} 里为 {more} 的每个文件各写一个，顺序相同"
            ),
        ))
    }

    /// A listener presents nothing that there is not.
    fn choices(&self) -> Vec<Problem> {
        let settings = self.settings;
        [
            ("mqtts.certificate", settings.mqtts.certificate),
            ("https.certificate", settings.https.certificate),
        ]
        .into_iter()
        .filter_map(|(key, choice)| match choice {
            CertificateChoice::Files
                if settings.tls.chain_files.is_empty() && self.sound(&[key, "tls.chain_files"]) =>
            {
                Some(self.problem(
                    key,
                    None,
                    said!(
                        "certificates of files are to be presented, and tls.chain_files names none",
                        "要出示文件里的证书，而 tls.chain_files 没有写文件"
                    ),
                    said!(
                        "set tls.chain_files and tls.key_files, or {key} = \"auto\"",
                        "请设 tls.chain_files 和 tls.key_files，或设 {key} = \"auto\""
                    ),
                ))
            }
            CertificateChoice::Acme
                if settings.acme.names.is_empty() && self.sound(&[key, "acme.names"]) =>
            {
                Some(self.problem(
                    key,
                    None,
                    said!(
                        "certificates of [acme] are to be presented, and acme.names is empty",
                        "要出示 [acme] 的证书，而 acme.names 为空"
                    ),
                    said!(
                        "set acme.names to the names of this server, or {key} = \"auto\"",
                        "请把 acme.names 设为本服务器的名称，或设 {key} = \"auto\""
                    ),
                ))
            }
            _ => None,
        })
        .collect()
    }

    fn wants_names(&self) -> bool {
        !self.settings.acme.names.is_empty() && self.sound(&["acme.names"])
    }

    /// Authorities give certificates to those only who accept their terms.
    fn terms(&self) -> Option<Problem> {
        if !self.wants_names()
            || self.settings.acme.accept_terms
            || !self.sound(&["acme.accept_terms"])
        {
            return None;
        }
        Some(self.problem(
            "acme.names",
            Some("acme.accept_terms"),
            said!(
                "certificates are to be asked for, and the authority's terms are not accepted",
                "要申请证书，但没有接受证书机构的条款"
            ),
            said!(
                "read the terms that the authority names in its directory, then set \
                 acme.accept_terms = true; or set acme.names = []",
                "请阅读证书机构在其目录里给出的条款，然后设 acme.accept_terms = true；或设 acme.names = []"
            ),
        ))
    }

    /// The name of a key and the key go together.
    fn account(&self) -> Option<Problem> {
        let acme = &self.settings.acme;
        if acme.eab_key.is_empty() == acme.eab_key_id.is_empty()
            || !self.sound(&["acme.eab_key", "acme.eab_key_id"])
        {
            return None;
        }
        let (there, missing) = if acme.eab_key.is_empty() {
            ("acme.eab_key_id", "acme.eab_key")
        } else {
            ("acme.eab_key", "acme.eab_key_id")
        };
        Some(self.problem(
            there,
            Some(missing),
            said!(
                "{there} is set and {missing} is not",
                "设置了 {there}，没有设置 {missing}"
            ),
            said!(
                "set both, as the authority gave them, or neither",
                "请照证书机构给出的设置两者，或都不设"
            ),
        ))
    }

    /// What answers the authority must be there.
    fn way_of_challenge(&self) -> Vec<Problem> {
        let acme = &self.settings.acme;
        if !self.wants_names() || !self.sound(&["acme.challenge"]) {
            return Vec::new();
        }
        let mut problems = Vec::new();
        let wildcard = acme.names.iter().find(|name| name.is_wildcard());
        if let Some(name) = wildcard
            && acme.challenge != Challenge::Dns01
        {
            problems.push(self.problem(
                "acme.names",
                Some("acme.challenge"),
                said!(
                    "{} stands for many names, and authorities give that for dns-01 only",
                    "{} 代表许多名称，证书机构只在使用 dns-01 时发放",
                    name.as_str()
                ),
                said!(
                    "set acme.challenge = \"dns-01\" and acme.dns_hook, or write the names one by one",
                    "请设 acme.challenge = \"dns-01\" 和 acme.dns_hook，或逐个写出名称"
                ),
            ));
        }
        match acme.challenge {
            Challenge::Dns01 if acme.dns_hook.is_empty() && self.sound(&["acme.dns_hook"]) => {
                problems.push(self.problem(
                    "acme.challenge",
                    Some("acme.dns_hook"),
                    said!(
                        "dns-01 needs a program that sets the record, and acme.dns_hook is empty",
                        "dns-01 需要一个设置 DNS 记录的程序，而 acme.dns_hook 为空"
                    ),
                    said!(
                        "set acme.dns_hook to the path of the program, or acme.challenge = \"http-01\"",
                        "请把 acme.dns_hook 设为该程序的路径，或设 acme.challenge = \"http-01\""
                    ),
                ));
            }
            Challenge::Http01 => problems.extend(self.challenged(Listener::Http, "http-01")),
            Challenge::TlsAlpn01 => {
                problems.extend(self.challenged(Listener::Https, "tls-alpn-01"));
            }
            Challenge::Dns01 => {}
        }
        problems
    }

    /// A challenge that a listener answers which is switched off.
    fn challenged(&self, listener: Listener, challenge: &str) -> Option<Problem> {
        let enabled = listener.enabled_key();
        if self.settings.binds(listener).0 || !self.sound(&[enabled]) {
            return None;
        }
        Some(self.problem(
            "acme.challenge",
            Some(enabled),
            said!(
                "{challenge} is answered by the listener {}, which is switched off",
                "{challenge} 由监听器 {} 应答，而它已关闭",
                listener.name()
            ),
            said!(
                "set {enabled} = true, or acme.challenge = \"dns-01\" with acme.dns_hook",
                "请设 {enabled} = true，或设 acme.challenge = \"dns-01\" 和 acme.dns_hook"
            ),
        ))
    }

    /// The authority looks at one port only; whether a router leads it here, no
    /// setting says.
    fn port_of_challenge(&self) -> Option<Problem> {
        let acme = &self.settings.acme;
        if !self.wants_names() || !self.sound(&["acme.challenge"]) {
            return None;
        }
        let (listener, port, challenge) = match acme.challenge {
            Challenge::Http01 => (Listener::Http, 80, "http-01"),
            Challenge::TlsAlpn01 => (Listener::Https, 443, "tls-alpn-01"),
            Challenge::Dns01 => return None,
        };
        let plan = &self.settings.plan;
        let mut binds = plan.binds_of(listener).peekable();
        // Of a listener that is off, or whose place is not known, something else is said.
        let bind = (*binds.peek()?).clone();
        let open = binds.any(|bind| bind.address.port() == port);
        let forwarded = plan
            .advertised()
            .iter()
            .any(|told| told.to == listener && told.address.port() == port);
        if open || forwarded {
            return None;
        }
        let (name, at) = (listener.name(), bind.address.port());
        Some(self.problem(
            "acme.challenge",
            Some(&bind.key),
            said!(
                "{challenge} looks at port {port}, and {name} is at port {at}",
                "{challenge} 查看端口 {port}，而 {name} 在端口 {at}"
            ),
            said!(
                "nothing, if the router leads port {port} of {} to port {at} here; otherwise set \
                 {name}.standard_ports = true, or acme.challenge = \"dns-01\"",
                "如果路由器把 {} 的端口 {port} 转到这里的端口 {at}，则无需处理；否则请设 \
                 {name}.standard_ports = true，或 acme.challenge = \"dns-01\"",
                acme.names.first().map_or("", DnsName::as_str)
            ),
        ))
    }

    /// Who must show a certificate cannot be let in without TLS.
    fn client_certificates(&self) -> Vec<Problem> {
        let settings = self.settings;
        [
            (
                "mqtts.accept",
                settings.mqtts.accept,
                "mqtts.client_ca_file",
                &settings.mqtts.client_ca_file,
            ),
            (
                "https.accept",
                settings.https.accept,
                "https.client_ca_file",
                &settings.https.client_ca_file,
            ),
        ]
        .into_iter()
        .filter(|(accept, both, file, path)| {
            *both == Accept::Both && !path.is_empty() && self.sound(&[accept, file])
        })
        .map(|(accept, _, file, _)| {
            self.problem(
                accept,
                Some(file),
                said!(
                    "clients must show a certificate, and without TLS, which \"both\" lets in, none can",
                    "客户端必须出示证书，而 \"both\" 放行的非 TLS 连接无法出示"
                ),
                said!(
                    "set {accept} = \"own\", or {file} = \"\"",
                    "请设 {accept} = \"own\"，或 {file} = \"\""
                ),
            )
        })
        .collect()
    }

    /// One port for both forms is a convenience with a price.
    fn both(&self) -> Vec<Problem> {
        let settings = self.settings;
        [
            (Listener::Mqtt, "mqtt.accept", settings.mqtt.accept),
            (Listener::Mqtts, "mqtts.accept", settings.mqtts.accept),
            (Listener::Http, "http.accept", settings.http.accept),
            (Listener::Https, "https.accept", settings.https.accept),
        ]
        .into_iter()
        .filter(|(listener, key, accept)| {
            *accept == Accept::Both && settings.binds(*listener).0 && self.sound(&[key])
        })
        .map(|(_, key, _)| {
            self.problem(
                key,
                None,
                said!(
                    "one port takes connections with and without TLS: a device that was to use TLS \
                     and does not is let in unnoticed, and its password can be read on the way",
                    "同一端口既接受 TLS 也接受明文：本应使用 TLS 而没有用的设备会不知不觉地连上，\
                     其密码在途中可被读取"
                ),
                said!(
                    "nothing, while devices are being moved to TLS; afterwards set {key} = \"own\"",
                    "在设备迁往 TLS 期间无需处理；之后请设 {key} = \"own\""
                ),
            )
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
