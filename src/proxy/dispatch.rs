//! Sending a request to an instance, once more elsewhere if nothing of it was processed.

use std::time::{Duration, Instant};

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::worker;
use crate::gate::admit::Pass;
use crate::gate::fault::{Fault, Reason};
use crate::model::backend::HttpVersion;
use crate::telemetry::record::Record;
use crate::upstream::{
    BodyError, BodyFlow, ConnectError, ExchangeError, Instance, Replay, RequestBody, SendError,
};

/// The most times that a request is sent in all.
const TRIES: u32 = 3;

/// What bounds the wait for an answer.
pub(super) struct Bounds<'a> {
    /// The instance's time to begin it.
    pub(super) first_byte: Duration,
    /// It is less than the deployment gives its instances, because the client says so.
    pub(super) hurried: bool,
    /// The request's body: the instance's time runs while it is not the client who is waited for.
    pub(super) flow: &'a BodyFlow,
    /// The end of the whole request.
    pub(super) latest: Instant,
    /// Bytes of its body that are kept for sending it once more.
    pub(super) replay: usize,
}

/// What it takes to send a request once more.
struct Again {
    head: Parts,
    /// It changes nothing, and has no body: it may be sent again even if it was seen.
    safe: bool,
    /// What was kept of its body, if it has one.
    body: Option<Replay>,
}

impl Again {
    /// Keeps what it takes, if it can be had cheaply. With HTTP/2 an instance can say of any request that it did not process it.
    fn keep(
        head: &Parts,
        body: RequestBody,
        version: HttpVersion,
        most: usize,
    ) -> (RequestBody, Option<Again>) {
        let safe = head.method.is_safe() && body.is_end_stream();
        if version == HttpVersion::Http2 {
            let (body, kept) = body.replayable(most);
            (body, Some(Again { head: head.clone(), safe, body: kept }))
        } else {
            (body, safe.then(|| Again { head: head.clone(), safe, body: None }))
        }
    }

    /// The request, whole.
    fn request(&mut self) -> Option<Request<RequestBody>> {
        let body = match &mut self.body {
            Some(kept) => kept.rewind()?,
            None => RequestBody::empty(),
        };
        Some(Request::from_parts(self.head.clone(), body))
    }
}

impl Bounds<'_> {
    /// Whether the whole request has taken too long.
    fn is_over(&self) -> bool {
        Instant::now() >= self.latest
    }

    /// What is waited for, if it comes in time; a client that is slow to send does not use up the instance's time.
    async fn keep<T>(&self, sending: impl Future<Output = T>) -> Option<T> {
        let time = self.first_byte;
        let mut sending = std::pin::pin!(sending);
        let begun = Instant::now();
        let mut due = (begun + time).min(self.latest);
        loop {
            if let Ok(result) = tokio::time::timeout_at(due.into(), sending.as_mut()).await {
                return Some(result);
            }
            let now = Instant::now();
            due = (self.flow.instance_since().unwrap_or(now).max(begun) + time).min(self.latest);
            if due <= now {
                return None;
            }
        }
    }
}

/// Sends a request and gives the head of the answer with the pass for the instance that it came from.
///
/// Dropping the future cancels the request at the instance.
pub(super) async fn dispatch(
    mut pass: Pass,
    head: Parts,
    body: RequestBody,
    target: &PathAndQuery,
    bounds: &Bounds<'_>,
    record: &mut Record,
) -> Result<(Response<Incoming>, Pass), Fault> {
    let deployment = pass.deployment().clone();
    let (body, mut again) = Again::keep(&head, body, deployment.http_version, bounds.replay);
    let streamed = !body.is_end_stream() && body.size_hint().exact().is_none();
    let mut request = Request::from_parts(head, body);
    if streamed && deployment.http_version == HttpVersion::Http1 {
        // Else a body of unknown length would be left out where a method seldom has one.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    deployment.retries.earn();
    for attempt in 1..=TRIES {
        let instance = pass.instance().clone();
        address(&mut request, &instance, target);
        let sent = Instant::now();
        record.sent = Some(sent);
        let sending = instance.send(worker::index(), request);
        let (reason, back) = match bounds.keep(sending).await {
            Some(Ok(response)) => {
                deployment.fleet.answered(&instance, sent.elapsed(), response.status());
                again.iter().filter_map(|again| again.body.as_ref()).for_each(Replay::settle);
                return Ok((response, pass));
            }
            Some(Err(error)) => outcome(error, again.as_mut()),
            None if bounds.is_over() => (Reason::RequestTooLong, None),
            None => (Reason::InstanceTooSlow, None),
        };
        // Nor is an instance to blame for a client's own haste.
        let hurried = bounds.hurried && reason == Reason::InstanceTooSlow;
        if is_the_instance(reason) && !hurried && bounds.flow.error().is_none() {
            deployment.fleet.failed(&instance);
        }
        match back {
            Some(back) if attempt < TRIES && deployment.retries.spend() => request = back,
            _ => return Err(reason.into()),
        }
        pass.move_on();
        deployment.metrics.retries.inc();
    }
    Err(Reason::ConnectionBroken.into())
}

/// Addresses a request to an instance, in the form that its HTTP version wants.
pub(super) fn address(request: &mut Request<RequestBody>, instance: &Instance, target: &PathAndQuery) {
    *request.uri_mut() = instance.target(target.clone());
    match instance.version {
        HttpVersion::Http1 => {
            *request.version_mut() = Version::HTTP_11;
            request.headers_mut().insert(HOST, instance.host.clone());
        }
        HttpVersion::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
        }
    }
}

/// What a failed exchange is called, and the request if it may be sent again: nothing of it was processed, or `again`
/// says that it changes nothing.
fn outcome(error: ExchangeError, again: Option<&mut Again>) -> (Reason, Option<Request<RequestBody>>) {
    match error {
        ExchangeError::Connect(ConnectError::Failed, back) => (Reason::ConnectFailed, Some(*back)),
        ExchangeError::Connect(ConnectError::TimedOut, back) => (Reason::ConnectTimedOut, Some(*back)),
        ExchangeError::Send(SendError::NotSent(back)) => (Reason::ConnectionBroken, Some(*back)),
        ExchangeError::Send(SendError::Refused) => (Reason::ConnectionBroken, again.and_then(Again::request)),
        ExchangeError::Send(SendError::Broken) => {
            let safe = again.filter(|again| again.safe);
            (Reason::ConnectionBroken, safe.and_then(Again::request))
        }
        ExchangeError::Send(SendError::Protocol) => (Reason::InstanceProtocol, None),
        ExchangeError::Send(SendError::RequestBody) => (Reason::BodyBroken, None),
    }
}

/// Whether a failure speaks against the instance.
fn is_the_instance(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectFailed
            | Reason::ConnectTimedOut
            | Reason::ConnectionBroken
            | Reason::InstanceProtocol
            | Reason::InstanceTooSlow
    )
}

/// What the client's own body has to say about a failure, which then was not the instance's.
pub(super) fn blame(fault: Fault, flow: &BodyFlow) -> Fault {
    match flow.error() {
        Some(BodyError::TooLarge) => Fault::new(Reason::BodyTooLarge).close(),
        Some(BodyError::Stalled) => Fault::new(Reason::BodyStalled).close(),
        Some(BodyError::Broken) => Fault::new(Reason::BodyBroken).close(),
        None => fault,
    }
}
