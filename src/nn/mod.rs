//! The MLP harness: networks, losses, products with J, G and H, captures, and data readers.

pub mod data;
