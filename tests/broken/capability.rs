//! Faulty answers of curvatures and solvers.

use super::*;
use pullback::curvature::{
    Curvature, Dense, DenseInverse, HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace,
};
use pullback::factor::{Cholesky, SymEigen};
use pullback::linop::{DenseOperator, SymmetricDense};
use pullback::testing::{Claim, capability};
use pullback::{DampedSolver, Damping, HasDiagonal, LinearOperator, MatRef, SelfAdjoint};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    ShiftedDiagonal,
    DiagonalOfAnyLength,
    TraceOfSquares,
    NormSquared,
    RootIsTheMatrix,
    StaleLogDeterminant,
    RootOfTheMatrixItself,
}

struct Faulty(SymmetricDense<f64>, Fault);

impl LinearOperator<f64> for Faulty {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}

impl SelfAdjoint<f64> for Faulty {}

impl HasDiagonal<f64> for Faulty {
    fn diagonal(&self, ctx: &Ctx<f64>, out: &mut [f64]) -> Result<()> {
        if self.1 == Fault::DiagonalOfAnyLength && out.len() != N {
            return Ok(());
        }
        self.0.diagonal(ctx, out)?;
        if self.1 == Fault::ShiftedDiagonal {
            out.rotate_left(1);
        }
        Ok(())
    }
}

impl HasTrace<f64> for Faulty {
    fn trace(&self, _: &Ctx<f64>) -> Result<f64> {
        let power = if self.1 == Fault::TraceOfSquares { 2 } else { 1 };
        Ok((0..N).map(|i| self.0.matrix()[(i, i)].powi(power)).sum())
    }
}

impl HasFrobeniusNorm<f64> for Faulty {
    fn frobenius_norm(&self, _: &Ctx<f64>) -> Result<f64> {
        let norm = pullback::testing::dense::norm(self.0.matrix());
        Ok(if self.1 == Fault::NormSquared { norm * norm } else { norm })
    }
}

impl HasSquareRoot<f64> for Faulty {
    type Root<'a> = DenseOperator<f64>;

    fn square_root(&self, ctx: &Ctx<f64>) -> Result<DenseOperator<f64>> {
        let matrix = self.0.matrix().clone();
        if self.1 == Fault::RootIsTheMatrix {
            return Ok(DenseOperator::new(matrix));
        }
        SymEigen::new(ctx, matrix)?.map_to_dense(ctx, f64::sqrt).map(DenseOperator::new)
    }
}

/// A dense curvature whose solver answers questions.
struct Asked(Dense<f64>, Fault);

impl LinearOperator<f64> for Asked {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}

impl SelfAdjoint<f64> for Asked {}

impl Curvature<f64> for Asked {
    type Solver = AskedSolver;

    fn definiteness(&self) -> pullback::curvature::Definiteness {
        self.0.definiteness()
    }

    fn damped(&self, ctx: &Ctx<f64>, lambda: Damping<f64>) -> Result<AskedSolver> {
        let undamped = Cholesky::new(ctx, self.0.matrix().clone())?.log_determinant();
        Ok(AskedSolver {
            inverse: self.0.damped(ctx, lambda)?,
            undamped,
            matrix: self.0.matrix().clone(),
            fault: self.1,
        })
    }
}

struct AskedSolver {
    inverse: DenseInverse<f64>,
    undamped: f64,
    matrix: Mat<f64>,
    fault: Fault,
}

impl DampedSolver<f64> for AskedSolver {
    fn dim(&self) -> usize {
        N
    }
    fn damping(&self) -> Damping<f64> {
        self.inverse.damping()
    }
    fn fidelity(&self) -> pullback::curvature::Fidelity {
        self.inverse.fidelity()
    }
    fn solve_into(
        &self,
        ctx: &Ctx<f64>,
        b: MatRef<'_, f64>,
        x: MatMut<'_, f64>,
    ) -> Result<pullback::curvature::SolveReport> {
        self.inverse.solve_into(ctx, b, x)
    }
}

impl HasLogDeterminant<f64> for AskedSolver {
    fn log_determinant(&self) -> f64 {
        if self.fault == Fault::StaleLogDeterminant { self.undamped } else { self.inverse.log_determinant() }
    }
}

impl HasInverseSquareRoot<f64> for AskedSolver {
    type Root<'a> = DenseOperator<f64>;

    fn inverse_square_root(&self, ctx: &Ctx<f64>) -> Result<DenseOperator<f64>> {
        let lambda = self.damping().get();
        let power = if self.fault == Fault::RootOfTheMatrixItself { 0.5 } else { -0.5 };
        let eigen = SymEigen::new(ctx, self.matrix.clone())?;
        eigen.map_to_dense(ctx, |w| (w + lambda).powf(power)).map(DenseOperator::new)
    }
}

fn report(fault: Fault) -> Report {
    let claim = Claim::exact("faulty", spd());
    let told = |_: &_| Ok(Faulty(SymmetricDense::new(spd())?, fault));
    let asked = |_: &_| Ok(Asked(Dense::new(spd())?, fault));
    let reports = [
        capability::check_diagonal(&setup(), &claim, told),
        capability::check_trace(&setup(), &claim, told),
        capability::check_frobenius_norm(&setup(), &claim, told),
        capability::check_square_root(&setup(), &claim, told),
        capability::check_log_determinant(&setup(), &claim, asked),
        capability::check_inverse_square_root(&setup(), &claim, asked),
    ];
    reports.into_iter().collect()
}

pub fn sound() -> Report {
    report(Fault::None)
}

pub fn all() -> Vec<Broken> {
    let faulty = |name, fault, law| Broken { name, report: report(fault), breaks: of("capability", &[law]) };
    let unbuilt = capability::check_trace::<f64, Faulty>(&setup(), &Claim::unknown("unbuilt"), |_| Err(refusal()));
    vec![
        Broken { name: "nobody to ask", report: unbuilt, breaks: of("capability", &["builds"]) },
        faulty("diagonal off by one", Fault::ShiftedDiagonal, "tells its diagonal"),
        faulty("diagonal of any length", Fault::DiagonalOfAnyLength, "diagonal refuses wrong lengths"),
        faulty("trace of squares", Fault::TraceOfSquares, "tells its trace"),
        faulty("squared norm", Fault::NormSquared, "tells its Frobenius norm"),
        faulty("its own root", Fault::RootIsTheMatrix, "has a square root"),
        faulty("undamped determinant", Fault::StaleLogDeterminant, "tells its log-determinant"),
        faulty("root of the matrix", Fault::RootOfTheMatrixItself, "has an inverse square root"),
    ]
}
