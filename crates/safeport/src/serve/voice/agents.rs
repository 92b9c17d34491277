//! The agents of the settings: which there are, whom they are made of, and which one a device talks with.
//!
//! Providers are shared by agents, and stay as they are (connections, loaded models) when a change of settings does not
//! touch them. A conversation keeps the agent that it began with; the next one gets what holds then.

mod late;
mod providers;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use safeport_settings::{
    Agent as AgentSection, AgentChoice, Memory as MemoryChoice, Provider as ProviderSection,
    ProviderRole, Settings, ToolSource,
};
use safeport_store::{ManagedRow, Scope};
use safeport_voice::{
    Agent, ChatModel, Eye, Failure, FailureKind, McpSettings, Memory, Named, Phrases, Prompts,
    Stage, TurnWaits,
};

use self::providers::{Made, Maker};
use crate::say;
use crate::text::{Language, Texts};

/// Every agent, and who has which.
pub struct Agents {
    maker: Maker,
    language: Language,
    prompts: Arc<Prompts>,
    roll: RwLock<Arc<Roll>>,
}

/// The agent of a device, for one conversation.
#[derive(Clone)]
pub struct Chosen {
    /// Its name; `echo` for the one that needs no settings.
    pub name: Box<str>,
    /// Who answers; `None`: the echo.
    pub agent: Option<Arc<Agent>>,
    /// Who looks at pictures.
    pub eye: Option<Arc<dyn Eye>>,
    /// What its model may call.
    pub tools: Vec<ToolSource>,
    /// What it remembers.
    pub memory: Memory,
    /// How long what is said is kept; zero: not at all.
    pub history: Duration,
}

/// What holds at one time.
struct Roll {
    agents: BTreeMap<String, Chosen>,
    /// Providers with what they were made of.
    providers: BTreeMap<String, Provider>,
    /// Servers of tools.
    servers: Vec<McpSettings>,
    /// Agents that keep sound; not part of [`Chosen`], so that it ends at once where somebody ends it.
    recording: BTreeMap<String, Duration>,
    /// For who has no other.
    everyone: String,
    devices: HashMap<String, String>,
    /// The tag that wins first.
    tags: Vec<(String, String)>,
}

#[derive(Clone)]
struct Provider {
    section: ProviderSection,
    /// The key itself, wherever it stood.
    key: String,
    /// Files with the authorities that it may have a certificate of.
    roots: Vec<String>,
    made: Made,
}

impl Agents {
    /// Only the echo. `language` is that of the server, for agents that have none.
    pub fn new(language: Language) -> Agents {
        Agents {
            maker: Maker::default(),
            language,
            prompts: Arc::default(),
            roll: RwLock::new(Arc::new(Roll::default())),
        }
    }

    /// Takes these settings. Files with keys are read anew.
    pub fn set_settings(&self, settings: &Settings, managed: &[ManagedRow]) {
        self.maker.set_zone(settings);
        let before = self.roll();
        let mut roll = Roll::default();
        let roots = providers::root_files(settings);
        for section in &settings.provider {
            let key = providers::key(section);
            let known = before.providers.get(&section.name).filter(|known| {
                // A file may have been written since it could not be read.
                known.section == *section
                    && key.as_ref().is_ok_and(|key| *key == known.key)
                    && known.roots == roots
            });
            let provider = match known {
                Some(known) => known.clone(),
                None => {
                    let made = match &key {
                        Ok(key) => self.maker.make(section, key, &roots),
                        Err(failure) => Made::broken(section.kind.role(), failure.clone()),
                    };
                    if let Some(failure) = made.failure() {
                        tracing::warn!(target: "safeport::voice", provider = section.name, "{failure}");
                    }
                    Provider {
                        section: section.clone(),
                        key: key.unwrap_or_default(),
                        roots: roots.clone(),
                        made,
                    }
                }
            };
            if let Made::Tools(server) = &provider.made {
                roll.servers.push(server.clone());
            }
            roll.providers.insert(section.name.clone(), provider);
        }
        for section in &settings.agent {
            if !section.recordings.is_zero() {
                let keep = section.recordings.min(section.history);
                roll.recording.insert(section.name.clone(), keep);
            }
            let chosen = self.chosen(section, &roll);
            roll.agents.insert(section.name.clone(), chosen);
        }
        roll.everyone = roll.called(&settings.xiaozhi.agent);
        roll.give(settings, managed);
        let roll = Arc::new(roll);
        *self.roll.write().unwrap_or_else(PoisonError::into_inner) = roll;
    }

