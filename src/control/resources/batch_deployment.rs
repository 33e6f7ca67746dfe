//! Batch deployments.

use super::{Outcome, removed, status};
use crate::arm::batch_deployment::{self, BatchDeploymentView};
use crate::arm::deployment::Place;
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::asset::Routes;
use crate::model::batch::BatchDeployment;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::operations::{Granted, Refusal, Written};
use crate::store::Stored;

pub(in crate::control) fn describe(form: &Form<'_>) {
    let word = || "name".to_owned();
    let workspace = WorkspaceRef { subscription: word(), resource_group: word(), name: word() };
    if let (Ok(endpoint), Ok(name)) = ("name".parse(), "name".parse()) {
        batch_deployment::read(form, Place { workspace, endpoint, name }, None, |_| Routes::default());
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    form.pairs::<String>("tags", "The user's labels; they replace those there are.");
    form.section("properties", "", |f| {
        f.value::<String>("description", "What it is for.").optional();
    });
}

impl Control {
    fn show_batch_deployment(
        &self,
        id: &Scope,
        stored: &Stored,
        shown: &BatchDeployment,
    ) -> BatchDeploymentView {
        let location = self.location(&shown.serving.workspace);
        let instances = self.operations.instances_of(&shown.serving);
        let about = About { id, location: &location, system: &stored.system };
        batch_deployment::view(shown, about, &instances)
    }

    fn written_batch_deployment(&self, id: &Scope, written: &Written) -> Outcome {
        let shown = written.stored.resource.batch_deployment().ok_or(Refusal::Defect)?;
        let view = self.show_batch_deployment(id, &written.stored, shown);
        Ok(Reply::with(status(written), view)?.tagged(written.stored.revision))
    }

    async fn known_batch_deployment(&self, id: &Scope) -> Result<std::sync::Arc<Stored>, Refusal> {
        self.operations.batch_deployment(id).await?.ok_or_else(|| Refusal::NotFound(id.clone()))
    }
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let stored = control.known_batch_deployment(&granted.scope).await?;
    let shown = stored.resource.batch_deployment().ok_or(Refusal::Defect)?;
    Ok(Reply::ok(control.show_batch_deployment(&granted.scope, &stored, shown))?.tagged(stored.revision))
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let endpoint = &granted.scope;
    let known = control.operations.batch_endpoint(endpoint).await?;
    known.ok_or_else(|| Refusal::NotFound(endpoint.clone()))?;
    let contents = control.operations.publisher.contents();
    let each = contents
        .below(endpoint)
        .filter_map(|(key, stored)| Some((key, stored, stored.resource.batch_deployment()?)));
    let items = each.map(|(key, stored, shown)| (key.to_owned(), (stored.clone(), shown.clone())));
    let size = size(call, &["$top", "count"], 100)?;
    let page = control.page(call, items.collect(), Order::Ascending, size, |(stored, shown)| {
        control.show_batch_deployment(&endpoint.deployment(&shown.serving.name), &stored, &shown)
    })?;
    Ok(Reply::ok(page)?)
}

pub(in crate::control) async fn put(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let operations = &control.operations;
    let workspace = operations.workspace_of(&call.workspace())?;
    let before = operations.batch_deployment(&granted.scope).await?;
    let known = before.as_deref().and_then(|stored| stored.resource.batch_deployment());
    let name = match known {
        Some(known) => known.serving.name.clone(),
        None => call.name("deployment")?,
    };
    let place = Place { workspace: workspace.place, endpoint: call.name("endpoint")?, name };
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        batch_deployment::read(form, place, known, |id| operations.routes_of_environment(id))
    })?;
    let written =
        operations.put_batch_deployment(&granted, before.clone(), described, &call.precondition).await?;
    control.written_batch_deployment(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known_batch_deployment(&granted.scope).await?;
    let known = before.resource.batch_deployment().ok_or(Refusal::Defect)?;
    let changed = call.read(|form| Some(batch_deployment::patch(form, known)))?;
    let operations = &control.operations;
    let written =
        operations.put_batch_deployment(&granted, Some(before.clone()), changed, &call.precondition).await?;
    control.written_batch_deployment(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_batch_deployment(&granted, &call.precondition).await?))
}
