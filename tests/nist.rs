//! NIST's regressions: the files, the parser that refuses what is cut, models and derivatives against what is certified.

#[path = "common/differences.rs"]
mod differences;

use differences::derivatives_hold;
use pullback::factor::Cholesky;
use pullback::optim::ResidualObjective;
use pullback::testing::problems::nist::{Difficulty, Model, Regression};
use pullback::testing::problems::{Formula, SumOfSquares};
use pullback::testing::tolerance;
use pullback::{Ctx, Error, Mat, Op};

/// Half a unit in the last of the 11 certified digits.
const CERTIFIED: f64 = 0.5e-10;

#[test]
fn all_27_are_there_with_their_levels() {
    let all = Regression::all().unwrap();
    let count = |level: Difficulty| all.iter().filter(|p| p.difficulty() == level).count();
    assert!(Difficulty::Lower < Difficulty::Higher);
    assert_eq!(
        [count(Difficulty::Lower), count(Difficulty::Average), count(Difficulty::Higher)],
        [8, 11, 8],
        "NIST's own counts"
    );
    for (problem, model) in all.iter().zip(Model::ALL) {
        assert_eq!(problem.model(), model);
        assert_eq!(problem.shape().1, model.parameters());
        assert_eq!(Regression::named(&model.name().to_lowercase()).unwrap(), *problem);
        assert_ne!(problem.start(1), problem.start(2));
    }
    assert!(matches!(Regression::named("Longley"), Err(Error::InvalidParameter { .. })));
}

/// Rounding of the certified parameters: by how much r may differ, entry by entry, at c.
fn rounding_of_residuals(j: &Mat<f64>, c: &[f64]) -> Vec<f64> {
    let row = |i: usize| (0..c.len()).map(|k| (j[(i, k)] * c[k]).abs() * CERTIFIED).sum();
    (0..j.nrows()).map(row).collect()
}

#[test]
fn the_certified_values_are_minima_with_the_certified_sums() {
    let ctx = Ctx::<f64>::reference();
    for problem in Regression::all().unwrap() {
        let (name, c, sum) = (problem.model().name(), problem.certified(), problem.residual_sum());
        let h = SumOfSquares::new(problem);
        let line = h.linearize(&ctx, &c, &()).unwrap();
        let (j, r) = (line.jacobian.matrix(), &line.residual);
        let moved = rounding_of_residuals(j, &c);
        // at a minimum a change of c changes the sum to second order only; the first order is tested below
        let room = moved.iter().map(|d| d * d).sum::<f64>() + 2.0 * CERTIFIED * sum;
        let gradient: Vec<f64> =
            (0..c.len()).map(|k| j.as_ref().col(k).iter().zip(r).map(|(j, r)| j * r).sum()).collect();
        let first_order: f64 = gradient.iter().zip(&c).map(|(g, c)| 2.0 * (g * c).abs() * CERTIFIED).sum();
        let error = (2.0 * line.loss - sum).abs();
        assert!(error <= room + first_order, "{name}: sum {:e}, certified {sum:e}", 2.0 * line.loss);
        for (k, g) in gradient.iter().enumerate() {
            let column = j.as_ref().col(k);
            let by_rounding: f64 = column.iter().zip(&moved).map(|(j, d)| j.abs() * d).sum();
            let by_curvature = column.iter().zip(r).map(|(j, r)| (j * r).abs()).sum::<f64>();
            // the second derivatives of r, which the first term leaves out, times the same change of c
            let room = 2.0 * by_rounding + by_curvature * (CERTIFIED.sqrt() * 1e-2 + tolerance::<f64>(r.len(), 1.0));
            assert!(g.abs() <= room, "{name}: ∂/∂b{} is {g:e} at the certified values, room {room:e}", k + 1);
        }
    }
}

