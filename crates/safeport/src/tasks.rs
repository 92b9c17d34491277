//! Everything that runs for as long as the server does, by name: the end of any of it stops the
//! server, so that no half of it dies unseen.

use std::future::Future;
use std::io;
use std::thread;

use tokio::sync::mpsc;

/// Starts long-lived work and tells whoever waits on [`Ends`] when one of it ends.
#[derive(Clone, Debug)]
pub struct Tasks {
    ended: mpsc::UnboundedSender<Ended>,
}

/// The receiving side of [`Tasks`].
#[derive(Debug)]
pub struct Ends {
    ended: mpsc::UnboundedReceiver<Ended>,
}

/// Something ended that should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which task.
    pub name: &'static str,
    /// Whether a panic ended it; else it returned.
    pub panicked: bool,
}

/// A new set of tasks.
pub fn tasks() -> (Tasks, Ends) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Tasks { ended: sender }, Ends { ended: receiver })
}

impl Tasks {
    /// Runs `work` on the current tokio runtime.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let watch = self.watch(name);
        tokio::spawn(async move {
            work.await;
            drop(watch);
        });
    }

    /// Runs `work` that may be told to end while the server goes on: only a panic is reported.
    pub fn spawn_stoppable(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut watch = self.watch(name);
        watch.may_return = true;
        tokio::spawn(async move {
            work.await;
            drop(watch);
        });
    }

    /// Runs `work` on a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn_thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let watch = self.watch(name);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                work();
                drop(watch);
            })?;
        Ok(())
    }

    fn watch(&self, name: &'static str) -> Watch {
        Watch {
            name,
            may_return: false,
            ended: self.ended.clone(),
        }
    }
}

impl Ends {
    /// The next task that ended. Pending for ever while all of them run.
    pub async fn next(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }
}

/// Reports when it is dropped, which also happens when a panic unwinds.
struct Watch {
    name: &'static str,
    /// Then only a panic is news.
    may_return: bool,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.may_return && !thread::panicking() {
            return;
        }
        // Nobody listens any more once the server stops.
        let _ = self.ended.send(Ended {
            name: self.name,
            panicked: thread::panicking(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_returns_or_panics_is_reported_by_name() {
        let (tasks, mut ends) = tasks();
        tasks.spawn("returns", async {});
        assert_eq!(
            ends.next().await,
            Ended {
                name: "returns",
                panicked: false
            }
        );
        tasks.spawn("panics", async { panic!("on purpose") });
        assert_eq!(
            ends.next().await,
            Ended {
                name: "panics",
                panicked: true
            }
        );
        tasks
            .spawn_thread("thread", || panic!("on purpose"))
            .expect("a thread");
        assert_eq!(
            ends.next().await,
            Ended {
                name: "thread",
                panicked: true
            }
        );
    }

    #[tokio::test]
    async fn work_that_may_end_is_reported_only_when_it_panics() {
        let (tasks, mut ends) = tasks();
        tasks.spawn_stoppable("stops", async {});
        tasks.spawn_stoppable("panics", async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        let ended = ends.next().await;
        assert_eq!((ended.name, ended.panicked), ("panics", true));
    }
}
