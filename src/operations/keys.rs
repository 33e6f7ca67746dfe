//! Credentials of endpoints: two keys, and short-lived tokens. Every reading leaves a record before it is answered.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Granted, Operations, Refusal};
use crate::clock::rfc3339;
use crate::identity::aml_token::{self, Issue};
use crate::identity::endpoint_key::{self, KeySlot};
use crate::model::audit::Deed;
use crate::model::endpoint::{AuthMode, Endpoint};
use crate::model::resource::Resource;
use crate::model::token_key::TokenKey;
use crate::store::{Batch, Change, Contents, Expect, Manager, Stored};

/// How long a new signing key is only published before it signs, so that every replica knows it.
const SETTLE: i64 = 10;
/// How often it is looked whether signing keys are old.
const LOOK: Duration = Duration::from_mins(1);

/// A token for an endpoint; times are Unix seconds.
#[derive(Clone)]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires: i64,
    /// When a client should ask for the next.
    pub refresh_after: i64,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssuedToken(until {})", self.expires)
    }
}

/// Both keys of an endpoint.
pub type Keys = (Zeroizing<String>, Zeroizing<String>);

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

fn token_keys(contents: &Contents) -> Vec<&TokenKey> {
    let mut keys: Vec<&TokenKey> = contents.iter().filter_map(|stored| stored.resource.token_key()).collect();
    keys.sort_by_key(|key| key.made);
    keys
}

impl Operations {
    async fn granted_endpoint(&self, granted: &Granted) -> Result<Arc<Stored>, Refusal> {
        self.endpoint(&granted.scope).await?.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))
    }

    /// Both keys of an endpoint, whatever its mode: they will open it once the mode is `key`.
    pub async fn list_keys(&self, granted: &Granted) -> Result<Keys, Refusal> {
        let stored = self.granted_endpoint(granted).await?;
        let endpoint = stored.resource.endpoint().ok_or(Refusal::Defect)?;
        let open = |slot, key| endpoint_key::reveal(&self.vault, &granted.scope, slot, key);
        let keys = (open("primary", &endpoint.keys.primary)?, open("secondary", &endpoint.keys.secondary)?);
        self.commit(granted, Vec::new()).await?;
        Ok(keys)
    }

    /// Replaces one key; the other stays. Callers' own wishes for the new value are not obeyed.
    pub async fn regenerate_key(&self, granted: &Granted, slot: KeySlot) -> Result<(), Refusal> {
        let stored = self.granted_endpoint(granted).await?;
        let mut endpoint: Endpoint = stored.resource.endpoint().ok_or(Refusal::Defect)?.clone();
        let key = endpoint_key::generate()?;
        let sealed = endpoint_key::store(&self.vault, &granted.scope, slot.as_str(), &key)?;
        match slot {
            KeySlot::Primary => endpoint.keys.primary = sealed,
            KeySlot::Secondary => endpoint.keys.secondary = sealed,
        }
        let expect = Expect::At(stored.revision);
        let put = Change::Put(Box::new(Resource::Endpoint(Box::new(endpoint))), stored.manager, expect);
        self.commit(granted, vec![put]).await?;
        Ok(())
    }

    /// A token for an endpoint whose mode is `aml_token`.
    pub async fn issue_token(&self, granted: &Granted) -> Result<IssuedToken, Refusal> {
        let stored = self.granted_endpoint(granted).await?;
        let endpoint = stored.resource.endpoint().ok_or(Refusal::Defect)?;
        if endpoint.spec.auth_mode != AuthMode::AmlToken {
            let mode = endpoint.spec.auth_mode.as_str();
            let message =
                format!("the endpoint's auth_mode is {mode}; tokens are issued for aml_token endpoints");
            return Err(Refusal::Rule("EndpointAuthModeMismatch", message));
        }
        let (now, lifetime) = (self.clock.unix(), seconds(self.limits.aml_token_life));
        let key = self.signing_key(now).await?;
        let what = Issue {
            endpoint: &granted.scope,
            epoch: endpoint.token_epoch,
            caller: &granted.asker.caller,
            now,
            lifetime,
        };
        let token = aml_token::issue(&self.vault, &key, what)?;
        self.commit(granted, Vec::new()).await?;
        Ok(IssuedToken { token, expires: now + lifetime, refresh_after: now + lifetime * 2 / 3 })
    }

    /// The key that signs: the newest that every replica knows. The first is made when it is needed.
    async fn signing_key(&self, now: i64) -> Result<TokenKey, Refusal> {
        for _ in 0..2 {
            let contents = self.publisher.contents();
            let keys = token_keys(&contents);
            let settled = keys.iter().rev().find(|key| key.made <= now - SETTLE);
            if let Some(key) = settled.or(keys.first()) {
                return Ok((*key).clone());
            }
            self.rotate(now).await?;
        }
        Err(Refusal::Defect)
    }

    /// Makes a new signing key if the newest is old, and removes those whose last token has ended.
    async fn rotate(&self, now: i64) -> Result<(), Refusal> {
        // Whoever waited finds the key that the other made.
        let _one = self.rotating.lock().await;
        let contents = self.publisher.contents();
        let keys = token_keys(&contents);
        let life = seconds(self.limits.token_key_life);
        let mut changes = Vec::new();
        let newest = keys.last().map(|key| key.made);
        if newest.is_none_or(|made| now - made >= life) {
            let key = Resource::TokenKey(aml_token::make_key(&self.vault, now)?);
            changes.push(Change::Put(Box::new(key), Manager::Caller, Expect::Absent));
        }
        // A key signs until its successor has settled, and its tokens live on after that.
        let useless = SETTLE + seconds(self.limits.aml_token_life) + 2 * seconds(LOOK);
        for (key, successor) in keys.iter().zip(keys.iter().skip(1)) {
            if now - successor.made > useless {
                let id = Resource::TokenKey((*key).clone()).id().map_err(|_| Refusal::Defect)?;
                changes.push(Change::Delete(id, Expect::Anything));
            }
        }
        if !changes.is_empty() {
            let (action, time) = ("Scoregate.Gateway/tokenKeys/write", rfc3339(now));
            let deed = Deed::of_gateway("token keys", action, &Uuid::new_v4().to_string(), time);
            self.publisher.commit(Batch { changes, deed }).await?;
        }
        Ok(())
    }

    /// Keeps signing keys fresh for ever, once there are any.
    pub async fn rotate_token_keys(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK.min(self.limits.token_key_life)).await;
            let now = self.clock.unix();
            if !token_keys(&self.publisher.contents()).is_empty()
                && let Err(refusal) = self.rotate(now).await
            {
                tracing::warn!(code = refusal.code(), "signing keys were not rotated; the present ones stay");
            }
        }
    }

    /// The public halves of the signing keys.
    pub fn published_keys(&self) -> serde_json::Value {
        let mut set = self.publisher.cell().load().token_keys.published().clone();
        if let Some(keys) = set.get_mut("keys").and_then(serde_json::Value::as_array_mut) {
            keys.push(self.vault.signer());
        } else {
            set = serde_json::json!({"keys": [self.vault.signer()]});
        }
        set
    }
}
