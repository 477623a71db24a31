//! `cargo +nightly fuzz run statistics`: see tests/fuzz_bodies/statistics.rs.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::statistics::run(data));
