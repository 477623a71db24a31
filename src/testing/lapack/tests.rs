//! The generators are what they say: spectra, pivots, scales, bandwidths, eigenvalues by another path.

use super::*;
use crate::testing::{ratios, tolerance};

/// Orders for the generators themselves.
const ORDERS: [usize; 7] = [0, 1, 2, 3, 10, 33, 64];

fn largest<T: Scalar>(a: &Mat<T>) -> f64 {
    a.as_slice().iter().fold(0.0, |m, x| m.max(x.f64().abs()))
}

fn positive_definite_types<T: Scalar>() {
    for kind in PoType::ALL {
        for n in ORDERS {
            let what = format!("PO {} of order {n} in {}", kind.number(), T::NAME);
            let test = po_type::<T>(kind, n, 7);
            assert_eq!(test.matrix, test.matrix.transposed(), "{what}");
            assert_eq!(test.matrix, po_type(kind, n, 7).matrix, "{what}: the seed decides");
            let expected = match kind.number() {
                3 => Some(0),
                4 => n.checked_sub(1),
                5 => Some(n / 2),
                _ => None,
            };
            assert_eq!(test.pivot, expected.filter(|_| n > 0), "{what}");
            let w = eigenvalues(test.matrix.as_ref());
            if let Some(k) = test.pivot {
                assert!((0..n).all(|i| test.matrix[(i, k)] == T::ZERO), "{what}");
                assert!(test.log_determinant.is_none(), "{what}");
                // a principal submatrix keeps its definiteness, and one eigenvalue is exactly zero
                assert!(w[0].abs() <= tolerance::<T>(n, 1.0) && w.iter().skip(1).all(|&w| w > 0.4), "{what}: {w:?}");
            } else if n > 0 {
                assert!(w[0] > 0.0, "{what}: {:e}", w[0]);
                let (got, limit) = (w[n - 1] / w[0], tolerance::<T>(n, test.condition) + tolerance::<T>(n, 1.0));
                assert!((got / test.condition - 1.0).abs() <= limit, "{what}: condition {got:e}");
                let sum: f64 = w.iter().map(|w| w.ln()).sum();
                let ratio = ratios::log_determinant(T::of(sum), test.log_determinant.unwrap(), n, test.condition);
                assert!(ratio < ratios::THRESHOLD, "{what}: log det {sum}");
            }
        }
    }
}

fn scales_reach_for_the_limits<T: Scalar>() {
    let (tiny, huge) = (T::min_positive_value().f64(), T::max_value().f64());
    let size = |number: usize| largest(&po_type::<T>(PoType::new(number).unwrap(), 20, 1).matrix);
    let near = |got: f64, want: f64| assert!(got > 0.1 * want && got < 2.0 * want, "{got:e} for {want:e}");
    near(size(8), 0.25 * tiny / T::EPS.f64());
    near(size(9), 4.0 * T::EPS.f64() / tiny);
    for (large, small, plain) in [(6, 7, 4), (11, 12, 8), (14, 15, 13), (17, 18, 16)] {
        let of = |number: usize| sep_type::<T>(SepType::new(number).unwrap(), 20, 1).matrix;
        near(largest(&of(large)), largest(&of(plain)) * huge.sqrt() * T::EPS.f64() / 20.0);
        near(largest(&of(small)), largest(&of(plain)) * tiny.sqrt() * 20.0 / T::EPS.f64());
    }
}

fn symmetric_types<T: Scalar>() {
    for kind in SepType::ALL {
        for n in ORDERS {
            let what = format!("SEP {} of order {n} in {}", kind.number(), T::NAME);
            let test = sep_type::<T>(kind, n, 7);
            let a = &test.matrix;
            assert_eq!(*a, a.transposed(), "{what}");
            assert_eq!(*a, sep_type(kind, n, 7).matrix, "{what}: the seed decides");
            assert!(a.as_ref().is_finite(), "{what}");
            for j in 0..n {
                (j + 1 + test.half_bandwidth..n).for_each(|i| assert_eq!(a[(i, j)], T::ZERO, "{what}: ({i}, {j})"));
            }
            let w = eigenvalues(a.as_ref());
            if let Some(want) = &test.eigenvalues {
                let narrow: Vec<T> = w.iter().map(|&w| T::of(w)).collect();
                let ratio = ratios::eigenvalues(&narrow, want);
                assert!(ratio < ratios::THRESHOLD, "{what}: ratio {ratio}");
            } else if n > 2 {
                // tr A² = Σ w²
                let scale = largest(a);
                let square: f64 = a.as_slice().iter().map(|x| (x.f64() / scale).powi(2)).sum();
                let sum: f64 = w.iter().map(|w| (w / scale).powi(2)).sum();
                assert!((sum / square - 1.0).abs() <= tolerance::<f64>(n, 1.0), "{what}: {sum} for {square}");
            }
        }
    }
    let signs: Vec<f64> = sep_type::<T>(SepType::new(3).unwrap(), 64, 7).eigenvalues.unwrap();
    assert!(signs.iter().filter(|w| **w < 0.0).count() > 10 && signs.iter().filter(|w| **w > 0.0).count() > 10);
    let bandwidths = (0..20).map(|seed| sep_type::<T>(SepType::new(16).unwrap(), 33, seed).half_bandwidth);
    assert!(bandwidths.collect::<std::collections::BTreeSet<_>>().len() > 5);
}

#[test]
fn positive_definite_types_are_what_they_say() {
    positive_definite_types::<f32>();
    positive_definite_types::<f64>();
}

#[test]
fn symmetric_types_are_what_they_say() {
    symmetric_types::<f32>();
    symmetric_types::<f64>();
}

#[test]
fn extreme_types_have_extreme_scales() {
    scales_reach_for_the_limits::<f32>();
    scales_reach_for_the_limits::<f64>();
}

#[test]
fn numbers_name_types() {
    assert!(PoType::ALL.iter().enumerate().all(|(i, kind)| kind.number() == i + 1 && !kind.label().is_empty()));
    assert!(SepType::ALL.iter().enumerate().all(|(i, kind)| kind.number() == i + 1 && !kind.label().is_empty()));
    assert!(PoType::new(0).is_none() && PoType::new(10).is_none());
    assert!(SepType::new(0).is_none() && SepType::new(19).is_none());
}

#[test]
fn eigenvalues_alone_of_known_matrices() {
    // the second difference: 2 - 2 cos(kπ / (n + 1))
    for n in [1, 2, 5, 40] {
        let a = Mat::from_fn(n, n, |i: usize, j: usize| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        let want: Vec<f64> =
            (1..=n).map(|k| 2.0 - 2.0 * (k as f64 * std::f64::consts::PI / (n + 1) as f64).cos()).collect();
        let got = eigenvalues(a.as_ref());
        assert!(ratios::eigenvalues(&got, &want) < ratios::THRESHOLD, "{got:?} for {want:?}");
    }
    assert!(eigenvalues(Mat::<f32>::zeros(0, 0).as_ref()).is_empty());
    assert!(eigenvalues(Mat::from_diagonal(&[1.0, f64::NAN]).as_ref()).iter().all(|w| w.is_nan()));
}
