//! Data sets: the bundled digits and diabetes study, the CURVES-like generator's statistics, splits, standardization, minibatches.
#![cfg(feature = "nn")]

use proptest::prelude::*;
use pullback::factor::{Cholesky, SymEigen};
use pullback::nn::data::{Dataset, Minibatches, Partial, Scaling, Targets, curves, diabetes, digits};
use pullback::testing::tolerance;
use pullback::{Ctx, Error, Mat, Op, Scalar};

fn ramp<T: Scalar>(d: usize, n: usize) -> Dataset<T> {
    let inputs = Mat::from_fn(d, n, |i, j| T::of((i + d * j) as f64));
    Dataset::new("ramp", inputs, Targets::Values(Mat::from_fn(1, n, |_, j| T::of(j as f64)))).unwrap()
}

/// Which cases of a ramp a part of it holds.
fn cases(part: &Dataset<f64>) -> Vec<usize> {
    let Targets::Values(values) = part.targets() else { panic!("a ramp has values") };
    values.as_slice().iter().map(|&v| v as usize).collect()
}

#[test]
fn bundled_digits() {
    fn check<T: Scalar>() {
        let set = digits::load::<T>().unwrap();
        assert_eq!((set.inputs().shape(), set.d_out(), set.feature_names()[63].as_str()), ((64, 1797), 10, "p77"));
        let mut counts = [0; 10];
        set.labels().unwrap().iter().for_each(|&l| counts[l] += 1);
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let pixels = set.inputs().as_slice();
        // sixteenths are exact in both types, so the sum is an integer
        let sum: f64 = pixels.iter().map(|p| 16.0 * p.f64()).sum();
        assert_eq!(sum.fract(), 0.0);
        assert!((sum / pixels.len() as f64 - 4.884165).abs() <= 5e-7);
        assert!(pixels.iter().all(|&p| p >= T::ZERO && p <= T::ONE));
        let same = set.into_reconstruction();
        assert_eq!((same.d_out(), same.labels()), (64, None));
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn bundled_diabetes() {
    fn check<T: Scalar>() {
        let set = diabetes::load::<T>().unwrap();
        assert_eq!((set.inputs().shape(), set.d_out(), set.name()), ((10, 442), 1, "diabetes"));
        assert_eq!(set.feature_names(), ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]);
        assert_eq!(set.target_names(), ["target"]);
        let Targets::Values(values) = set.targets() else { panic!("a value a patient") };
        let column = |i: usize| -> Vec<f64> { set.inputs().cols().map(|patient| patient[i].f64()).collect() };
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        let target: Vec<f64> = values.as_slice().iter().map(|v| v.f64()).collect();
        // integers are exact in both types: the sums of the targets, the ages and the sexes
        assert_eq!((sum(&target), sum(&column(0)), sum(&column(1))), (67243.0, 21445.0, 649.0));
        let range = |v: &[f64]| (v.iter().copied().fold(f64::MAX, f64::min), v.iter().copied().fold(0.0, f64::max));
        assert_eq!((range(&target), range(&column(0)), range(&column(1))), ((25.0, 346.0), (19.0, 79.0), (1.0, 2.0)));
        assert!((sum(&column(2)) / 442.0 - 26.3758).abs() <= 5e-5, "body mass index");
        assert!((sum(&column(3)) / 442.0 - 94.6470).abs() <= 5e-5, "blood pressure");
    }
    check::<f32>();
    check::<f64>();
}

/// The full least squares fit to columns of mean 0 and length 1, as the authors of the data print it to one decimal.
#[test]
fn least_squares_on_diabetes_is_the_published_fit() {
    const PUBLISHED: [f64; 10] = [-10.0, -239.8, 519.8, 324.4, -792.2, 476.7, 101.0, 177.1, 751.3, 67.6];
    let set = diabetes::load::<f64>().unwrap();
    let standard = set.standardized(&set.standardization().unwrap()).unwrap();
    let Targets::Values(y) = set.targets() else { panic!("a value a patient") };
    let ctx = Ctx::<f64>::default();
    // unit variance to unit length: X / √N
    let x = Mat::from_fn(10, 442, |i, j| standard.inputs().at(i, j) / 442f64.sqrt());
    let mut beta = Mat::zeros(10, 1);
    ctx.gemm(1.0, x.as_ref(), Op::No, y.as_ref(), Op::Transpose, 0.0, beta.as_mut()).unwrap();
    let mut gram = Mat::zeros(10, 10);
    ctx.gemm(1.0, x.as_ref(), Op::No, x.as_ref(), Op::Transpose, 0.0, gram.as_mut()).unwrap();
    Cholesky::new(&ctx, gram).unwrap().solve_in_place(&ctx, beta.as_mut()).unwrap();
    for (i, (found, published)) in beta.as_slice().iter().zip(PUBLISHED).enumerate() {
        assert!((found - published).abs() <= 0.05, "{}: {found}, published {published}", set.feature_names()[i]);
    }
}

#[track_caller]
fn within_3_percent(what: &str, found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() <= 0.03, "{what}: {found}, expected {expected}");
}

