//! The instances of a deployment: which of them takes the next request, and who waits until one can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::choice::{Candidate, choose};
use super::instance::{Instance, Lease};
use super::outlier::outliers;
use super::reach::Reach;
use super::standing::Out;
use crate::model::backend::InstanceUrl;
use crate::telemetry::metrics::DeploymentMetrics;

/// The instances there are, replaced as a whole.
pub type Members = Arc<ArcSwap<Vec<Arc<Instance>>>>;

/// What the instances of a deployment share, and what outlives every one of them.
#[derive(Debug, Default)]
pub struct Crowd {
    turn: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    /// One at a time is ejected, so that never all of them are.
    ejecting: Mutex<()>,
}

/// The rules of a deployment's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetRules {
    /// Requests that one instance works on at once.
    pub each: u32,
    /// Or as many as are found to be good for it, if that is less.
    pub adaptive: bool,
    /// How long a request waits for a place.
    pub wait: Duration,
    /// How long an instance that came back is spared.
    pub warm_up: Duration,
    /// Failures in a row after which an instance gets no requests.
    pub eject_failures: u32,
    /// For how long the first time; twice as long every next time.
    pub eject_time: Duration,
    /// The longest.
    pub eject_time_max: Duration,
}

/// The instances of one deployment, as they are now.
#[derive(Debug)]
pub struct Fleet {
    members: Members,
    crowd: Arc<Crowd>,
    reach: Arc<Reach>,
    rules: FleetRules,
    metrics: Arc<DeploymentMetrics>,
}

/// Why a request has no place at an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// There is no instance, or none that gets requests.
    NoInstance,
    /// All work on as much as they can, and as many wait as may, or for as long.
    Full,
}

impl Crowd {
    pub(super) fn freed(&self) {
        // In one order with the waiter's own look, or both could look past each other.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

/// One that waits; counted until it is dropped.
struct Waiting<'a>(&'a Fleet);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.crowd.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.metrics.queued.dec();
    }
}

impl Fleet {
    /// A fleet without instances. `before` hands on whose turn it is and who waits.
    pub fn new(
        reach: Reach,
        rules: FleetRules,
        metrics: Arc<DeploymentMetrics>,
        before: Option<&Fleet>,
    ) -> Fleet {
        Fleet {
            members: Arc::default(),
            crowd: before.map_or_else(Arc::default, |before| before.crowd.clone()),
            reach: Arc::new(reach),
            rules,
            metrics,
        }
    }

    /// With the instances at these addresses, those that `before` had among them; the error says what cannot be used.
    pub fn with(self, urls: &[InstanceUrl], before: Option<&Fleet>) -> (Fleet, Vec<String>) {
        let mut problems = Vec::new();
        let each = urls
            .iter()
            .filter_map(|url| self.member(url, None, before).map_err(|why| problems.push(why)).ok());
        self.members.store(Arc::new(each.collect()));
        (self, problems)
    }

    /// With whatever instances `before` has, now and later.
    #[must_use]
    pub fn sharing(self, before: Option<&Fleet>) -> Fleet {
        Fleet { members: before.map_or(self.members, |before| before.members.clone()), ..self }
    }

    /// The instance at this address: the one that `before` had, if it is reached in the same way, else a new one.
    pub fn member(
        &self,
        url: &InstanceUrl,
        address: Option<SocketAddr>,
        before: Option<&Fleet>,
    ) -> Result<Arc<Instance>, String> {
        let known = before.filter(|before| before.reach.is_same(&self.reach)).map(Fleet::instances);
        let known = known.into_iter().flat_map(|known| known.iter().cloned().collect::<Vec<_>>());
        let found = known.into_iter().find(|instance| instance.url == *url && instance.address == address);
        match found {
            Some(instance) => Ok(instance),
            None => Instance::new(url, address, &self.reach, self.crowd.clone()).map(Arc::new),
        }
    }

    /// The instances there are.
    pub fn instances(&self) -> Arc<Vec<Arc<Instance>>> {
        self.members.load_full()
    }

    /// Puts other instances in the place of those there are.
    pub fn replace(&self, instances: Vec<Arc<Instance>>) {
        self.members.store(Arc::new(instances));
        self.crowd.freed.notify_waiters();
    }

    /// A reason against an instance is gone; whoever waits may try it.
    pub fn withdraw(&self, instance: &Instance, why: Out) {
        if instance.standing.withdraw(why) {
            self.crowd.freed.notify_waiters();
        }
    }

    /// The rules.
    pub fn rules(&self) -> &FleetRules {
        &self.rules
    }

    /// Requests that an instance works on at once.
    fn most(&self, instance: &Instance) -> u32 {
        if self.rules.adaptive { self.rules.each.min(instance.knee()) } else { self.rules.each }
    }

