//! What must hold of ClientHellos, whatever a stranger sends.

use safeport_net::hello::{ClientHello, GREASE, HelloError};

use crate::source::Source;

/// The start of a connection from a stranger. Reading never panics; what was decided stays so
/// whatever follows, and does not depend on how the message is cut into records.
pub fn read(data: &[u8]) {
    let whole = ClientHello::read(data);
    let mut longer = data.to_vec();
    longer.extend_from_slice(b"\x17\x03\x03\x00\x01x");
    if whole != Ok(None) {
        assert_eq!(ClientHello::read(&longer), whole);
    }
    // Until it is whole it was neither read nor, once it is good, refused.
    let half = ClientHello::read(&data[..data.len() / 2]);
    match &whole {
        Ok(Some(_)) => assert!(half == Ok(None) || half == whole),
        Ok(None) => assert_eq!(half, Ok(None)),
        Err(_) => assert!(!matches!(half, Err(error) if whole != Err(error))),
    }
    let Ok(Some(hello)) = whole else {
        if let Err(error) = whole {
            assert!(error.to_string().chars().count() < 250, "{error}");
        }
        return;
    };
    let fingerprint = hello.fingerprint();
    assert!(fingerprint.is_ascii() && fingerprint.len() < 40);
    let shown = hello.server_name.iter().chain(&hello.alpn);
    assert!(shown.flat_map(|text| text.chars()).all(|c| !c.is_control()));
    assert!(hello.fragment().is_none_or(|bytes| bytes >= 63));
    // Its name and its stack are a matter of its content alone.
    assert_eq!(hello.stack(), hello.clone().stack());
}

/// A hello of our own making, cut into records anyhow: it reads back as itself.
pub fn round_trip(data: &[u8]) {
    let mut source = Source::new(data);
    let hello = draw(&mut source);
    let message = message(&hello);
    let mut records = Vec::new();
    let mut rest = &message[..];
    while !rest.is_empty() {
        // Never more than 64 records.
        let least = message.len().div_ceil(60).max(1);
        let length = rest.len().min(least + usize::from(source.u16()) % 2000);
        let (fragment, behind) = rest.split_at(length);
        assert_eq!(ClientHello::read(&records), Ok(None));
        records.extend(record(fragment));
        rest = behind;
    }
    for missing in 1..records.len().min(8) {
        let part = &records[..records.len() - missing];
        assert_eq!(ClientHello::read(part), Ok(None));
    }
    assert_eq!(ClientHello::read(&records), Ok(Some(hello.clone())));
    let twice = hello.extensions.iter().find(|number| **number != GREASE);
    if let Some(extension) = twice {
        let mut again = hello.clone();
        again.extensions.push(*extension);
        let refused = Err(HelloError::Twice {
            extension: *extension,
        });
        assert_eq!(ClientHello::read(&cut(&self::message(&again))), refused);
    }
}

/// A hello that says anything. What its extensions carry and which of them there are agrees.
fn draw(source: &mut Source<'_>) -> ClientHello {
    let mut hello = ClientHello {
        legacy_version: source.pick(&[0x0303, 0x0301, 0x0300, 0x0302]),
        session_id: source.flag(),
        suites: numbers(source, 40),
        ..ClientHello::default()
    };
    hello.secure_renegotiation = hello.suites.contains(&0x00ff);
    for number in EXTENSIONS {
        if source.flag() {
            let at = source.below(hello.extensions.len() + 1);
            hello.extensions.insert(at, *number);
        }
    }
    for number in hello.extensions.clone() {
        match number {
            0 => hello.server_name = Some(name(source)).filter(|name| !name.is_empty()),
            1 => hello.max_fragment = source.pick(&[None, Some(512), Some(1024), Some(4096)]),
            10 => hello.groups = numbers(source, 20),
            11 => hello.point_formats = (0..source.below(4)).map(|_| source.byte()).collect(),
            13 => hello.signatures = numbers(source, 20),
            16 => hello.alpn = (0..source.below(4)).map(|_| name(source)).collect(),
            22 => hello.encrypt_then_mac = true,
            23 => hello.extended_master_secret = true,
            28 => hello.record_size_limit = Some(source.u16()).filter(|limit| *limit >= 64),
            35 => hello.ticket = Some(source.flag()),
            41 => hello.psk = true,
            43 => hello.versions = numbers(source, 8),
            50 => hello.certificate_signatures = numbers(source, 20),
            51 => hello.key_shares = numbers(source, 4),
            0xff01 => hello.secure_renegotiation = true,
            _ => {}
        }
    }
    hello
}

