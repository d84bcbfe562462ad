//! A run as its user sees it: a bar on a terminal, plain lines elsewhere.

use crate::terminal;
use indicatif::{ProgressBar, ProgressStyle};
use s3_train::observe::{Event, Observer};
use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

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
    /// The images that were named as skipped.
    named: HashSet<String>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} eta {eta}");
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
                let text = format!("loss {loss:.4} top-1 {:.2} %{rate}", 100.0 * top1);
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
                let skipped = match r.skipped_train + r.skipped_test {
                    0 => String::new(),
                    n => format!(", {n} broken pictures skipped"),
                };
                // A tenth of the time is worth a word: more threads, or shards, would help.
                let waited = match t.waited_seconds.unwrap_or(0.0) / t.train_seconds {
                    share if share > 0.1 => {
                        format!(", {:.0} % of it waiting for data", 100.0 * share)
                    }
                    _ => String::new(),
                };
                let rate = speed(t.images_per_second);
                self.spoke = Instant::now();
                let sparsity = r
                    .sparsity
                    .map_or(String::new(), |s| format!(", zeros {:.1} %", 100.0 * s));
                self.say(&format!(
                    "epoch {:>3}/{}: lr {:.4}, train loss {:.4} top-1 {:.2} %, test loss {:.4} \
                     top-1 {:.2} %{sparsity}{rate}{waited}{skipped}",
                    r.epoch,
                    self.epochs,
                    r.lr,
                    r.train_loss,
                    100.0 * r.train_top1,
                    r.test_loss.unwrap_or(f64::NAN),
                    100.0 * r.test_top1.unwrap_or(f64::NAN),
                ));
            }
        }
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
    use super::speed;

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