    /// A place at the instance that is best placed to take one more request; never at `except`.
    fn lease(&self, except: Option<&Arc<Instance>>) -> Result<Lease, NoPlace> {
        let members = self.members.load();
        if let ([only], None) = (members.as_slice(), except) {
            // Failures alone never close the last one.
            let open = only.is_in() || only.is_only_ejected();
            return if open {
                only.lease(self.most(only)).ok_or(NoPlace::Full)
            } else {
                Err(NoPlace::NoInstance)
            };
        }
        let turn = self.crowd.turn.fetch_add(1, Ordering::Relaxed);
        let passed_over =
            |instance: &Arc<Instance>| except.is_some_and(|except| Arc::ptr_eq(except, instance));
        let mut why = NoPlace::NoInstance;
        // An instance that was ejected is better than none, and than the one that has just failed.
        for open in [Instance::is_in as fn(&Instance) -> bool, Instance::is_only_ejected] {
            let is_open = |instance: &Arc<Instance>| open(instance) && !passed_over(instance);
            if !members.iter().any(is_open) {
                continue;
            }
            why = NoPlace::Full;
            let candidate = |instance: &Arc<Instance>| Candidate {
                in_flight: instance.in_flight(),
                most: self.most(instance),
                latency: instance.standing.latency(),
                back_for: instance.standing.back_for(),
            };
            let candidate = |at: usize| members.get(at).filter(|one| is_open(one)).map(candidate);
            // Another worker may take the last place between look and grasp.
            for _ in 0..3 {
                let chosen = choose(members.len(), candidate, turn, self.rules.warm_up);
                let Some(instance) = chosen.and_then(|at| members.get(at)) else { break };
                if let Some(lease) = instance.lease(self.most(instance)) {
                    return Ok(lease);
                }
            }
            // Who is not being sent elsewhere waits for an instance that is well.
            if except.is_none() {
                break;
            }
        }
        Err(why)
    }

    /// A place at an instance at once or not at all, and only if nobody waits for one.
    pub fn place_at_once(&self) -> Result<Lease, NoPlace> {
        if self.crowd.waiting.load(Ordering::Relaxed) > 0 { Err(NoPlace::Full) } else { self.lease(None) }
    }

    /// A place at an instance, after a bounded wait if need be. Dropping the future gives up the place in the queue.
    pub async fn place(&self) -> Result<Lease, NoPlace> {
        // Who comes now does not overtake who waits already.
        if self.crowd.waiting.load(Ordering::Relaxed) == 0 {
            match self.lease(None) {
                Err(NoPlace::Full) => {}
                decided => return decided,
            }
        }
        let most = (self.rules.each as usize).saturating_mul(self.members.load().len().max(1));
        let before = self.crowd.waiting.fetch_add(1, Ordering::SeqCst);
        self.metrics.queued.inc();
        let _waiting = Waiting(self);
        if before >= most {
            return Err(NoPlace::Full);
        }
        let until = Instant::now() + self.rules.wait;
        loop {
            let freed = self.crowd.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // From here on nothing that is freed is missed.
            freed.as_mut().enable();
            match self.lease(None) {
                Err(NoPlace::Full) => {}
                decided => return decided,
            }
            tokio::time::timeout_at(until.into(), freed).await.map_err(|_| NoPlace::Full)?;
        }
    }

    /// Exchanges the place of a request that failed for one elsewhere, if there is one to be had at once.
    pub fn move_on(&self, lease: &mut Lease) {
        if let Ok(other) = self.lease(Some(&lease.instance().clone())) {
            *lease = other;
        }
    }

    /// An instance began to answer with this status, after this long.
    pub fn answered(&self, instance: &Instance, after: Duration, status: http::StatusCode) {
        instance.answered(after, status);
        if self.rules.adaptive {
            instance.learn(after);
        }
    }

    /// An instance's answer came to its end. One that was ejected, and asked for want of a better one, is back.
    pub fn finished(&self, instance: &Instance) {
        instance.standing.finished();
        if instance.standing.is(Out::Ejected) {
            self.tried(instance, true);
        }
    }

    /// An instance could not be reached, broke off or did not answer in time.
    pub fn failed(&self, instance: &Arc<Instance>) {
        if instance.standing.failed() >= self.rules.eject_failures && !instance.standing.is(Out::Ejected) {
            self.eject(instance, "consecutive_failures");
        }
    }

    /// Ejects instances that fail much more often than the others did since this was asked last.
    pub fn compare(&self) {
        let members = self.members.load();
        let counts: Vec<(u32, u32)> =
            members.iter().map(|instance| instance.standing.take_counts()).collect();
        for at in outliers(&counts) {
            if let Some(instance) = members.get(at).filter(|instance| instance.standing.is_in()) {
                self.eject(instance, "success_rate");
            }
        }
    }

    /// Gives an instance no requests for a while, unless it is the last one.
    fn eject(&self, instance: &Arc<Instance>, reason: &'static str) {
        let _one = self.crowd.ejecting.lock();
        let others =
            self.members.load().iter().any(|other| !Arc::ptr_eq(other, instance) && other.standing.is_in());
        if others && instance.standing.take_out(Out::Ejected) {
            let mut ejected = instance.ejected.lock();
            let time =
                self.rules.eject_time.saturating_mul(1 << ejected.1.min(16)).min(self.rules.eject_time_max);
            *ejected = (Some(Instant::now() + time), ejected.1 + 1);
            self.metrics.ejected(reason);
        }
    }

    /// Whether an ejected instance has been away for long enough to be tried.
    pub fn may_return(&self, instance: &Instance) -> bool {
        instance.standing.is(Out::Ejected)
            && instance.ejected.lock().0.is_none_or(|until| until <= Instant::now())
    }

    /// An ejected instance was tried: it is back, or stays away for as long again.
    pub fn tried(&self, instance: &Instance, good: bool) {
        if good {
            instance.ejected.lock().0 = None;
            self.withdraw(instance, Out::Ejected);
        } else {
            let again = Instant::now() + self.rules.eject_time;
            instance.ejected.lock().0 = Some(again);
        }
    }

    /// Forgets past ejections of instances that have been well for as long as an ejection lasts at most.
    pub fn forgive(&self) {
        for instance in self.members.load().iter() {
            if instance.standing.back_for().is_some_and(|time| time > self.rules.eject_time_max) {
                instance.ejected.lock().1 = 0;
            }
        }
    }
}
