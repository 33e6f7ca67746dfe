//! What copies of requests for a shadow deployment need besides sending them: what is kept of bodies and how much in
//! all, how two answers compare, and what is known of all of it.
//!
//! Nothing here waits or sends; `proxy::mirror` does.

mod budget;
pub mod compare;
mod tally;
mod tee;

pub use budget::{Budget, Share};
pub use tally::{Compared, Dropped, Noted, Outcome, Quantiles, Report, Tally};
pub use tee::{Kept, Tee};
