//! Workspaces, and the subscriptions and resource groups above them.

use std::collections::BTreeSet;

use super::{Outcome, status};
use crate::arm::envelope::Page;
use crate::arm::resource::agrees;
use crate::arm::workspace::{self, GroupView, WorkspaceView};
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::resource::Resource;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::workspace::Workspace;
use crate::operations::{Asker, Granted, Refusal};
use crate::store::Stored;

const READ: &str = "Microsoft.MachineLearningServices/workspaces/read";

pub(in crate::control) fn describe(form: &Form<'_>) {
    let word = || "name".to_owned();
    let place =
        WorkspaceRef { subscription: uuid::Uuid::nil().to_string(), resource_group: word(), name: word() };
    workspace::read(form, &place);
}

impl Control {
    fn show_workspace(&self, id: &Scope, shown: &Workspace, stored: Option<&Stored>) -> WorkspaceView {
        let guid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, id.key().as_bytes());
        let discovery = format!("{}/discovery/workspaces/{guid}", self.addresses.control);
        workspace::view(shown, id, stored.map(|stored| &stored.system), discovery)
    }

    fn tenant(&self) -> String {
        let tenant = self.addresses.authority.as_ref().map(|(_, tenant)| tenant.clone());
        tenant.unwrap_or_else(|| uuid::Uuid::nil().to_string())
    }

    /// The workspaces in a scope in which somebody holds a role.
    fn known_workspaces(&self, asker: &Asker, scope: &Scope) -> Result<Vec<Workspace>, Refusal> {
        let mut known = Vec::new();
        for found in self.operations.workspaces_in(scope) {
            let Ok(id) = found.workspace.place.scope() else { continue };
            if self.operations.has_a_role_in(asker, &id)? {
                known.push(found.workspace);
            }
        }
        Ok(known)
    }
}

pub(in crate::control) async fn subscriptions(control: &Control, _call: &Call, asker: Asker) -> Outcome {
    let known = control.known_workspaces(&asker, &Scope::root())?;
    let ids: BTreeSet<String> = known.into_iter().map(|workspace| workspace.place.subscription).collect();
    let value = ids.iter().map(|id| workspace::subscription(id, &control.tenant())).collect();
    Ok(Reply::ok(Page { value, next_link: None })?)
}

pub(in crate::control) async fn subscription(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let scope = call.target()?;
    match control.known_workspaces(&asker, &scope)?.first() {
        None => Err(Refusal::NotFound(scope).into()),
        Some(found) => Ok(Reply::ok(workspace::subscription(&found.place.subscription, &control.tenant()))?),
    }
}

fn groups_of(known: &[Workspace]) -> Vec<GroupView> {
    let mut seen = BTreeSet::new();
    let fresh = known.iter().filter(|found| seen.insert(found.place.resource_group.to_ascii_lowercase()));
    let view = |found: &Workspace| {
        let (subscription, name) = (&found.place.subscription, &found.place.resource_group);
        workspace::group(
            &format!("/subscriptions/{subscription}/resourceGroups/{name}"),
            name,
            &found.location,
        )
    };
    fresh.map(view).collect()
}

pub(in crate::control) async fn groups(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let subscription =
        call.path.scope(0, 1).ok_or_else(|| Refusal::invalid("id", "the path is no resource id"))?;
    let known = control.known_workspaces(&asker, &subscription)?;
    Ok(Reply::ok(Page { value: groups_of(&known), next_link: None })?)
}

pub(in crate::control) async fn group(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let scope = call.target()?;
    let known = control.known_workspaces(&asker, &scope)?;
    match groups_of(&known).pop() {
        None => Err(Refusal::NotFound(scope).into()),
        Some(view) => Ok(Reply::ok(view)?),
    }
}

pub(in crate::control) async fn list(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let scope = call.path.scope(0, 3).ok_or_else(|| Refusal::invalid("id", "the path is no resource id"))?;
    let found = control.operations.workspaces_in(&scope).into_iter().filter_map(|found| {
        let id = found.workspace.place.scope().ok()?;
        control.operations.may(&asker, READ, &id).then(|| (id.key().to_owned(), (id, found)))
    });
    let size = size(call, &["$top"], 100)?;
    let page = control.page(call, found.collect(), Order::Ascending, size, |(id, found)| {
        control.show_workspace(&id, &found.workspace, found.stored.as_deref())
    })?;
    Ok(Reply::ok(page)?)
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let found = control.operations.workspace(&granted.scope);
    let found = found.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
    let view = control.show_workspace(&granted.scope, &found.workspace, found.stored.as_deref());
    Ok(Reply::ok(view)?.tagged(found.stored.map(|stored| stored.revision)))
}

pub(in crate::control) async fn put(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let known = control.operations.workspace(&granted.scope).map(|found| found.workspace.place);
    let place = known.unwrap_or_else(|| call.workspace());
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        Some(workspace::read(form, &place))
    })?;
    let written = control.operations.put_workspace(&granted, described, &call.precondition).await?;
    let Resource::Workspace(shown) = &written.stored.resource else { return Err(Refusal::Defect.into()) };
    let view = control.show_workspace(&granted.scope, shown, Some(&written.stored));
    Ok(Reply::with(status(&written), view)?.tagged(written.stored.revision))
}

/// There are no computes here: instances are where deployments say.
pub(in crate::control) async fn compute(_control: &Control, _call: &Call, granted: Granted) -> Outcome {
    Err(Refusal::NotFound(granted.scope).into())
}
