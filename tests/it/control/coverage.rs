//! Every operation of the OpenAPI document, asked by everybody. Who is told what stands in `tests/golden/unauthorized.txt`.

use std::collections::BTreeMap;

use http::Method;
use scoregate::rbac::builtin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::PATIENT;
use crate::support::mint::{Mint, v1_issuer};
use crate::support::raw::ask;
use crate::support::rest::{
    Body, Caller, batch_deployment_body, batch_endpoint_body, deployment_body, endpoint_body, grant_body,
    grant_id, group, role_id, workspace,
};
use crate::support::stand::{MANAGEMENT, SUBSCRIPTION, TENANT, object_id};
use crate::support::{Plan, Stand, until};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unauthorized.txt");
const HEAD: &str = "# operationId, then what is answered to: nobody, another tenant, a scoring token, outsider, Reader, \
                    AzureML Data Scientist, Owner\n\n";
const CALLERS: [&str; 7] =
    ["nobody", "another tenant", "a scoring token", "outsider", "reader", "scientist", "owner"];
/// The tenant of the authority whose key the test holds.
const MINTED: Uuid = Uuid::from_u128(0x3137);
/// A tenant that the gateway was not told of.
const STRANGE: Uuid = Uuid::from_u128(0x57a);
const ROLE: Uuid = Uuid::from_u128(0xc0de);
const GRANT: Uuid = Uuid::from_u128(0x6a);
const JOB: &str = "cov-job";

/// A role for custom use that nobody holds.
fn role_body() -> Value {
    json!({"properties": {
        "roleName": "Coverage",
        "permissions": [{"actions": ["Microsoft.MachineLearningServices/workspaces/read"]}],
        "assignableScopes": [group()],
    }})
}

fn question() -> Value {
    json!({"action": "Microsoft.MachineLearningServices/workspaces/read"})
}

/// A body that is good for an operation, and none where the operation takes none.
fn body(operation: &str) -> Option<Value> {
    Some(match operation {
        "Workspaces_CreateOrUpdate" => json!({"location": "local", "properties": {}}),
        "OnlineEndpoints_CreateOrUpdate" => endpoint_body("AMLToken", &json!({})),
        "OnlineEndpoints_Update"
        | "OnlineDeployments_Update"
        | "BatchEndpoints_Update"
        | "BatchDeployments_Update" => json!({"tags": {"seen": "yes"}}),
        "BatchEndpoints_CreateOrUpdate" => batch_endpoint_body(None),
        "BatchDeployments_CreateOrUpdate" => batch_deployment_body(&["http://127.0.0.1:9"]),
        "Datastores_CreateOrUpdate" => json!({"properties": {
            "datastoreType": "AzureBlob", "accountName": "heart", "containerName": "data",
            "credentials": {"credentialsType": "Sas", "secrets": {"sasToken": "sv=1&sig=x"}},
        }}),
        "Datastores_ListSecrets" => json!({"expirableSecret": false}),
        "OnlineEndpoints_RegenerateKeys" => json!({"keyType": "Primary"}),
        "OnlineDeployments_CreateOrUpdate" => deployment_body(&["http://127.0.0.1:9"]),
        "OnlineDeployments_GetLogs" => json!({"tail": 10}),
        "ModelVersions_CreateOrUpdate" | "EnvironmentVersions_CreateOrUpdate" => json!({"properties": {}}),
        "RoleAssignments_Create" => grant_body(builtin::by_name("Reader").unwrap(), object_id("somebody")),
        "RoleDefinitions_CreateOrUpdate" => role_body(),
        "Access_Check" | "Access_WhoCan" => question(),
        "Access_Explain" => json!({"endpoint": "cov-ep", "token": "e30.e30.e30"}),
        _ => return None,
    })
}

/// The gateway with one of everything, and those who ask.
struct Fixture {
    stand: Stand,
    callers: [Caller; 7],
    /// The same, of operations that take tokens for scoring.
    scorers: [Caller; 7],
    owner: Caller,
    /// A scoring request that can be explained.
    request: String,
    /// The last write of the endpoint.
    operation: String,
}

