//! Online endpoints.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::EndpointName;
use super::scope::{Scope, WorkspaceRef};
use super::traffic::Traffic;

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

/// The stable name that clients call, with its way of authentication and its traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Unique in a gateway.
    pub name: EndpointName,
    /// The workspace it belongs to.
    pub workspace: WorkspaceRef,
    /// How callers prove who they are.
    pub auth_mode: AuthMode,
    /// Shares of its deployments.
    #[serde(default)]
    pub traffic: Traffic,
    /// Its keys; every endpoint has them, whatever its mode, so that a change of mode loses nothing.
    pub keys: EndpointKeys,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Endpoint {
    /// Its resource id, at which rights to score it are judged.
    pub fn scope(&self) -> Result<Scope, super::scope::ScopeError> {
        Ok(self.workspace.scope()?.online_endpoint(&self.name))
    }
}
