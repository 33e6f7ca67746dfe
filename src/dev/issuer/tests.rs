//! Tests of the development issuer through its routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{DevPrincipal, Issuer, IssuerConfig, IssuerError, TokenVersion};

const TENANT: Uuid = Uuid::from_u128(0x7e);
const CLIENT: Uuid = Uuid::from_u128(0xc1);
const OBJECT: Uuid = Uuid::from_u128(0x01);
const GROUP: Uuid = Uuid::from_u128(0x61);
const CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const BASE: &str = "https://127.0.0.1:8445";
const NOW: i64 = 1_900_000_000;
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn scientist() -> DevPrincipal {
    DevPrincipal {
        name: "scientist".to_owned(),
        client_id: CLIENT,
        object_id: OBJECT,
        client_secret: "s+cr&t %41".to_owned(),
        groups: vec![GROUP],
    }
}

fn application(name: &str, id: u128) -> DevPrincipal {
    DevPrincipal {
        name: name.to_owned(),
        client_id: Uuid::from_u128(id),
        object_id: Uuid::from_u128(id + 1),
        client_secret: format!("secret of {name}"),
        groups: Vec::new(),
    }
}

fn config() -> IssuerConfig {
    IssuerConfig {
        tenant: TENANT,
        base_url: format!("{BASE}/"),
        principals: vec![scientist()],
        applications: vec![application("gateway", 0xa1)],
        managed: Some(application("worker", 0xb1)),
        lifetime: Duration::from_secs(3599),
    }
}

fn issuer() -> Arc<Issuer> {
    Arc::new(Issuer::new(config(), || NOW).unwrap())
}

async fn call(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-scoregate-development-issuer"], "true");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn fetch(router: &Router, path: &str) -> (StatusCode, Value) {
    call(router, Request::get(path).body(Body::empty()).unwrap()).await
}

fn form(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let digit = |b: u8| char::from_digit(u32::from(b), 16).unwrap();
    let escape =
        |text: &str| -> String { text.bytes().flat_map(|b| ['%', digit(b >> 4), digit(b & 15)]).collect() };
    let body: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={}", escape(v))).collect();
    Request::post(format!("/{TENANT}/{path}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body.join("&")))
        .unwrap()
}

async fn submit(router: &Router, path: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
    call(router, form(path, fields)).await
}

/// Client credentials on the v2 endpoint, with some fields changed.
async fn credentials(router: &Router, changed: &[(&str, &str)]) -> (StatusCode, Value) {
    let (client, secret) = (CLIENT.to_string(), scientist().client_secret);
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_id", client.as_str()),
        ("client_secret", secret.as_str()),
        ("scope", "https://ml.azure.com/.default"),
        ("client_info", "1"),
    ];
    fields.retain(|(name, _)| !changed.iter().any(|(other, _)| name == other));
    fields.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
    submit(router, "oauth2/v2.0/token", &fields).await
}

/// Verifies a token against a keys document and returns its claims.
#[allow(clippy::disallowed_methods, reason = "lets nobody in")]
fn verify(token: &str, jwks: &Value) -> Value {
    let key = &jwks["keys"][0];
    assert_eq!(decode_header(token).unwrap().kid.as_deref(), key["kid"].as_str());
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    let key = DecodingKey::from_rsa_components(&text("n"), &text("e")).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_aud = false;
    decode::<Value>(token, &key, &rules).unwrap().claims
}

fn refused(answer: &(StatusCode, Value), status: u16, error: &str, code: u32) {
    let (got, body) = answer;
    assert_eq!((got.as_u16(), body["error"].as_str()), (status, Some(error)), "{body}");
    assert_eq!(body["error_codes"], json!([code]));
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
    assert_eq!(body["timestamp"], "2030-03-17 17:46:40Z");
    assert!(body["trace_id"].is_string() && body["correlation_id"].is_string());
}

#[tokio::test]
async fn client_credentials_v1_for_azure_and_v2_for_others() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    let (status, body) = credentials(&router, &[]).await;
    assert_eq!((status, &body["expires_in"]), (StatusCode::OK, &json!(3599)));
    assert_eq!(body["token_type"], "Bearer");
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(decode_header(token).unwrap().x5t, decode_header(token).unwrap().kid);
    let claims = verify(token, &issuer.jwks());
    let uti = &claims["uti"];
    assert_eq!(
        claims,
        json!({
            "aud": "https://ml.azure.com", "iss": format!("https://sts.windows.net/{TENANT}/"), "iat": NOW, "nbf": NOW,
            "exp": NOW + 3599, "oid": OBJECT, "sub": OBJECT, "tid": TENANT, "ver": "1.0", "appid": CLIENT, "appidacr": "1",
            "idtyp": "app", "uti": uti, "groups": [GROUP],
        })
    );
    let (_, body) = credentials(&router, &[("scope", "api://mine/.default")]).await;
    let claims = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
    assert_eq!(
        [&claims["aud"], &claims["iss"], &claims["ver"], &claims["azp"], &claims["azpacr"]],
        ["api://mine", &format!("{BASE}/{TENANT}/v2.0"), "2.0", &CLIENT.to_string(), "1"]
    );
    assert!(claims.get("appid").is_none());
    let slash = "https://management.core.windows.net//.default";
    let (_, body) = credentials(&router, &[("scope", slash), ("token_version", "2")]).await;
    let claims = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
    assert_eq!(claims["aud"], "https://management.core.windows.net/");
    assert_eq!(claims["ver"], "2.0");
}

