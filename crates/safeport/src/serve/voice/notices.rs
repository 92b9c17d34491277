//! Files of speech that idle devices are told to fetch: in memory, for as long as somebody waits for it.
//!
//! A device says nothing of a `notify`; that it fetches the file is all that is ever known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio::sync::watch;

use crate::limits::NOTICES;
use crate::token;

/// Below it lie the files: `TOKEN.ogg`.
pub const NOTICE_PATH: &str = "/xiaozhi/notice/";

/// What lies ready. At most [`NOTICES`] files.
#[derive(Debug, Default)]
pub struct Notices {
    lying: Mutex<HashMap<String, Lying>>,
}

#[derive(Debug, Default)]
struct Lying {
    /// `None`: it is still being made.
    file: Option<Bytes>,
    fetched: watch::Sender<bool>,
}

/// A place for one file, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    notices: Arc<Notices>,
    token: String,
    fetched: watch::Receiver<bool>,
}

impl Notices {
    /// A place for one more, under a name that nobody can guess; `None` where too many lie or are being made.
    pub(super) fn place(self: &Arc<Notices>) -> Option<Place> {
        let token = token::draw_for_device().ok()?;
        let mut lying = self.lying();
        if lying.len() >= NOTICES {
            return None;
        }
        let new = Lying::default();
        let fetched = new.fetched.subscribe();
        lying.insert(token.clone(), new);
        Some(Place {
            notices: self.clone(),
            token,
            fetched,
        })
    }

    /// The file of this name (`TOKEN.ogg`), if there is one. `is_fetched`: it is on its way to a device now.
    pub fn file(&self, name: &str, is_fetched: bool) -> Option<Bytes> {
        let lying = self.lying();
        let one = lying.get(name.strip_suffix(".ogg")?)?;
        let file = one.file.clone()?;
        if is_fetched {
            one.fetched.send_replace(true);
        }
        Some(file)
    }

    fn lying(&self) -> MutexGuard<'_, HashMap<String, Lying>> {
        self.lying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Where it is fetched, on any address of ours.
    pub(super) fn path(&self) -> String {
        format!("{NOTICE_PATH}{}.ogg", self.token)
    }

    /// Lays it ready.
    pub(super) fn put(&self, file: Vec<u8>) {
        if let Some(one) = self.notices.lying().get_mut(&self.token) {
            one.file = Some(file.into());
        }
    }

    /// Returns when it is fetched.
    pub(super) async fn fetched(&mut self) {
        // The sender goes with the place.
        let _ = self.fetched.wait_for(|fetched| *fetched).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.notices.lying().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_there_under_its_name_alone_until_its_place_is_given_up() {
        let notices = Arc::new(Notices::default());
        let mut place = notices.place().expect("room");
        let name = place.path().strip_prefix(NOTICE_PATH).map(str::to_owned);
        let name = name.expect("below the path");
        assert_eq!(notices.file(&name, true), None, "it is still being made");
        place.put(b"OggS".to_vec());
        assert_eq!(notices.file(&name, false).as_deref(), Some(&b"OggS"[..]));
        assert!(!*place.fetched.borrow(), "it was only looked at");
        let bare = name.strip_suffix(".ogg").expect("a file");
        for wrong in [bare, "", ".ogg", "dxxxxxxxxxxxxxxxxxxx.ogg"] {
            assert_eq!(notices.file(wrong, true), None, "{wrong}");
        }
        assert!(notices.file(&name, true).is_some());
        place.fetched().await;
        drop(place);
        assert_eq!(notices.file(&name, true), None);
    }

    #[test]
    fn no_more_files_lie_ready_than_there_are_places_and_a_place_given_up_is_free() {
        let notices = Arc::new(Notices::default());
        let mut places: Vec<Place> = std::iter::from_fn(|| notices.place()).take(1_000).collect();
        assert_eq!(places.len(), NOTICES);
        places.pop();
        assert!(notices.place().is_some());
    }
}