fn lab() -> String {
    workspace("lab")
}

fn endpoint() -> String {
    format!("{}/onlineEndpoints/cov-ep", lab())
}

fn batch() -> String {
    format!("{}/batchEndpoints/cov-jobs", lab())
}

impl Fixture {
    async fn start() -> Fixture {
        let mint = Mint::new(MINTED);
        let minted = mint.serve().await;
        let mut plan = Plan::default();
        plan.grant("scientist", "AzureML Data Scientist", &group());
        plan.grant("reader", "Reader", &group());
        let identity = format!(
            "{{ entra: [ {{ authority: \"{{authority}}\", tenants: [ {TENANT} ], ca_file: ca.pem }}, \
             {{ authority: \"{minted}\", tenants: [ {MINTED} ], allow_http: true }} ] }}"
        );
        let plan = plan.owned().set("identity", &identity).set("limits", PATIENT);
        let stand = Stand::start(plan).await;
        let rest = stand.rest();
        // Signed by a key that the gateway knows, for a tenant that it does not know, and the owner by name.
        let stranger = json!({"aud": MANAGEMENT, "iss": v1_issuer(STRANGE), "tid": STRANGE});
        let stranger = mint.with(object_id("owner"), &stranger);
        let callers = [
            rest.nobody(),
            rest.by(&stranger),
            rest.by(&stand.token("owner")),
            stand.as_("outsider"),
            stand.as_("reader"),
            stand.as_("scientist"),
            stand.as_("owner"),
        ];
        let by_scoring = |name: &str| rest.by(&stand.token(name));
        let scorers = [
            rest.nobody(),
            rest.by(&mint.with(object_id("owner"), &json!({"iss": v1_issuer(STRANGE), "tid": STRANGE}))),
            stand.as_("owner"),
            by_scoring("outsider"),
            by_scoring("reader"),
            by_scoring("scientist"),
            by_scoring("owner"),
        ];
        let owner = stand.as_("owner");
        let (request, operation) = (String::new(), String::new());
        let mut fixture = Fixture { stand, callers, scorers, owner, request, operation };
        fixture.reset().await;
        fixture.request = fixture.score().await;
        fixture.submit().await;
        fixture
    }

    /// One of everything, as it was before somebody changed it.
    async fn reset(&mut self) {
        let mut put = Vec::new();
        for (path, operation) in [
            (lab(), "Workspaces_CreateOrUpdate"),
            (endpoint(), "OnlineEndpoints_CreateOrUpdate"),
            (format!("{}/deployments/blue", endpoint()), "OnlineDeployments_CreateOrUpdate"),
            (batch(), "BatchEndpoints_CreateOrUpdate"),
            (format!("{}/deployments/blue", batch()), "BatchDeployments_CreateOrUpdate"),
            (format!("{}/datastores/cov", lab()), "Datastores_CreateOrUpdate"),
            (format!("{}/models/cov/versions/1", lab()), "ModelVersions_CreateOrUpdate"),
            (format!("{}/environments/cov/versions/1", lab()), "EnvironmentVersions_CreateOrUpdate"),
            (role_id(&group(), ROLE), "RoleDefinitions_CreateOrUpdate"),
            (grant_id(&endpoint(), GRANT), "RoleAssignments_Create"),
        ] {
            put.push(self.owner.put(&path, body(operation).unwrap()).await.any(&[200, 201]));
        }
        let uri = put[1].at("/properties/properties/AzureAsyncOperationUri").as_str().unwrap();
        let (path, _) = uri.split_once('?').unwrap();
        path.rsplit('/').next().unwrap().clone_into(&mut self.operation);
    }

