//! Faulty preconditioners: a changing one, a negative one, and a truncated conjugate gradient that poses as one.

use super::*;
use pullback::krylov::{CgOptions, pcg};
use pullback::linop::{Scaled, SymmetricDense};
use pullback::testing::{Claim, preconditioner};
use pullback::{LinearOperator, MatRef, Preconditioner, SelfAdjoint};

/// The promise of a preconditioner, whatever is inside.
struct Posing<A>(A);

impl<A: LinearOperator<f64>> LinearOperator<f64> for Posing<A> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}
impl<A: LinearOperator<f64>> SelfAdjoint<f64> for Posing<A> {}
impl<A: LinearOperator<f64>> Preconditioner<f64> for Posing<A> {}

/// Two steps of conjugate gradient.
struct Truncated(SymmetricDense<f64>);

impl LinearOperator<f64> for Truncated {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        let options = CgOptions { max_iterations: 2, ..CgOptions::from_zero() };
        pcg(ctx, &self.0, None, x, y, &options).map(|_| ())
    }
}

/// Adapts itself from call to call.
struct Adapting(SymmetricDense<f64>, Calls);

impl LinearOperator<f64> for Adapting {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, mut y: MatMut<'_, f64>) -> Result<()> {
        self.0.apply_into(ctx, x, y.rb_mut())?;
        scale(y, 1.0 + self.1.next() as f64 / 100.0);
        Ok(())
    }
}

fn dense() -> Result<SymmetricDense<f64>> {
    SymmetricDense::new(spd())
}

fn check<A: LinearOperator<f64>>(name: &str, make: impl Fn() -> Result<A>) -> Report {
    preconditioner::check(&setup(), &Claim::unknown(name), |_| make().map(Posing))
}

pub fn sound() -> Report {
    check("sound", dense)
}

pub fn all() -> Vec<Broken> {
    let mut posing = of("operator", &["is linear", "is self-adjoint"]);
    posing.extend(of("preconditioner", &["solves its inverse in one step"]));
    vec![
        Broken {
            name: "no preconditioner at all",
            report: check::<Truncated>("unbuilt", || Err(refusal())),
            breaks: of("preconditioner", &["builds"]),
        },
        Broken {
            name: "conjugate gradient in disguise",
            report: check("cg", || dense().map(Truncated)),
            breaks: posing,
        },
        Broken {
            name: "another map at each call",
            report: check("adapting", || Ok(Adapting(dense()?, Calls::default()))),
            breaks: of("preconditioner", &["is fixed"]),
        },
        Broken {
            name: "negative definite",
            report: check("negative", || Ok(Scaled::new(dense()?, -1.0))),
            breaks: of("preconditioner", &["is positive"]),
        },
    ]
}
