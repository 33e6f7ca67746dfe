//! A client of the control plane that shows answers as they are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, Method};
use scoregate::identity::fetch::client_config;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::PATIENCE;
use super::stand::SUBSCRIPTION;

/// The version that is asked for where a path names none.
pub const API_VERSION: &str = "2024-10-01";

/// What a request carries.
#[derive(Debug, Clone)]
pub enum Body {
    None,
    Json(Value),
    /// These very bytes.
    Raw(Vec<u8>),
}

impl From<Value> for Body {
    fn from(value: Value) -> Body {
        Body::Json(value)
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        Body::Raw(text.as_bytes().to_vec())
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// The body; null if there is none.
    pub json: Value,
    pub headers: HeaderMap,
    /// What was asked, for messages.
    asked: String,
}

impl Reply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The etag.
    pub fn etag(&self) -> String {
        self.header("etag").unwrap_or_else(|| panic!("no etag: {self:?}")).to_owned()
    }

    /// `error.code`.
    pub fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }

    /// A value inside the body.
    pub fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// `name` of every item of a list.
    pub fn names(&self) -> Vec<&str> {
        let items = self.json["value"].as_array().unwrap_or_else(|| panic!("no list: {self:?}"));
        items.iter().map(|item| item["name"].as_str().unwrap_or_default()).collect()
    }

    /// This very status.
    #[track_caller]
    pub fn is(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.json);
        self
    }

    /// Any of these statuses.
    #[track_caller]
    pub fn any(self, statuses: &[u16]) -> Reply {
        assert!(statuses.contains(&self.status), "{}: {} {}", self.asked, self.status, self.json);
        self
    }

    /// A refusal with this status and code, in ARM's envelope.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Reply {
        assert_eq!((self.status, self.code()), (status, code), "{}: {}", self.asked, self.json);
        assert!(self.json["error"]["message"].is_string(), "{}: {}", self.asked, self.json);
        self
    }
}

/// A client of one control plane.
#[derive(Clone)]
pub struct Rest {
    client: reqwest::Client,
    base: String,
}

impl Rest {
    /// A client that trusts the roots in this file and no others.
    pub fn new(address: SocketAddr, roots: &Path) -> Rest {
        // The client asks for a process-wide provider, and there may be one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(roots).unwrap())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Rest { client, base: format!("https://{address}") }
    }

    /// The same client with a token of its own.
    pub fn by(&self, token: &str) -> Caller {
        Caller { rest: self.clone(), token: Some(token.to_owned()) }
    }

    /// The same client without a token.
    pub fn nobody(&self) -> Caller {
        Caller { rest: self.clone(), token: None }
    }

    /// One call. A path without an `api-version` gets the usual one; an address that the server gave is called as it is.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
        who: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Reply {
        self.try_call(method, path, body, who, headers).await.unwrap()
    }

    /// One call that may find nobody there any more.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
        who: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Reply, reqwest::Error> {
        let mut url = if path.starts_with('/') { format!("{}{path}", self.base) } else { path.to_owned() };
        if !path.contains("api-version") {
            let joint = if path.contains('?') { '&' } else { '?' };
            url = format!("{url}{joint}api-version={API_VERSION}");
        }
        let asked = format!("{method} {path}");
        let mut request = self.client.request(method, url);
        if let Some(token) = who {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match body.into() {
            Body::None => request,
            Body::Json(value) => request.json(&value),
            Body::Raw(bytes) => request.header("content-type", "application/json").body(bytes),
        };
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let json = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Ok(Reply { status, json, headers, asked })
    }
}

/// Says these very bytes over TLS and gives what comes back until the connection ends.
pub async fn say(address: SocketAddr, roots: &Path, message: &str) -> String {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(roots).unwrap()));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::from(address.ip());
    let mut stream = connector.connect(name, stream).await.unwrap();
    // A connection that is closed already is no error here: the answer tells.
    let _ = stream.write_all(message.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the connection does not end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Somebody who calls the control plane.
#[derive(Clone)]
pub struct Caller {
    pub rest: Rest,
    pub token: Option<String>,
}

impl Caller {
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
        headers: &[(&str, &str)],
    ) -> Reply {
        self.rest.call(method, path, body, self.token.as_deref(), headers).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, Body::None, &[]).await
    }

    pub async fn put(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.call(Method::PUT, path, body, &[]).await
    }

    /// A PUT that expects the resource to be as of this etag.
    pub async fn put_if(&self, etag: &str, path: &str, body: impl Into<Body>) -> Reply {
        self.call(Method::PUT, path, body, &[("if-match", etag)]).await
    }

    pub async fn patch(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.call(Method::PATCH, path, body, &[]).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.call(Method::POST, path, body, &[]).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, Body::None, &[]).await
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.get(&path).await.is(200);
            items.extend(page.json["value"].as_array().unwrap().iter().cloned());
            next = page.json["nextLink"].as_str().map(str::to_owned);
        }
        items
    }
}

