//! Who calls the control plane: somebody with an Entra token for one of its audiences.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

use super::Control;
use super::answer::ApiError;
use crate::identity::caller::Caller;
use crate::identity::claims::BadClaim;
use crate::identity::credential::{CredentialError, bearer};
use crate::identity::token::Rejection;
use crate::net::address::network;

impl Control {
    /// Authenticates a request, by a token for managing or by one for scoring.
    ///
    /// Waits only for an issuer's keys; dropping the future has no effect.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        scoring: bool,
    ) -> Result<Arc<Caller>, ApiError> {
        let token = bearer(headers).map_err(|error| {
            let (word, message) = match error {
                CredentialError::Missing => {
                    ("missing", "Authentication failed. The 'Authorization' header is missing.")
                }
                CredentialError::Repeated | CredentialError::Malformed => (
                    "malformed",
                    "Authentication failed. Send one 'Authorization: Bearer' header with one token.",
                ),
            };
            self.metrics.credential_shape.with_label_values(&[word]).inc();
            self.challenged("AuthenticationFailed", message, client)
        })?;
        let tokens = if scoring { &*self.operations.scoring } else { &self.tokens };
        tokens.caller(token).await.map_err(|rejection| {
            self.metrics.token_rejected.with_label_values(&[rejection.reason()]).inc();
            let (code, message) = match rejection {
                Rejection::Unavailable => {
                    let message = "the issuer's keys are not there at present; try again";
                    let error =
                        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "IdentityUnavailable", message);
                    return error.header(RETRY_AFTER, "5");
                }
                Rejection::Claim(BadClaim::Expired) => {
                    ("ExpiredAuthenticationToken", "the access token has expired; get a new one")
                }
                Rejection::Claim(BadClaim::Audience) => (
                    "InvalidAuthenticationTokenAudience",
                    "the access token is for another audience; ask for one of the control plane's",
                ),
                Rejection::UnknownIssuer | Rejection::Claim(BadClaim::Tenant) => (
                    "InvalidAuthenticationTokenTenant",
                    "the access token is from another issuer or tenant than those that are accepted",
                ),
                _ => ("InvalidAuthenticationToken", "the access token is invalid"),
            };
            self.metrics.auth_failures.with_label_values(&["control"]).inc();
            self.challenged(code, message, client)
        })
    }

    fn challenged(&self, code: &str, message: &str, client: IpAddr) -> ApiError {
        if self.failures.one_too_many(network(client)) {
            self.metrics.limit.with_label_values(&["failed_authentications"]).inc();
            let message = "too many failed authentications from this address; wait and use a valid token";
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyFailedAuthentications", message);
            return error.header(RETRY_AFTER, "10");
        }
        let place = self.addresses.authority.as_ref();
        let place = place.map(|(authority, tenant)| format!("authorization_uri=\"{authority}/{tenant}\", "));
        let resource = &self.addresses.audience;
        let challenge = format!(
            "Bearer {}error=\"invalid_token\", error_description=\"{message}\", resource=\"{resource}\"",
            place.unwrap_or_default()
        );
        ApiError::new(StatusCode::UNAUTHORIZED, code, message).header(WWW_AUTHENTICATE, &challenge)
    }
}
