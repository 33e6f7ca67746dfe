//! What a token says: one object, of a trusted issuer, for this audience, in its time, about somebody.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Case, NEIGHBOUR, Passes, Rejected, TENANT, World, and, base64url, case, good_head, without};
use crate::support::mint::{now, v1_issuer};
use crate::support::stand::{AUDIENCE, MANAGEMENT, object_id};

const CLAIM: super::Expect = Rejected("claim");
const PAYLOAD: super::Expect = Rejected("payload");
const ISSUER: super::Expect = Rejected("issuer");

/// Signs a payload as it is written.
fn written(world: &World, payload: impl AsRef<[u8]>) -> String {
    world.mint.seal(&format!("{}.{}", base64url(good_head().to_string()), base64url(payload)))
}

/// Payloads that are not one object, or in which a claim that is used stands twice.
fn payloads(world: &World) -> Vec<Case> {
    let claims = world.claims();
    let text = claims.to_string();
    let mut cases = vec![
        case("white space around it", written(world, format!("\n{text}\t")), Passes),
        case("list", written(world, format!("[{text}]")), PAYLOAD),
        case("text", written(world, "\"x\""), PAYLOAD),
        case("null", written(world, "null"), PAYLOAD),
        case("not JSON", written(world, "iss=x"), PAYLOAD),
        case("something behind it", written(world, format!("{text}{text}")), PAYLOAD),
        case("cut off", written(world, text.trim_end_matches('}')), PAYLOAD),
        case("byte order mark", written(world, format!("\u{feff}{text}")), PAYLOAD),
        case("not UTF-8", written(world, [text.as_bytes(), b"\xff"].concat()), PAYLOAD),
        case("a number that is none", written(world, and(&claims, "\"x\":NaN")), PAYLOAD),
        case("nested without end", written(world, format!("{{\"x\":{}", "[".repeat(9000))), PAYLOAD),
        case("a claim that is not used, twice", written(world, and(&claims, "\"x\":1,\"x\":2")), Passes),
    ];
    for (name, expect) in [
        ("iss", PAYLOAD),
        ("aud", CLAIM),
        ("exp", CLAIM),
        ("nbf", CLAIM),
        ("iat", CLAIM),
        ("tid", CLAIM),
        ("oid", CLAIM),
        ("ver", CLAIM),
        ("idtyp", CLAIM),
        ("appid", CLAIM),
    ] {
        let value = &claims[name];
        let (first, rest) = name.split_at(1);
        let escaped = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
        cases.push(case(
            format!("{name} twice"),
            written(world, and(&claims, &format!("\"{name}\":{value}"))),
            expect,
        ));
        let twice = and(&claims, &format!("\"{escaped}\":{value}"));
        cases.push(case(format!("{name} twice, one of them escaped"), written(world, twice), expect));
        let once = and(&without(&claims, name), &format!("\"{escaped}\":{value}"));
        cases.push(case(format!("{name} once, escaped"), written(world, once), Passes));
    }
    cases
}

