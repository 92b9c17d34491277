//! Which xiaozhi devices are connected over MQTT, whether they talk or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use safeport_engine::{EngineHandle, Publication};
use safeport_net::attempt::{Attempt, Departure, Ending};
use safeport_xiaozhi::ClientId;

use super::agents::Agents;
use super::notices::Notices;
use super::tools::{Herald, Post, Unsent, WhyShown};
use crate::serve::xiaozhi::{NoNotice, Xiaozhi};

/// Those that are here, by their client identifiers.
#[derive(Debug, Default)]
pub struct Lobby {
    here: Mutex<HashMap<String, Here>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Here {
    device: String,
    /// A device that comes again is here twice for a moment, in whatever order that is told.
    connections: u32,
}

impl Lobby {
    /// A connection came to something.
    pub fn saw(&self, attempt: &Attempt) {
        let (Ending::Connected, Some(client_id), Some(device)) =
            (&attempt.ending, &attempt.client_id, &attempt.user)
        else {
            return;
        };
        if !is_of_xiaozhi(client_id) {
            return;
        }
        let mut here = self.here();
        let one = here.entry(client_id.clone()).or_insert_with(|| Here {
            device: device.clone(),
            connections: 0,
        });
        one.device.clone_from(device);
        one.connections += 1;
    }

    /// A connection has ended.
    pub fn left(&self, departure: &Departure) {
        let client_id = &departure.client_id;
        if !is_of_xiaozhi(client_id) {
            return;
        }
        let mut here = self.here();
        if let Some(one) = here.get_mut(client_id) {
            one.connections -= 1;
            if one.connections == 0 {
                here.remove(client_id);
            }
        }
    }

    /// As what it is connected. All are looked through, for people only ask now and then.
    fn client_of(&self, device: &str) -> Option<String> {
        let here = self.here();
        let mut all = here.iter();
        all.find(|(_, one)| one.device == device)
            .map(|(client_id, _)| client_id.clone())
    }

    fn here(&self) -> MutexGuard<'_, HashMap<String, Here>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every identifier of such a device has, and hardly any other: the rest is not even looked up.
fn is_of_xiaozhi(client_id: &str) -> bool {
    client_id.contains("@@@")
}

/// Sends messages to devices that do not talk.
pub(super) struct IdlePost {
    pub(super) lobby: Arc<Lobby>,
    pub(super) engine: EngineHandle,
    pub(super) xiaozhi: Arc<Xiaozhi>,
    pub(super) agents: Arc<Agents>,
    pub(super) notices: Arc<Notices>,
}

impl Post for IdlePost {
    fn is_connected(&self, device: &str) -> bool {
        self.lobby.client_of(device).is_some()
    }

    fn send(&self, device: &str, message: String) -> Result<(), Unsent> {
        let client_id = self.lobby.client_of(device).ok_or(Unsent)?;
        let id: ClientId = client_id.parse().map_err(|_| Unsent)?;
        let topic = format!("devices/p2p/{}", id.mac.with_underscores());
        self.engine
            .deliver(&client_id, Publication::new(topic, message));
        Ok(())
    }

    fn herald(&self, device: &str) -> Result<Herald, WhyShown> {
        let id = self.lobby.client_of(device);
        let id = id.and_then(|id| id.parse::<ClientId>().ok());
        // One that has just gone is noticed by the next that it is sent.
        let id = id.ok_or(WhyShown::Firmware(None))?;
        let taker = self.xiaozhi.notice_taker(&id).map_err(|why| match why {
            NoNotice::Unknown => WhyShown::Firmware(None),
            NoNotice::Firmware(version) => WhyShown::Firmware(version),
            NoNotice::NoAddress => WhyShown::NoAddress,
        })?;
        let chosen = self.agents.for_device(device, &taker.tags);
        Ok(Herald {
            agent: chosen.agent.ok_or(WhyShown::NoVoice)?,
            address: taker.address,
            notices: self.notices.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use safeport_net::attempt::Departed;

    use super::*;

    const CLIENT: &str = "GID_board@@@02_00_00_dd_ee_ff@@@uuid";

    fn comes(lobby: &Lobby, client_id: &str, device: &str) {
        let peer = ([127, 0, 0, 1], 1).into();
        lobby.saw(&Attempt {
            client_id: Some(client_id.to_owned()),
            user: Some(device.to_owned()),
            ..Attempt::new(SystemTime::now(), "mqtt".into(), peer, Ending::Connected)
        });
    }

    fn leaves(lobby: &Lobby, client_id: &str) {
        lobby.left(&Departure {
            at: SystemTime::now(),
            client_id: client_id.to_owned(),
            how: Departed::Lost,
        });
    }

    #[test]
    fn a_device_is_here_from_its_login_until_its_last_connection_has_ended() {
        let lobby = Lobby::default();
        comes(&lobby, CLIENT, "lamp");
        assert_eq!(lobby.client_of("lamp").as_deref(), Some(CLIENT));
        // It comes again, and only then its first connection is known to be lost.
        comes(&lobby, CLIENT, "lamp");
        leaves(&lobby, CLIENT);
        assert!(lobby.client_of("lamp").is_some());
        leaves(&lobby, CLIENT);
        assert_eq!(lobby.client_of("lamp"), None);
        leaves(&lobby, CLIENT);
        comes(&lobby, CLIENT, "lamp");
        assert!(lobby.client_of("lamp").is_some(), "nothing is owed");
    }

    #[test]
    fn other_clients_are_passed_over() {
        let lobby = Lobby::default();
        comes(&lobby, "mqttx_1234", "lamp");
        leaves(&lobby, "mqttx_1234");
        assert!(lobby.here().is_empty());
    }
}