#[tokio::test]
async fn the_v1_endpoint_basic_and_the_query_override_work() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    let fields = [("grant_type", "client_credentials"), ("resource", "https://ml.azure.com/")];
    for secret in ["s+cr&t %41", "s%2Bcr%26t+%2541"] {
        let mut request = form("oauth2/token?token_version=2", &fields);
        let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{secret}")));
        request.headers_mut().insert("authorization", basic.parse().unwrap());
        let (status, body) = call(&router, request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let claims = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
        assert_eq!([&claims["aud"], &claims["ver"]], ["https://ml.azure.com/", "2.0"]);
    }
    refused(&submit(&router, "oauth2/token", &fields).await, 400, "invalid_request", 900_144);
}

#[tokio::test]
async fn refusals_are_in_entras_words() {
    let router = issuer().router();
    refused(&credentials(&router, &[("client_secret", "wrong")]).await, 401, "invalid_client", 7_000_215);
    refused(&credentials(&router, &[("client_secret", "")]).await, 401, "invalid_client", 7_000_218);
    refused(&credentials(&router, &[("client_id", CLI)]).await, 400, "unauthorized_client", 700_016);
    refused(&credentials(&router, &[("client_assertion", "x")]).await, 400, "invalid_client", 700_027);
    refused(&credentials(&router, &[("grant_type", "password")]).await, 400, "unsupported_grant_type", 70003);
    refused(&credentials(&router, &[("token_version", "3")]).await, 400, "invalid_request", 9_002_313);
    for scope in [
        "https://ml.azure.com",
        "/.default",
        "a/.default b/.default",
        "openid a/.default",
        "https:///.default",
    ] {
        refused(&credentials(&router, &[("scope", scope)]).await, 400, "invalid_scope", 70011);
    }
    let big = "x".repeat(70_000);
    refused(&credentials(&router, &[("x", &big)]).await, 413, "invalid_request", 9_002_313);
    let other = Uuid::from_u128(9);
    let paths = [
        "v2.0/.well-known/openid-configuration",
        ".well-known/openid-configuration",
        "discovery/v2.0/keys",
        "discovery/keys",
        "device",
    ];
    for path in paths {
        refused(&fetch(&router, &format!("/{other}/{path}")).await, 400, "invalid_tenant", 90002);
    }
    for (tenant, path) in [("organizations", "token"), (&other.to_string(), "token"), ("x", "devicecode")] {
        let mut request = form("x", &[]);
        *request.uri_mut() = format!("/{tenant}/oauth2/v2.0/{path}").parse().unwrap();
        refused(&call(&router, request).await, 400, "invalid_tenant", 90002);
    }
}