/// `iss` and the keys that belong to it.
fn issuers(world: &World) -> Vec<Case> {
    let v1 = v1_issuer(TENANT);
    let v2 = format!("{}/{TENANT}/v2.0", world.authority);
    let with = |changes: Value| world.but(&changes);
    let iss = |name: &str| with(json!({ "iss": name }));
    let scorer = object_id("scorer");
    vec![
        case("version 2", with(json!({ "iss": v2, "ver": "2.0" })), Passes),
        case("version 2 by version 1's name", with(json!({ "ver": "2.0" })), Rejected("version")),
        case("version 1 by version 2's name", with(json!({ "iss": v2 })), Rejected("version")),
        case("no version", with(json!({ "ver": null })), Rejected("version")),
        case("version as a number", with(json!({ "ver": 1.0 })), CLAIM),
        case("version 1", with(json!({ "ver": "1" })), Rejected("version")),
        case("no issuer", with(json!({ "iss": null })), PAYLOAD),
        case("issuer null", written(world, and(&without(&world.claims(), "iss"), "\"iss\":null")), PAYLOAD),
        case("issuer in a list", with(json!({ "iss": [v1] })), PAYLOAD),
        case("issuer as a number", with(json!({ "iss": 1 })), PAYLOAD),
        case("empty", iss(""), ISSUER),
        case("without its slash", iss(v1.trim_end_matches('/')), ISSUER),
        case("with a slash more", iss(&format!("{v1}/")), ISSUER),
        case("version 2 with a slash", with(json!({ "iss": format!("{v2}/"), "ver": "2.0" })), ISSUER),
        case("in capitals", iss(&v1.to_uppercase()), ISSUER),
        case("a space behind", iss(&format!("{v1} ")), ISSUER),
        case("a NUL behind", iss(&format!("{v1}\0")), ISSUER),
        case("by http", iss(&v1.replace("https", "http")), ISSUER),
        case("with a port", iss(&v1.replace(".net/", ".net:443/")), ISSUER),
        case("its beginning", iss("https://sts.windows.net/"), ISSUER),
        case("more behind", iss(&format!("{v1}v2.0")), ISSUER),
        case("dots", iss(&format!("https://sts.windows.net/x/../{TENANT}/")), ISSUER),
        case("a template", iss("https://sts.windows.net/{tenantid}/"), ISSUER),
        case("common", iss("https://sts.windows.net/common/"), ISSUER),
        case("a tenant that is not served", iss(&v1_issuer(Uuid::from_u128(0xbad))), ISSUER),
        case("its own address", iss("https://scoregate/endpoint-tokens"), ISSUER),
        case("evil", iss("https://evil.test/"), ISSUER),
        case("very long", iss(&"https://evil.test/".repeat(500)), ISSUER),
        // The neighbour's key has the same id, but signs for the neighbour alone.
        case("the neighbour's own", world.neighbour.token(scorer), Passes),
        case(
            "the neighbour, by our key",
            with(json!({ "iss": v1_issuer(NEIGHBOUR), "tid": NEIGHBOUR })),
            Rejected("signature"),
        ),
        case(
            "we, by the neighbour's key",
            world.neighbour.with(scorer, &json!({ "iss": v1, "tid": TENANT })),
            Rejected("signature"),
        ),
        case("the neighbour's tenant", with(json!({ "tid": NEIGHBOUR })), Rejected("tenant")),
        case("no tenant", with(json!({ "tid": null })), Rejected("tenant")),
        case("empty tenant", with(json!({ "tid": "" })), Rejected("tenant")),
        case("tenants in a list", with(json!({ "tid": [TENANT] })), CLAIM),
        case("the tenant's name", with(json!({ "tid": "contoso.onmicrosoft.com" })), Rejected("tenant")),
    ]
}

/// `aud`.
fn audiences(world: &World) -> Vec<Case> {
    let aud = |value: Value| world.but(&json!({ "aud": value }));
    let wrong = Rejected("audience");
    vec![
        case("by name", aud(json!(AUDIENCE)), Passes),
        case("with a slash", aud(json!(format!("{AUDIENCE}/"))), Passes),
        case("by application id", aud(json!("18a66f5f-dbdf-4c17-9dd7-1634712a9cbe")), Passes),
        case("one of several", aud(json!(["x", AUDIENCE])), Passes),
        case("in a list", aud(json!([AUDIENCE])), Passes),
        case("none", aud(Value::Null), CLAIM),
        case("an empty list", aud(json!([])), wrong),
        case("empty", aud(json!("")), wrong),
        case("a slash", aud(json!("/")), wrong),
        case("several, all wrong", aud(json!(["x", "y"])), wrong),
        case("a list in a list", aud(json!([[AUDIENCE]])), CLAIM),
        case("a list with a number", aud(json!([AUDIENCE, 1])), CLAIM),
        case("a list with null", aud(json!([AUDIENCE, null])), CLAIM),
        case("an object", aud(json!({ "0": AUDIENCE })), CLAIM),
        case("a number", aud(json!(1)), CLAIM),
        case("true", aud(json!(true)), CLAIM),
        case("null", written(world, and(&without(&world.claims(), "aud"), "\"aud\":null")), CLAIM),
        case("two, by a space", aud(json!(format!("x {AUDIENCE}"))), wrong),
        case("two, by a comma", aud(json!(format!("{AUDIENCE},x"))), wrong),
        case("two slashes", aud(json!(format!("{AUDIENCE}//"))), wrong),
        case("a longer host", aud(json!(format!("{AUDIENCE}.evil.test"))), wrong),
        case("a longer path", aud(json!(format!("{AUDIENCE}/x"))), wrong),
        case("its beginning", aud(json!("https://ml.azure")), wrong),
        case("in another case", aud(json!("https://ML.azure.com")), wrong),
        case("by http", aud(json!("http://ml.azure.com")), wrong),
        case("the control plane", aud(json!(MANAGEMENT)), wrong),
        case("Graph", aud(json!("https://graph.microsoft.com")), wrong),
        case("a wild card", aud(json!("*")), wrong),
    ]
}

