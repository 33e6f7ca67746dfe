//! A server over TLS with a CA of its own that says what a test wants, and keeps what it was asked.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Env;
use super::context::Context;
use super::credential::Credentials;
use super::http::Http;
use crate::dev::server;

pub const NOW: i64 = 1_900_000_000;
pub const TENANT: &str = "00000000-0000-0000-0000-000000007e57";
pub const CONTROL: &str = "https://management.azure.com";

/// A request that came.
#[derive(Debug, Clone)]
pub struct Got {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    /// A field of a form.
    pub fn form(&self, name: &str) -> String {
        let uri = format!("/?{}", self.body).parse().unwrap();
        Query::<HashMap<String, String>>::try_from_uri(&uri).unwrap().0[name].clone()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What is said: a status, headers, a body.
pub type Said = (u16, Vec<(&'static str, String)>, Value);

pub fn said(status: u16, body: Value) -> Said {
    (status, Vec::new(), body)
}

/// The server; its own metadata document says that it issues tokens itself.
pub struct Fake {
    directory: TempDir,
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Fake {
    pub fn new(answer: impl Fn(&Got) -> Said + Clone + Send + Sync + 'static) -> Fake {
        let directory = tempfile::tempdir().unwrap();
        let leaf = server::certificates(&directory.path().join("ca.pem")).unwrap();
        let (address, socket) = server::bind(0).unwrap();
        let url = format!("https://{address}");
        let (got, own) = (Arc::<Mutex<Vec<Got>>>::default(), url.clone());
        let seen = got.clone();
        let router = Router::new().fallback(move |request: Request| async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let got = Got {
                method: head.method.to_string(),
                path: head.uri.to_string(),
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            if got.path.starts_with("/metadata/endpoints") {
                let cloud = json!({"loginEndpoint": own, "tenant": TENANT, "audiences": [CONTROL]});
                return axum::Json(json!({ "authentication": cloud })).into_response();
            }
            let (status, headers, value) = answer(&got);
            seen.lock().push(got);
            let mut response = (StatusCode::from_u16(status).unwrap(), axum::Json(value)).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.replace("{own}", &own).parse().unwrap());
            }
            response
        });
        tokio::spawn(async move { server::serve_tls(socket, &leaf, router).await });
        Fake { directory, url, got }
    }

    /// A file in the server's directory, which is also everybody's home.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub fn credentials(&self, variables: &[(&str, &str)], given: Option<&str>) -> Credentials {
        let home = self.path("");
        let mut all = vec![("HOME", home.as_str()), ("PATH", "/nonexistent")];
        all.extend(variables);
        let http = Http::new(Some(Path::new(&self.ca_file())), false).unwrap();
        Credentials::new(Env::of(&all), http, &self.url, given, || NOW)
    }

    /// Every request that came, its metadata document apart.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }
}

/// The workspace of [`control_plane`].
pub const WORKSPACE: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";

/// A control plane that keeps what is put, refuses nothing but these actions, and knows nobody's rules.
pub fn control_plane(forbidden: &'static [&'static str]) -> Fake {
    let kept = Arc::<Mutex<BTreeMap<String, Value>>>::default();
    Fake::new(move |got: &Got| {
        let path = got.path.split('?').next().unwrap_or_default().to_owned();
        let key = path.to_ascii_lowercase();
        let mut kept = kept.lock();
        let below = |key: &str, kept: &BTreeMap<String, Value>| {
            let inside =
                |id: &str| id.strip_prefix(&format!("{key}/")).is_some_and(|rest| !rest.contains('/'));
            kept.iter().filter(|(id, _)| inside(id)).map(|(_, value)| value.clone()).collect::<Vec<Value>>()
        };
        let lists = [
            "onlineendpoints",
            "batchendpoints",
            "deployments",
            "datastores",
            "jobs",
            "roledefinitions",
            "roleassignments",
        ];
        // An endpoint may be called `jobs`.
        let is_list =
            lists.iter().any(|kind| key.ends_with(&format!("/{kind}"))) && !key.ends_with("endpoints/jobs");
        match got.method.as_str() {
            "PUT" => {
                let mut body = got.json();
                body["id"] = json!(path);
                body["name"] = json!(path.rsplit('/').next());
                if let Some((scope, _)) =
                    path.split_once("/providers/Microsoft.Authorization/roleAssignments/")
                {
                    body["properties"]["scope"] = json!(if scope.is_empty() { "/" } else { scope });
                }
                let status = if kept.insert(key, body.clone()).is_some() { 200 } else { 201 };
                said(status, body)
            }
            "GET" if is_list => said(200, json!({ "value": below(&key, &kept) })),
            "GET" if key.ends_with("/workspaces") => {
                said(200, json!({"value": [{"id": WORKSPACE, "location": "here"}]}))
            }
            "GET" if key == WORKSPACE.to_ascii_lowercase() => {
                said(200, json!({"id": WORKSPACE, "location": "here"}))
            }
            "GET" => match kept.get(&key) {
                Some(found) => (200, vec![("etag", "\"1\"".to_owned())], found.clone()),
                None => said(404, json!({"error": {"code": "ResourceNotFound", "message": "no"}})),
            },
            "DELETE" => {
                let there = kept.remove(&key).is_some();
                kept.retain(|id, _| !id.starts_with(&format!("{key}/")));
                said(if there { 200 } else { 204 }, Value::Null)
            }
            _ if key.ends_with("/checkaccess") => {
                let action = got.json()["action"].as_str().unwrap().to_owned();
                let missing = json!({"command": "grant it"});
                said(200, json!({"allowed": !forbidden.contains(&action.as_str()), "missing": missing}))
            }
            _ => said(200, json!({})),
        }
    })
}

impl Fake {
    /// A context of somebody who has a token, and whose workspace is given.
    pub fn context(&self) -> Context {
        let (ca, home) = (self.path("ca.pem"), self.path(""));
        Context::silent(Env::of(&[
            ("SCOREGATE_SERVER", &self.url),
            ("SCOREGATE_CA_FILE", &ca),
            ("HOME", &home),
            ("SCOREGATE_TOKEN", "token"),
            ("SCOREGATE_SUBSCRIPTION", "s"),
            ("SCOREGATE_RESOURCE_GROUP", "g"),
            ("SCOREGATE_WORKSPACE", "w"),
        ]))
    }

    /// What was changed since the last time: method and path below the workspace.
    pub fn writes(&self) -> Vec<String> {
        let mut got = self.got.lock();
        let all = std::mem::take(&mut *got);
        let written = all.into_iter().filter(|got| matches!(got.method.as_str(), "PUT" | "DELETE"));
        written
            .map(|got| {
                let path = got.path.split('?').next().unwrap_or_default().to_owned();
                format!("{} {}", got.method, path.strip_prefix(WORKSPACE).unwrap_or(&path))
            })
            .collect()
    }
}
