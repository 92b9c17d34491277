//! Agents: whom they name must be there and do what is asked of it; providers must have what their
//! kind cannot do without.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::nearest::{did_you_mean, either, nearest};
use crate::said::said;
use crate::units::show_duration;
use crate::{
    Agent, AgentChoice, Problem, Provider, ProviderKind, ProviderNeed, ProviderRole, Said,
    Settings, Source, ToolSource,
};

/// Adds what is wrong, and what is worth a note. Keys in `failed` have a problem already: nothing is
/// concluded from their values.
pub(super) fn agents(settings: &mut Settings, failed: &[String], problems: &mut Vec<Problem>) {
    let judge = Judge { settings, failed };
    let mut notes = Vec::new();
    for provider in &settings.provider {
        problems.extend(judge.scheme(provider));
        notes.extend(judge.lacks(provider));
        notes.extend(judge.key_in_clear(provider));
        notes.extend(judge.two_keys(provider));
    }
    for agent in &settings.agent {
        problems.extend(judge.reserved(agent));
        judge.names(agent, problems);
        notes.extend(judge.deaf(agent));
        match judge.outlives(agent) {
            Some(problem) => problems.push(problem),
            None => notes.extend(judge.records(agent)),
        }
    }
    let source = judge.source(CHOICE);
    problems.extend(judge.choice(&settings.xiaozhi.agent, source));
    settings.notes.extend(notes);
}

/// What is wrong with the agent that a tag or one device is given.
pub(crate) fn scoped_choice(settings: &Settings, toml: &str, source: Source) -> Option<Problem> {
    let judge = Judge {
        settings,
        failed: &[],
    };
    judge.choice(&AgentChoice::parse_toml(toml)?, source)
}

/// The key that gives devices their agent.
pub(crate) const CHOICE: &str = "xiaozhi.agent";

struct Judge<'a> {
    settings: &'a Settings,
    failed: &'a [String],
}

