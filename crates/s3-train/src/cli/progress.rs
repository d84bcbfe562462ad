//! A run as its user sees it: a bar on a terminal, plain lines elsewhere.

use crate::observe::{Event, Observer};
use crate::terminal;
use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};
use s3_metrics::record::{EpochRecord, TimingRecord};
use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two plain lines within an epoch.
const QUIET: Duration = Duration::from_secs(20);

/// Shows events.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    epochs: usize,
    steps: usize,
    spoke: Instant,
    /// The epoch under way, the images seen by its first step here, and when that was.
    first: Option<(usize, u64, Instant)>,
    pace: Pace,
    /// The images that were named as skipped.
    named: HashSet<String>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}");
        let bar = match style {
            Ok(style) if std::io::stderr().is_terminal() => {
                Some(ProgressBar::no_length().with_style(style))
            }
            _ => None,
        };
        Self {
            bar,
            epochs: 0,
            steps: 0,
            spoke: Instant::now(),
            first: None,
            pace: Pace::default(),
            named: HashSet::new(),
        }
    }

    /// Images a second since the first step of the epoch that this sitting saw.
    fn rate(&mut self, epoch: usize, images: u64) -> String {
        match self.first {
            Some((of, seen, began)) if of == epoch => {
                let seconds = began.elapsed().as_secs_f64();
                format!(" {:.0} images/s", (images - seen) as f64 / seconds)
            }
            _ => {
                self.first = Some((epoch, images, Instant::now()));
                String::new()
            }
        }
    }

    /// How long the run still takes after `done` steps of the epoch `epoch`, from 0.
    fn left(&self, epoch: usize, done: usize) -> Option<Duration> {
        let epochs = self.epochs.saturating_sub(epoch) as u64;
        let steps = (epochs * self.steps as u64).saturating_sub(done as u64);
        self.pace.ahead(steps, epochs)
    }

    /// One line that stays.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{line}")),
            None => say!("{line}"),
        }
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Note { text } => self.say(&format!("note: {text}")),
            Event::Start {
                folder,
                experiment,
                epochs,
                steps_per_epoch,
                epochs_done,
                steps_done,
            } => {
                (self.epochs, self.steps) = (epochs, steps_per_epoch);
                let from = match (epochs_done, steps_done) {
                    (0, 0) => String::new(),
                    (e, s) => format!(", going on after epoch {e}, step {s}"),
                };
                self.say(&format!(
                    "{experiment}: {epochs} epochs of {steps_per_epoch} steps{from}; {}",
                    terminal::path(folder)
                ));
            }
            Event::Step {
                epoch,
                done,
                images,
                loss,
                top1,
            } => {
                let rate = self.rate(epoch, images);
                self.pace.step(Instant::now());
                let left = self.left(epoch, done).map_or(String::new(), time_left);
                let text = format!("loss {loss:.4} top-1 {:.2} %{rate}{left}", 100.0 * top1);
                if let Some(bar) = &self.bar {
                    if done == 1 {
                        bar.reset();
                        bar.set_length(self.steps as u64);
                    }
                    bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
                    bar.set_message(text);
                    bar.set_position(done as u64);
                } else if self.spoke.elapsed() >= QUIET {
                    self.spoke = Instant::now();
                    self.say(&format!(
                        "  epoch {} step {done}/{}: {text}",
                        epoch + 1,
                        self.steps
                    ));
                }
            }
            Event::Evaluated { done, steps } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("evaluation {done}/{steps}"));
                } else if self.spoke.elapsed() >= QUIET {
                    self.spoke = Instant::now();
                    self.say(&format!("  evaluation {done}/{steps}"));
                }
            }
            Event::Skipped { images } => {
                for line in images {
                    if self.named.insert(line.clone()) {
                        self.say(&format!("skipped: {}", terminal::line(line)));
                    }
                }
            }
            Event::Epoch {
                record: r,
                timing: t,
            } => {
                self.pace.evaluation(Instant::now());
                self.spoke = Instant::now();
                let left = self.left(r.epoch as usize, 0);
                let left = left.filter(|left| !left.is_zero());
                let end = left.map_or(String::new(), |left| {
                    time_left(left) + &ends(SystemTime::now() + left)
                });
                let line = epoch_line(r, Some(t), self.epochs);
                self.say(&format!("{line}{end}"));
            }
        }
    }
}

