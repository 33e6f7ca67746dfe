#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| scoregate_fuzz::batch_uri::check(input));
