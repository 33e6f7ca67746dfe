//! Data stores. Azure's own kind has Azure's fields. The others stand in the property bag (`scoregate.place`) and show
//! themselves as Azure's kind with `scoregate.{kind}` for an account, because `MLClient` falls over at a kind that it does
//! not know, and with it every list.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::extension::place::{self, AZURES};
use super::resource::{SystemData, bag, tags};
use crate::forms::Form;
use crate::model::audit::System;
use crate::model::datastore::{Credential, DEFAULT_STORE, Datastore, DatastoreName, Place};
use crate::model::scope::{Scope, WorkspaceRef};

/// The type of data stores.
pub const TYPE: &str = "Microsoft.MachineLearningServices/workspaces/datastores";

/// What the account of a store begins with that is none of Azure's.
const NOT_AZURES: &str = "scoregate.";

/// What a body says of the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// There is none.
    Nothing,
    /// It is the one that is kept, of this kind if the body says which. Nobody is shown it, so it cannot be sent back.
    Kept(Option<&'static str>),
    /// This one.
    New(Credential),
}

/// A store as a body describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The store without its credential.
    pub store: Datastore,
    /// Its credential.
    pub credential: Given,
}

/// ARM's word for a kind of credential; for S3 our own.
pub fn credentials_type(credential: &Credential) -> &'static str {
    match credential {
        Credential::AccountKey(_) => "AccountKey",
        Credential::Sas(_) => "Sas",
        Credential::AccessKey { .. } => "AccessKey",
    }
}

/// Why a credential cannot open a place, if it cannot.
pub fn misfit(place: &Place, credential: &Credential) -> Option<String> {
    let fits = matches!(
        (place, credential),
        (Place::Blob { .. }, Credential::AccountKey(_) | Credential::Sas(_))
            | (Place::S3 { .. }, Credential::AccessKey { .. })
    );
    let kind = place.kind();
    (!fits).then(|| format!("a store of kind {kind} is not opened by {}", credentials_type(credential)))
}

/// Why a text is no account key, if it is none. Says nothing of the text.
pub fn no_account_key(key: &str) -> Option<&'static str> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(key);
    bytes.map_or(true, |bytes| bytes.is_empty()).then_some("is no account key: one is base64")
}

/// A shared access signature without the `?` before it, if there is one.
pub fn signature(text: &str) -> Option<String> {
    Some(text.trim_start_matches('?').to_owned()).filter(|text| !text.is_empty())
}

/// Reads the body of a PUT.
pub fn read(
    form: &Form<'_>,
    name: &DatastoreName,
    workspace: &WorkspaceRef,
    before: Option<&Datastore>,
) -> Option<Described> {
    form.section("properties", "", |f| {
        f.one_of("datastoreType", "AzureBlob, of the other kinds too.", &[("AzureBlob", ())])
            .required("AzureBlob");
        let mut properties = bag(f, before.map(|before| &before.properties));
        let stated = properties.contains_key("scoregate.place");
        let own = place::take(f, &mut properties);
        let account = f.value::<String>("accountName", "The storage account.").or_else(String::new);
        let container = f.value::<String>("containerName", "The container.").or_else(String::new);
        let doc = "Suffix of the cloud, such as core.windows.net, or the service's whole address.";
        let endpoint = f.value::<String>("endpoint", doc).or_else(|| AZURES.to_owned());
        let protocol = f.value::<String>("protocol", "https or http.").or_else(|| "https".to_owned());
        let known = before.filter(|before| account == shown_account(&before.place));
        let place = if stated {
            own
        } else if account.starts_with(NOT_AZURES) {
            if known.is_none() {
                let hint = "the property `scoregate.place` says where it is";
                f.wrong(
                    "accountName",
                    format!("`{account}` stands for a store that is not there"),
                    Some(hint),
                );
            }
            known.map(|known| known.place.clone())
        } else {
            let words = ["accountName", "containerName", "endpoint", "protocol"];
            place::blob(f, words, [&account, &container, &endpoint, &protocol])
        };
        // Who does not know what kind it is does not know its credential either.
        let unaware = !stated && account.starts_with(NOT_AZURES);
        let credential = f.section("credentials", "What opens it.", |c| credential(c, unaware));
        let place = place?;
        let moved = before.is_some_and(|before| before.place != place);
        match &credential {
            // A store must not be led elsewhere by somebody who does not know what opens it.
            Given::Kept(Some(_)) if moved => {
                f.wrong("credentials", "the store is elsewhere than before; give its secrets again", None);
            }
            Given::New(credential) => {
                if let Some(why) = misfit(&place, credential) {
                    f.wrong("credentials", why, None);
                }
            }
            Given::Kept(_) | Given::Nothing => {}
        }
        let store = Datastore {
            name: name.clone(),
            workspace: workspace.clone(),
            place,
            credential: None,
            description: f.value("description", "What it is for.").or_else(String::new),
            tags: tags(f),
            properties,
        };
        Some(Described { store, credential })
    })
}

