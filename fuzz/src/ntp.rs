//! What must hold of answers to any packet at all, and of whoever asks in any rhythm.

use std::net::IpAddr;
use std::time::Duration;

use safeport_net::limits::NTP_ADDRESSES;
use safeport_net::ntp::{PACKET, Request, Timestamp, Turn, Turns};

/// A packet from a stranger. Reading never panics; an answer is never longer than what it answers,
/// goes to no packet that is an answer itself, and gives the client its own time back.
pub fn packet(data: &[u8]) {
    let Ok(request) = Request::read(data) else {
        return;
    };
    assert!(data.len() >= PACKET);
    let now = Duration::new(1_795_380_300, 999_999_999);
    for at in [now, Duration::ZERO, Duration::from_secs(u64::MAX)] {
        for answer in [request.answer(at, at), request.slow_down()] {
            let bytes = answer.as_bytes();
            assert!(bytes.len() <= data.len(), "longer than its question");
            assert_eq!(bytes[0] & 7, 4, "a server's answer");
            assert_eq!(bytes[0] >> 3 & 7, data[0] >> 3 & 7, "in the same version");
            assert_eq!(bytes[24..32], data[40..48], "the client's own time");
            assert!(Request::read(bytes).is_err(), "answered by an answer");
        }
    }
    let sent = Timestamp::at(now).to_bytes();
    assert_eq!(request.answer(now, now).as_bytes()[40..48], sent);
}

/// Addresses that ask, three bytes each: who, and how much later. Nobody gets more than the burst
/// and one a second, and memory is bounded.
pub fn rhythm(data: &[u8]) {
    let mut turns = Turns::new();
    let mut now = Duration::ZERO;
    let mut answers = [0_u64; 256];
    for event in data.chunks_exact(3) {
        now += Duration::from_millis(u64::from(event[2]) * 10);
        let ip = IpAddr::from([10, 0, 0, event[0]]);
        if turns.next(ip, now) == Turn::Answer {
            answers[usize::from(event[0])] += 1;
        }
        assert!(turns.addresses() <= NTP_ADDRESSES);
        assert!(answers[usize::from(event[0])] <= 16 + now.as_secs() + 1);
    }
}
