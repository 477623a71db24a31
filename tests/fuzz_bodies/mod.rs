//! What the fuzz targets do with their bytes. The same bodies are replayed by `cargo test` over the committed corpus
//! (tests/fuzz_replay.rs), so that a finding, once its input is in the corpus, stays found.
#![allow(dead_code)] // each target uses one body

pub mod block_trees;
pub mod checkpoint;
#[cfg(feature = "nn")]
pub mod command_line;
#[cfg(feature = "nn")]
pub mod csv;
pub mod factorizations;
#[cfg(feature = "nn")]
pub mod idx;
pub mod pcg;
pub mod statistics;
pub mod views;

use pullback::Scalar;

/// A body: panics when a law is broken.
pub type Body = fn(&[u8]);

/// Every body by the name of its target.
pub fn all() -> Vec<(&'static str, Body)> {
    vec![
        ("views", views::run as Body),
        ("factorizations", factorizations::run),
        ("pcg", pcg::run),
        ("block_trees", block_trees::run),
        ("statistics", statistics::run),
        ("checkpoint", checkpoint::run),
        #[cfg(feature = "nn")]
        ("idx", idx::run),
        #[cfg(feature = "nn")]
        ("csv", csv::run),
        #[cfg(feature = "nn")]
        ("command_line", command_line::run),
    ]
}

/// Reads numbers off a byte string; after its end everything is zero.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    /// 0..=max.
    pub fn upto(&mut self, max: usize) -> usize {
        usize::from(self.byte()) % (max + 1)
    }

    pub fn bits(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |bits, i| bits | u64::from(self.byte()) << (8 * i))
    }

    /// A small number, or (one time in eight) any number at all.
    pub fn size(&mut self, usual: usize) -> usize {
        if self.byte() % 8 == 7 { self.bits(8) as usize } else { self.upto(usual) }
    }

    /// Any bit pattern: NaN, infinities, subnormal numbers, both zeros.
    pub fn scalar<T: Scalar>(&mut self) -> T {
        match T::NAME {
            "f32" => T::of(f64::from(f32::from_bits(self.bits(4) as u32))),
            _ => T::of(f64::from_bits(self.bits(8))),
        }
    }

    /// An ordinary number in [-8, 8).
    pub fn ordinary<T: Scalar>(&mut self) -> T {
        T::of(f64::from(self.bits(2) as u16 as i16) / 4096.0)
    }
}
