//! Listeners at work: the data plane's threads, each with its own runtime and socket or one runtime for all; and a
//! listener on the runtime that is there.

use std::future::Future;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::net::conn::Conn;
use crate::net::listener::Admission;
use crate::net::serve::{Protocol, Service};
use crate::proxy::worker;
use crate::settings::Layout;

/// A service as the configuration in force has it, replaced whole while connections to it stay open.
#[derive(Debug)]
pub(super) struct Current<S>(ArcSwap<S>);

impl<S> Current<S> {
    pub(super) fn new(service: Arc<S>) -> Arc<Current<S>> {
        Arc::new(Current(ArcSwap::new(service)))
    }

    /// Answers the requests that begin from now on.
    pub(super) fn replace(&self, service: Arc<S>) {
        self.0.store(service);
    }
}

impl<S: Service> Service for Current<S> {
    type Body = S::Body;

    fn answer(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<S::Body>> + Send {
        let service = self.0.load_full();
        async move { service.answer(conn, request).await }
    }
}

/// The end of a gateway's listeners.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    /// Once cancelled, nothing more is accepted and what is in flight ends.
    pub(super) drain: CancellationToken,
    /// Once cancelled, what is still in flight is cut.
    pub(super) cut: CancellationToken,
}

impl End {
    /// Waits until everything of a tracker is done or has to be cut.
    async fn wait(&self, tracker: &TaskTracker) {
        tracker.close();
        tokio::select! {
            () = tracker.wait() => {}
            () = self.cut.cancelled() => warn!("requests were still in flight at the end of the drain time"),
        }
    }
}

/// What a listener serves.
#[derive(Debug)]
pub(super) struct Serving<S> {
    /// How connections that begin now are served.
    pub(super) protocol: Arc<ArcSwap<Protocol>>,
    pub(super) service: Arc<Current<S>>,
    pub(super) admission: Arc<Admission>,
    pub(super) end: End,
}

/// A thread that serves until it is drained.
pub(super) type Ended = oneshot::Receiver<()>;

impl<S> Clone for Serving<S> {
    fn clone(&self) -> Self {
        Serving {
            protocol: self.protocol.clone(),
            service: self.service.clone(),
            admission: self.admission.clone(),
            end: self.end.clone(),
        }
    }
}

impl<S: Service> Serving<S> {
    /// Serves a socket on this runtime until it is drained.
    pub(super) async fn serve(self, socket: StdListener) {
        let tracker = TaskTracker::new();
        self.clone().accept(socket, tracker.clone()).await;
        self.end.wait(&tracker).await;
    }

    /// Starts the threads. Each tells when it has ended.
    pub(super) fn start(&self, layout: Layout, sockets: Vec<StdListener>) -> std::io::Result<Vec<Ended>> {
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
                Ok(vec![self.clone().thread(0, runtime, sockets)?])
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
                self.end.drain.cancelled().await;
                self.end.wait(&tracker).await;
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
                () = self.end.drain.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Some(place) = self.admission.enter() else { continue };
                    let (protocol, service) = (self.protocol.load_full(), self.service.clone());
                    let drain = self.end.drain.clone();
                    tracker.spawn(async move { protocol.serve(stream, place, service, drain).await });
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
