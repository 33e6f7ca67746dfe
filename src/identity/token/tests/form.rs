//! Rules 1 to 3: what a token looks like, before anything in it is believed.

use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};

use super::forge::{
    ATTACKER, CI_KEY, ENTRA_V2, Gate, TENANT, Token, base64url, ecdsa, hmac, jwk, parts, pem, pkcs1, rsa,
    sealed, v2,
};
use super::{OK, cut, judged, row};
use crate::identity::jws::MAX_LENGTH;

/// A part whose last character carries bits that belong to no byte.
fn with_trailing_bits(part: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(part.len() % 4, 0, "every bit of this part is in use");
    let (rest, last) = part.split_at(part.len() - 1);
    let next = ALPHABET.chars().nth(ALPHABET.find(last).unwrap() + 1).unwrap();
    format!("{rest}{next}")
}

/// A token of that many bytes.
fn of_length(length: usize) -> String {
    let around = ".".len() + base64url([0; 256]).len();
    (0..3)
        .flat_map(|x| (0..4).map(move |y| (x, y)))
        .find_map(|(x, y)| {
            let token = Token::v2().header("x", "x".repeat(x));
            let short = length - around - token.clone().claim("pad", "").unsigned().len();
            let token = token.claim("pad", "p".repeat(short * 3 / 4 + y));
            (token.unsigned().len() + around == length).then(|| token.signed())
        })
        .unwrap()
}

