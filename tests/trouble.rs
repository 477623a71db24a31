//! Claim: no optimizer lets a network that overflows pass. A loss or gradient that is not finite is an error that names the
//! layer, and leaves θ and the state bit for bit; a step that is rejected leaves θ bit for bit, and of the state all but the
//! damping, the radius, what it learned of the curvature, and the memory that it restarts.
#![cfg(feature = "nn")]

#[path = "common/counted.rs"]
mod counted;
#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/optimizers.rs"]
mod optimizers;

use std::collections::BTreeSet;

use counted::Counted;
use optimizers::{Entry, Saved, all, problem};
use pullback::nn::{Activation, Batch, Mlp};
use pullback::optim::checkpoint::Run;
use pullback::optim::{Objective, StepReport};
use pullback::{Ctx, Error, Mat, Scalar};
use serde_json::Value;

/// Three linear layers of one unit each, for which overflow is easy to plan: W₃ W₂ W₁ x, targets 0, no bias.
fn chain<T: Scalar>() -> (Mlp<T>, Batch<T>) {
    let layer = Activation::Identity;
    let net = Mlp::builder(1).layer(1, layer).layer(1, layer).layer(1, layer).build().unwrap();
    let (x, t) = (Mat::from_fn(1, 6, |_, _| T::ONE), Mat::from_fn(1, 6, |_, _| T::ZERO));
    let batch = net.batch(x.as_ref(), t.as_ref()).unwrap();
    (net, batch)
}

/// θ with these weights, in powers of a unit whose 16th power overflows, and zeros for biases.
fn weights<T: Scalar>(powers: [i32; 3]) -> Vec<T> {
    let unit = if T::NAME == "f32" { 8 } else { 64 };
    powers.into_iter().flat_map(|power| [T::of(2f64.powi(unit * power)), T::ZERO]).collect()
}

fn bits<T: Scalar>(theta: &[T]) -> Vec<u64> {
    theta.iter().map(|w| w.f64().to_bits()).collect()
}

/// Three steps from where nothing overflows.
fn warmed<T: Scalar>(ctx: &Ctx<T>, optimizer: &mut dyn Saved<T, Mlp<T>>, net: &Mlp<T>, batch: &Batch<T>) {
    let mut theta = vec![T::of(0.75), T::ZERO, T::of(-0.5), T::of(0.25), T::ONE, T::of(0.5)];
    for _ in 0..3 {
        optimizer.step(ctx, net, &mut theta, batch).unwrap();
    }
}

/// Holds a step at this θ to an error of that kind and layer that leaves all as it was.
fn refuses<T: Scalar>(optimizer: &mut dyn Saved<T, Mlp<T>>, theta: &[T], op: &str, layer: usize) -> Result<(), String> {
    let (ctx, (net, batch)) = (Ctx::<T>::reference(), chain::<T>());
    let run = Run { kind: "trouble", layout: net.layout() };
    let (state, mut moved) = (optimizer.save(&run), theta.to_vec());
    match optimizer.step(&ctx, &net, &mut moved, &batch) {
        Err(Error::NotFinite { op: found, layer: Some(at) }) if found == op && at == layer => {}
        other => return Err(format!("{op} of layer {layer}: {other:?}")),
    }
    if bits(&moved) != bits(theta) {
        return Err(format!("{op} of layer {layer}: theta moved"));
    }
    if optimizer.save(&run) != state {
        return Err(format!("{op} of layer {layer}: the state changed"));
    }
    Ok(())
}

/// K-FAC takes its last step back where the loss at the new θ is not finite, if it may.
fn steps_back(name: &str) -> bool {
    (name.starts_with("kfac") || name == "ekfac") && name != "kfac, never rejected"
}

