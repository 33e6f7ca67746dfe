//! Text of a resource id: it reads as it is shown, and the scopes above it are those that contain it.

use scoregate::model::scope::Scope;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(scope) = text.parse::<Scope>() else { return };
    let shown = scope.to_string();
    let again: Scope = shown.parse().unwrap();
    assert_eq!((&again, again.to_string()), (&scope, shown.clone()), "{text}");
    assert_eq!(shown.to_ascii_lowercase(), scope.key());
    assert!(shown == "/" || !shown.ends_with('/') && !shown.contains("//"), "{shown}");
    let lineage = scope.lineage();
    assert_eq!((lineage.first(), lineage.last()), (Some(&scope.key()), Some(&"/")));
    for pair in lineage.windows(2) {
        let (below, above): (Scope, Scope) = (pair[0].parse().unwrap(), pair[1].parse().unwrap());
        assert!(above.contains(&below) && !below.contains(&above), "{below} and {above} of {text}");
    }
    // A sibling whose name begins like this one's is another place.
    let longer = format!("{shown}x").parse::<Scope>();
    assert!(shown == "/" || longer.is_ok_and(|longer| !scope.contains(&longer)) || shown.len() == 2048, "{shown}");
    let subscription = scope.subscription().map(|id| format!("/subscriptions/{id}").parse::<Scope>().unwrap());
    assert!(subscription.is_none_or(|subscription| subscription.contains(&scope)), "{shown}");
}
