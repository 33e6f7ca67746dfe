//! `backend`: where a deployment's instances are.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Fields;
use crate::forms::Form;
use crate::model::backend::{Backend, ClientCertificate, HttpVersion, InstanceUrl, Origin, Program};

const VERSIONS: [(&str, HttpVersion); 2] = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];

/// Reads `backend:`; a relative path starts at `base`.
pub(super) fn read(form: &Form<'_>, base: &Path) -> Option<Backend> {
    if form.carried("kubernetes").is_some() {
        let hint = "name the service under `dns`, such as model-blue.models.svc:5001";
        form.wrong("kubernetes", "is not supported by this version", Some(hint));
    }
    let urls = form.values::<InstanceUrl>("urls", "Addresses of inference servers.");
    let dns =
        form.value::<String>("dns", "A name and port of which every address is an instance.").optional();
    let arguments = form.values::<String>("command", "A program to run; {port} stands for its port.");
    let directory = form.value::<PathBuf>("working_directory", "Where the program runs.").optional();
    if directory.is_some() && arguments.is_none() {
        form.wrong("working_directory", "is of use with `command` only", None);
    }
    let origin = match (urls, dns, arguments) {
        (Some(urls), None, None) if !urls.is_empty() => Some(Origin::Urls(urls)),
        (None, Some(name), None) => named(form, &name),
        (None, None, Some(arguments)) => program(form, arguments, base.join(directory.unwrap_or_default())),
        (Some(_) | None, None, None) => {
            let hint = "urls: [\"http://127.0.0.1:5001\"]";
            form.wrong("urls", "names no instance", Some(hint));
            None
        }
        _ => {
            form.wrong("", "names instances in more than one way", Some("keep one of urls, dns, command"));
            None
        }
    };
    let http_version = form.one_of("http_version", "What they speak.", &VERSIONS).or(HttpVersion::Http1);
    let ca_file = form.value::<PathBuf>("ca_file", "PEM roots to trust.").optional();
    let client_certificate = form
        .optional_section("client_certificate", "What the gateway shows to them.", |f| {
            let file = |key, doc| f.value::<PathBuf>(key, doc).required("name a PEM file");
            let certificate = file("certificate", "The chain as PEM, leaf first.");
            let private_key = file("private_key", "The key as PEM.");
            Some(ClientCertificate {
                certificate: base.join(certificate?),
                private_key: base.join(private_key?),
            })
        })
        .flatten();
    Some(Backend {
        origin: origin?,
        http_version,
        ca_file: ca_file.map(|file| base.join(file)),
        client_certificate,
    })
}

/// A name with a port, over TLS if it says https.
fn named(form: &Form<'_>, name: &str) -> Option<Origin> {
    let url = if name.contains("://") { name.to_owned() } else { format!("http://{name}") };
    let read = InstanceUrl::try_from(url).map(Origin::Dns);
    let hint = "model-blue.models.svc:5001, or https://model-blue.models.svc:5001";
    read.map_err(|_| form.wrong("dns", format!("`{name}` is no name with a port"), Some(hint))).ok()
}

fn program(form: &Form<'_>, arguments: Vec<String>, directory: PathBuf) -> Option<Origin> {
    if arguments.first().is_none_or(String::is_empty) {
        form.wrong("command", "names no program", Some(r#"command: ["azmlinfsrv", "--port", "{port}"]"#));
        return None;
    }
    let directory = Some(directory).filter(|directory| !directory.as_os_str().is_empty());
    Some(Origin::Command(Program { arguments, directory }))
}

/// `backend:` as it is written.
pub(super) fn write(backend: &Backend) -> Value {
    let mut fields = Fields::new();
    match &backend.origin {
        Origin::Urls(urls) => drop(fields.insert("urls".to_owned(), json!(urls))),
        Origin::Dns(name) if name.tls => drop(fields.insert("dns".to_owned(), json!(name))),
        Origin::Dns(name) => drop(fields.insert("dns".to_owned(), json!(name.authority()))),
        Origin::Command(program) => {
            fields.insert("command".to_owned(), json!(program.arguments));
            if let Some(directory) = &program.directory {
                fields.insert("working_directory".to_owned(), json!(directory));
            }
        }
    }
    if backend.http_version == HttpVersion::Http2 {
        fields.insert("http_version".to_owned(), json!("2"));
    }
    if let Some(file) = &backend.ca_file {
        fields.insert("ca_file".to_owned(), json!(file));
    }
    if let Some(own) = &backend.client_certificate {
        fields.insert("client_certificate".to_owned(), json!(own));
    }
    Value::Object(fields)
}