fn credential(form: &Form<'_>, unaware: bool) -> Given {
    const KINDS: [(&str, &str); 4] =
        [("None", "None"), ("AccountKey", "AccountKey"), ("Sas", "Sas"), ("AccessKey", "AccessKey")];
    let kind = form.one_of("credentialsType", "None, AccountKey, Sas; AccessKey of S3.", &KINDS).or("None");
    let (key, sas, id, secret) = form.section("secrets", "Never shown again but by listSecrets.", |s| {
        s.carried("secretsType");
        let text = |name, doc| s.value::<String>(name, doc).optional().filter(|text| !text.is_empty());
        (
            text("key", "The account key, base64."),
            text("sasToken", "A shared access signature."),
            text("accessKeyId", "Of S3."),
            text("secretAccessKey", "Of S3."),
        )
    });
    match (kind, key, sas, (id, secret)) {
        ("None", None, None, (None, None)) if unaware => Given::Kept(None),
        ("None", None, None, (None, None)) => Given::Nothing,
        ("AccountKey", Some(key), None, (None, None)) => {
            if let Some(why) = no_account_key(&key) {
                form.wrong("secrets", why, None);
            }
            Given::New(Credential::AccountKey(key))
        }
        ("Sas", None, Some(sas), (None, None)) => {
            let signature = signature(&sas);
            if signature.is_none() {
                form.wrong("secrets", "hold a `?` and no signature", None);
            }
            signature.map_or(Given::Nothing, |signature| Given::New(Credential::Sas(signature)))
        }
        ("AccessKey", None, None, (Some(id), Some(secret))) => {
            Given::New(Credential::AccessKey { id, secret })
        }
        (kind, None, None, (None, None)) => Given::Kept(Some(kind)),
        _ => {
            let hint = "AccountKey has `key`, Sas `sasToken`, AccessKey `accessKeyId` and `secretAccessKey`";
            form.wrong("secrets", "are not those of the kind of credential", Some(hint));
            Given::Nothing
        }
    }
}

/// Azure's fields as they show a place: account and container, endpoint and protocol.
fn shown(place: &Place) -> [String; 4] {
    let azures = || (AZURES.to_owned(), "https".to_owned());
    let (container, (endpoint, protocol)) = match place {
        Place::Blob { service, account, container } => {
            (container.clone(), place::written_blob(service, account))
        }
        Place::S3 { bucket, .. } => (bucket.clone(), azures()),
        Place::Directory { .. } | Place::Https { .. } => (String::new(), azures()),
    };
    [shown_account(place), container, endpoint, protocol]
}

fn shown_account(place: &Place) -> String {
    match place {
        Place::Blob { account, .. } => account.clone(),
        other => format!("{NOT_AZURES}{}", other.kind()),
    }
}

/// The body of a PUT that makes a store as described.
pub fn body(store: &Datastore, credential: &Given) -> Value {
    let (kind, secrets) = match credential {
        Given::Nothing => ("None", None),
        Given::Kept(kind) => (kind.unwrap_or("None"), None),
        Given::New(credential) => (credentials_type(credential), Some(SecretsView::of(credential))),
    };
    let mut properties = json!(properties(store, CredentialsView { credentials_type: kind.to_owned() }));
    if let (Some(Value::Object(fields)), Some(secrets)) = (properties.get_mut("credentials"), secrets) {
        fields.insert("secrets".to_owned(), json!(secrets));
    }
    json!({ "properties": properties })
}

