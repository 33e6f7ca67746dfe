//! Which keys of a document are taken, and what a document without any does.

use serde_json::{Value, json};

use super::provider::{AUTHORITY, TENANT, key, keys_address, metadata, metadata_address, with_file};
use super::*;

/// A key with some members changed; `null` takes a member away.
fn key_with(kid: &str, members: &Value) -> Value {
    let mut key = key(kid);
    let object = key.as_object_mut().unwrap();
    object.extend(members.as_object().unwrap().clone());
    object.retain(|_, value| !value.is_null());
    key
}

#[tokio::test]
async fn an_answer_without_a_usable_key_changes_nothing() {
    let many =
        |n: usize| json!({ "keys": (0..n).map(|n| key(&n.to_string())).collect::<Vec<_>>() }).to_string();
    let only = |members: Value| json!({ "keys": [key_with("b", &members)] }).to_string();
    for (name, answer, expected) in [
        ("nothing", String::new(), "not a JSON Web Key Set"),
        ("rubbish", "\0\u{1}\u{2}".to_owned(), "not a JSON Web Key Set"),
        ("a page", "<html>sign in</html>".to_owned(), "not a JSON Web Key Set"),
        ("a list", json!([key("b")]).to_string(), "not a JSON Web Key Set"),
        ("one key", key("b").to_string(), "not a JSON Web Key Set"),
        ("keys by id", json!({"keys": {"b": key("b")}}).to_string(), "not a JSON Web Key Set"),
        ("null", json!({"keys": null}).to_string(), "not a JSON Web Key Set"),
        ("cut off", many(3).trim_end_matches('}').to_owned(), "not a JSON Web Key Set"),
        ("two documents", many(1).repeat(2), "not a JSON Web Key Set"),
        ("keys twice", many(1).replacen('{', "{\"keys\":[],", 1), "not a JSON Web Key Set"),
        ("no key", many(0), "no RSA key"),
        ("no objects", json!({"keys": [1, "b", null, []]}).to_string(), "no RSA key"),
        ("another type", only(json!({"kty": "EC"})), "no RSA key"),
        ("for encryption", only(json!({"use": "enc"})), "no RSA key"),
        ("without an id", only(json!({"kid": null})), "no RSA key"),
        ("with an empty id", only(json!({"kid": ""})), "no RSA key"),
        ("with a long id", only(json!({"kid": "k".repeat(257)})), "no RSA key"),
        ("with a number for an id", only(json!({"kid": 1})), "no RSA key"),
        ("without a modulus", only(json!({"n": null})), "no RSA key"),
        ("with an empty modulus", only(json!({"n": ""})), "no RSA key"),
        ("with zero for a modulus", only(json!({"n": "AAAA"})), "no RSA key"),
        ("with a small modulus", only(json!({"n": "_w".repeat(60)})), "no RSA key"),
        ("with exponent 3", only(json!({"e": "Aw"})), "no RSA key"),
        ("101 keys", many(101), "more than 100 keys"),
        ("a hundred thousand keys", json!({"keys": vec![0; 100_000]}).to_string(), "more than 100 keys"),
        ("100 keys", many(100), "fetched"),
    ] {
        let issuer = entra();
        let provider = Provider::of_entra([Some(set(&["a"]))]);
        let refresher = refresher(&issuer, &provider, None);
        refresher.refresh().await.unwrap();
        let before = issuer.keys.generation();

        provider.says_bytes(&keys_address(), answer.as_bytes());
        let answer = refresher.refresh().await;
        let said = answer.map_or_else(|error| error.to_string(), |_| "fetched".to_owned());
        assert!(said.contains(expected), "{name}: {said}");
        let changed = expected == "fetched";
        assert_eq!(is_found(&issuer.keys, "a"), !changed, "{name}");
        assert_eq!(issuer.keys.generation() != before, changed, "{name}");
    }
}

