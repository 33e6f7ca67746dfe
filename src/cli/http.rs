//! HTTP as the client commands speak it: no redirects, bounded answers, errors that say what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Request, RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::complain;

/// Time to a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for a whole exchange, unless another is asked for.
pub const TIME: Duration = Duration::from_secs(60);
/// The largest answer that is kept in memory.
const MAX_BODY: usize = 32 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody there, no trust, or not in time.
    #[error("cannot reach {url}: {why}\n  what to do: {remedy}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        why: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The answer cannot be taken.
    #[error("{url} answered {what}")]
    Answer {
        /// The address.
        url: String,
        /// What came.
        what: String,
    },
    /// The certificates to trust cannot be read.
    #[error("the CA file {0}")]
    Roots(String),
    /// No address.
    #[error("`{0}` is not an address that a request can be sent to")]
    Address(String),
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends requests.
#[derive(Debug, Clone)]
pub struct Http {
    /// Through the proxies that the environment names.
    proxied: Client,
    /// For loopback and link-local addresses, which no proxy reaches.
    direct: Client,
    debug: bool,
}

impl Http {
    /// Trusts the system's roots, and besides them those in the file.
    pub fn new(ca_file: Option<&Path>, debug: bool) -> Result<Http, HttpError> {
        // The client looks for a process-wide provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let roots = ca_file.map(certificates).transpose()?;
        let build = |direct: bool| {
            let mut builder = Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT)
                .user_agent(concat!("scoregate/", env!("CARGO_PKG_VERSION")));
            if direct {
                builder = builder.no_proxy();
            }
            if let Some(roots) = &roots {
                builder = builder.tls_certs_merge(roots.clone());
            }
            builder
                .build()
                .map_err(|error| HttpError::Roots(format!("cannot be used: {}", innermost(&error))))
        };
        Ok(Http { proxied: build(false)?, direct: build(true)?, debug })
    }

    /// Begins a request to this address.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let client = if is_near(url) { &self.direct } else { &self.proxied };
        client.request(method, url)
    }

    /// Sends a request and takes the whole answer.
    pub async fn send(&self, request: RequestBuilder, time: Duration) -> Result<Answer, HttpError> {
        let mut response = self.open(request.timeout(time)).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let url = response.url().to_string();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, &error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(HttpError::Answer { url, what: format!("more than {} MiB", MAX_BODY >> 20) });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }

    /// Sends a request and gives the answer when it begins.
    pub async fn open(&self, request: RequestBuilder) -> Result<Response, HttpError> {
        let (client, request) = request.build_split();
        let request: Request = request.map_err(|error| HttpError::Address(error.to_string()))?;
        let (method, url) = (request.method().clone(), request.url().to_string());
        let response = client.execute(request).await;
        if self.debug {
            let told = match &response {
                Ok(response) => response.status().to_string(),
                Err(error) => innermost(error),
            };
            complain(&format!("debug: {method} {url} -> {told}"));
        }
        response.map_err(|error| unreachable(&url, &error))
    }
}

fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, HttpError> {
    let wrong = |error: &dyn std::fmt::Display| HttpError::Roots(format!("{}: {error}", file.display()));
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        found.push(reqwest::Certificate::from_der(&certificate).map_err(|error| wrong(&error))?);
    }
    if found.is_empty() { Err(wrong(&"holds no certificate")) } else { Ok(found) }
}

/// Whether an address is this machine's own or its link's.
pub fn is_near(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| Some(uri.host()?.to_owned())).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The innermost cause, which is the one that says what happened.
fn innermost(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn unreachable(url: &str, error: &reqwest::Error) -> HttpError {
    let why = innermost(error);
    let remedy = if why.contains("certificate") {
        "give the CA that signed its certificate with --ca-file or SCOREGATE_CA_FILE"
    } else if error.is_timeout() {
        "try again; if it stays so, look at the server's log and at what is between"
    } else {
        "check that it runs there; --server or SCOREGATE_SERVER names the gateway's control plane"
    };
    HttpError::Unreachable { url: url.to_owned(), why, remedy }
}

/// The CA file that was given, or the one that the environment names.
pub fn ca_file(given: Option<&Path>, env: &super::Env) -> Option<PathBuf> {
    let names = ["SCOREGATE_CA_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"];
    given.map(Path::to_owned).or_else(|| names.iter().find_map(|name| env.get(name)).map(PathBuf::from))
}

/// A value as a segment or a query of an address.
pub fn escape(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_near() {
        for near in
            ["https://127.0.0.1:1/x", "http://localhost", "https://[::1]:8081", "http://169.254.169.254/a"]
        {
            assert!(is_near(near), "{near}");
        }
        for far in ["https://10.0.0.1", "https://127.0.0.1.example.com", "https://localhost.example.com", "x"]
        {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn the_flag_goes_before_the_environment() {
        let env = super::super::Env::of(&[("SSL_CERT_FILE", "c"), ("REQUESTS_CA_BUNDLE", "b")]);
        assert_eq!(ca_file(Some(Path::new("a")), &env), Some("a".into()));
        assert_eq!(ca_file(None, &env), Some("b".into()));
        assert_eq!(ca_file(None, &super::super::Env::of(&[("SCOREGATE_CA_FILE", "")])), None);
    }
}
