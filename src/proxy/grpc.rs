//! The gateway's refusals as gRPC clients understand them: 200 with the status in fields (gRPC's PROTOCOL-HTTP2,
//! "Trailers-Only"), for what these clients do with an HTTP status alone is to guess.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::gate::fault::{Fault, Reason};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What `grpc-message` does not take as it is: all that is not a visible character or a space, and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Statuses of gRPC's `statuscodes.md` that the gateway uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Unknown = 2,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// What kind of gRPC a request speaks, as its answer's content type.
pub(super) fn spoken(headers: &HeaderMap) -> Option<HeaderValue> {
    let kind = headers.get(CONTENT_TYPE)?.as_bytes();
    let is = |name: &[u8]| {
        kind.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
            && matches!(kind.get(name.len()), None | Some(b'+' | b';'))
    };
    match () {
        () if is(b"application/grpc") => Some(HeaderValue::from_static("application/grpc")),
        () if is(b"application/grpc-web") => Some(HeaderValue::from_static("application/grpc-web")),
        () => None,
    }
}

/// How long a client waits: at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(TIMEOUT)?.as_bytes().split_last()?;
    let sound = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let value: u64 = std::str::from_utf8(digits).ok().filter(|_| sound)?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(value * 3600)),
        b'M' => Some(Duration::from_secs(value * 60)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// The status of a refusal. Where gRPC's `http-grpc-status-mapping.md` would tell a client less than `statuscodes.md`
/// lets a server say - limits, deadlines, what is not there - it is the latter.
fn code(fault: &Fault) -> Code {
    match (fault.reason, fault.status().as_u16()) {
        (Reason::PathNotAllowed, _) | (_, 405) => Code::Unimplemented,
        (_, 404) => Code::NotFound,
        (_, 400 | 500) => Code::Internal,
        (_, 401) => Code::Unauthenticated,
        (_, 403) => Code::PermissionDenied,
        (_, 408 | 504) => Code::DeadlineExceeded,
        (_, 413 | 414 | 429 | 431) => Code::ResourceExhausted,
        (_, 502 | 503) => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Turns a refusal into an answer of gRPC's.
pub(super) fn refusal(fault: &Fault, kind: HeaderValue, head: &mut http::response::Parts, body: &mut Bytes) {
    head.status = StatusCode::OK;
    head.headers.insert(CONTENT_TYPE, kind);
    head.headers.insert(STATUS, HeaderValue::from(code(fault) as u16));
    let message = utf8_percent_encode(&fault.message, ENCODED).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        head.headers.insert(MESSAGE, message);
    }
    body.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (value, kind) in [
            ("application/grpc", Some("application/grpc")),
            ("application/grpc+proto", Some("application/grpc")),
            ("Application/GRPC;x=y", Some("application/grpc")),
            ("application/grpc-web+proto", Some("application/grpc-web")),
            ("application/grpcish", None),
            ("application/json", None),
            ("application/grp", None),
        ] {
            assert_eq!(
                spoken(&fields(CONTENT_TYPE, value)).as_ref().map(|v| v.to_str().unwrap()),
                kind,
                "{value}"
            );
        }
        assert_eq!(spoken(&HeaderMap::new()), None);
    }

    #[test]
    fn a_timeout_is_eight_digits_at_most_and_a_unit() {
        for (value, time) in [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0m", Some(Duration::ZERO)),
            ("123456789m", None),
            ("m", None),
            ("", None),
            ("1", None),
            ("-1S", None),
            ("1.5S", None),
            ("1s", None),
        ] {
            assert_eq!(timeout(&fields(TIMEOUT, value)), time, "{value}");
        }
    }

    #[test]
    fn every_refusal_has_a_status_of_grpcs() {
        for (reason, expected) in [
            (Reason::Malformed, Code::Internal),
            (Reason::MethodNotAllowed, Code::Unimplemented),
            (Reason::EndpointNotFound, Code::NotFound),
            (Reason::DeploymentNotFound, Code::NotFound),
            (Reason::PathNotAllowed, Code::Unimplemented),
            (Reason::CredentialMissing, Code::Unauthenticated),
            (Reason::CredentialRejected, Code::Unauthenticated),
            (Reason::NotAuthorized, Code::PermissionDenied),
            (Reason::TooManyFailures, Code::ResourceExhausted),
            (Reason::PrincipalRate, Code::ResourceExhausted),
            (Reason::BodyTooLarge, Code::ResourceExhausted),
            (Reason::HeadersTooLarge, Code::ResourceExhausted),
            (Reason::InstanceTooSlow, Code::DeadlineExceeded),
            (Reason::ConnectTimedOut, Code::DeadlineExceeded),
            (Reason::ConnectFailed, Code::Unavailable),
            (Reason::NoInstance, Code::Unavailable),
            (Reason::IdentityUnavailable, Code::Unavailable),
            (Reason::Misdirected, Code::Unknown),
            (Reason::Defect, Code::Internal),
        ] {
            assert_eq!(code(&Fault::new(reason)), expected, "{reason:?}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded() {
        let (mut head, ()) = http::Response::new(()).into_parts();
        let fault = Fault::new(Reason::NotAuthorized).message("50 % of größe\n".to_owned());
        let mut body = Bytes::from_static(b"{}");
        refusal(&fault, HeaderValue::from_static("application/grpc"), &mut head, &mut body);
        assert_eq!(head.headers[MESSAGE], "50 %25 of gr%C3%B6%C3%9Fe%0A");
        assert_eq!(
            (head.status, &head.headers[STATUS], body.len()),
            (StatusCode::OK, &HeaderValue::from(7), 0)
        );
    }
}
