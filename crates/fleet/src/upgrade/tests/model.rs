//! A Tasmota with a safeboot as it behaves, on a network that loses messages and in a house that
//! loses power.

use super::*;

/// What the device does next, and when.
#[derive(Debug, Clone, PartialEq)]
enum Next {
    Boot(Running),
    Connect,
    Fetch { part: Part, at: u64 },
}

pub(super) struct World {
    pub upgrade: Upgrade,
    pub now: u64,
    random: u64,
    /// Chance in 100 that a message in either direction is lost.
    pub loss: u64,
    /// Chance in 1000 of a power cut in each step of time.
    pub power: u64,
    /// Chance in 1000 of a restart of ours.
    pub ours: u64,
    pub web: bool,
    pub safeboot_has_tls: bool,
    pub new_safeboot_has_tls: bool,
    pub main: &'static str,
    main_whole: bool,
    pub safeboot_is_new: bool,
    running: Running,
    up: bool,
    online: bool,
    pub ota_url: String,
    /// In the memory of a safeboot, which saves nothing.
    ram_url: Option<String>,
    wants: bool,
    boots: u64,
    next: Vec<(u64, Next)>,
    live: Vec<usize>,
    /// The main image was asked for before the safeboot of the plan was new.
    pub main_before_safeboot: bool,
    pub log: Vec<String>,
}

impl World {
    pub(super) fn new(plan: Plan, seed: u64) -> World {
        World {
            upgrade: Upgrade::new(plan, START),
            now: START,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            loss: 0,
            power: 0,
            ours: 0,
            web: true,
            safeboot_has_tls: false,
            new_safeboot_has_tls: true,
            main: "14.0.0",
            main_whole: true,
            safeboot_is_new: false,
            running: Running::Main,
            up: true,
            online: true,
            ota_url: OWN.into(),
            ram_url: None,
            wants: false,
            boots: 7,
            next: Vec::new(),
            live: Vec::new(),
            main_before_safeboot: false,
            log: Vec::new(),
        }
    }

    fn chance(&mut self, of: u64, in_: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % in_ < of
    }

    /// Until it is over, but at most for `days`.
    pub(super) fn run(&mut self, days: u64) {
        let end = START + days * 86_400;
        while self.now < end && !self.upgrade.state().is_final() {
            self.carry_out();
            let due = self.next.iter().map(|(at, _)| *at).min();
            let wait = self.upgrade.poll_timeout();
            let at = [due, wait, Some(self.now + 30)]
                .into_iter()
                .flatten()
                .min()
                .expect("a time");
            self.now = at.max(self.now + 1);
            if self.chance(self.power, 1000) {
                self.power_cut();
            }
            if self.chance(self.ours, 1000) {
                let text = serde_json::to_string(&self.upgrade).expect("JSON");
                self.upgrade = serde_json::from_str(&text).expect("the same");
                self.upgrade.resume(self.now);
            }
            while let Some(place) = self.next.iter().position(|(at, _)| *at <= self.now) {
                let (_, next) = self.next.remove(place);
                self.happen(next);
            }
            self.upgrade.handle_timeout(self.now);
        }
        self.carry_out();
    }

    fn power_cut(&mut self) {
        self.log.push(format!("{} power cut", self.now - START));
        self.next.clear();
        self.go_offline();
        let running = if self.main_whole && self.running == Running::Main {
            Running::Main
        } else {
            Running::Safeboot
        };
        self.next.push((self.now + 20, Next::Boot(running)));
    }

    fn go_offline(&mut self) {
        if self.online {
            self.online = false;
            self.tell(gone());
        }
        self.up = false;
        self.ram_url = None;
    }

    fn reboot(&mut self, running: Running) {
        self.next.clear();
        self.go_offline();
        self.next.push((self.now + 8, Next::Boot(running)));
    }

    /// A message to the machine, unless it is lost. The broker never loses sight of a connection.
    fn tell(&mut self, saw: Saw) {
        self.upgrade.handle(Event::Saw(saw), self.now);
    }

