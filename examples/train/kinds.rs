//! Who can take part: the names, on which cases each is run, and what each needs.

use std::str::FromStr;

/// On which cases one step looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cases {
    /// A minibatch, another one in each step: noise is averaged away over many cheap steps.
    Minibatch,
    /// A minibatch that is so small that its kernel, of cases x outputs rows, can be factored.
    Kernel,
    /// Some thousand cases, others in each step: enough that a step which is solved to the end fits more than its noise.
    Large,
    /// All training cases in every step, as line searches and differences of gradients need.
    Full,
}

macro_rules! kinds {
    ($($kind:ident $name:literal $cases:ident $what:literal)*) => {
        /// An optimizer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// In the order in which they run.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),* }
            }

            pub fn cases(self) -> Cases {
                match self { $(Kind::$kind => Cases::$cases),* }
            }

            /// In a few words.
            pub fn what(self) -> &'static str {
                match self { $(Kind::$kind => $what),* }
            }
        }
    };
}

kinds! {
    Sgd                 "sgd"                     Minibatch "Nesterov's momentum"
    HeavyBall           "heavy-ball"              Minibatch "Polyak's momentum"
    Adam                "adam"                    Minibatch "moments of the gradient"
    Kfac                "kfac"                    Minibatch "K-FAC, steps by the exact model"
    KfacPlain           "kfac-no-momentum"        Minibatch "the same without momentum"
    Ekfac               "ekfac"                   Minibatch "rescaled in K-FAC's eigenbasis"
    KfacTridiagonal     "kfac-tridiagonal"        Minibatch "neighbouring layers coupled"
    Spring              "spring"                  Kernel    "damped Gauss-Newton by its kernel"
    NaturalGradient     "natural-gradient"        Minibatch "exact Fisher matrix, by CG"
    Proximal            "proximal"                Minibatch "gradient steps on Eq 11"
    GradientDescent     "gradient-descent"        Full      "steepest, strong Wolfe search"
    Preconditioned      "preconditioned-gradient" Full      "fixed diagonal of G"
    IncompleteCholesky  "incomplete-cholesky"     Full      "fixed incomplete factor of G"
    CgFletcherReeves    "cg-fletcher-reeves"      Full      "nonlinear conjugate gradient"
    CgPolakRibiere      "cg-polak-ribiere"        Full      "the same, Polak-Ribiere+"
    CgHestenesStiefel   "cg-hestenes-stiefel"     Full      "the same, Hestenes-Stiefel"
    CgHagerZhang        "cg-hager-zhang"          Full      "the same, Hager-Zhang"
    Bfgs                "bfgs"                    Full      "dense inverse Hessian"
    Lbfgs               "lbfgs"                   Full      "the last pairs of steps"
    Newton              "newton"                  Large     "damped, Armijo; dense or by CG"
    NewtonAbsolute      "newton-absolute"         Large     "by |H|, dense"
    GaussNewton         "gauss-newton"            Large     "damped, Armijo; dense or by CG"
    LevenbergMarquardt  "levenberg-marquardt"     Large     "lambda by the reduction ratio"
    Marquardt           "marquardt"               Full      "the same by QR of the Jacobian"
    TrustRegion         "trust-region"            Large     "truncated Newton, Steihaug"
    Hf                  "hf"                      Full      "Hessian-free, no preconditioner"
    HfMartens           "hf-martens"              Full      "with Martens' diagonal"
    HfKfac              "hf-kfac"                 Full      "with K-FAC"
    HfEkfac             "hf-ekfac"                Full      "with EKFAC"
    HfTridiagonal       "hf-tridiagonal"          Full      "with block-tridiagonal K-FAC"
}

/// An optimizer, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    All,
    One(Kind),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "all" {
            return Ok(Choice::All);
        }
        let found = Kind::ALL.iter().find(|kind| kind.name() == name);
        found.map(|&kind| Choice::One(kind)).ok_or_else(|| "expected `all`, or names that --help lists".to_owned())
    }
}

const HEAD: &str = "\
Who takes part, in this order, separated by commas; or `all`, without
those that do not fit the network
[default: sgd,adam,kfac]
";

/// The help of --optimizer, a line for each name.
pub fn help() -> String {
    let mut text = HEAD.to_owned();
    let groups = [
        (Cases::Minibatch, "on minibatches"),
        (Cases::Kernel, "on as many cases of one as give 2048 outputs"),
        (Cases::Large, "on 2048 cases, or all where there are fewer"),
        (Cases::Full, "on all cases, at most 20000"),
    ];
    for (cases, title) in groups {
        text += &format!("{title}:\n");
        for kind in Kind::ALL.iter().filter(|kind| kind.cases() == cases) {
            text += &format!("  {:<24} {}\n", kind.name(), kind.what());
        }
    }
    text.trim_end().to_owned()
}
