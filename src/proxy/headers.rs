//! Header hygiene, towards the instance and back.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderName, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use prometheus::IntCounterVec;

use crate::gate::admit::Pass;
use crate::model::backend::HttpVersion;

pub(super) const DEPLOYMENT: HeaderName = HeaderName::from_static("azureml-model-deployment");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
pub(super) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
pub(super) const ERROR_STATUS: HeaderName = HeaderName::from_static("ms-azureml-model-error-statuscode");
pub(super) const ERROR_REASON: HeaderName = HeaderName::from_static("ms-azureml-model-error-reason");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// When the answer has to have begun, Unix milliseconds: an instance that knows need not work for nobody.
const DEADLINE: HeaderName = HeaderName::from_static("x-ms-request-deadline");
/// The request is a copy, and nobody waits for the answer: a model can leave out what has effects.
const MIRRORED: HeaderName = HeaderName::from_static("x-ms-mirrored");
const PRINCIPAL_ID: HeaderName = HeaderName::from_static("x-ms-client-principal-id");
const PRINCIPAL_TYPE: HeaderName = HeaderName::from_static("x-ms-client-principal-type");
const TENANT_ID: HeaderName = HeaderName::from_static("x-ms-client-tenant-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What becomes of a client's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Goes on.
    Keep,
    /// Concerns this connection only (RFC 9110 section 7.6.1).
    Hop,
    /// Would tell the instance something that only the gateway may say.
    Forged,
    /// Has an underscore, which some servers read as a dash.
    Underscore,
}

/// Names are in lower case here, as `HeaderName` has them.
fn fate(name: &str) -> Fate {
    let forged = match name.as_bytes() {
        [b'x', b'-', rest @ ..] => {
            rest.starts_with(b"forwarded")
                || rest.starts_with(b"original-")
                || rest.starts_with(b"rewrite-")
                || rest.starts_with(b"auth-request-")
                || rest.starts_with(b"ms-client-principal")
                || rest.starts_with(b"ms-client-tenant")
                || rest.starts_with(b"ms-token-")
                || matches!(
                    rest,
                    b"real-ip"
                        | b"request-id"
                        | b"ms-request-id"
                        | b"ms-client-request-id"
                        | b"ms-request-deadline"
                        | b"ms-mirrored"
                        | b"http-method-override"
                        | b"http-method"
                        | b"method-override"
                )
        }
        b"forwarded" | b"remote-user" | b"azureml-model-deployment" => true,
        _ => false,
    };
    if forged {
        return Fate::Forged;
    }
    match name {
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
        | "http2-settings" | "host" | "expect" => Fate::Hop,
        name if name.starts_with("proxy-") => Fate::Hop,
        name if name.contains('_') => Fate::Underscore,
        _ => Fate::Keep,
    }
}

/// What the gateway says about a request.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) pass: &'a Pass,
    pub(super) request_id: &'a HeaderValue,
    pub(super) client_request_id: Option<&'a HeaderValue>,
    pub(super) client: IpAddr,
    /// The other end of the connection: the client, or a trusted proxy that speaks for it.
    pub(super) peer: IpAddr,
    pub(super) tls: bool,
    pub(super) authority: HeaderValue,
    /// Unix milliseconds.
    pub(super) deadline: i64,
}

/// What a deployment's instances may see besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwards {
    /// The caller's credential.
    pub authorization: bool,
    /// Cookies.
    pub cookies: bool,
    /// That the client takes trailers, which only HTTP/2 can say.
    pub trailers: bool,
}

/// Leaves only what an instance may see and says what only the gateway may say: strips first, sets last, so that
/// no `Connection: x-request-id` can take away what was set.
pub(super) fn towards_instance(headers: &mut HeaderMap, about: &About<'_>, stripped: &IntCounterVec) {
    let deployment = about.pass.deployment();
    let forwards = Forwards {
        authorization: deployment.forward_authorization,
        cookies: deployment.forward_cookies,
        trailers: deployment.http_version == HttpVersion::Http2,
    };
    strip(headers, forwards, stripped);
    say(headers, about);
    join_trace(headers);
}

