//! Who gets in: auth mode × credential × expectation, over real HTTP, each row on a connection of its own.

use std::fmt::Write;

use scoregate::dev::issuer::TokenVersion;
use serde_json::json;
use uuid::Uuid;

use crate::support::mint::{self, Membership, Mint};
use crate::support::raw::{Answer, ask};
use crate::support::stand::{AUDIENCE, SUBSCRIPTION, TENANT, deployment, object_id};
use crate::support::{Instance, Plan, Raw, Stand, until};

/// The tenant of the authority whose key the test holds.
const MINTED: Uuid = Uuid::from_u128(0x3137);
/// A tenant whose authority never answers.
const SILENT: Uuid = Uuid::from_u128(0x511e);
/// A tenant that the gateway was not told of.
const STRANGE: Uuid = Uuid::from_u128(0x57a);
const SCORE: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action";

/// What a row expects.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// The deployment of this name answers.
    Answered(&'static str),
    /// The gateway refuses with this status and code, and no instance notices.
    Refused(u16, &'static str),
}

use Expect::{Answered, Refused};

const MISSING: Expect = Refused(401, "AuthenticationFailed");
const INVALID: Expect = Refused(401, "InvalidAuthenticationToken");
const FORBIDDEN: Expect = Refused(403, "AuthorizationFailed");
const UNDECIDED: Expect = Refused(503, "IdentityUnavailable");
const NO_ENDPOINT: Expect = Refused(404, "EndpointNotFound");

/// One row.
struct Row {
    what: String,
    target: String,
    host: String,
    /// Lines after the host, each with its line end.
    fields: String,
    expect: Expect,
}

/// The table, and what its rows are made with.
struct Table {
    rows: Vec<Row>,
    stand: Stand,
    mint: Mint,
    key: String,
    secondary: String,
    other_key: String,
    instances: Vec<Instance>,
}

impl Table {
    fn row(&mut self, what: &str, endpoint: &str, fields: impl Into<String>, expect: Expect) {
        self.at(what, &format!("/endpoints/{endpoint}/score"), "gateway", fields, expect);
    }

    fn at(&mut self, what: &str, target: &str, host: &str, fields: impl Into<String>, expect: Expect) {
        let (what, target, host, fields) =
            (what.to_owned(), target.to_owned(), host.to_owned(), fields.into());
        self.rows.push(Row { what, target, host, fields, expect });
    }

    fn scientist(&self) -> String {
        bearer(&self.stand.token("scientist"))
    }

    fn reached(&self) -> usize {
        self.instances.iter().map(Instance::count).sum()
    }

    /// The challenge that a 401 of an endpoint carries, exactly.
    fn challenge(&self, row: &Row) -> String {
        if !row.target.contains("aad") && !row.host.contains("aad") {
            return "Bearer".to_owned();
        }
        format!(
            "Bearer authorization_uri=\"{}/{TENANT}\", error=\"invalid_token\", resource=\"{AUDIENCE}\"",
            self.stand.authority
        )
    }

    /// Asks every row; gives what was wrong.
    async fn run(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for row in &self.rows {
            let before = self.reached();
            let message = format!(
                "POST {} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: 2\r\n\r\n{{}}",
                row.target, row.host, row.fields
            );
            let Some(answer) = ask(self.stand.gateway.data, message).await else {
                wrong.push(format!("{}: no answer", row.what));
                continue;
            };
            if let Err(problem) = self.judge(row, &answer, self.reached() - before) {
                wrong.push(format!("{}: {problem}, expected {:?}\n{}", row.what, row.expect, answer.head));
            }
        }
        wrong
    }

    fn judge(&self, row: &Row, answer: &Answer, reached: usize) -> Result<(), String> {
        let code = answer.code();
        match row.expect {
            Answered(name) => {
                if answer.status != 200 || reached != 1 {
                    return Err(format!("{} {code}, {reached} at instances", answer.status));
                }
                if answer.field("azureml-model-deployment") != Some(name) {
                    return Err("another deployment".to_owned());
                }
            }
            Refused(status, expected) => {
                if (answer.status, code.as_str()) != (status, expected) || reached != 0 {
                    return Err(format!("{} {code}, {reached} at instances", answer.status));
                }
                if answer.reason().is_none() || answer.field("azureml-model-deployment").is_some() {
                    return Err("not the gateway's own answer".to_owned());
                }
                let challenge = (status == 401).then(|| self.challenge(row));
                if answer.field("www-authenticate") != challenge.as_deref() {
                    return Err(format!("challenge {:?}", answer.field("www-authenticate")));
                }
                if (status == 503) != answer.field("retry-after").is_some() {
                    return Err("Retry-After".to_owned());
                }
            }
        }
        Ok(())
    }
}

fn bearer(credential: &str) -> String {
    format!("Authorization: Bearer {credential}\r\n")
}

fn resource_group() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/default")
}