/// The id of the usual resource group.
pub fn group() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/default")
}

/// The id of a workspace in it.
pub fn workspace(name: &str) -> String {
    format!("{}/providers/Microsoft.MachineLearningServices/workspaces/{name}", group())
}

/// The id of an endpoint of the usual workspace.
pub fn endpoint(name: &str) -> String {
    format!("{}/onlineEndpoints/{name}", workspace("default"))
}

/// The id of one of its deployments.
pub fn deployment(endpoint_name: &str, name: &str) -> String {
    format!("{}/deployments/{name}", endpoint(endpoint_name))
}

/// The id of a batch endpoint of the usual workspace.
pub fn batch_endpoint(name: &str) -> String {
    format!("{}/batchEndpoints/{name}", workspace("default"))
}

/// The id of one of its deployments.
pub fn batch_deployment(endpoint_name: &str, name: &str) -> String {
    format!("{}/deployments/{name}", batch_endpoint(endpoint_name))
}

/// The id of a data store of the usual workspace.
pub fn datastore(name: &str) -> String {
    format!("{}/datastores/{name}", workspace("default"))
}

/// The body of a batch endpoint with this default.
pub fn batch_endpoint_body(default: Option<&str>) -> Value {
    serde_json::json!({
        "location": "local",
        "properties": {"authMode": "aadToken", "defaults": {"deploymentName": default}},
    })
}

/// The body of a batch deployment at these instances.
pub fn batch_deployment_body(urls: &[&str]) -> Value {
    let backend = serde_json::json!({ "urls": urls }).to_string();
    serde_json::json!({"location": "local", "properties": {"properties": {"scoregate.backend": backend}}})
}

/// The id of a role assignment at a scope; the root is the empty one.
pub fn grant_id(scope: &str, id: Uuid) -> String {
    format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{id}")
}

/// The id of a role definition as seen from a scope.
pub fn role_id(scope: &str, id: Uuid) -> String {
    format!("{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}")
}

/// The body of an endpoint in this mode with these shares.
pub fn endpoint_body(mode: &str, traffic: &Value) -> Value {
    serde_json::json!({
        "location": "local",
        "identity": {"type": "SystemAssigned"},
        "properties": {"authMode": mode, "traffic": traffic},
    })
}

/// The body of a deployment at these instances.
pub fn deployment_body(urls: &[&str]) -> Value {
    let backend = serde_json::json!({ "urls": urls }).to_string();
    serde_json::json!({
        "location": "local",
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "requestSettings": {"maxConcurrentRequestsPerInstance": 512},
            "properties": {"scoregate.backend": backend},
        },
    })
}

/// The body of a role assignment.
pub fn grant_body(role: Uuid, principal: Uuid) -> Value {
    serde_json::json!({"properties": {
        "roleDefinitionId": role_id("", role), "principalId": principal, "principalType": "ServicePrincipal",
    }})
}
