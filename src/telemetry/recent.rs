//! The last scoring requests, kept in memory so that it can be said of each why it was answered as it was.

use std::collections::{HashMap, VecDeque};

use http::HeaderValue;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::model::role::PrincipalId;

/// How many parts the memory has, so that workers seldom meet.
const PARTS: usize = 16;

/// What is kept of a request. Nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When it ended, Unix seconds.
    pub time: i64,
    /// Its endpoint, in lower case.
    pub endpoint: Option<String>,
    /// How callers of that endpoint prove who they are.
    pub auth_mode: Option<&'static str>,
    /// Its deployment.
    pub deployment: Option<String>,
    /// Who called.
    pub principal: Option<PrincipalId>,
    /// Which of the endpoint's keys was used.
    pub key: Option<&'static str>,
    /// The status that was sent.
    pub status: Option<u16>,
    /// Why the gateway answered itself.
    pub reason: Option<&'static str>,
    /// A more exact word.
    pub detail: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Part {
    by_id: HashMap<Uuid, Outcome>,
    order: VecDeque<Uuid>,
}

/// The last requests, by their id.
#[derive(Debug)]
pub struct Recent {
    parts: [Mutex<Part>; PARTS],
    most: usize,
}

impl Recent {
    /// A memory of this many requests.
    pub fn new(most: usize) -> Recent {
        Recent { parts: Default::default(), most: most.div_ceil(PARTS) }
    }

    fn part(&self, id: Uuid) -> Option<&Mutex<Part>> {
        self.parts.get(usize::from(id.as_bytes().first().copied().unwrap_or(0)) % PARTS)
    }

    pub(super) fn keep(&self, id: &HeaderValue, outcome: Outcome) {
        let Some(id) = id.to_str().ok().and_then(|text| Uuid::try_parse(text).ok()) else { return };
        let Some(part) = self.part(id) else { return };
        let mut part = part.lock();
        if part.order.len() >= self.most
            && let Some(oldest) = part.order.pop_front()
        {
            part.by_id.remove(&oldest);
        }
        part.order.push_back(id);
        part.by_id.insert(id, outcome);
    }

    /// What is known of a request.
    pub fn get(&self, id: Uuid) -> Option<Outcome> {
        self.part(id)?.lock().by_id.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let recent = Recent::new(PARTS * 2);
        let outcome = |time| Outcome {
            time,
            endpoint: None,
            auth_mode: None,
            deployment: None,
            principal: None,
            key: None,
            status: None,
            reason: None,
            detail: None,
        };
        let ids: Vec<Uuid> = (0..3).map(Uuid::from_u128).collect();
        for (time, id) in (0..).zip(&ids) {
            recent.keep(&HeaderValue::try_from(id.to_string()).unwrap(), outcome(time));
        }
        let times: Vec<_> = ids.iter().map(|id| recent.get(*id).map(|outcome| outcome.time)).collect();
        assert_eq!(times, [None, Some(1), Some(2)]);
        recent.keep(&HeaderValue::from_static("not a guid"), outcome(9));
    }
}
