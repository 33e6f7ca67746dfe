//! Credentials of endpoints, and what the gateway says about who may do what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::Form;
use crate::identity::endpoint_key::KeySlot;

/// Both keys of an endpoint.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeysView {
    pub primary_key: String,
    pub secondary_key: String,
}

/// A token for one endpoint; times are Unix seconds.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    pub access_token: String,
    pub token_type: String,
    pub expiry_time_utc: i64,
    pub refresh_after_time_utc: i64,
}

impl std::fmt::Debug for KeysView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeysView(…)")
    }
}

impl std::fmt::Debug for TokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenView(…)")
    }
}

/// Output of a deployment's instances.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LogsView {
    pub content: String,
}

/// Which key to replace. A value that is sent along is not obeyed: clients send the present one.
pub fn key_to_regenerate(form: &Form<'_>) -> Option<KeySlot> {
    let slots = [("Primary", KeySlot::Primary), ("Secondary", KeySlot::Secondary)];
    form.carried("keyValue");
    form.one_of("keyType", "Primary or Secondary.", &slots).required("Primary or Secondary")
}

/// A role assignment that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecidingGrant {
    pub id: String,
    pub role_name: String,
    pub scope: String,
    pub principal_id: String,
}

/// A deny assignment that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecidingDenial {
    pub id: String,
    pub name: String,
}

/// The smallest built-in grant that would change the answer, and a command that makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissingGrant {
    pub role_name: String,
    pub scope: String,
    pub command: String,
}

/// Whether a principal may do something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessView {
    pub allowed: bool,
    pub principal_id: String,
    pub action: String,
    pub scope: String,
    /// `granted`, `denied` or `not_granted`.
    pub decision: String,
    pub role_assignment: Option<DecidingGrant>,
    pub deny_assignment: Option<DecidingDenial>,
    pub missing: Option<MissingGrant>,
}

/// Somebody who may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HolderView {
    pub principal_id: String,
    pub principal_type: String,
    pub role_name: String,
    pub role_assignment_id: String,
    pub scope: String,
}

/// One check of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckView {
    /// `match`, `authenticate`, `authorize`, `aim`, `admit` or `dispatch`.
    pub check: String,
    /// `passed`, `failed` or `not_reached`.
    pub result: String,
    /// What it found, in a sentence.
    pub found: String,
}

/// What happened to a request, or what would happen to one, check by check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplanationView {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `allowed` or `refused`.
    pub outcome: String,
    pub checks: Vec<CheckView>,
    pub role_assignment: Option<DecidingGrant>,
    pub missing: Option<MissingGrant>,
}
