//! Batch endpoints.

use super::{Outcome, removed, status};
use crate::arm::batch_endpoint::{self, BatchEndpointView};
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::batch::BatchEndpoint;
use crate::model::names::EndpointName;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::operations::{Granted, Refusal, Written};
use crate::store::Stored;

pub(in crate::control) fn describe(form: &Form<'_>) {
    let word = || "name".to_owned();
    let workspace = WorkspaceRef { subscription: word(), resource_group: word(), name: word() };
    if let Ok(name) = "name".parse() {
        batch_endpoint::read(form, &name, &workspace, None);
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    form.pairs::<String>("tags", "The user's labels; they replace those there are.");
}

impl Control {
    fn show_batch_endpoint(
        &self,
        id: &Scope,
        stored: &Stored,
        shown: &BatchEndpoint,
        operation: Option<String>,
    ) -> BatchEndpointView {
        let location = self.location(&shown.workspace);
        let about = About { id, location: &location, system: &stored.system };
        batch_endpoint::view(shown, about, &self.addresses.data, operation)
    }

    fn written_batch_endpoint(&self, id: &Scope, written: &Written) -> Outcome {
        let shown = written.stored.resource.batch_endpoint().ok_or(Refusal::Defect)?;
        let uri = self.operation_uri(id, "beidp", written.operation);
        let view = self.show_batch_endpoint(id, &written.stored, shown, Some(uri));
        Ok(Reply::with(status(written), view)?.tagged(written.stored.revision))
    }

    async fn known_batch_endpoint(&self, id: &Scope) -> Result<std::sync::Arc<Stored>, Refusal> {
        self.operations.batch_endpoint(id).await?.ok_or_else(|| Refusal::NotFound(id.clone()))
    }
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let stored = control.known_batch_endpoint(&granted.scope).await?;
    let shown = stored.resource.batch_endpoint().ok_or(Refusal::Defect)?;
    let view = control.show_batch_endpoint(&granted.scope, &stored, shown, None);
    Ok(Reply::ok(view)?.tagged(stored.revision))
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let workspace = &granted.scope;
    control.operations.workspace(workspace).ok_or_else(|| Refusal::NotFound(workspace.clone()))?;
    let contents = control.operations.publisher.contents();
    let each = contents
        .below(workspace)
        .filter_map(|(key, stored)| Some((key, stored, stored.resource.batch_endpoint()?)));
    let items = each.map(|(key, stored, shown)| (key.to_owned(), (stored.clone(), shown.clone())));
    let size = size(call, &["count"], 100)?;
    let page = control.page(call, items.collect(), Order::Ascending, size, |(stored, shown)| {
        control.show_batch_endpoint(&workspace.batch_endpoint(&shown.name), &stored, &shown, None)
    })?;
    Ok(Reply::ok(page)?)
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
    control.written_batch_endpoint(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known_batch_endpoint(&granted.scope).await?;
    let known = before.resource.batch_endpoint().ok_or(Refusal::Defect)?;
    let changed = call.read(|form| Some(batch_endpoint::patch(form, known)))?;
    let operations = &control.operations;
    let written =
        operations.put_batch_endpoint(&granted, Some(before.clone()), changed, &call.precondition).await?;
    control.written_batch_endpoint(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_batch_endpoint(&granted, &call.precondition).await?))
}

pub(in crate::control) async fn list_keys(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    Err(control.operations.batch_keys(&granted).await?.into())
}
