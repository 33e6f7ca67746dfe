//! Every operation of the control plane: its path, the right that it needs, and what carries it out.

use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::Control;
use super::answer::{ApiError, Reply};
use super::call::Call;
use super::resources::{
    access, asset, batch_deployment, batch_endpoint, datastore, deployment, endpoint, job, meta, noun, role,
    workspace,
};
use super::serve::Failed;
use crate::arm::access::{AccessView, ExplanationView, HolderView, KeysView, LogsView, TokenView};
use crate::arm::asset::AssetView;
use crate::arm::batch_deployment::BatchDeploymentView;
use crate::arm::batch_endpoint::BatchEndpointView;
use crate::arm::datastore::{DatastoreView, SecretsView};
use crate::arm::deployment::DeploymentView;
use crate::arm::endpoint::EndpointView;
use crate::arm::envelope::Page;
use crate::arm::mirror::MirrorReportView;
use crate::arm::role::{AssignmentView, DefinitionView, DenialView, PermissionView};
use crate::arm::workspace::{GroupView, SubscriptionView, WorkspaceView};
use crate::forms::Form;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::deployment::Deployment;
use crate::model::endpoint::Endpoint;
use crate::operations::{Asker, Granted};

/// Makes the schema of what an operation gives.
type Shape = fn(&mut SchemaGenerator) -> Schema;

type Outcome<'a> = BoxFuture<'a, Result<Reply, Failed>>;

/// Who may call an operation, and what then carries it out.
#[derive(Debug)]
pub(super) enum Access {
    /// Nobody has to say who he is: it tells nothing of resources.
    Public(fn(&Control, &Call) -> Result<Reply, ApiError>),
    /// Whoever is authenticated: it tells nothing but what the caller may know anyway, and judges that by itself.
    Anyone(for<'a> fn(&'a Control, &'a Call, Asker) -> Outcome<'a>),
    /// Whoever may do this to the resource.
    Granted {
        action: &'static str,
        at: At,
        handler: for<'a> fn(&'a Control, &'a Call, Granted) -> Outcome<'a>,
    },
}

/// The resource of an operation, as its path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The whole path is its id.
    Target,
    /// The path without its last segments.
    Above(usize),
    /// The path without its first and its last segments.
    Behind(usize, usize),
    /// What stands for `{scope}`.
    Scope,
}

/// An operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) template: &'static str,
    /// Its name in OpenAPI, in metrics and in the log.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    /// It takes tokens for scoring instead of those for managing.
    pub(super) scoring: bool,
    /// Reads the body; asked to describe itself, it gives the body's schema.
    pub(super) body: Option<fn(&Form<'_>)>,
    /// The body may be left out.
    pub(super) optional: bool,
    /// Statuses and what comes with them.
    pub(super) answers: Vec<(u16, Option<Shape>)>,
    /// Query parameters besides `api-version`.
    pub(super) query: &'static [&'static str],
}

