//! Why a scoring request was answered as it was, or how one would be: each check in its order and what it found.

use uuid::Uuid;

use super::access::{deciding, missing};
use super::{Asker, Operations, Refusal};
use crate::arm::access::{CheckView, ExplanationView};
use crate::clock::rfc3339;
use crate::identity::caller::{Caller, Groups};
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::rbac::{ActionKind, Decision, Principals, SCORE};
use crate::routing::{AuthRoute, EndpointRoute, Snapshot};
use crate::telemetry::recent::Outcome;

/// Who may ask why: whoever holds this at the endpoint, or at the root for requests that met no endpoint.
const READ: &str = "Scoregate.Gateway/decisions/read";

/// Who may know of an endpoint, and so ask what his own token does there.
const READ_ENDPOINT: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/read";

/// The same of a batch endpoint.
const READ_BATCH_ENDPOINT: &str = "Microsoft.MachineLearningServices/workspaces/batchEndpoints/read";

/// The checks of a request, in their order, and the refusals that each of them makes.
const CHECKS: [(&str, &[&str]); 6] = [
    (
        "match",
        &[
            "malformed",
            "method_not_allowed",
            "uri_too_long",
            "headers_too_large",
            "misdirected",
            "expectation_failed",
            "endpoint_not_found",
            "snapshot_too_old",
        ],
    ),
    (
        "authenticate",
        &[
            "credential_missing",
            "credential_malformed",
            "credential_rejected",
            "too_many_failures",
            "identity_unavailable",
        ],
    ),
    ("authorize", &["not_authorized", "not_for_scoring"]),
    ("aim", &["deployment_not_found", "no_traffic", "path_not_allowed"]),
    ("admit", &["too_many_pending_request", "endpoint_busy", "body_too_large"]),
    ("dispatch", &[]),
];

/// The list of checks as it is built.
struct Checks {
    done: Vec<CheckView>,
    failed: bool,
}

impl Checks {
    fn new() -> Checks {
        Checks { done: Vec::new(), failed: false }
    }

    fn add(&mut self, check: &str, passed: bool, found: String) {
        let result = if passed { "passed" } else { "failed" };
        self.done.push(CheckView { check: check.to_owned(), result: result.to_owned(), found });
        self.failed |= !passed;
    }

    /// The rest was not reached.
    fn finish(mut self) -> Vec<CheckView> {
        for (check, _) in CHECKS.iter().skip(self.done.len()) {
            let found = "an earlier check refused the request".to_owned();
            let result = "not_reached".to_owned();
            self.done.push(CheckView { check: (*check).to_owned(), result, found });
        }
        self.done
    }
}

impl Operations {
    /// What happened to a request that this replica answered not long ago.
    pub fn explain_request(&self, asker: &Asker, id: Uuid) -> Result<ExplanationView, Refusal> {
        let at = Scope::root().gateway("requests", &id.to_string());
        let outcome = self.recent.get(id);
        let snapshot = self.snapshot()?;
        let route = outcome.as_ref().and_then(|outcome| snapshot.endpoints.get(outcome.endpoint.as_deref()?));
        let scope = route.map_or_else(Scope::root, |route| route.scope.clone());
        // Who may not ask learns as little from a request that is known as from one that is not; what happened to
        // one's own requests is one's own affair.
        if outcome.as_ref().and_then(|outcome| outcome.principal) != Some(asker.caller.object_id) {
            self.judge(asker, READ, &scope).map_err(|_| Refusal::NotFound(at.clone()))?;
        }
        let outcome = outcome.ok_or(Refusal::NotFound(at))?;
        let mut checks = Checks::new();
        let failed = outcome.reason.map(|reason| {
            let found = CHECKS.iter().position(|(_, reasons)| reasons.contains(&reason));
            found.unwrap_or(CHECKS.len() - 1)
        });
        for (index, (check, _)) in CHECKS.iter().enumerate().take(failed.map_or(CHECKS.len(), |at| at + 1)) {
            let passed = failed != Some(index);
            checks.add(check, passed, happened(check, passed, &outcome));
        }
        let (grant, lacks) = match (route, outcome.principal) {
            (Some(route), Some(principal)) if outcome.auth_mode == Some("aad_token") => {
                let refused = outcome.reason == Some("not_authorized");
                granted_now(&snapshot, route, (Principals { id: principal, groups: &[] }, None), refused)
            }
            _ => (None, None),
        };
        Ok(ExplanationView {
            request_id: Some(id.to_string()),
            endpoint: outcome.endpoint,
            time: Some(rfc3339(outcome.time)),
            status: outcome.status,
            outcome: if outcome.reason.is_none() { "allowed" } else { "refused" }.to_owned(),
            checks: checks.finish(),
            role_assignment: grant,
            missing: lacks,
        })
    }

