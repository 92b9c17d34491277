//! [`bind`] on ports that are really taken.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use safeport_net::holder::{Holding, Protocol, holder_of};
use safeport_net::{BindError, bind, bind_range, is_free};
use socket2::{Domain, Socket, Type};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[test]
fn a_listener_accepts_without_blocking() {
    let listener = bind("mqtt.listen", ANY_PORT).unwrap();
    let nothing = listener.accept().unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(listener.accept().is_ok());
}

#[test]
fn a_taken_port_is_reported_with_key_holder_and_a_free_port() {
    let held = TcpListener::bind(ANY_PORT).unwrap();
    let address = held.local_addr().unwrap();
    let error = bind("mqtt.listen", address).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`mqtt.listen`") && text.contains(&address.to_string()),
        "{text}"
    );
    let BindError::Taken { holding, free, .. } = error else {
        panic!("{error:?}")
    };
    let free = SocketAddr::new(address.ip(), free.unwrap());
    assert_ne!(free.port(), address.port());
    assert!(text.contains(&format!("{} is free", free.port())), "{text}");
    #[cfg(target_os = "linux")]
    assert_eq!(holding, Holding::ThisProcess);
    #[cfg(not(target_os = "linux"))]
    assert!(matches!(holding, Holding::OutOfSight { .. }));
    assert!(bind("mqtt.listen", free).is_ok());
}

#[test]
fn a_wildcard_clashes_with_a_port_held_on_one_address() {
    let held = TcpListener::bind(ANY_PORT).unwrap();
    let port = held.local_addr().unwrap().port();
    let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    assert!(matches!(
        bind("http.listen", wildcard),
        Err(BindError::Taken { .. })
    ));
}

#[test]
#[cfg(target_os = "linux")]
fn the_holder_in_another_process_is_named_with_its_pid_command_line_and_way_out() {
    use std::io::Read;
    let script = "import socket,sys,time\ns=socket.socket()\ns.bind(('127.0.0.1',0))\n\
                  s.listen()\nprint(s.getsockname()[1],flush=True)\nsys.stdin.read()";
    let child = std::process::Command::new("python3")
        .args(["-c", script, "--password", "hush"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut child = child.expect("python3 is needed for this test; install it");
    let mut port = String::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        port.push(char::from(byte[0]));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
    let error = bind("mqtt.listen", address).unwrap_err();
    let pid = child.id();
    drop(child.stdin.take());
    child.wait().unwrap();
    let BindError::Taken {
        holding: Holding::Program(holder),
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(holder.pid, pid);
    assert!(holder.program.as_deref().unwrap().starts_with("python3"));
    let command_line = holder.command_line.as_deref().unwrap();
    assert!(command_line.contains("import socket"), "{command_line}");
    assert!(command_line.ends_with("--password ***"), "{command_line}");
    assert!(error.to_string().contains(&format!("pid {pid}")), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_port_that_an_outgoing_connection_uses_is_told_as_that() {
    let server = TcpListener::bind(ANY_PORT).unwrap();
    let remote = server.local_addr().unwrap();
    // From an address of its own: on 127.0.0.1 a test beside this one may have a connection from
    // the same port to somewhere else.
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own: SocketAddr = "127.0.91.8:0".parse().unwrap();
    client.bind(&own.into()).unwrap();
    client.connect(&remote.into()).unwrap();
    let client = TcpStream::from(client);
    let address = client.local_addr().unwrap();
    let error = bind("mqtt.listen", address).unwrap_err();
    let BindError::Taken {
        holding:
            Holding::Connection {
                remote: other_end,
                holder,
                ephemeral,
            },
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(*other_end, remote);
    assert_eq!(holder.as_ref().unwrap().pid, std::process::id());
    assert!(ephemeral, "{address}");
    assert!(
        error.to_string().contains("ip_local_reserved_ports"),
        "{error}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_free_port_has_no_holder_and_udp_does_not_hold_a_port_of_tcp() {
    // An address of its own, which no test beside this one connects from.
    let udp = UdpSocket::bind("127.0.91.9:0").unwrap();
    let address = udp.local_addr().unwrap();
    assert_eq!(holder_of(Protocol::Udp, address), Holding::ThisProcess);
    assert!(!is_free(Protocol::Udp, address));
    assert!(matches!(
        holder_of(Protocol::Tcp, address),
        Holding::OutOfSight { .. }
    ));
    assert!(is_free(Protocol::Tcp, address));
}

#[test]
fn the_first_free_port_of_a_range_is_taken_and_told() {
    let held = TcpListener::bind(ANY_PORT).unwrap();
    let first = held.local_addr().unwrap().port();
    let last = first.saturating_add(20);
    let ip = Ipv4Addr::LOCALHOST.into();
    let (listener, port) = bind_range("mqtt.on_conflict", ip, first..=last).unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), port);
    assert!(port > first && port <= last);

    let error = bind_range("mqtt.on_conflict", ip, first..=first).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`mqtt.on_conflict`") && text.contains(&format!("{first} is taken by")),
        "{text}"
    );
    let BindError::RangeTaken { tried, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(tried[0].0, first);

    // Another port would not give the machine the address.
    let foreign = bind_range(
        "mqtt.on_conflict",
        "192.0.2.77".parse().unwrap(),
        20000..=20009,
    );
    assert!(matches!(foreign, Err(BindError::NotAvailable { .. })));
}

#[test]
fn every_address_of_ipv6_serves_ipv4_too() {
    let listener = bind("mqtt.listen", SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
}

#[test]
fn an_address_of_another_machine_is_refused_with_the_wildcard_as_way_out() {
    // A documentation address (RFC 5737), never on an interface.
    let error = bind("mqtt.listen", "192.0.2.1:1883".parse().unwrap()).unwrap_err();
    assert!(matches!(error, BindError::NotAvailable { .. }), "{error:?}");
    assert!(error.to_string().contains("0.0.0.0:1883"), "{error}");
}

#[test]
fn a_missing_right_is_explained() {
    let address = "127.0.0.1:80".parse().unwrap();
    let error = BindError::Privileged {
        key: "http.listen".to_owned(),
        address,
    };
    let text = error.to_string();
    assert!(
        text.contains("port 80") && text.contains("setcap"),
        "{text}"
    );
}
