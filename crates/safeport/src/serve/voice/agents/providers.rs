//! Providers made of their sections.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::tz::{Offset, TimeZone};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use safeport_settings::{Provider as Section, ProviderKind, ProviderRole, Settings, UtcOffset};
use safeport_voice::{
    ApiKey, ChatModel, Command, CommandRecognizer, CommandSettings, DashScope, DashScopeSettings,
    Dial, Endpoint, Eye, Failure, FailureKind, FunAsr, FunAsrMode, FunAsrSettings, Job,
    LocalPlaces, LocalRecognizer, LocalSettings, LocalSynthesizer, McpSettings, McpWay, OpenAiChat,
    OpenAiEye, OpenAiSpeech, OpenAiTranscription, Parrot, Part, Question, Recognizer, Sound,
    Speech, SpeechStyle, Stage, Synthesizer, Timeouts, Transcript,
};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::late::Late;
use super::stage_of;
use crate::limits::{PROVIDER_KEY_FILE, PROVIDER_PROGRAMS};
use crate::probe::certificates_in;

/// A provider, by what it does; with why it can do nothing, where that is known already.
#[derive(Clone)]
pub(super) enum Made {
    Recognizer(Arc<dyn Recognizer>, Option<Failure>),
    Model(Arc<dyn ChatModel>, Option<Failure>),
    Voice(Arc<dyn Synthesizer>, Option<Failure>),
    Eye(Arc<dyn Eye>, Option<Failure>),
    /// Others connect to it.
    Tools(McpSettings),
    /// Tools that cannot be had.
    NoTools(Failure),
}

impl Made {
    /// One that fails whenever it is asked.
    pub(super) fn broken(role: ProviderRole, failure: Failure) -> Made {
        let broken = Arc::new(Broken(failure.clone()));
        match role {
            ProviderRole::Recognizer => Made::Recognizer(broken, Some(failure)),
            ProviderRole::Model => Made::Model(broken, Some(failure)),
            ProviderRole::Voice => Made::Voice(broken, Some(failure)),
            ProviderRole::Vision => Made::Eye(broken, Some(failure)),
            ProviderRole::Tools => Made::NoTools(failure),
        }
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        match self {
            Made::Recognizer(_, failure)
            | Made::Model(_, failure)
            | Made::Voice(_, failure)
            | Made::Eye(_, failure) => failure.as_ref(),
            Made::NoTools(failure) => Some(failure),
            Made::Tools(_) => None,
        }
    }
}

/// Makes providers, with what they share.
#[derive(Default)]
pub(super) struct Maker {
    /// By the files of authorities beside the system's.
    dials: Mutex<BTreeMap<Vec<String>, Dial>>,
    places: LocalPlaces,
    /// The clock of the house.
    zone: Arc<RwLock<Option<TimeZone>>>,
}

impl Maker {
    /// Makes one, that fails with the reason where it cannot be.
    pub(super) fn make(&self, section: &Section, key: &str, roots: &[String]) -> Made {
        let make = Make {
            section,
            key,
            roots,
            maker: self,
        };
        make.made()
            .unwrap_or_else(|failure| Made::broken(section.kind.role(), failure))
    }

    /// The clock of the house, from here on.
    pub(super) fn set_zone(&self, settings: &Settings) {
        let xiaozhi = &settings.xiaozhi;
        let zone = match xiaozhi.utc_offset {
            UtcOffset::Minutes(minutes) => Offset::from_seconds(i32::from(minutes) * 60)
                .ok()
                .map(Offset::to_time_zone),
            // That there is no such zone is told where devices are told the time.
            UtcOffset::Auto => TimeZone::get(&xiaozhi.timezone).ok(),
        };
        *self.zone.write().unwrap_or_else(PoisonError::into_inner) = zone;
    }

    /// What says back what was understood, and the time.
    pub(super) fn parrot(&self) -> Arc<dyn ChatModel> {
        let zone = self.zone.clone();
        Arc::new(Parrot::new(move || {
            let zone = zone.read().unwrap_or_else(PoisonError::into_inner).clone();
            let now = jiff::Timestamp::now().to_zoned(zone.unwrap_or_else(TimeZone::system));
            (now.hour().unsigned_abs(), now.minute().unsigned_abs())
        }))
    }

