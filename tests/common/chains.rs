//! Chains of layers with joint moments, and the dense matrices that they stand for.

#![allow(dead_code)] // each test file uses its part

use pullback::curvature::PiRule;
use pullback::factor::{Cholesky, SymEigen};
use pullback::kronecker::KroneckerProduct;
use pullback::testing::dense::kron;
use pullback::{Ctx, Mat, Op, Scalar};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Factors of a chain in T: (A_{i-1,i-1}, S_{i,i}) and (A_{i-1,i}, S_{i,i+1}).
#[derive(Clone)]
pub struct Chain<T> {
    pub name: String,
    pub diagonal: Vec<(Mat<T>, Mat<T>)>,
    pub cross: Vec<(Mat<T>, Mat<T>)>,
}

/// op(A) op(B) in f64 on the textbook loops.
pub fn product(a: &Mat<f64>, ta: Op, b: &Mat<f64>, tb: Op) -> Mat<f64> {
    let mut c = Mat::zeros(ta.shape(a.shape()).0, tb.shape(b.shape()).1);
    Ctx::reference().gemm(1.0, a.as_ref(), ta, b.as_ref(), tb, 0.0, c.as_mut()).unwrap();
    c
}

/// Data of neighbouring layers: each is a random mixture of the one before it (share `share`) and noise.
fn data(dims: &[usize], cases: usize, share: f64, rng: &mut Pcg64) -> Vec<Mat<f64>> {
    let mut all: Vec<Mat<f64>> = Vec::new();
    for (l, &d) in dims.iter().enumerate() {
        let mut noise = Mat::from_fn(d, cases, |_, _| rng.random_range(-1.7..1.7));
        if l > 0 {
            let spread = (3.0 / dims[l - 1].max(1) as f64).sqrt();
            let mix = Mat::from_fn(d, dims[l - 1], |_, _| rng.random_range(-spread..spread));
            let signal = product(&mix, Op::No, &all[l - 1], Op::No);
            noise = Mat::from_fn(d, cases, |i, j| share.sqrt() * signal[(i, j)] + (1.0 - share).sqrt() * noise[(i, j)]);
        }
        all.push(noise);
    }
    all
}

/// A chain of layers of the given (d_in, d_out), moments of `cases` random cases; neighbours share about `share` of
/// their variance.
pub fn chain<T: Scalar>(dims: &[(usize, usize)], cases: usize, share: f64, seed: u64) -> Chain<T> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let (ins, outs): (Vec<usize>, Vec<usize>) = dims.iter().copied().unzip();
    let (a, g) = (data(&ins, cases, share, &mut rng), data(&outs, cases, share, &mut rng));
    let moment = |x: &Mat<f64>, y: &Mat<f64>| product(x, Op::No, y, Op::Transpose).map(|v| v / cases as f64).cast();
    let symmetric = |x: &Mat<f64>| {
        let mut m: Mat<T> = moment(x, x);
        m.as_mut().mirror_lower();
        m
    };
    let diagonal = a.iter().zip(&g).map(|(a, g)| (symmetric(a), symmetric(g))).collect();
    let cross = (1..dims.len()).map(|i| (moment(&a[i - 1], &a[i]), moment(&g[i - 1], &g[i]))).collect();
    Chain { name: format!("{dims:?}, {cases} cases, share {share}, {}", T::NAME), diagonal, cross }
}

/// M C⁻¹ in f64.
fn times_inverse(m: &Mat<f64>, c: &Mat<f64>) -> Mat<f64> {
    let mut x = m.transposed();
    Cholesky::new(&Ctx::reference(), c.clone()).unwrap().solve_in_place(&Ctx::reference(), x.as_mut()).unwrap();
    x.transposed()
}

