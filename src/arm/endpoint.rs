//! Online endpoints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::extension::endpoint as extension;
use super::resource::{About, Tracked, bag, no_properties, retag, tags, word};
use crate::forms::{Form, Percent};
use crate::model::endpoint::{AuthMode, EndpointSpec};
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::scope::WorkspaceRef;
use crate::model::traffic::{Mirror, Traffic};

/// ARM's words for the ways of authentication.
pub const MODES: [(&str, AuthMode); 3] =
    [("Key", AuthMode::Key), ("AMLToken", AuthMode::AmlToken), ("AADToken", AuthMode::AadToken)];

/// Keys that a caller brings along when an endpoint is made.
#[derive(Clone, Default)]
pub struct GivenKeys {
    /// The primary key.
    pub primary: Option<String>,
    /// The secondary key.
    pub secondary: Option<String>,
}

impl std::fmt::Debug for GivenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GivenKeys(…)")
    }
}

/// Shares by deployment in a body or a YAML document.
pub fn shares(form: &Form<'_>, key: &'static str, doc: &str) -> Vec<(DeploymentName, u8)> {
    let read = |(name, Percent(share)): (String, Percent)| match name.parse() {
        Ok(name) => Some((name, share)),
        Err(error) => {
            form.wrong(key, crate::model::names::NameError::to_string(&error), None);
            None
        }
    };
    // A share of nothing says nothing, and Azure's clients leave it out themselves.
    form.pairs::<Percent>(key, doc).into_iter().filter(|(_, share)| share.0 > 0).filter_map(read).collect()
}

/// Reads live and mirrored traffic together, because one bears on the other.
pub fn traffic(
    form: &Form<'_>,
    live: &'static str,
    mirror: &'static str,
) -> Option<(Traffic, Option<Mirror>)> {
    let live_shares = shares(form, live, "Percentages by deployment; they add up to 100 or 0.");
    let traffic =
        Traffic::try_from(live_shares).map_err(|error| form.wrong(live, error.to_string(), None)).ok();
    let copies = shares(form, mirror, "One deployment and its percentage of copies, at most 50.");
    let mirror = Mirror::read(copies, traffic.as_ref().unwrap_or(&Traffic::default()))
        .map_err(|error| form.wrong(mirror, error.to_string(), None));
    Some((traffic?, mirror.ok()?))
}

/// Reads the body of a PUT.
pub fn read(
    form: &Form<'_>,
    name: &EndpointName,
    workspace: &WorkspaceRef,
    before: Option<&EndpointSpec>,
) -> Option<(EndpointSpec, GivenKeys)> {
    form.carried("location");
    let tags = tags(form);
    let identity = given_identity(form);
    form.section("properties", "", |f| {
        let auth_mode = f
            .one_of("authMode", "How callers prove who they are.", &MODES)
            .required("Key, AMLToken or AADToken");
        let description = f.value::<String>("description", "What it is for.").or_else(String::new);
        let traffic = traffic(f, "traffic", "mirrorTraffic");
        let access = [("Enabled", true), ("Disabled", false)];
        let public_network_access =
            f.one_of("publicNetworkAccess", "Azure's switch; kept and shown.", &access).or(true);
        let mut properties = bag(f, before.map(|before| &before.properties));
        let own = extension::take(f, &mut properties, before);
        let keys = f.section("keys", "Keys to begin with; only when the endpoint is made.", |k| GivenKeys {
            primary: given_key(k, "primaryKey"),
            secondary: given_key(k, "secondaryKey"),
        });
        let (traffic, mirror) = traffic?;
        let spec = EndpointSpec {
            name: name.clone(),
            workspace: workspace.clone(),
            auth_mode: auth_mode?,
            traffic,
            mirror,
            description,
            tags,
            properties,
            identity,
            public_network_access,
            rate_limit: own.rate_limit,
            request_body: own.request_body,
            websocket: own.websocket,
            cors: own.cors,
        };
        Some((spec, keys))
    })
}

fn given_identity(form: &Form<'_>) -> Option<Value> {
    let identity = form.carried("identity");
    if identity.as_ref().is_some_and(|identity| !identity.is_object()) {
        form.wrong("identity", "is not an object", Some(r#"{"type": "SystemAssigned"}"#));
    }
    identity
}

fn given_key(form: &Form<'_>, slot: &'static str) -> Option<String> {
    let key = form.value::<String>(slot, "32 to 512 characters of A-Z a-z 0-9 - . _ ~ + / =").optional()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !(32..=512).contains(&key.len()) || !key.chars().all(plain) {
        form.wrong(slot, "is not a key: give 32 to 512 characters of A-Z a-z 0-9 - . _ ~ + / =", None);
    }
    Some(key)
}

/// Shares as ARM writes them.
fn shown_shares(traffic: &Traffic) -> BTreeMap<String, u8> {
    traffic.shares().map(|(name, share)| (name.to_string(), share)).collect()
}

fn shown_mirror(mirror: Option<&Mirror>) -> BTreeMap<String, u8> {
    mirror.iter().map(|mirror| (mirror.deployment.to_string(), mirror.percent)).collect()
}

pub(super) fn mode(mode: AuthMode) -> &'static str {
    word(&MODES, &mode)
}

fn access(open: bool) -> &'static str {
    if open { "Enabled" } else { "Disabled" }
}

