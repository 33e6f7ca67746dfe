//! Which endpoint a request is for: by the one that is configured, by host, or by path. Decided once.

use std::sync::Arc;

use super::fault::{Fault, Reason};
use crate::routing::{EndpointRoute, Snapshot};

/// Which endpoint an address means.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The one endpoint that every request is for, in lower case.
    pub single: Option<String>,
    /// `.{base_domain}`, in lower case.
    pub suffix: Option<String>,
}

/// An endpoint, and what of the path is its own.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The endpoint.
    pub endpoint: &'a Arc<EndpointRoute>,
    /// The path on the endpoint.
    pub path: &'a str,
}

/// Finds the endpoint. `host` is in lower case and without its port, `path` in normal form.
pub fn find<'a>(
    addresses: &Addresses,
    snapshot: &'a Snapshot,
    host: &str,
    path: &'a str,
) -> Result<Matched<'a>, Fault> {
    let named = |name: &str, path| {
        let endpoint = match snapshot.endpoints.get(name) {
            Some(endpoint) => Some(endpoint),
            None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                snapshot.endpoints.get(&name.to_ascii_lowercase())
            }
            None => None,
        };
        endpoint.map(|endpoint| Matched { endpoint, path }).ok_or(Fault::new(Reason::EndpointNotFound))
    };
    if let Some(single) = &addresses.single {
        return named(single, path);
    }
    let label = addresses.suffix.as_ref().and_then(|suffix| host.strip_suffix(suffix.as_str()));
    if let Some(label) = label {
        return named(label, path);
    }
    let rest = path.strip_prefix("/endpoints/").ok_or(Fault::new(Reason::EndpointNotFound))?;
    match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
        Some((name, path)) => named(name, path),
        None => named(rest, "/"),
    }
}
