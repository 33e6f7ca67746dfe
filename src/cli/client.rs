//! The client of the control plane's REST API: what every client command sends and how it takes the answer.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::complain;
use super::credential::{AccessToken, CredentialError, Credentials, Purpose};
use super::http::{Answer, Http, HttpError, TIME};

/// Versions of the API that are asked for.
const VERSION: &str = "2024-10-01";
const AUTHORIZATION_VERSION: &str = "2022-04-01";
/// The most pages of a list, and the longest wait for an operation.
const MAX_PAGES: usize = 1_000;
const MAX_POLLS: usize = 1_000;
/// How long before its end a token is replaced, in seconds.
const MARGIN: i64 = 60;

/// Why the control plane did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// It could not be asked.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// There is no token to ask with.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It refused, and said why.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

impl RestError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            RestError::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            RestError::Refused(refusal) => Some(&refusal.code),
            _ => None,
        }
    }
}

/// ARM's error envelope.
#[derive(Debug, Default, thiserror::Error)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What a program reads.
    pub code: String,
    /// What a person reads.
    pub message: String,
    target: Option<String>,
    details: Vec<String>,
    request_id: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.code, self.message)?;
        for detail in &self.details {
            write!(f, "\n  - {detail}")?;
        }
        if let Some(target) = &self.target {
            write!(f, "\n  target: {target}")?;
        }
        write!(f, "\n  status: {}", self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, "\n  request id: {id}")?;
        }
        Ok(())
    }
}

impl Refusal {
    /// What an answer says.
    pub fn of(answer: &Answer) -> Refusal {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let mut refusal = Refusal::read(said.get("error").filter(|error| error.is_object()).unwrap_or(&said));
        refusal.status = answer.status;
        refusal.request_id = answer.header("x-ms-request-id").map(str::to_owned);
        if refusal.code.is_empty() {
            refusal.code = format!("status {}", answer.status);
        }
        if refusal.message.is_empty() {
            let text = String::from_utf8_lossy(&answer.body);
            refusal.message = text.chars().filter(|c| !c.is_control()).take(300).collect();
        }
        refusal
    }

    fn read(error: &Value) -> Refusal {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let details = error.get("details").and_then(Value::as_array);
        let detail = |detail: &Value| {
            let part = |name: &str| detail.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("({}) {}", part("code"), part("message"))
        };
        Refusal {
            code: text("code").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            target: text("target").filter(|target| !target.is_empty()),
            details: details.into_iter().flatten().map(detail).collect(),
            ..Refusal::default()
        }
    }
}

/// The client.
#[derive(Debug)]
pub struct Client {
    server: String,
    http: Http,
    credentials: Credentials,
    tokens: Mutex<Vec<(Purpose, AccessToken)>>,
    quiet: bool,
}

impl Client {
    /// A client of this server; `quiet` tells no progress.
    pub fn new(server: String, credentials: Credentials, quiet: bool) -> Client {
        Client { server, http: credentials.http.clone(), credentials, tokens: Mutex::default(), quiet }
    }

    /// Where tokens come from.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Gets a resource.
    pub async fn get(&self, path: &str) -> Result<Value, RestError> {
        let url = self.url(path);
        self.send(Method::GET, &url, Body::None).await?.json()
    }

    /// Gets a resource and the tag of this state of it; `None` if it is not there.
    pub async fn find_tagged(&self, path: &str) -> Result<Option<(Value, Option<String>)>, RestError> {
        let url = self.url(path);
        match self.send(Method::GET, &url, Body::None).await {
            Ok(sent) => Ok(Some((sent.json()?, sent.answer.header("etag").map(str::to_owned)))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gets a resource; `None` if it is not there.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, RestError> {
        Ok(self.find_tagged(path).await?.map(|(found, _)| found))
    }

    /// Gets every page of a list.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, RestError> {
        self.list_most(Purpose::Control, path, usize::MAX).await
    }

    /// Gets the first so many of a list, and no page more than they need, with a token for this purpose.
    pub async fn list_most(
        &self,
        purpose: Purpose,
        path: &str,
        most: usize,
    ) -> Result<Vec<Value>, RestError> {
        let mut url = self.url(path);
        let mut items = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut page = self.send_as(purpose, Method::GET, &url, Body::None).await?.json()?;
            if let Some(Value::Array(more)) = page.get_mut("value").map(Value::take) {
                items.extend(more);
            }
            let next = page.get("nextLink").and_then(Value::as_str).filter(|next| !next.is_empty());
            let Some(next) = next.filter(|_| items.len() < most) else {
                items.truncate(most);
                return Ok(items);
            };
            url = self.own(next)?;
        }
        Err(HttpError::Answer { url, what: format!("more than {MAX_PAGES} pages") }.into())
    }

    /// Puts a resource and gives it as it is then.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        self.put_if(path, body, None).await
    }

