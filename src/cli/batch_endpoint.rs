//! `scoregate batch-endpoint`, with `az ml batch-endpoint`'s flags and in its form.

mod body;
mod invoke;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::escape;
use super::context::{Context, confirm};
use super::edit::{self, Edits};
use super::failure::Failure;
use super::file;
use super::job::{self, Most};
use super::output::Columns;
use super::scope::{described, path};
use super::shape::{self, batch as shown};
use crate::arm;
use crate::forms::Node;
use crate::model::batch::BatchEndpoint as Noun;
use crate::model::workspace::Workspace;
use crate::resources::{Document, DocumentKind, written};

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
    Show(Named),
    /// List the workspace's batch endpoints
    #[command(after_help = "Examples:
  scoregate batch-endpoint list -o table")]
    List,
    /// Delete an endpoint and its deployments; its jobs stay
    #[command(after_help = "Examples:
  scoregate batch-endpoint delete -n heart --yes")]
    Delete(Delete),
    /// Make a job: score files, and write what the model says of them to a data store
    #[command(after_help = invoke::EXAMPLES)]
    Invoke(invoke::Invoke),
    /// List an endpoint's jobs
    #[command(after_help = "Examples:
  scoregate batch-endpoint list-jobs -n heart -o table
  scoregate batch-endpoint list-jobs -n heart --query \"[?status=='Running'].name\" -o tsv")]
    ListJobs(Jobs),
}

#[derive(Debug, Args)]
struct Named {
    /// The endpoint's name
    #[arg(short, long)]
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Mode {
    AadToken,
}

#[derive(Debug, Args)]
struct Create {
    /// The endpoint's name; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    name: Option<String>,
    /// An endpoint in the form of `az ml`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How callers prove who they are: by an Entra token, there is nothing else
    #[arg(long, value_enum, value_name = "MODE")]
    auth_mode: Option<Mode>,
    #[command(flatten)]
    edits: Edits,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct Update {
    /// The endpoint's name; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    name: Option<String>,
    /// An endpoint in the form of `az ml`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The deployment of jobs that name none
    #[arg(long, value_name = "DEPLOYMENT")]
    defaults: Option<String>,
    #[command(flatten)]
    edits: Edits,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct Delete {
    /// The endpoint's name
    #[arg(short, long)]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct Jobs {
    /// The endpoint's name
    #[arg(short, long)]
    name: String,
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
                context.printer.print(&shown::shown_endpoint(&made)?, COLUMNS)?;
            }
            Command::Update(options) => {
                let workspace = described(client, workspace).await?;
                let changed = update(context, &list, &workspace, options).await?;
                context.printer.print(&shown::shown_endpoint(&changed)?, COLUMNS)?;
            }
            Command::Show(Named { name }) => {
                let found = client.get(&at(name)).await?;
                context.printer.print(&shown::shown_endpoint(&found)?, COLUMNS)?;
            }
            Command::List => {
                let found = client.list(&list).await?;
                let all = found.iter().map(shown::shown_endpoint).collect::<Result<Vec<Value>, _>>()?;
                context.printer.print(&Value::from(all), COLUMNS)?;
            }
            Command::Delete(options) => {
                confirm(options.yes, &format!("Deleting endpoint {} and its deployments", options.name))?;
                if client.delete(&at(&options.name)).await?.is_none() {
                    return Err(Failure::NotFound(format!("there is no batch endpoint {}", options.name)));
                }
            }
            Command::Invoke(options) => return options.run(context, &base, &at(&options.name)).await,
            Command::ListJobs(Jobs { name, most }) => job::list_below(context, &at(name), most).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn noun(file: Option<&PathBuf>, node: Node, workspace: &Workspace) -> Result<Noun, Failure> {
    match file::document(DocumentKind::BatchEndpoint, file.map(PathBuf::as_path), node, workspace)? {
        Document::BatchEndpoint(found) => Ok(*found),
        _ => Err(Failure::usage("the document describes no batch endpoint")),
    }
}

async fn create(
    context: &Context,
    list: &str,
    workspace: &Workspace,
    options: &Create,
) -> Result<Value, Failure> {
    let mut node = match &options.file {
        Some(file) => file::one(file)?,
        None => edit::empty(),
    };
    if let Some(name) = &options.name {
        edit::put(&mut node, "name", &json!(name))?;
    }
    if let Some(Mode::AadToken) = options.auth_mode {
        edit::put(&mut node, "auth_mode", &json!("aad_token"))?;
    }
    options.edits.apply(&mut node)?;
    let wanted = noun(options.file.as_ref(), node, workspace)?;
    let path = format!("{list}/{}", wanted.name);
    if context.client.find(&path).await?.is_some() {
        return Err(Failure::failed(format!(
            "there is a batch endpoint {0} already; `scoregate batch-endpoint update -n {0}` changes it",
            wanted.name
        )));
    }
    Ok(context.client.put(&path, &arm::batch_endpoint::body(&wanted, &workspace.location)).await?)
}

async fn update(
    context: &Context,
    list: &str,
    workspace: &Workspace,
    options: &Update,
) -> Result<Value, Failure> {
    let over = options.file.as_ref().map(|file| file::one(file)).transpose()?;
    let name = options.name.as_deref().or_else(|| edit::field(over.as_ref()?, "name"));
    let name = name.ok_or_else(|| Failure::usage("which endpoint? -n names it"))?.to_owned();
    if over.is_none() && options.defaults.is_none() && options.edits.is_empty() {
        return Err(Failure::usage("nothing to change; give --defaults, --set, --add, --remove or -f"));
    }
    let path = format!("{list}/{}", escape(&name));
    let found = context.client.find_tagged(&path).await?;
    let (view, tag) = found.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no batch endpoint {name}; `scoregate batch-endpoint create` makes one"
        ))
    })?;
    let mut node = edit::node(&written::batch_endpoint(&shape::batch_endpoint(&view)?))?;
    if let Some(over) = over {
        edit::overlay(&mut node, over)?;
    }
    edit::put(&mut node, "name", &json!(name))?;
    if let Some(defaults) = &options.defaults {
        // `az ml` takes the name alone and with its key.
        let deployment = defaults.strip_prefix("deployment_name=").unwrap_or(defaults);
        edit::put(&mut node, "defaults", &json!({ "deployment_name": deployment }))?;
    }
    options.edits.apply(&mut node)?;
    let wanted = noun(options.file.as_ref(), node, workspace)?;
    let location = view.get("location").and_then(Value::as_str).unwrap_or(&workspace.location);
    let body = arm::batch_endpoint::body(&wanted, location);
    Ok(context.client.put_over(&path, &body, tag.as_deref()).await?)
}

/// Makes a deployment the default of its endpoint, whose path is given.
pub async fn set_default(context: &Context, path: &str, deployment: &str) -> Result<(), Failure> {
    let found = context.client.find_tagged(path).await?;
    let (view, tag) = found.ok_or_else(|| Failure::NotFound("the endpoint is gone".to_owned()))?;
    let mut endpoint = shape::batch_endpoint(&view)?;
    let name = deployment.parse();
    let name = name.map_err(|error: crate::model::names::NameError| Failure::failed(error.to_string()))?;
    endpoint.default_deployment = Some(name);
    let location = view.get("location").and_then(Value::as_str).unwrap_or_default();
    context.client.put_over(path, &arm::batch_endpoint::body(&endpoint, location), tag.as_deref()).await?;
    Ok(())
}
