//! Where a deployment's instances are, and the other fields that Azure does not have: the same in YAML and, as
//! strings in the property bag, in ARM.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::forms::{Form, Reading, parse_json};
use crate::model::deployment::{Backend, Deployment, HttpVersion, InstanceUrl, default_scoring_path};

/// The most paths that a deployment allows one by one; each request looks through them.
const PATHS: usize = 200;
/// What our entries in the property bag begin with.
const PREFIX: &str = "scoregate.";

const VERSIONS: [(&str, HttpVersion); 2] = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];

/// Reads `backend:`; a relative path starts at `base`.
pub fn read(form: &Form<'_>, base: &Path) -> Option<Backend> {
    for key in ["dns", "kubernetes", "command"] {
        if form.carried(key).is_some() {
            form.wrong(key, "is not supported by this version", Some("list the instances under `urls`"));
        }
    }
    let urls = form.values::<InstanceUrl>("urls", "Addresses of inference servers.").unwrap_or_default();
    if urls.is_empty() {
        form.wrong("urls", "names no instance", Some("urls: [\"http://127.0.0.1:5001\"]"));
    }
    let http_version = form.one_of("http_version", "What they speak.", &VERSIONS).or(HttpVersion::Http1);
    let ca_file = form.value::<PathBuf>("ca_file", "PEM roots to trust.").optional();
    let ca_file = ca_file.map(|file| base.join(file));
    (!urls.is_empty()).then_some(Backend { urls, http_version, ca_file })
}

/// `backend:` as it is written.
pub fn write(backend: &Backend) -> Value {
    let mut written = json!({"urls": backend.urls});
    if let Value::Object(fields) = &mut written {
        if backend.http_version == HttpVersion::Http2 {
            fields.insert("http_version".to_owned(), json!("2"));
        }
        if let Some(file) = &backend.ca_file {
            fields.insert("ca_file".to_owned(), json!(file));
        }
    }
    written
}

/// The fields that are the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) backend: Option<Backend>,
    pub(super) scoring_path: Option<String>,
    pub(super) allowed_paths: Option<Vec<String>>,
    pub(super) forward_authorization: bool,
    pub(super) forward_cookies: bool,
}

/// Takes our entries out of a property bag. What is not there stays as it was before.
pub(super) fn take(form: &Form<'_>, bag: &mut BTreeMap<String, String>, before: Option<&Deployment>) -> Own {
    let mut own = Own {
        backend: before.map(|before| before.backend.clone()),
        scoring_path: before.map(|before| before.scoring_path.clone()),
        allowed_paths: before.and_then(|before| before.allowed_paths.clone()),
        forward_authorization: before.is_some_and(|before| before.forward_authorization),
        forward_cookies: before.is_some_and(|before| before.forward_cookies),
    };
    let ours: Vec<String> = bag.keys().filter(|key| key.starts_with(PREFIX)).cloned().collect();
    for key in ours {
        let text = bag.remove(&key).unwrap_or_default();
        let wrong = |problem: String| form.wrong("properties", format!("`{key}`: {problem}"), None);
        match key.strip_prefix(PREFIX).unwrap_or_default() {
            "backend" => own.backend = parse_backend(&text).map_err(&wrong).ok(),
            "scoring_path" => own.scoring_path = Some(text),
            "allowed_paths" => match serde_json::from_str::<Option<Vec<String>>>(&text) {
                Ok(paths) => own.allowed_paths = paths,
                Err(_) => wrong("is not a JSON list of paths, or null for every path".to_owned()),
            },
            "forward_authorization" => own.forward_authorization = flag(&text, wrong),
            "forward_cookies" => own.forward_cookies = flag(&text, wrong),
            _ => wrong("there is no such extension".to_owned()),
        }
    }
    own
}

fn flag(text: &str, wrong: impl Fn(String)) -> bool {
    if !text.eq_ignore_ascii_case("true") && !text.eq_ignore_ascii_case("false") {
        wrong("is neither true nor false".to_owned());
    }
    text.eq_ignore_ascii_case("true")
}

fn parse_backend(text: &str) -> Result<Backend, String> {
    let node = parse_json(text.as_bytes()).map_err(|error| error.to_string())?;
    let reading = Reading::of("backend");
    let form = reading.form(Some(&node));
    let backend = read(&form, Path::new("/"));
    form.close();
    match (backend, reading.finish().first()) {
        (Some(backend), None) => Ok(backend),
        (_, Some(mistake)) => Err(format!("{}: {}", mistake.field, mistake.problem)),
        (None, None) => Err("names no instance".to_owned()),
    }
}

/// Paths that can be matched and forwarded.
pub fn check_paths(form: &Form<'_>, key: &str, scoring_path: &str, allowed: Option<&[String]>) {
    let sound = |path: &str| path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
    if !sound(scoring_path) {
        form.wrong(key, format!("scoring route `{scoring_path}` is no path"), None);
    }
    if allowed.is_some_and(|paths| paths.len() > PATHS) {
        form.wrong(key, format!("names more than {PATHS} paths"), None);
    }
    for path in allowed.iter().copied().flatten().filter(|path| !sound(path)) {
        form.wrong(key, format!("`{path}` is no path"), None);
    }
}

/// Puts our fields into a property bag. `whole` puts in those that are as by default, too.
pub(super) fn put(bag: &mut BTreeMap<String, String>, deployment: &Deployment, whole: bool) {
    let mut add = |key: &str, value: String| bag.insert(format!("{PREFIX}{key}"), value);
    add("backend", write(&deployment.backend).to_string());
    if whole || deployment.scoring_path != default_scoring_path() {
        add("scoring_path", deployment.scoring_path.clone());
    }
    if whole || deployment.allowed_paths.is_some() {
        add("allowed_paths", json!(deployment.allowed_paths).to_string());
    }
    for (key, set) in [
        ("forward_authorization", deployment.forward_authorization),
        ("forward_cookies", deployment.forward_cookies),
    ] {
        if whole || set {
            add(key, set.to_string());
        }
    }
}
