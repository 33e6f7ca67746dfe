//! Patterns of actions such as `Microsoft.MachineLearningServices/workspaces/*/read`.

/// The longest pattern that is read, in bytes.
const MAX_LENGTH: usize = 512;

/// A pattern of actions: `*` stands for any run of characters, across segments; case does not matter.
///
/// `a/*/read` also matches `a/read`: AzureML Data Scientist holds `workspaces/*/read`, and its
/// `notActions` of `computes/*/write` would otherwise miss `computes/write`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionPattern {
    /// The literal pieces between stars, in lower case; one piece means no star.
    pieces: Box<[Box<str>]>,
}

/// Why a text is no pattern of actions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an action: write letters, digits and `. - _ / *`, such as */read, at most 512 characters"
)]
pub struct PatternError(String);

impl ActionPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<ActionPattern, PatternError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "./*-_".contains(c);
        if text.is_empty() || text.len() > MAX_LENGTH || !text.chars().all(plain) {
            return Err(PatternError(text.chars().take(120).collect()));
        }
        let pieces = text.to_ascii_lowercase().split('*').map(Into::into).collect();
        Ok(ActionPattern { pieces })
    }

    /// Whether the pattern covers this action, given in lower case.
    pub fn matches(&self, action: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return action == &**first;
        };
        if !action.starts_with(&**first) {
            return false;
        }
        let mut end = first.len();
        let mut previous: &str = first;
        for piece in middle {
            let from = resume(end, previous, piece);
            // Taking the leftmost place leaves most for what follows.
            match action.get(from..).and_then(|tail| tail.find(&**piece)) {
                Some(at) => end = (from + at + piece.len()).max(end),
                None => return false,
            }
            previous = piece;
        }
        let from = resume(end, previous, last);
        action.len() >= from + last.len() && action.ends_with(&**last)
    }
}

/// Where the next piece may begin: at the end of the previous one, or on its slash if the star stood
/// between two slashes, for then it may stand for nothing.
fn resume(end: usize, previous: &str, next: &str) -> usize {
    if previous.ends_with('/') && next.starts_with('/') { end.saturating_sub(1) } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_cross_segments_and_case_does_not_matter() {
        let cases = [
            ("*", "anything/at/all", true),
            ("*/read", "a/b/read", true),
            ("*/read", "read", false),
            ("*/read", "a/b/readers", false),
            ("Microsoft.Compute/*", "microsoft.compute/vm/write", true),
            ("Microsoft.Compute/*", "microsoft.computes/vm", false),
            ("a/*/read", "a/read", true),
            ("a/*/read", "a/b/c/read", true),
            ("a/*/read", "aread", false),
            ("a/*/b/*/c", "a/b/c", true),
            ("a/*/b/*/c", "a/x/b/y/c", true),
            ("a/*/b/*/c", "a/b", false),
            ("exports/*", "exports/action", true),
            ("exports/*", "exports/run/action", true),
            ("exports/*", "exports", false),
            ("a/write", "a/write", true),
            ("a/write", "a/writer", false),
            ("*a*a*", "a", false),
            ("*a*a*", "aa", true),
        ];
        for (pattern, action, expected) in cases {
            assert_eq!(
                ActionPattern::parse(pattern).unwrap().matches(action),
                expected,
                "{pattern} {action}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a b", "a\u{0}", "ä/read", &"a".repeat(513)] {
            assert!(ActionPattern::parse(bad).is_err());
        }
    }
}
