//! One request to the control plane, step by step.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use uuid::Uuid;

use super::Control;
use super::answer::{Answer, ApiError, Reply};
use super::call::Call;
use super::route::{self, Lost, Matched, Path};
use super::table::{Access, At, Operation};
use crate::net::conn::Conn;
use crate::net::framing::Violation;
use crate::net::serve::Service;
use crate::operations::Refusal;

/// Bytes of the body of an operation that needs no right.
const SMALL_BODY: usize = 64 * 1024;
/// Bytes of a body that is too large, and time for them, that are read before it is refused.
const DRAINED: usize = 8 << 20;
const DRAINING: Duration = Duration::from_secs(2);

impl Service for Control {
    type Body = Answer;

    async fn answer(self: &Arc<Self>, conn: &Arc<Conn>, request: Request<Incoming>) -> Response<Answer> {
        let began = Instant::now();
        let violation = conn.begin();
        let note = conn.limit(self.bounds.total);
        let (head, body) = request.into_parts();
        let id = Uuid::new_v4().to_string();
        let mut told = Told { id, client: conn.peer.ip(), operation: None, principal: None, scope: None };
        let steps = self.steps(&head, body, violation, &mut told);
        let result = AssertUnwindSafe(steps).catch_unwind().await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Err(Refusal::Defect.into())
        });
        let status = match &result {
            Ok(reply) => reply.status,
            Err(error) => error.status,
        };
        told.write(self, &head, status, &result, began);
        let request_id = HeaderValue::try_from(&told.id).unwrap_or(HeaderValue::from_static("-"));
        let client_request_id =
            head.headers.get("x-ms-client-request-id").filter(|id| id.len() <= 128).cloned();
        Answer::response(result, &request_id, client_request_id, note)
    }
}

/// What the log says about a request.
#[derive(Debug)]
struct Told {
    id: String,
    client: IpAddr,
    operation: Option<&'static str>,
    principal: Option<String>,
    scope: Option<String>,
}

impl Told {
    fn write(
        &self,
        control: &Control,
        head: &Parts,
        status: StatusCode,
        result: &Result<Reply, ApiError>,
        began: Instant,
    ) {
        let operation = self.operation.unwrap_or("none");
        let seconds = began.elapsed().as_secs_f64();
        let class = format!("{}xx", status.as_u16() / 100);
        control.metrics.operations.with_label_values(&[operation, &class]).inc();
        control.metrics.operation_duration.with_label_values(&[operation]).observe(seconds);
        let code = result.as_ref().err().map(|error| error.detail.code.as_str());
        let path: String = head.uri.path().chars().take(1024).collect();
        tracing::info!(
            log = "control",
            request_id = self.id,
            method = %head.method,
            path,
            operation,
            principal = self.principal.as_deref(),
            scope = self.scope.as_deref(),
            status = status.as_u16(),
            code,
            client = %self.client,
            duration_ms = seconds * 1000.0,
        );
    }
}

