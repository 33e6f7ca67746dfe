//! Batch jobs as rows: who made them, how far they are, who leads them.

use async_trait::async_trait;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::audit::sha256;
use super::{SqlStore, int, items, json, nat, presence};
use crate::model::job::{Counts, JobName, JobState};
use crate::model::scope::Scope;
use crate::store::StoreError;
use crate::store::jobs::{Claim, Ended, FileRef, JobFilter, JobStore, KeptJob, Lead, Outcome, Submitted};

/// By which a job is found: its workspace in lower case, and its name as it is written.
pub(super) struct Place {
    pub(super) workspace: String,
    pub(super) name: String,
}

impl Place {
    /// The place of the job with this id; `None` if it is no job's.
    pub(super) fn of(id: &Scope) -> Option<Place> {
        let shown = id.to_string();
        let (rest, name) = shown.rsplit_once('/')?;
        let (workspace, kind) = rest.rsplit_once('/')?;
        kind.eq_ignore_ascii_case("jobs")
            .then(|| Place { workspace: workspace.to_ascii_lowercase(), name: name.to_owned() })
    }

    fn of_job(job: &KeptJob) -> Result<Place, StoreError> {
        let workspace =
            job.spec.workspace.scope().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Place { workspace: workspace.key().to_owned(), name: job.spec.name.to_string() })
    }
}

/// What [`kept`] reads of a row.
const KEPT: &str = "name, spec, state, cancel, sealed";

/// Reads jobs; `which` says which ones.
fn select(which: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT {KEPT} FROM jobs {which}"))
}

/// Changes jobs, and reads those that it changed.
fn update(how: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("UPDATE jobs SET {how} RETURNING {KEPT}, fence"))
}

fn kept(row: &AnyRow) -> Result<KeptJob, StoreError> {
    let name: &str = row.try_get("name")?;
    let corrupt = |error: serde_json::Error| StoreError::Corrupt {
        table: "jobs",
        id: name.to_owned(),
        why: error.to_string(),
    };
    let spec = serde_json::from_str(row.try_get("spec")?).map_err(corrupt)?;
    let state = serde_json::from_str(row.try_get("state")?).map_err(corrupt)?;
    let cancel = row.try_get::<i64, _>("cancel")? != 0;
    Ok(KeptJob { spec, state, cancel, sealed: row.try_get("sealed")? })
}

impl SqlStore {
    async fn submitted(&self, job: &KeptJob, request: Option<&str>) -> Result<Submitted, StoreError> {
        let Place { workspace, name } = Place::of_job(job)?;
        let (spec, state) = (&job.spec, &job.state);
        let ended = state.status.is_final();
        // Ids of requests are the callers' own, of any length.
        let request = request.map(sha256);
        let put = "INSERT INTO jobs (workspace, name, created, endpoint, deployment, owner, request, spec, state, \
                   status, ended, cancel, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
                   ON CONFLICT DO NOTHING";
        let put = sqlx::query(put)
            .bind(&workspace)
            .bind(&name)
            .bind(spec.created)
            .bind(spec.endpoint.key())
            .bind(spec.deployment.key())
            .bind(spec.owner.object_id.to_string())
            .bind(request.clone())
            .bind(json(spec)?)
            .bind(json(state)?)
            .bind(state.status.as_str())
            .bind(i64::from(ended))
            .bind(i64::from(job.cancel))
            .bind(job.sealed.clone().filter(|_| !ended));
        if put.execute(&self.writer).await?.rows_affected() > 0 {
            let sealed = job.sealed.clone().filter(|_| !ended);
            return Ok(Submitted::New(KeptJob { sealed, ..job.clone() }));
        }
        // Jobs stay, so what was in the way is still there.
        let known = select("WHERE workspace = $1 AND endpoint = $2 AND owner = $3 AND request = $4");
        let known = sqlx::query(known).bind(workspace).bind(spec.endpoint.key());
        let known = known.bind(spec.owner.object_id.to_string()).bind(request);
        let known = known.fetch_optional(&self.readers).await?;
        Ok(match known {
            Some(row) => Submitted::Known(kept(&row)?),
            None => Submitted::NameTaken,
        })
    }

