//! Listeners at work: the data plane's threads, each with its own runtime and socket or one runtime for all; and a
//! listener on the runtime that is there.

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
use crate::net::serve::{Protocol, Service};
use crate::proxy::worker;
use crate::settings::Layout;

/// What a listener serves.
pub(super) struct Serving<S> {
    pub(super) protocol: Arc<Protocol>,
    pub(super) service: Arc<S>,
    pub(super) admission: Arc<Admission>,
    /// Once cancelled, nothing more is accepted and what is in flight ends.
    pub(super) drain: CancellationToken,
    /// How long that may take.
    pub(super) grace: Duration,
}

/// A thread that serves until it is drained.
pub(super) type Ended = oneshot::Receiver<()>;

impl<S> Clone for Serving<S> {
    fn clone(&self) -> Self {
        Serving {
            protocol: self.protocol.clone(),
            service: self.service.clone(),
            admission: self.admission.clone(),
            drain: self.drain.clone(),
            grace: self.grace,
        }
    }
}

impl<S: Service> Serving<S> {
    /// Serves a socket on this runtime until it is drained.
    pub(super) async fn serve(self, socket: StdListener) {
        let tracker = TaskTracker::new();
        self.clone().accept(socket, tracker.clone()).await;
        tracker.close();
        if tokio::time::timeout(self.grace, tracker.wait()).await.is_err() {
            warn!("operations were still in flight at the end of the drain time");
        }
    }

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
            Err(error) => return warn!(%error, "a listener's socket cannot be used"),
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
                        serving.protocol.serve(stream, serving.service.clone(), serving.drain.clone()).await;
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
