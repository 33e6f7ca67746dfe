//! The Azure clients for Python, unmodified, against a gateway with everything around it.
//!
//! `tests/sdk/journey.py` installs them, starts the gateway and makes the checks; see its README.

use std::process::{Command, Stdio};

#[test]
fn unmodified_azure_clients_work() {
    let journey = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/journey.py"))
        .arg(env!("CARGO_BIN_EXE_scoregate"))
        .stdin(Stdio::null())
        .output()
        .expect("python3 starts");
    assert!(
        journey.status.success(),
        "{}\n{}\njourney.py: {}",
        String::from_utf8_lossy(&journey.stdout),
        String::from_utf8_lossy(&journey.stderr),
        journey.status
    );
}
