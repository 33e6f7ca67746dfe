//! Versions of models and environments, kept to be referred to.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::resource::SystemData;
use crate::forms::Form;
use crate::model::asset::{Asset, AssetKind};
use crate::model::audit::System;
use crate::model::scope::Scope;

/// The longest properties, in bytes of JSON.
const MAX_BYTES: usize = 64 * 1024;

/// Reads the body of a PUT: its properties are kept as they are.
pub fn read(form: &Form<'_>, id: &Scope, kind: AssetKind) -> Option<Asset> {
    form.needs("properties");
    let Some(Value::Object(properties)) = form.carried("properties") else {
        form.wrong("properties", "is missing or not an object", None);
        return None;
    };
    if json!(properties).to_string().len() > MAX_BYTES {
        form.wrong("properties", format!("is longer than {MAX_BYTES} bytes"), None);
    }
    Some(Asset { id: id.clone(), kind, properties })
}

/// A version of a model or an environment as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetView {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind_of: String,
    properties: Map<String, Value>,
    system_data: SystemData,
}

/// An asset as ARM shows it, with the members without which clients fall over.
pub fn view(asset: &Asset, id: &Scope, system: &System) -> AssetView {
    let mut properties = asset.properties.clone();
    let empty = || json!({});
    for key in ["properties", "tags"] {
        properties.entry(key).or_insert_with(empty);
    }
    if asset.kind == AssetKind::Model {
        properties.entry("flavors").or_insert_with(empty);
    }
    properties.insert("provisioningState".to_owned(), json!("Succeeded"));
    AssetView {
        id: id.to_string(),
        name: id.to_string().rsplit('/').next().unwrap_or_default().to_owned(),
        kind_of: format!("{}/workspaces/{}/versions", super::PROVIDER, asset.kind.collection()),
        properties,
        system_data: SystemData::of(system),
    }
}
