//! `cargo +nightly fuzz run factorizations`: see tests/fuzz_bodies/factorizations.rs.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::factorizations::run(data));
