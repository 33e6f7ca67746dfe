//! Asking an instance how it is.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::model::backend::HttpVersion;
use crate::model::deployment::{Probe, Route};
use crate::upstream::Instance;

/// What answers so far say. It changes only after as many of the other kind in a row as the probe wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    good: bool,
    against: u32,
}

impl Verdict {
    /// Nothing is held against an instance before it was asked.
    pub(super) fn new() -> Verdict {
        Verdict { good: true, against: 0 }
    }

    /// Takes an answer. Gives the new verdict if it changed.
    pub(super) fn hear(&mut self, good: bool, probe: &Probe) -> Option<bool> {
        if good == self.good {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if good { probe.success_threshold } else { probe.failure_threshold };
        (self.against >= enough.max(1)).then(|| {
            *self = Verdict { good, against: 0 };
            good
        })
    }
}

/// Asks once. Good is a status from 200 to 399, as for Kubernetes; without a route, a connection.
pub(super) async fn ask(instance: &Instance, route: Option<&Route>, time: Duration) -> bool {
    let asking = async {
        match route {
            None => instance.connect(None).await.is_ok(),
            Some(route) => status(instance, route).await.is_some_and(is_good),
        }
    };
    tokio::time::timeout(time, asking).await.unwrap_or(false)
}

fn is_good(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

async fn status(instance: &Instance, route: &Route) -> Option<StatusCode> {
    let stream = TokioIo::new(instance.connect(route.port).await.ok()?);
    let request = |uri: http::Uri| Request::get(uri).header("user-agent", "scoregate-probe");
    if instance.version == HttpVersion::Http2 && route.port.is_none() {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
        let connection = tokio::spawn(connection);
        let request = request(instance.target(route.path.parse().ok()?)).body(Empty::<Bytes>::new()).ok()?;
        let answer = sender.send_request(request).await;
        connection.abort();
        return Some(answer.ok()?.status());
    }
    let (mut sender, connection) = http1::handshake(stream).await.ok()?;
    let connection = tokio::spawn(connection);
    let request =
        request(route.path.parse().ok()?).header("host", &instance.host).header("connection", "close");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await;
    connection.abort();
    Some(answer.ok()?.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_changes_after_enough_answers_in_a_row() {
        let probe = Probe { success_threshold: 2, failure_threshold: 3, ..Probe::default() };
        let mut verdict = Verdict::new();
        let heard: Vec<_> = [false, false, true, false, false, false, false, true, false, true, true, true]
            .map(|good| verdict.hear(good, &probe))
            .into();
        let changes: Vec<_> =
            heard.iter().enumerate().filter_map(|(at, change)| Some((at, (*change)?))).collect();
        assert_eq!(changes, [(5, false), (10, true)]);
    }

    #[test]
    fn redirections_are_good_and_errors_are_not() {
        for (status, good) in
            [(200, true), (204, true), (302, true), (404, false), (500, false), (503, false)]
        {
            assert_eq!(is_good(StatusCode::from_u16(status).unwrap()), good, "{status}");
        }
    }
}
