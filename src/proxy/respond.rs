//! The heads of answers: the gateway's own, and an instance's on its way back, each in the manner of its client.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;

use super::cors::Sharing;
use super::grpc;
use super::headers::{
    CLIENT_REQUEST_ID, DEPLOYMENT, ERROR_REASON, ERROR_STATUS, MS_REQUEST_ID, REQUEST_ID, towards_client,
};
use super::jobs::{self, JobAnswer};
use crate::gate::fault::Fault;
use crate::settings::ModelErrors;
use crate::telemetry::record::Record;

/// How a client wants to be answered.
#[derive(Debug, Default)]
pub(super) struct Manner {
    /// The kind of gRPC that it speaks.
    pub(super) grpc: Option<HeaderValue>,
    /// Who else may read it, on an endpoint that has rules about that.
    pub(super) sharing: Option<Sharing>,
}

impl Manner {
    /// As a request's head tells.
    pub(super) fn of(headers: &HeaderMap) -> Manner {
        Manner { grpc: grpc::spoken(headers), sharing: None }
    }
}

fn identify(headers: &mut HeaderMap, record: &Record) {
    headers.insert(REQUEST_ID, record.request_id.clone());
    headers.insert(MS_REQUEST_ID, record.request_id.clone());
    if let Some(id) = &record.client_request_id {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
    if let Some(name) = &record.deployment {
        headers.insert(DEPLOYMENT, name.clone());
    }
}

/// The gateway's own answer, in Azure's error shape, or in gRPC's. The record keeps the status of the table.
pub(super) fn refusal(fault: &Fault, manner: &Manner, record: &mut Record) -> (http::response::Parts, Bytes) {
    let status = fault.status();
    record.status = Some(status);
    record.reason = Some(fault.reason.label());
    record.detail = fault.detail;
    record.claimed.clone_from(&fault.claimed);
    let body = serde_json::json!({ "error": { "code": fault.reason.code(), "message": fault.message } });
    let mut body = Bytes::from(body.to_string());
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    let headers = &mut head.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_REASON, HeaderValue::from_static(fault.reason.label()));
    if let Some(seconds) = fault.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = fault.challenge.as_ref().and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if fault.close && record.version < http::Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(sharing) = &manner.sharing {
        sharing.tell(headers);
    }
    identify(headers, record);
    if let Some(kind) = &manner.grpc {
        grpc::refusal(fault, kind.clone(), &mut head, &mut body);
    }
    (head, body)
}

/// The gateway's word about what a page may send.
pub(super) fn preflight(mut head: http::response::Parts, record: &mut Record) -> http::response::Parts {
    record.status = Some(head.status);
    record.detail = Some("preflight");
    identify(&mut head.headers, record);
    head
}

/// What became of a job that was asked for.
pub(super) fn told(answer: &JobAnswer, record: &mut Record) -> (http::response::Parts, Bytes) {
    let (mut head, body) = jobs::answered(answer);
    (record.status, record.reason) = (Some(answer.status), answer.reason);
    if let Some(reason) = answer.reason {
        head.headers.insert(ERROR_REASON, HeaderValue::from_static(reason));
    }
    identify(&mut head.headers, record);
    (head, body)
}

/// The answer to a handshake that the instance accepted.
pub(super) fn switched(fields: HeaderMap, record: &mut Record) -> http::response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.headers = fields;
    identify(&mut head.headers, record);
    (record.model_status, record.status) = (Some(head.status), Some(head.status));
    head
}

/// An instance's answer as the client gets it.
pub(super) fn answer(
    response: Response<Incoming>,
    errors: ModelErrors,
    manner: &Manner,
    record: &mut Record,
) -> (http::response::Parts, Incoming) {
    let (mut head, body) = response.into_parts();
    let status = head.status;
    record.model_status = Some(status);
    towards_client(&mut head.headers);
    let failed = match errors {
        ModelErrors::Passthrough => status.is_client_error() || status.is_server_error(),
        ModelErrors::FailedDependency => status != StatusCode::OK,
    };
    if failed {
        head.headers.insert(ERROR_STATUS, HeaderValue::from(status.as_u16()));
        head.headers.insert(ERROR_REASON, HeaderValue::from_static("model_error"));
        if errors == ModelErrors::FailedDependency {
            head.status = StatusCode::FAILED_DEPENDENCY;
        }
    }
    head.version = http::Version::default();
    if let Some(sharing) = &manner.sharing {
        sharing.tell(&mut head.headers);
    }
    identify(&mut head.headers, record);
    record.status = Some(head.status);
    (head, body)
}
