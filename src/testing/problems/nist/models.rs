//! The 27 models of the regressions, as NIST writes them, and the files that hold their data.
//!
//! Laws        tests/nist.rs.
//! Reference   NIST/ITL Statistical Reference Datasets, <https://www.itl.nist.gov/div898/strd/>.

use std::f64::consts::{PI, TAU};

use super::Number;

/// Names, files and variants, which differ in the case of letters only.
macro_rules! models {
    ($($variant:ident $name:literal $parameters:literal),+ $(,)?) => {
        /// One of NIST's models y = f(x; b).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Model {
            $(#[doc = concat!("`", $name, "`, ", $parameters, " parameters.")] $variant,)+
        }

        impl Model {
            /// All of them in alphabetical order.
            pub const ALL: [Model; 27] = [$(Model::$variant),+];

            /// NIST's name.
            pub fn name(self) -> &'static str {
                match self { $(Model::$variant => $name),+ }
            }

            /// How many parameters.
            pub fn parameters(self) -> usize {
                match self { $(Model::$variant => $parameters),+ }
            }

            /// The text of NIST's file.
            pub fn data(self) -> &'static str {
                match self {
                    $(Model::$variant => include_str!(concat!("../../../../data/nist/", $name, ".dat"))),+
                }
            }
        }
    };
}

models! {
    Bennett5 "Bennett5" 3,
    BoxBod "BoxBOD" 2,
    Chwirut1 "Chwirut1" 3,
    Chwirut2 "Chwirut2" 3,
    DanWood "DanWood" 2,
    Enso "ENSO" 9,
    Eckerle4 "Eckerle4" 3,
    Gauss1 "Gauss1" 8,
    Gauss2 "Gauss2" 8,
    Gauss3 "Gauss3" 8,
    Hahn1 "Hahn1" 7,
    Kirby2 "Kirby2" 5,
    Lanczos1 "Lanczos1" 6,
    Lanczos2 "Lanczos2" 6,
    Lanczos3 "Lanczos3" 6,
    Mgh09 "MGH09" 4,
    Mgh10 "MGH10" 3,
    Mgh17 "MGH17" 5,
    Misra1a "Misra1a" 2,
    Misra1b "Misra1b" 2,
    Misra1c "Misra1c" 2,
    Misra1d "Misra1d" 2,
    Nelson "Nelson" 3,
    Rat42 "Rat42" 3,
    Rat43 "Rat43" 4,
    Roszman1 "Roszman1" 4,
    Thurber "Thurber" 7,
}

impl Model {
    /// The model of this name, whatever the case of its letters.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name().eq_ignore_ascii_case(name))
    }

    /// How many predictors: two for Nelson, one for all others.
    pub fn predictors(self) -> usize {
        1 + usize::from(self == Model::Nelson)
    }

    /// Whether the model is one of log y.
    pub fn of_logarithm(self) -> bool {
        self == Model::Nelson
    }

    /// f(x; b).
    pub(super) fn predict<N: Number>(self, [x, x2]: [f64; 2], b: &[N]) -> N {
        let constant = N::of;
        match self {
            Model::Bennett5 => b[0] * (b[1] + x).pow(constant(-1.0) / b[2]),
            Model::BoxBod | Model::Misra1a => b[0] * (-(-b[1] * x).exp() + 1.0),
            Model::Chwirut1 | Model::Chwirut2 => (-b[0] * x).exp() / (b[1] + b[2] * x),
            Model::DanWood => b[0] * constant(x).pow(b[1]),
            Model::Enso => {
                let year = TAU * x / 12.0;
                let wave = |period: N, cosine: N, sine: N| {
                    let phase = constant(TAU * x) / period;
                    cosine * phase.cos() + sine * phase.sin()
                };
                b[0] + b[1] * year.cos() + b[2] * year.sin() + wave(b[3], b[4], b[5]) + wave(b[6], b[7], b[8])
            }
            Model::Eckerle4 => b[0] / b[1] * (((constant(x) - b[2]) / b[1]).square() * -0.5).exp(),
            Model::Gauss1 | Model::Gauss2 | Model::Gauss3 => {
                let peak = |height: N, place: N, width: N| height * (-((-place + x) / width).square()).exp();
                b[0] * (-b[1] * x).exp() + peak(b[2], b[3], b[4]) + peak(b[5], b[6], b[7])
            }
            Model::Hahn1 | Model::Thurber => {
                (b[0] + b[1] * x + b[2] * x.powi(2) + b[3] * x.powi(3))
                    / (b[4] * x + b[5] * x.powi(2) + b[6] * x.powi(3) + 1.0)
            }
            Model::Kirby2 => (b[0] + b[1] * x + b[2] * x.powi(2)) / (b[3] * x + b[4] * x.powi(2) + 1.0),
            Model::Lanczos1 | Model::Lanczos2 | Model::Lanczos3 => {
                b[0] * (-b[1] * x).exp() + b[2] * (-b[3] * x).exp() + b[4] * (-b[5] * x).exp()
            }
            Model::Mgh09 => b[0] * (b[1] * x + x.powi(2)) / (b[2] * x + x.powi(2) + b[3]),
            Model::Mgh10 => b[0] * (b[1] / (b[2] + x)).exp(),
            Model::Mgh17 => b[0] + b[1] * (-b[3] * x).exp() + b[2] * (-b[4] * x).exp(),
            Model::Misra1b => b[0] * (-(b[1] * x / 2.0 + 1.0).powi(-2) + 1.0),
            Model::Misra1c => b[0] * (-(b[1] * 2.0 * x + 1.0).pow(constant(-0.5)) + 1.0),
            Model::Misra1d => b[0] * b[1] * x / (b[1] * x + 1.0),
            Model::Nelson => b[0] - b[1] * x * (-b[2] * x2).exp(),
            Model::Rat42 => b[0] / ((b[1] - b[2] * x).exp() + 1.0),
            Model::Rat43 => b[0] / ((b[1] - b[2] * x).exp() + 1.0).pow(constant(1.0) / b[3]),
            Model::Roszman1 => b[0] - b[1] * x - (b[2] / (-b[3] + x)).atan() / PI,
        }
    }
}
