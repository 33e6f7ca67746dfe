//! Changes of data stores.

use serde_json::{Value, json};

use super::change::{Change, called};
use super::plan::{Planner, compared, keep_bag};
use crate::arm;
use crate::arm::datastore::{Given, credentials_type};
use crate::cli::shape::Noun;
use crate::resources::{DatastoreDocument, DocumentKind};

impl Planner<'_> {
    /// A store's credential cannot be compared, because nobody is shown it; only its kind can.
    pub fn datastore(&mut self, source: &str, mut wanted: DatastoreDocument) -> Result<(), String> {
        let id = wanted.id().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let before = self.current.datastores.get(id.key());
        keep_bag(&mut wanted, before);
        let kept = before.and_then(|(_, view)| kind_of_credential(view));
        let given = match (wanted.credential.take(), kept) {
            (Some(credential), _) => Given::New(credential),
            (None, Some(kept)) => Given::Kept(Some(kept)),
            (None, None) => Given::Nothing,
        };
        let shall = match &given {
            Given::New(credential) => Some(credentials_type(credential)),
            Given::Kept(kind) => *kind,
            Given::Nothing => None,
        };
        let with_kind = |mut document: Value, kind: Option<&str>| {
            if let Value::Object(fields) = &mut document {
                fields.insert("credentials".to_owned(), json!(kind));
            }
            document
        };
        let old = before.map_or(Value::Null, |(before, _)| with_kind(compared(before.written()), kept));
        let new = with_kind(compared(wanted.written()), shall);
        self.changes.push(Change {
            body: Some(arm::datastore::body(&wanted.store, &given)),
            before: before.map(|(_, view)| view.clone()),
            ..Change::between(DocumentKind::Datastore, called(&id), id, source, &old, &new)
        });
        Ok(())
    }
}

/// ARM's word for the kind of credential that a view shows; none if there is none.
fn kind_of_credential(view: &Value) -> Option<&'static str> {
    let shown = view.pointer("/properties/credentials/credentialsType")?.as_str()?;
    ["AccountKey", "Sas", "AccessKey"].into_iter().find(|kind| *kind == shown)
}
