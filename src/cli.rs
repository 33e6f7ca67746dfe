//! The command line: what can be asked of the one binary, and its exit codes.

mod apply;
mod audit;
mod auth;
mod batch_deployment;
mod batch_endpoint;
mod client;
mod config;
mod context;
mod credential;
mod datastore;
mod deployment;
mod edit;
mod endpoint;
mod exec_instance;
mod export;
mod failure;
#[cfg(test)]
mod fake;
mod file;
mod flags;
mod http;
mod invoke;
mod job;
mod login;
mod mirror;
mod output;
mod process;
mod resource;
mod role;
mod scope;
mod serve;
mod shape;
mod supervisor;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::context::{Common, Env, run};

/// Something was wrong with what was asked, or with the configuration.
const USAGE: u8 = 2;

/// An authorizing gateway in front of model servers.
///
/// Clients present an Entra token (or one of an endpoint's two keys), Azure RBAC decides whether they may score the
/// endpoint, and the request goes to one of the endpoint's deployments by weight.
#[derive(Debug, Parser)]
#[command(name = "scoregate", version, about, long_about, max_term_width = 100)]
#[command(after_help = "Start here:
  scoregate dev --demo                     see it work, with its own issuer and two small models
  scoregate config check scoregate.yaml    find every mistake in a configuration
  scoregate serve --config scoregate.yaml  run the gateway

Against a running gateway (SCOREGATE_SERVER and SCOREGATE_CA_FILE say which):
  scoregate login                          become somebody; programs set AZURE_CLIENT_ID and its kin instead
  scoregate role assignment create --assignee OBJECT_ID --role \"AzureML Data Scientist\" -g default
  scoregate batch-endpoint invoke -n heart --input azureml://datastores/workspaceblobstore/paths/in --stream
  scoregate auth why REQUEST_ID            why a scoring request was refused, and the command that grants it

Exit codes: 0 done, 1 failed, 2 not understood, 3 not found.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command, or a family of them, with the options of every client command.
#[derive(Debug, Args)]
struct Remote<T: Args> {
    #[command(flatten)]
    what: T,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM
    Serve {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration or describe its fields
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run a gateway with an issuer and two models of its own, on loopback; needs no set-up
    Dev(crate::dev::Options),
    /// Make, change, show, call and delete online endpoints
    OnlineEndpoint(Remote<endpoint::Endpoint>),
    /// Make, change, show and delete the deployments behind an endpoint
    OnlineDeployment(Remote<deployment::Deployment>),
    /// Make, change, show, invoke and delete batch endpoints
    BatchEndpoint(Remote<batch_endpoint::BatchEndpoint>),
    /// Make, change, show and delete the deployments behind a batch endpoint
    BatchDeployment(Remote<batch_deployment::BatchDeployment>),
    /// Show, list, follow and stop batch jobs
    Job(Remote<job::Job>),
    /// Make, show and delete the data stores that jobs read and write
    Datastore(Remote<datastore::Datastore>),
    /// Make the workspace as files describe it: shows what differs, checks it, changes it
    Apply(Remote<apply::Apply>),
    /// Write the workspace's endpoints and deployments in the form that `apply` reads
    Export(Remote<export::Export>),
    /// Who may do what: role assignments and role definitions
    Role(Remote<role::Role>),
    /// Ask what is allowed, to whom, and why a request was refused
    Auth(Remote<auth::Auth>),
    /// Verify or print the trail of everything that was done, from the store itself
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Log in with a code that is typed into a browser, and keep the login
    Login(Remote<login::Login>),
    /// Forget every login that is kept on this machine
    Logout,
    /// Become an instance that ends with the gateway; the gateway calls this itself
    #[command(hide = true)]
    ExecInstance(exec_instance::ExecInstance),
    /// Print a script that completes commands in a shell
    #[command(after_help = "Examples:
  source <(scoregate completion bash)
  scoregate completion zsh > \"${fpath[1]}/_scoregate\"
  scoregate completion fish > ~/.config/fish/completions/scoregate.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Shells that can complete commands.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell every mistake in a configuration and in the resources it names, with file, line and field
    Check {
        /// The configuration file
        file: PathBuf,
    },
    /// Print the JSON Schema of the configuration file
    Schema,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no record is missing or changed; exits 1 if one is
    #[command(after_help = "Examples:
  scoregate audit verify --config scoregate.yaml
  scoregate audit verify --config scoregate.yaml --head 5f0c…

Keep the head that it prints somewhere else: given back later as --head, it proves that nothing before it was rewritten.")]
    Verify {
        /// The configuration file, which names the store and its master key
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// A head that was noted before; it has to be in the trail
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Print every record as a line of JSON
    Show {
        /// The configuration file, which names the store and its master key
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let code = run_command(cli.command);
    if UNWRITTEN.load(Ordering::Relaxed) { ExitCode::FAILURE } else { code }
}

fn run_command(command: Command) -> ExitCode {
    match command {
        Command::Serve { config } => serve::serve(&config),
        Command::Config(ConfigCommand::Check { file }) => config::check(&file),
        Command::Config(ConfigCommand::Schema) => config::schema(),
        Command::Dev(options) => serve::dev(options),
        Command::Audit(AuditCommand::Verify { config, head }) => audit::verify(&config, head.as_deref()),
        Command::Audit(AuditCommand::Show { config }) => audit::show(&config),
        Command::OnlineEndpoint(Remote { what, common }) => {
            run(&common, async |context| what.run(context).await)
        }
        Command::OnlineDeployment(Remote { what, common }) => {
            run(&common, async |context| what.run(context).await)
        }
        Command::BatchEndpoint(Remote { what, common }) => {
            run(&common, async |context| what.run(context).await)
        }
        Command::BatchDeployment(Remote { what, common }) => {
            run(&common, async |context| what.run(context).await)
        }
        Command::Datastore(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Job(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Apply(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Export(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Role(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Auth(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Login(Remote { what, common }) => run(&common, async |context| what.run(context).await),
        Command::Logout => login::logout(&Env::of_process()),
        Command::ExecInstance(what) => what.run(),
        Command::Completion { shell } => completion(shell),
    }
}

fn completion(shell: Shell) -> ExitCode {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "scoregate", &mut script);
    say(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

/// Whether an answer could not be written, for want of space perhaps: a half is no success.
static UNWRITTEN: AtomicBool = AtomicBool::new(false);

fn say(text: &str) {
    written(&writeln!(std::io::stdout(), "{text}"));
}

/// Whether a part of an answer was written. That a reader has seen enough and closed its pipe is no reason to fail.
fn written(result: &std::io::Result<()>) -> bool {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        complain(&format!("scoregate: the answer cannot be written: {error}"));
        UNWRITTEN.store(true, Ordering::Relaxed);
    }
    result.is_ok()
}

/// Tells what is no part of an answer. It may quote what others wrote, which is to move no cursor.
fn complain(text: &str) {
    let text = text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', " ");
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A failure in one line: what could not be done, and why.
fn failed(error: &anyhow::Error) -> ExitCode {
    complain(&format!("scoregate: {error:#}"));
    ExitCode::FAILURE
}