/// An epoch as one line, of a run of `epochs`.
pub(super) fn epoch_line(r: &EpochRecord, timing: Option<&TimingRecord>, epochs: usize) -> String {
    let skipped = match r.skipped_train + r.skipped_test {
        0 => String::new(),
        n => format!(", {n} broken pictures skipped"),
    };
    // A tenth of the time is worth a word: more threads, or shards, would help.
    let waited = timing.map(|t| t.waited_seconds.unwrap_or(0.0) / t.train_seconds);
    let waited = match waited {
        Some(share) if share > 0.1 => format!(", {:.0} % of it waiting for data", 100.0 * share),
        _ => String::new(),
    };
    let rate = timing.map_or(String::new(), |t| speed(t.images_per_second));
    let sparsity = r
        .sparsity
        .map_or(String::new(), |s| format!(", zeros {:.1} %", 100.0 * s));
    let validation = r.validation_top1.map_or(String::new(), |v| {
        format!(", validation top-1 {:.2} %", 100.0 * v)
    });
    format!(
        "epoch {:>3}/{epochs}: lr {:.4}, train loss {:.4} top-1 {:.2} %, test loss {:.4} top-1 \
         {:.2} %{validation}{sparsity}{rate}{waited}{skipped}",
        r.epoch,
        r.lr,
        r.train_loss,
        100.0 * r.train_top1,
        r.test_loss.unwrap_or(f64::NAN),
        100.0 * r.test_top1.unwrap_or(f64::NAN),
    )
}

/// `, 01:02:03 left`.
pub(super) fn time_left(left: Duration) -> String {
    format!(", {} left", FormattedDuration(left))
}

/// `, ends 14:05 UTC`.
fn ends(at: SystemTime) -> String {
    let minutes = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() / 60);
    format!(", ends {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// How fast this sitting goes: its steps, and its evaluations beside them.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
    steps: u32,
    training: Duration,
    evaluations: u32,
    evaluating: Duration,
}

impl Pace {
    /// A step is done at `now`.
    fn step(&mut self, now: Instant) {
        // When the first one began is not known.
        if let Some(last) = self.last.replace(now) {
            self.steps += 1;
            self.training += now - last;
        }
    }

    /// The evaluation behind the last step is done at `now`.
    fn evaluation(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.evaluations += 1;
            self.evaluating += now - last;
        }
    }

    /// What `steps` and `evaluations` will take; before the first evaluation those count nothing,
    /// and before the second step nothing is known.
    fn ahead(&self, steps: u64, evaluations: u64) -> Option<Duration> {
        let mean = |of: Duration, n: u32| of.checked_div(n).map(|mean| mean.as_secs_f64());
        let training = steps as f64 * mean(self.training, self.steps)?;
        let evaluating =
            evaluations as f64 * mean(self.evaluating, self.evaluations).unwrap_or(0.0);
        Duration::try_from_secs_f64(training + evaluating).ok()
    }
}

/// Images a second as a line's words; none where an epoch, resumed behind its last step, trained
/// none.
fn speed(rate: f64) -> String {
    match rate {
        0.0 => String::new(),
        slow if slow < 10.0 => format!(", {slow:.1} images/s"),
        rate => format!(", {rate:.0} images/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, ends, speed, time_left};
    use std::time::{Duration, Instant, UNIX_EPOCH};

    #[test]
    fn time_left_is_that_of_the_steps_and_evaluations_ahead() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut pace = Pace::default();
        assert_eq!(pace.ahead(10, 1), None);
        pace.step(start);
        assert_eq!(pace.ahead(10, 1), None);
        pace.step(start + 2 * second);
        assert_eq!(pace.ahead(10, 1), Some(20 * second));
        pace.evaluation(start + 7 * second);
        assert_eq!(pace.ahead(10, 2), Some(30 * second));
        pace.step(start + 11 * second);
        assert_eq!(pace.ahead(10, 0), Some(30 * second));
        assert_eq!(pace.ahead(0, 0), Some(Duration::ZERO));
    }

    #[test]
    fn time_left_and_the_end_are_spelled_on_a_clock() {
        assert_eq!(time_left(Duration::from_secs(3723)), ", 01:02:03 left");
        let at = UNIX_EPOCH + Duration::from_secs(86_400 * 20_000 + 14 * 3600 + 5 * 60 + 59);
        assert_eq!(ends(at), ", ends 14:05 UTC");
    }

    #[test]
    fn no_line_says_zero_images_a_second() {
        let said = [0.0, 0.3, 9.94, 10.0, 462.4].map(speed);
        assert_eq!(
            said,
            [
                "",
                ", 0.3 images/s",
                ", 9.9 images/s",
                ", 10 images/s",
                ", 462 images/s"
            ]
        );
    }
}