fn workspace() -> String {
    format!("{}/providers/Microsoft.MachineLearningServices/workspaces/default", resource_group())
}

fn endpoint(name: &str) -> String {
    format!("{}/onlineEndpoints/{name}", workspace())
}

/// A document for each role, grant and denial of the table.
fn rights(plan: &mut Plan) {
    let mut text = String::new();
    let mut role = |name: &str, rights: &str| writeln!(text, "---\nrole_name: {name}\n{rights}").unwrap();
    role("Scorer", &format!("actions: [ {SCORE} ]"));
    role("Shouting Scorer", &format!("actions: [ {} ]", SCORE.to_uppercase()));
    role("Wild Scorer", "actions: [ \"*/score/action\" ]");
    role("Anything But", &format!("actions: [ \"*\" ]\nnot_actions: [ {SCORE} ]"));
    role("All Data", "actions: [ \"*/read\" ]\ndata_actions: [ \"*\" ]");
    let mut grant = |who: &str, role: &str, scope: &str, more: &str| {
        let id = object_id(who);
        writeln!(text, "---\nrole: {role}\nprincipal_id: {id}\nscope: {scope}\n{more}").unwrap();
    };
    let (own, group) = (endpoint("aad-ep"), "principal_type: Group\n");
    grant("scientist", "AzureML Data Scientist", &resource_group(), "");
    grant("reader", "Reader", &resource_group(), "");
    grant("contributor", "Contributor", &resource_group(), "");
    grant("access-admin", "User Access Administrator", "/", "");
    grant("at-endpoint", "Scorer", &own, "");
    grant("at-endpoint-loud", "Scorer", &own.to_uppercase().replace("/SUBSCRIPTIONS", "/Subscriptions"), "");
    grant("at-workspace", "Scorer", &workspace(), "");
    grant("at-subscription", "Scorer", &format!("/subscriptions/{SUBSCRIPTION}"), "");
    grant("at-management-group", "Scorer", "/providers/Microsoft.Management/managementGroups/top", "");
    grant("at-root", "Scorer", "/", "");
    grant("shouting", "Shouting Scorer", &own, "");
    grant("wild", "Wild Scorer", &own, "");
    grant("elsewhere", "Scorer", &endpoint("aad-other"), "");
    grant("prefix", "Scorer", &endpoint("aad-e"), "");
    grant("other-subscription", "Scorer", "/subscriptions/00000000-0000-0000-0000-0000000000ff", "");
    grant("at-deployment", "Scorer", &format!("{own}/deployments/blue"), "");
    grant("excepted", "Anything But", &own, "");
    grant("excepted-and-granted", "Anything But", &own, "");
    grant("excepted-and-granted", "Scorer", &own, "");
    grant("data", "All Data", "/", "");
    grant("conditional", "Scorer", &own, "condition: \"@Resource[x] StringEquals 'y'\"\n");
    for who in
        ["denied", "denied-at-endpoint", "exempt", "denied-by-group", "denied-data", "denied-elsewhere"]
    {
        grant(who, "Owner", "/", "");
    }
    grant("scorers", "Scorer", &own, group);
    grant("granted-and-many-groups", "Scorer", &own, "");
    let mut deny = |name: &str, scope: &str, rest: &str| {
        writeln!(text, "---\ndeny_assignment_name: {name}\nscope: {scope}\n{rest}").unwrap();
    };
    let score = format!("actions: [ {SCORE} ]");
    let list =
        |names: &[&str]| names.iter().map(|name| object_id(name).to_string()).collect::<Vec<_>>().join(", ");
    deny("above", &resource_group(), &format!("{score}\nprincipals: [ {} ]", list(&["denied"])));
    deny("here", &own, &format!("{score}\nprincipals: [ {} ]", list(&["denied-at-endpoint"])));
    deny(
        "there",
        &endpoint("aad-other"),
        &format!("{score}\nprincipals: [ {} ]", list(&["denied-elsewhere"])),
    );
    deny("data", &own, &format!("data_actions: [ \"*\" ]\nprincipals: [ {} ]", list(&["denied-data"])));
    deny("group", &own, &format!("{score}\nprincipals: [ {} ]", list(&["the-denied"])));
    let exempt = format!(
        "{score}\nprincipals: [ {} ]\nexclude_principals: [ {} ]",
        list(&["crowd"]),
        list(&["exempt"])
    );
    deny("exempting", &own, &exempt);
    plan.add("rights.yaml", text);
}

