//! The ten rules for tokens. A row is a token that is right in all but one thing; beside the hostile ones stand valid
//! neighbours, so that the rule in question is what refuses.

mod caller;
mod claims;
mod forge;
mod form;
mod keys;
mod memory;
mod rotation;

use super::*;
use forge::Gate;

const OK: &str = "accepted";

/// A name, a token, and what is said of it.
type Row = (String, String, &'static str);

fn row(name: impl Into<String>, token: impl Into<String>, expected: &'static str) -> Row {
    (name.into(), token.into(), expected)
}

/// All but the last character.
fn cut(text: &str) -> &str {
    text.get(..text.len() - 1).unwrap()
}

/// Judges each row by itself. A token that is not accepted must not be remembered either.
async fn judged(gate: &Gate, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (name, token, expected) in rows {
        let said = gate.judge(&token).await;
        if said != expected {
            wrong.push(format!("{name}: expected {expected}, got {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
