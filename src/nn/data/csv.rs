//! CSV files of numbers, plain or gzip: every column a feature but one, the target.
//!
//! - The first row is a header when none of its cells is a number, and data when all of them are; a mixture is an error,
//!   so that no case is taken for a header.
//! - The target is the named column, else the last one.
//! - Every other cell is a finite number; blank lines are skipped; rows are counted as lines of the file, from 1.
//!
//! Laws        tests/data_readers.rs (round trips, every malformation).

use std::io::Read;
use std::path::Path;

use ::csv::{ByteRecord, ReaderBuilder, Trim};

use super::source::{data_error, read_file, reader};
use super::{Dataset, Targets};
use crate::error::{Error, Result};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// The numbers of a CSV file, the target column apart; the caller says whether the target is a class or a value.
///
/// ```
/// use pullback::nn::data::csv;
/// let table = csv::parse::<f64>("wines", b"acid,sugar,kind\n3.1,0.2,1\n2.9,1.5,4\n", None)?;
/// assert_eq!(table.target_name(), Some("kind"));
/// let wines = table.into_classes()?;
/// assert_eq!((wines.d_in(), wines.d_out(), wines.labels()), (2, 2, Some(&[0, 1][..])));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Table<T> {
    name: String,
    names: Vec<String>,
    target: usize,
    inputs: Mat<T>,
    values: Vec<T>,
    rows: Vec<usize>,
}

/// Parses CSV bytes, inflating them where they are gzip. `name` is used in errors.
///
/// # Errors
/// [`Error::Data`] for an empty file, a text cell, a number that is not finite in `T`, a row of another length, a missing
/// or ambiguous target column, broken gzip data.
pub fn parse<T: Scalar>(name: &str, bytes: &[u8], target: Option<&str>) -> Result<Table<T>> {
    let mut text = Vec::new();
    if let Err(e) = reader(bytes).read_to_end(&mut text) {
        return Err(data_error(name, None, format!("broken gzip data after {} bytes: {e}", text.len())));
    }
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text); // byte-order mark
    Parser { name, text }.table(target)
}

/// Reads and parses a file.
///
/// # Errors
/// As [`parse`], and [`Error::Data`] when the file cannot be read.
pub fn read<T: Scalar>(path: &Path, target: Option<&str>) -> Result<Table<T>> {
    parse(&path.display().to_string(), &read_file(path)?, target)
}

impl<T: Scalar> Table<T> {
    /// Name of the target column, where the file has a header.
    pub fn target_name(&self) -> Option<&str> {
        self.names.get(self.target).map(String::as_str)
    }

    /// Number of cases.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no case.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The features as their own targets; the target column is left out.
    ///
    /// # Errors
    /// None; the type is that of its siblings.
    pub fn into_reconstruction(self) -> Result<Dataset<T>> {
        let features = self.feature_names();
        Dataset::new(self.name, self.inputs, Targets::Reconstruction)?.with_names(features, Vec::new())
    }

    /// The target as one value a case.
    ///
    /// # Errors
    /// None; the type is that of its siblings.
    pub fn into_values(self) -> Result<Dataset<T>> {
        let (features, n) = (self.feature_names(), self.values.len());
        let names = self.target_name().map(|name| vec![name.to_owned()]).unwrap_or_default();
        let values = Mat::from_vec(self.values, 1, n)?;
        Dataset::new(self.name, self.inputs, Targets::Values(values))?.with_names(features, names)
    }

    /// The target as a class: the distinct integers of the column, ascending, are classes 0, 1, ...
    ///
    /// # Errors
    /// [`Error::Data`] when a target is not an integer.
    pub fn into_classes(self) -> Result<Dataset<T>> {
        let mut labels = Vec::with_capacity(self.values.len());
        for (&value, &row) in self.values.iter().zip(&self.rows) {
            match value.f64() {
                v if v.fract() == 0.0 && v.abs() <= LARGEST_CLASS => labels.push(v as i64),
                v => return Err(data_error(&self.name, Some(row), format!("class {v} is not an integer"))),
            }
        }
        let mut classes = labels.clone();
        classes.sort_unstable();
        classes.dedup();
        let features = self.feature_names();
        let labels = labels.iter().map(|label| classes.partition_point(|class| class < label)).collect();
        let targets = Targets::Classes { labels, count: classes.len() };
        let names = classes.iter().map(i64::to_string).collect();
        Dataset::new(self.name, self.inputs, targets)?.with_names(features, names)
    }

    fn feature_names(&self) -> Vec<String> {
        let others = self.names.iter().enumerate().filter(|&(i, _)| i != self.target);
        others.map(|(_, name)| name.clone()).collect()
    }
}

/// Up to here every integer is exact in f32, so that two classes cannot become one.
const LARGEST_CLASS: f64 = (1 << 24) as f64;

struct Parser<'a> {
    name: &'a str,
    text: &'a [u8],
}