fn numbers(source: &mut Source<'_>, most: usize) -> Vec<u16> {
    let grease = |number: u16| match number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff {
        true => GREASE,
        false => number,
    };
    (0..source.below(most))
        .map(|_| grease(source.u16()))
        .collect()
}

fn name(source: &mut Source<'_>) -> String {
    let text = source.text(30);
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The handshake message with this content.
pub fn message(hello: &ClientHello) -> Vec<u8> {
    let mut body = hello.legacy_version.to_be_bytes().to_vec();
    body.extend([0x5a; 32]);
    body.extend(short(&[7; 32][..if hello.session_id { 32 } else { 0 }]));
    body.extend(long(&words(&hello.suites)));
    body.extend(short(&[0]));
    let mut extensions = Vec::new();
    for number in &hello.extensions {
        extensions.extend(number.to_be_bytes());
        extensions.extend(long(&extension(*number, hello)));
    }
    if !hello.extensions.is_empty() {
        body.extend(long(&extensions));
    }
    let length = (body.len() as u32).to_be_bytes();
    [&[1, length[1], length[2], length[3]], &body[..]].concat()
}

fn extension(number: u16, hello: &ClientHello) -> Vec<u8> {
    match number {
        0 => match &hello.server_name {
            Some(name) => long(&[&[0], &long(name.as_bytes())[..]].concat()),
            None => Vec::new(),
        },
        1 => vec![match hello.max_fragment {
            Some(bytes) => (bytes / 256).trailing_zeros() as u8,
            None => 9,
        }],
        10 => long(&words(&hello.groups)),
        11 => short(&hello.point_formats),
        13 => long(&words(&hello.signatures)),
        16 => {
            let names = hello.alpn.iter().flat_map(|name| short(name.as_bytes()));
            long(&names.collect::<Vec<u8>>())
        }
        28 => hello.record_size_limit.unwrap_or(63).to_be_bytes().to_vec(),
        35 if hello.ticket == Some(true) => vec![0x33; 48],
        41 => vec![0x44; 60],
        43 => short(&words(&hello.versions)),
        50 => long(&words(&hello.certificate_signatures)),
        51 => {
            let shares = hello.key_shares.iter();
            let shares = shares.flat_map(|group| [&words(&[*group])[..], &long(&[9; 32])].concat());
            long(&shares.collect::<Vec<u8>>())
        }
        0xff01 => short(&[]),
        22 | 23 | 35 | GREASE => Vec::new(),
        _ => vec![1, 2, 3],
    }
}

/// Records of at most 16 KiB around a message.
pub fn cut(message: &[u8]) -> Vec<u8> {
    message.chunks(1 << 14).flat_map(record).collect()
}

/// One handshake record.
pub fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &long(fragment)[..]].concat()
}

fn words(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("fits one byte of length");
    [&[length], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("fits two bytes of length");
    [&length.to_be_bytes(), bytes].concat()
}

const EXTENSIONS: &[u16] = &[
    0, 1, 5, 10, 11, 13, 16, 17, 18, 21, 22, 23, GREASE, 27, 28, 35, 41, 43, 45, 50, 51, GREASE,
    17513, 65037, 0xff01,
];