#[tokio::test]
async fn discovery_and_keys() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    let known = ".well-known/openid-configuration";
    let at = |path: &str| format!("{BASE}/{TENANT}/{path}");
    let (_, v2) = fetch(&router, &format!("/{TENANT}/v2.0/{known}")).await;
    assert_eq!(v2["issuer"], at("v2.0"));
    assert_eq!(v2["token_endpoint"], at("oauth2/v2.0/token"));
    assert_eq!(v2["device_authorization_endpoint"], at("oauth2/v2.0/devicecode"));
    assert_eq!(v2["jwks_uri"], at("discovery/v2.0/keys"));
    let (_, v1) = fetch(&router, &format!("/{TENANT}/{known}")).await;
    assert_eq!(v1["issuer"], format!("https://sts.windows.net/{TENANT}/"));
    assert_eq!([&v1["token_endpoint"], &v1["jwks_uri"]], [&at("oauth2/token"), &at("discovery/keys")]);
    for alias in ["organizations", "common"] {
        let (_, body) = fetch(&router, &format!("/{alias}/v2.0/{known}")).await;
        assert_eq!(body["issuer"], format!("{BASE}/{{tenantid}}/v2.0"));
        assert_eq!(body["token_endpoint"], v2["token_endpoint"]);
    }
    let (_, keys) = fetch(&router, &format!("/{TENANT}/discovery/v2.0/keys")).await;
    assert_eq!(keys, issuer.jwks());
    let (_, old) = fetch(&router, &format!("/{TENANT}/discovery/keys")).await;
    assert_eq!(old["keys"][0]["issuer"], "https://sts.windows.net/{tenantid}/");
    assert_eq!([&old["keys"][0]["n"], &old["keys"][0]["e"]], [&keys["keys"][0]["n"], &json!("AQAB")]);
    let (status, line) = fetch(&router, "/").await;
    assert!(status == StatusCode::OK && line.as_str().unwrap().contains("development issuer"));
    assert_eq!(fetch(&router, "/nothing").await.0, StatusCode::NOT_FOUND);
}

/// Walks through the device flow, checks each answer and returns the last.
async fn sign_in(issuer: &Issuer, router: &Router) -> Value {
    let scope = "https://management.azure.com/.default offline_access openid profile";
    let (_, start) = submit(router, "oauth2/v2.0/devicecode", &[("client_id", CLI), ("scope", scope)]).await;
    assert_eq!([&start["expires_in"], &start["interval"]], [&json!(900), &json!(1)]);
    assert_eq!(start["verification_uri"], format!("{BASE}/{TENANT}/device"));
    let [device, user] = ["device_code", "user_code"].map(|name| start[name].as_str().unwrap());
    let poll = [("grant_type", DEVICE), ("client_id", CLI), ("device_code", device), ("code", device)];
    let pending = submit(router, "oauth2/v2.0/token", &poll).await;
    refused(&pending, 400, "authorization_pending", 70016);

    let (_, html) = fetch(router, &format!("/{TENANT}/device?user_code={user}")).await;
    let html = html.as_str().unwrap();
    assert!(html.contains(user) && html.contains("scientist") && html.contains("no password"), "{html}");
    for (code, who, expected) in [("NOPE", "scientist", 400), (user, "nobody", 400), (user, "scientist", 200)]
    {
        let (status, _) =
            submit(router, "device", &[("user_code", code), ("principal", who), ("action", "approve")]).await;
        assert_eq!(status, expected, "{code} {who}");
    }
    let (status, body) = submit(router, "oauth2/v2.0/token", &poll).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let access = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
    assert_eq!(
        [&access["aud"], &access["scp"], &access["appid"], &access["appidacr"], &access["oid"]],
        ["https://management.azure.com", "user_impersonation", CLI, "0", &OBJECT.to_string()]
    );
    assert!(access.get("idtyp").is_none() && access["sub"] != access["oid"]);
    let id = verify(body["id_token"].as_str().unwrap(), &issuer.jwks());
    assert_eq!([&id["aud"], &id["preferred_username"]], [CLI, "scientist@dev.invalid"]);
    assert_eq!([&id["iss"], &id["tid"]], [&format!("{BASE}/{TENANT}/v2.0"), &TENANT.to_string()]);
    let info = URL_SAFE_NO_PAD.decode(body["client_info"].as_str().unwrap()).unwrap();
    let info: Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info, json!({"uid": OBJECT, "utid": TENANT}));
    refused(&submit(router, "oauth2/v2.0/token", &poll).await, 400, "bad_verification_code", 70018);
    body
}

