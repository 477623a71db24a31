//! Claim: Lanczos tridiagonalizes (recurrence, orthonormal basis, exact eigenvalues on an invariant space), its Ritz
//! values come with true residual bounds and Gauss weights, and bad input is a typed error. Thin QR, on which the
//! sketches stand, is orthonormal to rounding and finds the rank.

use pullback::factor::ThinQr;
use pullback::krylov::{Lanczos, LanczosEnd, LanczosOptions, Reorthogonalization, lanczos, lanczos_block};
use pullback::linop::{FnOperator, Identity, SymmetricDense};
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatRef, Op, Scalar};

const SIZES: [usize; 10] = [1, 2, 3, 8, 31, 32, 33, 64, 127, 129];

fn operator<T: Scalar>(a: &Mat<T>) -> SymmetricDense<T> {
    SymmetricDense::new(a.clone()).unwrap()
}

fn times(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let mut c = Mat::zeros(a.nrows(), b.ncols());
    Ctx::reference().gemm(1.0, a.as_ref(), Op::No, b.as_ref(), Op::No, 0.0, c.as_mut()).unwrap();
    c
}

/// max|AᵀA - I|.
fn departure_from_orthonormal<T: Scalar>(q: &Mat<T>) -> f64 {
    let q: Mat<f64> = q.cast();
    let gram = times(&q.transposed(), &q);
    let unit = |i: usize, j: usize| f64::from(u8::from(i == j));
    (0..q.ncols()).flat_map(|j| (0..q.ncols()).map(move |i| (i, j))).fold(0.0, |m, (i, j)| {
        let off = (gram[(i, j)] - unit(i, j)).abs();
        if off <= m { m } else { off }
    })
}

fn start<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    gallery::uniform::<T>(n, 1, seed).into_vec()
}

/// max over steps of ‖A v_j - β_{j-1} v_{j-1} - α_j v_j - β_j v_{j+1}‖, the last vector of norm β_k being unknown.
fn recurrence_error<T: Scalar>(a: &Mat<T>, run: &Lanczos<T>) -> f64 {
    let v: Mat<f64> = run.basis().expect("kept").cast();
    let av = times(&a.cast(), &v);
    let k = run.steps();
    let mut worst = 0f64;
    for j in 0..k {
        let rest: Vec<f64> = (0..v.nrows())
            .map(|i| {
                let before = if j > 0 { run.betas()[j - 1] * v[(i, j - 1)] } else { 0.0 };
                let after = if j + 1 < k { run.betas()[j] * v[(i, j + 1)] } else { 0.0 };
                av[(i, j)] - before - run.alphas()[j] * v[(i, j)] - after
            })
            .collect();
        let norm = rest.iter().map(|x| x * x).sum::<f64>().sqrt();
        let error = if j + 1 < k { norm } else { (norm - run.betas()[j]).abs() };
        worst = if error <= worst { worst } else { error };
    }
    worst
}

fn recurrence_holds<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in SIZES {
            for (kappa, exponent) in [(10.0, 0), (1e8, 40), (1e3, -40)] {
                let a = gallery::scaled(&gallery::spd::<T>(n, kappa, n as u64), exponent);
                let norm = 2f64.powi(exponent);
                // as many steps as the order, so that Ritz values converge on the way
                let run = lanczos(&ctx, &operator(&a), &start(n, 3), LanczosOptions::steps(n + 5)).unwrap();
                let limit = tolerance::<T>(n, 1.0);
                assert!(run.steps() <= n && run.betas().len() == run.steps());
                let error = recurrence_error(&a, &run) / norm;
                assert!(error <= limit, "{} n {n} κ {kappa}: recurrence off by {error:e} of {limit:e}", T::NAME);
                let skew = departure_from_orthonormal(run.basis().unwrap());
                assert!(skew <= limit, "{} n {n} κ {kappa}: VᵀV - I is {skew:e} of {limit:e}", T::NAME);
            }
        }
    }
}

#[test]
fn the_recurrence_holds_and_the_basis_is_orthonormal() {
    recurrence_holds::<f64>();
    recurrence_holds::<f32>();
}

