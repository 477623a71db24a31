//! The matrices of LAPACK's own test programs: positive definite types PO 1-9, symmetric eigenvalue types SEP 1-18.
//!
//! ```text
//! PO    1 diagonal   2 condition 2   3, 4, 5 row and column 0, n-1, ⌊n/2⌋ zeroed   6 condition √(0.1/ε)
//!       7 condition 0.1/ε   8, 9 condition 2 at the scale of tiny/(4ε) and of its inverse
//! SEP   1 zero   2 identity   3, 4, 5 diagonal, spectrum even, geometric, clustered in [ε, 1] with random signs
//!       6, 7 = 4 large and small   8, 9, 10 dense with the spectra of 3, 4, 5   11, 12 = 8 large and small
//!       13 uniform in [-1, 1)   14, 15 = 13 large and small   16 = 8 of a random bandwidth   17, 18 = 16 large and small
//! ```
//! Large is √huge ε / n, small √tiny n / ε, so that squares of entries come close to overflow and underflow. Matrices are
//! formed in `f64` and rounded once. [`check_po`] and [`check_sep`] measure a backend on one of them, [`SIZES`] are the
//! orders to do it for: LAPACK's, and those that straddle the blocks of any library.
//!
//! Deviations  Orthogonal similarity by three random reflections instead of n (as [`gallery`]); a matrix of type 16 is
//!             reduced to its bandwidth by reflections instead of rotations. LAPACK's own sizes stop at 50.
//! Cost        generators 18n² flops, banded ones 4n³ to reduce; checks 2n³ flops for each ratio.
//! Laws        the tests below (spectra, pivots, scales, bandwidth); tests/lapack_types.rs runs them on every backend.
//! Reference   E. Anderson et al., LAPACK Users' Guide, 3rd ed., 1999; LAPACK Working Note 41 (the test programs);
//!             J. W. Demmel, A. McKenney, A test matrix generation suite, LAPACK Working Note 9, 1989.

mod checks;
mod values;

pub use checks::{Measured, check_po, check_sep};
pub use values::eigenvalues;

use super::gallery;
use crate::mat::Mat;
use crate::random::Draws;
use crate::scalar::Scalar;

/// The orders to test at: LAPACK's own, and those on either side of the block sizes of the libraries.
pub const SIZES: [usize; 18] = [0, 1, 2, 3, 5, 10, 20, 31, 32, 33, 50, 64, 100, 127, 128, 129, 200, 257];

/// A positive definite matrix type of LAPACK's test programs.
///
/// ```
/// use pullback::testing::lapack::{PoType, po_type};
/// let test = po_type::<f64>(PoType::ALL[3], 10, 1); // type 4
/// assert_eq!((test.kind.number(), test.pivot), (4, Some(9)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoType(u8);

impl PoType {
    /// Types 1 to 9.
    pub const ALL: [PoType; 9] =
        [PoType(1), PoType(2), PoType(3), PoType(4), PoType(5), PoType(6), PoType(7), PoType(8), PoType(9)];

    /// The type with LAPACK's number, 1 to 9.
    pub fn new(number: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// LAPACK's number.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// In a few words.
    pub fn label(self) -> &'static str {
        match self.0 {
            1 => "diagonal",
            2 => "condition 2",
            3 => "row 0 zeroed",
            4 => "row n-1 zeroed",
            5 => "row n/2 zeroed",
            6 => "condition √(0.1/ε)",
            7 => "condition 0.1/ε",
            8 => "near underflow",
            _ => "near overflow",
        }
    }

    /// The row and column that is zeroed in a matrix of order n > 0.
    fn zeroed(self, n: usize) -> Option<usize> {
        match self.0 {
            3 if n > 0 => Some(0),
            4 if n > 0 => Some(n - 1),
            5 if n > 0 => Some(n / 2),
            _ => None,
        }
    }
}

/// A matrix of a [`PoType`] and what is known about it.
#[derive(Debug, Clone)]
pub struct PoMatrix<T> {
    /// Its type.
    pub kind: PoType,
    /// The matrix, both triangles.
    pub matrix: Mat<T>,
    /// Largest over smallest eigenvalue, before the zeroing of types 3 to 5 and before rounding; 1 for n < 2.
    pub condition: f64,
    /// The pivot at which a Cholesky factorization must stop, counted from 0 (types 3 to 5).
    pub pivot: Option<usize>,
    /// log det A, before rounding; `None` where a pivot is zero.
    pub log_determinant: Option<f64>,
}

