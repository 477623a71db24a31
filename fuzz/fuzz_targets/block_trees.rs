//! `cargo +nightly fuzz run block_trees`: see tests/fuzz_bodies/block_trees.rs.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::block_trees::run(data));
