//! Whom a command asks: the server that runs, or the registry where none does.

use super::client::{Client, Remote};
use super::registry::Open;
use super::{Place, gather};
use crate::app;
use crate::console::{Console, Failure};
use crate::enrol::Ground;
use crate::say;
use crate::text::{Language, Texts};

/// Whom a command asks.
pub(super) enum Session {
    Server(Client),
    Folder(Box<Open>),
}

impl Session {
    /// The server named, else the one that runs on the data folder, else the folder itself.
    pub(super) fn open(
        place: &Place,
        remote: &Remote,
        console: &mut Console,
        lang: Option<Language>,
    ) -> Result<Session, Failure> {
        if let Some(client) = server(place, remote, console, lang)? {
            return Ok(Session::Server(client));
        }
        Ok(Session::Folder(Box::new(Open::new(place, console, lang)?)))
    }
}

/// The server that is to be asked, for what nobody else can answer.
pub(super) fn need_server(
    place: &Place,
    remote: &Remote,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<Client, Failure> {
    server(place, remote, console, lang)?.ok_or_else(|| {
        Failure::new(say!(console.texts, "client-no-server"))
            .next(say!(console.texts, "client-no-server-next"))
    })
}

fn server(
    place: &Place,
    remote: &Remote,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<Option<Client>, Failure> {
    if let Some(client) = remote.client(console)? {
        return Ok(Some(client));
    }
    // Also beside settings with mistakes: the server runs on those of before.
    let gathered = gather(&place.asked(), console, lang)?;
    let folder = app::data_folder(gathered.data_folder(), &console.texts)?;
    Client::local(&folder, &console.texts)
}

impl Open {
    /// What enrolment stands on here.
    pub(super) fn ground<'a>(&'a mut self, texts: &'a Texts) -> Ground<'a> {
        let serves = self.server().is_some();
        Ground {
            registry: &mut self.registry,
            folder: &self.folder,
            settings: &self.settings,
            managed: &self.managed,
            read: self.read.as_ref(),
            serves,
            who: &self.who,
            now: self.now,
            texts,
        }
    }
}
