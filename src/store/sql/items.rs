//! Mini-batches as rows. Whoever takes or keeps several of them locks their job first, so that nobody counts what
//! another is about to take and nobody waits in a circle.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, AssertSqlSafe, Row};

use super::jobs::Place;
use super::schema::{DONE, ENDED, FAILED, HELD, SWEPT, WAITING};
use super::{SqlStore, int, json, nat};
use crate::model::job::{Counts, Failure};
use crate::model::scope::Scope;
use crate::store::StoreError;
use crate::store::jobs::{Claim, Ended, FileRef, Outcome, Part};

/// How many rows are written by one statement.
const ROWS: usize = 500;

fn corrupt(table: &'static str, item: i64) -> impl Fn(serde_json::Error) -> StoreError {
    move |error| StoreError::Corrupt { table, id: item.to_string(), why: error.to_string() }
}

/// A statement for this many rows of three values, of which the first is the same for all.
fn insert(columns: &str, rows: usize) -> String {
    let mut text = format!("INSERT INTO {columns} VALUES ");
    for row in 0..rows {
        let comma = if row == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}($1, ${}, ${})", 2 * row + 2, 2 * row + 3);
    }
    text.push_str(" ON CONFLICT DO NOTHING");
    text
}

/// Adds items from this index on, for whoever has the lead.
pub(super) async fn plan(
    store: &SqlStore,
    (place, fence): (&Place, i64),
    first: u64,
    items: &[Vec<FileRef>],
) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let led =
        "SELECT number FROM jobs WHERE workspace = $1 AND name = $2 AND fence = $3 AND ended = 0 {lock}";
    let Some(job) = store.lock_job(&mut tx, place, led, Some(fence)).await? else { return Ok(false) };
    let mut index = int(first);
    for some in items.chunks(ROWS) {
        let whole = some.len() == ROWS;
        let counts = AssertSqlSafe(insert("items (job, idx, file_count)", some.len()));
        let files = AssertSqlSafe(insert("item_files (job, idx, files)", some.len()));
        let mut counts = sqlx::query(counts).persistent(whole).bind(job);
        let mut all = sqlx::query(files).persistent(whole).bind(job);
        for files in some {
            counts = counts.bind(index).bind(int(files.len() as u64));
            all = all.bind(index).bind(json(files)?);
            index += 1;
        }
        counts.execute(&mut *tx).await?;
        all.execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// What a job's items come to.
pub(super) async fn counts(pool: &AnyPool, place: &Place) -> Result<Counts, StoreError> {
    let count = "SELECT count(*), \
        CAST(coalesce(sum(CASE stage WHEN $3 THEN 1 ELSE 0 END), 0) AS BIGINT), \
        CAST(coalesce(sum(CASE stage WHEN $4 THEN 1 ELSE 0 END), 0) AS BIGINT), \
        CAST(coalesce(sum(file_count), 0) AS BIGINT), \
        CAST(coalesce(sum(failures), 0) AS BIGINT), \
        CAST(coalesce(sum(predictions), 0) AS BIGINT), \
        CAST(coalesce(sum(failed), 0) AS BIGINT), \
        CAST(coalesce(sum(bytes_read), 0) AS BIGINT), \
        CAST(coalesce(sum(bytes_written), 0) AS BIGINT) \
        FROM items WHERE job = (SELECT number FROM jobs WHERE workspace = $1 AND name = $2)";
    let count = sqlx::query(count).bind(&place.workspace).bind(&place.name).bind(DONE).bind(FAILED);
    let row = count.fetch_one(pool).await?;
    let number = |column: usize| row.try_get(column).map(nat);
    Ok(Counts {
        mini_batches: number(0)?,
        done: number(1)?,
        failed: number(2)?,
        files: number(3)?,
        failures: number(4)?,
        rows: number(5)?,
        retries: number(6)?,
        bytes_read: number(7)?,
        bytes_written: number(8)?,
    })
}

/// Items that are done with, in their order.
pub(super) async fn ended(
    pool: &AnyPool,
    place: &Place,
    from: i64,
    most: u32,
) -> Result<Vec<Ended>, StoreError> {
    let list = "SELECT idx, stage, object, predictions, failures, bytes_read, bytes_written, told FROM items \
                WHERE job = (SELECT number FROM jobs WHERE workspace = $1 AND name = $2) \
                AND idx >= $3 AND stage >= $4 ORDER BY idx LIMIT $5";
    let rows = sqlx::query(list).bind(&place.workspace).bind(&place.name).bind(from).bind(DONE);
    rows.bind(i64::from(most)).fetch_all(pool).await?.iter().map(one_ended).collect()
}

fn one_ended(row: &AnyRow) -> Result<Ended, StoreError> {
    let index: i64 = row.try_get("idx")?;
    let number = |column: &str| row.try_get(column).map(nat);
    let told = match row.try_get::<Option<&str>, _>("told")? {
        None => Vec::new(),
        Some(text) => serde_json::from_str(text).map_err(corrupt("items", index))?,
    };
    let part = Part {
        object: row.try_get("object")?,
        rows: number("predictions")?,
        failures: number("failures")?,
        bytes_read: number("bytes_read")?,
        bytes_written: number("bytes_written")?,
        told,
    };
    Ok(Ended { index: nat(index), done: row.try_get::<i64, _>("stage")? == DONE, part })
}

/// Removes some items of a job that has ended, if there is one that has any.
pub(super) async fn sweep(store: &SqlStore) -> Result<bool, StoreError> {
    // A literal, for the index over such jobs.
    let ended = AssertSqlSafe(format!("SELECT number FROM jobs WHERE ended = {ENDED} LIMIT 1"));
    let job = sqlx::query(ended).fetch_optional(&store.readers).await?;
    let Some(job) = job else { return Ok(false) };
    let (job, mut removed) = (job.try_get::<i64, _>(0)?, 0);
    for table in ["item_files", "items"] {
        let some = format!(
            "DELETE FROM {table} WHERE job = $1 \
             AND idx IN (SELECT idx FROM {table} WHERE job = $1 ORDER BY idx LIMIT $2)"
        );
        let some = sqlx::query(AssertSqlSafe(some)).bind(job).bind(int(ROWS as u64));
        removed += some.execute(&store.writer).await?.rows_affected();
    }
    if removed == 0 {
        let swept = sqlx::query("UPDATE jobs SET ended = $2 WHERE number = $1").bind(job).bind(SWEPT);
        swept.execute(&store.writer).await?;
    }
    Ok(true)
}

/// Who wants how many items.
pub(super) struct Claiming<'a> {
    pub(super) job: &'a Scope,
    /// Now, and until when.
    pub(super) times: (i64, i64),
    pub(super) most: u32,
    /// How many may be held by everybody together.
    pub(super) in_all: u32,
}