impl Operation {
    fn takes(self, body: fn(&Form<'_>)) -> Operation {
        Operation { body: Some(body), ..self }
    }

    fn may_take(self, body: fn(&Form<'_>)) -> Operation {
        Operation { body: Some(body), optional: true, ..self }
    }

    fn gives<T: JsonSchema>(mut self, statuses: &[u16]) -> Operation {
        let schema: Shape = SchemaGenerator::subschema_for::<T>;
        self.answers.extend(statuses.iter().map(|status| (*status, Some(schema))));
        self
    }

    fn gives_nothing(mut self, statuses: &[u16]) -> Operation {
        self.answers.extend(statuses.iter().map(|status| (*status, None)));
        self
    }

    fn for_scorers(self) -> Operation {
        Operation { scoring: true, ..self }
    }

    fn query(self, query: &'static [&'static str]) -> Operation {
        Operation { query, ..self }
    }
}

macro_rules! workspace {
    ($rest:literal) => {
        concat!(
            "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}",
            $rest
        )
    };
}

macro_rules! ml {
    ($action:literal) => {
        concat!("Microsoft.MachineLearningServices/workspaces", $action)
    };
}

macro_rules! at_scope {
    ($rest:literal) => {
        concat!("{scope}/providers/", $rest)
    };
}

/// A row: what it is called, where it is, who may, and what carries it out.
macro_rules! row {
    ($method:ident $template:expr, $id:literal, $summary:literal, public $handler:path) => {
        row!(@ $method $template, $id, $summary, Access::Public($handler))
    };
    ($method:ident $template:expr, $id:literal, $summary:literal, anyone $handler:path) => {
        row!(@ $method $template, $id, $summary, Access::Anyone(|control, call, asker| Box::pin($handler(control, call, asker))))
    };
    ($method:ident $template:expr, $id:literal, $summary:literal, $action:expr, $at:expr => $handler:path) => {
        row!(@ $method $template, $id, $summary, Access::Granted {
            action: $action,
            at: $at,
            handler: |control, call, granted| Box::pin($handler(control, call, granted)),
        })
    };
    (@ $method:ident $template:expr, $id:literal, $summary:literal, $access:expr) => {
        Operation {
            method: Method::$method,
            template: $template,
            id: $id,
            summary: $summary,
            access: $access,
            scoring: false,
            body: None,
            optional: false,
            answers: Vec::new(),
            query: &[],
        }
    };
}

/// Every operation there is.
pub(super) fn operations() -> &'static [Operation] {
    static TABLE: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        [
            meta_rows(),
            workspace_rows(),
            endpoint_rows(),
            deployment_rows(),
            batch_rows(),
            datastore_rows(),
            job_rows(),
            asset_rows(),
            role_rows(),
            access_rows(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
    &TABLE
}

fn meta_rows() -> Vec<Operation> {
    vec![
        row!(GET "/metadata/endpoints", "Metadata_Endpoints", "The addresses that clients need before they have a token.", public meta::endpoints)
            .gives::<serde_json::Value>(&[200]),
        row!(GET "/openapi.json", "Metadata_OpenApi", "This document.", public meta::openapi)
            .gives::<serde_json::Value>(&[200]),
        row!(GET "/.well-known/jwks.json", "Metadata_Keys", "Public keys of the tokens that the gateway issues for endpoints.", public meta::keys)
            .gives::<serde_json::Value>(&[200]),
        row!(GET "/discovery/workspaces/{workspaceId}", "Metadata_Discovery", "Where a workspace's services are.", public meta::discovery)
            .gives::<serde_json::Value>(&[200]),
        row!(GET "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}/mfeOperationsStatus/{operation}",
            "Operations_Status", "How an operation ended.", anyone meta::operation_status)
            .gives::<meta::StatusView>(&[200]),
        row!(GET "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}/mfeOperationResults/{operation}",
            "Operations_Result", "Where an operation's result is: it has none of its own.", anyone meta::operation_result)
            .gives_nothing(&[204]),
    ]
}

fn workspace_rows() -> Vec<Operation> {
    vec![
        row!(GET "/subscriptions", "Subscriptions_List", "Subscriptions in which the caller holds a role.", anyone workspace::subscriptions)
            .gives::<Page<SubscriptionView>>(&[200]),
        row!(GET "/subscriptions/{subscription}", "Subscriptions_Get", "A subscription.", anyone workspace::subscription)
            .gives::<SubscriptionView>(&[200]),
        row!(GET "/subscriptions/{subscription}/resourceGroups", "ResourceGroups_List", "Resource groups in which the caller holds a role.", anyone workspace::groups)
            .gives::<Page<GroupView>>(&[200]),
        row!(GET "/subscriptions/{subscription}/resourceGroups/{resourceGroup}", "ResourceGroups_Get", "A resource group.", anyone workspace::group)
            .gives::<GroupView>(&[200]),
        row!(GET "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/workspaces",
            "Workspaces_ListBySubscription", "Workspaces that the caller may read.", anyone workspace::list)
            .gives::<Page<WorkspaceView>>(&[200]).query(&["$skip"]),
        row!(GET "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.MachineLearningServices/workspaces",
            "Workspaces_ListByResourceGroup", "Workspaces that the caller may read.", anyone workspace::list)
            .gives::<Page<WorkspaceView>>(&[200]).query(&["$skip"]),
        row!(GET workspace!(""), "Workspaces_Get", "A workspace.", ml!("/read"), At::Target => workspace::get)
            .gives::<WorkspaceView>(&[200]),
        row!(PUT workspace!(""), "Workspaces_CreateOrUpdate", "Makes a workspace.", ml!("/write"), At::Target => workspace::put)
            .takes(workspace::describe).gives::<WorkspaceView>(&[200, 201]),
        row!(GET workspace!("/computes/{compute}"), "Computes_Get", "A compute; there is none.", ml!("/computes/read"), At::Target => workspace::compute),
    ]
}

/// Where Azure's client looks for the jobs of a batch endpoint, with a token for scoring.
macro_rules! front_end {
    ($rest:literal) => {
        concat!(
            "/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}/batchEndpoints/{endpoint}",
            $rest
        )
    };
}

fn job_rows() -> Vec<Operation> {
    vec![
        row!(GET workspace!("/jobs"), "Jobs_List", "Jobs of a workspace, newest first.", ml!("/jobs/read"), At::Above(1) => job::list)
            .gives::<Page<serde_json::Value>>(&[200]).query(&["count", "$skip"]),
        row!(GET workspace!("/jobs/{job}"), "Jobs_Get", "A job.", ml!("/jobs/read"), At::Target => job::get)
            .gives::<serde_json::Value>(&[200]),
        row!(POST workspace!("/jobs/{job}/cancel"), "Jobs_Cancel", "Asks for a job to be stopped.", ml!("/jobs/cancel/action"), At::Above(1) => job::cancel)
            .gives_nothing(&[200]),
        row!(GET front_end!("/jobs"), "BatchEndpointJobs_List", "Jobs of a batch endpoint, newest first.", ml!("/batchEndpoints/jobs/read"), At::Behind(2, 1) => job::of_endpoint)
            .gives::<Page<serde_json::Value>>(&[200]).query(&["deployment", "count", "$skip"]).for_scorers(),
        row!(GET front_end!("/jobs/{job}"), "BatchEndpointJobs_Get", "A job of a batch endpoint.", ml!("/batchEndpoints/jobs/read"), At::Behind(2, 2) => job::one_of_endpoint)
            .gives::<serde_json::Value>(&[200]).for_scorers(),
        row!(GET front_end!("/deployments/{deployment}/jobs"), "BatchDeploymentJobs_List", "Jobs of a batch deployment, newest first.", ml!("/batchEndpoints/deployments/jobs/read"), At::Behind(2, 1) => job::of_endpoint)
            .gives::<Page<serde_json::Value>>(&[200]).query(&["count", "$skip"]).for_scorers(),
        row!(GET "/history/v1.0/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}/runs/{job}/details",
            "Runs_Details", "How a run stands, as run history tells it.", ml!("/experiments/runs/read"), At::Behind(2, 3) => job::details)
            .gives::<serde_json::Value>(&[200]),
    ]
}

fn endpoint_rows() -> Vec<Operation> {
    vec![
        row!(GET workspace!("/onlineEndpoints"), "OnlineEndpoints_List", "Endpoints of a workspace.", ml!("/onlineEndpoints/read"), At::Above(1) => endpoint::list)
            .gives::<Page<EndpointView>>(&[200])
            .query(&["name", "count", "computeType", "$skip", "tags", "properties", "orderBy"]),
        row!(GET workspace!("/onlineEndpoints/{endpoint}"), "OnlineEndpoints_Get", "An endpoint.", ml!("/onlineEndpoints/read"), At::Target => noun::get::<Endpoint>)
            .gives::<EndpointView>(&[200]),
        row!(PUT workspace!("/onlineEndpoints/{endpoint}"), "OnlineEndpoints_CreateOrUpdate", "Makes an endpoint or describes it anew.", ml!("/onlineEndpoints/write"), At::Target => endpoint::put)
            .takes(endpoint::describe).gives::<EndpointView>(&[200, 201]),
        row!(PATCH workspace!("/onlineEndpoints/{endpoint}"), "OnlineEndpoints_Update", "Changes an endpoint's tags or identity.", ml!("/onlineEndpoints/write"), At::Target => endpoint::patch)
            .takes(endpoint::describe_patch).gives::<EndpointView>(&[200]),
        row!(DELETE workspace!("/onlineEndpoints/{endpoint}"), "OnlineEndpoints_Delete", "Removes an endpoint, its deployments, and the grants at them.", ml!("/onlineEndpoints/delete"), At::Target => endpoint::delete)
            .gives_nothing(&[200, 204]),
        row!(GET workspace!("/onlineEndpoints/{endpoint}/mirrorReport"), "OnlineEndpoints_MirrorReport", "How copies of an endpoint's requests were answered, compared with the requests.", ml!("/onlineEndpoints/read"), At::Above(1) => endpoint::mirror_report)
            .gives::<MirrorReportView>(&[200]),
        row!(POST workspace!("/onlineEndpoints/{endpoint}/listKeys"), "OnlineEndpoints_ListKeys", "Both keys of an endpoint.", ml!("/onlineEndpoints/listKeys/action"), At::Above(1) => endpoint::list_keys)
            .gives::<KeysView>(&[200]),
        row!(POST workspace!("/onlineEndpoints/{endpoint}/regenerateKeys"), "OnlineEndpoints_RegenerateKeys", "Replaces one key; the other stays.", ml!("/onlineEndpoints/regenerateKeys/action"), At::Above(1) => endpoint::regenerate_keys)
            .takes(endpoint::describe_regenerate).gives_nothing(&[200]),
        row!(POST workspace!("/onlineEndpoints/{endpoint}/token"), "OnlineEndpoints_GetToken", "A short-lived token for an aml_token endpoint.", ml!("/onlineEndpoints/token/action"), At::Above(1) => endpoint::token)
            .gives::<TokenView>(&[200]),
    ]
}

fn deployment_rows() -> Vec<Operation> {
    vec![
        row!(GET workspace!("/onlineEndpoints/{endpoint}/deployments"), "OnlineDeployments_List", "Deployments of an endpoint.", ml!("/onlineEndpoints/deployments/read"), At::Above(1) => deployment::list)
            .gives::<Page<DeploymentView>>(&[200]).query(&["$top", "$skip", "$orderBy"]),
        row!(GET workspace!("/onlineEndpoints/{endpoint}/deployments/{deployment}"), "OnlineDeployments_Get", "A deployment.", ml!("/onlineEndpoints/deployments/read"), At::Target => noun::get::<Deployment>)
            .gives::<DeploymentView>(&[200]),
        row!(PUT workspace!("/onlineEndpoints/{endpoint}/deployments/{deployment}"), "OnlineDeployments_CreateOrUpdate", "Makes a deployment or describes it anew.", ml!("/onlineEndpoints/deployments/write"), At::Target => deployment::put)
            .takes(deployment::describe).gives::<DeploymentView>(&[200, 201]),
        row!(PATCH workspace!("/onlineEndpoints/{endpoint}/deployments/{deployment}"), "OnlineDeployments_Update", "Changes a deployment's tags or number of instances.", ml!("/onlineEndpoints/deployments/write"), At::Target => deployment::patch)
            .takes(deployment::describe_patch).gives::<DeploymentView>(&[200]),
        row!(DELETE workspace!("/onlineEndpoints/{endpoint}/deployments/{deployment}"), "OnlineDeployments_Delete", "Removes a deployment that has no traffic.", ml!("/onlineEndpoints/deployments/delete"), At::Target => deployment::delete)
            .gives_nothing(&[200, 204]),
        row!(POST workspace!("/onlineEndpoints/{endpoint}/deployments/{deployment}/getLogs"), "OnlineDeployments_GetLogs", "What a deployment's instances have written.", ml!("/onlineEndpoints/deployments/getLogs/action"), At::Above(1) => deployment::logs)
            .may_take(deployment::describe_logs).gives::<LogsView>(&[200]),
        row!(GET workspace!("/onlineEndpoints/{endpoint}/deployments/{deployment}/skus"), "OnlineDeployments_ListSkus", "Sizes that a deployment can have.", ml!("/onlineEndpoints/deployments/skus/read"), At::Above(1) => deployment::skus)
            .gives::<Page<deployment::SkuResource>>(&[200]).query(&["count", "$skip"]),
    ]
}

fn batch_rows() -> Vec<Operation> {
    vec![
        row!(GET workspace!("/batchEndpoints"), "BatchEndpoints_List", "Batch endpoints of a workspace.", ml!("/batchEndpoints/read"), At::Above(1) => batch_endpoint::list)
            .gives::<Page<BatchEndpointView>>(&[200]).query(&["count", "$skip"]),
        row!(GET workspace!("/batchEndpoints/{endpoint}"), "BatchEndpoints_Get", "A batch endpoint.", ml!("/batchEndpoints/read"), At::Target => noun::get::<BatchEndpoint>)
            .gives::<BatchEndpointView>(&[200]),
        row!(PUT workspace!("/batchEndpoints/{endpoint}"), "BatchEndpoints_CreateOrUpdate", "Makes a batch endpoint or describes it anew.", ml!("/batchEndpoints/write"), At::Target => batch_endpoint::put)
            .takes(batch_endpoint::describe).gives::<BatchEndpointView>(&[200, 201]),
        row!(PATCH workspace!("/batchEndpoints/{endpoint}"), "BatchEndpoints_Update", "Changes a batch endpoint's tags.", ml!("/batchEndpoints/write"), At::Target => batch_endpoint::patch)
            .takes(batch_endpoint::describe_patch).gives::<BatchEndpointView>(&[200]),
        row!(DELETE workspace!("/batchEndpoints/{endpoint}"), "BatchEndpoints_Delete", "Removes a batch endpoint, its deployments, and the grants at them.", ml!("/batchEndpoints/delete"), At::Target => batch_endpoint::delete)
            .gives_nothing(&[200, 204]),
        row!(POST workspace!("/batchEndpoints/{endpoint}/listkeys"), "BatchEndpoints_ListKeys", "Refused with a reason: a batch endpoint has no keys.", ml!("/batchEndpoints/listKeys/action"), At::Above(1) => batch_endpoint::list_keys),
        row!(GET workspace!("/batchEndpoints/{endpoint}/deployments"), "BatchDeployments_List", "Deployments of a batch endpoint.", ml!("/batchEndpoints/deployments/read"), At::Above(1) => batch_deployment::list)
            .gives::<Page<BatchDeploymentView>>(&[200]).query(&["$top", "$skip", "$orderBy"]),
        row!(GET workspace!("/batchEndpoints/{endpoint}/deployments/{deployment}"), "BatchDeployments_Get", "A batch deployment.", ml!("/batchEndpoints/deployments/read"), At::Target => noun::get::<BatchDeployment>)
            .gives::<BatchDeploymentView>(&[200]),
        row!(PUT workspace!("/batchEndpoints/{endpoint}/deployments/{deployment}"), "BatchDeployments_CreateOrUpdate", "Makes a batch deployment or describes it anew.", ml!("/batchEndpoints/deployments/write"), At::Target => batch_deployment::put)
            .takes(batch_deployment::describe).gives::<BatchDeploymentView>(&[200, 201]),
        row!(PATCH workspace!("/batchEndpoints/{endpoint}/deployments/{deployment}"), "BatchDeployments_Update", "Changes a batch deployment's tags or description.", ml!("/batchEndpoints/deployments/write"), At::Target => batch_deployment::patch)
            .takes(batch_deployment::describe_patch).gives::<BatchDeploymentView>(&[200]),
        row!(DELETE workspace!("/batchEndpoints/{endpoint}/deployments/{deployment}"), "BatchDeployments_Delete", "Removes a batch deployment that is not its endpoint's default.", ml!("/batchEndpoints/deployments/delete"), At::Target => batch_deployment::delete)
            .gives_nothing(&[200, 204]),
    ]
}

fn datastore_rows() -> Vec<Operation> {
    vec![
        row!(GET workspace!("/datastores"), "Datastores_List", "Data stores of a workspace, the one among them that every workspace has.", ml!("/datastores/read"), At::Above(1) => datastore::list)
            .gives::<Page<DatastoreView>>(&[200]).query(&["count", "isDefault", "names", "$skip"]),
        row!(GET workspace!("/datastores/{datastore}"), "Datastores_Get", "A data store, without its secrets.", ml!("/datastores/read"), At::Target => datastore::get)
            .gives::<DatastoreView>(&[200]),
        row!(PUT workspace!("/datastores/{datastore}"), "Datastores_CreateOrUpdate", "Makes a data store or describes it anew.", ml!("/datastores/write"), At::Target => datastore::put)
            .takes(datastore::describe).gives::<DatastoreView>(&[200, 201]),
        row!(DELETE workspace!("/datastores/{datastore}"), "Datastores_Delete", "Removes a data store; its data stays.", ml!("/datastores/delete"), At::Target => datastore::delete)
            .gives_nothing(&[200, 204]),
        row!(POST workspace!("/datastores/{datastore}/listSecrets"), "Datastores_ListSecrets", "What opens a data store.", ml!("/datastores/listSecrets/action"), At::Above(1) => datastore::secrets)
            .may_take(datastore::describe_secrets).gives::<SecretsView>(&[200]),
    ]
}

fn asset_rows() -> Vec<Operation> {
    vec![
        row!(GET workspace!("/models/{name}/versions"), "ModelVersions_List", "Versions of a model.", ml!("/models/versions/read"), At::Above(1) => asset::list)
            .gives::<Page<AssetView>>(&[200]).query(&["$top", "$skip"]),
        row!(GET workspace!("/models/{name}/versions/{version}"), "ModelVersions_Get", "A version of a model.", ml!("/models/versions/read"), At::Target => asset::get)
            .gives::<AssetView>(&[200]),
        row!(PUT workspace!("/models/{name}/versions/{version}"), "ModelVersions_CreateOrUpdate", "Keeps a version of a model, to be referred to.", ml!("/models/versions/write"), At::Target => asset::put_model)
            .takes(asset::describe).gives::<AssetView>(&[200, 201]),
        row!(GET workspace!("/environments/{name}/versions"), "EnvironmentVersions_List", "Versions of an environment.", ml!("/environments/versions/read"), At::Above(1) => asset::list)
            .gives::<Page<AssetView>>(&[200]).query(&["$top", "$skip"]),
        row!(GET workspace!("/environments/{name}/versions/{version}"), "EnvironmentVersions_Get", "A version of an environment.", ml!("/environments/versions/read"), At::Target => asset::get)
            .gives::<AssetView>(&[200]),
        row!(PUT workspace!("/environments/{name}/versions/{version}"), "EnvironmentVersions_CreateOrUpdate", "Keeps a version of an environment; its scoring route is used by deployments that refer to it.", ml!("/environments/versions/write"), At::Target => asset::put_environment)
            .takes(asset::describe).gives::<AssetView>(&[200, 201]),
    ]
}

fn role_rows() -> Vec<Operation> {
    vec![
        row!(GET at_scope!("Microsoft.Authorization/roleAssignments"), "RoleAssignments_List", "Role assignments at a scope, above and below it.", "Microsoft.Authorization/roleAssignments/read", At::Scope => role::assignments)
            .gives::<Page<AssignmentView>>(&[200]).query(&["$filter", "$skipToken"]),
        row!(GET at_scope!("Microsoft.Authorization/roleAssignments/{name}"), "RoleAssignments_Get", "A role assignment.", "Microsoft.Authorization/roleAssignments/read", At::Scope => role::assignment)
            .gives::<AssignmentView>(&[200]),
        row!(PUT at_scope!("Microsoft.Authorization/roleAssignments/{name}"), "RoleAssignments_Create", "Grants a role at a scope.", "Microsoft.Authorization/roleAssignments/write", At::Scope => role::put_assignment)
            .takes(role::describe_assignment).gives::<AssignmentView>(&[200, 201]),
        row!(DELETE at_scope!("Microsoft.Authorization/roleAssignments/{name}"), "RoleAssignments_Delete", "Takes a role away.", "Microsoft.Authorization/roleAssignments/delete", At::Scope => role::delete_assignment)
            .gives::<AssignmentView>(&[200]).gives_nothing(&[204]),
        row!(GET at_scope!("Microsoft.Authorization/roleDefinitions"), "RoleDefinitions_List", "Roles that can be assigned at a scope.", "Microsoft.Authorization/roleDefinitions/read", At::Scope => role::definitions)
            .gives::<Page<DefinitionView>>(&[200]).query(&["$filter", "$skipToken"]),
        row!(GET at_scope!("Microsoft.Authorization/roleDefinitions/{name}"), "RoleDefinitions_Get", "A role.", "Microsoft.Authorization/roleDefinitions/read", At::Scope => role::definition)
            .gives::<DefinitionView>(&[200]),
        row!(PUT at_scope!("Microsoft.Authorization/roleDefinitions/{name}"), "RoleDefinitions_CreateOrUpdate", "Makes a custom role or describes it anew.", "Microsoft.Authorization/roleDefinitions/write", At::Scope => role::put_definition)
            .takes(role::describe_definition).gives::<DefinitionView>(&[201]),
        row!(DELETE at_scope!("Microsoft.Authorization/roleDefinitions/{name}"), "RoleDefinitions_Delete", "Removes a custom role that nobody holds.", "Microsoft.Authorization/roleDefinitions/delete", At::Scope => role::delete_definition)
            .gives::<DefinitionView>(&[200]).gives_nothing(&[204]),
        row!(GET at_scope!("Microsoft.Authorization/denyAssignments"), "DenyAssignments_List", "Deny assignments that apply at a scope.", "Microsoft.Authorization/denyAssignments/read", At::Scope => role::denials)
            .gives::<Page<DenialView>>(&[200]).query(&["$filter"]),
        row!(GET at_scope!("Microsoft.Authorization/permissions"), "Permissions_List", "What the caller's own roles give at a scope.", anyone role::permissions)
            .gives::<Page<PermissionView>>(&[200]),
    ]
}

fn access_rows() -> Vec<Operation> {
    vec![
        row!(POST at_scope!("Scoregate.Gateway/checkAccess"), "Access_Check", "Whether the caller, or somebody else, may do something at a scope.", anyone access::check)
            .takes(access::describe_check).gives::<AccessView>(&[200]),
        row!(POST at_scope!("Scoregate.Gateway/whoCan"), "Access_WhoCan", "Everybody who may do something at a scope.", "Microsoft.Authorization/roleAssignments/read", At::Scope => access::who_can)
            .takes(access::describe_who_can).gives::<Page<HolderView>>(&[200]),
        row!(GET "/providers/Scoregate.Gateway/requests/{request}", "Access_ExplainRequest", "Why a scoring request was answered as it was.", anyone access::explain_request)
            .gives::<ExplanationView>(&[200]),
        row!(POST "/providers/Scoregate.Gateway/explain", "Access_Explain", "What a credential would do at an endpoint.", anyone access::explain)
            .takes(access::describe_explain).gives::<ExplanationView>(&[200]),
    ]
}
