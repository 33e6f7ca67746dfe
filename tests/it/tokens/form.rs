//! What a token looks like, before anything in it is believed: its parts, its header, its algorithm, its key's id.

use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Case, NoCredential, Passes, Rejected, World, and, base64url, case, good_head, parts, score};
use crate::support::mint::{self, KID, Mint};
use crate::support::raw::ask;
use crate::support::stand::object_id;

const SHAPE: super::Expect = Rejected("shape");
const HEADER: super::Expect = Rejected("header");
const ALGORITHM: super::Expect = Rejected("algorithm");
const KEY_ID: super::Expect = Rejected("key_id");

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 16 * 1024;

/// A part whose last character carries bits that belong to no byte.
fn with_trailing_bits(part: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(part.len() % 4, 0, "every bit of this part is in use");
    let (rest, last) = part.split_at(part.len() - 1);
    let next = ALPHABET.chars().nth(ALPHABET.find(last).unwrap() + 1).unwrap();
    format!("{rest}{next}")
}

/// A good token of that many bytes.
fn of_length(world: &World, length: usize) -> String {
    let made = (0..3).flat_map(|x| (0..3).map(move |y| (x, y))).find_map(|(x, y)| {
        let mut head = good_head();
        head["x"] = json!("x".repeat(x));
        let pad = |size: usize| {
            mint::message(&head, &{
                let mut claims = world.claims();
                claims["pad"] = json!("p".repeat(size));
                claims
            })
        };
        let signature = 1 + base64url([0; 256]).len();
        let short = length - signature - pad(0).len();
        let message = pad(short * 3 / 4 + y);
        (message.len() + signature == length).then(|| world.mint.seal(&message))
    });
    made.unwrap()
}

/// Tokens by their parts.
fn shapes(world: &World) -> Vec<Case> {
    let good = world.but(&json!({}));
    let [header, payload, signature] = parts(&good);
    // Signed as they stand, so that nothing but their form is wrong with them.
    let sealed = |message: String| world.mint.seal(&message);
    let loose = |pad: &str| {
        let mut head = good_head();
        head["x"] = json!(pad);
        let mut claims = world.claims();
        claims["pad"] = json!(pad);
        parts(&world.mint.sign(&head, &claims))
    };
    let loose: Vec<[String; 3]> = ["", "p", "pp"].map(loose).to_vec();
    let of = |at: usize| loose.iter().find(|parts| parts[at].len() % 4 != 0).unwrap();
    let (loose_header, loose_payload) = (of(0), of(1));
    let odd = format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{KID}","x":"???>>>"}}"#);
    let standard = STANDARD_NO_PAD.encode(&odd);
    assert!(standard.contains(['+', '/']));
    vec![
        case("as Entra writes it", &good, Passes),
        case("of 16 KiB", of_length(world, LONGEST), Passes),
        case("one byte longer", of_length(world, LONGEST + 1), SHAPE),
        case("one letter", "a", SHAPE),
        case("dots alone", "..", SHAPE),
        case("one part", &header, SHAPE),
        case("two parts", format!("{header}.{payload}"), SHAPE),
        case("four parts", format!("{good}.{signature}"), SHAPE),
        case("five parts, as if encrypted", format!("{good}.{header}.{payload}"), SHAPE),
        case(
            "three parts of which one is empty, and one more",
            format!("{header}.{payload}..{signature}"),
            SHAPE,
        ),
        case("no header", sealed(format!(".{payload}")), SHAPE),
        case("no payload", sealed(format!("{header}.")), SHAPE),
        case("no signature", format!("{header}.{payload}."), SHAPE),
        case("dot in front", format!(".{good}"), SHAPE),
        case("dot behind", format!("{good}."), SHAPE),
        case("header with padding", sealed(format!("{header}=.{payload}")), SHAPE),
        case("payload with padding", sealed(format!("{header}.{payload}=")), SHAPE),
        case("signature with padding", format!("{good}=="), SHAPE),
        case(
            "the signature's one right padding",
            format!("{header}.{payload}.{}", URL_SAFE.encode([7; 256])),
            SHAPE,
        ),
        case("URL-safe alphabet", sealed(format!("{}.{payload}", base64url(&odd))), Passes),
        case("standard alphabet", sealed(format!("{standard}.{payload}")), SHAPE),
        case("a letter that base64 does not know", format!("{good}~"), SHAPE),
        case("no trailing bits", sealed(format!("{}.{}", loose_header[0], loose_payload[1])), Passes),
        case(
            "trailing bits in the header",
            sealed(format!("{}.{}", with_trailing_bits(&loose_header[0]), loose_header[1])),
            SHAPE,
        ),
        case(
            "trailing bits in the payload",
            sealed(format!("{}.{}", loose_payload[0], with_trailing_bits(&loose_payload[1]))),
            SHAPE,
        ),
        case(
            "trailing bits in the signature",
            format!("{header}.{payload}.{}", with_trailing_bits(&signature)),
            SHAPE,
        ),
        // These are no credential by RFC 6750, so nothing in them is looked at.
        case("space between parts", format!("{header}. {payload}.{signature}"), NoCredential("malformed")),
        case("tab inside", good.replacen('.', ".\t", 1), NoCredential("malformed")),
        case("line break, folded", good.replacen('.', ".%0d%0a", 1), NoCredential("malformed")),
        case("letter of no alphabet", format!("{good}\u{e9}"), NoCredential("malformed")),
        case("twice, by a comma", format!("{good},{good}"), NoCredential("malformed")),
        case("in quotes", format!("\"{good}\""), NoCredential("malformed")),
        case(
            "JSON serialization",
            json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
            NoCredential("malformed"),
        ),
        case(
            "JSON serialization without white space and quotes",
            base64url(json!({"protected": header, "payload": payload, "signature": signature}).to_string()),
            SHAPE,
        ),
    ]
}