/// Takes items that can be taken, the first ones first.
pub(super) async fn claim(
    store: &SqlStore,
    place: &Place,
    claiming: &Claiming<'_>,
) -> Result<Vec<Claim>, StoreError> {
    let (now, until) = claiming.times;
    let mut tx = store.write().await?;
    let running = "SELECT number FROM jobs WHERE workspace = $1 AND name = $2 AND status = 'Running' \
                   AND cancel = 0 {lock}";
    let Some(job) = store.lock_job(&mut tx, place, running, None).await? else { return Ok(Vec::new()) };
    // Whose time is over has lost it for good: if he could still keep it, more might be held than may be.
    let expired = "UPDATE items SET stage = $3 WHERE job = $1 AND stage = $4 AND lease <= $2";
    let expired = sqlx::query(expired).bind(job).bind(now).bind(WAITING).bind(HELD);
    expired.execute(&mut *tx).await?;
    let held = sqlx::query("SELECT count(*) FROM items WHERE job = $1 AND stage = $2").bind(job).bind(HELD);
    let held: i64 = held.fetch_one(&mut *tx).await?.try_get(0)?;
    let room = i64::from(claiming.most).min(i64::from(claiming.in_all) - held).max(0);
    let take = store.dialect.fill(
        "WITH free AS MATERIALIZED (\
            SELECT idx FROM items WHERE job = $1 AND stage = $2 AND not_before <= $3 ORDER BY idx LIMIT $4 {skip}\
         ) UPDATE items SET stage = $5, attempt = attempt + 1, lease = $6 \
         WHERE job = $1 AND idx IN (SELECT idx FROM free) \
         RETURNING idx, attempt, failed, \
         (SELECT files FROM item_files WHERE item_files.job = items.job AND item_files.idx = items.idx)",
    );
    let take = sqlx::query(take).bind(job).bind(WAITING).bind(now).bind(room);
    let taken = take.bind(HELD).bind(until).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    let mut claims = taken.iter().map(|row| claimed(row, claiming)).collect::<Result<Vec<_>, _>>()?;
    claims.sort_unstable_by_key(|claim| claim.index);
    Ok(claims)
}