/// The n x n matrix of a positive definite type.
pub fn po_type<T: Scalar>(kind: PoType, n: usize, seed: u64) -> PoMatrix<T> {
    let eps = T::EPS.f64();
    let condition = match kind.0 {
        6 => (0.1 / eps).sqrt(),
        7 => 0.1 / eps,
        _ => 2.0,
    };
    let small = 0.25 * (T::min_positive_value().f64() / eps);
    let scale = match kind.0 {
        8 => small,
        9 => 1.0 / small,
        _ => 1.0,
    };
    let w = geometric(n, condition);
    let mut matrix = match kind.0 {
        1 => Mat::from_diagonal(&w),
        _ => gallery::with_spectrum(&w, seed),
    };
    let pivot = kind.zeroed(n);
    if let Some(k) = pivot {
        for i in 0..n {
            (matrix[(i, k)], matrix[(k, i)]) = (0.0, 0.0);
        }
    }
    PoMatrix {
        kind,
        matrix: matrix.map(|x| scale * x).cast(),
        condition: if n < 2 { 1.0 } else { condition },
        pivot,
        log_determinant: pivot.is_none().then(|| w.iter().map(|w| w.ln() + scale.ln()).sum()),
    }
}

/// Where the entries of a [`SepType`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// On the diagonal.
    Diagonal,
    /// Everywhere.
    Dense,
    /// Within a random distance of the diagonal.
    Banded,
}

/// The eigenvalues of a [`SepType`], up to their signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spectrum {
    /// All 0.
    Zero,
    /// All 1.
    Identity,
    /// Evenly spaced from 1 down to ε.
    Even,
    /// Geometric from 1 down to ε.
    Geometric,
    /// 1, ε, ε, ..., ε.
    Clustered,
    /// Whatever entries uniform in [-1, 1) give.
    Free,
}

/// The scale of a [`SepType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Magnitude {
    /// Norm about 1.
    One,
    /// √huge · ε / n.
    Large,
    /// √tiny · n / ε.
    Small,
}

/// A symmetric matrix type of LAPACK's eigenvalue test programs.
///
/// ```
/// use pullback::testing::lapack::{Magnitude, SepType, Spectrum, sep_type};
/// let kind = SepType::new(12).unwrap();
/// assert_eq!((kind.spectrum, kind.magnitude), (Spectrum::Even, Magnitude::Small));
/// assert!(sep_type::<f32>(kind, 5, 1).matrix[(0, 0)].abs() < 1e-10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SepType {
    number: u8,
    /// Where the entries are.
    pub form: Form,
    /// The eigenvalues.
    pub spectrum: Spectrum,
    /// The scale.
    pub magnitude: Magnitude,
}

const fn sep(number: u8, form: Form, spectrum: Spectrum, magnitude: Magnitude) -> SepType {
    SepType { number, form, spectrum, magnitude }
}

impl SepType {
    /// Types 1 to 18.
    pub const ALL: [SepType; 18] = [
        sep(1, Form::Diagonal, Spectrum::Zero, Magnitude::One),
        sep(2, Form::Diagonal, Spectrum::Identity, Magnitude::One),
        sep(3, Form::Diagonal, Spectrum::Even, Magnitude::One),
        sep(4, Form::Diagonal, Spectrum::Geometric, Magnitude::One),
        sep(5, Form::Diagonal, Spectrum::Clustered, Magnitude::One),
        sep(6, Form::Diagonal, Spectrum::Geometric, Magnitude::Large),
        sep(7, Form::Diagonal, Spectrum::Geometric, Magnitude::Small),
        sep(8, Form::Dense, Spectrum::Even, Magnitude::One),
        sep(9, Form::Dense, Spectrum::Geometric, Magnitude::One),
        sep(10, Form::Dense, Spectrum::Clustered, Magnitude::One),
        sep(11, Form::Dense, Spectrum::Even, Magnitude::Large),
        sep(12, Form::Dense, Spectrum::Even, Magnitude::Small),
        sep(13, Form::Dense, Spectrum::Free, Magnitude::One),
        sep(14, Form::Dense, Spectrum::Free, Magnitude::Large),
        sep(15, Form::Dense, Spectrum::Free, Magnitude::Small),
        sep(16, Form::Banded, Spectrum::Even, Magnitude::One),
        sep(17, Form::Banded, Spectrum::Even, Magnitude::Large),
        sep(18, Form::Banded, Spectrum::Even, Magnitude::Small),
    ];

