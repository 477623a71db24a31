//! The reference loops with faults.

use std::sync::Arc;
use std::thread::ThreadId;

use super::*;
use pullback::backend::{Reference, check};
use pullback::testing::backend;
use pullback::{Backend, MatRef, Op, Side};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    IgnoresTranspose,
    ForgetsAlpha,
    ForgetsBeta,
    SolvesUntransposed,
    MultipliesByBeta,
    MultipliesByAlpha,
    SpoilsPadding,
    FillsTheUpperTriangle,
    InexactFactor,
    HalfInverse,
    HalfSolve,
    Descending,
    TransposedVectors,
    AbsoluteThreshold,
    RefusesEmptiness,
    SilencesNan,
    RefusesAZeroPivot,
    FactorsNan,
    PivotOffByOne,
    OverflowsSilently,
    AcceptsEveryShape,
    Jitters,
    DependsOnTheThread,
    SplitsWrongly,
    TruncatesLd,
}

#[derive(Debug, Clone)]
struct Faulty {
    fault: Fault,
    calls: Arc<Calls>,
    home: ThreadId,
}

fn shapes_fit(outcome: Result<()>, fault: Fault) -> Result<()> {
    match outcome {
        Err(Error::Shape { .. }) if fault == Fault::AcceptsEveryShape => Ok(()),
        other => other,
    }
}

impl Backend<f64> for Faulty {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn gemm(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        b: MatRef<'_, f64>,
        tb: Op,
        beta: f64,
        mut c: MatMut<'_, f64>,
    ) -> Result<()> {
        let fault = self.fault;
        if fault == Fault::RefusesEmptiness && c.nrows() * c.ncols() == 0 {
            return Err(refusal());
        }
        if fault == Fault::TruncatesLd && a.ld() > i32::MAX as usize {
            c.fill(0.0);
            return Ok(());
        }
        let square = a.nrows() == a.ncols();
        let ta = if fault == Fault::IgnoresTranspose && square { Op::No } else { ta };
        if fault == Fault::MultipliesByBeta && beta == 0.0 {
            scale(c.rb_mut(), 0.0);
            return Reference.gemm(threads, alpha, a, ta, b, tb, 1.0, c);
        }
        shapes_fit(Reference.gemm(threads, alpha, a, ta, b, tb, beta, c.rb_mut()), fault)?;
        match fault {
            Fault::MultipliesByAlpha if alpha == 0.0 && !a.is_finite() => c.fill(f64::NAN),
            Fault::SpoilsPadding => spoil_padding(c),
            Fault::SilencesNan => {
                c.cols_mut().for_each(|c| c.iter_mut().filter(|c| !c.is_finite()).for_each(|c| *c = 0.0))
            }
            Fault::Jitters => scale(c, self.calls.jitter()),
            Fault::DependsOnTheThread if std::thread::current().id() != self.home => scale(c, 1.0 + f64::EPSILON),
            Fault::SplitsWrongly if threads > 1 => scale(c, 1.001),
            _ => {}
        }
        Ok(())
    }

    fn syrk_lower(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        beta: f64,
        c: MatMut<'_, f64>,
    ) -> Result<()> {
        let alpha = if self.fault == Fault::ForgetsAlpha { 1.0 } else { alpha };
        Reference.syrk_lower(threads, alpha, a, ta, beta, c)
    }

    fn gemv(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        x: &[f64],
        beta: f64,
        y: &mut [f64],
    ) -> Result<()> {
        let beta = if self.fault == Fault::ForgetsBeta { beta.abs() } else { beta };
        Backend::<f64>::gemv(&Reference, threads, alpha, a, ta, x, beta, y)
    }

    fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, f64>, tl: Op, b: MatMut<'_, f64>) -> Result<()> {
        let zero_pivot = (0..l.nrows().min(l.ncols())).any(|i| l.at(i, i) == 0.0);
        if self.fault == Fault::RefusesAZeroPivot && zero_pivot {
            return Err(Error::Singular { op: "trsm", pivot: 0 });
        }
        let tl = if self.fault == Fault::SolvesUntransposed { Op::No } else { tl };
        Reference.trsm(threads, side, l, tl, b)
    }

    fn potrf(&self, threads: usize, mut a: MatMut<'_, f64>) -> Result<()> {
        let outcome = Reference.potrf(threads, a.rb_mut());
        match (self.fault, outcome) {
            (Fault::FactorsNan, Err(Error::NotFinite { .. })) => Ok(()),
            (Fault::PivotOffByOne, Err(Error::NotPositiveDefinite { op, pivot })) => {
                Err(Error::NotPositiveDefinite { op, pivot: pivot + 1 })
            }
            (Fault::FillsTheUpperTriangle, Ok(())) => {
                a.mirror_lower();
                Ok(())
            }
            (Fault::InexactFactor, Ok(())) => {
                for j in 0..a.ncols() {
                    a.col_mut(j)[j..].iter_mut().for_each(|l| *l *= 1.0 + 1e-9);
                }
                Ok(())
            }
            (_, outcome) => outcome,
        }
    }

    fn potrs(&self, threads: usize, l: MatRef<'_, f64>, mut b: MatMut<'_, f64>) -> Result<()> {
        Reference.trsm(threads, Side::Left, l, Op::No, b.rb_mut())?;
        if self.fault == Fault::HalfSolve {
            return Ok(());
        }
        Reference.trsm(threads, Side::Left, l, Op::Transpose, b)
    }

    fn potri(&self, threads: usize, mut l: MatMut<'_, f64>, work: MatMut<'_, f64>) -> Result<()> {
        let old = l.rb().to_owned();
        match (self.fault, Backend::<f64>::potri(&Reference, threads, l.rb_mut(), work)) {
            (Fault::OverflowsSilently, Err(Error::NotFinite { .. })) if old.as_ref().is_finite() => Ok(()),
            (Fault::HalfInverse, Ok(())) => {
                (0..l.ncols()).for_each(|j| l.col_mut(j)[..j].fill(0.0));
                Ok(())
            }
            (_, outcome) => outcome,
        }
    }

    fn syevd(&self, threads: usize, mut a: MatMut<'_, f64>, w: &mut [f64]) -> Result<()> {
        check::syevd(a.rb(), w)?;
        Reference.syevd(threads, a.rb_mut(), w)?;
        match self.fault {
            Fault::Descending => {
                w.reverse();
                let q = a.rb().to_owned();
                let n = q.ncols();
                (0..n).for_each(|j| a.col_mut(j).copy_from_slice(q.as_ref().col(n - 1 - j)));
            }
            Fault::TransposedVectors => a.copy_from(a.rb().to_owned().transposed().as_ref())?,
            // what LAPACK never does: a threshold that does not know the scale
            Fault::AbsoluteThreshold => w.iter_mut().filter(|w| w.abs() < 1e-17).for_each(|w| *w = 0.0),
            _ => {}
        }
        Ok(())
    }
}

type Part = fn(&Setup<f64>) -> Report;

fn report(fault: Fault, part: Part) -> Report {
    let home = std::thread::current().id();
    part(&Setup::on(Ctx::new(Faulty { fault, calls: Arc::default(), home })))
}

pub fn sound() -> Report {
    report(Fault::None, backend::check)
}

pub fn all() -> Vec<Broken> {
    let products = [
        ("ignores the transpose of square ones", Fault::IgnoresTranspose, "gemm is the product"),
        ("syrk without alpha", Fault::ForgetsAlpha, "syrk is the Gram product"),
        ("gemv with |beta|", Fault::ForgetsBeta, "gemv is the product"),
        ("trsm without transpose", Fault::SolvesUntransposed, "trsm solves"),
        ("multiplies C by 0", Fault::MultipliesByBeta, "beta 0 reads no C"),
        ("multiplies A by 0", Fault::MultipliesByAlpha, "alpha 0 reads no A and B"),
        ("gemm writes the padding", Fault::SpoilsPadding, "leaves the padding alone"),
    ];
    let factorizations = [
        ("potrf mirrors its factor", Fault::FillsTheUpperTriangle, "leaves the upper triangle alone"),
        ("factor off in the ninth digit", Fault::InexactFactor, "potrf is the Cholesky factor"),
        ("lower half of the inverse", Fault::HalfInverse, "potri is the inverse"),
        ("one triangular solve of two", Fault::HalfSolve, "potrs solves"),
        ("eigenvalues descending", Fault::Descending, "syevd has the eigenvalues"),
        ("eigenvectors in rows", Fault::TransposedVectors, "syevd has the eigenvectors"),
        ("absolute threshold", Fault::AbsoluteThreshold, "syevd is equivariant under powers of two"),
    ];
    let failures = [
        ("refuses emptiness", Fault::RefusesEmptiness, "serves zero sizes"),
        ("zero for NaN", Fault::SilencesNan, "propagates NaN and infinity"),
        ("an error for a zero pivot", Fault::RefusesAZeroPivot, "a zero pivot of trsm gives infinity"),
        ("factors NaN", Fault::FactorsNan, "factorizations refuse what is not finite"),
        ("pivot off by one", Fault::PivotOffByOne, "names the failing pivot"),
        ("infinite inverse", Fault::OverflowsSilently, "overflow is a typed error"),
        ("accepts every shape", Fault::AcceptsEveryShape, "refuses wrong shapes"),
        ("leading dimension in 32 bits", Fault::TruncatesLd, "a huge leading dimension gives no lie"),
    ];
    let threads = [
        ("last bit changes", Fault::Jitters, "repeats bit for bit"),
        ("depends on the thread", Fault::DependsOnTheThread, "concurrent calls equal lone ones"),
        ("wrong on two threads", Fault::SplitsWrongly, "two threads agree with one"),
    ];
    let faulty = |part: Part| {
        move |(name, fault, law)| Broken { name, report: report(fault, part), breaks: of("backend", &[law]) }
    };
    let products = products.into_iter().map(faulty(backend::check_products));
    let factorizations = factorizations.into_iter().map(faulty(backend::check_factorizations));
    let failures = failures.into_iter().map(faulty(backend::check_failures));
    let threads = threads.into_iter().map(faulty(backend::check_threads));
    products.chain(factorizations).chain(failures).chain(threads).collect()
}
