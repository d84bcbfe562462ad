//! One schedule for the learning rate and for alpha: constant, linear, cosine or step, with an
//! optional linear warm-up, and repeated where a method trains in stages.
//!
//! ```toml
//! lr = { schedule = "cosine", start = 0.1, warmup_epochs = 5 }
//! lr = { schedule = "step", start = 1e-3, milestones = [0.5], cycles = 4 }
//! alpha = { schedule = "constant", start = 1e-5 }
//! ```

use serde::{Deserialize, Serialize};

/// The shape of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shape {
    /// `start` throughout.
    Constant,
    /// A straight line from `start` to `end`.
    Linear,
    /// `end + (start - end)(1 + cos(π x))/2`.
    Cosine,
    /// `start · factor^k` after `k` of the `milestones`.
    Step,
}

/// A value over the run; `x` below is the share of the steps after the warm-up that are done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The shape.
    pub schedule: Shape,
    /// The value at the start (after the warm-up).
    pub start: f64,
    /// The value that linear and cosine reach at the end of the run.
    #[serde(default)]
    pub end: f64,
    /// Epochs over which the value rises linearly from 0; may be a fraction.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Where a step schedule is multiplied by `factor`: shares of the run (of its cycle) between 0
    /// and 1, so that one recipe serves every number of epochs.
    #[serde(default)]
    pub milestones: Vec<f64>,
    /// What a step schedule is multiplied by.
    #[serde(default = "tenth")]
    pub factor: f64,
    /// How often the run goes through the schedule, from `start` on each time, in parts of equal
    /// length; the warm-up is part of each.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub cycles: u64,
}

/// More stages than any run has; products with a number of steps stay far from overflow.
const MOST_CYCLES: u64 = 1_000_000;

fn tenth() -> f64 {
    0.1
}
fn once() -> u64 {
    1
}
fn is_once(cycles: &u64) -> bool {
    *cycles == 1
}

