//! IDX files, the format of MNIST and its descendants, plain or gzip.
//!
//! ```text
//! 00 00 | type code 08 = unsigned byte | rank 1..3 | rank sizes, u32 big-endian | bytes, last index fastest
//! ```
//! Images have rank 3 (count x rows x columns) or 2 (count x features), labels rank 1. Pixels become x / 255.
//!
//! Memory follows what a file holds, never what its header promises.
//!
//! Laws        tests/data_readers.rs (round trips, every malformation).
//! Reference   Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits, 1998.

use std::path::{Path, PathBuf};

use super::source::{data_error, read_file, read_up_to, reader};
use super::{Dataset, Targets};
use crate::error::Result;
use crate::mat::Mat;
use crate::scalar::Scalar;

/// An array of bytes of rank 1, 2 or 3.
///
/// ```
/// use pullback::nn::data::idx;
/// let labels = idx::parse("labels", &[0, 0, 8, 1, 0, 0, 0, 2, 7, 9])?;
/// assert_eq!((labels.sizes(), labels.bytes()), (&[2][..], &[7, 9][..]));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    name: String,
    sizes: Vec<usize>,
    bytes: Vec<u8>,
}

impl Idx {
    /// The sizes, the slowest index first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The elements, last index fastest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn sizes_text(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// Parses an IDX file of unsigned bytes, inflating it where it is gzip. `name` is used in errors.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for anything but one well-formed array: another magic number, element type or
/// rank, sizes whose product overflows, too few or too many bytes, broken gzip data.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Idx> {
    let fail = |what: String| Err(data_error(name, None, what));
    let mut from = reader(bytes);
    let magic = read_up_to(name, &mut from, 4)?;
    let rank = match magic[..] {
        [0, 0, 8, rank @ 1..=3] => usize::from(rank),
        [0, 0, 8, rank] => return fail(format!("IDX of rank {rank}; ranks 1, 2 and 3 are read")),
        [0, 0, code, _] => return fail(format!("IDX element type 0x{code:02x}; only unsigned bytes (0x08) are read")),
        [_, _, _, _] => {
            let found = magic.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
            return fail(format!("not an IDX file: it starts with {found}, an IDX file of bytes with 00 00 08"));
        }
        _ => return fail(format!("truncated: {} bytes, an IDX header has at least 8", magic.len())),
    };
    let header = read_up_to(name, &mut from, 4 * rank as u64)?;
    if header.len() < 4 * rank {
        return fail(format!("truncated in the header: rank {rank} needs {} bytes", 4 + 4 * rank));
    }
    let big_endian = |b: &[u8]| b.iter().fold(0usize, |x, &b| x << 8 | usize::from(b));
    let sizes: Vec<usize> = header.chunks(4).map(big_endian).collect();
    let Some(total) = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)) else {
        return fail(format!("absurd sizes in the header: {}", sizes_text(&sizes)));
    };
    // one more byte than promised, to see whether something follows
    let elements = read_up_to(name, &mut from, (total as u64).saturating_add(1))?;
    if elements.len() < total {
        let (sizes, found) = (sizes_text(&sizes), elements.len());
        return fail(format!("truncated: the header promises {sizes} = {total} bytes, {found} are there"));
    }
    if elements.len() > total {
        return fail(format!("bytes follow the {} = {total} that the header promises", sizes_text(&sizes)));
    }
    Ok(Idx { name: name.to_owned(), sizes, bytes: elements })
}

/// Reads and parses a file.
///
/// # Errors
/// As [`parse`], and [`Error::Data`](crate::Error::Data) when the file cannot be read.
pub fn read(path: &Path) -> Result<Idx> {
    parse(&path.display().to_string(), &read_file(path)?)
}

/// Images (rank 2 or 3) and labels (rank 1) of as many cases, as a data set of `classes` classes, or of as many as the
/// largest label asks for.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for other ranks, no images, differing counts, or a label of no class.
pub fn dataset<T: Scalar>(images: &Idx, labels: &Idx, classes: Option<usize>) -> Result<Dataset<T>> {
    let fail = |of: &Idx, row: Option<usize>, what: String| Err(data_error(&of.name, row, what));
    let [count, features @ ..] = &images.sizes[..] else {
        return fail(images, None, "images need rank 2 or 3, found rank 0".to_owned());
    };
    let d: usize = features.iter().product();
    if features.is_empty() {
        return fail(images, None, "images need rank 2 or 3, found rank 1: are these the labels?".to_owned());
    }
    if *count == 0 || d == 0 {
        return fail(images, None, format!("no pixels: {}", sizes_text(&images.sizes)));
    }
    if labels.sizes.len() != 1 {
        return fail(labels, None, format!("labels need rank 1, found rank {}", labels.sizes.len()));
    }
    if labels.bytes.len() != *count {
        return fail(labels, None, format!("{} labels for the {count} images of {}", labels.bytes.len(), images.name));
    }
    let largest = labels.bytes.iter().copied().max().map_or(0, usize::from);
    let classes = classes.unwrap_or(largest + 1);
    if let Some(at) = labels.bytes.iter().position(|&l| usize::from(l) >= classes) {
        return fail(labels, Some(at + 1), format!("label {} with only {classes} classes", labels.bytes[at]));
    }
    let pixels = images.bytes.iter().map(|&b| T::of(f64::from(b) / 255.0)).collect();
    let inputs = Mat::from_vec(pixels, d, *count)?;
    let targets = Targets::Classes { labels: labels.bytes.iter().map(|&l| usize::from(l)).collect(), count: classes };
    Dataset::new(images.name.clone(), inputs, targets)
}

/// (training set, test set) of a directory with the four files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
/// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each as it is or with `.gz` appended.
///
/// # Errors
/// As [`read`] and [`dataset`]; also when the two sets' images differ in size or one of the files is missing.
pub fn read_directory<T: Scalar>(directory: &Path) -> Result<(Dataset<T>, Dataset<T>)> {
    let read_one = |stem: &str| read(&existing(directory, stem)?);
    let train = (read_one("train-images-idx3-ubyte")?, read_one("train-labels-idx1-ubyte")?);
    let test = (read_one("t10k-images-idx3-ubyte")?, read_one("t10k-labels-idx1-ubyte")?);
    if train.0.sizes[1..] != test.0.sizes[1..] {
        let (a, b) = (sizes_text(&train.0.sizes[1..]), sizes_text(&test.0.sizes[1..]));
        return Err(data_error(&test.0.name, None, format!("images of {b} pixels, those for training have {a}")));
    }
    let classes = train.1.bytes.iter().chain(&test.1.bytes).max().map(|&l| usize::from(l) + 1);
    Ok((dataset(&train.0, &train.1, classes)?, dataset(&test.0, &test.1, classes)?))
}

fn existing(directory: &Path, stem: &str) -> Result<PathBuf> {
    let candidates = [directory.join(stem), directory.join(format!("{stem}.gz"))];
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        data_error(&directory.display().to_string(), None, format!("holds neither {stem} nor {stem}.gz"))
    })
}
