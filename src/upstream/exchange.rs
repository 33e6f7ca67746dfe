//! One request and its answer over one connection.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::sync::Notify;

use super::body::RequestBody;

/// How an exchange failed.
#[derive(Debug)]
pub enum SendError {
    /// Nothing of the request was written; here it is back.
    NotSent(Box<Request<RequestBody>>),
    /// The instance says that it did not and will not process it: it refused the stream, or takes its leave without it.
    Refused,
    /// The connection broke before the head of the response was whole; the instance may have seen the request.
    Broken,
    /// The instance answered something that is not sound HTTP.
    Protocol,
    /// The client's own body broke off.
    RequestBody,
}

/// A connection that requests can be sent on: the only way from the gateway to an instance.
///
/// Dropping the future of [`send`](Exchange::send) cancels the request: on HTTP/1.1 by closing the connection,
/// on HTTP/2 by resetting its stream.
pub trait Exchange {
    /// Sends a request and gives the head of the response with its body still to come.
    fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + Send;
    /// Whether another request may be sent now.
    fn is_ready(&self) -> bool;
    /// Whether the connection is over.
    fn is_closed(&self) -> bool;
}

fn failed(mut error: hyper::client::conn::TrySendError<Request<RequestBody>>) -> SendError {
    if let Some(request) = error.take_message() {
        return SendError::NotSent(Box::new(request));
    }
    let error = error.into_error();
    let http2 = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    if http2.is_some_and(is_refusal) {
        SendError::Refused
    } else if http2.is_some_and(h2::Error::is_library) {
        // Our parser found what the instance said unsound.
        SendError::Protocol
    } else if error.is_user() {
        SendError::RequestBody
    } else if error.is_parse() {
        SendError::Protocol
    } else {
        SendError::Broken
    }
}

/// Whether an HTTP/2 instance says that it did not process a request (RFC 9113 section 8.7). Of its GOAWAY the parser tells
/// only the streams behind the last one that it names.
fn is_refusal(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// Refuses an answer that could be read in two ways, that was not asked for, or that has no status.
/// The parser is content with more than a client may be shown.
fn sound(response: Response<Incoming>) -> Result<Response<Incoming>, SendError> {
    let (mut lengths, mut codings) = (
        response.headers().get_all(CONTENT_LENGTH).iter(),
        response.headers().get_all(TRANSFER_ENCODING).iter(),
    );
    let framed = match (lengths.next(), codings.next()) {
        (None, None) => true,
        (Some(length), None) => !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit),
        (None, Some(coding)) => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked") && response.version() == Version::HTTP_11
        }
        (Some(_), Some(_)) => false,
    };
    let once = lengths.next().is_none() && codings.next().is_none();
    // A 101 was not asked for, and what is above 599 is no status.
    let answers = (200..600).contains(&response.status().as_u16());
    if framed && once && answers { Ok(response) } else { Err(SendError::Protocol) }
}

/// The most interim answers (1xx) that come before an answer; none of them goes on to the client.
const INTERIM: u32 = 16;

/// Gives up on an instance that only ever announces its answer.
async fn within_interim<T>(
    mut request: Request<RequestBody>,
    send: impl AsyncFnOnce(Request<RequestBody>) -> Result<T, SendError>,
) -> Result<T, SendError> {
    let too_many = Arc::new((AtomicU32::new(0), Notify::new()));
    let told = too_many.clone();
    hyper::ext::on_informational(&mut request, move |_| {
        if told.0.fetch_add(1, Ordering::Relaxed) >= INTERIM {
            told.1.notify_one();
        }
    });
    let result = tokio::select! {
        biased;
        result = send(request) => result,
        () = too_many.1.notified() => Err(SendError::Protocol),
    };
    if too_many.0.load(Ordering::Relaxed) > INTERIM { Err(SendError::Protocol) } else { result }
}

/// Asks for another protocol. A 101 is whose it is to check; any other answer is one like every other.
pub(super) async fn ask(
    handle: &mut http1::SendRequest<RequestBody>,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, SendError> {
    let response = handle.try_send_request(request).await.map_err(failed)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS { Ok(response) } else { sound(response) }
}

impl Exchange for http1::SendRequest<RequestBody> {
    async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let sending = async |request| self.try_send_request(request).await.map_err(failed).and_then(sound);
        within_interim(request, sending).await
    }
    fn is_ready(&self) -> bool {
        http1::SendRequest::is_ready(self)
    }
    fn is_closed(&self) -> bool {
        http1::SendRequest::is_closed(self)
    }
}

impl Exchange for http2::SendRequest<RequestBody> {
    async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        self.try_send_request(request).await.map_err(failed).and_then(sound)
    }
    fn is_ready(&self) -> bool {
        http2::SendRequest::is_ready(self)
    }
    fn is_closed(&self) -> bool {
        http2::SendRequest::is_closed(self)
    }
}
