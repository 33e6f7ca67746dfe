//! One place for a process: what runs there is started, watched, started again with growing pauses, drained, stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::child::{Group, free_port};
use crate::instances::output::Output;
use crate::instances::probe::ask;
use crate::instances::roster::{InstanceState, Slot};
use crate::instances::ward::Care;
use crate::model::backend::{InstanceUrl, Program};
use crate::routing::DeploymentRoute;
use crate::upstream::{Instance, Out};

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) program: Program,
    pub(super) environment: BTreeMap<String, String>,
}

/// Between two looks at a process that is starting, or that is being drained.
const LOOK: Duration = Duration::from_millis(50);
/// Ends in a row after which a process is called crash-looping.
const LOOPING: u32 = 3;

/// A place with what runs there.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) spec: Arc<Spec>,
    number: u64,
    stop: CancellationToken,
    shared: Arc<Shared>,
}

/// What the work at a place tells of itself.
#[derive(Debug)]
struct Shared {
    instance: Mutex<Option<Arc<Instance>>>,
    /// Since when it is ready.
    ready: Mutex<Option<Instant>>,
    slot: Arc<Slot>,
}

impl Running {
    pub(super) fn new(number: u64, spec: Arc<Spec>, care: &Care) -> Running {
        let state = InstanceState { address: None, state: "starting", restarts: 0, last_end: None };
        let output = Output::new(care.limits.instance_output);
        let slot = Arc::new(Slot { state: Mutex::new(state), output });
        care.roster.enter(&care.key, number, slot.clone());
        let shared = Arc::new(Shared { instance: Mutex::default(), ready: Mutex::default(), slot });
        Running { spec, number, stop: CancellationToken::new(), shared }
    }

    pub(super) fn instance(&self) -> Option<Arc<Instance>> {
        self.shared.instance.lock().clone()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.shared.ready.lock().is_some()
    }

    /// Begins to drain and stop it.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Runs the process until it is to be stopped.
    pub(super) fn work(
        &self,
        route: Arc<DeploymentRoute>,
        care: Care,
        changed: Arc<Notify>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (spec, stop, number) = (self.spec.clone(), self.stop.clone(), self.number);
        let work = Work { spec, route, shared: self.shared.clone(), care, changed, stop };
        async move {
            work.run().await;
            work.care.roster.leave(&work.care.key, number);
        }
    }
}

struct Work {
    spec: Arc<Spec>,
    route: Arc<DeploymentRoute>,
    shared: Arc<Shared>,
    care: Care,
    changed: Arc<Notify>,
    stop: CancellationToken,
}

impl Work {
    async fn run(&self) {
        let limits = &self.care.limits;
        let mut pause = limits.restart_pause;
        loop {
            let ended = match self.start().await {
                Ok((mut group, instance)) => match self.watch(&mut group, &instance).await {
                    Some(ended) => ended,
                    None => return self.drain(&mut group, &instance).await,
                },
                Err(error) => format!("cannot be started: {error}"),
            };
            let was_well =
                self.shared.ready.lock().is_some_and(|since| since.elapsed() > limits.restart_pause_max);
            if was_well {
                pause = limits.restart_pause;
                self.shared.slot.state.lock().restarts = 0;
            }
            self.ended(ended);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            pause = (pause * 2).min(limits.restart_pause_max);
        }
    }

    async fn start(&self) -> std::io::Result<(Group, Arc<Instance>)> {
        let port = free_port()?;
        let group = Group::start(&self.care.launcher, &self.spec, port, &self.shared.slot).await?;
        let url = InstanceUrl { tls: false, host: "127.0.0.1".to_owned(), port };
        let instance = self.route.fleet.member(&url, None, None).map_err(std::io::Error::other)?;
        instance.standing.take_out(Out::Starting);
        *self.shared.instance.lock() = Some(instance.clone());
        self.shared.slot.state.lock().address = Some(url.authority());
        self.changed.notify_one();
        Ok((group, instance))
    }

    /// Until it ends, which is told, or is to be stopped.
    async fn watch(&self, group: &mut Group, instance: &Arc<Instance>) -> Option<String> {
        let liveness = async {
            self.until_ready(instance).await;
            while !instance.standing.is(Out::Dead) {
                tokio::time::sleep(LOOK * 4).await;
            }
        };
        tokio::select! {
            status = group.wait() => {
                Some(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
            }
            () = liveness => {
                group.stop(self.care.limits.process_stop).await;
                Some("it did not answer its liveness probe".to_owned())
            }
            () = self.stop.cancelled() => None,
        }
    }

    async fn until_ready(&self, instance: &Arc<Instance>) {
        let readiness = self.route.upkeep.readiness.as_ref();
        let route = readiness.and_then(|check| check.route.as_ref());
        let time = readiness.map_or(Duration::from_secs(2), |check| check.probe.timeout.max(LOOK));
        while !ask(instance, route, time).await {
            // A process that is dead before it was ever ready is started again, too.
            if instance.standing.is(Out::Dead) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        *self.shared.ready.lock() = Some(Instant::now());
        self.shared.slot.state.lock().state = "running";
        info!(deployment = %self.route.key, instance = %instance.shown(), "an instance is ready");
        self.route.fleet.withdraw(instance, Out::Starting);
        self.changed.notify_one();
    }

    fn ended(&self, how: String) {
        *self.shared.ready.lock() = None;
        *self.shared.instance.lock() = None;
        let mut state = self.shared.slot.state.lock();
        let restarts = state.restarts + 1;
        warn!(deployment = %self.route.key, %how, restarts, "an instance ended");
        let word = if restarts >= LOOPING { "crash_looping" } else { "starting" };
        *state = InstanceState { address: None, state: word, restarts, last_end: Some(how) };
        drop(state);
        self.changed.notify_one();
    }

    /// Lets it finish what it works on, and stops it.
    async fn drain(&self, group: &mut Group, instance: &Arc<Instance>) {
        self.shared.slot.state.lock().state = "stopping";
        instance.standing.take_out(Out::Leaving);
        let until = Instant::now() + self.care.limits.drain;
        while instance.in_flight() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        group.stop(self.care.limits.process_stop).await;
    }
}
