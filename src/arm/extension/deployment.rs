//! The fields of a deployment that are the gateway's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Fields, backend};
use crate::arm::deployment::Place;
use crate::forms::{Form, Millis};
use crate::model::asset::Routes;
use crate::model::backend::Backend;
use crate::model::deployment::{
    Deployment, RequestSettings, Route, Timeouts, Workload, default_scoring_path,
};
use crate::model::paths::AllowedPath;

/// The most entries of `allowed_paths`; each request looks through them.
const PATHS: usize = 200;

/// What a document or a property bag says in these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Where the instances are.
    pub backend: Option<Backend>,
    /// Where `/score` leads.
    pub scoring_path: Option<String>,
    /// Where an instance tells whether it lives.
    pub liveness_route: Option<Route>,
    /// Where it tells whether it is ready.
    pub readiness_route: Option<Route>,
    /// Paths that may be called.
    pub allowed_paths: Option<Vec<AllowedPath>>,
    /// The clocks that Azure does not have.
    pub timeouts: Timeouts,
    /// The number of requests at once is found out.
    pub adaptive_concurrency: bool,
    /// The caller's credential goes on.
    pub forward_authorization: bool,
    /// The caller's cookies go on.
    pub forward_cookies: bool,
}

/// The rest of a deployment, which is Azure's.
#[derive(Debug, Clone)]
pub struct Azures {
    /// Which one it is.
    pub place: Place,
    /// Concurrency and time.
    pub request_settings: RequestSettings,
    /// Where its environment says that its instances answer.
    pub routes: Routes,
    /// What it is for.
    pub description: String,
    /// The user's labels.
    pub tags: BTreeMap<String, String>,
    /// The user's property bag, without the gateway's own entries.
    pub properties: BTreeMap<String, String>,
    /// What runs on the instances.
    pub workload: Workload,
}

impl Own {
    /// The whole deployment, if it says where its instances are.
    pub fn with(self, azures: Azures) -> Option<Deployment> {
        let Azures { place, request_settings, routes, description, tags, properties, workload } = azures;
        let scoring_path = self.scoring_path.or(routes.scoring.map(|route| route.path));
        Some(Deployment {
            name: place.name,
            endpoint: place.endpoint,
            workspace: place.workspace,
            backend: self.backend?,
            request_settings,
            scoring_path: scoring_path.unwrap_or_else(default_scoring_path),
            liveness_route: self.liveness_route.or(routes.liveness),
            readiness_route: self.readiness_route.or(routes.readiness),
            allowed_paths: self.allowed_paths,
            timeouts: self.timeouts,
            adaptive_concurrency: self.adaptive_concurrency,
            forward_authorization: self.forward_authorization,
            forward_cookies: self.forward_cookies,
            description,
            tags,
            properties,
            workload,
        })
    }
}

/// Reads the fields; a relative path starts at `base`.
pub fn read(form: &Form<'_>, base: &Path) -> Own {
    let route = |key, doc| form.value::<Route>(key, doc).optional();
    let scoring = route("scoring_route", "Where /score leads.");
    if scoring.as_ref().is_some_and(|route| route.port.is_some()) {
        let hint = "give the port in `backend`";
        form.wrong("scoring_route", "has a port, which the instances have already", Some(hint));
    }
    let allowed_paths = form.values::<AllowedPath>("allowed_paths", "Paths that may be called, or profiles.");
    if allowed_paths.as_ref().is_some_and(|paths| paths.len() > PATHS) {
        form.wrong("allowed_paths", format!("names more than {PATHS} paths"), None);
    }
    Own {
        backend: form
            .optional_section("backend", "Where the instances are.", |f| backend::read(f, base))
            .flatten(),
        scoring_path: scoring.map(|route| route.path),
        liveness_route: route("liveness_route", "Where an instance tells whether it lives."),
        readiness_route: route("readiness_route", "Where an instance tells whether it is ready."),
        allowed_paths,
        timeouts: form.section("timeouts", "Clocks of a request; as the limits say if not set.", timeouts),
        adaptive_concurrency: switch(form, "adaptive_concurrency"),
        forward_authorization: switch(form, "forward_authorization"),
        forward_cookies: switch(form, "forward_cookies"),
    }
}

fn switch(form: &Form<'_>, key: &'static str) -> bool {
    form.value(key, "").or(false)
}

fn timeouts(form: &Form<'_>) -> Timeouts {
    let time = |key, doc| {
        let found = form.value::<Millis>(key, doc).optional();
        if found.is_some_and(|Millis(time)| time.is_zero()) {
            form.wrong(key, "is 0; no request could ever be served", None);
        }
        found.map(|Millis(time)| time)
    };
    Timeouts {
        connect: time("connect_ms", "For a connection to an instance."),
        idle: time("idle_ms", "Between two pieces of an answer."),
        total: time("total_ms", "For a whole request, streams included."),
    }
}

/// Takes the fields out of a property bag. What is not there stays as it was before.
pub fn take(form: &Form<'_>, bag: &mut BTreeMap<String, String>, before: Option<&Deployment>) -> Own {
    let before = before.map(write).unwrap_or_default();
    super::take(form, bag, &before, |f| read(f, Path::new("/")))
}

/// Puts the fields into a property bag; `whole` puts in those that say nothing, too.
pub fn put(bag: &mut BTreeMap<String, String>, deployment: &Deployment, whole: bool) {
    super::put(bag, write(deployment), whole);
}

/// The fields as they are written.
pub fn write(deployment: &Deployment) -> Fields {
    let own = deployment.scoring_path != default_scoring_path();
    let millis =
        |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let times = [
        ("connect_ms", deployment.timeouts.connect),
        ("idle_ms", deployment.timeouts.idle),
        ("total_ms", deployment.timeouts.total),
    ];
    let times = times.iter().filter_map(|(key, time)| Some(((*key).to_owned(), json!(millis(*time)?))));
    let fields = [
        ("backend", backend::write(&deployment.backend)),
        ("scoring_route", json!(own.then_some(&deployment.scoring_path))),
        ("liveness_route", json!(deployment.liveness_route.as_ref().map(ToString::to_string))),
        ("readiness_route", json!(deployment.readiness_route.as_ref().map(ToString::to_string))),
        ("allowed_paths", json!(deployment.allowed_paths)),
        ("timeouts", Value::Object(times.collect())),
        ("adaptive_concurrency", json!(deployment.adaptive_concurrency)),
        ("forward_authorization", json!(deployment.forward_authorization)),
        ("forward_cookies", json!(deployment.forward_cookies)),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
