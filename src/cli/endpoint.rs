//! `scoregate online-endpoint`, with `az ml online-endpoint`'s flags and in its form.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::context::Context;
use super::edit;
use super::failure::Failure;
use super::flags::{self, Changes, Delete, EndpointFile};
use super::http::escape;
use super::output::Columns;
use super::scope::{described, path};
use super::{file, invoke, mirror, resource};
use crate::forms::Node;
use crate::model::endpoint::{AuthMode, EndpointSpec};
use crate::model::names::DeploymentName;
use crate::model::workspace::Workspace;

/// Columns of endpoints.
const COLUMNS: Columns = &[
    ("Name", "name"),
    ("AuthMode", "auth_mode"),
    ("Traffic", "traffic"),
    ("Mirror", "mirror_traffic"),
    ("ScoringUri", "scoring_uri"),
];

/// Online endpoints.
#[derive(Debug, Args)]
pub struct Endpoint {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an endpoint; one that is there already is left alone
    #[command(after_help = "Examples:
  scoregate online-endpoint create -n my-endp1 --auth-mode aad_token
  scoregate online-endpoint create -f endpoint.yml --set tags.team=vision

endpoint.yml:
  name: my-endp1
  auth_mode: aad_token        # or key, aml_token

Deployments come next (`online-deployment create`), then traffic (`online-endpoint update --traffic`).
`scoregate apply` does all of it from files, in the right order.")]
    Create(Create),
    /// Change an endpoint: its traffic, its mode, its tags
    #[command(after_help = "Examples:
  # shift a tenth of the requests to green
  scoregate online-endpoint update -n my-endp1 --traffic \"blue=90 green=10\"

  # copy a fifth of the requests to green, whose answers are thrown away
  scoregate online-endpoint update -n my-endp1 --mirror-traffic green=20

  scoregate online-endpoint update -n my-endp1 --set auth_mode=key tags.team=vision
  scoregate online-endpoint update -f endpoint.yml

A file's fields replace those there are, its tags and properties are added; flags go before the file.")]
    Update(Update),
    /// Show an endpoint
    #[command(after_help = "Examples:
  scoregate online-endpoint show -n my-endp1
  scoregate online-endpoint show -n my-endp1 --query scoring_uri -o tsv")]
    Show(flags::Endpoint),
    /// List the workspace's endpoints
    #[command(after_help = "Examples:
  scoregate online-endpoint list -o table
  scoregate online-endpoint list --query \"[?auth_mode=='key'].name\" -o tsv")]
    List,
    /// Delete an endpoint and its deployments
    #[command(after_help = "Examples:
  scoregate online-endpoint delete -n my-endp1 --yes")]
    Delete(Delete<flags::Endpoint>),
    /// Send a request to an endpoint and print the answer
    #[command(after_help = invoke::EXAMPLES)]
    Invoke(invoke::Invoke),
    /// How a shadow deployment answers copies of an endpoint's requests, compared with the live answers
    #[command(after_help = mirror::EXAMPLES)]
    MirrorReport(flags::Endpoint),
    /// The keys of an endpoint, or a token for it
    #[command(after_help = "Examples:
  KEY=$(scoregate online-endpoint get-credentials -n my-endp2 --query primaryKey -o tsv)
  TOKEN=$(scoregate online-endpoint get-credentials -n my-endp1 --query accessToken -o tsv)

