//! Instances that the gateway runs itself: as many processes as a deployment wants, each at a port of its own, started
//! again when it ends, replaced one by one when the deployment is described anew.

mod child;
mod launcher;
mod slot;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(super) use self::launcher::Launcher;
pub use self::launcher::become_program;
use self::slot::{Running, Spec};
use super::ward::Care;
use crate::model::backend::Origin;
use crate::routing::DeploymentRoute;
use crate::upstream::Instance;

/// The processes of one deployment.
#[derive(Debug)]
pub(super) struct Processes {
    care: Care,
    /// Told of whatever happens to one of them.
    changed: Arc<Notify>,
    running: Vec<Running>,
    work: JoinSet<()>,
    next: u64,
}

impl Processes {
    pub(super) fn new(care: Care, changed: Arc<Notify>) -> Processes {
        Processes { care, changed, running: Vec::new(), work: JoinSet::new(), next: 0 }
    }

    /// Starts what is missing and stops what is too much. An old process goes when a new one can take its place.
    pub(super) fn converge(&mut self, route: &Arc<DeploymentRoute>) {
        while self.work.try_join_next().is_some() {}
        let (wanted, count) = match &route.upkeep.origin {
            Origin::Command(program) => {
                let environment = route.upkeep.environment.clone();
                (Some(Arc::new(Spec { program: program.clone(), environment })), route.upkeep.count)
            }
            Origin::Urls(_) | Origin::Dns(_) => (None, 0),
        };
        let is_new = |running: &Running| Some(&running.spec) == wanted.as_ref();
        let fresh = self.running.iter().filter(|running| is_new(running)).count();
        if let Some(spec) = &wanted {
            for _ in fresh..count {
                self.next += 1;
                let running = Running::new(self.next, spec.clone(), &self.care);
                let work = running.work(route.clone(), self.care.clone(), self.changed.clone());
                self.work.spawn(work);
                self.running.push(running);
            }
        }
        let ready = self.running.iter().filter(|running| is_new(running) && running.is_ready()).count();
        let (mut new_left, mut old_left) = (count, count.saturating_sub(ready));
        self.running.retain(|running| {
            let left = if is_new(running) { &mut new_left } else { &mut old_left };
            let stays = *left > 0;
            *left = left.saturating_sub(1);
            if !stays {
                running.stop();
            }
            stays
        });
        if wanted.is_some() {
            let members: Vec<Arc<Instance>> = self.running.iter().filter_map(Running::instance).collect();
            let known = route.fleet.instances();
            let same =
                known.len() == members.len() && known.iter().zip(&members).all(|(a, b)| Arc::ptr_eq(a, b));
            if !same {
                route.fleet.replace(members);
            }
        }
    }

    /// Stops all of them, and waits until they are gone.
    pub(super) async fn stop(mut self) {
        self.running.iter().for_each(Running::stop);
        while self.work.join_next().await.is_some() {}
    }
}