/// The stand of the table: seven endpoints in three modes, four authorities or their like.
async fn table() -> Table {
    let instances = [Instance::named("blue").await, Instance::named("green").await];
    let (blue, green) = (instances[0].url.clone(), instances[1].url.clone());
    let mint = Mint::new(MINTED);
    let minted = mint.serve().await;
    let groups = |names: &[&str]| Membership::Groups(names.iter().map(|name| object_id(name)).collect());
    let directory = mint::directory(vec![
        (object_id("many-groups"), groups(&["others", "scorers"])),
        (object_id("many-other-groups"), groups(&["others"])),
        (object_id("no-groups"), groups(&[])),
        (object_id("many-groups-and-denied"), groups(&["scorers", "the-denied"])),
        (object_id("granted-and-many-groups"), groups(&["others"])),
        (object_id("broken"), Membership::Broken),
        (object_id("rubbish"), Membership::Rubbish),
    ])
    .await;
    let mut plan = Plan::default();
    for (name, mode) in [
        ("key-ep", "key"),
        ("key-other", "key"),
        ("aml-ep", "aml_token"),
        ("aad-ep", "aad_token"),
        ("aad-other", "aad_token"),
        ("aad-e", "aad_token"),
        ("aad-idle", "aad_token"),
        ("Key-Mixed", "key"),
    ] {
        let traffic = if name == "aad-idle" { "{ blue: 0 }" } else { "{ blue: 100, green: 0 }" };
        plan.add(&format!("{name}.yaml"), format!("name: {name}\nauth_mode: {mode}\ntraffic: {traffic}\n"));
        plan.add(&format!("{name}-blue.yaml"), deployment(name, "blue", &[&blue], ""));
        plan.add(&format!("{name}-green.yaml"), deployment(name, "Green", &[&green], ""));
    }
    rights(&mut plan);
    let identity = format!(
        "{{ entra: [ {{ authority: \"{{authority}}\", tenants: [ {TENANT} ], ca_file: ca.pem }}, \
         {{ authority: \"{minted}\", tenants: [ {MINTED} ], allow_http: true }}, \
         {{ authority: \"http://127.0.0.1:9\", tenants: [ {SILENT} ], allow_http: true }} ], \
         directory: {{ url: \"http://{directory}/v1.0\", allow_http: true }} }}"
    );
    let plan = plan
        .set("identity", &identity)
        .set("owners", &format!("[ {} ]", object_id("owner")))
        .set("limits", "{ failed_authentications: 1000000 }")
        .set("management_groups", &format!("[ {{ name: top, subscriptions: [ {SUBSCRIPTION} ] }} ]"))
        .data_plane("base_domain: models.test");
    let stand = Stand::start(plan).await;
    let ((key, secondary), (other_key, _)) = (stand.keys("key-ep").await, stand.keys("key-other").await);
    Table { rows: Vec::new(), stand, mint, key, secondary, other_key, instances: instances.to_vec() }
}

/// Where a credential may be and how it is written, for each mode with a credential that would be good for it.
fn shapes(table: &mut Table) {
    let token = table.stand.token("scientist");
    for (ep, good) in [("key-ep", table.key.clone()), ("aml-ep", token.clone()), ("aad-ep", token)] {
        let valid = if ep == "aml-ep" { INVALID } else { Answered("blue") };
        let good = good.as_str();
        let line = bearer(good);
        let as_basic = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("user:{}", good.get(..40).unwrap()),
        );
        for (what, fields, expect) in [
            ("no header", String::new(), MISSING),
            ("an empty header", "Authorization:\r\n".into(), MISSING),
            ("a blank header", "Authorization:  \t \r\n".into(), MISSING),
            ("the scheme alone", "Authorization: Bearer\r\n".into(), MISSING),
            ("the scheme and a space", "Authorization: Bearer \r\n".into(), MISSING),
            ("the credential alone", format!("Authorization: {good}\r\n"), MISSING),
            ("Basic with user and password", format!("Authorization: Basic {as_basic}\r\n"), MISSING),
            ("Basic with the credential", format!("Authorization: Basic {good}\r\n"), MISSING),
            ("another scheme", format!("Authorization: Token {good}\r\n"), MISSING),
            ("a longer scheme", format!("Authorization: Bearers {good}\r\n"), MISSING),
            ("no space", format!("Authorization: Bearer{good}\r\n"), MISSING),
            ("a colon for the space", format!("Authorization: Bearer:{good}\r\n"), MISSING),
            ("two fields, both good", format!("{line}{line}"), MISSING),
            ("two fields, the first good", format!("{line}{}", bearer("x")), MISSING),
            ("two fields, the second good", format!("{}{line}", bearer("x")), MISSING),
            ("two fields in two cases", format!("{line}authorization: Bearer {good}\r\n"), MISSING),
            ("an empty field and a good one", format!("Authorization:\r\n{line}"), MISSING),
            ("a list", format!("Authorization: Bearer {good}, Bearer {good}\r\n"), MISSING),
            ("a list without spaces", format!("Authorization: Bearer {good},{good}\r\n"), MISSING),
            ("a comma at the end", format!("Authorization: Bearer {good},\r\n"), MISSING),
            ("a parameter", format!("Authorization: Bearer {good};q=1\r\n"), MISSING),
            ("two spaces", format!("Authorization: Bearer  {good}\r\n"), MISSING),
            ("a tab", format!("Authorization: Bearer\t{good}\r\n"), MISSING),
            ("a second word", format!("Authorization: Bearer {good} x\r\n"), MISSING),
            ("quotes", format!("Authorization: Bearer \"{good}\"\r\n"), MISSING),
            ("percent-encoding", format!("Authorization: Bearer %61{good}\r\n"), MISSING),
            ("a letter beyond ASCII", format!("Authorization: Bearer é{good}\r\n"), MISSING),
            ("another header", format!("X-Authorization: Bearer {good}\r\n"), MISSING),
            ("an API key header", format!("X-Api-Key: {good}\r\napi-key: {good}\r\n"), MISSING),
            ("an Easy Auth header", format!("X-MS-TOKEN-AAD-ACCESS-TOKEN: {good}\r\n"), MISSING),
            (
                "a forwarded identity",
                format!("X-MS-CLIENT-PRINCIPAL-ID: {}\r\n", object_id("owner")),
                MISSING,
            ),
            ("a cookie", format!("Cookie: access_token={good}; Authorization=Bearer {good}\r\n"), MISSING),
            ("Proxy-Authorization", format!("Proxy-Authorization: Bearer {good}\r\n"), MISSING),
            ("the scheme in lower case", format!("Authorization: bearer {good}\r\n"), valid),
            ("the scheme in upper case", format!("authorization: BEARER {good}\r\n"), valid),
            ("white space around the value", format!("Authorization: \t Bearer {good} \t\r\n"), valid),
        ] {
            table.row(&format!("{ep}, {what}"), ep, fields, expect);
        }
        for name in ["access_token", "api-key", "code", "subscription-key"] {
            let target = format!("/endpoints/{ep}/score?{name}={good}");
            table.at(&format!("{ep}, ?{name}="), &target, "gateway", "", MISSING);
        }
        // A query does not spoil a good header either.
        let target = format!("/endpoints/{ep}/score?access_token=x");
        table.at(&format!("{ep}, a header and a query"), &target, "gateway", line, valid);
    }
}