/// Three distinct eigenvalues, the multiple ones on a diagonal matrix (exact) and on a dense one.
fn invariant_spaces_are_found<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [3, 8, 33, 64, 129] {
            let w: Vec<f64> = (0..n).map(|i| [1.0, 3.0, 7.0][i % 3]).collect();
            for a in [Mat::from_diagonal(&w).cast::<T>(), gallery::with_spectrum::<T>(&w, 5)] {
                let run = lanczos(&ctx, &operator(&a), &start(n, 4), LanczosOptions::steps(10)).unwrap();
                assert_eq!((run.steps(), run.end()), (3, LanczosEnd::InvariantSubspace), "{} n {n}", T::NAME);
                let ritz = run.ritz(&ctx).unwrap();
                for (theta, exact) in ritz.values().iter().zip([1.0, 3.0, 7.0]) {
                    let limit = tolerance::<T>(n, 7.0);
                    assert!((theta - exact).abs() <= limit, "{} n {n}: {theta}, not {exact}", T::NAME);
                }
                assert!(ritz.residual_bounds().iter().all(|&bound| bound == 0.0));
                assert!((ritz.condition().unwrap() - 7.0).abs() <= tolerance::<T>(n, 49.0));
            }
        }
        let zero = lanczos(&ctx, &operator(&Mat::<T>::zeros(5, 5)), &start(5, 1), LanczosOptions::steps(4)).unwrap();
        assert_eq!((zero.steps(), zero.end()), (1, LanczosEnd::InvariantSubspace));
        assert_eq!((zero.alphas(), zero.ritz(&ctx).unwrap().condition()), (&[0.0][..], None));
        let whole = lanczos(&ctx, &operator(&gallery::spd::<T>(6, 10.0, 1)), &start(6, 1), LanczosOptions::steps(99));
        assert_eq!(whole.unwrap().end(), LanczosEnd::InvariantSubspace, "n steps span everything");
    }
}

#[test]
fn an_invariant_subspace_is_an_outcome_with_exact_eigenvalues() {
    invariant_spaces_are_found::<f64>();
    invariant_spaces_are_found::<f32>();
}

/// ‖A y - θ y‖ = |β s|, an eigenvalue lies within it of θ, and all θ lie within the spectrum.
fn bounds_are_true<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, kappa) in [(33, 1e2f64), (64, 1e6), (129, 1e4)] {
            let w: Vec<f64> = (0..n).map(|i| kappa.powf(-(i as f64) / (n as f64 - 1.0))).collect();
            let a = gallery::with_spectrum::<T>(&w, 8);
            let limit = tolerance::<T>(n, 1.0);
            let run = lanczos(&ctx, &operator(&a), &start(n, 2), LanczosOptions::steps(12)).unwrap();
            assert_eq!(run.end(), LanczosEnd::StepLimit);
            let ritz = run.ritz(&ctx).unwrap();
            let y: Mat<f64> = run.ritz_vectors(&ctx, &ritz).unwrap().expect("the basis is kept").cast();
            let ay = times(&a.cast(), &y);
            assert!((ritz.weights().iter().sum::<f64>() - 1.0).abs() <= limit);
            for (i, (&theta, &bound)) in ritz.values().iter().zip(ritz.residual_bounds()).enumerate() {
                let residual: f64 = (0..n).map(|p| (ay[(p, i)] - theta * y[(p, i)]).powi(2)).sum::<f64>().sqrt();
                assert!((residual - bound).abs() <= limit, "residual {residual:e}, bound {bound:e}");
                let nearest = w.iter().map(|w| (w - theta).abs()).fold(f64::INFINITY, f64::min);
                assert!(nearest <= bound + limit, "no eigenvalue within {bound:e} of {theta}");
                assert!(theta <= 1.0 + limit && theta >= 1.0 / kappa - limit);
            }
            assert!(ritz.largest() >= 0.9, "the largest eigenvalue, 1, is found first: {}", ritz.largest());
            // without the basis: more steps than the order, copies of Ritz values, bounds that stay true
            let plain = LanczosOptions { steps: n + 10, reorthogonalization: Reorthogonalization::None };
            let plain = lanczos(&ctx, &operator(&a), &start(n, 2), plain).unwrap();
            assert!(plain.basis().is_none() && plain.steps() == n + 10);
            let ritz = plain.ritz(&ctx).unwrap();
            assert!(plain.ritz_vectors(&ctx, &ritz).unwrap().is_none());
            for (&theta, &bound) in ritz.values().iter().zip(ritz.residual_bounds()) {
                let nearest = w.iter().map(|w| (w - theta).abs()).fold(f64::INFINITY, f64::min);
                assert!(nearest <= bound + limit, "plain: no eigenvalue within {bound:e} of {theta}: {nearest:e}");
            }
        }
    }
}

#[test]
fn residual_bounds_are_true_with_and_without_reorthogonalization() {
    bounds_are_true::<f64>();
    bounds_are_true::<f32>();
}

