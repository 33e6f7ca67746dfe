//! Whether there is room: for the endpoint, and at one of the deployment's instances.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

use super::Gate;
use super::authorize::Permit;
use super::fault::{Fault, Reason};
use crate::identity::caller::Caller;
use crate::routing::{DeploymentRoute, UsedUp};
use crate::upstream::{Instance, Lease, NoPlace};

/// An authorized request with a place at an instance: the only thing that can be sent to one.
/// Dropping it frees its places.
#[derive(Debug)]
pub struct Pass {
    permit: Permit,
    deployment: Arc<DeploymentRoute>,
    lease: Lease,
    _endpoint: OwnedSemaphorePermit,
    _in_flight: Counted,
}

impl Pass {
    /// The deployment.
    pub fn deployment(&self) -> &Arc<DeploymentRoute> {
        &self.deployment
    }

    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        self.lease.instance()
    }

    /// The right that it was admitted by.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The principal that calls.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.permit.caller()
    }

    /// Takes another place, because the instance failed: elsewhere if there is an elsewhere.
    pub fn move_on(&mut self) {
        self.deployment.fleet.move_on(&mut self.lease);
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

fn no_place(why: NoPlace) -> Fault {
    match why {
        NoPlace::NoInstance => Reason::NoInstance.into(),
        NoPlace::Full => Reason::TooManyPending.into(),
    }
}

impl Gate {
    /// Gives a request its place at an instance of a deployment of its endpoint, after a bounded wait if need be.
    ///
    /// Dropping the future gives up the place in the queue.
    pub async fn admit(&self, permit: Permit, deployment: Arc<DeploymentRoute>) -> Result<Pass, Fault> {
        let full = |fault: Fault| {
            if fault.reason != Reason::NoInstance {
                self.metrics.limit.with_label_values(&[fault.reason.label()]).inc();
            }
            fault
        };
        Self::within_rates(&permit).map_err(full)?;
        let endpoint = permit.endpoint.in_flight.clone().try_acquire_owned();
        let endpoint = endpoint.map_err(|_| full(Reason::EndpointBusy.into()))?;
        let lease = deployment.fleet.place().await.map_err(|why| full(no_place(why)))?;
        let in_flight = Counted::new(&deployment.metrics.in_flight);
        Ok(Pass { permit, deployment, lease, _endpoint: endpoint, _in_flight: in_flight })
    }

    /// Whether the endpoint, and the caller, have requests left in this second.
    fn within_rates(permit: &Permit) -> Result<(), Fault> {
        let rates = &permit.endpoint.rates;
        rates.admit(permit.payer()).map_err(|used_up| match used_up {
            UsedUp::All(wait) => {
                let message = format!("the endpoint takes {} requests in a second; slow down", rates.all);
                Fault::new(Reason::EndpointRate).message(message).after(wait)
            }
            UsedUp::Each(wait) => {
                let message = format!(
                    "the endpoint takes {} requests in a second from one caller; slow down",
                    rates.each
                );
                Fault::new(Reason::PrincipalRate).message(message).after(wait)
            }
        })
    }
}