    /// What a credential would do at an endpoint. It is judged and forgotten.
    pub async fn explain_token(
        &self,
        asker: &Asker,
        endpoint: &str,
        credential: &str,
    ) -> Result<ExplanationView, Refusal> {
        let snapshot = self.snapshot()?;
        let Some(route) = snapshot.endpoints.get(&endpoint.to_ascii_lowercase()) else {
            self.judge(asker, READ, &Scope::root())
                .map_err(|_| Refusal::NotFound(Scope::root().gateway("endpoints", endpoint)))?;
            let mut checks = Checks::new();
            checks.add("match", false, format!("there is no endpoint `{endpoint}`"));
            return Ok(explanation(endpoint, checks, (None, None)));
        };
        let read = if route.batch.is_some() { READ_BATCH_ENDPOINT } else { READ_ENDPOINT };
        let visible = self.may(asker, read, &route.scope);
        if !(visible && self.is_own(asker, credential).await) {
            self.judge(asker, READ, &route.scope).map_err(|refusal| match refusal {
                Refusal::NotFound(_) => Refusal::NotFound(Scope::root().gateway("endpoints", endpoint)),
                other => other,
            })?;
        }
        let mut checks = Checks::new();
        let mode = route.facts.auth_mode;
        checks.add("match", true, format!("endpoint `{}`, auth_mode {mode}", route.facts.name));
        let mut decided = (None, None);
        match &route.auth {
            AuthRoute::Key(keys) => {
                let slot = keys.check(&self.vault, credential);
                let found = slot.map_or("it is neither of the endpoint's keys".to_owned(), |slot| {
                    format!("it is the endpoint's {} key", slot.as_str())
                });
                checks.add("authenticate", slot.is_some(), found);
                if slot.is_some() {
                    checks.add("authorize", true, "a key is enough by itself".to_owned());
                }
            }
            AuthRoute::AmlToken(epoch) => {
                let keys = &snapshot.token_keys;
                let judged = self.scoring.issued(keys, credential, &route.scope, *epoch).await;
                let found = match &judged {
                    Ok(caller) => format!("a token issued for this endpoint to {}", caller.object_id),
                    Err(rejection) => format!("no token for this endpoint: {}", rejection.reason()),
                };
                checks.add("authenticate", judged.is_ok(), found);
                if judged.is_ok() {
                    checks.add("authorize", true, "an issued token is enough by itself".to_owned());
                }
            }
            AuthRoute::AadToken(_) => match self.scoring.caller(credential).await {
                Err(rejection) => {
                    let found = format!("the token is not accepted: {}", rejection.reason());
                    checks.add("authenticate", false, found);
                }
                Ok(caller) => decided = self.explain_caller(&snapshot, route, &caller, &mut checks).await,
            },
        }
        if !checks.failed {
            aim(route, &mut checks);
        }
        Ok(explanation(&route.facts.name, checks, decided))
    }

    /// Whether a credential is a token of the asker himself.
    async fn is_own(&self, asker: &Asker, credential: &str) -> bool {
        let caller = self.scoring.caller(credential).await;
        caller.is_ok_and(|caller| caller.object_id == asker.caller.object_id)
    }