    /// Puts a resource where there is none.
    pub async fn put_new(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        self.put_if(path, body, Some(("if-none-match", "*"))).await
    }

    /// Puts a resource in the place of this state of it only.
    pub async fn put_over(&self, path: &str, body: &Value, tag: Option<&str>) -> Result<Value, RestError> {
        self.put_if(path, body, tag.map(|tag| ("if-match", tag))).await
    }

    async fn put_if(&self, path: &str, body: &Value, condition: Condition<'_>) -> Result<Value, RestError> {
        let url = self.url(path);
        let sent = self.send(Method::PUT, &url, Body::Put(body, condition)).await?;
        let polled = sent.is_polled();
        let done = self.finish(sent, &format!("PUT {path}")).await?;
        // An operation's own answer is not the resource.
        if polled { self.get(path).await } else { done.json() }
    }

    /// Asks for something to be done.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        let url = self.url(path);
        let sent = self.send(Method::POST, &url, Body::Post(body)).await?;
        self.finish(sent, &format!("POST {path}")).await?.json()
    }

    /// Deletes a resource and gives what it was, if that is told; `None` if it was not there.
    pub async fn delete(&self, path: &str) -> Result<Option<Value>, RestError> {
        let url = self.url(path);
        let sent = match self.send(Method::DELETE, &url, Body::None).await {
            Err(error) if error.status() == Some(404) => return Ok(None),
            sent => sent?,
        };
        if sent.answer.status == 204 {
            return Ok(None);
        }
        self.finish(sent, &format!("DELETE {path}")).await?.json().map(Some)
    }

    /// The address of a path, with the version of the API that is asked for.
    fn url(&self, path: &str) -> String {
        let authorization = path.to_ascii_lowercase().contains("/providers/microsoft.authorization/");
        let version = if authorization { AUTHORIZATION_VERSION } else { VERSION };
        let sign = if path.contains('?') { '&' } else { '?' };
        format!("{}{path}{sign}api-version={version}", self.server)
    }

    /// An address that the server gave; tokens go to no other server.
    fn own(&self, url: &str) -> Result<String, RestError> {
        let same = url.get(..self.server.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.server));
        let rest = url.get(self.server.len()..).unwrap_or_default();
        if same && rest.starts_with(['/', '?']) {
            return Ok(url.to_owned());
        }
        let what = format!(
            "with an address of another server, {url}; control_plane.public_url must be {0}",
            self.server
        );
        Err(HttpError::Answer { url: self.server.clone(), what }.into())
    }

    async fn send(&self, method: Method, url: &str, body: Body<'_>) -> Result<Sent, RestError> {
        self.send_as(Purpose::Control, method, url, body).await
    }

    async fn send_as(
        &self,
        purpose: Purpose,
        method: Method,
        url: &str,
        body: Body<'_>,
    ) -> Result<Sent, RestError> {
        let token = self.token(purpose).await?;
        let mut request = self
            .http
            .request(method.clone(), url)
            .header("accept", "application/json")
            .header("x-ms-client-request-id", Uuid::new_v4().to_string())
            .bearer_auth(token.secret.as_str());
        match body {
            Body::None => {}
            // What needs no body is sent with none, as Azure's clients do.
            Body::Post(Value::Null) => request = request.header("content-length", "0"),
            Body::Post(body) => request = request.json(body),
            Body::Put(body, condition) => {
                request = request.json(body);
                if let Some((header, value)) = condition {
                    request = request.header(header, value);
                }
            }
        }
        let answer = self.http.send(request, TIME).await?;
        if !(200..300).contains(&answer.status) {
            return Err(RestError::Refused(Box::new(Refusal::of(&answer))));
        }
        Ok(Sent { url: url.to_owned(), answer })
    }

    async fn token(&self, purpose: Purpose) -> Result<AccessToken, RestError> {
        let mut kept = self.tokens.lock().await;
        // Whoever follows a job may outlive a token.
        let soon = self.credentials.now().saturating_add(MARGIN);
        kept.retain(|(_, token)| token.expires.is_none_or(|end| end > soon));
        if let Some((_, token)) = kept.iter().find(|(known, _)| *known == purpose) {
            return Ok(token.clone());
        }
        let token = self.credentials.token(purpose).await?;
        kept.push((purpose, token.clone()));
        Ok(token)
    }

    /// Waits until a long-running operation is done, and gives its last answer.
    async fn finish(&self, sent: Sent, what: &str) -> Result<Sent, RestError> {
        let status = sent.answer.header("azure-asyncoperation").map(str::to_owned);
        let result = sent.answer.header("location").map(str::to_owned);
        let Some(poll) = status.clone().or_else(|| result.clone().filter(|_| sent.answer.status == 202))
        else {
            return Ok(sent);
        };
        let poll = self.own(&poll)?;
        let mut last = sent;
        for _ in 0..MAX_POLLS {
            tokio::time::sleep(last.retry_after()).await;
            last = self.send(Method::GET, &poll, Body::None).await?;
            let said = last.json_or_null();
            let state = said.get("status").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
            let done = if status.is_some() { state == "succeeded" } else { last.answer.status != 202 };
            if matches!(state.as_str(), "failed" | "canceled") {
                let mut refusal = Refusal::read(said.get("error").unwrap_or(&Value::Null));
                refusal.status = last.answer.status;
                if refusal.code.is_empty() {
                    refusal.code = state;
                    "the operation did not succeed".clone_into(&mut refusal.message);
                }
                return Err(RestError::Refused(Box::new(refusal)));
            }
            if done {
                return match result.filter(|_| status.is_some()) {
                    Some(result) => self.send(Method::GET, &self.own(&result)?, Body::None).await,
                    None => Ok(last),
                };
            }
            if !self.quiet {
                complain(&format!("{what}: {}", if state.is_empty() { "running" } else { &state }));
            }
        }
        Err(HttpError::Answer { url: poll, what: "`running` for too long; it may still finish".to_owned() }
            .into())
    }
}

