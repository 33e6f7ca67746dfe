use proptest::prelude::*;
use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "cases read better so")]
fn found(live: Value, shadow: Value) -> Option<(String, Kind)> {
    let found = values(&live, &shadow, &Tolerance::default());
    found.map(|difference| (difference.pointer, difference.kind))
}

fn first(live: Value, shadow: Value) -> (String, Kind) {
    found(live, shadow).expect("a difference")
}

fn at(pointer: &str, kind: Kind) -> (String, Kind) {
    (pointer.to_owned(), kind)
}

#[test]
fn what_says_the_same_is_the_same() {
    for (live, shadow) in [
        (json!(null), json!(null)),
        (json!({"a": 1, "b": [2, {"c": "x"}]}), json!({"b": [2, {"c": "x"}], "a": 1})),
        (json!(1), json!(1.0)),
        (json!(0.1 + 0.2), json!(0.3)),
        (json!(1e9), json!(1e9 + 1.0)),
        (json!(0.0), json!(1e-9)),
        (json!(0.0), json!(-0.0)),
        (json!(3), json!(3.000_000_1)),
    ] {
        assert_eq!(found(live.clone(), shadow.clone()), None, "{live} {shadow}");
    }
}

#[test]
fn a_difference_has_a_place_and_a_kind() {
    assert_eq!(first(json!({"a": [1, 2.5]}), json!({"a": [1, 2.75]})), at("/a/1", Kind::Number(0.25)));
    assert_eq!(first(json!({"a": "x"}), json!({"a": "y"})), at("/a", Kind::Value));
    assert_eq!(first(json!(true), json!(false)), at("", Kind::Value));
    assert_eq!(first(json!({"a": "1"}), json!({"a": 1})), at("/a", Kind::Type));
    assert_eq!(first(json!({"a": null}), json!({"a": {}})), at("/a", Kind::Type));
    assert_eq!(first(json!([1, 2]), json!([1])), at("", Kind::Length(-1)));
    assert_eq!(first(json!({"a": 1, "b": 2}), json!({"a": 1})), at("/b", Kind::Missing));
    assert_eq!(first(json!({"a": 1}), json!({"a": 1, "b": null})), at("/b", Kind::Added));
    assert_eq!(
        first(json!({"a/b": {"c~d": 1}}), json!({"a/b": {"c~d": 3}})),
        at("/a~1b/c~0d", Kind::Number(2.0))
    );
    assert_eq!(first(json!([2, 1]), json!([1, 2])), at("/0", Kind::Number(-1.0)), "order is an answer's own");
}

#[test]
fn whole_numbers_are_the_same_or_not() {
    assert_eq!(first(json!(1_000_001), json!(1_000_002)), at("", Kind::Number(1.0)));
    assert_eq!(found(json!(1_000_001), json!(1_000_001)), None);
    let (one, other) = (json!(u64::MAX), json!(u64::MAX - 1));
    assert!(found(one, other).is_some(), "though as floating point they are one");
}

#[test]
fn the_tolerance_ends_where_it_is_said_to() {
    let near = |live: f64, shadow: f64| found(json!(live), json!(shadow)).is_none();
    assert!(near(1.0, 1.000_000_9) && !near(1.0, 1.000_001_1));
    assert!(near(1e-12, 1e-9) && !near(0.0, 1.1e-9));
    assert!(near(-1e20, -1e20 * (1.0 + 9e-7)) && !near(-1.0, 1.0));
}

#[test]
fn what_is_no_json_is_not_compared() {
    let tolerance = Tolerance::default();
    for (live, shadow) in [("{}", "{"), ("", "1"), ("NaN", "1"), ("{} x", "{}"), ("\u{0}", "1")] {
        assert_eq!(texts(live.as_bytes(), shadow.as_bytes(), &tolerance), Err(NotJson), "{live} {shadow}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(texts(deep.as_bytes(), b"1", &tolerance), Err(NotJson));
    assert_eq!(texts(b" {\"a\": 1}\n", b"{\"a\":1.0}", &tolerance), Ok(None));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e12..1e12_f64).prop_map(Value::from),
        "[a-z~/]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec(("[a-z~/]{0,3}", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_answer_is_its_own_like_in_any_writing(value in any_json()) {
        prop_assert_eq!(values(&value, &value, &Tolerance::default()), None);
        let (short, long) = (value.to_string(), format!("{value:#}"));
        prop_assert_eq!(texts(short.as_bytes(), long.as_bytes(), &Tolerance::default()), Ok(None));
    }

    #[test]
    fn who_is_asked_first_does_not_matter(a in any_json(), b in any_json()) {
        let (there, back) = (values(&a, &b, &Tolerance::default()), values(&b, &a, &Tolerance::default()));
        prop_assert_eq!(there.is_some(), back.is_some());
    }

    #[test]
    fn a_pointer_leads_to_what_differs(a in any_json(), b in any_json()) {
        if let Some(difference) = values(&a, &b, &Tolerance::default()) {
            let (live, shadow) = (a.pointer(&difference.pointer), b.pointer(&difference.pointer));
            match difference.kind {
                Kind::Missing => prop_assert!(live.is_some() && shadow.is_none()),
                Kind::Added => prop_assert!(live.is_none() && shadow.is_some()),
                _ => prop_assert!(live.is_some() && shadow.is_some() && live != shadow),
            }
        }
    }
}
