//! The batch part of the composition: the desk that takes jobs in, and the runner, on threads of its own that give way
//! to those that serve clients.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::issuers::Issuers;
use super::state::State;
use super::{Base, StartError};
use crate::artifacts::Opener;
use crate::batch::{Desk, Runner, Services, Tools};
use crate::gate::failures::Failures;
use crate::gate::jobs::JobGate;
use crate::identity::on_behalf_of::OnBehalfOf;
use crate::model::datastore::DEFAULT_STORE;
use crate::proxy::{Pipeline, worker};
use crate::settings::Settings;

/// How much less of the processor the runner's threads get when clients want it (nice(2)).
const NICE: i32 = 10;
/// Time for the runner to give up what it holds.
const GIVING_UP: Duration = Duration::from_secs(5);

/// What takes jobs in as one configuration has it.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) desk: Arc<Desk>,
}

impl Made {
    pub(super) fn of(base: &Base, state: &State, issuers: &Issuers) -> Result<Made, StartError> {
        let settings = &base.settings;
        let stores = store_directory(settings);
        let opener = Opener::new(settings, stores.as_deref(), state.vault.clone(), &base.metrics);
        let on_behalf = match &settings.identity.on_behalf_of {
            Some(own) => Some(Arc::new(OnBehalfOf::new(own.clone(), base.clock.clone())?)),
            None => None,
        };
        let desk = Desk {
            jobs: state.jobs.clone(),
            audit: state.store.clone(),
            gate: JobGate { directory: issuers.directory.clone(), metrics: base.metrics.clone() },
            opener: Arc::new(opener.context("batch")?),
            on_behalf,
            vault: state.vault.clone(),
            clock: base.clock.clone(),
            limits: settings.limits.clone(),
            refusals: Arc::new(Failures::new(settings.limits.refusals)),
            wake: state.wake.clone(),
        };
        Ok(Made { desk: Arc::new(desk) })
    }

    /// What the runner carries jobs out with.
    fn tools(&self, pipeline: &Arc<Pipeline>) -> Tools {
        Tools {
            pipeline: pipeline.clone(),
            gate: self.desk.gate.clone(),
            opener: self.desk.opener.clone(),
            on_behalf: self.desk.on_behalf.clone(),
            limits: self.desk.limits.clone(),
        }
    }
}

/// Where the data stores are that workspaces have without anybody making them.
fn store_directory(settings: &Settings) -> Option<PathBuf> {
    settings.directory().map(|directory| directory.join("datastores").join(DEFAULT_STORE))
}

/// The runner at work.
#[derive(Debug)]
pub(super) struct BatchPlane {
    runner: Arc<Runner>,
    runtime: Option<Runtime>,
    stop: CancellationToken,
    running: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl BatchPlane {
    pub(super) fn start(
        base: &Base,
        state: &State,
        made: &Made,
        pipeline: &Arc<Pipeline>,
    ) -> Result<BatchPlane, StartError> {
        let services = Services {
            jobs: state.jobs.clone(),
            audit: state.store.clone(),
            snapshot: state.publisher.cell().clone(),
            vault: state.vault.clone(),
            clock: base.clock.clone(),
            metrics: base.metrics.clone(),
            wake: state.wake.clone(),
            tools: ArcSwap::from_pointee(made.tools(pipeline)),
        };
        let runner = Runner::new(services);
        let workers = base.settings.data_plane.workers.max(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("batch")
            // On Linux the priority is the thread's own. Where it cannot be lowered, jobs compete as equals.
            .on_thread_start(move || {
                worker::enter(workers);
                let _ = rustix::process::setpriority_process(None, NICE);
            })
            .enable_all()
            .build()
            .context("the threads of batch jobs cannot be started")?;
        let stop = CancellationToken::new();
        let running = runtime.spawn(runner.clone().run(stop.clone()));
        let running = parking_lot::Mutex::new(Some(running));
        Ok(BatchPlane { runner, runtime: Some(runtime), stop, running })
    }

    /// Carries jobs out as another configuration has it.
    pub(super) fn take_up(&self, made: &Made, pipeline: &Arc<Pipeline>) {
        self.runner.take_up(made.tools(pipeline));
    }

    /// Begins nothing more, and gives up what is in the middle: another gateway, or the next start, takes it up.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let running = self.running.lock().take();
        if let Some(running) = running {
            // What could not be given up in time is taken up once its lease has ended.
            let _ = tokio::time::timeout(GIVING_UP, running).await;
        }
    }
}

impl Drop for BatchPlane {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
