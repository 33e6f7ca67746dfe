//! The identity of the machine or pod that the command runs on.

use http::Method;
use reqwest::RequestBuilder;

use super::oauth::{read, seconds};
use super::{AccessToken, Credentials, Miss};
use crate::cli::http::TIME;
use crate::cli::http::escape;

/// The metadata service of Azure's machines.
const IMDS: &str = "http://169.254.169.254";

pub(super) async fn token(with: &Credentials, resource: &str) -> Result<AccessToken, Miss> {
    let Some((url, header)) = endpoint(with) else {
        return Err(Miss::Unset(
            "neither IDENTITY_ENDPOINT with IDENTITY_HEADER nor AZURE_POD_IDENTITY_AUTHORITY_HOST is set; \
             AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential asks a machine's metadata service"
                .to_owned(),
        ));
    };
    let mut query = vec![("resource", resource)];
    query.extend(with.env.get("AZURE_CLIENT_ID").map(|client| ("client_id", client)));
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let url = format!("{url}&{}", query.join("&"));
    let mut request: RequestBuilder = with.http.request(Method::GET, &url).header("metadata", "true");
    if let Some(header) = header {
        request = request.header("x-identity-header", header);
    }
    let answer = with.http.send(request, TIME).await.map_err(|error| Miss::Failed(error.to_string()))?;
    let said = read(&url, answer.status, &answer.body).map_err(|error| Miss::Failed(error.to_string()))?;
    let secret = said.get("access_token").and_then(|token| token.as_str());
    let secret = secret.ok_or_else(|| Miss::Failed(format!("{url} answered without an access token")))?;
    let mut token = AccessToken::of(secret.to_owned());
    token.expires = seconds(said.get("expires_on")).or(token.expires);
    Ok(token)
}

/// The address to ask, and the secret header it wants.
fn endpoint(with: &Credentials) -> Option<(String, Option<&str>)> {
    if let (Some(url), Some(header)) = (with.env.get("IDENTITY_ENDPOINT"), with.env.get("IDENTITY_HEADER")) {
        return Some((format!("{url}?api-version=2019-08-01"), Some(header)));
    }
    let asked = with.env.get("AZURE_TOKEN_CREDENTIALS");
    let asked = asked.is_some_and(|name| name.eq_ignore_ascii_case("ManagedIdentityCredential"));
    let host = with.env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST").or(asked.then_some(IMDS))?;
    Some((
        format!("{}/metadata/identity/oauth2/token?api-version=2018-02-01", host.trim_end_matches('/')),
        None,
    ))
}
