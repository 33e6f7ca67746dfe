//! Rules 4 and 5: which keys are used, and what a signature is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::forge::{ATTACKER, ENTRA_V2, Gate, LONGER, TENANT, Token, base64url, jwk, parts, pkcs1, v2};
use super::{OK, judged, row};

#[tokio::test(start_paused = true)]
async fn rule_4_only_sound_rsa_signature_keys_are_used() {
    /// A modulus of that many bits; nobody needs to know its factors.
    fn modulus(bits: usize) -> String {
        let mut bytes = vec![0xa5_u8; bits.div_ceil(8)];
        bytes[0] = 0xff >> (bytes.len() * 8 - bits);
        base64url(bytes)
    }
    let gate = Gate::new();
    let own_modulus = jwk("", &ENTRA_V2)["n"].as_str().unwrap().to_owned();
    let prefixed = {
        let bytes = URL_SAFE_NO_PAD.decode(&own_modulus).unwrap();
        base64url([&[0][..], &bytes].concat())
    };
    // The name is the key's id. All are the issuer's real key but for one member, so what would be used would verify.
    let plain: [(&str, &str, Value, &str); 32] = [
        ("use sig", "use", json!("sig"), OK),
        ("use enc", "use", json!("enc"), "key"),
        ("use SIG", "use", json!("SIG"), "key"),
        ("use as a list", "use", json!(["sig"]), "key"),
        ("alg RS256", "alg", json!("RS256"), OK),
        ("alg rs256", "alg", json!("rs256"), "key"),
        ("alg PS256", "alg", json!("PS256"), "key"),
        ("alg RS512", "alg", json!("RS512"), "key"),
        ("alg RSA-OAEP", "alg", json!("RSA-OAEP"), "key"),
        ("key_ops verify", "key_ops", json!(["verify"]), OK),
        ("key_ops both", "key_ops", json!(["sign", "verify"]), OK),
        ("key_ops sign", "key_ops", json!(["sign"]), "key"),
        ("key_ops encrypt", "key_ops", json!(["encrypt", "wrapKey"]), "key"),
        ("key_ops empty", "key_ops", json!([]), "key"),
        ("key_ops text", "key_ops", json!("verify"), "key"),
        ("kty RSA", "kty", json!("RSA"), OK),
        ("kty rsa", "kty", json!("rsa"), "key"),
        ("kty EC", "kty", json!("EC"), "key"),
        ("kty oct", "kty", json!("oct"), "key"),
        ("exponent 65537", "e", json!("AQAB"), OK),
        ("exponent 65537 with zeros", "e", json!("AAEAAQ"), OK),
        ("exponent 65539", "e", json!("AQAD"), "signature"),
        ("exponent 1", "e", json!("AQ"), "key"),
        ("exponent 3", "e", json!("Aw"), "key"),
        ("exponent 65535", "e", json!("__8"), "key"),
        ("exponent 65536", "e", json!("AQAA"), "key"),
        ("exponent 65538", "e", json!("AQAC"), "key"),
        ("exponent 0", "e", json!("AA"), "key"),
        ("exponent of 9 bytes", "e", json!("AQAAAAAAAAAB"), "key"),
        ("exponent as a number", "e", json!(65_537), "key"),
        ("modulus with a zero byte", "n", json!(prefixed), OK),
        ("modulus with padding", "n", json!(format!("{own_modulus}==")), "key"),
    ];
    let mut keys = vec![
        jwk("entra-v2", &ENTRA_V2),
        jwk("3072 bits", &LONGER),
        jwk("twice", &ENTRA_V2),
        jwk("twice", &ATTACKER),
    ];
    let mut rows = vec![
        row("3072 bits", Token::v2().kid("3072 bits").signed_by(&LONGER), OK),
        row("two keys of one id: the first", Token::v2().kid("twice"), OK),
        row("two keys of one id: not the second", Token::v2().kid("twice").signed_by(&ATTACKER), "signature"),
    ];
    for (kid, member, value, expected) in plain {
        let mut key = jwk(kid, &ENTRA_V2);
        key[member] = value;
        keys.push(key);
        rows.push(row(kid, Token::v2().kid(kid), expected));
    }
    // No signature of these can be made here: one that is used says `signature`, one that is not says `key`.
    for (bits, expected) in [
        (2048, "signature"),
        (8192, "signature"),
        (512, "key"),
        (1024, "key"),
        (2047, "key"),
        (8193, "key"),
        (16_384, "key"),
    ] {
        let kid = format!("{bits} bits, no key");
        let mut key = jwk(&kid, &ENTRA_V2);
        key["n"] = json!(modulus(bits));
        keys.push(key);
        rows.push(row(
            kid.clone(),
            Token::v2().kid(kid).signed_with(|_| vec![0x5a; bits.div_ceil(8)]),
            expected,
        ));
    }
    let mut no_modulus = jwk("no modulus", &ENTRA_V2);
    no_modulus.as_object_mut().unwrap().remove("n");
    keys.push(no_modulus);
    rows.push(row("no modulus", Token::v2().kid("no modulus"), "key"));
    let mut no_use = jwk("no use", &ENTRA_V2);
    no_use.as_object_mut().unwrap().remove("use");
    keys.push(no_use);
    rows.push(row("no use", Token::v2().kid("no use"), OK));

    gate.install(&v2(TENANT), &keys);
    judged(&gate, rows).await;
}

