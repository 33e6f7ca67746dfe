//! One batch of changes, while it is being made.

use std::sync::Arc;

use sqlx::{Any, Row, Transaction};

use super::audit::sha256;
use super::{int, json, nat};
use crate::model::audit::{System, Touched};
use crate::model::resource::Resource;
use crate::model::scope::Scope;
use crate::store::{Change, Expect, Manager, StoreError, Stored};

/// One batch while it is being made.
pub(super) struct Making {
    pub(super) tx: Transaction<'static, Any>,
    /// The revision that it leads to.
    pub(super) revision: u64,
    /// Who makes it, and when.
    pub(super) system: System,
    /// What it did so far, for its record.
    pub(super) touched: Vec<Touched>,
    /// What it wrote so far.
    pub(super) written: Vec<Arc<Stored>>,
}

/// The id of a resource that is to be kept.
pub(super) fn id_of(resource: &Resource) -> Result<Scope, StoreError> {
    resource.id().map_err(|error| StoreError::Unavailable(error.to_string()))
}

impl Making {
    /// Makes a change, if what it expects is so.
    pub(super) async fn apply(&mut self, change: Change) -> Result<(), StoreError> {
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
        let found = sqlx::query("SELECT revision, body, system FROM resources WHERE id = $1").bind(id.key());
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
            let (resource, revision) = (*resource, self.revision);
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
        let body = json(resource)?;
        let put = "INSERT INTO resources (id, body, manager, system, revision) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (id) DO UPDATE SET body = excluded.body, manager = excluded.manager, \
                   system = excluded.system, revision = excluded.revision";
        sqlx::query(put)
            .bind(id.key())
            .bind(&body)
            .bind(manager.as_str())
            .bind(json(system)?)
            .bind(int(self.revision))
            .execute(&mut *self.tx)
            .await?;
        sqlx::query("DELETE FROM gone WHERE id = $1").bind(id.key()).execute(&mut *self.tx).await?;
        for claim in resource.claims() {
            let holder = sqlx::query("SELECT id FROM claims WHERE claim = $1").bind(&claim);
            if let Some(row) = holder.fetch_optional(&mut *self.tx).await? {
                return Err(StoreError::Taken { id: id.clone(), holder: row.try_get(0)? });
            }
            let make = sqlx::query("INSERT INTO claims (claim, id) VALUES ($1, $2)").bind(claim);
            make.bind(id.key()).execute(&mut *self.tx).await?;
        }
        Ok(sha256(&body))
    }

    async fn unclaimed(&mut self, start: &str) -> Result<(), StoreError> {
        let found = sqlx::query("SELECT id FROM claims WHERE claim >= $1 AND claim < $2 LIMIT 1");
        // No claim holds a character as high.
        let found = found.bind(start).bind(format!("{start}\u{10ffff}"));
        match found.fetch_optional(&mut *self.tx).await? {
            None => Ok(()),
            Some(row) => Err(StoreError::Taken { id: Scope::root(), holder: row.try_get(0)? }),
        }
    }

    /// Gives up what a resource alone may have.
    pub(super) async fn release(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM claims WHERE id = $1").bind(id).execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM resources WHERE id = $1").bind(id).execute(&mut *self.tx).await?;
        self.release(id).await?;
        let gone = "INSERT INTO gone (id, revision) VALUES ($1, $2) \
                    ON CONFLICT (id) DO UPDATE SET revision = excluded.revision";
        sqlx::query(gone).bind(id).bind(int(self.revision)).execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn delete_below(&mut self, id: &Scope) -> Result<(), StoreError> {
        // `0` is the character after `/`.
        let below =
            sqlx::query("SELECT id, body, manager FROM resources WHERE id > $1 AND id < $2 ORDER BY id");
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
}

/// Takes the place of the next writer of resources, who are in a line, and gives the revision: the next one, or the
/// present one for a batch that changes nothing.
pub(super) async fn take_turn(
    tx: &mut Transaction<'static, Any>,
    changes_anything: bool,
) -> Result<u64, StoreError> {
    let next = "UPDATE state SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) WHERE name = 'revision' \
                RETURNING CAST(value AS BIGINT)";
    let row = sqlx::query(next).bind(i64::from(changes_anything)).fetch_one(&mut **tx).await?;
    Ok(nat(row.try_get(0)?))
}
