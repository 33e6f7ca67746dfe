//! The store in a database: a SQLite file, synced before a batch is acknowledged, or a PostgreSQL server that several
//! gateways share. Both speak the same statements; `dialect` has what differs.

mod audit;
mod batch;
mod dialect;
mod items;
mod jobs;
mod listen;
mod presence;
mod resources;
mod schema;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::any::AnyConnectOptions;
use sqlx::pool::PoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Row, Transaction};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::batch::{Making, id_of, take_turn};
use self::dialect::Dialect;
use super::chain::Chain;
use super::{AuditRow, Batch, Change, Committed, Contents, Delta, Revision, Store, StoreError, Stored};
use crate::model::audit::{Record, System};
use crate::model::scope::Scope;
use crate::settings::PostgresUrl;

/// How long a SQLite writer waits for those before it.
const TURN: Duration = Duration::from_secs(25);
/// How long a connection to a server may take to be made, or one that is free to be found.
const CONNECT: Duration = Duration::from_secs(5);
/// For how many revisions it is remembered what was removed.
const REMEMBERED: u64 = 100_000;

/// How much of a PostgreSQL server a gateway takes, and how long it waits for it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections, besides the one that listens for changes.
    pub connections: u32,
    /// Time for one operation.
    pub patience: Duration,
}

/// A store in a database.
pub struct SqlStore {
    dialect: Dialect,
    /// In SQLite one connection: writers queue here instead of failing on each other's locks.
    writer: AnyPool,
    readers: AnyPool,
    /// Time for one operation, if the database is not in this process.
    patience: Option<Duration>,
    feed: Arc<watch::Sender<Revision>>,
    chain: Chain,
    /// Follows what other processes write.
    listening: Option<AbortOnDropHandle<()>>,
}

impl std::fmt::Debug for SqlStore {
    /// Without the pools, which show the address with all that opens it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let listening = self.listening.is_some();
        f.debug_struct("SqlStore")
            .field("dialect", &self.dialect)
            .field("revision", &*self.feed.borrow())
            .field("listening", &listening)
            .finish_non_exhaustive()
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        StoreError::Unavailable(match error {
            sqlx::Error::PoolTimedOut => "no connection to it was free or could be made in time".to_owned(),
            error => error.to_string(),
        })
    }
}

