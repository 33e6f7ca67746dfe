//! The machine's managed identity, and what is done on behalf of a person, against `scoregate dev`'s issuer.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoregate::clock::SystemClock;
use scoregate::identity::on_behalf_of::OnBehalfOf;
use scoregate::settings::Settings;
use serde_json::Value;

use super::{World, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_the_machine_scores_as_its_managed_identity_once_it_may() {
    let world = World::start().await;
    let request = world.request();
    let as_worker = |header: &str| {
        let mut command = world.nobody();
        command
            .env("IDENTITY_ENDPOINT", world.get("/managed_identity/endpoint"))
            .env("IDENTITY_HEADER", header);
        // The workspace is not looked for, which the worker may not read.
        command.env("SCOREGATE_SUBSCRIPTION", world.get("/subscription_id"));
        command.env("SCOREGATE_RESOURCE_GROUP", "default").env("SCOREGATE_WORKSPACE", "default");
        run(command.args(["online-endpoint", "invoke", "-n", "my-endp1", "-r", &request]))
    };
    as_worker("guessed").fails(1, &["managed identity: ", "only this machine's programs may ask"]);
    let header = world.get("/managed_identity/header");
    // It may not even know that the endpoint is there.
    let refused = as_worker(header);
    assert!(refused.code != 0 && refused.out.is_empty(), "{refused:?}");
    let worker = world.get("/managed_identity/object_id");
    let grant = format!(
        "role assignment create --assignee-object-id {worker} --assignee-principal-type ServicePrincipal --role Reader --scope {}",
        world.scope("my-endp1")
    );
    world.admin(&grant).ok();
    as_worker(header).fails(1, &["(AuthorizationFailed)", worker]);
    let data_scientist =
        ["role", "assignment", "create", "--assignee-object-id", worker, "--assignee-principal-type"];
    let scope = world.scope("my-endp1");
    let grant = ["ServicePrincipal", "--role", "AzureML Data Scientist", "--scope", &scope];
    world.run("admin", &[&data_scientist[..], &grant].concat()).ok();
    assert!(as_worker(header).ok().json()["predictions"].is_array());
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Signs in as the scientist, as a person does at the device page, for this scope.
async fn sign_in(world: &World, http: &reqwest::Client, scope: &str) -> String {
    let base = format!("{}/{}", world.get("/authority_url"), world.get("/tenant_id"));
    let post = async |path: &str, form: &[(&str, &str)]| {
        let answer = http.post(format!("{base}/{path}")).form(form).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.unwrap()
    };
    let client = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
    let text = post("oauth2/v2.0/devicecode", &[("client_id", client), ("scope", scope)]).await;
    let start: Value = serde_json::from_str(&text).unwrap();
    let part = |name: &str| start[name].as_str().unwrap().to_owned();
    post("device", &[("user_code", &part("user_code")), ("principal", "scientist"), ("action", "approve")])
        .await;
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let form = [("grant_type", grant), ("client_id", client), ("device_code", &part("device_code"))];
    let body: Value = serde_json::from_str(&post("oauth2/v2.0/token", &form).await).unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_s_application_acts_on_behalf_of_a_person_and_of_nobody_else() {
    let world = World::start().await;
    let file = world.directory.path().join("dev/scoregate.yaml");
    let settings = Settings::load(&file, std::iter::empty()).unwrap().identity.on_behalf_of.unwrap();
    let application = OnBehalfOf::new(settings, Arc::new(SystemClock)).unwrap();
    let tls = scoregate::identity::fetch::client_config(Path::new(world.get("/ca_file"))).unwrap();
    let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();

    let token = sign_in(&world, &http, world.get("/on_behalf_of/scope")).await;
    // The gateway takes it itself: a scientist may score.
    let score = format!("{}/endpoints/my-endp1/score", world.get("/data_url"));
    let body = std::fs::read(world.request()).unwrap();
    let request = http.post(&score).bearer_auth(&token).header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let tokens = application.exchange(&token).await.unwrap();
    let refresh = tokens.refresh.unwrap();
    let again = application.refresh(&refresh).await.unwrap();
    for token in [&tokens.access, &again.access] {
        let claims = claims(token);
        assert_eq!(
            [&claims["aud"], &claims["oid"], &claims["scp"], &claims["appid"]],
            [
                "https://storage.azure.com",
                world.object_id("scientist"),
                "user_impersonation",
                world.get("/on_behalf_of/client_id")
            ]
        );
    }

    let elsewhere = sign_in(&world, &http, "https://ml.azure.com/.default").await;
    assert_eq!(application.exchange(&elsewhere).await.unwrap_err().code(), "OnBehalfOfAudience");
    assert_eq!(application.refresh("guessed").await.unwrap_err().code(), "OnBehalfOfRefused");
    let url = format!("{}/{}/oauth2/v2.0/token", world.get("/authority_url"), world.get("/tenant_id"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", world.get("/principals/scientist/client_id")),
        ("client_secret", world.get("/principals/scientist/client_secret")),
        ("scope", world.get("/on_behalf_of/scope")),
    ];
    let own: Value = http.post(&url).form(&form).send().await.unwrap().json().await.unwrap();
    let own = own["access_token"].as_str().unwrap();
    assert_eq!(application.exchange(own).await.unwrap_err().code(), "OnBehalfOfNeedsUser");
}
