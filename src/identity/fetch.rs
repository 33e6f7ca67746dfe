//! Documents from issuers and directories: small, quick, JSON, from the address that was asked and no other.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::issuer::Transport;

/// Time for a document, from connect to its last byte.
const TIME: Duration = Duration::from_secs(5);

/// Why a document could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Nobody there, no trust, or not in time.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// An answer that is not the document.
    #[error("{url} answered {what}")]
    Answer {
        /// The address.
        url: String,
        /// What came instead.
        what: String,
    },
    /// The roots to trust cannot be read.
    #[error("cannot make a TLS client: {0}")]
    Roots(String),
}

/// A document and how long its sender lets it be kept.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// `max-age` of its `Cache-Control`.
    pub max_age: Option<Duration>,
}

/// What [`fetch`](Fetch::fetch) needs to know.
#[derive(Clone)]
pub struct Ask<'a> {
    /// The address.
    pub url: &'a str,
    /// A JSON body; the request is then a POST.
    pub body: Option<serde_json::Value>,
    /// A bearer token to present.
    pub bearer: Option<&'a str>,
    /// The most bytes that are taken.
    pub limit: usize,
}

impl fmt::Debug for Ask<'_> {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Gets documents.
#[async_trait]
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// Gets one JSON document.
    async fn fetch(&self, ask: Ask<'_>) -> Result<Document, FetchError>;
}

/// Gets documents over the network: no redirects, no proxies, one time limit over all.
#[derive(Debug, Clone)]
pub struct HttpFetch {
    client: reqwest::Client,
    allow_http: bool,
}

impl HttpFetch {
    /// A client that trusts the system's roots, or those of the transport's file.
    pub fn new(transport: &Transport) -> Result<HttpFetch, FetchError> {
        let client = http_client(transport.ca_file.as_deref(), |builder| {
            builder.timeout(TIME).connect_timeout(TIME).pool_max_idle_per_host(1)
        })?;
        Ok(HttpFetch { client, allow_http: transport.allow_http })
    }
}

/// A client that goes where it is told and nowhere else: no redirects, no proxies of the environment. It trusts the
/// system's roots, or those in the file; `more` says what else it is to be.
pub fn http_client(
    ca_file: Option<&Path>,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, FetchError> {
    // The client looks for a process-wide provider; the second gateway of a process finds it there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("scoregate/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = ca_file {
        builder = builder.tls_backend_preconfigured(client_config(file)?);
    }
    more(builder).build().map_err(|error| FetchError::Roots(error.to_string()))
}

/// The largest file of roots that is read, in bytes.
const MAX_ROOTS: u64 = 4 << 20;

/// The roots in a file of certificates as PEM.
pub fn roots(file: &Path) -> Result<RootCertStore, FetchError> {
    let wrong = |error: &dyn std::fmt::Display| FetchError::Roots(format!("{}: {error}", file.display()));
    let mut store = RootCertStore::empty();
    // A device or a pipe would never end.
    let metadata = std::fs::metadata(file).map_err(|error| wrong(&error))?;
    if !metadata.is_file() || metadata.len() > MAX_ROOTS {
        return Err(wrong(&"it is no file of at most 4 MiB"));
    }
    let text = std::fs::read(file).map_err(|error| wrong(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        store.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if store.is_empty() {
        return Err(wrong(&"it holds no certificate"));
    }
    Ok(store)
}

/// The beginning of a TLS client that trusts these roots.
pub fn client(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, FetchError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| FetchError::Roots(error.to_string()))?.with_root_certificates(roots))
}

/// TLS towards servers whose certificates chain to the roots in this file.
pub fn client_config(file: &Path) -> Result<ClientConfig, FetchError> {
    Ok(client(roots(file)?)?.with_no_client_auth())
}

impl HttpFetch {
    /// Posts a form and gives the status and the JSON that came back, which of a refusal says why. Nothing of the form
    /// is in an error.
    pub async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        limit: usize,
    ) -> Result<(u16, Vec<u8>), FetchError> {
        let response = self.open(url, self.client.post(url).form(form)).await?;
        let status = response.status().as_u16();
        if !is_json(&response) {
            return Err(wrong(url, format!("status {status} and something that is not JSON")));
        }
        Ok((status, whole(url, response, limit).await?))
    }

    /// Sends a request to an address that may be spoken to.
    async fn open(
        &self,
        url: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, FetchError> {
        let spoken = url.starts_with("https://") || (self.allow_http && url.starts_with("http://"));
        if !spoken {
            return Err(wrong(url, "an address that is not https".to_owned()));
        }
        let response = request.header("accept", "application/json").send().await;
        response.map_err(|error| unreachable(url, error))
    }
}

/// The body of an answer, up to so many bytes.
async fn whole(url: &str, mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, error))? {
        if bytes.len() + chunk.len() > limit {
            return Err(wrong(url, format!("more than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn wrong(url: &str, what: String) -> FetchError {
    FetchError::Answer { url: url.to_owned(), what }
}

fn unreachable(url: &str, error: reqwest::Error) -> FetchError {
    // The innermost cause is the one that says what to do.
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let why = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
    FetchError::Unreachable { url: url.to_owned(), why }
}

fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_json(response: &reqwest::Response) -> bool {
    header(response, "content-type").to_ascii_lowercase().contains("json")
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn fetch(&self, ask: Ask<'_>) -> Result<Document, FetchError> {
        let mut request = match &ask.body {
            Some(body) => self.client.post(ask.url).json(body),
            None => self.client.get(ask.url),
        };
        if let Some(token) = ask.bearer {
            request = request.bearer_auth(token);
        }
        let response = self.open(ask.url, request).await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(wrong(ask.url, format!("status {}", response.status().as_u16())));
        }
        if !is_json(&response) {
            return Err(wrong(ask.url, "something that is not JSON".to_owned()));
        }
        let max_age = header(&response, "cache-control")
            .split(',')
            .find_map(|part| part.trim().strip_prefix("max-age="))
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        Ok(Document { bytes: whole(ask.url, response, ask.limit).await?, max_age })
    }
}
