//! The tables, and their layout's number.

use sqlx::{Any, Row, Transaction};

use super::dialect::Dialect;

/// The layout of the tables below.
const LAYOUT: &str = "3";
/// The layout before, which had the same tables of resources and none of jobs.
const WITHOUT_JOBS: &str = "2";

/// `stage` of an item: waits.
pub(super) const WAITING: i64 = 0;
/// `stage` of an item: somebody works on it.
pub(super) const HELD: i64 = 1;
/// `stage` of an item: succeeded. From here on it has ended.
pub(super) const DONE: i64 = 2;
/// `stage` of an item: failed for good.
pub(super) const FAILED: i64 = 3;

/// `ended` of a job: it has, and its items may still be there. Before that it is 0.
pub(super) const ENDED: i64 = 1;
/// `ended` of a job: it has, and has no items any more.
pub(super) const SWEPT: i64 = 2;

// Of an item what changes often and is counted is apart from its files, which are long and never change.
const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS state (name {text} PRIMARY KEY, value {text} NOT NULL) {keyed};
CREATE TABLE IF NOT EXISTS resources (
    id {text} PRIMARY KEY, body {text} NOT NULL, manager {text} NOT NULL, system {text} NOT NULL, revision {int} NOT NULL
) {keyed};
CREATE INDEX IF NOT EXISTS resources_by_revision ON resources (revision);
CREATE TABLE IF NOT EXISTS gone (id {text} PRIMARY KEY, revision {int} NOT NULL) {keyed};
CREATE INDEX IF NOT EXISTS gone_by_revision ON gone (revision);
CREATE TABLE IF NOT EXISTS claims (claim {text} PRIMARY KEY, id {text} NOT NULL) {keyed};
CREATE INDEX IF NOT EXISTS claims_by_id ON claims (id);
CREATE TABLE IF NOT EXISTS audit (
    sequence {int} PRIMARY KEY, operation {text} NOT NULL, record {text} NOT NULL, hash {bytes} NOT NULL
) {numbered};
CREATE INDEX IF NOT EXISTS audit_by_operation ON audit (operation);
CREATE TABLE IF NOT EXISTS jobs (
    number {number},
    workspace {text} NOT NULL, name {text} NOT NULL, created {int} NOT NULL,
    endpoint {text} NOT NULL, deployment {text} NOT NULL, owner {text} NOT NULL, request {text},
    spec {text} NOT NULL, state {text} NOT NULL, status {text} NOT NULL, ended {int} NOT NULL,
    cancel {int} NOT NULL, sealed {text},
    fence {int} NOT NULL DEFAULT 0, lease {int} NOT NULL DEFAULT 0
) {numbered};
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_name ON jobs (workspace, name);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_request ON jobs (workspace, endpoint, owner, request);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (workspace, created, name);
CREATE INDEX IF NOT EXISTS jobs_by_endpoint ON jobs (workspace, endpoint, created, name);
CREATE INDEX IF NOT EXISTS jobs_not_ended ON jobs (created, name) WHERE ended = 0;
CREATE INDEX IF NOT EXISTS jobs_not_swept ON jobs (number) WHERE ended = 1;
CREATE TABLE IF NOT EXISTS items (
    job {int} NOT NULL, idx {int} NOT NULL, file_count {int} NOT NULL,
    stage {int} NOT NULL DEFAULT 0, attempt {int} NOT NULL DEFAULT 0, failed {int} NOT NULL DEFAULT 0,
    not_before {int} NOT NULL DEFAULT 0, lease {int} NOT NULL DEFAULT 0,
    object {text}, predictions {int} NOT NULL DEFAULT 0, failures {int} NOT NULL DEFAULT 0,
    bytes_read {int} NOT NULL DEFAULT 0, bytes_written {int} NOT NULL DEFAULT 0, told {text},
    PRIMARY KEY (job, idx)
) {keyed};
CREATE INDEX IF NOT EXISTS items_by_stage ON items (job, stage, idx);
CREATE TABLE IF NOT EXISTS item_files (
    job {int} NOT NULL, idx {int} NOT NULL, files {text} NOT NULL, PRIMARY KEY (job, idx)
) {keyed};
CREATE TABLE IF NOT EXISTS gateways (holder {text} PRIMARY KEY, lease {int} NOT NULL) {keyed};
INSERT INTO state (name, value) VALUES ('revision', '0') ON CONFLICT DO NOTHING;";

/// Why tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
    #[error(
        "it has layout {0} and this version uses {LAYOUT}; start with a new store and apply the resources to it"
    )]
    Layout(String),
}

/// Makes what is missing of the tables, unless they are of another layout. The transaction has to be one that writes.
pub(super) async fn prepare(tx: &mut Transaction<'static, Any>, dialect: Dialect) -> Result<(), Unusable> {
    if let Some(lock) = dialect.lock_tables() {
        sqlx::query(lock).execute(&mut **tx).await?;
    }
    let known = sqlx::query(dialect.has_tables()).fetch_one(&mut **tx).await?.try_get::<i64, _>(0)? > 0;
    if known {
        let layout = sqlx::query("SELECT value FROM state WHERE name = 'schema'");
        let layout = layout.fetch_optional(&mut **tx).await?;
        let layout: Option<String> = layout.map(|row| row.try_get(0)).transpose()?;
        match layout.as_deref() {
            // Nothing is made, for which the gateway may have no right by now.
            Some(LAYOUT) => return Ok(()),
            Some(WITHOUT_JOBS) => {}
            other => return Err(Unusable::Layout(other.unwrap_or("none").to_owned())),
        }
    }
    sqlx::raw_sql(dialect.define(TABLES)).execute(&mut **tx).await?;
    let layout = "INSERT INTO state (name, value) VALUES ('schema', $1) \
                  ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(layout).bind(LAYOUT).execute(&mut **tx).await?;
    Ok(())
}
