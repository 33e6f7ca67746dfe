//! `scoregate job`: the jobs of batch endpoints, with `az ml job`'s flags and in its form.

pub mod shown;
pub mod stream;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::credential::Purpose;
use super::failure::Failure;
use super::http::escape;
use super::output::Columns;
use super::scope::path;

/// Columns of a workspace's jobs.
const COLUMNS: Columns = &[
    ("Name", "name"),
    ("Status", "status"),
    ("Endpoint", "endpoint"),
    ("Deployment", "deployment"),
    ("Done", "done"),
    ("Rows", "rows"),
    ("Failures", "failures"),
];

/// Columns of an endpoint's jobs, or of a deployment's.
const COLUMNS_BELOW: Columns = &[
    ("Name", "name"),
    ("Status", "status"),
    ("Deployment", "deployment"),
    ("Done", "done"),
    ("Rows", "rows"),
    ("Failures", "failures"),
    ("Created", "created"),
];

/// Batch jobs.
#[derive(Debug, Args)]
pub struct Job {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a job: how far it is, what it came to, whose it is and by which rights
    #[command(after_help = "Examples:
  scoregate job show -n nightly-7 -o yaml
  scoregate job show -n nightly-7 --query counts
  scoregate job show -n nightly-7 --query outputs.score.path -o tsv
  scoregate job show -n nightly-7 --query \"grounds[].[action, decided_by]\" -o table")]
    Show(Named),
    /// List the workspace's jobs
    #[command(after_help = "Examples:
  scoregate job list -o table
  scoregate job list --query \"[?status=='Failed'].[name, failure.code]\" -o tsv")]
    List(Most),
    /// Stop a job; what it has scored so far stays counted, and there is no output
    #[command(after_help = "Examples:
  scoregate job cancel -n nightly-7")]
    Cancel(Named),
    /// Follow a job to its end; exits 0 if it was completed, 1 if not
    #[command(after_help = "Examples:
  scoregate job stream -n nightly-7
  scoregate job stream -n nightly-7 && scoregate job show -n nightly-7 --query outputs.score.path -o tsv

On a terminal a line shows how far the job is; elsewhere each change is a line on standard error.
Ctrl-C ends the following with exit code 130, not the job.")]
    Stream(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The job's name
    #[arg(short, long)]
    name: String,
    #[arg(long, hide = true)]
    web: bool,
}

/// How many jobs are listed.
#[derive(Debug, Args)]
pub struct Most {
    /// The most jobs that are listed
    #[arg(short = 'r', long, value_name = "N", default_value_t = 50)]
    max_results: usize,
    /// List all of them
    #[arg(long, conflicts_with = "max_results")]
    all_results: bool,
    #[arg(long, hide = true)]
    include_archived: bool,
}

impl Most {
    fn count(&self) -> usize {
        if self.all_results { usize::MAX } else { self.max_results }
    }
}

/// Where jobs of endpoints are, as Azure has it: for those who may score, by their token for scoring.
const FRONT_END: &str = "/mferp/managementfrontend";

/// The path of a job of a workspace, whose path is given.
pub fn at(workspace: &str, name: &str) -> String {
    format!("{workspace}/jobs/{}", escape(name))
}

impl Job {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = &context.client;
        let workspace = path(&context.place.workspace(client).await?.scope()?);
        match &self.command {
            Command::Show(Named { name, .. }) => {
                let found = client.get(&at(&workspace, name)).await?;
                print(context, &found)?;
            }
            Command::List(most) => {
                let found =
                    client.list_most(Purpose::Control, &format!("{workspace}/jobs"), most.count()).await?;
                print_list(context, &found, COLUMNS)?;
            }
            Command::Cancel(Named { name, .. }) => {
                client.post(&format!("{}/cancel", at(&workspace, name)), &Value::Null).await?;
                context.note(&format!(
                    "job {name} is being stopped; `scoregate job stream -n {name}` tells when it is"
                ));
            }
            Command::Stream(Named { name, .. }) => {
                return stream::follow(context, &at(&workspace, name), stream::PAUSES, stream::interrupted())
                    .await;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a job, whichever of its shapes the server answered.
pub fn print(context: &Context, view: &Value) -> Result<(), Failure> {
    let job = shown::job(view)?;
    let value = if context.printer.is_table() { shown::row(&job) } else { job };
    context.printer.print(&value, COLUMNS)
}

fn print_list(context: &Context, found: &[Value], columns: Columns) -> Result<(), Failure> {
    let jobs = found.iter().map(shown::job).collect::<Result<Vec<Value>, _>>()?;
    let rows = context.printer.is_table().then(|| jobs.iter().map(shown::row).collect::<Vec<Value>>());
    context.printer.print(&json!(rows.unwrap_or(jobs)), columns)
}

/// Prints the jobs of a batch endpoint or of one of its deployments, whose path is given.
pub async fn list_below(context: &Context, path: &str, most: &Most) -> Result<(), Failure> {
    let path = format!("{FRONT_END}{path}/jobs");
    let found = context.client.list_most(Purpose::Scoring, &path, most.count()).await?;
    print_list(context, &found, COLUMNS_BELOW)
}
