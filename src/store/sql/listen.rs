//! The feed of a store that other processes write to as well: PostgreSQL tells of their commits.
//!
//! What it tells can be lost, with its connection for one; whoever follows the store looks from time to time anyhow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tracing::debug;

use super::CONNECT;
use crate::store::Revision;

/// Where commits are told, in every schema of a database.
pub(super) const CHANNEL: &str = "scoregate";
/// How long it is rested after the connection was lost.
const PAUSE: Duration = Duration::from_secs(1);
/// After how long a silence it is asked whether the server is still there.
const SILENCE: Duration = Duration::from_secs(30);

/// Tells of a revision, unless a later one is known.
pub(super) fn tell(feed: &watch::Sender<Revision>, revision: Revision) {
    feed.send_if_modified(|known| std::mem::replace(known, revision.max(*known)) != *known);
}

/// Follows what is committed in a schema, for ever.
pub(super) async fn follow(address: String, schema: String, feed: Arc<watch::Sender<Revision>>) {
    let Ok(options) = address.parse::<PgConnectOptions>() else { return };
    loop {
        let Err(error) = listen(&options, &schema, &feed).await;
        debug!(%error, "the store's changes are not told at the moment; it is looked at instead");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(
    options: &PgConnectOptions,
    schema: &str,
    feed: &watch::Sender<Revision>,
) -> Result<Infallible, sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
    let pool = pool.idle_timeout(None).max_lifetime(None).connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let Ok(said) = tokio::time::timeout(SILENCE, listener.recv()).await else {
            let asking = tokio::time::timeout(CONNECT, listener.execute("SELECT 1"));
            asking.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            continue;
        };
        let said = said?;
        let Some((revision, place)) = said.payload().split_once(' ') else { continue };
        if let (Ok(revision), true) = (revision.parse(), place == schema) {
            tell(feed, revision);
        }
    }
}
