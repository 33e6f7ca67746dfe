//! Batch endpoints end to end: a real model, real stores, Azure's own client, every kind of caller.
//!
//! `tests/batch/walk.py` installs what it needs, starts it and makes the checks; see its README.

use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn a_hundred_files_are_scored_as_scikit_learn_scores_them_whoever_asks_and_wherever_they_are() {
    let mut walk = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/batch/walk.py"))
        .arg(env!("CARGO_BIN_EXE_scoregate"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    // It ends with this, whatever becomes of this.
    let held = walk.stdin.take();
    let mut told = String::new();
    walk.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    let status = walk.wait().unwrap();
    drop(held);
    assert!(status.success(), "{told}\nwalk.py: {status}");
}
