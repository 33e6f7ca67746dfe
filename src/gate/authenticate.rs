//! Who calls, by the endpoint's own mode and no other.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;

use super::Gate;
use super::fault::{Fault, Reason};
use crate::identity::caller::Caller;
use crate::identity::credential::{CredentialError, bearer};
use crate::identity::endpoint_key::KeySlot;
use crate::identity::token::Rejection;
use crate::net::address::network;
use crate::routing::{AuthRoute, EndpointRoute, Snapshot};

/// Who calls an endpoint. Made here alone.
#[derive(Debug)]
pub struct Authenticated {
    pub(super) endpoint: Arc<EndpointRoute>,
    pub(super) who: Who,
}

impl Authenticated {
    /// The principal, if a token named one.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        match &self.who {
            Who::Key(_) => None,
            Who::Issued(caller) | Who::Caller(caller) => Some(caller),
        }
    }
}

#[derive(Debug)]
pub(super) enum Who {
    /// Somebody with one of the endpoint's keys.
    Key(KeySlot),
    /// A principal to whom the gateway issued a token for this endpoint, because it might ask for one.
    Issued(Arc<Caller>),
    /// A principal.
    Caller(Arc<Caller>),
}

impl Gate {
    /// Authenticates a request by its endpoint's mode.
    ///
    /// Waits only for an issuer's keys; dropping the future has no effect.
    pub async fn authenticate(
        &self,
        snapshot: &Snapshot,
        endpoint: &Arc<EndpointRoute>,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Authenticated, Fault> {
        let credential = bearer(headers).map_err(|error| {
            let (reason, word) = match error {
                CredentialError::Missing => (Reason::CredentialMissing, "missing"),
                CredentialError::Repeated => (Reason::CredentialMalformed, "repeated"),
                CredentialError::Malformed => (Reason::CredentialMalformed, "malformed"),
            };
            self.metrics.credential_shape.with_label_values(&[word]).inc();
            self.challenged(endpoint, Fault::new(reason).detail(word), client)
        })?;
        let rejected = |word: &'static str| {
            self.metrics.auth_failures.with_label_values(&[endpoint.facts.auth_mode]).inc();
            self.challenged(endpoint, Fault::new(Reason::CredentialRejected).detail(word), client)
        };
        let who = match &endpoint.auth {
            AuthRoute::Key(keys) => {
                keys.check(&self.vault, credential).map(Who::Key).ok_or_else(|| rejected("key"))
            }
            AuthRoute::AmlToken(epoch) => {
                let (now, skew) = self.tokens.now_and_skew();
                let found = snapshot.token_keys.verify(credential, &endpoint.scope, *epoch, now, skew);
                found.map(Arc::new).map(Who::Issued).map_err(|rejection| rejected(rejection.reason()))
            }
            AuthRoute::AadToken(_) => {
                let remembered = self.tokens.remembered(credential);
                if let Some(caller) = remembered {
                    return Ok(Authenticated { endpoint: endpoint.clone(), who: Who::Caller(caller) });
                }
                self.tokens.verify(credential).await.map(Who::Caller).map_err(|rejection| {
                    self.metrics.token_rejected.with_label_values(&[rejection.reason()]).inc();
                    match rejection {
                        Rejection::Unavailable => {
                            Fault::new(Reason::IdentityUnavailable).detail("keys_unavailable")
                        }
                        rejection => rejected(rejection.reason()),
                    }
                })
            }
        };
        who.map(|who| Authenticated { endpoint: endpoint.clone(), who })
    }

    /// A refusal with the challenge that tells a client where to get a token, or that it has tried too often.
    fn challenged(&self, endpoint: &EndpointRoute, fault: Fault, client: IpAddr) -> Fault {
        if self.failures.one_too_many(network(client)) {
            self.metrics.limit.with_label_values(&["failed_authentications"]).inc();
            return Fault::new(Reason::TooManyFailures);
        }
        let challenge = match &endpoint.auth {
            AuthRoute::AadToken(_) => self.challenge.clone(),
            AuthRoute::Key(_) | AuthRoute::AmlToken(_) => "Bearer".to_owned(),
        };
        Fault { challenge: Some(challenge), ..fault }
    }
}
