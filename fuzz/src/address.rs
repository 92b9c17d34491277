//! What must hold of addresses for any text at all, and of the gate for any events.

use std::collections::BTreeSet;

use safeport_settings::gate::{Layer, State};
use safeport_settings::{
    AdvertisedAddress, Candidate, Gate, GateSettings, HostName, Listener, Outcome, Said, Scheme,
    Told, Vantage, Via,
};

use crate::source::Source;

/// A text from a stranger. Parsing never panics; what is accepted shows itself with a port, in
/// ASCII, and reads back as itself; every refusal has words in both languages.
pub fn parse(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match AdvertisedAddress::parse(&text) {
        Ok(address) => {
            let shown = address.to_string();
            assert!(shown.is_ascii(), "{shown:?}");
            assert!(
                shown.ends_with(&format!(":{}", address.port())),
                "{shown:?}"
            );
            assert_eq!(AdvertisedAddress::parse(&shown).as_ref(), Ok(&address));
            for scheme in Scheme::ALL {
                let other = address.with_scheme(scheme);
                assert_eq!(AdvertisedAddress::parse(&other.to_string()), Ok(other));
            }
            let host = HostName::parse(&address.host().to_string());
            assert_eq!(host.as_ref(), Ok(address.host()));
        }
        Err(error) => {
            for said in [error.what(), error.help()] {
                assert!(!said.en.is_empty() && !said.zh.is_empty(), "{text:?}");
                assert!(said.en.chars().count() < 400, "{}", said.en);
            }
        }
    }
    if let Ok(host) = HostName::parse(&text) {
        assert_eq!(HostName::parse(&host.to_string()), Ok(host));
    }
    let url = AdvertisedAddress::parse("http://hub:8002").map(|hub| hub.url(&text));
    assert!(url.is_ok_and(|url| url.bytes().all(|byte| byte.is_ascii_graphic())));
}

/// Events at the gate, chosen by the bytes. A broken address is never told, one that was never
/// verified not while a verified one is there, and time never stands still.
pub fn gate(data: &[u8]) {
    let mut source = Source::new(data);
    let addresses = [
        "ws://192.168.1.20:8002",
        "ws://192.168.1.33:8002",
        "ws://hub.example.com:443",
    ]
    .map(|text| AdvertisedAddress::parse(text).expect("a valid address"));
    let candidates = |mask: u8| -> Vec<Candidate> {
        let chosen = (0..3).filter(|index| mask & (1 << index) != 0);
        chosen
            .map(|index| Candidate {
                listener: Listener::Http,
                address: addresses[index].clone(),
                via: Via::Listener(Listener::Http),
                unverifiable: (mask & (8 << index) == 8).then(|| Said::same("inside")),
            })
            .collect()
    };
    let mut now = 0;
    let mut gate = Gate::new(GateSettings {
        verify_every_ms: 300_000,
    });
    gate.set_candidates(candidates(7), now);
    let mut ever = BTreeSet::new();
    while !source.is_empty() {
        let address = source.pick(&[0, 1, 2]);
        let address = &addresses[address];
        match source.pick(&[0, 1, 2, 3, 4, 5, 6]) {
            0 => {
                now = now.max(gate.poll_timeout().unwrap_or(now));
                gate.handle_timeout(now);
                while gate.poll_probe(now).is_some() {}
                assert!(gate.poll_timeout().is_none_or(|next| next > now));
            }
            1 => now += u64::from(source.byte()) * 5_000,
            2 => {
                gate.handle_outcome(address, Outcome::Proved, now);
                ever.insert(address.clone());
            }
            3 => {
                let saw = Said::same("something else");
                gate.handle_outcome(address, Outcome::Foreign { saw }, now);
            }
            4 => {
                let (layer, saw) = (Layer::Tcp, Said::same("refused"));
                gate.handle_outcome(address, Outcome::Failed { layer, saw }, now);
            }
            5 => {
                gate.handle_seen(address, Vantage::Phone, now);
                ever.insert(address.clone());
            }
            _ => gate.set_candidates(candidates(source.byte()), now),
        }
        let told = gate.told(Listener::Http, Scheme::Ws, now);
        let states = gate.states(now);
        let verified = states
            .iter()
            .any(|standing| matches!(standing.state, State::Verified { .. }));
        if let Some(address) = told.address() {
            let standing = states
                .iter()
                .find(|standing| standing.candidate.address == *address)
                .expect("only known addresses are told");
            assert!(!matches!(standing.state, State::Broken { .. }), "{told:?}");
            assert!(!verified || ever.contains(address), "{told:?}");
        } else {
            assert!(!verified, "{told:?}");
        }
        assert!(!verified || !matches!(told, Told::Unverified(..)));
    }
}
