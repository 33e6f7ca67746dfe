//! Who may do what, and why a request was answered as it was.

use uuid::Uuid;

use super::Outcome;
use crate::arm::envelope::Page;
use crate::control::Control;
use crate::control::answer::{ApiError, Reply};
use crate::control::call::Call;
use crate::forms::Form;
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::operations::{Asker, Granted, Question, Refusal};
use crate::rbac::{ActionKind, ActionPattern};

/// The right to look at others' rights.
const READ_GRANTS: &str = "Microsoft.Authorization/roleAssignments/read";

fn question(form: &Form<'_>) -> Option<Question> {
    let action = form
        .value::<String>("action", "An action such as Microsoft.MachineLearningServices/workspaces/read.")
        .required("name an action");
    let data = form.value("isDataAction", "It is a data action.").or(false);
    let action = action?;
    if ActionPattern::parse(&action).is_err() || action.contains('*') || !action.contains('/') {
        let hint = "such as Microsoft.MachineLearningServices/workspaces/read";
        form.wrong("action", "is not an action", Some(hint));
    }
    Some(Question { action, kind: if data { ActionKind::Data } else { ActionKind::Control } })
}

fn check_request(form: &Form<'_>) -> Option<(Question, Option<Uuid>)> {
    let principal = form.value("principalId", "Somebody else's object id.").optional();
    Some((question(form)?, principal))
}

fn explain_request_of(form: &Form<'_>) -> Option<(String, String)> {
    let endpoint = form.value::<String>("endpoint", "The endpoint's name.").required("name an endpoint");
    let token =
        form.value::<String>("token", "The credential: a token or a key.").required("give a token or key");
    Some((endpoint?, token?))
}

pub(in crate::control) fn describe_check(form: &Form<'_>) {
    check_request(form);
}

pub(in crate::control) fn describe_who_can(form: &Form<'_>) {
    question(form);
}

pub(in crate::control) fn describe_explain(form: &Form<'_>) {
    explain_request_of(form);
}

pub(in crate::control) async fn check(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let scope = call.params.scope.clone().unwrap_or_else(Scope::root);
    let (question, principal) = call.read(check_request)?;
    let principal = principal.map(PrincipalId).filter(|principal| *principal != asker.caller.object_id);
    if principal.is_some() {
        // Others' rights are told to those who may read the grants that make them.
        control.operations.authorize(asker.clone(), READ_GRANTS, scope.clone())?;
    }
    Ok(Reply::ok(control.operations.check_access(&asker, &scope, &question, principal)?)?)
}

pub(in crate::control) async fn who_can(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let question = call.read(question)?;
    let value = control.operations.who_can(&granted.scope, &question)?;
    Ok(Reply::ok(Page { value, next_link: None })?)
}

pub(in crate::control) async fn explain_request(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let text = call.params.get("request");
    let id = Uuid::try_parse(text).map_err(|_| {
        ApiError::bad("InvalidRequestId", "a request id is the GUID in x-ms-request-id", Some("request"))
    })?;
    Ok(Reply::ok(control.operations.explain_request(&asker, id)?)?)
}

pub(in crate::control) async fn explain(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let (endpoint, token) = call.read(explain_request_of)?;
    if endpoint.len() > 64 {
        return Err(Refusal::invalid("endpoint", "is no endpoint's name").into());
    }
    Ok(Reply::ok(control.operations.explain_token(&asker, &endpoint, &token).await?)?)
}