fn an_overflow_is_an_error_that_names_the_layer_and_changes_nothing<T: Scalar>() {
    let (ctx, (net, batch)) = (Ctx::<T>::reference(), chain::<T>());
    let mut found = Vec::new();
    for Entry { name, make } in all::<T, Mlp<T>>(net.layout().len()) {
        for warm in [false, true] {
            let made = || {
                let mut optimizer = make();
                if warm {
                    warmed(&ctx, &mut *optimizer, &net, &batch);
                }
                optimizer
            };
            let mut hold = |theta: Vec<T>, op, layer| {
                let outcome = refuses(&mut *made(), &theta, op, layer);
                found.extend(outcome.err().map(|what| format!("{name}, warm: {warm}, {}: {what}", T::NAME)));
            };
            // the gradient of layer l is δ_l a_{l-1}; with z = W₃ a₂: a₂ z,  a₁ W₃ z,  x W₂ W₃ z overflow
            hold(weights([0, 11, -5]), "gradient", 2);
            hold(weights([8, -8, 6]), "gradient", 1);
            hold(weights([-5, 5, 6]), "gradient", 0);
            for layer in 0..3 {
                let mut theta = weights([0, 0, 0]);
                theta[2 * layer] = T::nan();
                if warm && steps_back(name) {
                    let report = made().step(&ctx, &net, &mut theta, &batch).unwrap();
                    assert!(report.rejected && theta.iter().all(|w| w.is_finite()), "{name}: {report:?}");
                } else {
                    hold(theta, "loss", layer);
                }
            }
            // one that overflows without a NaN in theta
            if !(warm && steps_back(name)) {
                hold(weights([8, 8, 0]), "loss", 1);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Where two values differ.
fn differences(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            a.iter().for_each(|(key, a)| differences(&below(key), a, b.get(key).unwrap_or(&Value::Null), found));
        }
        _ if a == b => {}
        _ => found.push(path.to_owned()),
    }
}

/// What of the state a rejected step may change, and does: (beginnings of names, beginnings of paths).
const MAY_CHANGE: [(&[&str], &[&str]); 7] = [
    // λ, the counters; A and S have seen the batch; the momentum restarts; `direction` holds no θ to step back to
    (
        &["kfac", "ekfac"],
        &["rule.lambda", "steps", "samples", "gamma", "average", "state.preconditioner", "state.update"],
    ),
    (&["kfac", "ekfac"], &["state.direction", "state.can_step_back"]),
    (&["hessian-free"], &["lambda", "iterate", "preconditioner", "steps"]),
    // h, ∇h of the batch; a memory that did not lead down is forgotten
    (&["gradient", "conjugate gradient", "bfgs", "lbfgs"], &["loss", "gradient", "promised"]),
    (&["conjugate gradient", "bfgs", "lbfgs"], &["direction"]),
    (&["levenberg-marquardt"], &["assembly.rule", "assembly.source.scaling"]),
    (&["trust region"], &["radius"]),
];

/// Those that take a step without a look at the loss after it.
const NEVER_REJECT: [&str; 34] = [
    "sgd",
    "sgd, Nesterov",
    "adam",
    "gradient descent, fixed",
    "gradient by incomplete Cholesky",
    "kfac, never rejected",
    "acktr",
    "acktr, exact",
    "newton",
    "newton, absolute",
    "gauss-newton",
    "gauss-newton in its diagonal",
    "gauss-newton by conjugate gradient",
    "gauss-newton by conjugate gradient in its diagonal",
    "gauss-newton by Kronecker blocks",
    "gauss-newton by exact Kronecker blocks",
    "gauss-newton by recursive Kronecker blocks",
    "gauss-newton by the kernel",
    "gauss-newton by JᵀJ",
    "gauss-newton by products",
    "gauss-newton by lsmr",
    "gauss-newton, any path",
    "natural gradient",
    "proximal",
    "proximal in outputs",
    "proximal in outputs, apart",
    "proximal model",
    "proximal model in outputs",
    "proximal model of second order",
    "spring",
    "spring, primal",
    "spring by conjugate gradient",
    "spring by lsmr",
    "spring, any path",
];

fn a_rejected_step_leaves_theta_and_what_it_did_not_learn<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    let (net, start, batches) = problem::<T>();
    let counted = Counted::new(net);
    let (mut never, mut found, mut unused) = (Vec::new(), Vec::new(), BTreeSet::new());
    MAY_CHANGE.iter().for_each(|(names, paths)| unused.extend(paths.iter().map(|path| (names[0], *path))));
    for Entry { name, make } in all::<T, Counted<T>>(start.len()) {
        let (mut optimizer, mut theta, mut rejections) = (make(), start.clone(), 0);
        let allowed: Vec<&str> = MAY_CHANGE
            .iter()
            .filter(|(names, _)| names.iter().any(|begin| name.starts_with(begin)))
            .flat_map(|(_, paths)| paths.iter().copied())
            .collect();
        let mut use_up = |path: &str| {
            unused.retain(|(begin, allowed)| !(name.starts_with(begin) && path.starts_with(allowed)));
        };
        for step in 0..14 {
            // every third step and those where K-FAC measures its loss: nowhere is h as low as here
            let cliff = step % 5 == 4 || step % 3 == 2;
            counted.set_cliff(cliff.then(|| theta.clone()));
            let (before, state) = (theta.clone(), optimizer.state());
            let report: StepReport<T> = optimizer.step(&ctx, &counted, &mut theta, &batches[step % 3]).unwrap();
            counted.set_cliff(None);
            if !report.rejected {
                continue;
            }
            rejections += usize::from(cliff);
            let mut changed = Vec::new();
            differences("", &state, &optimizer.state(), &mut changed);
            changed.iter().for_each(|path| use_up(path));
            changed.retain(|path| !allowed.iter().any(|begin| path.starts_with(begin)));
            if bits(&theta) != bits(&before) || !changed.is_empty() {
                let moved = bits(&theta) != bits(&before);
                found.push(format!("{name}, {}, step {step}: theta moved: {moved}, changed: {changed:?}", T::NAME));
            }
        }
        if rejections == 0 {
            never.push(name);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(unused.is_empty(), "nothing changed {unused:?}");
    never.sort_unstable();
    let mut expected = NEVER_REJECT.to_vec();
    expected.sort_unstable();
    assert_eq!(never, expected);
}

for_both!(
    an_overflow_is_an_error_that_names_the_layer_and_changes_nothing,
    a_rejected_step_leaves_theta_and_what_it_did_not_learn,
);
