//! Keeps what deployments need besides requests in step with the snapshot.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::probe::ask;
use super::process::Launcher;
use super::roster::{Key, Roster};
use super::ward::{Care, Ward};
use crate::model::backend::Origin;
use crate::routing::{DeploymentRoute, Snapshot, SnapshotCell};
use crate::settings::Limits;
use crate::store::Revision;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Out;

/// How often spare connections are closed and gauges set.
const SWEEP: Duration = Duration::from_secs(1);
/// Time for an instance that failed to show that it is back.
const TRY: Duration = Duration::from_secs(2);

/// Looks after instances.
#[derive(Debug)]
pub struct Keeper {
    snapshot: Arc<SnapshotCell>,
    metrics: Metrics,
    limits: Limits,
    roster: Roster,
    launcher: Launcher,
    /// Ends every ward's work.
    stop: CancellationToken,
    wards: TaskTracker,
}

impl Keeper {
    /// A keeper of the instances of whatever snapshot is in force; `helper` is the binary that becomes local instances.
    pub fn new(
        snapshot: Arc<SnapshotCell>,
        metrics: Metrics,
        limits: Limits,
        helper: PathBuf,
    ) -> std::io::Result<Keeper> {
        let (roster, stop, wards) = Default::default();
        let launcher = Launcher::start(helper)?;
        Ok(Keeper { snapshot, metrics, limits, roster, launcher, stop, wards })
    }

    /// What is known of local processes.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Stops the local processes, and waits until they are gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.wards.close();
        self.wards.wait().await;
    }

    /// Works for ever; `in_force` tells of new snapshots.
    pub async fn run(self: Arc<Self>, mut in_force: watch::Receiver<Revision>) {
        let mut wards: HashMap<Key, Ward> = HashMap::new();
        let mut trying = JoinSet::new();
        let mut tick =
            tokio::time::interval((self.limits.eject_time / 5).clamp(Duration::from_millis(20), SWEEP));
        let (mut sweep, mut compare) =
            (tokio::time::interval(SWEEP), tokio::time::interval(self.limits.eject_window));
        loop {
            tokio::select! {
                changed = in_force.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.reconcile(&mut wards);
                }
                _ = tick.tick() => self.let_back(&mut trying),
                _ = sweep.tick() => {
                    self.reconcile(&mut wards);
                    self.sweep();
                }
                _ = compare.tick() => self.each(|_, deployment| {
                    deployment.fleet.compare();
                    deployment.fleet.forgive();
                }),
            }
        }
    }

    fn each(&self, mut what: impl FnMut(&str, &Arc<DeploymentRoute>)) {
        let snapshot: Arc<Snapshot> = self.snapshot.load().clone();
        for (name, endpoint) in &snapshot.endpoints {
            for deployment in &endpoint.deployments {
                what(name, deployment);
            }
        }
    }

    /// One ward for each deployment that needs one, with its present route.
    fn reconcile(&self, wards: &mut HashMap<Key, Ward>) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut seen = HashMap::new();
        self.each(|endpoint, deployment| {
            let upkeep = &deployment.upkeep;
            if upkeep.has_checks() || !matches!(upkeep.origin, Origin::Urls(_)) {
                seen.insert((endpoint.to_owned(), deployment.key.clone()), deployment.clone());
            }
        });
        wards.retain(|key, ward| match seen.remove(key) {
            Some(route) => {
                ward.update(route);
                true
            }
            // Dropping a ward ends its work.
            None => false,
        });
        for (key, route) in seen {
            let care = Care {
                key: key.clone(),
                limits: self.limits.clone(),
                roster: self.roster.clone(),
                launcher: self.launcher.clone(),
            };
            wards.insert(key, Ward::start(&self.wards, self.stop.child_token(), care, route));
        }
    }

    /// Tries instances that were ejected for long enough.
    fn let_back(&self, trying: &mut JoinSet<()>) {
        while trying.try_join_next().is_some() {}
        self.each(|_, deployment| {
            for instance in deployment.fleet.instances().iter().filter(|i| deployment.fleet.may_return(i)) {
                // Not again before this try is over.
                deployment.fleet.tried(instance, false);
                let (instance, deployment) = (instance.clone(), deployment.clone());
                trying.spawn(async move {
                    let route = deployment.upkeep.readiness.as_ref().and_then(|check| check.route.clone());
                    if ask(&instance, route.as_ref(), TRY).await {
                        deployment.fleet.tried(&instance, true);
                    }
                });
            }
        });
    }

    fn sweep(&self) {
        self.each(|endpoint, deployment| {
            let mut states = [("in", 0), ("starting", 0), ("unready", 0), ("ejected", 0)];
            for instance in deployment.fleet.instances().iter() {
                instance.sweep();
                let standing = &instance.standing;
                let state =
                    [Out::Starting, Out::Unready, Out::Ejected].iter().position(|why| standing.is(*why));
                if let Some((_, count)) = states.get_mut(state.map_or(0, |at| at + 1)) {
                    *count += 1;
                }
            }
            for (state, count) in states {
                self.metrics.instances.with_label_values(&[endpoint, &deployment.key, state]).set(count);
            }
        });
    }
}
