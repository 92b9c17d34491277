//! Retained messages: set, kept, and sent to one subscriber who asks for all of them.

use super::crew::Crew;
use super::link::Link;
use super::numbered::{Batch, Publishers, Tally};
use super::report::{Figures, Retained};
use super::{Clocks, LoadError, RETAINED_PUBLISHERS, Target, client_id, process, run_name, wire};
use safeport_mqtt::QoS;
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing may come before what is missing counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the broker gets to tidy up before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Unacknowledged messages of one publisher.
const WINDOW: u32 = 100;

pub(super) fn run(
    target: &Target,
    messages: u32,
    payload: usize,
    qos: QoS,
) -> Result<Figures, LoadError> {
    let name = run_name();
    let batch = Batch {
        name: &name,
        messages,
        payload,
        qos,
        retain: true,
    };
    let mut crew = Crew::new(target)?;
    let mut publishers = Publishers::open(target, batch, RETAINED_PUBLISHERS, WINDOW, &mut crew)?;
    thread::sleep(SETTLE);
    let empty = process::memory(target)?;
    let begun = Clocks::read(target)?;
    publishers.run(&mut crew, messages, SILENCE)?;
    let setting = Clocks::read(target)?.since(&begun);
    thread::sleep(SETTLE);
    let full = process::memory(target)?;

    let reader = Link::open(target, &client_id(&name, "sub", 0), None)?;
    let reader = crew.add(reader)?;
    let filter = format!("{name}/#");
    let before = Clocks::read(target)?;
    let asked = Instant::now();
    wire::subscribe(target.version, 1, &[&filter], qos, crew.out(reader));
    let mut tally = Tally::new(batch, &publishers.acknowledged, None);
    tally.listen(&mut crew, SILENCE)?;
    let sending = Clocks::read(target)?.since(&before);

    let mut exactness = tally.exactness();
    exactness.unacknowledged = u64::from(messages - publishers.count);
    let figures = Retained {
        messages: publishers.count,
        setting: publishers.last_at.saturating_duration_since(begun.at),
        setting_cpu: setting.broker,
        rss_per_message: match (empty, full) {
            (Some(empty), Some(full)) => {
                Some((full.rss as f64 - empty.rss as f64) / f64::from(messages))
            }
            _ => None,
        },
        received: tally.count,
        receiving: tally.last_at.saturating_duration_since(asked),
        receiving_cpu: sending.broker,
        generator_share: setting.generator_share,
        others_share: setting.others_share,
        exactness,
    };

    // The reader leaves first: it would be told of every deletion.
    drop(crew);
    let mut crew = Crew::new(target)?;
    Publishers::open(target, batch, RETAINED_PUBLISHERS, WINDOW, &mut crew)?
        .delete(target, &mut crew, SILENCE)?;
    Ok(Figures::Retained(figures))
}
