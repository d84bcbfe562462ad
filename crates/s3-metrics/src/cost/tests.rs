//! Known networks, written out by hand, and one layer of each operation.

use super::*;

/// Three stages of 16, 32, 64 channels, three blocks of two convolutions each.
fn resnet20(shortcut_convolutions: bool) -> Vec<LayerCost> {
    let mut layers = vec![LayerCost::conv2d("conv1", [16, 3, 3, 3], [32, 32])];
    for (c_in, c_out, size, count) in [(16, 16, 32, 1), (16, 32, 16, 2), (32, 64, 8, 2)] {
        let size = [size, size];
        layers.push(LayerCost::conv2d("conv", [c_out, c_in, 3, 3], size));
        for _ in 0..5 {
            layers.push(LayerCost::conv2d("conv", [c_out, c_out, 3, 3], size));
        }
        if shortcut_convolutions && count == 2 {
            layers.push(LayerCost::conv2d("shortcut", [c_out, c_in, 1, 1], size));
        }
    }
    layers.push(LayerCost::linear("fc", 10, 64).with_bias());
    layers
}

/// Four stages of 64, 128, 256, 512 channels, two blocks of two convolutions each, at 224x224.
fn resnet18() -> Vec<LayerCost> {
    let mut layers = vec![LayerCost::conv2d("conv1", [64, 3, 7, 7], [112, 112])];
    for (c_in, c_out, size) in [(64, 64, 56), (64, 128, 28), (128, 256, 14), (256, 512, 7)] {
        let size = [size, size];
        layers.push(LayerCost::conv2d("conv", [c_out, c_in, 3, 3], size));
        for _ in 0..3 {
            layers.push(LayerCost::conv2d("conv", [c_out, c_out, 3, 3], size));
        }
        if c_in != c_out {
            layers.push(LayerCost::conv2d("shortcut", [c_out, c_in, 1, 1], size));
        }
    }
    layers.push(LayerCost::linear("fc", 1000, 512).with_bias());
    layers
}

/// A batch norm behind every convolution.
fn with_batch_norms(layers: Vec<LayerCost>) -> Vec<LayerCost> {
    let mut all = Vec::new();
    for layer in layers {
        let norm = (layer.kind == LayerKind::Conv2d)
            .then(|| LayerCost::batch_norm("bn", layer.weight_shape[0], layer.output_size));
        all.push(layer);
        all.extend(norm);
    }
    all
}

#[test]
fn resnet20_at_32_has_40_8_million_macs() {
    // 40.81 M with 1x1 shortcut convolutions, 40.55 M with parameter-free shortcuts.
    let projected = summarize(&with_batch_norms(resnet20(true))).total;
    assert_eq!(
        (projected.macs, projected.parameters),
        (40_813_184, 272_474)
    );
    let plain = summarize(&with_batch_norms(resnet20(false))).total;
    assert_eq!((plain.macs, plain.parameters), (40_551_040, 269_722));
}

#[test]
fn resnet18_at_224_has_1_82_billion_macs() {
    // 1.814 G in convolutions and fc; 1.817 G with one for each batch-norm element.
    let total = summarize(&with_batch_norms(resnet18())).total;
    assert_eq!((total.macs, total.parameters), (1_814_073_344, 11_689_512));
    assert_eq!(total.multiplications, 1_816_557_056);
    assert_eq!(total.additions, 1_816_557_056 + 1000); // the bias of fc
    assert_eq!((total.shifts, total.sign_flips), (0, 0));
    assert_eq!(
        (total.bytes, total.float_bytes),
        (4 * 11_689_512, 4 * 11_689_512)
    );
}

#[test]
fn a_quantized_resnet18_multiplies_only_in_the_first_and_the_last_layer() {
    let mut layers = resnet18();
    let last = layers.len() - 1;
    for layer in &mut layers[1..last] {
        *layer = layer.clone().quantized(3, KernelOp::ShiftSignFlip);
    }
    let cost = summarize(&layers);
    assert_eq!(cost.total.macs, 1_814_073_344);
    assert_eq!(
        cost.total.multiplications,
        64 * 3 * 49 * 112 * 112 + 512_000
    );
    assert_eq!(
        cost.total.shifts,
        cost.total.macs - cost.total.multiplications
    );
    assert_eq!(cost.total.shifts, cost.total.sign_flips);
    let quantized: u64 = 11_689_512 - 9600 - 64 * 3 * 49 - 513_000; // less bn, conv1, fc
    assert_eq!(
        cost.total.bytes,
        quantized * 3 / 8 + 4 * (64 * 3 * 49 + 513_000)
    );
    assert_eq!(cost.sparsity, None);
}

