//! What a document describes, told by its fields: by `$schema` or `type` if it has one that says so, otherwise by fields
//! that only one kind has.

use crate::forms::Form;

/// Kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// An online endpoint.
    Endpoint,
    /// An online deployment.
    Deployment,
    /// A batch endpoint.
    BatchEndpoint,
    /// A batch deployment.
    BatchDeployment,
    /// A data store.
    Datastore,
    /// A custom role.
    Role,
    /// A grant.
    Assignment,
    /// A refusal.
    Denial,
}

/// Parts of the names of `az ml`'s schemas, in lower case.
const SCHEMAS: [(&str, DocumentKind); 6] = [
    ("batchendpoint", DocumentKind::BatchEndpoint),
    ("batchdeployment", DocumentKind::BatchDeployment),
    ("onlineendpoint", DocumentKind::Endpoint),
    ("onlinedeployment", DocumentKind::Deployment),
    ("azureblob.schema", DocumentKind::Datastore),
    ("datastore", DocumentKind::Datastore),
];

/// Words of `type`.
const TYPES: [(&str, DocumentKind); 12] = [
    ("batch", DocumentKind::BatchEndpoint),
    ("model", DocumentKind::BatchDeployment),
    ("pipeline", DocumentKind::BatchDeployment),
    ("managed", DocumentKind::Deployment),
    ("kubernetes", DocumentKind::Deployment),
    ("azure_blob", DocumentKind::Datastore),
    ("azure_file", DocumentKind::Datastore),
    ("azure_data_lake_gen1", DocumentKind::Datastore),
    ("azure_data_lake_gen2", DocumentKind::Datastore),
    ("s3", DocumentKind::Datastore),
    ("local_directory", DocumentKind::Datastore),
    ("https", DocumentKind::Datastore),
];

/// Fields that only batch deployments have, and fields that only online ones have.
const OF_BATCH: &[&str] = &[
    "settings",
    "mini_batch_size",
    "max_concurrency_per_instance",
    "error_threshold",
    "retry_settings",
    "output_action",
    "output_file_name",
    "logging_level",
];
const OF_ONLINE: &[&str] = &[
    "request_settings",
    "scale_settings",
    "instance_type",
    "instance_count",
    "liveness_probe",
    "readiness_probe",
    "model_mount_path",
    "app_insights_enabled",
    "egress_public_network_access",
    "data_collector",
];

impl DocumentKind {
    /// The kind of a document. One that could be two is told by a mistake.
    pub(super) fn of(form: &Form<'_>) -> DocumentKind {
        let schema = form.peek("$schema").unwrap_or_default().to_ascii_lowercase();
        let by_schema = SCHEMAS.iter().find(|(part, _)| schema.contains(part));
        let by_type = TYPES.iter().find(|(known, _)| form.peek("type") == Some(known));
        if let Some((_, kind)) = by_schema.or(by_type) {
            return *kind;
        }
        let first = |keys: &[&'static str]| keys.iter().find(|key| form.has(key)).copied();
        if form.has("endpoint_name") {
            return match (first(OF_BATCH), first(OF_ONLINE)) {
                (Some(batch), Some(online)) => {
                    let problem = format!("batch deployments have it, but only online ones have `{online}`");
                    let hint =
                        "write `type: model` for a batch deployment, `type: managed` for an online one";
                    form.wrong(batch, problem, Some(hint));
                    DocumentKind::BatchDeployment
                }
                (Some(_), None) => DocumentKind::BatchDeployment,
                (None, None) if form.has("compute") => DocumentKind::BatchDeployment,
                (None, _) => DocumentKind::Deployment,
            };
        }
        let known = [
            ("principal_id", DocumentKind::Assignment),
            ("principals", DocumentKind::Denial),
            ("role_name", DocumentKind::Role),
            ("account_name", DocumentKind::Datastore),
            ("container_name", DocumentKind::Datastore),
        ];
        if let Some((_, kind)) = known.iter().find(|(key, _)| form.has(key)) {
            return *kind;
        }
        if !form.has("defaults") {
            return DocumentKind::Endpoint;
        }
        if let Some(online) = first(&["traffic", "mirror_traffic"]) {
            let hint = "keep `defaults` for a batch endpoint, `traffic` for an online one";
            form.wrong(online, "online endpoints have it, but only batch ones have `defaults`", Some(hint));
        }
        DocumentKind::BatchEndpoint
    }
}
