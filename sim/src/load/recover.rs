//! Killed behind its last acknowledgement: what does the session that was away get afterwards?

use super::child::Broker;
use super::crew::Crew;
use super::link::Opening;
use super::numbered::{Batch, Publishers, Tally};
use super::report::{Figures, Recovery};
use super::wire::Session;
use super::{Clocks, LoadError, RECOVER_PUBLISHERS, Target, client_id, process, run_name};
use safeport_mqtt::QoS;
use std::time::Duration;

/// How long nothing may come before what is missing counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// What to publish before the kill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) messages: u32,
    /// Acknowledgements after which the broker is killed.
    pub(super) kill_after: u32,
    pub(super) payload: usize,
    pub(super) qos: QoS,
    pub(super) window: u32,
}

pub(super) fn run(target: &Target, command: &str, plan: Plan) -> Result<Figures, LoadError> {
    let name = run_name();
    let client_id = client_id(&name, "sub", 0);
    let qos = plan.qos;
    let connect = |target: &Target, session| Opening::connect(target, &client_id, session);

    let mut broker = Broker::start(command, &name)?;
    let mut target = target.clone();
    target.pid = Some(broker.pid());
    let mut away = broker.when_ready(target.address, || connect(&target, Session::Kept))?;
    away.subscribe(&[&format!("{name}/+")], qos)?;
    away.leave()?;

    let batch = Batch {
        name: &name,
        messages: plan.messages,
        payload: plan.payload,
        qos,
        retain: false,
    };
    let mut crew = Crew::new(&target)?;
    let mut publishers =
        Publishers::open(&target, batch, RECOVER_PUBLISHERS, plan.window, &mut crew)?;
    let before = Clocks::read(&target)?;
    let published = publishers.run(&mut crew, plan.kill_after, SILENCE);
    let publishing = Clocks::read(&target);
    broker.kill()?;
    published?;
    let publishing = publishing?.since(&before);
    drop(crew);
    drop(broker);

    let mut broker = Broker::start(command, &name)?;
    target.pid = Some(broker.pid());
    let back = broker.when_ready(target.address, || connect(&target, Session::Kept))?;
    let ready = broker.started.elapsed();
    let session_present = back.session_present;
    let mut tally = Tally::new(batch, &publishers.acknowledged, Some(RECOVER_PUBLISHERS));
    let mut crew = Crew::new(&target)?;
    crew.add(back.into_link()?)?;
    if session_present {
        tally.listen(&mut crew, SILENCE)?;
    }
    let since_start = process::cpu_of(broker.pid()).ok();
    let memory = process::memory(&target)?;
    let received = tally
        .last_at
        .saturating_duration_since(broker.started + ready);
    drop(crew);
    // The data folder is the user's: the session goes with the run.
    connect(&target, Session::Clean)?.leave()?;
    broker.stop();

    let mut exactness = tally.exactness();
    exactness.unacknowledged = u64::from(plan.kill_after.saturating_sub(publishers.count));
    Ok(Figures::Recovery(Recovery {
        qos: qos as u8,
        acknowledged: publishers.count,
        publishing: publishers.last_at.saturating_duration_since(before.at),
        publishing_cpu: publishing.broker,
        session_present,
        ready,
        received: tally.count,
        receiving: received,
        recovering_cpu: since_start,
        rss: memory.map(|memory| memory.rss),
        exactness,
    }))
}
