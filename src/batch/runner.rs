//! Carries jobs out: looks for jobs to lead and for mini-batches to score, keeps what it holds, gives it up at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::mini_batch::{Context, MiniBatch};
use super::{lead, mini_batch};
use crate::artifacts::Opener;
use crate::clock::Clock;
use crate::gate::jobs::JobGate;
use crate::identity::on_behalf_of::OnBehalfOf;
use crate::identity::vault::Vault;
use crate::model::scope::Scope;
use crate::proxy::Pipeline;
use crate::routing::SnapshotCell;
use crate::settings::Limits;
use crate::store::jobs::{Claim, JobStore, KeptJob, Outcome};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How often others' jobs are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Running jobs that are looked at in one round.
const RUNNING: u32 = 64;

/// What jobs are carried out with; another configuration has others.
#[derive(Debug)]
pub struct Tools {
    /// The gateway's own way to instances.
    pub pipeline: Arc<Pipeline>,
    /// Judges owners.
    pub gate: JobGate,
    /// Opens inputs and outputs.
    pub opener: Arc<Opener>,
    /// Gets tokens for storage as the owner, if that is set up.
    pub on_behalf: Option<Arc<OnBehalfOf>>,
    /// How much there may be.
    pub limits: Limits,
}

/// Carries jobs out.
#[derive(Debug)]
pub struct Runner {
    /// Its name among the gateways of a store.
    pub(super) holder: String,
    pub(super) jobs: Arc<dyn JobStore>,
    pub(super) audit: Arc<dyn Store>,
    pub(super) snapshot: Arc<SnapshotCell>,
    pub(super) vault: Arc<Vault>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    tools: ArcSwap<Tools>,
    pub(super) wake: Arc<Notify>,
    /// Jobs that are worked on here.
    contexts: Mutex<HashMap<Scope, Arc<Context>>>,
    held: Mutex<HashMap<(Scope, u64), Held>>,
    /// How many gateways carry out jobs, as of the last look.
    gateways: AtomicU32,
}

/// A mini-batch that is worked on here.
#[derive(Debug)]
struct Held {
    claim: Claim,
    /// Cancelled once somebody else has it.
    lost: CancellationToken,
}

/// A mini-batch is held here until this is dropped, however its work ends.
struct Hold {
    runner: Arc<Runner>,
    key: (Scope, u64),
    attempt: u32,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.runner.metrics.batch_active.dec();
        let mut held = self.runner.held.lock();
        // A later try of it may be held here by now.
        if held.get(&self.key).is_some_and(|held| held.claim.attempt == self.attempt) {
            held.remove(&self.key);
        }
    }
}

/// What a runner works with for as long as the gateway lives.
#[derive(Debug)]
pub struct Parts {
    /// Where jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// Where deeds are recorded.
    pub audit: Arc<dyn Store>,
    /// The resources in force.
    pub snapshot: Arc<SnapshotCell>,
    /// Opens what is sealed to jobs, signs manifests.
    pub vault: Arc<Vault>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where work is counted.
    pub metrics: Metrics,
    /// Tells of new jobs.
    pub wake: Arc<Notify>,
}

impl Runner {
    /// A runner that does nothing yet.
    pub fn new(parts: Parts, tools: Tools) -> Arc<Runner> {
        let Parts { jobs, audit, snapshot, vault, clock, metrics, wake } = parts;
        Arc::new(Runner {
            holder: Uuid::new_v4().to_string(),
            jobs,
            audit,
            snapshot,
            vault,
            clock,
            metrics,
            tools: ArcSwap::from_pointee(tools),
            wake,
            contexts: Mutex::default(),
            held: Mutex::default(),
            gateways: AtomicU32::new(1),
        })
    }

    /// Works by another configuration from now on.
    pub fn take_up(&self, tools: Tools) {
        self.tools.store(Arc::new(tools));
        // What was opened by the former is opened anew.
        self.contexts.lock().clear();
    }

    pub(super) fn tools(&self) -> Arc<Tools> {
        self.tools.load_full()
    }

    /// Until when what is taken now is held, Unix milliseconds.
    pub(super) fn until(&self) -> i64 {
        let lease = self.tools().limits.batch_lease.as_millis();
        self.clock.unix_millis().saturating_add(i64::try_from(lease).unwrap_or(i64::MAX / 4))
    }

    /// How often what is held has to be kept.
    pub(super) fn beat(&self) -> Duration {
        self.tools().limits.batch_lease / 4
    }