/// `exp`, `nbf`, `iat`.
fn times(world: &World) -> Vec<Case> {
    let now = now();
    let with = |changes: Value| world.but(&changes);
    let fraction = and(&without(&world.claims(), "exp"), &format!("\"exp\":{}.5", now + 3600));
    let (expired, early, long) = (Rejected("expired"), Rejected("not_yet_valid"), Rejected("lifetime"));
    let mut cases = vec![
        case("a fraction", written(world, fraction), Passes),
        case("without a beginning", with(json!({ "nbf": null, "iat": null })), Passes),
        case("without an end", with(json!({ "exp": null })), CLAIM),
        case(
            "just ended, within the leeway",
            with(json!({ "iat": now - 100, "nbf": now - 100, "exp": now - 30 })),
            Passes,
        ),
        case(
            "ended beyond the leeway",
            with(json!({ "iat": now - 100, "nbf": now - 100, "exp": now - 61 })),
            expired,
        ),
        case("ended in 1970", with(json!({ "iat": 0, "nbf": 0, "exp": 1 })), expired),
        case("ends at zero", with(json!({ "exp": 0 })), expired),
        case("ends before time", with(json!({ "exp": -1 })), expired),
        case("begins within the leeway", with(json!({ "nbf": now + 30, "iat": now + 30 })), Passes),
        case("begins beyond it", with(json!({ "nbf": now + 120 })), early),
        case("issued in the future", with(json!({ "iat": now + 120 })), early),
        case("of a day", with(json!({ "exp": now + 24 * 3600 })), Passes),
        case("of more than a day", with(json!({ "exp": now + 24 * 3600 + 120 })), long),
        case(
            "of more than a day, most of it gone",
            with(json!({ "iat": now - 90_000, "nbf": now - 90_000, "exp": now + 60 })),
            long,
        ),
        case(
            "of more than a day, without a beginning",
            with(json!({ "iat": null, "nbf": null, "exp": now + 90_000 })),
            long,
        ),
        case("in milliseconds", with(json!({ "exp": (now + 3600) * 1000 })), long),
        case("of 2^53 seconds", with(json!({ "exp": 1_i64 << 53 })), CLAIM),
        case("of 2^63 seconds", with(json!({ "exp": i64::MAX })), CLAIM),
        case("of 2^64 seconds", with(json!({ "exp": u64::MAX })), CLAIM),
        case("of 1e308 seconds", with(json!({ "exp": 1e308 })), CLAIM),
    ];
    for name in ["exp", "nbf", "iat"] {
        let good = if name == "exp" { now + 3600 } else { now - 5 };
        let mut bare = world.claims();
        bare.as_object_mut().unwrap().remove(name);
        for text in [
            format!("\"{good}\""),
            format!("[{good}]"),
            format!("{{\"value\":{good}}}"),
            "\"\"".to_owned(),
            "\"Infinity\"".to_owned(),
            "null".to_owned(),
            "true".to_owned(),
            "false".to_owned(),
            "1e400".to_owned(),
            "-1e400".to_owned(),
            "9".repeat(400),
        ] {
            let what = text.get(..24).unwrap_or(&text).to_owned();
            let member = format!("\"{name}\":{text}");
            cases.push(case(format!("{name} {what}"), written(world, and(&bare, &member)), CLAIM));
        }
        for text in
            ["NaN", "Infinity", "0x7fffffff", "1_900_000_000", "01900000000", "+1900000000", "1900000000."]
        {
            let member = format!("\"{name}\":{text}");
            cases.push(case(format!("{name} {text}"), written(world, and(&bare, &member)), PAYLOAD));
        }
    }
    cases
}

