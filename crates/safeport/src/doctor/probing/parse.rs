//! Stage 1: the text as it was typed, and as firmware reads it.

use safeport_doctor::target::{Dialect, Service, Target};
use safeport_doctor::{Cause, Strength};
use safeport_settings::Said;

use super::run::Run;
use super::{Told, Vantage, dns};
use crate::probe::both;

pub(super) fn look(run: &mut Run) -> Told {
    let tried = Said::new("the address as typed", "输入的地址");
    if run.order.target.is_empty() {
        let saw = Said::new("no target: only this machine", "没有目标：只检查本机");
        return Told::failed(tried, saw);
    }
    let target = match Target::read(&run.order.target) {
        Ok(target) => target,
        Err(clues) => {
            let said = clues.first().map(|clue| clue.quote.clone());
            run.evidence.clues.extend(clues);
            let said = said.unwrap_or_default();
            return Told::failed(tried, said);
        }
    };
    let facts = target.facts();
    for (name, value) in facts.0 {
        run.evidence.facts.note(name, value);
    }
    if let Some(typed) = target.invalid_port().filter(|_| target.port.is_none()) {
        let saw = both!(
            "\"{typed}\" is no port: ports are numbers from 1 to 65535",
            "“{typed}”不是端口：端口是 1 到 65535 的数字"
        );
        run.clue(Cause::UrlMalformed, Strength::Specific, saw.clone());
        run.target = Some(target);
        return Told::failed(tried, saw);
    }
    let mut clues = target.clues(dialect(run, &target));
    if target.scheme.is_none() && matches!(target.service(), Service::Unknown | Service::Mqtt) {
        // `host:port` is how people name a port to us, and nobody's URL.
        clues.retain(|clue| clue.cause != Cause::UrlMalformed);
    }
    // Nobody hands out the address of this machine itself by typing it here.
    clues.retain(|clue| clue.cause != Cause::HandedOutUnreachable || !target.host.is_loopback());
    let told = Told::passed(tried, read(&target));
    let told = match clues.first() {
        Some(clue) => told.proving(clue.quote.clone()),
        None => told,
    };
    for clue in clues {
        // What is odd and works is no trouble.
        if clue.strength >= Strength::Specific {
            run.evidence.clues.push(clue);
        } else {
            run.held.push(clue);
        }
    }
    if let Some(ip) = run.order.address.or(target.host.ip()) {
        run.addresses = vec![ip];
        run.evidence.facts.note("address", ip.to_string());
        let public = run.order.vantage == Vantage::Public;
        if let Some((strength, quote)) = dns::unfit(&ip, public).filter(|_| !ip.is_loopback()) {
            let clue = run.made(Cause::WrongAddress, strength, quote);
            run.held.push(clue);
        }
    }
    run.target = Some(target);
    told
}

fn read(target: &Target) -> Said {
    let url = target.url();
    let (en, zh) = match target.service() {
        Service::Mqtt => ("an MQTT broker", "MQTT 服务器"),
        Service::Websocket => ("a WebSocket server", "WebSocket 服务器"),
        Service::Ota => ("the update address of voice devices", "语音设备的 OTA 地址"),
        Service::Http => ("a web server", "HTTP 服务器"),
        Service::Unknown => ("some service", "某个服务"),
    };
    match target.likely_port() {
        Some(port) => both!("{url}: {en} on port {port}", "{url}：{zh}，端口 {port}"),
        None => both!("{url}: {en}, no port given", "{url}：{zh}，没有给出端口"),
    }
}

/// The firmware whose parser is asked, where no profile is given: that of the devices which are
/// told such an address.
fn dialect(run: &Run, target: &Target) -> Dialect {
    let service = target.service();
    if let Some(profile) = run.order.profile {
        return Dialect::of(profile, service);
    }
    match service {
        Service::Ota => Dialect::XiaozhiOta,
        Service::Websocket => Dialect::XiaozhiWebsocket,
        Service::Mqtt => Dialect::TasmotaMqtt,
        Service::Http | Service::Unknown => Dialect::EspIdf,
    }
}
