//! `safeport agent`: which agents there are, and whether one answers, before any device is there.

mod programs;
mod servers;
mod sound;
mod tools;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use safeport_settings::{Settings, show_duration};
use safeport_voice::{Begin, Failure as ProviderFailure, Happened, Scene, Stage, Told, Turn};
use serde_json::{Value, json};

use self::servers::Servers;
use self::tools::{TriedTools, call_line, calls};
use super::{Place, read};
use crate::console::{Console, Failure};
use crate::say;
use crate::serve::voice::agents::{Agents, Chosen};
use crate::shown::agents::{agent_json, failure_json, headline, next, server_line, told};
use crate::text::{Language, Texts};

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// List the agents of the settings, and what is wrong with their providers as far as that is
    /// known without asking them
    List(ListArgs),
    /// Ask an agent something, as a device would: whether addresses, keys and programs are right
    ///
    /// Reads the settings and asks its providers from this machine; no server has to run.
    Try(TryArgs),
    /// Which programs may bring their tools to an agent, at the access point of the server that runs
    Program {
        #[command(subcommand)]
        command: programs::ProgramCommand,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct TryArgs {
    /// The agent
    name: String,
    /// What it is asked
    #[arg(required_unless_present = "recording")]
    text: Option<String>,
    /// Have it hear this recording instead: WAV, 16 bit, mono, 16,000 samples a second
    #[arg(long = "voice", value_name = "FILE", conflicts_with = "text")]
    recording: Option<PathBuf>,
    /// Leave its tools alone: no server of tools is connected to, and none is started
    #[arg(long)]
    no_tools: bool,
    /// Write what it says to this file, as WAV
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl AgentCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            AgentCommand::List(args) => list(args, console, lang),
            AgentCommand::Try(args) => attempt(args, console, lang),
            AgentCommand::Program { command } => command.run(console, lang),
        }
    }
}

fn list(args: &ListArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let read = read(&args.place.asked(), console, lang)?;
    let texts = &console.texts;
    let agents = Agents::new(texts.language());
    agents.set_settings(&read.settings, &read.managed);
    let broken = agents.broken();
    let settings = &read.settings;
    let servers = Servers::ask(&read, &broken, texts);
    let rows: Vec<Value> = settings
        .agent
        .iter()
        .map(|agent| {
            let used = [&agent.recognizer, &agent.model, &agent.voice, &agent.vision];
            let trouble: Vec<Value> = broken
                .iter()
                .filter(|(name, _)| used.contains(&name))
                .map(|(_, failure)| failure_json(failure))
                .collect();
            let mut row = agent_json(agent);
            row["default"] = (agents.everyones() == agent.name).into();
            row["trouble"] = trouble.into();
            row["servers"] = servers.of(agent, settings, texts).into();
            row
        })
        .collect();
    if console.json {
        return console.json(&rows);
    }
    if rows.is_empty() {
        console.talk(&say!(texts, "agents-none"));
        return Ok(());
    }
    let lines: Vec<String> = rows.iter().map(|row| line(row, settings, texts)).collect();
    console.data(&lines.join("\n"))?;
    for agent in settings.agent.iter().filter(|it| !it.recordings.is_zero()) {
        let time = show_duration(agent.recordings);
        console.talk(&say!(
            texts,
            "agent-records",
            name = &agent.name,
            time = time
        ));
    }
    for (_, failure) in broken.iter().filter(|(_, it)| it.stage != Stage::Tool) {
        console.talk(&told(failure, texts));
    }
    for trouble in servers.trouble(settings, texts) {
        console.talk(&trouble);
    }
    console.talk(&say!(texts, "agents-next"));
    Ok(())
}

/// An agent: its name, and each provider with its kind; its servers of tools in lines of their own.
fn line(row: &Value, settings: &Settings, texts: &Texts) -> String {
    let mut line = row["name"].as_str().unwrap_or_default().to_owned();
    if row["default"] == true {
        line.push_str("  ");
        line.push_str(&say!(texts, "agent-default"));
    }
    for key in ["recognizer", "model", "voice", "vision"] {
        let name = row[key].as_str().unwrap_or_default();
        let provider = settings.provider.iter().find(|known| known.name == name);
        if let Some(provider) = provider {
            line.push_str(&format!("  {key}={name} ({})", provider.kind.word()));
        }
    }
    for server in row["servers"].as_array().into_iter().flatten() {
        line.push_str("\n  ");
        line.push_str(&server_line(server, texts));
    }
    line
}

/// What came of asking it.
#[derive(Default)]
struct Answered {
    heard: String,
    sentences: Vec<String>,
    sound: Vec<Arc<[u8]>>,
    failures: Vec<ProviderFailure>,
    happened: Happened,
    /// Of tools, that were connected to.
    servers: Vec<Value>,
}

