//! Background tasks: named, stopped together, missed when they end before their time.

use std::future::Future;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::error;

/// The background tasks of one gateway.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    listeners: TaskTracker,
    stop: CancellationToken,
}

/// Tasks that end before the gateway does: when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    tasks: Tasks,
    _end: DropGuard,
}

impl Tasks {
    /// Tasks that can be ended by themselves.
    pub(super) fn group(&self) -> Group {
        let tasks = Tasks { stop: self.stop.child_token(), ..self.clone() };
        Group { _end: tasks.stop.clone().drop_guard(), tasks }
    }

    /// Runs a task until the gateway stops. One that ends by itself is a defect that the log tells of.
    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => error!(task = name, "a background task ended before its time"),
            }
        });
    }

    /// Runs a listener, which ends by itself once it is drained.
    pub(super) fn serve(&self, listener: impl Future<Output = ()> + Send + 'static) {
        self.listeners.spawn(listener);
    }

    /// Waits for the listeners and then ends all tasks, which what is in flight may need until then.
    pub(super) async fn stop(&self) {
        self.listeners.close();
        self.listeners.wait().await;
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Group {
    /// Runs a task until the group ends.
    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, task);
    }
}
