//! scoregate: arguments to command to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    scoregate::cli::main()
}
