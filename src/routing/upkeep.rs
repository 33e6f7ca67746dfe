//! What has to be done for a deployment's instances besides sending them requests.

use std::collections::BTreeMap;

use crate::model::backend::Origin;
use crate::model::deployment::{Deployment, Probe, Route};

/// A question that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How often, and how many answers decide.
    pub probe: Probe,
    /// Where; without it a connection is answer enough.
    pub route: Option<Route>,
}

/// The upkeep of one deployment's instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upkeep {
    /// Where they come from.
    pub origin: Origin,
    /// How many processes there are to be.
    pub count: usize,
    /// Variables of their environment.
    pub environment: BTreeMap<String, String>,
    /// Whether an instance lives.
    pub liveness: Option<Check>,
    /// Whether it is ready.
    pub readiness: Option<Check>,
}

impl Upkeep {
    /// The upkeep that a deployment declares. A route without a probe is asked as often as Azure does by default.
    pub fn of(deployment: &Deployment) -> Upkeep {
        let workload = &deployment.workload;
        let check = |probe: Option<Probe>, route: &Option<Route>| {
            let declared = probe.is_some() || route.is_some();
            declared.then(|| Check { probe: probe.unwrap_or_default(), route: route.clone() })
        };
        Upkeep {
            origin: deployment.backend.origin.clone(),
            count: workload.instance_count.unwrap_or(1).max(1) as usize,
            environment: workload.environment_variables.clone(),
            liveness: check(workload.liveness_probe, &deployment.liveness_route),
            readiness: check(workload.readiness_probe, &deployment.readiness_route),
        }
    }

    /// Whether instances are asked about themselves.
    pub fn has_checks(&self) -> bool {
        self.liveness.is_some() || self.readiness.is_some()
    }
}
