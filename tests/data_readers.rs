//! IDX and CSV readers: what is written comes back, and everything malformed is one clear line with file and row.
#![cfg(feature = "nn")]

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use pullback::nn::data::idx::{self, Idx};
use pullback::nn::data::{Targets, csv};
use pullback::{Error, Scalar};

fn idx_bytes(sizes: &[usize], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|&size| bytes.extend((size as u32).to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The parts of a data error, which must be one line that names the file.
fn data_error<R: std::fmt::Debug>(result: Result<R, Error>) -> (Option<usize>, String) {
    match result {
        Err(error @ Error::Data { .. }) => {
            let line = error.to_string();
            let Error::Data { file, row, what } = error else { unreachable!() };
            assert!(line.starts_with(&file) && !line.contains('\n') && line.contains(&what), "{line:?}");
            if let Some(row) = row {
                assert!(line.contains(&format!("row {row}")), "{line:?}");
            }
            (row, what)
        }
        other => panic!("not a data error: {other:?}"),
    }
}

#[track_caller]
fn refused<R: std::fmt::Debug>(result: Result<R, Error>, row: Option<usize>, says: &str) {
    let (found, what) = data_error(result);
    assert!(what.contains(says), "{what:?} does not say {says:?}");
    assert_eq!(found, row, "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn idx_comes_back(sizes in prop::collection::vec(0usize..7, 1..=3), seed in any::<u8>(), zipped in any::<bool>()) {
        let total: usize = sizes.iter().product();
        let elements: Vec<u8> = (0..total).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
        let plain = idx_bytes(&sizes, &elements);
        let bytes = if zipped { gzip(&plain) } else { plain };
        let parsed = idx::parse("x", &bytes).unwrap();
        prop_assert_eq!(parsed.sizes(), &sizes[..]);
        prop_assert_eq!(parsed.bytes(), &elements[..]);
    }

    #[test]
    fn every_other_length_of_an_idx_is_refused(cut in 0usize..18, extra in 1usize..5, zipped in any::<bool>()) {
        let whole = idx_bytes(&[3, 2], &[1, 2, 3, 4, 5, 6]);
        let pack = |bytes: &[u8]| if zipped { gzip(bytes) } else { bytes.to_vec() };
        prop_assert!(idx::parse("x", &pack(&whole)).is_ok());
        data_error(idx::parse("x", &pack(&whole[..cut])));
        data_error(idx::parse("x", &pack(&[&whole[..], &vec![0; extra]].concat())));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
        let prefix: &[u8] = [&b""[..], &[0, 0, 8, 3], &[0x1f, 0x8b, 8, 0], b"a,b\n1,2\n"][kind];
        let bytes = [prefix, &bytes].concat();
        if let Ok(array) = idx::parse("x", &bytes) {
            prop_assert_eq!(array.bytes().len(), array.sizes().iter().product::<usize>());
            let _ = idx::dataset::<f32>(&array, &array, None);
        }
        if let Ok(table) = csv::parse::<f32>("x", &bytes, None) {
            let n = table.len();
            prop_assert!(n > 0);
            prop_assert_eq!(table.clone().into_values().unwrap().len(), n);
            let _ = table.into_classes();
        }
    }

    #[test]
    fn csv_comes_back(
        rows in (2usize..6).prop_flat_map(|width| prop::collection::vec(prop::collection::vec(-1e30f64..1e30, width), 1..20)),
        header in any::<bool>(), target in any::<prop::sample::Index>(), crlf in any::<bool>(), zipped in any::<bool>(),
    ) {
        let width = rows[0].len();
        let target = if header { target.index(width) } else { width - 1 };
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = String::new();
        if header {
            text += &(0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
            text += end;
        }
        for row in &rows {
            // {:?} prints the shortest decimal that reads back to the same number
            text += &row.iter().map(|x| format!("{x:?}")).collect::<Vec<_>>().join(" , ");
            text += end;
        }
        let bytes = if zipped { gzip(text.as_bytes()) } else { text.into_bytes() };
        let name = format!("c{target}");
        let set = csv::parse::<f64>("x", &bytes, header.then_some(&name)).unwrap().into_values().unwrap();
        prop_assert_eq!((set.d_in(), set.len()), (width - 1, rows.len()));
        let Targets::Values(values) = set.targets() else { panic!() };
        for (j, row) in rows.iter().enumerate() {
            let features: Vec<f64> = (0..width).filter(|&i| i != target).map(|i| row[i]).collect();
            prop_assert_eq!(set.inputs().col(j), &features[..]);
            prop_assert_eq!(values[(0, j)], row[target]);
        }
        if header {
            prop_assert_eq!(set.target_names(), &[name][..]);
            prop_assert_eq!(set.feature_names().len(), width - 1);
        } else {
            prop_assert!(set.feature_names().is_empty());
        }
    }
}

#[test]
fn malformed_idx() {
    let parse = |bytes: &[u8]| idx::parse("digits.idx", bytes);
    refused(parse(b""), None, "truncated: 0 bytes");
    refused(parse(&[0, 0, 8]), None, "truncated: 3 bytes");
    refused(parse(b"\x89PNG\r\n"), None, "starts with 89 50 4e 47");
    refused(parse(&[0, 0, 0x0d, 1, 0, 0, 0, 0]), None, "element type 0x0d");
    refused(parse(&[0, 0, 8, 0]), None, "rank 0");
    refused(parse(&[0, 0, 8, 4]), None, "rank 4");
    refused(parse(&[0, 0, 8, 3, 0, 0, 0, 1, 0]), None, "rank 3 needs 16 bytes");
    refused(parse(&idx_bytes(&[2, 2], &[1, 2, 3])), None, "promises 2 x 2 = 4 bytes, 3 are there");
    refused(parse(&idx_bytes(&[2, 2], &[1, 2, 3, 4, 5])), None, "bytes follow");
    refused(parse(&idx_bytes(&[u32::MAX as usize; 3], &[1])), None, "absurd sizes");
    // 16 EiB fit a 64-bit product: no allocation may follow the header
    refused(parse(&idx_bytes(&[u32::MAX as usize; 2], &[1])), None, "1 are there");
    let zipped = gzip(&idx_bytes(&[300], &[7; 300]));
    refused(parse(&zipped[..zipped.len() - 9]), None, "gzip");
    let mut flipped = zipped.clone();
    let crc = flipped.len() - 6;
    flipped[crc] ^= 1;
    refused(parse(&flipped), None, "gzip");
    refused(parse(&[&zipped[..], b"tail"].concat()), None, "gzip");
}

#[test]
fn images_and_labels_must_fit() {
    let parse = |name: &str, sizes: &[usize], elements: &[u8]| idx::parse(name, &idx_bytes(sizes, elements)).unwrap();
    let images = parse("images", &[2, 2, 1], &[0, 255, 51, 102]);
    let labels = parse("labels", &[2], &[1, 0]);
    let set = idx::dataset::<f64>(&images, &labels, None).unwrap();
    assert_eq!((set.inputs().shape(), set.d_out(), set.labels()), ((2, 2), 2, Some(&[1, 0][..])));
    assert_eq!(set.inputs().as_slice(), [0.0, 1.0, 0.2, 0.4]);
    assert_eq!(idx::dataset::<f32>(&images, &labels, Some(10)).unwrap().d_out(), 10);
    let make = |images: &Idx, labels: &Idx, classes| idx::dataset::<f32>(images, labels, classes);
    refused(make(&images, &parse("labels", &[3], &[1, 0, 1]), None), None, "3 labels for the 2 images");
    refused(make(&images, &images, None), None, "labels need rank 1, found rank 3");
    refused(make(&labels, &labels, None), None, "are these the labels?");
    refused(make(&images, &labels, Some(1)), Some(1), "label 1 with only 1 classes");
    refused(make(&parse("images", &[0, 2, 2], &[]), &parse("labels", &[0], &[]), None), None, "no pixels");
    refused(make(&parse("images", &[2, 0, 2], &[]), &labels, None), None, "no pixels");
}

#[test]
fn idx_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    let read = || idx::read_directory::<f32>(path);
    refused(read(), None, "holds neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz");
    // plain bytes under a .gz name and the reverse: the content decides
    write("train-images-idx3-ubyte.gz", &idx_bytes(&[2, 1, 1], &[0, 255]));
    write("train-labels-idx1-ubyte", &gzip(&idx_bytes(&[2], &[0, 3])));
    write("t10k-images-idx3-ubyte", &idx_bytes(&[1, 1, 1], &[255]));
    refused(read(), None, "holds neither t10k-labels-idx1-ubyte");
    write("t10k-labels-idx1-ubyte", &idx_bytes(&[1], &[5]));
    let (train, test) = read().unwrap();
    assert_eq!((train.len(), test.len(), train.d_out(), test.d_out()), (2, 1, 6, 6));
    write("t10k-images-idx3-ubyte", &idx_bytes(&[1, 1, 2], &[255, 0]));
    refused(read(), None, "images of 1 x 2 pixels, those for training have 1 x 1");
    write("t10k-images-idx3-ubyte", &idx_bytes(&[1, 1, 1], &[]));
    refused(read(), None, "truncated");
    let (_, what) = data_error(idx::read(&path.join("missing")));
    assert!(what.starts_with("cannot be read"), "{what}");
}

#[test]
fn malformed_csv() {
    fn parse(text: &str, target: Option<&str>) -> Result<csv::Table<f64>, Error> {
        csv::parse("table.csv", text.as_bytes(), target)
    }
    refused(parse("", None), None, "empty");
    refused(parse("\n\n", None), None, "empty");
    refused(parse("a,b\n", None), None, "no rows");
    refused(parse("a\n1\n", None), Some(1), "1 column");
    refused(parse("a,b\n1,2\n3\n", None), Some(3), "1 cells, the first row has 2");
    refused(parse("a,b\n1,2\n3,4,5\n", None), Some(3), "3 cells");
    refused(parse("a,b\n1,2\n3,red\n", None), Some(3), "column `b` holds `red`, not a number");
    refused(parse("1,2\n3,\n", None), Some(2), "column 2 holds ``, not a number");
    refused(parse("a,b\n1,2\n\n\r\n3,x\n", None), Some(5), "holds `x`");
    refused(parse("a,b\n1,nan\n", None), Some(2), "column `b` holds `nan`, not a finite number");
    refused(parse("a,b\n1,2\n-inf,2\n", None), Some(3), "not a finite number");
    refused(parse("a,b\n1,1e999\n", None), Some(2), "not a finite number");
    refused(parse("a,3\n1,2\n", None), Some(1), "neither a header");
    refused(parse("a,b\n1,2\n", Some("c")), Some(1), "no column is named `c`; there are `a`, `b`");
    refused(parse("a,a,b\n1,2,3\n", Some("a")), Some(1), "two columns are named `a`");
    refused(parse("1,2\n", Some("a")), None, "no header line");
    refused(csv::parse::<f32>("t", b"a,b\n1,2\n3,1e39\n", None), Some(3), "overflows f32");
    refused(csv::parse::<f32>("t", b"a,b\n1,2\n3,\xff\xfe\n", None), Some(3), "not a number");
    refused(csv::parse::<f32>("t", b"a,b\n1,2\n3,\"x\ny\"\n", None), Some(3), "`x\\ny`");
    refused(parse("a,b\n1,2\n1,0.5\n", None).unwrap().into_classes(), Some(3), "class 0.5 is not an integer");
    let zipped = gzip(b"a,b\n1,2\n");
    refused(csv::parse::<f64>("t", &zipped[..zipped.len() - 3], None), None, "gzip");
    let (_, what) = data_error(csv::read::<f64>(Path::new("no/such.csv"), None));
    assert!(what.starts_with("cannot be read"), "{what}");
}

#[test]
fn csv_targets() {
    let text = "\u{feff}a,kind,b\n1,7,2\n3,-1,4\n\n5,7,6";
    let table = csv::parse::<f32>("t", text.as_bytes(), Some("kind")).unwrap();
    assert_eq!((table.target_name(), table.len(), table.is_empty()), (Some("kind"), 3, false));
    let classes = table.clone().into_classes().unwrap();
    assert_eq!((classes.labels(), classes.d_out()), (Some(&[1, 0, 1][..]), 2));
    assert_eq!(
        (classes.feature_names(), classes.target_names()),
        (&["a", "b"].map(String::from)[..], &["-1", "7"].map(String::from)[..])
    );
    let same = table.into_reconstruction().unwrap();
    assert_eq!((same.d_in(), same.d_out(), same.targets()), (2, 2, &Targets::Reconstruction));
    assert_eq!(same.inputs().col(2), [5.0, 6.0]);
    assert_eq!(csv::parse::<f32>("t", text.as_bytes(), None).unwrap().target_name(), Some("b"));
}

/// Real files, where somebody has them: PULLBACK_DATA names a folder with mnist/ (four IDX files), digits.csv and
/// diabetes.csv.
#[test]
fn real_files_where_present() {
    let Some(folder) = std::env::var_os("PULLBACK_DATA") else {
        eprintln!("skipped: set PULLBACK_DATA to a folder with mnist/, digits.csv, diabetes.csv to read real files");
        return;
    };
    let folder = Path::new(&folder);
    let (train, test) = idx::read_directory::<f32>(&folder.join("mnist")).unwrap();
    assert_eq!((train.inputs().shape(), test.inputs().shape()), ((784, 60_000), (784, 10_000)));
    assert_eq!(train.labels().unwrap()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    let mean = |x: &[f32]| x.iter().map(|x| x.f64()).sum::<f64>() / x.len() as f64;
    assert!((mean(train.inputs().as_slice()) - 0.130660).abs() <= 1e-6);
    assert!((mean(test.inputs().as_slice()) - 0.132515).abs() <= 1e-6);
    let diabetes = csv::read::<f64>(&folder.join("diabetes.csv"), Some("target")).unwrap().into_values().unwrap();
    assert_eq!((diabetes.d_in(), diabetes.len()), (10, 442));
    let digits = csv::read::<f64>(&folder.join("digits.csv"), None).unwrap().into_classes().unwrap();
    let bundled = pullback::nn::data::digits::load::<f64>().unwrap();
    assert_eq!(digits.labels(), bundled.labels());
    assert!(digits.inputs().as_slice().iter().zip(bundled.inputs().as_slice()).all(|(a, b)| *a == 16.0 * b));
}
