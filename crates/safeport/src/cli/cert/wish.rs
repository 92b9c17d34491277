//! What is wanted of the certificates: asked of the server that runs on the data folder, or done
//! at once where none runs.

use std::time::{Instant, SystemTime};

use clap::Args;
use safeport_net::PrivateCa;
use safeport_net::pki::{Certificates, Choice, ServerKey};
use safeport_settings::{Listener, Said};
use safeport_store::{WishKind, WishState};

use super::super::Place;
use super::super::registry::{Open, failed};
use crate::certificates::{self, Rotation, Strand, pki_said, rotation_said};
use crate::console::{Console, Failure};
use crate::limits::{CHANGE_PATIENCE, CHANGE_POLL};
use crate::text::{Language, Texts};
use crate::{app, lan, say};

/// Devices that may be lost.
#[derive(Debug, Args)]
pub(in crate::cli) struct StrandArgs {
    /// A device that may no longer recognise the server afterwards; may be repeated
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    strand: Vec<String>,
    /// All devices may
    #[arg(long, conflicts_with = "strand")]
    strand_all: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RenewArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// Make the next key and print its fingerprint, and go on with the old key until the next
    /// `cert rotate`: devices can be given the new fingerprint as their second one meanwhile
    #[arg(long, conflicts_with_all = ["strand", "strand_all"])]
    prepare: bool,
    #[command(flatten)]
    strand: StrandArgs,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AcceptArgs {
    #[command(flatten)]
    strand: StrandArgs,
    #[command(flatten)]
    place: Place,
}

impl RenewArgs {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        let wish = Wish::new(WishKind::Renew, None);
        wish.fulfil(&self.place, console, lang)
    }
}

impl RotateArgs {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        let wish = match self.prepare {
            true => Wish::new(WishKind::Prepare, None),
            false => Wish::new(WishKind::Rotate, Some(&self.strand)),
        };
        wish.fulfil(&self.place, console, lang)
    }
}

impl AcceptArgs {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        let wish = Wish::new(WishKind::Accept, Some(&self.strand));
        wish.fulfil(&self.place, console, lang)
    }
}

/// What is wanted.
struct Wish<'a> {
    kind: WishKind,
    strand: &'a [String],
    strand_all: bool,
}

/// What came of it: whether it was done, and the words for it.
type Verdict = (bool, String);

