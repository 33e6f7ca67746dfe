//! The control plane over its REST API: who may, what is refused, and what of it holds under load and sudden ends.

mod access;
mod batch;
mod callers;
mod coverage;
mod credentials;
mod hostile;
mod life;
mod lists;
mod races;
mod revocation;
mod roles;
mod wire;
mod writers;

use serde_json::Value;

use crate::support::raw::ask;
use crate::support::rest::{Caller, Rest, deployment, deployment_body, endpoint, endpoint_body, group};
use crate::support::site::Site;
use crate::support::{Instance, Plan, Stand};

/// Nobody is held back for failing or being refused often.
const PATIENT: &str = "{ failed_authentications: 1000000, refusals: 1000000, drain_notice: 0s }";

/// A stand whose `owner` owns everything; `scientist` and `reader` hold their roles on the usual resource group,
/// `outsider` none.
struct World {
    stand: Stand,
    rest: Rest,
    owner: Caller,
    blue: Instance,
}

impl World {
    async fn start() -> World {
        World::with(|_| ()).await
    }

    async fn with(more: impl FnOnce(&mut Plan)) -> World {
        let mut plan = Plan::default();
        plan.grant("scientist", "AzureML Data Scientist", &group());
        plan.grant("reader", "Reader", &group());
        more(&mut plan);
        let stand = Stand::start(plan.owned().set("limits", PATIENT)).await;
        let (rest, owner) = (stand.rest(), stand.as_("owner"));
        World { stand, rest, owner, blue: Instance::named("blue").await }
    }

    /// Makes an endpoint with these deployments, all at the one instance.
    async fn make(&self, name: &str, mode: &str, deployments: &[&str], traffic: &Value) {
        let body = |traffic: &Value| endpoint_body(mode, traffic);
        self.owner.put(&endpoint(name), body(&Value::Null)).await.is(201);
        for colour in deployments {
            self.owner.put(&deployment(name, colour), deployment_body(&[&self.blue.url])).await.is(201);
        }
        self.owner.put(&endpoint(name), body(traffic)).await.is(200);
    }

    /// One of an endpoint's keys: `primaryKey` or `secondaryKey`.
    async fn key(&self, name: &str, slot: &str) -> String {
        let keys = self.owner.post(&format!("{}/listKeys", endpoint(name)), "").await.is(200);
        keys.json[slot].as_str().unwrap().to_owned()
    }

    /// A token that the gateway issues for an endpoint.
    async fn token(&self, name: &str) -> String {
        let issued = self.owner.post(&format!("{}/token", endpoint(name)), "").await.is(200);
        issued.json["accessToken"].as_str().unwrap().to_owned()
    }

    /// The status of a scoring request.
    async fn score(&self, name: &str, credential: &str) -> u16 {
        let message = format!(
            "POST /endpoints/{name}/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        ask(self.stand.gateway.data, message).await.unwrap().status
    }

    async fn stop(self) {
        self.stand.stop().await;
    }
}

/// A site whose owner is the issuer's `owner`, and that issuer; `more` is put into its configuration.
async fn owned_site(more: &str) -> (Site, Stand) {
    let stand = Stand::start(Plan::default()).await;
    let more = format!("limits: {PATIENT}\n{more}{}", stand.trusted());
    (Site::new(&[], &more), stand)
}
