//! A file that appears under its name only when it is complete: written beside it, renamed at the end.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Failure;

/// A file in the making.
pub struct Output {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Output {
    /// Makes the folder where it is missing, and finds out now whether the file can be written.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let refuse = |why: String| -> Failure { format!("{}: cannot be written: {why}", path.display()).into() };
        if path.is_dir() || path.file_name().is_none() {
            return Err(refuse("it is a folder".to_owned()));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| refuse(e.to_string()))?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the umask, as for any new file
        }
        let file = builder.prefix(".train-").tempfile_in(folder).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Puts the file in its place.
    pub fn finish(self) -> Result<PathBuf, Failure> {
        let Self { path, file } = self;
        let refuse = |e: io::Error| -> Failure { format!("{}: cannot be written: {e}", path.display()).into() };
        let file = file.into_inner().map_err(|e| refuse(e.into_error()))?;
        file.persist(&path).map_err(|e| refuse(e.error))?;
        Ok(path)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
