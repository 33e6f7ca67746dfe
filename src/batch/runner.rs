//! Carries jobs out: looks for jobs to lead and for mini-batches to score, keeps what it holds, gives it up at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::context::Context;
use super::mini_batch::MiniBatch;
use super::services::{Services, Tools};
use super::{lead, mini_batch};
use crate::model::scope::Scope;
use crate::store::StoreError;
use crate::store::jobs::{Claim, KeptJob, Outcome};

/// How often others' jobs are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How often some items of jobs that have ended are removed in one go.
const SWEEPS: u32 = 8;
/// Running jobs that are looked at in one round.
const RUNNING: u32 = 64;

/// Carries jobs out.
#[derive(Debug)]
pub struct Runner {
    /// Its name among the gateways of a store.
    holder: String,
    services: Arc<Services>,
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
        self.runner.services.metrics.batch_active.dec();
        let mut held = self.runner.held.lock();
        // A later try of it may be held here by now.
        if held.get(&self.key).is_some_and(|held| held.claim.attempt == self.attempt) {
            held.remove(&self.key);
        }
    }
}

impl Runner {
    /// A runner that does nothing yet.
    pub fn new(services: Services) -> Arc<Runner> {
        Arc::new(Runner {
            holder: Uuid::new_v4().to_string(),
            services: Arc::new(services),
            contexts: Mutex::default(),
            held: Mutex::default(),
            gateways: AtomicU32::new(1),
        })
    }

    /// Works by another configuration from now on.
    pub fn take_up(&self, tools: Tools) {
        self.services.tools.store(Arc::new(tools));
        // What was opened by the former is opened anew.
        self.contexts.lock().clear();
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
                () = self.services.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                Some(_) = work.join_next() => {}
                () = tokio::time::sleep_until(due) => {
                    due = Instant::now() + self.services.beat();
                    self.keep_claims().await;
                    self.say_present(self.services.until()).await;
                    self.sweep().await;
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
            let _ = self.services.jobs.settle(&claim, &Outcome::GivenUp).await;
        }
        self.say_present(0).await;
        while leads.join_next().await.is_some() {}
    }

    /// Removes what jobs that have ended left in the store, not too much at once.
    async fn sweep(&self) {
        for _ in 0..SWEEPS {
            match self.services.jobs.sweep().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    warn!(%error, "items of jobs that have ended are left for later");
                    break;
                }
            }
        }
    }

    /// Says that this gateway carries out jobs, and learns how many do.
    async fn say_present(&self, until: i64) {
        let times = (self.services.clock.unix_millis(), until);
        if let Ok(count) = self.services.jobs.present(&self.holder, times).await {
            self.gateways.store(u32::try_from(count).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
    }

    async fn take_leads(
        self: &Arc<Self>,
        leads: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        while leads.len() < self.services.tools().limits.batch_leads {
            let now = self.services.clock.unix_millis();
            let Some(lead) = self.services.jobs.lead(now, self.services.until()).await? else { break };
            leads.spawn(lead::drive(self.services.clone(), lead, stop.child_token()));
        }
        Ok(())
    }

    /// Takes up mini-batches of running jobs, in turns, as many as there is room for.
    async fn take_work(self: &Arc<Self>, work: &mut JoinSet<()>) -> Result<(), StoreError> {
        let most = self.services.tools().limits.batch_mini_batches;
        let running = self.services.jobs.running(RUNNING).await?;
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
                let times = (self.services.clock.unix_millis(), self.services.until());
                let claims = self.services.jobs.claim(&id, times, 1, in_all.max(1)).await?;
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
        self.services.metrics.batch_active.inc();
        let hold = Hold { runner: self.clone(), key, attempt: claim.attempt };
        work.spawn(async move {
            let mini_batch = MiniBatch { services: hold.runner.services.clone(), context, claim };
            tokio::select! {
                () = lost.cancelled() => {}
                () = mini_batch::score(mini_batch) => {}
            }
        });
    }

    /// Keeps what is held here, and drops what somebody else has by now.
    async fn keep_claims(&self) {
        let claims: Vec<Claim> = self.held.lock().values().map(|held| held.claim.clone()).collect();
        if claims.is_empty() {
            return;
        }
        match self.services.jobs.keep_claims(&claims, self.services.until()).await {
            Ok(lost) => {
                let held = self.held.lock();
                for claim in lost {
                    if let Some(held) = held.get(&(claim.job, claim.index))
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
