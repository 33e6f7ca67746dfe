//! Calling an endpoint, and the credentials that its mode wants.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Method;
use reqwest::Response;
use serde_json::{Value, json};

use super::client::RestError;
use super::context::Context;
use super::credential::Purpose;
use super::failure::Failure;
use super::http::is_near;
use super::{say, written};
use crate::clock::{Clock, SystemClock};

/// The longest time between two parts of an answer.
const IDLE: Duration = Duration::from_secs(600);
/// What looking up an endpoint takes.
const READ: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/read";
/// The most of a refusal that is read.
const MAX_REFUSAL: usize = 64 << 10;

/// Examples for the help.
pub const EXAMPLES: &str = "Examples:
  scoregate online-endpoint invoke -n my-endp1 -r request.json
  echo '{\"data\": [[1, 2]]}' | scoregate online-endpoint invoke -n my-endp1 -r -

  # green alone, whatever its share
  scoregate online-endpoint invoke -n my-endp1 -r request.json -d green

The credential is what the endpoint's auth_mode wants: its key, a token of the gateway, or an Entra token.
The answer is printed as it comes. When it is refused, `scoregate auth why REQUEST_ID` tells why.";

/// A request to an endpoint.
#[derive(Debug, Args)]
pub struct Invoke {
    /// The endpoint's name
    #[arg(short, long)]
    pub name: String,
    /// The request's body; - for standard input
    #[arg(short, long, value_name = "FILE")]
    request_file: PathBuf,
    /// The deployment that answers, whatever its share
    #[arg(short, long, value_name = "NAME")]
    deployment_name: Option<String>,
}

/// The credentials of an endpoint by its mode, as `az ml` prints them.
pub async fn credentials(context: &Context, path: &str, endpoint: &Value) -> Result<Value, Failure> {
    let mode = endpoint.pointer("/properties/authMode").and_then(Value::as_str).unwrap_or_default();
    if mode.eq_ignore_ascii_case("Key") {
        return Ok(context.client.post(&format!("{path}/listKeys"), &Value::Null).await?);
    }
    if mode.eq_ignore_ascii_case("AMLToken") {
        return Ok(context.client.post(&format!("{path}/token"), &Value::Null).await?);
    }
    let token = context.client.credentials().token(Purpose::Scoring).await;
    let token = token.map_err(|error| Failure::failed(error.to_string()))?;
    let expires = token.expires.unwrap_or_else(|| SystemClock.unix());
    Ok(json!({"accessToken": token.secret.as_str(), "expiryTimeUtc": expires}))
}

fn body(file: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |error: std::io::Error| Failure::usage(format!("--request-file {}: {error}", file.display()));
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map_err(wrong)?;
    } else {
        bytes = std::fs::read(file).map_err(wrong)?;
    }
    Ok(bytes)
}

/// The endpoint at a path, and the address at which it is called, which only the server knows; asking takes this right.
pub async fn looked_up(context: &Context, path: &str, right: &str) -> Result<(Value, String), Failure> {
    let told = |error: &RestError| {
        format!(
            "{error}\n  what to do: check the name, -g and -w; if they are right, have {right} at the endpoint granted to you: \
             by that right\n    it is looked up before it is called, and to those without it it is not there"
        )
    };
    let endpoint = match context.client.get(path).await {
        Err(error) if error.status() == Some(404) => return Err(Failure::NotFound(told(&error))),
        Err(error) if error.status() == Some(403) => return Err(Failure::Failed(told(&error))),
        found => found?,
    };
    let url = endpoint.pointer("/properties/scoringUri").and_then(Value::as_str).map(str::to_owned);
    let url = url.ok_or_else(|| Failure::failed("the server does not say where the endpoint is called"))?;
    if url.starts_with("http://") && !is_near(&url) {
        context.note(&format!("warning: the credential goes to {url} in clear text"));
    }
    Ok((endpoint, url))
}

/// What a refusal says of the header that names a deployment, said of the flag that sends it.
pub fn by_flag(text: &str) -> String {
    const FLAG: &str = "-d/--deployment-name";
    let text = text.replace("in the azureml-model-deployment header", &format!("with {FLAG}"));
    text.replace("the azureml-model-deployment header", FLAG)
}

