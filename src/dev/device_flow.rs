//! The device-code flow of the development issuer: codes waiting for approval, refresh tokens, and the page that approves.
//!
//! Like the rest of the issuer it cannot be enabled in `serve`. Everything lives in two bounded tables in memory and is lost when the
//! process ends, so a client then has to sign in again.

use std::collections::VecDeque;
use std::fmt::Write as _;

use axum::http::StatusCode;
use parking_lot::Mutex;
use uuid::Uuid;

use super::issuer::{DevPrincipal, IssuerError, Refusal, TokenVersion, random_text, same};

/// Seconds a device code can be used.
pub(super) const LIFETIME_SECONDS: i64 = 900;
/// Device codes held at once.
const MAX_PENDING: usize = 64;
/// Refresh tokens held at once; the oldest makes room.
const MAX_REFRESH: usize = 256;
/// 32 letters and digits that are hard to mistake for one another, so five random bits choose one without bias.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Characters of a user code.
const USER_CODE_LENGTH: usize = 9;

/// What a client asked for, before somebody says who it is for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) client_id: Uuid,
    pub(super) audience: String,
    pub(super) version: Option<TokenVersion>,
}

/// What was approved: a client acting for a principal, named by its object id.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) wanted: Wanted,
    pub(super) principal: Uuid,
    /// The client proved who it is, and has to again.
    pub(super) proven: bool,
}

/// The answer of the person at the page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Waiting,
    Approved(Uuid),
    Declined,
}

/// One device code until it is redeemed or expires.
struct Pending {
    device_code: String,
    user_code: String,
    expires: i64,
    wanted: Wanted,
    decision: Decision,
}

/// The state of the device-code flow.
#[derive(Default)]
pub(super) struct DeviceFlow {
    pending: Mutex<Vec<Pending>>,
    refresh: Mutex<VecDeque<(String, Grant)>>,
}

impl DeviceFlow {
    /// Opens a flow and returns its device code and user code.
    pub(super) fn start(&self, wanted: Wanted, now: i64) -> Result<(String, String), Refusal> {
        let (device_code, user_code) = (random_text(32)?, user_code()?);
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_PENDING {
            pending.retain(|p| p.expires > now);
        }
        if pending.len() >= MAX_PENDING {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                90033,
                format!("{MAX_PENDING} device codes are open already; try again later."),
            ));
        }
        pending.push(Pending {
            device_code: device_code.clone(),
            user_code: user_code.clone(),
            expires: now.saturating_add(LIFETIME_SECONDS),
            wanted,
            decision: Decision::Waiting,
        });
        Ok((device_code, user_code))
    }

    /// Answers a poll. A code that was approved, declined or has expired is gone afterwards.
    pub(super) fn poll(&self, device_code: &str, client_id: Uuid, now: i64) -> Result<Grant, Refusal> {
        let mut pending = self.pending.lock();
        let found = pending
            .iter()
            .enumerate()
            .find(|(_, p)| same(&p.device_code, device_code) && p.wanted.client_id == client_id);
        let Some((index, entry)) = found else {
            return Err(Refusal::bad(
                "bad_verification_code",
                70018,
                "The device code is not known to this issuer, or belongs to another client.",
            ));
        };
        if entry.expires <= now {
            pending.swap_remove(index);
            return Err(Refusal::bad("expired_token", 70020, "The device code has expired."));
        }
        match entry.decision {
            Decision::Waiting => Err(Refusal::bad(
                "authorization_pending",
                70016,
                "Authorization is pending. Continue polling.",
            )),
            Decision::Declined => {
                pending.swap_remove(index);
                Err(Refusal::bad("authorization_declined", 65004, "The sign-in was declined."))
            }
            Decision::Approved(principal) => {
                let wanted = pending.swap_remove(index).wanted;
                Ok(Grant { wanted, principal, proven: false })
            }
        }
    }

    /// Records a decision on a user code as typed; false if no undecided, unexpired flow has that code.
    pub(super) fn decide(&self, typed: &str, decision: Decision, now: i64) -> bool {
        let typed: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
        let typed = typed.to_ascii_uppercase();
        let mut pending = self.pending.lock();
        let found = pending.iter_mut().find(|p| {
            p.expires > now && matches!(p.decision, Decision::Waiting) && same(&p.user_code, &typed)
        });
        found.is_some_and(|entry| {
            entry.decision = decision;
            true
        })
    }

    /// Makes a refresh token for a grant.
    pub(super) fn remember(&self, grant: Grant) -> Result<String, IssuerError> {
        let token = random_text(32)?;
        let mut refresh = self.refresh.lock();
        if refresh.len() >= MAX_REFRESH {
            refresh.pop_front();
        }
        refresh.push_back((token.clone(), grant));
        Ok(token)
    }

    /// The grant behind a refresh token. The token stays good, as Entra's does.
    pub(super) fn redeem(&self, token: &str, client_id: Uuid) -> Result<Grant, Refusal> {
        let refresh = self.refresh.lock();
        let found = refresh.iter().find(|(t, g)| same(t, token) && g.wanted.client_id == client_id);
        found.map(|(_, grant)| grant.clone()).ok_or_else(|| {
            Refusal::bad(
                "invalid_grant",
                70000,
                "The refresh token is not known to this issuer (it keeps them in memory only), or belongs to another client.",
            )
        })
    }
}

