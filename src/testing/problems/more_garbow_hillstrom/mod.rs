//! The collection of Moré, Garbow and Hillstrom: 35 sums of squares, their standard starts and published minima.
//!
//! ```text
//! f(x) = Σ r_i(x)²
//! solved   f <= f* + 1e-5 f* + 1e-14 f(x₀)     f*: any of the published minima that are attained at a finite x
//! ```
//! f* is published to 6 digits. Where the paper leaves n or m open, the value here is one that it gives a minimum for.
//!
//! Deviations  the exponent of problem 11 is that of the authors' program: the printed formula has a slip there.
//! Laws        tests/more_garbow_hillstrom.rs.
//! Reference   J. Moré, B. Garbow, K. Hillstrom, Testing Unconstrained Optimization Software, ACM Transactions on
//!             Mathematical Software 7 (1981) 17-41, doi 10.1145/355934.355936.

mod fixed;
mod measured;
mod variable;

use super::{Formula, Number};

/// Variants, names, shapes and minima: one line a problem, in the paper's order.
macro_rules! problems {
    ($($variant:ident $name:literal $columns:literal x $rows:literal [$($minimum:expr),+]),+ $(,)?) => {
        /// A problem of the collection.
        ///
        /// ```
        /// use pullback::testing::problems::{MoreGarbowHillstrom, SumOfSquares};
        /// let problem = MoreGarbowHillstrom::Rosenbrock;
        /// let r = SumOfSquares::new(problem).residuals(&problem.start())?;
        /// assert!((r[0] * r[0] + r[1] * r[1] - 24.2).abs() < 1e-12);
        /// # Ok::<(), pullback::Error>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum MoreGarbowHillstrom {
            $(#[doc = concat!($name, ", n = ", $columns, ", m = ", $rows, ".")] $variant,)+
        }

        impl MoreGarbowHillstrom {
            /// All of them in the paper's order.
            pub const ALL: [Self; 35] = [$(Self::$variant),+];

            /// The paper's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Published values of f = Σ r_i² at minima that are attained, the global one first.
            pub fn minima(self) -> &'static [f64] {
                match self { $(Self::$variant => &[$($minimum),+]),+ }
            }

            /// (m, n): how many residuals of how many parameters.
            pub fn residuals_and_parameters(self) -> (usize, usize) {
                match self { $(Self::$variant => ($rows, $columns)),+ }
            }
        }
    };
}

problems! {
    Rosenbrock "Rosenbrock" 2 x 2 [0.0],
    FreudensteinRoth "Freudenstein and Roth" 2 x 2 [0.0, 48.9842],
    PowellBadlyScaled "Powell badly scaled" 2 x 2 [0.0],
    BrownBadlyScaled "Brown badly scaled" 2 x 3 [0.0],
    Beale "Beale" 2 x 3 [0.0],
    JennrichSampson "Jennrich and Sampson" 2 x 10 [124.362],
    HelicalValley "Helical valley" 3 x 3 [0.0],
    Bard "Bard" 3 x 15 [8.21487e-3],
    Gaussian "Gaussian" 3 x 15 [1.12793e-8],
    Meyer "Meyer" 3 x 16 [87.9458],
    Gulf "Gulf research and development" 3 x 99 [0.0],
    Box "Box three-dimensional" 3 x 10 [0.0],
    PowellSingular "Powell singular" 4 x 4 [0.0],
    Wood "Wood" 4 x 6 [0.0],
    KowalikOsborne "Kowalik and Osborne" 4 x 11 [3.07505e-4],
    BrownDennis "Brown and Dennis" 4 x 20 [85822.2],
    Osborne1 "Osborne 1" 5 x 33 [5.46489e-5],
    BiggsExp6 "Biggs EXP6" 6 x 13 [0.0, 5.65565e-3],
    Osborne2 "Osborne 2" 11 x 65 [4.01377e-2],
    Watson "Watson" 9 x 31 [1.39976e-6],
    ExtendedRosenbrock "Extended Rosenbrock" 10 x 10 [0.0],
    ExtendedPowellSingular "Extended Powell singular" 12 x 12 [0.0],
    PenaltyI "Penalty I" 10 x 11 [7.08765e-5],
    PenaltyII "Penalty II" 10 x 20 [2.93660e-4],
    VariablyDimensioned "Variably dimensioned" 10 x 12 [0.0],
    Trigonometric "Trigonometric" 10 x 10 [0.0, 2.79506e-5],
    BrownAlmostLinear "Brown almost-linear" 10 x 10 [0.0, 1.0],
    DiscreteBoundaryValue "Discrete boundary value" 10 x 10 [0.0],
    DiscreteIntegralEquation "Discrete integral equation" 10 x 10 [0.0],
    BroydenTridiagonal "Broyden tridiagonal" 10 x 10 [0.0],
    BroydenBanded "Broyden banded" 10 x 10 [0.0],
    LinearFullRank "Linear, full rank" 10 x 20 [10.0],
    LinearRankOne "Linear, rank 1" 10 x 20 [380.0 / 82.0],
    LinearRankOneZeros "Linear, rank 1, zero borders" 10 x 20 [454.0 / 74.0],
    Chebyquad "Chebyquad" 8 x 8 [3.51687e-3],
}

impl MoreGarbowHillstrom {
    /// Its number in the paper, from 1.
    pub fn number(self) -> usize {
        1 + self as usize
    }

