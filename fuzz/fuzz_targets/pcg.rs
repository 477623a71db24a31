//! `cargo +nightly fuzz run pcg`: see tests/fuzz_bodies/pcg.rs.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::pcg::run(data));