    /// What connections are made with, where those of the system and of these files are trusted.
    pub(super) fn dial(&self, roots: &[String]) -> Result<Dial, String> {
        let mut dials = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dial) = dials.get(roots) {
            return Ok(dial.clone());
        }
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for file in roots {
            // What is wrong with such a file is told where the settings are judged.
            if let Ok(text) = std::fs::read_to_string(file) {
                store.add_parsable_certificates(certificates_in(&text));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        let dial = Dial::new(config).map_err(|error| error.to_string())?;
        // Whoever uses the former one keeps it.
        dials.clear();
        dials.insert(roots.to_vec(), dial.clone());
        Ok(dial)
    }
}

/// Files with authorities that providers may have their certificates of, beside the system's.
pub(super) fn root_files(settings: &Settings) -> Vec<String> {
    let files = [&settings.advertise.ca_file, &settings.tls.ca_file];
    files
        .into_iter()
        .filter(|file| !file.is_empty())
        .cloned()
        .collect()
}

/// The key of a provider, wherever it stands; empty for none.
pub(super) fn key(section: &Section) -> Result<String, Failure> {
    if !section.key.is_empty() || section.key_file.is_empty() {
        return Ok(section.key.reveal().to_owned());
    }
    let file = &section.key_file;
    let missing = |why: String| Failure {
        stage: stage_of(section.kind.role()),
        provider: section.name.as_str().into(),
        kind: FailureKind::Missing,
        detail: why.into(),
    };
    let read = || {
        let mut text = String::new();
        std::fs::File::open(file)?
            .take(PROVIDER_KEY_FILE)
            .read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read().map_err(|error| {
        missing(format!(
            "the file {file} with its key cannot be read: {error}; let the server's user read it, or set key_file to \
             another"
        ))
    })?;
    let first = text.lines().next().unwrap_or_default().trim();
    if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(missing(format!(
            "the first line of {file} is no key; write the key there, and nothing else"
        )));
    }
    Ok(first.to_owned())
}

/// What one is made of.
struct Make<'a> {
    section: &'a Section,
    key: &'a str,
    roots: &'a [String],
    maker: &'a Maker,
}

