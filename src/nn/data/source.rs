//! Where bytes come from: files, plain or gzip, the latter known by its magic bytes and not by its name.

use std::io::Read;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// [`Error::Data`] in short.
pub(super) fn data_error(file: &str, row: Option<usize>, what: impl Into<String>) -> Error {
    Error::Data { file: file.to_owned(), row, what: what.into() }
}

/// All bytes of a file, still compressed.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| data_error(&path.display().to_string(), None, format!("cannot be read: {e}")))
}

/// Reads `bytes`, inflating them on the way where they are gzip (first bytes 1f 8b; several members are joined).
pub(super) fn reader(bytes: &[u8]) -> Box<dyn Read + '_> {
    match bytes {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(bytes)),
        _ => Box::new(bytes),
    }
}

/// Reads at most `limit` bytes; the buffer grows with what is there, never with what a header promises.
pub(super) fn read_up_to(name: &str, from: &mut dyn Read, limit: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match from.take(limit).read_to_end(&mut out) {
        Ok(_) => Ok(out),
        Err(e) => Err(data_error(name, None, format!("broken gzip data after {} bytes: {e}", out.len()))),
    }
}
