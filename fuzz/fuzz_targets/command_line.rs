//! `cargo +nightly fuzz run command_line`: see tests/fuzz_bodies/command_line.rs.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::command_line::run(data));
