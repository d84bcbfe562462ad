//! The reference networks, what is published of them, and what is measured of ours.

use serde_json::Value;

use super::cores::{CORES, Core};
use super::count::Counted;

/// A reference network, and what is published of it.
pub(super) struct Network {
    pub(super) key: &'static str,
    pub(super) task: &'static str,
    pub(super) name: &'static str,
    pub(super) experiment: &'static str,
    pub(super) image: &'static str,
    pub(super) classes: u32,
    /// Parameters as tf.keras counts them.
    pub(super) parameters: u64,
    /// What of these ours has not, and why.
    pub(super) differs: &'static str,
    /// Multiplications of an image.
    pub(super) products: u64,
    /// Bytes of the reference's file of 8-bit integers.
    pub(super) bytes: u64,
}

pub(super) static NETWORKS: [Network; 4] = [
    Network {
        key: "ic",
        task: "image classification (IC01)",
        name: "ResNet-8",
        experiment: "mlperf_tiny/resnet8-s3-3bit",
        image: "32x32x3",
        classes: 10,
        parameters: 78_666,
        differs: "336 biases before batch norms, 480 running statistics; 192 of the shortcuts' \
                  batch norms more",
        products: 12_501_632,
        bytes: 98_496,
    },
    Network {
        key: "kws",
        task: "keyword spotting",
        name: "DS-CNN",
        experiment: "mlperf_tiny/ds_cnn-s3-3bit",
        image: "49x10x1",
        classes: 12,
        parameters: 24_908,
        differs: "576 biases before batch norms, 1,152 running statistics",
        products: 2_656_768,
        bytes: 53_936,
    },
    Network {
        key: "vww",
        task: "visual wake words",
        name: "MobileNetV1, a quarter of the width",
        experiment: "mlperf_tiny/mobilenet_v1-s3-3bit",
        image: "96x96x3",
        classes: 2,
        parameters: 221_794,
        differs: "2,736 biases before batch norms, 5,472 running statistics",
        products: 7_489_664,
        bytes: 333_288,
    },
    Network {
        key: "ad",
        task: "anomaly detection",
        name: "autoencoder of linear layers",
        experiment: "mlperf_tiny/autoencoder-s3-3bit",
        image: "1x1x640",
        classes: 640,
        parameters: 269_992,
        differs: "1,032 biases before batch norms, 2,064 running statistics",
        products: 264_192,
        bytes: 276_976,
    },
];

/// One network of one width on one core.
pub(super) struct Row {
    pub(super) network: usize,
    pub(super) about: Value,
    /// Of a packed file.
    pub(super) accuracy: Option<Option<f64>>,
    pub(super) core: usize,
    pub(super) counted: Counted,
}

impl Row {
    pub(super) fn network(&self) -> &'static Network {
        &NETWORKS[self.network]
    }

    pub(super) fn core(&self) -> &'static Core {
        &CORES[self.core]
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.about[key].as_u64().unwrap_or(0)
    }
}
