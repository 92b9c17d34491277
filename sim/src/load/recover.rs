//! Killed behind its last acknowledgement: what does the session that was away get afterwards?

use super::child::Broker;
use super::crew::Crew;
use super::link::Opening;
use super::numbered::{Batch, Publishers, Tally};
use super::report::{Figures, Recovery};
use super::wire::{self, Session};
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
    /// Set the messages retained instead of owing them to a session.
    pub(super) retained: bool,
}

pub(super) fn run(target: &Target, command: &str, plan: Plan) -> Result<Figures, LoadError> {
    let name = run_name();
    let client_id = client_id(&name, "sub", 0);
    let qos = plan.qos;
    let session = if plan.retained {
        Session::Clean
    } else {
        Session::Kept
    };
    let connect = |target: &Target, session| Opening::connect(target, &client_id, session);

    let mut broker = Broker::start(command, &name)?;
    let mut target = target.clone();
    target.pid = Some(broker.pid());
    let filter = format!("{name}/#");
    let mut away = broker.when_ready(target.address, || connect(&target, session))?;
    if !plan.retained {
        away.subscribe(&[&filter], qos)?;
    }
    away.leave()?;

    let batch = Batch {
        name: &name,
        messages: plan.messages,
        payload: plan.payload,
        qos,
        retain: plan.retained,
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
    let back = broker.when_ready(target.address, || connect(&target, session))?;
    let ready = broker.started.elapsed();
    let session_present = (!plan.retained).then_some(back.session_present);
    // Messages of one topic come in order; retained ones have a topic each.
    let in_order = (!plan.retained).then_some(RECOVER_PUBLISHERS);
    let mut tally = Tally::new(batch, &publishers.acknowledged, in_order);
    let mut crew = Crew::new(&target)?;
    let link = crew.add(back.into_link()?)?;
    if plan.retained {
        wire::subscribe(target.version, 1, &[&filter], qos, crew.out(link));
    }
    if session_present != Some(false) {
        tally.listen(&mut crew, SILENCE)?;
    }
    let since_start = process::cpu_of(broker.pid()).ok();
    let memory = process::memory(&target)?;
    let received = tally
        .last_at
        .saturating_duration_since(broker.started + ready);
    drop(crew);
    // The data folder is the user's: what the run left in it goes with the run.
    connect(&target, Session::Clean)?.leave()?;
    if plan.retained {
        let mut crew = Crew::new(&target)?;
        Publishers::open(&target, batch, RECOVER_PUBLISHERS, plan.window, &mut crew)?
            .delete(&target, &mut crew, SILENCE)?;
    }
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
