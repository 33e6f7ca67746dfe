//! From the store to the data plane: whenever the store changes, what changed is read, a snapshot is compiled from it
//! and from the one before, and swapped in whole.
//! If that fails, the last good snapshot stays in force and says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock::{Clock, rfc3339};
use crate::identity::vault::Vault;
use crate::model::audit::Deed;
use crate::model::deployment::Deployment;
use crate::resources::{ConvergeError, Directory, converge};
use crate::routing::{Changed, CompileError, Compiler, Snapshot, SnapshotCell};
use crate::store::{Batch, Committed, Contents, Revision, Store, StoreError};
use crate::telemetry::health::{Health, State};
use crate::telemetry::metrics::Metrics;

/// How often other processes' changes are looked for, and whether the store still answers.
const LOOK: Duration = Duration::from_millis(500);
/// How long a change may take to come into force.
const IN_FORCE: Duration = Duration::from_secs(10);
/// How often the files of the resources directory are looked at, without being read.
const GLANCE: Duration = Duration::from_millis(200);

/// Why what is stored or written is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not make a snapshot.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It is stored and did not come into force.
    #[error("revision {0} is stored but did not come into force; see the log")]
    Late(Revision),
    /// The documents are wrong.
    #[error(transparent)]
    Converge(#[from] ConvergeError),
}

/// Compiles the store's contents and puts them in force.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<dyn Store>,
    compiler: ArcSwap<Compiler>,
    /// Held while a snapshot is made.
    compiling: tokio::sync::Mutex<()>,
    cell: Arc<SnapshotCell>,
    contents: ArcSwap<Contents>,
    health: Health,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    in_force: watch::Sender<Revision>,
}

impl Publisher {
    /// Reads the store for the first time. If what it holds makes no snapshot, nothing is served and the gateway is
    /// not ready, until a change of resources mends it.
    pub async fn start(
        store: Arc<dyn Store>,
        compiler: Compiler,
        health: Health,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        max_age: Duration,
    ) -> Result<Publisher, PublishError> {
        let contents = store.contents().await?;
        let resources = contents.iter().map(|stored| &stored.resource);
        let (first, problem) = match compiler.compile(contents.revision, resources, None, None) {
            Ok(first) => (first, None),
            Err(problem) => (compiler.compile(0, std::iter::empty(), None, None)?, Some(problem)),
        };
        let (compiler, compiling) = (ArcSwap::from_pointee(compiler), tokio::sync::Mutex::default());
        let in_force = watch::Sender::new(first.revision);
        let cell = Arc::new(SnapshotCell::new(first, max_age));
        let contents = ArcSwap::from_pointee(contents);
        let publisher =
            Publisher { store, compiler, compiling, cell, contents, health, metrics, clock, in_force };
        publisher.tell(&publisher.cell.load());
        if let Some(problem) = problem {
            error!(error = %problem, "the stored resources do not make a snapshot; nothing is served until they do");
            publisher.health.set("snapshot", State::Failing(problem.to_string()));
        }
        Ok(publisher)
    }

    /// The snapshot in force.
    pub fn cell(&self) -> &Arc<SnapshotCell> {
        &self.cell
    }

    /// Everything in the store, as of the snapshot in force or a moment before.
    pub fn contents(&self) -> Arc<Contents> {
        self.contents.load_full()
    }

    /// Whether a deployment could be put in force.
    pub fn check(&self, deployment: &Deployment) -> Result<(), CompileError> {
        self.compiler.load().check(deployment)
    }

