//! The decision, with its explanation.

use uuid::Uuid;

use super::policy::{Action, Denial, Grant, Place, Policy};
use crate::model::role::PrincipalId;

/// Who asks: a principal and the groups it is in, directly or through other groups.
#[derive(Debug, Clone, Copy)]
pub struct Principals<'a> {
    /// The caller's object id.
    pub id: PrincipalId,
    /// Object ids of its groups.
    pub groups: &'a [PrincipalId],
}

impl<'a> Principals<'a> {
    pub(super) fn each(self) -> impl Iterator<Item = PrincipalId> + use<'a> {
        std::iter::once(self.id).chain(self.groups.iter().copied())
    }
}

/// The answer, and what decided it.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'p> {
    /// Allowed by this assignment.
    Allowed(&'p Grant),
    /// Refused by a deny assignment, whatever is granted.
    Denied {
        /// The deny assignment's GUID.
        id: Uuid,
        /// Its name.
        name: &'p str,
    },
    /// Refused because no assignment grants it.
    NotGranted,
}

impl Decision<'_> {
    /// Whether the answer is yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed(_))
    }
}

impl Policy {
    /// Decides whether a caller may do something at a place (of this very policy).
    pub fn decide(&self, who: Principals<'_>, action: &Action, place: &Place) -> Decision<'_> {
        if let Some(denial) = self.denial(who, action, place) {
            return Decision::Denied { id: denial.id, name: &denial.name };
        }
        for principal in who.each() {
            let Some(grants) = self.by_principal.get(&principal) else {
                continue;
            };
            for &scope in &place.lineage {
                let from = grants.partition_point(|(at, _)| *at < scope);
                let here = grants.get(from..).unwrap_or_default().iter().take_while(|(at, _)| *at == scope);
                for (_, index) in here {
                    if let Some(grant) = self.grants.get(*index as usize)
                        && self.covers(grant.rights, action)
                    {
                        return Decision::Allowed(grant);
                    }
                }
            }
        }
        Decision::NotGranted
    }

    /// Whether anything is denied to anybody.
    pub fn has_denials(&self) -> bool {
        !self.denials.is_empty()
    }

    fn denial(&self, who: Principals<'_>, action: &Action, place: &Place) -> Option<&Denial> {
        if self.denials.is_empty() {
            return None;
        }
        let among = |list: &[PrincipalId]| who.each().any(|principal| list.contains(&principal));
        let applies = |scope: u32, denial: &Denial| {
            (!denial.own_scope_only || place.own == Some(scope))
                && (denial.principals.contains(&PrincipalId::EVERYONE) || among(&denial.principals))
                && !among(&denial.exempt)
                && denial.rights.cover(action)
        };
        place.lineage.iter().find_map(|&scope| {
            self.denials.get(&scope).into_iter().flatten().find(|denial| applies(scope, denial))
        })
    }
}

#[cfg(test)]
mod tests;
