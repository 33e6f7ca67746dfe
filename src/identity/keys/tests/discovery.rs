//! What is believed of a discovery document, and which addresses are asked.

use serde_json::{Value, json};

use super::provider::{
    AUTHORITY, OTHER, TENANT, entra_name, keys_address, metadata, metadata_address, other,
};
use super::*;

/// `fetched`, or what is wrong, and the addresses that were asked after the first.
async fn discover(issuer: &Arc<Issuer>, address: &str, document: &[u8]) -> (String, Vec<String>) {
    let provider = Provider::new();
    provider.says_bytes(address, document);
    let provider = Arc::new(provider);
    if let Ok(Some(uri)) =
        serde_json::from_slice(document).map(|found: Value| found["jwks_uri"].as_str().map(str::to_owned))
    {
        provider.says(&uri, [Some(set(&["a"]))]);
    }
    let refreshed = refresher(issuer, &provider, None).refresh().await;
    let said = refreshed.map_or_else(|error| error.to_string(), |_| "fetched".to_owned());
    assert_eq!(is_found(&issuer.keys, "a"), said == "fetched");
    let mut asked = provider.asked();
    assert_eq!(asked.remove(0), address);
    (said, asked)
}

#[tokio::test]
async fn the_metadata_names_its_issuer_exactly() {
    let another = format!("{AUTHORITY}/bb020000-1111-4222-8333-444455556666/v2.0");
    for (name, issuer, expected) in [
        ("its own", json!(entra_name()), "fetched"),
        ("of all tenants", json!(format!("{AUTHORITY}/{{tenantid}}/v2.0")), "fetched"),
        ("another tenant", json!(another), "of another issuer"),
        ("all tenants in version 1", json!("https://sts.windows.net/{tenantid}/"), "of another issuer"),
        ("with a slash", json!(entra_name() + "/"), "of another issuer"),
        ("without its end", json!(format!("{AUTHORITY}/{TENANT}")), "of another issuer"),
        ("in upper case", json!(entra_name().to_uppercase()), "of another issuer"),
        ("another host", json!(entra_name().replace("microsoftonline", "evil")), "of another issuer"),
        ("clear text", json!(entra_name().replace("https", "http")), "of another issuer"),
        ("empty", json!(""), "of another issuer"),
        ("a list", json!([entra_name()]), "not a discovery document"),
        ("null", Value::Null, "not a discovery document"),
    ] {
        let mut document = metadata();
        document["issuer"] = issuer;
        let (said, asked) = discover(&entra(), &metadata_address(), document.to_string().as_bytes()).await;
        assert!(said.contains(expected), "{name}: {said}");
        let keys_are_asked_for = expected == "fetched";
        assert_eq!(asked.len(), usize::from(keys_are_asked_for), "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn keys_come_from_an_allowed_host_only() {
    let path = "/discovery/v2.0/keys";
    let on = |host: &str| json!(format!("https://{host}{path}"));
    for (name, uri, expected) in [
        ("the authority", on("login.microsoftonline.com"), "fetched"),
        ("in other case", on("LOGIN.microsoftonline.com"), "fetched"),
        ("another host", on("evil.example"), "not allowed"),
        ("below it", on("keys.login.microsoftonline.com"), "not allowed"),
        ("above it", on("microsoftonline.com"), "not allowed"),
        ("beginning like it", on("login.microsoftonline.com.evil.example"), "not allowed"),
        ("ending like it", on("evil-login.microsoftonline.com"), "not allowed"),
        ("as a user's name", on("login.microsoftonline.com@evil.example"), "not allowed"),
        ("with a user's name", on("evil@login.microsoftonline.com"), "not allowed"),
        ("another port", on("login.microsoftonline.com:8443"), "not allowed"),
        ("with a dot", on("login.microsoftonline.com."), "not allowed"),
        ("the metadata service", json!("http://169.254.169.254/keys"), "not allowed"),
        ("loopback", json!("http://127.0.0.1/keys"), "not allowed"),
        ("another issuer's host", on("keys.example:8443"), "not allowed"),
        ("without a host", json!(path), "not allowed"),
        ("a file", json!("file:///etc/keys"), "not allowed"),
        ("empty", json!(""), "not allowed"),
        ("a list", json!([keys_address()]), "not a discovery document"),
        ("none", Value::Null, "not a discovery document"),
    ] {
        let mut document = metadata();
        document["jwks_uri"] = uri.clone();
        let (said, asked) = discover(&entra(), &metadata_address(), document.to_string().as_bytes()).await;
        assert!(said.contains(expected), "{name}: {said}");
        let expected = if expected == "fetched" { vec![uri] } else { Vec::new() };
        assert_eq!(json!(asked), json!(expected), "{name}");
    }
}

#[tokio::test]
async fn other_hosts_are_those_of_the_settings() {
    let address = "https://ci.example/.well-known/openid-configuration";
    for (uri, expected) in [
        ("https://ci.example/keys", "fetched"),
        ("https://keys.example:8443/keys", "fetched"),
        ("https://keys.example/keys", "not allowed"),
        ("https://login.microsoftonline.com/keys", "not allowed"),
    ] {
        let document = json!({"issuer": OTHER, "jwks_uri": uri}).to_string();
        let (said, _) = discover(&other(), address, document.as_bytes()).await;
        assert!(said.contains(expected), "{uri}: {said}");
    }
}

#[tokio::test]
async fn what_is_no_discovery_document_is_refused() {
    for document in ["", "null", "[]", "{}", "\"x\"", "<html>", "{\"issuer\":", "{\"jwks_uri\":\"x\"}"] {
        let (said, asked) = discover(&entra(), &metadata_address(), document.as_bytes()).await;
        assert!(said.contains("not a discovery document"), "{document}: {said}");
        assert!(asked.is_empty(), "{document}");
    }
    // A document may be long; its members may not come twice.
    let twice = metadata().to_string().replacen('{', "{\"issuer\":\"x\",", 1);
    let (said, _) = discover(&entra(), &metadata_address(), twice.as_bytes()).await;
    assert!(said.contains("not a discovery document"), "{said}");
}

#[tokio::test]
async fn clear_text_is_not_spoken_even_to_an_allowed_host() {
    use crate::identity::fetch::HttpFetch;
    let certificate = rcgen::generate_simple_self_signed(["login.microsoftonline.com".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, certificate.cert.pem()).unwrap();
    let transport = Transport { ca_file: Some(roots), allow_http: false };
    let client = HttpFetch::new(&transport).unwrap();
    for url in ["http://login.microsoftonline.com/keys", "HTTP://x/", "file:///etc/keys", "/keys", ""] {
        let ask = Ask { url, body: None, bearer: None, limit: 1 };
        let said = client.fetch(ask).await.unwrap_err().to_string();
        assert!(said.contains("an address that is not https"), "{url}: {said}");
    }
}
