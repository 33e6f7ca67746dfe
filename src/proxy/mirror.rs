//! Copies of requests for a shadow deployment. The client's request goes its way as if there were none: its body is
//! kept as it passes, and only once all of it has passed is a copy sent, by a task of its own, if there is room at once.

mod shadow;
mod watch;

use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;
use http::uri::PathAndQuery;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use self::shadow::Copy;
pub(super) use self::watch::Watch;
use super::headers::is_stream;
use super::{aim, worker};
use crate::clock::Clock;
use crate::mirror::{Budget, Dropped, Kept, Outcome, Tally, Tee};
use crate::routing::{DeploymentRoute, EndpointRoute};
use crate::upstream::{NoPlace, RequestBody};

/// What copies are made with.
#[derive(Debug)]
pub struct Mirroring {
    /// What all of them may use.
    pub budget: Budget,
    /// Bytes of a request body.
    pub body: usize,
    /// Bytes of an answer that is compared.
    pub compared: usize,
    /// Bytes read of a shadow's answer.
    pub answer: usize,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Once cancelled, copies end.
    pub end: CancellationToken,
    /// Places for comparisons.
    pub comparing: Semaphore,
}

/// A copy whose turn it is.
#[derive(Debug)]
pub(super) struct Due {
    shadow: Arc<DeploymentRoute>,
    tally: Arc<Tally>,
    target: PathAndQuery,
}

/// Whether a request that was aimed by its endpoint's traffic is to be copied. What is a stream never is.
pub(super) fn due(endpoint: &EndpointRoute, path: &str, head: &Parts) -> Option<Due> {
    let copies = endpoint.copies.as_ref().filter(|_| !is_stream(&head.headers))?;
    if !copies.is_next(worker::index()) {
        return None;
    }
    let (shadow, tally) = (copies.shadow.clone(), copies.tally.clone());
    let Ok(target) = aim::target(&shadow, path, &head.uri) else {
        tally.count(Outcome::Dropped(Dropped::Path));
        return None;
    };
    Some(Due { shadow, tally, target })
}

impl Mirroring {
    /// Has a copy made of a request as it goes to its own instance. Gives the body to go on with, and what the copy is
    /// told the answer by.
    pub(super) fn copy(
        self: &Arc<Self>,
        Due { shadow, tally, target }: Due,
        head: &Parts,
        id: &HeaderValue,
        body: RequestBody,
    ) -> (RequestBody, Watch) {
        let (tell, told) = oneshot::channel();
        let (mirroring, head, id) = (self.clone(), head.clone(), id.clone());
        let then = move |kept: Result<Kept, Dropped>| {
            let copy = kept.and_then(|kept| {
                let lease = shadow.fleet.place_at_once().map_err(|why| match why {
                    NoPlace::NoInstance => Dropped::NoInstance,
                    NoPlace::Full => Dropped::NoPlace,
                })?;
                let place = mirroring.budget.place().ok_or(Dropped::Busy)?;
                Ok((
                    Copy { mirroring, shadow, tally: tally.clone(), head, target, id },
                    kept,
                    lease,
                    place,
                    told,
                ))
            });
            match copy {
                Ok((copy, kept, lease, place, told)) => {
                    tokio::spawn(async move {
                        copy.run(kept, lease, told).await;
                        drop(place);
                    });
                }
                Err(why) => tally.count(Outcome::Dropped(why)),
            }
        };
        let tee = Tee::new(Kept::new(self.body, self.budget.memory()), then);
        let kept = Kept::new(self.compared, self.budget.memory());
        (body.through(tee), Watch::new(tell, kept))
    }
}