fn claimed(row: &AnyRow, claiming: &Claiming<'_>) -> Result<Claim, StoreError> {
    let index: i64 = row.try_get(0)?;
    let small = |column: usize| {
        Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
    };
    Ok(Claim {
        job: claiming.job.clone(),
        index: nat(index),
        attempt: small(1)?,
        failed: small(2)?,
        files: serde_json::from_str(row.try_get(3)?).map_err(corrupt("item_files", index))?,
    })
}

/// Keeps claims, and gives those that are lost.
pub(super) async fn keep(store: &SqlStore, claims: &[Claim], until: i64) -> Result<Vec<Claim>, StoreError> {
    let mut by_job: BTreeMap<(String, String), Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        if let Some(Place { workspace, name }) = Place::of(&claim.job) {
            by_job.entry((workspace, name)).or_default().push(claim);
        }
    }
    let mut lost = Vec::new();
    let mut tx = store.write().await?;
    for ((workspace, name), claims) in by_job {
        let place = Place { workspace, name };
        let running =
            "SELECT number FROM jobs WHERE workspace = $1 AND name = $2 AND status = 'Running' {lock}";
        let Some(job) = store.lock_job(&mut tx, &place, running, None).await? else {
            lost.extend(claims.into_iter().cloned());
            continue;
        };
        let mut kept = HashSet::new();
        for some in claims.chunks(ROWS) {
            let pairs = (0..some.len()).map(|row| format!("(${}, ${})", 2 * row + 4, 2 * row + 5));
            let keep = format!(
                "UPDATE items SET lease = $3 WHERE job = $1 AND stage = $2 AND (idx, attempt) IN (VALUES {}) \
                 RETURNING idx",
                pairs.collect::<Vec<_>>().join(", ")
            );
            let mut keep =
                sqlx::query(AssertSqlSafe(keep)).persistent(false).bind(job).bind(HELD).bind(until);
            for claim in some {
                keep = keep.bind(int(claim.index)).bind(i64::from(claim.attempt));
            }
            for row in keep.fetch_all(&mut *tx).await? {
                kept.insert(nat(row.try_get(0)?));
            }
        }
        lost.extend(claims.into_iter().filter(|claim| !kept.contains(&claim.index)).cloned());
    }
    tx.commit().await?;
    Ok(lost)
}

/// Takes down what became of an item, if it is still held.
pub(super) async fn settle(
    store: &SqlStore,
    place: &Place,
    claim: &Claim,
    outcome: &Outcome,
) -> Result<bool, StoreError> {
    let nothing = Part::default();
    let (stage, failed, not_before, part) = match outcome {
        Outcome::Done(part) => (DONE, 0_i64, 0, part),
        Outcome::Failed(part) => (FAILED, 0, 0, part),
        Outcome::Again { not_before } => (WAITING, 1, *not_before, &nothing),
        Outcome::GivenUp => (WAITING, 0, 0, &nothing),
    };
    let told = if part.told.is_empty() { None } else { Some(json::<[Failure]>(&part.told)?) };
    // Who puts the output together has changed the job's status first, and then nothing settles any more.
    let settle = "UPDATE items SET stage = $5, failed = failed + $6, not_before = $7, object = $8, \
        predictions = $9, failures = $10, bytes_read = $11, bytes_written = $12, told = $13 \
        WHERE job = (SELECT number FROM jobs WHERE workspace = $1 AND name = $2 AND status = 'Running' {share}) \
        AND idx = $3 AND attempt = $4 AND stage = $14";
    let (index, attempt) = (int(claim.index), i64::from(claim.attempt));
    let settle = sqlx::query(store.dialect.fill(settle))
        .bind(&place.workspace)
        .bind(&place.name)
        .bind(index)
        .bind(attempt)
        .bind(stage)
        .bind(failed)
        .bind(not_before)
        .bind(part.object.clone())
        .bind(int(part.rows))
        .bind(int(part.failures))
        .bind(int(part.bytes_read))
        .bind(int(part.bytes_written))
        .bind(told)
        .bind(HELD);
    if settle.execute(&store.writer).await?.rows_affected() > 0 {
        return Ok(true);
    }
    // Said again, because the answer was lost: it is as he says.
    let same = "SELECT count(*) FROM items WHERE job = (SELECT number FROM jobs WHERE workspace = $1 AND name = $2) \
                AND idx = $3 AND attempt = $4 AND stage = $5 AND stage >= $6";
    let same = sqlx::query(same).bind(&place.workspace).bind(&place.name).bind(index).bind(attempt);
    let same = same.bind(stage).bind(DONE);
    Ok(same.fetch_one(&store.writer).await?.try_get::<i64, _>(0)? > 0)
}
