//! Azure role-based access control as pure functions: who may do what, where, and by which assignment.
//!
//! [`Policy::compile`] turns definitions and assignments into tables; [`Policy::decide`] answers from them in a
//! time that depends on the depth of the target and on the caller's groups, not on how much is granted elsewhere.
//! The rules are those of "Azure RBAC: how access is determined": union of grants, `notActions` inside one
//! permission only, deny assignments above all, inheritance by whole segments, no regard to case.

pub mod builtin;
mod decide;
pub mod job;
mod pattern;
mod policy;
pub mod reference;

pub use decide::{Decision, Principals};
pub use pattern::{ActionPattern, PatternError};
pub use policy::{
    Action, ActionKind, Grant, InertGrant, ManagementGroups, Place, Policy, PolicyInput, role_covers,
};

/// The right to score an online endpoint. It is an action, not a data action (Azure ML resource provider operations).
pub const SCORE: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action";
