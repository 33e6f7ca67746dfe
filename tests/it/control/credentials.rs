//! Keys of endpoints and tokens that the gateway issues: what opens what, and until when.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::World;
use crate::support::rest::{endpoint, endpoint_body};

/// Mode, endpoint and the credentials that open it, of three endpoints in three modes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_opens_the_endpoint_it_is_for_and_no_other() {
    let world = World::start().await;
    for (name, mode) in [
        ("key-1", "Key"),
        ("key-2", "Key"),
        ("aml-1", "AMLToken"),
        ("aml-2", "AMLToken"),
        ("aad-1", "AADToken"),
    ] {
        world.make(name, mode, &["blue"], &json!({"blue": 100})).await;
    }
    let credentials = [
        ("key-1's primary", world.key("key-1", "primaryKey").await, "key-1"),
        ("key-1's secondary", world.key("key-1", "secondaryKey").await, "key-1"),
        ("key-2's primary", world.key("key-2", "primaryKey").await, "key-2"),
        ("aml-1's token", world.token("aml-1").await, "aml-1"),
        ("aml-2's token", world.token("aml-2").await, "aml-2"),
        // Every endpoint has keys, for the day on which its mode is `Key`.
        ("aml-1's key", world.key("aml-1", "primaryKey").await, ""),
        ("aad-1's key", world.key("aad-1", "primaryKey").await, ""),
        ("scientist's token", world.stand.token("scientist"), "aad-1"),
        ("a token for managing", world.stand.management_token("owner"), ""),
    ];
    for (what, credential, opens) in &credentials {
        for name in ["key-1", "key-2", "aml-1", "aml-2", "aad-1"] {
            let expected = if name == *opens { 200 } else { 401 };
            assert_eq!(world.score(name, credential).await, expected, "{what} at {name}");
        }
        if *what != "a token for managing" {
            world.rest.by(credential).get("/subscriptions").await.is(401);
        }
    }
    assert_eq!(world.blue.count(), 6);
    world.stop().await;
}

