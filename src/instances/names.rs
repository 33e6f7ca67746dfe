//! Instances behind a name: every address of it is one.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::model::backend::InstanceUrl;
use crate::routing::DeploymentRoute;
use crate::upstream::{Instance, addresses};

/// The most addresses of one name that are taken.
const MOST: usize = 1_000;

/// Looks a name up for ever. A look-up that fails, or that gives nothing, leaves the instances there are: better those
/// than none. `changed` is told of every change.
pub(super) async fn follow(
    route: &DeploymentRoute,
    name: &InstanceUrl,
    every: Duration,
    changed: impl Fn(),
) -> std::convert::Infallible {
    let mut failing = false;
    loop {
        match addresses(&name.host, name.port).await {
            Ok(found) if !found.is_empty() => {
                failing = false;
                if replace(route, name, found) {
                    changed();
                }
            }
            Ok(_) | Err(_) if failing => {}
            Ok(_) => {
                failing = true;
                warn!(name = %name.host, deployment = %route.key, "the name has no address that can be used");
            }
            Err(error) => {
                failing = true;
                warn!(name = %name.host, deployment = %route.key, %error, "the name cannot be looked up");
            }
        }
        tokio::time::sleep(every).await;
    }
}

fn replace(route: &DeploymentRoute, name: &InstanceUrl, mut found: Vec<std::net::SocketAddr>) -> bool {
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    let fleet = &route.fleet;
    let known: Vec<_> = fleet.instances().iter().map(|instance| instance.address).collect();
    if known == found.iter().copied().map(Some).collect::<Vec<_>>() {
        return false;
    }
    let each = found.iter().map(|address| fleet.member(name, Some(*address), Some(fleet)));
    let members: Result<Vec<Arc<Instance>>, String> = each.collect();
    match members {
        Ok(members) => {
            info!(name = %name.host, deployment = %route.key, instances = members.len(), "the name's addresses changed");
            fleet.replace(members);
            true
        }
        Err(why) => {
            warn!(deployment = %route.key, %why, "instances cannot be reached");
            false
        }
    }
}