impl<'a> Wish<'a> {
    fn new(kind: WishKind, strand: Option<&'a StrandArgs>) -> Wish<'a> {
        Wish {
            kind,
            strand: strand.map(|args| &*args.strand).unwrap_or_default(),
            strand_all: strand.is_some_and(|args| args.strand_all),
        }
    }

    fn fulfil(
        &self,
        place: &Place,
        console: &mut Console,
        lang: Option<Language>,
    ) -> Result<(), Failure> {
        let mut open = Open::new(place, console, lang)?;
        let texts = &console.texts;
        self.check_names(&open, texts)?;
        let (done, words) = match open.server() {
            Some(_) => self.ask(&mut open, texts)?,
            None => self.do_it(&mut open, texts)?,
        };
        if !done {
            return Err(Failure::new(say!(texts, "cert-refused")).detail(words));
        }
        if console.json {
            let value = serde_json::json!({"done": self.kind.word(), "verdict": words});
            return console.json(&value);
        }
        console.talk(&words);
        Ok(())
    }

    /// A slip of the pen must not pass for a word about a device.
    fn check_names(&self, open: &Open, texts: &Texts) -> Result<(), Failure> {
        for name in self.strand {
            let known = open.registry.device(name);
            if known.map_err(|error| failed(texts, &error))?.is_none() {
                return Err(Failure::new(say!(texts, "name-unknown", name = name))
                    .next(say!(texts, "device-unknown-next")));
            }
        }
        Ok(())
    }

    /// Asks the running server and waits for its verdict.
    fn ask(&self, open: &mut Open, texts: &Texts) -> Result<Verdict, Failure> {
        let id = open.change(texts, |registry, by| {
            registry.wish(self.kind, self.strand, self.strand_all, by)
        })?;
        let until = Instant::now() + CHANGE_PATIENCE;
        loop {
            let wish = open.registry.certificate_wish(id);
            let wish = wish.map_err(|error| failed(texts, &error))?;
            if let Some(wish) = wish
                && wish.state != WishState::Asked
            {
                let (en, zh) = wish.verdict.unwrap_or_default();
                let words = Said::new(en, zh)
                    .in_language(texts.language().into())
                    .to_string();
                return Ok((wish.state == WishState::Done, words));
            }
            if Instant::now() >= until {
                let seconds = CHANGE_PATIENCE.as_secs();
                return Err(
                    Failure::new(say!(texts, "change-unanswered", seconds = seconds))
                        .next(say!(texts, "cert-unanswered-next")),
                );
            }
            std::thread::sleep(CHANGE_POLL);
        }
    }

    /// No server runs: what it would find at its next start is made now.
    fn do_it(&self, open: &mut Open, texts: &Texts) -> Result<Verdict, Failure> {
        let cannot = |said: Said| {
            let said = said.in_language(texts.language().into()).to_owned();
            Failure::new(say!(texts, "certificates-failed")).detail(said)
        };
        let mut ca = app::certificates(&open.folder, &open.settings, &open.managed, texts)?;
        let told = lan::told_names(&open.settings, &open.managed);
        let names = lan::certificate_names(&told);
        match self.kind {
            WishKind::Renew => {
                ca.renew(&names, SystemTime::now())
                    .map_err(|error| cannot(pki_said(&error)))?;
                Ok((true, say!(texts, "cert-renewed-alone")))
            }
            WishKind::Prepare => {
                ca.prepare_next(ServerKey::Rsa)
                    .and_then(|()| ca.prepare_next(ServerKey::P256))
                    .map_err(|error| cannot(pki_said(&error)))?;
                let next = ca.next_fingerprints().unwrap_or(ca.fingerprints()).v2;
                Ok((true, say!(texts, "cert-prepared", fingerprint = next)))
            }
            WishKind::Rotate => {
                let rotated = open
                    .change_with(|registry, by| {
                        let strand = Strand {
                            devices: self.strand,
                            all: self.strand_all,
                        };
                        certificates::rotate(&mut ca, registry, &strand, by)
                    })
                    .map_err(|error| cannot(rotation_said(&error)))?;
                Ok(match rotated {
                    Rotation::Done(now) => {
                        (true, say!(texts, "cert-rotated", fingerprint = now.v2))
                    }
                    Rotation::Stranded(devices) => (false, stranded(&devices, texts)),
                })
            }
            WishKind::Accept => self.accept(open, &ca, texts),
        }
    }

    /// The files count at the next start, as far as no device stands in the way.
    fn accept(&self, open: &mut Open, ca: &PrivateCa, texts: &Texts) -> Result<Verdict, Failure> {
        let registry_failed = |error| failed(texts, &error);
        let pinned = certificates::pinned(&open.registry).map_err(registry_failed)?;
        let (after, _) = certificates::on_disk(&open.folder, &open.settings, ca);
        if after.presented(Choice::Files).is_empty() {
            return Ok((false, say!(texts, "cert-nothing-held-back")));
        }
        let before = Certificates::new();
        before.set_private(ca.chains());
        let choice = certificates::choice(&open.settings, Listener::Mqtts);
        let lost = certificates::stranded(&pinned, (&before, Choice::Private), (&after, choice));
        if lost.is_empty() {
            return Ok((false, say!(texts, "cert-nothing-held-back")));
        }
        let strand = Strand {
            devices: self.strand,
            all: self.strand_all,
        };
        let unsaid: Vec<String> = lost
            .iter()
            .filter(|device| !strand.covers(device))
            .cloned()
            .collect();
        if !unsaid.is_empty() {
            return Ok((false, stranded(&unsaid, texts)));
        }
        open.change(texts, |registry, by| registry.strand(&lost, by))?;
        Ok((true, say!(texts, "cert-accepted-next-start")))
    }
}

fn stranded(devices: &[String], texts: &Texts) -> String {
    let devices = devices.join(", ");
    say!(texts, "cert-stranded", devices = devices)
}
