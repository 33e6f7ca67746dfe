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

fn config() -> IssuerConfig {
    IssuerConfig {
        tenant: TENANT,
        base_url: format!("{BASE}/"),
        principals: vec![scientist()],
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
