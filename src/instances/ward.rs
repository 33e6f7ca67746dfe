//! The upkeep of one deployment: its instances found or run, and each asked how it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::names;
use super::probe::{Verdict, ask};
use super::process::{Launcher, Processes};
use super::roster::{Key, Roster};
use crate::model::backend::Origin;
use crate::routing::{Check, DeploymentRoute};
use crate::settings::Limits;
use crate::upstream::{Instance, Out};

/// What every ward works with.
#[derive(Debug, Clone)]
pub(super) struct Care {
    pub(super) key: Key,
    pub(super) limits: Limits,
    pub(super) roster: Roster,
    pub(super) launcher: Launcher,
}

/// The work for one deployment. Dropping it ends the work; processes are drained and stopped.
#[derive(Debug)]
pub(super) struct Ward {
    route: watch::Sender<Arc<DeploymentRoute>>,
    stop: CancellationToken,
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Ward {
    pub(super) fn start(
        tracker: &TaskTracker,
        stop: CancellationToken,
        care: Care,
        route: Arc<DeploymentRoute>,
    ) -> Ward {
        let (sender, receiver) = watch::channel(route);
        tracker.spawn(work(receiver, stop.clone(), care));
        Ward { route: sender, stop }
    }

    /// The deployment is described anew, or its snapshot is a new one.
    pub(super) fn update(&self, route: Arc<DeploymentRoute>) {
        self.route.send_if_modified(|current| {
            let other = !Arc::ptr_eq(current, &route);
            *current = route;
            other
        });
    }
}

async fn work(mut routes: watch::Receiver<Arc<DeploymentRoute>>, stop: CancellationToken, care: Care) {
    let changed = Arc::new(Notify::new());
    let mut processes = Processes::new(care.clone(), changed.clone());
    let mut checks = Checks::default();
    loop {
        let route = routes.borrow_and_update().clone();
        processes.converge(&route);
        let finding = async {
            match &route.upkeep.origin {
                Origin::Dns(name) => {
                    let told = changed.clone();
                    names::follow(&route, name, care.limits.dns_refresh, move || told.notify_one()).await;
                }
                Origin::Urls(_) | Origin::Command(_) => std::future::pending().await,
            }
        };
        let mut finding = std::pin::pin!(finding);
        loop {
            checks.converge(&route);
            tokio::select! {
                () = finding.as_mut() => {}
                () = changed.notified() => processes.converge(&route),
                described = routes.changed() => match described {
                    Ok(()) => break,
                    Err(_) => return processes.stop().await,
                },
                () = stop.cancelled() => return processes.stop().await,
            }
        }
    }
}

/// The questions that are being asked, by instance and check.
#[derive(Debug, Default)]
struct Checks {
    asking: JoinSet<()>,
    running: HashMap<(usize, Kind), (Arc<Instance>, Check, tokio::task::AbortHandle)>,
}

/// Which check it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Liveness,
    Readiness,
}

impl Checks {
    /// Asks each instance there is what is to be asked, and nobody else.
    fn converge(&mut self, route: &Arc<DeploymentRoute>) {
        while self.asking.try_join_next().is_some() {}
        let instances = route.fleet.instances();
        let upkeep = &route.upkeep;
        let wanted = [(Kind::Liveness, &upkeep.liveness), (Kind::Readiness, &upkeep.readiness)];
        self.running.retain(|(_, kind), (instance, check, handle)| {
            let still = instances.iter().any(|one| Arc::ptr_eq(one, instance));
            let same = wanted.iter().any(|(of, one)| of == kind && one.as_ref() == Some(check));
            if !(still && same) {
                handle.abort();
                route.fleet.withdraw(instance, kind.out());
            }
            still && same
        });
        for instance in instances.iter() {
            for (kind, check) in wanted {
                let id = (Arc::as_ptr(instance) as usize, kind);
                if let (Some(check), false) = (check, self.running.contains_key(&id)) {
                    let asking = keep_asking(route.clone(), instance.clone(), check.clone(), kind.out());
                    let handle = self.asking.spawn(asking);
                    self.running.insert(id, (instance.clone(), check.clone(), handle));
                }
            }
        }
    }
}

impl Kind {
    fn out(self) -> Out {
        match self {
            Kind::Liveness => Out::Dead,
            Kind::Readiness => Out::Unready,
        }
    }
}

/// The shortest time between two questions.
const SHORTEST: Duration = Duration::from_millis(10);

/// Asks an instance again and again, and says so when the verdict changes.
async fn keep_asking(route: Arc<DeploymentRoute>, instance: Arc<Instance>, check: Check, out: Out) {
    let mut verdict = Verdict::new();
    if matches!(route.upkeep.origin, Origin::Command(_)) {
        // A process needs its time to begin; one that ran before we came does not.
        tokio::time::sleep(check.probe.initial_delay).await;
    }
    loop {
        let good = ask(&instance, check.route.as_ref(), check.probe.timeout.max(SHORTEST)).await;
        let at = instance.shown();
        match verdict.hear(good, &check.probe) {
            Some(true) => {
                info!(deployment = %route.key, instance = %at, probe = ?out, "an instance is well again");
                route.fleet.withdraw(&instance, out);
            }
            Some(false) => {
                warn!(deployment = %route.key, instance = %at, probe = ?out, "an instance is not well");
                instance.standing.take_out(out);
            }
            None => {}
        }
        tokio::time::sleep(check.probe.period.max(SHORTEST)).await;
    }
}
