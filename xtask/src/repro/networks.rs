//! Networks other than the paper's after three epochs each: that they train, not how well they
//! could.

use s3_metrics::paired::spread;

use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::record::Record;

/// What a row trains on: a data set, or the first images of one where an epoch of all takes too
/// long.
const MNIST: &str = "data={name=\"mnist\", augment={pad=2}}";
const MNIST_10K: &str = "data={name=\"mnist\", augment={pad=2}, train_limit=10000}";
const CIFAR10: &str = "data={name=\"cifar10\", augment={pad=4, flip=true}}";
const CIFAR10_10K: &str = "data={name=\"cifar10\", augment={pad=4, flip=true}, train_limit=10000}";

/// The data sets, as the rows' names and the tables' titles have them.
pub(super) const DATA: [(&str, &str); 2] = [("mnist", "MNIST"), ("cifar10", "CIFAR-10")];

/// Each network's name, and its rows: both data sets at 2 and at 3 bits, by the recipe of one
/// experiment; and on how many test images the files of a row are asked, fewer where C, on one
/// thread and without multiplications, takes long for each.
macro_rules! networks {
    ($($name:literal: $recipe:literal, $mnist:ident, $cifar10:ident, $images:literal;)*) => {
        pub(super) const NETWORKS: &[&str] = &[$($name),*];
        pub(super) const FILES_ON: &[u32] = &[$($images, $images, $images, $images),*];
        pub(super) const ROWS: &[Row] = &[$(
            row!($name, " mnist 2", $recipe, $mnist, "method.bits=2"),
            row!($name, " mnist 3", $recipe, $mnist, "method.bits=3"),
            row!($name, " cifar10 2", $recipe, $cifar10, "method.bits=2"),
            row!($name, " cifar10 3", $recipe, $cifar10, "method.bits=3"),
        )*];
    };
}

macro_rules! row {
    ($name:literal, $end:literal, $recipe:literal, $data:ident, $bits:literal) => {
        Row::with(concat!($name, $end), $recipe, &[$data, $bits])
    };
}

networks! {
    "mobilenet_v1-0.25": "cifar10/mobilenet_v1-quarter-s3-3bit", MNIST, CIFAR10, 1000;
    "mobilenet_v2-0.5": "cifar10/mobilenet_v2-half-s3-3bit", MNIST, CIFAR10, 1000;
    "vgg_small": "cifar10/vgg_small-s3-3bit", MNIST_10K, CIFAR10_10K, 100;
    "resnet56": "cifar10/resnet56-s3-3bit", MNIST_10K, CIFAR10_10K, 200;
    "ds_cnn": "mnist/ds_cnn-s3-3bit", MNIST, CIFAR10, 1000;
    "mlp": "mnist/mlp-s3-3bit", MNIST, CIFAR10, 1000;
    "nodes": "cifar10/nodes-s3-3bit", MNIST, CIFAR10, 1000;
}

pub(super) const PLAN: Plan = Plan {
    name: "networks",
    rows: ROWS,
    epochs: [&[3], &[3]],
    seeds: 1,
    layers: &[],
    page,
};

const INTRODUCTION: &str = "\
# Other networks, three epochs each

Written by `cargo xtask repro networks`, from the records of the runs in networks.jsonl; `--check` compares. Networks of the list
(docs/NETWORKS.md) and one that a configuration lists node by node, S3 with 2 and 3 bits, on MNIST and CIFAR-10: the recipes are
`xtask/experiments/{cifar10,mnist}/NETWORK-s3-3bit.toml` with the other data set and width set beside them. Three epochs show that
a network trains; nothing was tuned for any of them but the rate of VGG-Small's classifier (docs/NETWORKS.md), which follows from
the training loss of its first steps; no claim about their accuracy follows. Activations are bf16. VGG-Small and ResNet-56 see the
first 10,000 training images alone, because an epoch of all of them takes long on a CPU.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        for (data, title) in DATA {
            page.line(&format!("\n{title}:\n"));
            page.head(&[
                "network",
                "2 bits",
                "3 bits",
                "bytes, 2 bits",
                "bytes, 3 bits",
                "n",
            ]);
            for network in NETWORKS {
                page.row(&line(runs, network, data));
            }
        }
        page.line("\nBytes are those of the weights, scales and biases as they are packed.");
    })
}

fn line(runs: &Runs<'_>, network: &str, data: &str) -> Vec<String> {
    let names = [2, 3].map(|bits| format!("{network} {data} {bits}"));
    let top1 = names.each_ref().map(|name| spread(&runs.top1(name)));
    let bytes = names.each_ref().map(|name| {
        let first = runs.named(name).first().copied();
        first.map_or("-".to_owned(), |r| r.bytes.to_string())
    });
    let seeds = names
        .each_ref()
        .map(|name| runs.sample(name).seeds().to_string());
    let mut cells = vec![network.to_owned()];
    cells.extend(top1);
    cells.extend(bytes);
    cells.push(seeds.join(", "));
    cells
}
