//! `scoregate exec-instance`: what the gateway starts its local instances by, so that they end with it.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Args;

use super::complain;
use crate::instances::become_program;

/// What shells answer of a program that is not there, and of one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

#[derive(Debug, Args)]
pub(super) struct ExecInstance {
    /// The gateway's process id
    #[arg(long)]
    parent: u32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

impl ExecInstance {
    pub(super) fn run(&self) -> ExitCode {
        let error = become_program(self.parent, &self.program);
        let name = self.program.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        // This goes where the program's own words would have gone.
        complain(&format!("scoregate: `{name}` cannot be run: {error}"));
        ExitCode::from(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
    }
}
