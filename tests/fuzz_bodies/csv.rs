//! CSV bytes: no panic; an error that explains itself, or numbers that survive being written and read again.

use pullback::nn::data::{Dataset, Targets, csv};
use pullback::{Error, Result};

fn explained<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ Error::Data { .. }) => {
            assert!(error.to_string().starts_with("bytes"), "{error}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn written(set: &Dataset<f64>, values: &pullback::Mat<f64>) -> String {
    let mut text = String::new();
    for j in 0..set.len() {
        for x in set.inputs().col(j) {
            text.push_str(&format!("{x:e},"));
        }
        text.push_str(&format!("{:e}\n", values[(0, j)]));
    }
    text
}

/// The first byte picks the target: the last column, or the one named by the next byte.
pub fn run(bytes: &[u8]) {
    let (target, text) = match bytes {
        [first, name, text @ ..] if first % 4 == 3 => (Some((*name as char).to_string()), text),
        [_, text @ ..] => (None, text),
        [] => (None, bytes),
    };
    let Some(table) = explained(csv::parse::<f64>("bytes", text, target.as_deref())) else { return };
    if let Some(set) = explained(table.clone().into_classes()) {
        let labels = set.labels().expect("classes");
        assert!(labels.len() == set.len() && labels.iter().all(|&label| label < set.d_out()));
    }
    if let Some(set) = explained(table.clone().into_reconstruction()) {
        assert_eq!((set.d_in(), set.len()), (set.d_out(), table.len()));
    }
    let Some(set) = explained(table.clone().into_values()) else { return };
    assert!(set.inputs().is_finite() && set.len() == table.len());
    let Targets::Values(values) = set.targets() else { panic!("values were asked for") };
    let again = csv::parse::<f64>("bytes", written(&set, values).as_bytes(), None).expect("numbers only");
    let again = again.into_values().expect("numbers only");
    assert_eq!(again.inputs().to_owned(), set.inputs().to_owned());
    assert_eq!(again.targets(), set.targets());
}
