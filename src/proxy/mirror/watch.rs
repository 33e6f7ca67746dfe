//! How a live request was answered, for the copy that is compared with it.

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use tokio::sync::oneshot;

use crate::mirror::Kept;
use crate::proxy::headers::is_json;

/// An answer, as far as it is compared.
#[derive(Debug)]
pub(in crate::proxy) struct Answered {
    /// The instance's own status.
    pub(super) status: StatusCode,
    /// From the whole request's being sent until the answer began.
    pub(super) after: Duration,
    /// All of it, if it is JSON and short enough.
    pub(super) json: Option<Kept>,
}

/// Watches the live answer as it passes. A copy that is told nothing learns that no instance answered.
#[derive(Debug)]
pub(in crate::proxy) struct Watch {
    tell: Option<oneshot::Sender<Answered>>,
    /// What is known of the answer.
    head: Option<(StatusCode, Duration)>,
    kept: Kept,
}

/// Whether an answer is worth keeping: JSON, and not longer than that by its own word.
pub(super) fn is_comparable(headers: &HeaderMap, most: usize) -> bool {
    let length =
        headers.get(CONTENT_LENGTH).and_then(|value: &HeaderValue| value.to_str().ok()?.parse().ok());
    is_json(headers) && length.is_none_or(|length: usize| length <= most)
}

impl Watch {
    /// Keeps the answer in `kept`.
    pub(super) fn new(tell: oneshot::Sender<Answered>, kept: Kept) -> Watch {
        Watch { tell: Some(tell), head: None, kept }
    }

    /// An instance began to answer. There is nothing more to watch if what comes is not compared.
    pub(in crate::proxy) fn answered<B: Body>(
        mut self,
        response: &Response<B>,
        after: Duration,
    ) -> Option<Watch> {
        self.head = Some((response.status(), after));
        if !is_comparable(response.headers(), self.kept.most()) {
            return None;
        }
        if response.body().is_end_stream() { self.end() } else { Some(self) }
    }

    /// A piece of the answer passes.
    pub(in crate::proxy) fn pass(&mut self, data: &[u8]) {
        if self.tell.is_some() && self.kept.push(data).is_err() {
            self.tell(None);
        }
    }

    /// All of it has passed; there is nothing more to watch.
    pub(in crate::proxy) fn end(mut self) -> Option<Watch> {
        let kept = self.kept.take();
        self.tell(Some(kept));
        None
    }

    fn tell(&mut self, json: Option<Kept>) {
        if let (Some(tell), Some((status, after))) = (self.tell.take(), self.head) {
            // A copy that is gone does not ask.
            let _ = tell.send(Answered { status, after, json });
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tell(None);
    }
}
