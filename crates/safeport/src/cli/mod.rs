//! What people type: one module per command, each a few questions to the crates below and an
//! answer on stdout.

mod agent;
mod attempts;
mod bench;
mod cert;
mod check;
mod client;
mod config;
mod device;
mod doctor;
mod firmware;
mod images;
mod import;
mod ports;
mod registry;
mod rights;
mod session;
mod simulate;
mod token;
mod user;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::console::{Console, Exit, Failure};
use crate::reading::{Asked, Gathered, Read, ReadError};
use crate::text::{Language, Texts};
use crate::{app, log};

/// Safeport: an MQTT broker and home server for ESP32-class devices.
///
/// Exit codes: 0 done, 1 failed, 10 to 19 findings of the doctor, 64 bad settings or usage. Data goes to stdout, everything else to
/// stderr.
#[derive(Debug, Parser)]
#[command(
    name = "safeport",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Language of messages: en or zh-CN. Default: server.language, else LC_ALL, LC_MESSAGES, LANG
    #[arg(long, global = true, value_name = "LANGUAGE")]
    lang: Option<Language>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Check settings without starting anything; all errors at once
    Check(Place),
    /// Settings: what is set by whom, what was changed, and changing it
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Every listener and every advertised address, and who holds a port that we cannot have
    Ports(ports::PortsArgs),
    /// Who tried to connect, what came of it, and what to do about it
    Attempts(attempts::AttemptsArgs),
    /// Which layer of a connection broke, why, and what to do about it
    ///
    /// Exit codes: 0 nothing wrong; else the broken layer: 10 Wi-Fi, 11 DNS, 12 TCP, 13 clock, 14 TLS,
    /// 15 certificate, 16 MQTT, 17 WebSocket, 18 HTTP, 19 the device's firmware or memory.
    Doctor(doctor::DoctorArgs),
    /// Logins of people and programs
    User {
        #[command(subcommand)]
        command: user::UserCommand,
    },
    /// Devices and their logins
    Device {
        #[command(subcommand)]
        command: device::DeviceCommand,
    },
    /// Agents that xiaozhi devices talk with
    Agent {
        #[command(subcommand)]
        command: agent::AgentCommand,
    },
    /// Firmware images
    Firmware {
        #[command(subcommand)]
        command: firmware::FirmwareCommand,
    },
    /// Tokens of the HTTP API
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// The server's certificates
    Cert {
        #[command(subcommand)]
        command: cert::CertCommand,
    },
    /// Settings of other servers as a settings file
    Import {
        #[command(subcommand)]
        command: import::ImportCommand,
    },
    /// Pretend devices, for trying things out
    Simulate {
        #[command(subcommand)]
        command: simulate::SimulateCommand,
    },
    /// Put load on a broker and measure what that costs it
    Bench {
        #[command(subcommand)]
        command: bench::BenchCommand,
    },
}

/// Where settings and data are.
#[derive(Debug, Args)]
struct Place {
    /// Settings file. Default: ./safeport.toml, else /etc/safeport/safeport.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder (server.data). Default: $STATE_DIRECTORY, for root /var/lib/safeport, else
    /// $XDG_DATA_HOME/safeport or ~/.local/share/safeport
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    place: Place,
    /// For trying things out: let every client in without a login, with all rights. Listens on
    /// this machine only, unless a bind setting or --bind says otherwise
    #[arg(long)]
    open: bool,
    /// Address of every listener, such as 0.0.0.0 or 192.168.1.20; ports stay as set
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Devices that may lose the address they hold if their listener has to move to another port
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    strand: Vec<String>,
}

impl Place {
    fn asked(&self) -> Asked {
        Asked {
            config: self.config.clone(),
            data: self.data.clone(),
            ..Asked::default()
        }
    }
}

/// Runs the command line `arguments` (the program's name first) and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data that was asked for; the rest is usage.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Fine
            };
            let _ = error.print();
            return ExitCode::from(exit as u8);
        }
    };
    let asked_language = cli.lang;
    let language = asked_language.unwrap_or_else(Language::from_environment);
    let mut console = Console {
        texts: Texts::new(language),
        json: cli.json,
    };
    let done = cli.command.run(&mut console, asked_language);
    match done {
        Ok(exit) => ExitCode::from(exit),
        Err(failure) => {
            console.fail(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

impl Command {
    /// Runs, and returns what the process exits with.
    fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<u8, Failure> {
        let done = match self {
            // Its exit code is its answer.
            Command::Doctor(args) => return args.run(console, lang),
            Command::Serve(args) => {
                let asked = Asked {
                    open: args.open,
                    bind: args.bind,
                    ..args.place.asked()
                };
                let read = read_to_serve(&asked, console, lang)?;
                app::serve(read, &args.strand, console)
            }
            Command::Check(place) => check::check(&place.asked(), console, lang),
            Command::Config { command } => command.run(console, lang),
            Command::Ports(args) => args.run(console, lang),
            Command::Attempts(args) => args.run(console, lang),
            Command::User { command } => command.run(console, lang),
            Command::Device { command } => command.run(console, lang),
            Command::Agent { command } => command.run(console, lang),
            Command::Firmware { command } => command.run(console, lang),
            Command::Token { command } => command.run(console, lang),
            Command::Cert { command } => command.run(console, lang),
            Command::Import { command } => command.run(console),
            Command::Simulate { command } => command.run(console),
            Command::Bench { command } => command.run(console),
        };
        done.map(|()| Exit::Fine as u8)
    }
}

/// Reads the settings; from here on the console speaks the language that they name, unless
/// `--lang` named one.
fn read(asked: &Asked, console: &mut Console, lang: Option<Language>) -> Result<Read, Failure> {
    let read = Read::new(asked).map_err(|error| failure(&error, console))?;
    speak(read.settings.server.language, console, lang);
    Ok(read)
}

/// The same for a server, which must not stay down over a slip in a file: if the files have
/// mistakes, those of the last good start or change stand in, loudly.
fn read_to_serve(
    asked: &Asked,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<Read, Failure> {
    if let Ok(gathered) = Gathered::new(asked) {
        app::take_back_unconfirmed(&gathered, console);
    }
    let error = match Read::new(asked) {
        Ok(read) => {
            speak(read.settings.server.language, console, lang);
            return Ok(read);
        }
        Err(error) => error,
    };
    let refused = failure(&error, console);
    let why = refused.detail.clone().unwrap_or_default();
    match error.is_about_files().then(|| Read::last_good(asked, why)) {
        Some(Some(read)) => {
            speak(read.settings.server.language, console, lang);
            Ok(read)
        }
        _ => Err(refused),
    }
}

/// Reads files and environment without judging them, for commands that help to repair them.
fn gather(
    asked: &Asked,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<Gathered, Failure> {
    let gathered = Gathered::new(asked).map_err(|error| failure(&error, console))?;
    speak(gathered.lenient().server.language, console, lang);
    Ok(gathered)
}

fn failure(error: &ReadError, console: &Console) -> Failure {
    error.failure(&console.texts, colored(console))
}

fn speak(language: safeport_settings::Language, console: &mut Console, lang: Option<Language>) {
    let set = match language {
        safeport_settings::Language::Auto => None,
        safeport_settings::Language::En => Some(Language::English),
        safeport_settings::Language::ZhCn => Some(Language::Chinese),
    };
    if let (None, Some(language)) = (lang, set) {
        console.texts = Texts::new(language);
    }
}

/// Whether what goes to stderr may be coloured.
fn colored(console: &Console) -> bool {
    !console.json && std::io::stderr().is_terminal() && !log::no_color()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
