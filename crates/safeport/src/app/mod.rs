//! A server, composed: settings become a locked data folder, bound listeners, an engine with its
//! gatekeeper, and the drivers around it. Every step that can fail says what to do.

mod changes;
mod devices;
mod house;
mod live;
mod logging;
mod plan;
mod security;
mod server;
mod sockets;
mod start;
mod talking;
mod words;

use tokio::runtime::Runtime;

pub use changes::take_back_unconfirmed;
pub use house::{certificates, data_folder, registry_failed};
pub use live::Event;
pub(crate) use live::changed_files;
pub(crate) use sockets::port_range;
pub(crate) use words::holding_text;

use house::House;
use logging::{log_descriptors, start_log};
use server::{Server, Signals};
use sockets::{Binder, Bound};
use start::Parts;

use crate::console::{Console, Failure};
use crate::descriptors::Descriptors;
use crate::reading::Read;
use crate::say;
use crate::tasks::{self, Ends, Tasks};
use crate::text::Texts;

/// Runs a server until a signal ends it. `strand` names devices that may lose the address they
/// hold when a listener has to move.
///
/// # Errors
/// Everything that keeps it from starting, and any part of it that ends by itself.
pub fn serve(read: Read, strand: &[String], console: &Console) -> Result<(), Failure> {
    let texts = &console.texts;
    start_log(&read.settings, texts)?;
    if let Some(why) = &read.degraded {
        console.talk(&format!("{}\n{why}\n", say!(texts, "degraded-headline")));
        tracing::warn!(
            target: "safeport::serve",
            "DEGRADED: the settings files have mistakes, the last good ones are in force; correct \
             them and reload (SIGHUP, or `config reload`)"
        );
    }
    let mut house = House::open(&read, texts)?;
    let bound = bind_all(&read, strand, &mut house, texts)?;
    let descriptors = Descriptors::raise();
    log_descriptors(&read.settings, descriptors);
    let (runtime, tasks, ends) = runtime(texts)?;
    let (server, signals) = {
        let _inside = runtime.enter();
        let signals = Signals::new()
            .map_err(|error| Failure::new(say!(texts, "signals-failed")).detail(error))?;
        let parts = Parts {
            read,
            strand: strand.to_vec(),
            house,
            bound,
            descriptors,
        };
        let server = Server::start(parts, &tasks, texts)?;
        (server, signals)
    };
    server.greet(console)?;
    server.run(&runtime, signals, ends, texts)
}

/// Binds everything that is planned.
fn bind_all(
    read: &Read,
    strand: &[String],
    house: &mut House,
    texts: &Texts,
) -> Result<Vec<Bound>, Failure> {
    let mut binder = Binder::new(&read.settings, &mut house.registry, texts, strand);
    let mut bound = Vec::new();
    for planned in read.settings.plan.binds() {
        bound.extend(binder.bind(planned)?);
    }
    Ok(bound)
}

fn runtime(texts: &Texts) -> Result<(Runtime, Tasks, Ends), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // HTTP, conversations and housekeeping; MQTT runs on the engine's own threads. A conversation
        // decodes and encodes here, half a millisecond for each packet at most.
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))
        .thread_name("safeport-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))?;
    let (tasks, ends) = tasks::tasks();
    Ok((runtime, tasks, ends))
}