impl Make<'_> {
    fn made(&self) -> Result<Made, Failure> {
        use ProviderKind as Kind;
        Ok(match self.section.kind {
            Kind::OpenaiChat => {
                let chat = OpenAiChat::new(self.endpoint()?);
                Made::Model(Arc::new(chat.map_err(|error| self.missing(error))?), None)
            }
            Kind::OpenaiTranscription => {
                let ears = OpenAiTranscription::new(self.endpoint()?);
                Made::Recognizer(Arc::new(ears.map_err(|error| self.missing(error))?), None)
            }
            Kind::OpenaiSpeech => {
                let format = self.section.format.parse();
                let style = SpeechStyle {
                    voice: self.section.voice.clone(),
                    format: format.map_err(|error| self.missing(error))?,
                };
                let voice = OpenAiSpeech::new(self.endpoint()?, style);
                Made::Voice(Arc::new(voice.map_err(|error| self.missing(error))?), None)
            }
            Kind::OpenaiVision => {
                let eye = OpenAiEye::new(self.endpoint()?);
                Made::Eye(Arc::new(eye.map_err(|error| self.missing(error))?), None)
            }
            Kind::Funasr => Made::Recognizer(Arc::new(self.funasr()?), None),
            Kind::DashscopeSpeech => Made::Voice(Arc::new(self.dashscope()?), None),
            Kind::CommandRecognizer => {
                let ears = CommandRecognizer::new(self.command(None))?;
                Made::Recognizer(Arc::new(ears), None)
            }
            Kind::CommandSpeech => {
                let rate = self.rate()?;
                Made::Voice(Arc::new(Command::new(self.command(rate))?), None)
            }
            Kind::LocalRecognizer => {
                let (settings, places) = (self.local()?, self.maker.places.clone());
                Made::Recognizer(
                    self.late(move || LocalRecognizer::load(settings, places)),
                    None,
                )
            }
            Kind::LocalSpeech => {
                let (settings, places) = (self.local()?, self.maker.places.clone());
                Made::Voice(
                    self.late(move || LocalSynthesizer::load(settings, places)),
                    None,
                )
            }
            Kind::Parrot => Made::Model(self.maker.parrot(), None),
            Kind::Mcp => Made::Tools(self.mcp()?),
        })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        self.needs("url", &self.section.url)?;
        let usual = Timeouts::default();
        let timeout = self.section.timeout;
        Ok(Endpoint {
            provider: self.name(),
            url: self.section.url.clone(),
            key: (!self.key.is_empty()).then(|| ApiKey::new(self.key)),
            model: self.section.model.clone(),
            extra: self.extra(),
            timeouts: Timeouts {
                first: timeout,
                between: timeout,
                whole: usual.whole.max(timeout * 3),
            },
            dial: self.dial()?,
        })
    }

    fn funasr(&self) -> Result<FunAsr, Failure> {
        self.needs("url", &self.section.url)?;
        let mut settings = FunAsrSettings::new(&*self.section.name, &*self.section.url);
        settings.key = (!self.key.is_empty()).then(|| ApiKey::new(self.key));
        settings.timeout = self.section.timeout;
        for (name, value) in self.extra() {
            match (name.as_str(), &value) {
                ("mode", Value::String(mode)) => {
                    let modes = [FunAsrMode::TwoPass, FunAsrMode::Online, FunAsrMode::Offline];
                    let known = modes.into_iter().find(|known| known.as_str() == mode);
                    settings.mode =
                        known.ok_or_else(|| self.unknown("mode", "2pass, online or offline"))?;
                }
                ("itn", Value::Bool(itn)) => settings.itn = *itn,
                ("insecure", Value::Bool(insecure)) => settings.insecure = *insecure,
                ("hotwords", Value::Object(words)) => {
                    let weight =
                        |value: &Value| value.as_u64().and_then(|weight| weight.try_into().ok());
                    let words = words
                        .iter()
                        .map(|(word, value)| Some((word.clone(), weight(value)?)));
                    let words: Option<Vec<(String, u32)>> = words.collect();
                    settings.hotwords =
                        words.ok_or_else(|| self.unknown("hotwords", "{\"word\": 20}"))?;
                }
                (name, _) => return Err(self.unknown(name, "mode, itn, hotwords or insecure")),
            }
        }
        Ok(FunAsr::new(settings, self.dial()?))
    }

    fn dashscope(&self) -> Result<DashScope, Failure> {
        self.needs("key", self.key)?;
        let section = self.section;
        let mut settings = DashScopeSettings::new(&*section.name, ApiKey::new(self.key));
        settings.timeout = section.timeout;
        let given = [
            (&mut settings.url, &section.url),
            (&mut settings.model, &section.model),
            (&mut settings.voice, &section.voice),
        ];
        for (setting, given) in given {
            if !given.is_empty() {
                setting.clone_from(given);
            }
        }
        let format = section.format.parse();
        settings.format = format.map_err(|error| self.missing(error))?;
        for (name, value) in self.extra() {
            let figure = value.as_f64();
            match (name.as_str(), figure) {
                ("speed", Some(speed)) => settings.speed = speed as f32,
                ("pitch", Some(pitch)) => settings.pitch = pitch as f32,
                ("volume", Some(volume)) => settings.volume = volume.clamp(0.0, 100.0) as u8,
                (name, _) => return Err(self.unknown(name, "the numbers speed, pitch or volume")),
            }
        }
        Ok(DashScope::new(settings, self.dial()?))
    }

    fn command(&self, raw: Option<u32>) -> CommandSettings {
        CommandSettings {
            name: self.name(),
            program: self.words(),
            language: "en".into(),
            raw,
            timeout: self.section.timeout,
            at_once: PROVIDER_PROGRAMS,
        }
    }

    fn local(&self) -> Result<LocalSettings, Failure> {
        self.needs("folder", &self.section.folder)?;
        let mut settings = LocalSettings {
            name: self.name(),
            folder: PathBuf::from(&self.section.folder),
            language: None,
            timeout: self.section.timeout,
            speaker: 0,
            speed: 1.0,
            phonemizer: self.words(),
        };
        if settings.phonemizer.is_empty() {
            let usual = ["espeak-ng", "-q", "--ipa", "-v", "{language}"];
            settings.phonemizer = usual.map(str::to_owned).to_vec();
        }
        if !self.section.voice.is_empty() {
            let speaker = self.section.voice.parse();
            settings.speaker = speaker
                .map_err(|_| self.missing("its voice is the number of a speaker, such as \"0\""))?;
        }
        for (name, value) in self.extra() {
            match (name.as_str(), &value) {
                ("speed", Value::Number(speed)) => {
                    settings.speed = speed.as_f64().unwrap_or(1.0) as f32;
                }
                ("language", Value::String(language)) => {
                    settings.language = Some(language.as_str().into());
                }
                (name, _) => return Err(self.unknown(name, "speed or language")),
            }
        }
        Ok(settings)
    }

    fn late<T: Send + Sync + 'static>(
        &self,
        load: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Arc<Late<T>> {
        Arc::new(Late::load(&self.section.name, self.stage(), load))
    }

    fn mcp(&self) -> Result<McpSettings, Failure> {
        let section = self.section;
        let way = if section.url.is_empty() {
            if section.command.is_empty() {
                return Err(self.missing("it has neither a url nor a command; set one of the two"));
            }
            let mut env = Vec::new();
            for (name, value) in self.extra() {
                let ("env", Value::Object(variables)) = (name.as_str(), &value) else {
                    return Err(
                        self.unknown(&name, "env, such as {\"env\": {\"NAME\": \"value\"}}")
                    );
                };
                for (variable, value) in variables {
                    let text = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    env.push((variable.clone(), text));
                }
            }
            McpWay::Command {
                command: self.words(),
                env,
            }
        } else {
            McpWay::Http {
                url: section.url.clone(),
                key: (!self.key.is_empty()).then(|| self.key.to_owned()),
            }
        };
        Ok(McpSettings {
            name: section.name.clone(),
            way,
            timeout: section.timeout,
        })
    }

    /// Samples a second, where the format says so.
    fn rate(&self) -> Result<Option<u32>, Failure> {
        match self.section.format.as_str() {
            "" | "wav" => Ok(None),
            "pcm" => Ok(Some(24_000)),
            format => {
                let rate = format
                    .strip_prefix("pcm@")
                    .and_then(|rate| rate.parse().ok());
                rate.map(Some).ok_or_else(|| {
                    self.missing("its format is \"wav\", \"pcm\" or such as \"pcm@22050\"")
                })
            }
        }
    }

    fn words(&self) -> Vec<String> {
        let words = self.section.command.iter();
        words.map(|word| word.as_str().to_owned()).collect()
    }

    /// The settings have seen that it is an object, or nothing.
    fn extra(&self) -> Map<String, Value> {
        serde_json::from_str(&self.section.extra).unwrap_or_default()
    }

    fn dial(&self) -> Result<Dial, Failure> {
        self.maker
            .dial(self.roots)
            .map_err(|error| self.missing(format!("TLS cannot be set up: {error}")))
    }

    fn needs(&self, key: &str, value: &str) -> Result<(), Failure> {
        let name = &self.section.name;
        match value.is_empty() {
            true => Err(self.missing(format!("it has no {key}; set provider.{name}.{key}"))),
            false => Ok(()),
        }
    }

    fn unknown(&self, name: &str, known: &str) -> Failure {
        self.missing(format!(
            "`extra` has {name:?} in a way that it does not know; it takes {known}"
        ))
    }

    fn missing(&self, why: impl std::fmt::Display) -> Failure {
        Failure {
            stage: self.stage(),
            provider: self.name(),
            kind: FailureKind::Missing,
            detail: why.to_string().into(),
        }
    }

    fn name(&self) -> Box<str> {
        self.section.name.as_str().into()
    }

    fn stage(&self) -> Stage {
        stage_of(self.section.kind.role())
    }
}

/// A provider that was set up wrongly: every turn hears why.
struct Broken(Failure);

impl Broken {
    fn fail<T: Send>(&self) -> Job<'_, T> {
        Box::pin(async { Err(self.0.clone()) })
    }
}

impl Recognizer for Broken {
    fn recognize<'a>(&'a self, speech: Speech, _language: Option<&'a str>) -> Job<'a, Transcript> {
        Box::pin(async move {
            // They are let finish: an answer in the middle of their words would be missed.
            speech.whole().await;
            Err(self.0.clone())
        })
    }
}

impl ChatModel for Broken {
    fn answer<'a>(&'a self, _question: Question<'a>, _parts: mpsc::Sender<Part>) -> Job<'a, ()> {
        self.fail()
    }
}

impl Synthesizer for Broken {
    fn speak<'a>(
        &'a self,
        _text: &'a str,
        _language: Option<&'a str>,
        _sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        self.fail()
    }
}

impl Eye for Broken {
    fn look<'a>(
        &'a self,
        _question: &'a str,
        _kind: &'a str,
        _picture: Vec<u8>,
    ) -> Job<'a, String> {
        self.fail()
    }
}
