//! Online endpoints.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::EndpointName;
use super::scope::{Scope, WorkspaceRef};
use super::traffic::{Mirror, Traffic};

/// How callers of an endpoint prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Either of the endpoint's two keys.
    Key,
    /// A short-lived token that the gateway issues for this endpoint.
    AmlToken,
    /// An Entra access token, and the right to score by Azure RBAC.
    AadToken,
}

impl AuthMode {
    /// Every mode, for tables and labels.
    pub const ALL: [AuthMode; 3] = [AuthMode::Key, AuthMode::AmlToken, AuthMode::AadToken];

    /// The name in `az ml` YAML, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMode::Key => "key",
            AuthMode::AmlToken => "aml_token",
            AuthMode::AadToken => "aad_token",
        }
    }
}

/// An endpoint key as it rests in the store: encrypted for listing, a keyed digest for comparison.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// The key under AES-256-GCM, base64.
    pub sealed: String,
    /// HMAC-SHA-256 of the key under the store's pepper.
    pub digest: [u8; 32],
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredKey(…)")
    }
}

/// The two keys of an endpoint; either opens it, so that one can be replaced while the other is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointKeys {
    /// The primary key.
    pub primary: StoredKey,
    /// The secondary key.
    pub secondary: StoredKey,
}

/// How often an endpoint may be called; what is not set is as the gateway's limits say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateLimit {
    /// Requests in a second, by everybody together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests in a second, by one principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second_per_principal: Option<u32>,
}

/// Which pages of other origins may call an endpoint from a browser (Fetch Standard, "HTTP CORS protocol").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cors {
    /// Origins such as `https://app.example.com`; `*` for every one.
    pub allowed_origins: Vec<String>,
    /// Fields that a page may send besides those that the endpoint always takes.
    pub allowed_headers: Vec<String>,
    /// Fields of an answer that a page may read besides those that the gateway always shows.
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember this.
    pub max_age: Option<std::time::Duration>,
}

/// The stable name that clients call, as its owner describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Unique in a gateway.
    pub name: EndpointName,
    /// The workspace it belongs to.
    pub workspace: WorkspaceRef,
    /// How callers prove who they are.
    pub auth_mode: AuthMode,
    /// Shares of its deployments.
    #[serde(default)]
    pub traffic: Traffic,
    /// The deployment that gets copies of requests, and how many of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The user's property bag.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// The managed identity, as ARM writes it. Kept and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<serde_json::Value>,
    /// Azure's switch for public access. Kept and shown.
    #[serde(default = "yes")]
    pub public_network_access: bool,
    /// How often it may be called.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// Bytes of a request body; as the gateway's limits say if it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<u64>,
    /// Callers may open WebSockets.
    #[serde(default)]
    pub websocket: bool,
    /// Pages of other origins that may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

/// `true`, for fields that are on unless switched off.
fn yes() -> bool {
    true
}

impl EndpointSpec {
    /// Its resource id, at which rights to score it are judged.
    pub fn scope(&self) -> Result<Scope, super::scope::ScopeError> {
        Ok(self.workspace.scope()?.online_endpoint(&self.name))
    }
}

/// An endpoint as it is kept: what its owner describes, and the secrets that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What its owner describes.
    pub spec: EndpointSpec,
    /// Its keys; every endpoint has them, whatever its mode, so that a change of mode loses nothing.
    pub keys: EndpointKeys,
    /// Tokens issued for the endpoint name this; a new one at every change of mode ends those that are out.
    pub token_epoch: Uuid,
}

impl Endpoint {
    /// The same endpoint, described anew. A change of mode ends the tokens that are out: `epoch` is for that.
    #[must_use]
    pub fn described(&self, spec: EndpointSpec, epoch: Uuid) -> Endpoint {
        let token_epoch = if spec.auth_mode == self.spec.auth_mode { self.token_epoch } else { epoch };
        Endpoint { spec, keys: self.keys.clone(), token_epoch }
    }

    /// Its resource id, at which rights to score it are judged.
    pub fn scope(&self) -> Result<Scope, super::scope::ScopeError> {
        self.spec.scope()
    }
}
