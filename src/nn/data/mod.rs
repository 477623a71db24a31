//! Data sets: bundled digits, a CURVES-like generator, IDX and CSV readers.