/// What is kept as JSON.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// Numbers of ours as the databases have them.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers of the databases as we have them.
fn nat(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl SqlStore {
    /// Opens a SQLite file, making it if it is not there. Its directory must exist.
    pub async fn open(file: &Path, chain: Chain) -> Result<SqlStore, StoreError> {
        SqlStore::check_place(file)?;
        let opening = async {
            let options = address(&dialect::address_of_file(file))?;
            // The file remembers this; and what is wrong with it is told at once.
            let mut first = options.connect().await?;
            sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut first).await?;
            first.close().await?;
            let pool = |most| {
                let pool = PoolOptions::<Any>::new().max_connections(most).acquire_timeout(TURN);
                // A file does not go away.
                let pool = pool.test_before_acquire(false);
                pool.after_connect(|one, _| Box::pin(run(one, "PRAGMA synchronous = FULL")))
            };
            let writer = pool(1).connect_with(options.clone()).await?;
            let readers = pool(2).connect_with(options).await?;
            SqlStore::with(Dialect::Sqlite, (writer, readers), chain).await
        };
        opening.await.map_err(|error| error.at(file.display().to_string()))
    }

    /// Whether a file could be made there.
    pub fn check_place(file: &Path) -> Result<(), StoreError> {
        match file.parent() {
            Some(directory) if !directory.as_os_str().is_empty() && !directory.is_dir() => {
                let why = format!("there is no directory {0}; run mkdir -p {0}", directory.display());
                Err(StoreError::Open { place: file.display().to_string(), why })
            }
            _ => Ok(()),
        }
    }

    /// A store that lives only as long as the process.
    pub async fn memory(chain: Chain) -> Result<SqlStore, StoreError> {
        // The database is the connection's own, so that one is all there is, for ever. It is not tested before it is
        // taken: whoever is broken off in the middle of that drops it, and the database with it.
        let pool = PoolOptions::<Any>::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.test_before_acquire(false);
        let pool = pool.connect_with(address("sqlite::memory:")?).await?;
        SqlStore::with(Dialect::Sqlite, (pool.clone(), pool), chain).await
    }

    /// Opens a PostgreSQL database: the tables in the schema that the address leads to, made if they are not there.
    pub async fn connect(url: &PostgresUrl, bounds: Bounds, chain: Chain) -> Result<SqlStore, StoreError> {
        let opening = async {
            let address_of_server = dialect::address_of_server(url, bounds.patience);
            let pool = PoolOptions::<Any>::new()
                .max_connections(bounds.connections)
                .acquire_timeout(CONNECT)
                // Durable before acknowledged, whatever the server's default is.
                .after_connect(|one, _| {
                    Box::pin(run(
                        one,
                        "SELECT set_config('synchronous_commit', 'on', false) \
                         WHERE current_setting('synchronous_commit') = 'off'",
                    ))
                })
                // A server that has vanished must not keep a connection's place.
                .after_release(|one, _| {
                    Box::pin(async {
                        match tokio::time::timeout(CONNECT, one.ping()).await {
                            Ok(alive) => alive.map(|()| true),
                            Err(_) => Err(sqlx::Error::PoolTimedOut),
                        }
                    })
                });
            let pool = pool.connect_with(address(&address_of_server)?).await?;
            let mut store = SqlStore::with(Dialect::Postgres, (pool.clone(), pool), chain).await?;
            store.patience = Some(bounds.patience);
            let schema =
                sqlx::query("SELECT CAST(current_schema() AS TEXT)").fetch_one(&store.readers).await?;
            let following = listen::follow(address_of_server, schema.try_get(0)?, store.feed.clone());
            store.listening = Some(AbortOnDropHandle::new(tokio::spawn(following)));
            Ok(store)
        };
        opening.await.map_err(|error: StoreError| error.at(url.to_string()))
    }

    async fn with(
        dialect: Dialect,
        (writer, readers): (AnyPool, AnyPool),
        chain: Chain,
    ) -> Result<SqlStore, StoreError> {
        let feed = Arc::new(watch::Sender::new(0));
        let store = SqlStore { dialect, writer, readers, patience: None, feed, chain, listening: None };
        let mut tx = store.write().await?;
        schema::prepare(&mut tx, dialect)
            .await
            .map_err(|unusable| StoreError::Unavailable(unusable.to_string()))?;
        tx.commit().await?;
        let revision = store.revision().await?;
        store.feed.send_replace(revision);
        Ok(store)
    }

    /// Begins a transaction that writes.
    async fn write(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.writer.begin_with(self.dialect.write()).await?)
    }

    /// Begins a transaction that sees one state.
    async fn read(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.readers.begin_with(self.dialect.read()).await?)
    }

    /// Does something in the time that there is for it.
    async fn within<T>(
        &self,
        doing: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.patience {
            None => doing.await,
            Some(patience) => tokio::time::timeout(patience, doing).await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable(format!("it did not answer within {} s", patience.as_secs_f32())))
            }),
        }
    }

    async fn state(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM state WHERE name = $1").bind(name);
        let row = row.fetch_optional(&self.writer).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn make(&self, Batch { changes, deed }: Batch) -> Result<Committed, StoreError> {
        let mut tx = self.write().await?;
        let changes_anything =
            changes.iter().any(|change| !matches!(change, Change::Require(..) | Change::RequireUnclaimed(_)));
        let revision = take_turn(&mut tx, changes_anything).await?;
        let (actor, time) = (deed.actor.clone(), deed.time.clone());
        let system = System {
            created_by: actor.clone(),
            created_at: time.clone(),
            modified_by: actor,
            modified_at: time,
        };
        let mut making = Making { tx, revision, system, touched: Vec::new(), written: Vec::new() };
        // What the batch itself passes on, such as a name from one role to another, is free before it is taken.
        for change in &changes {
            if let Change::Put(resource, ..) = change {
                making.release(id_of(resource)?.key()).await?;
            }
        }
        for change in changes {
            making.apply(change).await?;
        }
        let Making { mut tx, touched, written, .. } = making;
        audit::record(&mut tx, &self.chain, deed, (revision, touched)).await?;
        if changes_anything {
            let old = sqlx::query("DELETE FROM gone WHERE revision < $1");
            old.bind(int(revision) - int(REMEMBERED)).execute(&mut *tx).await?;
            if let Some(notify) = self.dialect.notify() {
                let notify = sqlx::query(notify).bind(listen::CHANNEL).bind(revision.to_string());
                notify.execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        listen::tell(&self.feed, revision);
        Ok(Committed { revision, written })
    }
}

/// An address for the driver.
fn address(text: &str) -> Result<AnyConnectOptions, StoreError> {
    sqlx::any::install_default_drivers();
    Ok(text.parse()?)
}

/// What a session begins with.
async fn run(connection: &mut AnyConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(statement).await.map(drop)
}

#[async_trait]
impl Store for SqlStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.within(self.make(batch)).await
    }

    async fn get(&self, id: &Scope) -> Result<Option<Arc<Stored>>, StoreError> {
        self.within(resources::one(&self.readers, id)).await
    }

    async fn contents(&self) -> Result<Contents, StoreError> {
        self.within(async { resources::all(self.read().await?).await }).await
    }

    async fn since(&self, revision: Revision) -> Result<Option<Delta>, StoreError> {
        self.within(async { resources::since(self.read().await?, revision).await }).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.within(async {
            let row = sqlx::query(resources::REVISION).fetch_one(&self.readers).await?;
            Ok(nat(row.try_get(0)?))
        })
        .await
    }

    fn feed(&self) -> watch::Receiver<Revision> {
        self.feed.subscribe()
    }

    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        self.within(async {
            let put = sqlx::query("INSERT INTO state (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING");
            put.bind(name).bind(value).execute(&self.writer).await?;
            Ok(self.state(name).await?.unwrap_or_else(|| value.to_owned()))
        })
        .await
    }

    async fn audit(&self, after: u64, most: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.within(audit::rows(&self.readers, after, most)).await
    }

    async fn audit_head(&self) -> Result<Option<(u64, [u8; 32])>, StoreError> {
        let text = self.within(self.state("audit")).await?;
        text.as_deref().map(audit::head).transpose()
    }

    async fn operation(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        self.within(audit::operation(&self.readers, id)).await
    }
}

#[cfg(test)]
mod tests;