impl Judge<'_> {
    fn is_sound(&self, key: &str) -> bool {
        !self.failed.iter().any(|failed| failed == key)
    }

    fn source(&self, key: &str) -> Source {
        self.settings
            .source(key)
            .cloned()
            .unwrap_or(Source::Default)
    }

    fn problem(&self, key: String, what: Said, help: Said) -> Problem {
        Problem {
            source: self.source(&key),
            key: Some(key),
            what,
            help,
            related: None,
        }
    }

    /// An address of another protocol than its kind speaks.
    fn scheme(&self, provider: &Provider) -> Option<Problem> {
        let (key, kind) = (key_of(provider, "url"), provider.kind.word());
        let (schemes, example): (&[&str], _) = match provider.kind.needs() {
            ProviderNeed::Http | ProviderNeed::HttpOrCommand => {
                (&["http://", "https://"], "https://api.example.com/v1")
            }
            ProviderNeed::WebSocket | ProviderNeed::Key => {
                (&["ws://", "wss://"], "ws://127.0.0.1:10095")
            }
            _ => return None,
        };
        let fits = schemes
            .iter()
            .any(|scheme| provider.url.starts_with(scheme));
        if provider.url.is_empty() || fits || !self.is_sound(&key) {
            return None;
        }
        Some(self.problem(
            key,
            said!(
                "a provider of the kind {kind} is reached by {}",
                "种类为 {kind} 的服务用 {} 访问",
                either(schemes)
            ),
            said!(
                "write for example \"{example}\", or another kind",
                "例如写 \"{example}\"，或换一个种类"
            ),
        ))
    }

    /// A provider without what its kind cannot do without. No mistake: keys are set one after the
    /// other while the server runs.
    fn lacks(&self, provider: &Provider) -> Option<Problem> {
        let no_command = provider.command.is_empty();
        let (lacking, example) = match provider.kind.needs() {
            ProviderNeed::Http if provider.url.is_empty() => {
                ("url", "\"https://api.example.com/v1\"")
            }
            ProviderNeed::WebSocket if provider.url.is_empty() => {
                ("url", "\"ws://127.0.0.1:10095\"")
            }
            ProviderNeed::Key if provider.key.is_empty() && provider.key_file.is_empty() => {
                ("key", "\"…\"")
            }
            ProviderNeed::Command if no_command => ("command", "[\"espeak-ng\", \"--stdout\"]"),
            ProviderNeed::Folder if provider.folder.is_empty() => {
                ("folder", "\"/var/lib/safeport/speech\"")
            }
            ProviderNeed::HttpOrCommand if provider.url.is_empty() && no_command => {
                ("url", "\"https://tools.example.com/mcp\"")
            }
            _ => return None,
        };
        let (name, kind) = (&provider.name, provider.kind.word());
        let mut problem = self.problem(
            key_of(provider, lacking),
            said!(
                "[provider.{name}] has no {lacking}, without which the kind {kind} can do nothing",
                "[provider.{name}] 缺少 {lacking}，没有它，种类 {kind} 什么也做不了"
            ),
            said!(
                "set for example provider.{name}.{lacking} = {example}",
                "例如设 provider.{name}.{lacking} = {example}"
            ),
        );
        // Where somebody looks for it: beside the kind.
        problem.source = self.source(&key_of(provider, "kind"));
        Some(problem)
    }

    /// A key that anybody on the way can read.
    fn key_in_clear(&self, provider: &Provider) -> Option<Problem> {
        let rest = provider.url.strip_prefix("http://");
        let rest = rest.or_else(|| provider.url.strip_prefix("ws://"))?;
        let has_key = !provider.key.is_empty() || !provider.key_file.is_empty();
        if !has_key || is_this_machine(rest) {
            return None;
        }
        let name = &provider.name;
        Some(self.problem(
            key_of(provider, "url"),
            said!(
                "the key of [provider.{name}] goes to another machine without TLS: whoever is on the \
                 way can read it, and what is spoken",
                "[provider.{name}] 的密钥会不加密地发往另一台机器：途中任何人都能读到它和说的话"
            ),
            said!(
                "write https:// or wss:// where the provider offers it",
                "服务支持时请写 https:// 或 wss://"
            ),
        ))
    }

    fn two_keys(&self, provider: &Provider) -> Option<Problem> {
        if provider.key.is_empty() || provider.key_file.is_empty() {
            return None;
        }
        let name = &provider.name;
        Some(self.problem(
            key_of(provider, "key_file"),
            said!(
                "[provider.{name}] has both key and key_file: key is used",
                "[provider.{name}] 同时有 key 和 key_file：使用 key"
            ),
            said!("take one of the two away", "请去掉其中一个"),
        ))
    }

    /// A name that means something else.
    fn reserved(&self, agent: &Agent) -> Option<Problem> {
        if !matches!(agent.name.as_str(), AgentChoice::ECHO | "auto") {
            return None;
        }
        let name = &agent.name;
        Some(self.problem(
            format!("agent.{name}.prompt"),
            said!(
                "no agent can be called {name}: the word means something else",
                "智能体不能叫 {name}：这个词另有含义"
            ),
            said!("give it another name", "请换一个名字"),
        ))
    }

    /// Whom an agent names.
    fn names(&self, agent: &Agent, problems: &mut Vec<Problem>) {
        for (key, name, role) in [
            ("recognizer", &agent.recognizer, ProviderRole::Recognizer),
            ("model", &agent.model, ProviderRole::Model),
            ("voice", &agent.voice, ProviderRole::Voice),
            ("vision", &agent.vision, ProviderRole::Vision),
        ] {
            if !name.is_empty() {
                problems.extend(self.name(agent, key, name, role));
            }
        }
        for tools in &agent.tools {
            if let ToolSource::Provider(name) = tools {
                problems.extend(self.name(agent, "tools", name, ProviderRole::Tools));
            }
        }
    }

    fn name(&self, agent: &Agent, key: &str, name: &str, role: ProviderRole) -> Option<Problem> {
        let full = format!("agent.{}.{key}", agent.name);
        if !self.is_sound(&full) {
            return None;
        }
        let fits = |provider: &&Provider| provider.kind.role() == role;
        let named = |provider: &&Provider| provider.name == name;
        let fitting = || {
            let names = self.settings.provider.iter().filter(fits);
            names.map(|provider| provider.name.as_str())
        };
        let kinds: Vec<&str> = ProviderKind::ALL
            .iter()
            .filter(|kind| kind.role() == role)
            .map(|kind| kind.word())
            .collect();
        match self.settings.provider.iter().find(named) {
            Some(provider) if fits(&provider) => None,
            Some(provider) => {
                let kind = provider.kind.word();
                let mut problem = self.problem(
                    full,
                    said!(
                        "[provider.{name}] is of the kind {kind}, which cannot be the {key} of an agent",
                        "[provider.{name}] 的种类是 {kind}，不能用作智能体的 {key}"
                    ),
                    match fitting().next() {
                        Some(other) => said!(
                            "write a provider of the kind {}, for example \"{other}\"",
                            "请写种类为 {} 的服务，例如 \"{other}\"",
                            either(&kinds)
                        ),
                        None => said!(
                            "write a provider of the kind {}",
                            "请写种类为 {} 的服务",
                            either(&kinds)
                        ),
                    },
                );
                let kind = key_of(provider, "kind");
                let source = self.source(&kind);
                problem.related = Some((kind, source));
                Some(problem)
            }
            // It is there and has a mistake of its own.
            None if self.is_begun(name) => None,
            None => Some(self.problem(
                full,
                said!(
                    "there is no [provider.{name}]",
                    "没有 [provider.{name}] 这一节"
                ),
                match nearest(name, fitting()) {
                    Some(near) => did_you_mean(near),
                    None => said!(
                        "add [provider.{name}] with kind = \"{}\", or write the name of another",
                        "请加上 [provider.{name}]，设 kind = \"{}\"，或写另一个的名字",
                        kinds[0]
                    ),
                },
            )),
        }
    }

    /// Whether anything speaks of this provider.
    fn is_begun(&self, name: &str) -> bool {
        self.settings
            .source(&format!("provider.{name}.kind"))
            .is_some()
    }

    /// An agent that has a voice and cannot hear, or the other way round.
    fn deaf(&self, agent: &Agent) -> Option<Problem> {
        let (lacking, what) = match (agent.recognizer.is_empty(), agent.voice.is_empty()) {
            (true, _) => (
                "recognizer",
                said!(
                    "agent {} has no recognizer: it answers what is typed, and nobody who speaks",
                    "智能体 {} 没有 recognizer：只回答打字，听不见说话",
                    agent.name.as_str()
                ),
            ),
            (false, true) => (
                "voice",
                said!(
                    "agent {} has no voice: devices show its answers and say nothing",
                    "智能体 {} 没有 voice：设备只显示回答，不出声",
                    agent.name.as_str()
                ),
            ),
            (false, false) => return None,
        };
        let key = format!("agent.{}.{lacking}", agent.name);
        Some(self.problem(
            key,
            what,
            said!(
                "set agent.{}.{lacking} to the name of a provider, if that is not meant",
                "如果这不是本意，请把 agent.{}.{lacking} 设为某个服务的名字",
                agent.name.as_str()
            ),
        ))
    }

    /// Sound that would be kept when nobody knows any more what it is of.
    fn outlives(&self, agent: &Agent) -> Option<Problem> {
        let name = agent.name.as_str();
        let [sound, text] = ["recordings", "history"].map(|key| format!("agent.{name}.{key}"));
        let is_fine = agent.recordings <= agent.history;
        if is_fine || !self.is_sound(&sound) || !self.is_sound(&text) {
            return None;
        }
        let kept = show_duration(agent.history);
        let wanted = show_duration(agent.recordings);
        let mut problem = self.problem(
            sound,
            said!(
                "sound goes with its turn at the latest, and turns are kept for {kept}",
                "声音最迟与所属的对话一起删除，而对话只保留 {kept}"
            ),
            said!(
                "set agent.{name}.history to {wanted} or more, or keep sound for at most {kept}",
                "把 agent.{name}.history 设为 {wanted} 或更长，或者声音最多保留 {kept}"
            ),
        );
        let source = self.source(&text);
        problem.related = Some((text, source));
        Some(problem)
    }

    /// An agent that keeps what people sound like: it is to be seen by whoever runs the server.
    fn records(&self, agent: &Agent) -> Option<Problem> {
        let name = agent.name.as_str();
        let key = format!("agent.{name}.recordings");
        if agent.recordings.is_zero() || !self.is_sound(&key) {
            return None;
        }
        let kept = show_duration(agent.recordings);
        Some(self.problem(
            key,
            said!(
                "agent {name} keeps the sound of everything that is said to it and that it says, for \
                 {kept}",
                "智能体 {name} 会保存所有对它说的话和它的回答的声音，保留 {kept}"
            ),
            said!(
                "tell those who talk; set agent.{name}.recordings to \"0s\" if it is not meant",
                "请告知说话的人；如果这不是本意，请把 agent.{name}.recordings 设为 \"0s\""
            ),
        ))
    }

    /// An agent that is chosen has to be there.
    fn choice(&self, choice: &AgentChoice, source: Source) -> Option<Problem> {
        let AgentChoice::Named(name) = choice else {
            return None;
        };
        let known = || self.settings.agent.iter().map(|agent| agent.name.as_str());
        if name == AgentChoice::ECHO || known().any(|known| known == name) || !self.is_sound(CHOICE)
        {
            return None;
        }
        let all: Vec<&str> = known().chain([AgentChoice::ECHO]).collect();
        Some(Problem {
            source,
            key: Some(CHOICE.to_string()),
            what: said!("there is no agent {name}", "没有名为 {name} 的智能体"),
            help: match nearest(name, all.iter().copied()) {
                Some(near) => did_you_mean(near),
                None => said!(
                    "write {}, or add [agent.{name}]",
                    "请写 {}，或加上 [agent.{name}]",
                    either(&all)
                ),
            },
            related: None,
        })
    }
}

fn key_of(provider: &Provider, key: &str) -> String {
    format!("provider.{}.{key}", provider.name)
}

/// Whether what stands behind the scheme of an address leads to this machine.
fn is_this_machine(rest: &str) -> bool {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = &rest[..end];
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or(inside),
        None => host.split(':').next().unwrap_or(host),
    };
    host == "localhost"
        || host
            .parse::<core::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