impl Schedule {
    /// `value` throughout.
    pub fn constant(value: f64) -> Self {
        Self {
            schedule: Shape::Constant,
            start: value,
            end: 0.0,
            warmup_epochs: 0.0,
            milestones: Vec::new(),
            factor: tenth(),
            cycles: once(),
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// One line that names the key, without the schedule's own name.
    pub fn validate(&self) -> Result<(), String> {
        let numbers = [
            ("start", self.start),
            ("end", self.end),
            ("warmup_epochs", self.warmup_epochs),
            ("factor", self.factor),
        ];
        for (key, v) in numbers {
            if !v.is_finite() || v < 0.0 {
                return Err(format!("{key}: expected a number >= 0, got {v}"));
            }
        }
        if !(1..=MOST_CYCLES).contains(&self.cycles) {
            let got = self.cycles;
            return Err(format!("cycles: expected 1 to {MOST_CYCLES}, got {got}"));
        }
        if self.schedule == Shape::Step && self.milestones.is_empty() {
            return Err("milestones: a step schedule needs at least one".into());
        }
        if let Some(m) = self.milestones.iter().find(|m| !(0.0..1.0).contains(*m)) {
            return Err(format!(
                "milestones: expected shares of the run, 0 <= x < 1, got {m}"
            ));
        }
        Ok(())
    }

    /// The value for the step `step` (from 0) of a run of `steps` steps, `per_epoch` an epoch.
    /// Cycle `i` begins at the first step at or after the share `i/cycles` of the run.
    ///
    /// ```
    /// use s3_train::schedule::{Schedule, Shape};
    /// let cosine = Schedule { schedule: Shape::Cosine, ..Schedule::constant(0.2) };
    /// assert_eq!(cosine.at(0, 100, 10), 0.2);
    /// assert!((cosine.at(50, 100, 10) - 0.1).abs() < 1e-15);
    /// ```
    pub fn at(&self, step: u64, steps: u64, per_epoch: u64) -> f64 {
        let begin = |cycle: u64| (cycle * steps).div_ceil(self.cycles);
        let cycle = (step * self.cycles / steps.max(1)).min(self.cycles - 1);
        let (step, steps) = (step - begin(cycle), begin(cycle + 1) - begin(cycle));
        let warmup = self.warmup_epochs * per_epoch as f64;
        let x = (step as f64 - warmup).max(0.0) / (steps as f64 - warmup).max(1.0);
        let done = step as f64 / steps.max(1) as f64;
        let value = match self.schedule {
            Shape::Constant => self.start,
            Shape::Linear => self.start + (self.end - self.start) * x,
            Shape::Cosine => {
                self.end + (self.start - self.end) * (1.0 + (std::f64::consts::PI * x).cos()) / 2.0
            }
            Shape::Step => {
                let passed = self.milestones.iter().filter(|&&m| done >= m).count();
                self.start * self.factor.powi(passed as i32)
            }
        };
        if (step as f64) < warmup {
            value * (step + 1) as f64 / warmup.max(1.0)
        } else {
            value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_at_its_ends() {
        let with = |schedule| Schedule {
            schedule,
            end: 0.02,
            ..Schedule::constant(0.2)
        };
        for (shape, first, last) in [
            (Shape::Constant, 0.2, 0.2),
            (Shape::Linear, 0.2, 0.02),
            (Shape::Cosine, 0.2, 0.02),
        ] {
            assert_eq!(with(shape).at(0, 100, 10), first);
            assert!(
                (with(shape).at(100, 100, 10) - last).abs() < 1e-15,
                "{shape:?}"
            );
        }
    }

    #[test]
    fn steps_fall_at_their_milestones() {
        let s = Schedule {
            schedule: Shape::Step,
            milestones: vec![0.25, 0.5],
            ..Schedule::constant(1.0)
        };
        for (steps, per_epoch) in [(80, 10), (800, 100)] {
            let at: Vec<f64> = (0..8)
                .map(|e| s.at(e * per_epoch, steps, per_epoch))
                .collect();
            assert_eq!(at[..2], [1.0, 1.0]);
            assert_eq!(at[2..4], [0.1, 0.1]);
            assert!(at[4..].iter().all(|v| (v - 0.01).abs() < 1e-15));
        }
    }

    #[test]
    fn a_cycle_begins_anew_in_each_stage() {
        let s = Schedule {
            schedule: Shape::Step,
            milestones: vec![0.5],
            cycles: 3,
            ..Schedule::constant(1.0)
        };
        // Ten steps in thirds: cycles begin at 0, 4 and 7.
        let at: Vec<f64> = (0..10).map(|i| s.at(i, 10, 10)).collect();
        assert_eq!(at, [1.0, 1.0, 0.1, 0.1, 1.0, 1.0, 0.1, 1.0, 1.0, 0.1]);
        let whole = Schedule { cycles: 1, ..s };
        assert_eq!((whole.at(4, 10, 10), whole.at(5, 10, 10)), (1.0, 0.1));
        assert!(Schedule { cycles: 0, ..whole }.validate().is_err());
    }

    #[test]
    fn the_warmup_rises_to_the_start() {
        let s = Schedule {
            warmup_epochs: 0.5,
            ..Schedule::constant(1.0)
        };
        let at: Vec<f64> = (0..7).map(|i| s.at(i, 100, 10)).collect();
        assert_eq!(at, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_cosine_begins_after_its_warmup() {
        let s = Schedule {
            schedule: Shape::Cosine,
            warmup_epochs: 1.0,
            ..Schedule::constant(0.1)
        };
        assert_eq!((s.at(9, 30, 10), s.at(10, 30, 10)), (0.1, 0.1));
        assert!((s.at(20, 30, 10) - 0.05).abs() < 1e-15);
    }

    #[test]
    fn bad_numbers_are_named() {
        let s = Schedule {
            warmup_epochs: -1.0,
            ..Schedule::constant(1.0)
        };
        assert!(
            s.validate()
                .expect_err("negative")
                .contains("warmup_epochs")
        );
        let s = Schedule {
            schedule: Shape::Step,
            ..Schedule::constant(1.0)
        };
        assert!(
            s.validate()
                .expect_err("no milestones")
                .contains("milestones")
        );
        let s = Schedule {
            schedule: Shape::Step,
            milestones: vec![0.5, 82.0],
            ..Schedule::constant(1.0)
        };
        let message = s.validate().expect_err("an epoch is no share");
        assert!(message.contains("shares") && message.contains("82"));
    }
}
