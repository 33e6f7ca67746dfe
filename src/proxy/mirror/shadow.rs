//! A copy at the shadow: sent once, read to a bounded end, compared, forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::Mirroring;
use super::watch::{Answered, is_comparable};
use crate::mirror::compare::{self, Tolerance};
use crate::mirror::{Compared, Dropped, Kept, Noted, Outcome, Tally};
use crate::proxy::dispatch::address;
use crate::proxy::headers::towards_shadow;
use crate::proxy::worker;
use crate::routing::DeploymentRoute;
use crate::upstream::{Lease, RequestBody};

/// A copy of a request, without its body.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) mirroring: Arc<Mirroring>,
    pub(super) shadow: Arc<DeploymentRoute>,
    pub(super) tally: Arc<Tally>,
    pub(super) head: Parts,
    pub(super) target: PathAndQuery,
    pub(super) id: HeaderValue,
}

impl Copy {
    /// Sends it and compares the answer with the live one, unless the gateway ends.
    pub(super) async fn run(self, body: Kept, lease: Lease, told: oneshot::Receiver<Answered>) {
        let end = self.mirroring.end.clone();
        let sent = tokio::select! {
            () = end.cancelled() => return self.tally.count(Outcome::Dropped(Dropped::Drain)),
            sent = self.send(body, lease) => sent,
        };
        let Some(shadow) = sent else { return self.tally.count(Outcome::Failed) };
        self.tally.count(Outcome::Sent);
        tokio::select! {
            () = end.cancelled() => {}
            live = told => self.compare(live.ok(), shadow).await,
        }
    }

    /// Sends it once, and reads the answer to its end. `None` if the shadow failed, which is its instance's failure.
    async fn send(&self, body: Kept, lease: Lease) -> Option<Answered> {
        let (clocks, fleet, instance) = (self.shadow.clocks, &self.shadow.fleet, lease.instance());
        let (body, memory) = body.into_parts();
        let mut request = Request::from_parts(self.head.clone(), RequestBody::kept(body));
        let begun = Instant::now();
        let latest = begun + clocks.total;
        let due = latest.min(begun + clocks.first_byte);
        let time = i64::try_from((due - begun).as_millis()).unwrap_or(i64::MAX / 2);
        let deadline = self.mirroring.clock.unix_millis().saturating_add(time);
        towards_shadow(request.headers_mut(), &self.shadow.name, deadline);
        address(&mut request, instance, &self.target);
        let sending = instance.send(worker::index(), request);
        let Ok(Ok(response)) = timeout_at(due.into(), sending).await else {
            fleet.failed(instance);
            return None;
        };
        let (status, after) = (response.status(), begun.elapsed());
        fleet.answered(instance, after, status);
        let most = self.mirroring.compared;
        let comparable = is_comparable(response.headers(), most);
        let kept = comparable.then(|| Kept::new(most, self.mirroring.budget.memory()));
        let read = self.read(response.into_body(), kept, clocks.idle, latest).await;
        drop(memory);
        let Some(json) = read else {
            fleet.failed(instance);
            return None;
        };
        fleet.finished(instance);
        Some(Answered { status, after, json })
    }

    /// Reads an answer, and keeps it if it may be compared. `None` if it did not come to its end.
    async fn read(
        &self,
        mut body: Incoming,
        mut kept: Option<Kept>,
        idle: Duration,
        latest: Instant,
    ) -> Option<Option<Kept>> {
        let mut left = self.mirroring.answer;
        loop {
            let due = latest.min(Instant::now() + idle);
            let Some(frame) = timeout_at(due.into(), body.frame()).await.ok()? else { return Some(kept) };
            let Ok(data) = frame.ok()?.into_data() else { continue };
            kept = kept.and_then(|mut kept| kept.push(&data).ok().map(|()| kept));
            match left.checked_sub(data.len()) {
                Some(rest) => left = rest,
                // It was long enough; nobody reads it.
                None => return Some(None),
            }
        }
    }

    async fn compare(&self, live: Option<Answered>, shadow: Answered) {
        let Some(live) = live else {
            return self.tally.compared(Compared::NoLive, |_| self.noted((0, 0), None));
        };
        self.tally.took(live.after, shadow.after);
        let statuses = (live.status.as_u16(), shadow.status.as_u16());
        let compared = match (live.json, shadow.json) {
            _ if live.status != shadow.status => Compared::Status,
            (Some(live), Some(shadow)) => self.mirroring.compare(live, shadow).await,
            _ => Compared::NotCompared,
        };
        self.tally.compared(compared, |difference| self.noted(statuses, difference));
    }

    fn noted(&self, statuses: (u16, u16), difference: Option<compare::Difference>) -> Noted {
        let request_id = self.id.to_str().unwrap_or_default().to_owned();
        Noted { time: self.mirroring.clock.unix(), request_id, statuses, difference }
    }
}

impl Mirroring {
    /// Compares two answers away from the thread that serves clients. Parsed, JSON takes many times its length, so few
    /// are compared at a time.
    async fn compare(&self, live: Kept, shadow: Kept) -> Compared {
        if live.bytes() == shadow.bytes() {
            return Compared::Same;
        }
        let Ok(_one) = self.comparing.acquire().await else { return Compared::NotCompared };
        let compare = move || compare::texts(live.bytes(), shadow.bytes(), &Tolerance::default());
        match tokio::task::spawn_blocking(compare).await {
            Ok(Ok(None)) => Compared::Same,
            Ok(Ok(Some(difference))) => Compared::Answer(difference),
            Ok(Err(compare::NotJson)) | Err(_) => Compared::NotCompared,
        }
    }
}
