//! Rules 6 to 10: what a token says.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::forge::{
    API, CI_KEY, CLIENT, DAY, ENTRA_V1, ENTRA_V2, Gate, ML, ML_APP, NEIGHBOUR, NOW, OID, STRANGER, TENANT,
    Token, v1, v2,
};
use super::{OK, cut, judged, row};

#[tokio::test]
async fn rule_6_the_payload_is_one_object() {
    let (_, text) = Token::v2().texts();
    let says = |payload: &str| Token::v2().with_payload_bytes(payload);
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let rows = vec![
        row("an object", says(&text), OK),
        row("white space around it", says(&format!("\r\n {text}\t")), OK),
        row("a claim nobody knows", Token::v2().claim("xms_new", json!({"a": [1]})), OK),
        row("such a claim twice", Token::v2().claim_again("name", "B"), OK),
        row("such a claim null", Token::v2().claim("name", Value::Null), OK),
        row("such a claim, deep", Token::v2().claim_text("name", &deep), OK),
        row("a list of objects", says(&format!("[{text}]")), "payload"),
        // A structure can be read from a list too; what lacks in it refuses it.
        row("a list of the issuer", says(&json!([v2(TENANT)]).to_string()), "claim"),
        row(
            "a list of claims",
            says(&json!([ML_APP, NOW + 60, NOW, NOW, TENANT, OID, "2.0"]).to_string()),
            "payload",
        ),
        row("a string", says("\"x\""), "payload"),
        row("a number", says("1"), "payload"),
        row("null", says("null"), "payload"),
        row("empty object", says("{}"), "payload"),
        row("white space", says(" "), "payload"),
        row("two objects", says(&format!("{text}{text}")), "payload"),
        row("something behind it", says(&format!("{text}x")), "payload"),
        row("byte order mark", says(&format!("\u{feff}{text}")), "payload"),
        row("cut off", says(cut(&text)), "payload"),
        row("another token", says(&Token::v2().signed()), "payload"),
        row(
            "not UTF-8",
            Token::v2().with_payload_bytes([b"{\"iss\":\"\xff\",", &text.as_bytes()[1..]].concat()),
            "payload",
        ),
    ];
    judged(&Gate::new(), rows).await;
}

/// Claims that are used, with a value that is right for each.
fn used_claims() -> Vec<(&'static str, Value)> {
    vec![
        ("aud", json!(ML_APP)),
        ("exp", json!(NOW + 3600)),
        ("nbf", json!(NOW)),
        ("iat", json!(NOW)),
        ("tid", json!(TENANT)),
        ("oid", json!(OID)),
        ("ver", json!("2.0")),
        ("idtyp", json!("user")),
        ("scp", json!("user_impersonation")),
        ("sub", json!("x3Kq")),
        ("appid", json!(CLIENT)),
        ("azp", json!(CLIENT)),
        ("uti", json!("pQ1")),
        ("groups", json!([])),
        ("hasgroups", json!(true)),
        ("_claim_names", json!({"groups": "src1"})),
        ("roles", json!(["Reader"])),
    ]
}

#[tokio::test]
async fn rule_6_claims_stand_once_and_have_their_type() {
    let mut rows = vec![
        row("iss twice", Token::v2().claim_again("iss", v2(NEIGHBOUR)), "payload"),
        row("iss twice, one escaped", Token::v2().claim_again(r"i\u0073s", v2(NEIGHBOUR)), "payload"),
        row("iss null", Token::v2().claim("iss", Value::Null), "payload"),
        row("no iss", Token::v2().no_claim("iss"), "payload"),
        row("oid twice, one escaped", Token::v2().claim_again(r"\u006fid", OID.to_string()), "claim"),
        row("nonce twice", Token::v2().claim("nonce", 1).claim_again("nonce", 1), "claim"),
        row("sub of the other issuer twice", Token::ci().claim_again("sub", "root"), "claim"),
        row("any claim of the other issuer twice", Token::ci().claim("x", 1).claim_again("x", 1), "claim"),
        row("any claim of the other issuer", Token::ci().claim("x", 1), OK),
        row("scopes as a list, of the other issuer", Token::ci().claim("scp", json!(["a", "b"])), OK),
        row("a version as a number, of the other issuer", Token::ci().claim("ver", 1), OK),
    ];
    for (name, value) in used_claims() {
        let once = Token::v2().claim(name, value.clone());
        rows.push(row(format!("{name} once"), once.clone(), OK));
        rows.push(row(format!("{name} twice"), once.claim_again(name, value), "claim"));
        for other in [Value::Null, json!([[]])] {
            let token = Token::v2().claim(name, other.clone());
            rows.push(row(format!("{name}: {other}"), token, "claim"));
        }
    }
    judged(&Gate::new(), rows).await;
}

