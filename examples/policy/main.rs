mod control;
use control::learner::*; use control::*;
fn main(){
  for task in [Task::CartPole, Task::Pendulum] {
    let r = random_returns(task, 200, 1); println!("{} random {:.1}", task.name(), r.iter().sum::<f64>()/200.0);
    for a in Algorithm::ALL { for seed in 0..3 { let t=std::time::Instant::now();
      let mut l = Learner::new(task,a,seed).unwrap().with_context(pullback::Ctx::reference());
      let n = 100_000 / l.steps_of_update(); let mut s=String::new();
      for i in 0..n { let u = l.update().unwrap(); if i % (n/8).max(1) == 0 { s += &format!(" {:.0}({:.4})", u.mean_return.unwrap_or(f64::NAN), u.divergence); } }
      println!("{} {} {seed}: {s} -> {:.1}  {:.1}s", task.name(), a.name(), l.evaluate(task, 20, 99).unwrap(), t.elapsed().as_secs_f64());
    }}
  }
}
