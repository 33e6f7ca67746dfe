//! Whoever is logged in to the Azure CLI on this machine.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::{AccessToken, Credentials, Miss, claims};

/// Time for the Azure CLI, which takes seconds to start.
const TIME: Duration = Duration::from_secs(60);

pub(super) async fn token(with: &Credentials, resource: &str) -> Result<AccessToken, Miss> {
    let mut command = Command::new("az");
    command.args(["account", "get-access-token", "--output", "json", "--resource", resource]);
    if let Some(tenant) = with.env.get("AZURE_TENANT_ID") {
        command.args(["--tenant", tenant]);
    }
    command.env_clear().envs(with.env.all()).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(TIME, command.output()).await {
        Err(_) => {
            return Err(Miss::Failed("`az account get-access-token` did not answer in time".to_owned()));
        }
        Ok(Err(_)) => return Err(Miss::Unset("`az` is not installed".to_owned())),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it failed silently");
        return Err(Miss::Failed(line.chars().take(300).collect()));
    }
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let Some(secret) = said.get("accessToken").and_then(Value::as_str) else {
        return Err(Miss::Failed("`az account get-access-token` answered without a token".to_owned()));
    };
    let token = AccessToken::of(secret.to_owned());
    // Most people who have `az` are logged in to some other tenant.
    let wanted = with.cloud().await.ok().and_then(|cloud| cloud.tenant.as_deref());
    let has = claims(secret);
    match (wanted, has.get("tid").and_then(Value::as_str)) {
        (Some(wanted), Some(has)) if !wanted.eq_ignore_ascii_case(has) => {
            Err(Miss::Failed(format!("`az` is logged in to tenant {has}; the server's is {wanted}")))
        }
        _ => Ok(token),
    }
}
