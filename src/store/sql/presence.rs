//! Which gateways carry out jobs: each says so again and again, and is forgotten when it stops saying it.

use sqlx::{AnyPool, Row};

use crate::store::StoreError;

/// Says that a gateway is there until then, and gives how many are at `now`.
pub(super) async fn say(pool: &AnyPool, holder: &str, (now, until): (i64, i64)) -> Result<u64, StoreError> {
    let mut tx = pool.begin().await?;
    let put = "INSERT INTO gateways (holder, lease) VALUES ($1, $2) \
               ON CONFLICT (holder) DO UPDATE SET lease = excluded.lease";
    sqlx::query(put).bind(holder).bind(until).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM gateways WHERE lease <= $1").bind(now).execute(&mut *tx).await?;
    let count = sqlx::query("SELECT count(*) FROM gateways").fetch_one(&mut *tx).await?;
    let count: i64 = count.try_get(0)?;
    tx.commit().await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
