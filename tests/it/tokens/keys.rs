//! Which keys of a set are used, and what a signature is.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Case, Expect, Passes, Rejected, TENANT, World, base64url, case, good_head, parts};
use crate::support::mint::{self, KID, Mint};
use crate::support::weak::WeakKey;

const KEY: Expect = Rejected("key");
const SIGNATURE: Expect = Rejected("signature");

/// Members that make a sound key unfit, or leave it sound. The name is the key's id.
fn members(own: &Value) -> Vec<(&'static str, &'static str, Value, Expect)> {
    let modulus = own["n"].as_str().unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(modulus).unwrap();
    let padded = URL_SAFE.encode(&bytes);
    vec![
        ("use sig", "use", json!("sig"), Passes),
        ("use enc", "use", json!("enc"), KEY),
        ("use SIG", "use", json!("SIG"), KEY),
        ("use empty", "use", json!(""), KEY),
        ("use in a list", "use", json!(["sig"]), KEY),
        ("alg RS256", "alg", json!("RS256"), Passes),
        ("alg rs256", "alg", json!("rs256"), KEY),
        ("alg RS384", "alg", json!("RS384"), KEY),
        ("alg RS512", "alg", json!("RS512"), KEY),
        ("alg PS256", "alg", json!("PS256"), KEY),
        ("alg HS256", "alg", json!("HS256"), KEY),
        ("alg none", "alg", json!("none"), KEY),
        ("alg RSA-OAEP", "alg", json!("RSA-OAEP"), KEY),
        ("alg in a list", "alg", json!(["RS256"]), KEY),
        ("key_ops verify", "key_ops", json!(["verify"]), Passes),
        ("key_ops both", "key_ops", json!(["sign", "verify"]), Passes),
        ("key_ops sign", "key_ops", json!(["sign"]), KEY),
        ("key_ops encrypt", "key_ops", json!(["encrypt", "wrapKey"]), KEY),
        ("key_ops empty", "key_ops", json!([]), KEY),
        ("key_ops text", "key_ops", json!("verify"), KEY),
        ("kty rsa", "kty", json!("rsa"), KEY),
        ("kty EC", "kty", json!("EC"), KEY),
        ("kty oct", "kty", json!("oct"), KEY),
        ("exponent with zeros", "e", json!("AAEAAQ"), Passes),
        ("exponent 65539", "e", json!("AQAD"), SIGNATURE),
        ("exponent 1", "e", json!("AQ"), KEY),
        ("exponent 65536", "e", json!("AQAA"), KEY),
        ("exponent of 9 bytes", "e", json!("AQAAAAAAAAAB"), KEY),
        ("exponent as a number", "e", json!(65_537), KEY),
        ("exponent with padding", "e", json!("AQAB===="), KEY),
        ("modulus with a zero byte", "n", json!(base64url([&[0], &bytes[..]].concat())), Passes),
        ("modulus with padding", "n", json!(padded), KEY),
        ("modulus without its end", "n", json!(base64url(&bytes[..255])), KEY),
        ("modulus as a number", "n", json!(7), KEY),
        ("modulus empty", "n", json!(""), KEY),
        // Entra's documents mix the keys of several clouds and tenants.
        ("of this issuer", "issuer", json!(mint::v1_issuer(TENANT)), Passes),
        ("of every tenant", "issuer", json!("https://sts.windows.net/{tenantid}/"), Passes),
        ("of another issuer", "issuer", json!(mint::v1_issuer(super::NEIGHBOUR)), KEY),
        ("x5c beside it", "x5c", json!(["AAAA"]), Passes),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_sound_rsa_keys_for_signatures_are_used_and_only_for_their_issuer() {
    let mint = Mint::new(TENANT);
    let other = Mint::new(TENANT);
    let members = members(&mint.jwk(""));
    let mut set: Vec<Value> = members
        .iter()
        .map(|(kid, member, value, _)| {
            let mut key = mint.jwk(kid);
            key[*member] = value.clone();
            key
        })
        .collect();
    let head = |kid: &str| json!({ "typ": "JWT", "alg": "RS256", "kid": kid });
    let weak = [("512 bits", 512, false), ("1024 bits", 1024, false), ("2040 bits", 2040, false)];
    let odd = [("2048 bits", 2048, false), ("2048 bits, exponent 3", 2048, true), ("3072 bits", 3072, false)];
    let made: Vec<(&str, WeakKey, Expect)> = weak
        .into_iter()
        .chain(odd)
        .map(|(kid, bits, three)| {
            let expect = if bits >= 2048 && !three { Passes } else { KEY };
            (kid, WeakKey::new(bits, three), expect)
        })
        .collect();
    set.extend(made.iter().map(|(kid, key, _)| key.jwk(kid)));
    // The first of two keys of one id is the one; a key without an id has none that a token could name.
    set.extend([mint.jwk("twice"), other.jwk("twice"), mint.jwk("")]);
    for missing in ["kid", "n", "e", "kty"] {
        let mut key = mint.jwk(&format!("without {missing}"));
        key.as_object_mut().unwrap().remove(missing);
        set.push(key);
    }
    set.extend([json!(null), json!("key"), json!([mint.jwk("in a list")]), json!({})]);
    let secret = b"a secret that is published";
    set.push(json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": base64url(secret) }));
    set.push(json!({ "kty": "oct", "kid": "oct as RS256", "alg": "RS256", "k": base64url(secret) }));

    let world = World::with(mint, set, |_| ()).await;
    let claims = world.claims();
    let sign = |kid: &str| world.mint.sign(&head(kid), &claims);
    let mut cases: Vec<Case> =
        members.iter().map(|(kid, _, _, expect)| case(*kid, sign(kid), *expect)).collect();
    for (kid, key, expect) in &made {
        cases.push(case(*kid, key.seal(&mint::message(&head(kid), &claims)), *expect));
    }
    for missing in ["n", "e", "kty"] {
        let kid = format!("without {missing}");
        cases.push(case(&kid, sign(&kid), KEY));
    }
    let hs256 = |kid: &str, alg: &str| {
        let message = mint::message(&json!({ "typ": "JWT", "alg": alg, "kid": kid }), &claims);
        mint::hs256(&message, secret)
    };
    cases.extend([
        case("the first of two of one id", sign("twice"), Passes),
        case("the second of two of one id", other.sign(&head("twice"), &claims), SIGNATURE),
        case("in a list", sign("in a list"), KEY),
        case("without an id, by nothing", sign(""), Rejected("key_id")),
        case("a published secret", hs256("oct", "HS256"), Rejected("algorithm")),
        case("a published secret, called RS256", hs256("oct", "RS256"), KEY),
        case("a published secret, called RS256 on both sides", hs256("oct as RS256", "RS256"), KEY),
        case("the id of another's sound key", other.sign(&head("use sig"), &claims), SIGNATURE),
    ]);
    println!("{} cases of keys", world.judge(cases).await);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_is_its_keys_over_these_very_bytes() {
    let world = World::start().await;
    let good = world.but(&json!({}));
    let [header, payload, signature] = parts(&good);
    let raw = URL_SAFE_NO_PAD.decode(&signature).unwrap();
    let other = world.but(&json!({ "oid": super::TENANT }));
    let [_, other_payload, other_signature] = parts(&other);
    let with = |bytes: &[u8]| format!("{header}.{payload}.{}", base64url(bytes));
    let flipped = |at: usize, bit: u8| {
        let mut bytes = raw.clone();
        bytes[at] ^= bit;
        with(&bytes)
    };
    let claims = world.claims();
    let spaced = base64url(good_head().to_string().replace("\"alg\":", "\"alg\": "));
    let forger = Mint::new(TENANT);
    let own = world.mint.jwk(KID);
    let modulus = URL_SAFE_NO_PAD.decode(own["n"].as_str().unwrap()).unwrap();
    // The same number beyond the modulus, which leaves the same rest.
    let mut sum = vec![0_u8; raw.len()];
    let mut carry = 0_u16;
    for at in (0..raw.len()).rev() {
        carry += u16::from(raw[at]) + u16::from(modulus[at]);
        sum[at] = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    let unreduced = if carry == 0 { sum } else { [&[1], &sum[..]].concat() };
    let mut cases = vec![
        case("its own", &good, Passes),
        case("its own again", &good, Passes),
        case("of another key", forger.sign(&good_head(), &claims), SIGNATURE),
        case("of another token", format!("{header}.{payload}.{other_signature}"), SIGNATURE),
        case("under another payload", format!("{header}.{other_payload}.{signature}"), SIGNATURE),
        case("under the same header written otherwise", format!("{spaced}.{payload}.{signature}"), SIGNATURE),
        case(
            "over the payload alone",
            {
                let signed = world.mint.seal(&payload);
                format!("{header}.{payload}.{}", signed.rsplit_once('.').unwrap().1)
            },
            SIGNATURE,
        ),
        case(
            "over the bytes before their encoding",
            {
                let signed = world.mint.seal(&format!("{}.{claims}", good_head()));
                format!("{header}.{payload}.{}", signed.rsplit_once('.').unwrap().1)
            },
            SIGNATURE,
        ),
        case(
            "over another token's bytes, by its owner",
            {
                let signed = world.mint.seal(&format!("{header}.{other_payload}"));
                format!("{header}.{payload}.{}", signed.rsplit_once('.').unwrap().1)
            },
            SIGNATURE,
        ),
        case("without its last byte", with(&raw[..255]), SIGNATURE),
        case("without its first byte", with(&raw[1..]), SIGNATURE),
        case("half of it", with(&raw[..128]), SIGNATURE),
        case("with a byte behind", with(&[&raw[..], &[0]].concat()), SIGNATURE),
        case("with a zero byte in front", with(&[&[0], &raw[..]].concat()), SIGNATURE),
        case("not reduced by the modulus", with(&unreduced), SIGNATURE),
        case("the modulus itself", with(&modulus), SIGNATURE),
        case("twice", with(&raw.repeat(2)), SIGNATURE),
        case(
            "from its end to its beginning",
            with(&raw.iter().rev().copied().collect::<Vec<_>>()),
            SIGNATURE,
        ),
        case("one byte", with(&[1]), SIGNATURE),
        case("zeros", with(&[0; 256]), SIGNATURE),
        case("ones", with(&[0xff; 256]), SIGNATURE),
        case("the number one", with(&[&[0; 255][..], &[1]].concat()), SIGNATURE),
        case("text", with(b"signature"), SIGNATURE),
    ];
    for at in [0, 1, 127, 254, 255] {
        cases.push(case(format!("a bit of byte {at} flipped"), flipped(at, 1), SIGNATURE));
        cases.push(case(format!("the first bit of byte {at} flipped"), flipped(at, 0x80), SIGNATURE));
    }
    println!("{} cases of signatures", world.judge(cases).await);
    world.stand.stop().await;
}