    /// Works until it is stopped, and gives up what it holds then.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (mut leads, mut work) = (JoinSet::new(), JoinSet::new());
        let mut due = Instant::now();
        loop {
            let round = async {
                self.take_leads(&mut leads, &stop).await?;
                self.take_work(&mut work).await
            };
            if let Err(error) = round.await {
                warn!(%error, "the store does not answer; jobs wait");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                Some(_) = work.join_next() => {}
                () = tokio::time::sleep_until(due) => {
                    due = Instant::now() + self.beat();
                    self.keep_claims().await;
                    self.say_present(self.until()).await;
                }
            }
            while leads.try_join_next().is_some() {}
            while work.try_join_next().is_some() {}
        }
        // What is in the middle of a mini-batch is dropped and given up; the leads end by themselves.
        let held: Vec<Claim> = self.held.lock().drain().map(|(_, held)| held.claim).collect();
        work.shutdown().await;
        for claim in held {
            // Whoever takes it up waits until the lease ends, if this fails.
            let _ = self.jobs.settle(&claim, &Outcome::GivenUp).await;
        }
        self.say_present(0).await;
        while leads.join_next().await.is_some() {}
    }

    /// Says that this gateway carries out jobs, and learns how many do.
    async fn say_present(&self, until: i64) {
        let times = (self.clock.unix_millis(), until);
        if let Ok(count) = self.jobs.present(&self.holder, times).await {
            self.gateways.store(u32::try_from(count).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
    }

    async fn take_leads(
        self: &Arc<Self>,
        leads: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        while leads.len() < self.tools().limits.batch_leads {
            let now = self.clock.unix_millis();
            let Some(lead) = self.jobs.lead(now, self.until()).await? else { break };
            leads.spawn(lead::drive(self.clone(), lead, stop.child_token()));
        }
        Ok(())
    }

    /// Takes up mini-batches of running jobs, in turns, as many as there is room for.
    async fn take_work(self: &Arc<Self>, work: &mut JoinSet<()>) -> Result<(), StoreError> {
        let most = self.tools().limits.batch_mini_batches;
        let running = self.jobs.running(RUNNING).await?;
        let all = running.len() < RUNNING as usize;
        let with_id = |job: KeptJob| job.spec.scope().ok().map(|id| (job, id));
        let mut open: Vec<(KeptJob, Scope)> = running.into_iter().filter_map(with_id).collect();
        let runs = |id: &Scope| open.iter().any(|(_, running)| running == id);
        self.contexts.lock().retain(|id, _| runs(id));
        if all {
            // What a job has no use for any more is broken off.
            let held = self.held.lock();
            held.values().filter(|held| !runs(&held.claim.job)).for_each(|held| held.lost.cancel());
        }
        while work.len() < most && !open.is_empty() {
            let mut still = Vec::with_capacity(open.len());
            for (job, id) in open {
                if work.len() >= most {
                    return Ok(());
                }
                let settings = &job.spec.settings;
                let in_all = settings.max_concurrency_per_instance.saturating_mul(settings.instance_count);
                // Every gateway gets its share, although those that look first could take it all.
                let share = in_all.max(1).div_ceil(self.gateways.load(Ordering::Relaxed));
                let held = self.held.lock().keys().filter(|(job, _)| *job == id).count();
                if held >= share as usize {
                    continue;
                }
                let times = (self.clock.unix_millis(), self.until());
                let claims = self.jobs.claim(&id, times, 1, in_all.max(1)).await?;
                if claims.is_empty() {
                    continue;
                }
                for claim in claims {
                    self.begin(work, &job, &id, claim);
                }
                still.push((job, id));
            }
            open = still;
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, work: &mut JoinSet<()>, job: &KeptJob, id: &Scope, claim: Claim) {
        let context = self
            .contexts
            .lock()
            .entry(id.clone())
            .or_insert_with(|| Arc::new(Context::new(job.clone(), id.clone())))
            .clone();
        let key = (id.clone(), claim.index);
        let lost = CancellationToken::new();
        let held = Held { claim: claim.clone(), lost: lost.clone() };
        if let Some(former) = self.held.lock().insert(key.clone(), held) {
            former.lost.cancel();
        }
        self.metrics.batch_active.inc();
        let hold = Hold { runner: self.clone(), key, attempt: claim.attempt };
        work.spawn(async move {
            let mini_batch = MiniBatch { runner: hold.runner.clone(), context, claim };
            tokio::select! {
                () = lost.cancelled() => {}
                () = mini_batch::score(mini_batch) => {}
            }
        });
    }

    /// Keeps what is held here, and drops what somebody else has by now.
    async fn keep_claims(&self) {
        let mut by_job: HashMap<Scope, Vec<Claim>> = HashMap::new();
        for held in self.held.lock().values() {
            by_job.entry(held.claim.job.clone()).or_default().push(held.claim.clone());
        }
        for (job, claims) in by_job {
            match self.jobs.keep_claims(&claims, self.until()).await {
                Ok(kept) => {
                    let held = self.held.lock();
                    for claim in claims.iter().filter(|claim| !kept.contains(&claim.index)) {
                        if let Some(held) = held.get(&(job.clone(), claim.index))
                            && held.claim.attempt == claim.attempt
                        {
                            held.lost.cancel();
                        }
                    }
                }
                Err(error) => {
                    warn!(%error, "mini-batches could not be kept; they go on until somebody takes them");
                }
            }
        }
    }
}
