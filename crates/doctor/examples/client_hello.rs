//! Prints a ClientHello in hexadecimal digits, for recording what a server answers:
//! `client_hello PROFILE|wide|unnamed|legacy|tls13 HOST`.

use safeport_doctor::profile::Profile;
use safeport_doctor::target::Host;
use safeport_doctor::tls::Offer;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (name, host) = (arguments.next(), arguments.next());
    let (Some(name), Some(host)) = (name, host.as_deref().and_then(Host::of)) else {
        eprintln!("client_hello PROFILE|wide|unnamed|legacy|tls13 HOST");
        std::process::exit(64);
    };
    let offer = match name.as_str() {
        "wide" => Offer::wide(),
        "unnamed" => Offer::wide().without_sni(),
        "legacy" => Offer::legacy(),
        "tls13" => Offer::only_tls13(),
        name => match Profile::of(name) {
            Some(profile) => Offer::of(profile),
            None => {
                eprintln!("there is no profile {name}");
                std::process::exit(64);
            }
        },
    };
    // Nobody keeps a secret here: the key of X25519 may be any number.
    let shares = offer.shares().iter().map(|group| (*group, vec![9; 32]));
    let bytes = offer.bytes(&host, [7; 32], &shares.collect::<Vec<_>>());
    println!(
        "{}",
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
}
