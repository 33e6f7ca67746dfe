//! `scoregate online-deployment`, with `az ml online-deployment`'s flags and in its form.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::escape;
use super::context::{Context, confirm};
use super::edit::{self, Edits};
use super::failure::Failure;
use super::output::Columns;
use super::scope::{described, path};
use super::{endpoint, file, say, shape};
use crate::arm;
use crate::forms::Node;
use crate::model::deployment::Deployment as Noun;
use crate::model::workspace::Workspace;
use crate::resources::{Document, DocumentKind, written};

const COLUMNS: Columns = &[
    ("Name", "name"),
    ("Endpoint", "endpoint_name"),
    ("Instances", "instance_count"),
    ("Model", "model"),
    ("Backend", "backend.urls"),
];

/// Online deployments.
#[derive(Debug, Args)]
pub struct Deployment {
    #[command(subcommand)]
    command: Command,
}

const FILE: &str = "blue.yml:
  name: blue
  endpoint_name: my-endp1
  model: azureml:heart:1            # kept and shown, as every field of `az ml`
  request_settings: { max_concurrent_requests_per_instance: 4, request_timeout_ms: 9000 }
  backend: { urls: [ \"http://10.0.0.5:5001\", \"http://10.0.0.6:5001\" ] }   # where the instances are";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a deployment; one that is there already is left alone
    #[command(after_help = format!("Examples:
  scoregate online-deployment create -f blue.yml --all-traffic
  scoregate online-deployment create -f blue.yml -n green --set backend.urls='[\"http://10.0.0.7:5001\"]'

{FILE}"))]
    Create(Create),
    /// Change a deployment
    #[command(after_help = format!("Examples:
  scoregate online-deployment update -n blue -e my-endp1 --set request_settings.request_timeout_ms=9000
  scoregate online-deployment update -n blue -e my-endp1 --add backend.urls http://10.0.0.7:5001
  scoregate online-deployment update -f blue.yml

A file's fields replace those there are, its tags and properties are added; flags go before the file.

{FILE}"))]
    Update(Update),
    /// Show a deployment
    #[command(after_help = "Examples:
  scoregate online-deployment show -n blue -e my-endp1 -o yaml")]
    Show(Named),
    /// List an endpoint's deployments
    #[command(after_help = "Examples:
  scoregate online-deployment list -e my-endp1 -o table")]
    List {
        /// The endpoint
        #[arg(short, long)]
        endpoint_name: String,
    },
    /// Delete a deployment, which may have no traffic any more
    #[command(after_help = "Examples:
  scoregate online-endpoint update -n my-endp1 --traffic blue=0,green=100
  scoregate online-deployment delete -n blue -e my-endp1 --yes")]
    Delete(Delete),
    /// What the instances that the gateway runs wrote of late; of others, where they are
    #[command(after_help = "Examples:
  scoregate online-deployment get-logs -n blue -e my-endp1 -l 100")]
    GetLogs(Logs),
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
    /// Give it all of the endpoint's traffic afterwards
    #[arg(long, conflicts_with = "no_wait")]
    all_traffic: bool,
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
struct Logs {
    #[command(flatten)]
    which: Named,
    /// How many lines
    #[arg(short, long, default_value_t = 5_000)]
    lines: u32,
    /// Whose lines
    #[arg(short, long, value_enum, value_name = "CONTAINER")]
    container: Option<Container>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Container {
    InferenceServer,
    StorageInitializer,
}

impl Deployment {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = &context.client;
        let workspace = context.place.workspace(client).await?;
        let scope = workspace.scope()?;
        let endpoints = format!("{}/onlineEndpoints", path(&scope));
        let list = |endpoint: &str| format!("{endpoints}/{}/deployments", escape(endpoint));
        let at = |which: &Named| format!("{}/{}", list(&which.endpoint_name), escape(&which.name));
        match &self.command {
            Command::Create(options) => {
                let workspace = described(client, workspace).await?;
                let made = create(context, &endpoints, &workspace, options).await?;
                context.printer.print(&shape::shown_deployment(&made)?, COLUMNS)?;
            }
            Command::Update(options) => {
                let workspace = described(client, workspace).await?;
                let changed = update(context, &endpoints, &workspace, options).await?;
                context.printer.print(&shape::shown_deployment(&changed)?, COLUMNS)?;
            }
            Command::Show(which) => {
                let found = client.get(&at(which)).await?;
                context.printer.print(&shape::shown_deployment(&found)?, COLUMNS)?;
            }
            Command::List { endpoint_name } => {
                let found = client.list(&list(endpoint_name)).await?;
                let shown = found.iter().map(shape::shown_deployment).collect::<Result<Vec<Value>, _>>()?;
                context.printer.print(&Value::from(shown), COLUMNS)?;
            }
            Command::Delete(Delete { which, yes, .. }) => {
                confirm(*yes, &format!("Deleting deployment {} of {}", which.name, which.endpoint_name))?;
                if client.delete(&at(which)).await?.is_none() {
                    let told = format!("endpoint {} has no deployment {}", which.endpoint_name, which.name);
                    return Err(Failure::NotFound(told));
                }
            }
            Command::GetLogs(options) => {
                let mut body = json!({"tail": options.lines});
                if let (Value::Object(fields), Some(container)) = (&mut body, options.container) {
                    fields.insert("containerType".to_owned(), json!(format!("{container:?}")));
                }
                let answer = client.post(&format!("{}/getLogs", at(&options.which)), &body).await?;
                let content = answer.get("content").cloned().unwrap_or_default();
                if context.printer.in_words() {
                    say(content.as_str().unwrap_or_default().trim_end_matches('\n'));
                } else {
                    context.printer.print(&content, &[])?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn noun(file: Option<&PathBuf>, node: Node, workspace: &Workspace) -> Result<Noun, Failure> {
    match file::document(DocumentKind::Deployment, file.map(PathBuf::as_path), node, workspace)? {
        Document::Deployment(found) => Ok(*found),
        _ => Err(Failure::usage("the document describes no deployment")),
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
    let endpoint = format!("{endpoints}/{}", wanted.endpoint);
    let path = format!("{endpoint}/deployments/{}", wanted.name);
    if context.client.find(&path).await?.is_some() {
        return Err(Failure::failed(format!(
            "endpoint {1} has a deployment {0} already; `scoregate online-deployment update -n {0} -e {1}` changes it",
            wanted.name, wanted.endpoint
        )));
    }
    let made = context.client.put(&path, &arm::deployment::body(&wanted, &workspace.location)).await?;
    if options.all_traffic {
        endpoint::all_traffic(context, &endpoint, &wanted.name.to_string()).await?;
        context.note(&format!("all traffic of {} goes to {}", wanted.endpoint, wanted.name));
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
            "endpoint {endpoint} has no deployment {name}; `online-deployment create` makes one"
        ))
    })?;
    let mut node = edit::node(&written::deployment(&shape::deployment(&view)?))?;
    if let Some(over) = over {
        edit::overlay(&mut node, over)?;
    }
    names(&mut node, Some(&name), Some(&endpoint))?;
    options.edits.apply(&mut node)?;
    let wanted = noun(options.file.as_ref(), node, workspace)?;
    let location = view.get("location").and_then(Value::as_str).unwrap_or(&workspace.location);
    let body = arm::deployment::body(&wanted, location);
    Ok(context.client.put_over(&path, &body, tag.as_deref()).await?)
}