/// Who it is about, and whether it is an access token at all.
fn principals(world: &World) -> Vec<Case> {
    let with = |changes: Value| world.but(&changes);
    let (nobody, no_access) = (Rejected("principal"), Rejected("not_an_access_token"));
    let app = "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe";
    vec![
        case("no object id", with(json!({ "oid": null })), nobody),
        case("empty object id", with(json!({ "oid": "" })), nobody),
        case("object id of zeros", with(json!({ "oid": Uuid::nil() })), nobody),
        case("object id that is no GUID", with(json!({ "oid": "owner" })), nobody),
        case(
            "object id with more behind",
            with(json!({ "oid": format!("{}0", object_id("scorer")) })),
            nobody,
        ),
        case("object id as a number", with(json!({ "oid": 7 })), CLAIM),
        case("object ids in a list", with(json!({ "oid": [object_id("scorer")] })), CLAIM),
        case(
            "a subject instead of an object id",
            with(json!({ "oid": null, "sub": object_id("scorer") })),
            nobody,
        ),
        case("groups that are text", with(json!({ "groups": object_id("scorer").to_string() })), CLAIM),
        case("groups of numbers", with(json!({ "groups": [1] })), CLAIM),
        case("hasgroups as text", with(json!({ "hasgroups": "true" })), CLAIM),
        case("claim names that are text", with(json!({ "_claim_names": "groups" })), CLAIM),
        case("scopes in a list", with(json!({ "scp": ["user_impersonation"] })), CLAIM),
        case("roles that are text", with(json!({ "roles": "Owner" })), CLAIM),
        case("an id token", with(json!({ "nonce": "n", "idtyp": null })), no_access),
        case("an id token with an empty nonce", with(json!({ "nonce": "", "idtyp": null })), no_access),
        case(
            "an id token with another nonce",
            with(json!({ "nonce": { "a": 1 }, "idtyp": null })),
            no_access,
        ),
        case("a nonce and scopes", with(json!({ "nonce": "n", "idtyp": null, "scp": "x" })), Passes),
        case("for its own client", with(json!({ "aud": [AUDIENCE, "own"], "appid": "own" })), no_access),
        case(
            "for its own client, by its party",
            with(json!({ "aud": [AUDIENCE, "own"], "azp": "own" })),
            no_access,
        ),
        case("for Azure ML's own client", with(json!({ "aud": app, "appid": app })), no_access),
        case("for another client", with(json!({ "aud": [AUDIENCE, "own"], "appid": "other" })), Passes),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_says_is_judged_claim_by_claim() {
    let world = World::start().await;
    let lists = [payloads(&world), issuers(&world), audiences(&world), times(&world), principals(&world)];
    println!("{} cases of claims", world.judge(lists.concat()).await);
    world.stand.stop().await;
}

/// What a token claims about its caller's rights gives none: its caller is known, and may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_a_token_claims_are_none() {
    let world = World::start().await;
    let scorer = object_id("scorer");
    for claims in [
        json!({ "roles": ["Owner", "AzureML Data Scientist"] }),
        json!({ "wids": ["8e3af657-a8ff-443c-a75c-2fe8c4bcb635"] }),
        json!({ "scp": "user_impersonation https://ml.azure.com/.default score" }),
        json!({ "sub": scorer, "upn": scorer, "unique_name": scorer }),
        json!({ "xms_mirid": "/subscriptions/x", "is_owner": true, "admin": true }),
        json!({ "groups": [] }),
        json!({ "act": { "oid": scorer } }),
    ] {
        let token = world.mint.with(object_id("stranger"), &claims);
        let answer = world.ask("aad-ep", &token).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (403, "AuthorizationFailed"), "{claims}");
    }
    assert_eq!(world.blue.count(), 0);
    world.stand.stop().await;
}
