//! Streams of HTTP/2 whose clients take nothing: each ends by itself, and the others of its connection go on.
//!
//! A client closes a stream's window and keeps the stream, an answer and an instance's connection for nothing. The socket
//! tells nothing of it. What does is the answer's body: it is not asked for more once a piece was handed out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use tokio::time::Sleep;

/// Bytes that are handed out at a time: a client that takes less than this in its time takes nothing. It is what fits
/// into a frame, so that no frame is made smaller.
const PIECE: usize = 16 * 1024;

/// Since when a stream's client has to take what was handed out.
type Since = Arc<Mutex<Option<Instant>>>;

tokio::task_local! {
    static SINCE: Since;
}

/// Works on the streams of a connection.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// The longest that a client may take nothing of an answer.
    pub(super) stall: Duration,
    /// Counts those that do.
    pub(super) slow_client: IntCounterVec,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let since = Since::default();
        let watched =
            Watched { stream: Box::pin(stream), since: since.clone(), streams: self.clone(), timer: None };
        tokio::spawn(SINCE.scope(since, watched));
    }
}

/// A stream that is dropped, which resets it, once its client has taken nothing for too long.
struct Watched<F> {
    stream: Pin<Box<F>>,
    since: Since,
    streams: Streams,
    /// Made at the first wait for the client, and set again only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let watched = self.get_mut();
        if watched.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(since) = *watched.since.lock() else { return Poll::Pending };
            let due = since + watched.streams.stall;
            let timer = watched.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                watched.streams.slow_client.with_label_values(&["write"]).inc();
                return Poll::Ready(());
            }
            timer.as_mut().reset(due.into());
        }
    }
}

/// The body of an answer that goes out in pieces and notes whose turn it is.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    /// What came with the last piece.
    rest: Bytes,
    since: Option<Since>,
}

impl<B> Paced<B> {
    /// Of the stream that is worked on.
    pub(super) fn new(body: B) -> Paced<B> {
        Paced { body, rest: Bytes::new(), since: SINCE.try_with(Clone::clone).ok() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let paced = self.get_mut();
        let frame = if paced.rest.is_empty() {
            Pin::new(&mut paced.body).poll_frame(cx)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut paced.rest)))))
        };
        if let Some(since) = &paced.since {
            *since.lock() = matches!(frame, Poll::Ready(Some(_))).then(Instant::now);
        }
        frame.map_ok(|frame| {
            frame.map_data(|mut data| {
                paced.rest = data.split_off(data.len().min(PIECE));
                data
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first piece.
        self.body.size_hint()
    }
}
