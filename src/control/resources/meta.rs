//! What clients ask on the way: addresses before they have a token, and how operations ended.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::Outcome;
use crate::arm::envelope::ErrorDetail;
use crate::control::answer::{ApiError, Reply};
use crate::control::call::Call;
use crate::control::{Control, openapi as document};
use crate::model::audit::{Outcome as Ended, Record};
use crate::model::scope::Scope;
use crate::operations::{Asker, Refusal};

/// The cloud's addresses: a list of clouds for the oldest version, one cloud for the others, because each has its
/// own reader.
pub(in crate::control) fn endpoints(control: &Control, call: &Call) -> Result<Reply, ApiError> {
    let addresses = &control.addresses;
    let (authority, tenant) = addresses.authority.clone().unwrap_or_default();
    let cloud = json!({
        "name": "scoregate",
        // Azure's client makes the audience for scoring out of this name.
        "portal": "https://portal.azure.com",
        "resourceManager": addresses.control,
        "authentication": {
            "loginEndpoint": authority,
            "audiences": [addresses.audience, "https://management.core.windows.net/"],
            "tenant": tenant,
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": "core.windows.net", "keyVaultDns": "vault.azure.net"},
        // There is no directory here: the Azure CLI asks ours, is told that it is not there, and goes on without names.
        "graph": addresses.control,
        "graphAudience": addresses.control,
        "microsoftGraphResourceId": addresses.control,
        "gallery": addresses.control,
        "batch": addresses.control,
        "media": addresses.control,
        "sqlManagement": addresses.control,
        "vmImageAliasDoc": addresses.control,
        "activeDirectoryDataLake": addresses.control,
    });
    if call.query("api-version") == Some("2019-05-01") { Reply::ok(json!([cloud])) } else { Reply::ok(cloud) }
}

pub(in crate::control) fn openapi(_control: &Control, _call: &Call) -> Result<Reply, ApiError> {
    Reply::ok(document())
}

pub(in crate::control) fn keys(control: &Control, _call: &Call) -> Result<Reply, ApiError> {
    Reply::ok(control.operations.published_keys())
}

pub(in crate::control) fn discovery(control: &Control, _call: &Call) -> Result<Reply, ApiError> {
    Reply::ok(json!({"api": control.addresses.control, "history": control.addresses.control}))
}

/// How an operation ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::control) struct StatusView {
    id: String,
    name: String,
    status: String,
    start_time: String,
    end_time: String,
    percent_complete: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDetail>,
}

/// The record of the operation in the path, if the asker may know of it.
async fn record(control: &Control, call: &Call, asker: &Asker) -> Result<Record, Refusal> {
    let name = call.params.get("operation");
    let unknown = || Refusal::NotFound(Scope::root().gateway("operations", name));
    let id = name.rsplit(':').next().and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(unknown)?;
    let record = control.operations.store.operation(id).await?.ok_or_else(unknown)?;
    let key = record.deed.scope.key();
    let kind = if key.contains("/batchendpoints/") { "batchEndpoints" } else { "onlineEndpoints" };
    let part = if key.contains("/deployments/") { "/deployments" } else { "" };
    let action = format!("{}/workspaces/{kind}{part}/operationsStatus/read", crate::arm::PROVIDER);
    if control.operations.may(asker, &action, &record.deed.scope) { Ok(record) } else { Err(unknown()) }
}

pub(in crate::control) async fn operation_status(control: &Control, call: &Call, asker: Asker) -> Outcome {
    let record = record(control, call, &asker).await?;
    let (status, error) = match &record.deed.outcome {
        Ended::Done => ("Succeeded", None),
        Ended::Refused { code } => ("Failed", Some(ErrorDetail::new(code, "the operation was refused"))),
    };
    Ok(Reply::ok(StatusView {
        id: call.raw_path.clone(),
        name: call.params.get("operation").to_owned(),
        status: status.to_owned(),
        start_time: record.deed.time.clone(),
        end_time: record.deed.time,
        percent_complete: 100.0,
        error,
    })?)
}

pub(in crate::control) async fn operation_result(control: &Control, call: &Call, asker: Asker) -> Outcome {
    record(control, call, &asker).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
