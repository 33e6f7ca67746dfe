//! Online deployments.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::noun::Noun;
use super::{Outcome, describe_tags, placeholder, removed};
use crate::arm::access::LogsView;
use crate::arm::deployment::{self, DeploymentView, Place};
use crate::arm::envelope::Page;
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::forms::Form;
use crate::model::asset::Routes;
use crate::model::deployment::Deployment;
use crate::model::endpoint::Endpoint;
use crate::model::resource::Resource;
use crate::model::scope::WorkspaceRef;
use crate::operations::{Granted, Refusal};

pub(in crate::control) fn describe(form: &Form<'_>) {
    if let Some(place) = placeholder() {
        deployment::read(form, place, None, |_| Routes::default());
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    describe_tags(form);
    form.section("sku", "How large it is.", |f| {
        f.carried("name");
        f.value::<u32>("capacity", "How many instances.").optional();
    });
}

/// Lines of output that are shown if nobody says how many, as by `az ml`.
const LINES: usize = 5_000;

pub(in crate::control) fn describe_logs(form: &Form<'_>) {
    read_logs(form);
}

/// How many lines are asked for.
fn read_logs(form: &Form<'_>) -> Option<u32> {
    let kinds = [("InferenceServer", ()), ("StorageInitializer", ())];
    form.one_of("containerType", "Whose output.", &kinds).or(());
    form.value::<u32>("tail", "The last lines only.").optional()
}

impl Noun for Deployment {
    type View = DeploymentView;

    fn of(resource: &Resource) -> Option<&Deployment> {
        resource.deployment()
    }

    fn workspace(&self) -> &WorkspaceRef {
        &self.workspace
    }

    fn view(&self, control: &Control, about: About<'_>, _: Option<Uuid>) -> DeploymentView {
        deployment::view(self, about, &control.operations.instances_of(self))
    }
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let endpoint = &granted.scope;
    control.known::<Endpoint>(endpoint).await?;
    control
        .page_below(call, endpoint, &["$top", "count"], |shown: &Deployment| endpoint.deployment(&shown.name))
}

pub(in crate::control) async fn put(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let operations = &control.operations;
    let workspace = operations.workspace_of(&call.workspace())?;
    let before = operations.deployment(&granted.scope).await?;
    let known = before.as_deref().and_then(|stored| stored.resource.deployment());
    let name = match known {
        Some(known) => known.name.clone(),
        None => call.name("deployment")?,
    };
    let place = Place { workspace: workspace.place, endpoint: call.name("endpoint")?, name };
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        deployment::read(form, place, known, |environment| operations.routes_of_environment(environment))
    })?;
    let written = operations.put_deployment(&granted, before.clone(), described, &call.precondition).await?;
    control.written::<Deployment>(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known::<Deployment>(&granted.scope).await?;
    let known = before.resource.deployment().ok_or(Refusal::Defect)?;
    let changed = call.read(|form| Some(deployment::patch(form, known)))?;
    let operations = &control.operations;
    let written =
        operations.put_deployment(&granted, Some(before.clone()), changed, &call.precondition).await?;
    control.written::<Deployment>(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_deployment(&granted, &call.precondition).await?))
}

pub(in crate::control) async fn logs(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let lines = if call.has_body() { call.read(|form| Some(read_logs(form)))? } else { None };
    let stored = control.known::<Deployment>(&granted.scope).await?;
    let shown = stored.resource.deployment().ok_or(Refusal::Defect)?;
    let lines = lines.map_or(LINES, |lines| lines as usize);
    let content = control.operations.output_of(shown, lines).unwrap_or_else(|| {
        let addresses: Vec<String> =
            control.operations.instances_of(shown).into_iter().filter_map(|instance| instance.address).collect();
        format!(
            "The gateway does not run the instances of this deployment and has none of their output; they are at {}.\n",
            addresses.join(", ")
        )
    });
    Ok(Reply::ok(LogsView { content })?)
}

/// A size that a deployment can have.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::control) struct SkuResource {
    resource_type: String,
    sku: SkuName,
    capacity: Capacity,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SkuName {
    name: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Capacity {
    default: u32,
    minimum: u32,
    maximum: u32,
    scale_type: String,
}

pub(in crate::control) async fn skus(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    control.known::<Deployment>(&granted.scope).await?;
    let maximum = u32::try_from(control.operations.limits.instances_per_deployment).unwrap_or(u32::MAX);
    let sku = SkuResource {
        resource_type: deployment::TYPE.to_owned(),
        sku: SkuName { name: "Default".to_owned() },
        capacity: Capacity { default: 1, minimum: 1, maximum, scale_type: "Manual".to_owned() },
    };
    Ok(Reply::ok(Page { value: vec![sku], next_link: None })?)
}
