//! The way to instances: which one takes a request, connections, kept and shared out, and the one exchange that
//! everything goes through.

mod adaptive;
mod body;
mod choice;
mod connect;
mod exchange;
mod fleet;
mod instance;
mod outlier;
mod pool;
mod reach;
mod replay;
mod standing;
mod tls;

pub use body::{BodyError, BodyFlow, RequestBody};
pub use connect::{ConnectError, Stream, addresses};
pub use exchange::{Exchange, SendError};
pub use fleet::{Fleet, FleetRules, Members, NoPlace};
pub use instance::{ExchangeError, Instance, Lease};
pub use pool::Bounds;
pub use reach::Reach;
pub use replay::Replay;
pub use standing::Out;
