//! This server itself, when nothing else is asked about: whether it runs and holds its ports, for whom
//! they are bound, and whether what devices are told leads to them.

use std::net::{IpAddr, SocketAddr};

use safeport_doctor::target::Target;
use safeport_doctor::{Cause, Clue, Evidence, Layer, Passed, Place, Strength};
use safeport_net::holder::{Holding, Protocol};
use safeport_net::surroundings::Surroundings;
use safeport_settings::{Protocol as Planned, Said};
use safeport_store::{AddressRow, DataFolder};

use crate::doctor::OwnPort;
use crate::probe::both;
use crate::reading::Read;
use crate::shown::ports::{Row, State, listening};

/// What was seen of this server.
pub(super) struct Here {
    pub(super) evidence: Evidence,
    /// The TCP ports that it has or should have.
    pub(super) own_ports: Vec<OwnPort>,
}

/// Looks at the listeners and addresses of the server on this data folder.
pub(super) fn look(read: &Read) -> Here {
    let path = read.data_folder();
    let folder = path
        .as_ref()
        .and_then(|path| DataFolder::open_existing(path).ok().flatten());
    let server = folder
        .as_ref()
        .and_then(|folder| folder.server().ok().flatten());
    let registry = folder
        .as_ref()
        .and_then(|folder| folder.registry_to_read().ok().flatten());
    let rows = listening(&read.settings, server, registry.as_ref());
    let mut here = Here {
        evidence: Evidence::default(),
        own_ports: Vec::new(),
    };
    for row in &rows {
        here.listener(row, server.is_some());
    }
    if server.is_none() {
        let folder = path.map_or_else(String::new, |path| path.display().to_string());
        here.does_not_run(&folder);
        return here;
    }
    here.only_for_itself();
    let addresses = registry.and_then(|registry| registry.addresses().ok());
    here.advertised(&addresses.unwrap_or_default());
    here.handed_out(&read.settings.xiaozhi.websocket_url);
    here
}

impl Here {
    fn clue(&mut self, cause: Cause, quote: Said) {
        let clue = Clue::new(cause, Strength::Specific, PLACE, quote);
        self.evidence.clues.push(clue);
    }

    /// One address to listen on, and how it stands. Who holds a TCP port is looked at by the probes.
    fn listener(&mut self, row: &Row, runs: bool) {
        let key = row.planned.key.to_string();
        let at = match row.state {
            State::Bound(Some(moved)) => moved,
            _ => row.planned.address,
        };
        if row.planned.protocol == Planned::Tcp {
            self.own_ports.push(OwnPort {
                port: at.port(),
                key: key.clone(),
                bind: at.ip(),
            });
        }
        let port = at.port();
        match &row.state {
            State::Bound(_) => self.evidence.passed.push(Passed {
                layer: Layer::Tcp,
                place: PLACE,
                quote: both!("{key} listens on {at}", "{key} 正在监听 {at}"),
            }),
            State::Free if runs => {
                self.evidence.facts.note("port", port.to_string());
                self.clue(
                    Cause::NothingListens,
                    both!(
                        "{key} is {at}, and the server does not listen there",
                        "{key} 为 {at}，但服务器没有监听"
                    ),
                );
            }
            State::Held(Holding::Program(_)) if row.planned.protocol == Planned::Tcp => {}
            State::Held(holding) => {
                self.evidence.facts.note("port", port.to_string());
                self.clue(
                    Cause::PortInUse,
                    both!(
                        "port {port} of {key} is held by {holding}",
                        "{key} 的端口 {port} 被 {holding} 占用"
                    ),
                );
            }
            State::Free => {}
        }
    }

    fn does_not_run(&mut self, folder: &str) {
        self.evidence.facts.note("start_with", "safeport serve");
        self.clue(
            Cause::NothingListens,
            both!(
                "no server runs on the data folder {folder}",
                "数据目录 {folder} 上没有服务器在运行"
            ),
        );
    }

    /// Whether every listener takes connections of this machine alone.
    fn only_for_itself(&mut self) {
        let outside = Surroundings::look().outgoing.filter(|ip| !ip.is_loopback());
        let is_inside = |own: &OwnPort| match outside {
            Some(ip) => own.bind.is_loopback() || is_only_inside(ip, own.port),
            None => own.bind.is_loopback(),
        };
        if self.own_ports.is_empty() || !self.own_ports.iter().all(is_inside) {
            return;
        }
        let port = self.own_ports[0].port;
        self.evidence.facts.note("port", port.to_string());
        self.clue(
            Cause::NotReachableFromLan,
            Said::new(
                "every listener is bound to this machine itself (127.0.0.1)",
                "所有监听都只绑定在本机（127.0.0.1）",
            ),
        );
    }

    /// What devices may be told, as the server has proved it: a listener without any address that
    /// works is one that no device is sent to.
    fn advertised(&mut self, addresses: &[AddressRow]) {
        let mut listeners: Vec<&str> = Vec::new();
        for row in addresses {
            if !listeners.contains(&row.listener.as_str()) {
                listeners.push(&row.listener);
            }
        }
        for listener in listeners {
            let mut of = addresses.iter().filter(|row| row.listener == listener);
            if of.clone().any(|row| row.state != "broken") {
                continue;
            }
            let Some(row) = of.next() else { continue };
            let AddressRow {
                url,
                detail_en,
                detail_zh,
                ..
            } = row;
            self.evidence.facts.note("url", url.clone());
            self.clue(
                Cause::HandedOutMismatch,
                both!(
                    "{url} of {listener} does not lead here: {detail_en}",
                    "{listener} 的 {url} 无法到达本服务器：{detail_zh}"
                ),
            );
        }
    }

    /// The voice server that devices are sent to, if it should be on this machine.
    fn handed_out(&mut self, url: &str) {
        let Ok(target) = Target::read(url) else {
            return;
        };
        let own = target
            .host
            .ip()
            .filter(|ip| Surroundings::look().is_own(*ip));
        let Some((ip, port)) = own.zip(target.likely_port()) else {
            return;
        };
        let at = SocketAddr::new(ip, port);
        if !safeport_net::is_free(Protocol::Tcp, at) {
            return;
        }
        self.evidence.facts.note("told", url);
        self.clue(
            Cause::HandedOutMismatch,
            both!(
                "xiaozhi.websocket_url is {url}, and nothing listens on port {port} of this machine",
                "xiaozhi.websocket_url 为 {url}，而本机 {port} 端口没有程序监听"
            ),
        );
    }
}

/// What the first stage of the probes sees, seen beside them.
const PLACE: Place = Place::Probe { stage: 0 };

/// Whether a port is open on 127.0.0.1 and not on this address.
fn is_only_inside(outside: IpAddr, port: u16) -> bool {
    let is_free = |ip: IpAddr| safeport_net::is_free(Protocol::Tcp, SocketAddr::new(ip, port));
    is_free(outside) && !is_free([127, 0, 0, 1].into())
}