    /// The agent of a device with these tags, from its next conversation on.
    pub fn for_device<T: AsRef<str>>(&self, device: &str, tags: &[T]) -> Chosen {
        let roll = self.roll();
        let by_tag = || {
            let has = |tag: &str| tags.iter().any(|own| own.as_ref() == tag);
            let found = roll.tags.iter().find(|(tag, _)| has(tag));
            found.map(|(_, agent)| agent)
        };
        let name = roll.devices.get(device).or_else(by_tag);
        roll.agent(name.unwrap_or(&roll.everyone))
    }

    /// The agent of this name; `None` where there is none.
    pub fn named(&self, name: &str) -> Option<Chosen> {
        let roll = self.roll();
        (name == AgentChoice::ECHO || roll.agents.contains_key(name)).then(|| roll.agent(name))
    }

    /// The names of all agents, the echo last.
    pub fn names(&self) -> Vec<String> {
        let roll = self.roll();
        let echo = std::iter::once(AgentChoice::ECHO.to_owned());
        roll.agents.keys().cloned().chain(echo).collect()
    }

    /// The agent that devices have of which nothing else is said.
    pub fn everyones(&self) -> String {
        self.roll().everyone.clone()
    }

    /// The agents that keep sound, and for how long.
    pub fn recording(&self) -> BTreeMap<String, Duration> {
        self.roll().recording.clone()
    }

    /// How long an agent keeps sound as of now, for the next turn of whoever talks with it; `None`: not at all.
    pub fn keeps_sound_of(&self, agent: &str) -> Option<Duration> {
        self.roll().recording.get(agent).copied()
    }

    /// The servers of tools that are set.
    pub fn servers(&self) -> Vec<McpSettings> {
        self.roll().servers.clone()
    }

    /// What connections to providers are made with now; made if it was not needed before.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn dial(&self, settings: &Settings) -> Result<safeport_voice::Dial, String> {
        self.maker.dial(&providers::root_files(settings))
    }

    /// Why a provider cannot do anything, by its name; empty for one that can, as far as is known without asking it.
    pub fn broken(&self) -> Vec<(String, Failure)> {
        let roll = self.roll();
        let broken = roll.providers.iter();
        broken
            .filter_map(|(name, provider)| Some((name.clone(), provider.made.failure()?.clone())))
            .collect()
    }

    fn roll(&self) -> Arc<Roll> {
        self.roll
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn chosen(&self, section: &AgentSection, roll: &Roll) -> Chosen {
        let named = |name: &str| roll.providers.get(name);
        let made = |name: &str| named(name).map(|provider| &provider.made);
        let spoken = match section.language.as_str() {
            "" => self.language,
            tag => tag.parse().unwrap_or_default(),
        };
        let (model_name, model): (&str, Arc<dyn ChatModel>) = match made(&section.model) {
            Some(Made::Model(model, _)) => (&section.model, model.clone()),
            _ => ("parrot", self.maker.parrot()),
        };
        let mut agent = Agent::new(section.name.as_str(), Named::new(model_name, model));
        agent.prompt = section.prompt.clone();
        agent.language = (!section.language.is_empty()).then(|| section.language.as_str().into());
        agent.prompts = self.prompts.clone();
        agent.phrases = phrases(spoken);
        if let Some(Made::Recognizer(recognizer, _)) = made(&section.recognizer) {
            agent.recognizer = Some(Named::new(section.recognizer.as_str(), recognizer.clone()));
        }
        if let Some(Made::Voice(voice, _)) = made(&section.voice) {
            agent.synthesizer = Some(Named::new(section.voice.as_str(), voice.clone()));
            agent.voice = named(&section.voice).map_or_else(Box::default, voice_key);
        }
        let patience = |name: &str, usual: Duration| {
            // Beyond the provider's own, so that its words of what it waited for come first.
            named(name).map_or(usual, |provider| provider.section.timeout + MORE_PATIENCE)
        };
        let usual = TurnWaits::default();
        agent.waits = TurnWaits {
            recognizer: patience(&section.recognizer, usual.recognizer),
            first_part: patience(&section.model, usual.first_part),
            next_part: patience(&section.model, usual.next_part),
            sound: patience(&section.voice, usual.sound),
            ..usual
        };
        let eye = match made(&section.vision) {
            Some(Made::Eye(eye, _)) => Some(eye.clone()),
            _ => None,
        };
        Chosen {
            name: section.name.as_str().into(),
            agent: Some(Arc::new(agent)),
            eye,
            tools: section.tools.clone(),
            memory: match section.memory {
                MemoryChoice::None => Memory::None,
                MemoryChoice::Summary => Memory::RollingSummary,
            },
            history: section.history,
        }
    }
}

impl Roll {
    /// The agent of this name, or the echo.
    fn agent(&self, name: &str) -> Chosen {
        self.agents.get(name).cloned().unwrap_or_else(Chosen::echo)
    }