const IMAGES: usize = 20_000;

fn covariance(x: &Mat<f64>) -> (Vec<f64>, Mat<f64>) {
    let (d, n) = x.shape();
    let mut mean = vec![0.0; d];
    x.as_ref().cols().for_each(|c| mean.iter_mut().zip(c).for_each(|(m, v)| *m += v / n as f64));
    let mut centred = x.clone();
    centred.as_mut().cols_mut().for_each(|c| c.iter_mut().zip(&mean).for_each(|(v, m)| *v -= m));
    (mean, centred)
}

#[test]
fn curves_statistics() {
    let set = curves::generate::<f64>(IMAGES, 1).unwrap();
    let pixels = set.inputs().as_slice();
    let count = pixels.len() as f64;
    let share = |which: &dyn Fn(f64) -> bool| pixels.iter().filter(|&&p| which(p)).count() as f64 / count;
    let mean = pixels.iter().sum::<f64>() / count;
    let std = (pixels.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / count).sqrt();
    within_3_percent("mean", mean, 0.0616);
    within_3_percent("standard deviation", std, 0.1753);
    within_3_percent("share above 0.02", share(&|p| p > 0.02), 0.175);
    within_3_percent("share at 1", share(&|p| p == 1.0), 0.0036);
    let (means, centred) = covariance(&set.inputs().to_owned());
    let variance = centred.as_slice().iter().map(|v| v * v).sum::<f64>() / IMAGES as f64;
    within_3_percent("total variance of an image", variance, 20.96);
    let term = |x: f64, p: f64| if x > 0.0 { -x * p.ln() } else { 0.0 };
    let entropy = |x: f64, p: f64| term(x, p) + term(1.0 - x, 1.0 - p);
    let floor = pixels.iter().map(|&x| entropy(x, x)).sum::<f64>() / IMAGES as f64;
    within_3_percent("entropy floor", floor, 65.17);
    within_3_percent("cross-entropy of the mean image", means.iter().map(|&m| entropy(m, m)).sum(), 151.7);
}

#[test]
#[ignore = "an eigendecomposition of order 784: cargo test --release --test data_sets -- --ignored"]
fn curves_spectrum() {
    let set = curves::generate::<f64>(IMAGES, 1).unwrap();
    let (_, centred) = covariance(&set.inputs().to_owned());
    let ctx = Ctx::<f64>::default();
    let mut second = Mat::zeros(784, 784);
    ctx.syrk(1.0 / IMAGES as f64, centred.as_ref(), Op::Transpose, 0.0, second.as_mut()).unwrap();
    let eigen = SymEigen::new(&ctx, second).unwrap();
    let residual = |k: usize| eigen.values()[..784 - k].iter().sum::<f64>();
    within_3_percent("residual of 6 components", residual(6), 12.17);
    within_3_percent("residual of 18 components", residual(18), 5.97);
}

#[test]
fn curves_depend_on_seed_and_index_only() {
    let all = curves::generate::<f32>(9, 5).unwrap();
    let mut alone = vec![0f32; 784];
    for i in [8, 0, 3] {
        curves::image(5, i, &mut alone).unwrap();
        assert_eq!(all.inputs().col(i as usize), alone);
    }
    curves::image(6, 3, &mut alone).unwrap();
    assert_ne!(all.inputs().col(3), alone);
    assert!(matches!(curves::image(5, 0, &mut alone[1..]), Err(Error::Shape { .. })));
}

#[test]
fn an_image_is_one_connected_stroke() {
    let mut pixels = vec![0f64; 784];
    let mut connected = 0;
    let images = 50;
    for i in 0..images {
        curves::image(2, i, &mut pixels).unwrap();
        let mut left: Vec<usize> = (0..784).filter(|&p| pixels[p] > 0.0).collect();
        let mut stroke: Vec<usize> = left.pop().into_iter().collect();
        assert!(!stroke.is_empty(), "image {i} is empty");
        let mut next = 0;
        while next < stroke.len() {
            let (x, y) = (stroke[next] % 28, stroke[next] / 28);
            let (near, far) = left.iter().partition(|&&q| x.abs_diff(q % 28) <= 1 && y.abs_diff(q / 28) <= 1);
            left = far;
            stroke.extend::<Vec<usize>>(near);
            next += 1;
        }
        connected += u64::from(left.is_empty());
    }
    // a curve may leave the frame and come back, which cuts it
    assert!(connected * 10 >= images * 8, "{connected} of {images}");
}

