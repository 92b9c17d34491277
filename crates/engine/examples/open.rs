//! An engine that lets everybody in, for measuring loops without the rest of the server:
//! `cargo run --release -p safeport-engine --example open -- 127.0.0.1:1883 [loops]`

use std::sync::Arc;

use safeport_engine::{
    Carries, Engine, EngineSettings, Gatekeeper, ListenerLimits, ListenerSpec, Login, OwnedLogin,
    Permissions, Verdict,
};
use safeport_net::attempt::{Attempt, Witness};
use safeport_net::{Certificates, TlsProfile, TlsService};

struct Open(Arc<Permissions>);

impl Gatekeeper for Open {
    fn decide_now(&self, _: &Login<'_>) -> Option<Verdict> {
        Some(Verdict::Admit(self.0.clone()))
    }

    fn decide(&self, _: OwnedLogin, answer: Box<dyn FnOnce(Verdict) + Send>) {
        answer(Verdict::Admit(self.0.clone()));
    }
}

struct Blind;

impl Witness for Blind {
    fn saw(&self, _: Attempt) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:1883".into());
    let loops = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let settings = EngineSettings {
        loops,
        ..EngineSettings::default()
    };
    let listener = ListenerSpec {
        name: "mqtt".into(),
        sockets: vec![std::net::TcpListener::bind(&address)?],
        tls: TlsService::new(&Certificates::new(), TlsProfile::default())?,
        carries: Carries::Plain,
        limits: ListenerLimits::default(),
    };
    let open = Arc::new(Open(Arc::new(Permissions::open())));
    let _engine = Engine::start(settings, open, Arc::new(Blind), vec![listener])?;
    println!(
        "serving {address} with {loops} loop(s), pid {}",
        std::process::id()
    );
    // Until standard input ends, so that it goes with whoever started it.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