/// Leaves of a client's fields what an instance may see.
pub fn strip(headers: &mut HeaderMap, forwards: Forwards, stripped: &IntCounterVec) {
    let trailers_wanted = forwards.trailers
        && headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let mut gone: Vec<HeaderName> = listed(headers);
    for name in headers.keys() {
        let drop = match fate(name.as_str()) {
            Fate::Keep => false,
            Fate::Hop => true,
            Fate::Forged => {
                // Every SDK sends its request's own id; that deceives nobody.
                if *name != CLIENT_REQUEST_ID && *name != DEPLOYMENT && *name != REQUEST_ID {
                    stripped.with_label_values(&["forged"]).inc();
                }
                true
            }
            Fate::Underscore => {
                stripped.with_label_values(&["underscore"]).inc();
                true
            }
        };
        if drop {
            gone.push(name.clone());
        }
    }
    for name in gone {
        headers.remove(name);
    }
    if !forwards.authorization {
        headers.remove(AUTHORIZATION);
    }
    if forwards.cookies {
        join_cookies(headers);
    } else {
        headers.remove(COOKIE);
    }
    if trailers_wanted {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Says what only the gateway may say.
fn say(headers: &mut HeaderMap, about: &About<'_>) {
    headers.insert(REQUEST_ID, about.request_id.clone());
    headers.insert(MS_REQUEST_ID, about.request_id.clone());
    if let Some(id) = about.client_request_id {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
    headers.insert(DEPLOYMENT, about.pass.deployment().name.clone());
    let (client, peer) = (about.client, about.peer);
    let addresses = if client == peer { client.to_string() } else { format!("{client}, {peer}") };
    if let Ok(addresses) = HeaderValue::try_from(addresses) {
        headers.insert(FORWARDED_FOR, addresses);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if about.tls { "https" } else { "http" }));
    headers.insert(FORWARDED_HOST, about.authority.clone());
    headers.insert(DEADLINE, HeaderValue::from(about.deadline));
    if let Some(caller) = about.pass.caller() {
        headers.insert(PRINCIPAL_ID, caller.headers.id.clone());
        headers.insert(PRINCIPAL_TYPE, caller.headers.kind.clone());
        if let Some(tenant) = &caller.headers.tenant {
            headers.insert(TENANT_ID, tenant.clone());
        }
    }
}

/// Fields by which clients commonly prove who they are, besides `Authorization` and cookies.
const CREDENTIALS: [&str; 4] = ["api-key", "x-api-key", "x-functions-key", "ocp-apim-subscription-key"];

/// Makes of what goes to an instance what goes to a shadow's: the same, without anything that proves who the client is.
pub(super) fn towards_shadow(headers: &mut HeaderMap, shadow: &HeaderValue, deadline: i64) {
    for name in [AUTHORIZATION, COOKIE, TE] {
        headers.remove(name);
    }
    for name in CREDENTIALS {
        headers.remove(name);
    }
    headers.insert(MIRRORED, HeaderValue::from_static("true"));
    headers.insert(DEPLOYMENT, shadow.clone());
    headers.insert(DEADLINE, HeaderValue::from(deadline));
}

/// Whether a body goes on for as long as its sender likes, as those of gRPC do.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

/// Whether a body is JSON, by what its sender says.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The other protocol that a request asks for, as a label. Nobody gets one.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<&'static str> {
    let settings = headers.contains_key("http2-settings");
    let mut asked = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok()).peekable();
    if asked.peek().is_none() && !settings {
        return None;
    }
    let tokens: Vec<&str> = asked.flat_map(|value| value.split(',')).map(str::trim).collect();
    let is = |name: &str| tokens.iter().any(|token| token.eq_ignore_ascii_case(name));
    Some(match () {
        () if settings || is("h2c") => "h2c",
        () if is("websocket") => "websocket",
        () => "other",
    })
}

/// The fields that `Connection` names. Those that frame the message are dealt with anyway.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = values.flat_map(|value| value.split(',')).map(str::trim);
    let there = named.filter(|name| headers.contains_key(*name));
    there
        .filter_map(|name| name.parse::<HeaderName>().ok())
        .filter(|name| name != CONTENT_LENGTH && name != AUTHORIZATION)
        .collect()
}

/// HTTP/2 may spread cookies over several fields; HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Keeps a sound W3C trace context and begins one where there is none.
fn join_trace(headers: &mut HeaderMap) {
    let sound = headers.get(TRACEPARENT).is_some_and(|value| is_traceparent(value.as_bytes()));
    if sound && headers.get_all(TRACEPARENT).iter().count() == 1 {
        return;
    }
    headers.remove(TRACESTATE);
    if let Ok(value) = HeaderValue::from_bytes(&fresh_traceparent()) {
        headers.insert(TRACEPARENT, value);
    }
}

/// A trace of the gateway's own, not sampled.
fn fresh_traceparent() -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000001-0000000000000001-00";
    let random = [fastrand::u128(..).to_ne_bytes(), fastrand::u128(..).to_ne_bytes()].concat();
    let places = (3..35).chain(36..52);
    let digits = random
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| b"0123456789abcdef".get(usize::from(digit)));
    // The last digit of each id stays, so that neither is zero.
    for (place, digit) in places.zip(digits).filter(|(place, _)| *place != 34 && *place != 51) {
        if let (Some(byte), Some(digit)) = (text.get_mut(place), digit) {
            *byte = *digit;
        }
    }
    text
}

