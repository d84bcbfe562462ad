//! Can every batch of an epoch be computed?

use anyhow::{Result, bail};

/// Values of a channel that have a variance.
const LEAST: u128 = 2;

/// How the training images are cut into batches, and what a batch norm sees of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches {
    /// Training images.
    pub(crate) images: usize,
    /// Whether a last, short batch is left out.
    pub(crate) drop_last: bool,
    /// Parts of a batch: micro-batches, or the ranks that share it.
    pub(crate) parts: usize,
    /// Whether statistics are those of the whole batch, else of each part.
    pub(crate) whole_statistics: bool,
    /// Values of a channel that one image has where it has the fewest.
    pub(crate) values: u128,
}

impl Batches {
    /// Whether batch norms can take the statistics of so many images.
    pub(crate) fn have_statistics(&self, images: usize) -> bool {
        self.values.saturating_mul(images as u128) >= LEAST
    }

    /// Refuses batches of which the last, short one cannot be computed: an epoch would end there.
    ///
    /// # Errors
    /// One line that names the key and what would be accepted.
    pub(crate) fn check(&self, batch_size: usize) -> Result<()> {
        let Err(problem) = self.of(batch_size) else {
            return Ok(());
        };
        let drops = Self {
            drop_last: true,
            ..*self
        };
        let mut ways = Vec::new();
        if drops.of(batch_size).is_ok() {
            ways.push("drop_last = true leaves it out".to_string());
        }
        let most = batch_size.min(self.images);
        let mut others = (1..most).rev().chain(most + 1..=self.images);
        if let Some(other) = others.find(|&size| self.of(size).is_ok()) {
            ways.push(format!("batch_size = {other} leaves none such"));
        }
        let ways = match ways.is_empty() {
            true => "more training images are needed".to_string(),
            false => ways.join(", "),
        };
        bail!("{problem}; {ways}")
    }

    /// What is wrong with batches of `batch_size`.
    fn of(&self, batch_size: usize) -> Result<(), String> {
        let (parts, short) = (self.parts, self.images % batch_size);
        let least = match self.drop_last || short == 0 {
            true => batch_size,
            false => short,
        };
        if least < parts {
            return Err(format!(
                "micro_batches: {parts} parts of a batch of {least} images leave some without"
            ));
        }
        let together = match self.whole_statistics {
            true => least,
            false => least / parts,
        };
        if !self.have_statistics(together) {
            let cut = match parts {
                1 => String::new(),
                parts => format!(", in {parts} parts,"),
            };
            return Err(format!(
                "batch_size: a batch of {least} of the {} training images{cut} leaves a batch norm \
                 one value of each channel, which has no variance",
                self.images
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Batches = Batches {
        images: 33,
        drop_last: false,
        parts: 1,
        whole_statistics: false,
        values: 1,
    };

    fn refusal(batches: Batches, batch_size: usize) -> String {
        let message = batches.check(batch_size).expect_err("refused").to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn a_last_batch_of_one_value_is_refused_with_what_helps() {
        let message = refusal(ONE, 32);
        assert_eq!(
            message,
            "batch_size: a batch of 1 of the 33 training images leaves a batch norm one value of \
             each channel, which has no variance; drop_last = true leaves it out, batch_size = 31 \
             leaves none such"
        );
        let alone = refusal(ONE, 1);
        assert!(
            !alone.contains("drop_last") && alone.contains("batch_size = 3 "),
            "{alone}"
        );
        for (batches, batch_size) in [
            (ONE, 31),
            (ONE, 33),
            (ONE, usize::MAX),
            (
                Batches {
                    drop_last: true,
                    ..ONE
                },
                32,
            ),
            (Batches { values: 2, ..ONE }, 32),
            (Batches { images: 64, ..ONE }, 32),
        ] {
            batches.check(batch_size).expect("two values or more");
        }
    }

    #[test]
    fn each_part_has_its_own_statistics_unless_they_are_shared() {
        let four = Batches {
            images: 38,
            parts: 4,
            ..ONE
        };
        assert!(refusal(four, 32).contains("a batch of 6 of the 38"));
        Batches {
            whole_statistics: true,
            ..four
        }
        .check(32)
        .expect("shared");
        assert!(refusal(Batches { images: 35, ..four }, 32).contains("4 parts of a batch of 3"));
        // Every way out that is named is one.
        for images in 1..40 {
            for batch_size in 1..40 {
                let batches = Batches { images, ..four };
                if let Err(e) = batches.check(batch_size) {
                    let e = e.to_string();
                    let size = e
                        .split("batch_size = ")
                        .nth(1)
                        .and_then(|s| s.split(' ').next());
                    if let Some(size) = size {
                        batches
                            .check(size.parse().expect("a number"))
                            .expect("fits");
                    }
                    if e.contains("drop_last") {
                        let dropping = Batches {
                            drop_last: true,
                            ..batches
                        };
                        dropping.check(batch_size).expect("dropped");
                    }
                }
            }
        }
    }
}
