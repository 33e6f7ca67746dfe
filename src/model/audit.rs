//! What the audit says about one deed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::role::PrincipalId;
use super::scope::Scope;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// The principal; none for the gateway itself.
    pub object_id: Option<PrincipalId>,
    /// `User`, `ServicePrincipal`, or what of the gateway it was.
    pub kind: String,
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// The application it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
}

impl Actor {
    /// The gateway on its own behalf, such as its resources directory.
    pub fn gateway(part: &str) -> Actor {
        Actor { object_id: None, kind: part.to_owned(), tenant: None, app_id: None }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// Done.
    Done,
    /// Not done, with the code that was answered.
    Refused {
        /// The code.
        code: String,
    },
}

/// One deed, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deed {
    /// Its own id, under which a client can ask how it ended.
    pub operation: Uuid,
    /// When it began, RFC 3339.
    pub time: String,
    /// The request's id.
    pub request_id: String,
    /// Who.
    pub actor: Actor,
    /// The RBAC action.
    pub action: String,
    /// To what.
    pub scope: Scope,
    /// The role assignment that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<IpAddr>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Deed {
    /// A deed of the gateway on its own behalf, at the root.
    pub fn of_gateway(part: &str, action: &str, request_id: &str, time: String) -> Deed {
        Deed {
            operation: Uuid::new_v4(),
            time,
            request_id: request_id.to_owned(),
            actor: Actor::gateway(part),
            action: action.to_owned(),
            scope: Scope::root(),
            decided_by: None,
            client_address: None,
            outcome: Outcome::Done,
        }
    }
}

/// What a deed did to one resource: SHA-256 of its stored form before and after, in hex; none where there was nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// The resource's id in lower case.
    pub id: String,
    /// Before.
    pub before: Option<String>,
    /// After.
    pub after: Option<String>,
}

/// A deed in its place: the chain's number, the state of the store it led to, what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its number, from 1, without a gap.
    pub sequence: u64,
    /// The store's revision afterwards.
    pub revision: u64,
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
    /// What that changed.
    pub changes: Vec<Touched>,
}

/// Who made a resource, who changed it last, and when (RFC 3339).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Who made it.
    pub created_by: Actor,
    /// When.
    pub created_at: String,
    /// Who changed it last.
    pub modified_by: Actor,
    /// When.
    pub modified_at: String,
}
