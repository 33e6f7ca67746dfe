//! The body of a request on its way to an instance: bounded, paced, counted, without trailers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::replay::Replay;
use crate::mirror::Tee;

/// Why a client's body did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than it may be.
    TooLarge,
    /// Nothing came for too long.
    Stalled,
    /// The client broke off, or what it sent is not sound.
    Broken,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::TooLarge => "the request body is too large",
            BodyError::Stalled => "the request body stopped coming",
            BodyError::Broken => "the request body broke off",
        })
    }
}

impl std::error::Error for BodyError {}

/// What became of a body, for whoever sent it on its way.
#[derive(Debug, Default)]
pub struct BodyFlow {
    bytes: AtomicU64,
    error: AtomicU8,
    turn: Mutex<Turn>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, Default)]
enum Turn {
    /// The client's: more of the body is waited for.
    #[default]
    Client,
    /// The instance's since then: what came was handed on.
    Instance(Instant),
    /// The instance's since then: nothing more comes.
    Ended(Instant),
}

impl BodyFlow {
    /// Of a body that the gateway has whole: only the instance is waited for.
    pub fn of_gateway() -> BodyFlow {
        let flow = BodyFlow::default();
        flow.pass(Turn::Ended(Instant::now()));
        flow
    }

    /// Bytes that passed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When its last byte passed.
    pub fn ended(&self) -> Option<Instant> {
        match *self.turn.lock() {
            Turn::Ended(since) => Some(since),
            Turn::Client | Turn::Instance(_) => None,
        }
    }

    /// Since when it is the instance that is waited for; `None` while it is the client.
    pub fn instance_since(&self) -> Option<Instant> {
        match *self.turn.lock() {
            Turn::Instance(since) | Turn::Ended(since) => Some(since),
            Turn::Client => None,
        }
    }

    fn pass(&self, turn: Turn) {
        *self.turn.lock() = turn;
    }

    /// Why it did not come to its end.
    pub fn error(&self) -> Option<BodyError> {
        match self.error.load(Ordering::Relaxed) {
            1 => Some(BodyError::TooLarge),
            2 => Some(BodyError::Stalled),
            3 => Some(BodyError::Broken),
            _ => None,
        }
    }

    fn fail(&self, error: BodyError) -> BodyError {
        let code = match error {
            BodyError::TooLarge => 1,
            BodyError::Stalled => 2,
            BodyError::Broken => 3,
        };
        self.error.store(code, Ordering::Relaxed);
        error
    }
}

/// Where a body comes from.
#[derive(Debug)]
enum From {
    /// It is empty by itself.
    Nothing,
    /// A client.
    Client(Incoming),
    /// What was kept of another body.
    Kept(Option<Bytes>),
    /// Another body, which can be sent once more.
    Again(Replay),
}

/// A client's body, passed on unread.
#[derive(Debug)]
pub struct RequestBody {
    from: From,
    flow: Arc<BodyFlow>,
    /// Keeps what passes.
    tee: Option<Tee>,
    left: u64,
    pace: Duration,
    /// Made at the first wait, and set again only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client is waited for.
    last: Option<Instant>,
}

impl RequestBody {
    /// Passes on at most `limit` bytes, the next of which comes within `pace`.
    pub fn new(from: Incoming, limit: u64, pace: Duration) -> (RequestBody, Arc<BodyFlow>) {
        let flow = Arc::new(BodyFlow::default());
        // Until it is asked for, it is the instance that is waited for; nobody asks for a body that is empty.
        let now = Instant::now();
        flow.pass(if from.is_end_stream() { Turn::Ended(now) } else { Turn::Instance(now) });
        let from = From::Client(from);
        (
            RequestBody { from, flow: flow.clone(), tee: None, left: limit, pace, timer: None, last: None },
            flow,
        )
    }

    /// Nothing.
    pub fn empty() -> RequestBody {
        RequestBody::of(From::Nothing)
    }

    /// What was kept of another body.
    pub fn kept(bytes: Bytes) -> RequestBody {
        RequestBody::of(From::Kept(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The same body, with its first so many bytes kept so that it can be sent once more while no more than those have
    /// passed. An empty one needs nothing kept.
    #[must_use]
    pub fn replayable(self, most: usize) -> (RequestBody, Option<Replay>) {
        if self.is_end_stream() {
            return (self, None);
        }
        let replay = Replay::new(self, most);
        (RequestBody::again(replay.clone()), Some(replay))
    }

    pub(super) fn again(replay: Replay) -> RequestBody {
        RequestBody::of(From::Again(replay))
    }

    /// Whether it broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.flow.error().is_some()
    }

    fn of(from: From) -> RequestBody {
        let (flow, pace) = (Arc::default(), Duration::ZERO);
        RequestBody { from, flow, tee: None, left: 0, pace, timer: None, last: None }
    }

    /// The same body, kept as it passes. One that nobody will ask for has passed already.
    #[must_use]
    pub fn through(self, mut tee: Tee) -> RequestBody {
        if self.is_end_stream() {
            tee.end();
        }
        RequestBody { tee: Some(tee), ..self }
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let pace = self.pace;
        let now = Instant::now();
        let last = *self.last.get_or_insert(now);
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until((last + pace).into())));
        loop {
            ready!(timer.as_mut().poll(cx));
            let due = last + pace;
            if Instant::now() >= due {
                return Poll::Ready(BodyError::Stalled);
            }
            timer.as_mut().reset(due.into());
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        loop {
            let from = match &mut body.from {
                From::Nothing => return Poll::Ready(None),
                From::Kept(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
                From::Again(replay) => return replay.poll_frame(cx),
                From::Client(from) => from,
            };
            let frame = match Pin::new(from).poll_frame(cx) {
                Poll::Pending => {
                    body.flow.pass(Turn::Client);
                    let error = ready!(body.wait(cx));
                    return Poll::Ready(Some(Err(body.flow.fail(error))));
                }
                Poll::Ready(frame) => frame,
            };
            body.last = None;
            let data = match frame {
                None => {
                    body.flow.pass(Turn::Ended(Instant::now()));
                    body.tee.iter_mut().for_each(Tee::end);
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(body.flow.fail(BodyError::Broken)))),
                // A client's trailers could pass for headers at the instance.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
            };
            let length = data.len() as u64;
            let Some(left) = body.left.checked_sub(length) else {
                return Poll::Ready(Some(Err(body.flow.fail(BodyError::TooLarge))));
            };
            body.left = left;
            body.flow.bytes.fetch_add(length, Ordering::Relaxed);
            let (now, ended) = (Instant::now(), body.is_end_stream());
            body.flow.pass(if ended { Turn::Ended(now) } else { Turn::Instance(now) });
            if let Some(tee) = &mut body.tee {
                tee.pass(&data);
                if ended {
                    tee.end();
                }
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Nothing => true,
            From::Client(from) => from.is_end_stream(),
            From::Kept(bytes) => bytes.is_none(),
            From::Again(replay) => replay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            From::Nothing => SizeHint::with_exact(0),
            From::Client(from) => from.size_hint(),
            From::Kept(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            From::Again(replay) => replay.size_hint(),
        }
    }
}