#[tokio::test(start_paused = true)]
async fn rule_7_the_issuer_is_one_that_is_trusted_and_the_key_is_its_own() {
    let from = |iss: &str| Token::v2().claim("iss", iss);
    let of = |token: Token, tenant: Uuid| token.claim("tid", tenant.to_string());
    let name = v2(TENANT);
    let rows = vec![
        row("version 2", Token::v2(), OK),
        row("version 1", Token::v1(), OK),
        row("not Entra", Token::ci(), OK),
        row("the other tenant", of(from(&v2(NEIGHBOUR)), NEIGHBOUR), OK),
        row("the other tenant in version 1", of(Token::v1().claim("iss", v1(NEIGHBOUR)), NEIGHBOUR), OK),
        row("a tenant that is not let in", of(from(&v2(STRANGER)), STRANGER), "issuer"),
        row("the same in version 1", of(Token::v1().claim("iss", v1(STRANGER)), STRANGER), "issuer"),
        row(
            "version 1 without its slash",
            Token::v1().claim("iss", v1(TENANT).trim_end_matches('/')),
            "issuer",
        ),
        row("version 2 with a slash", from(&format!("{name}/")), "issuer"),
        row("in upper case", from(&name.to_uppercase()), "issuer"),
        row(
            "tenant in upper case",
            from(&name.replace(&TENANT.to_string(), &TENANT.to_string().to_uppercase())),
            "issuer",
        ),
        row("clear text", from(&name.replace("https", "http")), "issuer"),
        row("with a port", from(&name.replace(".com/", ".com:443/")), "issuer"),
        row("with a query", from(&format!("{name}?x")), "issuer"),
        row("with a space", from(&format!(" {name}")), "issuer"),
        row("with NUL", from(&format!("{name}\0")), "issuer"),
        row("only its beginning", from(cut(&name)), "issuer"),
        row("on another host", from(&name.replace(".com", ".com.evil.example")), "issuer"),
        row("another cloud", from(&name.replace(".com", ".us")), "issuer"),
        row("template", from("https://login.microsoftonline.com/{tenantid}/v2.0"), "issuer"),
        row(
            "template of the settings",
            Token::v1().claim("iss", "https://sts.windows.net/{tenant}/"),
            "issuer",
        ),
        row("common", from("https://login.microsoftonline.com/common/v2.0"), "issuer"),
        row("empty", from(""), "issuer"),
        row("several", Token::v2().claim("iss", json!([name])), "payload"),
        // Each issuer's tokens are judged by its own keys, whatever their id.
        row("id of version 2 in version 1", Token::v1().kid("entra-v2").signed_by(&ENTRA_V2), "key"),
        row("version 1's key under a shared id", Token::v1().kid("shared"), OK),
        row("version 2's key under that id", Token::v1().kid("shared").signed_by(&ENTRA_V2), "signature"),
        row("version 1's key in version 2", Token::v2().kid("shared").signed_by(&ENTRA_V1), "signature"),
        row("another issuer's key in version 2", Token::v2().kid("shared").signed_by(&CI_KEY), "signature"),
        row("Entra's key for another issuer", Token::ci().kid("shared").signed_by(&ENTRA_V2), "signature"),
        row("another issuer's key for itself", Token::ci().kid("shared"), OK),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn rule_8_the_token_is_for_us() {
    let to = |aud: &str| Token::v2().claim("aud", aud);
    let to_each = |aud: Value| Token::v2().claim("aud", aud);
    let control = "https://management.azure.com/";
    let rows = vec![
        row("its address", to(ML), OK),
        row("its address with a slash", to(&format!("{ML}/")), OK),
        row("its application id", to(ML_APP), OK),
        row("one that is configured with its slash", to(API), OK),
        row("that one without", to(API.trim_end_matches('/')), "audience"),
        row("that one with another", to(&format!("{API}/")), OK),
        row("one of a list", to_each(json!(["https://graph.microsoft.com", ML])), OK),
        row("none of a list", to_each(json!(["https://graph.microsoft.com", control])), "audience"),
        row("empty list", to_each(json!([])), "audience"),
        row("none", Token::v2().no_claim("aud"), "claim"),
        row("empty", to(""), "audience"),
        row("a slash", to("/"), "audience"),
        row("the control plane", to(control), "audience"),
        row("Graph", to("00000003-0000-0000-c000-000000000000"), "audience"),
        row("another application", to(CLIENT), "audience"),
        row("two slashes", to(&format!("{ML}//")), "audience"),
        row("a path below it", to(&format!("{ML}/.default")), "audience"),
        row("what begins with it", to(&format!("{ML}.evil.example")), "audience"),
        row("what ends with it", to(&format!("https://evil.example/{ML}")), "audience"),
        row("its beginning", to("https://ml.azure"), "audience"),
        row("in upper case", to(&ML_APP.to_uppercase()), "audience"),
        row("in braces", to(&format!("{{{ML_APP}}}")), "audience"),
        row("clear text", to("http://ml.azure.com"), "audience"),
        row("with a space", to(&format!("{ML} ")), "audience"),
        row("several in one text", to(&format!("{ML} {control}")), "audience"),
        row("a number", to_each(json!(7)), "claim"),
        row("a list with a number", to_each(json!([ML, 7])), "claim"),
        row("a list in a list", to_each(json!([[ML]])), "claim"),
        row("an object", to_each(json!({ML: true})), "claim"),
        row("another issuer's audience, from Entra", to("scoregate"), "audience"),
        row("Entra's audience, from another issuer", Token::ci().claim("aud", ML), "audience"),
        row("another issuer's own", Token::ci(), OK),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn rule_9_the_token_is_of_this_time() {
    let ends = |exp: i64| Token::v2().claim("exp", exp);
    let ends_text = |exp: &str| Token::v2().claim_text("exp", exp);
    let from = |nbf: i64| Token::v2().claim("nbf", nbf);
    let made = |iat: i64| Token::v2().claim("iat", iat);
    let rows = vec![
        row("ends now", ends(NOW), OK),
        row("ended within the leeway", ends(NOW - 59), OK),
        row("ended before it", ends(NOW - 60), "expired"),
        row("ended long ago", ends(NOW - DAY), "expired"),
        row("ended in 1970", ends(0), "expired"),
        row("ended before 1970", ends(-1), "expired"),
        row("ends in half a second", ends_text(&format!("{NOW}.5")), OK),
        row("written with an exponent", ends_text("1.9000036e9"), OK),
        row("ended half a second within the leeway", ends_text(&format!("{}.5", NOW - 60)), "expired"),
        row("no end", Token::v2().no_claim("exp"), "claim"),
        row("end as text", ends_text(&format!("\"{}\"", NOW + 60)), "claim"),
        row("end as a list", ends_text(&format!("[{}]", NOW + 60)), "claim"),
        row("end is true", ends_text("true"), "claim"),
        row("end beyond numbers", ends_text("1e999"), "claim"),
        row("end beyond time", ends_text("1e300"), "claim"),
        row("end at the largest integer", ends_text("9223372036854775807"), "claim"),
        row("end is not a number", ends_text("NaN"), "payload"),
        row("end is infinite", ends_text("Infinity"), "payload"),
        row("end in milliseconds", ends(NOW * 1000), "lifetime"),
        row("from now on", from(NOW), OK),
        row("from a minute on", from(NOW + 60), OK),
        row("from later on", from(NOW + 61), "not_yet_valid"),
        row(
            "from half a second later on",
            Token::v2().claim_text("nbf", &format!("{}.5", NOW + 61)),
            "not_yet_valid",
        ),
        row("beginning in milliseconds", from(NOW * 1000), "not_yet_valid"),
        row("beginning as text", Token::v2().claim("nbf", NOW.to_string()), "claim"),
        row("beginning beyond numbers", Token::v2().claim_text("nbf", "-1e999"), "claim"),
        row("made now", made(NOW), OK),
        row("made in a minute", made(NOW + 60), OK),
        row("made later", made(NOW + 61), "not_yet_valid"),
        row("made at a time as text", Token::v2().claim("iat", NOW.to_string()), "claim"),
        row("made beyond time", Token::v2().claim_text("iat", "1e15"), "claim"),
        row("neither made nor begun", Token::v2().no_claim("iat").no_claim("nbf"), OK),
        row("a day long", made(NOW - 3600).claim("exp", NOW - 3600 + DAY), OK),
        row("a second longer", made(NOW - 3600).claim("exp", NOW - 3600 + DAY + 1), "lifetime"),
        row("a day from its beginning", from(NOW - 60).no_claim("iat").claim("exp", NOW - 60 + DAY), OK),
        row(
            "a second longer from its beginning",
            from(NOW - 60).no_claim("iat").claim("exp", NOW - 60 + DAY + 1),
            "lifetime",
        ),
        row("a day from now", Token::v2().no_claim("iat").no_claim("nbf").claim("exp", NOW + DAY), OK),
        row(
            "a second longer from now",
            Token::v2().no_claim("iat").no_claim("nbf").claim("exp", NOW + DAY + 1),
            "lifetime",
        ),
        row("made in 1970", made(0), "lifetime"),
        row("an hour, of another issuer", Token::ci(), OK),
        row("past its end, of another issuer", Token::ci().claim("exp", NOW - 60), "expired"),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn rule_9_the_leeway_is_the_configured_one() {
    for skew in [0, 300] {
        let rows = vec![
            row("just before its end", Token::v2().claim("exp", NOW - skew + 1), OK),
            row("at its end", Token::v2().claim("exp", NOW - skew), "expired"),
            row("at its beginning", Token::v2().claim("nbf", NOW + skew), OK),
            row("before it", Token::v2().claim("nbf", NOW + skew + 1), "not_yet_valid"),
        ];
        judged(&Gate::with_skew(Duration::from_secs(skew.unsigned_abs())), rows).await;
    }
}

#[tokio::test]
async fn rule_10_tenant_version_and_principal() {
    let in_tenant = |tid: &str| Token::v2().claim("tid", tid);
    let named = |oid: &str| Token::v2().claim("oid", oid);
    let of = |token: Token, ver: &str| token.claim("ver", ver);
    let nil = Uuid::nil().to_string();
    let rows = vec![
        row("its tenant", Token::v2(), OK),
        row("its tenant in upper case", in_tenant(&TENANT.to_string().to_uppercase()), OK),
        row("no tenant", Token::v2().no_claim("tid"), "tenant"),
        row("another tenant that is let in", in_tenant(&NEIGHBOUR.to_string()), "tenant"),
        row("another tenant in version 1", Token::v1().claim("tid", NEIGHBOUR.to_string()), "tenant"),
        row("a tenant that is not let in", in_tenant(&STRANGER.to_string()), "tenant"),
        row("a nil tenant", in_tenant(&nil), "tenant"),
        row("a tenant's domain", in_tenant("contoso.example"), "tenant"),
        row("empty tenant", in_tenant(""), "tenant"),
        row("a tenant and a space", in_tenant(&format!("{TENANT} ")), "tenant"),
        row("version 1 as 1.0", Token::v1(), OK),
        row("version 1 as 2.0", of(Token::v1(), "2.0"), "version"),
        row("version 2 as 1.0", of(Token::v2(), "1.0"), "version"),
        row("version 2 as 2", of(Token::v2(), "2"), "version"),
        row("version 2 as 2.0.0", of(Token::v2(), "2.0.0"), "version"),
        row("version 2 as a number", Token::v2().claim("ver", 2.0), "claim"),
        row("no version", Token::v2().no_claim("ver"), "version"),
        row("its object id in upper case", named(&OID.to_string().to_uppercase()), OK),
        row("no object id", Token::v2().no_claim("oid"), "principal"),
        row("empty object id", named(""), "principal"),
        row("nil object id", named(&nil), "principal"),
        row("a name for an object id", named("root"), "principal"),
        row("an address for an object id", named("analyst@contoso.example"), "principal"),
        row("an object id cut off", named(cut(&OID.to_string())), "principal"),
        row("an object id and NUL", named(&format!("{OID}\0")), "principal"),
        row("an object id and another", named(&format!("{OID} {OID}")), "principal"),
        row("an object id as a list", Token::v2().claim("oid", json!([OID])), "claim"),
        row(
            "names that people see",
            Token::v2()
                .no_claim("oid")
                .claim("upn", "owner@contoso.example")
                .claim("email", "owner@contoso.example"),
            "principal",
        ),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn rule_10_id_tokens_are_not_access_tokens() {
    let for_app = |aud: Value, client: &str| Token::v2().claim("aud", aud).claim(client, ML_APP);
    let bare = Token::v2().no_claim("scp");
    let rows = vec![
        row("with neither", bare.clone(), OK),
        row("with a nonce", bare.clone().claim("nonce", "n-0S6"), "not_an_access_token"),
        row("with an empty nonce", bare.clone().claim("nonce", ""), "not_an_access_token"),
        row("with a nonce that is null", bare.clone().claim("nonce", Value::Null), "not_an_access_token"),
        row(
            "with a nonce in version 1",
            Token::v1().no_claim("scp").claim("nonce", "n-0S6"),
            "not_an_access_token",
        ),
        row("with a nonce and scopes", Token::v2().claim("nonce", "n-0S6"), OK),
        row(
            "with a nonce and roles",
            bare.clone().claim("nonce", "n-0S6").claim("roles", json!(["Reader"])),
            OK,
        ),
        row("with a nonce and a type", bare.claim("nonce", "n-0S6").claim("idtyp", "app"), OK),
        row("of a client for another", for_app(json!(ML), "azp"), OK),
        row("of a client for itself", for_app(json!(ML_APP), "azp"), "not_an_access_token"),
        row("of a client for itself and another", for_app(json!([ML, ML_APP]), "azp"), "not_an_access_token"),
        row(
            "of a client for itself, with another as its party",
            for_app(json!(ML_APP), "appid").claim("azp", CLIENT),
            "not_an_access_token",
        ),
        row(
            "of a client for itself in version 1",
            Token::v1().claim("aud", ML_APP).claim("appid", ML_APP),
            "not_an_access_token",
        ),
    ];
    judged(&Gate::new(), rows).await;
}