/// A data store as ARM shows it. Its secrets are never here.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatastoreView {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind_of: String,
    properties: DatastoreProperties,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_data: Option<SystemData>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DatastoreProperties {
    datastore_type: String,
    account_name: String,
    container_name: String,
    endpoint: String,
    protocol: String,
    credentials: CredentialsView,
    description: String,
    tags: BTreeMap<String, String>,
    properties: BTreeMap<String, String>,
    is_default: bool,
    service_data_access_auth_identity: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CredentialsView {
    credentials_type: String,
}

fn properties(store: &Datastore, credentials: CredentialsView) -> DatastoreProperties {
    let [account_name, container_name, endpoint, protocol] = shown(&store.place);
    let mut properties = store.properties.clone();
    if !matches!(store.place, Place::Blob { .. }) {
        place::put(&mut properties, &store.place);
    }
    DatastoreProperties {
        datastore_type: "AzureBlob".to_owned(),
        account_name,
        container_name,
        endpoint,
        protocol,
        credentials,
        description: store.description.clone(),
        tags: store.tags.clone(),
        properties,
        is_default: store.name.to_string() == DEFAULT_STORE,
        service_data_access_auth_identity: "None".to_owned(),
    }
}

/// A store as ARM shows it, with the kind of its credential. One that a workspace has by itself has nobody who made it.
pub fn view(store: &Datastore, id: &Scope, kind: Option<&str>, system: Option<&System>) -> DatastoreView {
    let credentials = CredentialsView { credentials_type: kind.unwrap_or("None").to_owned() };
    DatastoreView {
        id: id.to_string(),
        name: store.name.to_string(),
        kind_of: TYPE.to_owned(),
        properties: properties(store, credentials),
        system_data: system.map(SystemData::of),
    }
}

/// What opens a store, as `listSecrets` shows it.
#[derive(Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretsView {
    secrets_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sas_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<String>,
}

impl fmt::Debug for SecretsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretsView(…)")
    }
}

