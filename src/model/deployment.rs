//! Online deployments: one version behind an endpoint, and where its instances are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{DeploymentName, EndpointName};
use super::scope::{Scope, ScopeError, WorkspaceRef};

/// The version of HTTP spoken to instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1; the default, which every model server speaks.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge in clear text.
    #[serde(rename = "2")]
    Http2,
}

/// The address of one inference server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceUrl {
    /// TLS to the instance.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Why a text is no instance address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an instance address: write http://host:port or https://host:port, without a path")]
pub struct InstanceUrlError(String);

impl InstanceUrl {
    /// `host:port` as a `Host` header and a socket address want it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl InstanceUrl {
    /// Whether the host is an address that no model server has: unspecified, link-local (where clouds keep their
    /// metadata services), multicast, or Azure's 168.63.129.16.
    pub fn is_off_limits(&self) -> bool {
        let Ok(address) = self.host.parse::<std::net::IpAddr>() else { return false };
        match address.to_canonical() {
            std::net::IpAddr::V4(v4) => {
                v4.is_unspecified()
                    || v4.is_link_local()
                    || v4.is_multicast()
                    || v4.is_broadcast()
                    || v4.octets() == [168, 63, 129, 16]
            }
            std::net::IpAddr::V6(v6) => {
                v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast()
            }
        }
    }
}

impl TryFrom<String> for InstanceUrl {
    type Error = InstanceUrlError;

    fn try_from(text: String) -> Result<InstanceUrl, InstanceUrlError> {
        let wrong = || InstanceUrlError(text.chars().take(120).collect());
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let bare = authority.as_str().len() == authority.host().len();
        let default = if tls { 443 } else { 80 };
        let port = if bare { default } else { authority.port_u16().ok_or_else(wrong)? };
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(InstanceUrl { tls, host, port })
    }
}

impl From<InstanceUrl> for String {
    fn from(url: InstanceUrl) -> String {
        format!("{}://{}", if url.tls { "https" } else { "http" }, url.authority())
    }
}

/// Where a deployment's instances are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// A fixed list of inference servers.
    pub urls: Vec<InstanceUrl>,
    /// The version of HTTP they speak.
    #[serde(default)]
    pub http_version: HttpVersion,
    /// Certificates that their TLS certificates must chain to, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How many requests instances take, and how long they may need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSettings {
    /// From the request's being sent until the response begins.
    pub request_timeout: Duration,
    /// Requests that one instance works on at once.
    pub max_concurrent_requests_per_instance: u32,
    /// How long a request waits for a free place.
    pub max_queue_wait: Duration,
}

impl Default for RequestSettings {
    /// Azure's defaults: 5 s, one at a time, 0.5 s.
    fn default() -> Self {
        RequestSettings {
            request_timeout: Duration::from_secs(5),
            max_concurrent_requests_per_instance: 1,
            max_queue_wait: Duration::from_millis(500),
        }
    }
}

/// How an instance's health is asked for ("Managed online deployment YAML schema"). Kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Before the first question.
    pub initial_delay: Duration,
    /// Between questions.
    pub period: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// Good answers in a row that make an instance healthy.
    pub success_threshold: u32,
    /// Bad answers in a row that make it unhealthy.
    pub failure_threshold: u32,
}

impl Default for Probe {
    /// Azure's defaults: after 10 s, every 10 s, 2 s for an answer, 1 good, 30 bad.
    fn default() -> Self {
        Probe {
            initial_delay: Duration::from_secs(10),
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            success_threshold: 1,
            failure_threshold: 30,
        }
    }
}

/// Fields of `az ml` that say what runs on the instances. The gateway keeps and shows them as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// A reference to a model, or one described in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<serde_json::Value>,
    /// Where the model is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_mount_path: Option<String>,
    /// A reference to an environment, or one described in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<serde_json::Value>,
    /// Where the code is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The script that scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoring_script: Option<String>,
    /// Variables of its environment.
    pub environment_variables: BTreeMap<String, String>,
    /// The kind of machine; free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// How many instances there should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_count: Option<u32>,
    /// Whether Application Insights is asked for.
    pub app_insights_enabled: bool,
    /// Whether instances may call out, Azure's legacy switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_public_network_access: Option<bool>,
    /// Whether an instance lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Whether an instance is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// What of requests and answers is collected, as ARM writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_collector: Option<serde_json::Value>,
}

/// One version behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Unique in its endpoint.
    pub name: DeploymentName,
    /// The endpoint it stands behind.
    pub endpoint: EndpointName,
    /// The endpoint's workspace.
    pub workspace: WorkspaceRef,
    /// Where its instances are.
    pub backend: Backend,
    /// Concurrency and time.
    #[serde(default)]
    pub request_settings: RequestSettings,
    /// Where `/score` leads on an instance.
    #[serde(default = "default_scoring_path")]
    pub scoring_path: String,
    /// Paths that may be called, `*` standing for any rest; `None` for every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_paths: Option<Vec<String>>,
    /// The caller's credential goes on to the instance.
    #[serde(default)]
    pub forward_authorization: bool,
    /// The caller's cookies go on to the instance.
    #[serde(default)]
    pub forward_cookies: bool,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The user's property bag.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// What runs on the instances.
    #[serde(default)]
    pub workload: Workload,
}

impl Deployment {
    /// Its resource id.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Ok(self.workspace.scope()?.online_endpoint(&self.endpoint).deployment(&self.name))
    }
}

/// `/score`, the path of Azure's own inference server.
pub fn default_scoring_path() -> String {
    "/score".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_addresses_have_a_scheme_a_host_and_a_port() {
        let parse = |text: &str| InstanceUrl::try_from(text.to_owned());
        assert_eq!(parse("http://10.0.0.5:5001").unwrap().authority(), "10.0.0.5:5001");
        assert_eq!(parse("https://[::1]/").unwrap().authority(), "[::1]:443");
        assert_eq!(String::from(parse("http://models.svc").unwrap()), "http://models.svc:80");
        for (text, off_limits) in [
            ("http://169.254.169.254", true),
            ("http://[::ffff:169.254.169.254]", true),
            ("http://168.63.129.16", true),
            ("http://0.0.0.0:1", true),
            ("http://[fe80::1]:1", true),
            ("http://10.0.0.5", false),
            ("http://127.0.0.1:1", false),
            ("http://models.svc", false),
        ] {
            assert_eq!(parse(text).unwrap().is_off_limits(), off_limits, "{text}");
        }
        for bad in [
            "",
            "10.0.0.5:80",
            "ftp://a:1",
            "http://",
            "http://a:1/score",
            "http://u:p@a:1",
            "http://a:99999",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
