//! A request's body that can be sent once more, as long as little of it has passed.
//!
//! An HTTP/2 instance may refuse a request that it was sent already, and say so. By then the body is under way: what passed
//! of it is kept, within bounds, until the instance has begun to answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::body::{BodyError, RequestBody};

/// A body and what passed of it, held by whoever sends it and by whoever may have to send it once more.
#[derive(Debug, Clone)]
pub struct Replay(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What comes first: all that had passed when it was sent before.
    first: Option<Bytes>,
    /// What is still to come; none once the body is sent once more, elsewhere.
    rest: Option<RequestBody>,
    /// The rest has come to its end.
    ended: bool,
    /// What passed of it; none once that is more than may be kept.
    passed: Option<BytesMut>,
    most: usize,
}

impl Replay {
    pub(super) fn new(body: RequestBody, most: usize) -> Replay {
        let passed = Some(BytesMut::new());
        Replay(Arc::new(Mutex::new(State { first: None, rest: Some(body), ended: false, passed, most })))
    }

    /// The whole body once more, taken away from whoever sent it before. None if more of it passed than was kept, or
    /// if it broke off.
    pub fn rewind(&mut self) -> Option<RequestBody> {
        let state = {
            let mut before = self.0.lock();
            let passed = before.passed.take()?;
            let rest = before.rest.take().filter(|rest| !rest.is_broken())?;
            let first = Some(Bytes::copy_from_slice(&passed)).filter(|bytes| !bytes.is_empty());
            State { first, rest: Some(rest), ended: before.ended, passed: Some(passed), most: before.most }
        };
        self.0 = Arc::new(Mutex::new(state));
        Some(RequestBody::again(self.clone()))
    }

    /// Nothing more needs to be kept.
    pub fn settle(&self) {
        self.0.lock().passed = None;
    }

    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.lock();
        if let Some(first) = state.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let State { rest, ended, passed, most, .. } = &mut *state;
        let Some(rest) = rest else {
            // Nobody hears this: the stream that it was for is refused.
            return Poll::Ready(Some(Err(BodyError::Broken)));
        };
        if *ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        match &frame {
            None => *ended = true,
            Some(Err(_)) => *passed = None,
            Some(Ok(frame)) => {
                if let (Some(kept), Some(data)) = (passed.as_mut(), frame.data_ref()) {
                    if kept.len().saturating_add(data.len()) > *most {
                        *passed = None;
                    } else {
                        kept.extend_from_slice(data);
                    }
                }
            }
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        let at_end = |rest: &RequestBody| state.ended || rest.is_end_stream();
        state.first.is_none() && state.rest.as_ref().is_some_and(at_end)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        let first = state.first.as_ref().map_or(0, |first| first.len() as u64);
        let rest = state
            .rest
            .as_ref()
            .filter(|_| !state.ended)
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn replayable(text: &'static str, most: usize) -> (RequestBody, Replay) {
        let (body, replay) = RequestBody::kept(Bytes::from_static(text.as_bytes())).replayable(most);
        (body, replay.unwrap())
    }

    async fn whole(body: RequestBody) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_is_whole_again_wherever_it_was_taken_away() {
        for taken in [false, true] {
            let (mut body, mut replay) = replayable("hello", 5);
            if taken {
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
            }
            for _ in 0..3 {
                let again = replay.rewind().unwrap();
                assert_eq!(again.size_hint().exact(), Some(5));
                assert!(!again.is_end_stream());
                assert_eq!(whole(again).await, "hello");
            }
            // Who had it before does not take it for ended.
            assert!(!body.is_end_stream());
            assert!(body.frame().await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn what_was_not_kept_cannot_be_sent_again() {
        let (body, mut replay) = replayable("hello", 4);
        assert_eq!(whole(body).await, "hello");
        assert!(replay.rewind().is_none());
        let (body, mut replay) = replayable("hello", 5);
        assert_eq!(whole(body).await, "hello");
        replay.settle();
        assert!(replay.rewind().is_none());
        assert!(RequestBody::empty().replayable(5).1.is_none());
    }
}
