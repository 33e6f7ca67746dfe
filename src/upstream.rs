//! The way to instances: connections, kept and shared out, and the one exchange that everything goes through.

mod body;
mod connect;
mod exchange;
mod instance;
mod pool;

pub use body::{BodyError, BodyFlow, RequestBody};
pub use connect::{ConnectError, Connector};
pub use exchange::{Exchange, SendError};
pub use instance::{ExchangeError, Instance, InstanceKey, Lease};
pub use pool::Bounds;
