//! Every path of the machine in virtual time.

mod model;
mod polled;
mod pushed;
mod random;
mod tasmota;

use super::*;
use alloc::string::String;
use alloc::vec;

const START: u64 = 1_800_000_000;
const OWN: &str = "http://ota.tasmota.com/tasmota32/release/tasmota32.bin";

fn identity(version: &str, build: &str) -> Identity {
    Identity {
        version: Some(version.into()),
        build: (!build.is_empty()).then(|| build.into()),
        variant: None,
        hash: None,
    }
}

fn step(part: Part, version: &str) -> Step {
    let told = "tasmota32.bin";
    let file = match part {
        Part::Main => told,
        Part::Safeboot => "tasmota32-safeboot.bin",
    };
    Step {
        part,
        image: Planned {
            sha256: format!("{part:?}{version}"),
            md5: String::new(),
            size: 1_000_000,
            identity: identity(version, ""),
        },
        told_name: told.into(),
        files: vec![Named {
            name: file.into(),
            sha256: format!("{part:?}{version}"),
        }],
    }
}

fn plan(adapter: Adapter, steps: Vec<Step>) -> Plan {
    Plan {
        adapter,
        steps,
        over_tls: true,
        web: true,
        prove_safeboot: true,
        backup: true,
        may_upload: true,
        online: true,
        running: identity("14.0.0", ""),
        own_ota_url: None,
        reinstall: false,
        downgrade: false,
        soak: 600,
        patience: 60,
        expires_at: START + 7 * 86_400,
        seed: 7,
    }
}

/// A machine, its clock, and what it has asked for.
struct Rig {
    upgrade: Upgrade,
    now: u64,
}

impl Rig {
    fn new(plan: Plan) -> Rig {
        Rig {
            upgrade: Upgrade::new(plan, START),
            now: START,
        }
    }

    fn effects(&mut self) -> Vec<Effect> {
        core::iter::from_fn(|| self.upgrade.poll_effect()).collect()
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.now += 1;
        self.upgrade.handle(event, self.now);
        self.effects()
    }

    fn saw(&mut self, saw: Saw) -> Vec<Effect> {
        self.handle(Event::Saw(saw))
    }

    fn result(&mut self, text: &str) -> Vec<Effect> {
        self.handle(Event::Result(text.into()))
    }

    fn fetched(&mut self, bytes: u64) -> Vec<Effect> {
        let step = self.upgrade.step();
        self.handle(Event::Fetched {
            step,
            minimal: false,
            bytes,
            total: 1_000_000,
            ended: bytes == 1_000_000,
        })
    }

    /// A transfer that ended before its time.
    fn fetched_in_part(&mut self, bytes: u64) -> Vec<Effect> {
        let step = self.upgrade.step();
        self.handle(Event::Fetched {
            step,
            minimal: false,
            bytes,
            total: 1_000_000,
            ended: true,
        })
    }

    /// Lets the next deadline come.
    fn late(&mut self) -> Vec<Effect> {
        self.now = self.upgrade.poll_timeout().expect("a deadline");
        self.upgrade.handle_timeout(self.now);
        self.effects()
    }

    /// Lets deadlines come until the state is another one; what was asked for meanwhile.
    fn until_it_changes(&mut self) -> Vec<Effect> {
        let before = self.upgrade.state();
        let mut effects = Vec::new();
        for _ in 0..100 {
            if self.upgrade.state() != before {
                break;
            }
            effects.extend(self.late());
        }
        assert_ne!(self.upgrade.state(), before, "nothing changes");
        effects
    }

    fn pass(&mut self, seconds: u64) -> Vec<Effect> {
        let end = self.now + seconds;
        let mut effects = Vec::new();
        while let Some(at) = self.upgrade.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.upgrade.handle_timeout(self.now);
            effects.extend(self.effects());
        }
        self.now = end;
        effects
    }

    /// Through JSON, as after a restart of ours.
    fn restart(&mut self) -> Vec<Effect> {
        let text = serde_json::to_string(&self.upgrade).expect("JSON");
        self.upgrade = serde_json::from_str(&text).expect("the same");
        self.upgrade.resume(self.now);
        self.effects()
    }

    fn url(&mut self, step: usize) -> Vec<Effect> {
        self.handle(Event::TokenReady {
            step,
            url: url(step),
        })
    }

    fn state(&self) -> State {
        self.upgrade.state()
    }
}

fn url(step: usize) -> String {
    format!(
        "http://10.0.0.2:8002/ota/a{}/tasmota32.bin",
        [
            "bcdefghijklmnopqrst",
            "ccdefghijklmnopqrst",
            "dcdefghijklmnopqrst"
        ][step]
    )
}

fn command(command: &'static str, payload: &str) -> Effect {
    Effect::Command {
        command,
        payload: payload.into(),
    }
}

fn has(effects: &[Effect], effect: &Effect) -> bool {
    effects.contains(effect)
}

/// The main image has started: INFO1 and INFO3.
fn main_boot(version: &str, count: u64) -> Saw {
    Saw {
        online: Some(true),
        connected: true,
        over_tls: Some(true),
        booted: true,
        running: Some(Running::Main),
        version: Some(version.into()),
        boot_count: Some(count),
        ..Saw::default()
    }
}

fn safeboot_boot(over_tls: bool) -> Saw {
    Saw {
        online: Some(true),
        connected: true,
        over_tls: Some(over_tls),
        booted: true,
        running: Some(Running::Safeboot),
        version: Some("15.0.0".into()),
        ..Saw::default()
    }
}

fn gone() -> Saw {
    Saw {
        online: Some(false),
        ..Saw::default()
    }
}

/// The answer to `Status 0`.
fn status(version: &str, ota_url: &str, count: u64) -> Saw {
    Saw {
        online: Some(true),
        running: Some(Running::Main),
        version: Some(version.into()),
        ota_url: Some(ota_url.into()),
        boot_count: Some(count),
        ..Saw::default()
    }
}