#[tokio::test]
async fn rule_1_three_parts_of_canonical_base64url() {
    let good = Token::v2().signed();
    let [header, payload, signature] = parts(&good);
    // Signed as they stand, so that nothing but their form is wrong with them.
    let signed = |text: String| sealed(&text, pkcs1(&ENTRA_V2));
    let loose = ["", "p", "pp"]
        .map(|pad| parts(&Token::v2().header("x", pad).claim("pad", pad.repeat(2)).signed()))
        .into_iter()
        .find(|[header, payload, _]| header.len() % 4 != 0 && payload.len() % 4 != 0)
        .unwrap();
    let standard = STANDARD_NO_PAD.encode(r#"{"typ":"JWT","alg":"RS256","kid":"entra-v2","x":"???>>>"}"#);
    assert!(standard.contains(['+', '/']));
    let urlsafe = standard.replace('+', "-").replace('/', "_");
    let rows = vec![
        row("as Entra writes it", &good, OK),
        row("of 16 KiB", of_length(MAX_LENGTH), OK),
        row("one byte longer", of_length(MAX_LENGTH + 1), "shape"),
        row("nothing", "", "shape"),
        row("two dots", "..", "shape"),
        row("one part", &header, "shape"),
        row("two parts", format!("{header}.{payload}"), "shape"),
        row("four parts", format!("{good}.{signature}"), "shape"),
        row("five parts, as if encrypted", format!("{good}.{header}.{payload}"), "shape"),
        row("empty header", signed(format!(".{payload}")), "shape"),
        row("empty payload", signed(format!("{header}.")), "shape"),
        row("empty signature", format!("{header}.{payload}."), "shape"),
        row("dot in front", format!(".{good}"), "shape"),
        row("dot behind", format!("{good}."), "shape"),
        row("header with padding", signed(format!("{header}=.{payload}")), "shape"),
        row("payload with padding", signed(format!("{header}.{payload}=")), "shape"),
        row("signature with padding", format!("{good}=="), "shape"),
        row("space in front", format!(" {good}"), "shape"),
        row("line break behind", format!("{good}\n"), "shape"),
        row("tab in the payload", signed(format!("{header}.\t{payload}")), "shape"),
        row("NUL behind", format!("{good}\0"), "shape"),
        row("letter of no alphabet", format!("{good}é"), "shape"),
        row("URL-safe alphabet", signed(format!("{urlsafe}.{payload}")), OK),
        row("standard alphabet", signed(format!("{standard}.{payload}")), "shape"),
        row("no trailing bits", signed(format!("{}.{}", loose[0], loose[1])), OK),
        row(
            "trailing bits in the header",
            signed(format!("{}.{}", with_trailing_bits(&loose[0]), loose[1])),
            "shape",
        ),
        row(
            "trailing bits in the payload",
            signed(format!("{}.{}", loose[0], with_trailing_bits(&loose[1]))),
            "shape",
        ),
        row(
            "trailing bits in the signature",
            format!("{header}.{payload}.{}", with_trailing_bits(&signature)),
            "shape",
        ),
        row(
            "JSON serialization",
            json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
            "shape",
        ),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn rule_2_the_header_is_one_object_without_surprises() {
    let nested = |levels: usize| -> Value { (0..levels).fold(json!(1), |inner, _| json!([inner])) };
    let (text, _) = Token::v2().texts();
    let rows = vec![
        row("type JWT", Token::v2(), OK),
        row("no type", Token::v2().no_header("typ"), OK),
        row("type at+jwt", Token::v2().header("typ", "at+jwt"), OK),
        row("type in other case", Token::v2().header("typ", "AT+JWT"), OK),
        row("type JWE", Token::v2().header("typ", "JWE"), "header"),
        row("type dpop+jwt", Token::v2().header("typ", "dpop+jwt"), "header"),
        row("empty type", Token::v2().header("typ", ""), "header"),
        row("type null", Token::v2().header("typ", Value::Null), "header"),
        row("type in a list", Token::v2().header("typ", json!(["JWT"])), "header"),
        row("algorithm twice", Token::v2().header_again("alg", "RS256"), "header"),
        row("algorithm twice, one escaped", Token::v2().header_again(r"\u0061lg", "none"), "header"),
        row("key id twice", Token::v2().header_again("kid", "shared"), "header"),
        row("unknown member twice", Token::v2().header("x", 1).header_again("x", 1), "header"),
        row("unknown member", Token::v2().header("x", 1), OK),
        row("nested as deep as may be", Token::v2().header("x", nested(6)), OK),
        row("nested deeper", Token::v2().header("x", nested(7)), "header"),
        row("nested very deep", Token::v2().header("x", nested(120)), "header"),
        row(
            "nested without end",
            Token::v2()
                .with_header_bytes(r#"{"alg":"RS256","kid":"entra-v2","x":"#.to_owned() + &"[".repeat(5000)),
            "header",
        ),
        row("crit", Token::v2().header("crit", json!(["exp"])), "header"),
        row("crit, empty", Token::v2().header("crit", json!([])), "header"),
        row("crit null", Token::v2().header("crit", Value::Null), "header"),
        row("zip", Token::v2().header("zip", "DEF"), "header"),
        row("b64 true", Token::v2().header("b64", true), OK),
        row("b64 false", Token::v2().header("b64", false), "header"),
        row("b64 as a string", Token::v2().header("b64", "true"), "header"),
        row("list", Token::v2().with_header_bytes(format!("[{text}]")), "header"),
        row("string", Token::v2().with_header_bytes("\"RS256\""), "header"),
        row("null", Token::v2().with_header_bytes("null"), "header"),
        row("white space around it", Token::v2().with_header_bytes(format!(" {text}\n")), OK),
        row("something behind it", Token::v2().with_header_bytes(format!("{text}{{}}")), "header"),
        row("byte order mark", Token::v2().with_header_bytes(format!("\u{feff}{text}")), "header"),
        row("cut off", Token::v2().with_header_bytes(cut(&text)), "header"),
        row("not UTF-8", Token::v2().with_header_bytes(b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}"), "header"),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn rule_2_the_algorithm_is_rs256_and_nothing_else() {
    let claims_to_be = |alg: &str| Token::v2().header("alg", alg);
    let public = pem(&ENTRA_V2);
    let rows = vec![
        row("RS256", claims_to_be("RS256"), OK),
        row("RS256, escaped", Token::v2().with_header_bytes(r#"{"alg":"R\u0053256","kid":"entra-v2"}"#), OK),
        row("rs256", claims_to_be("rs256"), "algorithm"),
        row("RS256 and a space", claims_to_be("RS256 "), "algorithm"),
        row("RS256 in a list", Token::v2().header("alg", json!(["RS256"])), "algorithm"),
        row("no algorithm", Token::v2().no_header("alg"), "algorithm"),
        row("null", Token::v2().header("alg", Value::Null), "algorithm"),
        row("none, signed all the same", claims_to_be("none"), "algorithm"),
        row("nOnE", claims_to_be("nOnE"), "algorithm"),
        row("none and no signature", format!("{}.", claims_to_be("none").unsigned()), "shape"),
        row(
            "none and a dummy for a signature",
            format!("{}.AA", claims_to_be("none").unsigned()),
            "algorithm",
        ),
        row(
            "HS256 with the public key as its secret",
            claims_to_be("HS256").signed_with(|bytes| hmac(&public, bytes)),
            "algorithm",
        ),
        row("the same, called RS256", Token::v2().signed_with(|bytes| hmac(&public, bytes)), "signature"),
        row(
            "PS256",
            claims_to_be("PS256").signed_with(|bytes| rsa(&ENTRA_V2, &RSA_PSS_SHA256, bytes)),
            "algorithm",
        ),
        row(
            "the same, called RS256",
            Token::v2().signed_with(|bytes| rsa(&ENTRA_V2, &RSA_PSS_SHA256, bytes)),
            "signature",
        ),
        row(
            "RS512",
            claims_to_be("RS512").signed_with(|bytes| rsa(&ENTRA_V2, &RSA_PKCS1_SHA512, bytes)),
            "algorithm",
        ),
        row(
            "the same, called RS256",
            Token::v2().signed_with(|bytes| rsa(&ENTRA_V2, &RSA_PKCS1_SHA512, bytes)),
            "signature",
        ),
        row("ES256", claims_to_be("ES256").signed_with(ecdsa), "algorithm"),
        row("the same, called RS256", Token::v2().signed_with(ecdsa), "signature"),
        row("EdDSA", claims_to_be("EdDSA"), "algorithm"),
        row("RSA-OAEP", claims_to_be("RSA-OAEP"), "algorithm"),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test(start_paused = true)]
async fn rule_2_keys_that_a_token_brings_along_are_not_looked_at() {
    let own_key = jwk("attacker", &ATTACKER);
    let brought: [(&str, Value); 6] = [
        ("jwk", own_key),
        ("jku", json!("https://attacker.example/keys")),
        ("jku", json!("http://169.254.169.254/latest")),
        ("x5u", json!("https://attacker.example/chain.pem")),
        ("x5c", json!([pem(&ATTACKER)])),
        ("x5t", json!("attacker")),
    ];
    let mut rows = Vec::new();
    for (name, value) in brought {
        let token = Token::v2().header(name, value.clone());
        rows.push(row(format!("{name}: ignored"), token.clone(), OK));
        let forged = token.signed_by(&ATTACKER);
        rows.push(row(format!("{name}: under the issuer's key id"), forged.clone(), "signature"));
        rows.push(row(format!("{name}: under its own key id"), forged.clone().kid("attacker"), "key"));
        rows.push(row(format!("{name}: under none"), forged.no_header("kid"), "key_id"));
    }
    judged(&Gate::new(), rows).await;
}

#[tokio::test(start_paused = true)]
async fn rule_3_the_key_id_names_one_key_of_the_issuer() {
    let gate = Gate::new();
    let longest = "k".repeat(256);
    let mut keys = vec![jwk("entra-v2", &ENTRA_V2), jwk("a key", &ENTRA_V2)];
    keys.extend(["", "a\0", "a\n", "schlüssel", &"k".repeat(257)].map(|kid| jwk(kid, &ENTRA_V2)));
    keys.push(jwk(&longest, &ENTRA_V2));
    gate.install(&v2(TENANT), &keys);
    let rows = vec![
        row("its id", Token::v2(), OK),
        row("an id with a space", Token::v2().kid("a key"), OK),
        row("an id of 256 characters", Token::v2().kid(longest), OK),
        row("an id of 257", Token::v2().kid("k".repeat(257)), "key_id"),
        // Signed with a key of the set, which a trial of all would find.
        row("no id", Token::v2().no_header("kid"), "key_id"),
        row("empty", Token::v2().kid(""), "key_id"),
        row("null", Token::v2().kid(Value::Null), "key_id"),
        row("a number", Token::v2().kid(7), "key_id"),
        row("a list", Token::v2().kid(json!(["entra-v2"])), "key_id"),
        row("with NUL", Token::v2().kid("a\0"), "key_id"),
        row("with a line break", Token::v2().kid("a\n"), "key_id"),
        row("with DEL", Token::v2().kid("a\u{7f}"), "key_id"),
        row("not ASCII", Token::v2().kid("schlüssel"), "key_id"),
        row("unknown", Token::v2().kid("entra-v3"), "key"),
        row("in other case", Token::v2().kid("ENTRA-V2"), "key"),
        row("a prefix", Token::v2().kid("entra"), "key"),
        row("with a space behind", Token::v2().kid("entra-v2 "), "key"),
        row("a path", Token::v2().kid("../../../dev/null"), "key"),
        row("SQL", Token::v2().kid("' OR 1=1 --"), "key"),
        row("of another issuer", Token::v2().kid("ci").signed_by(&CI_KEY), "key"),
    ];
    judged(&gate, rows).await;
}
