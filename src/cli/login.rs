//! `scoregate login` and `scoregate logout`: a person signs in with a code in a browser, and the login is kept.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::context::{Context, Env};
use super::credential::{self, Kept, Miss, OAuthError, Purpose, claims, post, token_request};
use super::failure::Failure;
use super::{complain, say};
use crate::clock::{Clock, SystemClock};

/// The public client that the Azure CLI and Azure's SDKs sign people in with.
const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scoregate login --server https://gateway.example:8081
  AZURE_TENANT_ID=... AZURE_AUTHORITY_HOST=https://login.microsoftonline.com scoregate login

The login is kept in $XDG_CONFIG_HOME/scoregate/login.json (or ~/.config), readable by you alone, and renewed when needed.
Programs need no login. The first of these that is set up serves:
  1. --token or SCOREGATE_TOKEN
  2. AZURE_CLIENT_ID (and AZURE_TENANT_ID) with AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH (PEM) or
     AZURE_FEDERATED_TOKEN_FILE
  3. managed identity: IDENTITY_ENDPOINT and IDENTITY_HEADER, AZURE_POD_IDENTITY_AUTHORITY_HOST, or
     AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential for a machine's metadata service
  4. the Azure CLI, if `az` is logged in
  5. this login
The second and third end the search when they are set up and refused, so that nobody acts as somebody else by mistake.")]
pub struct Login {
    /// The application that signs people in; else SCOREGATE_CLIENT_ID, else the Azure CLI's own
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

impl Login {
    /// Signs a person in.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let credentials = context.client.credentials();
        let file = Kept::file(&context.env);
        let file = file.ok_or_else(|| Failure::failed("neither XDG_CONFIG_HOME nor HOME is set"))?;
        // What could not be kept should be known before somebody signs in.
        let mut kept = Kept::read(&file).map_err(Failure::failed)?;
        let (authority, tenant) = credentials.authority().await.map_err(|miss| match miss {
            Miss::Unset(why) | Miss::Failed(why) => Failure::failed(why),
        })?;
        let resource = credentials.resource(Purpose::Control).await?;
        let client_id = self.client_id.as_deref().or_else(|| context.env.get("SCOREGATE_CLIENT_ID"));
        let client_id = client_id.unwrap_or(CLIENT).to_owned();
        let scope = format!("{resource}/.default offline_access openid profile");
        let refused = |error: OAuthError| Failure::failed(error.to_string());

        let base = format!("{authority}/{tenant}/oauth2/v2.0");
        let form = [("client_id", client_id.as_str()), ("scope", scope.as_str())];
        let device = post(&credentials.http, &format!("{base}/devicecode"), &form).await.map_err(refused)?;
        let text = |name: &str| device.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = match text("message") {
            "" => format!("Open {} and enter the code {}", text("verification_uri"), text("user_code")),
            message => message.to_owned(),
        };
        complain(&message.chars().filter(|c| !c.is_control()).collect::<String>());

        let form =
            [("grant_type", DEVICE_CODE), ("client_id", &client_id), ("device_code", text("device_code"))];
        let number = |name: &str| device.get(name).and_then(Value::as_u64);
        let mut pause = number("interval").unwrap_or(5).clamp(1, 60);
        let mut left = number("expires_in").unwrap_or(900);
        let granted = loop {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let url = format!("{base}/token");
            let polled = token_request(&credentials.http, &url, &form, SystemClock.unix()).await;
            match polled {
                Ok(granted) => break granted,
                Err(OAuthError::Refused { error, .. }) if error == "authorization_pending" => {}
                Err(OAuthError::Refused { error, .. }) if error == "slow_down" => pause += 5,
                Err(error) => return Err(refused(error)),
            }
            left = left.saturating_sub(pause);
            if left == 0 {
                return Err(Failure::failed("nobody entered the code in time; `scoregate login` again"));
            }
        };
        let said = |name: &str| granted.rest.get(name).and_then(Value::as_str);
        let who = claims(said("id_token").unwrap_or(&granted.access.secret));
        let account = ["preferred_username", "name", "oid"].iter().find_map(|name| who.get(*name)?.as_str());
        let account = account.unwrap_or("somebody").to_owned();
        let refresh_token = said("refresh_token").unwrap_or_default().to_owned();
        let mut login = credential::Login::new(client_id, account.clone(), refresh_token);
        login.keep(&resource, &granted.access);
        kept.insert(&authority, &tenant, login);
        kept.write(&file).map_err(Failure::failed)?;
        if context.printer.in_words() {
            say(&format!("logged in as {account} at {authority}/{tenant}"));
        } else {
            let answer = json!({"account": account, "authority": authority, "tenantId": tenant, "objectId": who.get("oid")});
            context.printer.print(&answer, &[])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Deletes what is kept.
pub fn logout(env: &Env) -> ExitCode {
    let Some(file) = Kept::file(env) else {
        complain("scoregate: neither XDG_CONFIG_HOME nor HOME is set");
        return ExitCode::FAILURE;
    };
    match std::fs::remove_file(&file) {
        Ok(()) => say("logged out"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => say("nobody was logged in"),
        Err(error) => {
            complain(&format!("scoregate: cannot delete {}: {error}", file.display()));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
