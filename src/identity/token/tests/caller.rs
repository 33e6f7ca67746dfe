//! Who a token says its caller is.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::forge::{CI, CLIENT, Gate, NOW, OID, TENANT, Token};
use super::{OK, judged, row};
use crate::identity::caller::{Caller, CallerKind, Groups};
use crate::identity::claims::derived_principal;
use crate::model::role::PrincipalId;

async fn of(token: Token) -> Arc<Caller> {
    Gate::new().verifier.verify(&token.signed()).await.unwrap()
}

#[tokio::test]
async fn what_a_token_says_of_its_caller() {
    for (token, tenant) in [(Token::v1(), TENANT), (Token::v2(), TENANT)] {
        let caller = of(token).await;
        assert_eq!(caller.object_id, PrincipalId(OID));
        assert_eq!(caller.tenant, Some(tenant));
        assert_eq!(caller.app_id.as_deref(), Some(CLIENT));
        assert_eq!(caller.token_id.as_deref(), Some("pQ1"));
        assert_eq!((caller.not_before, caller.expires), (NOW - 360, NOW + 3660));
        assert_eq!(caller.headers.id, OID.to_string());
        assert_eq!(caller.headers.kind, "User");
        assert_eq!(caller.headers.tenant.as_ref().unwrap(), &tenant.to_string());
    }
}

#[tokio::test]
async fn what_goes_to_the_log_is_cut() {
    let caller = of(Token::v2().claim("uti", "é".repeat(1000)).claim("azp", "a".repeat(1000))).await;
    assert_eq!(caller.token_id, Some("é".repeat(128)));
    assert_eq!(caller.app_id, Some("a".repeat(128)));
}

#[tokio::test]
async fn users_and_applications() {
    use CallerKind::{ServicePrincipal, User};
    let itself = Token::v2().claim("sub", OID.to_string());
    for (name, token, kind) in [
        ("a user", Token::v2(), User),
        ("a user by type", Token::v2().claim("idtyp", "user"), User),
        ("an application by type", Token::v2().claim("idtyp", "app"), ServicePrincipal),
        ("another type", itself.clone().claim("idtyp", "device"), User),
        ("its own subject, no scope", itself.clone().no_claim("scp"), ServicePrincipal),
        ("its own subject, with scopes", itself, User),
        ("another subject, no scope", Token::v2().no_claim("scp"), User),
        ("no subject, no scope", Token::v2().no_claim("scp").no_claim("sub"), User),
        ("another issuer's", Token::ci(), User),
        ("another issuer's, whatever Entra would mean by it", Token::ci().claim("idtyp", "app"), User),
    ] {
        assert_eq!(of(token).await.kind, kind, "{name}");
    }
}

#[tokio::test]
async fn groups_of_entra() {
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let known = |ids: &[Uuid]| Groups::Known(ids.iter().copied().map(PrincipalId).collect());
    let overage = json!({"groups": "src1"});
    let sources = json!({"src1": {"endpoint": "https://graph.windows.net/t/users/o/getMemberObjects"}});
    for (name, token, groups) in [
        ("none", Token::v2(), known(&[])),
        ("two", Token::v2().claim("groups", json!(ids)), known(&ids)),
        ("empty", Token::v2().claim("groups", json!([])), known(&[])),
        (
            "names among them",
            Token::v2().claim("groups", json!(["CONTOSO\\Admins", ids[0], "", "S-1-5-21"])),
            known(&ids[..1]),
        ),
        (
            "too many",
            Token::v2().claim("_claim_names", overage.clone()).claim("_claim_sources", sources),
            Groups::Overage,
        ),
        (
            "too many, without their source",
            Token::v2().claim("_claim_names", overage.clone()),
            Groups::Overage,
        ),
        ("too many, in the implicit flow", Token::v2().claim("hasgroups", true), Groups::Overage),
        ("not too many", Token::v2().claim("hasgroups", false), known(&[])),
        (
            "another claim elsewhere",
            Token::v2().claim("_claim_names", json!({"address": "src1"})),
            known(&[]),
        ),
        (
            "there and elsewhere",
            Token::v2().claim("groups", json!(ids)).claim("_claim_names", overage),
            known(&ids),
        ),
    ] {
        assert_eq!(of(token).await.groups, groups, "{name}");
    }
}

#[tokio::test]
async fn roles_and_scopes_are_nobodys_groups() {
    let token = Token::v2()
        .claim("roles", json!(["Owner"]))
        .claim("wids", json!([Uuid::from_u128(3)]))
        .claim("scp", Uuid::from_u128(4).to_string());
    assert_eq!(of(token).await.groups, Groups::Known([].into()));
}

#[tokio::test]
async fn other_issuers_name_their_own_principals_only() {
    // It says what an Entra token would say; nothing of that is believed.
    let token = Token::ci()
        .claim("sub", OID.to_string())
        .claim("oid", OID.to_string())
        .claim("tid", TENANT.to_string())
        .claim("ver", "2.0");
    let caller = of(token).await;
    assert_eq!(caller.object_id, derived_principal(CI, &OID.to_string()));
    assert_ne!(caller.object_id, PrincipalId(OID));
    assert_eq!(caller.object_id.0.get_version_num(), 5, "Entra's object ids are random, version 4");
    assert_eq!((caller.tenant, &caller.headers.tenant), (None, &None));
    assert_ne!(derived_principal(CI, "root"), derived_principal("https://other.example", "root"));
}

#[tokio::test]
async fn other_issuers_callers_are_named_by_their_claim() {
    let rows = vec![
        row("its name", Token::ci(), OK),
        row("a name of 512 bytes", Token::ci().claim("sub", "n".repeat(512)), OK),
        row("a name of 513", Token::ci().claim("sub", "n".repeat(513)), "principal"),
        row("empty name", Token::ci().claim("sub", ""), "principal"),
        row("no name", Token::ci().no_claim("sub"), "principal"),
        row(
            "no name but an object id",
            Token::ci().no_claim("sub").claim("oid", OID.to_string()),
            "principal",
        ),
        row("a number for a name", Token::ci().claim("sub", 7), "principal"),
        row("groups", Token::ci().claim("groups", json!(["release"])), OK),
        row("groups in one text", Token::ci().claim("groups", "release"), "claim"),
        row("groups with a number", Token::ci().claim("groups", json!([7])), "claim"),
    ];
    judged(&Gate::new(), rows).await;
}

#[tokio::test]
async fn other_issuers_groups_are_not_entras_and_not_users() {
    let group = |name: &str| {
        let token = Token::ci().claim("groups", json!([name]));
        async move {
            match &of(token).await.groups {
                Groups::Known(groups) => groups[0],
                Groups::Overage => panic!("its groups are all in the token"),
            }
        }
    };
    let release = group("release").await;
    assert_eq!(release, group("release").await);
    assert_ne!(release, group("admins").await);
    assert_ne!(group(&OID.to_string()).await, PrincipalId(OID));
    // Whoever may choose a name must not become the group of that name.
    let namesake = of(Token::ci().claim("sub", "release")).await;
    assert_ne!(release, namesake.object_id);
}
