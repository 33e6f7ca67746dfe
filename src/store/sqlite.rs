//! The store in a SQLite file: write-ahead log, synced before a batch is acknowledged, one writer.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::watch;

use super::{Change, Contents, Expect, Manager, Revision, Store, StoreError, Stored};
use crate::model::resource::Resource;
use crate::model::scope::Scope;

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "\
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resources (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, manager TEXT NOT NULL, revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO state (name, value) VALUES ('revision', '0'), ('schema', '1') ON CONFLICT DO NOTHING;";

/// A SQLite store.
#[derive(Debug)]
pub struct SqliteStore {
    /// One connection: writers queue here instead of failing on each other's locks.
    writer: SqlitePool,
    readers: SqlitePool,
    feed: watch::Sender<Revision>,
}

fn unavailable(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl SqliteStore {
    /// Opens a file, making it if it is not there. Its directory must exist.
    pub async fn open(file: &Path) -> Result<SqliteStore, StoreError> {
        let wrong = |why: String| StoreError::Open { file: file.to_owned(), why };
        if let Some(directory) = file.parent()
            && !directory.as_os_str().is_empty()
            && !directory.is_dir()
        {
            let why = format!("there is no directory {0}; run mkdir -p {0}", directory.display());
            return Err(wrong(why));
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let open = |most: u32| SqlitePoolOptions::new().max_connections(most).acquire_timeout(BUSY);
        let writer = open(1).connect_with(options.clone()).await.map_err(|error| wrong(error.to_string()))?;
        let readers = open(2).connect_with(options).await.map_err(|error| wrong(error.to_string()))?;
        SqliteStore::with(writer, readers).await.map_err(|error| wrong(error.to_string()))
    }

    /// A store that lives only as long as the process.
    pub async fn memory() -> Result<SqliteStore, StoreError> {
        let options = SqliteConnectOptions::new().in_memory(true);
        // The database is the connection's own, so that one is all there is, for ever.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect_with(options).await.map_err(|error| unavailable(&error))?;
        SqliteStore::with(pool.clone(), pool).await.map_err(|error| unavailable(&error))
    }

    async fn with(writer: SqlitePool, readers: SqlitePool) -> Result<SqliteStore, sqlx::Error> {
        sqlx::raw_sql(SCHEMA).execute(&writer).await?;
        let store = SqliteStore { writer, readers, feed: watch::Sender::new(0) };
        let row =
            sqlx::query("SELECT value FROM state WHERE name = 'revision'").fetch_one(&store.writer).await?;
        store.feed.send_replace(row.try_get::<String, _>(0)?.parse().unwrap_or(0));
        Ok(store)
    }
}

async fn apply(tx: &mut Transaction<'_, Sqlite>, change: Change, revision: i64) -> Result<(), StoreError> {
    let (id, expect) = match &change {
        Change::Put(resource, _, expect) => (id_of(resource)?, *expect),
        Change::Delete(id, expect) => (id.clone(), *expect),
    };
    let found = sqlx::query("SELECT revision FROM resources WHERE id = ?").bind(id.key());
    let found = found.fetch_optional(&mut **tx).await.map_err(|error| unavailable(&error))?;
    let found: Option<i64> =
        found.map(|row| row.try_get(0)).transpose().map_err(|error| unavailable(&error))?;
    let as_expected = match expect {
        Expect::Anything => true,
        Expect::Absent => found.is_none(),
        Expect::At(revision) => found.is_some_and(|found| u64::try_from(found).ok() == Some(revision)),
    };
    if !as_expected {
        return Err(StoreError::Conflict { id });
    }
    let done = match change {
        Change::Put(resource, manager, _) => {
            let body = serde_json::to_string(&resource)
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let put = "INSERT INTO resources (id, body, manager, revision) VALUES (?, ?, ?, ?) \
                       ON CONFLICT (id) DO UPDATE SET body = excluded.body, manager = excluded.manager, revision = excluded.revision";
            sqlx::query(put)
                .bind(id.key())
                .bind(body)
                .bind(manager.as_str())
                .bind(revision)
                .execute(&mut **tx)
                .await
        }
        Change::Delete(..) => {
            sqlx::query("DELETE FROM resources WHERE id = ?").bind(id.key()).execute(&mut **tx).await
        }
    };
    done.map(|_| ()).map_err(|error| unavailable(&error))
}

fn id_of(resource: &Resource) -> Result<Scope, StoreError> {
    resource.id().map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn stored(row: &sqlx::sqlite::SqliteRow) -> Result<Stored, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(|error| unavailable(&error));
    let id = text("id")?;
    let corrupt = |why: String| StoreError::Corrupt { table: "resources", id: id.clone(), why };
    let resource = serde_json::from_str(&text("body")?).map_err(|error| corrupt(error.to_string()))?;
    let revision: i64 = row.try_get("revision").map_err(|error| unavailable(&error))?;
    let manager = match text("manager")?.as_str() {
        "directory" => Manager::Directory,
        "caller" => Manager::Caller,
        other => return Err(corrupt(format!("`{other}` is no manager"))),
    };
    Ok(Stored { resource, revision: u64::try_from(revision).unwrap_or(0), manager })
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, changes: Vec<Change>) -> Result<Revision, StoreError> {
        // The lock is taken at once: one that is upgraded later could fail without waiting.
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|error| unavailable(&error))?;
        let next = "UPDATE state SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'revision' RETURNING CAST(value AS INTEGER)";
        let row = sqlx::query(next).fetch_one(&mut *tx).await.map_err(|error| unavailable(&error))?;
        let revision: i64 = row.try_get(0).map_err(|error| unavailable(&error))?;
        for change in changes {
            apply(&mut tx, change, revision).await?;
        }
        tx.commit().await.map_err(|error| unavailable(&error))?;
        let revision = u64::try_from(revision).unwrap_or(0);
        self.feed.send_if_modified(|known| std::mem::replace(known, revision.max(*known)) != *known);
        Ok(revision)
    }

    async fn get(&self, id: &Scope) -> Result<Option<Stored>, StoreError> {
        let row =
            sqlx::query("SELECT id, body, manager, revision FROM resources WHERE id = ?").bind(id.key());
        let row = row.fetch_optional(&self.readers).await.map_err(|error| unavailable(&error))?;
        row.as_ref().map(stored).transpose()
    }

    async fn contents(&self) -> Result<Contents, StoreError> {
        let mut tx = self.readers.begin().await.map_err(|error| unavailable(&error))?;
        let revision = sqlx::query("SELECT CAST(value AS INTEGER) FROM state WHERE name = 'revision'");
        let row = revision.fetch_one(&mut *tx).await.map_err(|error| unavailable(&error))?;
        let revision: i64 = row.try_get(0).map_err(|error| unavailable(&error))?;
        let rows = sqlx::query("SELECT id, body, manager, revision FROM resources ORDER BY id");
        let rows = rows.fetch_all(&mut *tx).await.map_err(|error| unavailable(&error))?;
        let resources = rows.iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Contents { revision: u64::try_from(revision).unwrap_or(0), resources })
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let row = sqlx::query("SELECT CAST(value AS INTEGER) FROM state WHERE name = 'revision'");
        let row = row.fetch_one(&self.readers).await.map_err(|error| unavailable(&error))?;
        let revision: i64 = row.try_get(0).map_err(|error| unavailable(&error))?;
        Ok(u64::try_from(revision).unwrap_or(0))
    }

    fn feed(&self) -> watch::Receiver<Revision> {
        self.feed.subscribe()
    }

    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let put = sqlx::query("INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(value);
        put.execute(&self.writer).await.map_err(|error| unavailable(&error))?;
        let get = sqlx::query("SELECT value FROM state WHERE name = ?").bind(name);
        let row = get.fetch_one(&self.writer).await.map_err(|error| unavailable(&error))?;
        row.try_get(0).map_err(|error| unavailable(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn a_file_keeps_every_promise_of_a_store() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("s.db");
        conformance::run(&SqliteStore::open(&file).await.unwrap()).await;
        conformance::survives_reopening(SqliteStore::open(&file).await.unwrap(), async || {
            SqliteStore::open(&file).await.unwrap()
        })
        .await;
    }

    #[tokio::test]
    async fn memory_keeps_every_promise_but_the_last() {
        conformance::run(&SqliteStore::memory().await.unwrap()).await;
    }

    #[tokio::test]
    async fn a_missing_directory_is_named_with_the_remedy() {
        let error = SqliteStore::open(Path::new("/nonexistent/x/s.db")).await.unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/x/s.db") && error.contains("mkdir -p /nonexistent/x"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_named() {
        let store = SqliteStore::memory().await.unwrap();
        let put = "INSERT INTO resources (id, body, manager, revision) VALUES ('/x', '{}', 'caller', 1)";
        sqlx::query(put).execute(&store.writer).await.unwrap();
        let error = store.contents().await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { table: "resources", id, .. } if id == "/x"),
            "{error}"
        );
    }
}