fn part(token: &str, at: usize) -> Value {
    let text = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issued_token_is_bound_to_its_endpoint_and_to_time_and_can_be_verified() {
    let world = World::start().await;
    world.make("my-ep", "AMLToken", &["blue"], &json!({"blue": 100})).await;
    let path = format!("{}/token", endpoint("my-ep"));
    let issued = world.owner.post(&path, "").await.is(200);
    assert_eq!(issued.json["tokenType"], "Bearer");
    let (expires, refresh) = (
        issued.json["expiryTimeUtc"].as_i64().unwrap(),
        issued.json["refreshAfterTimeUtc"].as_i64().unwrap(),
    );
    let token = issued.json["accessToken"].as_str().unwrap();
    let (head, claims) = (part(token, 0), part(token, 1));
    let made = claims["iat"].as_i64().unwrap();
    assert!(made < refresh && refresh < expires && expires - made <= 24 * 3600, "{claims}");
    assert_eq!(claims["exp"], json!(expires));
    let audience = claims["aud"].as_str().unwrap();
    assert!(audience.eq_ignore_ascii_case(&endpoint("my-ep")), "{audience}");
    let keys = world.rest.nobody().get("/.well-known/jwks.json").await.is(200);
    let keys = keys.json["keys"].as_array().unwrap();
    assert!(keys.iter().any(|key| key["kid"] == head["kid"]), "{head} {keys:?}");
    assert!(keys.iter().all(|key| key.get("d").is_none()), "public halves only");
    // Whoever alters it has none.
    let mut parts: Vec<&str> = token.split('.').collect();
    let longer = claims.to_string().replace(&expires.to_string(), &(expires + 3600).to_string());
    let altered = URL_SAFE_NO_PAD.encode(longer);
    parts[1] = &altered;
    assert_eq!(world.score("my-ep", token).await, 200);
    assert_eq!(world.score("my-ep", &parts.join(".")).await, 401);
    for mode in ["Key", "AADToken"] {
        world.make("other-ep", mode, &[], &json!({})).await;
        let refused = world.owner.post(&format!("{}/token", endpoint("other-ep")), "").await;
        assert!(matches!(refused.status, 400 | 409), "{refused:?}");
        world.owner.delete(&endpoint("other-ep")).await.is(200);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_end_with_the_mode_of_their_endpoint_and_keys_do_not() {
    let world = World::start().await;
    let set = async |mode: &str| {
        world.owner.put(&endpoint("my-ep"), endpoint_body(mode, &json!({"blue": 100}))).await.is(200);
    };
    world.make("my-ep", "AMLToken", &["blue"], &json!({"blue": 100})).await;
    let (key, old) = (world.key("my-ep", "primaryKey").await, world.token("my-ep").await);
    let other = world.token("my-ep").await;
    set("AMLToken").await;
    world.owner.patch(&endpoint("my-ep"), json!({"tags": {"a": "b"}})).await.is(200);
    for token in [&old, &other] {
        assert_eq!(
            world.score("my-ep", token).await,
            200,
            "what changes nothing about the mode ends nothing"
        );
    }
    set("Key").await;
    assert_eq!((world.score("my-ep", &old).await, world.score("my-ep", &key).await), (401, 200));
    set("AMLToken").await;
    for token in [&old, &other] {
        assert_eq!(world.score("my-ep", token).await, 401, "what has ended does not come back");
    }
    assert_eq!(world.score("my-ep", &key).await, 401);
    let new = world.token("my-ep").await;
    assert_eq!(world.score("my-ep", &new).await, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regenerated_key_is_another_whatever_the_caller_sends_along() {
    let world = World::start().await;
    world.make("my-ep", "Key", &["blue"], &json!({"blue": 100})).await;
    let path = format!("{}/regenerateKeys", endpoint("my-ep"));
    let both = async || (world.key("my-ep", "primaryKey").await, world.key("my-ep", "secondaryKey").await);
    let mut known = vec![both().await.0, both().await.1];
    for (slot, value) in [
        ("Primary", "current"),
        ("Secondary", "current"),
        ("primary", "other"),
        ("SECONDARY", "absent"),
        ("Primary", "null"),
        ("Primary", ""),
    ] {
        let (primary, secondary) = both().await;
        let is_primary = slot.eq_ignore_ascii_case("primary");
        let (turned, kept) = if is_primary { (&primary, &secondary) } else { (&secondary, &primary) };
        let body = match value {
            "current" => json!({"keyType": slot, "keyValue": turned}),
            "other" => json!({"keyType": slot, "keyValue": kept}),
            "null" => json!({"keyType": slot, "keyValue": null}),
            "absent" => json!({"keyType": slot}),
            value => json!({"keyType": slot, "keyValue": value}),
        };
        world.owner.post(&path, body).await.any(&[200, 202]);
        let now = both().await;
        let (fresh, left) = if is_primary { (&now.0, &now.1) } else { (&now.1, &now.0) };
        assert!(!known.contains(fresh), "{slot} {value}: a key that was there before");
        assert_eq!(left, kept, "the other one stays");
        for (key, expected) in [(turned, 401), (fresh, 200), (left, 200)] {
            assert_eq!(world.score("my-ep", key).await, expected, "{slot} {value}");
        }
        // 32 random bytes have 43 letters in base64url.
        assert!(fresh.len() >= 43, "{} letters", fresh.len());
        known.push(fresh.clone());
    }
    for wrong in [json!({}), json!({"keyType": "Tertiary"}), json!({"keyType": null}), json!([])] {
        let before = both().await;
        world.owner.post(&path, wrong).await.is(400);
        assert_eq!(both().await, before);
    }
    world.owner.post(&path, "").await.is(400);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_may_be_brought_along_when_an_endpoint_is_made_and_are_shown_by_list_keys_alone() {
    let world = World::start().await;
    let (brought, later) = ("a".repeat(43), "b".repeat(43));
    let with = |key: &str| {
        let mut body = endpoint_body("Key", &json!({}));
        body["properties"]["keys"] = json!({"primaryKey": key});
        body
    };
    world.owner.put(&endpoint("bad-ep"), with("short")).await.is(400);
    let made = world.owner.put(&endpoint("my-ep"), with(&brought)).await.is(201);
    let (primary, secondary) =
        (world.key("my-ep", "primaryKey").await, world.key("my-ep", "secondaryKey").await);
    assert_eq!(primary, brought);
    // They are settable on create only.
    let put = world.owner.put(&endpoint("my-ep"), with(&later)).await.any(&[200, 400]);
    assert_eq!(world.key("my-ep", "primaryKey").await, brought);
    let listed = world.owner.get(&endpoint("my-ep").replace("/my-ep", "")).await.is(200);
    let shown = world.owner.get(&endpoint("my-ep")).await.is(200);
    for reply in [&made, &put, &listed, &shown] {
        let text = reply.json.to_string();
        assert!(!text.contains(&primary) && !text.contains(&secondary) && !text.contains(&later), "{text}");
    }
    for who in ["reader", "outsider"] {
        world.stand.as_(who).post(&format!("{}/listKeys", endpoint("my-ep")), "").await.any(&[403, 404]);
    }
    world.stop().await;
}
