//! Bytes as a checkpoint: refused or read, never a panic, and what is read is what was written.
//!
//! First byte even: the rest is a file. Odd: the rest says which bytes of a valid file to change, and whether its checksum
//! is made to match again, so that what lies behind it is reached too.

use pullback::optim::checkpoint::Run;
use pullback::optim::{Adam, Kfac, KfacOptions, Objective, Optimizer};
use pullback::testing::{LeastSquares, Regression};
use pullback::{Ctx, Error, Mat};

use super::Bytes;

type State = (Adam<f64>, Kfac<f64, Mat<f64>>, Vec<f64>);

/// Two inputs, one output; both optimizers after two steps.
fn valid(problem: &LeastSquares<f64>) -> State {
    let (ctx, batch) = (Ctx::reference(), Regression::random(1, 2, 6, 3));
    let mut theta = vec![0.5, -0.25];
    let mut adam = Adam::new(0.1).unwrap();
    let mut kfac = Kfac::new(KfacOptions::default()).unwrap();
    for _ in 0..2 {
        adam.step(&ctx, problem, &mut theta, &batch).unwrap();
        kfac.step(&ctx, problem, &mut theta, &batch).unwrap();
    }
    (adam, kfac, theta)
}

/// Whatever was read can be used: a step gives a report or a typed error.
fn step(problem: &LeastSquares<f64>, state: State) {
    let (mut adam, mut kfac, mut theta) = state;
    let (ctx, batch) = (Ctx::reference(), Regression::random(1, 2, 6, 3));
    let _ = adam.step(&ctx, problem, &mut theta, &batch);
    let _ = kfac.step(&ctx, problem, &mut theta, &batch);
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let problem = LeastSquares::<f64>::new(1, 2, 0.01);
    let run = Run { kind: "fuzz", layout: problem.layout() };
    let load = |file: &[u8]| {
        let loaded = run.from_bytes::<f64, State>(file, "fuzz");
        if let Err(error) = &loaded {
            assert!(matches!(error, Error::Data { what, .. } if !what.is_empty()), "{error}");
        }
        loaded
    };
    if bytes.byte() % 2 == 0 {
        if let Ok(state) = load(bytes.0) {
            step(&problem, state);
        }
        return;
    }
    let original = run.to_bytes::<f64, _>(&valid(&problem)).unwrap();
    let (mut file, repaired) = (original.clone(), bytes.byte() % 2 == 1);
    for _ in 0..bytes.upto(4) {
        let at = bytes.bits(2) as usize % file.len();
        file[at] = bytes.byte();
    }
    if repaired {
        let crc = crc32fast::hash(&file[28..]);
        file[24..28].copy_from_slice(&crc.to_le_bytes());
    }
    match load(&file) {
        Ok(state) if repaired => step(&problem, state),
        Ok(state) => {
            // CRC-32 sees every change of one file by so few bytes
            assert!(file == original, "a changed file was read");
            assert!(run.to_bytes::<f64, _>(&state).unwrap() == original, "another state was read");
        }
        Err(_) => assert!(file != original, "the file itself was refused"),
    }
}