    /// The standard start x₀.
    pub fn start(self) -> Vec<f64> {
        let (_, n) = self.residuals_and_parameters();
        let repeated = |pattern: &[f64]| pattern.iter().copied().cycle().take(n).collect();
        let by_index = |x: &dyn Fn(f64) -> f64| (1..=n).map(|j| x(j as f64)).collect();
        let (size, step) = (n as f64, 1.0 / (n as f64 + 1.0));
        match self {
            Self::Rosenbrock | Self::ExtendedRosenbrock => repeated(&[-1.2, 1.0]),
            Self::FreudensteinRoth => vec![0.5, -2.0],
            Self::PowellBadlyScaled => vec![0.0, 1.0],
            Self::BrownBadlyScaled | Self::Beale | Self::Bard => vec![1.0; n],
            Self::JennrichSampson => vec![0.3, 0.4],
            Self::HelicalValley => vec![-1.0, 0.0, 0.0],
            Self::Gaussian => vec![0.4, 1.0, 0.0],
            Self::Meyer => vec![0.02, 4000.0, 250.0],
            Self::Gulf => vec![5.0, 2.5, 0.15],
            Self::Box => vec![0.0, 10.0, 20.0],
            Self::PowellSingular | Self::ExtendedPowellSingular => repeated(&[3.0, -1.0, 0.0, 1.0]),
            Self::Wood => repeated(&[-3.0, -1.0]),
            Self::KowalikOsborne => vec![0.25, 0.39, 0.415, 0.39],
            Self::BrownDennis => vec![25.0, 5.0, -5.0, -1.0],
            Self::Osborne1 => vec![0.5, 1.5, -1.0, 0.01, 0.02],
            Self::BiggsExp6 => vec![1.0, 2.0, 1.0, 1.0, 1.0, 1.0],
            Self::Osborne2 => vec![1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5],
            Self::Watson => vec![0.0; n],
            Self::PenaltyI => by_index(&|j| j),
            Self::PenaltyII | Self::BrownAlmostLinear => vec![0.5; n],
            Self::VariablyDimensioned => by_index(&|j| 1.0 - j / size),
            Self::Trigonometric => vec![1.0 / size; n],
            Self::DiscreteBoundaryValue | Self::DiscreteIntegralEquation => by_index(&|j| j * step * (j * step - 1.0)),
            Self::BroydenTridiagonal | Self::BroydenBanded => vec![-1.0; n],
            Self::LinearFullRank | Self::LinearRankOne | Self::LinearRankOneZeros => vec![1.0; n],
            Self::Chebyquad => by_index(&|j| j * step),
        }
    }

    /// The value of f from which a run from f(x₀) counts as come to the global minimum.
    pub fn target(self, at_start: f64) -> f64 {
        let minimum = self.minima()[0];
        minimum + room(minimum, at_start)
    }

    /// The published minimum that f has come to from a start where it was f(x₀), if any.
    pub fn solved(self, f: f64, at_start: f64) -> Option<f64> {
        // a value between two minima has come to neither
        let near = |minimum: &f64| (f - minimum).abs() <= room(*minimum, at_start);
        self.minima().iter().copied().find(near)
    }
}

/// How far f may lie from a minimum that is published to 6 digits.
fn room(minimum: f64, at_start: f64) -> f64 {
    const PUBLISHED_DIGITS: f64 = 1e-5;
    const REDUCTION: f64 = 1e-14;
    PUBLISHED_DIGITS * minimum + REDUCTION * at_start
}

impl Formula for MoreGarbowHillstrom {
    fn shape(&self) -> (usize, usize) {
        self.residuals_and_parameters()
    }

    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
        match self {
            Self::Rosenbrock => fixed::rosenbrock(x, r),
            Self::FreudensteinRoth => fixed::freudenstein_roth(x, r),
            Self::PowellBadlyScaled => fixed::powell_badly_scaled(x, r),
            Self::BrownBadlyScaled => fixed::brown_badly_scaled(x, r),
            Self::Beale => fixed::beale(x, r),
            Self::JennrichSampson => fixed::jennrich_sampson(x, r),
            Self::HelicalValley => fixed::helical_valley(x, r),
            Self::Bard => measured::bard(x, r),
            Self::Gaussian => measured::gaussian(x, r),
            Self::Meyer => measured::meyer(x, r),
            Self::Gulf => fixed::gulf(x, r),
            Self::Box => fixed::box_three_dimensional(x, r),
            Self::PowellSingular => fixed::powell_singular(x, r),
            Self::Wood => fixed::wood(x, r),
            Self::KowalikOsborne => measured::kowalik_osborne(x, r),
            Self::BrownDennis => fixed::brown_dennis(x, r),
            Self::Osborne1 => measured::osborne_1(x, r),
            Self::BiggsExp6 => fixed::biggs_exp6(x, r),
            Self::Osborne2 => measured::osborne_2(x, r),
            Self::Watson => variable::watson(x, r),
            Self::ExtendedRosenbrock => variable::extended_rosenbrock(x, r),
            Self::ExtendedPowellSingular => variable::extended_powell_singular(x, r),
            Self::PenaltyI => variable::penalty_1(x, r),
            Self::PenaltyII => variable::penalty_2(x, r),
            Self::VariablyDimensioned => variable::variably_dimensioned(x, r),
            Self::Trigonometric => variable::trigonometric(x, r),
            Self::BrownAlmostLinear => variable::brown_almost_linear(x, r),
            Self::DiscreteBoundaryValue => variable::discrete_boundary_value(x, r),
            Self::DiscreteIntegralEquation => variable::discrete_integral_equation(x, r),
            Self::BroydenTridiagonal => variable::broyden_tridiagonal(x, r),
            Self::BroydenBanded => variable::broyden_banded(x, r),
            Self::LinearFullRank => variable::linear_full_rank(x, r),
            Self::LinearRankOne => variable::linear_rank_one(x, r),
            Self::LinearRankOneZeros => variable::linear_rank_one_zeros(x, r),
            Self::Chebyquad => variable::chebyquad(x, r),
        }
    }
}