/// `version-trace-parent-flags` of W3C Trace Context, version 00.
fn is_traceparent(value: &[u8]) -> bool {
    let hex =
        |part: Option<&[u8]>| part.is_some_and(|p| p.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    let not_zero = |part: Option<&[u8]>| part.is_some_and(|p| p.iter().any(|b| *b != b'0'));
    let (trace, parent, flags) = (value.get(3..35), value.get(36..52), value.get(53..55));
    value.len() == 55
        && value.starts_with(b"00-")
        && value.get(35) == Some(&b'-')
        && value.get(52) == Some(&b'-')
        && hex(trace)
        && hex(parent)
        && hex(flags)
        && not_zero(trace)
        && not_zero(parent)
}

/// A client's own id for its request: letters, digits, dash and underscore, at most 40 of them.
pub(super) fn client_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(CLIENT_REQUEST_ID)?.as_bytes();
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    let kept: Vec<u8> = value.iter().copied().filter(|byte| safe(byte)).take(40).collect();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept).ok() }
}

/// Leaves of an instance's answer what concerns the client.
pub fn towards_client(headers: &mut HeaderMap) {
    for name in listed(headers) {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE] {
        headers.remove(name);
    }
    for name in
        ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authentication-info", "trailer"]
    {
        headers.remove(name);
    }
    for name in SAID {
        headers.remove(name);
    }
}

/// What of an answer only the gateway may say.
const SAID: [HeaderName; 6] =
    [REQUEST_ID, MS_REQUEST_ID, CLIENT_REQUEST_ID, DEPLOYMENT, ERROR_STATUS, ERROR_REASON];

/// The same of an instance's trailers, which a client may take for fields of the head.
pub(super) fn trailers_towards_client(trailers: &mut HeaderMap) {
    towards_client(trailers);
    trailers.remove(CONTENT_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_an_instance_is_dropped() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-anything",
            "forwarded",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-ms-client-principal",
            "x-ms-client-principal-name",
            "x-ms-client-tenant-id",
            "x-ms-token-aad-id-token",
            "x-auth-request-user",
            "remote-user",
            "x-request-id",
            "x-ms-request-id",
            "x-ms-request-deadline",
            "x-ms-mirrored",
            "azureml-model-deployment",
        ] {
            assert_eq!(fate(name), Fate::Forged, "{name}");
        }
        for name in [
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "proxy-authorization",
            "proxy-connection",
            "proxy-anything",
            "host",
            "expect",
        ] {
            assert_eq!(fate(name), Fate::Hop, "{name}");
        }
        assert_eq!(fate("x_forwarded_for"), Fate::Underscore);
        for name in
            ["content-type", "accept", "x-custom", "content-length", "user-agent", "authorization", "cookie"]
        {
            assert_eq!(fate(name), Fate::Keep, "{name}");
        }
    }

    #[test]
    fn what_protocol_is_asked_for_is_one_of_few() {
        for (name, value, label) in [
            ("upgrade", "h2c", Some("h2c")),
            ("upgrade", "websocket, H2C", Some("h2c")),
            ("http2-settings", "AAMAAABk", Some("h2c")),
            ("upgrade", "WebSocket", Some("websocket")),
            ("upgrade", "TLS/1.3", Some("other")),
            ("upgrade", "", Some("other")),
            ("accept", "h2c", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(upgrade(&headers), label, "{name}: {value}");
        }
    }

    #[test]
    fn trace_contexts_are_joined_only_if_they_are_sound() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good.as_bytes()));
        for bad in [
            "",
            "00-0",
            &good.to_uppercase(),
            &good.replace("00-4", "ff-4"),
            &good.replace('4', "0").replace(char::is_alphanumeric, "0"),
        ] {
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        join_trace(&mut headers);
        assert!(is_traceparent(headers[TRACEPARENT].as_bytes()) && !headers.contains_key(TRACESTATE));
    }

    #[test]
    fn a_shadow_gets_no_credential_and_a_mark() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "te", "x-api-key", "api-key", "x-functions-key", "x-custom"] {
            headers.append(name, HeaderValue::from_static("a"));
            headers.append(name, HeaderValue::from_static("b"));
        }
        towards_shadow(&mut headers, &HeaderValue::from_static("green"), 7);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["azureml-model-deployment", "x-custom", "x-ms-mirrored", "x-ms-request-deadline"]);
        assert_eq!(
            (&headers[MIRRORED], &headers[DEPLOYMENT], &headers[DEADLINE]),
            (&"true".parse().unwrap(), &"green".parse().unwrap(), &7.into())
        );
    }

    #[test]
    fn what_a_body_is_stands_in_its_type() {
        let of = |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert!(is_json(&of(kind)) && !is_stream(&of(kind)), "{kind}");
        }
        for kind in ["application/jsonl", "text/plain", "application/x-ndjson", "text/json+json", ""] {
            assert!(!is_json(&of(kind)), "{kind}");
        }
        assert!(is_stream(&of("application/grpc+proto")) && is_stream(&of("application/gRPC")));
    }

    #[test]
    fn client_request_ids_are_made_safe() {
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_REQUEST_ID, HeaderValue::from_static("order 42/<x>_-abc"));
        assert_eq!(client_request_id(&headers).unwrap(), "order42x_-abc");
        headers.insert(CLIENT_REQUEST_ID, HeaderValue::try_from("a".repeat(99)).unwrap());
        assert_eq!(client_request_id(&headers).unwrap().len(), 40);
    }
}