    /// The type with LAPACK's number, 1 to 18.
    pub fn new(number: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// LAPACK's number.
    pub fn number(self) -> usize {
        usize::from(self.number)
    }

    /// In a few words.
    pub fn label(self) -> String {
        let form = match self.form {
            Form::Diagonal => "diagonal",
            Form::Dense => "dense",
            Form::Banded => "banded",
        };
        let spectrum = match self.spectrum {
            Spectrum::Zero => return "zero".to_owned(),
            Spectrum::Identity => return "identity".to_owned(),
            Spectrum::Even => "even",
            Spectrum::Geometric => "geometric",
            Spectrum::Clustered => "clustered",
            Spectrum::Free => "uniform",
        };
        let magnitude = match self.magnitude {
            Magnitude::One => "",
            Magnitude::Large => ", large",
            Magnitude::Small => ", small",
        };
        format!("{form}, {spectrum}{magnitude}")
    }
}

/// A matrix of a [`SepType`] and what is known about it.
#[derive(Debug, Clone)]
pub struct SepMatrix<T> {
    /// Its type.
    pub kind: SepType,
    /// The matrix, both triangles.
    pub matrix: Mat<T>,
    /// Its eigenvalues before rounding, ascending; `None` for [`Spectrum::Free`].
    pub eigenvalues: Option<Vec<f64>>,
    /// Entries further than this from the diagonal are zero.
    pub half_bandwidth: usize,
}

/// The n x n matrix of a symmetric eigenvalue type.
pub fn sep_type<T: Scalar>(kind: SepType, n: usize, seed: u64) -> SepMatrix<T> {
    const SIGNS: u64 = 1;
    const BANDWIDTH: u64 = 2;
    let (eps, order) = (T::EPS.f64(), n.max(1) as f64);
    let magnitudes: Vec<f64> = match kind.spectrum {
        Spectrum::Zero | Spectrum::Free => vec![0.0; n],
        Spectrum::Identity => vec![1.0; n],
        Spectrum::Even => (0..n).map(|i| 1.0 - step(i, n) * (1.0 - eps)).collect(),
        Spectrum::Geometric => geometric(n, 1.0 / eps),
        Spectrum::Clustered => (0..n).map(|i| if i == 0 { 1.0 } else { eps }).collect(),
    };
    let mut draws = Draws::new(seed, SIGNS);
    let signed = !matches!(kind.spectrum, Spectrum::Zero | Spectrum::Identity);
    let mut w: Vec<f64> = magnitudes.into_iter().map(|w| if signed { w * draws.sign() } else { w }).collect();
    let mut matrix = match (kind.form, kind.spectrum) {
        (_, Spectrum::Free) => {
            let mut uniform = gallery::uniform(n, n, seed);
            uniform.as_mut().mirror_lower();
            uniform
        }
        (Form::Diagonal, _) => Mat::from_diagonal(&w),
        (Form::Dense | Form::Banded, _) => gallery::with_spectrum(&w, seed),
    };
    let half_bandwidth = match kind.form {
        Form::Diagonal => 0,
        Form::Dense => n.saturating_sub(1),
        Form::Banded => Draws::new(seed, BANDWIDTH).below(n.max(1)),
    };
    if kind.form == Form::Banded && n > 0 {
        values::reduce_to_band(&mut matrix, half_bandwidth.max(1));
    }
    let scale = match kind.magnitude {
        Magnitude::One => 1.0,
        Magnitude::Large => T::max_value().f64().sqrt() * eps / order,
        Magnitude::Small => T::min_positive_value().f64().sqrt() * order / eps,
    };
    w.iter_mut().for_each(|w| *w *= scale);
    w.sort_by(f64::total_cmp);
    SepMatrix {
        kind,
        matrix: matrix.map(|x| scale * x).cast(),
        eigenvalues: (kind.spectrum != Spectrum::Free).then_some(w),
        half_bandwidth: half_bandwidth.max(usize::from(kind.form == Form::Banded)),
    }
}

/// i / (n - 1), and 0 for n < 2.
fn step(i: usize, n: usize) -> f64 {
    if n > 1 { i as f64 / (n - 1) as f64 } else { 0.0 }
}

/// 1, ..., 1/κ, evenly spaced in the logarithm.
fn geometric(n: usize, condition: f64) -> Vec<f64> {
    (0..n).map(|i| condition.powf(-step(i, n))).collect()
}

#[cfg(test)]
mod tests;
