//! `scoregate apply`: files say what there shall be; what differs is shown, checked and then made so.

mod change;
mod check;
mod current;
mod datastore;
mod diff;
mod plan;
mod sent;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use self::change::{Action, Change};
use self::current::Current;
use self::plan::Plan;
use super::context::Context;
use super::failure::Failure;
use super::http::escape;
use super::output::Columns;
use super::scope::{described, located, path};
use super::shape::Noun;
use super::{file, say};
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::Scope;
use crate::model::workspace::Workspace;
use crate::resources::{DatastoreDocument, DocumentKind};

const COLUMNS: Columns =
    &[("Action", "action"), ("Resource", "resource"), ("Source", "source"), ("Fields", "fields")];

/// Files say what there shall be.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scoregate apply -f config/resources --dry-run     # show what would change, and check that it may
  scoregate apply -f config/resources               # make it so; a second run changes nothing
  scoregate apply -f config/resources --prune       # and delete what the files do not have
  scoregate export | scoregate apply -f - --dry-run # nothing to do

A file holds documents parted by `---`, in the form of `az ml`: endpoints, deployments (with endpoint_name and backend),
batch endpoints (with defaults or $schema), batch deployments (with settings or type: model), data stores (with type),
custom roles (with role_name) and role assignments (with principal_id). `scoregate export` writes the same form.