impl Parser<'_> {
    fn table<T: Scalar>(&self, target: Option<&str>) -> Result<Table<T>> {
        let mut csv = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(self.text);
        let mut record = ByteRecord::new();
        let mut next = |record: &mut ByteRecord| match csv.read_byte_record(record) {
            Ok(more) => Ok(more),
            Err(e) => Err(data_error(self.name, None, e.to_string())),
        };
        if !next(&mut record)? {
            return Err(data_error(self.name, None, "the file is empty"));
        }
        let width = record.len();
        if width < 2 {
            return Err(
                self.fail(&record, format!("{width} column: a feature and a target need two (comma-separated)"))
            );
        }
        let names = self.header(&record)?;
        let mut table = Table {
            name: self.name.to_owned(),
            target: self.target(&names, width, target)?,
            names,
            inputs: Mat::zeros(0, 0),
            values: Vec::new(),
            rows: Vec::new(),
        };
        let mut lines = LineCounter::default();
        let mut inputs = Vec::new();
        let mut more = table.names.is_empty() || next(&mut record)?;
        while more {
            if record.len() != width {
                return Err(self.fail(&record, format!("{} cells, the first row has {width}", record.len())));
            }
            for (column, cell) in record.iter().enumerate() {
                let value = self.number(&record, &table.names, column, cell)?;
                if column == table.target { table.values.push(value) } else { inputs.push(value) }
            }
            table.rows.push(lines.line(self.text, start(&record)));
            more = next(&mut record)?;
        }
        if table.values.is_empty() {
            return Err(data_error(self.name, None, "a header, but no rows of numbers"));
        }
        table.inputs = Mat::from_vec(inputs, width - 1, table.values.len())?;
        Ok(table)
    }

    /// The names in the first row, none where it is data.
    fn header(&self, first: &ByteRecord) -> Result<Vec<String>> {
        let text_at = first.iter().position(|cell| parse_f64(cell).is_none());
        let number_at = first.iter().position(|cell| parse_f64(cell).is_some());
        match (text_at, number_at) {
            (None, _) => Ok(Vec::new()),
            (_, None) => Ok(first.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()),
            (Some(text), Some(_)) => {
                let what = "neither a header (no numbers) nor data (only numbers)";
                Err(self.fail(first, format!("{what}: column {} holds {}", text + 1, shown(&first[text]))))
            }
        }
    }

    fn target(&self, names: &[String], width: usize, wanted: Option<&str>) -> Result<usize> {
        let Some(wanted) = wanted else { return Ok(width - 1) };
        let fail = |row, what| Err(data_error(self.name, row, what));
        let mut matching = names.iter().enumerate().filter(|(_, name)| *name == wanted).map(|(i, _)| i);
        match (matching.next(), matching.next()) {
            (Some(column), None) => Ok(column),
            (Some(_), Some(_)) => fail(Some(1), format!("two columns are named `{wanted}`")),
            (None, _) if names.is_empty() => fail(None, format!("no header line, so no column is named `{wanted}`")),
            (None, _) => fail(Some(1), format!("no column is named `{wanted}`; there are {}", list(names))),
        }
    }

    fn number<T: Scalar>(&self, record: &ByteRecord, names: &[String], column: usize, cell: &[u8]) -> Result<T> {
        let what = match parse_f64(cell) {
            Some(value) if T::of(value).is_finite() => return Ok(T::of(value)),
            Some(value) if value.is_finite() => format!("which overflows {}", T::NAME),
            Some(_) => "not a finite number".to_owned(),
            None => "not a number".to_owned(),
        };
        let column = names.get(column).map_or_else(|| format!("{}", column + 1), |name| format!("`{name}`"));
        Err(self.fail(record, format!("column {column} holds {}, {what}", shown(cell))))
    }

    fn fail(&self, record: &ByteRecord, what: String) -> Error {
        let line = LineCounter::default().line(self.text, start(record));
        data_error(self.name, Some(line), what)
    }
}

fn parse_f64(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

/// A cell in an error message: in quotes, in one line, and not too long.
fn shown(cell: &[u8]) -> String {
    const SHOWN: usize = 24;
    let text = String::from_utf8_lossy(cell);
    let short: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    format!("`{short}{}`", if text.chars().nth(SHOWN).is_some() { "..." } else { "" })
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| self::shown(name.as_bytes())).collect();
    if names.len() > SHOWN {
        shown.push(format!("... ({} in all)", names.len()));
    }
    shown.join(", ")
}

fn start(record: &ByteRecord) -> usize {
    record.position().map_or(0, |p| usize::try_from(p.byte()).unwrap_or(usize::MAX))
}

/// Lines of ascending offsets, counted once. The parser's own positions point before the blank lines that it skips.
#[derive(Default)]
struct LineCounter {
    offset: usize,
    line: usize,
}

impl LineCounter {
    fn line(&mut self, text: &[u8], record: usize) -> usize {
        let mut end = record.min(text.len());
        while text.get(end).is_some_and(|b| matches!(b, b'\r' | b'\n')) {
            end += 1;
        }
        self.line += text[self.offset.min(end)..end].iter().filter(|&&b| b == b'\n').count();
        self.offset = end;
        self.line + 1
    }
}
