//! The command line: what can be asked of the one binary, and its exit codes.

mod config;
mod serve;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Something was wrong with what was asked, or with the configuration.
const USAGE: u8 = 2;

/// An authorizing gateway in front of model servers.
///
/// Clients present an Entra token (or one of an endpoint's two keys), Azure RBAC decides whether they may score the
/// endpoint, and the request goes to one of the endpoint's deployments by weight.
#[derive(Debug, Parser)]
#[command(name = "scoregate", version, about, long_about, max_term_width = 100)]
#[command(
    after_help = "Start here:\n  scoregate dev --demo                     see it work, with its own issuer and two small models\n  scoregate config check scoregate.yaml    find every mistake in a configuration\n  scoregate serve --config scoregate.yaml  run the gateway"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
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

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Serve { config } => serve::serve(&config),
        Command::Config(ConfigCommand::Check { file }) => config::check(&file),
        Command::Config(ConfigCommand::Schema) => config::schema(),
        Command::Dev(options) => serve::dev(options),
    }
}

fn say(text: &str) {
    // A closed pipe is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A failure in one line: what could not be done, and why.
fn failed(error: &anyhow::Error) -> ExitCode {
    complain(&format!("scoregate: {error:#}"));
    ExitCode::FAILURE
}