/// What is sent along.
enum Body<'a> {
    None,
    Post(&'a Value),
    Put(&'a Value, Condition<'a>),
}

/// The header that says on which state of a resource something may be put.
type Condition<'a> = Option<(&'static str, &'a str)>;

/// A request that was answered.
#[derive(Debug)]
struct Sent {
    url: String,
    answer: Answer,
}

impl Sent {
    fn is_polled(&self) -> bool {
        self.answer.status == 202 || self.answer.header("azure-asyncoperation").is_some()
    }

    fn retry_after(&self) -> Duration {
        let number = |name: &str| self.answer.header(name).and_then(|text| text.parse::<u64>().ok());
        let millis = number("retry-after-ms").or_else(|| Some(number("retry-after")?.saturating_mul(1_000)));
        Duration::from_millis(millis.filter(|millis| *millis > 0).unwrap_or(1_000).min(60_000))
    }

    fn json_or_null(&self) -> Value {
        serde_json::from_slice(&self.answer.body).unwrap_or(Value::Null)
    }

    fn json(&self) -> Result<Value, RestError> {
        if self.answer.body.is_empty() {
            return Ok(json!(null));
        }
        serde_json::from_slice(&self.answer.body).map_err(|_| {
            HttpError::Answer { url: self.url.clone(), what: "something that is not JSON".to_owned() }.into()
        })
    }
}
