//! What every client command is given: its common options, the environment, the client and the printer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::client::Client;
use super::complain;
use super::credential::Credentials;
use super::failure::Failure;
use super::http::{Http, ca_file};
use super::output::{Format, Printer};
use super::scope::Place;
use crate::clock::{Clock, SystemClock};

const GLOBAL: &str = "Global options";
/// Where `scoregate serve` listens if it is told nothing else.
const SERVER: &str = "https://127.0.0.1:8081";

/// Options of every client command.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// The gateway's control plane; else SCOREGATE_SERVER, else https://127.0.0.1:8081
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL)]
    server: Option<String>,
    /// Certificates to trust besides the system's; else SCOREGATE_CA_FILE, REQUESTS_CA_BUNDLE or SSL_CERT_FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    ca_file: Option<PathBuf>,
    /// An access token to use instead of looking for a credential; else SCOREGATE_TOKEN
    #[arg(long, global = true, value_name = "TOKEN", help_heading = GLOBAL)]
    token: Option<Secret>,
    /// Subscription; else SCOREGATE_SUBSCRIPTION, else the only one there is
    #[arg(long, global = true, value_name = "ID", help_heading = GLOBAL)]
    subscription: Option<String>,
    /// Resource group; else SCOREGATE_RESOURCE_GROUP, else that of the only workspace there is
    #[arg(short = 'g', long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    resource_group: Option<String>,
    /// Workspace; else SCOREGATE_WORKSPACE, else the only one there is
    #[arg(short = 'w', long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    workspace_name: Option<String>,
    /// How to print the answer: jsonc is JSON in colour, tsv is for scripts
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", help_heading = GLOBAL)]
    output: Option<Format>,
    /// Print a part of the answer: a JMESPath expression
    #[arg(long, global = true, value_name = "JMESPATH", help_heading = GLOBAL)]
    query: Option<String>,
    /// Tell every request and its status on standard error; tokens are never told
    #[arg(long, global = true, help_heading = GLOBAL)]
    debug: bool,
    /// No progress and no warnings
    #[arg(long, global = true, help_heading = GLOBAL)]
    only_show_errors: bool,
    #[arg(long, global = true, hide = true)]
    verbose: bool,
}

/// A text that is shown to nobody.
#[derive(Clone)]
struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The environment's variables, as they were at the start.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their values hold secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Env {
    /// Those of this process.
    pub fn of_process() -> Env {
        // What is not text is nothing that is asked for here.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Env(std::env::vars_os().filter_map(text).collect())
    }

    /// These.
    #[cfg(test)]
    pub fn of(variables: &[(&str, &str)]) -> Env {
        Env(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// A variable; an empty one is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

/// What a client command works with.
#[derive(Debug)]
pub struct Context {
    pub env: Env,
    pub client: Client,
    pub place: Place,
    pub printer: Printer,
    quiet: bool,
}

impl Context {
    /// Made of the command line and the environment; asks nobody anything.
    pub fn new(common: &Common, env: Env) -> Result<Context, Failure> {
        let server = common.server.as_deref().or_else(|| env.get("SCOREGATE_SERVER")).unwrap_or(SERVER);
        let server = server.trim().trim_end_matches('/').to_owned();
        if !server.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(Failure::usage(format!(
                "--server {server}: write https://host:port; tokens are not sent in clear text"
            )));
        }
        let printer = Printer::new(common.output, common.query.as_deref(), &env)?;
        let http = Http::new(ca_file(common.ca_file.as_deref(), &env).as_deref(), common.debug)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let flags = [&common.subscription, &common.resource_group, &common.workspace_name];
        let place = Place::new(flags.map(Option::as_deref), &env);
        let credentials = Credentials::new(
            env.clone(),
            http,
            &server,
            common.token.as_ref().map(|token| token.0.as_str()),
            || SystemClock.unix(),
        );
        let client = Client::new(server, credentials, common.only_show_errors);
        Ok(Context { env, client, place, printer, quiet: common.only_show_errors })
    }

    /// A context that prints nothing, for tests.
    #[cfg(test)]
    pub fn silent(env: Env) -> Context {
        let common = Common { output: Some(Format::None), only_show_errors: true, ..Common::default() };
        Context::new(&common, env).unwrap()
    }

    /// Whether a person watches who wants to know how far something is.
    pub fn is_watched(&self) -> bool {
        use std::io::IsTerminal;
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Tells a person something that is no part of the answer.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }
}

/// Runs a client command to its end.
pub fn run(common: &Common, work: impl AsyncFnOnce(&Context) -> Result<ExitCode, Failure>) -> ExitCode {
    let tell = |failure: &Failure| {
        complain(&format!("scoregate: {failure}"));
        failure.code()
    };
    let context = match Context::new(common, Env::of_process()) {
        Ok(context) => context,
        Err(failure) => return tell(&failure),
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(&Failure::failed(error.to_string())),
    };
    runtime.block_on(work(&context)).unwrap_or_else(|failure| tell(&failure))
}

/// Asks before something is destroyed, as `az` does.
pub fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    use std::io::{BufRead, IsTerminal};
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format!("{what} needs --yes where nobody can be asked")));
    }
    complain(&format!("{what}? (y/n)"));
    let mut line = String::new();
    let _ = stdin.lock().read_line(&mut line);
    if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::failed("nothing was done"))
    }
}
