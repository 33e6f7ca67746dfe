//! `scoregate batch-endpoint`, with `az ml batch-endpoint`'s flags and in its form.

mod body;
mod invoke;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::escape;
use super::context::{Context, confirm};
use super::failure::Failure;
use super::job::{self, Most};
use super::scope::path;

/// Batch endpoints.
#[derive(Debug, Args)]
pub struct BatchEndpoint {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
