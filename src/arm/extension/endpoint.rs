//! The fields of an endpoint that are the gateway's own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Fields, says_something};
use crate::forms::{Form, Seconds};
use crate::model::endpoint::{Cors, EndpointSpec, RateLimit};

/// What a document or a property bag says in these fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// How often the endpoint may be called.
    pub rate_limit: RateLimit,
    /// Bytes of a request body.
    pub request_body: Option<u64>,
    /// Callers may open WebSockets.
    pub websocket: bool,
    /// Pages of other origins that may call it.
    pub cors: Option<Cors>,
}

/// Reads the fields.
pub fn read(form: &Form<'_>) -> Own {
    Own {
        rate_limit: form.section("rate_limit", "How often it may be called.", |f| RateLimit {
            requests_per_second: rate(f, "requests_per_second"),
            requests_per_second_per_principal: rate(f, "requests_per_second_per_principal"),
        }),
        request_body: form
            .value::<usize>("max_request_bytes", "Bytes of a request body.")
            .optional()
            .map(|n| n as u64),
        websocket: form.value("websocket", "Callers may open WebSockets.").or(false),
        cors: form.optional_section("cors", "Pages of other origins that may call it.", cors),
    }
}

fn rate(form: &Form<'_>, key: &'static str) -> Option<u32> {
    let rate = form.value::<u32>(key, "").optional();
    if rate == Some(0) {
        form.wrong(key, "is 0; no request could ever be served", None);
    }
    rate
}

fn cors(form: &Form<'_>) -> Cors {
    let list = |key, doc| form.values::<String>(key, doc).unwrap_or_default();
    let cors = Cors {
        allowed_origins: list("allowed_origins", "Origins such as https://app.example.com, or *."),
        allowed_headers: list("allowed_headers", "Fields that a page may send."),
        exposed_headers: list("exposed_headers", "Fields of an answer that a page may read."),
        max_age: form
            .value("max_age", "Seconds that a browser may remember it.")
            .optional()
            .map(|Seconds(time)| time),
    };
    if cors.allowed_origins.is_empty() {
        form.wrong(
            "allowed_origins",
            "names no origin",
            Some("allowed_origins: [\"https://app.example.com\"]"),
        );
    }
    for origin in cors.allowed_origins.iter().filter(|origin| !is_origin(origin)) {
        let hint = "write scheme, host and port as a browser does, without a path";
        form.wrong("allowed_origins", format!("`{origin}` is no origin"), Some(hint));
    }
    for (key, names) in
        [("allowed_headers", &cors.allowed_headers), ("exposed_headers", &cors.exposed_headers)]
    {
        for name in names.iter().filter(|name| name.parse::<http::HeaderName>().is_err()) {
            form.wrong(key, format!("`{name}` is no name of a field"), None);
        }
    }
    cors
}

/// Whether a text is an origin as browsers write it (RFC 6454 section 6.2), or the star.
fn is_origin(text: &str) -> bool {
    let whole = |uri: &http::Uri| {
        let plain = uri.scheme_str().is_some_and(|scheme| text.starts_with(&format!("{scheme}://")));
        plain && uri.path_and_query().is_none_or(|path| path.as_str() == "/") && !text.ends_with('/')
    };
    text == "*"
        || (text.to_ascii_lowercase() == text && text.parse::<http::Uri>().is_ok_and(|uri| whole(&uri)))
}

/// Takes the fields out of a property bag. What is not there stays as it was before.
pub fn take(form: &Form<'_>, bag: &mut BTreeMap<String, String>, before: Option<&EndpointSpec>) -> Own {
    super::take(form, bag, &before.map(write).unwrap_or_default(), read)
}

/// Puts the fields into a property bag; `whole` puts in those that say nothing, too.
pub fn put(bag: &mut BTreeMap<String, String>, spec: &EndpointSpec, whole: bool) {
    super::put(bag, write(spec), whole);
}

/// The fields as they are written.
pub fn write(spec: &EndpointSpec) -> Fields {
    let said = |fields: Vec<(&str, Value)>| {
        let said = fields.into_iter().filter(|(_, value)| says_something(value));
        Value::Object(said.map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let cors = spec.cors.as_ref().map(|cors| {
        said(vec![
            ("allowed_origins", json!(cors.allowed_origins)),
            ("allowed_headers", json!(cors.allowed_headers)),
            ("exposed_headers", json!(cors.exposed_headers)),
            ("max_age", json!(cors.max_age.map(|time| time.as_secs()))),
        ])
    });
    let rate_limit = said(vec![
        ("requests_per_second", json!(spec.rate_limit.requests_per_second)),
        ("requests_per_second_per_principal", json!(spec.rate_limit.requests_per_second_per_principal)),
    ]);
    let fields = [
        ("rate_limit", rate_limit),
        ("max_request_bytes", json!(spec.request_body)),
        ("websocket", json!(spec.websocket)),
        ("cors", json!(cors)),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
