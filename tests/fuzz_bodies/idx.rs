//! IDX bytes: no panic; an error that explains itself, or an array that encodes to the same array again.

use pullback::Error;
use pullback::nn::data::idx;

fn encode(array: &idx::Idx) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, array.sizes().len() as u8];
    array.sizes().iter().for_each(|&size| bytes.extend((size as u32).to_be_bytes()));
    bytes.extend(array.bytes());
    bytes
}

fn parse(name: &str, bytes: &[u8]) -> Option<idx::Idx> {
    match idx::parse(name, bytes) {
        Err(error @ Error::Data { .. }) => {
            assert!(error.to_string().starts_with(name), "{error}");
            None
        }
        Err(other) => panic!("{other}"),
        Ok(array) => {
            assert!((1..=3).contains(&array.sizes().len()));
            assert_eq!(array.sizes().iter().product::<usize>(), array.bytes().len());
            assert_eq!(idx::parse(name, &encode(&array)).expect("its own encoding"), array);
            Some(array)
        }
    }
}

/// The bytes as one file; then as two, images and labels, split where the first byte says.
pub fn run(bytes: &[u8]) {
    parse("whole", bytes);
    let Some((&at, rest)) = bytes.split_first() else { return };
    let (images, labels) = rest.split_at(usize::from(at).min(rest.len()));
    if let (Some(images), Some(labels)) = (parse("images", images), parse("labels", labels)) {
        let classes = (at % 2 == 0).then_some(10);
        match idx::dataset::<f32>(&images, &labels, classes) {
            Ok(set) => {
                assert_eq!(set.len(), images.sizes()[0]);
                assert_eq!(set.d_in() * set.len(), images.bytes().len());
                assert!(set.inputs().cols().all(|case| case.iter().all(|x| (0.0..=1.0).contains(x))));
            }
            Err(error) => assert!(matches!(error, Error::Data { .. } | Error::InvalidParameter { .. }), "{error:?}"),
        }
    }
}
