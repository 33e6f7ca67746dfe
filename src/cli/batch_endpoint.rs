//! `scoregate batch-endpoint`, with `az ml batch-endpoint`'s flags and in its form.

mod body;
mod invoke;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::Context;
use super::edit;
use super::failure::Failure;
use super::flags::{self, Changes, Delete, EndpointFile};
use super::http::escape;
use super::job::{self, Most};
use super::output::Columns;
use super::scope::{described, path};
use super::{file, resource};
use crate::forms::Node;
use crate::model::batch::BatchEndpoint as Noun;
use crate::model::names::DeploymentName;
use crate::model::workspace::Workspace;

const COLUMNS: Columns =
    &[("Name", "name"), ("Default", "defaults.deployment_name"), ("ScoringUri", "scoring_uri")];

/// Batch endpoints.
#[derive(Debug, Args)]
pub struct BatchEndpoint {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an endpoint; one that is there already is left alone
    #[command(after_help = "Examples:
  scoregate batch-endpoint create -n heart
  scoregate batch-endpoint create -f endpoint.yml --set tags.team=vision

endpoint.yml:
  name: heart
  auth_mode: aad_token        # batch endpoints have no other

Deployments come next (`batch-deployment create --set-default`), then jobs (`batch-endpoint invoke`).")]
    Create(Create),
    /// Change an endpoint: its default deployment, its description, its tags
    #[command(after_help = "Examples:
  scoregate batch-endpoint update -n heart --defaults green
  scoregate batch-endpoint update -n heart --set defaults.deployment_name=green tags.team=vision
  scoregate batch-endpoint update -f endpoint.yml

A file's fields replace those there are, its tags and properties are added; flags go before the file.")]
    Update(Update),
    /// Show an endpoint
    #[command(after_help = "Examples:
  scoregate batch-endpoint show -n heart
  scoregate batch-endpoint show -n heart --query defaults.deployment_name -o tsv")]
    Show(flags::Endpoint),
    /// List the workspace's batch endpoints
    #[command(after_help = "Examples:
  scoregate batch-endpoint list -o table")]
    List,
    /// Delete an endpoint and its deployments; its jobs stay
    #[command(after_help = "Examples:
  scoregate batch-endpoint delete -n heart --yes")]
    Delete(Delete<flags::Endpoint>),
    /// Make a job: score files, and write what the model says of them to a data store
    #[command(after_help = invoke::EXAMPLES)]
    Invoke(invoke::Invoke),
    /// List an endpoint's jobs
    #[command(after_help = "Examples:
  scoregate batch-endpoint list-jobs -n heart -o table
  scoregate batch-endpoint list-jobs -n heart --query \"[?status=='Running'].name\" -o tsv")]
    ListJobs(Jobs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Mode {
    AadToken,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    which: EndpointFile,
    /// How callers prove who they are: by an Entra token, there is nothing else
    #[arg(long, value_enum, value_name = "MODE")]
    auth_mode: Option<Mode>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
struct Update {
    #[command(flatten)]
    which: EndpointFile,
    /// The deployment of jobs that name none
    #[arg(long, value_name = "DEPLOYMENT")]
    defaults: Option<String>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
struct Jobs {
    #[command(flatten)]
    which: flags::Endpoint,
    #[command(flatten)]
    most: Most,
}

impl BatchEndpoint {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = &context.client;
        let workspace = context.place.workspace(client).await?;
        let base = path(&workspace.scope()?);
        let list = format!("{base}/batchEndpoints");
        let at = |name: &str| format!("{list}/{}", escape(name));
        match &self.command {
            Command::Create(options) => {
                let workspace = described(client, workspace).await?;
                let made = create(context, &list, &workspace, options).await?;
                resource::print::<Noun>(context, &made, COLUMNS)?;
            }
            Command::Update(options) => {
                let workspace = described(client, workspace).await?;
                let changed = update(context, &list, &workspace, options).await?;
                resource::print::<Noun>(context, &changed, COLUMNS)?;
            }
            Command::Show(flags::Endpoint { name }) => {
                resource::show::<Noun>(context, &at(name), COLUMNS).await?;
            }
            Command::List => resource::list::<Noun>(context, &list, COLUMNS).await?,
            Command::Delete(Delete { which: flags::Endpoint { name }, yes, .. }) => {
                let what = format!("Deleting endpoint {name} and its deployments");
                let missing = format!("there is no batch endpoint {name}");
                resource::delete(context, &at(name), *yes, &what, missing).await?;
            }
            Command::Invoke(options) => return options.run(context, &base, &at(&options.name)).await,
            Command::ListJobs(Jobs { which, most }) => {
                job::list_below(context, &at(&which.name), most).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn create(
    context: &Context,
    list: &str,
    workspace: &Workspace,
    options: &Create,
) -> Result<Value, Failure> {
    let mut node = options.which.document()?;
    if let Some(Mode::AadToken) = options.auth_mode {
        edit::put(&mut node, "auth_mode", &json!("aad_token"))?;
    }
    options.changes.edits.apply(&mut node)?;
    let wanted: Noun = file::noun(options.which.file.as_deref(), node, workspace)?;
    let already = format!(
        "there is a batch endpoint {0} already; `scoregate batch-endpoint update -n {0}` changes it",
        wanted.name
    );
    let path = format!("{list}/{}", wanted.name);
    resource::make(context, &path, &wanted, &workspace.location, already).await
}

async fn update(
    context: &Context,
    list: &str,
    workspace: &Workspace,
    options: &Update,
) -> Result<Value, Failure> {
    let Update { which, defaults, changes } = options;
    let over = which.over()?;
    let name = which.named(over.as_ref())?;
    if over.is_none() && defaults.is_none() && changes.edits.is_empty() {
        return Err(Failure::usage("nothing to change; give --defaults, --set, --add, --remove or -f"));
    }
    let path = format!("{list}/{}", escape(&name));
    let missing = format!("there is no batch endpoint {name}; `scoregate batch-endpoint create` makes one");
    resource::change::<Noun>(context, &path, workspace, which.file.as_deref(), missing, |node| {
        edit::overlay(node, over)?;
        edit::put(node, "name", &json!(name))?;
        if let Some(defaults) = defaults {
            // `az ml` takes the name alone and with its key.
            let deployment = defaults.strip_prefix("deployment_name=").unwrap_or(defaults);
            edit::put(node, "defaults", &json!({ "deployment_name": deployment }))?;
        }
        changes.edits.apply(node)
    })
    .await
}

/// Makes a deployment the default of its endpoint, whose path is given.
pub async fn set_default(
    context: &Context,
    path: &str,
    workspace: &Workspace,
    deployment: &DeploymentName,
) -> Result<(), Failure> {
    let missing = "the endpoint is gone".to_owned();
    let defaults = json!({ "deployment_name": deployment.to_string() });
    let edit = |node: &mut Node| edit::put(node, "defaults", &defaults);
    resource::change::<Noun>(context, path, workspace, None, missing, edit).await.map(drop)
}
