//! Connections that do nothing, and the memory the broker keeps for each.

use super::layer::{Buffers, Filled};
use super::link::Link;
use super::process;
use super::report::{Figures, Idle};
use super::{Clocks, LoadError, Target, WARM_UP_CONNECTIONS};
use safeport_mqtt::QoS;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

/// How long the broker gets to tidy up before its memory is read. Also the time over which its idle
/// CPU share is taken.
const SETTLE: Duration = Duration::from_secs(1);

/// Connections that are opened at the same time.
const OPENERS: u32 = 8;

pub(super) fn run(
    target: &Target,
    connections: u32,
    subscribe: bool,
) -> Result<Figures, LoadError> {
    let mut links = Vec::with_capacity((connections + WARM_UP_CONNECTIONS) as usize);
    open(target, subscribe, WARM_UP_CONNECTIONS, &mut links)?;
    thread::sleep(SETTLE);
    let before = process::memory(target)?;

    open(target, subscribe, connections, &mut links)?;
    thread::sleep(SETTLE);
    let start = Clocks::read(target)?;
    thread::sleep(SETTLE);
    let used = Clocks::read(target)?.since(&start);
    let after = process::memory(target)?;

    let per_connection = |before: Option<u64>, after: Option<u64>| {
        Some((after? as f64 - before? as f64) / f64::from(connections))
    };
    Ok(Figures::Idle(Idle {
        connections,
        rss_per_connection: per_connection(before.map(|m| m.rss), after.map(|m| m.rss)),
        pss_per_connection: per_connection(before.and_then(|m| m.pss), after.and_then(|m| m.pss)),
        broker_share: used
            .broker
            .map(|cpu| cpu.as_secs_f64() / used.elapsed.as_secs_f64()),
        dropped: dropped(&mut links),
    }))
}

/// Opens `count` connections, some at a time: a broker may take 40 ms for each (one that leaves Nagle's
/// algorithm on does), and what opening costs is not measured here.
fn open(
    target: &Target,
    subscribe: bool,
    count: u32,
    links: &mut Vec<Link>,
) -> Result<(), LoadError> {
    let begin = links.len() as u32;
    let share = |opener: u32| (begin + opener..begin + count).step_by(OPENERS as usize);
    let opened: Vec<_> = thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS)
            .map(|opener| {
                scope.spawn(move || {
                    share(opener)
                        .map(|number| open_one(target, subscribe, number))
                        .collect::<Result<Vec<Link>, LoadError>>()
                })
            })
            .collect();
        openers
            .into_iter()
            .map(|opener| opener.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    for some in opened {
        links.extend(some?);
    }
    Ok(())
}

fn open_one(target: &Target, subscribe: bool, number: u32) -> Result<Link, LoadError> {
    // 19 characters, as long as identifiers of real devices are.
    let run = std::process::id() & 0xff_ffff;
    let client_id = format!("idle-{run:06x}-{number:07}");
    let filter = subscribe.then(|| format!("load/{client_id}"));
    let filter = filter.as_deref().map(|filter| (filter, QoS::AtMostOnce));
    Link::open(target, &client_id, filter)
}

/// Connections that are closed by now. Their memory is gone too, so the figures would flatter.
fn dropped(links: &mut [Link]) -> u32 {
    let mut buffers = Buffers::new(256);
    links
        .iter_mut()
        .map(|link| match link.fill(&mut buffers) {
            Ok(Filled::Closed) | Err(_) => 1,
            Ok(_) => 0,
        })
        .sum()
}
