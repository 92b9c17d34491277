//! [`bind`] on ports that are really taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use safeport_net::{BindError, bind};

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
    let BindError::Taken { holder, free, .. } = error else {
        panic!("{error:?}")
    };
    let free = SocketAddr::new(address.ip(), free.unwrap());
    assert_ne!(free.port(), address.port());
    assert!(text.contains(&format!("{} is free", free.port())), "{text}");
    #[cfg(target_os = "linux")]
    assert!(holder.unwrap().contains("this process"));
    #[cfg(not(target_os = "linux"))]
    assert_eq!(holder, None);
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
fn the_holder_in_another_process_is_named_with_its_pid() {
    use std::io::Read;
    let script = "import socket,sys,time\ns=socket.socket()\ns.bind(('127.0.0.1',0))\n\
                  s.listen()\nprint(s.getsockname()[1],flush=True)\nsys.stdin.read()";
    let child = std::process::Command::new("python3")
        .args(["-c", script])
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
    let BindError::Taken { holder, .. } = &error else {
        panic!("{error:?}")
    };
    let holder = holder.as_deref().unwrap();
    assert!(
        holder.starts_with("python3") && holder.ends_with(&format!("pid {pid}")),
        "{error}"
    );
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