    /// A job of the batch endpoint, which stays when that goes.
    async fn submit(&self) {
        let uri = "azureml://datastores/workspaceblobstore/paths/in";
        let body = json!({"properties": {"name": JOB, "inputData": {"in": {"jobInputType": "UriFolder", "uri": uri}}}});
        let (token, body) = (self.stand.token("owner"), body.to_string());
        let message = format!(
            "POST /endpoints/cov-jobs/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nazureml-model-deployment: blue\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = ask(self.stand.gateway.data, message).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.json());
    }

    /// A scoring request, and its id once it can be explained.
    async fn score(&self) -> String {
        let message = "GET /endpoints/cov-ep/score HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = ask(self.stand.gateway.data, message).await.unwrap();
        let id = answer.field("x-ms-request-id").unwrap().to_owned();
        let path = format!("/providers/Scoregate.Gateway/requests/{id}");
        until("the request can be explained", async || self.owner.get(&path).await.status == 200).await;
        id
    }

    /// A template with everything in it that is there.
    fn path(&self, template: &str, operation: &str) -> String {
        let name = match operation.split('_').next().unwrap() {
            "RoleAssignments" => GRANT.to_string(),
            "RoleDefinitions" => ROLE.to_string(),
            _ => "cov".to_owned(),
        };
        let segment = |segment: &str| {
            let Some(param) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
                return segment.to_owned();
            };
            match param {
                "scope" => endpoint().trim_start_matches('/').to_owned(),
                "subscription" => SUBSCRIPTION.to_owned(),
                "resourceGroup" => "default".to_owned(),
                "workspace" => "lab".to_owned(),
                "workspaceId" => Uuid::from_u128(1).to_string(),
                "location" => "local".to_owned(),
                "operation" => self.operation.clone(),
                "job" => JOB.to_owned(),
                "endpoint" if operation.starts_with("Batch") => "cov-jobs".to_owned(),
                "endpoint" => "cov-ep".to_owned(),
                "datastore" | "compute" => "cov".to_owned(),
                "deployment" => "blue".to_owned(),
                "name" => name.clone(),
                "version" => "1".to_owned(),
                "request" => self.request.clone(),
                other => panic!("{operation}: the test has nothing to put for {{{other}}}"),
            }
        };
        template.split('/').map(segment).collect::<Vec<_>>().join("/")
    }
}

/// An operation as the document describes it.
struct Described {
    id: String,
    method: Method,
    template: String,
    public: bool,
    takes_body: bool,
    governed: bool,
    scoring: bool,
}

