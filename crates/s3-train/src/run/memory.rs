//! How much memory do the values of a network take while a batch runs?
//!
//! All of it follows from the graph and the number of images. What kernels keep beside the values,
//! and parameters, are not counted.

use crate::config::Config;
use crate::data::Splits;
use anyhow::{Result, bail};
use candle_core::DType;
use s3_layers::model::Graph;
use s3_layers::zoo::Plan;

/// The values of a network for so many images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// Bytes of all of them, the image with them: a training step keeps nearly all for its
    /// gradients.
    pub all: u128,
    /// Bytes of what one node reads and makes, the most of all nodes: no pass needs less.
    pub least: u128,
}

impl Values {
    /// Those of `graph` for `images`, of numbers stored in `dtype`.
    ///
    /// ```
    /// use candle_core::DType;
    /// use s3_layers::model::Size;
    /// use s3_layers::zoo::{self, Settings};
    /// use s3_train::memory::Values;
    ///
    /// let image = Size { height: 4, width: 4, channels: 1 };
    /// let nodes = r#"{ "nodes": [
    ///     { "name": "c", "op": "conv", "channels": 8, "kernel": 3 },
    ///     { "name": "p", "op": "mean_pool" },
    ///     { "name": "fc", "op": "linear" }
    /// ] }"#;
    /// let graph = zoo::graph("nodes", &serde_json::from_str(nodes)?, image, 2)?;
    /// let values = Values::of(&graph, 10, DType::F32)?;
    /// // 16 numbers an image, 128 of the convolution, 8 means, 2 scores; the pool reads 128.
    /// assert_eq!(values, Values { all: 10 * 154 * 4, least: 10 * 144 * 4 });
    /// assert_eq!(Values::of(&graph, 10, DType::BF16)?.all, 10 * 154 * 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Nodes that do not fit together.
    pub fn of<L>(graph: &Graph<L>, images: usize, dtype: DType) -> Result<Self> {
        let sizes = graph.sizes()?;
        let numbers = |value: usize| sizes[value].len() as u128;
        let bytes = images as u128 * dtype.size_in_bytes() as u128;
        let nodes = graph.nodes.iter().enumerate();
        let held = nodes.map(|(index, node)| {
            let mut held: Vec<usize> = node.reads().chain([index + 1]).collect();
            held.sort_unstable();
            held.dedup();
            held.into_iter().map(numbers).sum::<u128>()
        });
        Ok(Self {
            all: bytes * (0..sizes.len()).map(numbers).sum::<u128>(),
            least: bytes * held.max().unwrap_or_default(),
        })
    }

    /// Refuses values of which a machine of `memory` bytes cannot hold the fewest; `key` is what
    /// says the number of `images`.
    ///
    /// # Errors
    /// One line that names the key and both sizes.
    pub fn check(&self, key: &str, images: usize, memory: u128) -> Result<()> {
        if self.least > memory {
            bail!(
                "{key}: what one node reads and makes of {images} images takes {} at least, this \
                 machine has {}",
                shown(self.least),
                shown(memory)
            )
        }
        Ok(())
    }
}

/// Bytes of memory that this machine has, where it says so.
#[must_use]
pub fn of_machine() -> Option<u128> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// What Linux's `meminfo` says.
fn total(meminfo: &str) -> Option<u128> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kilobytes: u128 = line.split_whitespace().nth(1)?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Bytes as words: `12.5 GB`.
#[must_use]
pub fn shown(bytes: u128) -> String {
    let in_units = |unit: f64| bytes as f64 / unit;
    match bytes {
        0..1_000_000 => format!("{:.1} kB", in_units(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", in_units(1e6)),
        _ => format!("{:.1} GB", in_units(1e9)),
    }
}

/// Refuses batches whose values `memory` bytes cannot hold, and says of a step where it may need
/// more than three quarters of that.
pub(crate) fn check(
    config: &Config,
    plan: &Graph<Plan>,
    splits: &Splits,
    ranks: usize,
    memory: u128,
) -> Result<Option<String>> {
    let parts = config.parts(ranks)?;
    let trained = splits.train.len().saturating_sub(config.validation_images);
    let images = config.batch_size.min(trained).div_ceil(parts);
    let step = Values::of(plan, images, config.activations()?)?;
    step.check("batch_size", images, memory)?;
    let tested = config.validation_images.max(splits.test.len());
    let images_tested = config.eval_batch_size.min(tested);
    let test = Values::of(plan, images_tested, DType::F32)?;
    test.check("eval_batch_size", images_tested, memory)?;
    let needed = step.all + step.least;
    Ok((needed > memory / 4 * 3).then(|| {
        format!(
            "a step of {images} images may need {} for values and their gradients, this machine \
             has {} (batch_size, micro_batches)",
            shown(needed),
            shown(memory)
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_says_how_much_memory_there_is() {
        let text = "MemTotal:       24609116 kB\nMemFree:         1000000 kB\n";
        assert_eq!(total(text), Some(24_609_116 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: much\n"), None);
    }

    #[test]
    fn what_no_machine_of_this_memory_holds_is_refused_with_both_sizes() {
        let values = Values {
            all: 20_000_000_000,
            least: 12_544_000_000,
        };
        values
            .check("batch_size", 50, 12_544_000_000)
            .expect("held");
        let refused = values.check("batch_size", 50, 8_000_000_000);
        assert_eq!(
            refused.expect_err("refused").to_string(),
            "batch_size: what one node reads and makes of 50 images takes 12.5 GB at least, this \
             machine has 8.0 GB"
        );
        assert_eq!([999_949, 1_500_000].map(shown), ["999.9 kB", "1.5 MB"]);
    }
}
