//! `batch:` — what batch jobs may reach: hosts, addresses, directories. Nothing, unless it is listed; a data store that
//! somebody configured counts as listed, its address does not.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use ipnet::IpNet;

use crate::forms::{Form, Scalar};

/// The blob services of Azure's clouds: who else is sent a caller's token for Azure Storage could use it there.
const TOKEN_HOSTS: &[&str] =
    &["*.blob.core.windows.net", "*.blob.core.usgovcloudapi.net", "*.blob.core.chinacloudapi.cn"];

/// What batch jobs may reach besides the data stores of their workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Hosts from which jobs may read by https.
    pub https_hosts: Vec<HostPattern>,
    /// Hosts that may be spoken to in clear text, data stores' among them.
    pub http_hosts: Vec<HostPattern>,
    /// Networks besides the public ones in which such hosts and data stores may be.
    pub address_ranges: Vec<IpNet>,
    /// Ports besides 443, and 80 of `http_hosts`.
    pub ports: Vec<u16>,
    /// Hosts that a caller's token for Azure Storage is sent to.
    pub token_hosts: Vec<HostPattern>,
    /// Roots that a `local_directory` store made through the API may name.
    pub directories: Vec<PathBuf>,
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            https_hosts: Vec::new(),
            http_hosts: Vec::new(),
            address_ranges: Vec::new(),
            ports: Vec::new(),
            token_hosts: TOKEN_HOSTS.iter().filter_map(|host| HostPattern::read(host).ok()).collect(),
            directories: Vec::new(),
            ca_file: None,
        }
    }
}

impl Batch {
    pub(super) fn read(form: &Form<'_>, base: &Path) -> Batch {
        let doc =
            "Hosts from which jobs may read by https: data.example.com, or *.example.com for those below it.";
        let https_hosts = form.values("https_hosts", doc).unwrap_or_default();
        let doc = "Hosts that may be spoken to in clear text, data stores' among them.";
        let http_hosts = form.values("http_hosts", doc).unwrap_or_default();
        let doc = "Networks besides the public ones in which such hosts and data stores may be.";
        let address_ranges = form.values("address_ranges", doc).unwrap_or_default();
        let ports = form.values("ports", "Ports besides 443, and 80 of http_hosts.").unwrap_or_default();
        let doc = "Hosts that a caller's token for Azure Storage is sent to; the blob services of Azure's clouds, if it is not set.";
        let token_hosts = form.values("token_hosts", doc).unwrap_or_else(|| Batch::default().token_hosts);
        let doc =
            "Directories in which data stores made through the API may be; those of files may be anywhere.";
        let directories: Vec<PathBuf> = form.values("directories", doc).unwrap_or_default();
        let doc = "PEM roots that hosts and data stores are trusted by, instead of the system's.";
        let ca_file = form.value::<PathBuf>("ca_file", doc).optional();
        Batch {
            https_hosts,
            http_hosts,
            address_ranges,
            ports,
            token_hosts,
            directories: directories.into_iter().map(|directory| base.join(directory)).collect(),
            ca_file: ca_file.map(|file| base.join(file)),
        }
    }

    /// Whether a data store made through the API may be this directory: it is one of those listed, or below one, as it
    /// is written. What links in it lead out is refused when it is used.
    pub fn allows_directory(&self, path: &Path) -> bool {
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        path.is_absolute() && plain && self.directories.iter().any(|root| path.starts_with(root))
    }
}

/// A host, or every host below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    name: String,
    below: bool,
}

impl HostPattern {
    /// Whether it means this host, given in lower case.
    pub fn matches(&self, host: &str) -> bool {
        if !self.below {
            return self.name == host;
        }
        let label = host.strip_suffix(self.name.as_str()).and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

impl Scalar for HostPattern {
    const TEXT: bool = true;

    fn read(text: &str) -> Result<HostPattern, String> {
        let lower = text.to_ascii_lowercase();
        let (name, below) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |rest| (rest, true));
        let label = |label: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.bytes().all(plain)
        };
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let sound = match address {
            Some(address) => !below && address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.split('.').all(label),
        };
        if sound {
            Ok(HostPattern { name: name.to_owned(), below })
        } else {
            Err(format!(
                "`{text}` is not a host such as data.example.com or *.example.com, without scheme, port or path"
            ))
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_host_or_those_below_it() {
        let is = |pattern: &str, host: &str| HostPattern::read(pattern).unwrap().matches(host);
        assert!(is("Data.Example.com", "data.example.com"));
        assert!(is("*.example.com", "data.example.com") && is("*.example.com", "a.b.example.com"));
        for host in
            ["example.com", ".example.com", "notexample.com", "example.com.evil.net", "data.example.com."]
        {
            assert!(!is("*.example.com", host), "{host}");
        }
        assert!(is("[::1]", "[::1]") && is("127.0.0.1", "127.0.0.1"));
        for bad in
            ["", "*", "*.", "https://a", "a:1", "a/b", "a..b", "a.", ".a", "a.*", "*.[::1]", "[x]", "ä"]
        {
            assert!(HostPattern::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_listed_or_below_one_that_is() {
        let batch = Batch { directories: vec!["/srv/data".into()], ..Batch::default() };
        for good in ["/srv/data", "/srv/data/heart", "/srv/data/"] {
            assert!(batch.allows_directory(Path::new(good)), "{good}");
        }
        for bad in ["/srv", "/srv/database", "/srv/data/../x", "srv/data", "/", "/srv/data/a/../../x"] {
            assert!(!batch.allows_directory(Path::new(bad)), "{bad}");
        }
        assert!(!Batch::default().allows_directory(Path::new("/")));
    }
}
