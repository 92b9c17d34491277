//! How many bytes one idle connection costs, as growth of the resident memory of this process:
//! `cargo run --release -p safeport-net --example idle_tls [CONNECTIONS]` (default 10 000).
//!
//! Each connection has done its handshake and carried one MQTT-sized message each way; the client
//! side is dropped before memory is read. Linux only, since it reads `/proc/self/statm`.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_net::rustls::pki_types::{CertificateDer, ServerName};
use safeport_net::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, crypto::aws_lc_rs,
    version,
};
use safeport_net::{Certificates, Layer, PrivateCa, TlsProfile, TlsService};

fn main() -> Result<(), Box<dyn Error>> {
    let connections = match std::env::args().nth(1) {
        Some(number) => number.parse()?,
        None => 10_000,
    };
    let folder = tempfile::tempdir()?;
    let mut ca = PrivateCa::open_or_create(folder.path(), SystemTime::now())?;
    ca.ensure_leaf(&["safeport.lan".to_owned()], SystemTime::now())?;

    println!("bytes per idle connection, {connections} connections each");
    println!(
        "WebSocket {:6}   (size of the value; it has no heap)",
        size_of::<Layer>()
    );
    let certificates = Certificates::new();
    certificates.set_private(ca.chains());
    let server = TlsService::new(&certificates, TlsProfile::default())?;
    // Freed memory would be used again by the next kind of connection and hide its cost.
    let mut kept = Vec::with_capacity(2 * connections + 20);
    for (name, version) in [("TLS 1.2", &version::TLS12), ("TLS 1.3", &version::TLS13)] {
        let client = client_config(&ca, version)?;
        // What the library and a first connection take once is not counted.
        kept.extend(connect_all(10, &server, &client)?);
        let (before, start) = (resident()?, Instant::now());
        let idle = connect_all(connections, &server, &client)?;
        let handshake = start.elapsed() / u32::try_from(connections.max(1))?;
        let bytes = resident()?.saturating_sub(before) / connections.max(1);
        println!("{name:9} {bytes:6}   ({handshake:.0?} for both ends of a handshake)");
        kept.extend(idle);
    }
    Ok(())
}

fn client_config(
    ca: &PrivateCa,
    version: &'static SupportedProtocolVersion,
) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.ca_pem().as_bytes())?)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = safeport_net::rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn connect_all(
    connections: usize,
    server: &TlsService,
    client: &Arc<ClientConfig>,
) -> Result<Vec<Layer>, Box<dyn Error>> {
    let mut layers = Vec::with_capacity(connections);
    for _ in 0..connections {
        layers.push(connect(server, client)?);
    }
    Ok(layers)
}

fn connect(server: &TlsService, client: &Arc<ClientConfig>) -> Result<Layer, Box<dyn Error>> {
    let mut layer = Layer::tls(server, None);
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from("safeport.lan")?)?;
    std::io::Write::write_all(&mut client.writer(), &[0x10; 60])?;
    let mut plain = Vec::new();
    loop {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut ours)?;
        }
        layer.receive(&ours, &mut plain, &mut theirs)?;
        let mut rest = &theirs[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest)?;
            client.process_new_packets()?;
        }
        if !plain.is_empty() {
            break;
        }
    }
    let mut answer = Vec::new();
    layer.send(&[0x20; 4], &mut answer)?;
    client.read_tls(&mut &answer[..])?;
    client.process_new_packets()?;
    client.reader().read_exact(&mut [0; 4])?;
    // As the server does once the client is connected.
    drop(layer.take_facts());
    Ok(layer)
}

/// Resident bytes of this process (second field of statm, in pages of 4096 bytes).
fn resident() -> Result<usize, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .ok_or("statm has no second field")?
        .parse()?;
    Ok(pages * 4096)
}