#[tokio::test]
async fn rule_5_the_signature_is_the_keys_over_these_bytes() {
    let good = Token::v2().signed();
    let [header, payload, signature] = parts(&good);
    let raw = URL_SAFE_NO_PAD.decode(&signature).unwrap();
    let other = Token::v2().claim("oid", Uuid::from_u128(1).to_string());
    let [_, other_payload, other_signature] = parts(&other.signed());
    let (header_text, payload_text) = Token::v2().texts();
    let spaced = base64url(header_text.replace("\"alg\":", "\"alg\": "));
    let with = |bytes: &[u8]| format!("{header}.{payload}.{}", base64url(bytes));
    let flipped = |at: usize| {
        let mut bytes = raw.clone();
        bytes[at] ^= 1;
        with(&bytes)
    };
    // One signature in 256 begins with a zero byte, which belongs to it.
    let (zero, zero_signature) = (0..10_000)
        .map(|n| parts(&Token::v2().header("n", n).signed()))
        .map(|[h, p, s]| (format!("{h}.{p}"), URL_SAFE_NO_PAD.decode(s).unwrap()))
        .find(|(_, signature)| signature[0] == 0)
        .unwrap();
    let rows = vec![
        row("its own", &good, OK),
        row("made again", Token::v2().signed_with(pkcs1(&ENTRA_V2)), OK),
        row("of another key", Token::v2().signed_by(&ATTACKER), "signature"),
        row("of a longer key", Token::v2().signed_by(&LONGER), "signature"),
        row("of another token", format!("{header}.{payload}.{other_signature}"), "signature"),
        row("under another payload", format!("{header}.{other_payload}.{signature}"), "signature"),
        row(
            "under the same header written otherwise",
            format!("{spaced}.{payload}.{signature}"),
            "signature",
        ),
        row(
            "over the payload alone",
            Token::v2().signed_with(|_| pkcs1(&ENTRA_V2)(payload_text.as_bytes())),
            "signature",
        ),
        row(
            "over the bytes before their encoding",
            Token::v2().signed_with(|_| pkcs1(&ENTRA_V2)(format!("{header_text}.{payload_text}").as_bytes())),
            "signature",
        ),
        row("first bit flipped", flipped(0), "signature"),
        row("last bit flipped", flipped(255), "signature"),
        row("without its last byte", with(&raw[..255]), "signature"),
        row("without its first byte", with(&raw[1..]), "signature"),
        row("with a byte behind", with(&[&raw[..], &[0]].concat()), "signature"),
        row("with a zero byte in front", with(&[&[0], &raw[..]].concat()), "signature"),
        row("beginning with zero", format!("{zero}.{}", base64url(&zero_signature)), OK),
        row("that zero left out", format!("{zero}.{}", base64url(&zero_signature[1..])), "signature"),
        row("twice", with(&raw.repeat(2)), "signature"),
        row("one byte", with(&[1]), "signature"),
        row("zeros", with(&[0; 256]), "signature"),
        row("ones", with(&[0xff; 256]), "signature"),
        row("the number one", with(&[&[0; 255][..], &[1]].concat()), "signature"),
    ];
    judged(&Gate::new(), rows).await;
}
