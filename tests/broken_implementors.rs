//! No law can go blind: for each law of each suite there is an implementor with one deliberate fault that the law rejects,
//! and the same implementor without the fault passes every law.

mod broken;

use std::collections::BTreeSet;

use broken::Broken;
use pullback::testing::all_laws;

fn everyone() -> Vec<Broken> {
    let suites = [
        broken::backend::all(),
        broken::operator::all(),
        broken::curvature::all(),
        broken::capability::all(),
        broken::preconditioner::all(),
        broken::krylov::all(),
        broken::average::all(),
        broken::optimizer::all(),
    ];
    suites.into_iter().flatten().collect()
}

#[test]
fn every_broken_implementor_is_rejected_by_its_law_and_every_law_rejects_one() {
    let mut proven = BTreeSet::new();
    let mut wrong = Vec::new();
    for Broken { name, report, breaks } in everyone() {
        let text = report.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "wider than a terminal:\n{text}");
        for law in breaks {
            match report.law(law.0, law.1) {
                Some(found) if !found.passed() => {
                    proven.insert(law);
                }
                Some(_) => wrong.push(format!("{name} passes {law:?}\n{report}")),
                None => wrong.push(format!("{name}: {law:?} was not measured\n{report}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let blind: Vec<_> = all_laws().into_iter().filter(|law| !proven.contains(law)).collect();
    assert!(blind.is_empty(), "no broken implementor shows that these laws can fail: {blind:?}");
}

#[test]
fn the_same_implementors_without_their_faults_pass_and_measure_every_law() {
    let sound = [
        broken::backend::sound(),
        broken::operator::sound(),
        broken::curvature::sound(),
        broken::capability::sound(),
        broken::preconditioner::sound(),
        broken::krylov::sound(),
        broken::average::sound(),
        broken::optimizer::sound(),
    ];
    let mut measured = BTreeSet::new();
    for report in sound {
        report.assert_passed();
        measured.extend(report.laws().iter().map(|law| (law.suite, law.name)));
    }
    let all: BTreeSet<_> = all_laws().into_iter().collect();
    assert_eq!(measured, all, "what is measured is what is listed");
}

#[test]
fn the_seed_of_a_failure_repeats_its_measurement() {
    let failures = |seed| broken::operator::asymmetric(seed).failures().cloned().collect::<Vec<_>>();
    let first = failures(12);
    assert!(!first.is_empty() && first.iter().all(|law| law.seed == 12));
    assert_eq!(first, failures(12));
    assert_ne!(first, failures(13), "another seed, other numbers");
}
