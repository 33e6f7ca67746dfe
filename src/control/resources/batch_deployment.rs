//! Batch deployments.

use uuid::Uuid;

use super::noun::Noun;
use super::{Outcome, describe_tags, placeholder, removed};
use crate::arm::batch_deployment::{self, BatchDeploymentView};
use crate::arm::deployment::Place;
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::call::Call;
use crate::forms::Form;
use crate::model::asset::Routes;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::resource::Resource;
use crate::model::scope::WorkspaceRef;
use crate::operations::{Granted, Refusal};

pub(in crate::control) fn describe(form: &Form<'_>) {
    if let Some(place) = placeholder() {
        batch_deployment::read(form, place, None, |_| Routes::default());
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    describe_tags(form);
    form.section("properties", "", |f| {
        f.value::<String>("description", "What it is for.").optional();
    });
}

impl Noun for BatchDeployment {
    type View = BatchDeploymentView;

    fn of(resource: &Resource) -> Option<&BatchDeployment> {
        resource.batch_deployment()
    }

    fn workspace(&self) -> &WorkspaceRef {
        &self.serving.workspace
    }

    fn view(&self, control: &Control, about: About<'_>, _: Option<Uuid>) -> BatchDeploymentView {
        batch_deployment::view(self, about, &control.operations.instances_of(&self.serving))
    }
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let endpoint = &granted.scope;
    control.known::<BatchEndpoint>(endpoint).await?;
    control.page_below(call, endpoint, &["$top", "count"], |shown: &BatchDeployment| {
        endpoint.deployment(&shown.serving.name)
    })
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
    control.written::<BatchDeployment>(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known::<BatchDeployment>(&granted.scope).await?;
    let known = before.resource.batch_deployment().ok_or(Refusal::Defect)?;
    let changed = call.read(|form| Some(batch_deployment::patch(form, known)))?;
    let operations = &control.operations;
    let written =
        operations.put_batch_deployment(&granted, Some(before.clone()), changed, &call.precondition).await?;
    control.written::<BatchDeployment>(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_batch_deployment(&granted, &call.precondition).await?))
}