#[tokio::test]
async fn the_device_flow_and_its_refresh_token() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    let body = sign_in(&issuer, &router).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let again = [("grant_type", "refresh_token"), ("client_id", CLI), ("refresh_token", refresh)];
    let (_, same) = submit(&router, "oauth2/v2.0/token", &again).await;
    assert_eq!(
        verify(same["access_token"].as_str().unwrap(), &issuer.jwks())["aud"],
        "https://management.azure.com"
    );
    let other = [&again[..], &[("scope", "https://ml.azure.com/user_impersonation openid")]].concat();
    let (_, other) = submit(&router, "oauth2/v2.0/token", &other).await;
    assert_eq!(
        verify(other["access_token"].as_str().unwrap(), &issuer.jwks())["aud"],
        "https://ml.azure.com"
    );
    let stolen =
        [("grant_type", "refresh_token"), ("client_id", &CLIENT.to_string()), ("refresh_token", refresh)];
    refused(&submit(&router, "oauth2/v2.0/token", &stolen).await, 400, "invalid_grant", 70000);
}

const OBO: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const STORAGE: &str = "https://storage.azure.com/.default";

/// The gateway's application asks for a token on behalf of whom this assertion names, with some fields changed.
async fn exchange(router: &Router, assertion: &str, changed: &[(&str, &str)]) -> (StatusCode, Value) {
    let gateway = application("gateway", 0xa1);
    let client = gateway.client_id.to_string();
    let mut fields = vec![
        ("grant_type", OBO),
        ("client_id", client.as_str()),
        ("client_secret", gateway.client_secret.as_str()),
        ("assertion", assertion),
        ("scope", STORAGE),
        ("requested_token_use", "on_behalf_of"),
    ];
    fields.retain(|(name, _)| !changed.iter().any(|(other, _)| name == other));
    fields.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
    submit(router, "oauth2/v2.0/token", &fields).await
}

/// The scientist's token for an audience, got as a person does.
async fn persons_token(issuer: &Issuer, router: &Router, audience: &str) -> String {
    let body = sign_in(issuer, router).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let scope = format!("{audience}/.default");
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", CLI),
        ("refresh_token", refresh),
        ("scope", scope.as_str()),
    ];
    let (_, body) = submit(router, "oauth2/v2.0/token", &fields).await;
    body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_application_acts_on_behalf_of_a_person() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    let gateway = application("gateway", 0xa1);
    let client = gateway.client_id.to_string();
    for audience in [client.clone(), format!("api://{client}")] {
        let assertion = persons_token(&issuer, &router, &audience).await;
        let (status, body) = exchange(&router, &assertion, &[]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(body.get("refresh_token").is_none(), "nobody asked for one");
        let claims = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
        assert_eq!(
            [&claims["aud"], &claims["oid"], &claims["scp"], &claims["appid"], &claims["appidacr"]],
            ["https://storage.azure.com", &OBJECT.to_string(), "user_impersonation", &client, "1"]
        );
        assert!(claims.get("idtyp").is_none());
    }
    let assertion = persons_token(&issuer, &router, &client).await;
    let lasting = format!("{STORAGE} offline_access");
    let (_, body) = exchange(&router, &assertion, &[("scope", &lasting)]).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let mut again = vec![
        ("grant_type", "refresh_token"),
        ("client_id", client.as_str()),
        ("refresh_token", refresh),
        ("scope", STORAGE),
    ];
    refused(&submit(&router, "oauth2/v2.0/token", &again).await, 401, "invalid_client", 7_000_218);
    again.push(("client_secret", &gateway.client_secret));
    let (status, body) = submit(&router, "oauth2/v2.0/token", &again).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let claims = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
    assert_eq!([&claims["oid"], &claims["appid"]], [&OBJECT.to_string(), &client]);
}

