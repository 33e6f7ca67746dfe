//! The data plane's threads: in each its own runtime and its own socket, or one runtime for all.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::net::listener::Admission;
use crate::net::serve::Protocol;
use crate::proxy::{Pipeline, worker};
use crate::settings::Layout;

/// What every thread serves.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) protocol: Arc<Protocol>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) admission: Arc<Admission>,
    /// Once cancelled, nothing more is accepted and what is in flight ends.
    pub(super) drain: CancellationToken,
    /// How long that may take.
    pub(super) grace: Duration,
}

/// A thread that serves until it is drained.
pub(super) type Ended = oneshot::Receiver<()>;

impl Serving {
    /// Starts the threads. Each tells when it has ended.
    pub(super) fn start(self, layout: Layout, sockets: Vec<StdListener>) -> std::io::Result<Vec<Ended>> {
        match layout {
            Layout::PerCore => {
                let each = sockets.into_iter().enumerate().map(|(index, socket)| {
                    let runtime = Builder::new_current_thread().enable_all().build()?;
                    self.clone().thread(index, runtime, vec![socket])
                });
                each.collect()
            }
            Layout::WorkStealing => {
                let next = AtomicUsize::new(0);
                let runtime = Builder::new_multi_thread()
                    .worker_threads(sockets.len())
                    .on_thread_start(move || worker::enter(next.fetch_add(1, Ordering::Relaxed)))
                    .enable_all()
                    .build()?;
                Ok(vec![self.thread(0, runtime, sockets)?])
            }
        }
    }

    fn thread(self, index: usize, runtime: Runtime, sockets: Vec<StdListener>) -> std::io::Result<Ended> {
        let (done, ended) = oneshot::channel();
        let run = move || {
            worker::enter(index);
            runtime.block_on(async {
                let tracker = TaskTracker::new();
                for socket in sockets {
                    tracker.spawn(self.clone().accept(socket, tracker.clone()));
                }
                self.drain.cancelled().await;
                tracker.close();
                if tokio::time::timeout(self.grace, tracker.wait()).await.is_err() {
                    warn!("requests were still in flight at the end of the drain time");
                }
            });
            // Whatever is left now is cut.
            runtime.shutdown_background();
            let _ = done.send(());
        };
        std::thread::Builder::new().name(format!("data-{index}")).spawn(run)?;
        Ok(ended)
    }

    async fn accept(self, socket: StdListener, tracker: TaskTracker) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return warn!(%error, "a socket of the data plane cannot be used"),
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = self.admission.admit(peer.ip()) else { continue };
                    let serving = self.clone();
                    tracker.spawn(async move {
                        serving.protocol.serve(stream, serving.pipeline.clone(), serving.drain.clone()).await;
                        drop(place);
                    });
                }
                // Out of file descriptors, or a client that is gone already: the former needs a moment.
                Err(error) => {
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}