/// Σ τ² θ^p ‖v‖² = vᵀA^p v for p <= 2k - 1, and not for p = 2k.
#[test]
fn the_weights_are_those_of_gauss_quadrature() {
    for ctx in contexts::<f64>() {
        let (n, k) = (24, 4);
        let a = gallery::spd::<f64>(n, 20.0, 6);
        let v = start::<f64>(n, 9);
        let run = lanczos(&ctx, &operator(&a), &v, LanczosOptions::steps(k)).unwrap();
        let norm2: f64 = v.iter().map(|v| v * v).sum();
        assert!((run.start_norm().powi(2) - norm2).abs() <= tolerance::<f64>(n, norm2));
        let ritz = run.ritz(&ctx).unwrap();
        let mut power = Mat::from_vec(v.clone(), n, 1).unwrap();
        for p in 0..=2 * k {
            let moment: f64 = v.iter().zip(power.as_slice()).map(|(v, x)| v * x).sum();
            let error = (norm2 * ritz.quadrature(|theta| theta.powi(p as i32)) - moment).abs();
            let limit = tolerance::<f64>(n, norm2);
            assert!(if p < 2 * k { error <= limit } else { error > limit }, "degree {p}: off by {error:e}");
            power = times(&a, &power);
        }
    }
}

#[test]
fn a_block_is_its_columns_one_by_one_and_products_come_in_blocks() {
    let ctx = Ctx::<f64>::reference();
    let (n, steps) = (19, 6);
    let w: Vec<f64> = (0..n).map(|i| (1 + i % 9) as f64).collect();
    let a = operator(&gallery::with_spectrum::<f64>(&w, 2));
    let mut starts = gallery::uniform::<f64>(n, 3, 11);
    // the second column is an eigenvector: it ends after one step, the others go on
    let first = lanczos(&ctx, &a, starts.as_ref().col(0), LanczosOptions::steps(n)).unwrap();
    let vectors = first.ritz_vectors(&ctx, &first.ritz(&ctx).unwrap()).unwrap().unwrap();
    starts.as_mut().col_mut(1).copy_from_slice(vectors.as_ref().col(0));
    let runs = lanczos_block(&ctx, &a, starts.as_ref(), LanczosOptions::steps(steps)).unwrap();
    for (j, run) in runs.iter().enumerate() {
        let alone = lanczos(&ctx, &a, starts.as_ref().col(j), LanczosOptions::steps(steps)).unwrap();
        assert_eq!(run.steps(), if j == 1 { 1 } else { steps });
        assert_eq!((run.alphas(), run.betas(), run.end()), (alone.alphas(), alone.betas(), alone.end()));
    }
    assert!(lanczos_block(&ctx, &a, Mat::zeros(n, 0).as_ref(), LanczosOptions::steps(2)).unwrap().is_empty());
}

#[test]
fn bad_input_is_a_typed_error() {
    let ctx = Ctx::<f64>::reference();
    let a = Identity::new(3);
    let steps = LanczosOptions::steps(2);
    assert!(matches!(lanczos(&ctx, &a, &[1.0; 4], steps), Err(Error::Shape { .. })));
    assert!(matches!(lanczos(&ctx, &a, &[0.0; 3], steps), Err(Error::InvalidParameter { name: "start", .. })));
    assert!(matches!(lanczos(&ctx, &Identity::new(0), &[], steps), Err(Error::InvalidParameter { name: "start", .. })));
    assert!(matches!(lanczos(&ctx, &a, &[f64::NAN; 3], steps), Err(Error::NotFinite { .. })));
    let none = lanczos(&ctx, &a, &[1.0; 3], LanczosOptions::steps(0));
    assert!(matches!(none, Err(Error::InvalidParameter { name: "steps", .. })));
    let nan = FnOperator::new(3, |_: &[f64], out: &mut [f64]| {
        out.fill(f64::NAN);
        Ok::<(), std::convert::Infallible>(())
    });
    assert!(matches!(lanczos(&ctx, &nan, &[1.0; 3], steps), Err(Error::NotFinite { .. })));
    // ‖A v‖ overflows f64 although every entry is finite
    let huge = operator(&Mat::from_fn(3, 3, |_, _| f64::MAX / 2.0));
    assert!(matches!(lanczos(&ctx, &huge, &[1.0; 3], steps), Err(Error::NotFinite { .. })));
    // its square alone overflows
    let large = lanczos(&ctx, &operator(&Mat::from_diagonal(&[1e200, 2e200])), &[1.0; 2], steps).unwrap();
    assert!((large.ritz(&ctx).unwrap().largest() / 2e200 - 1.0).abs() <= tolerance::<f64>(2, 1.0));
}

