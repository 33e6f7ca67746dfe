//! An authenticated caller.

use std::sync::Arc;

use http::HeaderValue;
use uuid::Uuid;

use crate::model::audit::Actor;
use crate::model::role::PrincipalId;
use crate::rbac::Principals;

/// What sort of identity calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// A person, through an application.
    User,
    /// An application or managed identity on its own behalf.
    ServicePrincipal,
}

impl CallerKind {
    /// The name in `x-ms-client-principal-type` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            CallerKind::User => "User",
            CallerKind::ServicePrincipal => "ServicePrincipal",
        }
    }
}

/// The groups a caller is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// All of them, from the token.
    Known(Box<[PrincipalId]>),
    /// Too many for a token; the directory knows them.
    Overage,
}

/// An identity whose token has been verified. What it may do is not said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal that role assignments name.
    pub object_id: PrincipalId,
    /// Its tenant; other issuers than Entra have none.
    pub tenant: Option<Uuid>,
    /// What it is.
    pub kind: CallerKind,
    /// The application it came through.
    pub app_id: Option<String>,
    /// Its groups.
    pub groups: Groups,
    /// Its token's own id (`uti` or `jti`), for logs.
    pub token_id: Option<String>,
    /// When its token ends, Unix seconds, leeway included.
    pub expires: i64,
    /// From when on its token holds, Unix seconds, leeway included.
    pub not_before: i64,
    /// Ready-made values for the headers that tell an instance who calls.
    pub headers: CallerHeaders,
}

/// The headers that tell an instance who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerHeaders {
    /// `x-ms-client-principal-id`.
    pub id: HeaderValue,
    /// `x-ms-client-principal-type`.
    pub kind: HeaderValue,
    /// `x-ms-client-tenant-id`.
    pub tenant: Option<HeaderValue>,
}

impl CallerHeaders {
    /// The values for a principal.
    pub fn of(id: PrincipalId, kind: CallerKind, tenant: Option<Uuid>) -> CallerHeaders {
        // GUIDs are visible ASCII, so the fallback is never taken.
        let value =
            |guid: Uuid| HeaderValue::try_from(guid.to_string()).unwrap_or(HeaderValue::from_static(""));
        CallerHeaders {
            id: value(id.0),
            kind: HeaderValue::from_static(kind.as_str()),
            tenant: tenant.map(value),
        }
    }
}

impl Caller {
    /// Who the audit says it was.
    pub fn actor(&self) -> Actor {
        Actor {
            object_id: Some(self.object_id),
            kind: self.kind.as_str().to_owned(),
            tenant: self.tenant,
            app_id: self.app_id.clone(),
        }
    }

    /// The caller and its groups for a decision; `looked_up` are the groups that the directory gave.
    pub fn principals<'a>(&'a self, looked_up: Option<&'a Arc<[PrincipalId]>>) -> Principals<'a> {
        let groups = match (&self.groups, looked_up) {
            (Groups::Known(groups), _) => groups,
            (Groups::Overage, Some(groups)) => &**groups,
            (Groups::Overage, None) => &[],
        };
        Principals { id: self.object_id, groups }
    }
}
