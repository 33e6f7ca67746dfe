//! A data store's document. Its secrets stand in the document or in files of their own.

use std::path::{Path, PathBuf};

use super::document::{SHOWN_ONLY, notes, workspace};
use crate::arm::datastore::{misfit, no_account_key, signature};
use crate::arm::extension::place;
use crate::forms::Form;
use crate::identity::secret_file;
use crate::model::datastore::{Credential, Datastore, DatastoreName};
use crate::model::workspace::Workspace;

/// A store as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatastoreDocument {
    /// The store without its credential.
    pub store: Datastore,
    /// What opens it.
    pub credential: Option<Credential>,
}

pub(super) fn read(form: &Form<'_>, base: &Path, workspaces: &[Workspace]) -> Option<DatastoreDocument> {
    for key in SHOWN_ONLY {
        form.carried(key);
    }
    let name = form.value::<DatastoreName>("name", "").required("a data store needs a name");
    let place = place::read(form, "type", base);
    let credential = form.optional_section("credentials", "", |f| credential(f, base)).flatten();
    if let (Some(place), Some(credential)) = (&place, &credential)
        && let Some(why) = misfit(place, credential)
    {
        form.wrong("credentials", why, None);
    }
    let workspace = workspace(form, workspaces);
    let (description, tags, properties) = notes(form);
    let (name, workspace, place) = (name?, workspace?, place?);
    let store = Datastore { name, workspace, place, credential: None, description, tags, properties };
    Some(DatastoreDocument { store, credential })
}

fn credential(form: &Form<'_>, base: &Path) -> Option<Credential> {
    let key = secret(form, base, "account_key", "account_key_file");
    let sas = secret(form, base, "sas_token", "sas_token_file").and_then(|sas| signature(&sas));
    let id = form.value::<String>("access_key_id", "").optional();
    let access = secret(form, base, "secret_access_key", "secret_access_key_file");
    match (key, sas, id, access) {
        (Some(key), None, None, None) => {
            if let Some(why) = no_account_key(&key) {
                form.wrong("account_key", why, None);
            }
            Some(Credential::AccountKey(key))
        }
        (None, Some(sas), None, None) => Some(Credential::Sas(sas)),
        (None, None, Some(id), Some(secret)) => Some(Credential::AccessKey { id, secret }),
        _ => {
            let hint = "account_key, sas_token, or access_key_id with secret_access_key; each but the id may stand in a file: account_key_file";
            form.wrong("", "do not hold one credential", Some(hint));
            None
        }
    }
}

/// A secret as it is written, or the content of the file that is named.
fn secret(form: &Form<'_>, base: &Path, key: &'static str, in_file: &'static str) -> Option<String> {
    let written = form.value::<String>(key, "").optional();
    let file = form.value::<PathBuf>(in_file, "").optional().map(|file| base.join(file));
    match (written, file) {
        (Some(_), Some(_)) => {
            form.wrong(in_file, format!("`{key}` is there as well"), Some("keep one of them"));
            None
        }
        (written, None) => written,
        (None, Some(file)) => match secret_file::read(&file) {
            Ok(text) => Some(text.to_string()),
            Err(why) => {
                form.wrong(in_file, format!("{} {why}", file.display()), None);
                None
            }
        },
    }
}
