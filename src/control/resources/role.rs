//! Role assignments, role definitions, deny assignments and permissions, at every scope.

use std::sync::Arc;

use http::StatusCode;
use uuid::Uuid;

use super::{Outcome, status};
use crate::arm::envelope::Page;
use crate::arm::resource::agrees;
use crate::arm::role;
use crate::control::Control;
use crate::control::answer::{ApiError, Reply};
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::resource::Resource;
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::operations::{Asker, AssignmentFilter, Granted, Refusal};
use crate::store::Stored;

/// The page of a list of assignments; clients seldom ask for the second one.
const PAGE: usize = 1_000;

pub(in crate::control) fn describe_assignment(form: &Form<'_>) {
    role::read_assignment(form, Uuid::nil(), &Scope::root());
}

pub(in crate::control) fn describe_definition(form: &Form<'_>) {
    role::read_definition(form, Uuid::nil());
}

/// The GUID that names an assignment or a definition.
fn guid(call: &Call, code: &str) -> Result<Uuid, ApiError> {
    let text = call.params.get("name");
    Uuid::try_parse(text).map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        ApiError::bad(code, format!("`{shown}` is not a GUID, and a GUID is its name"), Some("name"))
    })
}

const ASSIGNMENT_ID: &str = "InvalidRoleAssignmentId";
const DEFINITION_ID: &str = "InvalidRoleDefinitionId";

/// One term of `$filter`.
#[derive(Debug, PartialEq, Eq)]
enum Term {
    AtScope,
    AssignedTo(Uuid),
    PrincipalIs(Uuid),
    RoleNameIs(String),
    TypeIs(String),
}

/// Reads `$filter`: terms joined by `and`, as Azure's clients write them.
fn terms(call: &Call) -> Result<Vec<Term>, ApiError> {
    let Some(filter) = call.query("$filter").map(str::trim).filter(|filter| !filter.is_empty()) else {
        return Ok(Vec::new());
    };
    let wrong = || {
        let known = "atScope(), assignedTo('{guid}'), principalId eq '{guid}', roleName eq '{name}' and type eq '{type}'";
        ApiError::bad(
            "InvalidFilter",
            format!("`$filter` is not understood; known are {known}, joined by and"),
            Some("$filter"),
        )
    };
    split_at_and(filter).into_iter().map(|term| term_of(&term).ok_or_else(wrong)).collect()
}

/// Parts a filter at `and`, but not inside quotes.
fn split_at_and(filter: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for word in filter.split_inclusive(' ') {
        if !quoted && word.trim().eq_ignore_ascii_case("and") {
            parts.push(String::new());
            continue;
        }
        quoted ^= word.matches('\'').count() % 2 == 1;
        if let Some(last) = parts.last_mut() {
            last.push_str(word);
        }
    }
    parts
}

