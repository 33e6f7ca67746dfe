//! `scoregate datastore`: where jobs find their inputs and leave their outputs, with `az ml datastore`'s flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::edit::{self, Edits};
use super::failure::Failure;
use super::http::escape;
use super::output::Columns;
use super::scope::{described, path};
use super::shape::{Noun, batch};
use super::{file, resource};
use crate::resources::DatastoreDocument;

const COLUMNS: Columns = &[
    ("Name", "name"),
    ("Type", "type"),
    ("Account", "account_name"),
    ("Container", "container_name"),
    ("Bucket", "bucket"),
    ("Path", "path"),
    ("Default", "is_default"),
];

/// Data stores.
#[derive(Debug, Args)]
pub struct Datastore {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data store; one that is there already is left alone
    #[command(after_help = "Examples:
  scoregate datastore create -f store.yml
  scoregate datastore create -f store.yml -n heart2

store.yml, one of:
  { name: heart, type: azure_blob, account_name: heart, container_name: data, credentials: { account_key_file: heart.key } }
  { name: heart, type: s3, region: eu-central-1, bucket: heart, credentials: { access_key_id: …, secret_access_key: … } }
  { name: heart, type: local_directory, path: /srv/heart }      # a directory that the configuration allows
  { name: heart, type: https, base: \"https://data.example.com/heart\" }    # can be read by name only

Without credentials a store is reached as the job's caller (`identity.on_behalf_of` in the configuration). Secrets are
kept encrypted and are never shown but by `show --include-secrets`.")]
    Create(Create),
    /// Show a data store
    #[command(after_help = "Examples:
  scoregate datastore show -n workspaceblobstore
  scoregate datastore show -n heart --include-secrets --query credentials")]
    Show(Show),
    /// List the workspace's data stores
    #[command(after_help = "Examples:
  scoregate datastore list -o table")]
    List,
    /// Delete a data store; what it holds stays where it is
    #[command(after_help = "Examples:
  scoregate datastore delete -n heart --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
struct Create {
    /// A data store in the form of `az ml`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The data store's name; goes before the file's
    #[arg(short, long)]
    name: Option<String>,
    #[command(flatten)]
    edits: Edits,
}

#[derive(Debug, Args)]
struct Show {
    /// The data store's name
    #[arg(short, long)]
    name: String,
    /// Show what opens it, too; that is recorded
    #[arg(long)]
    include_secrets: bool,
}

#[derive(Debug, Args)]
struct Delete {
    /// The data store's name
    #[arg(short, long)]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Datastore {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = &context.client;
        let workspace = context.place.workspace(client).await?;
        let list = format!("{}/datastores", path(&workspace.scope()?));
        let at = |name: &str| format!("{list}/{}", escape(name));
        match &self.command {
            Command::Create(options) => {
                let mut node = file::one(&options.file)?;
                if let Some(name) = &options.name {
                    edit::put(&mut node, "name", &json!(name))?;
                }
                options.edits.apply(&mut node)?;
                let workspace = described(client, workspace).await?;
                let wanted: DatastoreDocument = file::noun(Some(&options.file), node, &workspace)?;
                let name = &wanted.store.name;
                let already =
                    format!("there is a data store {name} already; `scoregate apply -f` changes it");
                let path = at(&name.to_string());
                let made = resource::make(context, &path, &wanted, &workspace.location, already).await?;
                resource::print::<DatastoreDocument>(context, &made, COLUMNS)?;
            }
            Command::Show(Show { name, include_secrets }) => {
                let mut store = DatastoreDocument::shown(&client.get(&at(name)).await?)?;
                if *include_secrets {
                    let secrets = client.post(&format!("{}/listSecrets", at(name)), &Value::Null).await?;
                    batch::put_secrets(&mut store, &secrets);
                }
                context.printer.print(&store, COLUMNS)?;
            }
            Command::List => resource::list::<DatastoreDocument>(context, &list, COLUMNS).await?,
            Command::Delete(Delete { name, yes }) => {
                let (what, missing) =
                    (format!("Deleting data store {name}"), format!("there is no data store {name}"));
                resource::delete(context, &at(name), *yes, &what, missing).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