/// s √((JᵀJ)⁻¹_jj), s² the residual variance: NIST certifies these too, and so our Jacobians.
#[test]
fn the_jacobians_give_the_certified_standard_deviations() {
    let ctx = Ctx::<f64>::reference();
    for problem in Regression::all().unwrap() {
        let (m, n) = problem.shape();
        let (name, c) = (problem.model().name(), problem.certified());
        let certified: Vec<f64> = problem.parameters().iter().map(|p| p.deviation).collect();
        let variance = problem.residual_sum() / (m - n) as f64;
        let h = SumOfSquares::new(problem);
        let line = h.linearize(&ctx, &c, &()).unwrap();
        // columns of unit length: the condition that is left is that of the problem
        let lengths: Vec<f64> =
            line.jacobian.matrix().as_ref().cols().map(|c| c.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
        let scaled = Mat::from_fn(m, n, |i, k| line.jacobian.matrix()[(i, k)] / lengths[k]);
        let mut gram = Mat::zeros(n, n);
        ctx.gemm(1.0, scaled.as_ref(), Op::Transpose, scaled.as_ref(), Op::No, 0.0, gram.as_mut()).unwrap();
        let inverse = Cholesky::new(&ctx, gram).unwrap().inverse(&ctx).unwrap();
        let condition = (0..n).map(|k| inverse[(k, k)]).fold(1.0, f64::max);
        for k in 0..n {
            let deviation = (variance * inverse[(k, k)]).sqrt() / lengths[k];
            let error = (deviation - certified[k]).abs() / certified[k];
            let room = tolerance::<f64>(m, condition) + CERTIFIED * condition.sqrt().max(2.0) * 10.0;
            assert!(error <= room, "{name}: b{} has deviation {deviation:e}, off by {error:e} > {room:e}", k + 1);
        }
    }
}

#[test]
fn jacobians_gradients_and_hessians_are_those_of_differences() {
    for problem in Regression::all().unwrap() {
        let points = [problem.start(2), problem.certified()];
        let (name, h) = (problem.model().name(), SumOfSquares::new(problem));
        points.iter().for_each(|b| derivatives_hold(name, &h, b));
    }
}

#[test]
fn correct_digits_are_the_worst_parameters() {
    let problem = Regression::named("Nelson").unwrap();
    let c = problem.certified();
    assert_eq!(problem.correct_digits(&c), 11.0);
    for k in 0..3 {
        let mut b = c.clone();
        b[k] *= 1.0 + 1e-4;
        assert!((problem.correct_digits(&b) - 4.0).abs() < 1e-3);
        b[k] = f64::NAN;
        assert_eq!(problem.correct_digits(&b), 0.0);
        b[k] = -c[k];
        assert_eq!(problem.correct_digits(&b), 0.0);
    }
    assert_eq!(problem.correct_digits(&c[..2]), 0.0);
}

/// The row of the error with which a text is refused.
fn refused(name: &str, text: &str) -> usize {
    match Regression::parse("cut.dat", text) {
        Err(Error::Data { file, row: Some(row), what }) => {
            assert_eq!(file, "cut.dat");
            assert!(!what.is_empty());
            row
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_file_that_was_cut_is_refused_wherever_the_cut_is() {
    for model in Model::ALL {
        let text = model.data();
        let lines: Vec<&str> = text.lines().collect();
        for kept in 0..lines.len() {
            let row = refused(model.name(), &lines[..kept].join("\n"));
            assert!(row <= kept.max(1), "{}: cut after line {kept}, error in row {row}", model.name());
        }
        // in the last line: before its last column
        let (last, head) = lines.split_last().unwrap();
        let (first, _) = last.trim().split_once(' ').unwrap();
        assert_eq!(refused(model.name(), &format!("{}\n{first}", head.join("\n"))), lines.len());
        // a line is lost in the middle of the data
        let mut fewer = lines.clone();
        fewer.remove(lines.len() - 3);
        refused(model.name(), &fewer.join("\n"));
    }
}

#[test]
fn what_is_malformed_is_refused_in_its_row() {
    let text = Model::Misra1a.data();
    let row_of = |part: &str| 1 + text.lines().position(|line| line.contains(part)).unwrap();
    // (what is replaced, by what, the row that is wrong)
    let faults = [
        ("NIST/ITL StRD", "NIST", 1),
        ("Dataset Name:  Misra1a", "Dataset Name:  Misra9z", row_of("Dataset Name")),
        ("(lines 41 to 42)", "(lines 41 to 43)", row_of("Starting Values")),
        ("(lines 41 to 42)", "(lines 41)", row_of("Starting Values")),
        ("(lines 61 to 74)", "(lines 61 to 73)", row_of("Number of Observations")),
        ("(lines 61 to 74)", "(lines 74 to 61)", row_of("Data  ")),
        ("2.3894212918E+02", "2.3894212918X+02", 41),
        ("2.3894212918E+02", "", 41),
        ("2.3894212918E+02", "NaN", 41),
        ("b2 =", "b3 =", 42),
        ("      10.07E0", "      inf", 61),
        ("      10.07E0", "      10.07E0 1", 61),
        ("Freedom:                                12", "Freedom:   11", row_of("Degrees of Freedom")),
        ("Observations:                            14", "Observations:   14.5", row_of("Number of Observations")),
        ("Sum of Squares:                    1.2455138894E-01", "Sum of Squares:", row_of("Sum of Squares")),
    ];
    for (part, by, row) in faults {
        assert!(text.contains(part), "{part}");
        assert_eq!(refused(part, &text.replacen(part, by, 1)), row, "{part} -> {by}");
    }
    let lines = text.lines().count();
    assert_eq!(refused("a line more", &format!("{text}  1.0  2.0\n")), lines + 1);
    refused("no level", &text.replacen("Lower Level of Difficulty", "", 1));
    assert!(Regression::parse("blank lines", &format!("{text}\n \n")).is_ok());
    assert!(Regression::parse("carriage returns", &text.replace('\n', "\r\n")).is_ok());
    // the one model of log y
    let nelson = Model::Nelson.data();
    let row = 1 + nelson.lines().position(|line| line.contains("15.00E0")).unwrap();
    assert_eq!(refused("log of a negative", &nelson.replacen("15.00E0", "-15.0E0", 1)), row);
}

#[test]
fn a_file_on_disk_is_the_one_compiled_in() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/nist");
    let read = Regression::read(&folder.join("ENSO.dat")).unwrap();
    assert_eq!(read, Regression::named("enso").unwrap());
    assert!(matches!(Regression::read(&folder.join("none.dat")), Err(Error::Data { row: None, .. })));
}
