//! Where a deployment's instances are.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// Whether the host is an address that no model server has.
    pub fn is_off_limits(&self) -> bool {
        self.host.parse().is_ok_and(is_off_limits)
    }
}

/// Whether an address is one that no model server has: unspecified, link-local (where clouds keep their metadata
/// services), multicast, or Azure's 168.63.129.16.
pub fn is_off_limits(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets() == [168, 63, 129, 16]
        }
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
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

/// Where instances come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A fixed list of inference servers.
    Urls(Vec<InstanceUrl>),
    /// A name of which every address is one, looked up again and again.
    Dns(InstanceUrl),
    /// Processes that the gateway runs on its own machine, as many as `instance_count` says.
    Command(Program),
}

/// A program that is an inference server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments; `{port}` stands for the port that it has to listen on.
    pub arguments: Vec<String>,
    /// The directory it runs in.
    pub directory: Option<PathBuf>,
}

/// What the gateway shows to instances that ask for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The chain as PEM, leaf first.
    pub certificate: PathBuf,
    /// The key as PEM.
    pub private_key: PathBuf,
}

/// Where a deployment's instances are, and how they are spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where they come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The version of HTTP they speak.
    #[serde(default)]
    pub http_version: HttpVersion,
    /// Certificates that their TLS certificates must chain to, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The gateway's own certificate towards them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

impl Backend {
    /// The addresses that are known beforehand; those of a name or of processes are not.
    pub fn urls(&self) -> &[InstanceUrl] {
        match &self.origin {
            Origin::Urls(urls) => urls,
            Origin::Dns(_) | Origin::Command(_) => &[],
        }
    }
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
