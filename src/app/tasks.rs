//! Background tasks: named, stopped together, missed when they end before their time.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// The background tasks of one gateway.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
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
        self.tracker.spawn(listener);
    }

    /// Ends all of them.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