/// Headers of otherwise good tokens, rightly signed.
fn headers(world: &World) -> Vec<Case> {
    let nested = |levels: usize| -> Value { (0..levels).fold(json!(1), |inner, _| json!([inner])) };
    let good = good_head();
    let with = |name: &str, value: Value| {
        let mut head = good.clone();
        head[name] = value;
        world.head(&head)
    };
    let payload = base64url(world.claims().to_string());
    let text = |header: &[u8]| world.mint.seal(&format!("{}.{payload}", base64url(header)));
    let more = |member: &str| text(and(&good, member).as_bytes());
    let whole = good.to_string();
    vec![
        case("no type", world.head(&json!({ "alg": "RS256", "kid": KID })), Passes),
        case("type at+jwt", with("typ", json!("at+jwt")), Passes),
        case("type in another case", with("typ", json!("jwt")), Passes),
        case("type JWE", with("typ", json!("JWE")), HEADER),
        case("type dpop+jwt", with("typ", json!("dpop+jwt")), HEADER),
        case("type id_token+jwt", with("typ", json!("id_token+jwt")), HEADER),
        case("type application/jwt;x", with("typ", json!("application/jwt;x")), HEADER),
        case("empty type", with("typ", json!("")), HEADER),
        case("type null", with("typ", Value::Null), HEADER),
        case("type in a list", with("typ", json!(["JWT"])), HEADER),
        case("algorithm twice", more(r#""alg":"RS256""#), HEADER),
        case("algorithm twice, one of them none", more(r#""alg":"none""#), HEADER),
        case("algorithm twice, one of them escaped", more(r#""\u0061lg":"RS256""#), HEADER),
        case("key id twice", more(&format!(r#""kid":"{KID}""#)), HEADER),
        case("key id twice, one of them escaped", more(r#""k\u0069d":"other""#), HEADER),
        case("type twice", more(r#""typ":"JWT""#), HEADER),
        case("unknown member twice", more(r#""x":1,"x":1"#), HEADER),
        case("unknown member", with("x", json!({ "a": [1, 2] })), Passes),
        case("nested as deep as may be", with("x", nested(6)), Passes),
        case("nested deeper", with("x", nested(7)), HEADER),
        case(
            "nested a thousand deep",
            more(&format!(r#""x":{}{}"#, "[".repeat(1000), "]".repeat(1000))),
            HEADER,
        ),
        case("nested without end", text(format!("{whole}{}", "[".repeat(5000)).as_bytes()), HEADER),
        case("crit", with("crit", json!(["exp"])), HEADER),
        case("crit, empty", with("crit", json!([])), HEADER),
        case("crit null", with("crit", Value::Null), HEADER),
        case("zip", with("zip", json!("DEF")), HEADER),
        case("zip null", with("zip", Value::Null), HEADER),
        case("b64 true", with("b64", json!(true)), Passes),
        case("b64 false", with("b64", json!(false)), HEADER),
        case("b64 as text", with("b64", json!("true")), HEADER),
        case("list", text(format!("[{whole}]").as_bytes()), HEADER),
        case("text", text(b"\"RS256\""), HEADER),
        case("null", text(b"null"), HEADER),
        case("white space around it", text(format!(" {whole}\n").as_bytes()), Passes),
        case("something behind it", text(format!("{whole}{{}}").as_bytes()), HEADER),
        case("byte order mark", text(format!("\u{feff}{whole}").as_bytes()), HEADER),
        case("UTF-16", text(&whole.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()), HEADER),
        case("cut off", text(whole.trim_end_matches('}').as_bytes()), HEADER),
        case("comma at the end", text(whole.replace('}', ",}").as_bytes()), HEADER),
        case("not UTF-8", text(b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}"), HEADER),
    ]
}

/// Algorithms other than the one.
fn algorithms(world: &World) -> Vec<Case> {
    let mint = &world.mint;
    let message = |alg: Value| {
        let mut head = good_head();
        head["alg"] = alg;
        mint::message(&head, &world.claims())
    };
    let claims_to_be = |alg: &str| mint.seal(&message(json!(alg)));
    let with = |alg: &str, signature: Vec<u8>| format!("{}.{}", message(json!(alg)), base64url(signature));
    let padded = |alg: &str, padding| with(alg, mint.signature(padding, message(json!(alg)).as_bytes()));
    let pem = mint.pem();
    let modulus = mint.jwk(KID)["n"].as_str().unwrap().to_owned();
    let mut cases = vec![
        case("RS256 in a list", mint.seal(&message(json!(["RS256"]))), ALGORITHM),
        case("null", mint.seal(&message(Value::Null)), ALGORITHM),
        case("a number", mint.seal(&message(json!(256))), ALGORITHM),
        case("no algorithm", world.head(&json!({ "typ": "JWT", "kid": KID })), ALGORITHM),
        case("none and no signature", format!("{}.", message(json!("none"))), SHAPE),
        case("none and a dummy for a signature", format!("{}.AA", message(json!("none"))), ALGORITHM),
        case("PS256", padded("PS256", &RSA_PSS_SHA256), ALGORITHM),
        case("PS256, called RS256", padded("RS256", &RSA_PSS_SHA256), Rejected("signature")),
        case("RS512", padded("RS512", &RSA_PKCS1_SHA512), ALGORITHM),
        case("RS512, called RS256", padded("RS256", &RSA_PKCS1_SHA512), Rejected("signature")),
    ];
    let names =
        ["none", "None", "NONE", "nOnE", "", "rs256", "Rs256", "RS256 ", " RS256", "RS256\0", "RSA256"];
    for alg in names.into_iter().chain([
        "RS1",
        "RS384",
        "HS256",
        "ES256",
        "EdDSA",
        "RSA-OAEP",
        "dir",
        "\u{ff32}S256",
    ]) {
        cases.push(case(format!("`{alg}`, rightly signed as RS256"), claims_to_be(alg), ALGORITHM));
    }
    let secrets: [(&str, &[u8]); 4] = [
        ("the PEM", pem.as_bytes()),
        ("the PEM without its last line break", pem.trim_end().as_bytes()),
        ("the modulus as it is published", modulus.as_bytes()),
        ("nothing", b""),
    ];
    for (what, secret) in secrets {
        let hs256 = |alg: &str| mint::hs256(&message(json!(alg)), secret);
        cases.push(case(format!("HS256 with {what} as its secret"), hs256("HS256"), ALGORITHM));
        cases.push(case(format!("HS256 with {what}, called RS256"), hs256("RS256"), Rejected("signature")));
    }
    cases
}

/// Key ids.
fn key_ids(world: &World) -> Vec<Case> {
    let with = |kid: Value| world.head(&json!({ "typ": "JWT", "alg": "RS256", "kid": kid }));
    vec![
        case("no key id", world.head(&json!({ "typ": "JWT", "alg": "RS256" })), KEY_ID),
        case("empty", with(json!("")), KEY_ID),
        case("null", with(Value::Null), KEY_ID),
        case("a number", with(json!(1)), KEY_ID),
        case("true", with(json!(true)), KEY_ID),
        case("in a list", with(json!([KID])), KEY_ID),
        case("in an object", with(json!({ "kid": KID })), KEY_ID),
        case("of 256 letters", with(json!("k".repeat(256))), Rejected("key")),
        case("of 257 letters", with(json!("k".repeat(257))), KEY_ID),
        case("of 8,000 letters", with(json!("k".repeat(8000))), KEY_ID),
        case("with a NUL", with(json!(format!("{KID}\0"))), KEY_ID),
        case("with a line break", with(json!(format!("{KID}\nINFO forged"))), KEY_ID),
        case("with an escape", with(json!("\u{1b}[2J")), KEY_ID),
        case("beyond ASCII", with(json!("mint\u{2010}1")), KEY_ID),
        case("in another case", with(json!(KID.to_uppercase())), Rejected("key")),
        case("with a space behind", with(json!(format!("{KID} "))), Rejected("key")),
        case("a path", with(json!("../../../../dev/null")), Rejected("key")),
        case("SQL", with(json!("' UNION SELECT 'x")), Rejected("key")),
        case("a template", with(json!("${jndi:ldap://127.0.0.1/x}")), Rejected("key")),
        case("of no key", with(json!("mint-2")), Rejected("key")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_has_three_canonical_parts_and_a_header_without_surprises() {
    let world = World::start().await;
    let cases = [shapes(&world), headers(&world), algorithms(&world), key_ids(&world)].concat();
    println!("{} cases of form", world.judge(cases).await);
    world.stand.stop().await;
}

/// A forger's key, wherever his token says that it is, is neither fetched nor used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_a_token_brings_along_are_not_looked_at() {
    let world = World::start().await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/keys", trap.local_addr().unwrap());
    let forger = Mint::new(super::TENANT);
    let certificate = rcgen::generate_simple_self_signed(vec!["forger.test".to_owned()]).unwrap().cert;
    let der = base64::engine::general_purpose::STANDARD.encode(certificate.der());
    let brought = [
        ("jwk", forger.jwk(KID)),
        ("jwk", forger.jwk("forger")),
        ("jwk", world.mint.jwk(KID)),
        ("jku", json!(address)),
        ("jku", json!({ "url": address })),
        ("x5u", json!(address)),
        ("x5c", json!([der])),
        ("x5t", json!(base64url([1; 20]))),
        ("x5t#S256", json!(base64url([1; 32]))),
        ("url", json!(address)),
        ("iss", json!(address)),
    ];
    let mut cases = Vec::new();
    for (name, value) in brought {
        let head = |kid: Option<&str>| {
            let mut head = json!({ "typ": "JWT", "alg": "RS256", name: value });
            if let Some(kid) = kid {
                head["kid"] = json!(kid);
            }
            head
        };
        let claims = world.claims();
        cases.push(case(
            format!("{name}, forged"),
            forger.sign(&head(Some(KID)), &claims),
            Rejected("signature"),
        ));
        cases.push(case(
            format!("{name}, of a key of its own"),
            forger.sign(&head(Some("forger")), &claims),
            Rejected("key"),
        ));
        cases.push(case(format!("{name} instead of a key id"), forger.sign(&head(None), &claims), KEY_ID));
        cases.push(case(format!("{name}, ignored"), world.mint.sign(&head(Some(KID)), &claims), Passes));
    }
    println!("{} cases of keys brought along", world.judge(cases).await);
    // Not later either: the listener's backlog would keep whoever came.
    tokio::select! {
        biased;
        came = trap.accept() => panic!("somebody came: {came:?}"),
        () = std::future::ready(()) => {}
    }
    world.stand.stop().await;
}

/// Places of a message that hold no credential. Those in its head are in `auth_matrix`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_in_a_trailer_or_a_body_is_none() {
    let world = World::start().await;
    let good = world.mint.token(object_id("scorer"));
    let line = "POST /endpoints/aad-ep/score HTTP/1.1\r\nHost: gateway\r\n";
    let form = format!("access_token={good}");
    let length = form.len();
    for (what, message) in [
        (
            "a trailer",
            format!(
                "{line}Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n2\r\n{{}}\r\n0\r\nAuthorization: Bearer {good}\r\n\r\n"
            ),
        ),
        (
            "a form",
            format!(
                "{line}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
            ),
        ),
        (
            "the fragment of a body",
            format!("{line}Content-Length: {}\r\n\r\n{}", score("x", &good).len(), score("x", &good)),
        ),
    ] {
        let answer = ask(world.stand.gateway.data, message).await.unwrap();
        assert!(super::refused(&answer, NoCredential("missing")), "{what}: {}", answer.head);
    }
    assert_eq!(world.blue.count(), 0);
    world.stand.stop().await;
}