Nothing is changed if any document is wrong, contradicts another, or asks for what you are not allowed. Then, in order:
roles, data stores, new endpoints without traffic or defaults, deployments, changed endpoints, traffic and defaults, role
assignments, and deletions last.
--prune deletes endpoints, deployments and data stores of the workspace that the files do not have, never roles or role
assignments, and leaves what comes from the gateway's own resources directory.
Entries of `properties` are added and changed; leaving one out does not remove it. The credential of a data store is never
shown, so that it cannot be compared: it is sent when the store is new or anything else of it differs.")]
pub struct Apply {
    /// A file, a directory of files, or - for standard input
    #[arg(short, long, value_name = "FILE|DIR")]
    filename: PathBuf,
    /// Delete endpoints, deployments and data stores of the workspace that the files do not have
    #[arg(long)]
    prune: bool,
    /// Show and check what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let workspaces = workspaces(context).await?;
        let documents = file::all(&self.filename, &workspaces)?;
        if documents.is_empty() {
            return Err(Failure::usage(format!("{} holds no documents", self.filename.display())));
        }
        let current = Current::read(context, &documents, &workspaces, self.prune).await?;
        let plan = Plan::make(documents, &current, &workspaces, self.prune)?;
        if context.printer.in_words() {
            say(&plan.in_words());
        }
        allowed(context, &plan).await?;
        if !self.dry_run {
            carry_out(context, &plan).await?;
        }
        if !context.printer.in_words() {
            if context.printer.is_table() {
                let rows: Vec<Value> = plan.changes.iter().map(Change::row).collect();
                context.printer.print(&Value::from(rows), COLUMNS)?;
            } else {
                let changes: Vec<Value> = plan.changes.iter().map(Change::shown).collect();
                context.printer.print(&json!({"dryRun": self.dry_run, "changes": changes}), &[])?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The workspace that is meant, and after it the others there are: documents may name them.
async fn workspaces(context: &Context) -> Result<Vec<Workspace>, Failure> {
    let place = context.place.workspace(&context.client).await?;
    let mut found = vec![described(&context.client, place.clone()).await?];
    let list = format!(
        "/subscriptions/{}/providers/Microsoft.MachineLearningServices/workspaces",
        escape(&place.subscription)
    );
    if let Ok(listed) = context.client.list(&list).await {
        for view in listed {
            let Some(place) = super::scope::workspace_of(&view) else { continue };
            if found.iter().all(|known| !same(known, &place)) {
                found.push(located(place, &view));
            }
        }
    }
    Ok(found)
}

fn same(workspace: &Workspace, place: &crate::model::scope::WorkspaceRef) -> bool {
    match (workspace.place.scope(), place.scope()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Asks the server whether each change would be allowed; what is not is told all at once.
async fn allowed(context: &Context, plan: &Plan) -> Result<(), Failure> {
    let mut refusals = Vec::new();
    for change in plan.changes.iter().filter(|change| change.action != Action::Keep) {
        for (action, scope) in change.rights() {
            let url = format!("{}/providers/Scoregate.Gateway/checkAccess", path(&scope));
            let answer =
                match context.client.post(&url, &json!({"action": action, "isDataAction": false})).await {
                    Ok(answer) => answer,
                    // A server that cannot be asked beforehand says so when it comes to it.
                    Err(error) if error.status().is_some() => continue,
                    Err(error) => return Err(error.into()),
                };
            if answer.get("allowed").and_then(Value::as_bool) == Some(false) {
                let command = answer.pointer("/missing/command").and_then(Value::as_str);
                let hint = command.map(|command| format!("\n      {command}")).unwrap_or_default();
                refusals.push(format!("  - {} needs {action} at {scope}{hint}", change.label()));
            }
        }
    }
    if refusals.is_empty() {
        return Ok(());
    }
    refusals.dedup();
    Err(Failure::failed(format!("nothing was changed; you are not allowed to:\n{}", refusals.join("\n"))))
}

/// Makes every change, in an order in which each is possible.
async fn carry_out(context: &Context, plan: &Plan) -> Result<(), Failure> {
    let mut done = 0_usize;
    for step in STEPS {
        for change in &plan.changes {
            let Some(request) = step.request(change) else { continue };
            let made = one(context, change, &request).await;
            if let Ok(false) = made {
                context.note(&format!(
                    "left {}: it comes from the gateway's own resources directory",
                    change.label()
                ));
                continue;
            }
            if let Err(failure) = made {
                let rest = plan.changes.iter().filter(|change| change.action != Action::Keep).count();
                let told = format!(
                    "{}: {failure}\n{done} of {rest} changes were made; run again to go on",
                    change.label()
                );
                return Err(Failure::failed(told));
            }
            if step.completes(change) {
                done += 1;
                context.note(&format!("{} {}", change.action.past(), change.label()));
            }
        }
    }
    Ok(())
}

/// Sends one change. What was changed by others since it was looked at is not overwritten.
/// `false` if what should be deleted is not the caller's to delete.
async fn one(context: &Context, change: &Change, request: &Request<'_>) -> Result<bool, Failure> {
    let url = path(&change.id);
    let Request::Put(body) = request else {
        return match context.client.delete(&url).await {
            Err(error) if error.code() == Some("ManagedByFiles") => Ok(false),
            deleted => Ok(deleted.map(|_| true)?),
        };
    };
    let mut tag = None;
    if let (Action::Update, Some(before)) = (change.action, &change.before) {
        let found = context.client.find_tagged(&url).await?;
        let (view, now) = found.ok_or_else(|| Failure::failed("it was deleted meanwhile"))?;
        let same = match change.kind {
            DocumentKind::Endpoint => same_noun::<EndpointSpec>(&view, before)?,
            DocumentKind::Deployment => same_noun::<Deployment>(&view, before)?,
            DocumentKind::BatchEndpoint => same_noun::<BatchEndpoint>(&view, before)?,
            DocumentKind::BatchDeployment => same_noun::<BatchDeployment>(&view, before)?,
            DocumentKind::Datastore => same_noun::<DatastoreDocument>(&view, before)?,
            DocumentKind::Role | DocumentKind::Assignment | DocumentKind::Denial => view == *before,
        };
        if !same {
            return Err(Failure::failed("it was changed by somebody else meanwhile"));
        }
        tag = now;
    }
    context.client.put_over(&url, body, tag.as_deref()).await?;
    Ok(true)
}

fn same_noun<T: Noun>(view: &Value, before: &Value) -> Result<bool, Failure> {
    Ok(T::seen(view)? == T::seen(before)?)
}

/// The steps of carrying a plan out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Roles,
    Datastores,
    NewEndpoints,
    Deployments,
    Endpoints,
    Grants,
    GoneDeployments,
    GoneEndpoints,
    GoneDatastores,
}

const STEPS: [Step; 9] = [
    Step::Roles,
    Step::Datastores,
    Step::NewEndpoints,
    Step::Deployments,
    Step::Endpoints,
    Step::Grants,
    Step::GoneDeployments,
    Step::GoneEndpoints,
    Step::GoneDatastores,
];

/// What is sent in a step for a change.
enum Request<'a> {
    Put(&'a Value),
    Delete,
}

impl Step {
    /// What this step sends for a change, if it has anything to do with it.
    fn request(self, change: &Change) -> Option<Request<'_>> {
        use Action::{Create, Delete, Update};
        use DocumentKind as Kind;
        let whole = || change.body.as_ref().map(Request::Put);
        match (self, change.kind, change.action) {
            (Step::Roles, Kind::Role, Create | Update)
            | (Step::Datastores, Kind::Datastore, Create | Update)
            | (Step::Deployments, Kind::Deployment | Kind::BatchDeployment, Create | Update)
            | (Step::Endpoints, Kind::Endpoint | Kind::BatchEndpoint, Update)
            | (Step::Grants, Kind::Assignment, Create | Update) => whole(),
            // A new endpoint has no deployments yet that traffic or jobs could go to.
            (Step::NewEndpoints, Kind::Endpoint | Kind::BatchEndpoint, Create) => {
                change.first.as_ref().map(Request::Put).or_else(whole)
            }
            (Step::Endpoints, Kind::Endpoint | Kind::BatchEndpoint, Create) if change.first.is_some() => {
                whole()
            }
            (Step::GoneDeployments, Kind::Deployment | Kind::BatchDeployment, Delete)
            | (Step::GoneEndpoints, Kind::Endpoint | Kind::BatchEndpoint, Delete)
            | (Step::GoneDatastores, Kind::Datastore, Delete) => Some(Request::Delete),
            _ => None,
        }
    }

    /// Whether a change is complete after this step.
    fn completes(self, change: &Change) -> bool {
        self != Step::NewEndpoints || change.first.is_none()
    }
}

impl Change {
    /// The actions it needs, and where.
    fn rights(&self) -> Vec<(String, Scope)> {
        let verb = if self.action == Action::Delete { "delete" } else { "write" };
        let what = match self.kind {
            DocumentKind::Endpoint => "MachineLearningServices/workspaces/onlineEndpoints",
            DocumentKind::Deployment => "MachineLearningServices/workspaces/onlineEndpoints/deployments",
            DocumentKind::BatchEndpoint => "MachineLearningServices/workspaces/batchEndpoints",
            DocumentKind::BatchDeployment => "MachineLearningServices/workspaces/batchEndpoints/deployments",
            DocumentKind::Datastore => "MachineLearningServices/workspaces/datastores",
            DocumentKind::Role => "Authorization/roleDefinitions",
            DocumentKind::Assignment => "Authorization/roleAssignments",
            DocumentKind::Denial => "Authorization/denyAssignments",
        };
        self.scopes.iter().map(|scope| (format!("Microsoft.{what}/{verb}"), scope.clone())).collect()
    }
}
