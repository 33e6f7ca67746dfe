//! `scoregate auth`: what is allowed, to whom, and why a request was refused.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::context::Context;
use super::failure::Failure;
use super::http::escape;
use super::output::{Columns, Format, lay_out};
use super::say;
use super::scope::path;
use crate::model::scope::Scope;

const GATEWAY: &str = "/providers/Scoregate.Gateway";
const HOLDERS: Columns =
    &[("Principal", "principalId"), ("Type", "principalType"), ("Role", "roleName"), ("Scope", "scope")];
const CHECKS: Columns = &[("Check", "check"), ("Result", "result"), ("Found", "found")];

/// What is allowed, and why not.
#[derive(Debug, Args)]
pub struct Auth {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Is this allowed? Exits 0 if it is, 1 if not
    #[command(after_help = "Examples:
  # may I score this endpoint?
  scoregate auth can-i --action Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action \\
    --scope /subscriptions/SUB/resourceGroups/default/providers/Microsoft.MachineLearningServices/workspaces/default/onlineEndpoints/my-endp1

  # may somebody else make endpoints in the workspace?
  scoregate auth can-i --action Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write \\
    --assignee 11111111-2222-3333-4444-555555555555")]
    CanI(CanI),
    /// Who is allowed to do this?
    #[command(after_help = "Examples:
  scoregate auth who-can --action Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action
  scoregate auth who-can --action Microsoft.Authorization/roleAssignments/write --scope / -o json")]
    WhoCan(Asked),
    /// Every check that was made on a request, in order, and the nearest grant that is missing
    #[command(after_help = "Examples:
  # the x-ms-request-id of the answer that is not understood
  scoregate auth why 0192f0c1-7d3e-7c44-9b1a-5a9e3a1f6b2c

  # what a token would do at an endpoint, without calling it
  scoregate auth why --token-file token.txt --endpoint my-endp1")]
    Why(Why),
}

#[derive(Debug, Args)]
struct Asked {
    /// The action, such as Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action
    #[arg(long)]
    action: String,
    /// It is a data action
    #[arg(long)]
    data_action: bool,
    /// Where; else the workspace
    #[arg(long)]
    scope: Option<String>,
}

#[derive(Debug, Args)]
struct CanI {
    #[command(flatten)]
    asked: Asked,
    /// The object id of whom it is about; else yourself
    #[arg(long, value_name = "OBJECT_ID")]
    assignee: Option<Uuid>,
}

#[derive(Debug, Args)]
struct Why {
    /// The request's id, from the x-ms-request-id of its answer
    #[arg(required_unless_present = "token_file", conflicts_with = "token_file")]
    request_id: Option<String>,
    /// A file that holds a token
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    token_file: Option<PathBuf>,
    /// The endpoint that the token would be used at
    #[arg(long, short = 'n', value_name = "NAME", requires = "token_file")]
    endpoint: Option<String>,
}

impl Auth {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        match &self.command {
            Command::CanI(options) => can_i(context, options).await,
            Command::WhoCan(asked) => {
                let at = asked.scope(context).await?;
                let body = json!({"action": asked.action, "isDataAction": asked.data_action});
                let answer = context.client.post(&format!("{}{GATEWAY}/whoCan", path(&at)), &body).await?;
                let holders = answer.get("value").cloned().unwrap_or_else(|| json!([]));
                context.printer.print_as(&holders, HOLDERS, Format::Table)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Why(options) => why(context, options).await,
        }
    }
}

impl Asked {
    async fn scope(&self, context: &Context) -> Result<Scope, Failure> {
        Ok(match &self.scope {
            Some(scope) => scope.parse()?,
            None => context.place.workspace(&context.client).await?.scope()?,
        })
    }
}

