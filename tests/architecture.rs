//! The house rules that the compiler does not hold: who may use whom, what is pure, how large a file may be.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules by rank; each uses lower ranks only.
const RANKS: &[&[&str]] = &[
    &["model", "clock"],
    &["rbac", "forms"],
    &["settings"],
    &["identity", "store"],
    &["telemetry", "arm"],
    &["mirror"],
    &["net", "upstream", "resources", "artifacts"],
    &["routing"],
    &["gate", "publish", "instances"],
    &["proxy", "operations"],
    &["batch"],
    &["control"],
    &["app"],
    &["dev"],
    &["cli"],
];

/// What decides and therefore waits for nothing, reads no clock and opens no socket.
const PURE: &[&str] = &[
    "model",
    "rbac",
    "forms",
    "artifacts/egress",
    "artifacts/location",
    "artifacts/predictions",
    "gate/matching",
    "identity/claims",
    "identity/jwks",
    "identity/jws",
    "mirror/compare",
    "net/frames",
    "net/framing",
    "routing/split",
    "upstream/choice",
    "upstream/outlier",
];

/// Files and folders that are tests.
const TESTS: &[&str] = &["tests", "reference", "conformance"];

/// Lines of code that fit in the head; tests are not counted.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The path of a module within the crate.
fn within(path: &Path) -> PathBuf {
    path.strip_prefix(root()).unwrap().with_extension("")
}

/// A file's text up to its tests; those in a file of their own leave a line anywhere.
fn untested(text: &str) -> String {
    let mut parts = text.split("#[cfg(test)]\nmod ");
    let first = parts.next().unwrap();
    let inline = |part: &&str| part.lines().next().is_some_and(|line| line.ends_with('{'));
    std::iter::once(first).chain(parts.take_while(|part| !inline(part))).collect()
}

/// Every source file that is not a test, with its top module and its text up to its tests.
fn files() -> Vec<(PathBuf, String, String)> {
    let mut paths = Vec::new();
    sources(&root(), &mut paths);
    paths.sort();
    let is_test = |path: &Path| within(path).iter().any(|name| TESTS.iter().any(|test| name == *test));
    paths
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let module = within(&path).iter().next().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (path, module, untested(&text))
        })
        .filter(|(_, module, _)| module != "lib" && module != "main")
        .collect()
}

fn rank(module: &str) -> usize {
    RANKS
        .iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no rank in tests/architecture.rs"))
}

/// Top modules named after `crate::` anywhere in the code.
fn used(code: &str) -> BTreeSet<String> {
    let code_only =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let uses = code_only.split("crate::").skip(1);
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    uses.map(word).filter(|module| !module.is_empty()).collect()
}

#[test]
fn modules_use_lower_ranks_only() {
    let mut wrong = Vec::new();
    for (path, module, code) in files() {
        for other in used(&code).iter().filter(|other| **other != module) {
            if rank(other) >= rank(&module) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies point one way:\n{}", wrong.join("\n"));
}

#[test]
fn what_decides_is_pure() {
    let (files, mut wrong) = (files(), Vec::new());
    for pure in PURE {
        let mut found = files.iter().filter(|(path, ..)| within(path).starts_with(pure)).peekable();
        assert!(found.peek().is_some(), "there is no `{pure}`");
        for (path, _, code) in found {
            for impure in ["async fn", "tokio::", "Instant::now", "std::fs", "std::net::Tcp", "std::env"] {
                if code.contains(impure) {
                    wrong.push(format!("{} has `{impure}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_fit_in_the_head() {
    let lines = |code: &str| code.lines().filter(|line| !line.trim().is_empty()).count();
    let long: Vec<String> = files()
        .into_iter()
        .map(|(path, _, code)| (lines(&code), path))
        .filter(|(count, _)| *count > LONGEST)
        .map(|(count, path)| format!("{} has {count} lines of code", path.display()))
        .collect();
    assert!(long.is_empty(), "is each still one idea?\n{}", long.join("\n"));
}

#[test]
fn every_module_opens_with_a_word_to_the_newcomer() {
    let silent: Vec<_> =
        files().into_iter().filter(|(_, _, code)| !code.starts_with("//!")).map(|(path, ..)| path).collect();
    assert!(silent.is_empty(), "{silent:?}");
}
