//! `identity.on_behalf_of:` — the gateway's own application, by which callers' tokens become tokens for storage.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::identity::Entra;
use crate::forms::Form;

/// Azure Storage, whatever the account.
const STORAGE: &str = "https://storage.azure.com/.default";

/// The application that exchanges tokens, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBehalfOf {
    /// The application's id. Tokens that are exchanged are for it: `aud` is this id or a name of the application's.
    pub client_id: Uuid,
    /// A file with its secret, read again at each use; mode 0600.
    pub client_secret_file: PathBuf,
    /// Where the exchange is made, without a slash at the end.
    pub authority: String,
    /// The tenant of both tokens.
    pub tenant: Uuid,
    /// What is asked for.
    pub scope: String,
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Speak clear text to an authority on loopback.
    pub allow_http: bool,
}

impl OnBehalfOf {
    /// Reads the section; the tenant is one of Entra's that are named there already.
    pub(super) fn read(form: &Form<'_>, base: &Path, entra: &[Entra]) -> Option<OnBehalfOf> {
        let doc =
            "The gateway's own application at Entra, which exchanges callers' tokens for tokens for storage.";
        form.optional_section("on_behalf_of", doc, |f| {
            let client_id = f.value::<Uuid>("client_id", "The application's id.").required("give a GUID");
            let file = f
                .value::<PathBuf>(
                    "client_secret_file",
                    "A file with its secret, mode 0600, read at each use.",
                )
                .required("name a file that holds the application's secret");
            let tenant = f
                .value::<Uuid>("tenant", "A tenant of `entra`; it may be left out if there is only one.")
                .optional();
            let scope = f.value("scope", "What is asked for.").or_else(|| STORAGE.to_owned());
            let plain = scope.chars().all(|c| c.is_ascii_graphic()) && scope.contains('/');
            if !plain {
                f.wrong("scope", format!("`{scope}` is not one scope"), Some(STORAGE));
            }
            let (at, tenant) = place(f, entra, tenant)?;
            Some(OnBehalfOf {
                client_id: client_id?,
                client_secret_file: base.join(file?),
                authority: at.authority.clone(),
                tenant,
                scope,
                ca_file: at.ca_file.clone(),
                allow_http: at.allow_http,
            })
        })
        .flatten()
    }
}

/// The authority that has the tenant; without one, the only tenant there is.
fn place<'a>(form: &Form<'_>, entra: &'a [Entra], tenant: Option<Uuid>) -> Option<(&'a Entra, Uuid)> {
    let all: Vec<(&Entra, Uuid)> =
        entra.iter().flat_map(|entra| entra.tenants.iter().map(move |tenant| (entra, *tenant))).collect();
    match (tenant, all.as_slice()) {
        (Some(wanted), all) => {
            let found = all.iter().find(|(_, tenant)| *tenant == wanted).copied();
            if found.is_none() {
                form.wrong("tenant", "is no tenant of `identity.entra`", Some("list it there too"));
            }
            found
        }
        (None, [only]) => Some(*only),
        (None, all) => {
            let problem = if all.is_empty() { "`identity.entra` names no tenant" } else { "which tenant?" };
            form.wrong("", problem, Some("set `tenant` to one of `identity.entra`"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::uuid;

    use super::super::Settings;
    use super::*;

    const ONE: &str = "{ authority: 'https://login.example', tenants: [aa020000-1111-4222-8333-444455556666], ca_file: ca.pem }";
    const TWO: &str =
        "{ authority: 'https://other.example', tenants: [bb020000-1111-4222-8333-444455556666] }";

    fn read(entra: &str, section: &str) -> Result<Option<OnBehalfOf>, String> {
        let text = format!(
            "data_plane: {{ listen: '127.0.0.1:1' }}\nidentity:\n  entra: [{entra}]\n  on_behalf_of: {{ {section} }}\n"
        );
        let settings = Settings::parse("f", &text, Path::new("/etc"), std::iter::empty());
        settings.map(|settings| settings.identity.on_behalf_of).map_err(|mistakes| mistakes.to_string())
    }

    const CLIENT: &str = "client_id: cc020000-1111-4222-8333-444455556666, client_secret_file: secret";

    #[test]
    fn the_authority_is_that_of_the_tenant() {
        let read_one = read(ONE, CLIENT).unwrap().unwrap();
        assert_eq!(
            read_one,
            OnBehalfOf {
                client_id: uuid!("cc020000-1111-4222-8333-444455556666"),
                client_secret_file: "/etc/secret".into(),
                authority: "https://login.example".to_owned(),
                tenant: uuid!("aa020000-1111-4222-8333-444455556666"),
                scope: STORAGE.to_owned(),
                ca_file: Some("/etc/ca.pem".into()),
                allow_http: false,
            }
        );
        let two = read(
            &format!("{ONE}, {TWO}"),
            &format!("{CLIENT}, tenant: bb020000-1111-4222-8333-444455556666, scope: 'api://x/.default'"),
        );
        let two = two.unwrap().unwrap();
        assert_eq!((two.authority.as_str(), two.ca_file), ("https://other.example", None));
        assert_eq!(two.scope, "api://x/.default");
    }

    #[test]
    fn what_cannot_be_exchanged_anywhere_is_a_mistake() {
        let both = format!("{ONE}, {TWO}");
        for (entra, section, told) in [
            (both.as_str(), CLIENT, "identity.on_behalf_of: which tenant?"),
            ("", CLIENT, "`identity.entra` names no tenant"),
            (ONE, "client_secret_file: x", "identity.on_behalf_of.client_id: is missing"),
            (ONE, "client_id: cc020000-1111-4222-8333-444455556666", "client_secret_file: is missing"),
        ] {
            let mistakes = read(entra, section).unwrap_err();
            assert!(mistakes.contains(told), "{told} is not in {mistakes}");
        }
        let more = |more: &str| read(ONE, &format!("{CLIENT}, {more}")).unwrap_err();
        assert!(more("tenant: bb020000-1111-4222-8333-444455556666").contains("is no tenant of"));
        assert!(more("scope: 'a/.default b/.default'").contains("is not one scope"));
    }
}