    /// Follows the store for ever.
    pub async fn run(self: Arc<Self>) {
        let mut feed = self.store.feed();
        let mut bad = None;
        loop {
            match self.refresh(&mut bad).await {
                Ok(()) => {}
                Err(problem @ PublishError::Store(StoreError::Unavailable(_))) => {
                    bad = None;
                    self.metrics.store_up.set(0);
                    warn!(error = %problem, "the store does not answer; the snapshot in force stays");
                    self.health.set("store", State::Degraded(problem.to_string()));
                }
                Err(problem) => {
                    self.metrics.snapshot_failures.inc();
                    error!(error = %problem, "the resources do not make a snapshot; the last good one stays in force");
                    let state = if self.cell.load().revision == 0 { State::Failing } else { State::Degraded };
                    self.health.set("snapshot", state(problem.to_string()));
                }
            }
            if self.cell.fresh().is_none() {
                let text = "the store has not answered for too long; requests are answered 503";
                self.health.set("snapshot", State::Failing(text.to_owned()));
            }
            tokio::select! {
                _ = feed.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// `bad` is the revision that did not make a snapshot, which is not tried twice.
    async fn refresh(&self, bad: &mut Option<Revision>) -> Result<(), PublishError> {
        let revision = self.store.revision().await?;
        self.metrics.store_up.set(1);
        self.health.set("store", State::Good(format!("revision {revision}")));
        let known = self.cell.load().revision;
        if revision == known {
            self.cell.confirm();
            self.in_force.send_if_modified(|current| std::mem::replace(current, revision) != revision);
            return Ok(());
        }
        if *bad == Some(revision) {
            // The snapshot in force ages: rights that were taken away since must not hold for ever.
            return Ok(());
        }
        *bad = Some(revision);
        let _one = self.compiling.lock().await;
        let known = self.contents();
        let delta = self.store.since(known.revision).await?;
        let everything = if delta.is_none() { Some(self.store.contents().await?) } else { None };
        let (compiler, previous) = (self.compiler.load_full(), Arc::clone(&self.cell.load()));
        // Not on a thread that others wait for: meanwhile further changes are stored, and the next round has them all.
        let compiling = tokio::task::spawn_blocking(move || {
            let changed = delta.as_ref().map(Changed::of);
            let contents = match (delta, everything) {
                (Some(delta), _) => known.after(delta),
                (None, everything) => everything.unwrap_or_default(),
            };
            let each = contents.iter().map(|stored| &stored.resource);
            let next = compiler.compile(contents.revision, each, Some(&previous), changed.as_ref());
            next.map(|next| (contents, next))
        });
        let (contents, next) = compiling.await.map_err(|_| CompileError::Defect)??;
        self.tell(&next);
        let revision = contents.revision;
        self.contents.store(Arc::new(contents));
        self.cell.swap(next);
        *bad = None;
        self.in_force.send_replace(revision);
        info!(revision, "resources are in force");
        Ok(())
    }

    /// Compiles what is in force anew, by other settings; if that fails, nothing has changed.
    pub async fn recompile(&self, compiler: Compiler) -> Result<(), PublishError> {
        let _one = self.compiling.lock().await;
        let (compiler, contents) = (Arc::new(compiler), self.contents());
        let (compiling, previous) = (compiler.clone(), Arc::clone(&self.cell.load()));
        let compiling = tokio::task::spawn_blocking(move || {
            let each = contents.iter().map(|stored| &stored.resource);
            compiling.compile(contents.revision, each, Some(&previous), None)
        });
        let next = compiling.await.map_err(|_| CompileError::Defect)??;
        self.tell(&next);
        self.compiler.store(compiler);
        self.cell.replace(next);
        Ok(())
    }

    /// Commits a batch and waits until it is in force.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, PublishError> {
        let committed = self.store.commit(batch).await?;
        let revision = committed.revision;
        let began = Instant::now();
        let in_force = tokio::time::timeout(IN_FORCE, self.wait_for(revision)).await;
        in_force.map_err(|_| PublishError::Late(revision))?;
        self.metrics.in_force.observe(began.elapsed().as_secs_f64());
        Ok(committed)
    }

    fn tell(&self, snapshot: &Snapshot) {
        self.metrics.snapshot_revision.set(i64::try_from(snapshot.revision).unwrap_or(i64::MAX));
        let inert = snapshot.policy.inert();
        self.metrics.inert_assignments.set(i64::try_from(inert.len()).unwrap_or(i64::MAX));
        for grant in inert.iter().take(20) {
            warn!(assignment = %grant.assignment, reason = %grant.reason, "a role assignment grants nothing");
        }
        let text = format!("revision {}, {} endpoints", snapshot.revision, snapshot.endpoints.len());
        self.metrics.broken_resources.set(i64::try_from(snapshot.problems.len()).unwrap_or(i64::MAX));
        for problem in snapshot.problems.iter().take(20) {
            error!(error = %problem, "a resource cannot be used; the others are in force");
        }
        let state = match snapshot.problems.first() {
            None => State::Good(text),
            Some(problem) => State::Degraded(format!("{text}; not in force: {problem}")),
        };
        self.health.set("snapshot", state);
    }

    /// The revision in force, now and whenever another one is.
    pub fn in_force(&self) -> watch::Receiver<Revision> {
        self.in_force.subscribe()
    }

    /// Waits until a revision, or a later one, is in force.
    pub async fn wait_for(&self, revision: Revision) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.in_force.subscribe().wait_for(|current| *current >= revision).await;
    }

    /// Makes the store agree with a directory, whole or not at all, and waits until that is in force.
    pub async fn converge(&self, directory: &Directory, vault: &Vault) -> Result<usize, PublishError> {
        let documents = directory.read().map_err(ConvergeError::from)?;
        let contents = self.store.contents().await?;
        let converged = converge(documents, &contents, vault)?;
        // What would not compile is not stored in the first place.
        let trial = self.compiler.load().compile(
            contents.revision,
            converged.resources.iter(),
            Some(&self.cell.load()),
            None,
        )?;
        let known = self.cell.load();
        if let Some(problem) = trial.problems.into_iter().find(|problem| !known.problems.contains(problem)) {
            return Err(problem.into());
        }
        drop(known);
        let count = converged.changes.len();
        if count > 0 {
            let (part, action) = ("resources directory", "Scoregate.Gateway/resources/write");
            let place = directory.path().display().to_string();
            let deed = Deed::of_gateway(part, action, &place, rfc3339(self.clock.unix()));
            self.commit(Batch { changes: converged.changes, deed }).await?;
        }
        Ok(count)
    }

    /// Follows a directory for ever: converges it whenever its files change, keeps the last good state if they are wrong.
    pub async fn follow(self: Arc<Self>, directory: Directory, vault: Arc<Vault>) {
        let (mut seen, mut before) = (None, None);
        loop {
            let now = directory.fingerprint();
            // What changes between two looks is still being written.
            let settled = before.as_ref() == Some(&now);
            before = Some(now.clone());
            if settled && seen.as_ref() != Some(&now) {
                let result = match &now {
                    Ok(_) => self.converge(&directory, &vault).await,
                    Err(mistakes) => Err(ConvergeError::from(mistakes.clone()).into()),
                };
                match result {
                    Ok(changes) => {
                        self.metrics.resources_ok.set(1);
                        info!(directory = %directory.path().display(), changes, "the resources directory is in force");
                        self.health.set(
                            "resources",
                            State::Good(format!("{} is in force", directory.path().display())),
                        );
                        seen = Some(now);
                    }
                    Err(problem) => {
                        self.metrics.resources_ok.set(0);
                        self.metrics.resources_failures.inc();
                        error!(error = %problem, "the resources directory is wrong; what was in force stays");
                        self.health.set("resources", State::Degraded(problem.to_string()));
                        // What failed for want of the store is tried again; what is wrong waits for a change.
                        let again = matches!(
                            problem,
                            PublishError::Store(StoreError::Unavailable(_) | StoreError::Conflict { .. })
                                | PublishError::Late(_)
                        );
                        seen = if again { None } else { Some(now) };
                    }
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}
