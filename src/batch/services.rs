//! What jobs are carried out with: stores, clock and resources for as long as the gateway lives, and tools by its configuration.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::artifacts::Opener;
use crate::clock::Clock;
use crate::gate::jobs::JobGate;
use crate::identity::on_behalf_of::OnBehalfOf;
use crate::identity::vault::Vault;
use crate::proxy::Pipeline;
use crate::routing::SnapshotCell;
use crate::settings::Limits;
use crate::store::Store;
use crate::store::jobs::JobStore;
use crate::telemetry::metrics::Metrics;

/// What one configuration carries jobs out with.
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

/// What jobs are carried out with.
#[derive(Debug)]
pub struct Services {
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
    /// The tools of the configuration in force.
    pub tools: ArcSwap<Tools>,
}

impl Services {
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
}
