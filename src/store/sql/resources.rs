//! Resources as rows: one, all, and what changed.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use super::{REMEMBERED, int, nat};
use crate::model::scope::Scope;
use crate::store::{Contents, Delta, Manager, Revision, StoreError, Stored};

/// Reads the present revision.
pub(super) const REVISION: &str = "SELECT CAST(value AS BIGINT) FROM state WHERE name = 'revision'";
const ONE: &str = "SELECT id, body, manager, system, revision FROM resources WHERE id = $1";
const ALL: &str = "SELECT id, body, manager, system, revision FROM resources";
const NEWER: &str = "SELECT id, body, manager, system, revision FROM resources WHERE revision > $1";

fn stored(row: &AnyRow) -> Result<(String, Arc<Stored>), StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |why: String| StoreError::Corrupt { table: "resources", id: id.clone(), why };
    let text = |column: &str| row.try_get::<&str, _>(column);
    let resource = serde_json::from_str(text("body")?).map_err(|error| corrupt(error.to_string()))?;
    let system = serde_json::from_str(text("system")?).map_err(|error| corrupt(error.to_string()))?;
    let revision = nat(row.try_get("revision")?);
    let manager = match text("manager")? {
        "directory" => Manager::Directory,
        "caller" => Manager::Caller,
        other => return Err(corrupt(format!("`{other}` is no manager"))),
    };
    Ok((id, Arc::new(Stored { resource, revision, manager, system })))
}

/// One resource.
pub(super) async fn one(pool: &AnyPool, id: &Scope) -> Result<Option<Arc<Stored>>, StoreError> {
    let row = sqlx::query(ONE).bind(id.key()).fetch_optional(pool).await?;
    Ok(row.as_ref().map(stored).transpose()?.map(|(_, stored)| stored))
}

/// Everything, as the transaction sees it.
pub(super) async fn all(mut tx: Transaction<'static, Any>) -> Result<Contents, StoreError> {
    let revision = nat(sqlx::query(REVISION).fetch_one(&mut *tx).await?.try_get(0)?);
    let rows = sqlx::query(ALL).fetch_all(&mut *tx).await?;
    let resources = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    Ok(Contents::new(revision, resources))
}

/// What changed after a revision, if that is known.
pub(super) async fn since(
    mut tx: Transaction<'static, Any>,
    since: Revision,
) -> Result<Option<Delta>, StoreError> {
    let revision = nat(sqlx::query(REVISION).fetch_one(&mut *tx).await?.try_get(0)?);
    if since < revision.saturating_sub(REMEMBERED) || since > revision {
        return Ok(None);
    }
    let rows = sqlx::query(NEWER).bind(int(since)).fetch_all(&mut *tx).await?;
    let put = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    let gone = sqlx::query("SELECT id FROM gone WHERE revision > $1").bind(int(since));
    let gone = gone.fetch_all(&mut *tx).await?;
    let gone = gone.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok(Some(Delta { revision, put, gone }))
}