/// A random user code.
fn user_code() -> Result<String, IssuerError> {
    let mut bytes = [0_u8; USER_CODE_LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssuerError::Crypto("random bytes"))?;
    Ok(bytes.iter().filter_map(|b| ALPHABET.get(usize::from(b & 31))).map(|b| char::from(*b)).collect())
}

/// The page on which a person chooses a principal and approves a user code.
pub(super) fn page(notice: Option<&str>, user_code: &str, principals: &[DevPrincipal]) -> String {
    let mut options = String::new();
    for principal in principals {
        // Writing to a String cannot fail.
        let _ = write!(options, "<option>{}</option>", escape(&principal.name));
    }
    let notice =
        notice.map(|n| format!("<p role=\"status\"><strong>{}</strong></p>", escape(n))).unwrap_or_default();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>scoregate development issuer</title>\
         <h1>Sign in to a device</h1>{notice}\
         <p>This is the development issuer of <code>scoregate dev</code>. It asks for no password: choose who to be. \
         Approve only a code that you asked for.</p>\
         <form method=\"post\"><p><label>Code <input name=\"user_code\" value=\"{}\" required autocomplete=\"off\"></label></p>\
         <p><label>Principal <select name=\"principal\">{options}</select></label></p>\
         <p><button name=\"action\" value=\"approve\">Approve</button> \
         <button name=\"action\" value=\"decline\">Decline</button></p></form></html>\n",
        escape(user_code)
    )
}

/// Text made safe for HTML, also inside a double-quoted attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted { client_id: Uuid::from_u128(1), audience: "https://ml.azure.com".to_owned(), version: None }
    }

    fn error(result: Result<Grant, Refusal>) -> &'static str {
        result.err().map_or("none", |r| r.error)
    }

    #[test]
    fn a_code_expires_and_can_be_declined() {
        let (flow, client) = (DeviceFlow::default(), Uuid::from_u128(1));
        let (device, user) = flow.start(wanted(), 0).unwrap();
        assert_eq!(error(flow.poll(&device, client, 899)), "authorization_pending");
        assert_eq!(error(flow.poll(&device, Uuid::from_u128(2), 1)), "bad_verification_code");
        assert!(!flow.decide(&user, Decision::Declined, 900));
        assert_eq!(error(flow.poll(&device, client, 900)), "expired_token");
        assert_eq!(error(flow.poll(&device, client, 900)), "bad_verification_code");
        let (device, user) = flow.start(wanted(), 0).unwrap();
        let (start, end) = user.split_at(4);
        let typed = format!("{start}-{}", end.to_lowercase());
        assert!(flow.decide(&typed, Decision::Declined, 1));
        assert!(!flow.decide(&typed, Decision::Approved(client), 1), "a decision is final");
        assert_eq!(error(flow.poll(&device, client, 1)), "authorization_declined");
    }

    #[test]
    fn the_tables_are_bounded() {
        let flow = DeviceFlow::default();
        for _ in 0..MAX_PENDING {
            flow.start(wanted(), 0).unwrap();
        }
        assert_eq!(flow.start(wanted(), 899).unwrap_err().error, "temporarily_unavailable");
        flow.start(wanted(), 900).unwrap();
        assert_eq!(flow.pending.lock().len(), 1);
        let grant = Grant { wanted: wanted(), principal: Uuid::from_u128(3), proven: false };
        let first = flow.remember(grant.clone()).unwrap();
        for _ in 0..MAX_REFRESH {
            flow.remember(grant.clone()).unwrap();
        }
        assert_eq!(error(flow.redeem(&first, Uuid::from_u128(1))), "invalid_grant");
        assert_eq!(flow.refresh.lock().len(), MAX_REFRESH);
    }

    #[test]
    fn the_page_escapes_what_it_is_given() {
        let html = page(Some("<b>"), "\"><script>", &[]);
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    }
}
