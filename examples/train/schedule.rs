//! When to stop and when to look.

/// The limits of one optimizer: whichever is reached first.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub seconds: Option<f64>,
    pub steps: Option<u64>,
}

impl Budget {
    pub fn is_spent(&self, steps: u64, seconds: f64) -> bool {
        self.steps.is_some_and(|limit| steps >= limit) || self.seconds.is_some_and(|limit| seconds >= limit)
    }

    /// Part that is spent, from 0 to 1.
    pub fn fraction(&self, steps: u64, seconds: f64) -> f64 {
        let of_steps = self.steps.map_or(0.0, |limit| steps as f64 / limit as f64);
        let of_seconds = self.seconds.map_or(0.0, |limit| seconds / limit);
        of_steps.max(of_seconds).min(1.0)
    }
}

/// Losses are taken at the parts (k / 40)² of the budget, k = 0, 1, ..., 40: densely where they fall fast.
///
/// With a limit on steps the schedule is one of steps, so that it is the same in every run.
#[derive(Debug)]
pub struct Schedule {
    by: Budget,
    next: u32,
}

const LOOKS: u32 = 40;

impl Schedule {
    pub fn new(budget: Budget) -> Self {
        let by = if budget.steps.is_some() { Budget { seconds: None, ..budget } } else { budget };
        Self { by, next: 0 }
    }

    /// Whether the next look is due; asking moves on.
    pub fn due(&mut self, steps: u64, seconds: f64) -> bool {
        let at = |k: u32| (f64::from(k) / f64::from(LOOKS)).powi(2);
        let now = self.by.fraction(steps, seconds);
        let due = now >= at(self.next);
        while self.next <= LOOKS && now >= at(self.next) {
            self.next += 1;
        }
        due
    }
}
