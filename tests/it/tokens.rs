//! Credentials that nobody should get in with, over real sockets: tokens and keys that are right in all but one thing, beside
//! valid neighbours, and what the model's instance saw of each - nothing, where it was refused.

mod changes;
mod claims;
mod endpoints;
mod form;
mod issuer;
mod keys;
mod wycheproof;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use uuid::Uuid;

use crate::support::mint::{KID, Mint};
use crate::support::raw::{Answer, ask};
use crate::support::stand::{deployment, object_id};
use crate::support::{Instance, Plan, Stand};

/// The tenants of the authority whose keys the test holds.
const TENANT: Uuid = Uuid::from_u128(0x3137);
const NEIGHBOUR: Uuid = Uuid::from_u128(0x3138);

/// What is said of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The instance answers.
    Passes,
    /// There is no credential to judge, for this reason.
    NoCredential(&'static str),
    /// The token is not accepted, for this reason, which only the metric tells.
    Rejected(&'static str),
}

use Expect::{NoCredential, Passes, Rejected};

/// A name, a credential, and what is said of it.
type Case = (String, String, Expect);

fn case(what: impl Into<String>, token: impl Into<String>, expect: Expect) -> Case {
    (what.into(), token.into(), expect)
}

/// A gateway with the endpoint `aad-ep` in front of one instance, and an authority with two tenants whose keys the test holds.
/// The principal `scorer` may score.
struct World {
    stand: Stand,
    /// Signs for [`TENANT`].
    mint: Mint,
    /// Signs for [`NEIGHBOUR`], whose set has a key of the same id.
    neighbour: Mint,
    authority: String,
    blue: Instance,
}

impl World {
    async fn start() -> World {
        World::with(Mint::new(TENANT), Vec::new(), |_| ()).await
    }

    /// A world in which that tenant's set has more keys, and with more resources and settings.
    async fn with(mint: Mint, more_keys: Vec<Value>, more: impl FnOnce(&mut Plan)) -> World {
        let blue = Instance::named("blue").await;
        let neighbour = Mint::new(NEIGHBOUR);
        let (authority, other) = (mint.serve_also(more_keys).await, neighbour.serve().await);
        let mut plan = Plan::default();
        plan.add("aad.yaml", "name: aad-ep\nauth_mode: aad_token\ntraffic: { blue: 100 }\n".to_owned());
        plan.add("aad-blue.yaml", deployment("aad-ep", "blue", &[&blue.url], ""));
        plan.grant("scorer", "AzureML Data Scientist", "/");
        more(&mut plan);
        let given = |section: &str| plan.settings.iter().any(|(name, _)| *name == section);
        let (identity, limits) = (given("identity"), given("limits"));
        if !identity {
            plan = plan
                .set("identity", &format!("{{ {} }}", entra(&[(&authority, TENANT), (&other, NEIGHBOUR)])));
        }
        if !limits {
            plan = plan.set("limits", "{ failed_authentications: 1000000 }");
        }
        World { stand: Stand::start(plan).await, mint, neighbour, authority, blue }
    }

    /// The claims of a good token.
    fn claims(&self) -> Value {
        self.mint.claims(object_id("scorer"))
    }

    /// The claims of a good token but for these.
    fn but(&self, changes: &Value) -> String {
        self.mint.with(object_id("scorer"), changes)
    }

    /// The claims of a good token with this header.
    fn head(&self, head: &Value) -> String {
        self.mint.sign(head, &self.claims())
    }

    /// Judges each case by itself: the answer, what the instance saw, and the reason that is counted. Gives their number.
    async fn judge(&self, cases: Vec<Case>) -> usize {
        let (count, mut wrong) = (cases.len(), Vec::new());
        for (what, token, expect) in cases {
            if let Err(problem) = self.judged("aad-ep", &token, expect).await {
                wrong.push(format!("{what}: expected {expect:?}, {problem}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
        count
    }

    async fn judged(&self, endpoint: &str, token: &str, expect: Expect) -> Result<(), String> {
        let counter = match expect {
            Passes => String::new(),
            NoCredential(reason) => format!("scoregate_security_credential_shape{{reason=\"{reason}\"}}"),
            Rejected(reason) => format!("scoregate_security_token_rejected{{reason=\"{reason}\"}}"),
        };
        let count = async || if expect == Passes { 0 } else { self.stand.counted(&counter).await };
        let (before, seen) = (count().await, self.blue.count());
        let answer = self.ask(endpoint, token).await.ok_or("no answer")?;
        let (counted, reached) = (count().await - before, self.blue.count() - seen);
        let said =
            format!("{} {} ({counted} counted, {reached} at the instance)", answer.status, answer.code());
        let good = match expect {
            Passes => answer.status == 200 && reached == 1,
            NoCredential(_) | Rejected(_) => refused(&answer, expect) && reached == 0 && counted == 1,
        };
        if good { Ok(()) } else { Err(format!("{said}\n{}", answer.head)) }
    }

    /// Presents a credential on a connection of its own.
    async fn ask(&self, endpoint: &str, credential: &str) -> Option<Answer> {
        ask(self.stand.gateway.data, score(endpoint, credential)).await
    }
}

/// Whether an answer is the one 401 that every refusal gets, with nothing in it that would help a forger.
fn refused(answer: &Answer, expect: Expect) -> bool {
    let (code, message) = match expect {
        Rejected(_) => ("InvalidAuthenticationToken", "the token or key is not valid for this endpoint"),
        _ => ("AuthenticationFailed", ""),
    };
    answer.status == 401
        && answer.code() == code
        && answer.json()["error"]["message"].as_str().unwrap_or_default().starts_with(message)
        && answer.reason().is_some()
        && answer.field("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer"))
}

/// A scoring request with a credential.
fn score(endpoint: &str, credential: &str) -> String {
    format!(
        "POST /endpoints/{endpoint}/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {credential}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
}

/// `entra:` of the settings for these authorities and tenants.
fn entra(served: &[(&str, Uuid)]) -> String {
    let entries = served.iter().map(|(authority, tenant)| {
        format!("{{ authority: \"{authority}\", tenants: [ {tenant} ], allow_http: true }}")
    });
    format!("entra: [ {} ]", entries.collect::<Vec<_>>().join(", "))
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The header of a good token.
fn good_head() -> Value {
    serde_json::json!({ "typ": "JWT", "alg": "RS256", "kid": KID })
}

/// JSON text of an object with a member more, as it is written.
fn and(object: &Value, member: &str) -> String {
    let text = object.to_string();
    format!("{},{member}}}", text.strip_suffix('}').unwrap())
}

/// An object without a member.
fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove(name);
    object
}

/// Header, payload and signature as they are written.
fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}