/// The whole matrix from its diagonal and first off-diagonal blocks, further blocks being Ψ_{i,i+1} F_{i+1,j} with
/// Ψ_{i,i+1} = `link`(i).
fn complete(diagonal: &[Mat<f64>], cross: &[Mat<f64>], link: impl Fn(usize) -> Mat<f64>) -> Mat<f64> {
    let starts: Vec<usize> = (0..=diagonal.len()).map(|i| diagonal[..i].iter().map(Mat::nrows).sum()).collect();
    let n = starts[diagonal.len()];
    let mut full = Mat::zeros(n, n);
    let mut put = |i: usize, j: usize, block: &Mat<f64>| {
        for q in 0..block.ncols() {
            for p in 0..block.nrows() {
                full[(starts[i] + p, starts[j] + q)] = block[(p, q)];
                full[(starts[j] + q, starts[i] + p)] = block[(p, q)];
            }
        }
    };
    for (j, own) in diagonal.iter().enumerate() {
        put(j, j, own);
        let mut block = Mat::zeros(0, 0);
        for i in (0..j).rev() {
            block = if i + 1 == j { cross[i].clone() } else { product(&link(i), Op::No, &block, Op::No) };
            put(i, j, &block);
        }
    }
    full
}

impl<T: Scalar> Chain<T> {
    pub fn len(&self) -> usize {
        self.diagonal.iter().map(|(a, s)| a.nrows() * s.nrows()).sum()
    }

    pub fn products(&self) -> (Vec<KroneckerProduct<T>>, Vec<KroneckerProduct<T>>) {
        let of = |pairs: &[(Mat<T>, Mat<T>)]| {
            pairs.iter().map(|(a, s)| KroneckerProduct::new(a.clone(), s.clone()).unwrap()).collect()
        };
        (of(&self.diagonal), of(&self.cross))
    }

    fn cross_blocks(&self) -> Vec<Mat<f64>> {
        self.cross.iter().map(|(a, s)| kron(a, s)).collect()
    }

    /// The undamped matrix: Ψ by pseudo-inverses of the factors, with the cut of the type under test.
    pub fn matrix(&self) -> Mat<f64> {
        let pseudo = |m: &Mat<T>, c: &Mat<T>| {
            let eigen = SymEigen::new(&Ctx::<f64>::reference(), c.cast()).unwrap();
            let cut = 16.0 * eigen.dim() as f64 * T::EPS.f64() * eigen.values().last().copied().unwrap_or(0.0);
            let inverse = eigen.map_to_dense(&Ctx::reference(), |w| if w > cut { 1.0 / w } else { 0.0 }).unwrap();
            product(&m.cast(), Op::No, &inverse, Op::No)
        };
        let link = |i: usize| {
            let ((a, s), (next_a, next_s)) = (&self.cross[i], &self.diagonal[i + 1]);
            kron(&pseudo(a, next_a), &pseudo(s, next_s))
        };
        let diagonal: Vec<_> = self.diagonal.iter().map(|(a, s)| kron(a, s)).collect();
        complete(&diagonal, &self.cross_blocks(), link)
    }

    /// Ã and S̃ of every layer in f64.
    pub fn damped_factors(&self, rule: PiRule<T>, lambda: T) -> Vec<(Mat<f64>, Mat<f64>)> {
        let shifted = |m: &Mat<T>, shift: f64| {
            Mat::from_fn(m.nrows(), m.ncols(), |i, j| m[(i, j)].f64() + if i == j { shift } else { 0.0 })
        };
        let root = lambda.f64().sqrt();
        let layer = |(a, s): &(Mat<T>, Mat<T>)| {
            let pi = rule.pi(a.as_ref(), s.as_ref()).f64();
            (shifted(a, pi * root), shifted(s, root / pi))
        };
        self.diagonal.iter().map(layer).collect()
    }

    /// The matrix that damping with λ turns it into: Ψ by dense solves with the damped blocks.
    pub fn damped_matrix(&self, rule: PiRule<T>, lambda: T) -> Mat<f64> {
        let diagonal: Vec<_> = self.damped_factors(rule, lambda).iter().map(|(a, s)| kron(a, s)).collect();
        let cross = self.cross_blocks();
        complete(&diagonal, &cross, |i| times_inverse(&cross[i], &diagonal[i + 1]))
    }
}
