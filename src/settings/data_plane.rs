//! `data_plane:` — the listener that clients call.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::forms::Form;
use crate::model::names::EndpointName;

/// The listener that clients call.
#[derive(Debug, Clone)]
pub struct DataPlane {
    /// Address and port.
    pub listen: SocketAddr,
    /// What clients call it by; scoring URIs begin with it. What it listens on, if it is not set.
    pub public_url: Option<String>,
    /// `{endpoint}.{base_domain}` names an endpoint, in lower case.
    pub base_domain: Option<String>,
    /// The one endpoint that every request is for.
    pub single_endpoint: Option<EndpointName>,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// How an authenticated caller without the right to score is answered.
    pub unauthorized: Unauthorized,
    /// How an instance's own errors are passed on.
    pub model_errors: ModelErrors,
    /// How requests are spread over processor cores.
    pub layout: Layout,
    /// Worker threads.
    pub workers: usize,
    /// Proxies in front whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// These proxies begin every connection with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// Certificate and private key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub private_key: PathBuf,
    /// Certificates that clients are asked for.
    pub clients: Option<ClientCertificates>,
}

/// Certificates that clients are asked for. They open the door and say nothing about who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Roots that they have to come from.
    pub ca: PathBuf,
    /// Whether a client without one is turned away.
    pub required: bool,
}

/// How an authenticated caller without the right to score is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// 403, which tells a caller that another token would not help.
    Forbidden,
    /// 401, as Azure's documented table has it.
    Unauthorized,
}

/// How an instance's own errors are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelErrors {
    /// With their own status.
    Passthrough,
    /// As 424, Azure's way, for every status but 200.
    FailedDependency,
}

/// How requests are spread over processor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A runtime for each worker with its own listener; connections stay where they were accepted.
    PerCore,
    /// One runtime whose workers take each other's work.
    WorkStealing,
}

impl DataPlane {
    pub(super) fn read(form: &Form<'_>, base: &Path) -> DataPlane {
        let doc = "Address and port; port 0 takes any free one. Needs a restart.";
        let given = form.value::<SocketAddr>("listen", doc).optional();
        let listen = given.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let unread = given.is_none() && form.has("listen");
        let doc =
            "What clients call it by, without a slash at the end; what it listens on, if it is not set.";
        let public_url = form.value::<String>("public_url", doc).optional();
        if let Some(url) = &public_url {
            checked_public_url(form, url, "https://models.example.com");
        }
        let base_domain =
            form.value::<String>("base_domain", "`{endpoint}.{base_domain}` names an endpoint.").optional();
        let single_endpoint =
            form.value("single_endpoint", "The one endpoint that every request is for (sidecar).").optional();
        let doc = "Certificate and key; clear text without them.";
        let tls = form.optional_section("tls", doc, |f| TlsFiles::read(f, base)).flatten();
        let insecure = form
            .value(
                "insecure_listener",
                "Accept clear text from other machines (behind a proxy that ends TLS).",
            )
            .or(false);
        if tls.is_none() && !listen.ip().is_loopback() && !insecure && !unread {
            let problem = format!("{listen} would take tokens and keys in clear text from other machines");
            form.wrong("listen", problem, Some("set `tls`, listen on 127.0.0.1, or set `insecure_listener: true` behind a proxy that ends TLS"));
        }
        let statuses = [("403", Unauthorized::Forbidden), ("401", Unauthorized::Unauthorized)];
        let unauthorized =
            form.one_of("unauthorized_status", "Status for a caller without the right to score.", &statuses);
        let errors =
            [("passthrough", ModelErrors::Passthrough), ("failed_dependency", ModelErrors::FailedDependency)];
        let model_errors =
            form.one_of("model_errors", "How an instance's own errors are passed on.", &errors);
        let layouts = [("per_core", Layout::PerCore), ("work_stealing", Layout::WorkStealing)];
        let layout =
            form.one_of("layout", "How requests are spread over processor cores. Needs a restart.", &layouts);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let doc = "Worker threads; as many as cores if it is not set. Needs a restart.";
        let workers = form.value::<usize>("workers", doc).or(cores);
        if !(1..=256).contains(&workers) {
            form.wrong("workers", format!("{workers} is not between 1 and 256"), None);
        }
        let trusted_proxies =
            form.values("trusted_proxies", "Networks of proxies whose X-Forwarded-For is believed.");
        let trusted_proxies: Vec<_> = trusted_proxies.unwrap_or_default();
        let doc = "These proxies begin every connection with a header of the PROXY protocol, version 1 or 2.";
        let proxy_protocol = form.value("proxy_protocol", doc).or(false);
        if proxy_protocol && trusted_proxies.is_empty() {
            form.wrong("proxy_protocol", "believes nobody", Some("name the proxies under trusted_proxies"));
        }
        DataPlane {
            listen,
            public_url,
            base_domain: base_domain.map(|domain| domain.trim_matches('.').to_ascii_lowercase()),
            single_endpoint,
            tls,
            unauthorized: unauthorized.or(Unauthorized::Forbidden),
            model_errors: model_errors.or(ModelErrors::Passthrough),
            layout: layout.or(Layout::PerCore),
            workers: workers.clamp(1, 256),
            trusted_proxies,
            proxy_protocol,
        }
    }
}

impl TlsFiles {
    fn read(form: &Form<'_>, base: &Path) -> Option<TlsFiles> {
        let certificate =
            form.value::<PathBuf>("certificate", "The chain as PEM, leaf first.").required("name a PEM file");
        let private_key =
            form.value::<PathBuf>("private_key", "The key as PEM, mode 0600.").required("name a PEM file");
        let doc = "Roots, as PEM, of certificates that clients are asked for; a gate, not an identity.";
        let ca = form.value::<PathBuf>("client_ca", doc).optional();
        let kinds = [("required", true), ("optional", false)];
        let doc = "Whether a client without a certificate is turned away.";
        let required = form.one_of("client_certificates", doc, &kinds).optional();
        if ca.is_none() && required.is_some() {
            form.wrong("client_certificates", "has no roots to judge by", Some("name them under client_ca"));
        }
        let clients =
            ca.map(|ca| ClientCertificates { ca: base.join(ca), required: required.unwrap_or(true) });
        Some(TlsFiles { certificate: base.join(certificate?), private_key: base.join(private_key?), clients })
    }
}

/// Notes a mistake if a listener's public address is no URL, or ends in a slash.
pub(super) fn checked_public_url(form: &Form<'_>, url: &str, example: &str) {
    let host = url.parse::<http::Uri>().ok().filter(|uri| uri.scheme().is_some() && uri.host().is_some());
    if host.is_none() || url.ends_with('/') {
        form.wrong("public_url", format!("`{url}` is not a URL without a slash at the end"), Some(example));
    }
}
