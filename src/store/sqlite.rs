//! The store in a SQLite file: write-ahead log, synced before a batch is acknowledged, one writer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

use super::chain::{Chain, ORIGIN, hex};
use super::{
    AuditRow, Batch, Change, Committed, Contents, Delta, Expect, Manager, Revision, Store, StoreError, Stored,
};
use crate::model::audit::{Deed, Record, System, Touched};
use crate::model::resource::Resource;
use crate::model::scope::Scope;

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// How long a writer waits for those before it.
const TURN: Duration = Duration::from_secs(25);
/// For how many revisions it is remembered what was removed.
const REMEMBERED: i64 = 100_000;
/// The layout of the tables below.
const LAYOUT: &str = "2";

const SCHEMA: &str = "\
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resources (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, manager TEXT NOT NULL, system TEXT NOT NULL, revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resources_by_revision ON resources (revision);
CREATE TABLE IF NOT EXISTS gone (id TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS gone_by_revision ON gone (revision);
CREATE TABLE IF NOT EXISTS claims (claim TEXT PRIMARY KEY, id TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_by_id ON claims (id);
CREATE TABLE IF NOT EXISTS audit (
    sequence INTEGER PRIMARY KEY, operation TEXT NOT NULL, record TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS audit_by_operation ON audit (operation);
INSERT INTO state (name, value) VALUES ('revision', '0') ON CONFLICT DO NOTHING;";

/// A SQLite store.
#[derive(Debug)]
pub struct SqliteStore {
    /// One connection: writers queue here instead of failing on each other's locks.
    writer: SqlitePool,
    readers: SqlitePool,
    feed: watch::Sender<Revision>,
    chain: Chain,
}

fn unavailable(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        unavailable(&error)
    }
}

impl SqliteStore {
    /// Opens a file, making it if it is not there. Its directory must exist.
    pub async fn open(file: &Path, chain: Chain) -> Result<SqliteStore, StoreError> {
        let wrong = |why: String| StoreError::Open { file: file.to_owned(), why };
        SqliteStore::check_place(file)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let open = |most: u32| SqlitePoolOptions::new().max_connections(most).acquire_timeout(TURN);
        let writer = open(1).connect_with(options.clone()).await.map_err(|error| wrong(error.to_string()))?;
        let readers = open(2).connect_with(options).await.map_err(|error| wrong(error.to_string()))?;
        let store = SqliteStore::with(writer, readers, chain).await;
        store.map_err(|error| match error {
            StoreError::Unavailable(why) => wrong(why),
            other => other,
        })
    }

    /// Whether a file could be made there.
    pub fn check_place(file: &Path) -> Result<(), StoreError> {
        match file.parent() {
            Some(directory) if !directory.as_os_str().is_empty() && !directory.is_dir() => {
                let why = format!("there is no directory {0}; run mkdir -p {0}", directory.display());
                Err(StoreError::Open { file: file.to_owned(), why })
            }
            _ => Ok(()),
        }
    }

    /// A store that lives only as long as the process.
    pub async fn memory(chain: Chain) -> Result<SqliteStore, StoreError> {
        let options = SqliteConnectOptions::new().in_memory(true);
        // The database is the connection's own, so that one is all there is, for ever.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect_with(options).await?;
        SqliteStore::with(pool.clone(), pool, chain).await
    }

    async fn with(writer: SqlitePool, readers: SqlitePool, chain: Chain) -> Result<SqliteStore, StoreError> {
        let store = SqliteStore { writer, readers, feed: watch::Sender::new(0), chain };
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'state'";
        let known = sqlx::query(tables).fetch_one(&store.writer).await?.try_get::<i64, _>(0)? > 0;
        sqlx::raw_sql(SCHEMA).execute(&store.writer).await?;
        let layout = if known { store.state("schema").await? } else { None };
        if known && layout.as_deref() != Some(LAYOUT) {
            let found = layout.as_deref().unwrap_or("none");
            return Err(StoreError::Unavailable(format!(
                "it has layout {found} and this version uses {LAYOUT}; start with a new store and apply the resources to it"
            )));
        }
        store.remember("schema", LAYOUT).await?;
        let revision = store.revision().await?;
        store.feed.send_replace(revision);
        Ok(store)
    }

    async fn state(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM state WHERE name = ?").bind(name);
        let row = row.fetch_optional(&self.writer).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

/// One batch while it is being made.
struct Making<'a> {
    tx: Transaction<'a, Sqlite>,
    revision: i64,
    system: System,
    touched: Vec<Touched>,
    written: Vec<Arc<Stored>>,
}

fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

impl Making<'_> {
    async fn apply(&mut self, change: Change) -> Result<(), StoreError> {
        if let Change::RequireUnclaimed(start) = &change {
            return self.unclaimed(start).await;
        }
        let (id, expect) = match &change {
            Change::Put(resource, _, expect) => (id_of(resource)?, *expect),
            Change::Delete(id, expect) | Change::DeleteTree(id, expect) | Change::Require(id, expect) => {
                (id.clone(), *expect)
            }
            Change::RequireUnclaimed(_) => return Ok(()),
        };
        let found = sqlx::query("SELECT revision, body, system FROM resources WHERE id = ?").bind(id.key());
        let found = found.fetch_optional(&mut *self.tx).await?;
        let at: Option<i64> = found.as_ref().map(|row| row.try_get(0)).transpose()?;
        let as_expected = match expect {
            Expect::Anything => true,
            Expect::Absent => at.is_none(),
            Expect::Present => at.is_some(),
            Expect::At(revision) => at.is_some_and(|at| u64::try_from(at).ok() == Some(revision)),
        };
        if !as_expected {
            return Err(StoreError::Conflict { id });
        }
        if let Change::Require(..) = change {
            return Ok(());
        }
        if let Change::DeleteTree(..) = change {
            self.delete_below(&id).await?;
        }
        let before: Option<String> = found.as_ref().map(|row| row.try_get(1)).transpose()?;
        let before = before.as_deref().map(sha256);
        if let Change::Put(resource, manager, _) = change {
            let mut system = self.system.clone();
            if let Some(row) = &found
                && let Ok(known) = serde_json::from_str::<System>(&row.try_get::<String, _>(2)?)
            {
                (system.created_by, system.created_at) = (known.created_by, known.created_at);
            }
            let after = self.put(&id, &resource, manager, &system).await?;
            let (resource, revision) = (*resource, u64::try_from(self.revision).unwrap_or(0));
            self.written.push(Arc::new(Stored { resource, revision, manager, system }));
            self.touched.push(Touched { id: id.key().to_owned(), before, after: Some(after) });
        } else if found.is_some() {
            self.delete(id.key()).await?;
            self.touched.push(Touched { id: id.key().to_owned(), before, after: None });
        }
        Ok(())
    }

    async fn put(
        &mut self,
        id: &Scope,
        resource: &Resource,
        manager: Manager,
        system: &System,
    ) -> Result<String, StoreError> {
        let json = |error: serde_json::Error| StoreError::Unavailable(error.to_string());
        let body = serde_json::to_string(resource).map_err(json)?;
        let put = "INSERT INTO resources (id, body, manager, system, revision) VALUES (?, ?, ?, ?, ?) \
                   ON CONFLICT (id) DO UPDATE SET body = excluded.body, manager = excluded.manager, \
                   system = excluded.system, revision = excluded.revision";
        sqlx::query(put)
            .bind(id.key())
            .bind(&body)
            .bind(manager.as_str())
            .bind(serde_json::to_string(system).map_err(json)?)
            .bind(self.revision)
            .execute(&mut *self.tx)
            .await?;
        sqlx::query("DELETE FROM gone WHERE id = ?").bind(id.key()).execute(&mut *self.tx).await?;
        for claim in resource.claims() {
            let holder = sqlx::query("SELECT id FROM claims WHERE claim = ?").bind(&claim);
            if let Some(row) = holder.fetch_optional(&mut *self.tx).await? {
                return Err(StoreError::Taken { id: id.clone(), holder: row.try_get(0)? });
            }
            let make = sqlx::query("INSERT INTO claims (claim, id) VALUES (?, ?)").bind(claim).bind(id.key());
            make.execute(&mut *self.tx).await?;
        }
        Ok(sha256(&body))
    }

    async fn unclaimed(&mut self, start: &str) -> Result<(), StoreError> {
        let found = sqlx::query("SELECT id FROM claims WHERE claim >= ? AND claim < ? LIMIT 1");
        // No claim holds a character as high.
        let found = found.bind(start).bind(format!("{start}\u{10ffff}"));
        match found.fetch_optional(&mut *self.tx).await? {
            None => Ok(()),
            Some(row) => Err(StoreError::Taken { id: Scope::root(), holder: row.try_get(0)? }),
        }
    }

    /// Gives up what a resource alone may have.
    async fn release(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM claims WHERE id = ?").bind(id).execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM resources WHERE id = ?").bind(id).execute(&mut *self.tx).await?;
        self.release(id).await?;
        let gone = "INSERT INTO gone (id, revision) VALUES (?, ?) \
                    ON CONFLICT (id) DO UPDATE SET revision = excluded.revision";
        sqlx::query(gone).bind(id).bind(self.revision).execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn delete_below(&mut self, id: &Scope) -> Result<(), StoreError> {
        // `0` is the character after `/`.
        let below =
            sqlx::query("SELECT id, body, manager FROM resources WHERE id > ? AND id < ? ORDER BY id");
        let below = below.bind(format!("{}/", id.key())).bind(format!("{}0", id.key()));
        for row in below.fetch_all(&mut *self.tx).await? {
            let (key, body): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            if row.try_get::<String, _>(2)? == Manager::Directory.as_str() {
                return Err(StoreError::Kept { id: key });
            }
            self.delete(&key).await?;
            self.touched.push(Touched { id: key, before: Some(sha256(&body)), after: None });
        }
        Ok(())
    }

    /// Writes the record of it all as the chain's next link.
    async fn record(&mut self, deed: Deed, chain: &Chain) -> Result<(), StoreError> {
        let last = sqlx::query("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1");
        let (sequence, before) = match last.fetch_optional(&mut *self.tx).await? {
            None => (0, ORIGIN),
            Some(row) => audit_link(&row)?,
        };
        let operation = deed.operation.to_string();
        let changes = std::mem::take(&mut self.touched);
        let revision = u64::try_from(self.revision).unwrap_or(0);
        let record = Record { sequence: sequence + 1, revision, deed, changes };
        let text =
            serde_json::to_string(&record).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let hash = chain.next(&before, &text);
        let put = "INSERT INTO audit (sequence, operation, record, hash) VALUES (?, ?, ?, ?)";
        sqlx::query(put)
            .bind(i64::try_from(record.sequence).unwrap_or(i64::MAX))
            .bind(operation)
            .bind(text)
            .bind(hash.to_vec())
            .execute(&mut *self.tx)
            .await?;
        let head = format!("{}:{}", record.sequence, hex(&chain.seal(record.sequence, &hash)));
        let put = "INSERT INTO state (name, value) VALUES ('audit', ?) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        sqlx::query(put).bind(head).execute(&mut *self.tx).await?;
        Ok(())
    }
}

fn audit_link(row: &SqliteRow) -> Result<(u64, [u8; 32]), StoreError> {
    let sequence: i64 = row.try_get("sequence")?;
    let hash: Vec<u8> = row.try_get("hash")?;
    let corrupt = || StoreError::Corrupt {
        table: "audit",
        id: sequence.to_string(),
        why: "its hash is not 32 bytes".to_owned(),
    };
    Ok((u64::try_from(sequence).unwrap_or(0), hash.try_into().map_err(|_| corrupt())?))
}

fn id_of(resource: &Resource) -> Result<Scope, StoreError> {
    resource.id().map_err(|error| StoreError::Unavailable(error.to_string()))
}

const ONE: &str = "SELECT id, body, manager, system, revision FROM resources WHERE id = ?";
const ALL: &str = "SELECT id, body, manager, system, revision FROM resources";
const NEWER: &str = "SELECT id, body, manager, system, revision FROM resources WHERE revision > ?";

fn stored(row: &SqliteRow) -> Result<(String, Arc<Stored>), StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |why: String| StoreError::Corrupt { table: "resources", id: id.clone(), why };
    let text = |column: &str| row.try_get::<String, _>(column);
    let resource = serde_json::from_str(&text("body")?).map_err(|error| corrupt(error.to_string()))?;
    let system = serde_json::from_str(&text("system")?).map_err(|error| corrupt(error.to_string()))?;
    let revision: i64 = row.try_get("revision")?;
    let manager = match text("manager")?.as_str() {
        "directory" => Manager::Directory,
        "caller" => Manager::Caller,
        other => return Err(corrupt(format!("`{other}` is no manager"))),
    };
    let stored = Stored { resource, revision: u64::try_from(revision).unwrap_or(0), manager, system };
    Ok((id, Arc::new(stored)))
}

async fn revision_in(tx: &mut Transaction<'_, Sqlite>) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT CAST(value AS INTEGER) FROM state WHERE name = 'revision'");
    Ok(row.fetch_one(&mut **tx).await?.try_get(0)?)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, Batch { changes, deed }: Batch) -> Result<Committed, StoreError> {
        // The lock is taken at once: one that is upgraded later could fail without waiting.
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let changes_anything =
            changes.iter().any(|change| !matches!(change, Change::Require(..) | Change::RequireUnclaimed(_)));
        let revision = if changes_anything {
            let next = "UPDATE state SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'revision' RETURNING CAST(value AS INTEGER)";
            sqlx::query(next).fetch_one(&mut *tx).await?.try_get(0)?
        } else {
            revision_in(&mut tx).await?
        };
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
        if changes_anything {
            let old = sqlx::query("DELETE FROM gone WHERE revision < ?").bind(revision - REMEMBERED);
            old.execute(&mut *making.tx).await?;
        }
        making.record(deed, &self.chain).await?;
        let Making { tx, written, .. } = making;
        tx.commit().await?;
        let revision = u64::try_from(revision).unwrap_or(0);
        self.feed.send_if_modified(|known| std::mem::replace(known, revision.max(*known)) != *known);
        Ok(Committed { revision, written })
    }

    async fn get(&self, id: &Scope) -> Result<Option<Arc<Stored>>, StoreError> {
        let row = sqlx::query(ONE).bind(id.key()).fetch_optional(&self.readers).await?;
        Ok(row.as_ref().map(stored).transpose()?.map(|(_, stored)| stored))
    }

    async fn contents(&self) -> Result<Contents, StoreError> {
        let mut tx = self.readers.begin().await?;
        let revision = revision_in(&mut tx).await?;
        let rows = sqlx::query(ALL).fetch_all(&mut *tx).await?;
        let resources = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        Ok(Contents::new(u64::try_from(revision).unwrap_or(0), resources))
    }

    async fn since(&self, revision: Revision) -> Result<Option<Delta>, StoreError> {
        let mut tx = self.readers.begin().await?;
        let now = revision_in(&mut tx).await?;
        let since = i64::try_from(revision).unwrap_or(i64::MAX);
        if since < now - REMEMBERED || since > now {
            return Ok(None);
        }
        let rows = sqlx::query(NEWER).bind(since).fetch_all(&mut *tx).await?;
        let put = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let gone = sqlx::query("SELECT id FROM gone WHERE revision > ?").bind(since);
        let gone = gone.fetch_all(&mut *tx).await?;
        let gone = gone.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        Ok(Some(Delta { revision: u64::try_from(now).unwrap_or(0), put, gone }))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let row = sqlx::query("SELECT CAST(value AS INTEGER) FROM state WHERE name = 'revision'");
        let revision: i64 = row.fetch_one(&self.readers).await?.try_get(0)?;
        Ok(u64::try_from(revision).unwrap_or(0))
    }

    fn feed(&self) -> watch::Receiver<Revision> {
        self.feed.subscribe()
    }

    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let put = sqlx::query("INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(value);
        put.execute(&self.writer).await?;
        Ok(self.state(name).await?.unwrap_or_else(|| value.to_owned()))
    }

    async fn audit(&self, after: u64, most: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = "SELECT sequence, record, hash FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?";
        let rows = sqlx::query(rows).bind(i64::try_from(after).unwrap_or(i64::MAX)).bind(most);
        let rows = rows.fetch_all(&self.readers).await?;
        let each = rows.iter().map(|row| {
            let (sequence, hash) = audit_link(row)?;
            Ok(AuditRow { sequence, text: row.try_get("record")?, hash })
        });
        each.collect()
    }

    async fn audit_head(&self) -> Result<Option<(u64, [u8; 32])>, StoreError> {
        let Some(text) = self.state("audit").await? else { return Ok(None) };
        let parse = || {
            let (sequence, digits) = text.split_once(':')?;
            let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
            let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
            Some((sequence.parse().ok()?, bytes.try_into().ok()?))
        };
        let corrupt = || StoreError::Corrupt {
            table: "state",
            id: "audit".to_owned(),
            why: "not a number and a hash".to_owned(),
        };
        parse().ok_or_else(corrupt).map(Some)
    }

    async fn operation(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        let row = sqlx::query("SELECT record FROM audit WHERE operation = ?").bind(id.to_string());
        let Some(row) = row.fetch_optional(&self.readers).await? else { return Ok(None) };
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            table: "audit",
            id: id.to_string(),
            why: error.to_string(),
        };
        serde_json::from_str(&row.try_get::<String, _>(0)?).map_err(corrupt).map(Some)
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
        conformance::run(&SqliteStore::open(&file, conformance::chain()).await.unwrap()).await;
        conformance::survives_reopening(
            SqliteStore::open(&file, conformance::chain()).await.unwrap(),
            async || SqliteStore::open(&file, conformance::chain()).await.unwrap(),
        )
        .await;
    }

    #[tokio::test]
    async fn memory_keeps_every_promise_but_the_last() {
        conformance::run(&SqliteStore::memory(conformance::chain()).await.unwrap()).await;
    }

    #[tokio::test]
    async fn a_missing_directory_is_named_with_the_remedy() {
        let error = SqliteStore::open(Path::new("/nonexistent/x/s.db"), conformance::chain())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/x/s.db") && error.contains("mkdir -p /nonexistent/x"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_named() {
        let store = SqliteStore::memory(conformance::chain()).await.unwrap();
        let put = "INSERT INTO resources (id, body, manager, system, revision) VALUES ('/x', '{}', 'caller', '{}', 1)";
        sqlx::query(put).execute(&store.writer).await.unwrap();
        let error = store.contents().await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { table: "resources", id, .. } if id == "/x"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn whatever_is_done_to_the_audit_shows() {
        for (how, expected) in [
            (
                "UPDATE audit SET record = replace(record, 'Test/write', 'Test/read_') WHERE sequence = 2",
                "record 2 was changed",
            ),
            ("DELETE FROM audit WHERE sequence = 2", "record 2 is missing"),
            ("DELETE FROM audit WHERE sequence = 3", "ends at record 2, and record 3 was written"),
            ("DELETE FROM audit", "ends at record 0"),
            ("DELETE FROM state WHERE name = 'audit'", "ends at record 3"),
            ("UPDATE audit SET sequence = sequence + 10 WHERE sequence = 3", "record 3 is missing"),
            (
                "UPDATE audit SET hash = (SELECT hash FROM audit WHERE sequence = 1) WHERE sequence = 2",
                "record 2 was changed",
            ),
        ] {
            let store = SqliteStore::memory(conformance::chain()).await.unwrap();
            for _ in 0..3 {
                conformance::commit(&store, Vec::new()).await.unwrap();
            }
            assert_eq!(conformance::chain().verify(&store, |_, _| {}).await.unwrap().records, 3);
            sqlx::query(how).execute(&store.writer).await.unwrap();
            let broken = conformance::chain().verify(&store, |_, _| {}).await.unwrap_err().to_string();
            assert!(broken.contains(expected), "{how}: {broken}");
        }
    }

    #[tokio::test]
    async fn a_store_of_another_layout_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("s.db");
        let store = SqliteStore::open(&file, conformance::chain()).await.unwrap();
        sqlx::query("UPDATE state SET value = '1' WHERE name = 'schema'")
            .execute(&store.writer)
            .await
            .unwrap();
        drop(store);
        let error = SqliteStore::open(&file, conformance::chain()).await.unwrap_err().to_string();
        assert!(error.contains("layout 1") && error.contains("s.db"), "{error}");
    }
}
