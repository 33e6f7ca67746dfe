//! Whether there is room: for the endpoint, and at the deployment's instances.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Gate;
use super::authorize::Permit;
use super::fault::{Fault, Reason};
use crate::identity::caller::Caller;
use crate::routing::{DeploymentRoute, EndpointRoute};

/// An authorized request with a place at its deployment: the only thing that can be sent to an instance.
/// Dropping it frees its places.
#[derive(Debug)]
pub struct Pass {
    permit: Permit,
    deployment: Arc<DeploymentRoute>,
    _endpoint: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
    _in_flight: Counted,
}

impl Pass {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<EndpointRoute> {
        self.permit.endpoint()
    }

    /// The deployment.
    pub fn deployment(&self) -> &Arc<DeploymentRoute> {
        &self.deployment
    }

    /// The principal that calls.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.permit.caller()
    }
}

/// A gauge that goes down by itself.
#[derive(Debug)]
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Gate {
    /// Gives a request its place at a deployment of its endpoint, after a bounded wait if need be.
    ///
    /// Dropping the future gives up the place in the queue.
    pub async fn admit(&self, permit: Permit, deployment: Arc<DeploymentRoute>) -> Result<Pass, Fault> {
        let full = |reason: Reason| {
            self.metrics.limit.with_label_values(&[reason.label()]).inc();
            Fault::new(reason)
        };
        let endpoint = permit.endpoint.in_flight.clone().try_acquire_owned();
        let endpoint = endpoint.map_err(|_| full(Reason::EndpointBusy))?;
        let place = match deployment.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => wait(&deployment).await.ok_or_else(|| full(Reason::TooManyPending))?,
        };
        let in_flight = Counted::new(&deployment.metrics.in_flight);
        Ok(Pass { permit, deployment, _endpoint: endpoint, _place: place, _in_flight: in_flight })
    }
}

/// Waits for a place, unless as many wait already as may.
async fn wait(deployment: &DeploymentRoute) -> Option<OwnedSemaphorePermit> {
    let _queue: OwnedSemaphorePermit = Arc::<Semaphore>::clone(&deployment.queue).try_acquire_owned().ok()?;
    let _counted = Counted::new(&deployment.metrics.queued);
    let place = deployment.places.clone().acquire_owned();
    tokio::time::timeout(deployment.max_queue_wait, place).await.ok()?.ok()
}
