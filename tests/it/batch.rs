//! Batch endpoints: jobs, whose they are, what becomes of them.

mod authority;
mod crashes;
mod failures;
mod jobs;
mod shared;
mod walk;
