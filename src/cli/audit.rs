//! `scoregate audit`: the trail of everything that was done, read from the store itself.

use std::path::Path;
use std::process::ExitCode;

use super::{USAGE, complain, failed, say};
use crate::app::{open_store, open_vault};
use crate::settings::Settings;
use crate::store::chain::{Broken, Chain, Whole};

/// Checks that every record is there and unchanged, and that the trail goes on from a head that was noted before.
pub(super) fn verify(config: &Path, since: Option<&str>) -> ExitCode {
    let mut known = since.is_none();
    let result = read(config, |hash, _| known |= Some(hash) == since);
    match result {
        Ok(Ok(whole)) if !known => {
            complain(&format!("scoregate: no record has the hash {}", since.unwrap_or_default()));
            complain(&format!(
                "the trail of {} records is whole in itself, but it is another one",
                whole.records
            ));
            ExitCode::FAILURE
        }
        Ok(Ok(whole)) => {
            say(&format!("{} records, none missing, none changed; head {}", whole.records, whole.head));
            ExitCode::SUCCESS
        }
        Ok(Err(broken)) => {
            complain(&format!("scoregate: the audit trail is broken: {broken}"));
            ExitCode::FAILURE
        }
        Err(code) => code,
    }
}

/// Prints the records as JSON lines.
pub(super) fn show(config: &Path) -> ExitCode {
    match read(config, |_, record| say(record)) {
        Ok(Ok(_)) => ExitCode::SUCCESS,
        Ok(Err(broken)) => {
            complain(&format!("scoregate: the audit trail is broken: {broken}"));
            ExitCode::FAILURE
        }
        Err(code) => code,
    }
}

/// Reads the trail of the store that a configuration names; `each` sees the hash and the text of every sound record.
fn read(config: &Path, mut each: impl FnMut(&str, &str)) -> Result<Result<Whole, Broken>, ExitCode> {
    let settings = Settings::of_process(config).map_err(|mistakes| {
        complain(&mistakes.to_string());
        ExitCode::from(USAGE)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error.into()))?;
    runtime.block_on(async {
        let vault = open_vault(&settings).map_err(|error| failed(&error))?;
        let store = open_store(&settings, &vault).await.map_err(|error| failed(&error))?;
        Ok(Chain::new(vault.audit_key()).verify(&*store, |hash, text| each(hash, text)).await)
    })
}