fn thin_qr_law<T: Scalar>(ctx: &Ctx<T>, y: &Mat<T>, rank: Option<usize>) {
    let (n, k) = y.shape();
    let qr = ThinQr::new(ctx, y.as_ref()).unwrap();
    let limit = tolerance::<T>(n.max(k), 1.0);
    let (q, r): (Mat<f64>, Mat<f64>) = (qr.q().cast(), qr.r().cast());
    assert_eq!((q.shape(), r.shape()), ((n, qr.rank()), (qr.rank(), k)));
    assert!(departure_from_orthonormal(&q) <= limit, "{} {n}x{k}: QᵀQ - I", T::NAME);
    let product = times(&q, &r);
    for (j, (product, y)) in product.as_ref().cols().zip(y.as_ref().cols()).enumerate() {
        let size = y.iter().map(|y| y.f64().powi(2)).sum::<f64>().sqrt();
        for (p, y) in product.iter().zip(y) {
            assert!((p - y.f64()).abs() <= limit * size, "{} {n}x{k}: column {j} of Q R", T::NAME);
        }
    }
    for (i, &j) in qr.kept().iter().enumerate() {
        assert!(r[(i, j)] > 0.0 && (0..j).all(|before| r[(i, before)] == 0.0), "row echelon form");
    }
    if let Some(rank) = rank {
        assert_eq!(qr.rank(), rank, "{} {n}x{k}", T::NAME);
    }
}

fn thin_qr_laws<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, k) in [(0, 0), (0, 2), (1, 1), (3, 2), (33, 8), (64, 64), (129, 20), (5, 9)] {
            let y = gallery::uniform::<T>(n, k, 77);
            thin_qr_law(&ctx, &y, Some(n.min(k)));
            for e in [-60, 60] {
                thin_qr_law(&ctx, &gallery::scaled(&y, e), Some(n.min(k)));
            }
            thin_qr_law(&ctx, &Mat::<T>::zeros(n, k), Some(0));
        }
        // columns that fall by 2^-3 each, far below ε of the first, and nearly parallel ones
        let graded =
            Mat::from_fn(40, 20, |i, j| T::of(gallery::uniform::<f64>(40, 20, 5)[(i, j)] * 2f64.powi(-3 * j as i32)));
        thin_qr_law(&ctx, &graded, Some(20));
        let g = gallery::uniform::<f64>(50, 4, 6);
        let parallel = Mat::from_fn(50, 4, |i, j| T::of(g[(i, 0)] + T::EPS.f64().sqrt() * g[(i, j)]));
        thin_qr_law(&ctx, &parallel, Some(4));
        // rank 3 in random combinations
        let (left, right) = (gallery::uniform::<f64>(40, 3, 1), gallery::uniform::<f64>(3, 10, 2));
        thin_qr_law(&ctx, &times(&left, &right).cast::<T>(), Some(3));
        assert!(matches!(ThinQr::new(&ctx, MatRef::from_column(&[T::ONE, T::nan()])), Err(Error::NotFinite { .. })));
    }
}

#[test]
fn thin_qr_is_orthonormal_reproduces_its_matrix_and_finds_the_rank() {
    thin_qr_laws::<f64>();
    thin_qr_laws::<f32>();
}

/// The Ritz values of a matrix-free operator need nothing but its products.
#[test]
fn products_alone_are_enough() {
    let ctx = Ctx::<f32>::reference();
    let laplacian = FnOperator::new(50, |v: &[f32], out: &mut [f32]| {
        for i in 0..50 {
            let side = |j: Option<usize>| j.and_then(|j| v.get(j)).copied().unwrap_or(0.0);
            out[i] = 2.0 * v[i] - side(i.checked_sub(1)) - side(Some(i + 1));
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let ritz = lanczos(&ctx, &laplacian, &start(50, 1), LanczosOptions::steps(50)).unwrap().ritz(&ctx).unwrap();
    let exact = |i: usize| 4.0 * (std::f64::consts::PI * i as f64 / 102.0).sin().powi(2);
    assert!((ritz.largest() - exact(50)).abs() <= tolerance::<f32>(50, 4.0));
    assert!((ritz.smallest() - exact(1)).abs() <= tolerance::<f32>(50, 4.0));
    assert_eq!(laplacian.shape(), (50, 50));
}
