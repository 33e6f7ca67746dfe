//! A client's fields: none that could deceive an instance reaches it, in whatever spelling, whatever else is there.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use scoregate::proxy::headers::{Forwards, strip};
use scoregate::telemetry::metrics::Metrics;

use super::input::Input;

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().unwrap());

/// What an instance or something in front of it could take for the gateway's word, written with dashes.
const FORGED: [&str; 19] = [
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "x-ms-request-id",
    "x-ms-client-request-id",
    "x-ms-request-deadline",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-ms-client-principal-id",
    "x-ms-client-tenant-id",
    "x-auth-request-user",
    "remote-user",
    "azureml-model-deployment",
];
const FAMILIES: [&str; 5] =
    ["x-forwarded-", "x-ms-client-principal", "x-ms-token-", "x-auth-request-", "proxy-"];
/// What concerns one connection only (RFC 9110 section 7.6.1).
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    "host",
];

/// The first byte says what is forwarded; then come lines of `name: value`.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let bits = input.byte();
    let forwards = Forwards { authorization: bits & 1 != 0, cookies: bits & 2 != 0, trailers: bits & 4 != 0 };
    let mut headers = HeaderMap::new();
    for line in input.0.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let before = headers.clone();
    strip(&mut headers, forwards, &METRICS.header_stripped);
    for (name, value) in &headers {
        let name = name.as_str();
        let spelt = name.replace('_', "-");
        let forged = FORGED.contains(&&*spelt) || FAMILIES.iter().any(|family| spelt.starts_with(family));
        assert!(!forged && !name.contains('_'), "{name} is left of {before:?}");
        let trailers = forwards.trailers && name == "te" && value == "trailers";
        assert!(trailers || !OF_THE_CONNECTION.contains(&name), "{name} is left of {before:?}");
        let kept = before.get_all(name).iter().any(|had| had.as_bytes().eq_ignore_ascii_case(value.as_bytes()));
        assert!(kept || name == "cookie", "{name} is new: {before:?}");
        let nominated = before.get_all("connection").iter().filter_map(|value| value.to_str().ok());
        let nominated = nominated.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(name));
        let never = ["content-length", "authorization", "te"].contains(&name);
        assert!(never || !nominated, "{name} is named by Connection: {before:?}");
    }
    assert!(forwards.authorization || !headers.contains_key("authorization"));
    let cookies = headers.get_all("cookie").iter().count();
    assert!(cookies <= usize::from(forwards.cookies), "{before:?}");
    let once = headers.clone();
    strip(&mut headers, Forwards { trailers: forwards.trailers, ..forwards }, &METRICS.header_stripped);
    assert_eq!(once, headers, "a second time changes something");
}
