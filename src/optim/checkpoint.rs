//! Checkpoints: a run in a file, from which it goes on to the same bits.
//!
//! ```text
//! offset  bytes
//! 0       8    "PULLBACK"
//! 8       4    version of this format
//! 12      4    length of the header
//! 16      8    length of the payload
//! 24      4    CRC-32 of header and payload
//! 28           header: version of the crate, scalar type, kind of run, shapes of the layers
//!              payload: the state
//! ```
//! Numbers are little-endian; header and payload are in the postcard encoding, in which a float is its bits. The payload
//! does not describe itself, so the header must be that of the run which reads it, up to the version of the crate.
//!
//! Safety      A save writes `NAME.partial` beside the file, flushes it to the disk and renames it: a process killed in
//!             between leaves the old file whole. Whatever the bytes of a file, reading it gives a state or an error.
//! Cost        one copy of the state in memory, one sequential write or read.
//! Laws        tests/checkpoint.rs, tests/resumption.rs (every optimizer), tests/fuzz_bodies/checkpoint.rs.
//! Reference   T. S. Pillai et al., All file systems are not created equal, OSDI 2014 (write, flush, rename, flush the
//!             folder).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ParamLayout;
use crate::error::{Error, Result};
use crate::scalar::Scalar;

const MAGIC: &[u8; 8] = b"PULLBACK";
const FORMAT: u32 = 1;
const PREFIX: usize = 28;

/// What a checkpoint belongs to: it is read only by a run of the same kind over the same layers.
///
/// ```
/// use pullback::optim::checkpoint::Run;
/// use pullback::optim::{MomentumKind, ParamLayout, Sgd};
/// let layout = ParamLayout::new([(2, 3)]);
/// let run = Run { kind: "sgd", layout: &layout };
/// let (sgd, theta) = (Sgd::new(0.1, 0.9, MomentumKind::Nesterov)?, vec![1.0; 6]);
/// let bytes = run.to_bytes::<f64, _>(&(&sgd, &theta))?;
/// let (_sgd, same): (Sgd<f64>, Vec<f64>) = run.from_bytes::<f64, _>(&bytes, "memory")?;
/// assert_eq!(same, theta);
/// let other = Run { kind: "adam", ..run };
/// assert!(other.from_bytes::<f64, (Sgd<f64>, Vec<f64>)>(&bytes, "memory").is_err());
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The caller's name for what the state is: optimizers, data set, whatever must agree.
    pub kind: &'a str,
    /// The layers.
    pub layout: &'a ParamLayout,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    crate_version: String,
    scalar: String,
    kind: String,
    shapes: Vec<(usize, usize)>,
}

