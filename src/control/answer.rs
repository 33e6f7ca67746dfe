//! Answers of the control plane: JSON always, ARM's envelope for what is refused.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use serde_json::Value;

use super::etag::{NotAnEtag, etag};
use crate::arm::envelope::{ErrorBody, ErrorDetail};
use crate::net::conn::Note;
use crate::operations::Refusal;

/// What an operation answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    body: Option<Value>,
    revision: Option<u64>,
}

impl Reply {
    /// A view.
    pub(super) fn ok(view: impl Serialize) -> Result<Reply, ApiError> {
        Reply::with(StatusCode::OK, view)
    }

    /// A view under a status of its own.
    pub(super) fn with(status: StatusCode, view: impl Serialize) -> Result<Reply, ApiError> {
        let body = serde_json::to_value(view).map_err(|_| Refusal::Defect)?;
        Ok(Reply { status, body: Some(body), revision: None })
    }

    /// No body.
    pub(super) fn empty(status: StatusCode) -> Reply {
        Reply { status, body: None, revision: None }
    }

    /// With the etag of a revision, if it has one.
    pub(super) fn tagged(self, revision: impl Into<Option<u64>>) -> Reply {
        Reply { revision: revision.into(), ..self }
    }
}

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) detail: Box<ErrorDetail>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> ApiError {
        ApiError { status, detail: Box::new(ErrorDetail::new(code, message)), headers: Vec::new() }
    }

    /// 400.
    pub(super) fn bad(code: &str, message: impl Into<String>, target: Option<&str>) -> ApiError {
        let mut error = ApiError::new(StatusCode::BAD_REQUEST, code, message);
        error.detail.target = target.map(str::to_owned);
        error
    }

    /// With a header.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> ApiError {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }
}

impl From<NotAnEtag> for ApiError {
    fn from(NotAnEtag(name): NotAnEtag) -> ApiError {
        ApiError::bad("InvalidPrecondition", format!("{name} holds no etag, nor *"), Some(name))
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        if let Refusal::Unavailable(why) = &refusal {
            tracing::warn!(%why, "an operation was refused because the store does not answer");
        }
        let (status, detail) = (refusal.status(), Box::new(refusal.detail()));
        let error = ApiError { status, detail, headers: Vec::new() };
        match status {
            StatusCode::SERVICE_UNAVAILABLE => error.header(RETRY_AFTER, "1"),
            StatusCode::TOO_MANY_REQUESTS => error.header(RETRY_AFTER, "10"),
            _ => error,
        }
    }
}

/// The body of an answer; its connection knows of the request until it is gone.
#[derive(Debug)]
pub struct Answer {
    bytes: Option<Bytes>,
    _note: Note,
}

impl Answer {
    /// Makes the response to a request that the connection has this note about.
    pub(super) fn response(
        result: Result<Reply, ApiError>,
        request_id: &HeaderValue,
        client_request_id: Option<HeaderValue>,
        note: Note,
    ) -> Response<Answer> {
        let (status, body, revision, headers) = match result {
            Ok(reply) => (reply.status, reply.body.map(|body| body.to_string()), reply.revision, Vec::new()),
            Err(error) => {
                let body = serde_json::to_string(&ErrorBody { error: *error.detail }).unwrap_or_default();
                (error.status, Some(body), None, error.headers)
            }
        };
        let bytes = body.filter(|body| !body.is_empty()).map(Bytes::from);
        let has_body = bytes.is_some();
        let mut response = Response::new(Answer { bytes, _note: note });
        *response.status_mut() = status;
        let fields = response.headers_mut();
        if has_body {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        for name in ["x-ms-request-id", "x-ms-correlation-request-id"] {
            fields.insert(name, request_id.clone());
        }
        if let Some(id) = client_request_id {
            fields.insert("x-ms-client-request-id", id);
        }
        if let Some(tag) = revision.and_then(|revision| HeaderValue::try_from(etag(revision)).ok()) {
            fields.insert(ETAG, tag);
        }
        fields.extend(headers);
        response
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