fn attempt(args: &TryArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let read = read(&args.place.asked(), console, lang)?;
    let texts = &console.texts;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(say!(texts, "doctor-no-runtime")).detail(error))?;
    let agents = Agents::new(texts.language());
    agents.set_settings(&read.settings, &read.managed);
    let chosen = agents
        .named(&args.name)
        .ok_or_else(|| unknown(&args.name, &agents, texts))?;
    let Some(agent) = chosen.agent.clone() else {
        return Err(Failure::usage(say!(texts, "agent-echo")).next(say!(texts, "agents-none")));
    };
    let speech = match &args.recording {
        Some(file) => Some(sound::read(file, texts)?),
        None => None,
    };
    if speech.is_some() && agent.recognizer.is_none() {
        return Err(
            Failure::usage(say!(texts, "agent-deaf", name = args.name)).next(say!(
                texts,
                "agent-deaf-next",
                name = args.name
            )),
        );
    }
    let begin = match (&speech, &args.text) {
        (None, Some(text)) => Begin::Asked(text.clone()),
        _ => Begin::Listening,
    };
    let shows = !console.json && std::io::stderr().is_terminal();
    let section = read.settings.agent.iter();
    let section = section
        .filter(|_| !args.no_tools)
        .find(|section| section.name == args.name);
    let answered = runtime.block_on(async {
        let mut tried = None;
        let mut scene = Scene::default();
        if let Some(section) = section {
            let tools = TriedTools::connect(&agents, section, &read.settings, console).await;
            scene.toolbox = Some(tools.tools.clone());
            tried = Some(tools);
        }
        let mut turn = Turn::start(agent, scene, begin);
        if let Some(samples) = &speech {
            for piece in samples.chunks(PIECE) {
                turn.hear(piece);
                // At the pace of its recogniser, not of a microphone.
                tokio::task::yield_now().await;
            }
            turn.finish();
        }
        let mut answered = hear(&mut turn, shows, console).await;
        if let Some(tried) = tried {
            answered.servers = tried.servers();
            answered.failures.extend(tried.failures);
        }
        answered
    });
    // A program or engine that hangs is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    if let Some(file) = &args.answer {
        sound::write(file, &answered.sound, texts)?;
    }
    tell(args, &chosen, &answered, console)
}

/// Takes everything that the turn tells.
async fn hear(turn: &mut Turn, shows: bool, console: &Console) -> Answered {
    let mut answered = Answered::default();
    while let Some(told) = turn.next().await {
        match told {
            Told::Heard(text) => {
                if shows {
                    console.talk(&format!("< {text}"));
                }
                answered.heard = text;
            }
            // Words about a failure are for who has only ears.
            Told::Sentence { shown } if answered.failures.is_empty() => {
                answered.sentences.push(shown);
            }
            Told::Sentence { .. } => {}
            Told::Audio(packet) | Told::Opus(packet) => answered.sound.push(packet),
            Told::Failed(failure) => answered.failures.push(failure),
            Told::Done(happened) => answered.happened = happened,
        }
    }
    answered
}

fn tell(
    args: &TryArgs,
    chosen: &Chosen,
    answered: &Answered,
    console: &Console,
) -> Result<(), Failure> {
    let texts = &console.texts;
    let timing = answered.happened.timing;
    let ms = |passed: Option<Duration>| passed.map(|passed| passed.as_millis() as u64);
    let stages = json!({
        "transcript_ms": ms(timing.transcript),
        "first_token_ms": ms(timing.first_part),
        "first_audio_ms": ms(timing.first_audio),
    });
    let failure = answered.failures.first();
    let calls = calls(&answered.happened.messages);
    if console.json {
        let failures: Vec<Value> = answered.failures.iter().map(failure_json).collect();
        console.json(&json!({
            "agent": &*chosen.name,
            "heard": answered.heard,
            "answer": answered.sentences.join(" "),
            "packets": answered.sound.len(),
            "calls": calls,
            "servers": answered.servers,
            "stages": stages,
            "failures": failures,
        }))?;
    } else {
        for call in &calls {
            console.talk(&call_line(call, console));
        }
        if !answered.sentences.is_empty() {
            console.data(&answered.sentences.join("\n"))?;
        }
    }
    if let Some(failure) = failure {
        return Err(Failure::new(headline(failure, texts))
            .detail(&failure.detail)
            .next(next(failure, texts)));
    }
    if answered.heard.is_empty() && answered.sentences.is_empty() {
        return Err(Failure::new(say!(texts, "agent-heard-nothing"))
            .next(say!(texts, "agent-heard-nothing-next")));
    }
    if !console.json {
        if let Some(stages) = crate::shown::talks::stages(&stages, texts) {
            console.talk(&stages);
        }
        console.talk(&say!(texts, "agent-works", name = args.name));
    }
    Ok(())
}

fn unknown(name: &str, agents: &Agents, texts: &Texts) -> Failure {
    Failure::usage(say!(texts, "agent-no-such", name = name)).next(say!(
        texts,
        "agent-no-such-next",
        names = agents.names().join(", ")
    ))
}

/// Samples that are handed over at once: 60 ms.
const PIECE: usize = 960;
