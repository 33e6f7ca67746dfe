//! `scoregate batch-deployment`, with `az ml batch-deployment`'s flags and in its form.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::context::Context;
use super::edit;
use super::failure::Failure;
use super::flags::{self, ChangedDeployment, Changes, Delete, NewDeployment};
use super::http::escape;
use super::job::{self, Most};
use super::output::Columns;
use super::scope::{described, path};
use super::{batch_endpoint, file, resource};
use crate::forms::Node;
use crate::model::batch::BatchDeployment as Noun;
use crate::model::workspace::Workspace;
use crate::resources::BATCH_RULES;

const COLUMNS: Columns = &[
    ("Name", "name"),
    ("Endpoint", "endpoint_name"),
    ("Model", "model"),
    ("MiniBatch", "settings.mini_batch_size"),
    ("Format", "settings.request_format"),
    ("Output", "settings.output_file_name"),
    ("Backend", "backend.urls"),
];

/// Batch deployments.
#[derive(Debug, Args)]
pub struct BatchDeployment {
    #[command(subcommand)]
    command: Command,
}

const FILE: &str = "blue.yml:
  name: blue
  endpoint_name: heart
  type: model
  model: azureml:heart:1            # kept and shown, as every field of `az ml`
  settings:
    request_format: dataframe_split # or raw (a file is a request), input_data, instances, jsonl
    rows_per_request: 500
    mini_batch_size: 10             # files
    max_concurrency_per_instance: 4
    error_threshold: 10             # failures that a job survives; -1 for any number
    retry_settings: { max_retries: 3, timeout: 60 }
    output_file_name: predictions.csv    # or .jsonl, .parquet
  backend: { urls: [ \"http://10.0.0.5:5001\" ] }   # where the instances are";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a deployment; one that is there already is left alone
    #[command(after_help = format!("Examples:
  scoregate batch-deployment create -f blue.yml --set-default
  scoregate batch-deployment create -f blue.yml -n green --set backend.urls='[\"http://10.0.0.7:5001\"]'

{FILE}"))]
    Create(Create),
    /// Change a deployment; jobs that run keep the rules that they began with
    #[command(after_help = format!("Examples:
  scoregate batch-deployment update -n blue -e heart --set settings.mini_batch_size=20
  scoregate batch-deployment update -n blue -e heart --add backend.urls http://10.0.0.7:5001
  scoregate batch-deployment update -f blue.yml

A file's fields replace those there are, its tags and properties are added; flags go before the file.

{FILE}"))]
    Update(ChangedDeployment),
    /// Show a deployment
    #[command(after_help = "Examples:
  scoregate batch-deployment show -n blue -e heart -o yaml")]
    Show(flags::Deployment),
    /// List an endpoint's deployments
    #[command(after_help = "Examples:
  scoregate batch-deployment list -e heart -o table")]
    List {
        /// The endpoint
        #[arg(short, long)]
        endpoint_name: String,
    },
    /// Delete a deployment, which may not be its endpoint's default any more
    #[command(after_help = "Examples:
  scoregate batch-endpoint update -n heart --defaults green
  scoregate batch-deployment delete -n blue -e heart --yes")]
    Delete(Delete<flags::Deployment>),
    /// List a deployment's jobs
    #[command(after_help = "Examples:
  scoregate batch-deployment list-jobs -n blue -e heart -o table")]
    ListJobs(Jobs),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    new: NewDeployment,
    /// Make it the endpoint's default afterwards
    #[arg(long, conflicts_with = "no_wait")]
    set_default: bool,
    #[command(flatten)]
    changes: Changes,
    #[arg(long, hide = true)]
    skip_script_validation: bool,
}

#[derive(Debug, Args)]
struct Jobs {
    #[command(flatten)]
    which: flags::Deployment,
    #[command(flatten)]
    most: Most,
}

impl BatchDeployment {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = &context.client;
        let workspace = context.place.workspace(client).await?;
        let endpoints = format!("{}/batchEndpoints", path(&workspace.scope()?));
        let list = |endpoint: &str| format!("{endpoints}/{}/deployments", escape(endpoint));
        let at =
            |which: &flags::Deployment| format!("{}/{}", list(&which.endpoint_name), escape(&which.name));
        match &self.command {
            Command::Create(options) => {
                let workspace = described(client, workspace).await?;
                let made = create(context, &endpoints, &workspace, options).await?;
                resource::print::<Noun>(context, &made, COLUMNS)?;
            }
            Command::Update(options) => {
                let workspace = described(client, workspace).await?;
                let (over, which) = options.read()?;
                let missing = format!(
                    "batch endpoint {} has no deployment {}; `batch-deployment create` makes one",
                    which.endpoint_name, which.name
                );
                let edit = |node: &mut Node| {
                    edit::overlay(node, over)?;
                    // In `az ml`'s older form the rules of jobs stand at the root.
                    edit::move_into(node, BATCH_RULES, "settings")?;
                    options.apply(&which, node)
                };
                let file = options.file.as_deref();
                let changed =
                    resource::change::<Noun>(context, &at(&which), &workspace, file, missing, edit).await?;
                resource::print::<Noun>(context, &changed, COLUMNS)?;
            }
            Command::Show(which) => resource::show::<Noun>(context, &at(which), COLUMNS).await?,
            Command::List { endpoint_name } => {
                resource::list::<Noun>(context, &list(endpoint_name), COLUMNS).await?;
            }
            Command::Delete(Delete { which, yes, .. }) => {
                let (name, of) = (&which.name, &which.endpoint_name);
                let what = format!("Deleting deployment {name} of {of}");
                let missing = format!("batch endpoint {of} has no deployment {name}");
                resource::delete(context, &at(which), *yes, &what, missing).await?;
            }
            Command::ListJobs(Jobs { which, most }) => job::list_below(context, &at(which), most).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn create(
    context: &Context,
    endpoints: &str,
    workspace: &Workspace,
    options: &Create,
) -> Result<Value, Failure> {
    let mut node = options.new.document()?;
    options.changes.edits.apply(&mut node)?;
    let wanted: Noun = file::noun(Some(&options.new.file), node, workspace)?;
    let (name, of) = (&wanted.serving.name, &wanted.serving.endpoint);
    let endpoint = format!("{endpoints}/{of}");
    let path = format!("{endpoint}/deployments/{name}");
    let already = format!(
        "batch endpoint {of} has a deployment {name} already; `scoregate batch-deployment update -n {name} -e {of}` changes it"
    );
    let made = resource::make(context, &path, &wanted, &workspace.location, already).await?;
    if options.set_default {
        batch_endpoint::set_default(context, &endpoint, workspace, name).await?;
        context.note(&format!("{name} is the default of {of}"));
    }
    Ok(made)
}
