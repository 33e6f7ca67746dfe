//! Keys and issued tokens: what belongs to one endpoint opens no other, and each plane takes its own tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use super::{Case, Expect, Passes, Rejected, TENANT, World, base64url, case, good_head, parts};
use crate::support::mint::{self, KID, Mint, now};
use crate::support::raw::ask;
use crate::support::rest::{Body, Caller, endpoint};
use crate::support::site::Site;
use crate::support::stand::{AUDIENCE, MANAGEMENT, deployment, object_id};
use crate::support::until;

/// Endpoints beside `aad-ep`, by name and mode.
const ENDPOINTS: [(&str, &str); 5] = [
    ("key-a", "key"),
    ("key-b", "key"),
    ("aml-a", "aml_token"),
    ("aml-b", "aml_token"),
    ("aad-b", "aad_token"),
];

/// A world with these endpoints, and its owner at the control plane.
pub(super) async fn world(settings: &[(&'static str, &str)]) -> (World, Caller) {
    let world = World::with(Mint::new(TENANT), Vec::new(), |plan| {
        // The endpoints' instance is not known yet: they are given theirs below.
        plan.settings.push(("owners", format!("[ {} ]", object_id("owner"))));
        plan.settings.extend(settings.iter().map(|(section, yaml)| (*section, (*yaml).to_owned())));
    })
    .await;
    for (name, mode) in ENDPOINTS {
        let text = format!("name: {name}\nauth_mode: {mode}\ntraffic: {{ blue: 100 }}\n");
        let blue = deployment(name, "blue", &[&world.blue.url], "");
        world.stand.write(&format!("{name}.yaml"), &format!("{text}---\n{blue}")).await;
    }
    let token = world.mint.with(object_id("owner"), &json!({ "aud": MANAGEMENT }));
    let owner = world.stand.rest().by(&token);
    (world, owner)
}

/// A token that the gateway issues for an endpoint.
pub(super) async fn issued(owner: &Caller, name: &str) -> String {
    let issued = owner.post(&format!("{}/token", endpoint(name)), "").await.is(200);
    issued.json["accessToken"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_another_endpoint_is_refused_and_counted() {
    let (world, owner) = world(&[]).await;
    let keys = async |name: &str| world.stand.keys(name).await;
    let ((key_a, second_a), (key_b, _)) = (keys("key-a").await, keys("key-b").await);
    let (aml_a, aml_b) = (issued(&owner, "aml-a").await, issued(&owner, "aml-b").await);
    let (no_key, _) = keys("aml-a").await;
    let entra = world.mint.token(object_id("scorer"));
    let both = ["aad-ep", "aad-b"];
    // What it is, where it opens, and what it is counted as elsewhere. Keys of endpoints in another mode open nothing yet.
    let credentials = [
        ("key-a's primary", key_a.as_str(), &["key-a"][..], "key"),
        ("key-a's secondary", &second_a, &["key-a"], "key"),
        ("key-b's primary", &key_b, &["key-b"], "key"),
        ("aml-a's token", &aml_a, &["aml-a"], "token"),
        ("aml-b's token", &aml_b, &["aml-b"], "token"),
        ("aml-a's key", &no_key, &[], ""),
        ("an Entra token", &entra, &both, ""),
        ("an Entra token of nobody", "a.b.c", &[], ""),
        ("a key of nobody", "sgk_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &[], ""),
    ];
    let counted = async || {
        let counter =
            |word: &str| format!("scoregate_security_credential_wrong_endpoint{{reason=\"{word}\"}}");
        [world.stand.counted(&counter("key")).await, world.stand.counted(&counter("token")).await]
    };
    let mut cases = 0;
    for (what, credential, opens, word) in credentials {
        for name in ENDPOINTS.map(|(name, _)| name).into_iter().chain(["aad-ep"]) {
            let (before, seen) = (counted().await, world.blue.count());
            let answer = world.ask(name, credential).await.unwrap();
            let after = counted().await;
            let good = opens.contains(&name);
            let (status, code) = if good { (200, "") } else { (401, "InvalidAuthenticationToken") };
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what} at {name}");
            assert_eq!(world.blue.count() - seen, usize::from(good), "{what} at {name}");
            let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(
                good || message == "the token or key is not valid for this endpoint",
                "{what} at {name}: {message}"
            );
            let expected = [u64::from(!good && word == "key"), u64::from(!good && word == "token")];
            assert_eq!([after[0] - before[0], after[1] - before[1]], expected, "{what} at {name}");
            cases += 1;
        }
    }
    // A key that was replaced belongs to nobody.
    let path = format!("{}/regenerateKeys", endpoint("key-a"));
    owner.post(&path, json!({ "keyType": "Primary" })).await.any(&[200, 202]);
    let before = counted().await;
    for name in ["key-a", "key-b"] {
        assert_eq!(world.ask(name, &key_a).await.unwrap().status, 401);
    }
    assert_eq!(counted().await, before);
    assert_eq!(world.ask("key-b", &second_a).await.unwrap().status, 401);
    assert_eq!(counted().await, [before[0] + 1, before[1]]);
    println!("{cases} cases of endpoints");
    world.stand.stop().await;
}

/// The gateway's own tokens, altered, and those of others that look like them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issued_tokens_are_judged_by_the_same_rules() {
    let (world, owner) = world(&[]).await;
    let good = issued(&owner, "aml-a").await;
    let [header, payload, signature] = parts(&good);
    let part =
        |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
    let (head, claims) = (part(&header), part(&payload));
    let own = head["kid"].as_str().unwrap().to_owned();
    let published = owner.rest.nobody().get("/.well-known/jwks.json").await.is(200);
    let key = published.json["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == head["kid"])
        .unwrap()
        .clone();
    let altered = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        format!("{header}.{}.{signature}", base64url(claims.to_string()))
    };
    let with_head = |name: &str, value: Value| {
        let mut head = head.clone();
        head[name] = value;
        format!("{}.{payload}.{signature}", base64url(head.to_string()))
    };
    let raw = URL_SAFE_NO_PAD.decode(&signature).unwrap();
    let (wrong, shape, header_) = (Rejected("signature"), Rejected("shape"), Rejected("header"));
    let mut forged_claims = claims.clone();
    forged_claims["iat"] = json!(now());
    let forged =
        |kid: &str| world.mint.sign(&json!({ "typ": "JWT", "alg": "RS256", "kid": kid }), &forged_claims);
    let unsigned = |alg: &str| mint::message(&json!({ "typ": "JWT", "alg": alg, "kid": own }), &claims);
    let secret = key["n"].as_str().unwrap().as_bytes();
    let cases: Vec<Case> = vec![
        case("as it was issued", &good, Passes),
        case("again", &good, Passes),
        case("for another endpoint", altered("aud", json!(endpoint("aml-b").to_lowercase())), wrong),
        case("living longer", altered("exp", json!(now() + 80_000)), wrong),
        case("for somebody else", altered("sub", json!(object_id("scorer"))), wrong),
        case("of another epoch", altered("epoch", json!(TENANT)), wrong),
        case("of another issuer", altered("iss", json!("x")), wrong),
        case("alg none", with_head("alg", json!("none")), Rejected("algorithm")),
        case("alg none and no signature", format!("{}.", unsigned("none")), shape),
        case("HS256 with the public key", mint::hs256(&unsigned("HS256"), secret), Rejected("algorithm")),
        case("HS256 with the public key, called RS256", mint::hs256(&unsigned("RS256"), secret), wrong),
        case("another type", with_head("typ", json!("JWE")), header_),
        case("crit", with_head("crit", json!(["exp"])), header_),
        case("another header", with_head("x", json!(1)), wrong),
        case("a key of its own", with_head("jwk", world.mint.jwk(&own)), wrong),
        case("an Entra key's id", with_head("kid", json!(KID)), Rejected("key")),
        case("no key id", with_head("kid", Value::Null), Rejected("key_id")),
        case("without its last byte", format!("{header}.{payload}.{}", base64url(&raw[..255])), wrong),
        case(
            "with a byte more",
            format!("{header}.{payload}.{}", base64url([&raw[..], &[0]].concat())),
            wrong,
        ),
        case("two parts", format!("{header}.{payload}"), shape),
        case("four parts", format!("{good}.{signature}"), shape),
        case("padded", format!("{good}=="), shape),
        case("an authority's, by its own key", forged(KID), Rejected("key")),
        case("an authority's, by the gateway's key's id", forged(&own), wrong),
        case("an authority's good token", world.mint.token(object_id("scorer")), Rejected("key")),
        case("another endpoint's", issued(&owner, "aml-b").await, Rejected("endpoint")),
        case("and it still passes", &good, Passes),
    ];
    let count = cases.len();
    for (what, token, expect) in cases {
        let judged = world.judged("aml-a", &token, expect).await;
        assert_eq!(judged, Ok(()), "{what}");
    }
    // It is no token of an authority's either.
    for (name, token) in [("aad-ep", good.as_str()), ("aad-b", &good)] {
        assert_eq!(world.judged(name, token, Rejected("issuer")).await, Ok(()));
    }
    println!("{count} cases of issued tokens");
    world.stand.stop().await;
}

/// The log knows a forger's tokens again, and holds nothing that he wrote and no credential.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_of_refused_tokens_without_their_words() {
    let mint = Mint::new(TENANT);
    let authority = mint.serve().await;
    let identity = format!("identity: {{ {} }}\n", super::entra(&[(&authority, TENANT)]));
    let endpoint = |name: &str, mode: &str| format!("name: {name}\nauth_mode: {mode}\n");
    let resources = [("a.yaml", endpoint("aad-ep", "aad_token")), ("k.yaml", endpoint("key-ep", "key"))];
    let site = Site::new(&resources, &identity);
    let gateway = site.serve();
    let head = json!({ "typ": "JWT", "alg": "RS256", "kid": "forged-key" });
    let mut claims = mint.claims(object_id("scorer"));
    claims["iss"] = json!("https://forged.test/");
    let forged = mint.sign(&head, &claims);
    let secret = "a-key-that-is-none-but-looks-like-one";
    for (endpoint, credential) in
        [("aad-ep", forged.as_str()), ("key-ep", secret), ("aad-ep", "no.token.atall")]
    {
        let answer = ask(gateway.data, super::score(endpoint, credential)).await.unwrap();
        assert_eq!(answer.status, 401, "{}", answer.head);
    }
    let records =
        || -> Vec<Value> { gateway.log().into_iter().filter(|line| line["log"] == "access").collect() };
    until("three requests are recorded", async || records().len() == 3).await;
    let told: Vec<[Value; 4]> = records()
        .iter()
        .map(|record| {
            ["Detail", "ClaimedIssuerHash", "ClaimedKeyHash", "AuthMode"].map(|name| record[name].clone())
        })
        .collect();
    // `printf %s … | sha256sum`, its first 16 digits.
    let [issuer, kid] = [json!("eda4bf3930e48fe1"), json!("33604b90ffdb54cb")];
    let expected = [
        [json!("issuer"), issuer, kid, json!("aad_token")],
        [json!("key"), Value::Null, Value::Null, json!("key")],
        [json!("shape"), Value::Null, Value::Null, json!("aad_token")],
    ];
    for record in expected {
        assert!(told.contains(&record), "{record:?} in {told:?}");
    }
    let log = json!(gateway.log()).to_string();
    let parts = parts(&forged);
    for word in ["forged-key", "forged.test", secret, &parts[0], &parts[1], &parts[2]] {
        assert!(!log.contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_plane_takes_its_own_tokens() {
    let (world, owner) = world(&[]).await;
    let principal = object_id("owner");
    let managing = |changes: Value| {
        let mut all = json!({ "aud": MANAGEMENT });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        world.mint.with(principal, &all)
    };
    let good = managing(json!({}));
    let [header, payload, signature] = parts(&good);
    let mut claims = world.mint.claims(principal);
    claims["aud"] = json!(MANAGEMENT);
    let signed = |head: Value| world.mint.sign(&head, &claims);
    let secret = world.mint.pem();
    let hs256 = mint::message(&json!({ "typ": "JWT", "alg": "HS256", "kid": KID }), &claims);
    let (key, _) = world.stand.keys("key-a").await;
    let tokens: Vec<(&str, String, u16)> = vec![
        ("for managing", good.clone(), 200),
        ("for both", managing(json!({ "aud": [AUDIENCE, MANAGEMENT] })), 200),
        ("for scoring", world.mint.token(principal), 401),
        (
            "for scoring, version 2",
            world.mint.with(
                principal,
                &json!({ "iss": format!("{}/{TENANT}/v2.0", world.authority), "ver": "2.0" }),
            ),
            401,
        ),
        ("for scoring, issued by the gateway", issued(&owner, "aml-a").await, 401),
        ("an endpoint's key", key, 401),
        ("expired", managing(json!({ "exp": now() - 61, "iat": now() - 100, "nbf": now() - 100 })), 401),
        ("of another tenant", managing(json!({ "tid": super::NEIGHBOUR })), 401),
        ("an id token", managing(json!({ "nonce": "n", "idtyp": null })), 401),
        ("with its end as text", managing(json!({ "exp": "9999999999" })), 401),
        ("unsigned", format!("{header}.{payload}."), 401),
        ("alg none", signed(json!({ "typ": "JWT", "alg": "none", "kid": KID })), 401),
        ("without a key id", signed(json!({ "typ": "JWT", "alg": "RS256" })), 401),
        ("by an unknown key", signed(json!({ "typ": "JWT", "alg": "RS256", "kid": "x" })), 401),
        ("crit", signed(json!({ "typ": "JWT", "alg": "RS256", "kid": KID, "crit": ["x"] })), 401),
        ("HS256 with the public key", mint::hs256(&hs256, secret.as_bytes()), 401),
        ("forged", Mint::new(TENANT).sign(&good_head(), &claims), 401),
        ("padded", format!("{good}=="), 401),
        (
            "with another's signature",
            format!("{header}.{payload}.{}", parts(&managing(json!({ "x": 1 })))[2]),
            401,
        ),
        ("of four parts", format!("{good}.{signature}"), 401),
        ("for managing, still", good.clone(), 200),
    ];
    let count = tokens.len();
    let revision = world.stand.gateway.store().revision().await.unwrap();
    for (what, token, status) in tokens {
        let caller = world.stand.rest().by(&token);
        let reply = caller.get("/subscriptions").await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        if status == 401 {
            assert!(
                reply.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")),
                "{what}"
            );
            // Nor does it write.
            caller.call(Method::DELETE, &endpoint("key-a"), Body::None, &[]).await.is(401);
        }
    }
    assert_eq!(world.stand.gateway.store().revision().await.unwrap(), revision);
    // What manages does not score, whoever holds it.
    let seen = world.blue.count();
    for (name, expect) in
        [("aad-ep", Rejected("audience")), ("aad-b", Rejected("audience")), ("aml-a", Rejected("key"))]
    {
        let judged: Result<(), String> = world.judged(name, &good, expect as Expect).await;
        assert_eq!(judged, Ok(()), "{name}");
    }
    assert_eq!(world.ask("key-a", &good).await.unwrap().status, 401);
    assert_eq!(world.blue.count(), seen);
    println!("{count} cases of planes");
    world.stand.stop().await;
}