#[tokio::test]
async fn on_behalf_of_needs_the_client_s_secret_and_a_persons_token_for_it() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    let client = application("gateway", 0xa1).client_id.to_string();
    let good = persons_token(&issuer, &router, &client).await;
    refused(&exchange(&router, &good, &[("client_secret", "x")]).await, 401, "invalid_client", 7_000_215);
    refused(&exchange(&router, &good, &[("client_secret", "")]).await, 401, "invalid_client", 7_000_218);
    for (name, value) in [("assertion", ""), ("requested_token_use", ""), ("requested_token_use", "x")] {
        refused(&exchange(&router, &good, &[(name, value)]).await, 400, "invalid_request", 900_144);
    }
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["oid"] = json!(Uuid::from_u128(9));
    let forged = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let other = Issuer::new(config(), || NOW).unwrap();
    let stranger = other.token("scientist", &client, TokenVersion::V2).unwrap();
    for token in [forged.as_str(), &stranger, "x", ".."] {
        refused(&exchange(&router, token, &[]).await, 400, "invalid_grant", 50013);
    }
    let elsewhere = persons_token(&issuer, &router, "https://ml.azure.com").await;
    refused(&exchange(&router, &elsewhere, &[]).await, 400, "invalid_grant", 500_131);
    let application = issuer.token("scientist", &client, TokenVersion::V2).unwrap();
    refused(&exchange(&router, &application, &[]).await, 400, "invalid_grant", 7_000_114);
    let brief = IssuerConfig { lifetime: Duration::ZERO, ..config() };
    let brief = Arc::new(Issuer::new(brief, || NOW).unwrap());
    let router = Arc::clone(&brief).router();
    let ended = persons_token(&brief, &router, &client).await;
    refused(&exchange(&router, &ended, &[]).await, 400, "invalid_grant", 500_133);
}

#[tokio::test]
async fn programs_of_the_machine_get_tokens_of_its_identity() {
    let issuer = issuer();
    let router = Arc::clone(&issuer).router();
    assert_eq!(issuer.managed_url(), format!("{BASE}/msi/token"));
    let worker = application("worker", 0xb1);
    let ask = async |header: &str, query: &str| {
        let uri = format!("/msi/token?{query}");
        let request = Request::get(uri).header("x-identity-header", header).header("metadata", "true");
        call(&router, request.body(Body::empty()).unwrap()).await
    };
    let good = "api-version=2019-08-01&resource=https%3A%2F%2Fml.azure.com";
    let (client, object) = (worker.client_id.to_string(), worker.object_id.to_string());
    for query in [good.to_owned(), format!("{good}&client_id={client}"), format!("{good}&object_id={object}")]
    {
        let (status, body) = ask("secret of worker", &query).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let end = (NOW + 3599).to_string();
        assert_eq!(
            [&body["expires_in"], &body["expires_on"], &body["resource"], &body["client_id"]],
            ["3599", &end, "https://ml.azure.com", &client]
        );
        let claims = verify(body["access_token"].as_str().unwrap(), &issuer.jwks());
        assert_eq!(
            [&claims["oid"], &claims["appid"], &claims["idtyp"], &claims["aud"]],
            [&object, &client, "app", "https://ml.azure.com"]
        );
        assert!(claims["xms_mirid"].as_str().unwrap().ends_with("/userAssignedIdentities/worker"));
    }
    for header in ["", "secret", "secret of gateway"] {
        refused(&ask(header, good).await, 401, "unauthorized_client", 700_016);
    }
    refused(
        &ask("secret of worker", &format!("{good}&client_id={CLI}")).await,
        400,
        "invalid_request",
        700_016,
    );
    refused(&ask("secret of worker", "api-version=2019-08-01").await, 400, "invalid_request", 900_144);
    refused(&ask("secret of worker", "resource=x").await, 400, "invalid_request", 9_002_313);
    // Its secret opens nothing else.
    let changed = [("client_id", client.as_str()), ("client_secret", "secret of worker")];
    refused(&credentials(&router, &changed).await, 400, "unauthorized_client", 700_016);
}

#[test]
fn tokens_without_http_and_bad_configurations() {
    let issuer = issuer();
    let token = issuer.token("scientist", "https://ml.azure.com", TokenVersion::V2).unwrap();
    assert_eq!(verify(&token, &issuer.jwks())["ver"], "2.0");
    assert!(matches!(issuer.token("nobody", "a", TokenVersion::V1), Err(IssuerError::UnknownPrincipal(_))));
    assert!(!format!("{issuer:?}").contains("s+cr"), "a secret is shown");
    let mut twice = config();
    twice.principals.push(scientist());
    assert!(matches!(Issuer::new(twice, || NOW), Err(IssuerError::Config(_))));
    let mut empty = config();
    empty.principals[0].client_secret.clear();
    assert!(matches!(Issuer::new(empty, || NOW), Err(IssuerError::Config(_))));
    let lookalike = TokenVersion::for_audience("https://ml.azure.com.example");
    assert_eq!(lookalike, TokenVersion::V2);
}
