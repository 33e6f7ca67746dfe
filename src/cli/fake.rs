//! A server over TLS with a CA of its own that says what a test wants, and keeps what it was asked.

use std::collections::HashMap;
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
        let certificates = server::certificates(&directory.path().join("ca.pem")).unwrap();
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
        tokio::spawn(server::serve_tls(socket, certificates, router));
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
        Credentials::new(Env::of(&all), http, &self.url, given, NOW)
    }

    /// Every request that came, its metadata document apart.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }
}
