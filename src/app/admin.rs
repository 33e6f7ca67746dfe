//! The listener for operators: whether the gateway lives, whether it is ready, its metrics. Nothing secret.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::issuers::Issuers;
use crate::clock::Clock;
use crate::identity::keys::Suppressed;
use crate::routing::SnapshotCell;
use crate::telemetry::health::{Health, State as Part};
use crate::telemetry::metrics::Metrics;

/// What operators may look at.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    pub(super) issuers: Arc<ArcSwap<Issuers>>,
    pub(super) snapshot: Arc<SnapshotCell>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Admin {
    pub(super) fn router(self) -> Router {
        let readyz = get(readyz);
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", readyz.clone())
            .route("/healthz", readyz)
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
    }

    /// Looks at what changes by itself with time.
    fn observe(&self) {
        let now = self.clock.unix();
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for issuer in &self.issuers.load().all {
            let label = [issuer.name.as_str()];
            self.metrics.jwks_age.with_label_values(&label).set(issuer.keys.age(now).unwrap_or(-1));
            for why in Suppressed::ALL {
                let suppressed =
                    self.metrics.jwks_suppressed.with_label_values(&[&*issuer.name, why.as_str()]);
                suppressed.set(whole(issuer.keys.suppressed(why)));
            }
            let part = format!("issuer {}", issuer.name);
            let state = match issuer.keys.age(now) {
                Some(age) if issuer.keys.is_usable(now) => Part::Good(format!("keys are {age} s old")),
                Some(age) => Part::Degraded(format!("keys are too old: {age} s")),
                None => Part::Degraded("no keys yet; its tokens are answered 503".to_owned()),
            };
            self.health.set(&part, state);
        }
        self.metrics.snapshot_age.set(whole(self.snapshot.age().as_secs()));
    }
}

async fn readyz(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<HashMap<String, String>>,
) -> impl IntoResponse {
    let ready = admin.health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ready { "ok\n" } else { "not ready\n" };
    if query.contains_key("verbose") {
        admin.observe();
        return (status, admin.health.verbose() + word);
    }
    (status, word.to_owned())
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    admin.observe();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.text())
}
