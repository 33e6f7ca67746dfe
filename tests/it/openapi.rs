//! The control plane against its own OpenAPI document, by a fuzzer that we did not write.
//!
//! `tests/openapi/run.py` installs the fuzzer and starts the gateway; see its README.

use std::process::{Command, Stdio};

#[test]
fn answers_are_what_the_openapi_document_says() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/run.py");
    let output = Command::new("python3")
        .arg(script)
        .env("SCOREGATE_BIN", env!("CARGO_BIN_EXE_scoregate"))
        .stdin(Stdio::null())
        .output()
        .expect("python3 starts");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