/// Sends the request and prints the answer.
pub async fn run(context: &Context, path: &str, options: &Invoke) -> Result<ExitCode, Failure> {
    let body = body(&options.request_file)?;
    let (endpoint, url) = looked_up(context, path, READ).await?;
    let credentials = credentials(context, path, &endpoint).await?;
    let secret = ["primaryKey", "accessToken"].iter().find_map(|name| credentials.get(*name)?.as_str());
    let secret = secret.ok_or_else(|| Failure::failed("the server gave no credential"))?;
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let kind = if is_json { "application/json" } else { "application/octet-stream" };
    let http = &context.client.credentials().http;
    let mut request =
        http.request(Method::POST, &url).bearer_auth(secret).header("content-type", kind).body(body);
    if let Some(name) = &options.deployment_name {
        request = request.header("azureml-model-deployment", name);
    }
    let silent = || Failure::failed(format!("{url} did not answer within {} minutes", IDLE.as_secs() / 60));
    let mut response = tokio::time::timeout(IDLE, http.open(request)).await.map_err(|_| silent())??;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    if !context.printer.in_words() {
        let mut bytes = Vec::new();
        while let Some(chunk) = next(&mut response).await? {
            bytes.extend_from_slice(&chunk);
        }
        let text = || Value::from(String::from_utf8_lossy(&bytes));
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        context.printer.print(&value, &[])?;
        return Ok(ExitCode::SUCCESS);
    }
    print(response).await
}

/// The next part of an answer.
async fn next(response: &mut Response) -> Result<Option<Bytes>, Failure> {
    let cut = |why: &str| Failure::failed(format!("the answer broke off: {why}"));
    let next = tokio::time::timeout(IDLE, response.chunk()).await;
    let next = next.map_err(|_| cut("nothing came any more"))?;
    next.map_err(|error| cut(&error.without_url().to_string()))
}

/// Prints an answer as it comes.
async fn print(mut response: Response) -> Result<ExitCode, Failure> {
    let mut last = b'\n';
    while let Some(chunk) = next(&mut response).await? {
        last = chunk.last().copied().unwrap_or(last);
        let mut out = std::io::stdout();
        if !written(&out.write_all(&chunk).and_then(|()| out.flush())) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if last != b'\n' {
        say("");
    }
    Ok(ExitCode::SUCCESS)
}

/// Why the endpoint did not answer well.
async fn refused(mut response: Response) -> Failure {
    let status = response.status().as_u16();
    let header = |response: &Response, name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (id, deployment) =
        (header(&response, "x-ms-request-id"), header(&response, "azureml-model-deployment"));
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = next(&mut response).await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_REFUSAL {
            break;
        }
    }
    let said: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let part = |name: &str| said.pointer("/error")?.get(name)?.as_str();
    let text = match (part("code"), part("message")) {
        (Some(code), Some(message)) => format!("({code}) {}", by_flag(message)),
        _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    let mut lines = vec![text, format!("  status: {status}")];
    lines.extend(deployment.map(|name| format!("  deployment: {name}")));
    if let Some(id) = id {
        lines.push(format!("  why: scoregate auth why {id}"));
    }
    let text = lines.join("\n");
    if status == 404 { Failure::NotFound(text) } else { Failure::Failed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Got, WORKSPACE, said};

    async fn invoked(look: u16) -> Failure {
        let fake = Fake::new(move |got: &Got| {
            let host = got.headers["host"].to_str().unwrap();
            let uri = format!("https://{host}/score");
            let message =
                "no deployment of the endpoint has traffic; name one in the azureml-model-deployment header";
            match got.method.as_str() {
                "GET" if look != 200 => said(look, json!({"error": {"code": "Look", "message": "no"}})),
                "GET" => said(200, json!({"properties": {"authMode": "AADToken", "scoringUri": uri}})),
                _ => said(404, json!({"error": {"code": "NoTraffic", "message": message}})),
            }
        });
        let file = fake.path("request.json");
        std::fs::write(&file, "{}").unwrap();
        let options = Invoke { name: "my-ep".to_owned(), request_file: file.into(), deployment_name: None };
        let path = format!("{WORKSPACE}/onlineEndpoints/my-ep");
        run(&fake.context(), &path, &options).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_refusal_speaks_of_the_flag_and_not_of_its_header() {
        let error = invoked(200).await.to_string();
        assert!(error.contains("name one with -d/--deployment-name") && !error.contains("header"), "{error}");
    }

    #[tokio::test]
    async fn an_endpoint_that_cannot_be_looked_up_may_be_there_for_others() {
        let error = invoked(404).await;
        assert!(matches!(&error, Failure::NotFound(text) if text.contains(READ)), "{error}");
        let error = invoked(403).await;
        assert!(matches!(&error, Failure::Failed(text) if text.contains(READ)), "{error}");
        assert!(!invoked(503).await.to_string().contains(READ));
    }
}
