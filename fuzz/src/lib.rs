//! What must hold whatever comes in: one property for each parser, and for the whole way of a request.
//!
//! Each target is a function of bytes that panics if its property does not hold. libFuzzer calls it with inputs of its
//! own making (`fuzz_targets/`); the gateway's tests call it with every file of `corpus/` (`tests/it/fuzz.rs`).

mod input;
mod way;
mod wire;

macro_rules! targets {
    ($($name:ident),*) => {
        $(pub mod $name;)*
        /// Every target by its name.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::check)),*];
    };
}

targets!(
    answer,
    authority,
    batch_uri,
    control_body,
    discovery,
    document,
    headers,
    http1,
    http2,
    jwks,
    path,
    rbac,
    record,
    resource_id,
    token
);
