//! The audit's records as rows.

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};
use uuid::Uuid;

use super::{int, json, nat};
use crate::model::audit::{Deed, Record, Touched};
use crate::store::chain::{Chain, ORIGIN, hex};
use crate::store::{AuditRow, Revision, StoreError};

/// SHA-256 of a text, in hex.
pub(super) fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Writes the record of a deed as the chain's next link.
pub(super) async fn record(
    tx: &mut Transaction<'static, Any>,
    chain: &Chain,
    deed: Deed,
    (revision, changes): (Revision, Vec<Touched>),
) -> Result<(), StoreError> {
    let last = sqlx::query("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1");
    let (sequence, before) = match last.fetch_optional(&mut **tx).await? {
        None => (0, ORIGIN),
        Some(row) => link(&row)?,
    };
    let operation = deed.operation.to_string();
    let record = Record { sequence: sequence + 1, revision, deed, changes };
    let text = json(&record)?;
    let hash = chain.next(&before, &text);
    let put = "INSERT INTO audit (sequence, operation, record, hash) VALUES ($1, $2, $3, $4)";
    let put = sqlx::query(put).bind(int(record.sequence)).bind(operation).bind(text).bind(hash.to_vec());
    put.execute(&mut **tx).await?;
    let head = format!("{}:{}", record.sequence, hex(&chain.seal(record.sequence, &hash)));
    let put = "INSERT INTO state (name, value) VALUES ('audit', $1) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(put).bind(head).execute(&mut **tx).await?;
    Ok(())
}

fn link(row: &AnyRow) -> Result<(u64, [u8; 32]), StoreError> {
    let sequence: i64 = row.try_get("sequence")?;
    let hash: Vec<u8> = row.try_get("hash")?;
    let corrupt = || StoreError::Corrupt {
        table: "audit",
        id: sequence.to_string(),
        why: "its hash is not 32 bytes".to_owned(),
    };
    Ok((nat(sequence), hash.try_into().map_err(|_| corrupt())?))
}

/// Records after this number.
pub(super) async fn rows(pool: &AnyPool, after: u64, most: u32) -> Result<Vec<AuditRow>, StoreError> {
    let rows = "SELECT sequence, record, hash FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    let rows = sqlx::query(rows).bind(int(after)).bind(i64::from(most)).fetch_all(pool).await?;
    let each = rows.iter().map(|row| {
        let (sequence, hash) = link(row)?;
        Ok(AuditRow { sequence, text: row.try_get("record")?, hash })
    });
    each.collect()
}

/// Reads the trail's remembered end: a number and a seal.
pub(super) fn head(text: &str) -> Result<(u64, [u8; 32]), StoreError> {
    let parse = || {
        let (sequence, digits) = text.split_once(':')?;
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
        let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
        Some((sequence.parse().ok()?, bytes.try_into().ok()?))
    };
    parse().ok_or_else(|| StoreError::Corrupt {
        table: "state",
        id: "audit".to_owned(),
        why: "not a number and a hash".to_owned(),
    })
}

/// The record of one operation.
pub(super) async fn operation(pool: &AnyPool, id: Uuid) -> Result<Option<Record>, StoreError> {
    let row = sqlx::query("SELECT record FROM audit WHERE operation = $1").bind(id.to_string());
    let Some(row) = row.fetch_optional(pool).await? else { return Ok(None) };
    let corrupt = |error: serde_json::Error| StoreError::Corrupt {
        table: "audit",
        id: id.to_string(),
        why: error.to_string(),
    };
    serde_json::from_str(&row.try_get::<String, _>(0)?).map_err(corrupt).map(Some)
}