#[tokio::test]
async fn a_bad_key_is_skipped_and_its_neighbours_are_used() {
    let bad = [
        json!(7),
        json!({}),
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": "oct", "k": "AA"}),
        key_with("encryption", &json!({"use": "enc"})),
        key_with("weak", &json!({"e": "Aw"})),
        key_with("broken", &json!({"n": "?"})),
    ];
    let keys = [vec![key("first")], bad.to_vec(), vec![key("last")]].concat();
    let issuer = entra();
    let provider = Provider::of_entra([Some(json!({ "keys": keys }))]);
    refresher(&issuer, &provider, None).refresh().await.unwrap();
    for kid in ["first", "last"] {
        assert!(is_found(&issuer.keys, kid), "{kid}");
    }
    for kid in ["ec", "oct", "encryption", "weak", "broken", ""] {
        assert!(!is_found(&issuer.keys, kid), "{kid}");
    }
}

#[tokio::test]
async fn only_keys_of_this_issuer_and_cloud_are_taken() {
    let own = "microsoftonline.com";
    let of = |issuer: &str| json!({ "issuer": issuer });
    let in_cloud = |cloud: &str| json!({ "cloud_instance_name": cloud });
    let rows = [
        ("plain", json!({}), true),
        ("of its tenant", of(&format!("{AUTHORITY}/{TENANT}/v2.0")), true),
        ("of all tenants", of(&format!("{AUTHORITY}/{{tenantid}}/v2.0")), true),
        ("of all tenants, in other case", of(&format!("{AUTHORITY}/{{TenantId}}/v2.0")), true),
        ("of another tenant", of(&format!("{AUTHORITY}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0")), false),
        ("of all tenants of another cloud", of("https://login.microsoftonline.us/{tenantid}/v2.0"), false),
        ("of version 1", of("https://sts.windows.net/{tenantid}/"), false),
        ("of another template", of(&format!("{AUTHORITY}/{{tenant}}/v2.0")), false),
        ("of a template twice", of(&format!("{AUTHORITY}/{{tenantid}}/v2.0/{{tenantid}}")), false),
        ("of nothing but a template", of("{tenantid}"), false),
        ("of nobody", of(""), false),
        ("of a list", json!({"issuer": [format!("{AUTHORITY}/{TENANT}/v2.0")]}), false),
        ("in its cloud", in_cloud(own), true),
        ("in another cloud", in_cloud("microsoftonline.us"), false),
        ("in no cloud", in_cloud(""), false),
        ("in its cloud, for another tenant", json!({"cloud_instance_name": own, "issuer": "x"}), false),
        (
            "in another cloud, for all tenants",
            json!({"cloud_instance_name": "microsoftonline.us", "issuer": format!("{AUTHORITY}/{{tenantid}}/v2.0")}),
            false,
        ),
    ];
    let keys: Vec<Value> = rows.iter().map(|(kid, members, _)| key_with(kid, members)).collect();
    let issuer = entra();
    let provider = Provider::of_entra([Some(json!({ "keys": keys }))]);
    let refresher = refresher(&issuer, &provider, None);
    refresher.refresh().await.unwrap();
    for (kid, _, expected) in rows {
        assert_eq!(is_found(&issuer.keys, kid), expected, "{kid}");
    }
    // Where the metadata names no cloud, a key may name any.
    let mut document = metadata();
    document.as_object_mut().unwrap().remove("cloud_instance_name");
    provider.says(&metadata_address(), [Some(document)]);
    refresher.refresh().await.unwrap();
    assert!(is_found(&issuer.keys, "in another cloud"));
    assert!(!is_found(&issuer.keys, "of another tenant"));
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_at_each_refresh() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    let issuer = with_file(file.clone());
    let provider = Arc::new(Provider::new());
    let refresher = refresher(&issuer, &provider, Some(&directory.path().join("memory")));

    let missing = refresher.refresh().await.unwrap_err().to_string();
    assert!(missing.contains("keys.json"), "{missing}");
    assert!(is_unavailable(&issuer.keys, "a", NOW));
    for kid in ["a", "b"] {
        std::fs::write(&file, set(&[kid]).to_string()).unwrap();
        refresher.refresh().await.unwrap();
        assert!(is_found(&issuer.keys, kid));
    }
    assert!(!is_found(&issuer.keys, "a"));
    std::fs::write(&file, "{}").unwrap();
    let wrong = refresher.refresh().await.unwrap_err().to_string();
    assert!(wrong.contains("keys.json: it is not a JSON Web Key Set"), "{wrong}");
    assert!(is_found(&issuer.keys, "b"));

    assert_eq!(provider.asked(), [] as [String; 0]);
    assert!(!directory.path().join("memory").exists(), "it lies on disk already");
}