    async fn kept_job(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError> {
        let Some(place) = Place::of(id) else { return Ok(None) };
        let one = select("WHERE workspace = $1 AND name = $2");
        let row = sqlx::query(one).bind(place.workspace).bind(place.name).fetch_optional(&self.readers);
        row.await?.as_ref().map(kept).transpose()
    }

    async fn listed(
        &self,
        of: &JobFilter,
        after: Option<&JobName>,
        most: u32,
    ) -> Result<Vec<KeptJob>, StoreError> {
        let mut which = "WHERE workspace = $1".to_owned();
        let mut values = vec![of.workspace.key().to_owned()];
        let mut add = |condition: &str, value: &str| {
            values.push(value.to_owned());
            which.push_str(&condition.replace("{}", &format!("${}", values.len())));
        };
        if let Some((endpoint, deployment)) = &of.endpoint {
            add(" AND endpoint = {}", endpoint);
            if let Some(deployment) = deployment {
                add(" AND deployment = {}", deployment);
            }
        }
        if let Some(after) = after {
            let older =
                " AND (created, name) < (SELECT created, name FROM jobs WHERE workspace = $1 AND name = {})";
            add(older, after.as_str());
        }
        let which = format!("{which} ORDER BY created DESC, name DESC LIMIT ${}", values.len() + 1);
        let mut query = sqlx::query(select(&which));
        for value in values {
            query = query.bind(value);
        }
        let rows = query.bind(i64::from(most)).fetch_all(&self.readers).await?;
        rows.iter().map(kept).collect()
    }

    async fn canceled(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError> {
        let Some(place) = Place::of(id) else { return Ok(None) };
        let ask = "UPDATE jobs SET cancel = 1 WHERE workspace = $1 AND name = $2 AND ended = 0";
        sqlx::query(ask).bind(place.workspace).bind(place.name).execute(&self.writer).await?;
        self.kept_job(id).await
    }

    async fn led(&self, now: i64, until: i64) -> Result<Option<Lead>, StoreError> {
        // Looked at every half second, seldom with any to take: writers are not held up by the look.
        let any = "SELECT 1 FROM jobs WHERE ended = 0 AND lease <= $1 LIMIT 1";
        if sqlx::query(any).bind(now).fetch_optional(&self.readers).await?.is_none() {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        let free = self.dialect.fill(
            "SELECT number FROM jobs WHERE ended = 0 AND lease <= $1 ORDER BY created, name LIMIT 1 {lock}",
        );
        let Some(row) = sqlx::query(free).bind(now).fetch_optional(&mut *tx).await? else { return Ok(None) };
        let take = update("fence = fence + 1, lease = $2 WHERE number = $1");
        let take = sqlx::query(take).bind(row.try_get::<i64, _>(0)?).bind(until);
        let row = take.fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(Lead { job: kept(&row)?, fence: row.try_get("fence")? }))
    }

    async fn lead_kept(&self, lead: &Lead, until: i64) -> Result<Option<KeptJob>, StoreError> {
        let place = Place::of_job(&lead.job)?;
        let keep = update("lease = $4 WHERE workspace = $1 AND name = $2 AND fence = $3 AND ended = 0");
        let keep = sqlx::query(keep).bind(place.workspace).bind(place.name).bind(lead.fence).bind(until);
        // Read to its end, at which it is committed.
        keep.fetch_all(&self.writer).await?.first().map(kept).transpose()
    }

    async fn noted(&self, lead: &Lead, state: &JobState, sealed: Option<&str>) -> Result<bool, StoreError> {
        let place = Place::of_job(&lead.job)?;
        let ended = state.status.is_final();
        let note = "UPDATE jobs SET state = $4, status = $5, ended = $6, sealed = $7 \
                    WHERE workspace = $1 AND name = $2 AND fence = $3 AND ended = 0";
        let note = sqlx::query(note)
            .bind(place.workspace)
            .bind(place.name)
            .bind(lead.fence)
            .bind(json(state)?)
            .bind(state.status.as_str())
            .bind(i64::from(ended))
            .bind(sealed.filter(|_| !ended).map(str::to_owned));
        Ok(note.execute(&self.writer).await?.rows_affected() > 0)
    }

    async fn running_jobs(&self, most: u32) -> Result<Vec<KeptJob>, StoreError> {
        let list =
            select("WHERE ended = 0 AND status = 'Running' AND cancel = 0 ORDER BY created, name LIMIT $1");
        let rows = sqlx::query(list).bind(i64::from(most)).fetch_all(&self.readers).await?;
        rows.iter().map(kept).collect()
    }

    /// Locks a job that has not ended for the rest of the transaction, and gives its number if a condition holds.
    pub(super) async fn lock_job(
        &self,
        tx: &mut Transaction<'static, Any>,
        place: &Place,
        statement: &'static str,
        fence: Option<i64>,
    ) -> Result<Option<i64>, StoreError> {
        let mut job = sqlx::query(self.dialect.fill(statement)).bind(&place.workspace).bind(&place.name);
        if let Some(fence) = fence {
            job = job.bind(fence);
        }
        Ok(job.fetch_optional(&mut **tx).await?.map(|row| row.try_get(0)).transpose()?)
    }
}

#[async_trait]
impl JobStore for SqlStore {
    async fn submit(&self, job: &KeptJob, request: Option<&str>) -> Result<Submitted, StoreError> {
        self.within(self.submitted(job, request)).await
    }

    async fn job(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError> {
        self.within(self.kept_job(id)).await
    }

    async fn jobs(
        &self,
        of: &JobFilter,
        after: Option<&JobName>,
        most: u32,
    ) -> Result<Vec<KeptJob>, StoreError> {
        self.within(self.listed(of, after, most)).await
    }

    async fn cancel(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError> {
        self.within(self.canceled(id)).await
    }

    async fn unfinished(&self) -> Result<u64, StoreError> {
        self.within(async {
            let count = sqlx::query("SELECT count(*) FROM jobs WHERE ended = 0").fetch_one(&self.readers);
            Ok(nat(count.await?.try_get(0)?))
        })
        .await
    }

    async fn lead(&self, now: i64, until: i64) -> Result<Option<Lead>, StoreError> {
        self.within(self.led(now, until)).await
    }

    async fn keep_lead(&self, lead: &Lead, until: i64) -> Result<Option<KeptJob>, StoreError> {
        self.within(self.lead_kept(lead, until)).await
    }

    async fn note(&self, lead: &Lead, state: &JobState, sealed: Option<&str>) -> Result<bool, StoreError> {
        self.within(self.noted(lead, state, sealed)).await
    }

    async fn plan(&self, lead: &Lead, first: u64, items: &[Vec<FileRef>]) -> Result<bool, StoreError> {
        let place = Place::of_job(&lead.job)?;
        self.within(items::plan(self, (&place, lead.fence), first, items)).await
    }

    async fn counts(&self, id: &Scope) -> Result<Counts, StoreError> {
        let Some(place) = Place::of(id) else { return Ok(Counts::default()) };
        self.within(items::counts(&self.readers, &place)).await
    }

    async fn ended(&self, id: &Scope, from: u64, most: u32) -> Result<Vec<Ended>, StoreError> {
        let Some(place) = Place::of(id) else { return Ok(Vec::new()) };
        self.within(items::ended(&self.readers, &place, int(from), most)).await
    }

    async fn claim(
        &self,
        id: &Scope,
        times: (i64, i64),
        most: u32,
        in_all: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        let Some(place) = Place::of(id) else { return Ok(Vec::new()) };
        let claiming = items::Claiming { job: id, times, most, in_all };
        self.within(items::claim(self, &place, &claiming)).await
    }

    async fn keep_claims(&self, claims: &[Claim], until: i64) -> Result<Vec<Claim>, StoreError> {
        self.within(items::keep(self, claims, until)).await
    }

    async fn settle(&self, claim: &Claim, outcome: &Outcome) -> Result<bool, StoreError> {
        let Some(place) = Place::of(&claim.job) else { return Ok(false) };
        self.within(items::settle(self, &place, claim, outcome)).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        self.within(items::sweep(self)).await
    }

    async fn running(&self, most: u32) -> Result<Vec<KeptJob>, StoreError> {
        self.within(self.running_jobs(most)).await
    }

    async fn present(&self, holder: &str, times: (i64, i64)) -> Result<u64, StoreError> {
        self.within(presence::say(&self.writer, holder, times)).await
    }
}
