//! `scoregate online-deployment`, with `az ml online-deployment`'s flags and in its form.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::Context;
use super::edit;
use super::failure::Failure;
use super::flags::{self, ChangedDeployment, Changes, Delete, NewDeployment};
use super::http::escape;
use super::output::Columns;
use super::scope::{described, path};
use super::{endpoint, file, resource, say};
use crate::forms::Node;
use crate::model::deployment::Deployment as Noun;
use crate::model::workspace::Workspace;

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
    Update(ChangedDeployment),
    /// Show a deployment
    #[command(after_help = "Examples:
  scoregate online-deployment show -n blue -e my-endp1 -o yaml")]
    Show(flags::Deployment),
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
    Delete(Delete<flags::Deployment>),
    /// What the instances that the gateway runs wrote of late; of others, where they are
    #[command(after_help = "Examples:
  scoregate online-deployment get-logs -n blue -e my-endp1 -l 100")]
    GetLogs(Logs),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    new: NewDeployment,
    /// Give it all of the endpoint's traffic afterwards
    #[arg(long, conflicts_with = "no_wait")]
    all_traffic: bool,
    #[command(flatten)]
    changes: Changes,
    #[arg(long, hide = true)]
    skip_script_validation: bool,
}

#[derive(Debug, Args)]
struct Logs {
    #[command(flatten)]
    which: flags::Deployment,
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
        let endpoints = format!("{}/onlineEndpoints", path(&workspace.scope()?));
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
                    "endpoint {} has no deployment {}; `online-deployment create` makes one",
                    which.endpoint_name, which.name
                );
                let edit = |node: &mut Node| {
                    edit::overlay(node, over)?;
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
                let missing = format!("endpoint {of} has no deployment {name}");
                resource::delete(context, &at(which), *yes, &what, missing).await?;
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

async fn create(
    context: &Context,
    endpoints: &str,
    workspace: &Workspace,
    options: &Create,
) -> Result<Value, Failure> {
    let mut node = options.new.document()?;
    options.changes.edits.apply(&mut node)?;
    let wanted: Noun = file::noun(Some(&options.new.file), node, workspace)?;
    let (name, of) = (&wanted.name, &wanted.endpoint);
    let endpoint = format!("{endpoints}/{of}");
    let path = format!("{endpoint}/deployments/{name}");
    let already = format!(
        "endpoint {of} has a deployment {name} already; `scoregate online-deployment update -n {name} -e {of}` changes it"
    );
    let made = resource::make(context, &path, &wanted, &workspace.location, already).await?;
    if options.all_traffic {
        endpoint::all_traffic(context, &endpoint, workspace, name).await?;
        context.note(&format!("all traffic of {of} goes to {name}"));
    }
    Ok(made)
}