impl Run<'_> {
    /// Writes the state to a file, which holds the old contents or the new ones at any time: see [Safety](self).
    ///
    /// # Errors
    /// [`Error::Data`] when the state cannot be encoded or the file cannot be written; an old file is then untouched.
    pub fn save<T: Scalar, S: Serialize>(&self, path: &Path, state: &S) -> Result<()> {
        let bytes = self.to_bytes::<T, S>(state)?;
        let partial = partial_path(path);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&partial)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            sync_folder(path)
        };
        write().map_err(|error| {
            // what is left of it is of no use; the error is that of the write
            let _ = fs::remove_file(&partial);
            refuse(&path.display().to_string(), format!("the checkpoint cannot be written: {error}"))
        })
    }

    /// Reads the state from a file.
    ///
    /// # Errors
    /// [`Error::Data`] that says what is wrong and what to do: no such file, truncated or corrupt, another format or
    /// version of the crate, another scalar type, kind or architecture.
    pub fn load<T: Scalar, S: DeserializeOwned>(&self, path: &Path) -> Result<S> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| refuse(&name, format!("the checkpoint cannot be read: {error}")))?;
        self.from_bytes::<T, S>(&bytes, &name)
    }

    /// The contents of the file.
    ///
    /// # Errors
    /// [`Error::Data`] when the state cannot be encoded.
    pub fn to_bytes<T: Scalar, S: Serialize>(&self, state: &S) -> Result<Vec<u8>> {
        let header = Header {
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            scalar: T::NAME.to_owned(),
            kind: self.kind.to_owned(),
            shapes: self.layout.clone().into(),
        };
        let failed = |error: postcard::Error| refuse("checkpoint", format!("the state cannot be encoded: {error}"));
        let mut bytes = vec![0; PREFIX];
        bytes = postcard::to_extend(&header, bytes).map_err(failed)?;
        let header_len = bytes.len() - PREFIX;
        bytes = postcard::to_extend(state, bytes).map_err(failed)?;
        let (header_len, payload_len) = (header_len as u32, (bytes.len() - PREFIX - header_len) as u64);
        let crc = crc32fast::hash(&bytes[PREFIX..]);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&header_len.to_le_bytes());
        bytes[16..24].copy_from_slice(&payload_len.to_le_bytes());
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// The state in the contents of a file; `name` is for the messages.
    ///
    /// # Errors
    /// As [`Run::load`].
    pub fn from_bytes<T: Scalar, S: DeserializeOwned>(&self, bytes: &[u8], name: &str) -> Result<S> {
        let (header, payload) = sections(bytes).map_err(|what| refuse(name, what))?;
        self.check::<T>(&header).map_err(|what| refuse(name, what))?;
        match postcard::take_from_bytes::<S>(payload) {
            Ok((state, [])) => Ok(state),
            Ok(_) => {
                Err(refuse(name, "the state is followed by bytes that are none of it; start a new run".to_owned()))
            }
            Err(error) => Err(refuse(name, format!("no state of this kind ({error}); start a new run"))),
        }
    }

    /// `Ok` for a header that this run would have written, else what differs.
    fn check<T: Scalar>(&self, header: &Header) -> std::result::Result<(), String> {
        let Header { crate_version, scalar, kind, shapes } = header;
        let ours = env!("CARGO_PKG_VERSION");
        if crate_version != ours {
            return Err(format!(
                "written by version {crate_version}, this is {ours}; go on with that version, or start anew"
            ));
        }
        if scalar != T::NAME {
            return Err(format!("the numbers are {scalar}, this run computes in {}; resume in {scalar}", T::NAME));
        }
        if kind != self.kind {
            return Err(format!(
                "this is a checkpoint of `{kind}`, not of `{}`; resume with the options it has",
                self.kind
            ));
        }
        let our_shapes = Vec::from(self.layout.clone());
        if *shapes != our_shapes {
            let (theirs, ours) = (Shapes(shapes), Shapes(&our_shapes));
            return Err(format!(
                "the layers are {theirs}, those of this run {ours}; resume with the same architecture"
            ));
        }
        Ok(())
    }
}

/// Header and payload, their lengths and checksum being right; else what is wrong.
fn sections(bytes: &[u8]) -> std::result::Result<(Header, &[u8]), String> {
    if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) {
        return Err("this is no checkpoint (it does not start with PULLBACK); check the path".to_owned());
    }
    let truncated = |needed: Option<u64>| {
        let needed = needed.map_or_else(|| format!("at least {PREFIX}"), |n| n.to_string());
        format!("truncated: {} bytes of {needed}; go back to an older checkpoint, or start a new run", bytes.len())
    };
    let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else { return Err(truncated(None)) };
    let number = |at: std::ops::Range<usize>| prefix[at].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let (format, header_len, payload_len, crc) = (number(8..12), number(12..16), number(16..24), number(24..28));
    if format != u64::from(FORMAT) {
        return Err(format!("format {format}, this version reads {FORMAT}; go on with the version that wrote it"));
    }
    let needed = payload_len.saturating_add(header_len);
    if (rest.len() as u64) < needed {
        return Err(truncated(Some(needed.saturating_add(PREFIX as u64))));
    }
    if rest.len() as u64 > needed || crc != u64::from(crc32fast::hash(rest)) {
        return Err("the checksum does not match: the file was damaged; go back to an older checkpoint".to_owned());
    }
    // within the length of `rest`
    let (header, payload) = rest.split_at(header_len as usize);
    match postcard::take_from_bytes::<Header>(header) {
        Ok((header, [])) => Ok((header, payload)),
        _ => Err("the header cannot be decoded; start a new run".to_owned()),
    }
}

fn refuse(file: &str, what: String) -> Error {
    Error::Data { file: file.to_owned(), row: None, what }
}

/// Beside the file, so that the rename stays within one file system.
fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Flushes the folder's entry of the file, where the system can.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Layers as d_out x d_in, at most eight of them.
struct Shapes<'a>(&'a [(usize, usize)]);

impl std::fmt::Display for Shapes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MOST: usize = 8;
        let shown: Vec<String> = self.0.iter().take(MOST).map(|(rows, cols)| format!("{rows}x{cols}")).collect();
        let more = if self.0.len() > MOST { format!(" and {} more", self.0.len() - MOST) } else { String::new() };
        if shown.is_empty() { f.write_str("none") } else { write!(f, "{}{more}", shown.join(" ")) }
    }
}
