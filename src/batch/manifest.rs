//! The manifest of a job's output: what was made of what, by whom and when, signed so that it can be shown later that
//! nothing of it was changed. A JSON Web Signature (RFC 7515) by the gateway's Ed25519 key, which the control plane
//! publishes at `/.well-known/jwks.json`.

use serde_json::json;

use crate::artifacts::Assembled;
use crate::clock::rfc3339;
use crate::identity::vault::{Vault, VaultError};
use crate::model::job::{JobSpec, JobState, JobStatus};

/// The name of an output's file.
fn file(output: &Assembled) -> &str {
    output.uri.rsplit('/').next().unwrap_or_default()
}

/// The manifest's name beside an output.
pub(super) fn name(output: &Assembled) -> String {
    format!("{}.manifest.jws", file(output))
}

/// The manifest as a compact JWS.
pub(super) fn signed(
    spec: &JobSpec,
    state: &JobState,
    status: JobStatus,
    output: &Assembled,
    vault: &Vault,
) -> Result<String, VaultError> {
    let time = |millis: i64| rfc3339(millis.div_euclid(1000));
    let counts = &state.counts;
    let claims = json!({
        "job": spec.scope().map(|scope| scope.to_string()).unwrap_or_default(),
        "endpoint": spec.endpoint,
        "deployment": spec.deployment,
        "status": status.as_str(),
        "owner": spec.owner.object_id,
        "revision": spec.revision,
        "created": time(spec.created),
        "started": state.started.map(time),
        "input": spec.input.uri,
        "miniBatches": { "planned": counts.mini_batches, "done": counts.done, "failed": counts.failed },
        "files": counts.files,
        "failures": counts.failures,
        "outputs": [{
            "name": file(output), "uri": output.uri, "bytes": output.bytes, "rows": output.rows, "sha256": output.sha256,
        }],
    });
    vault.sign(&claims)
}
