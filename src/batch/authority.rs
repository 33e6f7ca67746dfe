//! By whose rights a job is, and what it is told when they do not reach.

use std::sync::Arc;

use crate::arm::envelope::ErrorDetail;
use crate::identity::caller::{Caller, CallerHeaders, CallerKind, Groups};
use crate::model::job::{Failure, Owner};
use crate::rbac::job::Missing;

/// What is kept of a caller: what its token said of it.
pub(super) fn owner(caller: &Caller) -> Owner {
    Owner {
        object_id: caller.object_id,
        tenant: caller.tenant,
        kind: caller.kind.as_str().to_owned(),
        app_id: caller.app_id.clone(),
        groups: match &caller.groups {
            Groups::Known(groups) => Some(groups.to_vec()),
            Groups::Overage => None,
        },
    }
}

/// A job's owner as the gate judges it and instances are told of it. It has no token any more.
pub(super) fn caller(owner: &Owner) -> Arc<Caller> {
    let kind = if owner.kind == "User" { CallerKind::User } else { CallerKind::ServicePrincipal };
    Arc::new(Caller {
        object_id: owner.object_id,
        tenant: owner.tenant,
        kind,
        app_id: owner.app_id.clone(),
        groups: match &owner.groups {
            Some(groups) => Groups::Known(groups.clone().into()),
            None => Groups::Overage,
        },
        token_id: None,
        expires: i64::MAX,
        not_before: 0,
        headers: CallerHeaders::of(owner.object_id, kind, owner.tenant),
    })
}

fn lacking(missing: &Missing) -> String {
    let (action, scope) = (missing.right.action, &missing.right.scope);
    match &missing.denied_by {
        None => format!("action '{action}' over scope '{scope}'"),
        Some(name) => {
            format!("action '{action}' over scope '{scope}' (forbidden by deny assignment '{name}')")
        }
    }
}

/// The 403 of a caller who may not make a job: every action and scope that is missing, none that is not.
pub(super) fn refusal(caller: &Caller, missing: &[Missing]) -> ErrorDetail {
    let client = caller.app_id.as_deref().unwrap_or("unknown");
    let list = missing.iter().map(lacking).collect::<Vec<_>>().join("; ");
    let message = format!(
        "the client '{client}' with object id '{}' does not have authorization to perform: {list}",
        caller.object_id
    );
    let detail = |missing: &Missing| ErrorDetail {
        target: Some(missing.right.scope.to_string()),
        ..ErrorDetail::new(missing.right.action, lacking(missing))
    };
    ErrorDetail {
        details: missing.iter().map(detail).collect(),
        ..ErrorDetail::new("AuthorizationFailed", message)
    }
}

/// Why a job ends whose owner has lost a right.
pub(super) fn revoked(owner: &Owner, lost: &[Missing]) -> Failure {
    let list = lost.iter().map(lacking).collect::<Vec<_>>().join("; ");
    let message =
        format!("the job's owner, object id '{}', may not go on: it has lost {list}", owner.object_id);
    Failure { code: "AuthorizationRevoked".to_owned(), message }
}