Keys for auth_mode key, a token of the gateway for aml_token, an Entra token for https://ml.azure.com for aad_token.")]
    GetCredentials(flags::Endpoint),
    /// Replace a key; the other one goes on opening the endpoint
    #[command(after_help = "Examples:
  scoregate online-endpoint regenerate-keys -n my-endp2 --key-type secondary")]
    RegenerateKeys(Regenerate),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Mode {
    Key,
    AmlToken,
    AadToken,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    which: EndpointFile,
    /// How callers prove who they are
    #[arg(long, value_enum, value_name = "MODE")]
    auth_mode: Option<Mode>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
struct Update {
    #[command(flatten)]
    which: EndpointFile,
    /// Shares by deployment, "blue=90 green=10"; they add up to 100 or 0
    #[arg(short = 'r', long, value_name = "SHARES", num_args = 1..)]
    traffic: Option<Vec<String>>,
    /// One deployment and its share of copies, at most 50; green=0 for none
    #[arg(long, value_name = "SHARES", num_args = 1..)]
    mirror_traffic: Option<Vec<String>>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
struct Regenerate {
    /// The endpoint's name
    #[arg(short, long)]
    name: String,
    /// Which of the two
    #[arg(long, value_enum, default_value_t = KeyType::Primary)]
    key_type: KeyType,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyType {
    Primary,
    Secondary,
}

impl Endpoint {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = &context.client;
        let workspace = context.place.workspace(client).await?;
        let list = format!("{}/onlineEndpoints", path(&workspace.scope()?));
        let at = |name: &str| format!("{list}/{}", escape(name));
        match &self.command {
            Command::Create(options) => {
                let workspace = described(client, workspace).await?;
                let made = create(context, &list, &workspace, options).await?;
                resource::print::<EndpointSpec>(context, &made, COLUMNS)?;
            }
            Command::Update(options) => {
                let workspace = described(client, workspace).await?;
                let changed = update(context, &list, &workspace, options).await?;
                resource::print::<EndpointSpec>(context, &changed, COLUMNS)?;
            }
            Command::Show(flags::Endpoint { name }) => {
                resource::show::<EndpointSpec>(context, &at(name), COLUMNS).await?;
            }
            Command::List => resource::list::<EndpointSpec>(context, &list, COLUMNS).await?,
            Command::Delete(Delete { which: flags::Endpoint { name }, yes, .. }) => {
                let what = format!("Deleting endpoint {name} and its deployments");
                let missing = format!("there is no endpoint {name}");
                resource::delete(context, &at(name), *yes, &what, missing).await?;
            }
            Command::Invoke(options) => return invoke::run(context, &at(&options.name), options).await,
            Command::MirrorReport(flags::Endpoint { name }) => mirror::report(context, &at(name)).await?,
            Command::GetCredentials(flags::Endpoint { name }) => {
                let endpoint = client.get(&at(name)).await?;
                let credentials = invoke::credentials(context, &at(name), &endpoint).await?;
                context.printer.print(&credentials, &[])?;
            }
            Command::RegenerateKeys(options) => {
                let endpoint = client.get(&at(&options.name)).await?;
                let mode =
                    endpoint.pointer("/properties/authMode").and_then(Value::as_str).unwrap_or_default();
                if !mode.eq_ignore_ascii_case("Key") {
                    let told =
                        format!("endpoint {} has auth_mode {mode}; keys open those with Key", options.name);
                    return Err(Failure::failed(told));
                }
                let body = json!({"keyType": format!("{:?}", options.key_type)});
                client.post(&format!("{}/regenerateKeys", at(&options.name)), &body).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `blue=90 green=10`, in one argument or in several, as a mapping.
fn shares(given: &[String]) -> Result<Value, Failure> {
    let mut shares = Map::new();
    for part in given.iter().flat_map(|text| text.split([' ', ','])).filter(|part| !part.is_empty()) {
        let read = part.split_once('=').and_then(|(name, share)| {
            let share: u8 = share.trim_end_matches('%').parse().ok()?;
            Some((name.to_owned(), json!(share)))
        });
        let (name, share) =
            read.ok_or_else(|| Failure::usage(format!("`{part}` is no share; write \"blue=90 green=10\"")))?;
        if shares.insert(name.clone(), share).is_some() {
            return Err(Failure::usage(format!("`{name}` stands twice in \"{}\"", given.join(" "))));
        }
    }
    Ok(Value::Object(shares))
}

async fn create(
    context: &Context,
    list: &str,
    workspace: &Workspace,
    options: &Create,
) -> Result<Value, Failure> {
    let mut node = options.which.document()?;
    if let Some(mode) = options.auth_mode {
        let mode = match mode {
            Mode::Key => AuthMode::Key,
            Mode::AmlToken => AuthMode::AmlToken,
            Mode::AadToken => AuthMode::AadToken,
        };
        edit::put(&mut node, "auth_mode", &json!(mode.as_str()))?;
    }
    options.changes.edits.apply(&mut node)?;
    let spec: EndpointSpec = file::noun(options.which.file.as_deref(), node, workspace)?;
    let already = format!(
        "there is an endpoint {0} already; `scoregate online-endpoint update -n {0}` changes it",
        spec.name
    );
    let path = format!("{list}/{}", spec.name);
    resource::make(context, &path, &spec, &workspace.location, already).await
}

async fn update(
    context: &Context,
    list: &str,
    workspace: &Workspace,
    options: &Update,
) -> Result<Value, Failure> {
    let Update { which, traffic, mirror_traffic, changes } = options;
    let over = which.over()?;
    let name = which.named(over.as_ref())?;
    if over.is_none() && traffic.is_none() && mirror_traffic.is_none() && changes.edits.is_empty() {
        return Err(Failure::usage(
            "nothing to change; give --traffic, --mirror-traffic, --set, --add, --remove or -f",
        ));
    }
    let path = format!("{list}/{}", escape(&name));
    let missing = format!("there is no endpoint {name}; `scoregate online-endpoint create` makes one");
    let file = which.file.as_deref();
    resource::change::<EndpointSpec>(context, &path, workspace, file, missing, |node| {
        edit::overlay(node, over)?;
        edit::put(node, "name", &json!(name))?;
        for (key, given) in [("traffic", traffic), ("mirror_traffic", mirror_traffic)] {
            if let Some(given) = given {
                edit::put(node, key, &shares(given)?)?;
            }
        }
        changes.edits.apply(node)
    })
    .await
}

/// Gives all traffic of an endpoint, whose path is given, to one deployment.
pub async fn all_traffic(
    context: &Context,
    path: &str,
    workspace: &Workspace,
    deployment: &DeploymentName,
) -> Result<(), Failure> {
    let missing = "the endpoint is gone".to_owned();
    let traffic = json!({ deployment.to_string(): 100 });
    let edit = |node: &mut Node| edit::put(node, "traffic", &traffic);
    resource::change::<EndpointSpec>(context, path, workspace, None, missing, edit).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_in_one_argument_or_in_several() {
        let read = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            shares(&given).map_err(|error| error.to_string())
        };
        let both = json!({"blue": 90, "green": 10});
        assert_eq!(read(&["blue=90 green=10"]).unwrap(), both);
        assert_eq!(read(&["blue=90%", "green=10"]).unwrap(), both);
        assert_eq!(read(&[""]).unwrap(), json!({}));
        for wrong in ["blue", "blue=x", "blue=300", "blue=1 blue=2"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