    fn say(&mut self, text: &str) {
        if self.online && !self.chance(self.loss, 100) {
            self.upgrade.handle(Event::Result(text.into()), self.now);
        }
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Boot(running) => {
                // A main image that is not whole does not start.
                let running = if self.main_whole {
                    running
                } else {
                    Running::Safeboot
                };
                self.running = running;
                self.up = true;
                self.boots += 1;
                self.next.push((self.now + 5, Next::Connect));
                if running == Running::Safeboot && self.wants {
                    self.wants = false;
                    self.next.push((
                        self.now + 9,
                        Next::Fetch {
                            part: Part::Main,
                            at: 0,
                        },
                    ));
                }
            }
            Next::Connect => {
                let tls = if self.safeboot_is_new {
                    self.new_safeboot_has_tls
                } else {
                    self.safeboot_has_tls
                };
                if self.running == Running::Safeboot && !tls {
                    return;
                }
                self.online = true;
                let login = Saw {
                    online: Some(true),
                    connected: true,
                    over_tls: Some(true),
                    ..Saw::default()
                };
                // The fleet learns of logins and messages by different ways.
                let login_first = self.chance(1, 2);
                if login_first {
                    self.tell(login.clone());
                } else {
                    self.tell(Saw {
                        online: Some(true),
                        ..Saw::default()
                    });
                }
                if !self.chance(self.loss, 100) {
                    let version = if self.running == Running::Main {
                        self.main
                    } else {
                        "15.0.0"
                    };
                    let info = Saw {
                        running: Some(self.running),
                        version: Some(version.into()),
                        ..Saw::default()
                    };
                    self.tell(info);
                    self.tell(Saw {
                        booted: true,
                        boot_count: Some(self.boots),
                        ..Saw::default()
                    });
                }
                if !login_first {
                    self.tell(login);
                }
            }
            Next::Fetch { part, at } => self.fetch(part, at),
        }
    }

    fn fetch(&mut self, part: Part, at: u64) {
        let url = self.ram_url.as_ref().unwrap_or(&self.ota_url).clone();
        let step = (0..2).find(|step| super::url(*step) == url);
        let served = step.filter(|step| {
            self.live.contains(step)
                && self.upgrade.may_fetch(*step)
                && self.upgrade.plan().steps[*step].part == part
        });
        let Some(step) = served else {
            self.say(r#"{"Upgrade":"Failed File Not Found (404)"}"#);
            return;
        };
        if part == Part::Main {
            if !self.safeboot_is_new
                && self
                    .upgrade
                    .plan()
                    .steps
                    .iter()
                    .any(|step| step.part == Part::Safeboot)
            {
                self.main_before_safeboot = true;
            }
            self.main_whole = false;
        }
        let bytes = at + 250_000;
        let ended = bytes >= 1_000_000;
        self.upgrade.handle(
            Event::Fetched {
                step,
                minimal: false,
                bytes,
                total: 1_000_000,
                ended,
            },
            self.now,
        );
        if !ended {
            self.next
                .push((self.now + 10, Next::Fetch { part, at: bytes }));
            return;
        }
        match part {
            Part::Main => {
                self.main = "15.0.0";
                self.main_whole = true;
                self.reboot(Running::Main);
            }
            Part::Safeboot => {
                self.safeboot_is_new = true;
                self.reboot(Running::Safeboot);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.upgrade.poll_effect() {
            self.log.push(format!("{} {effect:?}", self.now - START));
            match effect {
                Effect::Command { command, payload } => {
                    if self.online && !self.chance(self.loss, 100) {
                        self.obey(command, &payload);
                    }
                }
                Effect::Web(WebRequest::Look) => {
                    let answer = if self.web && self.up {
                        WebAnswer::Saw(self.status())
                    } else {
                        WebAnswer::Unreachable("no route".into())
                    };
                    self.answer(WebRequest::Look, answer);
                }
                Effect::Web(WebRequest::Command(text)) => {
                    if self.web && self.up {
                        let (command, payload) = text.split_once(' ').expect("an argument");
                        let said = self.obey(command, payload);
                        self.answer(WebRequest::Command(text.clone()), WebAnswer::Done(said));
                    } else {
                        let answer = WebAnswer::Unreachable("no route".into());
                        self.answer(WebRequest::Command(text), answer);
                    }
                }
                Effect::Web(WebRequest::Upload { step }) => {
                    let request = WebRequest::Upload { step };
                    if self.web && self.up && self.running == Running::Safeboot {
                        self.main = "15.0.0";
                        self.main_whole = true;
                        self.answer(request, WebAnswer::Done("Success".into()));
                        self.reboot(Running::Main);
                    } else {
                        self.answer(request, WebAnswer::Unreachable("no route".into()));
                    }
                }
                Effect::Backup => self
                    .upgrade
                    .handle(Event::Backup(BackupAnswer::Done), self.now),
                Effect::IssueToken { step } => {
                    if !self.live.contains(&step) {
                        self.live.push(step);
                    }
                    self.upgrade.handle(
                        Event::TokenReady {
                            step,
                            url: super::url(step),
                        },
                        self.now,
                    );
                }
                Effect::RevokeToken { step } => self.live.retain(|live| *live != step),
                Effect::Install | Effect::Look => unreachable!("not for Tasmota"),
            }
        }
    }

    fn answer(&mut self, request: WebRequest, answer: WebAnswer) {
        self.upgrade
            .handle(Event::Web { request, answer }, self.now);
    }

    fn status(&self) -> Saw {
        Saw {
            running: Some(self.running),
            version: Some(
                if self.running == Running::Main {
                    self.main
                } else {
                    "15.0.0"
                }
                .into(),
            ),
            ota_url: Some(self.ram_url.as_ref().unwrap_or(&self.ota_url).clone()),
            boot_count: Some(self.boots),
            ..Saw::default()
        }
    }

    fn obey(&mut self, command: &str, payload: &str) -> String {
        let said = match (command, payload) {
            ("Status", _) => {
                let status = self.status();
                if !self.chance(self.loss, 100) {
                    self.tell(status);
                }
                return String::new();
            }
            ("OtaUrl", url) => {
                let url = if url == "1" { OWN } else { url };
                if self.running == Running::Main {
                    self.ota_url = url.into();
                } else {
                    self.ram_url = Some(url.into());
                }
                format!(r#"{{"OtaUrl":"{url}"}}"#)
            }
            ("Upgrade", "2") if self.running == Running::Main => {
                self.next.push((
                    self.now + 3,
                    Next::Fetch {
                        part: Part::Safeboot,
                        at: 0,
                    },
                ));
                r#"{"Upgrade":"Safeboot"}"#.into()
            }
            ("Upgrade", "1") if self.running == Running::Safeboot => {
                self.next.push((
                    self.now + 3,
                    Next::Fetch {
                        part: Part::Main,
                        at: 0,
                    },
                ));
                r#"{"Upgrade":"Version 15.0.0 from here"}"#.into()
            }
            ("Upgrade", "1") => {
                self.wants = true;
                self.say(r#"{"Upgrade":"Version 14.0.0 from here"}"#);
                self.reboot(Running::Safeboot);
                return String::new();
            }
            ("Restart", "3") => {
                self.say(r#"{"Restart":"Switching"}"#);
                self.reboot(if self.running == Running::Main {
                    Running::Safeboot
                } else {
                    Running::Main
                });
                return String::new();
            }
            _ => r#"{"Command":"Unknown"}"#.into(),
        };
        self.say(&said);
        said
    }
}
