//! Online endpoints and their credentials.

use http::StatusCode;
use uuid::Uuid;

use super::noun::Noun;
use super::{Outcome, describe_tags, placeholder, removed};
use crate::arm::access::{KeysView, TokenView, key_to_regenerate};
use crate::arm::endpoint::{self, EndpointView};
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::answer::{ApiError, Reply};
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::endpoint::{Endpoint, EndpointSpec};
use crate::model::names::EndpointName;
use crate::model::resource::Resource;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::operations::{Granted, Refusal};

pub(in crate::control) fn describe(form: &Form<'_>) {
    if let Some(place) = placeholder() {
        endpoint::read(form, &place.endpoint, &place.workspace, None);
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    describe_tags(form);
    form.carried("identity");
}

pub(in crate::control) fn describe_regenerate(form: &Form<'_>) {
    key_to_regenerate(form);
}

impl Noun for Endpoint {
    type View = EndpointView;

    fn of(resource: &Resource) -> Option<&Endpoint> {
        resource.endpoint()
    }

    fn workspace(&self) -> &WorkspaceRef {
        &self.spec.workspace
    }

    fn view(&self, control: &Control, about: About<'_>, operation: Option<Uuid>) -> EndpointView {
        let uri = operation.map(|operation| control.operation_uri(about.id, "oeidp", operation));
        endpoint::view(&self.spec, about, &control.addresses.data, uri)
    }
}

impl Control {
    /// Where the status of an operation can be asked for.
    pub(super) fn operation_uri(&self, id: &Scope, prefix: &str, operation: Uuid) -> String {
        let subscription = id.subscription().unwrap_or_default();
        format!(
            "{}/subscriptions/{subscription}/providers/{}/locations/local/mfeOperationsStatus/{prefix}:{operation}?api-version={}",
            self.addresses.control,
            crate::arm::PROVIDER,
            crate::arm::API_VERSION
        )
    }
}

/// Whether labels have every term of a filter: `key` or `key=value`, parted by commas.
fn has_terms(labels: &std::collections::BTreeMap<String, String>, terms: Option<&str>) -> bool {
    terms.unwrap_or_default().split(',').map(str::trim).filter(|term| !term.is_empty()).all(|term| match term
        .split_once('=')
    {
        None => labels.contains_key(term),
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
    })
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let workspace = &granted.scope;
    control.operations.workspace(workspace).ok_or_else(|| Refusal::NotFound(workspace.clone()))?;
    let (by_change, order) = match call.query("orderBy").map(str::to_ascii_lowercase).as_deref() {
        None | Some("createdatasc" | "") => (false, Order::Ascending),
        Some("createdatdesc") => (false, Order::Descending),
        Some("updatedatasc") => (true, Order::Ascending),
        Some("updatedatdesc") => (true, Order::Descending),
        Some(_) => {
            let words = "CreatedAtDesc, CreatedAtAsc, UpdatedAtDesc or UpdatedAtAsc";
            return Err(ApiError::bad("BadArgument", format!("`orderBy` is {words}"), Some("orderBy")).into());
        }
    };
    let sorted = call.query("orderBy").is_some();
    let managed = call.query("computeType").is_none_or(|kind| kind.eq_ignore_ascii_case("managed"));
    let wanted = |spec: &EndpointSpec| {
        managed
            && call.query("name").is_none_or(|name| name.eq_ignore_ascii_case(spec.name.key()))
            && has_terms(&spec.tags, call.query("tags"))
            && has_terms(&spec.properties, call.query("properties"))
    };
    let contents = control.operations.publisher.contents();
    let each = contents
        .below(workspace)
        .filter_map(|(key, stored)| Some((key, &**stored, stored.resource.endpoint()?)));
    let items = each.filter(|(_, _, endpoint)| wanted(&endpoint.spec)).map(|(key, stored, endpoint)| {
        let time = if by_change { &stored.system.modified_at } else { &stored.system.created_at };
        let key = if sorted { format!("{time} {key}") } else { key.to_owned() };
        (key, (stored, endpoint))
    });
    let size = size(call, &["count"], 100)?;
    let page = control.page(call, items.collect(), order, size, |(stored, endpoint)| {
        control.show(&workspace.online_endpoint(&endpoint.spec.name), (stored, endpoint), None)
    })?;
    Ok(Reply::ok(page)?)
}

pub(in crate::control) async fn put(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let operations = &control.operations;
    let workspace = operations.workspace_of(&call.workspace())?;
    let before = operations.endpoint(&granted.scope).await?;
    let known =
        before.as_deref().and_then(|stored| stored.resource.endpoint()).map(|endpoint| &endpoint.spec);
    let name: EndpointName = match known {
        Some(known) => known.name.clone(),
        None => call.name("endpoint")?,
    };
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        endpoint::read(form, &name, &workspace.place, known)
    })?;
    let written = operations.put_endpoint(&granted, before.clone(), described, &call.precondition).await?;
    control.written::<Endpoint>(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known::<Endpoint>(&granted.scope).await?;
    let known = &before.resource.endpoint().ok_or(Refusal::Defect)?.spec;
    let spec = call.read(|form| Some(endpoint::patch(form, known)))?;
    let written = control.operations.patch_endpoint(&granted, &before, spec, &call.precondition).await?;
    control.written::<Endpoint>(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_endpoint(&granted, &call.precondition).await?))
}

pub(in crate::control) async fn mirror_report(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let stored = control.known::<Endpoint>(&granted.scope).await?;
    let endpoint = stored.resource.endpoint().ok_or(Refusal::Defect)?;
    Ok(Reply::ok(control.operations.mirror_report(&granted, &endpoint.spec)?)?)
}

pub(in crate::control) async fn list_keys(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let (primary, secondary) = control.operations.list_keys(&granted).await?;
    let view = KeysView { primary_key: primary.to_string(), secondary_key: secondary.to_string() };
    Ok(Reply::ok(view)?)
}

pub(in crate::control) async fn regenerate_keys(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let slot = call.read(key_to_regenerate)?;
    control.operations.regenerate_key(&granted, slot).await?;
    Ok(Reply::empty(StatusCode::OK))
}

pub(in crate::control) async fn token(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let issued = control.operations.issue_token(&granted).await?;
    Ok(Reply::ok(TokenView {
        access_token: issued.token,
        token_type: "Bearer".to_owned(),
        expiry_time_utc: issued.expires,
        refresh_after_time_utc: issued.refresh_after,
    })?)
}