/// The body of a PUT that makes an endpoint as described.
pub fn body(spec: &EndpointSpec, location: &str) -> Value {
    let mut properties = spec.properties.clone();
    extension::put(&mut properties, spec, true);
    json!({
        "location": location,
        "tags": spec.tags,
        "identity": identity(spec),
        "properties": {
            "authMode": mode(spec.auth_mode),
            "description": spec.description,
            "traffic": shown_shares(&spec.traffic),
            "mirrorTraffic": shown_mirror(spec.mirror.as_ref()),
            "publicNetworkAccess": access(spec.public_network_access),
            "properties": properties,
        },
    })
}

fn identity(spec: &EndpointSpec) -> Value {
    spec.identity.clone().unwrap_or_else(|| json!({"type": "SystemAssigned"}))
}

/// An online endpoint as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    #[serde(flatten)]
    resource: Tracked,
    identity: Value,
    properties: EndpointProperties,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EndpointProperties {
    auth_mode: String,
    description: String,
    /// Always null; read them by `listKeys`.
    keys: Option<Map<String, Value>>,
    traffic: BTreeMap<String, u8>,
    mirror_traffic: BTreeMap<String, u8>,
    public_network_access: String,
    scoring_uri: String,
    swagger_uri: String,
    provisioning_state: String,
    properties: BTreeMap<String, String>,
}

/// The type of online endpoints.
pub const TYPE: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints";

/// An endpoint as ARM shows it. `data_url` is what clients call the data plane by; `operation` is where the status
/// of the operation can be asked that made the endpoint so, for scripts that look for it in the body.
pub fn view(
    spec: &EndpointSpec,
    about: About<'_>,
    data_url: &str,
    operation: Option<String>,
) -> EndpointView {
    let base = format!("{data_url}/endpoints/{}", spec.name);
    let mut properties = spec.properties.clone();
    extension::put(&mut properties, spec, false);
    properties.insert("azureml.onlineendpointid".to_owned(), about.id.key().to_owned());
    properties.extend(operation.map(|uri| ("AzureAsyncOperationUri".to_owned(), uri)));
    EndpointView {
        resource: about.tracked(TYPE, &spec.name, &spec.tags),
        identity: identity(spec),
        properties: EndpointProperties {
            auth_mode: mode(spec.auth_mode).to_owned(),
            description: spec.description.clone(),
            keys: None,
            traffic: shown_shares(&spec.traffic),
            mirror_traffic: shown_mirror(spec.mirror.as_ref()),
            public_network_access: access(spec.public_network_access).to_owned(),
            scoring_uri: format!("{base}/score"),
            swagger_uri: format!("{base}/swagger.json"),
            provisioning_state: "Succeeded".to_owned(),
            properties,
        },
    }
}

/// What a PATCH may change: tags and identity, each as a whole.
pub fn patch(form: &Form<'_>, before: &EndpointSpec) -> EndpointSpec {
    let mut spec = before.clone();
    retag(form, &mut spec.tags);
    if let Some(identity) = given_identity(form) {
        spec.identity = Some(identity);
    }
    no_properties(form, "send the whole endpoint by PUT");
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::testing::{read_body, workspace};

    #[test]
    fn a_patch_changes_labels_and_identity_and_takes_no_other_identity_than_a_put() {
        let put = json!({"tags": {"a": "1"}, "properties": {"authMode": "Key", "description": "d"}});
        let (before, _) =
            read_body(&put, |form| read(form, &"heart".parse().unwrap(), &workspace(), None)).unwrap();
        let patched = |body: &Value| read_body(body, |form| Some(patch(form, &before)));
        assert_eq!(patched(&json!({})).as_ref(), Ok(&before));
        let after = patched(&json!({"tags": {"b": "2"}, "identity": {"type": "None"}})).unwrap();
        assert_eq!(after.tags, BTreeMap::from([("b".to_owned(), "2".to_owned())]));
        assert_eq!(after.identity, Some(json!({"type": "None"})));
        assert_eq!(after.description, before.description);
        assert!(patched(&json!({"identity": "SystemAssigned"})).unwrap_err().contains("is not an object"));
        let refused = patched(&json!({"properties": {"description": "e"}})).unwrap_err();
        assert!(refused.contains("cannot be changed by PATCH"), "{refused}");
    }
}