    fn called(&self, choice: &AgentChoice) -> String {
        match choice {
            AgentChoice::Named(name) => name.clone(),
            AgentChoice::Auto => {
                let mut names = self.agents.keys();
                match (names.next(), names.next()) {
                    (Some(only), None) => only.clone(),
                    _ if self.agents.contains_key(AgentChoice::DEFAULT) => {
                        AgentChoice::DEFAULT.to_owned()
                    }
                    _ => AgentChoice::ECHO.to_owned(),
                }
            }
        }
    }

    /// What single devices and tags are given.
    fn give(&mut self, settings: &Settings, managed: &[ManagedRow]) {
        for row in managed.iter().filter(|row| row.key == "xiaozhi.agent") {
            let Some(choice) = AgentChoice::parse_toml(&row.value) else {
                continue;
            };
            let name = self.called(&choice);
            match &row.scope {
                Scope::Everyone => {}
                Scope::Device(device) => drop(self.devices.insert(device.clone(), name)),
                Scope::Tag(tag) => self.tags.push((tag.clone(), name)),
            }
        }
        // The later of `tags.order` wins; what does not stand there, last of all.
        let order = &settings.tags.order;
        let place = |tag: &str| order.iter().position(|known| known.as_str() == tag);
        self.tags
            .sort_by_key(|(tag, _)| std::cmp::Reverse(place(tag)));
    }
}

impl Default for Roll {
    fn default() -> Roll {
        Roll {
            agents: BTreeMap::new(),
            providers: BTreeMap::new(),
            servers: Vec::new(),
            recording: BTreeMap::new(),
            everyone: AgentChoice::ECHO.to_owned(),
            devices: HashMap::new(),
            tags: Vec::new(),
        }
    }
}

impl Chosen {
    /// The one that needs no settings.
    pub fn echo() -> Chosen {
        Chosen {
            name: AgentChoice::ECHO.into(),
            agent: None,
            eye: None,
            tools: Vec::new(),
            memory: Memory::None,
            history: Duration::ZERO,
        }
    }
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chosen")
            .field("name", &self.name)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Agents").field(&self.names()).finish()
    }
}

/// All that makes a voice sound different from others.
fn voice_key(provider: &Provider) -> Box<str> {
    let section = &provider.section;
    let command: Vec<&str> = section.command.iter().map(|word| word.as_str()).collect();
    [
        section.name.as_str(),
        section.kind.word(),
        &section.url,
        &section.model,
        &section.voice,
        &section.format,
        &section.folder,
        &section.extra,
        &command.join(" "),
    ]
    .join("\n")
    .into()
}

/// What is said when something fails.
fn phrases(language: Language) -> Phrases {
    Phrases::new(move |failure| {
        let texts = Texts::new(language);
        let what = match failure.stage {
            Stage::Recognizer => say!(texts, "voice-failed-recognizer"),
            Stage::Model => say!(texts, "voice-failed-model"),
            Stage::Synthesizer => say!(texts, "voice-failed-voice"),
            Stage::Eye => say!(texts, "voice-failed-vision"),
            Stage::Tool => say!(texts, "voice-failed-other"),
        };
        let why = match failure.kind {
            FailureKind::Unreachable => say!(texts, "voice-why-unreachable"),
            FailureKind::TimedOut => say!(texts, "voice-why-timed-out"),
            FailureKind::NotAllowed => say!(texts, "voice-why-not-allowed"),
            FailureKind::Exhausted => say!(texts, "voice-why-exhausted"),
            FailureKind::Missing => say!(texts, "voice-why-missing"),
            _ => say!(texts, "voice-why-other"),
        };
        match language {
            Language::English => format!("{what} {why}"),
            Language::Chinese => what + &why,
        }
    })
}

/// A stage, for programs.
pub fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Recognizer => "recognizer",
        Stage::Model => "model",
        Stage::Tool => "tool",
        Stage::Synthesizer => "voice",
        Stage::Eye => "vision",
    }
}

/// A kind of failure, for programs.
pub fn kind_word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "unreachable",
        FailureKind::TimedOut => "timed-out",
        FailureKind::NotAllowed => "not-allowed",
        FailureKind::Exhausted => "exhausted",
        FailureKind::Refused => "refused",
        FailureKind::Failed => "failed",
        FailureKind::Broken => "broken",
        FailureKind::Misunderstood => "misunderstood",
        FailureKind::Missing => "missing",
    }
}

/// The stage that a provider of this role does.
fn stage_of(role: ProviderRole) -> Stage {
    match role {
        ProviderRole::Recognizer => Stage::Recognizer,
        ProviderRole::Model => Stage::Model,
        ProviderRole::Voice => Stage::Synthesizer,
        ProviderRole::Vision => Stage::Eye,
        ProviderRole::Tools => Stage::Tool,
    }
}

/// How much longer a turn waits for a provider than the provider for itself.
const MORE_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