    async fn explain_caller(
        &self,
        snapshot: &Snapshot,
        route: &EndpointRoute,
        caller: &Caller,
        checks: &mut Checks,
    ) -> Decided {
        let kind = caller.kind.as_str();
        checks.add("authenticate", true, format!("a token of the {kind} {}", caller.object_id));
        let groups: Option<Vec<PrincipalId>> = match (&caller.groups, &self.directory) {
            (Groups::Known(groups), _) => Some(groups.to_vec()),
            (Groups::Overage, Some(directory)) => {
                directory.groups(caller).await.ok().map(|groups| groups.to_vec())
            }
            (Groups::Overage, None) => None,
        };
        let Some(groups) = groups else {
            checks.add("authorize", false, "its groups cannot be looked up at present".to_owned());
            return (None, None);
        };
        if route.batch.is_some() {
            let found = "a batch endpoint is not scored; it takes jobs at `/jobs`".to_owned();
            checks.add("authorize", false, found);
            return (None, None);
        }
        let who = Principals { id: caller.object_id, groups: &groups };
        let AuthRoute::AadToken(place) = &route.auth else { return (None, None) };
        let decision = snapshot.policy.decide(who, &snapshot.score, place);
        let found = match decision {
            Decision::Allowed(grant) => format!("role `{}` at `{}` grants it", grant.role_name, grant.scope),
            Decision::Denied { name, .. } => format!("deny assignment `{name}` forbids it"),
            Decision::NotGranted => format!("no role assignment grants `{SCORE}` at `{}`", route.scope),
        };
        checks.add("authorize", decision.is_allowed(), found);
        granted_now(snapshot, route, (who, Some(kind)), matches!(decision, Decision::NotGranted))
    }
}

type Decided = (Option<crate::arm::access::DecidingGrant>, Option<crate::arm::access::MissingGrant>);

/// The grant that lets a principal score now, or the one that is missing.
fn granted_now(
    snapshot: &Snapshot,
    route: &EndpointRoute,
    (who, kind): (Principals<'_>, Option<&str>),
    refused: bool,
) -> Decided {
    let AuthRoute::AadToken(place) = &route.auth else { return (None, None) };
    if route.batch.is_some() {
        return (None, None);
    }
    match snapshot.policy.decide(who, &snapshot.score, place) {
        Decision::Allowed(grant) => (Some(deciding(grant)), None),
        _ if refused => (None, missing(SCORE, ActionKind::Control, &route.scope, (who.id, kind))),
        _ => (None, None),
    }
}

fn explanation(endpoint: &str, checks: Checks, (role_assignment, missing): Decided) -> ExplanationView {
    ExplanationView {
        request_id: None,
        endpoint: Some(endpoint.to_owned()),
        time: None,
        status: None,
        outcome: if checks.failed { "refused" } else { "allowed" }.to_owned(),
        checks: checks.finish(),
        role_assignment,
        missing,
    }
}

/// Where a request without the deployment header would go.
fn aim(route: &EndpointRoute, checks: &mut Checks) {
    let names: Vec<&str> = route.deployments.iter().map(|deployment| deployment.key.as_str()).collect();
    if route.split.is_empty() {
        let found = format!("no deployment has traffic; there are: {}", names.join(", "));
        return checks.add("aim", false, found);
    }
    checks.add("aim", true, format!("shared by weight among: {}", names.join(", ")));
    let free = route.in_flight.available_permits();
    checks.add("admit", free > 0, format!("the endpoint has {free} free places"));
    if free > 0 {
        let instances: usize =
            route.deployments.iter().map(|deployment| deployment.fleet.instances().len()).sum();
        checks.add("dispatch", instances > 0, format!("{instances} instances"));
    }
}

/// What a check found about a request that was answered.
fn happened(check: &str, passed: bool, outcome: &Outcome) -> String {
    let reason = || {
        let detail = outcome.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{}{detail}", outcome.reason.unwrap_or_default())
    };
    if !passed {
        return reason();
    }
    match check {
        "match" => format!("endpoint `{}`", outcome.endpoint.as_deref().unwrap_or_default()),
        "authenticate" => match (outcome.principal, outcome.key) {
            (Some(principal), _) => format!("{} of {principal}", outcome.auth_mode.unwrap_or_default()),
            (None, Some(key)) => format!("the {key} key"),
            (None, None) => outcome.auth_mode.unwrap_or_default().to_owned(),
        },
        "authorize" => match outcome.auth_mode {
            Some("aad_token") => format!("`{SCORE}` was granted"),
            _ => "the credential is enough by itself".to_owned(),
        },
        "aim" => format!("deployment `{}`", outcome.deployment.as_deref().unwrap_or_default()),
        "admit" => "there was a free place".to_owned(),
        _ => format!("answered {}", outcome.status.map_or("499".to_owned(), |status| status.to_string())),
    }
}
