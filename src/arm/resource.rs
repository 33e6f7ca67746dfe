//! What all ARM resources have around their properties.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::Form;
use crate::model::audit::{Actor, System};
use crate::model::scope::Scope;

/// Where a view is asked for, and what the store knows besides the noun.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The resource's id as the caller wrote it.
    pub id: &'a Scope,
    /// Its workspace's region.
    pub location: &'a str,
    /// Who made and changed it.
    pub system: &'a System,
}

/// Who made a resource and who changed it last, as ARM shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemData {
    created_by: String,
    created_by_type: String,
    created_at: String,
    last_modified_by: String,
    last_modified_by_type: String,
    last_modified_at: String,
}

impl SystemData {
    /// The view of what the store keeps.
    pub fn of(system: &System) -> SystemData {
        let name = |actor: &Actor| {
            actor.object_id.map_or_else(|| actor.kind.clone(), |principal| principal.to_string())
        };
        let kind = |actor: &Actor| if actor.kind == "User" { "User" } else { "Application" }.to_owned();
        SystemData {
            created_by: name(&system.created_by),
            created_by_type: kind(&system.created_by),
            created_at: system.created_at.clone(),
            last_modified_by: name(&system.modified_by),
            last_modified_by_type: kind(&system.modified_by),
            last_modified_at: system.modified_at.clone(),
        }
    }
}

/// What ARM shows of everything that has a region, around what is its own.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tracked {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind_of: String,
    location: String,
    tags: BTreeMap<String, String>,
    kind: String,
    system_data: SystemData,
}

impl About<'_> {
    /// What is shown of an endpoint or a deployment of this type, name and labels.
    pub(super) fn tracked(
        &self,
        kind_of: &str,
        name: &impl ToString,
        tags: &BTreeMap<String, String>,
    ) -> Tracked {
        Tracked {
            id: self.id.to_string(),
            name: name.to_string(),
            kind_of: kind_of.to_owned(),
            location: self.location.to_owned(),
            tags: tags.clone(),
            kind: "Managed".to_owned(),
            system_data: SystemData::of(self.system),
        }
    }
}

/// The size of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sku {
    /// Always `Default`.
    pub name: String,
    /// How many instances.
    pub capacity: u32,
}

/// A resource's own name, and whatever of `id` and `name` a body says must agree with its path.
pub fn agrees(form: &Form<'_>, id: &Scope) {
    let name = id.key().rsplit('/').next().unwrap_or_default();
    if let Some(given) = form.value::<String>("name", "The resource's name; that of the path.").optional()
        && !given.eq_ignore_ascii_case(name)
    {
        form.wrong("name", format!("`{given}` is not the name in the path"), None);
    }
    if let Some(given) = form.value::<String>("id", "The resource's id; that of the path.").optional()
        && given.trim_end_matches('/').to_ascii_lowercase() != id.key()
    {
        form.wrong("id", "is not the id in the path", None);
    }
}

/// The most labels, and the longest name and value (Azure: "Use tags to organize your Azure resources").
const TAGS: (usize, usize, usize) = (50, 512, 256);
/// The most entries of a property bag, and the longest name and value.
const BAG: (usize, usize, usize) = (100, 256, 32 * 1024);

fn bounded(
    form: &Form<'_>,
    key: &str,
    entries: &BTreeMap<String, String>,
    (count, name, value): (usize, usize, usize),
) {
    if entries.len() > count {
        form.wrong(key, format!("has {} entries; at most {count} are kept", entries.len()), None);
    }
    if let Some((long, _)) = entries.iter().find(|(k, v)| k.len() > name || v.len() > value) {
        let shown: String = long.chars().take(64).collect();
        form.wrong(key, format!("`{shown}` is longer than {name} bytes, or its value than {value}"), None);
    }
}

/// The labels of a body.
pub fn tags(form: &Form<'_>) -> BTreeMap<String, String> {
    let tags = form.pairs("tags", "The user's labels.").into_iter().collect();
    bounded(form, "tags", &tags, TAGS);
    tags
}

/// The labels of a PATCH, which replace those there are (ARM merges nothing inside a map of tags).
pub(super) fn retag(form: &Form<'_>, before: &mut BTreeMap<String, String>) {
    if form.has("tags") {
        *before = tags(form);
    }
}

/// Refuses the properties of a PATCH that changes none; `hint` is what to do instead.
pub(super) fn no_properties(form: &Form<'_>, hint: &str) {
    if form.carried("properties").is_some() {
        form.wrong("properties", "cannot be changed by PATCH", Some(hint));
    }
}

/// The word for a value, of those that it is read by.
pub fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

/// Entries that clients send back although the server wrote them.
const SERVERS_OWN: &[&str] =
    &["azureml.onlineendpointid", "AzureAsyncOperationUri", "createdBy", "createdAt", "lastModifiedAt"];

/// The property bag of a body on top of the one there was: entries are added and changed, never lost by not being sent.
pub fn bag(form: &Form<'_>, before: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut bag = before.cloned().unwrap_or_default();
    bag.extend(form.pairs::<String>("properties", "The user's property bag; entries are strings."));
    bag.retain(|key, _| !SERVERS_OWN.iter().any(|own| own.eq_ignore_ascii_case(key)));
    bounded(form, "properties", &bag, BAG);
    bag
}
