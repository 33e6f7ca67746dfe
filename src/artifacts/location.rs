//! What the URI of a job's input or output means. A text that could be read in two ways has no meaning.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use reqwest::Url;

use crate::model::datastore::{DatastoreName, DatastoreNameError};
use crate::model::scope::WorkspaceRef;

/// The longest URI, in bytes; signed queries are long.
const MAX_URI: usize = 8192;
/// The longest path in a store, in bytes: what Azure Blob and S3 take as a name.
const MAX_PATH: usize = 1024;
/// What does not stand for itself in the path of a URI that we write.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'#').add(b'?').add(b'"').add(b'<').add(b'>');

/// Where an input or an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a data store.
    Store {
        /// The store's workspace: that of the job.
        workspace: WorkspaceRef,
        /// The store.
        name: DatastoreName,
        /// Segments parted by `/`, without one at either end; empty for the whole store.
        path: String,
    },
    /// Behind an address, by https; by http only where the rules allow it.
    Https(Address),
}

/// An address of which everybody reads the same host and the same path. Its query may be a signature and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing, or far too much.
    #[error("a URI has 1 to {MAX_URI} bytes, this one has {0}")]
    Length(usize),
    /// A data asset.
    #[error(
        "data assets are not kept here: write the place of the data, azureml://datastores/{{name}}/paths/{{path}}"
    )]
    Asset,
    /// A path on somebody's machine.
    #[error(
        "a local path means nothing to the gateway: upload the data to a data store and write azureml://datastores/{{name}}/paths/{{path}}"
    )]
    Local,
    /// A scheme that is not spoken.
    #[error(
        "`{0}:` cannot be read: make a data store for the place and write azureml://datastores/{{name}}/paths/{{path}}, or an https address"
    )]
    Scheme(String),
    /// A resource id or an `azureml:` URI of another form.
    #[error(
        "{0}: write azureml://datastores/{{name}}/paths/{{path}}, or {{workspace id}}/datastores/{{name}}/paths/{{path}}"
    )]
    Shape(&'static str),
    /// Another workspace than the endpoint's.
    #[error("it is in another workspace; a job reads and writes data stores of its endpoint's workspace")]
    OtherWorkspace,
    /// No store's name.
    #[error(transparent)]
    Store(#[from] DatastoreNameError),
    /// A path with two readings.
    #[error("its path {0}")]
    Path(&'static str),
    /// An address with two readings.
    #[error("its address {0}")]
    Address(&'static str),
}

impl Location {
    /// Reads the URI of a job in this workspace.
    pub fn parse(text: &str, workspace: &WorkspaceRef) -> Result<Location, LocationError> {
        if text.is_empty() || text.len() > MAX_URI {
            return Err(LocationError::Length(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(LocationError::Path("holds a control character"));
        }
        if after(text, "https://").is_some() || after(text, "http://").is_some() {
            return Address::parse(text).map(Location::Https);
        }
        if let Some(rest) = after(text, "azureml://") {
            return match rest.split('/').next().map(str::to_ascii_lowercase).as_deref() {
                Some("datastores") => in_store(rest, workspace),
                Some("subscriptions") => in_workspace(rest, workspace),
                Some("locations" | "registries") => Err(LocationError::Asset),
                _ => Err(LocationError::Shape("it names no data store")),
            };
        }
        if let Some(rest) = after(text, "/subscriptions/").or_else(|| after(text, "azureml:/subscriptions/"))
        {
            return in_workspace(&format!("subscriptions/{rest}"), workspace);
        }
        if after(text, "azureml:").is_some() {
            return Err(LocationError::Asset);
        }
        let scheme = text.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
            // One letter is a drive of Windows.
            scheme.len() > 1
                && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
        });
        Err(scheme.map_or(LocationError::Local, |scheme| {
            LocationError::Scheme(scheme.chars().take(20).collect::<String>().to_ascii_lowercase())
        }))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Store { name, path, .. } => {
                write!(f, "azureml://datastores/{name}/paths/{}", utf8_percent_encode(path, ESCAPED))
            }
            Location::Https(address) => address.fmt(f),
        }
    }
}

impl Address {
    /// Reads an https or http URL, if it is written as it is meant.
    pub fn parse(text: &str) -> Result<Address, LocationError> {
        let wrong = |what| Err(LocationError::Address(what));
        let (_, rest) = text.split_once("://").ok_or(LocationError::Address("has no scheme"))?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return wrong("holds a user name or password; give the data store a credential instead");
        }
        // Readers of URLs disagree about these, or turn them into something else.
        let strange = |byte: u8| !byte.is_ascii_graphic() || b"\\\"<>^`{|}".contains(&byte);
        if text.bytes().any(strange) {
            return wrong("holds a character that has to be percent-encoded, or a host that is not in ASCII");
        }
        let Ok(url) = Url::parse(text) else { return wrong("is no URL") };
        let host = url.host_str().unwrap_or_default();
        let written = authority.to_ascii_lowercase();
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        if host.is_empty() || (written != host && written != with_port) {
            return wrong("does not spell its host and port the plain way");
        }
        if host.ends_with('.') {
            return wrong("has a host that ends in a dot");
        }
        if url.fragment().is_some() {
            return wrong("has a fragment; leave out `#` and what follows");
        }
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        if url.query() != query || (url.path() != path && !(path.is_empty() && url.path() == "/")) {
            return wrong("is not written the plain way: no `.` and `..`, no strange characters");
        }
        in_path(path.strip_prefix('/').unwrap_or(path))?;
        Ok(Address(url))
    }

    /// The URL, its query included.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// What an output calls the file: the last segment of its path.
    pub fn file_name(&self) -> String {
        let last = self.0.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = percent_decode_str(last).decode_utf8_lossy().into_owned();
        if name.is_empty() { self.0.host_str().unwrap_or_default().to_owned() } else { name }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// What follows a beginning, whatever its case.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// `subscriptions/{s}/resourceGroups/{g}[/providers/Microsoft.MachineLearningServices]/workspaces/{w}/…`
fn in_workspace(text: &str, workspace: &WorkspaceRef) -> Result<Location, LocationError> {
    let shape = || LocationError::Shape("it is no id of a data store and a path in it");
    let mut rest = text;
    let mut pair = || -> Option<(&str, &str)> {
        let (kind, more) = rest.split_once('/')?;
        let (name, more) = more.split_once('/')?;
        rest = more;
        Some((kind, name))
    };
    let mut found = [("subscriptions", ""), ("resourcegroups", ""), ("workspaces", "")];
    for (kind, name) in &mut found {
        let mut next = pair().ok_or_else(shape)?;
        let is_provider = next.0.eq_ignore_ascii_case("providers")
            && next.1.eq_ignore_ascii_case("Microsoft.MachineLearningServices");
        if *kind == "workspaces" && is_provider {
            next = pair().ok_or_else(shape)?;
        }
        if !next.0.eq_ignore_ascii_case(kind) {
            return Err(shape());
        }
        *name = next.1;
    }
    let own = [&workspace.subscription, &workspace.resource_group, &workspace.name];
    if !found.iter().zip(own).all(|((_, name), own)| name.eq_ignore_ascii_case(own)) {
        return Err(LocationError::OtherWorkspace);
    }
    in_store(rest, workspace)
}

/// `datastores/{n}/paths/{p}`
fn in_store(text: &str, workspace: &WorkspaceRef) -> Result<Location, LocationError> {
    let mut parts = text.splitn(4, '/');
    let mut next = || parts.next().unwrap_or_default();
    let (kind, name, paths, path) = (next(), next(), next(), next());
    if kind.eq_ignore_ascii_case("data") {
        return Err(LocationError::Asset);
    }
    if !kind.eq_ignore_ascii_case("datastores") {
        return Err(LocationError::Shape("it names no data store"));
    }
    let name = name.parse()?;
    if !paths.eq_ignore_ascii_case("paths") {
        return Err(LocationError::Shape("it names no path in the data store"));
    }
    Ok(Location::Store { workspace: workspace.clone(), name, path: in_path(path)? })
}

/// A path as it is meant, or why it could be meant in two ways.
fn in_path(text: &str) -> Result<String, LocationError> {
    let wrong = |what| Err(LocationError::Path(what));
    if text.contains(['?', '#']) {
        return wrong("holds `?` or `#`; write %3F or %23");
    }
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(String::new());
    }
    let mut path = String::with_capacity(text.len());
    for segment in text.split('/') {
        let sound = segment.split('%').skip(1).all(starts_as_escape);
        if !sound {
            return wrong("holds a `%` that begins no escape; write %25");
        }
        let Ok(segment) = percent_decode_str(segment).decode_utf8() else {
            return wrong("is not UTF-8");
        };
        match &*segment {
            "" => return wrong("has an empty segment"),
            "." | ".." => return wrong("has a segment `.` or `..`"),
            other if other.chars().any(|c| c.is_control() || c == '/' || c == '\\') => {
                return wrong("holds a control character, an encoded slash or a backslash");
            }
            other if other.split('%').skip(1).any(starts_as_escape) => return wrong("is encoded twice"),
            other => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(other);
            }
        }
    }
    if path.len() > MAX_PATH { wrong("has more than 1024 bytes") } else { Ok(path) }
}

fn starts_as_escape(rest: &str) -> bool {
    let mut bytes = rest.bytes();
    matches!((bytes.next(), bytes.next()), (Some(a), Some(b)) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