#[test]
fn wrong_parts_are_errors() {
    let inputs = || Mat::<f64>::zeros(2, 3);
    let classes = |labels: &[usize]| Targets::Classes { labels: labels.to_vec(), count: 2 };
    assert!(matches!(Dataset::new("x", inputs(), classes(&[0, 1])), Err(Error::Shape { .. })));
    assert!(matches!(Dataset::new("x", inputs(), classes(&[0, 1, 2])), Err(Error::InvalidParameter { .. })));
    assert!(matches!(Dataset::new("x", inputs(), Targets::Values(Mat::zeros(1, 2))), Err(Error::Shape { .. })));
    let set = Dataset::new("x", inputs(), classes(&[0, 1, 0])).unwrap();
    assert!(matches!(set.clone().with_names(vec!["a".into()], vec![]), Err(Error::Shape { .. })));
    assert!(matches!(set.select(&[3]), Err(Error::InvalidParameter { .. })));
    for fraction in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(set.split(fraction, 0), Err(Error::InvalidParameter { .. })));
    }
    let (mut x, mut y) = (Mat::zeros(3, 2), Mat::zeros(2, 2));
    assert!(set.fill_columns(&[0, 2], x.as_mut(), y.as_mut()).is_ok());
    assert!(matches!(set.fill_columns(&[0, 3], x.as_mut(), y.as_mut()), Err(Error::InvalidParameter { .. })));
    assert!(matches!(set.fill_columns(&[0], x.as_mut(), y.as_mut()), Err(Error::Shape { .. })));
    assert!(matches!(set.fill_columns(&[0, 1], y.as_mut(), x.as_mut()), Err(Error::Shape { .. })));
    for batch in [0, 4] {
        assert!(matches!(Minibatches::new(3, batch, 0, Partial::Keep), Err(Error::InvalidParameter { .. })));
    }
    let nan =
        Dataset::new("x", Mat::from_fn(1, 3, |_, j| if j == 1 { f64::NAN } else { 0.0 }), Targets::Reconstruction);
    assert!(matches!(nan.unwrap().standardization(), Err(Error::NotFinite { .. })));
    let other = ramp::<f64>(3, 4).standardization().unwrap();
    assert!(matches!(set.standardized(&other), Err(Error::Shape { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_split_is_a_partition(n in 1usize..80, fraction in 0.0f64..1.0, seed in any::<u64>()) {
        let set = ramp::<f64>(2, n);
        let (train, test) = set.split(fraction, seed).unwrap();
        prop_assert_eq!(test.len(), (n as f64 * fraction).round() as usize);
        prop_assert_eq!(&set.split(fraction, seed).unwrap(), &(train.clone(), test.clone()));
        let mut all = [cases(&train), cases(&test)].concat();
        prop_assert!(cases(&train).is_sorted() && cases(&test).is_sorted());
        all.sort();
        prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
        // inputs went with their targets
        for (j, case) in cases(&test).into_iter().enumerate() {
            prop_assert_eq!(test.inputs().col(j), set.inputs().col(case));
        }
    }

    #[test]
    fn an_epoch_visits_every_case_once(n in 1usize..60, batch in 1usize..60, seed in any::<u64>(), keep in any::<bool>()) {
        let batch = batch.min(n);
        let partial = if keep { Partial::Keep } else { Partial::Drop };
        let mut batches = Minibatches::new(n, batch, seed, partial).unwrap();
        let mut again = batches.clone();
        for epoch in 0..3u64 {
            let mut seen = Vec::new();
            for k in 0..batches.per_epoch() {
                let indices = batches.next_batch().to_vec();
                prop_assert_eq!(&indices, again.next_batch());
                prop_assert_eq!(batches.epoch(), epoch);
                let last = k + 1 == batches.per_epoch();
                let expected = if keep && last && n % batch > 0 { n % batch } else { batch };
                prop_assert_eq!(indices.len(), expected);
                seen.extend(indices);
            }
            prop_assert_eq!(seen.len(), if keep { n } else { n - n % batch });
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), if keep { n } else { n - n % batch });
        }
    }
}

#[test]
fn epochs_and_seeds_have_their_own_orders() {
    let epoch = |batches: &mut Minibatches| -> Vec<usize> { batches.next_batch().to_vec() };
    let mut one = Minibatches::new(50, 50, 3, Partial::Drop).unwrap();
    let mut other = Minibatches::new(50, 50, 4, Partial::Drop).unwrap();
    let (first, second) = (epoch(&mut one), epoch(&mut one));
    assert_ne!(first, second);
    assert_ne!(first, epoch(&mut other));
    assert_ne!(first, (0..50).collect::<Vec<_>>());
    assert_ne!(cases(&ramp(1, 50).split(0.5, 1).unwrap().1), cases(&ramp(1, 50).split(0.5, 2).unwrap().1));
}

#[test]
fn standard_units() {
    fn check<T: Scalar>(scale: T) {
        let n = 37;
        // features: spread, constant (a number with no exact mean), spread around an offset
        let value = |i: usize, j: usize| match i {
            0 => scale * T::of(((j * 7) % n) as f64),
            1 => scale * T::of(0.1),
            _ => scale * (T::of(3.0) - T::of((j % 5) as f64)),
        };
        let targets = Targets::Values(Mat::from_fn(2, n, |i, j| value(2 * i, j)));
        let set = Dataset::new("x", Mat::from_fn(3, n, value), targets).unwrap();
        let fitted = set.standardization().unwrap();
        let standard = set.standardized(&fitted).unwrap();
        assert_eq!(standard.standardized_by(), Some(&fitted));
        let tol = tolerance::<T>(n, 1.0);
        for i in [0, 2] {
            let row: Vec<f64> = standard.inputs().cols().map(|c| c[i].f64()).collect();
            let mean = row.iter().sum::<f64>() / n as f64;
            let variance = row.iter().map(|x| x * x).sum::<f64>() / n as f64;
            assert!(mean.abs() <= tol && (variance - 1.0).abs() <= tol, "feature {i}: {mean}, {variance}");
        }
        assert!(standard.inputs().cols().all(|c| c[1] == T::ZERO), "a constant feature is exactly zero");
        let mut back = standard.inputs().to_owned();
        fitted.inputs.invert(back.as_mut()).unwrap();
        let error = pullback::testing::relative_error(back.as_ref(), set.inputs());
        assert!(error <= tol, "{error}");
        assert!(back.as_ref().cols().all(|c| c[1] == value(1, 0)), "and comes back exactly");
        let Targets::Values(values) = standard.targets() else { panic!() };
        assert_eq!(values[(0, 5)], standard.inputs().at(0, 5));
    }
    [-100, 0, 100].iter().for_each(|&k| check::<f32>(2f32.powi(k)));
    [-900, 0, 900].iter().for_each(|&k| check::<f64>(2f64.powi(k)));
    let one = Scaling::fit(Mat::from_fn(2, 1, |i, _| i as f32 + 0.3).as_ref()).unwrap();
    assert_eq!((one.mean(), one.scale()), (&[0.3, 1.3][..], &[1.0, 1.0][..]));
    let none = Scaling::fit(Mat::<f64>::zeros(2, 0).as_ref()).unwrap();
    assert_eq!((none.mean(), none.scale()), (&[0.0, 0.0][..], &[1.0, 1.0][..]));
}

#[test]
fn columns_follow_the_targets() {
    let digits = digits::load::<f32>().unwrap();
    let chosen = [1796, 0, 0, 12];
    let mut x = Mat::from_fn(65, 4, |_, _| f32::NAN);
    let mut y = Mat::from_fn(10, 4, |_, _| f32::NAN);
    digits.fill_columns(&chosen, x.as_mut(), y.as_mut()).unwrap();
    let labels = digits.labels().unwrap();
    for (j, &case) in chosen.iter().enumerate() {
        assert_eq!(x.as_ref().col(j)[..64], *digits.inputs().col(case));
        assert_eq!(x[(64, j)], 1.0);
        assert!((0..10).all(|k| y[(k, j)] == f32::from(u8::from(k == labels[case]))));
    }
    let same = digits.clone().into_reconstruction();
    let mut z = Mat::zeros(64, 4);
    same.fill_columns(&chosen, x.as_mut(), z.as_mut()).unwrap();
    assert!((0..4).all(|j| z.as_ref().col(j) == &x.as_ref().col(j)[..64]));
    let part = digits.select(&chosen).unwrap();
    assert_eq!(part.target_matrix().unwrap().to_owned(), y);
    assert!(same.target_matrix().is_none() && same.select(&chosen).unwrap().target_matrix().is_none());
    assert_eq!(part.labels().unwrap(), chosen.map(|c| labels[c]));
    assert_eq!((part.feature_names(), part.target_names()), (digits.feature_names(), digits.target_names()));
}