async fn can_i(context: &Context, options: &CanI) -> Result<ExitCode, Failure> {
    let asked = &options.asked;
    let scope = asked.scope(context).await?;
    let mut body = json!({"action": asked.action, "isDataAction": asked.data_action});
    if let (Value::Object(fields), Some(assignee)) = (&mut body, options.assignee) {
        fields.insert("principalId".to_owned(), json!(assignee));
    }
    let answer = context.client.post(&format!("{}{GATEWAY}/checkAccess", path(&scope)), &body).await?;
    let allowed = answer.get("allowed").and_then(Value::as_bool) == Some(true);
    if context.printer.in_words() {
        say(&verdict(&answer, allowed));
    } else {
        context.printer.print(
            &answer,
            &[("Allowed", "allowed"), ("Principal", "principalId"), ("Decision", "decision")],
        )?;
    }
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The answer to `can-i` in words.
fn verdict(answer: &Value, allowed: bool) -> String {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    if allowed {
        return format!("yes: {} at {}", text("/roleAssignment/roleName"), text("/roleAssignment/scope"));
    }
    if answer.get("denyAssignment").is_some_and(Value::is_object) {
        return format!("no: the deny assignment `{}` forbids it", text("/denyAssignment/name"));
    }
    let principal = text("/principalId");
    format!("no: no role of {principal} allows it{}", missing(answer))
}

/// What grants it, if the server says.
fn missing(answer: &Value) -> String {
    let text = |name: &str| answer.pointer("/missing")?.get(name)?.as_str();
    match (text("roleName"), text("scope"), text("command")) {
        (Some(role), Some(scope), Some(command)) => {
            format!("\n\nThe nearest role that would: {role} at {scope}\n\n  {command}")
        }
        _ => String::new(),
    }
}

async fn why(context: &Context, options: &Why) -> Result<ExitCode, Failure> {
    let answer = match (&options.request_id, &options.token_file, &options.endpoint) {
        (Some(id), ..) => {
            let found = context.client.find(&format!("{GATEWAY}/requests/{}", escape(id))).await?;
            found.ok_or_else(|| {
                Failure::NotFound(format!(
                    "nothing is known of request {id}: the last scoring requests are remembered (limits.explained_requests), \
                     and none of the control plane"
                ))
            })?
        }
        (None, Some(file), Some(endpoint)) => {
            let token = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("--token-file {}: {error}", file.display())))?;
            let token = token.trim().trim_start_matches("Bearer ");
            context
                .client
                .post(&format!("{GATEWAY}/explain"), &json!({"endpoint": endpoint, "token": token}))
                .await?
        }
        _ => return Err(Failure::usage("give a request's id, or --token-file and --endpoint")),
    };
    if context.printer.in_words() {
        say(&explanation(&answer));
    } else {
        let checks = answer.get("checks").cloned().unwrap_or_else(|| json!([]));
        // A table is of the checks; every other form is of the whole.
        let whole = if context.printer.is_table() { &checks } else { &answer };
        context.printer.print(whole, CHECKS)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An explanation for a person: the outcome, each check, and what to paste.
fn explanation(answer: &Value) -> String {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let mut first = vec![format!("endpoint {}", text("endpoint").unwrap_or("?"))];
    first.extend(text("outcome").map(str::to_owned));
    first.extend(answer.get("status").and_then(Value::as_i64).map(|status| format!("status {status}")));
    first.extend(text("time").map(str::to_owned));
    let mut lines = vec![CHECKS.iter().map(|(heading, _)| (*heading).to_owned()).collect::<Vec<_>>()];
    for check in answer.get("checks").and_then(Value::as_array).into_iter().flatten() {
        let cell = |(_, name): &(&str, &str)| {
            check.get(*name).and_then(Value::as_str).unwrap_or_default().replace('_', " ")
        };
        let mut row: Vec<String> = CHECKS.iter().take(2).map(cell).collect();
        row.push(check.get("found").and_then(Value::as_str).unwrap_or_default().to_owned());
        lines.push(row);
    }
    let granted = answer.get("roleAssignment").filter(|found| found.is_object()).map(|found| {
        let part = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or("?");
        format!("\n\nGranted by {} at {}", part("roleName"), part("scope"))
    });
    format!("{}\n\n{}{}{}", first.join(", "), lay_out(&lines), granted.unwrap_or_default(), missing(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_ends_with_the_command_to_paste() {
        let answer = json!({
            "requestId": "r", "endpoint": "my-endp1", "status": 403, "outcome": "refused", "roleAssignment": null,
            "checks": [
                {"check": "match", "result": "passed", "found": "the path names my-endp1"},
                {"check": "authorize", "result": "failed", "found": "no role of x_y allows score/action"},
                {"check": "aim", "result": "not_reached", "found": ""},
            ],
            "missing": {"roleName": "AzureML Data Scientist", "scope": "/s", "command": "scoregate role assignment create"},
        });
        let text = explanation(&answer);
        let expected = "endpoint my-endp1, refused, status 403\n\n\
            Check      Result       Found\n\
            ---------  -----------  ----------------------------------\n\
            match      passed       the path names my-endp1\n\
            authorize  failed       no role of x_y allows score/action\n\
            aim        not reached\n\n\
            The nearest role that would: AzureML Data Scientist at /s\n\n  scoregate role assignment create";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_verdict_names_what_decided() {
        let yes = json!({"allowed": true, "roleAssignment": {"roleName": "Owner", "scope": "/"}});
        assert_eq!(verdict(&yes, true), "yes: Owner at /");
        let denied =
            json!({"allowed": false, "denyAssignment": {"id": "i", "name": "freeze"}, "missing": null});
        assert_eq!(verdict(&denied, false), "no: the deny assignment `freeze` forbids it");
        assert_eq!(
            verdict(&json!({"principalId": "p", "missing": null}), false),
            "no: no role of p allows it"
        );
    }
}