/// A credential with another character at this place.
fn changed(credential: &str, at: usize) -> String {
    let mut bytes = credential.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

/// Keys and near-keys.
fn keys(table: &mut Table) {
    let key = table.key.clone();
    let swapped =
        key.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    let swapped: String = swapped.collect();
    for (what, credential, expect) in [
        ("primary key", key.clone(), Answered("blue")),
        ("secondary key", table.secondary.clone(), Answered("blue")),
        ("key of another endpoint", table.other_key.clone(), INVALID),
        ("first character changed", changed(&key, 0), INVALID),
        ("middle character changed", changed(&key, 25), INVALID),
        ("last character changed", changed(&key, key.len() - 1), INVALID),
        ("truncated by one", key.get(..key.len() - 1).unwrap().to_owned(), INVALID),
        ("its prefix", "sgk_".to_owned(), INVALID),
        ("without its prefix", key.trim_start_matches("sgk_").to_owned(), INVALID),
        ("extended", format!("{key}A"), INVALID),
        ("padded", format!("{key}="), INVALID),
        ("twice", format!("{key}{key}"), INVALID),
        ("in the other case", swapped, INVALID),
        ("one character", "a".to_owned(), INVALID),
        ("very long", "a".repeat(20_000), INVALID),
        ("Entra token of a scientist", table.stand.token("scientist"), INVALID),
        ("Entra token of an owner", table.stand.token("owner"), INVALID),
    ] {
        table.row(&format!("key-ep, {what}"), "key-ep", bearer(&credential), expect);
    }
    for (ep, what, credential) in [
        ("aad-ep", "primary key of a key endpoint", key.clone()),
        ("aad-ep", "secondary key of a key endpoint", table.secondary.clone()),
        ("aml-ep", "primary key of a key endpoint", key.clone()),
        ("key-other", "key of another endpoint", key),
    ] {
        table.row(&format!("{ep}, {what}"), ep, bearer(&credential), INVALID);
    }
}

/// Endpoints have keys whatever their mode; in another mode these open nothing.
async fn own_keys(table: &mut Table) {
    for ep in ["aad-ep", "aml-ep"] {
        let (primary, secondary) = table.stand.keys(ep).await;
        table.row(&format!("{ep}, its own primary key"), ep, bearer(&primary), INVALID);
        table.row(&format!("{ep}, its own secondary key"), ep, bearer(&secondary), INVALID);
    }
}

/// Tokens of issuers that are trusted, and of one that does not answer. What else may be wrong with a token is in `tokens`.
fn tokens(table: &mut Table) {
    let issued =
        |who: &str, audience: &str, version| table.stand.issuer.token(who, audience, version).unwrap();
    let (v1, v2) = (TokenVersion::V1, TokenVersion::V2);
    let mint = &table.mint;
    let at_root = object_id("at-root");
    let silent = Mint::new(SILENT);
    let rows = vec![
        ("v1", issued("scientist", AUDIENCE, v1), Answered("blue")),
        ("v2", issued("scientist", AUDIENCE, v2), Answered("blue")),
        ("audience with a slash", issued("scientist", "https://ml.azure.com/", v1), Answered("blue")),
        (
            "audience by application id",
            issued("scientist", "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe", v2),
            Answered("blue"),
        ),
        ("audience of the control plane", issued("scientist", "https://management.azure.com", v1), INVALID),
        ("audience of Graph", issued("scientist", "https://graph.microsoft.com", v2), INVALID),
        ("minted", mint.token(at_root), Answered("blue")),
        ("of a tenant that is not served", Mint::new(STRANGE).token(at_root), INVALID),
        ("of a silent authority", silent.token(at_root), UNDECIDED),
        ("of a silent authority, wrong audience", silent.with(at_root, &json!({ "aud": "x" })), INVALID),
    ];
    for (what, token, expect) in rows {
        table.row(&format!("aad-ep, token {what}"), "aad-ep", bearer(&token), expect);
    }
    for ep in ["key-ep", "aml-ep"] {
        for (what, token) in [("v1", issued_for(table, v1)), ("v2", issued_for(table, v2))] {
            table.row(&format!("{ep}, token {what} of an owner"), ep, bearer(&token), INVALID);
        }
        let token = table.mint.token(object_id("at-root"));
        table.row(&format!("{ep}, minted token"), ep, bearer(&token), INVALID);
        let token = Mint::new(SILENT).token(object_id("at-root"));
        table.row(&format!("{ep}, token of a silent authority"), ep, bearer(&token), INVALID);
    }
}

fn issued_for(table: &Table, version: TokenVersion) -> String {
    table.stand.issuer.token("owner", AUDIENCE, version).unwrap()
}

/// Who may: the right to score at `aad-ep`.
fn principals(table: &mut Table) {
    for (who, expect) in [
        ("scientist", Answered("blue")),
        ("owner", Answered("blue")),
        ("reader", FORBIDDEN),
        ("outsider", FORBIDDEN),
    ] {
        for version in [TokenVersion::V1, TokenVersion::V2] {
            let token = table.stand.issuer.token(who, AUDIENCE, version).unwrap();
            table.row(&format!("{who}, {version:?}"), "aad-ep", bearer(&token), expect);
        }
    }
    let allowed = Answered("blue");
    let groups =
        |names: &[&str]| json!({ "groups": names.iter().map(|name| object_id(name)).collect::<Vec<_>>() });
    let (overage, by_hint) = (json!({ "_claim_names": { "groups": "src1" } }), json!({ "hasgroups": true }));
    let none = json!({});
    for (who, claims, expect) in [
        ("contributor", &none, allowed),
        ("access-admin", &none, FORBIDDEN),
        ("at-endpoint", &none, allowed),
        ("at-endpoint-loud", &none, allowed),
        ("at-workspace", &none, allowed),
        ("at-subscription", &none, allowed),
        ("at-management-group", &none, allowed),
        ("at-root", &none, allowed),
        ("shouting", &none, allowed),
        ("wild", &none, allowed),
        ("elsewhere", &none, FORBIDDEN),
        ("prefix", &none, FORBIDDEN),
        ("other-subscription", &none, FORBIDDEN),
        ("at-deployment", &none, FORBIDDEN),
        ("excepted", &none, FORBIDDEN),
        ("excepted-and-granted", &none, allowed),
        ("data", &none, FORBIDDEN),
        ("conditional", &none, FORBIDDEN),
        ("denied", &none, FORBIDDEN),
        ("denied-at-endpoint", &none, FORBIDDEN),
        ("denied-elsewhere", &none, allowed),
        ("denied-data", &none, allowed),
        ("exempt", &groups(&["crowd"]), allowed),
        ("denied-by-group", &groups(&["the-denied"]), FORBIDDEN),
        ("denied-by-group", &groups(&["crowd"]), FORBIDDEN),
        ("denied-by-group", &groups(&["others"]), allowed),
        ("member", &groups(&["others", "scorers"]), allowed),
        ("member", &groups(&["others"]), FORBIDDEN),
        ("member", &groups(&[]), FORBIDDEN),
        ("member", &groups(&["scorers", "the-denied"]), FORBIDDEN),
        ("member", &json!({ "groups": ["scorers"] }), FORBIDDEN),
        ("member", &json!({ "groups": object_id("scorers").to_string() }), INVALID),
        ("member", &json!({ "roles": ["Owner"], "wids": [object_id("scorers")], "scp": "score" }), FORBIDDEN),
        ("scorers", &none, allowed),
        ("many-groups", &overage, allowed),
        ("many-groups", &by_hint, allowed),
        ("many-groups", &none, FORBIDDEN),
        ("many-other-groups", &overage, FORBIDDEN),
        ("no-groups", &overage, FORBIDDEN),
        ("many-groups-and-denied", &overage, FORBIDDEN),
        ("granted-and-many-groups", &overage, allowed),
        ("broken", &overage, UNDECIDED),
        ("broken", &by_hint, UNDECIDED),
        ("rubbish", &overage, UNDECIDED),
        ("unknown-to-the-directory", &overage, UNDECIDED),
        ("denied", &overage, FORBIDDEN),
        ("at-root", &overage, UNDECIDED),
    ] {
        let token = table.mint.with(object_id(who), claims);
        table.row(&format!("{who} with {claims}"), "aad-ep", bearer(&token), expect);
    }
    for (who, ep, expect) in [
        ("elsewhere", "aad-other", allowed),
        ("at-endpoint", "aad-other", FORBIDDEN),
        ("denied-elsewhere", "aad-other", FORBIDDEN),
        ("prefix", "aad-e", allowed),
        ("at-endpoint", "aad-e", FORBIDDEN),
        ("at-endpoint", "aad-idle", FORBIDDEN),
    ] {
        let token = table.mint.token(object_id(who));
        table.row(&format!("{who} at {ep}"), ep, bearer(&token), expect);
    }
}

/// Which endpoint and deployment an address means.
fn addresses(table: &mut Table) {
    let (token, key) = (table.scientist(), bearer(&table.key));
    let (blue, green) = (Answered("blue"), Answered("Green"));
    for (target, host, fields, expect) in [
        ("/endpoints/AAD-EP/score", "gateway", &token, blue),
        ("/endpoints/Key-Ep/score", "gateway", &key, blue),
        ("/endpoints/aad-ep", "gateway", &token, blue),
        ("/endpoints/aad-ep/", "gateway", &token, blue),
        ("/endpoints/aad-ep/swagger.json", "gateway", &token, blue),
        ("/score", "aad-ep.models.test", &token, blue),
        ("/score", "AAD-ep.Models.Test", &token, blue),
        ("/score", "aad-ep.models.test:8080", &token, blue),
        ("/", "key-ep.models.test", &key, blue),
        // By host the path is the instance's own: it cannot lead to another endpoint.
        ("/endpoints/key-ep/score", "aad-ep.models.test", &token, blue),
        ("/endpoints/key-ep/score", "aad-ep.models.test", &key, INVALID),
        ("/score", "aad-ep.models.test", &key, INVALID),
        ("/score", "nobody.models.test", &token, NO_ENDPOINT),
        ("/score", "x.aad-ep.models.test", &token, NO_ENDPOINT),
        ("/score", "aad-ep.models.test.evil.test", &token, NO_ENDPOINT),
        ("/score", "models.test", &token, NO_ENDPOINT),
        ("/score", "gateway", &token, NO_ENDPOINT),
        ("/", "gateway", &token, NO_ENDPOINT),
        ("/endpoints", "gateway", &token, NO_ENDPOINT),
        ("/endpoints/", "gateway", &token, NO_ENDPOINT),
        ("/Endpoints/aad-ep/score", "gateway", &token, NO_ENDPOINT),
        ("/endpoints/nobody/score", "gateway", &token, NO_ENDPOINT),
        ("/endpoints/aad-epp/score", "gateway", &token, NO_ENDPOINT),
        ("/endpoints/aad%2dep/score", "gateway", &token, NO_ENDPOINT),
        ("/livez", "gateway", &token, NO_ENDPOINT),
        ("/metrics", "gateway", &token, NO_ENDPOINT),
        ("/endpoints/aad-ep/../key-ep/score", "gateway", &token, Refused(400, "BadRequest")),
        ("/endpoints/aad-ep%2f..%2fkey-ep/score", "gateway", &token, Refused(400, "BadRequest")),
        ("/endpoints//aad-ep/score", "gateway", &token, Refused(400, "BadRequest")),
    ] {
        table.at(&format!("{host}{target}"), target, host, fields.clone(), expect);
    }
    let none = Refused(404, "DeploymentNotFound");
    for (name, expect) in [
        ("blue", blue),
        ("BLUE", blue),
        ("green", green),
        ("Green", green),
        ("gREEN", green),
        ("red", none),
        ("", none),
        ("blue,green", none),
        ("blu", none),
        ("aad-other/blue", none),
    ] {
        let fields = format!("{token}azureml-model-deployment: {name}\r\n");
        table.row(&format!("deployment `{name}`"), "aad-ep", fields, expect);
    }
    let field = |name: &str| format!("azureml-model-deployment: {name}\r\n");
    table.row(
        "header name in capitals",
        "aad-ep",
        format!("{token}AzureML-Model-Deployment: green\r\n"),
        green,
    );
    table.row("two deployments", "aad-ep", format!("{token}{}{}", field("blue"), field("green")), none);
    table.row("no weight", "aad-idle", token.clone(), Refused(404, "NoTraffic"));
    table.row("no weight, but named", "aad-idle", format!("{token}{}", field("blue")), blue);
    // Who may not score learns nothing about deployments.
    let outsider = bearer(&table.stand.token("outsider"));
    table.row("an outsider names one", "aad-ep", format!("{outsider}{}", field("red")), FORBIDDEN);
    table.row("an outsider at no weight", "aad-idle", outsider, FORBIDDEN);
    table.row("nobody names one", "key-ep", field("red"), MISSING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_takes_its_own_credential_from_those_who_may() {
    let mut table = table().await;
    shapes(&mut table);
    keys(&mut table);
    own_keys(&mut table).await;
    tokens(&mut table);
    principals(&mut table);
    addresses(&mut table);
    let rows = table.rows.len();
    assert!(rows >= 120, "{rows} rows");
    let wrong = table.run().await;
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
    // Nothing of what was refused came later either, and no credential was passed on.
    let answered = table.rows.iter().filter(|row| matches!(row.expect, Answered(_))).count();
    assert_eq!(table.reached(), answered);
    for seen in table.instances.iter().flat_map(Instance::seen) {
        assert_eq!(seen.field("authorization"), None, "{}", seen.head);
    }
    println!("{rows} rows, {answered} of them answered by an instance");
    table.stand.stop().await;
}

fn score(host: &str, target: &str, fields: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: 2\r\n\r\n{{}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_can_be_401_as_azure_documents_it() {
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("aad_token", &[&blue.url]).data_plane("unauthorized_status: 401");
    let stand = Stand::start(plan).await;
    let message = |who: &str| score("gateway", "/endpoints/my-ep/score", &bearer(&stand.token(who)));
    let refused = ask(stand.gateway.data, message("outsider")).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (401, "AuthorizationFailed"));
    let challenge = refused.field("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer authorization_uri="), "{challenge}");
    let message_text = refused.json()["error"]["message"].to_string();
    for named in [object_id("outsider").to_string().as_str(), SCORE, &endpoint("my-ep")] {
        assert!(message_text.contains(named), "{named} in {message_text}");
    }
    assert_eq!(blue.count(), 0);
    assert_eq!(ask(stand.gateway.data, message("scientist")).await.unwrap().status, 200);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_serves_its_one_endpoint_under_every_address() {
    let blue = Instance::named("blue").await;
    let mut plan = Plan::endpoint("aad_token", &[&blue.url])
        .data_plane("single_endpoint: MY-ep")
        .data_plane("base_domain: models.test");
    plan.add("other.yaml", "name: other\nauth_mode: key\ntraffic: { blue: 100 }\n".to_owned());
    plan.add("other-blue.yaml", deployment("other", "blue", &[&blue.url], ""));
    let stand = Stand::start(plan).await;
    let (token, (key, _)) = (bearer(&stand.token("scientist")), stand.keys("other").await);
    for (host, target, line) in [
        ("gateway", "/score", "POST /score HTTP/1.1"),
        ("gateway", "/v1/models/m:predict", "POST /v1/models/m:predict HTTP/1.1"),
        ("gateway", "/endpoints/other/score", "POST /endpoints/other/score HTTP/1.1"),
        ("other.models.test", "/score", "POST /score HTTP/1.1"),
    ] {
        let answer = ask(stand.gateway.data, score(host, target, &token)).await.unwrap();
        assert_eq!((answer.status, blue.seen().pop().unwrap().line()), (200, line), "{host}{target}");
        let refused = ask(stand.gateway.data, score(host, target, &bearer(&key))).await.unwrap();
        assert_eq!(refused.status, 401, "{host}{target}");
    }
    assert_eq!(blue.count(), 4);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_cannot_be_looked_up_are_not_taken_for_none() {
    let blue = Instance::named("blue").await;
    let mint = Mint::new(MINTED);
    let authority = mint.serve().await;
    let entra =
        format!("entra: [ {{ authority: \"{authority}\", tenants: [ {MINTED} ], allow_http: true }} ]");
    let unreachable = "directory: { url: \"http://127.0.0.1:9/v1.0\", allow_http: true }";
    for identity in [format!("{{ {entra}, {unreachable} }}"), format!("{{ {entra} }}")] {
        let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url]).set("identity", &identity)).await;
        let ask = async |who: &str, claims: serde_json::Value| {
            let token = bearer(&mint.with(object_id(who), &claims));
            ask(stand.gateway.data, score("gateway", "/endpoints/my-ep/score", &token)).await.unwrap()
        };
        let overage = json!({ "_claim_names": { "groups": "src1" } });
        let before = blue.count();
        let undecided = ask("outsider", overage.clone()).await;
        assert_eq!((undecided.status, undecided.code().as_str()), (503, "IdentityUnavailable"));
        assert_eq!(ask("outsider", json!({})).await.status, 403);
        assert_eq!(blue.count(), before);
        // Nothing is denied anywhere, so no group could take away what the caller has by itself.
        assert_eq!(ask("scientist", overage).await.status, 200);
        stand.stop().await;
    }
}

/// A role for a principal, as a file.
fn grant(who: &str) -> String {
    format!("role: AzureML Data Scientist\nprincipal_id: {}\nscope: {}\n", object_id(who), resource_group())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_rights_holds_for_connections_that_are_open() {
    let blue = Instance::named("blue").await;
    let mut plan = Plan::endpoint("aad_token", &[&blue.url]);
    plan.resources.retain(|(name, _)| !name.starts_with("grant"));
    plan.add("grant.yaml", grant("scientist"));
    let stand = Stand::start(plan).await;
    let mut connections = Vec::new();
    for who in ["scientist", "outsider", "scientist", "outsider"] {
        connections.push((who, Raw::connect(stand.gateway.data).await));
    }
    let mut expect = async |statuses: [u16; 2]| {
        for (who, raw) in &mut connections {
            raw.say(score("gateway", "/endpoints/my-ep/score", &bearer(&stand.token(who)))).await;
            let status = raw.hear().await.unwrap().status;
            assert_eq!(status, statuses[usize::from(*who == "outsider")], "{who}");
        }
    };
    expect([200, 403]).await;
    stand.write("grant.yaml", &grant("outsider")).await;
    expect([403, 200]).await;
    stand.write("grant.yaml", &format!("{}---\n{}", grant("outsider"), grant("scientist"))).await;
    expect([200, 200]).await;
    let score = format!("actions: [ {SCORE} ]");
    let denied = format!("principals: [ {} ]", object_id("scientist"));
    let denial = format!("deny_assignment_name: stop\nscope: /\n{score}\n{denied}\n");
    stand.write("deny.yaml", &denial).await;
    expect([403, 200]).await;
    stand.remove("deny.yaml").await;
    expect([200, 200]).await;
    stand.remove("grant.yaml").await;
    expect([403, 403]).await;
    // Another mode: the token is no credential any more.
    stand.write("ep.yaml", "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n").await;
    expect([401, 401]).await;
    assert_eq!(blue.count(), 2 + 2 + 4 + 2 + 4);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_resources_leave_the_last_good_ones_in_force_and_say_so() {
    let blue = Instance::named("blue").await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let status = async |who: &str| {
        let message = score("gateway", "/endpoints/my-ep/score", &bearer(&stand.token(who)));
        ask(stand.gateway.data, message).await.unwrap().status
    };
    let ready = async || {
        let message = "GET /readyz?verbose HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = ask(stand.gateway.admin, message).await.unwrap();
        assert_eq!(answer.status, 200, "it serves, so it is ready");
        String::from_utf8(answer.body).unwrap()
    };
    until("the directory is in force", async || ready().await.contains("[+]resources ok")).await;
    assert!((stand.metric("scoregate_resources_ok").await - 1.0).abs() < f64::EPSILON);
    let good = stand.gateway.store().contents().await.unwrap();
    let failures = async || stand.metric("scoregate_resources_failures_total").await;
    for (wrong, told) in [
        ("role: AzureML Data Scientist\nprincipal_id: nobody\nscope: /\n", "principal_id"),
        (
            "role: Chief Scorer\nprincipal_id: 00000000-0000-0000-0000-000000000001\nscope: /\n",
            "Chief Scorer",
        ),
        ("name: [", "more.yaml:1"),
        ("name: second\nauth_mode: key\ntraffic: { blue: 100 }\n", "second"),
        ("name: second\nauth_mode: passwords\n", "passwords"),
        ("name: second\nauth_mod: key\n", "auth_mod:"),
    ] {
        let before = failures().await;
        stand.put("more.yaml", wrong);
        until(&format!("{told} is told"), async || {
            let text = ready().await;
            failures().await > before && text.contains("[!]resources degraded") && text.contains(told)
        })
        .await;
        // What is right in another file is not taken over alone: whole or not at all.
        stand.put("grant-2.yaml", &grant("outsider"));
        assert!(stand.metric("scoregate_resources_ok").await.abs() < f64::EPSILON);
        assert_eq!((status("scientist").await, status("outsider").await), (200, 403), "{told}");
        assert_eq!(stand.gateway.store().contents().await.unwrap(), good, "{told}");
    }
    stand.remove("more.yaml").await;
    assert_eq!((status("scientist").await, status("outsider").await), (403, 200));
    until("the directory is in force again", async || ready().await.contains("[+]resources ok")).await;
    assert!((stand.metric("scoregate_resources_ok").await - 1.0).abs() < f64::EPSILON);
    stand.stop().await;
}
