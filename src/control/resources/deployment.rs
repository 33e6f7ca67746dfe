//! Online deployments.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Outcome, removed, status};
use crate::arm::access::LogsView;
use crate::arm::deployment::{self, DeploymentView, Place};
use crate::arm::envelope::Page;
use crate::arm::resource::{About, agrees};
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::asset::Routes;
use crate::model::deployment::Deployment;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::operations::{Granted, Refusal, Written};
use crate::store::Stored;

pub(in crate::control) fn describe(form: &Form<'_>) {
    let word = || "name".to_owned();
    let workspace = WorkspaceRef { subscription: word(), resource_group: word(), name: word() };
    if let (Ok(endpoint), Ok(name)) = ("name".parse(), "name".parse()) {
        deployment::read(form, Place { workspace, endpoint, name }, None, |_| Routes::default());
    }
}

pub(in crate::control) fn describe_patch(form: &Form<'_>) {
    form.pairs::<String>("tags", "The user's labels; they replace those there are.");
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

impl Control {
    fn show_deployment(&self, id: &Scope, stored: &Stored, shown: &Deployment) -> DeploymentView {
        let location = self.location(&shown.workspace);
        let instances = self.operations.instances_of(shown);
        deployment::view(shown, About { id, location: &location, system: &stored.system }, &instances)
    }

    fn written_deployment(&self, id: &Scope, written: &Written) -> Outcome {
        let shown = written.stored.resource.deployment().ok_or(Refusal::Defect)?;
        let view = self.show_deployment(id, &written.stored, shown);
        Ok(Reply::with(status(written), view)?.tagged(written.stored.revision))
    }

    async fn known_deployment(&self, id: &Scope) -> Result<std::sync::Arc<Stored>, Refusal> {
        self.operations.deployment(id).await?.ok_or_else(|| Refusal::NotFound(id.clone()))
    }
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let stored = control.known_deployment(&granted.scope).await?;
    let shown = stored.resource.deployment().ok_or(Refusal::Defect)?;
    Ok(Reply::ok(control.show_deployment(&granted.scope, &stored, shown))?.tagged(stored.revision))
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let endpoint = &granted.scope;
    let known = control.operations.endpoint(endpoint).await?;
    known.ok_or_else(|| Refusal::NotFound(endpoint.clone()))?;
    let contents = control.operations.publisher.contents();
    let each = contents
        .below(endpoint)
        .filter_map(|(key, stored)| Some((key, stored, stored.resource.deployment()?)));
    let items = each.map(|(key, stored, shown)| (key.to_owned(), (stored.clone(), shown.clone())));
    let size = size(call, &["$top", "count"], 100)?;
    let page = control.page(call, items.collect(), Order::Ascending, size, |(stored, shown)| {
        control.show_deployment(&endpoint.deployment(&shown.name), &stored, &shown)
    })?;
    Ok(Reply::ok(page)?)
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
    control.written_deployment(&granted.scope, &written)
}

pub(in crate::control) async fn patch(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let before = control.known_deployment(&granted.scope).await?;
    let known = before.resource.deployment().ok_or(Refusal::Defect)?;
    let changed = call.read(|form| Some(deployment::patch(form, known)))?;
    let operations = &control.operations;
    let written =
        operations.put_deployment(&granted, Some(before.clone()), changed, &call.precondition).await?;
    control.written_deployment(&granted.scope, &written)
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_deployment(&granted, &call.precondition).await?))
}

pub(in crate::control) async fn logs(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let lines = if call.has_body() { call.read(|form| Some(read_logs(form)))? } else { None };
    let stored = control.known_deployment(&granted.scope).await?;
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
    control.known_deployment(&granted.scope).await?;
    let maximum = u32::try_from(control.operations.limits.instances_per_deployment).unwrap_or(u32::MAX);
    let sku = SkuResource {
        resource_type: deployment::TYPE.to_owned(),
        sku: SkuName { name: "Default".to_owned() },
        capacity: Capacity { default: 1, minimum: 1, maximum, scale_type: "Manual".to_owned() },
    };
    Ok(Reply::ok(Page { value: vec![sku], next_link: None })?)
}
