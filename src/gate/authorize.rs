//! Whether the caller may score the endpoint, by Azure RBAC.

use std::sync::Arc;

use http::StatusCode;

use super::Gate;
use super::authenticate::{Authenticated, Who};
use super::fault::{Fault, Reason};
use crate::identity::caller::{Caller, Groups};
use crate::identity::endpoint_key::KeySlot;
use crate::rbac::{Decision, Place, SCORE};
use crate::routing::{AuthRoute, EndpointRoute, Payer, Snapshot};
use crate::settings::Unauthorized;

/// The right to score one endpoint, decided. Only [`Gate::authorize`] makes one, and for a job's own requests
/// [`JobGate::authorize`](super::jobs::JobGate::authorize); nothing goes on without it.
#[derive(Debug)]
pub struct Permit {
    pub(super) endpoint: Arc<EndpointRoute>,
    caller: Option<Arc<Caller>>,
    key: Option<KeySlot>,
}

impl Permit {
    /// Of a principal who has been judged by the rights of a job.
    pub(super) fn of_job(endpoint: &Arc<EndpointRoute>, caller: &Arc<Caller>) -> Permit {
        Permit { endpoint: endpoint.clone(), caller: Some(caller.clone()), key: None }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<EndpointRoute> {
        &self.endpoint
    }

    /// The key that opened it.
    pub fn key(&self) -> Option<KeySlot> {
        self.key
    }

    /// Whose rate the request uses up.
    pub(super) fn payer(&self) -> Payer {
        match (&self.caller, self.key) {
            (Some(caller), _) => Payer::Principal(caller.object_id),
            (None, key) => Payer::Key(key.unwrap_or(KeySlot::Primary)),
        }
    }

    /// The principal that may; a key has none.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }
}

impl Gate {
    /// Judges the right to score. A key or an issued token was given to somebody who might, so it is enough by itself.
    ///
    /// Waits only for the directory; dropping the future has no effect.
    pub async fn authorize(
        &self,
        snapshot: &Snapshot,
        Authenticated { endpoint, who }: Authenticated,
    ) -> Result<Permit, Fault> {
        let caller = match who {
            Who::Key(slot) => return Ok(Permit { endpoint, caller: None, key: Some(slot) }),
            Who::Issued(caller) => return Ok(Permit { endpoint, caller: Some(caller), key: None }),
            Who::Caller(caller) => caller,
        };
        let AuthRoute::AadToken(place) = &endpoint.auth else {
            return Err(Reason::Defect.into());
        };
        let decision = self.decide(snapshot, place, &caller).await?;
        let word = match decision {
            Decision::Allowed(_) => {
                self.counts.allowed.inc();
                return Ok(Permit { endpoint, caller: Some(caller), key: None });
            }
            Decision::Denied { .. } => "denied",
            Decision::NotGranted => "not_granted",
        };
        self.metrics.decisions.with_label_values(&[word]).inc();
        Err(self.refused(&endpoint, &caller, word))
    }

    /// What the policy says of a principal at a place.
    async fn decide<'a>(
        &self,
        snapshot: &'a Snapshot,
        place: &Place,
        caller: &Caller,
    ) -> Result<Decision<'a>, Fault> {
        let direct = snapshot.policy.decide(caller.principals(None), &snapshot.score, place);
        let settled = match (&caller.groups, &direct) {
            (Groups::Known(_), _) | (_, Decision::Denied { .. }) => true,
            // A group could still be denied what the caller itself is granted.
            (Groups::Overage, Decision::Allowed(_)) => !snapshot.policy.has_denials(),
            (Groups::Overage, Decision::NotGranted) => false,
        };
        if settled {
            return Ok(direct);
        }
        let unavailable = || Fault::new(Reason::IdentityUnavailable).detail("groups_unavailable");
        let directory = self.directory.as_ref().ok_or_else(unavailable)?;
        let groups = directory.groups(caller).await.map_err(|_| unavailable())?;
        Ok(snapshot.policy.decide(caller.principals(Some(&groups)), &snapshot.score, place))
    }

    /// Whether what was permitted still would be: for what goes on long after it was.
    pub async fn still_permits(&self, snapshot: &Snapshot, permit: &Permit) -> bool {
        let before = &permit.endpoint;
        let found = snapshot.endpoints.get(&before.facts.name.to_ascii_lowercase());
        let Some(endpoint) = found.filter(|found| found.scope == before.scope) else { return false };
        match (&endpoint.auth, &before.auth, permit.caller(), permit.key) {
            (AuthRoute::Key(now), AuthRoute::Key(before), _, Some(slot)) => now.keeps(slot, before),
            (AuthRoute::AmlToken(now), AuthRoute::AmlToken(before), ..) => now == before,
            (AuthRoute::AadToken(place), AuthRoute::AadToken(_), Some(caller), _) => {
                matches!(self.decide(snapshot, place, caller).await, Ok(Decision::Allowed(_)))
            }
            _ => false,
        }
    }

    /// Names the caller, the action and the scope, which an operator needs to grant the right; never whose grant is missing.
    fn refused(&self, endpoint: &EndpointRoute, caller: &Caller, word: &'static str) -> Fault {
        let client = caller.app_id.as_deref().unwrap_or("unknown");
        let message = format!(
            "the client '{client}' with object id '{}' does not have authorization to perform action '{SCORE}' over scope '{}'",
            caller.object_id, endpoint.scope
        );
        let fault = Fault::new(Reason::NotAuthorized).detail(word).message(message);
        match self.unauthorized {
            Unauthorized::Forbidden => fault,
            Unauthorized::Unauthorized => Fault {
                status: Some(StatusCode::UNAUTHORIZED),
                challenge: Some(self.challenge.clone()),
                ..fault
            },
        }
    }
}