#[test]
fn each_operation_counts_as_defined() {
    // 2 output channels, 12 weights, 20 positions, 40 outputs, 240 MACs.
    let float = LayerCost::conv2d("c", [2, 3, 2, 1], [4, 5]);
    let operations = |layer: &LayerCost| {
        let c = layer.counts();
        [
            c.macs,
            c.multiplications,
            c.additions,
            c.shifts,
            c.sign_flips,
        ]
    };
    assert_eq!(operations(&float), [240, 240, 240, 0, 0]);
    // A dense multiplying kernel gains nothing from zeros.
    assert_eq!(
        operations(&float.clone().with_nonzero(7)),
        [240, 240, 240, 0, 0]
    );
    assert_eq!(
        operations(&float.clone().with_bias()),
        [240, 240, 280, 0, 0]
    );

    let ternary = float.clone().quantized(2, KernelOp::SignFlip);
    assert_eq!(operations(&ternary), [240, 0, 240, 0, 240]);
    assert_eq!(operations(&ternary.with_nonzero(7)), [240, 0, 140, 0, 140]);

    let shift = float.clone().quantized(4, KernelOp::ShiftSignFlip);
    assert_eq!(operations(&shift), [240, 0, 240, 240, 240]);
    assert_eq!(operations(&shift.with_nonzero(0)), [240, 0, 0, 0, 0]);

    let sum = float.clone().quantized(5, KernelOp::SumOfTwoShifts);
    assert_eq!(operations(&sum), [240, 0, 480, 480, 480]);

    let planes = float.quantized(3, KernelOp::SumOfSignFlips);
    assert_eq!(operations(&planes), [240, 120, 720 + 80, 0, 720]);

    let norm = LayerCost::batch_norm("bn", 2, [4, 5]);
    assert_eq!(operations(&norm), [0, 40, 40, 0, 0]);
    assert_eq!((norm.counts().parameters, norm.counts().bytes), (4, 16));
}

#[test]
fn a_plane_costs_its_terms_that_are_not_zero() {
    // 2 output channels, 12 weights, 20 positions, 40 outputs.
    let float = LayerCost::conv2d("c", [2, 3, 2, 1], [4, 5]);
    let operations = |layer: &LayerCost| {
        let c = layer.counts();
        [c.multiplications, c.additions, c.shifts, c.sign_flips]
    };
    // TTQ: 7 weights are not zero, each in one of two planes; without the terms 7 in both is the
    // bound.
    let ttq = float.clone().quantized(2, KernelOp::SumOfSignFlips);
    let known = ttq.clone().with_nonzero(7);
    assert_eq!(operations(&known), [80, 2 * 140 + 40, 0, 280]);
    assert_eq!(
        operations(&known.clone().with_planes(7, 2)),
        [80, 140 + 40, 0, 140]
    );
    // LQ-Net: every weight is in every plane, so that both agree.
    let lqnet = ttq.clone().with_planes(24, 4);
    assert_eq!(operations(&lqnet), operations(&ttq));
    // Its four scales stay; one scale of one plane would be in the batch norm.
    assert_eq!(lqnet.counts().bytes, ttq.counts().bytes + 16);
    // APoT: of 9 weights that are not zero 5 are one power of two, 4 the sum of two.
    let sum = float.quantized(4, KernelOp::SumOfTwoShifts).with_nonzero(9);
    assert_eq!(operations(&sum), [0, 360, 360, 360]);
    assert_eq!(
        operations(&sum.with_planes(5 + 2 * 4, 0)),
        [0, 260, 260, 260]
    );
}

#[test]
fn a_layer_of_one_plane_is_written_as_before_there_were_planes() {
    let ternary = LayerCost::linear("l", 1, 4).quantized(2, KernelOp::SignFlip);
    let json = serde_json::to_string(&ternary.with_nonzero(3)).expect("writes");
    assert!(
        !json.contains("terms") && !json.contains("scales"),
        "{json}"
    );
    let planes = LayerCost::linear("l", 1, 4).quantized(2, KernelOp::SumOfSignFlips);
    let planes = planes.with_planes(3, 2);
    let json = serde_json::to_string(&planes).expect("writes");
    assert_eq!(
        serde_json::from_str::<LayerCost>(&json).expect("reads"),
        planes
    );
}

#[test]
fn bytes_round_up_per_layer() {
    let bytes = |weights, bits| {
        LayerCost::linear("l", 1, weights)
            .quantized(bits, KernelOp::SignFlip)
            .counts()
            .bytes
    };
    assert_eq!(
        [
            bytes(1, 2),
            bytes(4, 2),
            bytes(5, 2),
            bytes(3, 3),
            bytes(8, 3)
        ],
        [1, 1, 2, 2, 3]
    );
}

#[test]
fn an_empty_network_costs_nothing() {
    let cost = summarize(&[]);
    assert_eq!(cost.total, Counts::default());
    assert_eq!((cost.compression, cost.sparsity), (1.0, None));
    assert!(cost.table().contains("total"));
}

#[test]
fn the_table_has_a_row_a_layer_and_a_total() {
    let layers = [
        LayerCost::conv2d("stem", [16, 3, 3, 3], [32, 32]),
        LayerCost::conv2d("block", [16, 16, 3, 3], [32, 32])
            .quantized(2, KernelOp::SignFlip)
            .with_nonzero(1152),
    ];
    let table = summarize(&layers).table();
    let row = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.contains(name))
            .expect("a row");
        line.split_whitespace()
            .filter(|cell| *cell != "│")
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        row("block"),
        "block 16x16x3x3 32x32 sign flip 2 2,304 2,359,296 0 1,179,648 0 1,179,648 576"
    );
    assert_eq!(
        row("total"),
        "total 2,736 2,801,664 442,368 1,622,016 0 1,179,648 2,304"
    );
    assert!(
        table.ends_with(
            "10,944 bytes as 32-bit floats, 4.75 times less here, 50.0 % of the \
                             quantized weights zero"
        ),
        "{table}"
    );
}

#[test]
fn a_summary_survives_json() {
    let cost = summarize(&resnet20(true));
    let json = serde_json::to_string(&cost).expect("writes");
    let first = concat!(
        r#""kind":"conv2d","weight_shape":[16,3,3,3],"output_size":[32,32],"#,
        r#""bits":null,"operation":"multiply""#,
    );
    assert!(json.contains(first), "{json}");
    assert_eq!(
        serde_json::from_str::<ModelCost>(&json).expect("reads"),
        cost
    );
}