impl Control {
    async fn steps(
        &self,
        head: &Parts,
        body: Incoming,
        violation: Option<Violation>,
        told: &mut Told,
    ) -> Result<Reply, ApiError> {
        if let Some(violation) = violation {
            return Err(refused(violation));
        }
        let path = Path::parse(head.uri.path());
        let found = path.clone().and_then(|path| route::find(&head.method, &path));
        told.operation = found.as_ref().ok().map(|found| found.operation.id);
        if let Ok(Matched { operation, params }) = &found
            && let Access::Public(handler) = &operation.access
        {
            let path = path.map_err(|_| lost(&Lost::Malformed))?;
            let call = Call::parse(head, path, params.clone())?;
            return handler(self, &call);
        }

        // Nobody learns what is there and what is not before he has said who he is.
        let scoring = found.as_ref().is_ok_and(|found| found.operation.scoring);
        let caller = self.authenticate(&head.headers, told.client, scoring).await?;
        told.principal = Some(caller.object_id.to_string());
        let Matched { operation, params } = found.map_err(|why| lost(&why))?;
        let path = path.map_err(|why| lost(&why))?;
        let busy = || {
            let message = "the control plane works on as many operations as it may; try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", message).header(RETRY_AFTER, "1")
        };
        let _place = self.places.take(caller.object_id).ok_or_else(busy)?;
        let mut call = Call::parse(head, path, params)?;
        call.check_version()?;
        let asker = self.operations.asker(caller, told.id.clone(), told.client).await;
        match &operation.access {
            Access::Public(handler) => handler(self, &call),
            Access::Anyone(handler) => {
                self.take_body(&mut call, operation, head, body).await?;
                Ok(handler(self, &call, asker).await?)
            }
            Access::Granted { action, at, handler } => {
                let scope = at.scope(&call)?;
                told.scope = Some(scope.to_string());
                let recorded = call.method != Method::GET;
                // Whoever may not do it need not send what he would do it with.
                let (result, granted) = match self.operations.authorize(asker.clone(), action, scope.clone())
                {
                    Ok(granted) => {
                        self.take_body(&mut call, operation, head, body).await?;
                        (handler(self, &call, granted).await, true)
                    }
                    Err(refusal) => (Err(Failed::Refused(refusal)), false),
                };
                drop(call);
                let failed = match result {
                    Ok(reply) => return Ok(reply),
                    Err(failed) => failed,
                };
                if let (true, Failed::Refused(refusal)) = (recorded, &failed) {
                    self.operations.record_refusal(&asker, action, &scope, (refusal, granted)).await?;
                }
                Err(failed.into())
            }
        }
    }

    /// Reads the body of an operation that takes one.
    async fn take_body(
        &self,
        call: &mut Call,
        operation: &Operation,
        head: &Parts,
        body: Incoming,
    ) -> Result<(), ApiError> {
        if operation.body.is_some() {
            // What nobody needs a right for needs no more than a token and a few words.
            let small = matches!(operation.access, Access::Anyone(_));
            let most = if small { self.bounds.body.min(SMALL_BODY) } else { self.bounds.body };
            let bytes = self.body(head, body, most).await?;
            call.set_body(&bytes)?;
        }
        Ok(())
    }

    async fn body(&self, head: &Parts, body: Incoming, most: usize) -> Result<Bytes, ApiError> {
        let too_large = || {
            let message = format!("the body is larger than {most} bytes");
            let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message);
            error.header(CONNECTION, "close")
        };
        let length =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > most) {
            drain(body).await;
            return Err(too_large());
        }
        match tokio::time::timeout(self.bounds.time, Limited::new(body, most).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(ApiError::bad("BadRequest", "the body broke off or is not sound", None)),
            Err(_) => {
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the body stopped coming")
                    .header(CONNECTION, "close"))
            }
        }
    }
}

/// Reads what a client goes on sending, for a while and up to a bound: one whose connection ends while it sends does
/// not see why.
async fn drain(mut body: Incoming) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DRAINED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAINING, reading).await;
}

/// Why a handler did not do it.
#[derive(Debug)]
pub(super) enum Failed {
    /// The operation was refused.
    Refused(Refusal),
    /// Something about the request was wrong before there was an operation.
    Request(ApiError),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed::Refused(refusal)
    }
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Failed {
        Failed::Request(error)
    }
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> ApiError {
        match failed {
            Failed::Refused(refusal) => refusal.into(),
            Failed::Request(error) => error,
        }
    }
}

impl At {
    fn scope(self, call: &Call) -> Result<crate::model::scope::Scope, ApiError> {
        let found = match self {
            At::Target => call.path.scope(0, 0),
            At::Above(segments) => call.path.scope(0, segments),
            At::Behind(before, after) => call.path.scope(before, after),
            At::Scope => call.params.scope.clone(),
        };
        found.ok_or_else(|| ApiError::bad("InvalidResourceId", "the path is no resource id", Some("id")))
    }
}

fn refused(violation: Violation) -> ApiError {
    let (status, code, message) = match violation {
        Violation::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequest", "the request is malformed"),
        Violation::LineTooLong => (StatusCode::URI_TOO_LONG, "UriTooLong", "the request line is too long"),
        Violation::FieldsTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "RequestHeaderFieldsTooLarge",
            "the request's header fields are too large or too many",
        ),
    };
    ApiError::new(status, code, message).header(CONNECTION, "close")
}

fn lost(why: &Lost) -> ApiError {
    match why {
        Lost::Malformed => ApiError::bad("BadRequest", "the path has no single reading", None),
        Lost::Nothing => ApiError::new(
            StatusCode::NOT_FOUND,
            "InvalidResourceType",
            "no resource type or operation has this path; /openapi.json lists those there are",
        ),
        Lost::OtherMethod(methods) => {
            let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("the resource has no such method; it has {names}");
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).header(ALLOW, &names)
        }
    }
}