fn term_of(term: &str) -> Option<Term> {
    let term = term.trim();
    let lower = term.to_ascii_lowercase();
    if matches!(lower.as_str(), "atscope()" | "atscopeandbelow()") {
        return Some(Term::AtScope).filter(|_| lower == "atscope()").or(Some(Term::TypeIs(String::new())));
    }
    let quoted = |text: &str| Some(text.trim().strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"));
    if lower.starts_with("assignedto(") {
        let inner = term.get("assignedto(".len()..)?.strip_suffix(')')?;
        return Uuid::try_parse(&quoted(inner)?).ok().map(Term::AssignedTo);
    }
    let (name, rest) = term.split_once(char::is_whitespace)?;
    let rest = rest.trim();
    let value = rest.get(..3).filter(|word| word.eq_ignore_ascii_case("eq ")).and_then(|_| rest.get(3..))?;
    let value = quoted(value)?;
    match name.to_ascii_lowercase().as_str() {
        "principalid" => Uuid::try_parse(&value).ok().map(Term::PrincipalIs),
        "rolename" => Some(Term::RoleNameIs(value)),
        "type" => Some(Term::TypeIs(value)),
        _ => None,
    }
}

pub(in crate::control) async fn assignments(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let mut filter = AssignmentFilter::default();
    for term in terms(call)? {
        match term {
            Term::AtScope => filter.at_scope = true,
            Term::AssignedTo(id) => filter.assigned_to = Some(PrincipalId(id)),
            Term::PrincipalIs(id) => filter.principal = Some(PrincipalId(id)),
            Term::TypeIs(kind) if kind.is_empty() => {}
            Term::RoleNameIs(_) | Term::TypeIs(_) => {
                let message = "role assignments are filtered by atScope(), assignedTo() and principalId";
                return Err(ApiError::bad("InvalidFilter", message, Some("$filter")).into());
            }
        }
    }
    let found = control.operations.grants(&granted, &filter)?;
    let items = found.into_iter().map(|known| (known.0.own_scope().key().to_owned(), known));
    let size = size(call, &["$top"], PAGE)?;
    let page = control.page(call, items.collect(), Order::Ascending, size, |(grant, stored)| {
        role::assignment_view(&grant, stored.as_ref().map(|stored| &stored.system))
    })?;
    Ok(Reply::ok(page)?)
}

pub(in crate::control) async fn assignment(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let id = guid(call, ASSIGNMENT_ID)?;
    let own = granted.scope.authorization("roleAssignments", &id.to_string());
    let (grant, stored) = control.operations.grant(&granted.scope, id).ok_or(Refusal::NotFound(own))?;
    let view = role::assignment_view(&grant, stored.as_ref().map(|stored| &stored.system));
    Ok(Reply::ok(view)?.tagged(stored.map(|stored| stored.revision)))
}

fn shown_assignment(stored: &Arc<Stored>, code: StatusCode) -> Outcome {
    let Resource::RoleAssignment(grant) = &stored.resource else { return Err(Refusal::Defect.into()) };
    let view = role::assignment_view(grant, Some(&stored.system));
    Ok(Reply::with(code, view)?.tagged(stored.revision))
}

pub(in crate::control) async fn put_assignment(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let id = guid(call, ASSIGNMENT_ID)?;
    let own = granted.scope.authorization("roleAssignments", &id.to_string());
    let grant = call.read(|form| {
        agrees(form, &own);
        role::read_assignment(form, id, &granted.scope)
    })?;
    let written = control.operations.put_grant(&granted, grant, &call.precondition).await?;
    shown_assignment(&written.stored, status(&written))
}

pub(in crate::control) async fn delete_assignment(
    control: &Control,
    call: &Call,
    granted: Granted,
) -> Outcome {
    let id = guid(call, ASSIGNMENT_ID)?;
    match control.operations.delete_grant(&granted, id, &call.precondition).await? {
        None => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        Some(stored) => shown_assignment(&stored, StatusCode::OK),
    }
}

pub(in crate::control) async fn definitions(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let mut found = control.operations.roles_at(&granted.scope)?;
    for term in terms(call)? {
        match term {
            Term::RoleNameIs(name) => found.retain(|(role, _)| role.role_name.eq_ignore_ascii_case(&name)),
            Term::TypeIs(kind) if !kind.is_empty() => {
                let custom = kind.eq_ignore_ascii_case("CustomRole");
                found.retain(|(_, stored)| stored.is_some() == custom);
            }
            Term::AtScope | Term::TypeIs(_) => {}
            Term::AssignedTo(_) | Term::PrincipalIs(_) => {
                let message = "role definitions are filtered by roleName and type";
                return Err(ApiError::bad("InvalidFilter", message, Some("$filter")).into());
            }
        }
    }
    let items = found.into_iter().map(|known| (known.0.role_name.to_lowercase(), known));
    let size = size(call, &["$top"], PAGE)?;
    let page = control.page(call, items.collect(), Order::Ascending, size, |(found, stored)| {
        role::definition_view(&found, stored.as_ref().map(|stored| &stored.system))
    })?;
    Ok(Reply::ok(page)?)
}

pub(in crate::control) async fn definition(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let id = guid(call, DEFINITION_ID)?;
    let own = granted.scope.authorization("roleDefinitions", &id.to_string());
    let (found, stored) = control.operations.role(id).ok_or(Refusal::NotFound(own))?;
    let view = role::definition_view(&found, stored.as_ref().map(|stored| &stored.system));
    Ok(Reply::ok(view)?.tagged(stored.map(|stored| stored.revision)))
}

pub(in crate::control) async fn put_definition(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let id = guid(call, DEFINITION_ID)?;
    let described = call.read(|form| role::read_definition(form, id))?;
    let written = control.operations.put_role(&granted, described, &call.precondition).await?;
    let Resource::RoleDefinition(shown) = &written.stored.resource else {
        return Err(Refusal::Defect.into());
    };
    let view = role::definition_view(shown, Some(&written.stored.system));
    // 201 also for what was there: Azure's client takes nothing else.
    Ok(Reply::with(StatusCode::CREATED, view)?.tagged(written.stored.revision))
}

pub(in crate::control) async fn delete_definition(
    control: &Control,
    call: &Call,
    granted: Granted,
) -> Outcome {
    let id = guid(call, DEFINITION_ID)?;
    let Some(stored) = control.operations.delete_role(&granted, id, &call.precondition).await? else {
        return Ok(Reply::empty(StatusCode::NO_CONTENT));
    };
    let Resource::RoleDefinition(shown) = &stored.resource else { return Err(Refusal::Defect.into()) };
    Ok(Reply::ok(role::definition_view(shown, Some(&stored.system)))?)
}

pub(in crate::control) async fn denials(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let found = control.operations.denials(&granted.scope)?;
    Ok(Reply::ok(Page { value: found.iter().map(role::denial_view).collect(), next_link: None })?)
}

pub(in crate::control) async fn permissions(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let scope = call.params.scope.clone().unwrap_or_else(Scope::root);
    let found = control.operations.permissions(&asker, &scope)?;
    Ok(Reply::ok(Page { value: found.iter().map(role::permission_view).collect(), next_link: None })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_that_azures_clients_send() {
        let id = Uuid::from_u128(7);
        assert_eq!(term_of("atScope()"), Some(Term::AtScope));
        assert_eq!(term_of(&format!("assignedTo('{id}')")), Some(Term::AssignedTo(id)));
        assert_eq!(term_of(&format!(" principalId  eq '{id}' ")), Some(Term::PrincipalIs(id)));
        let name = "AzureML Data Scientist and ''friends''";
        assert_eq!(split_at_and(&format!("roleName eq '{name}' and type eq 'CustomRole'")).len(), 2);
        assert_eq!(
            term_of(&format!("roleName eq '{name}'")),
            Some(Term::RoleNameIs("AzureML Data Scientist and 'friends'".to_owned()))
        );
        for bad in ["", "principalId eq 7", "principalId eq 'x'", "roleName ne 'x'", "x()", "roleName eq '"] {
            assert_eq!(term_of(bad), None, "{bad}");
        }
    }
}