impl SecretsView {
    /// The secrets of a credential.
    pub fn of(credential: &Credential) -> SecretsView {
        let empty =
            SecretsView { secrets_type: credentials_type(credential).to_owned(), ..SecretsView::default() };
        match credential.clone() {
            Credential::AccountKey(key) => SecretsView { key: Some(key), ..empty },
            Credential::Sas(sas) => SecretsView { sas_token: Some(sas), ..empty },
            Credential::AccessKey { id, secret } => {
                SecretsView { access_key_id: Some(id), secret_access_key: Some(secret), ..empty }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::testing::{read_body, workspace};

    fn read_over(body: &Value, before: Option<&Datastore>) -> Result<Described, String> {
        read_body(body, |form| read(form, &"heart".parse().unwrap(), &workspace(), before))
    }

    fn blob(credentials: &Value) -> Value {
        json!({"properties": {"datastoreType": "AzureBlob", "accountName": "heart", "containerName": "data",
            "credentials": credentials}})
    }

    fn other(place: &Value, credentials: &Value) -> Value {
        json!({"properties": {"datastoreType": "AzureBlob", "credentials": credentials, "tags": {"a": "b"},
            "properties": {"scoregate.place": place.to_string(), "mine": "1"}}})
    }

    #[test]
    fn azures_own_kind_has_azures_shape() {
        let key = json!({"credentialsType": "accountKey", "secrets": {"secretsType": "AccountKey", "key": "c2VjcmV0"}});
        let found = read_over(&blob(&key), None).unwrap();
        let service = "https://heart.blob.core.windows.net".to_owned();
        assert_eq!(
            found.store.place,
            Place::Blob { service, account: "heart".into(), container: "data".into() }
        );
        assert_eq!(found.credential, Given::New(Credential::AccountKey("c2VjcmV0".into())));
        assert_eq!(read_over(&body(&found.store, &found.credential), None).as_ref(), Ok(&found));
        let id = found.store.scope().unwrap();
        let shown = json!(view(&found.store, &id, Some("AccountKey"), None));
        assert_eq!(shown["properties"]["credentials"], json!({"credentialsType": "AccountKey"}));
        assert!(!shown.to_string().contains("c2VjcmV0") && !format!("{found:?}").contains("c2VjcmV0"));
        let sas = json!({"credentialsType": "Sas", "secrets": {"sasToken": "?sv=1&sig=x"}});
        let found = read_over(&blob(&sas), None).unwrap();
        assert_eq!(found.credential, Given::New(Credential::Sas("sv=1&sig=x".into())));
        assert_eq!(read_over(&blob(&json!(null)), None).unwrap().credential, Given::Nothing);
    }

    #[test]
    fn other_kinds_stand_in_the_property_bag_and_survive_clients_that_do_not_know_them() {
        let keys =
            json!({"credentialsType": "AccessKey", "secrets": {"accessKeyId": "id", "secretAccessKey": "x"}});
        let place = json!({"kind": "s3", "region": "eu-central-1", "bucket": "heart"});
        let found = read_over(&other(&place, &keys), None).unwrap();
        assert_eq!(found.store.place.kind(), "s3");
        assert_eq!(found.store.properties.keys().collect::<Vec<_>>(), ["mine"]);
        assert_eq!(read_over(&body(&found.store, &found.credential), None).as_ref(), Ok(&found));
        // As MLClient does: it reads what it knows, and sends that back.
        let shown = json!(view(&found.store, &found.store.scope().unwrap(), Some("AccessKey"), None));
        let known = &shown["properties"];
        let back = json!({"properties": {"datastoreType": known["datastoreType"], "accountName": known["accountName"],
            "containerName": known["containerName"], "endpoint": known["endpoint"], "protocol": known["protocol"],
            "credentials": {"credentialsType": "None"}, "description": "new"}});
        let kept = read_over(&back, Some(&found.store)).unwrap();
        assert_eq!((&kept.store.place, kept.credential), (&found.store.place, Given::Kept(None)));
        assert!(read_over(&back, None).unwrap_err().contains("is not there"));
        for place in [
            json!({"kind": "local_directory", "path": "/srv/data"}),
            json!({"kind": "https", "base": "https://data.example.com/heart"}),
        ] {
            let found = read_over(&other(&place, &json!(null)), None).unwrap();
            assert_eq!(read_over(&body(&found.store, &found.credential), None).as_ref(), Ok(&found));
            assert!(
                read_over(&other(&place, &keys), None).unwrap_err().contains("is not opened by AccessKey")
            );
        }
    }

    #[test]
    fn a_kept_credential_stays_with_its_place() {
        let kept =
            json!({"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": null}});
        let before = read_over(&blob(&json!(null)), None).unwrap().store;
        let same = read_over(&blob(&kept), Some(&before)).unwrap();
        assert_eq!(same.credential, Given::Kept(Some("AccountKey")));
        let mut elsewhere = blob(&kept);
        elsewhere["properties"]["endpoint"] = json!("storage.example");
        assert!(read_over(&elsewhere, Some(&before)).unwrap_err().contains("give its secrets again"));
    }

    #[test]
    fn what_opens_nothing_is_refused_without_being_repeated() {
        for (credentials, told) in [
            (json!({"credentialsType": "AccountKey", "secrets": {"key": "s3cr3t!"}}), "base64"),
            (json!({"credentialsType": "AccountKey", "secrets": {"sasToken": "s3cr3t!"}}), "are not those"),
            (json!({"credentialsType": "Sas", "secrets": {"sasToken": "?"}}), "no signature"),
            (json!({"credentialsType": "Sas", "secrets": {"key": "s3cr3t!"}}), "are not those"),
            (json!({"credentialsType": "None", "secrets": {"key": "s3cr3t!"}}), "are not those"),
            (json!({"credentialsType": "ServicePrincipal"}), "not one of"),
            (
                json!({"credentialsType": "AccessKey", "secrets": {"accessKeyId": "s3cr3t!", "secretAccessKey": "s3cr3t!"}}),
                "is not opened by",
            ),
        ] {
            let refused = read_over(&blob(&credentials), None).unwrap_err();
            assert!(refused.contains(told) && !refused.contains("s3cr3t!"), "{refused}");
        }
    }
}
