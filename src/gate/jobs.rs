//! Whether a job may be, and may go on: its owner's rights, all in one decision.

use std::sync::Arc;

use super::authorize::Permit;
use crate::identity::caller::{Caller, Groups};
use crate::identity::directory::Directory;
use crate::model::job::Grounds;
use crate::rbac::Policy;
use crate::rbac::job::{Missing, Right};
use crate::routing::{EndpointRoute, Snapshot};
use crate::telemetry::metrics::Metrics;

/// Judges jobs.
#[derive(Debug, Clone)]
pub struct JobGate {
    /// Knows groups that do not fit into a token.
    pub directory: Option<Arc<Directory>>,
    /// Counts decisions.
    pub metrics: Metrics,
}

/// Why a job may not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// Its owner has not these rights.
    Rights(Vec<Missing>),
    /// The owner's groups cannot be looked up at present.
    Unavailable,
}

impl JobGate {
    /// Judges the rights that a job of a batch endpoint needs. With the permit its requests can be sent.
    ///
    /// Waits only for the directory; dropping the future has no effect.
    pub async fn authorize(
        &self,
        snapshot: &Snapshot,
        endpoint: &Arc<EndpointRoute>,
        caller: &Arc<Caller>,
        rights: &[Right],
    ) -> Result<(Permit, Vec<Grounds>), Lacking> {
        let grounds = self.judge(&snapshot.policy, caller, rights).await?;
        Ok((Permit::of_job(endpoint, caller), grounds))
    }

    /// Judges some of the rights of a job, or of somebody who looks at one, all in one decision.
    ///
    /// Waits only for the directory; dropping the future has no effect.
    pub async fn judge(
        &self,
        policy: &Policy,
        caller: &Caller,
        rights: &[Right],
    ) -> Result<Vec<Grounds>, Lacking> {
        let direct = policy.grounds(caller.principals(None), rights);
        let settled = match (&caller.groups, &direct) {
            (Groups::Known(_), _) => true,
            // A group could still be denied what the caller itself is granted.
            (Groups::Overage, Ok(_)) => !policy.has_denials(),
            (Groups::Overage, Err(_)) => false,
        };
        let judged = if settled {
            direct
        } else {
            let directory = self.directory.as_ref().ok_or(Lacking::Unavailable)?;
            let groups = directory.groups(caller).await.map_err(|_| Lacking::Unavailable)?;
            policy.grounds(caller.principals(Some(&groups)), rights)
        };
        let word = match &judged {
            Ok(_) => "allowed",
            Err(missing) if missing.iter().any(|missing| missing.denied_by.is_some()) => "denied",
            Err(_) => "not_granted",
        };
        self.metrics.decisions.with_label_values(&[word]).inc();
        judged.map_err(Lacking::Rights)
    }
}
