//! On behalf of: an application that was given a person's token for itself gets one for another resource, in that
//! person's name.
//!
//! Like the rest of the issuer it cannot be enabled in `serve`.

use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use uuid::Uuid;

use super::wire::{Params, Refusal, missing};
use super::{DevPrincipal, Issuer, TokenVersion};
use crate::dev::device_flow::{Grant, Wanted};

fn refuse(code: u32, text: impl Into<String>) -> Refusal {
    Refusal::bad("invalid_grant", code, text)
}

impl Issuer {
    /// Judges what a client, which has proved who it is, brings: a person's token for it and for nobody else.
    pub(super) fn on_behalf_of(
        &self,
        client: &DevPrincipal,
        endpoint: TokenVersion,
        form: &Params,
    ) -> Result<Grant, Refusal> {
        if form.need("requested_token_use")? != "on_behalf_of" {
            return Err(missing("requested_token_use"));
        }
        let claims = self.own_claims(form.need("assertion")?)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let client_id = client.client_id.to_string();
        let audience = text("aud");
        if audience.strip_prefix("api://").unwrap_or(audience) != client_id {
            let told = format!(
                "Assertion audience does not match the Client app presenting the assertion. The audience in the assertion \
                 was '{audience}' and the expected audience is '{client_id}' or 'api://{client_id}'."
            );
            return Err(refuse(500_131, told));
        }
        let now = (self.now)();
        if claims.get("exp").and_then(Value::as_i64).is_none_or(|end| end <= now) {
            return Err(refuse(500_133, "Assertion is not within its valid time range."));
        }
        if text("idtyp") == "app" || text("scp").is_empty() {
            let told = format!(
                "Application '{client_id}' is not allowed to make application on-behalf-of calls: the assertion names no user."
            );
            return Err(refuse(7_000_114, told));
        }
        let principal = Uuid::try_parse(text("oid"))
            .map_err(|_| refuse(50_013, "Assertion failed validation: it names nobody."))?;
        let audience = form.audience(endpoint, true)?;
        let wanted = Wanted { client_id: client.client_id, audience, version: form.version()? };
        Ok(Grant { wanted, principal, proven: true })
    }

    /// The claims of a token that this issuer signed.
    fn own_claims(&self, token: &str) -> Result<Value, Refusal> {
        let bad = || refuse(50_013, "Assertion failed signature validation.");
        let (message, signature) = token.rsplit_once('.').ok_or_else(bad)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| bad())?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key());
        public.verify(message.as_bytes(), &signature).map_err(|_| bad())?;
        // Signed here, so the head is one of those that are made here.
        let payload = message.split_once('.').map(|(_, payload)| payload).ok_or_else(bad)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| bad())?;
        serde_json::from_slice(&payload).map_err(|_| bad())
    }
}
