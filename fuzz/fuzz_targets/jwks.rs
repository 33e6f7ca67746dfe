#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| scoregate_fuzz::jwks::check(input));
