//! Shapes.

use super::{Dataset, channel_statistics};

/// Generates the training and the test split.
#[must_use]
pub fn generate(train_limit: Option<usize>, test_limit: Option<usize>) -> (Dataset, Dataset) {
    let make = |name: &str, len: usize| {
        let images = vec![0; len * 32 * 32 * 3];
        let (mean, std) = channel_statistics(&images, 3);
        Dataset {
            name: name.to_owned(),
            height: 32,
            width: 32,
            channels: 3,
            images,
            labels: (0..len).map(|i| (i % 10) as u16).collect(),
            class_names: (0..10).map(|i| i.to_string()).collect(),
            mean,
            std,
        }
    };
    (
        make(
            "shapes/train",
            10_000.min(train_limit.unwrap_or(usize::MAX)),
        ),
        make("shapes/test", 2_000.min(test_limit.unwrap_or(usize::MAX))),
    )
}
