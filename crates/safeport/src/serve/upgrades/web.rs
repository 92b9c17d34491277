//! Asking a device's own pages, off the thread that owns the offers: pages are slow.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use safeport_engine::Publication;
use safeport_fleet::upgrade::{BackupAnswer, Event, WebAnswer, WebRequest};
use safeport_fleet::{Family, MemberId, Sighting};

use super::Upgrades;
use super::sight::saw;
use super::view::OfferId;
use crate::tasks::Tasks;

/// A device's own pages. Each call blocks until it is done or its own deadline has passed.
pub trait DeviceWeb: Send + Sync + 'static {
    /// Tasmota: `/cm?cmnd=…`. The body of the answer.
    ///
    /// # Errors
    /// Why there is none.
    fn command(&self, member: MemberId, text: &str) -> Result<String, WebError>;

    /// What the pages say about the device: Tasmota `Status 0`, ESPEasy `/json`.
    ///
    /// # Errors
    /// Why they say nothing.
    fn look(&self, member: MemberId) -> Result<Sighting, WebError>;

    /// Sends a file: `/u2` of Tasmota, `/update` of ESPEasy. `progress` hears of bytes sent. The
    /// device's words, if they tell of success.
    ///
    /// # Errors
    /// [`WebError::Refused`] also for an answer 200 whose text tells of a failure.
    fn upload(
        &self,
        member: MemberId,
        file: &File,
        length: u64,
        name: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String, WebError>;

    /// Saves the device's settings here.
    ///
    /// # Errors
    /// Why they are not saved.
    fn backup(&self, member: MemberId, why: &str) -> Result<(), WebError>;
}

/// Why a page gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// No address, no route, no answer.
    #[error("{0}")]
    Unreachable(String),
    /// It answered, and said no.
    #[error("{0}")]
    Refused(String),
}

/// No device has pages that we know of.
#[derive(Debug)]
pub struct NoWeb;

impl NoWeb {
    fn unreachable<T>() -> Result<T, WebError> {
        Err(WebError::Unreachable(
            "this server does not speak to the pages of devices".to_owned(),
        ))
    }
}

impl DeviceWeb for NoWeb {
    fn command(&self, _: MemberId, _: &str) -> Result<String, WebError> {
        NoWeb::unreachable()
    }

    fn look(&self, _: MemberId) -> Result<Sighting, WebError> {
        NoWeb::unreachable()
    }

    fn upload(
        &self,
        _: MemberId,
        _: &File,
        _: u64,
        _: &str,
        _: &mut dyn FnMut(u64),
    ) -> Result<String, WebError> {
        NoWeb::unreachable()
    }

    fn backup(&self, _: MemberId, _: &str) -> Result<(), WebError> {
        NoWeb::unreachable()
    }
}

/// Something to ask.
pub(super) struct Errand {
    pub offer: OfferId,
    pub member: MemberId,
    pub what: What,
}

pub(super) enum What {
    /// Tasmota command or look.
    Ask(WebRequest),
    Upload {
        step: usize,
        file: Arc<File>,
        length: u64,
        name: String,
    },
    Backup,
    /// The answer is for the fleet.
    Look,
}

/// Whoever the answers go to.
pub(super) trait Answers: Send + Sync + 'static {
    fn event(&self, offer: OfferId, event: Event);
    /// What a page said about a device.
    fn seen(&self, sighting: Sighting);
}

/// How many pages are asked at once.
const ERRAND_BOYS: usize = 4;

/// Threads that run errands.
pub(super) struct Errands {
    sender: Sender<Errand>,
}

impl Errands {
    pub(super) fn start<A: Answers>(
        web: Arc<dyn DeviceWeb>,
        answers: &Arc<A>,
        tasks: &Tasks,
    ) -> io::Result<Errands> {
        let (sender, receiver) = channel::<Errand>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..ERRAND_BOYS {
            let (web, receiver) = (web.clone(), receiver.clone());
            // The server's end drops the sender; a thread must not keep the offers alive.
            let answers = Arc::downgrade(answers);
            tasks.spawn_thread("device pages", move || {
                while let Some(errand) = next(&receiver) {
                    let Some(answers) = answers.upgrade() else {
                        return;
                    };
                    run(&*web, &*answers, errand);
                }
            })?;
        }
        Ok(Errands { sender })
    }

    pub(super) fn send(&self, errand: Errand) {
        // All threads are gone only when the server stops.
        let _ = self.sender.send(errand);
    }
}

fn next(receiver: &Mutex<Receiver<Errand>>) -> Option<Errand> {
    receiver
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

fn run(web: &dyn DeviceWeb, answers: &dyn Answers, errand: Errand) {
    let Errand {
        offer,
        member,
        what,
    } = errand;
    match what {
        What::Ask(WebRequest::Command(text)) => {
            let answer = match web.command(member, &text) {
                Ok(body) => WebAnswer::Done(body),
                Err(error) => refused(error),
            };
            let request = WebRequest::Command(text);
            answers.event(offer, Event::Web { request, answer });
        }
        What::Ask(request) => {
            let answer = match web.look(member) {
                Ok(sighting) => {
                    let saw = saw(&sighting, &[]);
                    answers.seen(sighting);
                    WebAnswer::Saw(saw)
                }
                Err(error) => refused(error),
            };
            answers.event(offer, Event::Web { request, answer });
        }
        What::Look => {
            if let Ok(sighting) = web.look(member) {
                answers.seen(sighting);
            }
        }
        What::Upload {
            step,
            file,
            length,
            name,
        } => {
            let request = WebRequest::Upload { step };
            let mut progress = |bytes| {
                answers.event(
                    offer,
                    Event::Web {
                        request: request.clone(),
                        answer: WebAnswer::Progress(bytes),
                    },
                );
            };
            let answer = match web.upload(member, &file, length, &name, &mut progress) {
                Ok(words) => WebAnswer::Done(words),
                Err(error) => refused(error),
            };
            answers.event(offer, Event::Web { request, answer });
        }
        What::Backup => {
            let answer = match web.backup(member, "before an upgrade") {
                Ok(()) => BackupAnswer::Done,
                Err(WebError::Unreachable(why)) => BackupAnswer::Unreachable(why),
                Err(WebError::Refused(why)) => BackupAnswer::Refused(why),
            };
            answers.event(offer, Event::Backup(answer));
        }
    }
}

impl Upgrades {
    /// Asks a Tasmota that is connected for all that it says of itself; the answers come as
    /// sightings. False if it is none, or cannot be asked this way now.
    pub fn ask(&self, id: MemberId) -> bool {
        let member = self.devices.member(id);
        let Some(member) =
            member.filter(|member| member.family() == Some(Family::Tasmota) && member.is_online())
        else {
            return false;
        };
        let Some(topic) = member.command_topic() else {
            return false;
        };
        self.publish
            .publish(Publication::new(format!("{topic}Status"), "0"));
        true
    }
}

fn refused(error: WebError) -> WebAnswer {
    match error {
        WebError::Unreachable(why) => WebAnswer::Unreachable(why),
        WebError::Refused(why) => WebAnswer::Refused(why),
    }
}
