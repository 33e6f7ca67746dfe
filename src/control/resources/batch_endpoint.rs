//! Batch endpoints.

use uuid::Uuid;

use super::noun::Noun;
use super::{Outcome, describe_tags, placeholder, removed};
use crate::arm::batch_endpoint::{self, BatchEndpointView};
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::call::Call;
use crate::forms::Form;
use crate::model::batch::BatchEndpoint;
use crate::model::names::EndpointName;
use crate::model::resource::Resource;
use crate::model::scope::WorkspaceRef;
use crate::operations::{Granted, Refusal};

pub(in crate::control) fn describe(form: &Form<'_>) {
    if let Some(place) = placeholder() {
        batch_endpoint::read(form, &place.endpoint, &place.workspace, None);
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    describe_tags(form);
}

impl Noun for BatchEndpoint {
    type View = BatchEndpointView;

    fn of(resource: &Resource) -> Option<&BatchEndpoint> {
        resource.batch_endpoint()
    }

    fn workspace(&self) -> &WorkspaceRef {
        &self.workspace
    }

    fn view(&self, control: &Control, about: About<'_>, operation: Option<Uuid>) -> BatchEndpointView {
        let uri = operation.map(|operation| control.operation_uri(about.id, "beidp", operation));
        batch_endpoint::view(self, about, &control.addresses.data, uri)
    }
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let workspace = &granted.scope;
    control.operations.workspace(workspace).ok_or_else(|| Refusal::NotFound(workspace.clone()))?;
    control.page_below(call, workspace, &["count"], |shown: &BatchEndpoint| {
        workspace.batch_endpoint(&shown.name)
    })
}

pub(in crate::control) async fn put(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let operations = &control.operations;
    let workspace = operations.workspace_of(&call.workspace())?;
    let before = operations.batch_endpoint(&granted.scope).await?;
    let known = before.as_deref().and_then(|stored| stored.resource.batch_endpoint());
    let name: EndpointName = match known {
        Some(known) => known.name.clone(),
        None => call.name("endpoint")?,
    };
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        batch_endpoint::read(form, &name, &workspace.place, known)
    })?;
    let written =
        operations.put_batch_endpoint(&granted, before.clone(), described, &call.precondition).await?;
    control.written::<BatchEndpoint>(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known::<BatchEndpoint>(&granted.scope).await?;
    let known = before.resource.batch_endpoint().ok_or(Refusal::Defect)?;
    let changed = call.read(|form| Some(batch_endpoint::patch(form, known)))?;
    let operations = &control.operations;
    let written =
        operations.put_batch_endpoint(&granted, Some(before.clone()), changed, &call.precondition).await?;
    control.written::<BatchEndpoint>(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_batch_endpoint(&granted, &call.precondition).await?))
}

pub(in crate::control) async fn list_keys(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    Err(control.operations.batch_keys(&granted).await?.into())
}
