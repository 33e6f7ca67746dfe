//! The endpoint at which programs of this machine ask for tokens of its managed identity, as App Service has it.
//!
//! Azure's SDKs find it by `IDENTITY_ENDPOINT` and open it with `IDENTITY_HEADER`. Like the rest of the issuer it cannot
//! be enabled in `serve`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::{Map, Refusal, missing};
use super::{DevPrincipal, Issuer, TokenVersion, Via, same};

/// Where it is.
pub(super) const PATH: &str = "/msi/token";
/// The only version of it that is known.
const VERSION: &str = "2019-08-01";

/// The ARM id that tokens of an identity name.
pub(super) fn resource_id(name: &str) -> String {
    format!(
        "/subscriptions/00000000-0000-4000-8000-000000000001/resourcegroups/default/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

/// Answers a request for a token.
pub(super) async fn token(
    State(issuer): State<Arc<Issuer>>,
    Query(query): Query<Map>,
    headers: HeaderMap,
) -> Response {
    issuer.answer(issuer.managed_token(&query, &headers))
}

impl Issuer {
    /// The endpoint's address.
    #[must_use]
    pub fn managed_url(&self) -> String {
        format!("{}{PATH}", self.config.base_url)
    }

    fn managed_token(&self, query: &Map, headers: &HeaderMap) -> Result<Value, Refusal> {
        let given =
            headers.get("x-identity-header").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let identity = self.config.managed.as_ref().filter(|identity| same(&identity.client_secret, given));
        let identity = identity.ok_or_else(|| {
            let text = "X-IDENTITY-HEADER is not the one that `scoregate dev` wrote: only this machine's programs may ask.";
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized_client", 700_016, text)
        })?;
        if query.get("api-version").map(String::as_str) != Some(VERSION) {
            let text = format!("This development issuer knows api-version {VERSION} of managed identities.");
            return Err(Refusal::bad("invalid_request", 9_002_313, text));
        }
        is_meant(identity, query)?;
        let resource =
            query.get("resource").filter(|text| !text.is_empty()).ok_or_else(|| missing("resource"))?;
        let version = TokenVersion::for_audience(resource);
        let token = self.access_token(identity, resource, version, Via::Machine)?;
        let (now, life) = ((self.now)(), self.lifetime());
        // Numbers are texts here, as App Service writes them.
        Ok(json!({
            "token_type": "Bearer", "access_token": token, "resource": resource, "client_id": identity.client_id,
            "expires_in": life.to_string(), "expires_on": now.saturating_add(life).to_string(), "not_before": now.to_string(),
        }))
    }
}

/// Whether an identity that is asked for by name is the one there is.
fn is_meant(identity: &DevPrincipal, query: &Map) -> Result<(), Refusal> {
    let ids = [("client_id", identity.client_id), ("object_id", identity.object_id)];
    let of_id = |(name, id): (&str, Uuid)| {
        query.get(name).is_none_or(|asked| Uuid::try_parse(asked).is_ok_and(|asked| asked == id))
    };
    let of_resource =
        query.get("mi_res_id").is_none_or(|asked| asked.eq_ignore_ascii_case(&resource_id(&identity.name)));
    if ids.into_iter().all(of_id) && of_resource {
        return Ok(());
    }
    let text = format!("This machine's only identity has the client id {}.", identity.client_id);
    Err(Refusal::bad("invalid_request", 700_016, text))
}
