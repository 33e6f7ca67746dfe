//! What the fuzzer found interesting, and what it found wrong, once more: every file of `fuzz/corpus/`.

use std::panic::AssertUnwindSafe;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod properties;

/// Every file of a target's corpus, with its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect()
}

#[test]
fn every_input_of_the_corpora_keeps_its_property() {
    let mut broken = Vec::new();
    for (target, check) in properties::TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 5, "{target} has a corpus of {}", files.len());
        for (name, bytes) in files {
            // What it says is on the way to standard error already.
            if std::panic::catch_unwind(AssertUnwindSafe(|| check(&bytes))).is_err() {
                broken.push(name);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
