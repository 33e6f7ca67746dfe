//! `scoregate batch-deployment`, with `az ml batch-deployment`'s flags and in its form.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::escape;
use super::context::{Context, confirm};
use super::edit::{self, Edits};
use super::failure::Failure;
use super::job::{self, Most};
use super::output::Columns;
use super::scope::{described, path};
use super::shape::{self, batch as shown};
use super::{batch_endpoint, file};
use crate::arm;
use crate::forms::Node;
use crate::model::batch::BatchDeployment as Noun;
use crate::model::workspace::Workspace;
use crate::resources::{BATCH_RULES, Document, DocumentKind, written};

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
    Update(Update),
    /// Show a deployment
    #[command(after_help = "Examples:
  scoregate batch-deployment show -n blue -e heart -o yaml")]
    Show(Named),
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
    Delete(Delete),
    /// List a deployment's jobs
    #[command(after_help = "Examples:
  scoregate batch-deployment list-jobs -n blue -e heart -o table")]
    ListJobs(Jobs),
}

#[derive(Debug, Args)]
struct Named {
    /// The deployment's name
    #[arg(short, long)]
    name: String,
    /// The endpoint that it stands behind
    #[arg(short, long)]
    endpoint_name: String,
}

#[derive(Debug, Args)]
struct Create {
    /// A deployment in the form of `az ml`, with `backend`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The deployment's name; goes before the file's
    #[arg(short, long)]
    name: Option<String>,
    /// The endpoint that it stands behind; goes before the file's
    #[arg(short, long)]
    endpoint_name: Option<String>,
    /// Make it the endpoint's default afterwards
    #[arg(long, conflicts_with = "no_wait")]
    set_default: bool,
    #[command(flatten)]
    edits: Edits,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
    #[arg(long, hide = true)]
    skip_script_validation: bool,
}

#[derive(Debug, Args)]
struct Update {
    /// A deployment in the form of `az ml`, with `backend`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The deployment's name; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    name: Option<String>,
    /// The endpoint that it stands behind; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    endpoint_name: Option<String>,
    #[command(flatten)]
    edits: Edits,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
    #[arg(long, hide = true)]
    skip_script_validation: bool,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    which: Named,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct Jobs {
    #[command(flatten)]
    which: Named,
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
        let at = |which: &Named| format!("{}/{}", list(&which.endpoint_name), escape(&which.name));
        match &self.command {
            Command::Create(options) => {
                let workspace = described(client, workspace).await?;
                let made = create(context, &endpoints, &workspace, options).await?;
                context.printer.print(&shown::shown_deployment(&made)?, COLUMNS)?;
            }
            Command::Update(options) => {
                let workspace = described(client, workspace).await?;
                let changed = update(context, &endpoints, &workspace, options).await?;
                context.printer.print(&shown::shown_deployment(&changed)?, COLUMNS)?;
            }
            Command::Show(which) => {
                let found = client.get(&at(which)).await?;
                context.printer.print(&shown::shown_deployment(&found)?, COLUMNS)?;
            }
            Command::List { endpoint_name } => {
                let found = client.list(&list(endpoint_name)).await?;
                let all = found.iter().map(shown::shown_deployment).collect::<Result<Vec<Value>, _>>()?;
                context.printer.print(&Value::from(all), COLUMNS)?;
            }
            Command::Delete(Delete { which, yes, .. }) => {
                confirm(*yes, &format!("Deleting deployment {} of {}", which.name, which.endpoint_name))?;
                if client.delete(&at(which)).await?.is_none() {
                    let told =
                        format!("batch endpoint {} has no deployment {}", which.endpoint_name, which.name);
                    return Err(Failure::NotFound(told));
                }
            }
            Command::ListJobs(Jobs { which, most }) => job::list_below(context, &at(which), most).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn noun(file: Option<&PathBuf>, node: Node, workspace: &Workspace) -> Result<Noun, Failure> {
    match file::document(DocumentKind::BatchDeployment, file.map(PathBuf::as_path), node, workspace)? {
        Document::BatchDeployment(found) => Ok(*found),
        _ => Err(Failure::usage("the document describes no batch deployment")),
    }
}

/// Puts what the flags say before what the file says.
fn names(node: &mut Node, name: Option<&str>, endpoint: Option<&str>) -> Result<(), Failure> {
    for (key, value) in [("name", name), ("endpoint_name", endpoint)] {
        if let Some(value) = value {
            edit::put(node, key, &json!(value))?;
        }
    }
    Ok(())
}

async fn create(
    context: &Context,
    endpoints: &str,
    workspace: &Workspace,
    options: &Create,
) -> Result<Value, Failure> {
    let mut node = file::one(&options.file)?;
    names(&mut node, options.name.as_deref(), options.endpoint_name.as_deref())?;
    options.edits.apply(&mut node)?;
    let wanted = noun(Some(&options.file), node, workspace)?;
    let (name, of) = (&wanted.serving.name, &wanted.serving.endpoint);
    let endpoint = format!("{endpoints}/{of}");
    let path = format!("{endpoint}/deployments/{name}");
    if context.client.find(&path).await?.is_some() {
        return Err(Failure::failed(format!(
            "batch endpoint {of} has a deployment {name} already; `scoregate batch-deployment update -n {name} -e {of}` changes it"
        )));
    }
    let made = context.client.put(&path, &arm::batch_deployment::body(&wanted, &workspace.location)).await?;
    if options.set_default {
        batch_endpoint::set_default(context, &endpoint, &name.to_string()).await?;
        context.note(&format!("{name} is the default of {of}"));
    }
    Ok(made)
}

async fn update(
    context: &Context,
    endpoints: &str,
    workspace: &Workspace,
    options: &Update,
) -> Result<Value, Failure> {
    let over = options.file.as_ref().map(|file| file::one(file)).transpose()?;
    let given = |flag: Option<&str>, key: &str| {
        let found = flag.or_else(|| edit::field(over.as_ref()?, key)).map(str::to_owned);
        found.ok_or_else(|| Failure::usage(format!("the file has no `{key}`; give -n and -e")))
    };
    let name = given(options.name.as_deref(), "name")?;
    let endpoint = given(options.endpoint_name.as_deref(), "endpoint_name")?;
    if over.is_none() && options.edits.is_empty() {
        return Err(Failure::usage("nothing to change; give --set, --add, --remove or -f"));
    }
    let path = format!("{endpoints}/{}/deployments/{}", escape(&endpoint), escape(&name));
    let found = context.client.find_tagged(&path).await?;
    let (view, tag) = found.ok_or_else(|| {
        Failure::NotFound(format!(
            "batch endpoint {endpoint} has no deployment {name}; `batch-deployment create` makes one"
        ))
    })?;
    let mut node = edit::node(&written::batch_deployment(&shape::batch_deployment(&view)?))?;
    if let Some(over) = over {
        edit::overlay(&mut node, over)?;
        // In `az ml`'s older form the rules of jobs stand at the root.
        edit::move_into(&mut node, BATCH_RULES, "settings")?;
    }
    names(&mut node, Some(&name), Some(&endpoint))?;
    options.edits.apply(&mut node)?;
    let wanted = noun(options.file.as_ref(), node, workspace)?;
    let location = view.get("location").and_then(Value::as_str).unwrap_or(&workspace.location);
    let body = arm::batch_deployment::body(&wanted, location);
    Ok(context.client.put_over(&path, &body, tag.as_deref()).await?)
}
