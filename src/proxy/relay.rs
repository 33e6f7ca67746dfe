//! The answer's way back: the instance's bytes as they come, under two clocks, with the request's record.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::headers::trailers_towards_client;
use super::mirror::Watch;
use crate::gate::admit::Pass;
use crate::net::conn::Note;
use crate::telemetry::record::Record;
use crate::upstream::BodyFlow;

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of an answer. The request lives as long as it does.
#[derive(Debug)]
pub struct Answer {
    from: From,
    record: Box<Record>,
    _note: Note,
}

#[derive(Debug)]
enum From {
    /// The gateway's own words.
    Gateway(Option<Bytes>),
    /// An instance.
    Instance(Box<Relay>),
}

/// What an instance's answer holds until it is through.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) body: Incoming,
    /// The place at the instance; freed when the answer is through.
    pub(super) pass: Pass,
    pub(super) flow: Arc<BodyFlow>,
    /// Time without a byte.
    pub(super) idle: Duration,
    /// The end of the whole request.
    pub(super) deadline: Instant,
    /// Made at the first wait, and set again only when it fires.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) last: Instant,
    /// It is the instance that is waited for.
    pub(super) waits: bool,
    pub(super) ended: bool,
    /// It did not come to its end.
    pub(super) broken: bool,
    /// Tells a copy of the request how it was answered.
    pub(super) watch: Option<Watch>,
}

impl Relay {
    /// Which clock has run out, once one has.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        if !self.waits {
            self.waits = true;
            self.last = Instant::now();
        }
        loop {
            let due = (self.last + self.idle).min(self.deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return None;
            }
            if Instant::now() >= due {
                return Some(if due == self.deadline { "total_timeout" } else { "idle_timeout" });
            }
            timer.as_mut().reset(due.into());
        }
    }
}

impl Answer {
    pub(super) fn of_gateway(body: Bytes, mut record: Box<Record>, note: Note) -> Answer {
        record.response_bytes = body.len() as u64;
        Answer { from: From::Gateway((!body.is_empty()).then_some(body)), record, _note: note }
    }

    pub(super) fn of_instance(relay: Relay, record: Box<Record>, note: Note) -> Answer {
        Answer { from: From::Instance(Box::new(relay)), record, _note: note }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let answer = self.get_mut();
        let relay = match &mut answer.from {
            From::Gateway(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            From::Instance(relay) => relay,
        };
        match Pin::new(&mut relay.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                relay.waits = false;
                if let Some(data) = frame.data_ref() {
                    answer.record.response_bytes += data.len() as u64;
                    relay.watch.iter_mut().for_each(|watch| watch.pass(data));
                }
                relay.ended = relay.body.is_end_stream();
                if relay.ended {
                    relay.watch = relay.watch.take().and_then(Watch::end);
                }
                Poll::Ready(Some(Ok(match frame.into_trailers() {
                    Ok(mut trailers) => {
                        trailers_towards_client(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                })))
            }
            Poll::Ready(None) => {
                relay.ended = true;
                relay.watch = relay.watch.take().and_then(Watch::end);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                relay.ended = true;
                relay.broken = true;
                relay.pass.deployment().fleet.failed(relay.pass.instance());
                answer.record.response_broken();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => {
                let Some(clock) = relay.overdue(cx) else { return Poll::Pending };
                relay.ended = true;
                relay.broken = true;
                answer.record.reason = Some(clock);
                Poll::Ready(Some(Err("the instance's answer took too long".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Gateway(body) => body.is_none(),
            From::Instance(relay) => relay.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            From::Gateway(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            From::Instance(relay) => relay.body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let From::Instance(relay) = &self.from {
            self.record.request_bytes = relay.flow.bytes();
            self.record.request_done = relay.flow.ended();
            if !relay.ended && !relay.body.is_end_stream() {
                self.record.reason = Some("client_gone");
            } else if !relay.broken {
                relay.pass.deployment().fleet.finished(relay.pass.instance());
            }
        }
    }
}