fn operations(document: &Value) -> Vec<Described> {
    let mut found = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.push(Described {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                template: template.clone(),
                public: operation["security"] == json!([]),
                takes_body: operation["requestBody"].is_object(),
                governed: operation["x-scoregate-action"].is_string(),
                scoring: operation["security"] == json!([{"scoring": []}]),
            });
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_everybody_as_the_golden_file_says() {
    let mut fixture = Box::pin(Fixture::start()).await;
    let document = fixture.callers[0].get("/openapi.json").await.is(200).json;
    let (mut seen, mut wrong) = (BTreeMap::new(), Vec::new());
    for operation in operations(&document) {
        let id = &operation.id;
        let body = body(id);
        assert_eq!(body.is_some(), operation.takes_body, "{id}: the table of bodies does not agree");
        let mut row = Vec::new();
        fixture.reset().await;
        let callers = if operation.scoring { fixture.scorers.clone() } else { fixture.callers.clone() };
        for (who, caller) in CALLERS.iter().zip(callers) {
            if operation.method != Method::GET {
                fixture.reset().await;
            }
            let path = fixture.path(&operation.template, id);
            let body = body.clone().map_or(Body::None, Body::Json);
            let reply = caller.call(operation.method.clone(), &path, body, &[]).await;
            let status = reply.status;
            let unknown = CALLERS.iter().take(3).any(|unknown| unknown == who);
            let mut rule = |holds: bool, text: &str| {
                if !holds {
                    wrong.push(format!("{id} by {who}: {text}: {status} {}", reply.json));
                }
            };
            rule(!operation.public || status == 200, "what is public is for everybody");
            rule(operation.public || !unknown || status == 401, "who is unknown is told so");
            rule((status == 401) == reply.header("www-authenticate").is_some(), "401 and a challenge");
            rule(status < 400 || !reply.code().is_empty(), "ARM's envelope");
            rule(
                !operation.governed || *who != "outsider" || status == 404,
                "nothing is there for outsiders",
            );
            row.push(status.to_string());
        }
        seen.insert(operation.id, row.join(" "));
    }
    fixture.stand.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let lines: Vec<String> = seen.iter().map(|(id, row)| format!("{id:<34} {row}\n")).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, format!("{HEAD}{}", lines.concat())).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    let golden = golden.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let golden: BTreeMap<_, _> = golden.map(|(id, row)| (id.to_owned(), row.trim().to_owned())).collect();
    for id in seen.keys().chain(golden.keys()).collect::<std::collections::BTreeSet<_>>() {
        match (seen.get(id), golden.get(id)) {
            (Some(_), None) => wrong.push(format!("{id} is not in the golden file")),
            (None, Some(_)) => wrong.push(format!("{id} is in the golden file and not in the document")),
            (seen, golden) if seen != golden => wrong.push(format!("{id}: {golden:?} became {seen:?}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}\nrun with UPDATE_GOLDEN=1 and review the difference", wrong.join("\n"));
}

/// Who may not read a thing's parent is told the same of a thing that is there and of one that is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_seen_looks_like_what_is_not_there() {
    let fixture = Box::pin(Fixture::start()).await;
    let outsider = fixture.stand.as_("outsider");
    let there = endpoint();
    for (method, path) in [
        (Method::GET, there.clone()),
        (Method::PATCH, there.clone()),
        (Method::DELETE, there.clone()),
        (Method::POST, format!("{there}/listKeys")),
        (Method::POST, format!("{there}/regenerateKeys")),
        (Method::POST, format!("{there}/token")),
        (Method::GET, format!("{there}/deployments")),
        (Method::GET, format!("{there}/deployments/blue")),
        (Method::DELETE, format!("{there}/deployments/blue")),
        (Method::GET, format!("{there}/providers/Microsoft.Authorization/roleAssignments")),
        (Method::GET, grant_id(&there, GRANT)),
        (Method::DELETE, grant_id(&there, GRANT)),
        (Method::GET, format!("{there}/providers/Microsoft.Authorization/permissions")),
        (Method::POST, format!("{there}/providers/Scoregate.Gateway/checkAccess")),
        (Method::GET, format!("{}/jobs/{JOB}", lab())),
        (Method::POST, format!("{}/jobs/{JOB}/cancel", lab())),
        (Method::GET, lab()),
        (Method::GET, format!("{}/onlineEndpoints", lab())),
        (Method::GET, format!("{}/models/cov/versions/1", lab())),
        (Method::GET, batch().replace("cov-jobs", "cov-ep")),
        (Method::GET, format!("{}/datastores", lab())),
        (Method::POST, format!("{}/datastores/cov/listSecrets", lab())),
    ] {
        let mut told = Vec::new();
        for path in [path.clone(), path.replace("cov-ep", "cov-no").replace("/lab", "/lob")] {
            let body = if path.ends_with("checkAccess") { Body::Json(question()) } else { Body::None };
            let reply = outsider.call(method.clone(), &path, body, &[]).await;
            let text = reply.json.to_string().replace("cov-no", "cov-ep").replace("/lob", "/lab");
            told.push((reply.status, text, reply.header("etag").map(str::to_owned)));
        }
        assert_eq!(told[0], told[1], "{method} {path}");
    }
    let explain = async |name: &str| {
        let body = json!({"endpoint": name, "token": "x"});
        let reply = outsider.post("/providers/Scoregate.Gateway/explain", body).await;
        (reply.status, reply.json.to_string().replace("cov-no", "cov-ep"))
    };
    assert_eq!(explain("cov-ep").await, explain("cov-no").await, "explain");
    let unknown = Uuid::from_u128(9).to_string();
    let request = async |id: &str| {
        let reply = outsider.get(&format!("/providers/Scoregate.Gateway/requests/{id}")).await;
        (reply.status, reply.json.to_string().replace(&unknown, &fixture.request))
    };
    assert_eq!(request(&fixture.request).await, request(&unknown).await, "requests");
    fixture.stand.stop().await;
}
