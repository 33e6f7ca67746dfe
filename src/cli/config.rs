//! `scoregate config`.

use std::path::Path;
use std::process::ExitCode;

use super::{USAGE, complain, say};
use crate::resources::Directory;
use crate::settings::Settings;

pub(super) fn check(file: &Path) -> ExitCode {
    let settings = match Settings::of_process(file) {
        Ok(settings) => settings,
        Err(mistakes) => {
            complain(&mistakes.to_string());
            return ExitCode::from(USAGE);
        }
    };
    if let Some(path) = &settings.resources {
        match Directory::new(path.clone(), settings.workspaces.clone()).read() {
            Ok(documents) => {
                say(&format!("{}: {} resources are well-formed", path.display(), documents.len()));
            }
            Err(mistakes) => {
                complain(&mistakes.to_string());
                return ExitCode::from(USAGE);
            }
        }
    }
    say(&format!("{}: ok", file.display()));
    ExitCode::SUCCESS
}

pub(super) fn schema() -> ExitCode {
    say(&format!("{:#}", Settings::schema()));
    ExitCode::SUCCESS
}
