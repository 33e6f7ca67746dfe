//! Who calls, by the endpoint's own mode and no other.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;

use super::Gate;
use super::fault::{Fault, Reason};
use crate::identity::caller::Caller;
use crate::identity::claimed::Claimed;
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

/// Why a credential is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// It is neither of the endpoint's keys.
    Key,
    /// It is no token for the endpoint.
    Token(Rejection),
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
        let judged = match &endpoint.auth {
            AuthRoute::Key(keys) => keys.check(&self.vault, credential).map(Who::Key).ok_or(Refused::Key),
            AuthRoute::AmlToken(epoch) => {
                let keys = &snapshot.token_keys;
                let judged = self.tokens.issued(keys, credential, &endpoint.scope, *epoch).await;
                judged.map(Who::Issued).map_err(Refused::Token)
            }
            AuthRoute::AadToken(_) => {
                self.tokens.caller(credential).await.map(Who::Caller).map_err(Refused::Token)
            }
        };
        match judged {
            Ok(who) => Ok(Authenticated { endpoint: endpoint.clone(), who }),
            Err(refused) => {
                self.count_wrong_endpoint(snapshot, endpoint, credential).await;
                let claimed = matches!(refused, Refused::Token(_)).then(|| Box::new(Claimed::by(credential)));
                Err(Fault { claimed, ..self.rejected(endpoint, refused, client) })
            }
        }
    }

    fn rejected(&self, endpoint: &EndpointRoute, refused: Refused, client: IpAddr) -> Fault {
        let word = match refused {
            Refused::Key => "key",
            Refused::Token(rejection) => {
                self.metrics.token_rejected.with_label_values(&[rejection.reason()]).inc();
                rejection.reason()
            }
        };
        if refused == Refused::Token(Rejection::Unavailable) {
            return Fault::new(Reason::IdentityUnavailable).detail(word);
        }
        self.metrics.auth_failures.with_label_values(&[endpoint.facts.auth_mode]).inc();
        self.challenged(endpoint, Fault::new(Reason::CredentialRejected).detail(word), client)
    }

    /// Counts a refused credential that opens another endpoint: a caller's mistake, or somebody who tries what he has found.
    async fn count_wrong_endpoint(&self, snapshot: &Snapshot, endpoint: &EndpointRoute, credential: &str) {
        let word = if snapshot.opens_some_endpoint(&self.vault.digest(credential)) {
            "key"
        } else if self.tokens.is_for_another(&snapshot.token_keys, credential, &endpoint.scope).await {
            "token"
        } else {
            return;
        };
        self.metrics.credential_wrong_endpoint.with_label_values(&[word]).inc();
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
